//! Migration of version 1 to 2: the config says so, and from then on new blobs are compressed. What
//! is stored stays as it is.
//!
//! The storage port replaces no file, so for a moment there is no config. Its content is put into a
//! lock file first; whoever opens a repository without config and finds one, completes the move.

use std::sync::Arc;

use model::cancel::Cancel;
use model::error::PortError;
use model::ports::storage::{ALREADY_EXISTS, FileKind, NOT_FOUND, Storage};
use model::progress::ProgressSink;

use crate::check::{CheckOptions, Depth};
use crate::crypto::{Cipher, KeyParts};
use crate::format::config::Config;
use crate::id::Id;
use crate::lock;
use crate::repo::Repository;
use crate::store::{Store, damaged};

/// The version that is migrated to.
const VERSION: u32 = 2;

fn to_json(config: &Config) -> Result<Vec<u8>, PortError> {
    serde_json::to_vec(config)
        .map_err(|e| PortError::terminal("Internal", "config does not serialise").with_source(e))
}

impl Repository {
    /// Migrates a repository of version 1 to version 2 once its structure was found whole; returns
    /// whether it was one. This handle goes on writing as version 1 does, which stays valid: open
    /// the repository anew.
    ///
    /// Killed at any moment it is completed by the next one that opens the repository with this
    /// library. Until then restic finds no config.
    pub fn migrate(&self, progress: &dyn ProgressSink, cancel: &Cancel) -> Result<bool, PortError> {
        self.erasable()?;
        if self.version() >= VERSION {
            return Ok(false);
        }
        let options = CheckOptions { depth: Depth::Structure, snapshots: Vec::new(), threads: 0 };
        let report = self.check(&options, progress, cancel)?;
        if let Some(fault) = report.faults.first() {
            return Err(damaged(format!("not migrated, as it is not whole: {}", fault.message))
                .with_hint("repair it first; `check` names all that is wrong"));
        }
        let lock = self.lock(true, cancel)?;
        let config = Config { version: VERSION, ..self.config().clone() };
        let (me, now) = (&self.options.owner, self.now());
        let keeper = lock::keep_config(&self.store, me, now, config.clone())?;
        if let Some(lock) = &lock {
            lock.confirm(cancel)?;
        }
        self.store.storage.delete(FileKind::Config, "")?;
        write(&self.store, &config)?;
        self.store.delete(FileKind::Lock, &keeper)?;
        Ok(true)
    }
}

/// Completes a migration that was broken off: returns the config that its lock keeps, written
/// unless `read_only`; `None` where there is none.
pub(crate) fn complete(
    storage: &Arc<dyn Storage>,
    master: KeyParts,
    read_only: bool,
) -> Result<Option<Config>, PortError> {
    let store = Store {
        storage: Arc::clone(storage),
        cipher: Cipher::new(master)?,
        version: 1,
        level: 1,
        append_only: true,
        cache: None,
    };
    let Some((_, config)) = lock::kept_config(&store)? else { return Ok(None) };
    if !read_only {
        write(&store, &config)?;
    }
    Ok(Some(config))
}

/// Writes the config that a lock keeps where there is none: such a lock must not go before, or
/// nobody would open the repository ever again.
pub(crate) fn settle(store: &Store) -> Result<(), PortError> {
    match store.storage.stat(FileKind::Config, "") {
        Err(e) if e.reason == NOT_FOUND => {}
        other => return other.map(drop),
    }
    match lock::kept_config(store)? {
        Some((_, config)) => write(store, &config),
        None => Ok(()),
    }
}

/// Reads the config.
pub(crate) fn stored(store: &Store) -> Result<Config, PortError> {
    let json = store.load(FileKind::Config, &Id::default())?;
    serde_json::from_slice(&json)
        .map_err(|e| PortError::terminal("BadConfig", "config is not valid").with_source(e))
}

fn write(store: &Store, config: &Config) -> Result<(), PortError> {
    match store.save(FileKind::Config, &to_json(config)?) {
        // Whoever opened the repository in between has completed it.
        Err(e) if e.reason == ALREADY_EXISTS && stored(store)? == *config => Ok(()),
        other => other.map(drop),
    }
}
