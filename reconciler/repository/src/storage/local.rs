//! Storage in a local folder, in the layout of restic's local backend.
//!
//! A file is written under a temporary name beside its place, synced, linked to its name, and the
//! folder synced: after a crash a file is whole or not there.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use model::error::{ErrorClass, PortError};
use model::ports::storage::{
    ALREADY_EXISTS, FileKind, Listed, NOT_FOUND, SHORT_READ, Storage, TOO_LARGE,
};

/// How a temporary file's name begins; listings leave these out, as they are not hexadecimal.
const TEMPORARY_PREFIX: &str = ".mainstay-tmp-";

/// A repository's files below one folder.
pub struct LocalStorage {
    root: PathBuf,
    serial: AtomicU64,
}

/// Turns an I/O error into one with a class: a full disk or a lost mount may pass.
fn io_error(path: &Path, doing: &str, e: io::Error) -> PortError {
    let (class, reason) = match e.kind() {
        io::ErrorKind::NotFound => (ErrorClass::Terminal, NOT_FOUND),
        io::ErrorKind::AlreadyExists => (ErrorClass::Terminal, ALREADY_EXISTS),
        io::ErrorKind::UnexpectedEof => (ErrorClass::Terminal, SHORT_READ),
        io::ErrorKind::PermissionDenied => (ErrorClass::Terminal, "PermissionDenied"),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            (ErrorClass::Transient, "DiskFull")
        }
        io::ErrorKind::ReadOnlyFilesystem => (ErrorClass::Terminal, "ReadOnly"),
        _ => (ErrorClass::Transient, "StorageIo"),
    };
    PortError::new(class, reason, format!("cannot {doing} {}", path.display())).with_source(e)
}

fn is_hex(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

impl LocalStorage {
    /// Returns storage below the given folder, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), serial: AtomicU64::new(0) }
    }

    fn folder(&self, kind: FileKind, name: &str) -> PathBuf {
        match kind {
            FileKind::Config => self.root.clone(),
            FileKind::Pack => self.root.join("data").join(&name[..2]),
            _ => self.root.join(kind.folder()),
        }
    }

    fn path(&self, kind: FileKind, name: &str) -> Result<PathBuf, PortError> {
        if kind == FileKind::Config {
            return Ok(self.root.join("config"));
        }
        if !is_hex(name) || name.len() < 3 {
            return Err(PortError::terminal("BadName", format!("{name:?} is not a file id")));
        }
        Ok(self.folder(kind, name).join(name))
    }

    fn list_folder(
        &self,
        folder: &Path,
        each: &mut dyn FnMut(Listed) -> Result<(), PortError>,
    ) -> Result<(), PortError> {
        let entries = fs::read_dir(folder).map_err(|e| io_error(folder, "list", e))?;
        for entry in entries {
            let entry = entry.map_err(|e| io_error(folder, "list", e))?;
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|n| is_hex(n)) else { continue };
            match entry.metadata() {
                Ok(meta) if meta.is_file() => {
                    each(Listed { name: name.to_owned(), size_bytes: meta.len() })?;
                }
                Ok(_) => {}
                // Deleted between listing and look.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(io_error(&entry.path(), "look at", e)),
            }
        }
        Ok(())
    }

    fn write_temporary(&self, folder: &Path, data: &[u8]) -> Result<PathBuf, PortError> {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let temporary = folder.join(format!("{TEMPORARY_PREFIX}{}-{serial}", std::process::id()));
        // A crash may have left one of the same name behind.
        let _ = fs::remove_file(&temporary);
        let written =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary).and_then(
                |mut file| {
                    file.write_all(data)?;
                    file.set_permissions(Permissions::from_mode(0o400))?;
                    file.sync_all()
                },
            );
        written.map_err(|e| {
            let _ = fs::remove_file(&temporary);
            io_error(&temporary, "write", e)
        })?;
        Ok(temporary)
    }
}

impl Storage for LocalStorage {
    fn location(&self) -> String {
        self.root.display().to_string()
    }

    fn connections(&self) -> usize {
        2
    }

    fn create(&self) -> Result<(), PortError> {
        let folders = FileKind::LISTED.map(|kind| self.root.join(kind.folder()));
        let packs = (0..=255u8).map(|b| self.root.join("data").join(format!("{b:02x}")));
        for folder in [self.root.clone()].into_iter().chain(folders).chain(packs) {
            fs::create_dir_all(&folder).map_err(|e| io_error(&folder, "create", e))?;
            let private = Permissions::from_mode(0o700);
            fs::set_permissions(&folder, private).map_err(|e| io_error(&folder, "set up", e))?;
        }
        sync_folder(&self.root.join("data"))?;
        sync_folder(&self.root)
    }

    fn list(
        &self,
        kind: FileKind,
        each: &mut dyn FnMut(Listed) -> Result<(), PortError>,
    ) -> Result<(), PortError> {
        match kind {
            FileKind::Config => match self.stat(kind, "") {
                Ok(size_bytes) => each(Listed { name: String::new(), size_bytes }),
                Err(e) if e.reason == NOT_FOUND => Ok(()),
                Err(e) => Err(e),
            },
            FileKind::Pack => {
                let data = self.root.join("data");
                for entry in fs::read_dir(&data).map_err(|e| io_error(&data, "list", e))? {
                    let entry = entry.map_err(|e| io_error(&data, "list", e))?;
                    let name = entry.file_name();
                    if name.to_str().is_some_and(|n| n.len() == 2 && is_hex(n)) {
                        self.list_folder(&entry.path(), each)?;
                    }
                }
                Ok(())
            }
            _ => self.list_folder(&self.root.join(kind.folder()), each),
        }
    }

    fn stat(&self, kind: FileKind, name: &str) -> Result<u64, PortError> {
        let path = self.path(kind, name)?;
        fs::metadata(&path).map(|m| m.len()).map_err(|e| io_error(&path, "look at", e))
    }

    fn load(&self, kind: FileKind, name: &str, size_bytes_max: u64) -> Result<Vec<u8>, PortError> {
        let path = self.path(kind, name)?;
        let read = || -> io::Result<Option<Vec<u8>>> {
            let file = File::open(&path)?;
            let size = file.metadata()?.len();
            if size > size_bytes_max {
                return Ok(None);
            }
            let mut data = Vec::with_capacity(size as usize);
            file.take(size_bytes_max + 1).read_to_end(&mut data)?;
            Ok((data.len() as u64 <= size_bytes_max).then_some(data))
        };
        read().map_err(|e| io_error(&path, "read", e))?.ok_or_else(|| {
            PortError::terminal(
                TOO_LARGE,
                format!("{} is larger than {size_bytes_max} bytes", path.display()),
            )
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
        File::open(&path)
            .and_then(|file| file.read_exact_at(buffer, offset))
            .map_err(|e| io_error(&path, "read", e))
    }

    fn save(
        &self,
        kind: FileKind,
        name: &str,
        data: &[u8],
        _sha256: &[u8; 32],
    ) -> Result<(), PortError> {
        let path = self.path(kind, name)?;
        let folder = self.folder(kind, name);
        let temporary = match self.write_temporary(&folder, data) {
            // restic makes the folders of packs when it initialises; others make them on demand.
            Err(e) if e.reason == NOT_FOUND && kind == FileKind::Pack => {
                fs::create_dir_all(&folder).map_err(|e| io_error(&folder, "create", e))?;
                sync_folder(&self.root.join("data"))?;
                self.write_temporary(&folder, data)?
            }
            other => other?,
        };
        let placed = place(&temporary, &path);
        let _ = fs::remove_file(&temporary);
        placed.map_err(|e| io_error(&path, "save", e))?;
        sync_folder(&folder)
    }

    fn delete(&self, kind: FileKind, name: &str) -> Result<(), PortError> {
        let path = self.path(kind, name)?;
        fs::remove_file(&path).map_err(|e| io_error(&path, "delete", e))?;
        sync_folder(&self.folder(kind, name))
    }
}

/// Gives a complete file its name unless the name is taken. A hard link does both at once; where
/// the file system has none, a look and a rename do, which is enough for names that are digests.
fn place(temporary: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(temporary, path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
            if path.exists() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            fs::rename(temporary, path)
        }
        other => other,
    }
}

fn sync_folder(folder: &Path) -> Result<(), PortError> {
    match File::open(folder).and_then(|f| f.sync_all()) {
        // Some network file systems cannot sync a folder.
        Err(e) if e.kind() == io::ErrorKind::InvalidInput => Ok(()),
        other => other.map_err(|e| io_error(folder, "sync", e)),
    }
}
