//! Migration of version 1 to 2: the config says so, and from then on new blobs are compressed. What
//! is stored stays as it is.
//!
//! The storage port replaces no file, so for a moment there is no config. Its content is put into a
//! lock file first; whoever opens a repository without config and finds one, completes the move.

use std::sync::Arc;

use model::cancel::Cancel;
use model::error::PortError;
use model::ports::storage::{ALREADY_EXISTS, FileKind, Storage};
use model::progress::ProgressSink;

use crate::check::{CheckOptions, Depth};
use crate::crypto::{Cipher, KeyParts};
use crate::format::config::Config;
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
        let json = to_json(&config)?;
        let keeper = lock::keep_config(&self.store, &self.options.owner, self.now(), config)?;
        if let Some(lock) = &lock {
            lock.confirm(cancel)?;
        }
        self.store.storage.delete(FileKind::Config, "")?;
        self.store.save(FileKind::Config, &json)?;
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
    let Some(config) = lock::kept_config(&store)? else { return Ok(None) };
    if !read_only {
        match store.save(FileKind::Config, &to_json(&config)?) {
            Err(e) if e.reason == ALREADY_EXISTS => {}
            other => {
                other?;
            }
        }
    }
    Ok(Some(config))
}
