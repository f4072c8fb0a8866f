//! Writes a small file so that it is whole or not there, whatever happens in between: the one way
//! in which records, marks, saved plans and reports get onto a disk.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use model::error::PortError;
use serde::Serialize;

use crate::fault;

/// Replaces a file's content durably: a draft beside it is written, synced, renamed over it, and
/// the folder is synced. A reader sees the old content or the new one. An existing file's mode is
/// kept.
///
/// No link is followed: a link in the place of the file or of its draft is replaced, so that a
/// folder in which others may write leads nowhere else.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), PortError> {
    write_io(path, bytes).map_err(|e| fault::path("write", path, e))
}

/// Writes what a person asked to have in a file, with [`write()`]; what is there and is no file (a
/// pipe, `/dev/stdout`) is written to as it is.
pub fn write_output(path: &Path, bytes: &[u8]) -> Result<(), PortError> {
    let failed = |e| fault::path("write", path, e);
    match fs::metadata(path) {
        Ok(there) if there.is_dir() => Err(failed(io::ErrorKind::IsADirectory.into())),
        Ok(there) if !there.is_file() => File::options()
            .write(true)
            .open(path)
            .and_then(|mut file| file.write_all(bytes))
            .map_err(failed),
        _ => write(path, bytes),
    }
}

/// Serialises a value and writes it with [`write()`]. `what` names it in the error.
pub fn write_json<T: Serialize>(path: &Path, what: &str, value: &T) -> Result<(), PortError> {
    let text = serde_json::to_vec(value).map_err(|e| {
        PortError::terminal("RecordUnwritable", format!("{what} cannot be serialised"))
            .with_source(e)
    })?;
    write(path, &text)
}

fn write_io(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mode = match fs::symlink_metadata(path) {
        Ok(there) if there.is_file() => Some(there.permissions().mode()),
        Ok(_) => None,
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let draft = beside(path, ".draft");
    let written = write_draft(&draft, bytes, mode).and_then(|()| fs::rename(&draft, path));
    if let Err(error) = written {
        drop(fs::remove_file(&draft));
        return Err(error);
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}

fn write_draft(draft: &Path, bytes: &[u8], mode: Option<u32>) -> io::Result<()> {
    // What a crash left of an earlier draft; creating anew follows no link.
    match fs::remove_file(draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = File::create_new(draft)?;
    if let Some(mode) = mode {
        file.set_permissions(fs::Permissions::from_mode(mode))?;
    }
    file.write_all(bytes)?;
    file.sync_all()
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_replaced_whole_and_no_draft_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record");
        write(&path, b"one").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let names: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(names.len(), 1);
    }

    #[test]
    fn no_link_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("other"), b"mine").unwrap();
        for link in ["record", "record.draft"] {
            std::os::unix::fs::symlink(path("other"), path(link)).unwrap();
        }
        write(&path("record"), b"two").unwrap();
        assert_eq!(fs::read(path("other")).unwrap(), b"mine");
        assert!(fs::symlink_metadata(path("record")).unwrap().is_file());
        assert_eq!(fs::read(path("record")).unwrap(), b"two");
    }

    #[test]
    fn what_fails_leaves_the_old_content_and_no_draft() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gone/record");
        assert_eq!(write(&path, b"x").unwrap_err().reason, "NotFound");
        // A folder in the way of the draft: it cannot be written.
        let path = folder.path().join("record");
        write(&path, b"old").unwrap();
        fs::create_dir(folder.path().join("record.draft")).unwrap();
        assert!(write(&path, b"new").is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
    }

    #[test]
    fn what_cannot_be_serialised_is_an_error_and_writes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record");
        let keys = std::collections::BTreeMap::from([((1, 2), 3)]);
        let error = write_json(&path, "the record", &keys).unwrap_err();
        assert_eq!(error.reason, "RecordUnwritable");
        assert!(!path.exists());
    }

    #[test]
    fn a_pipe_is_written_to_as_it_is() {
        write_output(Path::new("/dev/null"), b"x").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }
}
