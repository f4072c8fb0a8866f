//! The order of a plan's steps, and the digests that name a plan and its destructive part.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use model::desired::Desired;
use model::digest::Digest;
use model::id::{PlanId, StepId};
use model::plan::{Action, Class, Plan, Precondition, Report, Step};
use serde::Serialize;

use crate::graph::Graph;

/// Returns the id of a plan: the digest of everything in it but the id itself.
pub(crate) fn plan_id(plan: &Plan) -> PlanId {
    let Plan { version, id: _, planner, commit, desired, observed, at, .. } = plan;
    let Plan { steps, report, destructive, .. } = plan;
    let made_of = (version, planner, commit, desired, observed, at);
    PlanId::from(Digest::of("plan", &(made_of, steps, parts(report), destructive)))
}

/// A report for its plan's id. Which resources there are is in the digest of the desired state and
/// in the scope, so the healthy ones are only counted: a fleet of them would cost more than the
/// plan. Every field is named, so that one that is added is not forgotten.
fn parts(report: &Report) -> impl Serialize + '_ {
    let Report { scope, conditions, responses, deferred, retention, alarms, notes, incomplete } =
        report;
    let conditions = (conditions.len(), conditions.unwell());
    ((scope, conditions, responses, deferred), (retention, alarms, notes, incomplete))
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
    let destructive = steps.iter().filter(|step| step.class == Class::Destructive);
    let mut parts: Vec<Destructive<'_>> = destructive.map(|s| part(desired, s)).collect();
    parts.sort_by_key(|part| part.step);
    (!parts.is_empty()).then(|| Digest::of("destructive", &parts))
}

/// Returns what names a yes to one destructive step alone, whatever else the plan does; `None` for
/// a step that needs none.
pub fn step_digest(desired: &Desired, step: &Step) -> Option<Digest> {
    (step.class == Class::Destructive).then(|| Digest::of("destructive-step", &part(desired, step)))
}

fn part<'a>(desired: &Desired, step: &'a Step) -> Destructive<'a> {
    let unmoved = |p: &&Precondition| matches!(p, Precondition::ResourceUnmoved { .. });
    Destructive {
        step: &step.id,
        action: &step.action,
        markers: step.preconditions.iter().filter(unmoved).collect(),
        policy: policy_digest(desired, &step.action),
    }
}

fn policy_digest(desired: &Desired, action: &Action) -> Option<Digest> {
    match action {
        Action::Restore { recovery: Some(name), .. } => {
            desired.recoveries.get(name).map(|document| Digest::of("recovery", document))
        }
        Action::Expire { erasure: Some(name), .. } => {
            desired.erasures.get(name).map(model::desired::Erasure::digest)
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
pub(super) fn ordered(steps: BTreeMap<StepId, Step>, graph: &Graph<'_>) -> Vec<Step> {
    // Steps are numbered in the order of their ids, so numbers compare as ids do.
    let ids: Vec<&StepId> = steps.keys().collect();
    let ranks: Vec<(u8, usize)> = steps
        .values()
        .map(|step| {
            let place = step.action.resource().map_or(0, |resource| graph.position(resource));
            (kind_rank(&step.action), place)
        })
        .collect();
    let mut waiting = vec![0usize; ids.len()];
    let mut dependants: Vec<Vec<usize>> = vec![Vec::new(); ids.len()];
    for (number, step) in steps.values().enumerate() {
        for need in step.needs.iter().filter_map(|need| ids.binary_search(&need).ok()) {
            waiting[number] += 1;
            dependants[need].push(number);
        }
    }
    let mut ready: BinaryHeap<_> = (0..ids.len())
        .filter(|number| waiting[*number] == 0)
        .map(|number| Reverse((ranks[number], number)))
        .collect();
    let mut order = Vec::with_capacity(ids.len());
    while let Some(Reverse((_, number))) = ready.pop() {
        for dependant in &dependants[number] {
            waiting[*dependant] -= 1;
            if waiting[*dependant] == 0 {
                ready.push(Reverse((ranks[*dependant], *dependant)));
            }
        }
        order.push(number);
    }
    drop(ids);
    let mut steps: Vec<Option<Step>> = steps.into_values().map(Some).collect();
    let mut sorted: Vec<Step> = order.iter().filter_map(|number| steps[*number].take()).collect();
    // Needs never form a circle; were they to, the steps would still be shown.
    sorted.extend(steps.into_iter().flatten());
    sorted
}

fn kind_rank(action: &Action) -> u8 {
    match action {
        Action::Init { .. } => 0,
        Action::Adopt { .. } => 1,
        Action::Rollback { .. } => 2,
        Action::Commit { .. } => 3,
        Action::Restore { .. } | Action::Recreate { .. } => 4,
        Action::Backup { .. } => 5,
        Action::Verify { .. } => 6,
        Action::Expire { .. } => 7,
        Action::Reclaim { .. } => 8,
    }
}
