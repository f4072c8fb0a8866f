//! A folder behind SSH, in restic's layout.
//!
//! A file is written under a temporary name, synced where the server can, and linked to its name:
//! after a crash it is whole or not there, and nothing is written over another.
//!
//! openssh-sftp-client speaks the protocol: it takes any two pipes, many requests can be under way,
//! and it knows OpenSSH's extensions for sync and hard links. russh-sftp was weighed: it waits for
//! each request's answer before the next, which makes 16 MiB packs slow at any distance.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use model::error::PortError;
use model::ports::storage::{
    ALREADY_EXISTS, FileKind, Listed, NOT_FOUND, SHORT_READ, Storage, TOO_LARGE,
};
use model::remote::Sftp as Spec;
use openssh_sftp_client::Error;
use openssh_sftp_client::error::SftpErrorKind;
use openssh_sftp_client::file::File;
use openssh_sftp_client::metadata::Permissions;
use tokio::io::AsyncSeekExt as _;

use super::layout;
use super::ssh::{Connection, Fault};
use super::wait::wait;

/// How a temporary file's name begins; listings leave these out, as they are not hexadecimal.
const TEMPORARY_PREFIX: &str = ".mainstay-tmp-";
/// Parts of one file under way at once, and folders listed at once.
const AT_ONCE: usize = 16;
/// Requests at once. They share one connection; four packs under way keep it full.
const CONNECTIONS: usize = 6;
/// Size in bytes of such a part: what OpenSSH's server takes in one request. Others take less, and
/// get a part in several.
const PART_BYTES: usize = 255 << 10;

/// A folder behind SSH. The connection is made when it is first needed, and again when it is lost.
pub struct SftpStorage {
    inner: Arc<Inner>,
}

struct Inner {
    spec: Spec,
    location: String,
    connection: Mutex<Option<Arc<Connection>>>,
    connecting: tokio::sync::Mutex<()>,
    serial: AtomicU64,
}

impl SftpStorage {
    /// Returns the storage; nothing is connected yet.
    pub fn new(spec: Spec, location: String) -> Self {
        let inner = Inner {
            spec,
            location,
            connection: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
            serial: AtomicU64::new(0),
        };
        Self { inner: Arc::new(inner) }
    }
}

/// One request: the connection that it uses, and what it is for.
struct Request {
    inner: Arc<Inner>,
    connection: Arc<Connection>,
    what: String,
}

impl Inner {
    fn current(&self) -> Option<Arc<Connection>> {
        let held = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        held.clone().filter(|connection| connection.lives())
    }

    async fn request(self: Arc<Self>, what: String) -> Result<Request, PortError> {
        if let Some(connection) = self.current() {
            return Ok(Request { inner: self, connection, what });
        }
        // One connects, the others wait for it.
        let connecting = self.connecting.lock().await;
        let connection = match self.current() {
            Some(connection) => connection,
            None => {
                let connection = Arc::new(Connection::open(&self.spec, &what).await?);
                let mut held = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
                *held = Some(connection.clone());
                connection
            }
        };
        drop(connecting);
        Ok(Request { inner: self, connection, what })
    }

    fn forget(&self, lost: &Arc<Connection>) {
        let mut held = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if held.as_ref().is_some_and(|current| Arc::ptr_eq(current, lost)) {
            *held = None;
        }
    }

    fn full(&self, path: &str) -> String {
        format!("{}/{path}", self.spec.path.trim_end_matches('/'))
    }
}

impl Request {
    async fn run<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, PortError> {
        self.connection.run(work).await.map_err(|fault| self.fault(fault))
    }

    fn fault(&self, fault: Fault) -> PortError {
        let error = match fault {
            Fault::Gone => {
                self.inner.forget(&self.connection);
                return self.connection.gone(&self.what);
            }
            Fault::Answer(error) => error,
        };
        let what = self.what.clone();
        let port = match &error {
            Error::SftpError(SftpErrorKind::NoSuchFile, _) => PortError::terminal(NOT_FOUND, what),
            Error::SftpError(SftpErrorKind::PermDenied, _) => {
                PortError::terminal("PermissionDenied", what)
                    .with_hint("the user that ssh logs in as may not do this there")
            }
            // The protocol has no word for anything else; who needs to know more looks.
            _ => PortError::transient("StorageFailed", what),
        };
        port.with_source(error)
    }

    async fn size(&self, path: &str) -> Result<u64, PortError> {
        let mut fs = self.connection.sftp.fs();
        let data = self.run(async { fs.metadata(path).await }).await?;
        data.len().ok_or_else(|| {
            PortError::terminal("NotSupported", format!("{}: no size is told", self.what))
        })
    }

    async fn make_folder(&self, path: &str) -> Result<(), PortError> {
        let mut fs = self.connection.sftp.fs();
        let mut builder = fs.dir_builder();
        // Encrypted or not: what nobody else needs to read is for the owner.
        let mut mode = Permissions::from(0);
        mode.set_read_by_owner(true).set_write_by_owner(true).set_execute_by_owner(true);
        builder.permissions(mode);
        let made = self.run(async { builder.create(path).await }).await;
        match made {
            Err(error) if error.reason == "StorageFailed" || error.reason == "PermissionDenied" => {
                // It may be there already, as `/` and `/home` are.
                let mut fs = self.connection.sftp.fs();
                match self.run(async { fs.metadata(path).await }).await {
                    Ok(data) if data.file_type().is_some_and(|kind| kind.is_dir()) => Ok(()),
                    _ => Err(error),
                }
            }
            done => done,
        }
    }

    async fn folders(&self) -> Result<(), PortError> {
        let root = self.inner.spec.path.trim_end_matches('/');
        for (at, _) in root.match_indices('/').filter(|(at, _)| *at > 0) {
            self.make_folder(&root[..at]).await?;
        }
        if !root.is_empty() {
            self.make_folder(root).await?;
        }
        for kind in FileKind::LISTED {
            self.make_folder(&self.inner.full(kind.folder())).await?;
        }
        let shards = (0..=255u8).map(|b| self.inner.full(&format!("data/{b:02x}")));
        stream::iter(shards)
            .map(|path| async move { self.make_folder(&path).await })
            .buffer_unordered(AT_ONCE)
            .try_collect::<Vec<()>>()
            .await
            .map(|_| ())
    }

    /// Returns a folder's entries.
    async fn entries(&self, path: &str) -> Result<Vec<(String, u64, bool)>, PortError> {
        let mut fs = self.connection.sftp.fs();
        self.run(async {
            let folder = fs.open_dir(path).await?.read_dir();
            futures_util::pin_mut!(folder);
            let mut all = Vec::new();
            while let Some(entry) = folder.next().await {
                let entry = entry?;
                let data = entry.metadata();
                let folder = entry.file_type().is_some_and(|kind| kind.is_dir());
                if let Some(name) = entry.filename().to_str() {
                    all.push((name.to_owned(), data.len().unwrap_or(0), folder));
                }
            }
            Ok(all)
        })
        .await
    }

    async fn open(&self, path: &str) -> Result<File, PortError> {
        self.run(self.connection.sftp.open(path)).await
    }

    /// Reads a part of a file, many requests at once; less than asked for where the file ends.
    async fn read(&self, file: &File, offset: u64, size: usize) -> Result<Vec<u8>, PortError> {
        let step = PART_BYTES;
        let parts = (0..size).step_by(step).map(|at| (at, step.min(size - at)));
        let mut parts = stream::iter(parts)
            .map(|(at, wanted)| {
                let file = file.clone();
                async move { self.run(read_part(file, offset + at as u64, wanted)).await }
            })
            .buffered(AT_ONCE);
        let mut all = Vec::with_capacity(size);
        while let Some(part) = parts.next().await {
            let part = part?;
            all.extend_from_slice(&part);
            if part.len() < step {
                break;
            }
        }
        Ok(all)
    }

    async fn write(&self, path: &str, data: &Bytes) -> Result<(), PortError> {
        let mut options = self.connection.sftp.options();
        options.write(true).create_new(true);
        let file = self.run(async { options.open(path).await }).await?;
        let step = PART_BYTES;
        let parts = (0..data.len()).step_by(step);
        stream::iter(parts)
            .map(|at| {
                let (mut file, part) = (file.clone(), data.slice(at..(at + step).min(data.len())));
                let write = async move {
                    file.seek(std::io::SeekFrom::Start(at as u64)).await?;
                    file.write_all(&part).await
                };
                self.run(write)
            })
            .buffer_unordered(AT_ONCE)
            .try_collect::<Vec<()>>()
            .await?;
        let mut last = file;
        if self.connection.sftp.support_fsync() {
            self.run(async { last.sync_all().await }).await?;
        }
        self.run(last.close()).await
    }

    /// Gives a complete file its name unless the name is taken.
    async fn place(&self, temporary: &str, path: &str) -> Result<(), PortError> {
        let mut fs = self.connection.sftp.fs();
        if self.connection.sftp.support_hardlink()
            && self.run(async { fs.hard_link(temporary, path).await }).await.is_ok()
        {
            return Ok(());
        }
        // The name is taken, or the file system has no links: a look and a rename do then, which is
        // enough for names that are digests.
        match self.size(path).await {
            Ok(_) => Err(PortError::terminal(ALREADY_EXISTS, self.what.clone())),
            Err(error) if error.reason == NOT_FOUND => {
                self.run(async { fs.rename(temporary, path).await }).await
            }
            Err(error) => Err(error),
        }
    }

    /// Tells a full disk from other failures, where the server can.
    async fn full(&self, error: PortError, wanted: usize) -> PortError {
        if error.reason != "StorageFailed" || !self.connection.sftp.support_statvfs() {
            return error;
        }
        let mut fs = self.connection.sftp.fs();
        let root = Path::new(&self.inner.spec.path);
        match self.run(async { fs.statvfs(root).await }).await {
            Ok(space) if space.bavail.saturating_mul(space.frsize) < wanted as u64 => {
                PortError::transient("DiskFull", self.what.clone())
                    .with_hint("free space there")
                    .with_source(error)
            }
            _ => error,
        }
    }

    async fn save(&self, kind: FileKind, path: &str, data: &Bytes) -> Result<(), PortError> {
        let (folder, _) = path.rsplit_once('/').unwrap_or(("", path));
        let serial = self.inner.serial.fetch_add(1, Ordering::Relaxed);
        let temporary = format!("{folder}/{TEMPORARY_PREFIX}{}-{serial}", unique());
        let written = match self.write(&temporary, data).await {
            // restic makes the folders of packs when it initialises; others make them on demand.
            Err(error) if error.reason == NOT_FOUND && kind == FileKind::Pack => {
                self.make_folder(folder).await?;
                self.write(&temporary, data).await
            }
            done => done,
        };
        let placed = match written {
            Ok(()) => self.place(&temporary, path).await,
            Err(error) => Err(self.full(error, data.len()).await),
        };
        // A rename took it away already; then it is not there to be removed.
        let mut fs = self.connection.sftp.fs();
        let _ = self.connection.run(async { fs.remove_file(&temporary).await }).await;
        placed
    }
}

/// Returns what tells this process's temporary files from those of other machines.
fn unique() -> String {
    let mut bytes = [0; 8];
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    format!("{:x}-{:016x}", std::process::id(), u64::from_le_bytes(bytes))
}

async fn read_part(mut file: File, offset: u64, wanted: usize) -> Result<BytesMut, Error> {
    let mut all = BytesMut::new();
    while all.len() < wanted {
        // A short answer moves the file's own offset as if it had been whole.
        file.seek(std::io::SeekFrom::Start(offset + all.len() as u64)).await?;
        let left = u32::try_from(wanted - all.len()).unwrap_or(u32::MAX);
        match file.read(left, BytesMut::with_capacity(left as usize)).await? {
            Some(part) if !part.is_empty() => all.extend_from_slice(&part),
            _ => break,
        }
    }
    Ok(all)
}

impl SftpStorage {
    fn what(&self, doing: &str, kind: FileKind, name: &str) -> String {
        layout::what(doing, kind, name, &self.inner.location)
    }

    fn path(&self, kind: FileKind, name: &str) -> Result<String, PortError> {
        Ok(self.inner.full(&layout::path(kind, name)?))
    }

    /// Lists folders, many at once.
    fn list_folders(
        &self,
        folders: Vec<String>,
        what: String,
    ) -> Result<Vec<(String, u64, bool)>, PortError> {
        let inner = self.inner.clone();
        wait(async move {
            let request = inner.request(what).await?;
            let request = &request;
            let all: Vec<_> = stream::iter(folders)
                .map(|folder| async move { request.entries(&folder).await })
                .buffer_unordered(AT_ONCE)
                .try_collect()
                .await?;
            Ok(all.into_iter().flatten().collect())
        })
    }
}

impl Storage for SftpStorage {
    fn location(&self) -> String {
        self.inner.location.clone()
    }

    fn connections(&self) -> usize {
        CONNECTIONS
    }

    fn create(&self) -> Result<(), PortError> {
        let (inner, what) = (self.inner.clone(), format!("cannot make {}", self.inner.location));
        wait(async move { inner.request(what).await?.folders().await })
    }

    fn list(
        &self,
        kind: FileKind,
        each: &mut dyn FnMut(Listed) -> Result<(), PortError>,
    ) -> Result<(), PortError> {
        if kind == FileKind::Config {
            return layout::list_config(self, each);
        }
        let what = self.what("list", kind, "");
        let root = self.inner.full(kind.folder());
        let entries = self.list_folders(vec![root.clone()], what.clone())?;
        let mut hand_over = |entries: Vec<(String, u64, bool)>| {
            for (name, size_bytes, is_folder) in entries {
                if !is_folder && layout::checked(kind, &name).is_ok() {
                    each(Listed { name, size_bytes })?;
                }
            }
            Ok(())
        };
        if kind != FileKind::Pack {
            return hand_over(entries);
        }
        let is_shard = |name: &str| name.len() == 2 && name.bytes().all(|b| b.is_ascii_hexdigit());
        let shards =
            entries.into_iter().filter(|(name, _, is_folder)| *is_folder && is_shard(name));
        let shards: Vec<String> = shards.map(|(name, ..)| format!("{root}/{name}")).collect();
        for some in shards.chunks(AT_ONCE) {
            hand_over(self.list_folders(some.to_vec(), what.clone())?)?;
        }
        Ok(())
    }

    fn stat(&self, kind: FileKind, name: &str) -> Result<u64, PortError> {
        let path = self.path(kind, name)?;
        let (inner, what) = (self.inner.clone(), self.what("look at", kind, name));
        wait(async move { inner.request(what).await?.size(&path).await })
    }

    fn load(&self, kind: FileKind, name: &str, size_bytes_max: u64) -> Result<Vec<u8>, PortError> {
        let path = self.path(kind, name)?;
        let (inner, what) = (self.inner.clone(), self.what("load", kind, name));
        wait(async move {
            let request = inner.request(what).await?;
            let size = request.size(&path).await?;
            if size > size_bytes_max {
                let what = &request.what;
                let message = format!("{what}: it has {size} bytes, more than {size_bytes_max}");
                return Err(PortError::terminal(TOO_LARGE, message));
            }
            let file = request.open(&path).await?;
            request.read(&file, 0, usize::try_from(size).unwrap_or(usize::MAX)).await
        })
    }

    fn load_range(
        &self,
        kind: FileKind,
        name: &str,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), PortError> {
        let path = self.path(kind, name)?;
        let (inner, what) = (self.inner.clone(), self.what("read", kind, name));
        let size = buffer.len();
        let bytes = wait(async move {
            let request = inner.request(what).await?;
            let file = request.open(&path).await?;
            match request.read(&file, offset, size).await {
                Ok(bytes) if bytes.len() == size => return Ok(bytes),
                Ok(_) => {}
                // An offset that no file has is an error to some servers; whether this file has it
                // is looked at.
                Err(error) if error.reason == "StorageFailed" => {
                    if request.size(&path).await? >= offset.saturating_add(size as u64) {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
            let message = format!("{}: it ends too early", request.what);
            Err(PortError::terminal(SHORT_READ, message))
        })?;
        buffer.copy_from_slice(&bytes);
        Ok(())
    }

    fn save(
        &self,
        kind: FileKind,
        name: &str,
        data: &[u8],
        _sha256: &[u8; 32],
    ) -> Result<(), PortError> {
        // SSH authenticates every packet: no byte changes on the way. What memory and disk do to it
        // is found by verification.
        let path = self.path(kind, name)?;
        let (inner, what) = (self.inner.clone(), self.what("save", kind, name));
        let data = Bytes::copy_from_slice(data);
        wait(async move { inner.request(what).await?.save(kind, &path, &data).await })
    }

    fn delete(&self, kind: FileKind, name: &str) -> Result<(), PortError> {
        let path = self.path(kind, name)?;
        let (inner, what) = (self.inner.clone(), self.what("delete", kind, name));
        wait(async move {
            let request = inner.request(what).await?;
            let mut fs = request.connection.sftp.fs();
            request.run(async { fs.remove_file(&path).await }).await
        })
    }
}
