//! Publishing of snapshots: the one moment at which stored blobs become part of a recovery point.
//! Called by backup, copy, rewriting, repair.

use model::cancel::Cancel;
use model::error::PortError;
use model::ports::storage::FileKind;
use serde_json::{Map, Value};

use crate::format::snapshot::Snapshot;
use crate::id::Id;
use crate::lock::Lock;
use crate::repo::Repository;

impl Repository {
    /// Writes a snapshot under a lock that still protects what it refers to. A process that was
    /// suspended between the look and the write finds that out afterwards, and withdraws it.
    pub(crate) fn publish(
        &self,
        raw: Map<String, Value>,
        lock: Option<&Lock>,
        cancel: &Cancel,
    ) -> Result<Snapshot, PortError> {
        let Some(lock) = lock else { return self.save_snapshot(raw) };
        lock.confirm(cancel)?;
        let snapshot = self.save_snapshot(raw)?;
        // What is published is not taken back because somebody asks to stop.
        let still = match lock.confirm(&Cancel::default()) {
            Err(e) if e.reason == "LockLost" => Err(e),
            // A look that fails says nothing of the lock, which was good a moment ago.
            _ => Ok(()),
        };
        if let Err(e) = still {
            self.store.delete(FileKind::Snapshot, &snapshot.id).map_err(|cause| {
                let what = format!("snapshot {} may lack data and cannot be removed", snapshot.id);
                PortError::terminal("LockLost", what)
                    .with_hint("check it, and forget it where it is not whole")
                    .with_source(cause)
            })?;
            return Err(e);
        }
        Ok(snapshot)
    }

    /// Writes a snapshot file.
    pub(crate) fn save_snapshot(&self, raw: Map<String, Value>) -> Result<Snapshot, PortError> {
        let json = serde_json::to_vec(&raw).map_err(|e| {
            PortError::terminal("Internal", "snapshot does not serialise").with_source(e)
        })?;
        // Parsed first: what could not be read again must not be written.
        Snapshot::from_map(Id::default(), raw.clone())?;
        let id = self.store.save(FileKind::Snapshot, &json)?;
        Snapshot::from_map(id, raw)
    }
}
