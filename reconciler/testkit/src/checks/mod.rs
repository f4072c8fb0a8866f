//! The promises P1 to P10, held against the world's own truth at every effect. Each file holds
//! those of one subject; the ports call them right before or after what they do. None of them
//! reads our records to learn what is true.

mod order;
mod recoveries;
pub(crate) mod removals;
mod success;

use std::collections::BTreeSet;

use jiff::Timestamp;
use model::id::SnapshotId;
use model::journal::{Body as JournalBody, Record};
use model::plan::Action;
use model::ports::state::Change;
use model::receipt::{Control, ControlBody, Evidence, EvidenceKind};
use runtime::memory::{kind, meta};

use crate::documents::{self, Documents};
use crate::world::content::Shared;
use crate::world::states::Doubt;
use crate::world::stores::Snap;
use crate::world::{Seen, World};

/// How far the clocks of two machines may differ, as `docs/semantics.md` says.
const TOLERANCE_MS: i64 = 10 * 60_000;

/// Passes of one daemon in an hour, at the most: some rows of six, as persons and slots wake it.
const PASSES_AN_HOUR_MAX: usize = 60;
/// How long a daemon rests at the most: the longest interval of a scenario, and an hour in which
/// the looks at its memory may be slow.
const REST_MAX_MS: i64 = 150 * 60_000;

impl World {
    /// What the commit asks for that an actor works for.
    pub(crate) fn asked(&self, actor: usize) -> Option<&Documents> {
        let commit = self.actors.get(actor)?.pass.commit?;
        self.history.commits.get(commit)?.documents.as_ref()
    }

    /// Whether some running step of an actor satisfies a condition.
    fn runs(&self, actor: usize, test: impl Fn(&Action) -> bool) -> bool {
        self.actors[actor].running.values().any(test)
    }

    /// An actor looked at a repository.
    pub fn on_look(&mut self, actor: usize, path: &str) {
        let Some(body) = self.stores.get(path).and_then(|store| store.body.as_ref()) else {
            return;
        };
        let points: BTreeSet<SnapshotId> = body.points().map(|p| p.info.id.clone()).collect();
        let now_ms = self.now_ms();
        let pass = &mut self.actors[actor].pass;
        pass.stores.entry(path.to_owned()).or_insert(points);
        pass.looked_ms.insert(path.to_owned(), now_ms);
    }

    /// An actor looked at a thing.
    pub fn on_probe(&mut self, actor: usize, place: &str) {
        let at_ms = self.now_ms();
        let Some(thing) = self.things.get(place) else { return };
        let stored: Option<Shared> = thing.live.as_ref().map(|live| thing.stored(live));
        let seen = Seen { at_ms, stored };
        let probed = &mut self.actors[actor].pass.probed;
        let first = seen.clone();
        probed.entry(place.to_owned()).or_insert_with(|| (first.clone(), first)).1 = seen;
    }

    /// Intents and results show which step an effect belongs to (P3).
    pub fn on_journal(&mut self, actor: usize, record: &Record) {
        match &record.body {
            JournalBody::StepBegun { step, action, .. } => {
                self.note(format_args!("[{actor}] begins {step}"));
                self.on_begun(actor, step, action);
                self.actors[actor].running.insert(step.clone(), action.clone());
            }
            JournalBody::StepEnded { step, outcome, .. } => {
                self.note(format_args!("[{actor}] ends {step}: {}", outcome_word(outcome)));
            }
            JournalBody::PlanEnded { .. } => self.actors[actor].running.clear(),
            _ => {}
        }
    }

    /// Our own memory changes: what it says of proofs must be true (P6).
    pub fn on_state_write(&mut self, actor: usize, changes: &[Change]) {
        for change in changes {
            let Some(value) = &change.value else { continue };
            match (change.kind.as_str(), change.key.as_str()) {
                (kind::META, meta::LAST_APPLIED) => {
                    let applied = runtime::memory::decode::<runtime::memory::Applied>(value);
                    let number = applied.and_then(|applied| self.history.find(&applied.commit));
                    let state = self.actors[actor].state;
                    self.states[state].lineage.applied = number;
                }
                (kind::PLAN, _) => {
                    self.actors[actor].plan = Some(value.clone());
                    self.actors[actor].read = None;
                }
                (kind::EVIDENCE, id) => self.proof_is_true(id, value),
                _ => {}
            }
        }
    }

    fn proof_is_true(&mut self, id: &str, value: &[u8]) {
        let proofs: BTreeSet<Evidence> =
            runtime::memory::decode::<BTreeSet<Evidence>>(value).unwrap_or_default();
        if !proofs.iter().any(|proof| proof.kind >= EvidenceKind::Checked) {
            return;
        }
        let id = SnapshotId::from(id.to_owned());
        let bodies = self.stores.values().filter_map(|store| store.body.as_ref());
        let unproven = bodies.filter_map(|body| body.snaps.get(&id)).any(|snap| !snap.proven);
        if unproven {
            self.broke("P6", format!("{} is called proven and was never read", id.short()));
        }
    }

    /// A control record was written beside the data.
    pub fn on_record(&mut self, actor: usize, path: &str, control: &Control) {
        if let ControlBody::RecoveryTakenBack { address, token, .. } = &control.body {
            // Part of a pass and of no step, as the plan hangs on it.
            let place = documents::place(address.resource.as_str());
            if self.things.get(&place).is_some_and(|thing| thing.swapped.contains_key(token)) {
                self.broke("P7", format!("token {token} is taken back and was served at {place}"));
            }
            return;
        }
        let named = |action: &Action| match (&control.body, action) {
            (ControlBody::RecoveryServed { token, .. }, Action::Restore { token: of, .. }) => {
                token == of
            }
            (ControlBody::Baseline { address, .. }, action) => action.resource() == Some(address),
            _ => true,
        };
        if !self.runs(actor, named) {
            self.broke("P3", format!("a record at {path} belongs to no step that runs"));
        }
        if let ControlBody::RecoveryServed { token, .. } = &control.body {
            self.actors[actor].pass.noted.insert(token.clone());
        }
        if let ControlBody::Baseline { address, .. } = &control.body {
            let place = documents::place(address.resource.as_str());
            if self.runs(actor, |a| matches!(a, Action::Adopt { .. })) {
                // A clock that went back holds no adoption: it takes nothing away, and says only
                // what is there.
                self.doubted(actor, "what is there is adopted");
            }
            let now_ms = self.now_ms();
            if let Some(thing) = self.things.get_mut(&place) {
                thing.measured_since_ms = now_ms;
            }
        }
    }

    /// A repository is about to be made (P1): nothing may have known one in its place.
    pub fn on_init(&mut self, actor: usize, spec: &model::desired::RepositorySpec) {
        let path = crate::ports::engine::path(spec).to_owned();
        if !self.runs(actor, |a| matches!(a, Action::Init { .. })) {
            self.broke("P3", format!("{path} is made by no step"));
        }
        let state = &self.states[self.actors[actor].state];
        let known = spec.id.is_some() || state.lineage.seen.contains(&path);
        // A memory that was lost before any point was made has forgotten nothing.
        let forgot = state.doubt.as_ref().is_some_and(|doubt| self.could_notice(actor, doubt));
        if known {
            self.broke("P1", format!("{path} was known, and is made anew"));
        } else if forgot {
            self.broke("P1", format!("{path} is made while our memory is gone"));
        }
    }

    /// A pass ended well: what it saw is known from then on.
    pub fn on_passed(&mut self, actor: usize) {
        let state = self.actors[actor].state;
        let seen: Vec<String> = self.actors[actor].pass.stores.keys().cloned().collect();
        self.states[state].lineage.seen.extend(seen);
        self.actors[actor].running.clear();
    }

    /// A daemon has made a pass: it rests between most of them (P10).
    pub(crate) fn rests_between(&mut self, actor: usize) {
        let now_ms = self.now_ms();
        let passes = &mut self.actors[actor].passes_ms;
        passes.retain(|at| now_ms - at < 3_600_000);
        passes.push(now_ms);
        if passes.len() > PASSES_AN_HOUR_MAX {
            self.broke("P10", format!("{PASSES_AN_HOUR_MAX} passes in an hour and more"));
        }
    }

    /// A daemon rests, and looks whether somebody wakes it: its last pass is not long ago, whatever
    /// its clock did since.
    pub(crate) fn rests(&mut self, actor: usize) {
        let last_ms = self.actors[actor].passes_ms.last().copied();
        let rested_ms = last_ms.map_or(0, |at| self.now_ms() - at);
        if rested_ms > REST_MAX_MS {
            let detail = format!("no pass for {} minutes", rested_ms / 60_000);
            self.broke("convergence", detail);
        }
    }

    /// Whether a state that went back could know it: a point that it made and forgot is visible.
    /// What another writer made says nothing: two states may share a repository.
    pub(crate) fn could_notice(&self, actor: usize, doubt: &Doubt) -> bool {
        let forgotten = |snap: &Snap| {
            snap.info.receipt.as_ref().is_some_and(|receipt| {
                snap.made_ms < doubt.since_ms
                    && receipt.epoch > doubt.epoch
                    && doubt.writer.as_ref().is_none_or(|writer| *writer == receipt.writer)
            })
        };
        let visible = &self.actors[actor].pass.stores;
        let mut bodies = visible.keys().filter_map(|path| self.stores.get(path)?.body.as_ref());
        bodies.any(|body| body.points().any(forgotten))
    }

    /// The newest instant that an actor can see beside the data.
    pub(crate) fn newest_visible(&self, actor: usize) -> Option<Timestamp> {
        let visible = &self.actors[actor].pass.stores;
        let bodies = visible.keys().filter_map(|path| self.stores.get(path)?.body.as_ref());
        bodies.flat_map(|body| body.snaps.values().map(|snap| snap.info.time)).max()
    }
}

/// Returns the word of an outcome.
pub(crate) fn outcome_word(outcome: &model::journal::Outcome) -> String {
    use model::journal::Outcome as O;
    match outcome {
        O::Done { summary, .. } => format!("done: {summary}"),
        O::Partial { summary, .. } => format!("partial: {summary}"),
        O::Failed { reason, error, .. } => format!("failed: {reason}: {error}"),
        O::Skipped { why } => format!("skipped: {why}"),
    }
}
