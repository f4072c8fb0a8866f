//! What is called done. P5, P6, P7 and P8 of backups and of finished steps.

use model::id::{SnapshotId, StepId};
use model::journal::Outcome;
use model::plan::{Action, SnapshotRef};

use crate::documents;
use crate::world::World;

impl World {
    /// A point was written.
    pub fn on_backup(&mut self, actor: usize, path: &str, id: &SnapshotId) {
        let body = self.stores.get(path).and_then(|store| store.body.as_ref());
        let made = body.and_then(|body| body.snaps.get(id));
        let Some(receipt) = made.and_then(|made| made.info.receipt.clone()) else { return };
        let name = receipt.address.resource.as_str().to_owned();
        let place = documents::place(&name);
        let planned = |action: &Action| {
            matches!(action, Action::Backup { resource, repository, .. }
                if *resource == receipt.address && documents::store(repository.as_str()) == path)
        };
        if !self.runs(actor, planned) {
            self.broke("P3", format!("{name} is backed up by no step"));
        }
        let body = self.stores.get(path).and_then(|store| store.body.as_ref());
        if let (Some(slot), Some(body)) = (receipt.slot, body) {
            let visible = self.actors[actor].pass.stores.get(path);
            let twice = body.points().any(|other| {
                visible.is_some_and(|ids| ids.contains(&other.info.id))
                    && other.info.receipt.as_ref().is_some_and(|of| {
                        of.slot == Some(slot)
                            && of.address == receipt.address
                            && of.backup == receipt.backup
                    })
            });
            if twice && !self.actors[actor].pass.misled {
                self.broke("P5", format!("slot {slot} of {name} is served twice at {path}"));
            }
        }
        let misled = self.actors[actor].pass.misled;
        let last_ms = self.actors[actor].pass.probed.get(&place).map_or(0, |(_, l)| l.at_ms);
        let every_store = self.asked(actor).is_some_and(|asked| {
            let seen = &self.actors[actor].pass.stores;
            asked.repositories.iter().all(|(name, _)| seen.contains_key(&documents::store(name)))
        });
        let one_memory = self.one_memory(actor);
        // A point that a wrong clock has stamped in the future is no measure.
        let clock_ms = self.clock_ms(actor);
        let in_future = self
            .newest_visible(actor)
            .is_some_and(|newest| newest.as_millisecond() - clock_ms > super::TOLERANCE_MS);
        let shows = self.shows_going_back(&place, clock_ms, Some(id));
        let Some(thing) = self.things.get(&place) else { return };
        let settled = thing.disturbed_ms < last_ms && !misled;
        let went_back = shows && settled && every_store && !in_future;
        let paused = thing.open_recovery().is_some() && one_memory;
        if went_back {
            self.broke(
                "P8",
                format!("{name} went back in time, and that becomes its newest point"),
            );
        }
        if paused {
            self.broke("P7", format!("{name} is backed up before its recovery is ended"));
        }
    }

    /// A step is called finished to those who watch (P6).
    pub fn on_ended(&mut self, actor: usize, step: &StepId, outcome: &Outcome) {
        let Some(action) = self.actors[actor].running.remove(step) else { return };
        if outcome.is_success() {
            self.actors[actor].pass.done.insert(step.clone());
        }
        let class = crate::coverage::class(&action);
        self.coverage.met(class, if outcome.is_success() { "done" } else { "not-done" });
        let Outcome::Done { snapshot, .. } = outcome else { return };
        match &action {
            Action::Backup { resource, repository, .. } => {
                let place = documents::place(resource.resource.as_str());
                let path = documents::store(repository.as_str());
                if let Some(id) = snapshot {
                    self.point_is_true(actor, &place, &path, id);
                }
            }
            Action::Verify { snapshot: SnapshotRef::Id(id), repository, .. } => {
                let path = documents::store(repository.as_str());
                let body = self.stores.get(&path).and_then(|store| store.body.as_ref());
                if body.and_then(|body| body.snaps.get(id)).is_some_and(|snap| !snap.proven) {
                    self.broke("P6", format!("{step} is done, and nothing was read"));
                }
            }
            Action::Restore { token, resource, elsewhere: false, .. } => {
                let place = documents::place(resource.resource.as_str());
                if !self.things.get(&place).is_some_and(|thing| thing.swapped.contains_key(token)) {
                    self.broke("P6", format!("{step} is done, and nothing was put in place"));
                }
            }
            _ => {}
        }
    }

    /// A finished backup holds, whole, what was in place at some instant of its pass.
    fn point_is_true(&mut self, actor: usize, place: &str, path: &str, id: &SnapshotId) {
        let since_ms = self.actors[actor].pass.since_ms;
        let Some(store) = self.stores.get(path) else { return };
        let moved = store.went_back_ms.is_some_and(|at| at >= since_ms) || store.body.is_none();
        let Some(snap) = store.body.as_ref().and_then(|body| body.snaps.get(id)) else {
            if !moved {
                self.broke("P6", format!("a backup is done, and {} is not there", id.short()));
            }
            return;
        };
        let complete = snap.info.receipt.as_ref().is_some_and(|receipt| receipt.complete);
        let files = store.body.as_ref().and_then(|body| body.read(snap));
        // What rotted after it was written was true when it was.
        let rotted = files.is_none() && store.rotted_ms.is_some_and(|at| at >= snap.made_ms);
        let Some(thing) = self.things.get(place) else { return };
        let mut in_time = thing
            .history
            .iter()
            .enumerate()
            .filter(|(at, _)| thing.history.get(at + 1).is_none_or(|next| next.0 >= since_ms))
            .map(|(_, (_, stored))| stored);
        let true_content = files.is_some_and(|files| in_time.any(|stored| **stored == files));
        if !complete {
            self.broke("P6", format!("{} is partial and is called done", id.short()));
        } else if !true_content && !rotted {
            self.broke("P6", format!("{} holds what {place} never was", id.short()));
        }
    }
}
