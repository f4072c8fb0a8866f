//! What lies where a repository should be, seen without its password. Called before opening.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use model::desired::{RepositorySpec, StorageSpec};
use model::error::PortError;

use crate::fault;

/// What a fresh file system has of itself.
const FRESH: [&str; 1] = ["lost+found"];

/// The file that makes a folder a repository.
const CONFIG: &str = "config";

/// What was found.
pub(super) enum Place {
    /// A repository, by the look of it.
    Repository,
    /// Surely none, and why.
    Nothing(String),
}

/// Looks at a repository's place.
pub(super) fn look(spec: &RepositorySpec) -> Result<Place, PortError> {
    let StorageSpec::Local { path, mount_point } = &spec.storage;
    let path = Path::new(path);
    if *mount_point && !on_a_mount(path)? {
        return Ok(Place::Nothing(format!("nothing is mounted at {}", path.display())));
    }
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Place::Nothing(format!("{} does not exist", path.display())));
        }
        Err(error) => return Err(fault::path("list", path, error)),
    };
    if fs::symlink_metadata(path.join(CONFIG)).is_ok() {
        return Ok(Place::Repository);
    }
    for entry in entries {
        let name = entry.map_err(|e| fault::path("list", path, e))?.file_name();
        if !FRESH.iter().any(|fresh| name == *fresh) {
            return Err(PortError::terminal(
                "NotARepository",
                format!("{} holds `{}` and no repository", path.display(), name.display()),
            )
            .with_hint("name an empty folder, or bring the repository's `config` file back"));
        }
    }
    Ok(Place::Nothing(format!("{} is empty", path.display())))
}

/// Fails unless a new repository may be made there.
pub(super) fn refuse_unless_free(spec: &RepositorySpec) -> Result<(), PortError> {
    let StorageSpec::Local { path, mount_point } = &spec.storage;
    if *mount_point && !on_a_mount(Path::new(path))? {
        return Err(PortError::terminal("NotMounted", format!("nothing is mounted at {path}"))
            .with_hint("mount the disk that the repository belongs on"));
    }
    match look(spec)? {
        Place::Nothing(_) => Ok(()),
        Place::Repository => Err(PortError::terminal(
            "AlreadyInitialised",
            format!("{path} holds a repository already"),
        )),
    }
}

/// Returns the free bytes of the file system, where that can be seen.
pub(super) fn free_bytes(spec: &RepositorySpec) -> Option<u64> {
    let StorageSpec::Local { path, .. } = &spec.storage;
    let stat = rustix::fs::statvfs(Path::new(path)).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Says whether a path lies on another file system than `/`. What does not exist lies where its
/// nearest ancestor does.
fn on_a_mount(path: &Path) -> Result<bool, PortError> {
    let root = fs::metadata("/").map_err(|e| fault::path("look at", Path::new("/"), e))?;
    for ancestor in path.ancestors() {
        match fs::metadata(ancestor) {
            Ok(metadata) => return Ok(metadata.dev() != root.dev()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(fault::path("look at", ancestor, error)),
        }
    }
    Ok(false)
}
