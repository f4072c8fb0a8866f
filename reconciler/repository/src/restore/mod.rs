//! Restore: a snapshot, a folder of it or some of its paths, below a target directory through a
//! mover; in place, so that what matches is kept and a broken-off restore goes on.

mod content;
mod walk;

use std::sync::{Mutex, PoisonError};

use model::cancel::Cancel;
use model::error::PortError;
use model::ports::mover::{Overwrite, Problem, TargetMover};
use model::progress::ProgressSink;

use crate::backup::PROBLEMS_MAX;
use crate::id::Id;
use crate::progress::Meter;
use crate::repo::Repository;
use crate::treecache::TreeCache;

/// What is restored, and how.
#[derive(Clone, Debug, Default)]
pub struct RestoreOptions {
    /// The folder of the snapshot that becomes the target, for example `/srv/uploads`; empty for
    /// the snapshot's root.
    pub base: Vec<u8>,
    /// Only these paths of the snapshot, absolute in it; empty for all below the base.
    pub include: Vec<Vec<u8>>,
    /// What to do where something exists.
    pub overwrite: Overwrite,
    /// Removes what the snapshot does not have from the directories it has.
    pub delete_extra: bool,
    /// Reads every file again at the end and compares.
    pub verify: bool,
    /// Writes nothing; says what would be.
    pub dry_run: bool,
    /// Threads that fetch and write; 0 for one per processor.
    pub threads: usize,
}

/// What a restore did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestoreSummary {
    /// Regular files brought back, hard links included.
    pub files: u64,
    /// Directories.
    pub dirs: u64,
    /// Links, devices and pipes.
    pub others: u64,
    /// Content of the files in bytes.
    pub bytes: u64,
    /// Bytes of content that had to be written.
    pub bytes_written: u64,
    /// Bytes of content that lay at the target already.
    pub bytes_kept: u64,
    /// Files read again and found equal to the snapshot.
    pub files_verified: u64,
    /// What is missing or uncertain. Not empty means that the restore is partial.
    pub problems: Vec<Problem>,
    /// Problems above the bound, not listed by name.
    pub problems_unlisted: u64,
}

#[derive(Default)]
struct Tally(Mutex<RestoreSummary>);

impl Tally {
    fn with(&self, change: impl FnOnce(&mut RestoreSummary)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn problems(&self, meter: &Meter<'_>, problems: impl IntoIterator<Item = Problem>) {
        for problem in problems {
            meter.problem(&problem);
            self.with(|summary| {
                if summary.problems.len() < PROBLEMS_MAX {
                    summary.problems.push(problem);
                } else {
                    summary.problems_unlisted += 1;
                }
            });
        }
    }
}

impl Repository {
    /// Restores a snapshot. Damaged or refused items are named in the summary and everything else
    /// is restored; an error means that the work broke off and can be called again.
    pub fn restore(
        &self,
        snapshot: &Id,
        target: &dyn TargetMover,
        options: &RestoreOptions,
        progress: &dyn ProgressSink,
        cancel: &Cancel,
    ) -> Result<RestoreSummary, PortError> {
        // A restore proves what is stored, not what this machine has copies of.
        if let Some(stored) = self.uncached()? {
            return stored.restore(snapshot, target, options, progress, cancel);
        }
        let meter = Meter::new(progress);
        let _lock = self.lock(false, cancel)?;
        let snapshot = self.snapshot(snapshot)?;
        meter.phase("index");
        let index = self.index(cancel)?;
        let trees = TreeCache::new(&self.store, &index)?;
        meter.phase("restore");
        let tally = Tally::default();
        let context = walk::Context {
            store: &self.store,
            index: &index,
            target,
            options,
            meter: &meter,
            tally: &tally,
            cancel,
            empty_target: target.names(b"")?.is_empty(),
        };
        let mut restorer = walk::Restorer::new(&context, &trees);
        let root = restorer.find_base(&snapshot.tree)?;
        restorer.run(root)?;
        meter.report();
        Ok(tally.0.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}
