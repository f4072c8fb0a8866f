//! Makes plans. Each file decides one thing and says why: `recovery` what is brought back,
//! `backups` what is backed up and proven, `expiry` what may go; this one puts them together.

mod backups;
mod expiry;
pub(crate) mod ids;
mod recovery;
mod repositories;
mod restore;
mod selection;
#[cfg(test)]
mod tests;

pub(crate) use backups::newest_served;
pub(crate) use recovery::describe;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use model::desired::Desired;
use model::digest::Digest;
use model::id::{Address, Name, PlanId, SnapshotId, StepId};
use model::observed::Observed;
use model::plan::{
    Action, Class, Condition, Deferred, Estimate, PLAN_VERSION, Plan, Precondition, Report,
    SnapshotRef, Step,
};
use serde::Serialize;

use crate::alarms::{Alarm, alarms};
use crate::condition::conditions;
use crate::gates::waits;
use crate::graph::Graph;
use crate::view::View;

/// Plans what brings the observed world to the desired state.
///
/// Total and pure: it never fails, and equal inputs give byte-identical plans on any machine.
pub fn plan(desired: &Desired, observed: &Observed, now: Timestamp) -> Plan {
    plan_scoped(desired, observed, now, None)
}

/// Plans for some resources and what they need; everything else is left alone.
pub fn plan_only(
    desired: &Desired,
    observed: &Observed,
    now: Timestamp,
    only: &BTreeSet<Address>,
) -> Plan {
    plan_scoped(desired, observed, now, Some(only))
}

fn plan_scoped(
    desired: &Desired,
    observed: &Observed,
    now: Timestamp,
    only: Option<&BTreeSet<Address>>,
) -> Plan {
    let view = View::new(desired, observed, now);
    let graph = Graph::new(desired);
    let conditions = conditions(&view);
    let alarms = alarms(&view, &conditions);
    let scope = only.map(|only| graph.closure(only));
    let mut draft = Draft {
        view: &view,
        graph: &graph,
        conditions: &conditions,
        alarms: &alarms,
        scope,
        steps: BTreeMap::new(),
        restores: BTreeMap::new(),
        busy: BTreeMap::new(),
        pins: BTreeMap::new(),
        report: Report::default(),
    };
    repositories::init(&mut draft);
    recovery::plan(&mut draft);
    backups::plan(&mut draft);
    expiry::plan(&mut draft);
    repositories::reclaim(&mut draft);
    draft.finish()
}

/// A plan in the making.
struct Draft<'v, 'a> {
    view: &'v View<'a>,
    graph: &'v Graph<'a>,
    conditions: &'v BTreeMap<Address, Condition>,
    alarms: &'v [Alarm],
    scope: Option<BTreeSet<Address>>,
    steps: BTreeMap<StepId, Step>,
    /// Restores over the resource itself, by resource.
    restores: BTreeMap<Address, StepId>,
    /// Resources whose backups and expiry pause, and why.
    busy: BTreeMap<Address, String>,
    /// Points that something needs, and what.
    pins: BTreeMap<SnapshotId, Vec<String>>,
    report: Report,
}

impl<'a> Draft<'_, 'a> {
    fn in_scope(&self, address: &Address) -> bool {
        self.scope.as_ref().is_none_or(|scope| scope.contains(address))
    }

    fn condition(&self, address: &Address) -> Option<&Condition> {
        self.conditions.get(address)
    }

    fn add(&mut self, step: Step) {
        self.steps.entry(step.id.clone()).or_insert(step);
    }

    fn defer(&mut self, step: StepId, code: &str, reason: impl Into<String>) {
        self.defer_until(step, code, reason, None);
    }

    fn defer_until(
        &mut self,
        step: StepId,
        code: &str,
        reason: impl Into<String>,
        until: Option<Timestamp>,
    ) {
        let reason = reason.into();
        self.report.deferred.push(Deferred { step, code: code.to_owned(), reason, until });
    }

    fn note(&mut self, note: impl Into<String>) {
        self.report.notes.push(note.into());
    }

    fn pin(&mut self, snapshot: &SnapshotId, why: String) {
        let pins = self.pins.entry(snapshot.clone()).or_default();
        if !pins.contains(&why) {
            pins.push(why);
        }
    }

    /// Adds a verification of a known point, unless it is there already, and returns its id.
    fn verify(
        &mut self,
        resource: &Address,
        repository: &Name,
        snapshot: &SnapshotId,
        reason: String,
    ) -> StepId {
        let id = ids::verify(resource, repository, snapshot);
        let bytes = self
            .view
            .points_in(resource, repository)
            .find(|point| point.id() == snapshot)
            .and_then(|point| point.receipt())
            .map(|receipt| receipt.bytes);
        self.add(Step {
            id: id.clone(),
            action: Action::Verify {
                resource: resource.clone(),
                repository: repository.clone(),
                snapshot: SnapshotRef::Id(snapshot.clone()),
            },
            class: Class::Safe,
            reasons: vec![reason],
            preconditions: vec![
                self.repository_is(repository),
                Precondition::SnapshotsExist {
                    repository: repository.clone(),
                    snapshots: vec![snapshot.clone()],
                },
            ],
            needs: Vec::new(),
            estimate: Estimate { bytes, seconds: None },
            loss: None,
            waits: Vec::new(),
        });
        id
    }

    fn repository_is(&self, repository: &Name) -> Precondition {
        Precondition::RepositoryIs {
            repository: repository.clone(),
            id: self.view.repository_id(repository).cloned(),
        }
    }

    fn finish(mut self) -> Plan {
        self.observe_gaps();
        let view = self.view;
        let mut report = std::mem::take(&mut self.report);
        report.conditions = self
            .conditions
            .iter()
            .filter(|(address, _)| self.in_scope(address))
            .map(|(address, condition)| (address.clone(), condition.clone()))
            .collect();
        report.deferred.sort();
        report.deferred.dedup();
        report.retention.sort_by(|a, b| {
            (&a.resource, &a.repository, a.time, &a.snapshot).cmp(&(
                &b.resource,
                &b.repository,
                b.time,
                &b.snapshot,
            ))
        });
        report.alarms = self.alarms.iter().map(Alarm::wait).collect();
        report.notes.sort();
        report.notes.dedup();
        report.incomplete.sort();
        let steps = ordered(self.steps, self.graph);
        let mut plan = Plan {
            version: PLAN_VERSION,
            id: PlanId(String::new()),
            planner: model::VERSION.to_owned(),
            commit: view.desired.commit.clone(),
            desired: view.desired.digest(),
            observed: view.observed.digest(),
            at: view.now,
            destructive: destructive_digest(view.desired, &steps),
            steps,
            report,
        };
        let approvals = BTreeSet::new();
        let mut waits = waits(view, self.alarms, &plan, &approvals);
        for step in &mut plan.steps {
            step.waits = waits.remove(&step.id).unwrap_or_default();
        }
        plan.id = plan_id(&plan);
        plan
    }

    /// Says what was not seen, and what the graph cannot order.
    fn observe_gaps(&mut self) {
        for (name, state) in &self.view.repositories {
            if let Some((_, detail)) = state.trouble() {
                self.report.incomplete.push(format!("repository {name}: {detail}"));
            }
        }
        for (address, condition) in self.conditions {
            if let Condition::Unreachable { detail } = condition
                && self.in_scope(address)
            {
                self.report.incomplete.push(format!("resource {address}: {detail}"));
            }
        }
        for cycle in &self.graph.cycles {
            self.report.notes.push(format!(
                "these depend on each other, so their order is by name: {}",
                crate::view::names(cycle)
            ));
        }
        for (from, to) in &self.graph.dangling {
            self.report.notes.push(format!("{from} depends on {to}, which no document describes"));
        }
        for ((address, repository), count) in &self.view.orphans {
            self.report.notes.push(format!(
                "{} of {address} in {repository} without a document: kept",
                crate::render::points(*count)
            ));
        }
    }
}

/// Returns the id of a plan: the digest of everything in it but the id itself.
pub(crate) fn plan_id(plan: &Plan) -> PlanId {
    let mut bare = plan.clone();
    bare.id = PlanId(String::new());
    PlanId(Digest::of("plan", &bare).0)
}

/// What an approval names. No clock is in it, so it still fits when the next pass plans the same.
#[derive(Serialize)]
struct Destructive<'a> {
    step: &'a StepId,
    action: &'a Action,
    /// The states of the resource for which it was planned.
    markers: Vec<&'a Precondition>,
    policy: Option<Digest>,
}

pub(crate) fn destructive_digest(desired: &Desired, steps: &[Step]) -> Option<Digest> {
    let mut parts: Vec<Destructive<'_>> = steps
        .iter()
        .filter(|step| step.class == Class::Destructive)
        .map(|step| Destructive {
            step: &step.id,
            action: &step.action,
            markers: step
                .preconditions
                .iter()
                .filter(|p| matches!(p, Precondition::ResourceUnmoved { .. }))
                .collect(),
            policy: policy_digest(desired, &step.action),
        })
        .collect();
    parts.sort_by_key(|part| part.step);
    (!parts.is_empty()).then(|| Digest::of("destructive", &parts))
}

fn policy_digest(desired: &Desired, action: &Action) -> Option<Digest> {
    match action {
        Action::Restore { recovery: Some(name), .. } => {
            desired.recoveries.get(name).map(|document| Digest::of("recovery", document))
        }
        _ => {
            let resource = action.resource()?;
            let policies: Vec<_> = desired
                .recovery_policies
                .values()
                .filter(|p| p.resources.contains(resource))
                .collect();
            Some(Digest::of("recovery-policies", &policies))
        }
    }
}

/// Sorts steps so that each comes after all that it needs; among the free ones by kind, then by the
/// place of the resource in the graph, then by id.
fn ordered(steps: BTreeMap<StepId, Step>, graph: &Graph<'_>) -> Vec<Step> {
    let rank = |step: &Step| {
        let place = step.action.resource().map_or(0, |resource| graph.position(resource));
        (kind_rank(&step.action), place, step.id.clone())
    };
    let mut waiting: BTreeMap<&StepId, usize> = BTreeMap::new();
    let mut dependants: BTreeMap<&StepId, Vec<&StepId>> = BTreeMap::new();
    for (id, step) in &steps {
        let known = step.needs.iter().filter(|need| steps.contains_key(need));
        waiting.insert(id, known.clone().count());
        for need in known {
            dependants.entry(need).or_default().push(id);
        }
    }
    let mut ready: BTreeSet<_> =
        waiting.iter().filter(|(_, n)| **n == 0).map(|(id, _)| rank(&steps[*id])).collect();
    let mut order = Vec::with_capacity(steps.len());
    while let Some((_, _, id)) = ready.pop_first() {
        for dependant in dependants.get(&id).into_iter().flatten() {
            if let Some(left) = waiting.get_mut(dependant) {
                *left -= 1;
                if *left == 0 {
                    ready.insert(rank(&steps[*dependant]));
                }
            }
        }
        order.push(id);
    }
    let mut steps = steps;
    let mut sorted: Vec<Step> = order.iter().filter_map(|id| steps.remove(id)).collect();
    // Needs never form a circle; were they to, the steps would still be shown.
    sorted.extend(steps.into_values());
    sorted
}

fn kind_rank(action: &Action) -> u8 {
    match action {
        Action::Init { .. } => 0,
        Action::Adopt { .. } => 1,
        Action::Rollback { .. } => 2,
        Action::Commit { .. } => 3,
        Action::Restore { .. } => 4,
        Action::Backup { .. } => 5,
        Action::Verify { .. } => 6,
        Action::Expire { .. } => 7,
        Action::Reclaim { .. } => 8,
    }
}
