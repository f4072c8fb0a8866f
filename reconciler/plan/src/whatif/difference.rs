//! What differs between two plans: of a changed policy, or of a world that moved. Called by `whatif
//! policy` and by scenarios.

use std::collections::{BTreeMap, BTreeSet};

use model::desired::Desired;
use model::id::{Address, Name, SnapshotId};
use model::plan::{Plan, RetentionVerdict, Step};
use serde::{Deserialize, Serialize};

use crate::render::{describe, title, wait};

/// What differs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// Steps that only the second plan has.
    pub added: Vec<StepChange>,
    /// Steps that only the first plan has.
    pub removed: Vec<StepChange>,
    /// Steps that both have under one id, and that are not the same.
    pub changed: Vec<StepChange>,
    /// What the second plan leaves out and the first did not, as `STEP CODE: reason`.
    pub deferred: Vec<String>,
    /// What the first plan left out and the second does not.
    pub no_longer_deferred: Vec<String>,
    /// Points whose fate differs.
    pub retention: Vec<VerdictChange>,
    /// Conditions that differ, as `ADDRESS: before → after`.
    pub conditions: Vec<String>,
    /// Alarms of the second plan only.
    pub alarms: Vec<String>,
    /// Alarms of the first plan only.
    pub no_longer_alarms: Vec<String>,
    /// Resources that only one desired state has, where the caller knows both, as `ADDRESS: now
    /// protected` or `no longer protected; its points stay`.
    pub resources: Vec<String>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepChange {
    /// Its id.
    pub id: String,
    /// What it does, in the second plan where it is there.
    pub title: String,
    /// It can do harm.
    pub destructive: bool,
    /// How it differs, in words; empty for one that comes or goes.
    pub how: Vec<String>,
}

/// One point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerdictChange {
    /// The resource.
    pub resource: Address,
    /// Where.
    pub repository: Name,
    /// Which.
    pub snapshot: SnapshotId,
    /// When it was taken.
    pub time: jiff::Timestamp,
    /// It stays under the second plan.
    pub keep: bool,
    /// Why.
    pub reasons: Vec<String>,
}

impl Difference {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Compares two plans. What only one of the desired states has is told by [`resources`].
pub fn difference(before: &Plan, after: &Plan) -> Difference {
    let (old, new) = (by_id(before), by_id(after));
    let only = |from: &BTreeMap<String, &Step>, other: &BTreeMap<String, &Step>, plan: &Plan| {
        let steps = plan.steps.iter().filter(|s| from.contains_key(s.id.as_str()));
        steps
            .filter(|s| !other.contains_key(s.id.as_str()))
            .map(|s| change(s, Vec::new()))
            .collect::<Vec<_>>()
    };
    let changed = after
        .steps
        .iter()
        .filter_map(|step| {
            let how = how(old.get(step.id.as_str())?, step);
            (!how.is_empty()).then(|| change(step, how))
        })
        .collect();
    Difference {
        added: only(&new, &old, after),
        removed: only(&old, &new, before),
        changed,
        deferred: missing(&deferred(after), &deferred(before)),
        no_longer_deferred: missing(&deferred(before), &deferred(after)),
        retention: retention(before, after),
        conditions: conditions(before, after),
        alarms: missing(&alarms(after), &alarms(before)),
        no_longer_alarms: missing(&alarms(before), &alarms(after)),
        resources: Vec::new(),
    }
}

fn by_id(plan: &Plan) -> BTreeMap<String, &Step> {
    plan.steps.iter().map(|step| (step.id.to_string(), step)).collect()
}

fn change(step: &Step, how: Vec<String>) -> StepChange {
    StepChange {
        id: step.id.to_string(),
        title: title(step),
        destructive: step.class == model::plan::Class::Destructive,
        how,
    }
}

fn how(before: &Step, after: &Step) -> Vec<String> {
    let mut how = Vec::new();
    let (old, new) = (title(before), title(after));
    if old != new {
        how.push(format!("was: {old}"));
    }
    if before.class != after.class {
        how.push(format!("class {} → {}", before.class, after.class));
    }
    let waits = |step: &Step| step.waits.iter().map(wait).collect::<Vec<_>>();
    how.extend(missing(&waits(after), &waits(before)).iter().map(|w| format!("waits for {w}")));
    how.extend(
        missing(&waits(before), &waits(after)).iter().map(|w| format!("no longer waits for {w}")),
    );
    how
}

fn deferred(plan: &Plan) -> Vec<String> {
    let line = |d: &model::plan::Deferred| format!("{} {}: {}", d.step, d.code, d.reason);
    plan.report.deferred.iter().map(line).collect()
}

fn alarms(plan: &Plan) -> Vec<String> {
    plan.report.alarms.iter().map(wait).collect()
}

/// What is in one list and not in the other.
fn missing(of: &[String], from: &[String]) -> Vec<String> {
    of.iter().filter(|line| !from.contains(line)).cloned().collect()
}

/// A plan lists the points that may go; one that only the first lists stays under the second.
fn retention(before: &Plan, after: &Plan) -> Vec<VerdictChange> {
    let key = |v: &RetentionVerdict| (v.resource.clone(), v.repository.clone(), v.snapshot.clone());
    let goes = |plan: &Plan| -> BTreeMap<_, RetentionVerdict> {
        let verdicts = plan.report.retention.iter().filter(|v| !v.keep);
        verdicts.map(|v| (key(v), v.clone())).collect()
    };
    let (old, new) = (goes(before), goes(after));
    let change = |v: &RetentionVerdict, keep: bool, reasons: Vec<String>| VerdictChange {
        resource: v.resource.clone(),
        repository: v.repository.clone(),
        snapshot: v.snapshot.clone(),
        time: v.time,
        keep,
        reasons,
    };
    let go = new.iter().filter(|(k, _)| !old.contains_key(*k));
    let stay = old.iter().filter(|(k, _)| !new.contains_key(*k));
    let stays = || vec!["nothing lets it go any more".to_owned()];
    go.map(|(_, v)| change(v, false, v.reasons.clone()))
        .chain(stay.map(|(_, v)| change(v, true, stays())))
        .collect()
}

fn conditions(before: &Plan, after: &Plan) -> Vec<String> {
    let word = |plan: &Plan, address: &Address| {
        plan.report.conditions.get(address).map_or("Healthy".to_owned(), describe)
    };
    let (was, is) = (before.report.conditions.unwell(), after.report.conditions.unwell());
    let addresses: BTreeSet<&Address> = was.keys().chain(is.keys()).collect();
    addresses
        .into_iter()
        .filter_map(|address| {
            let (was, now) = (word(before, address), word(after, address));
            (was != now).then(|| format!("{address}: {was} → {now}"))
        })
        .collect()
}

/// Returns the resources that only one of two desired states has, in words.
pub fn resources(before: &Desired, after: &Desired) -> Vec<String> {
    let (old, new) = (&before.resources, &after.resources);
    let come = new.keys().filter(|a| !old.contains_key(*a)).map(|a| format!("{a}: now protected"));
    let gone = old.keys().filter(|a| !new.contains_key(*a));
    come.chain(gone.map(|a| format!("{a}: no longer protected; its points stay"))).collect()
}
