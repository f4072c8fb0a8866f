//! Opens repositories, keeps them open while they stay the same, and tells a place that is provably
//! empty from one that cannot be looked at.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::desired::{RepositorySpec, StorageSpec};
use model::error::PortError;
use model::id::SnapshotId;
use model::observed::RepositoryObservation;
use model::ports::clock::Clock;
use model::ports::secrets::{SecretValue, Secrets};
use repository::{Id, Options, Owner, Repository};

use super::{config_bytes, storage};

/// A repository that was opened, and by what it is known again.
struct Opened {
    storage: StorageSpec,
    password: SecretValue,
    config: Vec<u8>,
    repository: Arc<Repository>,
}

/// How long a step waits for the locks of others before it fails as one that waits: writers that
/// follow each other let it pass within that time.
const LOCK_WAIT: Duration = Duration::from_secs(60);

/// Open repositories by name. Deriving a key costs a quarter of a second, so it is done once.
pub struct Openings {
    secrets: Arc<dyn Secrets>,
    clock: Arc<dyn Clock>,
    /// Names this start of the process in locks: one of ours whose process is gone can be told from
    /// one that is held.
    run: String,
    open: Mutex<BTreeMap<String, Opened>>,
}

impl Openings {
    /// Returns none yet.
    pub fn new(secrets: Arc<dyn Secrets>, clock: Arc<dyn Clock>) -> Self {
        let run = format!("{}-{}", std::process::id(), clock.now().as_millisecond());
        Self { secrets, clock, run, open: Mutex::default() }
    }

    fn options(&self, spec: &RepositorySpec) -> Options {
        let clock = self.clock.clone();
        let owner = Owner::current(self.run.clone());
        let mut options = Options::new(owner, Arc::new(move || clock.now()));
        options.lock_wait = LOCK_WAIT;
        options.append_only = spec.append_only;
        options
    }

    /// Opens a repository with options of its own; it is not kept open.
    pub fn open_with(
        &self,
        spec: &RepositorySpec,
        change: &dyn Fn(&mut Options),
    ) -> Result<Arc<Repository>, PortError> {
        mounted(spec)?;
        let mut options = self.options(spec);
        change(&mut options);
        let storage = storage(&spec.storage);
        let password = self.password(spec)?;
        Repository::open(storage, password.expose(), options).map(Arc::new)
    }

    fn password(&self, spec: &RepositorySpec) -> Result<SecretValue, PortError> {
        let value = self.secrets.resolve(&spec.password)?;
        // As restic does with password files: a line break at the end is the editor's.
        let bytes = value.expose();
        let end = bytes.iter().rposition(|b| *b != b'\n' && *b != b'\r').map_or(0, |at| at + 1);
        Ok(SecretValue::new(bytes[..end].to_vec()))
    }

    /// Opens a repository, or takes the open one if the place still holds the same.
    pub fn open(&self, spec: &RepositorySpec) -> Result<Arc<Repository>, PortError> {
        mounted(spec)?;
        let password = self.password(spec)?;
        let storage = storage(&spec.storage);
        let config = config_bytes(&*storage).map_err(|e| {
            PortError::new(e.class, "RepositoryMissing", format!("no repository `{}`", spec.name))
                .with_source(e)
        })?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = open.get(spec.name.as_str())
            && known.storage == spec.storage
            && known.password == password
            && known.config == config
        {
            return Ok(known.repository.clone());
        }
        let repository =
            Arc::new(Repository::open(storage, password.expose(), self.options(spec))?);
        let opened = Opened {
            storage: spec.storage.clone(),
            password,
            config,
            repository: repository.clone(),
        };
        open.insert(spec.name.as_str().to_owned(), opened);
        Ok(repository)
    }

    /// Makes a repository.
    pub fn init(&self, spec: &RepositorySpec) -> Result<Arc<Repository>, PortError> {
        mounted(spec)?;
        if is_unfinished(spec) {
            clear_unfinished(spec)?;
        } else if let Some(found) = anything_in(spec)? {
            return Err(PortError::terminal(
                "PlaceTaken",
                format!("{found} lies where repository `{}` shall be made", spec.name),
            )
            .with_hint("give it an empty folder; nothing that exists is ever overwritten"));
        }
        let password = self.password(spec)?;
        let storage = storage(&spec.storage);
        Ok(Arc::new(Repository::init(storage, password.expose(), self.options(spec))?))
    }

    /// Opens a repository, or says why not in terms of an observation.
    pub fn look(&self, spec: &RepositorySpec) -> Result<Arc<Repository>, RepositoryObservation> {
        if let Err(error) = mounted(spec) {
            return Err(unknown(&error));
        }
        match anything_in(spec) {
            Ok(None) => {
                let StorageSpec::Local { path, .. } = &spec.storage;
                return Err(RepositoryObservation::Absent {
                    detail: format!("there is nothing at {path}"),
                });
            }
            Ok(Some(_)) if is_unfinished(spec) => {
                let StorageSpec::Local { path, .. } = &spec.storage;
                return Err(RepositoryObservation::Absent {
                    detail: format!("a repository at {path} was begun and never finished"),
                });
            }
            Ok(Some(_)) => {}
            Err(error) => return Err(unknown(&error)),
        }
        self.open(spec).map_err(|error| unknown(&error))
    }
}

/// Returns the observation of what could not be looked at.
pub fn unknown(error: &PortError) -> RepositoryObservation {
    RepositoryObservation::Unknown { reason: error.reason.to_owned(), detail: error.chain() }
}

/// Returns a snapshot's id in the engine's shape.
pub fn parse_id(id: &SnapshotId) -> Result<Id, PortError> {
    Id::parse(id.as_str())
        .ok_or_else(|| PortError::terminal("BadSnapshotId", format!("`{id}` is no snapshot id")))
}

/// Checks that a repository's disk is there, where the document says that there is one.
fn mounted(spec: &RepositorySpec) -> Result<(), PortError> {
    let StorageSpec::Local { path, mount_point } = &spec.storage;
    if !mount_point {
        return Ok(());
    }
    let fail = |error: std::io::Error| {
        PortError::waiting("NotReadable", format!("{path} cannot be looked at")).with_source(error)
    };
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

/// Returns the name of something in the repository's place; `None` when it is provably empty.
fn anything_in(spec: &RepositorySpec) -> Result<Option<String>, PortError> {
    let StorageSpec::Local { path, .. } = &spec.storage;
    let fail = |error: std::io::Error| {
        PortError::waiting("NotReadable", format!("{path} cannot be looked at")).with_source(error)
    };
    match fs::read_dir(path) {
        Ok(mut entries) => match entries.next() {
            None => Ok(None),
            Some(Ok(entry)) => Ok(Some(entry.path().display().to_string())),
            Some(Err(error)) => Err(fail(error)),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(fail(error)),
    }
}

/// The folders of a repository; what else lies beside them is not ours.
const FOLDERS: [&str; 5] = ["data", "index", "keys", "locks", "snapshots"];

/// Whether a making of a repository was killed half-way: its folders are there, its config, which
/// is written last, is not, and nothing was ever stored.
fn is_unfinished(spec: &RepositorySpec) -> bool {
    let StorageSpec::Local { path, .. } = &spec.storage;
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

/// Removes the keys of a repository that was never finished: without a config and without data they
/// protect nothing.
fn clear_unfinished(spec: &RepositorySpec) -> Result<(), PortError> {
    let StorageSpec::Local { path, .. } = &spec.storage;
    for folder in ["keys", "locks"] {
        let folder = Path::new(path).join(folder);
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            fs::remove_file(entry.path())
                .map_err(|e| crate::fault::path("remove", &entry.path(), e))?;
        }
    }
    Ok(())
}

/// Returns the free bytes where a repository lies.
pub fn free_bytes(spec: &RepositorySpec) -> Option<u64> {
    let StorageSpec::Local { path, .. } = &spec.storage;
    let space = rustix::fs::statvfs(path.as_str()).ok()?;
    space.f_bavail.checked_mul(space.f_frsize)
}
