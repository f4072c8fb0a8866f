//! After everything has calmed down: the world must come to rest within so many passes, a pass must
//! then do nothing, and everything that can be protected must be.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::cancel::Cancel;
use model::few::Proofs;
use model::id::{Address, StepId};
use model::journal::Outcome;
use model::observed::{RecoveryPhase, RecoveryRecord};
use model::plan::Condition;
use model::receipt::{ControlBody, Receipt};
use runtime::execute::Summary;
use runtime::memory::{kind, meta};
use runtime::pass::Kept;
use runtime::{Observer, Pass};

use super::events::bring_back;
use super::{Director, Watching, owner, thing_name, wire};
use crate::checks::removals::is_full;
use crate::documents::{self, Proof, SECRET};
use crate::faults::Op;
use crate::scenario::Push;
use crate::world::World;
use crate::world::stores::Snap;
use crate::world::things::{Stage, Thing};

/// Passes within which the world comes to rest. Restores, their proofs, the backups after them,
/// expiry and what a person is asked in between take about ten; points that are damaged are read
/// again one after the other; and a commit by time may lie ahead by as much as a clock jumped.
const PASSES_MAX: usize = 48;
/// Between two of these passes: longer than any backoff.
const BETWEEN_MS: i64 = 65 * 60_000;
/// Longer than a pass takes that has nothing to do.
const A_PASS_MS: i64 = 2 * 60_000;
/// How old deeds may be: two days are kept, which one pass finds and the next removes.
const DEED_MS: i64 = 96 * 3_600_000;
/// The newest of each kind may be older.
const DEED_KINDS: usize = 3;
/// How far clocks may differ.
const AHEAD_MS: i64 = 10 * 60_000;
/// Records that a memory of such a world holds at the most (P10).
const RECORDS_MAX: usize = 600;

impl Director {
    /// See the module.
    pub(crate) async fn come_to_rest(&mut self) {
        self.stop(true).await;
        self.stop(false).await;
        let begun = matches!(self.scenario.documents.then, documents::Then::Rollback(_));
        self.calm();
        self.finish_rollbacks(begun).await;
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
        let (mut last, mut kept, mut waited) = (None, Kept::default(), false);
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
            let due = ends_by_time(&pass);
            let hopes = due.is_some() || self.hopes(&summary);
            let now_ms = time.now_ms();
            let proof_ms = self.until_a_proof_is_old(now_ms);
            let soon_ms = self.until_the_next_slot(now_ms).min(proof_ms);
            // The first that fails of a point's proof lets others begin.
            let failed = summary.outcomes.values().any(|o| matches!(o, Outcome::Failed { .. }));
            let restless = summary.done > 0 || failed || asked || hopes;
            // A partial point has served its slot: the next one tries again.
            let owed = !waited && self.shared.lock().ends_partial();
            if !restless && !owed && soon_ms > A_PASS_MS {
                last = Some(pass);
                break;
            }
            if let Some(due) = due
                && summary.done == 0
            {
                // A clock that was ahead may have put that off for a day and more.
                time.sleep_ms(BETWEEN_MS.max(due - time.now_ms())).await;
            } else if hopes {
                time.sleep_ms(BETWEEN_MS).await;
            } else if !restless {
                // The pass that must do nothing would meet the next slot.
                waited |= owed;
                time.sleep_ms(soon_ms + A_PASS_MS).await;
            }
        }
        let Some(pass) = last else {
            self.shared.lock().broke("convergence", "the world does not come to rest");
            return;
        };
        self.nothing_is_left(&pass);
        self.does_nothing(&world, &*lease, &observer, &cancel).await;
    }

    /// A rollback that was done on its target and could not be noted is tried again for as long as
    /// the policy asks for it. Where a person takes that back, the same person ends what was begun.
    /// A memory that went back takes for open what was ended since; where what was put in place is
    /// gone, only a person can say so.
    async fn finish_rollbacks(&mut self, begun: bool) {
        if !begun && !self.shared.lock().states[0].ever_doubted {
            return;
        }
        for at in 0..self.scenario.documents.resources.len() {
            let name = thing_name(&self.scenario, at);
            let begun = {
                let world = self.shared.lock();
                let ended = world.things.get(&documents::place(&name));
                let records = world.states[0].records.get(kind::RECOVERY);
                let records = records.into_iter().flat_map(|records| records.values());
                let mut records = records.filter_map(runtime::memory::decode::<RecoveryRecord>);
                ended.is_some_and(|thing| thing.open_recovery().is_none())
                    && records.any(|record| {
                        record.phase == RecoveryPhase::AwaitingCommit
                            && !record.elsewhere
                            && record.address.resource.as_str() == name
                    })
            };
            if begun {
                self.end_by_hand(at, !begun).await;
            }
        }
    }

    /// How long it is until backups are due again.
    fn until_the_next_slot(&self, now_ms: i64) -> i64 {
        let every_ms = i64::try_from(self.scenario.documents.every_h).unwrap_or(1) * 3_600_000;
        every_ms - now_ms.rem_euclid(every_ms)
    }

    /// How long it is until a point is read again because its proof is old.
    fn until_a_proof_is_old(&self, now_ms: i64) -> i64 {
        let Proof::Again(hours) = self.scenario.documents.proof else { return i64::MAX };
        let again_ms = i64::try_from(hours).unwrap_or(1) * 3_600_000;
        let world = self.shared.lock();
        let evidence = world.states[0].records.get(kind::EVIDENCE);
        let proofs = evidence.into_iter().flat_map(|of| of.values());
        let proofs = proofs.filter_map(runtime::memory::decode::<Proofs>);
        let due = proofs.flat_map(|of| of.iter().map(|e| e.at.as_millisecond()).max());
        due.map(|at_ms| at_ms + again_ms - now_ms)
            .filter(|left| *left >= 0)
            .min()
            .unwrap_or(i64::MAX)
    }

    /// Whether time may bring on what waits or failed. The proof of a point that is damaged fails
    /// for ever; to sleep over it would let backups come due for ever too.
    fn hopes(&self, summary: &Summary) -> bool {
        let world = self.shared.lock();
        let failed = summary.outcomes.iter().filter(|(_, outcome)| {
            matches!(outcome, Outcome::Failed { .. } | Outcome::Partial { .. })
        });
        let mut open = failed.map(|(step, _)| step).chain(summary.waiting.keys());
        open.any(|step| !world.proves_damage(step))
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
        // A pin to what a person put elsewhere would be a person's mistake, not ours. Where several
        // repositories were made in one place, which of them is meant a person has to say.
        for (name, pinned) in &mut self.documents.repositories {
            let mut world = self.shared.lock();
            let store = world.stores.get(&documents::store(name)).filter(|store| store.made > 1);
            *pinned = store.and_then(|store| store.body.as_ref()).map(|body| body.id.to_string());
            if pinned.is_some() {
                // Who says that has looked at what the repository holds.
                world.states[0].doubt = None;
            }
        }
        // A thing that is restored because it is damaged, and rolled back because nobody decided,
        // is damaged again: such a policy never comes to rest, so a person takes it back.
        if matches!(self.scenario.documents.then, documents::Then::Rollback(_)) {
            self.scenario.documents.then = documents::Then::Wait;
        }
        // A budget smaller than what comes to be removed, or to be brought back within a day, lets
        // it pass in many passes: a person widens it.
        self.scenario.documents.expiries_a_run = None;
        self.scenario.documents.restores_a_day = None;
        self.push(Push::Restore);
    }

    /// Holds the end of the world against what could be.
    fn nothing_is_left(&self, pass: &Pass) {
        let mut world = self.shared.lock();
        for resource in &self.scenario.documents.resources {
            world.thing_is_safe(&self.scenario.documents, &resource.name, pass);
        }
        let state = &world.states[0];
        let kinds: BTreeMap<_, _> = state.records.iter().map(|(k, of)| (k, of.len())).collect();
        // As many as were done in two days.
        let of_days = |kind: &str| kind == kind::DEED;
        let records: usize = kinds.iter().filter(|(k, _)| !of_days(k)).map(|(_, n)| n).sum();
        if records > RECORDS_MAX {
            let detail = format!("the memory holds {records} records: {kinds:?}");
            world.broke("P10", detail);
        }
        let deeds = world.states[0].records.get(kind::DEED);
        let deeds = deeds.into_iter().flat_map(|deeds| deeds.values());
        let old_ms = world.now_ms() - DEED_MS;
        let old = deeds.filter_map(runtime::memory::decode::<model::Timestamp>);
        let old = old.filter(|at| at.as_millisecond() < old_ms).count();
        if old > DEED_KINDS {
            world.broke("P10", format!("{old} deeds of long ago are remembered"));
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
            Ok((_, summary)) if summary.done == 0 && before == after => {
                drop(shared);
                if self.hopes(&summary) {
                    let mut shared = self.shared.lock();
                    shared.broke("convergence", "a pass after rest leaves something to be done");
                }
            }
            Ok((_, summary)) => {
                let detail = format!("a pass after rest did {} steps", summary.done);
                shared.broke("convergence", detail);
            }
            Err(error) => shared.broke("convergence", error.to_string()),
        }
    }
}

/// When a policy ends a recovery, which comes by itself.
fn ends_by_time(pass: &Pass) -> Option<i64> {
    let deferred = pass.plan.report.deferred.iter();
    deferred
        .filter(|deferred| deferred.code == "CommitTimeNotReached")
        .map(|deferred| deferred.until.map_or(0, |until| until.as_millisecond()))
        .min()
}

/// Whether a plan says that something is not what it was, though no point tells: the point may be
/// gone, and the record of how it was found last is there.
fn is_held_as_another(pass: &Pass, name: &str) -> bool {
    let conditions = pass.plan.report.conditions.unwell();
    conditions.iter().any(|(address, condition)| {
        address.resource.as_str() == name
            && matches!(condition, Condition::Replaced { .. } | Condition::RolledBack { .. })
    })
}

impl World {
    /// Whether the newest point of something in a repository is a partial one.
    fn ends_partial(&self) -> bool {
        let bodies = self.stores.values().filter_map(|store| store.body.as_ref());
        bodies.into_iter().any(|body| {
            let mut newest: BTreeMap<&Address, &Snap> = BTreeMap::new();
            for (of, snap) in body.points().filter_map(|s| Some((s.info.address.as_ref()?, s))) {
                let last = newest.entry(of).or_insert(snap);
                if snap.made_ms > last.made_ms {
                    *last = snap;
                }
            }
            newest.values().any(|s| s.info.receipt.as_ref().is_some_and(|r| !r.complete))
        })
    }

    /// Whether a step reads a point again that is damaged.
    fn proves_damage(&self, step: &StepId) -> bool {
        let Some((_, short)) = plan::proof_of(step.as_str()) else { return false };
        let bodies = self.stores.values().filter_map(|store| store.body.as_ref());
        let mut damaged = bodies.flat_map(|b| b.points().filter(|point| !b.is_whole(point)));
        damaged.any(|point| point.info.id.starts_with(short))
    }

    /// What is there and well has a whole point in each repository; what is gone and was to be
    /// restored is back, if a whole point of it exists.
    fn thing_is_safe(&mut self, documents: &documents::Documents, name: &str, pass: &Pass) {
        let Some(thing) = self.things.get(&documents::place(name)).cloned() else { return };
        // A half that something whole took the place of since is only left over.
        let mut half = thing.recoveries.iter().filter(|(_, of)| of.stage == Stage::Half);
        let half = half.any(|(token, _)| !self.is_anothers(token));
        if half && thing.live.as_ref().is_none_or(|live| live.damaged) {
            self.broke("P5", format!("{name} is left half-way"));
        }
        if thing.open_recovery().is_some() {
            return;
        }
        let live = thing.live.as_ref().filter(|live| !live.rows.is_empty());
        // What is empty and cannot be used is damaged.
        let damaged = thing.live.as_ref().is_some_and(|live| live.damaged);
        let unwell = if damaged { "damaged" } else { "lost" };
        let went_back = self.shows_going_back(&documents::place(name), self.now_ms(), None)
            || (is_held_as_another(pass, name) && thing.disturbed_ms > thing.measured_since_ms);
        let of = |snap: &Snap| {
            snap.info.address.as_ref().is_some_and(|a| a.resource.as_str() == name)
                && snap.info.receipt.as_ref().is_some_and(|r| r.complete && r.files > 0)
        };
        match live {
            Some(live) if !live.damaged && !went_back => {
                let now = thing.stored(live);
                for (repository, _) in &documents.repositories {
                    let store = &self.stores[&documents::store(repository)];
                    let Some(body) = &store.body else { continue };
                    // What rots is seen when it is read or written again, not before.
                    let unseen_ms = i64::try_from(documents.every_h + 1).unwrap_or(1) * 3_600_000;
                    // What a clock stamped ahead serves its slot when that comes.
                    let ahead = body.points().filter(|snap| of(snap)).filter_map(|snap| {
                        let at_ms = snap.info.receipt.as_ref()?.taken_at.as_millisecond();
                        (at_ms > snap.made_ms + AHEAD_MS).then_some(at_ms)
                    });
                    let ahead_ms = ahead.max().unwrap_or(0);
                    let is_unseen = |at: i64| self.now_ms() - at.max(ahead_ms) < unseen_ms;
                    if store.rotted_ms.is_some_and(is_unseen) {
                        continue;
                    }
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
            None if self.rightly_empty(&thing, &of) => {}
            // Noted as served beside the data, never put in place, and forgotten by our memory, or
            // another state's: such a token is served (`docs/semantics.md`, "Recoveries"), and the
            // plan tells a person so.
            None if self.noted_in_vain(name) => {}
            None if self.rolled_back_unseen(name) => {}
            // Nothing is put beside what it depends on while that is not well.
            None if self.stands_on_unwell(documents, name) => {}
            None if documents.answer(unwell) == "restore" && self.could_be_back(&of) => {
                self.broke("convergence", format!("{name} is gone, and could be back"));
            }
            _ => {}
        }
    }

    /// Whether a point that holds something, is whole, and looks right to a reader is there.
    fn could_be_back(&self, of: &impl Fn(&Snap) -> bool) -> bool {
        let trusted = |r: &Receipt| r.suspicious.is_none() && is_full(r);
        let mut bodies = self.stores.values().filter_map(|store| store.body.as_ref());
        bodies.any(|body| {
            let mut points = body.points().filter(|snap| of(snap) && body.is_whole(snap));
            points.any(|snap| snap.info.receipt.as_ref().is_some_and(trusted))
        })
    }

    /// Whether something that a thing depends on is not well, or not what it was.
    fn stands_on_unwell(&self, documents: &documents::Documents, name: &str) -> bool {
        let names = documents.resources.iter().map(|resource| &resource.name);
        names.filter(|on| documents.stands_on(name, on)).any(|on| {
            let place = documents::place(on);
            let live = self.things.get(&place).and_then(|thing| thing.live.as_ref());
            live.is_none_or(|live| live.damaged || live.rows.is_empty())
                || self.shows_going_back(&place, self.now_ms(), None)
        })
    }

    /// Whether something is empty by a person's or its policy's word, also when it was filled since
    /// and emptied again before any point showed that.
    fn rightly_empty(&self, thing: &Thing, of: &impl Fn(&Snap) -> bool) -> bool {
        let unseen = thing.made_anew_ms.is_some_and(|at| !self.was_full_since(of, at));
        thing.live.is_some() && (thing.empty_by_word || unseen)
    }

    /// Whether a point that holds something was made since an instant.
    fn was_full_since(&self, of: &impl Fn(&Snap) -> bool, at_ms: i64) -> bool {
        let bodies = self.stores.values().filter_map(|store| store.body.as_ref());
        bodies.flat_map(|body| body.points()).any(|snap| {
            let full = snap.info.receipt.as_ref().is_some_and(is_full);
            of(snap) && full && snap.made_ms > at_ms
        })
    }

    /// Whether a token is noted as served under a name that our memory lost: to it the note may be
    /// another's who is in the midst of it.
    fn is_anothers(&self, wanted: &str) -> bool {
        self.states[0].ever_doubted && self.others_noted(wanted)
    }

    /// Whether a token is noted as served, and not by the first state under its present name.
    fn others_noted(&self, wanted: &str) -> bool {
        let metas = self.states[0].records.get(kind::META);
        let writer = metas.and_then(|metas| metas.get(meta::WRITER_ID));
        let writer = writer.and_then(runtime::memory::decode::<String>).unwrap_or_default();
        let bodies = self.stores.values().filter_map(|store| store.body.as_ref());
        let noted = bodies.flat_map(|body| body.controls()).filter(|control| {
            matches!(&control.body, ControlBody::RecoveryServed { token, .. } if token == wanted)
        });
        let names: Vec<String> = noted.map(|control| control.writer).collect();
        !names.is_empty() && !names.contains(&writer)
    }

    /// Whether a token of a thing is noted as served that never was put in place.
    fn noted_in_vain(&self, name: &str) -> bool {
        let Some(thing) = self.things.get(&documents::place(name)) else { return false };
        let bodies = self.stores.values().filter_map(|store| store.body.as_ref());
        bodies.flat_map(|body| body.controls()).any(|control| match control.body {
            ControlBody::RecoveryServed { address, token, .. } => {
                address.resource.as_str() == name
                    && !thing.swapped.contains_key(&token)
                    && (self.states[0].ever_doubted || self.others_noted(&token))
            }
            _ => false,
        })
    }

    /// Whether a recovery of a thing was rolled back, and what was noted of it beside the data went
    /// back with its repository, or lies ahead by a clock that was wrong: what is there now looks
    /// like before, and its token is served.
    fn rolled_back_unseen(&self, name: &str) -> bool {
        let now_ms = self.now_ms();
        let records = self.states[0].records.get(kind::RECOVERY);
        let records = records.into_iter().flat_map(|records| records.values());
        let mut records = records.filter_map(runtime::memory::decode::<RecoveryRecord>);
        records.any(|record| {
            record.phase == RecoveryPhase::RolledBack
                && record.address.resource.as_str() == name
                && !self.is_noted(&record.token, now_ms + AHEAD_MS)
        })
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
