//! The port to the data engine, so that a worker elsewhere can run it one day.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::Boxed;
use super::agents::{Beside, OpenSource};
use crate::cancel::Cancel;
use crate::desired::RepositorySpec;
use crate::error::PortError;
use crate::id::{RepositoryId, SnapshotId};
use crate::observed::RepositoryObservation;
use crate::progress::{Counts, ProgressSink};
use crate::receipt::{Control, ItemFailure, Receipt};

/// A backup to make. The engine fills the receipt's digest, sizes, completeness and failures.
pub struct BackupOrder<'a> {
    /// The opened resource.
    pub source: OpenSource,
    /// The receipt so far.
    pub receipt: Receipt,
    /// The snapshot to compare with, if it still exists.
    pub parent: Option<SnapshotId>,
    /// The host to name in the snapshot.
    pub hostname: String,
    /// Further tags.
    pub tags: BTreeSet<String>,
    /// Last word on the receipt, once sizes are known: may mark the point suspicious.
    pub judge: &'a (dyn Fn(&mut Receipt) + Send + Sync),
}

/// A backup that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupMade {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// The receipt as it was stored.
    pub receipt: Receipt,
    /// Exact counts.
    pub counts: Counts,
}

/// A snapshot that was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// What was read.
    pub counts: Counts,
    /// What is wrong; empty: all is whole.
    pub failures: Vec<ItemFailure>,
}

/// A restore that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// What was written and read again.
    pub counts: Counts,
    /// What could not be brought back; empty: all is there.
    pub failures: Vec<ItemFailure>,
    /// Some of that is damaged where it is stored: another place would not have it either.
    pub damaged: bool,
    /// The content digest, in the shape of the receipt's, where the whole was restored.
    pub digest: Option<String>,
}

/// What a prune did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reclaimed {
    /// Bytes freed.
    pub freed_bytes: u64,
    /// Bytes marked: they go when the grace period is over and they are still not needed.
    pub marked_bytes: u64,
}

/// The data engine.
pub trait Engine: Send + Sync {
    /// Looks at a repository: its id, snapshots, control records. Never fails.
    fn observe<'a>(&'a self, spec: &'a RepositorySpec) -> Boxed<'a, RepositoryObservation>;

    /// Makes a new repository; fails if anything is in the place.
    fn init<'a>(&'a self, spec: &'a RepositorySpec) -> Boxed<'a, Result<RepositoryId, PortError>>;

    /// Makes a snapshot. An error leaves none; a source with unreadable items gives a snapshot
    /// whose receipt is not complete. Closes the source in every case.
    fn backup<'a>(
        &'a self,
        spec: &'a RepositorySpec,
        order: BackupOrder<'a>,
        progress: &'a dyn ProgressSink,
        cancel: &'a Cancel,
    ) -> Boxed<'a, Result<BackupMade, PortError>>;

    /// Reads everything that a snapshot needs, decrypts it and compares it with its ids.
    fn verify<'a>(
        &'a self,
        spec: &'a RepositorySpec,
        snapshot: &'a SnapshotId,
        progress: &'a dyn ProgressSink,
        cancel: &'a Cancel,
    ) -> Boxed<'a, Result<Verified, PortError>>;

    /// Writes a snapshot, or some paths of it, into a prepared place and reads it again.
    fn restore<'a>(
        &'a self,
        spec: &'a RepositorySpec,
        snapshot: &'a SnapshotId,
        paths: &'a [String],
        into: Beside,
        progress: &'a dyn ProgressSink,
        cancel: &'a Cancel,
    ) -> Boxed<'a, Result<Restored, PortError>>;

    /// Forgets snapshots. Returns those that were forgotten; a missing one counts as forgotten.
    fn forget<'a>(
        &'a self,
        spec: &'a RepositorySpec,
        snapshots: &'a [SnapshotId],
    ) -> Boxed<'a, Result<Vec<SnapshotId>, PortError>>;

    /// Removes data that no snapshot needs, in two phases with a grace period between.
    fn reclaim<'a>(
        &'a self,
        spec: &'a RepositorySpec,
        now: Timestamp,
        progress: &'a dyn ProgressSink,
        cancel: &'a Cancel,
    ) -> Boxed<'a, Result<Reclaimed, PortError>>;

    /// Writes a control record beside the data, durably.
    fn record<'a>(
        &'a self,
        spec: &'a RepositorySpec,
        control: &'a Control,
    ) -> Boxed<'a, Result<(), PortError>>;
}
