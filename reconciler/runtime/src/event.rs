//! What happens while a pass runs, as a stream: shown as progress bars, JSON lines or log lines.

use std::sync::Arc;

use model::id::{CommitId, PlanId, StepId};
use model::journal::Outcome;
use model::progress::{Progress, ProgressSink};
use serde::Serialize;

/// One event.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum RunEvent {
    /// A commit was read.
    Fetched {
        /// Which.
        commit: CommitId,
        /// From where.
        reference: String,
        /// Documents in it.
        documents: u64,
    },
    /// The world is being looked at.
    Observing {
        /// Resources.
        resources: usize,
        /// Repositories.
        repositories: usize,
    },
    /// A plan was made.
    Planned {
        /// Which.
        plan: PlanId,
        /// Its steps.
        steps: usize,
        /// Its steps that wait.
        waiting: usize,
    },
    /// A step began.
    StepBegan {
        /// Which.
        step: StepId,
        /// How many steps the plan has.
        total: usize,
        /// Its place among them, from 1.
        index: usize,
    },
    /// A step moves.
    StepProgress {
        /// Which.
        step: StepId,
        /// How.
        progress: Progress,
    },
    /// A step came to a phase.
    StepReached {
        /// Which.
        step: StepId,
        /// The phase.
        phase: String,
    },
    /// A step ended.
    StepEnded {
        /// Which.
        step: StepId,
        /// How.
        outcome: Outcome,
    },
    /// Something that a reader should know.
    Note {
        /// What.
        text: String,
    },
    /// All steps ended.
    Ended {
        /// The plan.
        plan: PlanId,
        /// Steps that succeeded.
        done: u64,
        /// Steps that failed or were partial.
        failed: u64,
        /// Steps that were not begun.
        skipped: u64,
    },
}

/// Takes events. Calls must be quick.
pub trait Observer: Send + Sync {
    /// Takes one.
    fn event(&self, event: RunEvent);
}

/// Drops all events.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn event(&self, _event: RunEvent) {}
}

/// Passes the engine's progress on under a step's name.
pub(crate) struct StepProgress {
    pub(crate) step: StepId,
    pub(crate) observer: Arc<dyn Observer>,
}

impl ProgressSink for StepProgress {
    fn event(&self, progress: Progress) {
        self.observer.event(RunEvent::StepProgress { step: self.step.clone(), progress });
    }
}
