//! From a commit to a plan: fetch, load, observe, plan. Called by every verb that plans, and by the
//! daemon. Changes nothing that is protected; a writer only notes what it saw, in its own state
//! and, for a swap that never began, beside the data.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::Timestamp;
use model::cancel::Cancel;
use model::desired::Desired;
use model::diagnostic::Diagnostic;
use model::digest::Digest;
use model::error::PortError;
use model::id::{Address, CommitId};
use model::observed::{Ancestry, Observed, RecoveryPhase};
use model::plan::{Plan, Wait};
use model::ports::source::ConfigTree;
use model::ports::state::Lease;
use plan::Gates;

use crate::configuration::Configuration;
use crate::event::{Observer, RunEvent};
use crate::judge::judge_memory;
use crate::memory::{self, Applied, kind, meta};
use crate::takeback::take_back_swaps;
use crate::takeup::take_up_forgotten;
use crate::world::World;

/// What a pass is asked for.
#[derive(Clone, Default)]
pub struct PassRequest<'a> {
    /// This commit instead of the newest.
    pub commit: Option<CommitId>,
    /// Only these resources and what they need; empty: all.
    pub only: BTreeSet<Address>,
    /// The right to write; `None` for a reader, who leaves the state as it is.
    pub lease: Option<&'a dyn Lease>,
    /// When the newest commit cannot be had or is not valid, go on with the last good one.
    pub fall_back: bool,
}

/// A pass, ready to be shown or executed.
#[derive(Clone, Debug)]
pub struct Pass {
    /// What is asked for.
    pub desired: Arc<Desired>,
    /// What is there.
    pub observed: Arc<Observed>,
    /// What shall be done.
    pub plan: Plan,
    /// Warnings about the configuration.
    pub diagnostics: Vec<Diagnostic>,
    /// Where the commit came from.
    pub reference: String,
    /// What a reader should know about the pass itself.
    pub notes: Vec<String>,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// The configuration could not be fetched.
    #[error("the configuration could not be read")]
    Fetch(#[source] PortError),
    /// The configuration is not valid.
    #[error("the configuration is not valid")]
    Invalid {
        /// Everything that is wrong.
        diagnostics: Vec<Diagnostic>,
        /// The files, to show the lines.
        tree: Box<ConfigTree>,
    },
    /// Our own state could not be read or written.
    #[error("the state could not be used")]
    State(#[source] PortError),
}

/// A configuration that was loaded.
struct Loaded {
    desired: Arc<Desired>,
    diagnostics: Vec<Diagnostic>,
    reference: String,
    notes: Vec<String>,
}

/// What a daemon keeps from pass to pass, so that a pass plans what changed and not the fleet.
#[derive(Default)]
pub struct Kept {
    planner: Option<plan::KeptPlanner>,
    /// The plan that was remembered last.
    told: Option<Plan>,
}

/// Does a pass up to the plan.
pub async fn prepare(
    world: &World,
    request: &PassRequest<'_>,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Pass, PassError> {
    prepare_again(world, request, &mut Kept::default(), observer, cancel).await
}

/// Does a pass up to the plan with what was kept of the pass before.
pub async fn prepare_again(
    world: &World,
    request: &PassRequest<'_>,
    kept: &mut Kept,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Pass, PassError> {
    let loaded = load_config(world, request).await?;
    observer.event(RunEvent::Fetched {
        commit: loaded.desired.commit.clone(),
        reference: loaded.reference.clone(),
        documents: loaded.desired.documents,
    });
    let epoch = request.lease.map_or(0, Lease::epoch);
    let mut memory = memory::load(&*world.state, epoch).await.map_err(PassError::State)?;
    memory.ancestry = match &memory.last_applied {
        None => Ancestry::First,
        Some(last) if last == &loaded.desired.commit => Ancestry::Same,
        Some(last) => world.source.ancestry(last, &loaded.desired.commit).await,
    };
    let desired = loaded.desired;
    observer.event(RunEvent::Observing {
        resources: desired.resources.len(),
        repositories: desired.repositories.len(),
    });
    let mut observed = crate::observe::observe(world, &desired, memory, cancel).await;
    judge_memory(world, &desired, &mut observed, request.lease.is_some())
        .await
        .map_err(PassError::State)?;
    if request.lease.is_some() {
        let taken_up = take_up_forgotten(world, &desired, &mut observed, cancel).await;
        taken_up.map_err(PassError::State)?;
    }
    let now = world.clock.now();
    let (mut plan, mut observed) = kept.plan(&desired, observed, &request.only, now);
    // While anything is in doubt, nothing is taken back: steps look for themselves.
    let swapping = observed.memory.recoveries.values().any(|r| r.phase == RecoveryPhase::Swapping);
    if swapping && request.lease.is_some() && plan.report.alarms.is_empty() {
        let mut changed = Observed::clone(&observed);
        let taken_back = take_back_swaps(world, &desired, &mut changed, cancel).await;
        if taken_back.map_err(PassError::State)? {
            (plan, observed) = kept.plan(&desired, changed, &request.only, now);
        }
    }
    observer.event(RunEvent::Planned {
        plan: plan.id.clone(),
        steps: plan.steps.len(),
        waiting: plan.steps.iter().filter(|s| !s.waits.is_empty()).count(),
    });
    Ok(Pass {
        desired,
        observed,
        plan,
        diagnostics: loaded.diagnostics,
        reference: loaded.reference,
        notes: loaded.notes,
    })
}

impl Kept {
    /// Plans for an observation, which is then shared with whoever carries the plan out.
    fn plan(
        &mut self,
        desired: &Arc<Desired>,
        observed: Observed,
        only: &BTreeSet<Address>,
        now: Timestamp,
    ) -> (Plan, Arc<Observed>) {
        if only.is_empty() {
            let planner = self.take(desired, observed);
            return (planner.plan(now), planner.observed());
        }
        (plan::plan_only(desired, &observed, now, only), Arc::new(observed))
    }

    /// Returns a planner that has taken an observation in: the one that is kept, if it plans for
    /// the same desired state.
    fn take(&mut self, desired: &Arc<Desired>, observed: Observed) -> &mut plan::KeptPlanner {
        match self.planner.take().filter(|planner| planner.is_for(desired)) {
            Some(mut planner) => {
                planner.take(observed);
                self.planner.insert(planner)
            }
            None => self.planner.insert(plan::KeptPlanner::new(desired.clone(), observed)),
        }
    }
}

async fn load_config(world: &World, request: &PassRequest<'_>) -> Result<Loaded, PassError> {
    let fetched = match &request.commit {
        Some(commit) => world.source.at(commit).await,
        None => world.source.fetch().await,
    };
    let tree = match fetched {
        Ok(tree) => tree,
        Err(error) if request.fall_back => {
            let note = format!("the config repository could not be read ({})", error.chain());
            return last_good(world, note).await.ok_or(PassError::Fetch(error));
        }
        Err(error) => return Err(PassError::Fetch(error)),
    };
    match load_tree(world, tree) {
        Ok(loaded) => {
            if request.lease.is_some() && request.commit.is_none() {
                let change = memory::set(kind::META, meta::LAST_GOOD, &loaded.desired.commit)
                    .map_err(PassError::State)?;
                world.state.write(&[change]).await.map_err(PassError::State)?;
            }
            Ok(loaded)
        }
        Err((diagnostics, tree)) => {
            if request.fall_back {
                let first = diagnostics.first();
                let first = first.map(|d| format!("{}: {}", d.origin, d.message));
                let note = format!(
                    "commit {} is not valid ({})",
                    tree.commit.short(),
                    first.unwrap_or_default()
                );
                if let Some(loaded) = last_good(world, note).await {
                    return Ok(loaded);
                }
            }
            Err(PassError::Invalid { diagnostics, tree })
        }
    }
}

/// Loads the newest commit that was valid. The plan is then made, but not called complete.
async fn last_good(world: &World, why: String) -> Option<Loaded> {
    let metas = world.state.list(kind::META).await.ok()?;
    let commit: CommitId = metas.get(meta::LAST_GOOD).and_then(memory::decode)?;
    let tree = world.source.at(&commit).await.ok()?;
    let mut loaded = load_tree(world, tree).ok()?;
    loaded.notes.push(format!("{why}; going on with commit {}", commit.short()));
    Some(loaded)
}

fn load_tree(
    world: &World,
    tree: ConfigTree,
) -> Result<Loaded, (Vec<Diagnostic>, Box<ConfigTree>)> {
    (world.on_config)(&tree);
    if let Some((desired, diagnostics)) = world.remembered.find(&tree) {
        return Ok(Loaded { desired, diagnostics, reference: tree.reference, notes: Vec::new() });
    }
    let files = tree.clone();
    let Configuration { desired, diagnostics, reference } =
        crate::configuration::load(tree, &world.builtin)?;
    let desired = Arc::new(desired);
    world.remembered.keep(files, &desired, &diagnostics);
    Ok(Loaded { desired, diagnostics, reference, notes: Vec::new() })
}

/// Remembers that a plan of this commit was executed, unless the commit itself is in doubt.
pub async fn remember_applied(world: &World, pass: &Pass) -> Result<(), PortError> {
    let in_doubt = pass.plan.report.alarms.iter().any(|wait| {
        matches!(wait, model::plan::Wait::Alarm { accept, .. }
            if accept.starts_with("commit:") || accept.starts_with("documents:"))
    });
    if in_doubt {
        return Ok(());
    }
    let applied =
        Applied { commit: pass.desired.commit.clone(), documents: pass.desired.documents };
    world.state.write(&[memory::set(kind::META, meta::LAST_APPLIED, &applied)?]).await
}

/// Remembers a plan for who approves it.
pub async fn remember_plan(world: &World, pass: &Pass) -> Result<(), PortError> {
    world.state.write(&[memory::set(kind::PLAN, "last", &pass.plan)?]).await
}

/// Returns the gates of a plan as they stand, with what memory says of approvals. A person who asks
/// by hand does not wait for a step to be tried again: the backoff is for the daemon.
pub async fn gates(
    world: &World,
    pass: &Pass,
    approve: &BTreeSet<Digest>,
    by_hand: bool,
) -> Result<Gates, PortError> {
    let mut approvals = memory::approvals(&*world.state).await?;
    approvals.extend(approve.iter().cloned());
    let now = world.clock.now();
    let mut gates = plan::gates(&pass.desired, &pass.observed, &pass.plan, now, &approvals);
    if by_hand {
        for waits in gates.values_mut() {
            waits.retain(|wait| !matches!(wait, Wait::Backoff { .. }));
        }
    }
    Ok(gates)
}

/// Returns the gates of the plan that was just made with what is kept.
pub(crate) async fn gates_again(
    world: &World,
    kept: &Kept,
    pass: &Pass,
) -> Result<Gates, PortError> {
    let Some(planner) = &kept.planner else {
        return gates(world, pass, &BTreeSet::new(), false).await;
    };
    let approvals = memory::approvals(&*world.state).await?;
    Ok(planner.gates(&pass.plan, world.clock.now(), &approvals))
}

/// Remembers a plan of which nothing can be done yet, unless the one before said the same.
pub(crate) async fn remember_idle(
    world: &World,
    kept: &mut Kept,
    pass: &Pass,
) -> Result<(), PortError> {
    let says = |plan: &Plan| (plan.commit.clone(), plan.desired.clone(), plan.destructive.clone());
    let plan = &pass.plan;
    let same = kept.told.as_ref().is_some_and(|told| {
        says(told) == says(plan) && told.steps == plan.steps && told.report == plan.report
    });
    if !same {
        remember_plan(world, pass).await?;
        kept.told = Some(plan.clone());
    }
    Ok(())
}

/// Forgets what was told: the next plan is remembered whatever it says.
pub(crate) fn forget_told(kept: &mut Kept) {
    kept.told = None;
}
