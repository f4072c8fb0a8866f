//! A state in a folder: `state.db`, `journal/`, `lock`. What is damaged is put aside with a note
//! and made anew: it is a cache.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::error::PortError;
use model::journal::Record;
use model::ports::Boxed;
use model::ports::state::{Change, Lease, Owner, State};

use super::database::{Database, Unopened};
use super::journal::Journal;
use super::lock::{self, Held};
use crate::fault;

/// Copies of damaged databases that are kept; the oldest name is used again after that.
const DAMAGED_MAX: u32 = 100;

/// A state in a folder. Clones share one connection.
#[derive(Clone)]
pub struct Folder(Arc<Shared>);

struct Shared {
    folder: PathBuf,
    database: Mutex<Database>,
    journal: Mutex<Journal>,
    notes: Mutex<Vec<String>>,
    fresh: bool,
    /// The epoch of this process's writer; only that writer raises it.
    epoch: AtomicU64,
}

struct FolderLease {
    shared: Arc<Shared>,
    _held: Held,
}

impl Lease for FolderLease {
    fn epoch(&self) -> u64 {
        self.shared.epoch.load(Ordering::Acquire)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Folder {
    /// Opens a state, making the folder and what is missing in it. Blocks; call it at the start.
    pub fn open(folder: &Path) -> Result<Self, PortError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|e| fault::path("create", folder, e))?;
        let mut notes = Vec::new();
        let path = folder.join("state.db");
        let existed = path.exists();
        let (database, replaced) = match Database::open(&path) {
            Ok(database) => (database, false),
            Err(Unopened::Failed(error)) => return Err(error),
            Err(Unopened::Damaged(why)) => (replace(folder, &path, &why, &mut notes)?, true),
        };
        let journal = Journal::open(&folder.join("journal"))?;
        notes.extend(journal.notes());
        for note in &notes {
            tracing::warn!(state = %folder.display(), "{note}");
        }
        Ok(Self(Arc::new(Shared {
            folder: folder.to_owned(),
            database: Mutex::new(database),
            journal: Mutex::new(journal),
            notes: Mutex::new(notes),
            fresh: replaced || !existed,
            epoch: AtomicU64::new(0),
        })))
    }

    /// Returns what was repaired or put aside, for people.
    pub fn notes(&self) -> Vec<String> {
        locked(&self.0.notes).clone()
    }

    /// Returns whether there was no usable database before: it is new or was lost.
    pub fn is_fresh(&self) -> bool {
        self.0.fresh
    }

    fn with<T, F>(&self, work: F) -> Boxed<'static, Result<T, PortError>>
    where
        T: Send + 'static,
        F: FnOnce(&Arc<Shared>) -> Result<T, PortError> + Send + 'static,
    {
        let shared = self.0.clone();
        Box::pin(fault::blocking(move || work(&shared)))
    }
}

/// Puts a damaged database aside and opens a fresh one, unless somebody is using it.
fn replace(
    folder: &Path,
    path: &Path,
    why: &str,
    notes: &mut Vec<String>,
) -> Result<Database, PortError> {
    let Some(_held) = lock::take_briefly(&folder.join("lock"))? else {
        return Err(PortError::terminal(
            "StateDamaged",
            format!("the state {} is damaged and in use: {why}", path.display()),
        )
        .with_hint("stop the process that uses it; the next start puts it aside"));
    };
    let aside = (1..=DAMAGED_MAX)
        .map(|n| folder.join(format!("state.db.damaged-{n}")))
        .find(|p| !p.exists())
        .unwrap_or_else(|| folder.join(format!("state.db.damaged-{DAMAGED_MAX}")));
    fs::rename(path, &aside).map_err(|e| fault::path("put aside", path, e))?;
    for ending in ["-wal", "-shm"] {
        let from = with_ending(path, ending);
        if from.exists() {
            fs::rename(&from, with_ending(&aside, ending))
                .map_err(|e| fault::path("put aside", &from, e))?;
        }
    }
    notes.push(format!(
        "the state was damaged ({why}); it was put aside as {} and is rebuilt",
        aside.display()
    ));
    Database::open(path).map_err(|error| match error {
        Unopened::Failed(error) => error,
        Unopened::Damaged(why) => PortError::terminal(
            "StateDamaged",
            format!("a fresh state {} is damaged at once: {why}", path.display()),
        ),
    })
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

impl State for Folder {
    fn acquire<'a>(&'a self, owner: &'a Owner) -> Boxed<'a, Result<Box<dyn Lease>, PortError>> {
        let owner = owner.clone();
        self.with(move |shared| {
            let held = lock::take(&shared.folder.join("lock"), &owner)?;
            let epoch = locked(&shared.database).change_epoch(|epoch| epoch + 1)?;
            shared.epoch.store(epoch, Ordering::Release);
            let lease = FolderLease { shared: shared.clone(), _held: held };
            Ok(Box::new(lease) as Box<dyn Lease>)
        })
    }

    fn raise_epoch(&self, at_least: u64) -> Boxed<'_, Result<u64, PortError>> {
        self.with(move |shared| {
            let rule = |epoch: u64| epoch.max(at_least);
            let after = locked(&shared.database).change_epoch(rule)?;
            shared.epoch.store(after, Ordering::Release);
            Ok(after)
        })
    }

    fn writer(&self) -> Boxed<'_, Result<Option<Owner>, PortError>> {
        self.with(|shared| lock::holder(&shared.folder.join("lock")))
    }

    fn list<'a>(
        &'a self,
        kind: &'a str,
    ) -> Boxed<'a, Result<BTreeMap<String, Vec<u8>>, PortError>> {
        let kind = kind.to_owned();
        self.with(move |shared| locked(&shared.database).list(&kind))
    }

    fn write<'a>(&'a self, changes: &'a [Change]) -> Boxed<'a, Result<(), PortError>> {
        let changes = changes.to_vec();
        self.with(move |shared| locked(&shared.database).write(&changes))
    }

    fn append<'a>(&'a self, record: &'a Record) -> Boxed<'a, Result<u64, PortError>> {
        let record = record.clone();
        self.with(move |shared| locked(&shared.journal).append(&record))
    }

    fn read_journal(
        &self,
        from: u64,
        count_max: usize,
    ) -> Boxed<'_, Result<Vec<Record>, PortError>> {
        self.with(move |shared| locked(&shared.journal).read(from, count_max))
    }

    fn journal_end(&self) -> Boxed<'_, Result<u64, PortError>> {
        self.with(|shared| locked(&shared.journal).end())
    }
}
