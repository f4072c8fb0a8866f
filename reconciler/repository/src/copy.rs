//! Copying of snapshots to another repository with another key: only blobs that the other lacks are
//! read, each is checked against its id, sealed anew, and not compressed again.

use std::collections::HashMap;

use model::cancel::Cancel;
use model::error::PortError;
use model::progress::ProgressSink;
use serde_json::json;

use crate::fetch::Wanted;
use crate::format::snapshot::Snapshot;
use crate::id::Id;
use crate::progress::Meter;
use crate::prune::transfer;
use crate::repo::Repository;
use crate::session::{Session, Written};
use crate::used;

/// What a copy did.
#[derive(Clone, Debug, Default)]
pub struct CopyReport {
    /// The snapshots in the other repository, in the order asked for; those that were there before
    /// are among them.
    pub snapshots: Vec<Snapshot>,
    /// How many of them are new there.
    pub copied: u64,
    /// Blobs and bytes that were new there.
    pub written: Written,
}

impl Repository {
    /// Copies snapshots of this repository to `to`. A snapshot that was copied before is found by
    /// its `original` id and not copied again. Receipts and tags go along.
    pub fn copy(
        &self,
        snapshots: &[Id],
        to: &Self,
        progress: &dyn ProgressSink,
        cancel: &Cancel,
    ) -> Result<CopyReport, PortError> {
        to.writable()?;
        let meter = Meter::new(progress);
        let _lock = self.lock(false, cancel)?;
        let lock = to.lock(false, cancel)?;
        let index = self.index(cancel)?;
        let other = to.index(cancel)?;
        let there: HashMap<Id, Snapshot> =
            to.snapshots()?.into_iter().map(|s| (s.original.unwrap_or(s.id), s)).collect();
        let mut report = CopyReport::default();
        let mut sources = Vec::new();
        for id in snapshots {
            sources.push(self.snapshot(id)?);
        }
        let new = |s: &&Snapshot| match there.get(&s.original.unwrap_or(s.id)) {
            Some(known) => known.tree != s.tree,
            None => true,
        };
        meter.phase("trees");
        let roots = sources.iter().filter(new).map(|s| s.tree);
        let used = used::of_trees(&self.store, &index, roots, cancel)?;
        let mut wanted = Vec::new();
        for (kind, id) in used {
            if !other.has(kind, &id) {
                let (pack, blob) = index.locate(kind, &id)?;
                wanted.push(Wanted { pack, blob, tag: () });
            }
        }
        meter.phase("copy");
        let ((), outcome) = Session::run(&to.store, &other, cancel, |session| {
            transfer(&self.store, &index, wanted, session, 0, cancel)
        })?;
        drop(other);
        report.written = outcome.written;
        to.learn(outcome);
        for source in &sources {
            let original = source.original.unwrap_or(source.id);
            if !new(&source) {
                report.snapshots.extend(there.get(&original).cloned());
                continue;
            }
            let mut raw = source.raw.clone();
            // A parent of this repository means nothing in the other.
            raw.shift_remove("parent");
            raw.insert("original".to_owned(), json!(original));
            report.snapshots.push(to.publish(raw, lock.as_ref(), cancel)?);
            report.copied += 1;
        }
        Ok(report)
    }
}
