//! Snapshots as a read-only file system of this machine, by the kernel's FUSE. Called by
//! `repository mount`; what is shown where is decided there.
//!
//! fuser was weighed against fuse3 (async, for a synchronous engine) and a copy of libfuse: it
//! speaks the protocol itself and mounts as root, or with the system's `fusermount3`, without any
//! library of C.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyXattr, Request, Session, SessionACL, SessionUnmounter,
};
use model::error::PortError;
use model::ports::mover::{Entry, EntryKind, FileTime};
use model::ports::storage::NOT_FOUND;
use repository::browse::Browser;
use rustix::mount::{UnmountFlags, unmount};
use tokio::sync::oneshot;

/// How long the kernel may go by what it was told: snapshots never change.
const LASTING: Duration = Duration::from_secs(3600);
/// Requests that are served at once: most wait for storage.
const THREADS: usize = 8;
/// Block in bytes that sizes are counted in.
const BLOCK_BYTES: u64 = 512;
/// What readers of a folder see for an entry's number before it was looked at.
const NUMBER_UNKNOWN: INodeNo = INodeNo(0xffff_ffff);
/// Longest time for the last requests once it is unmounted.
const END: Duration = Duration::from_secs(5);

/// What a folder holds, as it was when it was opened.
type Listing = Arc<Vec<(Vec<u8>, EntryKind)>>;

struct Snapshots {
    browser: Browser,
    open: Mutex<HashMap<u64, Listing>>,
    next: AtomicU64,
}

/// A mounted file system; it ends with the process at the latest.
pub struct Mounted {
    at: PathBuf,
    unmounter: SessionUnmounter,
    ended: oneshot::Receiver<io::Result<()>>,
}

/// Mounts what a browser shows on an empty folder, for this user or for all of them.
pub fn mount(browser: Browser, at: &Path, all_users: bool) -> Result<Mounted, PortError> {
    let at = empty(at)?;
    let mut config = Config::default();
    // What a backup holds is data here: no program of it gains rights, no node opens a device.
    config.mount_options = vec![
        MountOption::RO,
        MountOption::NoSuid,
        MountOption::NoDev,
        MountOption::FSName("mainstay".to_owned()),
    ];
    if all_users {
        config.acl = SessionACL::All;
        // Else all of them would read whatever the repository's owner may.
        config.mount_options.push(MountOption::DefaultPermissions);
    }
    config.n_threads = Some(THREADS);
    let shown = Snapshots { browser, open: Mutex::default(), next: AtomicU64::new(1) };
    let mut session = Session::new(shown, &at, &config).map_err(|error| refused(&at, error))?;
    let unmounter = session.unmount_callable();
    let (tell, ended) = oneshot::channel();
    std::thread::Builder::new()
        .name("mount".to_owned())
        .spawn(move || drop(tell.send(session.run())))
        .map_err(|error| refused(&at, error))?;
    Ok(Mounted { at, unmounter, ended })
}

/// Returns a folder's path if nothing is in it that a mount would hide.
fn empty(at: &Path) -> Result<PathBuf, PortError> {
    let unusable = |why: &str| {
        PortError::terminal("BadMountPoint", format!("{} {why}", at.display()))
            .with_hint("name an empty folder")
    };
    let fail = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => unusable("does not exist"),
        io::ErrorKind::NotADirectory => unusable("is no folder"),
        _ if error.raw_os_error() == Some(rustix::io::Errno::NOTCONN.raw_os_error()) => {
            let at = at.display();
            let hint = format!("run `umount {at}` (without root: `fusermount3 -u {at}`) first");
            unusable("is what a mount left that was killed").with_hint(hint)
        }
        _ => unusable("cannot be looked at").with_source(error),
    };
    let path = at.canonicalize().map_err(fail)?;
    match fs::read_dir(&path).map_err(fail)?.next() {
        None => Ok(path),
        Some(_) => Err(unusable("is not empty")),
    }
}

fn refused(at: &Path, error: io::Error) -> PortError {
    let hint = match error.kind() {
        io::ErrorKind::NotFound => {
            "this kernel or container has no FUSE (/dev/fuse), or, for others than root, the \
             program fusermount3 (package fuse3) is missing"
        }
        io::ErrorKind::PermissionDenied => {
            "mount as root, or install fusermount3 (package fuse3); for all users \
             /etc/fuse.conf must say user_allow_other"
        }
        _ => "what the kernel said of it is above; `restore` and `dump` work without a mount",
    };
    PortError::terminal("MountFailed", format!("cannot mount on {}", at.display()))
        .with_hint(hint)
        .with_source(error)
}

impl Mounted {
    /// Waits until somebody unmounts it.
    pub async fn ended(&mut self) {
        // A session that is gone without a word has ended too.
        drop((&mut self.ended).await);
    }

    /// Unmounts it. What is still open in it can be used no more once the process has ended.
    pub async fn unmount(mut self) -> Result<(), PortError> {
        if let Err(error) = self.unmounter.unmount() {
            tracing::debug!("{} is in use: {error}", self.at.display());
            // Taken out of the tree at once, and gone with its last user.
            unmount(&self.at, UnmountFlags::DETACH).map_err(|error| {
                PortError::terminal("MountFailed", format!("{} stays", self.at.display()))
                    .with_hint("`umount` it once nothing uses it")
                    .with_source(error)
            })?;
            return Ok(());
        }
        drop(tokio::time::timeout(END, self.ended()).await);
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn errno(error: &PortError, wrong_kind: Errno) -> Errno {
    match error.reason {
        NOT_FOUND => Errno::ENOENT,
        "WrongKind" => wrong_kind,
        _ => {
            tracing::warn!("a read failed: {}", error.chain());
            Errno::EIO
        }
    }
}

fn file_type(kind: EntryKind) -> FileType {
    match kind {
        EntryKind::File => FileType::RegularFile,
        EntryKind::Directory => FileType::Directory,
        EntryKind::Symlink => FileType::Symlink,
        EntryKind::BlockDevice => FileType::BlockDevice,
        EntryKind::CharDevice => FileType::CharDevice,
        EntryKind::Fifo => FileType::NamedPipe,
        EntryKind::Socket => FileType::Socket,
    }
}

fn instant(time: FileTime) -> SystemTime {
    let seconds = Duration::from_secs(time.seconds.unsigned_abs());
    let whole = match time.seconds {
        0.. => SystemTime::UNIX_EPOCH.checked_add(seconds),
        _ => SystemTime::UNIX_EPOCH.checked_sub(seconds),
    };
    let exact = whole.and_then(|at| at.checked_add(Duration::from_nanos(time.nanos.into())));
    exact.unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Returns a device's number as the kernel's protocol has it: 12 bits and 20.
fn device(number: u64) -> u32 {
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & 0xfff00) << 12)
}

fn attributes(number: u64, entry: &Entry) -> FileAttr {
    let size = match entry.kind {
        EntryKind::Symlink => entry.link_target.len() as u64,
        _ => entry.size,
    };
    FileAttr {
        ino: INodeNo(number),
        size,
        blocks: entry.size.div_ceil(BLOCK_BYTES),
        atime: instant(entry.atime),
        mtime: instant(entry.mtime),
        ctime: instant(entry.ctime),
        crtime: SystemTime::UNIX_EPOCH,
        kind: file_type(entry.kind),
        perm: u16::try_from(entry.mode & 0o7777).unwrap_or(0),
        nlink: u32::try_from(entry.links.max(1)).unwrap_or(u32::MAX),
        uid: entry.owner.uid,
        gid: entry.owner.gid,
        rdev: device(entry.rdev),
        blksize: 4096,
        flags: 0,
    }
}

/// Answers with a text, or with its size where that is asked for.
fn answer(reply: ReplyXattr, text: &[u8], size: u32) {
    match u32::try_from(text.len()) {
        Ok(length) if size == 0 => reply.size(length),
        Ok(length) if length <= size => reply.data(text),
        _ => reply.error(Errno::ERANGE),
    }
}

impl Filesystem for Snapshots {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.browser.find(parent.0, name.as_bytes()) {
            Ok(found) => {
                let shown = attributes(found.number, &found.entry);
                reply.entry(&LASTING, &shown, Generation(0));
            }
            Err(error) => reply.error(errno(&error, Errno::ENOTDIR)),
        }
    }

    fn forget(&self, _: &Request, number: INodeNo, times: u64) {
        self.browser.forget(number.0, times);
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.browser.entry(number.0) {
            Ok(entry) => reply.attr(&LASTING, &attributes(number.0, &entry)),
            Err(error) => reply.error(errno(&error, Errno::EIO)),
        }
    }

    fn readlink(&self, _: &Request, number: INodeNo, reply: ReplyData) {
        match self.browser.entry(number.0) {
            Ok(entry) if entry.kind == EntryKind::Symlink => reply.data(&entry.link_target),
            Ok(_) => reply.error(Errno::EINVAL),
            Err(error) => reply.error(errno(&error, Errno::EINVAL)),
        }
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        // What the kernel holds of a file from an earlier look is still right.
        reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn read(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.browser.read(number.0, offset, size as usize) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(errno(&error, Errno::EISDIR)),
        }
    }

    fn opendir(&self, _: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.browser.list(number.0) {
            Ok(listing) => {
                let handle = self.next.fetch_add(1, Ordering::Relaxed);
                lock(&self.open).insert(handle, Arc::new(listing));
                reply.opened(FileHandle(handle), FopenFlags::empty());
            }
            Err(error) => reply.error(errno(&error, Errno::ENOTDIR)),
        }
    }

    fn readdir(
        &self,
        _: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let Some(listing) = lock(&self.open).get(&handle.0).cloned() else {
            return reply.error(Errno::EBADF);
        };
        let own = [(number, &b"."[..]), (NUMBER_UNKNOWN, b"..")];
        let own = own.into_iter().map(|(number, name)| (number, name, FileType::Directory));
        let below = listing.iter().map(|(name, kind)| {
            let kind = file_type(*kind);
            (NUMBER_UNKNOWN, name.as_slice(), kind)
        });
        let skip = usize::try_from(offset).unwrap_or(usize::MAX);
        for (at, (number, name, kind)) in own.chain(below).enumerate().skip(skip) {
            if reply.add(number, at as u64 + 1, kind, OsStr::from_bytes(name)) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        reply: ReplyEmpty,
    ) {
        lock(&self.open).remove(&handle.0);
        reply.ok();
    }

    fn getxattr(&self, _: &Request, number: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        match self.browser.entry(number.0) {
            Ok(entry) => match entry.xattrs.iter().find(|(known, _)| known == name.as_bytes()) {
                Some((_, value)) => answer(reply, value, size),
                None => reply.error(Errno::NO_XATTR),
            },
            Err(error) => reply.error(errno(&error, Errno::EIO)),
        }
    }

    fn listxattr(&self, _: &Request, number: INodeNo, size: u32, reply: ReplyXattr) {
        match self.browser.entry(number.0) {
            Ok(entry) => {
                let names: Vec<u8> = entry
                    .xattrs
                    .iter()
                    .flat_map(|(name, _)| [name.as_slice(), &[0]].concat())
                    .collect();
                answer(reply, &names, size);
            }
            Err(error) => reply.error(errno(&error, Errno::EIO)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_empty_folder_is_mounted_on() {
        let tmp = tempfile::tempdir().unwrap();
        let reason = |at: &Path| {
            let error = empty(at).unwrap_err();
            assert_eq!(error.reason, "BadMountPoint");
            error.message
        };
        assert_eq!(empty(tmp.path()).unwrap(), tmp.path().canonicalize().unwrap());
        assert!(reason(&tmp.path().join("missing")).contains("does not exist"));
        fs::write(tmp.path().join("file"), "").unwrap();
        assert!(reason(&tmp.path().join("file")).contains("is no folder"));
        assert!(reason(tmp.path()).contains("is not empty"));
    }

    #[test]
    fn times_before_1970_and_large_devices_are_kept() {
        let time = FileTime { seconds: -2, nanos: 500_000_000 };
        let ago = SystemTime::UNIX_EPOCH.duration_since(instant(time)).unwrap();
        assert_eq!(ago, Duration::from_millis(1500));
        let number = rustix::fs::makedev(259, 0x1_2345);
        assert_eq!(device(number), 0x45 | (259 << 8) | (0x123 << 20));
    }
}
