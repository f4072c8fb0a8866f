//! The simulated world: everything outside, as it really is. The ports change it, the events of a
//! scenario change it, and the checks read it.

pub mod content;
pub mod history;
pub mod states;
pub mod stores;
pub mod things;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::id::{SnapshotId, StepId};
use model::plan::{Action, Plan};
use tokio::sync::Notify;

use crate::coverage::Coverage;
use crate::faults::{Fate, Fault, FaultAt, Op};
use crate::time::Time;
use content::Shared;
use history::History;
use states::StateStore;
use stores::Store;
use things::Thing;

/// The instant at which every simulation begins: 2026-03-02T00:00:00Z.
pub const BEGIN_MS: i64 = 1_772_409_600_000;

/// What one pass of one actor saw, as it really was.
#[derive(Clone, Debug, Default)]
pub struct PassFacts {
    /// When it began.
    pub since_ms: i64,
    /// The commit that it works for.
    pub commit: Option<usize>,
    /// Points of each place when it was first looked at; missing: it could not be.
    pub stores: BTreeMap<String, BTreeSet<SnapshotId>>,
    /// When each repository was looked at last.
    pub looked_ms: BTreeMap<String, i64>,
    /// What was in each place when it was looked at first and last.
    pub probed: BTreeMap<String, (Seen, Seen)>,
    /// Steps that succeeded.
    pub done: BTreeSet<StepId>,
    /// Tokens that it noted as served beside the data.
    pub noted: BTreeSet<String>,
    /// An answer was stale or partial.
    pub misled: bool,
    /// Git could not say how its commit relates to the one that was applied.
    pub untold: bool,
    /// Calls of ports so far.
    pub calls: u64,
}

/// What was in a place at an instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// When.
    pub at_ms: i64,
    /// What; `None`: nothing.
    pub stored: Option<Shared>,
}

/// One running process of ours.
#[derive(Debug, Default)]
pub struct Actor {
    /// The memory that it uses.
    pub state: usize,
    /// It was killed: nothing it does has any effect, and nothing is answered.
    pub dead: bool,
    /// How it died, for the director.
    pub fate: Option<Fate>,
    /// How far its clock is off.
    pub skew_ms: i64,
    /// When its clock jumped last.
    pub skewed_ms: i64,
    /// What its pass saw.
    pub pass: PassFacts,
    /// When its passes of the last hour ended.
    pub passes_ms: Vec<i64>,
    /// Steps that it began and did not end.
    pub running: BTreeMap<StepId, Action>,
    /// The last plan that it wrote down.
    pub plan: Option<Vec<u8>>,
    /// The same plan, once a check has read it.
    pub read: Option<Arc<Plan>>,
    /// A person runs it.
    pub by_hand: bool,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Broken {
    /// Which: `P1` to `P10`, or `convergence`.
    pub promise: &'static str,
    /// How.
    pub detail: String,
}

/// Everything.
pub struct World {
    /// Decides latencies.
    pub seed: u64,
    /// Time.
    pub time: Time,
    /// The config repository.
    pub history: History,
    /// Places of repositories, by path.
    pub stores: BTreeMap<String, Store>,
    /// Things, by place.
    pub things: BTreeMap<String, Thing>,
    /// Memories.
    pub states: Vec<StateStore>,
    /// Copies of memories, by memory.
    pub copies: BTreeMap<usize, StateStore>,
    /// Processes.
    pub actors: Vec<Actor>,
    /// What goes wrong.
    pub faults: Vec<FaultAt>,
    /// Nothing goes wrong any more.
    pub calm: bool,
    /// Calls of each operation.
    pub counts: BTreeMap<Op, u64>,
    /// Some answer will be stale, so the last ones are kept.
    pub answers_again: bool,
    /// Last answers, for stale ones.
    pub answers: BTreeMap<String, Answer>,
    /// Broken promises.
    pub broken: Vec<Broken>,
    /// What happened, line by line; `None`: nobody wants it.
    pub trace: Option<Vec<String>>,
    /// A number made of everything that happened.
    pub mark: u64,
    /// Which fault met what.
    pub coverage: Coverage,
    /// Numbers that were given out.
    pub given: u64,
    /// Wakes the director when an actor dies.
    pub died: Arc<Notify>,
    /// Configurations that were read, shared by all starts: the same files give the same.
    pub remembered: runtime::world::Remembered,
}

/// An answer that may be given again.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Of a probe.
    Resource(model::observed::Observation),
    /// Of a look at a repository.
    Repository(model::observed::RepositoryObservation),
}

impl World {
    /// Returns an empty world.
    pub fn new(seed: u64, faults: Vec<FaultAt>) -> Self {
        Self {
            seed,
            time: Time::starting_at(BEGIN_MS),
            history: History::default(),
            stores: BTreeMap::new(),
            things: BTreeMap::new(),
            states: Vec::new(),
            copies: BTreeMap::new(),
            actors: Vec::new(),
            answers_again: faults.iter().any(|f| f.fault == Fault::Stale),
            faults,
            calm: false,
            counts: BTreeMap::new(),
            answers: BTreeMap::new(),
            broken: Vec::new(),
            trace: None,
            mark: 0xcbf2_9ce4_8422_2325,
            coverage: Coverage::default(),
            given: 0,
            died: Arc::new(Notify::new()),
            remembered: runtime::world::Remembered::default(),
        }
    }

    /// Returns the world's own time.
    pub fn now_ms(&self) -> i64 {
        self.time.now_ms()
    }

    /// Returns a number that was not given before.
    pub fn give(&mut self) -> u64 {
        self.given += 1;
        self.given
    }

    /// Notes what happened, for those who read the trace.
    pub fn note(&mut self, line: std::fmt::Arguments<'_>) {
        let now_ms = self.now_ms();
        if let Some(trace) = &mut self.trace {
            let mut text = String::with_capacity(96);
            let _ = write!(text, "{:>9.3} {line}", (now_ms - BEGIN_MS) as f64 / 1000.0);
            trace.push(text);
        }
    }

    /// Adds something that happened to the mark, which tells two runs apart without a trace.
    pub fn stamp(&mut self, what: u64) {
        let now = self.now_ms().cast_unsigned();
        self.mark = (self.mark.rotate_left(5) ^ what ^ now).wrapping_mul(0x0100_0000_01b3);
    }

    /// Notes what helps a reader only: it changes nothing.
    pub fn remark(&mut self, line: std::fmt::Arguments<'_>) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("          {line}"));
        }
    }

    /// Notes a broken promise.
    pub fn broke(&mut self, promise: &'static str, detail: impl Into<String>) {
        let detail = detail.into();
        self.note(format_args!("BROKEN {promise}: {detail}"));
        self.broken.push(Broken { promise, detail });
    }

    /// Returns the clock of an actor.
    pub fn clock_ms(&self, actor: usize) -> i64 {
        self.now_ms() + self.actors.get(actor).map_or(0, |actor| actor.skew_ms)
    }
}

/// A world that many hold.
#[derive(Clone)]
pub struct SharedWorld(Arc<Mutex<World>>);

impl SharedWorld {
    /// Shares a world.
    pub fn new(world: World) -> Self {
        Self(Arc::new(Mutex::new(world)))
    }

    /// Returns the world. Never held across an `await`.
    pub fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
