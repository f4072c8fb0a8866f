//! What one commit of the config repository asks for, after references are resolved and templates
//! rendered. Made by `config`; read by `plan` and `runtime`.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::agent::{Agent, SecretRef};
use crate::diagnostic::Origin;
use crate::digest::Digest;
use crate::id::{Address, CommitId, Name, RepositoryId, SnapshotId, TargetRef};
use crate::remote::Remote;

/// One desired state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Desired {
    /// The commit it comes from.
    pub commit: CommitId,
    /// How many documents the commit has; a sudden fall is noticed.
    pub documents: u64,
    /// Hosts by name.
    pub hosts: BTreeMap<Name, Host>,
    /// Repositories by name.
    pub repositories: BTreeMap<Name, RepositorySpec>,
    /// Resources of all applications.
    pub resources: BTreeMap<Address, Resource>,
    /// Backups by name.
    pub backups: BTreeMap<Name, Backup>,
    /// Triggers by name.
    pub triggers: BTreeMap<Name, Trigger>,
    /// Recoveries by name.
    pub recoveries: BTreeMap<Name, Recovery>,
    /// Recovery policies by name.
    pub recovery_policies: BTreeMap<Name, RecoveryPolicy>,
    /// Guardrails by name; all apply, the tightest wins.
    pub guardrails: BTreeMap<Name, Guardrail>,
    /// Holds by name.
    pub holds: BTreeMap<Name, Hold>,
    /// Erasures by name.
    #[serde(default)]
    pub erasures: BTreeMap<Name, Erasure>,
    /// Where each thing is written, by `kind/name` in lower case (`backup/shop`) and
    /// `resource/application/resource`. Not part of the digest.
    pub origins: BTreeMap<String, Origin>,
}

impl Desired {
    /// Returns a desired state that asks for nothing.
    pub fn empty(commit: CommitId) -> Self {
        Self {
            commit,
            documents: 0,
            hosts: BTreeMap::new(),
            repositories: BTreeMap::new(),
            resources: BTreeMap::new(),
            backups: BTreeMap::new(),
            triggers: BTreeMap::new(),
            recoveries: BTreeMap::new(),
            recovery_policies: BTreeMap::new(),
            guardrails: BTreeMap::new(),
            holds: BTreeMap::new(),
            erasures: BTreeMap::new(),
            origins: BTreeMap::new(),
        }
    }

    /// Returns the digest of all that matters for planning, so without origins.
    pub fn digest(&self) -> Digest {
        // Every field is named, so that one that is added is not forgotten here.
        let Self {
            commit,
            documents,
            hosts,
            repositories,
            resources,
            backups,
            triggers,
            recoveries,
            recovery_policies,
            guardrails,
            holds,
            erasures,
            origins: _,
        } = self;
        Digest::of(
            "desired",
            &(
                (commit, documents, hosts, repositories, resources, backups),
                (triggers, recoveries, recovery_policies, guardrails, holds, erasures),
            ),
        )
    }
}

/// Where something can fail together with other things. Empty fields mean: not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailureDomain {
    /// A building or region.
    pub site: Option<String>,
    /// A machine.
    pub host: Option<String>,
    /// An account at a provider.
    pub account: Option<String>,
    /// Who can delete there.
    pub credentials: Option<String>,
}

/// A machine. In this version reached as `local`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Host {
    /// Its name.
    pub name: Name,
    /// How it is reached.
    pub connection: Connection,
    /// What it fails together with.
    pub failure_domain: FailureDomain,
}

/// How a host is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Connection {
    /// The machine that Mainstay runs on.
    Local,
}

/// A store of snapshots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RepositorySpec {
    /// Its name.
    pub name: Name,
    /// Where it lies.
    pub storage: StorageSpec,
    /// Its password.
    pub password: SecretRef,
    /// Its id, once written into the document: another one in that place is not this repository.
    pub id: Option<RepositoryId>,
    /// What it fails together with.
    pub failure_domain: FailureDomain,
    /// Such as `disk`, `object`, `tape`; compared, not interpreted.
    pub medium: Option<String>,
    /// Nothing is ever deleted there by us.
    pub append_only: bool,
    /// The storage itself refuses to delete, whoever asks; as the document says.
    #[serde(default)]
    pub immutable: bool,
    /// It is not reachable between backups; as the document says.
    #[serde(default)]
    pub offline: bool,
}

/// Where a repository lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum StorageSpec {
    /// A folder on the machine that Mainstay runs on.
    Local {
        /// Its absolute path.
        path: String,
        /// The path must lie on a mounted file system other than `/`'s: an unmounted disk is then
        /// lost, not empty.
        mount_point: bool,
    },
    /// A storage service.
    Remote(Box<Remote>),
}

impl StorageSpec {
    /// Returns where this is, for people and without secrets.
    pub fn location(&self) -> String {
        match self {
            Self::Local { path, .. } => path.clone(),
            Self::Remote(remote) => remote.location(),
        }
    }
}

/// One protected thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    /// Its address.
    pub address: Address,
    /// Where it lives.
    pub target: TargetRef,
    /// How it is handled; its type is `agent.template`.
    pub agent: Agent,
    /// What must be there before it.
    pub depends_on: BTreeSet<Address>,
    /// Higher comes first among equals.
    pub priority: i32,
    /// Addresses that it had before; their snapshots are its own.
    pub formerly: Vec<Address>,
    /// What is promised for it.
    pub objectives: Objectives,
    /// Labels of the application and the resource.
    pub labels: BTreeMap<String, String>,
}

impl Resource {
    /// Whether an address is this resource's, today or before it was renamed.
    pub fn is_or_was(&self, address: &Address) -> bool {
        self.address == *address || self.formerly.contains(address)
    }
}

/// What is promised for a resource. Durations in seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Objectives {
    /// How old the newest proven point may be.
    pub rpo_s: Option<u64>,
    /// How long a restore may take.
    pub rto_s: Option<u64>,
    /// How many copies must exist, the live data included.
    pub copies: Option<u32>,
    /// On how many different media the stored copies must lie.
    #[serde(default)]
    pub media: Option<u32>,
    /// In how many different formats the stored copies must be.
    #[serde(default)]
    pub formats: Option<u32>,
    /// How many copies must lie at another site than the live data.
    #[serde(default)]
    pub offsite: Option<u32>,
    /// How many copies must be immutable or offline.
    #[serde(default)]
    pub immutable: Option<u32>,
}

/// When something is due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Schedule {
    /// The rule.
    pub when: When,
    /// IANA name of the zone in which cron fields are read; `UTC` by default.
    pub time_zone: String,
    /// Spread over this many seconds, stable per resource.
    pub jitter_s: u64,
    /// Only within these windows; empty: always.
    pub windows: Vec<Window>,
    /// A slot older than this is skipped, in seconds; `None`: never skipped.
    pub deadline_s: Option<u64>,
}

/// The rule of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum When {
    /// Five or six cron fields, or `@hourly` and its like.
    Cron {
        /// The text as written.
        expression: String,
    },
    /// Every so many seconds since the Unix epoch (so that a restart never shifts it).
    Every {
        /// The interval in seconds.
        seconds: u64,
    },
    /// Only when asked.
    Never,
}

/// A span of time that returns: from each instant of a cron rule on, for some seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Window {
    /// When it opens, as cron.
    pub opens: String,
    /// How long it stays open, in seconds.
    pub duration_s: u64,
    /// IANA name of the zone.
    pub time_zone: String,
    /// Work is allowed inside (`true`) or forbidden inside (`false`).
    pub allow: bool,
}

/// A number of periods to keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Keep {
    /// This many; 0 keeps none by this rule.
    Count(u32),
    /// All of them.
    Forever,
    /// The rule is not given.
    #[default]
    Unset,
}

/// What to keep. A snapshot is kept if any rule keeps it. Semantics: `docs/semantics.md`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retention {
    /// The document's name, or `inline`.
    pub name: String,
    /// The newest ones.
    pub last: Keep,
    /// The newest of each UTC hour.
    pub hourly: Keep,
    /// The newest of each day in `time_zone`.
    pub daily: Keep,
    /// The newest of each ISO week.
    pub weekly: Keep,
    /// The newest of each month.
    pub monthly: Keep,
    /// The newest of each quarter.
    pub quarterly: Keep,
    /// The newest of each year.
    pub yearly: Keep,
    /// Everything of the last so many seconds.
    pub within_s: Option<u64>,
    /// The newest of each period of the last so many seconds.
    #[serde(default)]
    pub within_each: WithinEach,
    /// Whether one point may fill several of the rules that count.
    #[serde(default, skip_serializing_if = "Overlap::is_shared")]
    pub overlap: Overlap,
    /// Everything that carries one of these tags.
    pub tags: BTreeSet<String>,
    /// Never fewer than this many good points, whatever the rules say; at least 1.
    pub at_least: u32,
    /// IANA name of the zone of day and coarser.
    pub time_zone: String,
}

/// Whether one point may fill several of the rules that count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Overlap {
    /// It may, as restic and kopia have it.
    #[default]
    Shared,
    /// A period whose newest point stays by a finer rule is not counted again, as borg has it.
    Separate,
}

impl Overlap {
    /// Whether it is the usual one. Left out where it is, it changes no digest.
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
    pub const fn is_shared(&self) -> bool {
        matches!(self, Self::Shared)
    }
}

/// For each period, how many seconds back its newest points stay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WithinEach {
    /// UTC hours.
    pub hourly_s: Option<u64>,
    /// Days.
    pub daily_s: Option<u64>,
    /// ISO weeks.
    pub weekly_s: Option<u64>,
    /// Months.
    pub monthly_s: Option<u64>,
    /// Quarters.
    pub quarterly_s: Option<u64>,
    /// Years.
    pub yearly_s: Option<u64>,
}

/// Which resources are backed up when, to where, kept how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backup {
    /// Its name.
    pub name: Name,
    /// The selected resources.
    pub resources: BTreeSet<Address>,
    /// When.
    pub schedule: Schedule,
    /// To where; each repository gets its own backup.
    pub repositories: Vec<Name>,
    /// Kept how; `None`: nothing ever expires.
    pub retention: Option<Retention>,
    /// Commands around it.
    pub hooks: Hooks,
    /// Prove each point by reading the stored bytes again.
    pub verify: VerifyPolicy,
    /// When a point is suspicious.
    pub anomaly: Anomaly,
}

/// Commands on the target around a backup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hooks {
    /// Before the first byte is read; a failure stops the backup.
    pub before: Vec<crate::agent::Command>,
    /// After the last byte, also when the backup failed.
    pub after: Vec<crate::agent::Command>,
}

/// How points are proven.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifyPolicy {
    /// Read every new point back right after it was written.
    pub after_backup: bool,
    /// Prove a point again when its proof is older than this many seconds.
    pub again_after_s: Option<u64>,
}

/// A point beyond these limits is kept, but marked suspicious, and expiry of the resource waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Anomaly {
    /// Fell by more than this many per cent in bytes or files against the point before.
    pub shrink_percent_max: u8,
}

/// Back up now: done when the token was served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trigger {
    /// Its name.
    pub name: Name,
    /// The backup to run.
    pub backup: Name,
    /// Any text; a new text is a new request.
    pub token: String,
}

/// Which point to go back to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Point {
    /// The newest proven one.
    Latest,
    /// The newest proven one at or before an instant.
    AtOrBefore(Timestamp),
    /// This one.
    Snapshot(SnapshotId),
}

/// Whether a recovery repeats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Repeat {
    /// Once per token.
    #[default]
    IfNotRecovered,
    /// Whenever the resource is not at the wanted point (Stash's `recoveryPolicy: Always`).
    Always,
}

/// A restore that git asks for. Merged in git, it is its own approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recovery {
    /// Its name.
    pub name: Name,
    /// What.
    pub resource: Address,
    /// From where; `None`: whichever repository has the point.
    pub repository: Option<Name>,
    /// Which point.
    pub point: Point,
    /// Another place of the same type, rendered with other parameters; `None`: the resource
    /// itself.
    pub into: Option<Agent>,
    /// Only these paths of a tree; empty: all.
    pub paths: Vec<String>,
    /// Whether it repeats.
    pub repeat: Repeat,
    /// The author knows that data newer than the point is put aside.
    pub acknowledges_newer_data: bool,
    /// Any text; a new text is a new request.
    pub token: String,
}

/// What is done about a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Response {
    /// Say so and wait for a person.
    Hold,
    /// Bring the newest proven point back.
    Restore,
    /// Make it anew from its declaration.
    Recreate,
    /// The state that is there is right: measure from it.
    Adopt,
}

/// The conditions that a policy can answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ConditionKind {
    /// It is gone.
    Lost,
    /// It went back in time.
    RolledBack,
    /// Something else is in its place.
    Replaced,
    /// It is there and cannot be used.
    Damaged,
}

/// What happens when a condition is seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecoveryPolicy {
    /// Its name.
    pub name: Name,
    /// The selected resources.
    pub resources: BTreeSet<Address>,
    /// The answer to each condition; one that is missing is answered by `Hold`.
    pub on: BTreeMap<ConditionKind, Response>,
    /// Hold instead when a restore would lose more than this many seconds.
    pub loss_s_max: Option<u64>,
    /// How long a recovery waits for `commit`, in seconds; `None`: for ever.
    pub commit_after_s: Option<u64>,
    /// What happens after that time.
    pub then: CommitThen,
}

/// What happens to a recovery that nobody committed in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CommitThen {
    /// It goes on waiting.
    #[default]
    Wait,
    /// It is committed.
    Commit,
    /// It is rolled back.
    Rollback,
}

/// Limits on what may be done without a person. They gate steps, they never hide the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Guardrail {
    /// Its name.
    pub name: Name,
    /// The selected resources.
    pub resources: BTreeSet<Address>,
    /// When mutating and destructive steps may start.
    pub windows: Vec<Window>,
    /// How many snapshots may be forgotten.
    pub expire: Budget,
    /// How many restores over live data.
    pub restore_over: Budget,
    /// How many re-creations and restores of what is gone.
    pub recreate: Budget,
    /// When more than this many per cent of the resources (and at least three) are lost at once,
    /// we are probably blind: observe only.
    pub mass_loss_percent: u8,
}

/// How often something may be done; `None`: no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Budget {
    /// In one run.
    pub per_run: Option<u32>,
    /// In one hour.
    #[serde(default)]
    pub per_hour: Option<u32>,
    /// In 24 hours.
    pub per_day: Option<u32>,
    /// Per cent of what there is, in one run.
    pub percent: Option<u8>,
    /// Per cent of what there is, in 24 hours.
    #[serde(default)]
    pub percent_per_day: Option<u8>,
}

/// What a hold covers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Scope {
    /// Everything.
    All,
    /// One application.
    Application(Name),
    /// One resource.
    Resource(Address),
    /// One repository.
    Repository(Name),
}

/// A stop on a scope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// Its name.
    pub name: Name,
    /// What it covers.
    pub scope: Scope,
    /// Whose it is.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// When it ends by itself; `None`: never.
    pub until: Option<Timestamp>,
}

/// The removal of points on purpose, the last proven one among them. The only way that it can go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Erasure {
    /// Its name.
    pub name: Name,
    /// Whose points; it need not be described any more.
    pub resource: Address,
    /// Why.
    pub reason: String,
    /// Every point that goes, by its full id; what is not named stays.
    pub snapshots: BTreeSet<SnapshotId>,
    /// Who agreed: at least [`APPROVERS_MIN`] different people.
    pub approved_by: BTreeSet<String>,
    /// How long the document must have been seen before anything goes, in seconds.
    pub cooling_off_s: u64,
}

/// How many people must agree to an erasure.
pub const APPROVERS_MIN: usize = 2;

/// The shortest cooling-off of an erasure: a working day in which somebody can object.
pub const COOLING_OFF_S_MIN: u64 = 24 * 3600;

impl Erasure {
    /// Returns what its cooling-off is counted for: a document that is changed begins anew.
    pub fn digest(&self) -> Digest {
        Digest::of("erasure", self)
    }

    /// Returns why the document does not suffice, if it does not.
    pub fn flaw(&self) -> Option<String> {
        let people: BTreeSet<String> =
            self.approved_by.iter().map(|who| who.trim().to_lowercase()).collect();
        if people.iter().filter(|who| !who.is_empty()).count() < APPROVERS_MIN {
            return Some(format!("{APPROVERS_MIN} different people must agree"));
        }
        if self.reason.trim().is_empty() {
            return Some("it gives no reason".to_owned());
        }
        if self.cooling_off_s < COOLING_OFF_S_MIN {
            return Some("its cooling-off is shorter than 24 hours".to_owned());
        }
        None
    }
}
