//! What goes wrong, named so that a scenario can list it and a person can read it: the n-th call of
//! an operation, and what becomes of it.

use std::fmt;

/// Every operation of every port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // Each is the method of its port by the same name.
pub enum Op {
    SourceFetch,
    SourceAt,
    SourceAncestry,
    EngineObserve,
    EngineInit,
    EngineBackup,
    EngineVerify,
    EngineRestore,
    EngineForget,
    EngineReclaim,
    EngineRecord,
    AgentsProbe,
    AgentsOpen,
    AgentsClose,
    AgentsRecoveryState,
    AgentsPrepare,
    AgentsInspect,
    AgentsSwap,
    AgentsCommit,
    AgentsRollback,
    AgentsDiscard,
    StateAcquire,
    StateRaiseEpoch,
    StateWriter,
    StateList,
    StateWrite,
    StateAppend,
    StateReadJournal,
    AgentsRecreate,
}

impl Op {
    /// All of them. Seeds that were kept draw from the first ones, so that they stay what they
    /// are; what comes later is drawn apart.
    pub const ALL: [Self; 29] = [
        Self::SourceFetch,
        Self::SourceAt,
        Self::SourceAncestry,
        Self::EngineObserve,
        Self::EngineInit,
        Self::EngineBackup,
        Self::EngineVerify,
        Self::EngineRestore,
        Self::EngineForget,
        Self::EngineReclaim,
        Self::EngineRecord,
        Self::AgentsProbe,
        Self::AgentsOpen,
        Self::AgentsClose,
        Self::AgentsRecoveryState,
        Self::AgentsPrepare,
        Self::AgentsInspect,
        Self::AgentsSwap,
        Self::AgentsCommit,
        Self::AgentsRollback,
        Self::AgentsDiscard,
        Self::StateAcquire,
        Self::StateRaiseEpoch,
        Self::StateWriter,
        Self::StateList,
        Self::StateWrite,
        Self::StateAppend,
        Self::StateReadJournal,
        Self::AgentsRecreate,
    ];

    /// How many of [`Self::ALL`] every seed draws from.
    pub const DRAWN: usize = 28;

    /// Returns whether it changes something outside.
    pub fn is_effect(self) -> bool {
        matches!(
            self,
            Self::EngineInit
                | Self::EngineBackup
                | Self::EngineForget
                | Self::EngineReclaim
                | Self::EngineRecord
                | Self::EngineRestore
                | Self::AgentsPrepare
                | Self::AgentsSwap
                | Self::AgentsCommit
                | Self::AgentsRollback
                | Self::AgentsDiscard
                | Self::AgentsRecreate
                | Self::StateWrite
                | Self::StateAppend
                | Self::StateRaiseEpoch
        )
    }
}

/// What the next start finds of our memory after a kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// What was written.
    Kept,
    /// Nothing.
    Lost,
    /// The last copy that was taken.
    Old,
}

/// What becomes of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// It fails, and might not the next time.
    Fails,
    /// It fails for good.
    FailsForGood,
    /// It does not answer until somebody stops it or its time is over.
    Hangs,
    /// It takes minutes.
    Slow,
    /// It is done, and the answer is an error.
    DoneButFails,
    /// The answer is the one before.
    Stale,
    /// A part of the answer is missing.
    Partial,
    /// We are killed before it is done.
    KilledBefore(Fate),
    /// We are killed when it is done and before its answer came.
    KilledAfter(Fate),
    /// A copy of our memory is taken, to come back one day.
    CopyState,
}

impl Fault {
    /// Returns its word in reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Fails => "fails",
            Self::FailsForGood => "fails-for-good",
            Self::Hangs => "hangs",
            Self::Slow => "slow",
            Self::DoneButFails => "done-but-fails",
            Self::Stale => "stale",
            Self::Partial => "partial",
            Self::KilledBefore(_) => "killed-before",
            Self::KilledAfter(_) => "killed-after",
            Self::CopyState => "copy-state",
        }
    }

    /// Returns whether an operation can go wrong in this way: only what looks can answer with what
    /// was before, and only what brings much can bring a part.
    pub fn is_played(self, op: Op) -> bool {
        match self {
            Self::Stale => matches!(op, Op::SourceFetch | Op::EngineObserve | Op::AgentsProbe),
            Self::Partial => matches!(op, Op::SourceFetch | Op::EngineObserve | Op::EngineRestore),
            _ => true,
        }
    }
}

/// A fault at the n-th call of an operation, counted from 1 over the whole run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FaultAt {
    /// Which operation.
    pub op: Op,
    /// Which call of it.
    pub nth: u64,
    /// From then on, every call.
    pub forever: bool,
    /// What becomes of it.
    pub fault: Fault,
}

impl fmt::Display for FaultAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on = if self.forever { " and every later one" } else { "" };
        write!(f, "call {} of {:?}{on}: {:?}", self.nth, self.op, self.fault)
    }
}
