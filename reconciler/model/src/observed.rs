//! What is there: observations of resources and repositories, and what our own state remembers.
//! Made by `runtime` through the ports; read by `plan`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::desired::Hold;
use crate::digest::Digest;
use crate::few::Proofs;
use crate::id::{Address, CommitId, Name, RepositoryId, SnapshotId};
use crate::receipt::{Control, EvidenceKind, Marker, Receipt};
use crate::text::{Interner, Text};

/// One observation of the world.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Observed {
    /// When it was complete.
    pub at: Timestamp,
    /// Resources.
    pub resources: BTreeMap<Address, Observation>,
    /// Repositories.
    pub repositories: BTreeMap<Name, RepositoryObservation>,
    /// Our own state.
    pub memory: Memory,
}

impl Observed {
    /// Returns an observation that knows nothing.
    pub fn empty(at: Timestamp) -> Self {
        Self {
            at,
            resources: BTreeMap::new(),
            repositories: BTreeMap::new(),
            memory: Memory::default(),
        }
    }

    /// Returns its digest.
    pub fn digest(&self) -> Digest {
        crate::fingerprint::Fingerprint::of(self).digest(self)
    }
}

/// What is known of a resource. Never silently one for another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Observation {
    /// It is there.
    Known {
        /// What the probe learned.
        marker: Marker,
        /// Size in bytes, where cheaply known.
        bytes: Option<u64>,
        /// Entries directly in a folder, tables of a database…; 0 means that it is empty.
        entries: Option<u64>,
        /// Why it cannot be used although it is there.
        damaged: Option<String>,
        /// When it was looked at.
        at: Timestamp,
    },
    /// It is provably not there.
    Absent {
        /// How that was seen, such as `nothing is mounted at /srv`.
        detail: String,
        /// When it was looked at.
        at: Timestamp,
    },
    /// It could not be looked at.
    Unknown {
        /// A stable word.
        reason: String,
        /// What happened.
        detail: String,
    },
}

impl Observation {
    /// Whether it could be looked at, there or not.
    pub const fn is_seen(&self) -> bool {
        !matches!(self, Self::Unknown { .. })
    }
}

/// What is known of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum RepositoryObservation {
    /// It is there and was read.
    Known {
        /// Its id.
        id: RepositoryId,
        /// Its snapshots, without control records, oldest first, then by id.
        snapshots: Vec<SnapshotInfo>,
        /// Its control records, oldest first.
        controls: Vec<Control>,
        /// Free bytes where it lies, if that is known.
        free_bytes: Option<u64>,
        /// Bytes that no snapshot needs, if an earlier prune said so.
        waste_bytes: Option<u64>,
    },
    /// There is no repository in that place.
    Absent {
        /// How that was seen.
        detail: String,
    },
    /// It could not be read.
    Unknown {
        /// A stable word.
        reason: String,
        /// What happened.
        detail: String,
    },
}

impl RepositoryObservation {
    /// Its control records, oldest first; none where it was not read.
    pub fn controls(&self) -> &[Control] {
        match self {
            Self::Known { controls, .. } => controls,
            Self::Absent { .. } | Self::Unknown { .. } => &[],
        }
    }
}

/// One snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotInfo {
    /// Its id.
    pub id: SnapshotId,
    /// Its instant.
    pub time: Timestamp,
    /// The resource; `None` for one that Mainstay did not make.
    pub address: Option<Address>,
    /// What it says of itself; `None` for a foreign one.
    pub receipt: Option<Receipt>,
    /// Its tags, ours left out.
    pub tags: Arc<BTreeSet<String>>,
    /// The host that it names.
    pub hostname: Text,
    /// The paths that it names.
    pub paths: Arc<Vec<String>>,
}

impl SnapshotInfo {
    /// Lets the texts that many snapshots have in common be one.
    pub fn share(&mut self, interner: &mut Interner) {
        self.address.iter_mut().for_each(|address| address.share(interner));
        self.receipt.iter_mut().for_each(|receipt| receipt.share(interner));
        interner.text(&mut self.hostname);
        interner.tags(&mut self.tags);
        interner.list(&mut self.paths);
    }
}

/// What our own state remembers; everything in it can be lost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    /// There was a state before this pass. `false`: it is new or was lost.
    pub known: bool,
    /// The id of this state, carried by every receipt; empty for a state that never wrote.
    pub writer: String,
    /// The epoch of this writer; 0 for a reader.
    pub epoch: u64,
    /// The last epoch under which this state looked at a repository before the writer started: a
    /// receipt of its own with a higher one is of a start that it forgot.
    pub epoch_before: u64,
    /// The commit that was applied last.
    pub last_applied: Option<CommitId>,
    /// How many documents that commit had.
    pub last_documents: Option<u64>,
    /// How the present commit relates to it.
    pub ancestry: Ancestry,
    /// Ids of repositories that were seen before, by name.
    pub repositories: BTreeMap<Name, RepositoryId>,
    /// What is proven of snapshots.
    pub evidence: BTreeMap<SnapshotId, Proofs>,
    /// Recoveries that are under way or done, by token.
    pub recoveries: BTreeMap<String, RecoveryRecord>,
    /// Destructive digests that a person approved.
    pub approvals: BTreeSet<Digest>,
    /// Holds made by hand.
    pub holds: Vec<Hold>,
    /// What was done lately, for budgets: instants by kind of deed.
    pub deeds: BTreeMap<Deed, Vec<Timestamp>>,
    /// Backups asked for by hand: served like triggers.
    pub requests: Vec<BackupRequest>,
    /// Failures in a row and the instant before which a step is not tried again, by step id.
    pub backoff: BTreeMap<String, Backoff>,
    /// When each repository was last pruned.
    pub reclaimed: BTreeMap<Name, Timestamp>,
    /// The newest instant that we have ever seen; the clock may be behind it.
    pub newest_instant: Option<Timestamp>,
    /// When the document of each erasure was first seen, by its digest.
    #[serde(default)]
    pub erasures: BTreeMap<Digest, Timestamp>,
    /// A person said to go on although much is gone at once, or our memory is.
    pub accepted_alarms: BTreeSet<String>,
    /// The last whole restore of each resource, as it was measured.
    #[serde(default)]
    pub restores: BTreeMap<Address, MeasuredRestore>,
}

/// How the present commit relates to the last applied one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Ancestry {
    /// None was applied before.
    #[default]
    First,
    /// It is the same commit.
    Same,
    /// It descends from it.
    Descends,
    /// It does not.
    Diverged,
    /// That cannot be told (a shallow clone, a lost object, files outside git).
    Unknown,
}

/// Kinds of deeds that budgets count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Deed {
    /// A snapshot was forgotten.
    Expired,
    /// A restore over live data.
    RestoredOver,
    /// A restore of what was gone, or a re-creation.
    Recreated,
}

/// How long a whole restore took, from its beginning until the data was in place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MeasuredRestore {
    /// Where the point lay.
    pub repository: Name,
    /// The point.
    pub snapshot: SnapshotId,
    /// When it ended.
    pub at: Timestamp,
    /// How long it took, in seconds, rounded up.
    pub seconds: u64,
    /// How much it was, in bytes.
    pub bytes: u64,
}

/// A backup that a person asked for outside git.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupRequest {
    /// What.
    pub address: Address,
    /// Unique per request.
    pub token: String,
}

/// When a failed step may be tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backoff {
    /// Failures in a row.
    pub failures: u32,
    /// When it failed last. An instant that lies ahead was noted by a clock that was wrong, and the
    /// whole says nothing.
    pub since: Timestamp,
    /// Not before this instant.
    pub until: Timestamp,
    /// The last error, in one line.
    pub error: String,
}

/// Where a recovery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RecoveryPhase {
    /// Data is being written beside the original.
    Restoring,
    /// It is being compared with the receipt.
    Verifying,
    /// It is being put in place.
    Swapping,
    /// It is in place; the old data is kept until `commit` or `rollback`.
    AwaitingCommit,
    /// Done; what was kept aside is removed.
    Committed,
    /// Undone; the old data is back.
    RolledBack,
    /// It failed before the swap; the original was not touched.
    Failed,
}

/// What is remembered of a recovery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecoveryRecord {
    /// The resource.
    pub address: Address,
    /// The token; for a policy's own recoveries it is made from address, condition and point.
    pub token: String,
    /// Where the point lies.
    pub repository: Name,
    /// The point.
    pub snapshot: SnapshotId,
    /// The recovery document; `None` for a policy's own.
    pub recovery: Option<Name>,
    /// Restored into another place than the resource itself.
    pub elsewhere: bool,
    /// Where it stands.
    pub phase: RecoveryPhase,
    /// When it came there.
    pub since: Timestamp,
    /// What was kept aside, printable, for people.
    pub kept: Option<String>,
}

impl RecoveryRecord {
    /// By which recoveries of one resource that are in place are in order: the last lies over the
    /// others.
    pub fn put_in_place(&self) -> (Timestamp, &str) {
        (self.since, &self.token)
    }
}

/// Returns whether evidence of at least the given kind exists.
pub fn is_proven(evidence: Option<&Proofs>, at_least: EvidenceKind) -> bool {
    evidence.is_some_and(|set| set.iter().any(|e| e.kind >= at_least))
}
