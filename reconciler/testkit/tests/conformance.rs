//! The simulated ports, held to the suites that the real ones are held to.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use mainstay_testkit::conformance::agents::{Subject, conformance as agents};
use mainstay_testkit::conformance::source::Subject as Git;
use mainstay_testkit::conformance::{clock, engine, secrets, source, state};
use mainstay_testkit::ports::Ports;
use mainstay_testkit::ports::agents::SimulatedAgents;
use mainstay_testkit::ports::clock::SimulatedClock;
use mainstay_testkit::ports::engine::SimulatedEngine;
use mainstay_testkit::ports::secrets::SimulatedSecrets;
use mainstay_testkit::ports::source::SimulatedSource;
use mainstay_testkit::ports::state::SimulatedState;
use mainstay_testkit::time;
use mainstay_testkit::world::content::{DUMP, Files};
use mainstay_testkit::world::states::StateStore;
use mainstay_testkit::world::things::{Kind, Thing};
use mainstay_testkit::world::{Actor, SharedWorld, World};
use model::agent::{Agent, SecretRef, Tree};
use model::desired::{FailureDomain, RepositorySpec, StorageSpec};
use model::digest::Digest;
use model::id::CommitId;
use model::ports::Boxed;
use model::ports::agents::Beside;

fn world() -> SharedWorld {
    let mut world = World::new(1, Vec::new());
    world.states.push(StateStore::default());
    world.actors.push(Actor { by_hand: true, ..Actor::default() });
    SharedWorld::new(world)
}

/// Runs a suite in simulated time.
fn run(shared: &SharedWorld, work: impl Future<Output = ()> + 'static) {
    let time = shared.lock().time.clone();
    assert_eq!(time::run(&time, work), Some(()), "nobody waits for ever");
}

#[test]
fn the_simulated_state_conforms() {
    let shared = world();
    shared.lock().actors.push(Actor::default());
    let (one, two) = (Ports::new(shared.clone(), 0), Ports::new(shared.clone(), 1));
    run(&shared, async move {
        state::conformance(&SimulatedState(one), &SimulatedState(two)).await;
    });
}

#[test]
fn the_simulated_clock_conforms() {
    let shared = world();
    let ports = Ports::new(shared.clone(), 0);
    run(&shared, async move { clock::conformance(&SimulatedClock(ports)).await });
}

#[test]
fn the_simulated_secrets_conform() {
    let known = BTreeMap::from([("known".to_owned(), b"a-value".to_vec())]);
    secrets::conformance(&SimulatedSecrets(known), "known", b"a-value", "missing");
}

/// The suite's hands on simulated git.
struct Branch(SharedWorld);

impl Git for Branch {
    fn commit(&mut self, parent: Option<&CommitId>, files: &[(&str, &str)]) -> CommitId {
        let files: BTreeMap<String, Vec<u8>> = files
            .iter()
            .map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec()))
            .collect();
        let mut world = self.0.lock();
        let parent = parent.and_then(|id| world.history.find(id));
        let number = world.history.push(parent, files, None);
        world.history.commits[number].id.clone()
    }

    fn point_to(&mut self, commit: &CommitId) {
        let mut world = self.0.lock();
        let number = world.history.find(commit).unwrap();
        world.history.point_to(number);
    }

    fn cut_off(&mut self, cut_off: bool) {
        self.0.lock().history.cut_off = cut_off;
    }
}

#[test]
fn the_simulated_source_conforms() {
    let shared = world();
    let ports = Ports::new(shared.clone(), 0);
    let mut branch = Branch(shared.clone());
    run(&shared, async move { source::conformance(&SimulatedSource(ports), &mut branch).await });
}

#[test]
fn the_simulated_engine_conforms() {
    let shared = world();
    let ports = Ports::new(shared.clone(), 0);
    let spec = RepositorySpec {
        name: "near".parse().unwrap(),
        storage: StorageSpec::Local { path: "/stores/near".to_owned(), mount_point: false },
        password: SecretRef("near".to_owned()),
        id: None,
        failure_domain: FailureDomain::default(),
        medium: None,
        append_only: false,
        immutable: false,
        offline: false,
    };
    run(&shared, async move { engine::conformance(&SimulatedEngine(ports), &spec).await });
}

/// A simulated thing whose content can be told apart.
struct Played {
    shared: SharedWorld,
    kind: Kind,
    in_place: bool,
}

const PLACE: &str = "/srv/thing";

fn rows(word: &str) -> Files {
    Files::from([("word".to_owned(), word.as_bytes().to_vec())])
}

impl Played {
    fn set(&self, word: Option<&str>) {
        let mut world = self.shared.lock();
        let mut thing = Thing::new(self.kind, self.in_place, rows(word.unwrap_or("")), 0);
        if word.is_none() {
            thing.live = None;
        }
        world.things.insert(PLACE.to_owned(), thing);
    }
}

impl Subject for Played {
    fn agent(&self) -> Agent {
        let template = match self.kind {
            Kind::Folder => "directory",
            Kind::File => "sqlite",
            Kind::Server => "postgres",
        };
        let path = PLACE.to_owned();
        Agent {
            template: template.parse().unwrap(),
            template_digest: Digest::from("t"),
            with: BTreeMap::from([("path".to_owned(), path.clone())]),
            env: BTreeMap::new(),
            tree: (self.kind == Kind::Folder).then(|| Tree { path, ..Tree::default() }),
            probe: Vec::new(),
            session: None,
            streams: Vec::new(),
            recovery: None,
            recreate: Vec::new(),
            errors: Vec::new(),
        }
    }

    fn reset(&self) -> Boxed<'_, ()> {
        self.set(Some("original"));
        Box::pin(std::future::ready(()))
    }

    fn lose(&self) -> Boxed<'_, ()> {
        self.set(None);
        Box::pin(std::future::ready(()))
    }

    fn load(&self, beside: Beside) -> Boxed<'_, ()> {
        match beside {
            Beside::Folder { path, .. } => {
                let mut world = self.shared.lock();
                let token = path.split_once('#').unwrap().1.to_owned();
                let thing = world.things.get_mut(PLACE).unwrap();
                let recovery = thing.recoveries.get_mut(&token).unwrap();
                recovery.beside = Some(std::sync::Arc::new(rows("restored")));
            }
            Beside::Streams(sinks) => {
                let dump = mainstay_testkit::world::content::dump(&rows("restored"), 3);
                for mut named in sinks {
                    assert_eq!(named.name, DUMP);
                    named.sink.write_all(&dump).unwrap();
                    named.sink.finish().unwrap();
                }
            }
        }
        Box::pin(std::future::ready(()))
    }

    fn read(&self) -> Boxed<'_, Option<String>> {
        let world = self.shared.lock();
        let live = world.things[PLACE].live.clone();
        let word = live.map(|l| String::from_utf8(l.rows["word"].clone()).unwrap());
        Box::pin(std::future::ready(word))
    }
}

#[test]
fn the_simulated_things_conform() {
    for kind in [Kind::Folder, Kind::File, Kind::Server] {
        for in_place in [false, true] {
            let shared = world();
            let played = Played { shared: shared.clone(), kind, in_place };
            let inner = shared.clone();
            run(&shared, async move {
                let make = || -> Box<dyn model::ports::agents::Agents> {
                    Box::new(SimulatedAgents(Ports::new(inner.clone(), 0)))
                };
                agents(&make, &played).await;
            });
        }
    }
}
