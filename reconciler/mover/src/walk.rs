//! The walk over a tree: directory by directory, in the byte order of names, relative to open
//! directory handles, with exclusions. Called through [`crate::LocalSource`].

use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use model::cancel::Cancel;
use model::error::PortError;
use model::ports::mover::{
    Entry, EntryKind, FileTime, Owner, Problem, ProblemKind, WalkEvent, WalkRequest,
};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawDir};
use rustix::io::Errno;

use crate::names::OwnerNames;
use crate::pattern::Patterns;
use crate::stat::{self, ByPath};

/// Events handed over at once.
const BATCH_EVENTS: usize = 128;
/// Directory levels below a root; the kernel's longest path has fewer.
const DEPTH_MAX: usize = 2048;

/// What a valid `CACHEDIR.TAG` begins with, by the Cache Directory Tagging Specification.
const CACHE_TAG: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";
const CACHE_TAG_NAME: &[u8] = b"CACHEDIR.TAG";

/// The roots as a tree of names; a leaf is walked, an inner node only passed through.
#[derive(Default)]
struct RootTree {
    children: BTreeMap<Vec<u8>, RootTree>,
    walked: bool,
}

impl RootTree {
    fn of(roots: &[Vec<u8>]) -> Result<Self, PortError> {
        let mut tree = Self::default();
        for root in roots {
            if root.first() != Some(&b'/') {
                let shown = root.escape_ascii();
                return Err(PortError::terminal("BadPath", format!("{shown} is not absolute")));
            }
            let mut node = &mut tree;
            for part in root.split(|b| *b == b'/').filter(|p| !p.is_empty() && *p != b".") {
                if part == b".." {
                    let shown = root.escape_ascii();
                    return Err(PortError::terminal("BadPath", format!("{shown} contains ..")));
                }
                node = node.children.entry(part.to_vec()).or_default();
            }
            node.walked = true;
        }
        if roots.is_empty() {
            return Err(PortError::terminal("BadPath", "no path is given"));
        }
        Ok(tree)
    }
}

/// Walks the roots of a request.
pub fn walk(
    request: &WalkRequest,
    names: &OwnerNames,
    cancel: &Cancel,
    each: &mut dyn FnMut(Vec<WalkEvent>) -> Result<(), PortError>,
) -> Result<(), PortError> {
    let roots = RootTree::of(&request.roots)?;
    let patterns = Patterns::new(request.excludes.iter().map(String::as_str));
    let mut walker = Walker {
        request,
        names,
        cancel,
        patterns,
        batch: Vec::with_capacity(BATCH_EVENTS),
        each,
        path: Vec::new(),
        device: 0,
    };
    walker.roots(&roots)?;
    walker.flush()
}

struct Walker<'a> {
    request: &'a WalkRequest,
    names: &'a OwnerNames,
    cancel: &'a Cancel,
    patterns: Patterns,
    batch: Vec<WalkEvent>,
    each: &'a mut dyn FnMut(Vec<WalkEvent>) -> Result<(), PortError>,
    path: Vec<Vec<u8>>,
    device: u64,
}

/// The root of the snapshot, which has a name and metadata in no tree.
pub(crate) fn top() -> Entry {
    Entry {
        name: Vec::new(),
        kind: EntryKind::Directory,
        mode: 0o755,
        mtime: FileTime::default(),
        atime: FileTime::default(),
        ctime: FileTime::default(),
        owner: Owner::default(),
        inode: 0,
        device: 0,
        links: 0,
        size: 0,
        rdev: 0,
        link_target: Vec::new(),
        xattrs: Vec::new(),
    }
}

impl Walker<'_> {
    fn full_path(&self) -> Vec<u8> {
        let mut path = Vec::with_capacity(64);
        for part in &self.path {
            path.push(b'/');
            path.extend_from_slice(part);
        }
        if path.is_empty() {
            path.push(b'/');
        }
        path
    }

    fn emit(&mut self, event: WalkEvent) -> Result<(), PortError> {
        self.batch.push(event);
        if self.batch.len() < BATCH_EVENTS { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<(), PortError> {
        self.cancel.check()?;
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH_EVENTS));
        if batch.is_empty() { Ok(()) } else { (self.each)(batch) }
    }

    fn fail(&mut self, kind: ProblemKind, doing: &str, e: Errno) -> Result<(), PortError> {
        let message = format!("cannot {doing}: {e}");
        let path = self.full_path();
        self.emit(WalkEvent::Failed(Problem { path, kind, message }))
    }

    /// Passes through the common ancestors of the roots.
    fn roots(&mut self, node: &RootTree) -> Result<(), PortError> {
        let path = self.full_path();
        let stat = rustix::fs::lstat(path.as_slice()).map_err(|e| missing(&path, e))?;
        let name = self.path.last().cloned().unwrap_or_default();
        let mut entry = stat::entry(&name, &stat, self.names)
            .ok_or_else(|| PortError::terminal("BadPath", "root is of unknown kind"))?;
        if node.walked {
            self.device = stat.st_dev;
            if entry.kind == EntryKind::Directory {
                let fd = open_dir(CWD, &path).map_err(|e| missing(&path, e))?;
                self.attributes(&mut entry)?;
                return self.directory(if self.path.is_empty() { top() } else { entry }, fd, 0);
            }
            return self.leaf(entry, CWD, &path);
        }
        if entry.kind != EntryKind::Directory {
            // An ancestor may be a symbolic link (`/var/run`): it is recorded as the directory
            // that it leads to.
            let stat = rustix::fs::stat(path.as_slice()).map_err(|e| missing(&path, e))?;
            entry = stat::entry(&name, &stat, self.names)
                .filter(|e| e.kind == EntryKind::Directory)
                .ok_or_else(|| missing(&path, Errno::NOTDIR))?;
        }
        self.emit(WalkEvent::Enter(if self.path.is_empty() { top() } else { entry }))?;
        for (name, child) in &node.children {
            self.path.push(name.clone());
            self.roots(child)?;
            self.path.pop();
        }
        self.emit(WalkEvent::Leave)
    }

    fn attributes(&mut self, entry: &mut Entry) -> Result<(), PortError> {
        let path = self.full_path();
        match stat::xattrs(&ByPath(&path)) {
            Ok(xattrs) => {
                entry.xattrs = xattrs;
                Ok(())
            }
            Err(e) => self.fail(ProblemKind::Metadata, "read extended attributes", e),
        }
    }

    /// Emits anything but a directory. `at` and `name` are where its link target is read.
    fn leaf(&mut self, mut entry: Entry, at: BorrowedFd<'_>, name: &[u8]) -> Result<(), PortError> {
        let too_large = self.request.file_size_bytes_max.is_some_and(|max| entry.size > max);
        if too_large && entry.kind == EntryKind::File {
            return Ok(());
        }
        if entry.kind == EntryKind::Symlink {
            match rustix::fs::readlinkat(at, name, Vec::new()) {
                Ok(target) => entry.link_target = target.into_bytes(),
                Err(e) => return self.fail(ProblemKind::Unreadable, "read the link", e),
            }
        }
        self.attributes(&mut entry)?;
        self.emit(WalkEvent::Entry(entry))
    }

    fn directory(&mut self, entry: Entry, fd: OwnedFd, depth: usize) -> Result<(), PortError> {
        let mut names = match list(&fd) {
            Ok(names) => names,
            Err(e) => return self.fail(ProblemKind::Unreadable, "list the directory", e),
        };
        if self.request.exclude_if_present.iter().any(|mark| names.contains(mark)) {
            return Ok(());
        }
        self.emit(WalkEvent::Enter(entry))?;
        if self.request.exclude_caches && is_cache(&fd, &names) {
            names.retain(|n| n == CACHE_TAG_NAME);
        }
        names.sort_unstable();
        for name in names {
            self.path.push(name);
            let done = self.child(fd.as_fd(), depth);
            self.path.pop();
            done?;
        }
        self.emit(WalkEvent::Leave)
    }

    fn child(&mut self, parent: BorrowedFd<'_>, depth: usize) -> Result<(), PortError> {
        if !self.patterns.is_empty() {
            let parts: Vec<&[u8]> = self.path.iter().map(Vec::as_slice).collect();
            if self.patterns.excluded(&parts) {
                return Ok(());
            }
        }
        let name = self.path.last().cloned().unwrap_or_default();
        let stat = match rustix::fs::statat(parent, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // Deleted since the directory was listed: not part of this point in time.
            Err(Errno::NOENT) => return Ok(()),
            Err(e) => return self.fail(ProblemKind::Unreadable, "look at it", e),
        };
        let Some(mut entry) = stat::entry(&name, &stat, self.names) else {
            return self.fail(ProblemKind::Unreadable, "tell its kind", Errno::INVAL);
        };
        if entry.kind != EntryKind::Directory {
            return self.leaf(entry, parent, &name);
        }
        self.attributes(&mut entry)?;
        if self.request.one_file_system && stat.st_dev != self.device {
            // The mount point itself is kept, so that a restore has where to mount.
            self.emit(WalkEvent::Enter(entry))?;
            return self.emit(WalkEvent::Leave);
        }
        if depth >= DEPTH_MAX {
            return self.fail(ProblemKind::Unreadable, "go deeper", Errno::NAMETOOLONG);
        }
        match open_dir(parent, &name) {
            Ok(fd) => self.directory(entry, fd, depth + 1),
            Err(Errno::NOENT) => Ok(()),
            Err(e) => self.fail(ProblemKind::Unreadable, "open the directory", e),
        }
    }
}

fn missing(path: &[u8], e: Errno) -> PortError {
    let shown = path.escape_ascii();
    PortError::terminal("SourceMissing", format!("cannot read {shown}")).with_source(e)
}

fn open_dir(at: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(at, name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => rustix::fs::openat(at, name, flags, Mode::empty()),
        other => other,
    }
}

pub(crate) fn list(fd: &OwnedFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut buffer = [const { MaybeUninit::uninit() }; 32 << 10];
    let mut names = Vec::new();
    let mut entries = RawDir::new(fd, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}

fn is_cache(fd: &OwnedFd, names: &[Vec<u8>]) -> bool {
    if !names.iter().any(|n| n == CACHE_TAG_NAME) {
        return false;
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut head = [0; CACHE_TAG.len()];
    rustix::fs::openat(fd, CACHE_TAG_NAME, flags, Mode::empty())
        .and_then(|file| rustix::io::read(&file, &mut head))
        .is_ok_and(|n| n == head.len() && head == CACHE_TAG)
}
