//! What each step waits for. Called when planning, and again by the runtime before it begins a
//! step. Gates hold steps back; they never hide them. Semantics: `docs/semantics.md`, "Gates".

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use model::desired::{Budget, Desired, Guardrail, Hold, Scope};
use model::digest::Digest;
use model::id::{Address, Name, StepId};
use model::observed::{Deed, Observed, RecoveryPhase};
use model::plan::{Action, Class, Due, Over, Plan, Precondition, Step, Wait};

use crate::alarms::{Alarm, alarms, in_last_hours};
use crate::condition::conditions;
use crate::planner::step_digest;
use crate::slots::{Opening, opening};
use crate::view::View;

/// What each step waits for.
pub type Gates = BTreeMap<StepId, Vec<Wait>>;

/// Whether a step may begin: it waits for nothing, and nor does what it needs.
pub fn is_open(plan: &Plan, gates: &Gates) -> bool {
    let mut held: BTreeSet<&StepId> = BTreeSet::new();
    plan.steps.iter().any(|step| {
        let waits = gates.get(&step.id).is_some_and(|waits| !waits.is_empty());
        // What it needs stands before it.
        let is_held = waits || step.needs.iter().any(|need| held.contains(need));
        if is_held {
            held.insert(&step.id);
        }
        !is_held
    })
}

/// Returns what each step of a plan waits for at an instant; an empty list means ready.
///
/// `approvals` are added to those that the observation remembers.
pub fn gates(
    desired: &Desired,
    observed: &Observed,
    plan: &Plan,
    now: Timestamp,
    approvals: &BTreeSet<Digest>,
) -> Gates {
    let view = View::new(desired, observed, now);
    let conditions = conditions(&view);
    let alarms = alarms(&view, &conditions);
    waits(&view, &alarms, plan, approvals)
}

pub(crate) fn waits(
    view: &View<'_>,
    alarms: &[Alarm],
    plan: &Plan,
    approvals: &BTreeSet<Digest>,
) -> Gates {
    let mut spent = Spent::default();
    let mut openings = Openings::default();
    plan.steps
        .iter()
        .map(|step| {
            let mut waits = BTreeSet::new();
            waits.extend(backoff(view, step));
            // A swap that was cut short is finished: halfway is the worst place to wait in.
            if !is_swapping(view, step) {
                waits.extend(alarms.iter().filter(|a| a.holds(step)).map(Alarm::wait));
                waits.extend(approval(view, plan, step, approvals));
                waits.extend(holds(view, step));
                waits.extend(windows(view, step, &mut openings));
                waits.extend(spent.budgets(view, step));
            }
            (step.id.clone(), waits.into_iter().collect())
        })
        .collect()
}

fn is_swapping(view: &View<'_>, step: &Step) -> bool {
    match &step.action {
        Action::Restore { resource, token, .. } => view
            .record(resource, token)
            .is_some_and(|record| record.phase == RecoveryPhase::Swapping),
        _ => false,
    }
}

fn backoff(view: &View<'_>, step: &Step) -> Option<Wait> {
    let backoff = view.observed.memory.backoff.get(step.id.as_str())?;
    let wait = || Wait::Backoff { until: backoff.until, error: backoff.error.clone() };
    view.is_put_off(backoff).then(wait)
}

/// Destructive steps wait for a yes to the plan's destructive digest or to their own, unless a
/// document in git is the yes.
fn approval(
    view: &View<'_>,
    plan: &Plan,
    step: &Step,
    approvals: &BTreeSet<Digest>,
) -> Option<Wait> {
    let by_document = matches!(step.action, Action::Restore { recovery: Some(_), .. });
    if step.class != Class::Destructive || by_document {
        return None;
    }
    let digest = plan.destructive.clone().unwrap_or_else(|| Digest::from(""));
    let given = |d: &Digest| approvals.contains(d) || view.observed.memory.approvals.contains(d);
    let approved = !digest.as_str().is_empty() && given(&digest)
        || step_digest(view.desired, step).is_some_and(|own| given(&own));
    (!approved).then_some(Wait::Approval { digest })
}

fn holds(view: &View<'_>, step: &Step) -> Vec<Wait> {
    if step.class == Class::Safe {
        return Vec::new();
    }
    active_holds(view)
        .filter(|hold| covers(view, &hold.scope, step))
        .map(|hold| Wait::Hold {
            name: hold.name.to_string(),
            owner: hold.owner.clone(),
            reason: hold.reason.clone(),
            until: hold.until,
        })
        .collect()
}

/// Holds of documents and those made by hand that have not ended.
pub(crate) fn active_holds<'v>(view: &'v View<'_>) -> impl Iterator<Item = &'v Hold> + 'v {
    let by_hand = view.observed.memory.holds.iter();
    view.desired
        .holds
        .values()
        .chain(by_hand)
        .filter(|hold| hold.until.is_none_or(|until| until > view.now))
}

fn covers(view: &View<'_>, scope: &Scope, step: &Step) -> bool {
    match scope {
        Scope::All => true,
        Scope::Repository(name) => step.action.repository() == Some(name),
        Scope::Application(name) => step.action.resource().is_some_and(|a| a.application == *name),
        Scope::Resource(address) => {
            step.action.resource().is_some_and(|resource| view.same(resource, address))
        }
    }
}

/// Whether a guardrail speaks of a step; of a repository's own steps, when one of its resources is
/// kept there.
fn guards(view: &View<'_>, guardrail: &Guardrail, step: &Step) -> bool {
    match (step.action.resource(), step.action.repository()) {
        (Some(resource), _) => guardrail.resources.contains(resource),
        (None, Some(repository)) => {
            guardrail.resources.iter().any(|a| view.repositories_of(a).contains(&repository))
        }
        (None, None) => false,
    }
}

/// Which windows are open at the instant; thousands of steps share few of them.
#[derive(Default)]
struct Openings(BTreeMap<String, Opening>);

fn windows(view: &View<'_>, step: &Step, openings: &mut Openings) -> Vec<Wait> {
    if step.class == Class::Safe {
        return Vec::new();
    }
    let mut waits = Vec::new();
    let mut look = |name: String, windows: &[model::desired::Window]| {
        let seen = openings.0.get(&name).copied();
        let now = seen.unwrap_or_else(|| opening(windows, view.now));
        openings.0.insert(name.clone(), now);
        if let Opening::Closed { opens } = now {
            waits.push(Wait::Window { name, opens });
        }
    };
    for guardrail in view.desired.guardrails.values() {
        if !guardrail.windows.is_empty() && guards(view, guardrail, step) {
            look(format!("guardrail/{}", guardrail.name), &guardrail.windows);
        }
    }
    // A person's token is not held to the schedule's windows.
    if let Action::Backup { backup: Some(name), due: Due::Slot { .. }, .. } = &step.action
        && let Some(backup) = view.desired.backups.get(name)
        && !backup.schedule.windows.is_empty()
    {
        look(format!("backup/{name}"), &backup.schedule.windows);
    }
    waits
}

/// What earlier steps of the plan will have spent, per guardrail, and what its per cent are of.
#[derive(Default)]
struct Spent {
    spent: BTreeMap<(Name, Deed), u32>,
    wholes: BTreeMap<(Name, Deed), u64>,
}

impl Spent {
    /// Steps take from a budget in the plan's order; one that does not fit takes nothing.
    fn budgets(&mut self, view: &View<'_>, step: &Step) -> Vec<Wait> {
        let Some((deed, cost)) = cost(view, step) else { return Vec::new() };
        let mut waits = Vec::new();
        let mut fits = Vec::new();
        for guardrail in view.desired.guardrails.values() {
            if !guards(view, guardrail, step) {
                continue;
            }
            let spent = self.spent.get(&(guardrail.name.clone(), deed)).copied().unwrap_or(0);
            let budget = budget_of(guardrail, deed).0;
            // Counting a fleet is dear, and only per cent need it.
            let counts = budget.percent.is_some() || budget.percent_per_day.is_some();
            let whole = if counts { self.whole(view, guardrail, deed) } else { 0 };
            match over_budget(view, guardrail, deed, (spent, cost), whole) {
                Some(detail) => {
                    waits.push(Wait::Budget { name: guardrail.name.to_string(), detail });
                }
                None => fits.push(guardrail.name.clone()),
            }
        }
        if waits.is_empty() {
            for name in fits {
                *self.spent.entry((name, deed)).or_default() += cost;
            }
        }
        waits
    }

    /// How many points an expiry may forget by the absolute budgets, and which guardrail says so;
    /// `None`: as many as it likes, or a budget in per cent holds it as a whole.
    fn room(&mut self, view: &View<'_>, step: &Step, cost: u32) -> Option<(u32, Name)> {
        let mut least: Option<(u32, Name)> = None;
        for guardrail in view.desired.guardrails.values() {
            if !guards(view, guardrail, step) {
                continue;
            }
            let deed = Deed::Expired;
            let spent = self.spent.get(&(guardrail.name.clone(), deed)).copied().unwrap_or(0);
            let budget = &guardrail.expire;
            if budget.percent.is_some() || budget.percent_per_day.is_some() {
                let whole = self.whole(view, guardrail, deed);
                let run = spent.saturating_add(cost);
                if over_percent(view, guardrail, deed, run, whole).is_some() {
                    return None;
                }
            }
            let limits = [
                budget.per_run,
                budget.per_hour.map(|max| max.saturating_sub(done(view, deed, 1))),
                budget.per_day.map(|max| max.saturating_sub(done(view, deed, 24))),
            ];
            let Some(room) = limits.into_iter().flatten().min() else { continue };
            let room = room.saturating_sub(spent);
            if least.as_ref().is_none_or(|(least, _)| room < *least) {
                least = Some((room, guardrail.name.clone()));
            }
        }
        least
    }

    /// What a budget's per cent are of: points for expiry, resources for restores.
    fn whole(&mut self, view: &View<'_>, guardrail: &Guardrail, deed: Deed) -> u64 {
        let known = guardrail.resources.iter().filter(|a| view.desired.resources.contains_key(*a));
        *self.wholes.entry((guardrail.name.clone(), deed)).or_insert_with(|| {
            let count: usize = match deed {
                Deed::Expired => known.map(|a: &Address| view.points(a).len()).sum(),
                Deed::RestoredOver | Deed::Recreated => known.count(),
            };
            count as u64
        })
    }
}

/// Cuts each expiry to what its absolute budgets let through, the oldest points first, so that a
/// backlog larger than a budget does not hold expiry for ever. A budget in per cent is a brake:
/// what is over it waits as a whole.
pub(crate) fn cut_to_budgets(view: &View<'_>, steps: &mut [Step]) {
    if view.desired.guardrails.is_empty() {
        return;
    }
    let mut spent = Spent::default();
    for step in steps {
        let Some((Deed::Expired, cost)) = cost(view, step) else { continue };
        if let Some((room, name)) = spent.room(view, step, cost)
            && room > 0
            && room < cost
        {
            cut(step, room as usize, &name);
        }
        spent.budgets(view, step);
    }
}

/// Leaves only the first points to an expiry.
fn cut(step: &mut Step, room: usize, guardrail: &Name) {
    let Action::Expire { snapshots, .. } = &mut step.action else { return };
    let waiting = snapshots.len() - room;
    snapshots.truncate(room);
    for precondition in &mut step.preconditions {
        if let Precondition::SnapshotsExist { snapshots: expected, .. } = precondition {
            expected.clone_from(snapshots);
        }
    }
    let more = crate::render::points(waiting);
    step.reasons.push(format!("{more} more beyond the budget of guardrail {guardrail}: later"));
}

fn cost(view: &View<'_>, step: &Step) -> Option<(Deed, u32)> {
    match &step.action {
        // Two people and a cooling-off stand behind an erasure; a budget is for what nobody sees.
        Action::Expire { erasure: Some(_), .. } => None,
        Action::Expire { snapshots, .. } => {
            Some((Deed::Expired, u32::try_from(snapshots.len()).unwrap_or(u32::MAX)))
        }
        Action::Restore { elsewhere: true, .. } => None,
        // What was begun was counted when it was begun.
        Action::Restore { resource, token, .. } if view.record(resource, token).is_some() => None,
        Action::Restore { over: Over::Nothing, .. } => Some((Deed::Recreated, 1)),
        Action::Restore { .. } => Some((Deed::RestoredOver, 1)),
        Action::Recreate { .. } => Some((Deed::Recreated, 1)),
        _ => None,
    }
}

fn budget_of(guardrail: &Guardrail, deed: Deed) -> (&Budget, &'static str) {
    match deed {
        Deed::Expired => (&guardrail.expire, "snapshots forgotten"),
        Deed::RestoredOver => (&guardrail.restore_over, "restores over live data"),
        Deed::Recreated => {
            (&guardrail.recreate, "resources brought back or made anew where nothing was")
        }
    }
}

fn over_budget(
    view: &View<'_>,
    guardrail: &Guardrail,
    deed: Deed,
    (spent, cost): (u32, u32),
    whole: u64,
) -> Option<String> {
    let (budget, noun) = budget_of(guardrail, deed);
    let run = spent.saturating_add(cost);
    if let Some(max) = budget.per_run
        && run > max
    {
        return Some(format!("{run} {noun} in this run, {max} are allowed"));
    }
    let within = |hours| done(view, deed, hours).saturating_add(run);
    let spans = [(budget.per_hour, 1, "one hour"), (budget.per_day, 24, "24 hours")];
    for (max, hours, words) in spans {
        if let Some(max) = max
            && within(hours) > max
        {
            return Some(format!("{} {noun} within {words}, {max} are allowed", within(hours)));
        }
    }
    over_percent(view, guardrail, deed, run, whole)
}

/// How many deeds the last hours saw.
fn done(view: &View<'_>, deed: Deed, hours: i64) -> u32 {
    let deeds = view.observed.memory.deeds.get(&deed);
    deeds.map_or(0, |at| in_last_hours(at, view.now, hours))
}

fn over_percent(
    view: &View<'_>,
    guardrail: &Guardrail,
    deed: Deed,
    run: u32,
    whole: u64,
) -> Option<String> {
    let (budget, noun) = budget_of(guardrail, deed);
    if let Some(percent) = budget.percent
        && u64::from(run) * 100 > whole * u64::from(percent)
    {
        return Some(format!("{run} of {whole} {noun} in this run, {percent} % are allowed"));
    }
    // What was done today is not in the whole any more where it was forgotten.
    if let Some(percent) = budget.percent_per_day {
        let day = u64::from(done(view, deed, 24).saturating_add(run));
        let gone = if deed == Deed::Expired { day - u64::from(run) } else { 0 };
        let whole = whole + gone;
        if day * 100 > whole * u64::from(percent) {
            let limit = format!("{percent} % are allowed");
            return Some(format!("{day} of {whole} {noun} within 24 hours, {limit}"));
        }
    }
    None
}
