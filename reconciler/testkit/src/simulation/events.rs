//! Does what the events of a scenario say.

use std::sync::Arc;

use super::{Director, Happening, thing_name, value};
use crate::documents::{self, RecoveryDoc};
use crate::faults::Fate;
use crate::scenario::{Event, Push};
use crate::world::states::StateStore;
use crate::world::stores::Store;
use crate::world::things::{Kind, Live, Thing};

impl Director {
    /// Lets one thing happen.
    pub(crate) async fn happen(&mut self, event: Happening) {
        self.shared.lock().note(format_args!("--- {event:?}"));
        match event {
            Event::Kill(fate) => self.kill(fate).await,
            Event::Restart => {
                if let Some((state, skew_ms)) = self.stop(false).await {
                    self.first = Some(self.start(state, skew_ms));
                }
            }
            Event::PersonLooks => self.person_looks().await,
            Event::PersonEnds(thing, commit) => self.person_ends(thing, commit).await,
            Event::SecondDaemon => {
                if self.second.is_none() {
                    self.second = Some(self.start(0, 0));
                }
            }
            Event::OtherDaemon => {
                if self.second.is_none() {
                    let state = {
                        let mut world = self.shared.lock();
                        world.states.push(StateStore::default());
                        world.states.len() - 1
                    };
                    // What is new knows nothing, which is as good as having forgotten it.
                    let mut world = self.shared.lock();
                    let doubt = world.states[state].doubted_since(world.now_ms());
                    world.states[state].doubt = Some(doubt);
                    drop(world);
                    self.second = Some(self.start(state, 0));
                }
            }
            Event::SecondEnds => {
                self.stop(true).await;
            }
            Event::ClockJumps(minutes) => {
                let mut world = self.shared.lock();
                let now_ms = world.now_ms();
                for actor in world.actors.iter_mut().filter(|actor| !actor.dead) {
                    actor.skew_ms += minutes * 60_000;
                    actor.skewed_ms = now_ms;
                }
            }
            Event::CopyState => self.shared.lock().keep_copy(0),
            Event::CutGit(cut) => self.shared.lock().history.cut_off = cut,
            Event::Push(push) => self.push(push),
            Event::ForceBack(commits) => self.force_back(commits),
            other => self.outside(other),
        }
    }

    async fn kill(&mut self, fate: Fate) {
        let Some(actor) = self.first.as_ref().map(|running| running.actor) else { return };
        {
            let mut world = self.shared.lock();
            world.actors[actor].dead = true;
            world.actors[actor].fate = Some(fate);
        }
        self.bury().await;
    }

    /// What happens to things and stores.
    fn outside(&mut self, event: Event) {
        match event {
            Event::Write(thing) => self.write(thing),
            Event::Lose(thing) => self.disturb(thing, |thing, _| thing.live = None),
            Event::Empty(thing) => self.disturb(thing, |thing, _| {
                if let Some(live) = &mut thing.live {
                    live.rows = Arc::default();
                }
            }),
            Event::Damage(thing) => self.disturb(thing, |thing, _| {
                if let Some(live) = &mut thing.live {
                    live.damaged = true;
                }
            }),
            Event::Mend(thing) => self.disturb(thing, mend),
            Event::Unreadable(thing, is) => self.disturb(thing, |thing, _| {
                thing.unreadable = is.then(|| "f0".to_owned());
            }),
            Event::GoBack(thing, writes) => {
                self.disturb(thing, |thing, _| go_back(thing, writes));
            }
            Event::Replace(thing) => self.disturb(thing, |thing, number| {
                thing.server = (thing.server.0 + 1, 10);
                let rows = [("other".to_owned(), value(number))].into();
                let (identity, position) = thing.server;
                thing.live =
                    Some(Live { rows: Arc::new(rows), identity, position, damaged: false });
            }),
            Event::CutThing(thing, cut) => self.disturb(thing, |thing, _| thing.reachable = !cut),
            Event::CutSite(cut) => {
                for thing in 0..self.scenario.documents.resources.len() {
                    self.disturb(thing, |thing, _| thing.reachable = !cut);
                }
                for store in 0..self.scenario.documents.repositories.len() {
                    self.store(store, |store, _| store.cut_off = cut);
                }
            }
            Event::CutStore(store, cut) => self.store(store, |store, _| store.cut_off = cut),
            Event::FillStore(store, full) => self.store(store, |store, _| store.full = full),
            Event::TakeStore(store, true) => self.store(store, |store, now_ms| {
                if store.body.is_some() {
                    store.taken = store.body.take();
                    store.went_back_ms = Some(now_ms);
                }
            }),
            Event::TakeStore(store, false) => self.store(store, bring_back),
            Event::CopyStore(store) => self.store(store, |store, _| {
                store.copy.clone_from(&store.body);
            }),
            Event::StoreGoesBack(store) => self.store(store, |store, now_ms| {
                if let (Some(copy), Some(body)) = (&store.copy, &mut store.body) {
                    let before = std::mem::replace(body, copy.clone());
                    body.was_proven_as(&before);
                    store.went_back_ms = Some(now_ms);
                }
            }),
            Event::Rot(store) => self.store(store, rot),
            Event::DeletePoint(store) => self.store(store, |store, now_ms| {
                let Some(body) = &mut store.body else { return };
                let newest = body.points().max_by_key(|p| p.made_ms).map(|p| p.info.id.clone());
                if let Some(id) = newest {
                    body.snaps.remove(&id);
                    store.went_back_ms = Some(now_ms);
                }
            }),
            _ => {}
        }
    }

    /// Somebody works with a thing.
    pub(crate) fn write(&mut self, at: usize) {
        let place = documents::place(&thing_name(&self.scenario, at));
        let mut world = self.shared.lock();
        let (now_ms, number) = (world.now_ms(), world.give());
        let Some(thing) = world.things.get_mut(&place) else { return };
        thing.server.1 += 3;
        let server = thing.server;
        if let Some(live) = thing.live.as_mut().filter(|live| !live.damaged) {
            let rows = Arc::make_mut(&mut live.rows);
            rows.insert(format!("f{}", number % 5), value(number));
            match thing.kind {
                Kind::Server => (live.identity, live.position) = server,
                Kind::Folder | Kind::File => live.position += 3,
            }
        }
        thing.note(now_ms);
    }

    /// Something that is no ordinary write happens to a thing.
    fn disturb(&mut self, at: usize, change: impl FnOnce(&mut Thing, u64)) {
        let place = documents::place(&thing_name(&self.scenario, at));
        let mut world = self.shared.lock();
        let (now_ms, number) = (world.now_ms(), world.give());
        let Some(thing) = world.things.get_mut(&place) else { return };
        change(thing, number);
        thing.disturbed_ms = now_ms;
        thing.note(now_ms);
    }

    fn store(&mut self, at: usize, change: impl FnOnce(&mut Store, i64)) {
        let repositories = &self.scenario.documents.repositories;
        let Some((name, _)) = repositories.get(at % repositories.len().max(1)) else { return };
        let mut world = self.shared.lock();
        let now_ms = world.now_ms();
        if let Some(store) = world.stores.get_mut(&documents::store(name)) {
            change(store, now_ms);
        }
    }

    /// A person pushes a commit.
    pub(crate) fn push(&mut self, push: Push) {
        let mut world = self.shared.lock();
        let parent = Some(world.history.head);
        let mut next = self.documents.clone();
        match push {
            Push::Recovery(doc) => next.recoveries = vec![RecoveryDoc { ..doc }],
            Push::Trigger(token) => next.triggers = vec![token],
            Push::Drop(name) => {
                next.resources.retain(|resource| resource.name != name);
                next.recoveries.retain(|recovery| recovery.resource != name);
            }
            Push::Restore => {
                let first = self.scenario.documents.clone();
                next = documents::Documents { repositories: next.repositories, ..first };
            }
            Push::KeepLast(count) => next.keep_last = Some(count),
            Push::Held(held) => next.held = held,
            Push::Pin => {
                for (name, pinned) in &mut next.repositories {
                    let store = world.stores.get(&documents::store(name));
                    let body = store.and_then(|store| store.body.as_ref());
                    if let Some(body) = body {
                        *pinned = Some(body.id.to_string());
                    }
                }
            }
            Push::Empty => {
                world.history.push(parent, Default::default(), None);
                return;
            }
            Push::Broken => {
                let mut files = next.files();
                files.insert("more.yaml".into(), b"kind: [what is this".to_vec());
                world.history.push(parent, files, None);
                return;
            }
        }
        if next.resources.is_empty() {
            return;
        }
        world.history.push(parent, next.files(), Some(next.clone()));
        drop(world);
        self.documents = next;
    }

    fn force_back(&mut self, commits: usize) {
        let mut world = self.shared.lock();
        let mut at = world.history.head;
        for _ in 0..commits {
            at = world.history.commits[at].parent.unwrap_or(at);
        }
        world.history.point_to(at);
        if let Some(documents) = world.history.commits[at].documents.clone() {
            drop(world);
            self.documents = documents;
        }
    }
}

/// A person brings a thing back as it last was.
fn mend(thing: &mut Thing, number: u64) {
    if thing.live.as_ref().is_some_and(|live| !live.damaged && !live.rows.is_empty()) {
        return;
    }
    let newest = thing.history.iter().rev().map(|(_, stored)| stored).find(|s| !s.is_empty());
    let newest = newest.cloned();
    thing.live = newest.and_then(|stored| thing.revived(&stored));
    if let (Kind::File, Some(live)) = (thing.kind, &mut thing.live) {
        live.position += 1;
        Arc::make_mut(&mut live.rows).insert("mended".to_owned(), value(number));
    }
}

fn go_back(thing: &mut Thing, writes: usize) {
    let Some(live) = thing.live.clone() else { return };
    let Some(older) = thing.history.len().checked_sub(writes + 1) else { return };
    let stored = thing.history[older].1.clone();
    let (rows, position) = match stored.get(crate::world::content::DUMP) {
        Some(bytes) => match crate::world::content::load(bytes) {
            Some((rows, position)) => (Arc::new(rows), position),
            None => return,
        },
        None => (stored, live.position),
    };
    thing.live = Some(Live { rows, position, ..live });
    if thing.kind == Kind::Server {
        thing.server.1 = position;
    }
}

/// What was taken away comes back, unless something else was put there meanwhile.
pub(crate) fn bring_back(store: &mut Store, now_ms: i64) {
    if let Some(taken) = store.taken.take() {
        store.body = Some(taken);
        store.went_back_ms = Some(now_ms);
    }
}

fn rot(store: &mut Store, now_ms: i64) {
    store.rotted_ms = Some(now_ms);
    let Some(body) = &mut store.body else { return };
    let newest = body.points().max_by_key(|point| point.made_ms);
    let Some(key) = newest.and_then(|point| point.files.values().next().copied()) else { return };
    if let Some(blob) = body.blobs.get_mut(&key) {
        blob.damaged = true;
    }
}
