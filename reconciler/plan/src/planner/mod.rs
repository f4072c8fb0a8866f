//! Makes plans. Each file decides one thing and says why: `recovery` what is brought back,
//! `backups` what is backed up and proven, `expiry` what may go; `incremental` keeps what did not
//! change from plan to plan; this one puts them together.

mod backups;
pub(crate) mod erasure;
mod expiry;
pub(crate) mod ids;
mod incremental;
mod kept;
mod order;
mod recovery;
mod recreate;
mod repositories;
mod restore;
mod selection;
mod take;
#[cfg(test)]
mod tests;

pub(crate) use backups::newest_served;
pub use ids::{proof_of, restore as restore_step};
pub use incremental::Planner;
pub use kept::KeptPlanner;
pub use order::step_digest;
pub(crate) use order::{destructive_digest, plan_id};
pub(crate) use recovery::{describe, unread_for_token};
pub(crate) use selection::holds_nothing;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use model::desired::Desired;
use model::id::{Address, Name, PlanId, SnapshotId, StepId};
use model::observed::Observed;
use model::plan::{
    Action, Class, Condition, Deferred, Estimate, PLAN_VERSION, Plan, Precondition, Report,
    RetentionVerdict, SnapshotRef, Step,
};

use crate::alarms::Alarm;
use crate::condition::Conditions;
use crate::gates::{cut_to_budgets, waits};
use crate::graph::Graph;
use crate::view::View;

/// Plans what brings the observed world to the desired state.
///
/// Total and pure: it never fails, and equal inputs give byte-identical plans on any machine.
pub fn plan(desired: &Desired, observed: &Observed, now: Timestamp) -> Plan {
    Planner::over(desired, observed, None).plan(now)
}

/// Plans for some resources and what they need; everything else is left alone.
pub fn plan_only(
    desired: &Desired,
    observed: &Observed,
    now: Timestamp,
    only: &BTreeSet<Address>,
) -> Plan {
    Planner::over(desired, observed, Some(only)).plan(now)
}

/// Returns every point of one resource with retention: kept or removable, why, and when it becomes
/// removable. A plan names only those that may go; a fleet has millions of the others.
pub fn retention_of(
    desired: &Desired,
    observed: &Observed,
    now: Timestamp,
    resource: &Address,
) -> Vec<RetentionVerdict> {
    let only = BTreeSet::from([resource.clone()]);
    let plan = Planner::over(desired, observed, Some(&only)).detailed().plan(now);
    plan.report.retention.into_iter().filter(|v| v.resource == *resource).collect()
}

/// A plan in the making.
struct Draft<'v, 'a> {
    view: &'v View<'a>,
    graph: &'v Graph<'a>,
    conditions: &'v Conditions,
    scope: Option<&'v BTreeSet<Address>>,
    /// Every verdict of retention is wanted, with reasons and dates; else only what may go.
    detailed: bool,
    /// The instant from which this may no longer be right, though nothing else changed.
    until: Option<Timestamp>,
    steps: BTreeMap<StepId, Step>,
    /// Restores over the resource itself, by resource.
    restores: BTreeMap<Address, StepId>,
    /// Resources whose backups and expiry pause, and why.
    busy: BTreeMap<Address, String>,
    /// Points that something needs, and what.
    pins: BTreeMap<SnapshotId, Vec<String>>,
    /// Resources of which points are erased in this plan.
    erasing: BTreeSet<Address>,
    report: Report,
}

impl<'v, 'a> Draft<'v, 'a> {
    fn new(
        view: &'v View<'a>,
        graph: &'v Graph<'a>,
        conditions: &'v Conditions,
        scope: Option<&'v BTreeSet<Address>>,
        detailed: bool,
    ) -> Self {
        Self {
            view,
            graph,
            conditions,
            scope,
            detailed,
            until: None,
            steps: BTreeMap::new(),
            restores: BTreeMap::new(),
            busy: BTreeMap::new(),
            pins: BTreeMap::new(),
            erasing: BTreeSet::new(),
            report: Report::default(),
        }
    }

    fn in_scope(&self, address: &Address) -> bool {
        self.scope.is_none_or(|scope| scope.contains(address))
    }

    fn condition(&self, address: &Address) -> Option<&'v Condition> {
        self.view.index().present(address).map(|_| self.conditions.get(address))
    }

    /// Notes that from an instant on something may be decided otherwise.
    fn look_again(&mut self, at: Option<Timestamp>) {
        let Some(at) = at.filter(|at| *at > self.view.now) else { return };
        self.until = Some(self.until.map_or(at, |until| until.min(at)));
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

    /// Puts the plan together; `named` are the resources that it speaks of.
    fn finish(mut self, alarms: &[Alarm], digests: Digests, named: Arc<BTreeSet<Address>>) -> Plan {
        self.observe_gaps();
        let view = self.view;
        let mut report = std::mem::take(&mut self.report);
        report.scope = self.scope.cloned();
        report.conditions = model::conditions::Conditions::healthy(named);
        for (address, condition) in self.conditions.unwell() {
            report.conditions.set(address, condition.clone());
        }
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
        report.alarms = alarms.iter().map(Alarm::wait).collect();
        report.notes.sort();
        report.notes.dedup();
        report.incomplete.sort();
        let mut steps = order::ordered(self.steps, self.graph);
        cut_to_budgets(view, &mut steps);
        let mut plan = Plan {
            version: PLAN_VERSION,
            id: PlanId::from(""),
            planner: model::VERSION.to_owned(),
            commit: view.desired.commit.clone(),
            desired: digests.desired,
            observed: digests.observed,
            at: view.now,
            destructive: destructive_digest(view.desired, &steps),
            steps,
            report,
        };
        let approvals = BTreeSet::new();
        let mut waits = waits(view, alarms, &plan, &approvals);
        for step in &mut plan.steps {
            step.waits = waits.remove(&step.id).unwrap_or_default();
        }
        plan.id = plan_id(&plan);
        plan
    }

    /// Says what was not seen.
    fn observe_gaps(&mut self) {
        for (name, state) in &self.view.repositories {
            if let Some((_, detail)) = state.trouble() {
                self.report.incomplete.push(format!("repository {name}: {detail}"));
            }
        }
        for (address, condition) in self.conditions.unwell() {
            if let Condition::Unreachable { detail } = condition
                && self.in_scope(address)
            {
                self.report.incomplete.push(format!("resource {address}: {detail}"));
            }
        }
        let named = |address: &Address| {
            self.view.desired.erasures.values().any(|doc| doc.resource == *address)
        };
        let orphans = &self.view.index().orphans;
        for ((address, repository), count) in orphans.iter().filter(|((a, _), _)| !named(a)) {
            self.report.notes.push(format!(
                "{} of {address} in {repository} without a document: kept",
                crate::render::points(*count)
            ));
        }
    }
}

/// The digests of what a plan is made of.
struct Digests {
    desired: model::digest::Digest,
    observed: model::digest::Digest,
}
