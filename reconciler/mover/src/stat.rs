//! From what the kernel says of a file to a port entry; used by walk and read.

use std::os::fd::BorrowedFd;

use model::ports::mover::{Entry, EntryKind, FileTime, Owner};
use rustix::fs::{FileType, Stat};

use crate::names::OwnerNames;

/// Returns the entry for a name and its stat, without link target and extended attributes.
pub fn entry(name: &[u8], stat: &Stat, names: &OwnerNames) -> Option<Entry> {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => EntryKind::File,
        FileType::Directory => EntryKind::Directory,
        FileType::Symlink => EntryKind::Symlink,
        FileType::BlockDevice => EntryKind::BlockDevice,
        FileType::CharacterDevice => EntryKind::CharDevice,
        FileType::Fifo => EntryKind::Fifo,
        FileType::Socket => EntryKind::Socket,
        _ => return None,
    };
    let time = |seconds, nanos| FileTime { seconds, nanos: u32::try_from(nanos).unwrap_or(0) };
    let mtime = time(stat.st_mtime, stat.st_mtime_nsec);
    let special = matches!(kind, EntryKind::BlockDevice | EntryKind::CharDevice);
    Some(Entry {
        name: name.to_vec(),
        kind,
        mode: stat.st_mode & 0o7777,
        mtime,
        // Access times would make every tree differ from the last one; like restic's default.
        atime: mtime,
        ctime: time(stat.st_ctime, stat.st_ctime_nsec),
        owner: Owner {
            uid: stat.st_uid,
            gid: stat.st_gid,
            user: names.user(stat.st_uid),
            group: names.group(stat.st_gid),
        },
        inode: stat.st_ino,
        device: stat.st_dev,
        links: if kind == EntryKind::Directory { 0 } else { u64::from(stat.st_nlink as u32) },
        size: if kind == EntryKind::File { stat.st_size as u64 } else { 0 },
        rdev: if special { stat.st_rdev } else { 0 },
        link_target: Vec::new(),
        xattrs: Vec::new(),
    })
}

/// Returns whether two looks at a file saw the same content.
pub fn same_content(a: &Entry, b: &Entry) -> bool {
    a.size == b.size && a.mtime == b.mtime && a.ctime == b.ctime && a.inode == b.inode
}

/// Bytes of attributes of one entry that are kept; the kernel's own limits are 64 KiB each.
const XATTR_BYTES_MAX: usize = 1 << 20;

fn supported(e: rustix::io::Errno) -> Option<rustix::io::Errno> {
    use rustix::io::Errno;
    (e != Errno::NOTSUP && e != Errno::OPNOTSUPP && e != Errno::NODATA).then_some(e)
}

/// The calls by which attributes of one object are read.
pub trait Attributes {
    /// Lists names, each ended by NUL.
    fn list(&self, buffer: &mut [u8]) -> rustix::io::Result<usize>;
    /// Reads one value.
    fn get(&self, name: &[u8], buffer: &mut [u8]) -> rustix::io::Result<usize>;
}

/// The attributes of an entry by its path, links not followed.
pub struct ByPath<'a>(pub &'a [u8]);

impl Attributes for ByPath<'_> {
    fn list(&self, buffer: &mut [u8]) -> rustix::io::Result<usize> {
        rustix::fs::llistxattr(self.0, buffer)
    }

    fn get(&self, name: &[u8], buffer: &mut [u8]) -> rustix::io::Result<usize> {
        rustix::fs::lgetxattr(self.0, name, buffer)
    }
}

/// The attributes of an open file.
pub struct ByFd<'a>(pub BorrowedFd<'a>);

impl Attributes for ByFd<'_> {
    fn list(&self, buffer: &mut [u8]) -> rustix::io::Result<usize> {
        rustix::fs::flistxattr(self.0, buffer)
    }

    fn get(&self, name: &[u8], buffer: &mut [u8]) -> rustix::io::Result<usize> {
        rustix::fs::fgetxattr(self.0, name, buffer)
    }
}

/// Calls with a small buffer first, then with the size that the kernel names.
fn sized(
    mut call: impl FnMut(&mut [u8]) -> rustix::io::Result<usize>,
) -> rustix::io::Result<Vec<u8>> {
    let mut small = [0; 256];
    match call(&mut small) {
        Ok(n) => return Ok(small[..n].to_vec()),
        Err(rustix::io::Errno::RANGE) => {}
        Err(e) => return Err(e),
    }
    let mut size = 4096;
    while size <= XATTR_BYTES_MAX {
        let mut buffer = vec![0; size];
        match call(&mut buffer) {
            Ok(n) => {
                buffer.truncate(n);
                return Ok(buffer);
            }
            Err(rustix::io::Errno::RANGE) => size *= 4,
            Err(e) => return Err(e),
        }
    }
    Err(rustix::io::Errno::TOOBIG)
}

/// Reads all extended attributes, sorted by name. A file system without them has none.
pub fn xattrs(of: &impl Attributes) -> rustix::io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let list = match sized(|b| of.list(b)) {
        Ok(list) => list,
        Err(e) => return supported(e).map_or(Ok(Vec::new()), Err),
    };
    let mut out = Vec::new();
    for name in list.split(|b| *b == 0).filter(|n| !n.is_empty()) {
        match sized(|b| of.get(name, b)) {
            Ok(value) => out.push((name.to_vec(), value)),
            // Gone since it was listed, or not for this user to read as the list is.
            Err(e) => {
                if let Some(e) = supported(e) {
                    return Err(e);
                }
            }
        }
    }
    out.sort();
    Ok(out)
}
