//! `apply`: a plan that was saved, or one made now, is executed; beside a daemon on the same state
//! the daemon does it, and its journal is followed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use model::cancel::Cancel;
use model::digest::Digest;
use model::error::{ErrorClass, PortError};
use model::id::{Address, StepId};
use model::journal::{Body, Outcome};
use model::plan::{PLAN_VERSION, Plan, Wait};
use model::ports::state::{Lease, Owner};
use runtime::execute::{Summary, journal};
use runtime::memory::{self, kind};
use runtime::pass::{self, Pass, PassError, PassRequest};
use runtime::{Observer, RunEvent, World};

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct ApplyRequest {
    /// A saved plan; `None`: one is made.
    pub saved: Option<Plan>,
    /// Only these resources and what they need; empty: all.
    pub only: BTreeSet<Address>,
    /// Destructive digests that the person approves.
    pub approve: BTreeSet<Digest>,
}

/// A plan that was applied.
#[derive(Debug)]
pub struct Applied {
    /// The pass; `None` when a daemon did it.
    pub pass: Option<Pass>,
    /// How it ended.
    pub summary: Summary,
}

/// Why nothing was applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// There is no plan.
    #[error(transparent)]
    Pass(#[from] PassError),
    /// The saved plan no longer fits.
    #[error("{0}")]
    Stale(String),
    /// Something outside failed.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The person said no.
    #[error("not confirmed; nothing was done")]
    Declined,
}

/// Asks a person about a pass before it is executed. Returns the approved digests, or `None`: stop.
pub type Confirm<'a> = dyn Fn(&Pass) -> Option<BTreeSet<Digest>> + Send + Sync + 'a;

/// How often the journal of a daemon is looked at.
const FOLLOW_POLL: Duration = Duration::from_millis(200);
/// How long a daemon may take to begin, in polls: it may be in the middle of a long backup.
const FOLLOW_POLLS_MAX: u32 = 5 * 60 * 60;

/// Applies.
pub async fn apply(
    world: &World,
    owner: &Owner,
    request: &ApplyRequest,
    confirm: &Confirm<'_>,
    observer: &Arc<dyn Observer>,
    cancel: &Cancel,
) -> Result<Applied, ApplyError> {
    match runtime::resume::begin_writing(world, owner).await {
        Ok(lease) => apply_here(world, &*lease, request, confirm, observer, cancel).await,
        Err(error) if error.class == ErrorClass::Waiting => match world.state.writer().await? {
            Some(writer) if writer.command == "daemon" => {
                apply_beside(world, request, confirm, observer, cancel).await
            }
            _ => Err(error.into()),
        },
        Err(error) => Err(error.into()),
    }
}

async fn apply_here(
    world: &World,
    lease: &dyn Lease,
    request: &ApplyRequest,
    confirm: &Confirm<'_>,
    observer: &Arc<dyn Observer>,
    cancel: &Cancel,
) -> Result<Applied, ApplyError> {
    let asked = PassRequest {
        commit: request.saved.as_ref().map(|p| p.commit.clone()),
        only: request.only.clone(),
        lease: Some(lease),
        fall_back: false,
    };
    let asked = PassRequest { commit: asked.commit.filter(|c| c.as_str() != "worktree"), ..asked };
    let mut pass = pass::prepare(world, &asked, &**observer, cancel).await?;
    if let Some(saved) = &request.saved {
        pass.plan = take_saved(saved, &pass)?;
    }
    let confirmed = confirm(&pass).ok_or(ApplyError::Declined)?;
    let approve: BTreeSet<Digest> = request.approve.iter().cloned().chain(confirmed).collect();
    remember_approvals(world, &approve, &pass, lease.epoch()).await?;
    let summary = runtime::daemon::apply(world, &pass, &approve, true, observer, cancel).await?;
    Ok(Applied { pass: Some(pass), summary })
}

/// Returns the saved plan if the world still asks for the same: the same steps with the same
/// actions and preconditions, for the same commit. The instant may differ.
fn take_saved(saved: &Plan, pass: &Pass) -> Result<Plan, ApplyError> {
    if saved.version > PLAN_VERSION {
        return Err(ApplyError::Stale(format!(
            "the plan has format {}, this version applies up to {PLAN_VERSION}",
            saved.version
        )));
    }
    if saved.commit != pass.plan.commit || saved.desired != pass.plan.desired {
        return Err(ApplyError::Stale(format!(
            "the plan is for commit {}, the configuration that was read is {}",
            saved.commit.short(),
            pass.plan.commit.short()
        )));
    }
    let now: BTreeMap<&StepId, _> =
        pass.plan.steps.iter().map(|s| (&s.id, (&s.action, &s.preconditions))).collect();
    for step in &saved.steps {
        match now.get(&step.id) {
            Some((action, preconditions))
                if **action == step.action && **preconditions == step.preconditions => {}
            Some(_) => {
                return Err(ApplyError::Stale(format!(
                    "the world moved since the plan was saved: `{}` would do something else",
                    step.id
                )));
            }
            None => {
                return Err(ApplyError::Stale(format!(
                    "the world moved since the plan was saved: `{}` is not needed any more",
                    step.id
                )));
            }
        }
    }
    Ok(saved.clone())
}

async fn remember_approvals(
    world: &World,
    approve: &BTreeSet<Digest>,
    pass: &Pass,
    epoch: u64,
) -> Result<(), ApplyError> {
    for digest in approve {
        if pass.plan.destructive.as_ref() != Some(digest) {
            let planned = pass.plan.destructive.as_ref().map_or("nothing", |d| d.short());
            return Err(ApplyError::Stale(format!(
                "approval {} does not fit this plan: destructive is {planned}",
                digest.short()
            )));
        }
        let change = memory::set(kind::APPROVAL, digest.0.clone(), &world.clock.now())?;
        world.state.write(&[change]).await?;
        let body = Body::Decided {
            verb: "approve".into(),
            subject: digest.0.clone(),
            by: "the caller of apply".into(),
        };
        journal(world, epoch, body).await?;
    }
    Ok(())
}

/// Shows a plan of one's own, hands approvals to the daemon, wakes it and follows its journal.
async fn apply_beside(
    world: &World,
    request: &ApplyRequest,
    confirm: &Confirm<'_>,
    observer: &Arc<dyn Observer>,
    cancel: &Cancel,
) -> Result<Applied, ApplyError> {
    let asked = PassRequest { only: request.only.clone(), ..PassRequest::default() };
    let pass = pass::prepare(world, &asked, &**observer, cancel).await?;
    let confirmed = confirm(&pass).ok_or(ApplyError::Declined)?;
    let approve: BTreeSet<Digest> = request.approve.iter().cloned().chain(confirmed).collect();
    for digest in &approve {
        let change = memory::set(kind::APPROVAL, digest.0.clone(), &world.clock.now())?;
        world.state.write(&[change]).await?;
    }
    let from = next_sequence(world).await?;
    wake(world).await?;
    observer.event(RunEvent::Note {
        text: "a daemon writes this state: it applies the plan, its steps follow".into(),
    });
    if pass.plan.steps.iter().all(|s| !s.waits.is_empty()) && approve.is_empty() {
        return Ok(Applied { pass: Some(pass), summary: Summary::default() });
    }
    follow(world, from, observer, cancel).await
}

async fn follow(
    world: &World,
    mut from: u64,
    observer: &Arc<dyn Observer>,
    cancel: &Cancel,
) -> Result<Applied, ApplyError> {
    let mut summary = Summary::default();
    let (mut index, mut total) = (0, 0);
    for _ in 0..FOLLOW_POLLS_MAX {
        if cancel.is_cancelled() {
            summary.cancelled = true;
            return Ok(Applied { pass: None, summary });
        }
        for record in world.state.read_journal(from, 1000).await? {
            from = record.sequence + 1;
            match record.body {
                Body::PlanBegun { steps, .. } => total = usize::try_from(steps).unwrap_or(0),
                Body::StepBegun { step, .. } => {
                    index += 1;
                    observer.event(RunEvent::StepBegan { step, total, index });
                }
                Body::StepEnded { step, outcome, .. } => {
                    observer.event(RunEvent::StepEnded {
                        step: step.clone(),
                        outcome: outcome.clone(),
                    });
                    summary.outcomes.insert(step, outcome);
                }
                Body::PlanEnded { done, failed, skipped, .. } => {
                    (summary.done, summary.failed, summary.skipped) = (done, failed, skipped);
                    return Ok(Applied { pass: None, summary });
                }
                _ => {}
            }
        }
        world.clock.sleep(FOLLOW_POLL).await;
    }
    Err(PortError::waiting("DaemonBusy", "the daemon did not begin in time").into())
}

async fn next_sequence(world: &World) -> Result<u64, PortError> {
    let mut next = 0;
    loop {
        let records = world.state.read_journal(next, 10_000).await?;
        match records.last() {
            Some(last) => next = last.sequence + 1,
            None => return Ok(next),
        }
    }
}

/// Wakes the daemon of this state, if there is one.
pub async fn wake(world: &World) -> Result<(), PortError> {
    let change = memory::set(kind::WAKE, "at", &world.clock.now())?;
    world.state.write(&[change]).await
}

/// Returns the exit code of an apply: 0 all done, 1 something failed or was partial, 3 destructive
/// steps wait for approval, 2 other steps wait.
pub fn exit_code(summary: &Summary) -> u8 {
    if summary.failed > 0 || summary.cancelled {
        return 1;
    }
    let waits = |test: fn(&Wait) -> bool| summary.waiting.values().flatten().any(test);
    if waits(|w| matches!(w, Wait::Approval { .. } | Wait::Alarm { .. })) {
        return 3;
    }
    let skipped = summary.outcomes.values().any(|o| matches!(o, Outcome::Skipped { .. }));
    if skipped || !summary.waiting.is_empty() { 2 } else { 0 }
}
