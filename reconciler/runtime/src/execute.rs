//! Walks a plan: a step begins when all that it needs has succeeded, its gates are open and nothing
//! that runs is in its way. A failure skips its dependants only. Nothing is decided here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::cancel::Cancel;
use model::error::PortError;
use model::id::{Address, Name, SnapshotId, StepId};
use model::journal::{Body, JOURNAL_VERSION, Outcome, Record};
use model::plan::{Action, Step};
use plan::Gates;
use tokio::task::JoinSet;
use tracing::Instrument;

use crate::event::{Observer, RunEvent};
use crate::pass::Pass;
use crate::step::{self, LastRead, StepContext};
use crate::world::World;

/// How the execution of a plan ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// How each step ended.
    pub outcomes: BTreeMap<StepId, Outcome>,
    /// Steps that wait, and for what.
    pub waiting: Gates,
    /// Steps that succeeded.
    pub done: u64,
    /// Steps that failed or were partial.
    pub failed: u64,
    /// Steps that were not begun, the waiting ones included.
    pub skipped: u64,
    /// It was stopped as asked.
    pub cancelled: bool,
}

/// What a running step keeps to itself.
struct Claim {
    resource: Option<Address>,
    repository: Option<Name>,
    /// Nothing else may use the repository meanwhile.
    exclusive: bool,
}

impl Claim {
    fn of(action: &Action) -> Self {
        Self {
            resource: action.resource().cloned(),
            repository: action.repository().cloned(),
            exclusive: matches!(
                action,
                Action::Init { .. } | Action::Expire { .. } | Action::Reclaim { .. }
            ),
        }
    }

    fn conflicts(&self, other: &Self) -> bool {
        let same_resource = self.resource.is_some() && self.resource == other.resource;
        let same_repository = self.repository.is_some() && self.repository == other.repository;
        same_resource || (same_repository && (self.exclusive || other.exclusive))
    }
}

/// Executes a plan under the right to write with this epoch.
pub async fn execute(
    world: &World,
    pass: &Pass,
    gates: Gates,
    epoch: u64,
    observer: &Arc<dyn Observer>,
    cancel: &Cancel,
) -> Result<Summary, PortError> {
    let plan = &pass.plan;
    let begun = Body::PlanBegun {
        plan: plan.id.clone(),
        commit: plan.commit.clone(),
        steps: plan.steps.len() as u64,
    };
    journal(world, epoch, begun).await?;
    let mut walk = Walk::new(world, pass, gates, epoch, observer, cancel);
    walk.run().await;
    let summary = walk.summary();
    let ended = Body::PlanEnded {
        plan: plan.id.clone(),
        done: summary.done,
        failed: summary.failed,
        skipped: summary.skipped,
    };
    journal(world, epoch, ended).await?;
    observer.event(RunEvent::Ended {
        plan: plan.id.clone(),
        done: summary.done,
        failed: summary.failed,
        skipped: summary.skipped,
    });
    Ok(summary)
}

/// Appends one record to the journal.
pub async fn journal(world: &World, epoch: u64, body: Body) -> Result<u64, PortError> {
    let record =
        Record { version: JOURNAL_VERSION, sequence: 0, at: world.clock.now(), epoch, body };
    world.state.append(&record).await
}

struct Walk<'a> {
    context: StepContext,
    pass: &'a Pass,
    gates: Gates,
    outcomes: BTreeMap<StepId, Outcome>,
    outputs: BTreeMap<StepId, SnapshotId>,
    running: BTreeMap<StepId, Claim>,
    tasks: JoinSet<(StepId, Outcome)>,
    ids: BTreeMap<tokio::task::Id, StepId>,
}

impl<'a> Walk<'a> {
    fn new(
        world: &World,
        pass: &'a Pass,
        gates: Gates,
        epoch: u64,
        observer: &Arc<dyn Observer>,
        cancel: &Cancel,
    ) -> Self {
        let context = StepContext {
            world: world.clone(),
            desired: pass.desired.clone(),
            observed: pass.observed.clone(),
            plan: pass.plan.id.clone(),
            epoch,
            writer: pass.observed.memory.writer.clone(),
            observer: observer.clone(),
            cancel: cancel.clone(),
            read: LastRead::default(),
        };
        Self {
            context,
            pass,
            gates,
            outcomes: BTreeMap::new(),
            outputs: BTreeMap::new(),
            running: BTreeMap::new(),
            tasks: JoinSet::new(),
            ids: BTreeMap::new(),
        }
    }

    async fn run(&mut self) {
        loop {
            while self.begin_next() {}
            match self.tasks.join_next_with_id().await {
                None => break,
                Some(Ok((id, (step, outcome)))) => {
                    self.ids.remove(&id);
                    self.end(step, outcome);
                }
                Some(Err(error)) => {
                    // A panic inside one step is that step's failure, not the run's.
                    if let Some(step) = self.ids.remove(&error.id()) {
                        self.end(step, broke_off(&error.to_string()));
                    }
                }
            }
        }
    }

    /// Begins or settles one more step; returns whether there may be another.
    fn begin_next(&mut self) -> bool {
        let pass = self.pass;
        for (index, step) in pass.plan.steps.iter().enumerate() {
            if self.outcomes.contains_key(&step.id) || self.running.contains_key(&step.id) {
                continue;
            }
            if let Some(why) = self.why_skipped(step) {
                self.end(step.id.clone(), Outcome::Skipped { why });
                return true;
            }
            let needs_met = step.needs.iter().all(|id| self.is_done(id));
            let claim = Claim::of(&step.action);
            let free = self.running.len() < self.context.world.limits.steps_max.max(1)
                && !self.running.values().any(|other| claim.conflicts(other));
            if needs_met && free {
                self.spawn(index, step, claim);
                return true;
            }
        }
        false
    }

    fn spawn(&mut self, index: usize, step: &Step, claim: Claim) {
        self.context.observer.event(RunEvent::StepBegan {
            step: step.id.clone(),
            total: self.pass.plan.steps.len(),
            index: index + 1,
        });
        self.running.insert(step.id.clone(), claim);
        let (context, step_id) = (self.context.clone(), step.id.clone());
        let (step, outputs) = (step.clone(), self.outputs.clone());
        let span = tracing::info_span!("step", step = %step.id);
        let task = async move {
            let outcome = step::run(&context, &step, &outputs).await;
            (step.id, outcome)
        };
        let handle = self.tasks.spawn(task.instrument(span));
        self.ids.insert(handle.id(), step_id);
    }

    fn is_done(&self, id: &StepId) -> bool {
        self.outcomes.get(id).is_some_and(Outcome::is_success)
    }

    fn why_skipped(&self, step: &Step) -> Option<String> {
        if self.context.cancel.is_cancelled() {
            return Some("the run was stopped".into());
        }
        if let Some(waits) = self.gates.get(&step.id)
            && let Some(first) = waits.first()
        {
            return Some(format!("waits for {}", plan::render::wait(first)));
        }
        let failed = step
            .needs
            .iter()
            .find(|id| self.outcomes.get(*id).is_some_and(|outcome| !outcome.is_success()))?;
        Some(format!("`{failed}`, which it needs, did not succeed"))
    }

    fn end(&mut self, step: StepId, outcome: Outcome) {
        self.running.remove(&step);
        if let Outcome::Done { snapshot: Some(id), .. }
        | Outcome::Partial { snapshot: Some(id), .. } = &outcome
        {
            self.outputs.insert(step.clone(), id.clone());
        }
        log(&step, &outcome);
        let event = RunEvent::StepEnded { step: step.clone(), outcome: outcome.clone() };
        self.context.observer.event(event);
        self.outcomes.insert(step, outcome);
    }

    fn summary(self) -> Summary {
        let count = |test: fn(&Outcome) -> bool| {
            self.outcomes.values().filter(|outcome| test(outcome)).count() as u64
        };
        let begun: BTreeSet<&StepId> = self
            .outcomes
            .iter()
            .filter(|(_, outcome)| !matches!(outcome, Outcome::Skipped { .. }))
            .map(|(id, _)| id)
            .collect();
        let waiting = self
            .gates
            .iter()
            .filter(|(id, waits)| !waits.is_empty() && !begun.contains(id))
            .map(|(id, waits)| (id.clone(), waits.clone()))
            .collect();
        Summary {
            waiting,
            done: count(|o| matches!(o, Outcome::Done { .. })),
            failed: count(|o| matches!(o, Outcome::Failed { .. } | Outcome::Partial { .. })),
            skipped: count(|o| matches!(o, Outcome::Skipped { .. })),
            cancelled: self.context.cancel.is_cancelled(),
            outcomes: self.outcomes,
        }
    }
}

fn broke_off(error: &str) -> Outcome {
    Outcome::Failed {
        class: "terminal".into(),
        reason: "BrokeOff".into(),
        error: format!("the step broke off inside Mainstay: {error}"),
        hint: Some("this is a defect: please report it with the journal".into()),
    }
}

fn log(step: &StepId, outcome: &Outcome) {
    match outcome {
        Outcome::Done { summary, .. } => tracing::info!(%step, outcome = "done", "{summary}"),
        Outcome::Partial { summary, failures_count, .. } => {
            tracing::warn!(%step, outcome = "partial", failures = failures_count, "{summary}");
        }
        Outcome::Failed { class, reason, error, .. } => {
            tracing::error!(%step, outcome = "failed", class, reason, "{error}");
        }
        Outcome::Skipped { why } => tracing::info!(%step, outcome = "skipped", "{why}"),
    }
}
