//! What is removed: points, stored data, and what recoveries kept. P1, P2, P4 and P8.

use model::id::{Address, SnapshotId};
use model::plan::Action;
use model::receipt::Receipt;

use super::TOLERANCE_MS;
use crate::documents;
use crate::world::World;
use crate::world::stores::Body;
use crate::world::things::Kind;

/// Things that make a mass loss, as `docs/semantics.md` says: at least so many, and more than this
/// per cent.
const MASS_LOSS_MIN: usize = 3;
const MASS_LOSS_PERCENT: usize = 40;

impl World {
    /// Nothing is removed while git, our memory, the clock or the fleet went back or away and
    /// nobody has accepted that (P4, P8).
    pub(crate) fn removal(&mut self, actor: usize, what: &str) {
        self.doubted(actor, what);
        let accepted = &self.states[self.actors[actor].state].accepted;
        let clock_accepted = accepted.iter().any(|word| word.starts_with("clock:"));
        let now_ms = self.clock_ms(actor);
        // What a pass decided by a clock that was right then stays right when the clock jumps.
        let was_right = self.actors[actor].skewed_ms > self.actors[actor].pass.since_ms;
        if let Some(newest) = self.newest_visible(actor)
            && !was_right
            && newest.as_millisecond() - now_ms > TOLERANCE_MS
            && !clock_accepted
            && !self.actors[actor].by_hand
        {
            self.broke("P8", format!("{what} although the clock is behind {newest}"));
        }
    }

    /// The part of [`World::removal`] that holds adoptions too.
    pub(crate) fn doubted(&mut self, actor: usize, what: &str) {
        if let Some(why) = self.git_went_back(actor) {
            self.broke("P8", format!("{what} although {why}"));
        }
        if let Some(why) = self.memory_went_back(actor) {
            self.broke("P4", format!("{what} although {why}"));
        }
        if let Some(why) = self.fleet_is_gone(actor) {
            self.broke("P1", format!("{what} although {why}"));
        }
    }

    pub(crate) fn git_went_back(&self, actor: usize) -> Option<String> {
        if self.actors[actor].by_hand {
            return None;
        }
        let state = &self.states[self.actors[actor].state];
        let (now, applied) = (self.actors[actor].pass.commit?, state.lineage.applied?);
        let commit = self.history.commits.get(now)?;
        let accepted = state.accepted.contains(&format!("commit:{}", commit.id));
        // What was never fetched by this memory cannot be compared, and what git does not say
        // proves nothing: `docs/scenarios/config-git-lost.md`.
        let untold = self.actors[actor].pass.untold;
        let comparable = state.lineage.fetched.contains(&applied) && !untold;
        (comparable && !accepted && !self.history.descends(now, applied)).then(|| {
            format!("commit {} does not descend from the one that was applied", commit.id.short())
        })
    }

    pub(crate) fn memory_went_back(&self, actor: usize) -> Option<String> {
        if self.actors[actor].by_hand {
            return None;
        }
        let doubt = self.states[self.actors[actor].state].doubt.as_ref()?;
        self.could_notice(actor, doubt)
            .then(|| "our memory was lost or went back, and nobody has accepted that".to_owned())
    }

    pub(crate) fn fleet_is_gone(&self, actor: usize) -> Option<String> {
        let asked = self.asked(actor)?;
        let since_ms = self.actors[actor].pass.since_ms;
        let gone = asked.resources.iter().filter(|resource| {
            let thing = self.things.get(&documents::place(&resource.name));
            thing.is_some_and(|thing| {
                let declared = thing.empty_by_word && thing.live.is_some();
                thing.was_away(since_ms, self.now_ms()) && thing.history.len() > 1 && !declared
            })
        });
        let gone = gone.count();
        let much = gone * 100 > asked.resources.len() * MASS_LOSS_PERCENT;
        let state = &self.states[self.actors[actor].state];
        let accepted = state.accepted.iter().any(|word| word.starts_with("mass-loss:"));
        (gone >= MASS_LOSS_MIN && much && !accepted)
            .then(|| format!("{gone} things are gone at once"))
    }

    /// Whether a thing shows that it went back since its newest point, so that anybody can see it
    /// who looks with this clock. Newest is what is stamped last and not ahead of the clock: after
    /// a clock went wrong, nothing beside the data tells which point was made last.
    pub(crate) fn shows_going_back(
        &self,
        place: &str,
        clock_ms: i64,
        but: Option<&SnapshotId>,
    ) -> bool {
        let Some(thing) = self.things.get(place) else { return false };
        let Some(live) = &thing.live else { return false };
        let points = self.stores.values().filter_map(|store| store.body.as_ref());
        let receipts = points
            .flat_map(|body| body.points())
            .filter(|point| but != Some(&point.info.id))
            .filter_map(|point| Some((point.info.receipt.as_ref()?, point.made_ms)))
            .filter(|(of, _)| documents::place(of.address.resource.as_str()) == place)
            .filter(|(of, _)| of.complete)
            .filter(|(of, _)| of.taken_at.as_millisecond() <= clock_ms + TOLERANCE_MS);
        let newest = receipts.max_by_key(|(receipt, _)| receipt.taken_at);
        // One of before it was last found to be right says nothing.
        let Some((newest, made_ms)) = newest else { return false };
        if made_ms <= thing.measured_since_ms {
            return false;
        }
        let was = &newest.marker;
        let is_behind = |name: &str| was.counters.get(name).is_some_and(|at| live.position < *at);
        match thing.kind {
            Kind::Folder => false,
            Kind::File => is_behind("changes"),
            Kind::Server => was.identity != thing.marker(live).identity || is_behind("lsn"),
        }
    }

    /// Points are about to be forgotten.
    pub fn on_forget(&mut self, actor: usize, path: &str, ids: &[SnapshotId]) {
        let planned = |action: &Action| match action {
            Action::Expire { repository, snapshots, .. } => {
                documents::store(repository.as_str()) == path
                    && ids.iter().all(|id| snapshots.contains(id))
            }
            _ => false,
        };
        if !self.runs(actor, planned) {
            self.broke("P3", format!("points at {path} go by no step"));
        }
        let Some(body) = self.stores.get(path).and_then(|store| store.body.clone()) else { return };
        self.removal(actor, &format!("points at {path} go"));
        // What goes back between the last look at it and the write cannot be known.
        let looked_ms = self.actors[actor].pass.looked_ms.get(path).copied();
        let went_back = self.stores.get(path).is_some_and(|store| store.went_back_ms > looked_ms);
        for id in ids {
            let Some(snap) = body.snaps.get(id) else { continue };
            let Some(address) = &snap.info.address else {
                self.broke("P1", format!("{} is not ours and goes", id.short()));
                continue;
            };
            let name = address.resource.as_str();
            let empty = !was_full(&body, address) || self.known_empty(actor, &body, address);
            self.point_may_go(actor, name, id, empty);
            let stays = body.points().any(|other| {
                !ids.contains(&other.info.id)
                    && other.info.address.as_ref() == Some(address)
                    && other.proven
                    && other.info.receipt.as_ref().is_some_and(|receipt| receipt.complete)
            });
            if !stays && !went_back {
                self.broke("P2", format!("no proven point of {address} stays at {path}"));
            }
        }
    }

    /// Whether a thing was made empty by declaration, and its newest point says so with a person's
    /// yes.
    fn known_empty(&self, actor: usize, body: &Body, address: &Address) -> bool {
        let place = documents::place(address.resource.as_str());
        let declared = self.things.get(&place).is_some_and(|thing| thing.empty_by_word);
        let points = body.points().filter(|of| of.info.address.as_ref() == Some(address));
        let newest = points.max_by_key(|point| point.info.time);
        let receipt = newest.and_then(|point| Some((&point.info.id, point.info.receipt.as_ref()?)));
        let accepted = &self.states[self.actors[actor].state].accepted;
        let right = |id: &SnapshotId| accepted.contains(&format!("suspicious:{id}"));
        declared
            && receipt.is_some_and(|(id, receipt)| {
                receipt.marker.counts.values().all(|count| *count == 0)
                    && (receipt.suspicious.is_none() || right(id))
            })
    }

    /// A point goes only by a document, and only while its thing is there and as it should be.
    fn point_may_go(&mut self, actor: usize, name: &str, id: &SnapshotId, empty: bool) {
        let ruled = self.asked(actor).is_some_and(|asked| {
            asked.keep_last.is_some() && asked.resources.iter().any(|r| r.name == name)
        });
        if !ruled {
            self.broke("P1", format!("no document lets {} go", id.short()));
        }
        let (since_ms, now_ms) = (self.actors[actor].pass.since_ms, self.now_ms());
        let misled = self.actors[actor].pass.misled;
        let Some(thing) = self.things.get(&documents::place(name)) else { return };
        let (place, clock_ms) = (documents::place(name), self.clock_ms(actor));
        let went_back = self.shows_going_back(&place, clock_ms, None);
        // One that is empty, and of which no point ever held anything, was never seen otherwise.
        let rightly_empty = thing.reachable && thing.live.is_some() && empty;
        if thing.was_away(since_ms, now_ms) && !misled && !rightly_empty {
            self.broke("P1", format!("points of {name} go while it is away"));
            return;
        }
        let settled = thing.disturbed_ms < since_ms && !misled;
        let broken = thing.live.as_ref().is_some_and(|live| live.damaged);
        if settled && (broken || went_back) {
            self.broke("P8", format!("points of {name} go while it is not what it was"));
        } else if thing.open_recovery().is_some() && self.one_memory(actor) {
            self.broke("P7", format!("points of {name} go before its recovery is ended"));
        }
    }

    /// Whether everything that was ever done was done with one memory, which never was in doubt.
    pub(crate) fn one_memory(&self, actor: usize) -> bool {
        let state = &self.states[self.actors[actor].state];
        self.states.len() == 1 && !state.ever_doubted
    }

    /// Stored data is about to be pruned.
    pub fn on_reclaim(&mut self, actor: usize, path: &str) {
        let planned = |action: &Action| {
            matches!(action, Action::Reclaim { repository }
                if documents::store(repository.as_str()) == path)
        };
        if !self.runs(actor, planned) {
            self.broke("P3", format!("{path} is pruned by no step"));
        }
        self.removal(actor, &format!("{path} is pruned"));
    }
}

/// Whether any point of a resource says that there was something in it.
fn was_full(body: &Body, address: &Address) -> bool {
    let of = body.points().filter_map(|point| point.info.receipt.as_ref());
    of.filter(|receipt| receipt.address == *address).any(is_full)
}

/// Whether a point says that there was something in it; a dump of nothing is a file all the same.
pub(crate) fn is_full(receipt: &Receipt) -> bool {
    let counts = &receipt.marker.counts;
    counts.values().any(|count| *count > 0) || (counts.is_empty() && receipt.files > 0)
}
