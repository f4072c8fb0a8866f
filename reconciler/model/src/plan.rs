//! A plan: an immutable, content-addressed list of steps with reasons and preconditions. Made by
//! `plan`, executed by `runtime`, which decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::conditions::Conditions;
use crate::desired::Response;
use crate::digest::Digest;
use crate::id::{Address, CommitId, Name, PlanId, RepositoryId, SnapshotId, StepId};
use crate::receipt::Marker;

/// Version of the persisted shape of [`Plan`]. A newer one is shown, never applied.
pub const PLAN_VERSION: u32 = 3;

/// One plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// [`PLAN_VERSION`].
    pub version: u32,
    /// Digest of everything below.
    pub id: PlanId,
    /// The version of Mainstay that planned.
    pub planner: String,
    /// The config commit.
    pub commit: CommitId,
    /// Digest of the desired state.
    pub desired: Digest,
    /// Digest of the observation.
    pub observed: Digest,
    /// The instant for which it was planned.
    pub at: Timestamp,
    /// The steps; each after all that it needs.
    pub steps: Vec<Step>,
    /// What was seen, what was not planned, and why.
    pub report: Report,
    /// Digest of the destructive steps, without any clock: what an approval names.
    pub destructive: Option<Digest>,
}

/// How far a step can do harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Class {
    /// Reads only, or writes into scratch.
    Safe,
    /// Adds, or removes inside retention and budget.
    Mutating,
    /// Puts something over what exists, or removes beyond budget.
    Destructive,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Safe => "safe",
            Self::Mutating => "mutating",
            Self::Destructive => "destructive",
        })
    }
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Its id, unique in the plan.
    pub id: StepId,
    /// What is done.
    pub action: Action,
    /// How far it can do harm.
    pub class: Class,
    /// Why, in sentences without a full stop, most important first; never empty.
    pub reasons: Vec<String>,
    /// What must still hold when the step writes.
    pub preconditions: Vec<Precondition>,
    /// Steps that must have succeeded before it.
    pub needs: Vec<StepId>,
    /// What it will cost.
    pub estimate: Estimate,
    /// What is lost by it, for restores: everything after the point.
    pub loss: Option<Loss>,
    /// What it waits for, as seen when planning; empty: ready. Gates are looked at again when the
    /// plan is applied.
    pub waits: Vec<Wait>,
}

/// Expected cost; `None` where nothing is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Estimate {
    /// Bytes read from the source or the repository.
    pub bytes: Option<u64>,
    /// Seconds.
    pub seconds: Option<u64>,
}

/// What a restore loses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Loss {
    /// Everything after this instant.
    pub after: Timestamp,
    /// That is so many seconds before the plan's instant.
    pub seconds: u64,
    /// In words of the resource: `counter sequence:orders 120 → 80`.
    pub detail: Vec<String>,
}

/// What a step waits for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Wait {
    /// A person's yes to this destructive digest.
    Approval {
        /// The digest.
        digest: Digest,
    },
    /// A hold.
    Hold {
        /// Its name.
        name: String,
        /// Whose.
        owner: String,
        /// Why.
        reason: String,
        /// Until when.
        until: Option<Timestamp>,
    },
    /// A window that is closed.
    Window {
        /// The guardrail or schedule.
        name: String,
        /// When it opens next.
        opens: Option<Timestamp>,
    },
    /// A budget that is used up.
    Budget {
        /// The guardrail.
        name: String,
        /// In words: `2 of 2 restores over live data per run`.
        detail: String,
    },
    /// A step that failed lately.
    Backoff {
        /// Not before.
        until: Timestamp,
        /// The last error.
        error: String,
    },
    /// An alarm that a person must accept: git, clock, memory or much of the fleet went back.
    Alarm {
        /// What to give to `mainstay accept`.
        accept: String,
        /// What was seen.
        detail: String,
    },
}

/// Why a backup is due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Due {
    /// This slot of the schedule is the newest that has passed and was not served.
    Slot {
        /// The scheduled instant.
        at: Timestamp,
        /// Earlier slots that were missed and are served by this one.
        missed: u64,
    },
    /// A trigger in git, or a request by hand.
    Token {
        /// The token.
        token: String,
    },
}

/// A snapshot that is known, or the one that an earlier step of the plan will make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum SnapshotRef {
    /// A known one.
    Id(SnapshotId),
    /// What that step writes.
    Of(StepId),
}

/// What a step does; it names everything, so that nothing is decided while it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Action {
    /// Makes a new repository.
    Init {
        /// Which.
        repository: Name,
    },
    /// Makes a snapshot.
    Backup {
        /// The document; `None` by hand.
        backup: Option<Name>,
        /// What.
        resource: Address,
        /// To where.
        repository: Name,
        /// Why now.
        due: Due,
        /// The snapshot to compare with.
        parent: Option<SnapshotId>,
        /// The point is suspicious when bytes or files fall by more than this many per cent.
        shrink_percent_max: u8,
    },
    /// Reads a snapshot's stored bytes again.
    Verify {
        /// The resource.
        resource: Address,
        /// Where.
        repository: Name,
        /// Which.
        snapshot: SnapshotRef,
    },
    /// Forgets snapshots.
    Expire {
        /// The resource.
        resource: Address,
        /// Where.
        repository: Name,
        /// Which, oldest first.
        snapshots: Vec<SnapshotId>,
        /// The document that asks for it; `None`: retention.
        #[serde(default)]
        erasure: Option<Name>,
    },
    /// Removes stored data that no snapshot needs.
    Reclaim {
        /// Where.
        repository: Name,
    },
    /// Brings a point back.
    Restore {
        /// The document; `None` for a policy's own.
        recovery: Option<Name>,
        /// What.
        resource: Address,
        /// From where.
        repository: Name,
        /// Which point.
        snapshot: SnapshotId,
        /// The token under which it is done once.
        token: String,
        /// Into another place, which the recovery document renders.
        elsewhere: bool,
        /// Only these paths; empty: all.
        paths: Vec<String>,
        /// What is in the place.
        over: Over,
    },
    /// Makes a resource anew by the commands of its type; nothing of its points goes in.
    Recreate {
        /// The resource.
        resource: Address,
        /// The same while the same is planned, for commands that note what they did.
        token: String,
        /// What is in the place.
        over: Over,
    },
    /// Ends a recovery: what was kept aside is removed.
    Commit {
        /// The resource.
        resource: Address,
        /// The recovery's token.
        token: String,
    },
    /// Undoes a recovery: what was kept aside is put back.
    Rollback {
        /// The resource.
        resource: Address,
        /// The recovery's token.
        token: String,
    },
    /// Takes the present state as the right one.
    Adopt {
        /// The resource.
        resource: Address,
        /// Its marker.
        marker: Marker,
    },
}

/// What lies where a restore goes, or what is made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Over {
    /// Nothing.
    Nothing,
    /// Something that cannot be used, or is empty.
    Remains,
    /// Live data.
    Live,
}

impl Action {
    /// Returns the verb.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Init { .. } => "init",
            Self::Backup { .. } => "backup",
            Self::Verify { .. } => "verify",
            Self::Expire { .. } => "expire",
            Self::Reclaim { .. } => "reclaim",
            Self::Restore { .. } => "restore",
            Self::Recreate { .. } => "recreate",
            Self::Commit { .. } => "commit",
            Self::Rollback { .. } => "rollback",
            Self::Adopt { .. } => "adopt",
        }
    }

    /// Returns the resource, where there is one.
    pub fn resource(&self) -> Option<&Address> {
        match self {
            Self::Init { .. } | Self::Reclaim { .. } => None,
            Self::Backup { resource, .. }
            | Self::Verify { resource, .. }
            | Self::Expire { resource, .. }
            | Self::Restore { resource, .. }
            | Self::Recreate { resource, .. }
            | Self::Commit { resource, .. }
            | Self::Rollback { resource, .. }
            | Self::Adopt { resource, .. } => Some(resource),
        }
    }

    /// Returns the repository, where there is one.
    pub fn repository(&self) -> Option<&Name> {
        match self {
            Self::Init { repository }
            | Self::Backup { repository, .. }
            | Self::Verify { repository, .. }
            | Self::Expire { repository, .. }
            | Self::Reclaim { repository }
            | Self::Restore { repository, .. } => Some(repository),
            Self::Recreate { .. }
            | Self::Commit { .. }
            | Self::Rollback { .. }
            | Self::Adopt { .. } => None,
        }
    }
}

/// What must still hold when a step writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Precondition {
    /// The repository is this one.
    RepositoryIs {
        /// Its name.
        repository: Name,
        /// Its id; `None`: there is none yet.
        id: Option<RepositoryId>,
    },
    /// The snapshots exist.
    SnapshotsExist {
        /// Where.
        repository: Name,
        /// Which.
        snapshots: Vec<SnapshotId>,
    },
    /// One of these is proven, exists, and is not removed by this plan.
    ProvenCopyStays {
        /// The resource.
        resource: Address,
        /// Any of these, in any repository.
        snapshots: BTreeMap<Name, BTreeSet<SnapshotId>>,
    },
    /// The resource is there, not empty and usable.
    ResourcePresent {
        /// Which.
        resource: Address,
    },
    /// The resource is still in the condition for which the step was planned: its counters and
    /// content have not moved since.
    ResourceUnmoved {
        /// Which.
        resource: Address,
        /// The marker then; `None`: it was absent.
        marker: Option<Marker>,
    },
    /// No recovery of the resource is under way under another token.
    NoOtherRecovery {
        /// Which.
        resource: Address,
        /// Under this token it may be.
        token: Option<String>,
    },
}

/// What the comparison says of a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Condition {
    /// It is there and where it should be.
    Healthy,
    /// It is gone, or was full and is empty.
    Lost {
        /// How that was seen.
        detail: String,
    },
    /// It went back in time.
    RolledBack {
        /// The point at which it was known to be.
        from: Timestamp,
        /// The newest known point that it is not behind; `None`: before all of them.
        to: Option<Timestamp>,
        /// In words of the resource.
        detail: Vec<String>,
    },
    /// Something else is in its place.
    Replaced {
        /// The identity that was known.
        expected: String,
        /// The identity that is there.
        found: String,
    },
    /// It is there and cannot be used.
    Damaged {
        /// Why.
        detail: String,
    },
    /// It could not be looked at.
    Unreachable {
        /// Why.
        detail: String,
    },
    /// It is there and has no point yet.
    NeverProtected,
    /// It is not there and has no point: nothing was ever lost.
    NeverSeen,
    /// A recovery was put in place and waits for `commit` or `rollback`.
    AwaitingCommit {
        /// The recovery's token.
        token: String,
        /// Since when.
        since: Timestamp,
    },
}

impl Condition {
    /// Returns the word that people and programs know it by.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Healthy => "Healthy",
            Self::Lost { .. } => "Lost",
            Self::RolledBack { .. } => "RolledBack",
            Self::Replaced { .. } => "Replaced",
            Self::Damaged { .. } => "Damaged",
            Self::Unreachable { .. } => "Unreachable",
            Self::NeverProtected => "NeverProtected",
            Self::NeverSeen => "NeverSeen",
            Self::AwaitingCommit { .. } => "AwaitingCommit",
        }
    }
}

/// What the planner saw and decided beside the steps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The resources that were asked for and what they need; `None`: all of them.
    #[serde(default)]
    pub scope: Option<BTreeSet<Address>>,
    /// The condition of every resource.
    pub conditions: Conditions,
    /// What was done about a condition that is not healthy.
    pub responses: BTreeMap<Address, Response>,
    /// What was not planned, and why.
    pub deferred: Vec<Deferred>,
    /// Every snapshot that a retention lets go, and why. Why the others stay, and until when, is
    /// told of one resource at a time: a fleet has millions of them.
    pub retention: Vec<RetentionVerdict>,
    /// Alarms that hold destructive work.
    pub alarms: Vec<Wait>,
    /// Other things a reader should know, such as a trigger that was already served.
    pub notes: Vec<String>,
    /// Some scope could not be observed: the plan is not the whole truth.
    pub incomplete: Vec<String>,
}

/// Something that was not planned.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deferred {
    /// What, as the id that the step would have.
    pub step: StepId,
    /// A stable word: `ResourceUnknown`, `RecoveryUnderWay`…
    pub code: String,
    /// Why, as a sentence without full stop.
    pub reason: String,
    /// When it will be looked at again, if a clock decides.
    pub until: Option<Timestamp>,
}

/// Why one snapshot stays or may go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RetentionVerdict {
    /// The resource.
    pub resource: Address,
    /// Where.
    pub repository: Name,
    /// Which.
    pub snapshot: SnapshotId,
    /// Its instant.
    pub time: Timestamp,
    /// It stays.
    pub keep: bool,
    /// Why.
    pub reasons: Vec<String>,
    /// When it becomes removable if nothing else changes; `None`: not by time alone.
    pub removable_at: Option<Timestamp>,
}
