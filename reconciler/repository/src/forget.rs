//! Forgetting of snapshots and rewriting of their metadata. What they needed stays until a prune.

use model::cancel::Cancel;
use model::error::PortError;
use model::ports::storage::FileKind;
use serde_json::{Value, json};

use crate::format::snapshot::Snapshot;
use crate::id::Id;
use crate::repo::Repository;

/// What is changed in a snapshot's metadata; `None` leaves a field as it is.
#[derive(Clone, Debug, Default)]
pub struct Rewrite {
    /// New tags.
    pub tags: Option<Vec<String>>,
    /// New host.
    pub host: Option<String>,
    /// New time.
    pub time: Option<jiff::Timestamp>,
    /// New receipt; `Null` removes it.
    pub receipt: Option<Value>,
}

impl Repository {
    /// Removes snapshots. Ids that are gone already are no fault, so that a broken-off call can be
    /// repeated. Returns how many were there.
    pub fn forget(&self, ids: &[Id], cancel: &Cancel) -> Result<usize, PortError> {
        self.erasable()?;
        let lock = self.lock(true, cancel)?;
        let stored: std::collections::HashSet<Id> =
            self.store.list(FileKind::Snapshot)?.into_iter().map(|(id, _)| id).collect();
        let mut removed = 0;
        for id in ids.iter().filter(|id| stored.contains(id)) {
            if let Some(lock) = &lock {
                lock.check(cancel)?;
            }
            self.store.delete(FileKind::Snapshot, id)?;
            removed += 1;
        }
        Ok(removed)
    }

    /// Changes a snapshot's metadata: a new file is written, then the old one removed. Fields that
    /// are not known here stay. The content is the same; the id is not.
    pub fn rewrite(
        &self,
        id: &Id,
        change: &Rewrite,
        cancel: &Cancel,
    ) -> Result<Snapshot, PortError> {
        self.erasable()?;
        let lock = self.lock(true, cancel)?;
        let old = self.snapshot(id)?;
        let mut raw = old.raw.clone();
        let mut put = |key: &str, value: Value| raw.insert(key.to_owned(), value);
        put("original", json!(old.original.unwrap_or(old.id)));
        if let Some(tags) = &change.tags {
            put("tags", json!(tags));
        }
        if let Some(host) = &change.host {
            put("hostname", json!(host));
        }
        if let Some(time) = &change.time {
            put("time", json!(time.to_string()));
        }
        match &change.receipt {
            Some(Value::Null) => {
                raw.shift_remove(crate::format::snapshot::RECEIPT_FIELD);
            }
            Some(receipt) => {
                put(crate::format::snapshot::RECEIPT_FIELD, receipt.clone());
            }
            None => {}
        }
        let new = self.publish(raw, lock.as_ref(), cancel)?;
        if new.id != old.id {
            if let Some(lock) = &lock {
                lock.check(cancel)?;
            }
            self.store.delete(FileKind::Snapshot, &old.id)?;
        }
        Ok(new)
    }
}
