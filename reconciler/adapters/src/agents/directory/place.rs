//! Where the parts of a folder's recovery lie, and what the kernel says of paths: mounts, inodes,
//! renames. Called by the other files here.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use model::agent::Tree;
use model::error::PortError;
use rustix::fs::{
    AtFlags, CWD, RenameFlags, StatxAttributes, StatxFlags, renameat_with, statx, syncfs,
};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::agents::short_token;
use crate::fault;

/// How everything that we put inside a folder begins.
pub(super) const OUR_PREFIX: &str = ".mainstay-";

/// How much of a folder's name goes into the names beside it; with our endings it stays below the
/// 255 bytes of a name.
const NAME_BYTES_MAX: usize = 200;

/// Where the parts of one recovery lie.
pub(super) struct Place {
    /// The folder itself.
    pub(super) path: PathBuf,
    /// The folder that holds the parts.
    pub(super) holder: PathBuf,
    /// The parts lie inside the folder, because it is a mount point: beside it would be another
    /// file system.
    pub(super) inside: bool,
    /// What is restored.
    pub(super) restore: PathBuf,
    /// The original, kept.
    pub(super) old: PathBuf,
    /// The record of the swap.
    pub(super) record: PathBuf,
}

impl Place {
    pub(super) fn of(tree: &Tree, token: &str) -> Result<Self, PortError> {
        let path = checked(&tree.path)?;
        if fs::symlink_metadata(&path).is_ok_and(|m| m.is_symlink()) {
            return Err(is_symlink(&path));
        }
        let token = short_token(token);
        let inside = path.is_dir() && is_mounted(&path)?;
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(bad_path(&tree.path, "it is the root"));
        };
        let holder = if inside { path.clone() } else { parent.to_owned() };
        let part = |word: &str, ending: &str| {
            let mut part = OsString::from(".");
            if !inside {
                part.push(shortened(name));
                part.push(".");
            }
            part.push(format!("mainstay-{word}-{token}{ending}"));
            holder.join(part)
        };
        let (restore, old) = (part("restore", ""), part("old", ""));
        let record = part("recovery", ".json");
        Ok(Self { path, holder, inside, restore, old, record })
    }

    /// Makes the names in the holder durable.
    pub(super) fn sync(&self) -> Result<(), PortError> {
        sync_folder(&self.holder)
    }
}

/// Returns the path if it can be protected: absolute, no `..`, not the root.
pub(super) fn checked(text: &str) -> Result<PathBuf, PortError> {
    let path = Path::new(text);
    if !path.is_absolute() {
        return Err(bad_path(text, "it is not absolute"));
    }
    if path.components().any(|c| matches!(c, Component::ParentDir)) {
        return Err(bad_path(text, "it contains `..`"));
    }
    if text.contains('\0') {
        return Err(bad_path(text, "it contains a zero byte"));
    }
    Ok(path.components().collect())
}

pub(super) fn is_symlink(path: &Path) -> PortError {
    PortError::terminal("PathIsSymlink", format!("{} is a symbolic link", path.display()))
        .with_hint("protect the folder that it points to")
}

fn bad_path(text: &str, why: &str) -> PortError {
    PortError::terminal("BadPath", format!("{} cannot be used: {why}", text.escape_debug()))
}

/// Cuts a long name at a byte, adding a digest of the whole so that two stay apart.
fn shortened(name: &OsStr) -> OsString {
    let bytes = name.as_bytes();
    if bytes.len() <= NAME_BYTES_MAX {
        return name.to_owned();
    }
    let digest = blake3::hash(bytes).to_hex();
    let mut short = OsStr::from_bytes(&bytes[..NAME_BYTES_MAX - 9]).to_owned();
    short.push("-");
    short.push(&digest[..8]);
    short
}

/// Returns whether something is mounted at a folder.
pub(super) fn is_mounted(path: &Path) -> Result<bool, PortError> {
    let failed = |e: Errno| fault::path("look at", path, e);
    let stat = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS);
    match stat {
        Ok(stat) if stat.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT) => {
            Ok(stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
        }
        Ok(_) | Err(Errno::NOSYS) => {
            // Older kernels do not say; another device than the parent's does.
            let device = |p: &Path| fs::symlink_metadata(p).map(|m| m.dev());
            let parent = path.parent().unwrap_or(path);
            let own = device(path).map_err(|e| fault::path("look at", path, e))?;
            Ok(own != device(parent).map_err(|e| fault::path("look at", parent, e))?)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Says no when something is mounted below a folder: moving or removing it would take that along.
pub(super) fn refuse_mounts_below(path: &Path) -> Result<(), PortError> {
    let table = Path::new("/proc/self/mountinfo");
    let mounts = fs::read(table).map_err(|e| fault::path("read", table, e))?;
    for line in mounts.split(|byte| *byte == b'\n') {
        let Some(field) = line.split(|byte| *byte == b' ').nth(4) else { continue };
        let mount = unescaped(field);
        let mount = Path::new(OsStr::from_bytes(&mount));
        if mount != path && mount.starts_with(path) {
            return Err(PortError::terminal(
                "MountInside",
                format!("something is mounted at {}", mount.display()),
            )
            .with_hint("unmount it first, and protect it as a resource of its own"));
        }
    }
    Ok(())
}

/// Reads the octal escapes of the mount table (`proc(5)`).
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let code = after
            .get(..3)
            .filter(|_| first == b'\\')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match code {
            Some(code) => {
                bytes.push(code);
                rest = &after[3..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    bytes
}

/// Tells one folder from another across renames: inode and, where known, the time of its birth.
/// Device numbers are left out, for they may change when the machine starts again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Identity {
    inode: u64,
    born_s: Option<i64>,
    born_ns: Option<u32>,
}

/// Returns who lies at a path; `None` when nothing does.
pub(super) fn identity(path: &Path) -> Result<Option<Identity>, PortError> {
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    match statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, wanted) {
        Ok(stat) => {
            let born = stat.stx_mask & StatxFlags::BTIME.bits() != 0;
            Ok(Some(Identity {
                inode: stat.stx_ino,
                born_s: born.then_some(stat.stx_btime.tv_sec),
                born_ns: born.then_some(stat.stx_btime.tv_nsec),
            }))
        }
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(fault::path("look at", path, error)),
    }
}

/// How a rename treats what is at the new name.
pub(super) fn rename(from: &Path, to: &Path, flags: RenameFlags) -> Result<(), Errno> {
    match renameat_with(CWD, from, CWD, to, flags) {
        Err(Errno::INVAL | Errno::NOSYS) if flags == RenameFlags::NOREPLACE => {
            // The file system knows no such flag: look first. Nobody else uses these names.
            if fs::symlink_metadata(to).is_ok() {
                return Err(Errno::EXIST);
            }
            rustix::fs::rename(from, to)
        }
        result => result,
    }
}

pub(super) fn rename_failed(from: &Path, to: &Path, error: Errno) -> PortError {
    fault::io(format!("cannot rename {} to {}", from.display(), to.display()), error.into())
}

/// Removes whatever lies at a path, following no link and leaving no mount's content.
pub(super) fn remove(path: &Path) -> Result<(), PortError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            refuse_mounts_below(path)?;
            fs::remove_dir_all(path)
        }
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(fault::path("remove", path, error)),
    }
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(path: &Path) -> Result<(), PortError> {
    File::open(path).and_then(|f| f.sync_all()).map_err(|e| fault::path("sync", path, e))
}

/// Makes everything on a folder's file system durable.
pub(super) fn sync_file_system(path: &Path) -> Result<(), PortError> {
    let file = File::open(path).map_err(|e| fault::path("open", path, e))?;
    syncfs(&file).map_err(|e| fault::path("sync", path, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_of_the_mount_table_are_read() {
        assert_eq!(unescaped(b"/a\\040b\\134c\\x"), b"/a b\\c\\x");
    }

    #[test]
    fn only_plain_absolute_paths_are_taken() {
        assert_eq!(checked("/srv//x/./y/").unwrap(), Path::new("/srv/x/y"));
        for bad in ["srv", "/srv/../etc", "", "/a\0b"] {
            assert_eq!(checked(bad).unwrap_err().reason, "BadPath", "{bad:?}");
        }
    }

    #[test]
    fn mounts_are_seen() {
        assert!(is_mounted(Path::new("/proc")).unwrap());
        assert!(!is_mounted(Path::new("/proc/self")).unwrap());
        assert_eq!(refuse_mounts_below(Path::new("/")).unwrap_err().reason, "MountInside");
    }
}
