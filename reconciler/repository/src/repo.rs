//! The repository: made or opened with a password, its keys, its index, its snapshots and its
//! locks. The verbs that work on it lie in the modules beside this one.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use model::cancel::Cancel;
use model::error::PortError;
use model::ports::mover::Chunking;
use model::ports::storage::{ALREADY_EXISTS, FileKind, NOT_FOUND, Storage};

use crate::cache::{Cache, CacheFolder};
use crate::crypto::{Cipher, Kdf, KeyParts};
use crate::format::config::Config;
use crate::format::snapshot::Snapshot;
use crate::id::Id;
use crate::index::Index;
use crate::keys::{find_key, key_names, save_key};
use crate::lock::{self, Clock, Lock, LockInfo, Owner, Party};
use crate::migrate;
use crate::store::Store;

/// zstd level that most content is worth: see the measurements in the guide.
const LEVEL_DEFAULT: i32 = 1;

/// How to open a repository, the password aside.
#[derive(Clone)]
pub struct Options {
    /// Who works on it: written into locks, keys and snapshots.
    pub owner: Owner,
    /// The time; written into locks.
    pub clock: Clock,
    /// zstd level of what is written, 1 to 22.
    pub level: i32,
    /// Neither locks nor anything else is written. For repositories on read-only storage.
    pub read_only: bool,
    /// Nothing is deleted but our own locks, whoever asks. For storage that forbids deletion.
    pub append_only: bool,
    /// Cost of deriving a key from a password, for keys that are made.
    pub kdf: Kdf,
    /// How long to wait for the locks of others; zero to fail at once.
    pub lock_wait: Duration,
    /// Where copies of what is read often are kept; for storage that is far away.
    pub cache: Option<CacheFolder>,
}

impl Options {
    /// Returns the usual options for an owner and a clock.
    pub fn new(owner: Owner, clock: Clock) -> Self {
        Self {
            owner,
            clock,
            level: LEVEL_DEFAULT,
            read_only: false,
            append_only: false,
            kdf: Kdf::default(),
            lock_wait: Duration::ZERO,
            cache: None,
        }
    }
}

/// An open repository. Cheap to share between threads; holds the index once it was needed.
pub struct Repository {
    pub(crate) store: Arc<Store>,
    pub(crate) options: Options,
    config: Config,
    /// The key file it was opened with.
    pub(crate) key: Mutex<Id>,
    /// Shared with the one without copies: it takes as much memory as all else together.
    index: Arc<RwLock<Arc<Index>>>,
    /// Index files that were seen whole where they are stored; kept by the one without copies.
    proven: Option<Mutex<HashSet<Id>>>,
    /// Snapshots read so far; they never change under their id.
    snapshots: Mutex<HashMap<Id, Snapshot>>,
    /// The same without copies on this machine, once it was needed.
    stored: OnceLock<Box<Self>>,
}

/// Returns the error that nothing is there; `None` where a config is.
fn missing(storage: &dyn Storage) -> Result<Option<PortError>, PortError> {
    let Err(error) = storage.stat(FileKind::Config, "") else { return Ok(None) };
    // A service refuses a look at one file without a word, or as if it were not there; a listing it
    // refuses with the reason.
    match key_names(storage) {
        Err(listed) if listed.reason != NOT_FOUND => return Err(listed),
        _ if error.reason != NOT_FOUND => return Err(error),
        _ => {}
    }
    let message = format!("{} holds no repository", storage.location());
    Ok(Some(
        PortError::terminal("NotARepository", message)
            .with_hint("an unmounted disk or an emptied bucket looks the same"),
    ))
}

impl Repository {
    /// Makes a new repository. Fails with `AlreadyInitialised` where there is one, or parts of one.
    pub fn init(
        storage: Arc<dyn Storage>,
        password: &[u8],
        options: Options,
    ) -> Result<Self, PortError> {
        crate::keys::not_empty(password)?;
        let location = storage.location();
        let taken = |what: &str| {
            PortError::terminal("AlreadyInitialised", format!("{location} has {what} already"))
        };
        match storage.stat(FileKind::Config, "") {
            Ok(_) => return Err(taken("a config")),
            Err(e) if e.reason == NOT_FOUND => {}
            Err(e) => return Err(e),
        }
        storage.create()?;
        if !key_names(&*storage)?.is_empty() {
            return Err(taken("keys").with_hint(
                "a repository whose config is lost may lie there: look before anything is deleted",
            ));
        }
        let config = Config::new()?;
        let master = KeyParts::random()?;
        let key = save_key(&*storage, &master, password, &options)?;
        let store = Store {
            storage,
            cipher: Cipher::new(master)?,
            version: config.version,
            level: options.level,
            append_only: options.append_only,
            cache: None,
        };
        let json = serde_json::to_vec(&config).map_err(|e| {
            PortError::terminal("Internal", "config does not serialise").with_source(e)
        })?;
        // The config comes last: with it the place is a repository.
        store.save(FileKind::Config, &json).map_err(|e| {
            // A key of another master key must not stay beside that of whoever was faster.
            let _ = store.delete(FileKind::Key, &key);
            if e.reason == ALREADY_EXISTS { taken("a config").with_source(e) } else { e }
        })?;
        Ok(Self::assemble(store, options, config, key, Arc::default()))
    }

    /// Opens a repository. Fails with `WrongPassword`, or `NotARepository` where there is none.
    pub fn open(
        storage: Arc<dyn Storage>,
        password: &[u8],
        options: Options,
    ) -> Result<Self, PortError> {
        let location = storage.location();
        let missing = missing(&*storage)?;
        let ((key, master), kept) = match (find_key(&*storage, password), missing) {
            (Ok(found), None) => (found, None),
            (Err(e), None) => return Err(e),
            (Err(_), Some(missing)) => return Err(missing),
            // Between two configs a migration may have been killed.
            (Ok((_, master)), Some(missing)) => {
                let kept = migrate::complete(&storage, master, options.read_only)?;
                (find_key(&*storage, password)?, Some(kept.ok_or(missing)?))
            }
        };
        let mut store = Store {
            storage,
            cipher: Cipher::new(master)?,
            version: 0,
            level: options.level,
            append_only: options.append_only,
            cache: None,
        };
        let config = match kept {
            Some(config) => config,
            None => migrate::stored(&store)?,
        };
        if !(1..=2).contains(&config.version) {
            return Err(PortError::terminal(
                "UnknownVersion",
                format!("{location} has format version {}, known are 1 and 2", config.version),
            ));
        }
        store.version = config.version;
        Ok(Self::assemble(store, options, config, key, Arc::default()))
    }

    fn assemble(
        mut store: Store,
        options: Options,
        config: Config,
        key: Id,
        index: Arc<RwLock<Arc<Index>>>,
    ) -> Self {
        store.cache = options.cache.clone().and_then(|folder| Cache::new(folder, &config.id));
        Self {
            store: Arc::new(store),
            options,
            config,
            key: Mutex::new(key),
            index,
            proven: None,
            snapshots: Mutex::default(),
            stored: OnceLock::new(),
        }
    }

    /// Returns the same repository read without copies on this machine, if it is read with them:
    /// what is looked at is then what is stored. It is kept, or each restore and check of a long
    /// run would fetch the index again. The table of the index is the same one, see
    /// [`prove`](Self::prove).
    pub(crate) fn uncached(&self) -> Result<Option<&Self>, PortError> {
        if self.store.cache.is_none() {
            return Ok(None);
        }
        if let Some(stored) = self.stored.get() {
            return Ok(Some(stored));
        }
        let store = Store {
            storage: self.store.storage.clone(),
            cipher: Cipher::new(self.store.cipher.parts().clone())?,
            version: self.store.version,
            level: self.store.level,
            append_only: self.store.append_only,
            cache: None,
        };
        let options = Options { cache: None, ..self.options.clone() };
        let key = *self.key.lock().unwrap_or_else(PoisonError::into_inner);
        let index = Arc::clone(&self.index);
        let mut stored = Self::assemble(store, options, self.config.clone(), key, index);
        stored.proven = Some(Mutex::default());
        Ok(Some(self.stored.get_or_init(|| Box::new(stored))))
    }

    /// Returns the repository's identity: 64 hexadecimal digits that never change.
    pub fn id(&self) -> &str {
        &self.config.id
    }

    /// Returns the format version: 1 or 2.
    pub fn version(&self) -> u32 {
        self.config.version
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Returns restic's own way of cutting in this repository, so that what both write
    /// deduplicates.
    pub fn restic_chunking(&self) -> Result<Chunking, PortError> {
        let text = &self.config.chunker_polynomial;
        match u64::from_str_radix(text, 16) {
            Ok(polynomial) => Ok(Chunking::Restic { polynomial }),
            Err(e) => {
                Err(PortError::terminal("BadConfig", format!("{text} is no polynomial"))
                    .with_source(e))
            }
        }
    }

    /// Returns where the repository lies, for people.
    pub fn location(&self) -> String {
        self.store.storage.location()
    }

    /// Lists all snapshots, oldest first. One that cannot be read is an error: what refers to blobs
    /// must be known before anything is deleted.
    pub fn snapshots(&self) -> Result<Vec<Snapshot>, PortError> {
        let mut all = Vec::new();
        let ids: Vec<Id> =
            self.store.list(FileKind::Snapshot)?.into_iter().map(|(id, _)| id).collect();
        let next = AtomicUsize::new(0);
        let threads = self.store.storage.connections().min(ids.len()).max(1);
        let work = || -> Result<Vec<Snapshot>, PortError> {
            let mut mine = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(id) = ids.get(at) else { return Ok(mine) };
                match self.listed(id) {
                    Ok(snapshot) => mine.push(snapshot),
                    // Forgotten since the listing.
                    Err(e) if e.reason == NOT_FOUND => {}
                    Err(e) => return Err(e),
                }
            }
        };
        let parts: Vec<_> = std::thread::scope(|scope| {
            let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            handles.into_iter().map(crate::join).collect()
        });
        for part in parts {
            all.extend(part?);
        }
        let known: HashSet<Id> = ids.into_iter().collect();
        self.cached().retain(|id, _| known.contains(id));
        all.sort_by_key(|s| (s.time, s.id));
        Ok(all)
    }

    fn cached(&self) -> MutexGuard<'_, HashMap<Id, Snapshot>> {
        self.snapshots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads one snapshot.
    pub fn snapshot(&self, id: &Id) -> Result<Snapshot, PortError> {
        self.read_snapshot(id, Store::load)
    }

    /// Reads a snapshot that a listing has just named.
    fn listed(&self, id: &Id) -> Result<Snapshot, PortError> {
        self.read_snapshot(id, Store::load_listed)
    }

    fn read_snapshot(
        &self,
        id: &Id,
        load: fn(&Store, FileKind, &Id) -> Result<Vec<u8>, PortError>,
    ) -> Result<Snapshot, PortError> {
        if let Some(known) = self.cached().get(id) {
            return Ok(known.clone());
        }
        let json = load(&self.store, FileKind::Snapshot, id)?;
        let snapshot = Snapshot::parse(*id, &json)?;
        self.cached().insert(*id, snapshot.clone());
        Ok(snapshot)
    }

    /// Returns the index, brought up to what is stored at this moment.
    pub fn index(&self, cancel: &Cancel) -> Result<Arc<Index>, PortError> {
        let mut index = Arc::clone(&self.index.read().unwrap_or_else(PoisonError::into_inner));
        if !index.is_fresh(&self.store)? {
            let fresh = Arc::new(index.refreshed(&self.store, cancel)?);
            if let Some(mut proven) = self.proven() {
                // Read from where they are stored just now: all of them where one had gone.
                let kept = index.files().is_subset(fresh.files());
                let before = if kept { index.files().clone() } else { HashSet::new() };
                proven.extend(fresh.files().difference(&before));
            }
            *self.index.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&fresh);
            index = fresh;
        }
        self.prove(&index, cancel)?;
        Ok(index)
    }

    fn proven(&self) -> Option<MutexGuard<'_, HashSet<Id>>> {
        let proven = self.proven.as_ref()?;
        Some(proven.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// For what must not stand on copies: looks once at each index file of the table where it is
    /// stored. The table may have been made of copies, or of what this process wrote. Either has
    /// the digest that is the file's name; so does the stored file, or this fails.
    fn prove(&self, index: &Index, cancel: &Cancel) -> Result<(), PortError> {
        let Some(mut proven) = self.proven() else { return Ok(()) };
        proven.retain(|id| index.files().contains(id));
        let open: Vec<Id> = index.files().difference(&proven).copied().collect();
        drop(proven);
        let next = AtomicUsize::new(0);
        let work = || -> Result<(), PortError> {
            loop {
                cancel.check()?;
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(id) = open.get(at) else { return Ok(()) };
                self.store.probe(FileKind::Index, id)?;
                if let Some(mut proven) = self.proven() {
                    proven.insert(*id);
                }
            }
        };
        let threads = self.store.storage.connections().min(open.len());
        std::thread::scope(|scope| {
            let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            handles.into_iter().map(crate::join).collect::<Result<Vec<()>, _>>().map(|_| ())
        })
    }

    /// Adds what a session wrote to the index in memory.
    pub(crate) fn learn(&self, outcome: crate::session::Outcome) {
        if outcome.index_files.is_empty() {
            return;
        }
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut index).extend(&outcome.index_files, outcome.packs);
    }

    /// Forgets the index in memory: what was stored has been rewritten.
    pub(crate) fn forget_index(&self) {
        *self.index.write().unwrap_or_else(PoisonError::into_inner) = Arc::default();
    }

    pub(crate) fn writable(&self) -> Result<(), PortError> {
        if self.options.read_only {
            return Err(PortError::terminal("ReadOnly", "the repository was opened for reading"));
        }
        Ok(())
    }

    /// Whether something may be deleted or replaced.
    pub(crate) fn erasable(&self) -> Result<(), PortError> {
        self.writable()?;
        if self.options.append_only {
            return Err(PortError::terminal(
                "AppendOnly",
                "the repository was opened for appending: nothing is deleted or replaced",
            ));
        }
        Ok(())
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.options.clock)()
    }

    /// Takes restic's lock; none when opened for reading.
    pub(crate) fn lock(&self, exclusive: bool, cancel: &Cancel) -> Result<Option<Lock>, PortError> {
        if self.options.read_only {
            return Ok(None);
        }
        let Options { owner, clock, lock_wait, .. } = &self.options;
        let party = Party { me: owner, clock, wait: *lock_wait };
        Lock::take(&self.store, &party, exclusive, cancel).map(Some)
    }

    /// Lists the locks that lie in the repository.
    pub fn locks(&self) -> Result<Vec<LockInfo>, PortError> {
        lock::list(&self.store, &self.options.owner, self.now())
    }

    /// Removes stale locks, or all of them, and returns how many. Removing the lock of a process
    /// that still works can cost data.
    pub fn unlock(&self, all: bool) -> Result<usize, PortError> {
        self.writable()?;
        let mut removed = 0;
        if all {
            // Locks that cannot be read go as well.
            let kept = lock::kept_config(&self.store)?;
            for (id, _) in self.store.list(FileKind::Lock)? {
                if kept.as_ref().is_some_and(|(keeper, _)| *keeper == id) {
                    migrate::settle(&self.store)?;
                }
                self.store.delete(FileKind::Lock, &id)?;
                removed += 1;
            }
            return Ok(removed);
        }
        for lock in self.locks()?.into_iter().filter(|l| l.stale) {
            if lock.keeps_config {
                migrate::settle(&self.store)?;
            }
            self.store.delete(FileKind::Lock, &lock.id)?;
            removed += 1;
        }
        Ok(removed)
    }
}
