//! What a plan amounts to, as the exit code of the `plan` command.

use model::plan::{Plan, Wait};
use serde::{Deserialize, Serialize};

/// The classes of plans, worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// The world is as desired.
    NothingToDo,
    /// There are steps.
    Changes,
    /// Destructive steps wait for approval.
    DestructiveWaiting,
    /// Some scope could not be observed, so the plan is not the whole truth.
    ObservationIncomplete,
}

impl Outcome {
    /// Returns what a plan amounts to.
    pub fn of(plan: &Plan) -> Self {
        let waits_for_approval =
            |waits: &[Wait]| waits.iter().any(|wait| matches!(wait, Wait::Approval { .. }));
        if !plan.report.incomplete.is_empty() {
            Self::ObservationIncomplete
        } else if plan.steps.iter().any(|step| waits_for_approval(&step.waits)) {
            Self::DestructiveWaiting
        } else if plan.steps.is_empty() {
            Self::NothingToDo
        } else {
            Self::Changes
        }
    }

    /// Returns the exit code of the `plan` command.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::NothingToDo => 0,
            Self::Changes => 2,
            Self::DestructiveWaiting => 3,
            Self::ObservationIncomplete => 4,
        }
    }

    /// Returns it as a sentence.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::NothingToDo => "nothing to do",
            Self::Changes => "changes to apply",
            Self::DestructiveWaiting => "destructive steps wait for approval",
            Self::ObservationIncomplete => "not everything could be observed",
        }
    }
}
