//! The mover port's writing side for files of this machine: a tree below one directory.
//!
//! What is restored may come from a hostile host, and others may work in the target meanwhile. Each
//! path component is checked, and the kernel resolves every path beneath the target's handle
//! without following any symbolic link (`openat2`, or step by step where a kernel lacks it).

use std::cell::RefCell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use model::error::{ErrorClass, PortError};
use model::ports::mover::{
    BlobHash, Entry, EntryKind, FileTime, Overwrite, Prepared, Problem, ProblemKind, TargetMover,
};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use crate::hash::hash;
use crate::stat::{self, ByFd, ByPath};
use crate::walk::list;

/// Pages of zeros that become a hole; the smallest block of common file systems.
const HOLE_BYTES: usize = 4096;

/// Writes below one directory of this machine in this process.
pub struct LocalTarget {
    root: OwnedFd,
    /// Tells the handles that threads keep from those of other targets, and from those that were
    /// opened before something was removed here.
    serial: AtomicU64,
    root_user: bool,
}

struct Kept {
    serial: u64,
    path: Vec<u8>,
    fd: Rc<OwnedFd>,
}

impl Kept {
    fn is(&self, serial: u64, path: &[u8]) -> bool {
        self.serial == serial && self.path == path
    }
}

thread_local! {
    /// The directory that this thread wrote to last: neighbours come next.
    static LAST: RefCell<Option<Kept>> = const { RefCell::new(None) };
    /// The file that this thread wrote a part of last.
    static LAST_FILE: RefCell<Option<Kept>> = const { RefCell::new(None) };
}

static SERIAL: AtomicU64 = AtomicU64::new(1);

fn error(path: &[u8], doing: &str, e: Errno) -> PortError {
    let (class, reason) = match e {
        Errno::NOSPC | Errno::DQUOT => (ErrorClass::Terminal, "DiskFull"),
        Errno::ACCESS | Errno::PERM => (ErrorClass::Terminal, "PermissionDenied"),
        Errno::ROFS => (ErrorClass::Terminal, "ReadOnly"),
        Errno::LOOP => (ErrorClass::Terminal, "Refused"),
        _ => (ErrorClass::Terminal, "TargetIo"),
    };
    PortError::new(class, reason, format!("cannot {doing} {}", path.escape_ascii())).with_source(e)
}

fn check(path: &[u8]) -> Result<(), PortError> {
    let bad = |part: &[u8]| part.is_empty() || part == b"." || part == b".." || part.contains(&0);
    if path.split(|b| *b == b'/').any(bad) {
        let shown = path.escape_ascii();
        return Err(PortError::terminal("Refused", format!("{shown} is no path below the target")));
    }
    Ok(())
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

/// Opens a path below a directory without following any link in it.
fn open_beneath(
    root: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlags,
    mode: Mode,
) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    if path.is_empty() {
        return rustix::fs::openat(root, ".", flags, mode);
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(root, path, flags, mode, resolve) {
        // ENOSYS before Linux 5.6; sandboxes may answer EPERM.
        Err(Errno::NOSYS | Errno::PERM) => {}
        other => return other,
    }
    let steps = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let (folder, name) = split(path);
    let mut at = rustix::io::fcntl_dupfd_cloexec(root, 0)?;
    for part in folder.split(|b| *b == b'/').filter(|p| !p.is_empty()) {
        at = rustix::fs::openat(&at, part, steps, Mode::empty())?;
    }
    rustix::fs::openat(&at, name, flags, mode)
}

impl LocalTarget {
    /// Makes the directory where it is missing, and opens it. The path itself may lead through
    /// symbolic links: it is the caller's.
    pub fn open(path: &Path) -> Result<Self, PortError> {
        use std::os::unix::ffi::OsStrExt;
        let shown = path.as_os_str().as_bytes();
        let fail = |e: Errno| error(shown, "open the target", e);
        std::fs::create_dir_all(path)
            .map_err(|e| fail(Errno::from_io_error(&e).unwrap_or(Errno::IO)))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty()).map_err(fail)?;
        let serial = AtomicU64::new(SERIAL.fetch_add(1, Ordering::Relaxed));
        Ok(Self { root, serial, root_user: rustix::process::geteuid().is_root() })
    }

    fn folder(&self, path: &[u8]) -> Result<Rc<OwnedFd>, PortError> {
        LAST.with_borrow_mut(|last| {
            if let Some(kept) = last.as_ref().filter(|k| k.is(self.serial(), path)) {
                return Ok(Rc::clone(&kept.fd));
            }
            let flags = OFlags::PATH | OFlags::DIRECTORY;
            let fd = open_beneath(self.root.as_fd(), path, flags, Mode::empty())
                .map_err(|e| error(path, "open the directory", e))?;
            let fd = Rc::new(fd);
            *last = Some(Kept { serial: self.serial(), path: path.to_vec(), fd: Rc::clone(&fd) });
            Ok(fd)
        })
    }

    fn serial(&self) -> u64 {
        self.serial.load(Ordering::Relaxed)
    }

    /// Makes all threads open anew what they kept open: it may lead to what is removed.
    fn forget_handles(&self) {
        self.serial.store(SERIAL.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Opens a file to write parts of it.
    fn part_of(&self, path: &[u8]) -> Result<Rc<OwnedFd>, PortError> {
        LAST_FILE.with_borrow_mut(|last| {
            if let Some(kept) = last.as_ref().filter(|k| k.is(self.serial(), path)) {
                return Ok(Rc::clone(&kept.fd));
            }
            let (at, name) = self.parent(path)?;
            let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(&*at, name, flags, Mode::empty())
                .map_err(|e| error(path, "write", e))?;
            let fd = Rc::new(fd);
            *last = Some(Kept { serial: self.serial(), path: path.to_vec(), fd: Rc::clone(&fd) });
            Ok(fd)
        })
    }

    /// Returns the open parent directory and the last component.
    fn parent<'p>(&self, path: &'p [u8]) -> Result<(Rc<OwnedFd>, &'p [u8]), PortError> {
        check(path)?;
        let (folder, name) = split(path);
        Ok((self.folder(folder)?, name))
    }

    fn remove_at(&self, at: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<(), PortError> {
        let fail = |e| error(path, "remove", e);
        self.forget_handles();
        match rustix::fs::unlinkat(at, name, AtFlags::empty()) {
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(Errno::NOENT) => return Ok(()),
            other => return other.map_err(fail),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(at, name, flags, Mode::empty()).map_err(fail)?;
        for child in list(&fd).map_err(fail)? {
            self.remove_at(fd.as_fd(), &child, path)?;
        }
        rustix::fs::unlinkat(at, name, AtFlags::REMOVEDIR).map_err(fail)
    }

    /// Makes a file anew. `None` when something is in the way.
    fn create(&self, at: BorrowedFd<'_>, name: &[u8]) -> Result<Option<OwnedFd>, Errno> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(at, name, flags, Mode::from_raw_mode(0o600)) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::EXIST) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Opens a file that is in the way for rewriting in place. One with further names is not: the
    /// others would change with it.
    fn reuse(&self, at: BorrowedFd<'_>, name: &[u8]) -> Option<OwnedFd> {
        let stat = rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_nlink != 1 {
            return None;
        }
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        rustix::fs::openat(at, name, flags, Mode::empty()).ok()
    }

    fn owner(&self, entry: &Entry) -> (Option<Uid>, Option<Gid>) {
        // Only root can give files away; others restore for themselves, as with tar and restic.
        if !self.root_user {
            return (None, None);
        }
        (Some(Uid::from_raw(entry.owner.uid)), Some(Gid::from_raw(entry.owner.gid)))
    }

    /// Sets all metadata of an open file or directory. The order matters: a new owner clears
    /// set-uid bits and capabilities, an ACL changes the mode, and every change moves the times.
    fn dress(&self, fd: BorrowedFd<'_>, path: &[u8], entry: &Entry) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut note = |doing: &str, result: Result<(), Errno>| {
            if let Err(e) = result {
                problems.push(metadata_problem(path, doing, e));
            }
        };
        let (uid, gid) = self.owner(entry);
        if uid.is_some() {
            note("set the owner", rustix::fs::fchown(fd, uid, gid));
        }
        match stat::xattrs(&ByFd(fd)) {
            Ok(present) => {
                for (name, _) in present.iter().filter(|(n, _)| !has(entry, n)) {
                    note("remove an attribute", rustix::fs::fremovexattr(fd, name.as_slice()));
                }
            }
            Err(e) => note("list attributes", Err(e)),
        }
        for (name, value) in &entry.xattrs {
            let set = rustix::fs::fsetxattr(fd, name.as_slice(), value, XattrFlags::empty());
            note(&format!("set attribute {}", name.escape_ascii()), set);
        }
        note("set the mode", rustix::fs::fchmod(fd, Mode::from_raw_mode(entry.mode)));
        note("set the times", rustix::fs::futimens(fd, &times(entry)));
        problems
    }

    /// The same for what cannot be opened: links, devices, pipes.
    fn dress_special(
        &self,
        at: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        entry: &Entry,
    ) -> Vec<Problem> {
        use std::os::fd::AsRawFd;
        let mut problems = Vec::new();
        let mut note = |doing: &str, result: Result<(), Errno>| {
            if let Err(e) = result {
                problems.push(metadata_problem(path, doing, e));
            }
        };
        let (uid, gid) = self.owner(entry);
        if uid.is_some() {
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            note("set the owner", rustix::fs::chownat(at, name, uid, gid, flags));
        }
        if !entry.xattrs.is_empty() {
            let mut place = format!("/proc/self/fd/{}/", at.as_raw_fd()).into_bytes();
            place.extend_from_slice(name);
            let present = stat::xattrs(&ByPath(&place)).unwrap_or_default();
            for (key, value) in entry.xattrs.iter().filter(|x| !present.contains(x)) {
                let set = rustix::fs::lsetxattr(
                    place.as_slice(),
                    key.as_slice(),
                    value,
                    XattrFlags::empty(),
                );
                note(&format!("set attribute {}", key.escape_ascii()), set);
            }
        }
        if entry.kind != EntryKind::Symlink {
            let mode = Mode::from_raw_mode(entry.mode);
            note("set the mode", rustix::fs::chmodat(at, name, mode, AtFlags::empty()));
        }
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        note("set the times", rustix::fs::utimensat(at, name, &times(entry), flags));
        problems
    }
}

fn metadata_problem(path: &[u8], doing: &str, e: Errno) -> Problem {
    let message = format!("cannot {doing}: {e}");
    Problem { path: path.to_vec(), kind: ProblemKind::Metadata, message }
}

fn has(entry: &Entry, name: &[u8]) -> bool {
    entry.xattrs.iter().any(|(n, _)| n == name)
}

fn times(entry: &Entry) -> Timestamps {
    let spec = |t: FileTime| Timespec { tv_sec: t.seconds, tv_nsec: i64::from(t.nanos) };
    Timestamps { last_access: spec(entry.atime), last_modification: spec(entry.mtime) }
}

fn write_all(fd: BorrowedFd<'_>, mut data: &[u8], mut offset: u64) -> Result<(), Errno> {
    while !data.is_empty() {
        match rustix::io::pwrite(fd, data, offset) {
            Ok(0) => return Err(Errno::IO),
            Ok(n) => {
                data = &data[n..];
                offset += n as u64;
            }
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn read_exact(fd: BorrowedFd<'_>, buffer: &mut [u8], offset: u64) -> Result<bool, Errno> {
    let mut done = 0;
    while done < buffer.len() {
        match rustix::io::pread(fd, &mut buffer[done..], offset + done as u64) {
            Ok(0) => return Ok(false),
            Ok(n) => done += n,
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(true)
}

/// Calls `each` with the runs of `data` that are not whole pages of zeros.
fn without_holes(
    data: &[u8],
    mut each: impl FnMut(usize, &[u8]) -> Result<(), Errno>,
) -> Result<(), Errno> {
    static ZEROS: [u8; HOLE_BYTES] = [0; HOLE_BYTES];
    let mut begin = None;
    for (number, page) in data.chunks(HOLE_BYTES).enumerate() {
        let at = number * HOLE_BYTES;
        if page == &ZEROS[..page.len()] {
            if let Some(from) = begin.take() {
                each(from, &data[from..at])?;
            }
        } else {
            begin.get_or_insert(at);
        }
    }
    begin.map_or(Ok(()), |from| each(from, &data[from..]))
}

impl TargetMover for LocalTarget {
    fn make_directory(&self, path: &[u8]) -> Result<(), PortError> {
        let (at, name) = self.parent(path)?;
        let mode = Mode::from_raw_mode(0o700);
        match rustix::fs::mkdirat(&*at, name, mode) {
            Ok(()) => return Ok(()),
            Err(Errno::EXIST) => {}
            Err(e) => return Err(error(path, "make the directory", e)),
        }
        let fail = |e| error(path, "make the directory", e);
        let stat = rustix::fs::statat(&*at, name, AtFlags::SYMLINK_NOFOLLOW).map_err(fail)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            self.remove_at(at.as_fd(), name, path)?;
            return rustix::fs::mkdirat(&*at, name, mode).map_err(fail);
        }
        if stat.st_mode & 0o700 != 0o700 {
            let mode = Mode::from_raw_mode(stat.st_mode & 0o7777 | 0o700);
            rustix::fs::chmodat(&*at, name, mode, AtFlags::empty()).map_err(fail)?;
        }
        Ok(())
    }

    fn prepare_file(
        &self,
        path: &[u8],
        size: u64,
        overwrite: Overwrite,
    ) -> Result<Prepared, PortError> {
        let (at, name) = self.parent(path)?;
        let fail = |e| error(path, "make", e);
        let (fd, prepared) = match self.create(at.as_fd(), name).map_err(fail)? {
            Some(fd) => (fd, Prepared::Fresh),
            None if overwrite == Overwrite::Never => return Ok(Prepared::Kept),
            None => match self.reuse(at.as_fd(), name) {
                Some(fd) => (fd, Prepared::Existing),
                None => {
                    self.remove_at(at.as_fd(), name, path)?;
                    let fd = self.create(at.as_fd(), name).map_err(fail)?;
                    (fd.ok_or_else(|| fail(Errno::EXIST))?, Prepared::Fresh)
                }
            },
        };
        rustix::fs::ftruncate(&fd, size).map_err(fail)?;
        Ok(prepared)
    }

    fn matching(
        &self,
        path: &[u8],
        pieces: &[(u64, u32, BlobHash)],
    ) -> Result<Vec<bool>, PortError> {
        check(path)?;
        let fail = |e| error(path, "read", e);
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let fd = open_beneath(self.root.as_fd(), path, flags, Mode::empty()).map_err(fail)?;
        let mut buffer = Vec::new();
        pieces
            .iter()
            .map(|(offset, length, wanted)| {
                buffer.resize(*length as usize, 0);
                let whole = read_exact(fd.as_fd(), &mut buffer, *offset).map_err(fail)?;
                Ok(whole && hash(&buffer) == *wanted)
            })
            .collect()
    }

    fn write_at(
        &self,
        path: &[u8],
        offset: u64,
        data: &[u8],
        fresh: bool,
    ) -> Result<(), PortError> {
        let fd = self.part_of(path)?;
        let fail = |e| error(path, "write", e);
        if fresh {
            without_holes(data, |from, run| write_all(fd.as_fd(), run, offset + from as u64))
        } else {
            write_all(fd.as_fd(), data, offset)
        }
        .map_err(fail)
    }

    fn writes_take_turns(&self) -> bool {
        true
    }

    fn write_file(
        &self,
        path: &[u8],
        entry: &Entry,
        parts: &[&[u8]],
        overwrite: Overwrite,
    ) -> Result<Vec<Problem>, PortError> {
        let (at, name) = self.parent(path)?;
        let fail = |e| error(path, "write", e);
        let size: usize = parts.iter().map(|p| p.len()).sum();
        let fd = match self.create(at.as_fd(), name).map_err(fail)? {
            Some(fd) => fd,
            None if overwrite == Overwrite::Never => return Ok(Vec::new()),
            None => match self.reuse(at.as_fd(), name) {
                Some(fd) => {
                    if holds(fd.as_fd(), size, parts).map_err(fail)? {
                        return Ok(self.dress(fd.as_fd(), path, entry));
                    }
                    rustix::fs::ftruncate(&fd, 0).map_err(fail)?;
                    fd
                }
                None => {
                    self.remove_at(at.as_fd(), name, path)?;
                    let fd = self.create(at.as_fd(), name).map_err(fail)?;
                    fd.ok_or_else(|| fail(Errno::EXIST))?
                }
            },
        };
        let mut offset = 0;
        let mut holes = false;
        for part in parts {
            let mut written = 0;
            without_holes(part, |from, run| {
                written = from + run.len();
                write_all(fd.as_fd(), run, offset + from as u64)
            })
            .map_err(fail)?;
            offset += part.len() as u64;
            holes = written < part.len();
        }
        if holes {
            rustix::fs::ftruncate(&fd, offset).map_err(fail)?;
        }
        Ok(self.dress(fd.as_fd(), path, entry))
    }

    fn make_special(
        &self,
        path: &[u8],
        entry: &Entry,
        overwrite: Overwrite,
    ) -> Result<Vec<Problem>, PortError> {
        let (at, name) = self.parent(path)?;
        let make = || match entry.kind {
            EntryKind::Symlink => rustix::fs::symlinkat(entry.link_target.as_slice(), &*at, name),
            kind => {
                let kind = match kind {
                    EntryKind::BlockDevice => FileType::BlockDevice,
                    EntryKind::CharDevice => FileType::CharacterDevice,
                    EntryKind::Fifo => FileType::Fifo,
                    _ => return Err(Errno::INVAL),
                };
                rustix::fs::mknodat(&*at, name, kind, Mode::from_raw_mode(0o600), entry.rdev)
            }
        };
        match make() {
            Err(Errno::EXIST) if overwrite == Overwrite::Never => return Ok(Vec::new()),
            Err(Errno::EXIST) => {
                self.remove_at(at.as_fd(), name, path)?;
                make()
            }
            other => other,
        }
        .map_err(|e| error(path, "make", e))?;
        Ok(self.dress_special(at.as_fd(), name, path, entry))
    }

    fn hard_link(&self, existing: &[u8], path: &[u8]) -> Result<(), PortError> {
        let (from, from_name) = self.parent(existing)?;
        let (at, name) = self.parent(path)?;
        let make = || rustix::fs::linkat(&*from, from_name, &*at, name, AtFlags::empty());
        let fail = |e| error(path, "link", e);
        match make() {
            Err(Errno::EXIST) => {}
            other => return other.map_err(fail),
        }
        let look = |at: &OwnedFd, name| rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW);
        let (a, b) = (look(&from, from_name).map_err(fail)?, look(&at, name).map_err(fail)?);
        if (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino) {
            return Ok(());
        }
        self.remove_at(at.as_fd(), name, path)?;
        make().map_err(fail)
    }

    fn set_metadata(&self, path: &[u8], entry: &Entry) -> Result<Vec<Problem>, PortError> {
        if !path.is_empty() {
            check(path)?;
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let fd = open_beneath(self.root.as_fd(), path, flags, Mode::empty())
            .map_err(|e| error(path, "open", e))?;
        Ok(self.dress(fd.as_fd(), path, entry))
    }

    fn names(&self, path: &[u8]) -> Result<Vec<Vec<u8>>, PortError> {
        if !path.is_empty() {
            check(path)?;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        open_beneath(self.root.as_fd(), path, flags, Mode::empty())
            .and_then(|fd| list(&fd))
            .map_err(|e| error(path, "list", e))
    }

    fn remove(&self, path: &[u8]) -> Result<(), PortError> {
        let (at, name) = self.parent(path)?;
        self.remove_at(at.as_fd(), name, path)
    }

    fn sync(&self) -> Result<(), PortError> {
        rustix::fs::syncfs(&self.root).map_err(|e| error(b".", "sync the target", e))
    }
}

fn holds(fd: BorrowedFd<'_>, size: usize, parts: &[&[u8]]) -> Result<bool, Errno> {
    if rustix::fs::fstat(fd)?.st_size as u64 != size as u64 {
        return Ok(false);
    }
    let mut buffer = vec![0; size];
    Ok(read_exact(fd, &mut buffer, 0)? && buffer == parts.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_outside_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let target = LocalTarget::open(&folder.path().join("target")).unwrap();
        std::fs::create_dir(folder.path().join("outside")).unwrap();
        std::os::unix::fs::symlink("../outside", folder.path().join("target/link")).unwrap();
        for path in ["", "..", "../x", "a//b", "/etc/x", "./a", "a/..", "a\0b", "link/x"] {
            let made = target.prepare_file(path.as_bytes(), 1, Overwrite::Always);
            assert!(made.is_err(), "{path:?}");
            assert!(target.make_directory(path.as_bytes()).is_err(), "{path:?}");
        }
        assert!(target.set_metadata(b"link", &crate::walk::top()).is_err());
        // A link in a directory's place is replaced, never entered.
        target.make_directory(b"link").unwrap();
        target.prepare_file(b"link/x", 1, Overwrite::Always).unwrap();
        assert_eq!(std::fs::read_dir(folder.path().join("outside")).unwrap().count(), 0);
    }

    #[test]
    fn a_part_goes_to_the_file_that_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let target = LocalTarget::open(folder.path()).unwrap();
        for round in 0..2u8 {
            target.remove(b"file").unwrap();
            target.prepare_file(b"file", 2, Overwrite::Always).unwrap();
            target.write_at(b"file", 0, &[round + 1], true).unwrap();
            target.write_at(b"file", 1, &[round + 1], true).unwrap();
            let found = std::fs::read(folder.path().join("file")).unwrap();
            assert_eq!(found, [round + 1; 2]);
        }
    }

    #[test]
    fn holes_are_left_out() {
        let mut data = vec![0; 5 * HOLE_BYTES + 10];
        data[HOLE_BYTES] = 1;
        data[5 * HOLE_BYTES + 9] = 2;
        let mut runs = Vec::new();
        without_holes(&data, |at, run| {
            runs.push((at, run.len()));
            Ok(())
        })
        .unwrap();
        assert_eq!(runs, [(HOLE_BYTES, HOLE_BYTES), (5 * HOLE_BYTES, 10)]);
    }
}
