//! The swap for folders that the kernel does not move: mount points and lower layers of overlays.
//! Each child is renamed by itself, so it is not atomic; it can be taken up again at any point.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use model::error::PortError;
use rustix::fs::RenameFlags;
use rustix::io::Errno;

use super::place::{OUR_PREFIX, rename, rename_failed, sync_folder};
use crate::fault;

/// How deep folders are moved one by one; only overlays need it at all.
const DEPTH_MAX: usize = 256;

/// Moves all children of a folder, ours left out, into another, which gets the folder's metadata.
/// What was moved already is not there any more, so doing it again goes on.
pub(super) fn move_all(from: &Path, to: &Path) -> Result<(), PortError> {
    let metadata = match fs::symlink_metadata(from) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(fault::path("look at", from, error)),
    };
    make(to)?;
    move_below(from, to, true, 0)?;
    copy_metadata(from, to, &metadata)?;
    sync_folder(from)?;
    sync_folder(to)
}

fn move_below(from: &Path, to: &Path, top: bool, depth: usize) -> Result<(), PortError> {
    if depth > DEPTH_MAX {
        return Err(PortError::terminal(
            "TooDeep",
            format!("{} lies more than {DEPTH_MAX} folders deep", from.display()),
        ));
    }
    let failed = |e| fault::path("list", from, e);
    let mut names = Vec::new();
    for entry in fs::read_dir(from).map_err(failed)? {
        names.push(entry.map_err(failed)?.file_name());
    }
    for name in names {
        if !(top && is_ours(&name)) {
            move_one(&from.join(&name), &to.join(&name), depth)?;
        }
    }
    Ok(())
}

fn move_one(from: &Path, to: &Path, depth: usize) -> Result<(), PortError> {
    let folder = |path: &Path| fs::symlink_metadata(path).is_ok_and(|m| m.is_dir());
    match rename(from, to, RenameFlags::NOREPLACE) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::XDEV) if folder(from) => merge(from, to, depth),
        Err(Errno::EXIST) if folder(from) && folder(to) => merge(from, to, depth),
        Err(Errno::EXIST) => Err(PortError::waiting(
            "PathInUse",
            format!("{} came into being while the folder was swapped", to.display()),
        )
        .with_hint("stop what writes there and move that file away; the swap then goes on")),
        Err(error) => Err(rename_failed(from, to, error)),
    }
}

/// Moves a folder that cannot be renamed by moving what is in it.
fn merge(from: &Path, to: &Path, depth: usize) -> Result<(), PortError> {
    let metadata = fs::symlink_metadata(from).map_err(|e| fault::path("look at", from, e))?;
    make(to)?;
    move_below(from, to, false, depth + 1)?;
    copy_metadata(from, to, &metadata)?;
    fs::remove_dir(from).map_err(|e| fault::path("remove", from, e))
}

fn make(path: &Path) -> Result<(), PortError> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(fault::path("create", path, error))
        }
        _ => Ok(()),
    }
}

fn is_ours(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(OUR_PREFIX.as_bytes())
}

/// Gives a folder the owner, mode, attributes and times of another.
fn copy_metadata(from: &Path, to: &Path, metadata: &fs::Metadata) -> Result<(), PortError> {
    let copy = || -> io::Result<()> {
        std::os::unix::fs::chown(to, Some(metadata.uid()), Some(metadata.gid()))?;
        fs::set_permissions(to, metadata.permissions())?;
        for name in xattr::list(from)? {
            if let Some(value) = xattr::get(from, &name)? {
                xattr::set(to, &name, &value)?;
            }
        }
        let times = fs::FileTimes::new()
            .set_accessed(metadata.accessed()?)
            .set_modified(metadata.modified()?);
        fs::File::open(to)?.set_times(times)
    };
    match copy() {
        // Some file systems know no attributes; the content is what must not be lost.
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
        result => result.map_err(|e| fault::path("set owner and mode of", to, e)),
    }
}
