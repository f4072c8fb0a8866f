//! Repeats passes for ever: at an interval, when a person asked for something, when a slot comes.
//! Events only wake it; each pass looks at everything anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use model::cancel::Cancel;
use model::error::PortError;
use model::observed::RecoveryPhase;
use model::ports::state::Lease;
use plan::Gates;

use crate::event::Observer;
use crate::execute::{Summary, execute};
use crate::memory::kind;
use crate::pass::{self, Kept, Pass, PassError, PassRequest};
use crate::world::World;

/// How often the daemon looks whether somebody woke it. Short, because a person waits; it reads one
/// small record of its own state.
const WAKE_POLL: Duration = Duration::from_millis(500);

/// Passes that follow each other without a rest, at the most: a chain of proof, expiry and reclaim
/// is shorter, and a plan that never comes to an end must not heat the machine.
const IN_A_ROW_MAX: u32 = 6;

/// How the daemon runs.
#[derive(Clone, Debug)]
pub struct DaemonOptions {
    /// Time between passes.
    pub interval: Duration,
    /// Ends after so many passes; `None`: never. For tests and for `--once`.
    pub passes_max: Option<u64>,
}

/// What the daemon tells after each pass; for health, metrics and systemd.
pub trait PassListener: Send + Sync {
    /// A pass ended.
    fn passed(&self, report: &PassReport<'_>);
}

/// One pass of the daemon.
pub struct PassReport<'a> {
    /// When it ended.
    pub at: Timestamp,
    /// How long it took.
    pub seconds: f64,
    /// What it planned; `None`: it failed before.
    pub pass: Option<&'a Pass>,
    /// What it did.
    pub summary: Option<&'a Summary>,
    /// Why it failed.
    pub error: Option<String>,
}

/// Runs until it is cancelled. Returns how many passes it made.
pub async fn run(
    world: &World,
    lease: &dyn Lease,
    options: &DaemonOptions,
    observer: &Arc<dyn Observer>,
    listener: &dyn PassListener,
    cancel: &Cancel,
) -> u64 {
    let (mut passes, mut in_a_row) = (0, 0);
    let mut kept = Kept::default();
    while !cancel.is_cancelled() {
        let woken_before = wake_mark(world).await;
        let begun = world.clock.now();
        let result = one_pass(world, lease, &mut kept, observer, cancel).await;
        passes += 1;
        let at = world.clock.now();
        let seconds = at.duration_since(begun).as_secs_f64();
        let report = match &result {
            Ok((pass, summary)) => {
                PassReport { at, seconds, pass: Some(pass), summary: Some(summary), error: None }
            }
            Err(error) => {
                let error = chain(error);
                tracing::error!("pass failed: {error}");
                PassReport { at, seconds, pass: None, summary: None, error: Some(error) }
            }
        };
        listener.passed(&report);
        if options.passes_max.is_some_and(|max| passes >= max) {
            break;
        }
        // After work was done the world is looked at again at once, so that what depends on it (a
        // proof, an expiry, a dependant) does not wait for an interval.
        let worked = matches!(&result, Ok((_, summary)) if summary.done > 0 && summary.failed == 0);
        in_a_row = if worked { in_a_row + 1 } else { 0 };
        if !worked || in_a_row >= IN_A_ROW_MAX {
            in_a_row = 0;
            rest(world, options.interval, woken_before, cancel).await;
        }
    }
    passes
}

/// Fetches, observes, plans, and does what is allowed.
pub async fn one_pass(
    world: &World,
    lease: &dyn Lease,
    kept: &mut Kept,
    observer: &Arc<dyn Observer>,
    cancel: &Cancel,
) -> Result<(Pass, Summary), PassError> {
    let request = PassRequest { lease: Some(lease), fall_back: true, ..PassRequest::default() };
    let pass = pass::prepare_again(world, &request, kept, &**observer, cancel).await?;
    for note in &pass.notes {
        tracing::warn!("{note}");
    }
    log_plan(&pass);
    let summary = carry_on(world, &pass, kept, observer, cancel).await.map_err(PassError::State)?;
    Ok((pass, summary))
}

async fn carry_on(
    world: &World,
    pass: &Pass,
    kept: &mut Kept,
    observer: &Arc<dyn Observer>,
    cancel: &Cancel,
) -> Result<Summary, PortError> {
    let gates = pass::gates_again(world, kept, pass).await?;
    if plan::is_open(&pass.plan, &gates) {
        pass::forget_told(kept);
        return carry_out(world, pass, gates, observer, cancel).await;
    }
    pass::remember_idle(world, kept, pass).await?;
    pass::remember_applied(world, pass).await?;
    Ok(idle(gates, pass))
}

/// Executes a pass under the epoch that its memory carries; `by_hand` says that a person asked.
pub async fn apply(
    world: &World,
    pass: &Pass,
    approve: &BTreeSet<model::digest::Digest>,
    by_hand: bool,
    observer: &Arc<dyn Observer>,
    cancel: &Cancel,
) -> Result<Summary, PortError> {
    let gates = pass::gates(world, pass, approve, by_hand).await?;
    carry_out(world, pass, gates, observer, cancel).await
}

async fn carry_out(
    world: &World,
    pass: &Pass,
    gates: Gates,
    observer: &Arc<dyn Observer>,
    cancel: &Cancel,
) -> Result<Summary, PortError> {
    // The checks look at everything anew, whatever the planner kept.
    let violations = plan::check(&pass.desired, &pass.observed, &pass.plan);
    if let Some(first) = violations.first() {
        return Err(PortError::terminal(
            "PlanUnsafe",
            format!("the plan breaks a promise and is not applied: {first}"),
        )
        .with_hint("this is a defect: please report it with `mainstay plan --out`"));
    }
    pass::remember_plan(world, pass).await?;
    let summary = if plan::is_open(&pass.plan, &gates) {
        let epoch = pass.observed.memory.epoch;
        execute(world, pass, gates, epoch, observer, cancel).await?
    } else {
        idle(gates, pass)
    };
    if !summary.cancelled {
        pass::remember_applied(world, pass).await?;
    }
    Ok(summary)
}

fn idle(gates: Gates, pass: &Pass) -> Summary {
    Summary {
        waiting: gates.into_iter().filter(|(_, waits)| !waits.is_empty()).collect(),
        skipped: pass.plan.steps.len() as u64,
        ..Summary::default()
    }
}

fn log_plan(pass: &Pass) {
    let plan = &pass.plan;
    tracing::info!(
        plan = plan.id.short(),
        commit = plan.commit.short(),
        steps = plan.steps.len(),
        "planned"
    );
    for (address, condition) in plan.report.conditions.unwell() {
        tracing::warn!(resource = %address, condition = condition.word(), "condition");
    }
    for step in &plan.steps {
        let reason = step.reasons.first().map_or("", String::as_str);
        let waits = step.waits.first().map(plan::render::wait);
        tracing::info!(step = %step.id, class = %step.class, waits, "{reason}");
    }
    for deferred in &plan.report.deferred {
        tracing::info!(step = %deferred.step, code = deferred.code, "{}", deferred.reason);
    }
}

/// Waits for the interval, or until somebody wakes it. A clock that is put forward, or a machine
/// that slept, ends it early; one that is put back does not make it longer.
async fn rest(
    world: &World,
    interval: Duration,
    woken_before: BTreeMap<String, Vec<u8>>,
    cancel: &Cancel,
) {
    let mut rested = Duration::ZERO;
    while !cancel.is_cancelled() && rested < interval {
        let (nap, before) = (WAKE_POLL.min(interval), world.clock.now());
        if wake_mark(world).await != woken_before {
            return;
        }
        world.clock.sleep(nap).await;
        let passed = Duration::try_from(world.clock.now().duration_since(before));
        rested = rested.saturating_add(passed.unwrap_or_default().max(nap));
    }
}

async fn wake_mark(world: &World) -> BTreeMap<String, Vec<u8>> {
    world.state.list(kind::WAKE).await.unwrap_or_default()
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// Returns how many recoveries wait for a person.
pub fn awaiting_commit(pass: &Pass) -> usize {
    let records = pass.observed.memory.recoveries.values();
    records.filter(|r| r.phase == RecoveryPhase::AwaitingCommit).count()
}
