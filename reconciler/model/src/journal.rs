//! What was done: records that bracket each effect, written before and after it. The journal is for
//! resuming and for people; no decision needs more of it than the begin and end of effects.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::{CommitId, PlanId, SnapshotId, StepId};
use crate::plan::Action;
use crate::progress::Counts;
use crate::receipt::ItemFailure;

/// Version of [`Record`]'s persisted shape.
pub const JOURNAL_VERSION: u32 = 1;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// [`JOURNAL_VERSION`].
    pub version: u32,
    /// Grows by one with each record.
    pub sequence: u64,
    /// When.
    pub at: Timestamp,
    /// The epoch of the writer.
    pub epoch: u64,
    /// What.
    pub body: Body,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Body {
    /// A writer started.
    Started {
        /// Who: command, host and process id.
        owner: String,
    },
    /// A plan is about to be executed.
    PlanBegun {
        /// Which.
        plan: PlanId,
        /// Of which commit.
        commit: CommitId,
        /// How many steps.
        steps: u64,
    },
    /// A step is about to act: the intent.
    StepBegun {
        /// The plan.
        plan: PlanId,
        /// The step.
        step: StepId,
        /// Everything it will do.
        action: Action,
    },
    /// A step that walks through phases came to one.
    StepReached {
        /// The plan.
        plan: PlanId,
        /// The step.
        step: StepId,
        /// The phase.
        phase: String,
    },
    /// A step ended.
    StepEnded {
        /// The plan.
        plan: PlanId,
        /// The step.
        step: StepId,
        /// How.
        outcome: Outcome,
    },
    /// The plan's execution ended.
    PlanEnded {
        /// Which.
        plan: PlanId,
        /// Steps that succeeded.
        done: u64,
        /// Steps that failed or were partial.
        failed: u64,
        /// Steps that were not begun.
        skipped: u64,
    },
    /// A person decided something: approve, accept, hold, release, request.
    Decided {
        /// The verb.
        verb: String,
        /// On what.
        subject: String,
        /// Who, as far as is known.
        by: String,
    },
    /// After a crash, an intent without result was looked at.
    Recovered {
        /// The step.
        step: StepId,
        /// What was found: `adopted`, `nothing was done`, `resumes`.
        verdict: String,
    },
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Outcome {
    /// Everything that was asked for was done.
    Done {
        /// In one line.
        summary: String,
        /// The snapshot it made or used.
        snapshot: Option<SnapshotId>,
        /// Exact counts.
        counts: Counts,
        /// Milliseconds.
        duration_ms: u64,
    },
    /// Something was done, something was not: never a success.
    Partial {
        /// In one line.
        summary: String,
        /// The snapshot it made.
        snapshot: Option<SnapshotId>,
        /// What was not, by name; bounded.
        failures: Vec<ItemFailure>,
        /// How many.
        failures_count: u64,
        /// Exact counts.
        counts: Counts,
        /// Milliseconds.
        duration_ms: u64,
    },
    /// It failed.
    Failed {
        /// The error's class: `transient`, `waiting`, `terminal`, `cancelled`.
        class: String,
        /// Its stable word.
        reason: String,
        /// What happened.
        error: String,
        /// How to mend it.
        hint: Option<String>,
    },
    /// It was not begun.
    Skipped {
        /// Why.
        why: String,
    },
}

impl Outcome {
    /// Returns whether the steps that need this one may run.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Done { .. })
    }
}
