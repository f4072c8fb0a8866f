//! The ports of the simulated world. Every call goes through one gate, which takes time, lets
//! faults happen, kills, and writes down; what a call then does is a change of the world's truth.

pub mod agents;
pub mod clock;
pub mod engine;
pub mod secrets;
pub mod source;
pub mod state;

use std::future::pending;

use model::cancel::Cancel;
use model::error::PortError;

use crate::coverage;
use crate::faults::{Fate, Fault, Op};
use crate::random::Random;
use crate::time::Time;
use crate::world::content::fingerprint;
use crate::world::{SharedWorld, World};

/// How long a call that hangs is waited for: what an adapter's own time limit would be.
const HANG_MS: i64 = 40 * 60_000;
/// How often a call that hangs looks whether it shall stop.
const HANG_LOOK_MS: i64 = 5 * 60_000;
/// Calls in one pass, at the most (P10): some hundred for a world of this size.
const CALLS_MAX: u64 = 4000;

/// The ports as one actor reaches them.
#[derive(Clone)]
pub struct Ports {
    pub(crate) world: SharedWorld,
    pub(crate) actor: usize,
}

impl Ports {
    /// Returns the ports of an actor.
    pub fn new(world: SharedWorld, actor: usize) -> Self {
        Self { world, actor }
    }

    /// One call: `act` is what it does, unless a fault comes before. It is told of faults that only
    /// it can play (stale and partial answers).
    pub(crate) async fn call<T: Send>(
        &self,
        op: Op,
        subject: &str,
        cancel: Option<&Cancel>,
        act: impl FnOnce(&mut World, Option<Fault>) -> Result<T, PortError> + Send,
    ) -> Result<T, PortError> {
        let Some((fault, latency_ms, time)) = self.arrive(op, subject) else {
            return pending().await;
        };
        if latency_ms > 0 {
            time.sleep_ms(latency_ms).await;
        }
        match fault {
            Some(Fault::KilledBefore(fate)) => return self.die(op, subject, "before", fate).await,
            Some(Fault::Fails) => return Err(self.failed(op, subject)),
            Some(Fault::FailsForGood) => {
                self.say(op, subject, "fails for good");
                return Err(PortError::terminal("Simulated", format!("{op:?} fails for good")));
            }
            Some(Fault::Hangs) => {
                let mut waited_ms = 0;
                while waited_ms < HANG_MS && !cancel.is_some_and(Cancel::is_cancelled) {
                    time.sleep_ms(HANG_LOOK_MS).await;
                    waited_ms += HANG_LOOK_MS;
                }
                self.say(op, subject, "hung");
                if let Some(cancel) = cancel {
                    cancel.check()?;
                }
                return Err(PortError::transient("TimedOut", format!("{op:?} took too long")));
            }
            _ => {}
        }
        let Some(result) = self.act(op, subject, fault, act) else { return pending().await };
        match fault {
            Some(Fault::KilledAfter(fate)) => self.die(op, subject, "after", fate).await,
            Some(Fault::DoneButFails) => Err(self.failed(op, subject)),
            Some(Fault::CopyState) => {
                self.world.lock().copy_state(self.actor);
                result
            }
            _ => result,
        }
    }

    /// Counts a call; `None`: the actor is dead.
    fn arrive(&self, op: Op, subject: &str) -> Option<(Option<Fault>, i64, Time)> {
        let mut world = self.world.lock();
        if world.actors[self.actor].dead {
            return None;
        }
        let (fault, latency_ms) = world.arrive(self.actor, op, subject);
        Some((fault, latency_ms, world.time.clone()))
    }

    /// Does what a call does; `None`: the actor died meanwhile.
    fn act<T>(
        &self,
        op: Op,
        subject: &str,
        fault: Option<Fault>,
        act: impl FnOnce(&mut World, Option<Fault>) -> Result<T, PortError>,
    ) -> Option<Result<T, PortError>> {
        let mut world = self.world.lock();
        if world.actors[self.actor].dead {
            return None;
        }
        let result = act(&mut world, fault);
        let word = match &result {
            Ok(_) => "ok",
            Err(error) => error.reason,
        };
        let what = [op as u8, u8::try_from(self.actor).unwrap_or(u8::MAX)];
        let told = [subject.as_bytes(), &what, word.as_bytes()];
        world.stamp(told.iter().fold(0, |all, part| all ^ fingerprint(part).rotate_left(7)));
        world.note(format_args!("[{}] {op:?} {subject}: {word}", self.actor));
        Some(result)
    }

    fn failed(&self, op: Op, subject: &str) -> PortError {
        self.say(op, subject, "fails");
        PortError::transient("Simulated", format!("{op:?} failed"))
    }

    fn say(&self, op: Op, subject: &str, what: &str) {
        self.world.lock().note(format_args!("[{}] {op:?} {subject}: {what}", self.actor));
    }

    async fn die<T>(&self, op: Op, subject: &str, when: &str, fate: Fate) -> T {
        {
            let mut world = self.world.lock();
            world.note(format_args!("[{}] killed {when} {op:?} {subject} ({fate:?})", self.actor));
            world.actors[self.actor].dead = true;
            world.actors[self.actor].fate = Some(fate);
            world.died.notify_one();
        }
        pending().await
    }
}

impl World {
    /// Counts a call and finds what becomes of it and how long it takes.
    fn arrive(&mut self, actor: usize, op: Op, subject: &str) -> (Option<Fault>, i64) {
        let count = self.counts.entry(op).or_default();
        *count += 1;
        let nth = *count;
        let calm = self.calm;
        let hit = |f: &&crate::faults::FaultAt| {
            f.op == op && (f.nth == nth || (f.forever && f.nth <= nth)) && f.fault.is_played(op)
        };
        let fault = self.faults.iter().find(hit).map(|f| f.fault).filter(|_| !calm);
        let facts = &mut self.actors[actor].pass;
        facts.calls += 1;
        if facts.calls == CALLS_MAX {
            self.broke("P10", format!("a pass made {CALLS_MAX} calls, the last to {op:?}"));
        }
        // A restore that brings a part says so, and half a fetch is none.
        let misleads = match fault {
            Some(Fault::Stale) => true,
            Some(Fault::Partial) => op == Op::EngineObserve,
            _ => false,
        };
        self.actors[actor].pass.misled |= misleads;
        if let Some(fault) = fault {
            let class = self.class_of(actor, op, subject);
            self.coverage.met(class, fault.word());
            self.note(format_args!("[{actor}] {op:?} {subject}: fault {}", fault.word()));
        }
        let latency_ms = match (op, fault) {
            (_, Some(Fault::Slow)) => 17 * 60_000,
            (
                Op::StateList
                | Op::StateWrite
                | Op::StateAppend
                | Op::StateReadJournal
                | Op::StateRaiseEpoch
                | Op::StateWriter
                | Op::StateAcquire,
                _,
            ) => 0,
            _ => {
                let mut random = Random::new(self.seed ^ (nth << 8) ^ op as u64);
                i64::try_from(random.below(4000)).unwrap_or(0)
            }
        };
        (fault, latency_ms)
    }

    /// The kind of step in which a call is made.
    fn class_of(&self, actor: usize, op: Op, subject: &str) -> &'static str {
        let running = &self.actors[actor].running;
        match op {
            Op::EngineInit => "init",
            Op::EngineBackup | Op::AgentsOpen | Op::AgentsClose => "backup",
            Op::EngineVerify => "verify",
            Op::EngineForget => "expire",
            Op::EngineReclaim => "reclaim",
            Op::AgentsCommit if running.values().any(|a| coverage::class(a) == "commit") => {
                "commit"
            }
            Op::AgentsRollback => "rollback",
            Op::AgentsRecreate => "recreate",
            Op::EngineRestore | Op::AgentsPrepare | Op::AgentsInspect | Op::AgentsSwap => {
                let mut classes = running.values().map(coverage::class);
                classes.find(|class| class.starts_with("restore")).unwrap_or("restore")
            }
            _ => {
                let about = |action: &&model::plan::Action| {
                    action.resource().is_some_and(|a| subject.ends_with(a.resource.as_str()))
                };
                let steps: Vec<_> = running.values().collect();
                match steps.as_slice() {
                    [] if matches!(op, Op::EngineObserve | Op::AgentsProbe) => "observe",
                    [] => "pass",
                    [one] => coverage::class(one),
                    [first, ..] => {
                        coverage::class(steps.iter().copied().find(about).unwrap_or(first))
                    }
                }
            }
        }
    }

    /// Takes a copy of an actor's memory.
    pub fn copy_state(&mut self, actor: usize) {
        let state = self.actors[actor].state;
        self.keep_copy(state);
    }

    /// Takes a copy of a memory.
    pub fn keep_copy(&mut self, state: usize) {
        let mut copy = self.states[state].clone();
        copy.writer = None;
        self.copies.insert(state, copy);
        self.note(format_args!("a copy of state {state} is taken"));
    }
}
