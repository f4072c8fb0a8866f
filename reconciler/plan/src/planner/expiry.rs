//! Decides which points go: judges every series, then asks whether anything may go at all.

use std::collections::{BTreeMap, BTreeSet};

use model::desired::{Backup, Retention};
use model::id::{Address, Name, SnapshotId, StepId};
use model::plan::{
    Action, Class, Condition, Estimate, Precondition, RetentionVerdict, SnapshotRef, Step,
};

use super::recovery::describe;
use super::{Draft, ids};
use crate::condition::newly_empty;
use crate::render::points;
use crate::retention::{Candidate, Standing, Verdict, judge, removable};
use crate::slots::Calendar;
use crate::view::PointRef;

/// Plans which points of one resource go.
pub(super) fn plan(draft: &mut Draft<'_, '_>, address: &Address) {
    let view = draft.view;
    pin_documents(draft, address);
    for repository in view.repositories_of(address) {
        if view.repository_id(repository).is_some() {
            distrust(draft, address, repository);
            resource_in(draft, address, repository);
        }
    }
}

/// Says that the newest point is not trusted: until a person decides, nothing replaces it as the
/// one that a restore would take, and nothing expires.
fn distrust(draft: &mut Draft<'_, '_>, address: &Address, repository: &Name) {
    let view = draft.view;
    let newest = view.points_in(address, repository).rfind(|p| !view.is_future(p.taken_at()));
    let Some(newest) = newest else { return };
    if let Standing::Suspicious(why) = view.standing(&newest) {
        draft.note(format!(
            "the newest point of {address} in {repository}, {} of {}, is suspicious: {why}; if it \
             is right, `mainstay accept suspicious:{}`",
            newest.id().short(),
            newest.taken_at(),
            newest.id()
        ));
    }
}

/// A point that a document names stays as long as the document does.
pub(super) fn pin_documents(draft: &mut Draft<'_, '_>, address: &Address) {
    let view = draft.view;
    for doc in view.index().recoveries(address) {
        let model::desired::Point::Snapshot(id) = &doc.point else { continue };
        let digits = id.to_string();
        for point in view.points(address).filter(|p| p.id().starts_with(&digits)) {
            draft.pin(point.id(), format!("recovery {} names it", doc.name));
        }
    }
}

fn resource_in(draft: &mut Draft<'_, '_>, address: &Address, repository: &Name) {
    let view = draft.view;
    let policies: BTreeMap<&Name, (&Backup, &Retention)> = view
        .backups(address)
        .iter()
        .filter(|backup| backup.repositories.contains(repository))
        .filter_map(|backup| Some((&backup.name, (*backup, backup.retention.as_ref()?))))
        .collect();
    if policies.is_empty() {
        return;
    }
    let mut series: BTreeMap<Option<&Name>, Vec<PointRef<'_>>> = BTreeMap::new();
    for point in view.points_in(address, repository) {
        let of = point.receipt().and_then(|receipt| receipt.backup.as_ref());
        series.entry(of).or_default().push(point);
    }
    let mut removable: Vec<Verdict> = Vec::new();
    let mut suspicious = None;
    for (of, points) in &series {
        match of.and_then(|name| policies.get(name)) {
            Some((backup, policy)) => {
                let verdicts = judge_series(draft, backup, policy, points);
                record(draft, address, repository, &verdicts);
                removable.extend(verdicts.into_iter().filter(|v| !v.keep));
            }
            None => unruled(draft, address, repository, points),
        }
        if let Some(newest) = points.iter().rfind(|p| !view.is_future(p.taken_at()))
            && matches!(view.standing(newest), Standing::Suspicious(_))
        {
            suspicious = Some(newest.id().clone());
        }
    }
    if removable.is_empty() {
        return;
    }
    removable.sort_by(|a, b| (a.time, &a.id).cmp(&(b.time, &b.id)));
    let removable: Vec<SnapshotId> = removable.into_iter().map(|v| v.id).collect();
    if let Some((code, reason)) = refusal(draft, address, repository, suspicious, &removable) {
        let reason = format!("{} could go, but {reason}", points(removable.len()));
        draft.defer(ids::expire(address, repository), code, reason);
        return;
    }
    add(draft, address, repository, removable, &policies);
}

fn judge_series(
    draft: &Draft<'_, '_>,
    backup: &Backup,
    policy: &Retention,
    points: &[PointRef<'_>],
) -> Vec<Verdict> {
    let view = draft.view;
    let candidates: Vec<Candidate<'_>> = points
        .iter()
        .map(|point| Candidate {
            id: point.id(),
            time: point.info.time,
            tags: &point.info.tags,
            standing: view.standing(point),
            proven: point.proven,
            pins: draft.pins.get(point.id()).cloned().unwrap_or_default(),
        })
        .collect();
    if !draft.detailed {
        return removable(policy, &candidates, view.now);
    }
    let calendar = Calendar::new(&backup.schedule);
    judge(policy, &candidates, view.now, &|at| calendar.next(at))
}

fn record(draft: &mut Draft<'_, '_>, address: &Address, repository: &Name, verdicts: &[Verdict]) {
    draft.report.retention.extend(verdicts.iter().map(|verdict| RetentionVerdict {
        resource: address.clone(),
        repository: repository.clone(),
        snapshot: verdict.id.clone(),
        time: verdict.time,
        keep: verdict.keep,
        reasons: verdict.reasons.clone(),
        removable_at: verdict.removable_at,
    }));
}

/// Points of a document that is gone, has no retention, or no longer writes here: they stay.
fn unruled(
    draft: &mut Draft<'_, '_>,
    address: &Address,
    repository: &Name,
    points: &[PointRef<'_>],
) {
    for point in points.iter().filter(|_| draft.detailed) {
        let reason = match point.receipt() {
            None => "not made by Mainstay".to_owned(),
            Some(receipt) => match &receipt.backup {
                None => "made by hand".to_owned(),
                Some(name) => format!("made by backup {name}, which gives no retention here"),
            },
        };
        draft.report.retention.push(RetentionVerdict {
            resource: address.clone(),
            repository: repository.clone(),
            snapshot: point.id().clone(),
            time: point.info.time,
            keep: true,
            reasons: vec![reason],
            removable_at: None,
        });
    }
}

/// Why nothing may go now.
fn refusal(
    draft: &Draft<'_, '_>,
    address: &Address,
    repository: &Name,
    suspicious: Option<SnapshotId>,
    removable: &[SnapshotId],
) -> Option<(&'static str, String)> {
    let view = draft.view;
    if view.desired.repositories.get(repository).is_some_and(|spec| spec.append_only) {
        return Some(("AppendOnly", "nothing is ever deleted there by us".to_owned()));
    }
    if draft.erasing.contains(address) {
        let reason = "points of it are erased in this plan, so what stays is seen after it";
        return Some(("ErasureUnderWay", reason.to_owned()));
    }
    if let Some(why) = draft.busy.get(address) {
        return Some(("RecoveryUnderWay", why.clone()));
    }
    match draft.condition(address) {
        Some(Condition::Healthy) => {}
        condition => {
            let condition = condition.map_or("unknown".to_owned(), describe);
            return Some(("ConditionNotHealthy", format!("the resource is {condition}")));
        }
    }
    if let Some(id) = suspicious {
        let reason = format!(
            "the newest point is suspicious; if it is right, `mainstay accept suspicious:{id}`"
        );
        return Some(("SuspiciousPoint", reason));
    }
    if let Some(why) = newly_empty(view, address, repository) {
        return Some(("ResourceEmpty", format!("{why}, and no later point is known to be right")));
    }
    if !view.observed.memory.known {
        return Some((
            "MemoryUnknown",
            "our state is new or was lost, so nothing is proven".to_owned(),
        ));
    }
    let stays = |p: &PointRef<'_>| !removable.contains(p.id());
    let proven =
        view.points_in(address, repository).filter(stays).any(|p| view.is_good(&p) && p.proven);
    (!proven).then(|| ("NothingProven", "no point that would stay here is proven".to_owned()))
}

fn add(
    draft: &mut Draft<'_, '_>,
    address: &Address,
    repository: &Name,
    removable: Vec<SnapshotId>,
    policies: &BTreeMap<&Name, (&Backup, &Retention)>,
) {
    let view = draft.view;
    let mut stays: BTreeMap<Name, BTreeSet<SnapshotId>> = BTreeMap::new();
    for point in view.points(address) {
        if point.repository == repository
            && view.is_good(&point)
            && point.proven
            && !removable.contains(point.id())
        {
            // Points come oldest first, so the newest one remains.
            stays.insert(point.repository.clone(), BTreeSet::from([point.id().clone()]));
        }
    }
    // What replaces the old is written and proven before the old goes. A known point whose proof
    // failed is none of that; were it waited for, damage would keep everything for ever.
    let failed = |id: &StepId, step: &Step| {
        matches!(step.action, Action::Verify { snapshot: SnapshotRef::Id(_), .. })
            && view.observed.memory.backoff.contains_key(id.as_str())
    };
    let needs = ["backup", "verify"]
        .into_iter()
        .map(|verb| StepId::from(format!("{verb}/{address}/{repository}")))
        .flat_map(|first| {
            draft
                .steps
                .range(first.clone()..)
                .take_while(move |(id, _)| id.as_str().starts_with(first.as_str()))
        })
        .filter(|(_, step)| step.action.repository() == Some(repository))
        .filter(|(id, step)| !failed(id, step))
        .map(|(id, _)| id.clone())
        .collect();
    let names: Vec<&str> = policies.values().map(|(_, policy)| policy.name.as_str()).collect();
    draft.add(Step {
        id: ids::expire(address, repository),
        action: Action::Expire {
            resource: address.clone(),
            repository: repository.clone(),
            snapshots: removable.clone(),
            erasure: None,
        },
        class: Class::Mutating,
        reasons: vec![format!("{} beyond retention {}", points(removable.len()), names.join(", "))],
        preconditions: vec![
            draft.repository_is(repository),
            Precondition::SnapshotsExist { repository: repository.clone(), snapshots: removable },
            Precondition::ProvenCopyStays { resource: address.clone(), snapshots: stays },
            Precondition::NoOtherRecovery { resource: address.clone(), token: None },
        ],
        needs,
        estimate: Estimate::default(),
        loss: None,
        waits: Vec::new(),
    });
}
