//! After everything has calmed down: the world must come to rest within so many passes, a pass must
//! then do nothing, and everything that can be protected must be.

use std::sync::Arc;

use model::cancel::Cancel;
use model::plan::Wait;
use runtime::pass::Kept;
use runtime::{Observer, Pass};

use super::events::bring_back;
use super::{Director, Watching, owner, wire};
use crate::documents::{self, Proof, SECRET};
use crate::faults::Op;
use crate::scenario::Push;
use crate::world::World;
use crate::world::things::Stage;

/// Passes within which the world comes to rest. Restores, their proofs, the backups after them,
/// expiry and what a person is asked in between take about ten.
const PASSES_MAX: usize = 24;
/// Between two of these passes: longer than any backoff.
const BETWEEN_MS: i64 = 65 * 60_000;
/// Records that a memory of such a world holds at the most (P10).
const RECORDS_MAX: usize = 600;

impl Director {
    /// See the module.
    pub(crate) async fn come_to_rest(&mut self) {
        self.stop(true).await;
        self.stop(false).await;
        self.calm();
        let actor = self.enter(0, 0, false);
        let world = wire(&self.shared, actor);
        let owner = owner("daemon", actor, &*world.clock);
        let Ok(lease) = runtime::resume::begin_writing(&world, &owner).await else {
            self.shared.lock().broke("convergence", "the memory cannot be taken");
            return;
        };
        let watching = Arc::new(Watching { shared: self.shared.clone(), actor });
        let observer: Arc<dyn Observer> = watching.clone();
        let cancel = Cancel::default();
        let time = self.shared.lock().time.clone();
        let mut last = None;
        let mut kept = Kept::default();
        for _ in 0..PASSES_MAX {
            let result =
                runtime::daemon::one_pass(&world, &*lease, &mut kept, &observer, &cancel).await;
            if !self.shared.lock().broken.is_empty() {
                return;
            }
            let (pass, summary) = match result {
                Ok(done) => done,
                Err(error) => {
                    let mut world = self.shared.lock();
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    world.broke("convergence", format!("{error}: {}", cause.unwrap_or_default()));
                    return;
                }
            };
            self.shared.lock().on_passed(actor);
            self.shared.lock().show(&pass);
            let asked = self.decide(&pass.plan).await;
            // The time after which a policy ends a recovery comes by itself.
            let timed = |deferred: &model::plan::Deferred| deferred.code == "CommitTimeNotReached";
            let ended = pass.plan.report.deferred.iter().any(timed);
            let idle = summary.done == 0 && summary.failed == 0;
            let waits = summary
                .waiting
                .values()
                .flatten()
                .any(|wait| !matches!(wait, Wait::Backoff { .. } | Wait::Budget { .. }));
            if idle && !asked && !waits && !ended {
                last = Some(pass);
                break;
            }
            if !summary.waiting.is_empty() || summary.failed > 0 || ended {
                time.sleep_ms(BETWEEN_MS).await;
            }
        }
        let Some(pass) = last else {
            self.shared.lock().broke("convergence", "the world does not come to rest");
            return;
        };
        self.nothing_is_left(&pass);
        self.does_nothing(&world, &*lease, &observer, &cancel).await;
    }

    /// Everything works again, and the configuration is as at first.
    fn calm(&mut self) {
        {
            let mut world = self.shared.lock();
            world.calm = true;
            world.history.cut_off = false;
            let now_ms = world.now_ms();
            for thing in world.things.values_mut() {
                thing.reachable = true;
                thing.unreadable = None;
                thing.note(now_ms);
            }
            for store in world.stores.values_mut() {
                store.cut_off = false;
                store.full = false;
                bring_back(store, now_ms);
            }
            world.note(format_args!("--- calm"));
        }
        // A pin to what a person put elsewhere would be a person's mistake, not ours.
        for (_, pinned) in &mut self.documents.repositories {
            *pinned = None;
        }
        // A thing that is restored because it is damaged, and rolled back because nobody decided,
        // is damaged again: such a policy never comes to rest, so a person takes it back.
        if matches!(self.scenario.documents.then, documents::Then::Rollback(_)) {
            self.scenario.documents.then = documents::Then::Wait;
        }
        // A budget smaller than what comes to be removed lets it go in many passes: a person widens
        // it.
        self.scenario.documents.expiries_a_run = None;
        self.push(Push::Restore);
    }

    /// Holds the end of the world against what could be.
    fn nothing_is_left(&self, pass: &Pass) {
        let mut world = self.shared.lock();
        for resource in &self.scenario.documents.resources {
            world.thing_is_safe(&self.scenario.documents, &resource.name);
        }
        let state = &world.states[0];
        let records: usize = state.records.values().map(std::collections::BTreeMap::len).sum();
        if records > RECORDS_MAX {
            world.broke("P10", format!("the memory holds {records} records"));
        }
        world.no_secret_leaked(pass);
    }

    async fn does_nothing(
        &self,
        world: &runtime::World,
        lease: &dyn model::ports::state::Lease,
        observer: &Arc<dyn Observer>,
        cancel: &Cancel,
    ) {
        let effects = |world: &World| {
            let of = |op: &Op| op.is_effect() && !matches!(op, Op::StateWrite | Op::StateAppend);
            world.counts.iter().filter(|(op, _)| of(op)).map(|(_, n)| n).sum::<u64>()
        };
        let before = effects(&self.shared.lock());
        let result =
            runtime::daemon::one_pass(world, lease, &mut Kept::default(), observer, cancel).await;
        let mut shared = self.shared.lock();
        let after = effects(&shared);
        match result {
            Ok((_, summary)) if summary.done == 0 && summary.failed == 0 && before == after => {}
            Ok((_, summary)) => {
                let detail = format!("a pass after rest did {} steps", summary.done);
                shared.broke("convergence", detail);
            }
            Err(error) => shared.broke("convergence", error.to_string()),
        }
    }
}

impl World {
    /// What is there and well has a whole point in each repository; what is gone and was to be
    /// restored is back, if a whole point of it exists.
    fn thing_is_safe(&mut self, documents: &documents::Documents, name: &str) {
        let Some(thing) = self.things.get(&documents::place(name)).cloned() else { return };
        if thing.recoveries.values().any(|recovery| recovery.stage == Stage::Half) {
            self.broke("P5", format!("{name} is left half-way"));
        }
        if thing.open_recovery().is_some() {
            return;
        }
        let live = thing.live.as_ref().filter(|live| !live.rows.is_empty());
        let of = |snap: &crate::world::stores::Snap| {
            snap.info.address.as_ref().is_some_and(|a| a.resource.as_str() == name)
                && snap.info.receipt.as_ref().is_some_and(|r| r.complete && r.files > 0)
        };
        match live {
            Some(live) if !live.damaged && !Self::shows_going_back(&thing) => {
                let now = thing.stored(live);
                for (repository, _) in &documents.repositories {
                    let store = &self.stores[&documents::store(repository)];
                    let Some(body) = &store.body else { continue };
                    let whole = body.points().filter(|snap| of(snap)).any(|snap| {
                        body.read(snap).is_some_and(|files| {
                            thing.history.iter().any(|(_, stored)| **stored == files)
                                && (snap.proven || documents.proof == Proof::Never)
                                && (files == *now || self.now_ms() - snap.made_ms < 40 * 3_600_000)
                        })
                    });
                    if !whole && documents.proof == Proof::Each {
                        self.broke(
                            "convergence",
                            format!("{name} is well and has no proven point in {repository}"),
                        );
                        return;
                    }
                }
            }
            None if thing.empty_by_word && thing.live.is_some() => {}
            None if documents.answer("lost") == "restore" => {
                let bodies = self.stores.values().filter_map(|store| store.body.as_ref());
                let can = bodies.into_iter().any(|body| {
                    body.points().any(|snap| {
                        let trusted =
                            snap.info.receipt.as_ref().is_some_and(|r| r.suspicious.is_none());
                        of(snap) && trusted && body.is_whole(snap)
                    })
                });
                if can {
                    self.broke("convergence", format!("{name} is gone, and could be back"));
                }
            }
            _ => {}
        }
    }

    /// P9: a text from the config repository's secrets is nowhere else.
    fn no_secret_leaked(&mut self, pass: &Pass) {
        let needle = SECRET.as_bytes();
        let has = |bytes: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
        let records = self.states.iter().flat_map(|state| state.records.values());
        let in_records = records.flat_map(|kind| kind.values()).any(|value| has(value));
        let journals = self.states.iter().map(|state| serde_json::to_vec(&state.journal));
        let in_journal = journals.flatten().any(|bytes| has(&bytes));
        let in_plan = serde_json::to_vec(&pass.plan).is_ok_and(|bytes| has(&bytes));
        if in_records || in_journal || in_plan {
            self.broke("P9", "a secret left the config repository");
        }
    }
}
