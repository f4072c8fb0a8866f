//! Repair: the index made anew from the packs themselves; packs and snapshots in the modules below.

pub mod packs;
pub mod snapshots;

use std::collections::HashSet;

use model::cancel::Cancel;
use model::error::PortError;
use model::ports::storage::FileKind;
use model::progress::ProgressSink;

use crate::id::Id;
use crate::index::{self, PackBlobs};
use crate::progress::Meter;
use crate::prune::read_header;
use crate::repo::Repository;

/// What rebuilding the index found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RebuildReport {
    /// Packs in the new index.
    pub packs: u64,
    /// Packs that the old index did not name.
    pub packs_found: u64,
    /// Packs that the old index named and that are gone.
    pub packs_gone: Vec<Id>,
    /// Packs without a valid header; they stay where they are.
    pub packs_unreadable: Vec<Id>,
}

impl Repository {
    /// Makes the index anew: from what it says where packs and sizes agree, from the packs' headers
    /// otherwise, or from all headers with `read_all`. An index file that cannot be read is
    /// replaced.
    pub fn rebuild_index(
        &self,
        read_all: bool,
        progress: &dyn ProgressSink,
        cancel: &Cancel,
    ) -> Result<RebuildReport, PortError> {
        self.erasable()?;
        let meter = Meter::new(progress);
        let lock = self.lock(true, cancel)?;
        let old_files: Vec<Id> =
            self.store.list(FileKind::Index)?.into_iter().map(|(id, _)| id).collect();
        let mut known = std::collections::HashMap::new();
        if !read_all {
            for file in &old_files {
                // A damaged file names nothing.
                let Ok(json) = self.store.load(FileKind::Index, file) else { continue };
                for pack in index::parse(&json).unwrap_or_default() {
                    known.insert(pack.id, pack);
                }
            }
        }
        meter.phase("packs");
        let mut report = RebuildReport::default();
        let stored = self.store.list(FileKind::Pack)?;
        meter.files_total.store(stored.len() as u64, std::sync::atomic::Ordering::Relaxed);
        let mut packs = Vec::new();
        for (id, size) in &stored {
            cancel.check()?;
            meter.done(1, 0);
            let agrees = |p: &PackBlobs| {
                let end = p.blobs.iter().map(|b| u64::from(b.offset) + u64::from(b.length)).max();
                end.is_some_and(|end| end < *size)
            };
            if let Some(pack) = known.remove(id).filter(agrees) {
                packs.push(pack);
                continue;
            }
            match read_header(&self.store, id, *size)? {
                Some(blobs) => {
                    packs.push(PackBlobs { id: *id, blobs });
                    report.packs_found += u64::from(!read_all);
                }
                None => report.packs_unreadable.push(*id),
            }
        }
        let stored: HashSet<Id> = stored.into_iter().map(|(id, _)| id).collect();
        report.packs_gone = known.into_keys().filter(|id| !stored.contains(id)).collect();
        report.packs_gone.sort();
        report.packs = packs.len() as u64;
        meter.phase("index");
        self.replace_index(&old_files, &[], packs, lock.as_ref(), cancel)?;
        Ok(report)
    }
}
