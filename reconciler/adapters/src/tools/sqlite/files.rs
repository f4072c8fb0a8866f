//! Where the parts of a database's recovery lie, all beside it on the same file system.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use model::error::PortError;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::fault;

/// What SQLite keeps beside a database.
const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// The files of one recovery.
pub(super) struct Files {
    /// The database.
    pub(super) live: PathBuf,
    /// The restored one.
    pub(super) restore: PathBuf,
    /// The original, kept.
    pub(super) old: PathBuf,
    /// The original while it is being copied.
    pub(super) draft: PathBuf,
    /// The record of the swap.
    pub(super) record: PathBuf,
    /// The folder of all of them.
    pub(super) folder: PathBuf,
}

impl Files {
    pub(super) fn of(path: &Path, token: &str) -> Result<Self, PortError> {
        // SQLite follows a link and puts its log beside the file itself; so do we.
        let is_link = fs::symlink_metadata(path).is_ok_and(|m| m.is_symlink());
        let live = if is_link {
            fs::canonicalize(path).map_err(|e| fault::path("follow", path, e))?
        } else {
            path.to_owned()
        };
        let (Some(folder), Some(name)) = (live.parent(), live.file_name()) else {
            return Err(super::usage("the path of the database has no file name"));
        };
        let safe = |c: char| c.is_ascii_alphanumeric();
        if token.is_empty() || token.len() > 32 || !token.chars().all(safe) {
            return Err(super::usage("`--token` takes 1 to 32 letters and digits"));
        }
        let part = |word: &str| {
            let mut part = OsString::from(".");
            part.push(name);
            part.push(format!(".mainstay-{word}-{token}"));
            folder.join(part)
        };
        Ok(Self {
            restore: part("restore"),
            old: part("old"),
            draft: part("draft"),
            record: part("recovery"),
            folder: folder.to_owned(),
            live: live.clone(),
        })
    }

    /// Makes the names in the folder durable.
    pub(super) fn sync(&self) -> Result<(), PortError> {
        File::open(&self.folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|e| fault::path("sync", &self.folder, e))
    }
}

/// Returns the inode of a file; `None` when there is none.
pub(super) fn inode(path: &Path) -> Result<Option<u64>, PortError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(fault::path("look at", path, error)),
    }
}

/// Renames a file to a name that is free; nothing to rename is nothing to do.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), PortError> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) if !to.exists() => {
            fs::rename(from, to).map_err(|e| fault::path("rename", from, e))
        }
        Err(error) => Err(fault::path("rename", from, error)),
    }
}

/// Renames what SQLite keeps beside a database.
pub(super) fn rename_companions(from: &Path, to: &Path) -> Result<(), PortError> {
    for ending in COMPANIONS {
        rename(&with(from, ending), &with(to, ending))?;
    }
    Ok(())
}

/// Removes a database and what SQLite keeps beside it.
pub(super) fn remove(path: &Path) -> Result<(), PortError> {
    remove_companions(path)?;
    remove_one(path)
}

pub(super) fn remove_companions(path: &Path) -> Result<(), PortError> {
    COMPANIONS.iter().try_for_each(|ending| remove_one(&with(path, ending)))
}

pub(super) fn remove_one(path: &Path) -> Result<(), PortError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(fault::path("remove", path, error))
        }
        _ => Ok(()),
    }
}

/// Makes a file's content durable.
pub(super) fn sync_file(path: &Path) -> Result<(), PortError> {
    File::open(path).and_then(|f| f.sync_all()).map_err(|e| fault::path("sync", path, e))
}

fn with(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}
