//! What lies in a repository's place: nothing, a repository, the beginning of one, or something
//! else. Only what was looked at whole is called empty. Called by `open`.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use model::desired::StorageSpec;
use model::error::PortError;
use model::ports::storage::{FileKind, NOT_FOUND, Storage};

/// What lies there.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// Provably nothing.
    Nothing,
    /// A making of a repository was killed half-way: keys may be there, its config, which is
    /// written last, is not, and nothing was ever stored.
    Unfinished,
    /// Something, by name.
    Something(String),
}

/// Checks that a repository's disk is there, where the document says that there is one.
pub fn mounted(spec: &StorageSpec) -> Result<(), PortError> {
    let StorageSpec::Local { path, mount_point: true } = spec else { return Ok(()) };
    let fail = |error| not_readable(path, error);
    let root = fs::metadata("/").map_err(fail)?.dev();
    let mut at = Path::new(path);
    loop {
        match fs::metadata(at) {
            Ok(data) if data.dev() != root => return Ok(()),
            Ok(_) => {
                return Err(PortError::waiting(
                    "NotMounted",
                    format!("nothing is mounted at {path}"),
                )
                .with_hint("mount the disk; an unmounted one is never taken for an empty one"));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => match at.parent() {
                Some(parent) => at = parent,
                None => return Err(fail(error)),
            },
            Err(error) => return Err(fail(error)),
        }
    }
}

fn not_readable(path: &str, error: std::io::Error) -> PortError {
    PortError::waiting("NotReadable", format!("{path} cannot be looked at")).with_source(error)
}

/// Looks at a repository's place.
pub fn look(spec: &StorageSpec, storage: &dyn Storage) -> Result<Found, PortError> {
    match spec {
        StorageSpec::Local { path, .. } => folder(path),
        StorageSpec::Remote(_) => service(storage),
    }
}

/// Removes the keys of a repository that was never finished: without a config and without data they
/// protect nothing.
pub fn clear_unfinished(storage: &dyn Storage) -> Result<(), PortError> {
    for kind in [FileKind::Key, FileKind::Lock] {
        let mut names = Vec::new();
        let listed = storage.list(kind, &mut |file| {
            names.push(file.name);
            Ok(())
        });
        absent_is_empty(listed)?;
        for name in names {
            absent_is_empty(storage.delete(kind, &name))?;
        }
    }
    Ok(())
}

fn absent_is_empty(done: Result<(), PortError>) -> Result<(), PortError> {
    match done {
        Err(error) if error.reason == NOT_FOUND => Ok(()),
        done => done,
    }
}

/// Looks at a place on a service: what is there and is no file of a repository is not ours to see.
fn service(storage: &dyn Storage) -> Result<Found, PortError> {
    // Listings first: unlike a look at one file they tell a bucket that is not there from an empty
    // one.
    let mut begun = false;
    for kind in [FileKind::Key, FileKind::Lock, FileKind::Snapshot, FileKind::Index, FileKind::Pack]
    {
        let mut first = None;
        let listed = storage.list(kind, &mut |file| {
            first = Some(file.name);
            // One is enough, and a listing may be long.
            Err(PortError::cancelled())
        });
        match first {
            Some(_) if matches!(kind, FileKind::Key | FileKind::Lock) => begun = true,
            Some(name) => return Ok(Found::Something(format!("{}/{name}", kind.folder()))),
            None => absent_is_empty(listed)?,
        }
    }
    match storage.stat(FileKind::Config, "") {
        Ok(_) => Ok(Found::Something("config".to_owned())),
        Err(error) if error.reason == NOT_FOUND && begun => Ok(Found::Unfinished),
        Err(error) if error.reason == NOT_FOUND => Ok(Found::Nothing),
        Err(error) => Err(error),
    }
}

/// Looks at a folder.
fn folder(path: &str) -> Result<Found, PortError> {
    let fail = |error| not_readable(path, error);
    match fs::read_dir(path) {
        Ok(mut entries) => match entries.next() {
            None => Ok(Found::Nothing),
            Some(Ok(_)) if is_unfinished(path) => Ok(Found::Unfinished),
            Some(Ok(entry)) => Ok(Found::Something(entry.path().display().to_string())),
            Some(Err(error)) => Err(fail(error)),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Found::Nothing),
        Err(error) => Err(fail(error)),
    }
}

/// The folders of a repository; what else lies beside them is not ours.
const FOLDERS: [&str; 5] = ["data", "index", "keys", "locks", "snapshots"];

fn is_unfinished(path: &str) -> bool {
    let Ok(entries) = fs::read_dir(path) else { return false };
    for entry in entries {
        let Ok(entry) = entry else { return false };
        let name = entry.file_name();
        let known = name.to_str().is_some_and(|name| FOLDERS.contains(&name));
        if !known || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            return false;
        }
        let may_have_files = name == "keys" || name == "locks";
        if !may_have_files && !has_no_files(&entry.path()) {
            return false;
        }
    }
    true
}

fn has_no_files(folder: &Path) -> bool {
    let Ok(mut entries) = fs::read_dir(folder) else { return false };
    entries.all(|entry| {
        entry.is_ok_and(|entry| {
            entry.file_type().is_ok_and(|kind| kind.is_dir()) && has_no_files(&entry.path())
        })
    })
}

/// Returns the free bytes where a repository lies, where that can be known.
pub fn free_bytes(spec: &StorageSpec) -> Option<u64> {
    let StorageSpec::Local { path, .. } = spec else { return None };
    let space = rustix::fs::statvfs(path.as_str()).ok()?;
    space.f_bavail.checked_mul(space.f_frsize)
}

#[cfg(test)]
mod tests {
    use model::remote::{Remote, Rest, Service, StorageLimits};
    use repository::storage::MemoryStorage;

    use super::*;

    fn remote() -> StorageSpec {
        let rest = Rest { url: "http://h/".to_owned(), user: None, password: None, ca_file: None };
        let limits = StorageLimits::default();
        StorageSpec::Remote(Box::new(Remote { service: Service::Rest(rest), limits }))
    }

    fn put(storage: &MemoryStorage, kind: FileKind) {
        let id = repository::Id::of(b"x");
        storage.save(kind, &id.hex(), b"x", &id.0).unwrap();
    }

    #[test]
    fn a_service_is_empty_begun_or_taken() {
        let storage = MemoryStorage::default();
        let found = || look(&remote(), &storage).unwrap();
        assert_eq!(found(), Found::Nothing);
        put(&storage, FileKind::Key);
        assert_eq!(found(), Found::Unfinished);
        clear_unfinished(&storage).unwrap();
        assert_eq!(found(), Found::Nothing);
        put(&storage, FileKind::Config);
        assert_eq!(found(), Found::Something("config".to_owned()));
        let storage = MemoryStorage::default();
        put(&storage, FileKind::Pack);
        let found = look(&remote(), &storage).unwrap();
        assert!(matches!(found, Found::Something(what) if what.starts_with("data/")));
    }
}
