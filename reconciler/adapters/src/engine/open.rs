//! Opens repositories, keeps them open while they stay the same, and tells a place that is provably
//! empty from one that cannot be looked at.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::desired::{RepositorySpec, StorageSpec};
use model::error::PortError;
use model::id::SnapshotId;
use model::observed::RepositoryObservation;
use model::ports::clock::Clock;
use model::ports::secrets::{SecretValue, Secrets};
use model::ports::storage::{NOT_FOUND, Storage};
use repository::{CacheFolder, Id, Options, Owner, Repository};

use super::config_bytes;
use super::place::{self, Found};
use crate::storage;

/// A repository that was opened, and by what it is known again.
struct Opened {
    storage: Arc<dyn Storage>,
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
    /// Names this start of the process in locks: one of ours whose process is gone can be told
    /// from one that is held.
    run: String,
    /// Where copies of what is read often are kept.
    cache: CacheFolder,
    open: Mutex<BTreeMap<String, Opened>>,
    reached: Mutex<BTreeMap<String, Reached>>,
}

/// A storage that was opened, and by what it is known again: connections are kept, and a changed
/// document or secret makes others.
struct Reached {
    spec: StorageSpec,
    append_only: bool,
    credentials: Vec<SecretValue>,
    storage: Arc<dyn Storage>,
}

impl Openings {
    /// Returns none yet.
    pub fn new(secrets: Arc<dyn Secrets>, clock: Arc<dyn Clock>, cache: PathBuf) -> Self {
        let run = format!("{}-{}", std::process::id(), clock.now().as_millisecond());
        let cache = CacheFolder::new(cache);
        Self { secrets, clock, run, cache, open: Mutex::default(), reached: Mutex::default() }
    }

    fn options(&self, spec: &RepositorySpec) -> Options {
        let clock = self.clock.clone();
        let owner = Owner::current(self.run.clone());
        let mut options = Options::new(owner, Arc::new(move || clock.now()));
        options.lock_wait = LOCK_WAIT;
        options.append_only = spec.append_only;
        // A folder of this machine is as fast as copies of it.
        let remote = matches!(spec.storage, StorageSpec::Remote(_));
        options.cache = remote.then(|| self.cache.clone());
        options
    }

    /// Opens a repository with options of its own; it is not kept open.
    pub fn open_with(
        &self,
        spec: &RepositorySpec,
        change: &dyn Fn(&mut Options),
    ) -> Result<Arc<Repository>, PortError> {
        place::mounted(&spec.storage)?;
        let mut options = self.options(spec);
        change(&mut options);
        let storage = self.storage(spec)?;
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

    /// Opens the storage of a repository, or takes the open one.
    fn storage(&self, spec: &RepositorySpec) -> Result<Arc<dyn Storage>, PortError> {
        let credentials = match &spec.storage {
            StorageSpec::Local { .. } => Vec::new(),
            StorageSpec::Remote(remote) => {
                let references = remote.secrets().into_iter();
                references.map(|r| self.secrets.resolve(r)).collect::<Result<Vec<_>, _>>()?
            }
        };
        let mut reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = reached.get(spec.name.as_str())
            && known.spec == spec.storage
            && known.append_only == spec.append_only
            && known.credentials == credentials
        {
            return Ok(known.storage.clone());
        }
        let storage = storage::open(&spec.storage, spec.append_only, &*self.secrets)?;
        let known = Reached {
            spec: spec.storage.clone(),
            append_only: spec.append_only,
            credentials,
            storage: storage.clone(),
        };
        reached.insert(spec.name.as_str().to_owned(), known);
        Ok(storage)
    }

    /// Opens a repository, or takes the open one if the place still holds the same.
    pub fn open(&self, spec: &RepositorySpec) -> Result<Arc<Repository>, PortError> {
        place::mounted(&spec.storage)?;
        let password = self.password(spec)?;
        let storage = self.storage(spec)?;
        let config = match config_bytes(&*storage) {
            // A migration may have been killed between two configs: opening it completes that.
            Err(error) if error.reason == NOT_FOUND => {
                match Repository::open(storage.clone(), password.expose(), self.options(spec)) {
                    Ok(_) => config_bytes(&*storage)?,
                    Err(other) if other.reason != "NotARepository" => return Err(other),
                    Err(_) => {
                        let message = format!("no repository `{}`", spec.name);
                        return Err(PortError::new(error.class, "RepositoryMissing", message)
                            .with_source(error));
                    }
                }
            }
            config => config?,
        };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = open.get(spec.name.as_str())
            && Arc::ptr_eq(&known.storage, &storage)
            && known.password == password
            && known.config == config
        {
            return Ok(known.repository.clone());
        }
        let repository = Repository::open(storage.clone(), password.expose(), self.options(spec))?;
        let repository = Arc::new(repository);
        let opened = Opened { storage, password, config, repository: repository.clone() };
        open.insert(spec.name.as_str().to_owned(), opened);
        Ok(repository)
    }

    /// Makes a repository.
    pub fn init(&self, spec: &RepositorySpec) -> Result<Arc<Repository>, PortError> {
        place::mounted(&spec.storage)?;
        let password = self.password(spec)?;
        let storage = self.storage(spec)?;
        match place::look(&spec.storage, &*storage)? {
            Found::Nothing => {}
            // The same is left of an empty one whose migration was killed.
            Found::Unfinished if self.open(spec).is_ok() => {
                return Err(taken(spec, "a repository"));
            }
            Found::Unfinished => place::clear_unfinished(&*storage)?,
            Found::Something(found) => return Err(taken(spec, &found)),
        }
        Ok(Arc::new(Repository::init(storage, password.expose(), self.options(spec))?))
    }

    /// Opens a repository, or says why not in terms of an observation.
    pub fn look(&self, spec: &RepositorySpec) -> Result<Arc<Repository>, RepositoryObservation> {
        let looked = place::mounted(&spec.storage)
            .and_then(|()| self.storage(spec))
            .and_then(|storage| place::look(&spec.storage, &*storage));
        let location = spec.storage.location();
        match looked {
            Ok(Found::Nothing) => {
                let detail = format!("there is nothing at {location}");
                return Err(RepositoryObservation::Absent { detail });
            }
            Ok(Found::Unfinished) => {
                // The same is left of an empty one whose migration was killed.
                if let Ok(repository) = self.open(spec) {
                    return Ok(repository);
                }
                let detail = format!("a repository at {location} was begun and never finished");
                return Err(RepositoryObservation::Absent { detail });
            }
            Ok(Found::Something(_)) => {}
            Err(error) => return Err(unknown(&error)),
        }
        self.open(spec).map_err(|error| unknown(&error))
    }
}

fn taken(spec: &RepositorySpec, found: &str) -> PortError {
    let message = format!("{found} lies where repository `{}` shall be made", spec.name);
    PortError::terminal("PlaceTaken", message)
        .with_hint("give it an empty folder; nothing that exists is ever overwritten")
}

/// Returns the observation of what could not be looked at.
pub fn unknown(error: &PortError) -> RepositoryObservation {
    let mut detail = error.chain();
    if let Some(hint) = &error.hint {
        detail.push_str("; ");
        detail.push_str(hint);
    }
    RepositoryObservation::Unknown { reason: error.reason.to_owned(), detail }
}

/// Returns a snapshot's id in the engine's shape.
pub fn parse_id(id: &SnapshotId) -> Result<Id, PortError> {
    Id::parse(id.to_string())
        .ok_or_else(|| PortError::terminal("BadSnapshotId", format!("`{id}` is no snapshot id")))
}
