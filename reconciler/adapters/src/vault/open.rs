//! Opens repositories and keeps them open: deriving a key from a password is slow on purpose, and
//! an index is worth keeping. An open one is used again only while the same repository lies there.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use model::desired::{RepositorySpec, StorageSpec};
use model::error::PortError;
use model::id::Name;
use model::ports::clock::Clock;
use model::ports::secrets::Secrets;
use model::ports::storage::{FileKind, Storage};
use repository::storage::LocalStorage;
use repository::{Options, Owner, PruneMark, PruneReport, Repository};
use serde::{Deserialize, Serialize};

use super::Parts;
use crate::fault;

/// The largest `config` file in bytes; restic's have less than one KiB.
const CONFIG_BYTES_MAX: u64 = 64 << 10;

/// Version of [`PruneNote`]'s persisted shape.
const NOTE_VERSION: u32 = 1;

/// An open repository and by what it was opened.
struct Kept {
    key: [u8; 32],
    repository: Arc<Repository>,
}

/// What is kept from one prune to the next; when it is lost, only time is.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PruneNote {
    version: u32,
    pub(super) mark: PruneMark,
    pub(super) waste_bytes: Option<u64>,
}

/// Opens repositories.
pub(super) struct Doors {
    secrets: Arc<dyn Secrets>,
    clock: Arc<dyn Clock>,
    cache: PathBuf,
    run: String,
    kept: Mutex<BTreeMap<Name, Kept>>,
}

impl Doors {
    pub(super) fn new(parts: Parts) -> Self {
        Self {
            secrets: parts.secrets,
            clock: parts.clock,
            cache: parts.cache,
            run: parts.run,
            kept: Mutex::default(),
        }
    }

    fn options(&self) -> Options {
        let clock = self.clock.clone();
        Options::new(Owner::current(self.run.clone()), Arc::new(move || clock.now()))
    }

    /// Opens a repository, or returns the one that is open; another one in its place is refused.
    pub(super) fn open(&self, spec: &RepositorySpec) -> Result<Arc<Repository>, PortError> {
        let storage = storage(spec);
        let password = self.secrets.resolve(&spec.password)?;
        let config = storage.load(FileKind::Config, "", CONFIG_BYTES_MAX);
        let mut hasher = blake3::Hasher::new();
        hasher.update(storage.location().as_bytes()).update(&[0]);
        hasher.update(blake3::hash(password.expose()).as_bytes());
        hasher.update(config.as_deref().unwrap_or_default());
        let key = *hasher.finalize().as_bytes();
        if config.is_ok()
            && let Some(kept) = self.kept().get(&spec.name)
            && kept.key == key
        {
            return Ok(kept.repository.clone());
        }
        let opened = Repository::open(storage, password.expose(), self.options())?;
        let repository = Arc::new(opened);
        if let Some(id) = &spec.id
            && id.as_str() != repository.id()
        {
            return Err(PortError::terminal(
                "WrongRepository",
                format!("{} is the repository {}", repository.location(), repository.id()),
            )
            .with_hint(format!("`{}` is pinned to {id}: look which disk is mounted", spec.name)));
        }
        self.kept().insert(spec.name.clone(), Kept { key, repository: repository.clone() });
        Ok(repository)
    }

    /// Makes a new repository.
    pub(super) fn init(&self, spec: &RepositorySpec) -> Result<Repository, PortError> {
        let password = self.secrets.resolve(&spec.password)?;
        Repository::init(storage(spec), password.expose(), self.options())
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, BTreeMap<Name, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_path(&self, id: &str) -> PathBuf {
        let safe: String = id.chars().filter(char::is_ascii_hexdigit).take(64).collect();
        self.cache.join(format!("prune-{safe}.json"))
    }

    /// Returns what the last prune left; nothing when that is lost or of another version.
    pub(super) fn prune_note(&self, id: &str) -> PruneNote {
        let read = fs::read(self.note_path(id)).ok();
        read.and_then(|text| serde_json::from_slice::<PruneNote>(&text).ok())
            .filter(|note| note.version == NOTE_VERSION)
            .unwrap_or_default()
    }

    pub(super) fn keep_prune_note(&self, id: &str, report: &PruneReport) -> Result<(), PortError> {
        let note = PruneNote {
            version: NOTE_VERSION,
            mark: report.mark.clone(),
            waste_bytes: Some(report.bytes_waiting.saturating_add(report.bytes_wasted)),
        };
        let path = self.note_path(id);
        let text = serde_json::to_vec(&note).unwrap_or_default();
        let draft = path.with_extension("draft");
        fs::create_dir_all(&self.cache)
            .and_then(|()| fs::write(&draft, text))
            .and_then(|()| fs::rename(&draft, &path))
            .map_err(|e| fault::path("write", &path, e))
    }
}

fn storage(spec: &RepositorySpec) -> Arc<dyn Storage> {
    let StorageSpec::Local { path, .. } = &spec.storage;
    Arc::new(LocalStorage::new(path))
}
