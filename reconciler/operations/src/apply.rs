//! `apply`: a plan that was saved, or one made now, is executed; beside a daemon on the same state
//! the daemon does it, and its journal is followed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::cancel::Cancel;
use model::digest::Digest;
use model::error::{ErrorClass, PortError};
use model::id::{Address, StepId};
use model::journal::Outcome;
use model::plan::{PLAN_VERSION, Plan, Wait};
use model::ports::state::{Lease, Owner};
use runtime::execute::Summary;
use runtime::pass::{self, Pass, PassError, PassRequest};
use runtime::{Observer, World};

use crate::beside::apply_beside;
use crate::decide;

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct ApplyRequest {
    /// A saved plan; `None`: one is made.
    pub saved: Option<Plan>,
    /// Only these resources and what they need; empty: all.
    pub only: BTreeSet<Address>,
    /// Destructive digests that the person approves.
    pub approve: BTreeSet<Digest>,
    /// The journal's record from which on a daemon's deeds count; `None`: from now on.
    pub since: Option<u64>,
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
    let approve = approved(request, confirm, &pass)?;
    remember_approvals(world, &approve, lease.epoch()).await?;
    let summary = runtime::daemon::apply(world, &pass, &approve, true, observer, cancel).await?;
    Ok(Applied { pass: Some(pass), summary })
}

/// Returns the saved plan if the world still asks for the same: the same steps with the same
/// actions and preconditions, for the same commit. The instant may differ.
pub(crate) fn take_saved(saved: &Plan, pass: &Pass) -> Result<Plan, ApplyError> {
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

/// Returns what was approved beforehand or is now; all of it fits the plan.
pub(crate) fn approved(
    request: &ApplyRequest,
    confirm: &Confirm<'_>,
    pass: &Pass,
) -> Result<BTreeSet<Digest>, ApplyError> {
    let confirmed = confirm(pass).ok_or(ApplyError::Declined)?;
    let approve = request.approve.iter().cloned().chain(confirmed).collect();
    fits(&approve, pass)?;
    Ok(approve)
}

/// Fails if an approval is for something else than what the plan would destroy.
fn fits(approve: &BTreeSet<Digest>, pass: &Pass) -> Result<(), ApplyError> {
    let planned = &pass.plan.destructive;
    let Some(other) = approve.iter().find(|digest| planned.as_ref() != Some(digest)) else {
        return Ok(());
    };
    Err(ApplyError::Stale(format!(
        "approval {} does not fit this plan: destructive is {}",
        other.short(),
        planned.as_ref().map_or("nothing", |digest| digest.short())
    )))
}

pub(crate) async fn remember_approvals(
    world: &World,
    approve: &BTreeSet<Digest>,
    epoch: u64,
) -> Result<(), PortError> {
    let approvals: Vec<_> = approve.iter().map(|d| (d.to_string(), d.clone())).collect();
    decide::remember(world, &approvals, "the caller of apply", epoch).await
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
