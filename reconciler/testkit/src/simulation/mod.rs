//! Runs a scenario: starts daemons, lets things happen at their times, restarts what was killed,
//! and when all has calmed down looks whether the world comes to rest.

mod events;
mod panics;
mod person;
mod rest;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use model::cancel::Cancel;
use model::ports::clock::Clock;
use model::ports::state::Owner;
use runtime::daemon::{DaemonOptions, PassListener, PassReport};
use runtime::world::Limits;
use runtime::{Observer, Pass, RunEvent};
use tokio::task::JoinHandle;

use crate::coverage::Coverage;
use crate::documents;
use crate::faults::{Fate, Op};
use crate::ports::Ports;
use crate::ports::agents::SimulatedAgents;
use crate::ports::clock::SimulatedClock;
use crate::ports::engine::SimulatedEngine;
use crate::ports::source::SimulatedSource;
use crate::ports::state::SimulatedState;
use crate::scenario::{Event, Scenario};
use crate::time;
use crate::world::content::Files;
use crate::world::states::StateStore;
use crate::world::things::Thing;
use crate::world::{Actor, BEGIN_MS, Broken, SharedWorld, World};

/// How long it takes until somebody starts again what was killed.
const RESTART_MS: i64 = 3 * 60_000;
/// How long somebody waits who finds the memory in use.
const TRY_AGAIN: Duration = Duration::from_secs(20 * 60);

/// What a run showed.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Broken promises; empty: none.
    pub broken: Vec<Broken>,
    /// What happened, when it was asked for.
    pub trace: Vec<String>,
    /// A number made of everything that happened.
    pub mark: u64,
    /// Which fault met what.
    pub coverage: Coverage,
    /// Calls of each operation.
    pub counts: BTreeMap<Op, u64>,
}

/// Runs a scenario to its end, or to the first broken promise.
pub fn simulate(scenario: &Scenario, traced: bool) -> Verdict {
    let mut world = World::new(scenario.seed, scenario.faults.clone());
    world.trace = traced.then(Vec::new);
    let clock = world.time.clone();
    furnish(&mut world, scenario);
    let shared = SharedWorld::new(world);
    let director = Director::new(shared.clone(), scenario.clone());
    panics::watch();
    // A panic in a step, a probe or a daemon is caught on the way here; it is a finding all the
    // same.
    let run = || time::run(&clock, director.direct());
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).ok().flatten();
    let mut world = shared.lock();
    if let Some(first) = panics::seen().into_iter().next() {
        world.broke("panic", first);
    }
    if ended.is_none() && world.broken.is_empty() {
        let why = if clock.is_exhausted() { "does not come to rest" } else { "waits for ever" };
        world.broke("P10", format!("the world {why}"));
    }
    Verdict {
        broken: std::mem::take(&mut world.broken),
        trace: world.trace.take().unwrap_or_default(),
        mark: world.mark,
        coverage: std::mem::take(&mut world.coverage),
        counts: std::mem::take(&mut world.counts),
    }
}

/// Puts things, empty places for repositories, and the first commit into the world.
fn furnish(world: &mut World, scenario: &Scenario) {
    for (at, resource) in scenario.documents.resources.iter().enumerate() {
        let rows: Files = (0..3).map(|n| (format!("f{n}"), value(world.give()))).collect();
        let in_place = scenario.in_place.get(at).copied().unwrap_or(false);
        let thing = Thing::new(resource.kind, in_place, rows, BEGIN_MS);
        world.things.insert(documents::place(&resource.name), thing);
    }
    for (name, _) in &scenario.documents.repositories {
        world.stores.insert(documents::store(name), crate::world::stores::Store::default());
    }
    let documents = scenario.documents.clone();
    world.history.push(None, documents.files(), Some(documents));
    world.states.push(StateStore::default());
}

/// A content that was never there before.
pub(crate) fn value(number: u64) -> Vec<u8> {
    format!("{number:08}").into_bytes()
}

/// Built-in types and policies, cut down to what the simulated world needs: its things are known by
/// the names of types, and no command of theirs ever runs. Reading the real ones, which tests of
/// `config` do, would take most of a run's time.
pub fn builtin() -> Arc<BTreeMap<String, Vec<u8>>> {
    static BUILTIN: OnceLock<Arc<BTreeMap<String, Vec<u8>>>> = OnceLock::new();
    let made = || {
        let template = |name: &str, parameter: &str, data: &str| {
            let text = format!(
                "apiVersion: mainstay.dev/v1\nkind: AgentTemplate\nmetadata: {{ name: {name} }}\n\
                 spec:\n  description: A simulated thing\n  parameters:\n    {parameter}: \
                 {{ type: string, required: true, description: Where it lies. }}\n  \
                 recreate: [{{ run: [tool] }}]\n{data}"
            );
            (format!("templates/{name}.yaml"), text.into_bytes())
        };
        let dumped = |parameter: &str| {
            let run =
                format!("[{{ run: [tool, \"{{{{ {parameter} }}}}\", \"{{{{ token }}}}\"] }}]");
            format!(
                "  probe: [{{ run: [tool, \"{{{{ {parameter} }}}}\"] }}]\n  streams: \
                 [{{ name: dump, run: [tool] }}]\n  recovery:\n    state: {run}\n    prepare: \
                 {run}\n    load: [{{ stream: dump, run: [tool, \"{{{{ token }}}}\"] }}]\n    \
                 verify: {run}\n    swap: {run}\n    commit: {run}\n    rollback: {run}\n    \
                 discard: {run}\n"
            )
        };
        Arc::new(BTreeMap::from([
            template("directory", "path", "  tree: { path: \"{{ path }}\" }\n"),
            template("sqlite", "path", &dumped("path")),
            template("postgres", "database", &dumped("database")),
        ]))
    };
    BUILTIN.get_or_init(made).clone()
}

/// Returns what the real runtime works with, in the hands of an actor.
pub fn wire(shared: &SharedWorld, actor: usize) -> runtime::World {
    let ports = || Ports::new(shared.clone(), actor);
    runtime::World {
        source: Arc::new(SimulatedSource(ports())),
        engine: Arc::new(SimulatedEngine(ports())),
        agents: Arc::new(SimulatedAgents(ports())),
        state: Arc::new(SimulatedState(ports())),
        clock: Arc::new(SimulatedClock(ports())),
        builtin: builtin(),
        on_config: Arc::new(|_| {}),
        hostname: "here".to_owned(),
        limits: Limits::default(),
        remembered: shared.lock().remembered.clone(),
    }
}

/// Tells the checks what those see who watch.
struct Watching {
    shared: SharedWorld,
    actor: usize,
}

impl Observer for Watching {
    fn event(&self, event: RunEvent) {
        if let RunEvent::StepEnded { step, outcome } = event {
            self.shared.lock().on_ended(self.actor, &step, &outcome);
        }
    }
}

impl PassListener for Watching {
    fn passed(&self, report: &PassReport<'_>) {
        let mut world = self.shared.lock();
        world.rests_between(self.actor);
        match (&report.pass, &report.error) {
            (Some(pass), _) => {
                world.on_passed(self.actor);
                world.show(pass);
                let steps = pass.plan.steps.len();
                world.note(format_args!("[{}] passed: {steps} steps", self.actor));
                // Every fourth is enough to see a plan that depends on more than it may, and saves
                // a tenth of a run's time.
                let fetches = world.counts.get(&Op::SourceFetch).copied().unwrap_or(0);
                let again = (fetches % 4 == 1)
                    .then(|| plan::plan(&pass.desired, &pass.observed, pass.plan.at));
                if again.is_some_and(|again| again != pass.plan) {
                    world.broke("P3", "the same inputs give another plan");
                }
            }
            (None, error) => {
                let error = error.clone().unwrap_or_default();
                world.note(format_args!("[{}] no pass: {error}", self.actor));
                if error.contains("breaks a promise") {
                    world.broke("convergence", format!("a plan was refused: {error}"));
                }
            }
        }
    }
}

/// Who writes.
pub(crate) fn owner(command: &str, actor: usize, clock: &dyn Clock) -> Owner {
    Owner {
        command: command.to_owned(),
        host: "here".to_owned(),
        pid: u32::try_from(actor).unwrap_or(0),
        since: clock.now(),
    }
}

/// A daemon as its service manager runs it: it waits for the memory, works, and begins again.
async fn daemon(shared: SharedWorld, actor: usize, interval: Duration, cancel: Cancel) {
    let world = wire(&shared, actor);
    let watching = Arc::new(Watching { shared, actor });
    let observer: Arc<dyn Observer> = watching.clone();
    let options = DaemonOptions { interval, passes_max: None };
    while !cancel.is_cancelled() {
        let owner = owner("daemon", actor, &*world.clock);
        match runtime::resume::begin_writing(&world, &owner).await {
            Ok(lease) => {
                let run =
                    runtime::daemon::run(&world, &*lease, &options, &observer, &*watching, &cancel);
                run.await;
            }
            Err(_) => world.clock.sleep(TRY_AGAIN).await,
        }
    }
}

/// A daemon that runs.
pub(crate) struct Running {
    pub(crate) actor: usize,
    pub(crate) handle: JoinHandle<()>,
    pub(crate) cancel: Cancel,
}

/// Plays a scenario.
pub(crate) struct Director {
    pub(crate) shared: SharedWorld,
    pub(crate) scenario: Scenario,
    pub(crate) first: Option<Running>,
    pub(crate) second: Option<Running>,
    /// What the configuration asks for at the head of the branch.
    pub(crate) documents: documents::Documents,
}

impl Director {
    fn new(shared: SharedWorld, scenario: Scenario) -> Self {
        let documents = scenario.documents.clone();
        Self { shared, scenario, first: None, second: None, documents }
    }

    async fn direct(mut self) {
        self.first = Some(self.start(0, 0));
        let events = std::mem::take(&mut self.scenario.events);
        for (at, event) in events {
            if !self.wait_until(BEGIN_MS + at).await {
                return;
            }
            self.happen(event).await;
        }
        if self.wait_until(BEGIN_MS + self.scenario.length_ms).await {
            self.come_to_rest().await;
        }
    }

    /// Starts a daemon on a memory.
    pub(crate) fn start(&self, state: usize, skew_ms: i64) -> Running {
        let actor = self.enter(state, skew_ms, false);
        let interval = Duration::from_secs(self.scenario.interval_min * 60);
        let cancel = Cancel::default();
        let work = daemon(self.shared.clone(), actor, interval, cancel.clone());
        Running { actor, handle: tokio::spawn(work), cancel }
    }

    /// Adds an actor.
    pub(crate) fn enter(&self, state: usize, skew_ms: i64, by_hand: bool) -> usize {
        let mut world = self.shared.lock();
        world.actors.push(Actor { state, skew_ms, by_hand, ..Actor::default() });
        let actor = world.actors.len() - 1;
        world.note(format_args!("[{actor}] starts on state {state}"));
        actor
    }

    /// Lets time pass up to an instant, and starts again who dies meanwhile. Returns false when a
    /// promise was broken.
    async fn wait_until(&mut self, until_ms: i64) -> bool {
        loop {
            let (time, died, broken) = {
                let world = self.shared.lock();
                (world.time.clone(), world.died.clone(), !world.broken.is_empty())
            };
            if broken {
                return false;
            }
            let left_ms = until_ms - time.now_ms();
            if left_ms <= 0 {
                return true;
            }
            // A look at the promises now and then, so that a run ends soon after one is broken.
            let nap_ms = left_ms.min(30 * 60_000);
            tokio::select! {
                biased;
                () = died.notified() => self.bury().await,
                () = time.sleep_ms(nap_ms) => {}
            }
        }
    }

    /// Takes away who was killed, and starts them again on what is left of their memory.
    pub(crate) async fn bury(&mut self) {
        for second in [false, true] {
            let slot = if second { &mut self.second } else { &mut self.first };
            let Some(running) = slot else { continue };
            let actor = running.actor;
            let dead = self.shared.lock().actors[actor].dead;
            if !dead {
                continue;
            }
            if let Some(running) = slot.take() {
                running.handle.abort();
                let _ = running.handle.await;
            }
            let (state, skew_ms, time) = {
                let mut world = self.shared.lock();
                let (state, skew_ms) = (world.actors[actor].state, world.actors[actor].skew_ms);
                let fate = world.actors[actor].fate.unwrap_or(Fate::Kept);
                world.forget_state(state, fate);
                (state, skew_ms, world.time.clone())
            };
            time.sleep_ms(RESTART_MS).await;
            let running = self.start(state, skew_ms);
            *(if second { &mut self.second } else { &mut self.first }) = Some(running);
        }
    }

    /// Stops a daemon as its service manager does, and waits for its end.
    pub(crate) async fn stop(&mut self, second: bool) -> Option<(usize, i64)> {
        let running = if second { self.second.take() } else { self.first.take() }?;
        running.cancel.cancel();
        let mut handle = running.handle;
        if self.unless_killed(running.actor, &mut handle).await.is_none() {
            handle.abort();
            let _ = handle.await;
        }
        let mut world = self.shared.lock();
        let (state, skew_ms) =
            (world.actors[running.actor].state, world.actors[running.actor].skew_ms);
        if let Some(fate) = world.actors[running.actor].fate {
            world.forget_state(state, fate);
        }
        world.actors[running.actor].dead = true;
        Some((state, skew_ms))
    }

    /// Waits for the end of what an actor does; `None`: it was killed before.
    pub(crate) async fn unless_killed<T>(
        &self,
        actor: usize,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let died = self.shared.lock().died.clone();
        let mut work = std::pin::pin!(work);
        let mut another = false;
        let done = loop {
            if self.shared.lock().actors[actor].dead {
                break None;
            }
            tokio::select! {
                biased;
                done = &mut work => break Some(done),
                () = died.notified() => another |= !self.shared.lock().actors[actor].dead,
            }
        };
        if another {
            // Who else died meanwhile is still to be buried.
            died.notify_one();
        }
        done
    }
}

impl World {
    /// Tells what a pass saw and planned, to those who read the trace.
    pub(crate) fn show(&mut self, pass: &Pass) {
        if self.trace.is_none() {
            return;
        }
        let report = &pass.plan.report;
        for (address, condition) in report.conditions.iter() {
            self.remark(format_args!("{address} is {}", condition.word()));
        }
        for step in &pass.plan.steps {
            let waits: Vec<String> = step.waits.iter().map(plan::render::wait).collect();
            self.remark(format_args!("step {} {}", step.id, waits.join("; ")));
        }
        for deferred in &report.deferred {
            self.remark(format_args!("not {}: {}", deferred.step, deferred.reason));
        }
        for note in &report.notes {
            self.remark(format_args!("note {note}"));
        }
    }

    /// What is left of a memory after a kill.
    pub(crate) fn forget_state(&mut self, state: usize, fate: Fate) {
        let copy = self.copies.get(&state).cloned().filter(|_| fate == Fate::Old);
        let accepted = self.states[state].approved.clone();
        match fate {
            Fate::Kept => return,
            Fate::Lost | Fate::Old => {
                let old = copy.unwrap_or_default();
                let doubt = old.doubted_since(self.now_ms());
                self.states[state] = StateStore {
                    doubt: Some(doubt),
                    ever_doubted: true,
                    approved: accepted,
                    ..old
                };
            }
        }
        self.note(format_args!("state {state} is {fate:?}"));
    }
}

/// Used by `events` to do what an event says.
pub(crate) fn thing_name(scenario: &Scenario, at: usize) -> String {
    let resources = &scenario.documents.resources;
    resources.get(at % resources.len().max(1)).map_or_else(String::new, |r| r.name.clone())
}

/// The event list is private to the director while it plays.
pub(crate) type Happening = Event;
