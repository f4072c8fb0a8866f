//! What is protected, how old its newest proven point is against what was promised, and what is
//! wrong. Called by the `status` command, metrics and the web page.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::Timestamp;
use model::desired::{Desired, Hold};
use model::id::{Address, CommitId, Name, SnapshotId};
use model::observed::{Observed, RecoveryPhase};
use model::plan::{Condition, Wait};
use serde::{Deserialize, Serialize};

use crate::alarms::alarms;
use crate::condition::conditions;
use crate::gates::active_holds;
use crate::objectives::CopiesReport;
use crate::planner::newest_served;
use crate::rto::{RtoReport, rto};
use crate::slots::{Calendar, Dueness, jitter_s};
use crate::view::{PointRef, View};

/// The state of everything at an instant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The instant.
    pub at: Timestamp,
    /// The config commit.
    pub commit: CommitId,
    /// Resources.
    pub resources: BTreeMap<Address, ResourceStatus>,
    /// Repositories.
    pub repositories: BTreeMap<Name, RepositoryStatus>,
    /// Alarms that hold work.
    pub alarms: Vec<Wait>,
    /// Holds that have not ended.
    pub holds: Vec<Hold>,
    /// Triggers and whether every backup that they ask for was made.
    pub triggers: BTreeMap<Name, bool>,
}

/// Whether a promise is kept. Unknown counts as not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// Nothing was promised.
    NoObjective,
    /// It is kept.
    Kept,
    /// It cannot be told.
    Unknown,
    /// It is not kept.
    Violated,
}

/// One resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceStatus {
    /// What the comparison says.
    pub condition: Condition,
    /// Its newest complete point.
    pub newest: Option<PointStatus>,
    /// Its newest point whose stored bytes were read again, complete and trusted.
    pub newest_proven: Option<PointStatus>,
    /// How old the newest proven point is, in seconds.
    pub age_s: Option<u64>,
    /// How old it may be.
    pub rpo_s: Option<u64>,
    /// Whether that is kept.
    pub rpo: Verdict,
    /// How long a restore takes against what was promised; `None`: nothing was.
    #[serde(default)]
    pub rto: Option<RtoReport>,
    /// Copies within the objective, the live data included if it is there.
    pub copies: u32,
    /// How many there should be.
    pub copies_wanted: Option<u32>,
    /// Whether all that was promised of copies is kept.
    pub copies_verdict: Verdict,
    /// The copies one by one, the promises, and the cheapest mend; `None`: nothing was promised.
    #[serde(default)]
    pub copies_report: Option<CopiesReport>,
    /// When the next backup is due; in the past when one is due.
    pub next_due: Option<Timestamp>,
    /// Per repository: how many points, how many proven, the newest.
    pub repositories: BTreeMap<Name, CopyStatus>,
    /// Recoveries that wait for `commit` or `rollback`, by token.
    pub awaiting_commit: Vec<String>,
    /// Why its newest point is not trusted.
    pub suspicious: Option<String>,
}

impl ResourceStatus {
    /// Returns whether it is healthy and all that was promised of it is kept; unknown is not kept.
    pub fn is_well(&self) -> bool {
        let kept = |verdict| matches!(verdict, Verdict::Kept | Verdict::NoObjective);
        let rto = self.rto.as_ref().is_none_or(|rto| rto.verdict == Verdict::Kept);
        self.condition == Condition::Healthy && kept(self.rpo) && kept(self.copies_verdict) && rto
    }
}

/// One point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PointStatus {
    /// Where.
    pub repository: Name,
    /// Which.
    pub snapshot: SnapshotId,
    /// When it was taken.
    pub taken_at: Timestamp,
}

/// The points of a resource in one repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CopyStatus {
    /// How many.
    pub points: u64,
    /// How many are proven.
    pub proven: u64,
    /// The newest.
    pub newest: Option<Timestamp>,
}

/// One repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RepositoryStatus {
    /// It can be used.
    pub usable: bool,
    /// A stable word: `Ready`, `New`, or why it cannot be used.
    pub state: String,
    /// What is wrong.
    pub detail: Option<String>,
    /// Snapshots in it.
    pub points: u64,
}

/// Returns the state of everything at an instant.
pub fn status(desired: &Desired, observed: &Observed, now: Timestamp) -> Status {
    let view = View::new(desired, observed, now);
    let conditions = conditions(&view);
    let alarms = alarms(&view, &conditions);
    Status {
        at: now,
        commit: desired.commit.clone(),
        resources: desired
            .resources
            .keys()
            .map(|address| (address.clone(), resource(&view, address, conditions.get(address))))
            .collect(),
        repositories: repositories(&view),
        alarms: alarms.iter().map(crate::alarms::Alarm::wait).collect(),
        holds: active_holds(&view).cloned().collect(),
        triggers: triggers(&view),
    }
}

fn resource(view: &View<'_>, address: &Address, condition: &Condition) -> ResourceStatus {
    let newest = view.best(address, |_| true);
    let proven = view.newest_proven(address);
    let age_s = proven.map(|p| age(view, &p));
    let objectives = view.desired.resources.get(address).map(|r| r.objectives.clone());
    let objectives = objectives.unwrap_or_default();
    let unread = view.repositories_of(address).into_iter().any(|n| view.repository_id(n).is_none());
    let copies = copies(view, address, condition, objectives.rpo_s);
    let report = crate::objectives::copies(view, address, condition);
    let last = view.points(address).rfind(|p| !view.is_future(p.taken_at()));
    ResourceStatus {
        condition: condition.clone(),
        newest: newest.as_ref().map(point),
        newest_proven: proven.as_ref().map(point),
        age_s,
        rpo_s: objectives.rpo_s,
        rpo: match (objectives.rpo_s, age_s) {
            (None, _) => Verdict::NoObjective,
            (Some(rpo), Some(age)) if age <= rpo => Verdict::Kept,
            // A point that cannot be seen may be newer than those that can.
            (Some(_), _) if unread => Verdict::Unknown,
            (Some(_), _) => Verdict::Violated,
        },
        rto: rto(view, address),
        copies,
        copies_wanted: objectives.copies,
        copies_verdict: report.as_ref().map_or(Verdict::NoObjective, CopiesReport::verdict),
        copies_report: report,
        next_due: next_due(view, address),
        repositories: per_repository(view, address),
        awaiting_commit: view
            .observed
            .memory
            .recoveries
            .values()
            .filter(|r| r.phase == RecoveryPhase::AwaitingCommit && view.same(&r.address, address))
            .map(|r| r.token.clone())
            .collect(),
        suspicious: last
            .and_then(|p| p.receipt())
            .and_then(|r| r.suspicious.as_ref())
            .map(ToString::to_string),
    }
}

fn point(point: &PointRef<'_>) -> PointStatus {
    PointStatus {
        repository: point.repository.clone(),
        snapshot: point.id().clone(),
        taken_at: point.taken_at(),
    }
}

fn age(view: &View<'_>, point: &PointRef<'_>) -> u64 {
    u64::try_from(view.now.duration_since(point.taken_at()).as_secs()).unwrap_or(0)
}

/// The live data, if it is healthy, and every repository with a proven point young enough.
fn copies(view: &View<'_>, address: &Address, condition: &Condition, rpo_s: Option<u64>) -> u32 {
    let live = matches!(
        condition,
        Condition::Healthy | Condition::NeverProtected | Condition::AwaitingCommit { .. }
    );
    let stored = view
        .repositories_of(address)
        .into_iter()
        .filter(|name| {
            view.points_in(address, name).any(|p| {
                view.is_good(&p) && p.proven && rpo_s.is_none_or(|rpo| age(view, &p) <= rpo)
            })
        })
        .count();
    u32::from(live).saturating_add(u32::try_from(stored).unwrap_or(u32::MAX))
}

fn next_due(view: &View<'_>, address: &Address) -> Option<Timestamp> {
    let mut next: Option<Timestamp> = None;
    for backup in view.backups(address) {
        let calendar = Calendar::new(&backup.schedule);
        let jitter = jitter_s(address, &backup.name, backup.schedule.jitter_s);
        for repository in &backup.repositories {
            let served = newest_served(view, &backup.name, address, repository);
            let at = match calendar.due(served, jitter, view.now) {
                Dueness::Due(slot) => Some(slot.at),
                Dueness::TooLate(_) | Dueness::NotDue => calendar.next_due(jitter, view.now),
            };
            next = match (next, at) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
    }
    next
}

fn per_repository(view: &View<'_>, address: &Address) -> BTreeMap<Name, CopyStatus> {
    let mut copies: BTreeMap<Name, CopyStatus> = view
        .repositories_of(address)
        .into_iter()
        .map(|name| (name.clone(), CopyStatus { points: 0, proven: 0, newest: None }))
        .collect();
    for point in view.points(address) {
        let copy = copies.entry(point.repository.clone()).or_insert(CopyStatus {
            points: 0,
            proven: 0,
            newest: None,
        });
        copy.points += 1;
        copy.proven += u64::from(point.proven);
        copy.newest = copy.newest.max(Some(point.taken_at()));
    }
    copies
}

fn repositories(view: &View<'_>) -> BTreeMap<Name, RepositoryStatus> {
    view.repositories
        .iter()
        .map(|(name, state)| {
            let trouble = state.trouble();
            let word = match (&trouble, view.repository_id(name)) {
                (Some((word, _)), _) => word,
                (None, Some(_)) => "Ready",
                (None, None) => "New",
            };
            let points = match view.observed.repositories.get(*name) {
                Some(model::observed::RepositoryObservation::Known { snapshots, .. }) => {
                    snapshots.len() as u64
                }
                _ => 0,
            };
            let status = RepositoryStatus {
                usable: trouble.is_none(),
                state: word.to_owned(),
                detail: trouble.map(|(_, detail)| detail),
                points,
            };
            ((*name).clone(), status)
        })
        .collect()
}

/// A trigger is served when every resource of its backup has a point with its token in every
/// repository.
fn triggers(view: &View<'_>) -> BTreeMap<Name, bool> {
    view.desired
        .triggers
        .values()
        .map(|trigger| {
            let served = view.desired.backups.get(&trigger.backup).is_some_and(|backup| {
                backup.resources.iter().all(|address| {
                    backup.repositories.iter().all(|repository| {
                        view.points_in(address, repository)
                            .filter_map(|p| p.receipt())
                            .filter(|r| r.backup.as_ref() == Some(&backup.name))
                            .any(|r| r.trigger.as_deref() == Some(&*trigger.token))
                    })
                })
            });
            (trigger.name.clone(), served)
        })
        .collect()
}
