//! Plans again at the cost of what changed. What was decided of a resource is kept until it, or an
//! instant that matters to it, changes; a plan from nothing takes the same way with everything
//! changed, so both give the same bytes. Called for every plan, and by who keeps it between plans.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use model::desired::Desired;
use model::digest::Digest;
use model::fingerprint::Fingerprint;
use model::id::{Address, Name, SnapshotId};
use model::observed::{
    Memory, Observation, Observed, RecoveryPhase, RepositoryObservation, SnapshotInfo, is_proven,
};
use model::plan::{Condition, Deferred, Plan, RetentionVerdict, Step};
use model::receipt::{ControlBody, Evidence, EvidenceKind};

use super::{Digests, Draft, backups, erasure, expiry, recovery, repositories};
use crate::alarms::alarms;
use crate::condition::{Conditions, condition};
use crate::graph::Graph;
use crate::index::{Index, RepositoryState, repository_state};
use crate::view::{CLOCK_TOLERANCE, View};

/// What was decided of one resource that nothing else has a say in.
#[derive(Default)]
struct Part {
    steps: Vec<Step>,
    deferred: Vec<Deferred>,
    notes: Vec<String>,
    retention: Vec<RetentionVerdict>,
}

/// A planner that remembers. Its plans are those of [`crate::plan`], byte for byte.
pub struct Planner<'d> {
    desired: &'d Desired,
    observed: Cow<'d, Observed>,
    scope: Option<BTreeSet<Address>>,
    detailed: bool,
    index: Index<'d>,
    graph: Graph<'d>,
    fingerprint: Fingerprint,
    digest: Digest,
    /// Notes that only the documents decide, and the resource that they are about.
    notes: Vec<(Address, String)>,
    conditions: Conditions,
    /// Only those of which there is something to say.
    parts: BTreeMap<u32, Part>,
    /// When each resource is looked at again though nothing changed.
    looks: BTreeSet<(Timestamp, u32)>,
    look_of: Vec<Option<Timestamp>>,
    /// Resources of which others or the clock have a say: decided anew in every plan.
    entangled: BTreeSet<u32>,
    dirty: Dirty,
    last: Option<Timestamp>,
}

enum Dirty {
    All,
    Some(BTreeSet<u32>),
}

impl<'d> Planner<'d> {
    /// Takes in a desired state and an observation; nothing is planned yet.
    pub fn new(desired: &'d Desired, observed: Observed) -> Self {
        Self::made(desired, Cow::Owned(observed), None)
    }

    pub(super) fn over(
        desired: &'d Desired,
        observed: &'d Observed,
        only: Option<&BTreeSet<Address>>,
    ) -> Self {
        Self::made(desired, Cow::Borrowed(observed), only)
    }

    fn made(
        desired: &'d Desired,
        observed: Cow<'d, Observed>,
        only: Option<&BTreeSet<Address>>,
    ) -> Self {
        let graph = Graph::new(desired);
        Self {
            scope: only.map(|only| graph.closure(only)),
            detailed: false,
            index: Index::new(desired, &observed),
            fingerprint: Fingerprint::of(&observed),
            digest: desired.digest(),
            notes: notes(desired, &graph),
            conditions: Conditions::default(),
            parts: BTreeMap::new(),
            looks: BTreeSet::new(),
            look_of: vec![None; desired.resources.len()],
            entangled: BTreeSet::new(),
            dirty: Dirty::All,
            last: None,
            desired,
            observed,
            graph,
        }
    }

    /// Wants every verdict of retention, with reasons and dates.
    pub(super) fn detailed(mut self) -> Self {
        self.detailed = true;
        self
    }

    /// The observation as it stands.
    pub fn observed(&self) -> &Observed {
        &self.observed
    }

    /// Takes in what a probe found of a resource.
    pub fn observe(&mut self, address: &Address, found: Observation) {
        let observed = self.observed.to_mut();
        let before = observed.resources.insert(address.clone(), found);
        let after = observed.resources.get(address);
        self.fingerprint.resource(address, before.as_ref(), after);
        let number = self.index.number(address);
        self.changed(number);
    }

    /// Takes in a snapshot that a usable repository has more, the newest of it. Returns whether it
    /// fitted; if not, give the repository as a whole.
    pub fn add_snapshot(&mut self, repository: &Name, info: SnapshotInfo) -> bool {
        let is_ready = matches!(
            repository_state(self.desired, &self.observed, repository),
            RepositoryState::Ready(_)
        );
        let (Some(number), true) = (self.index.repository(repository), is_ready) else {
            return false;
        };
        let checked = self.observed.memory.evidence.get(&info.id);
        let proven = is_proven(checked, EvidenceKind::Checked);
        let Some(RepositoryObservation::Known { snapshots, .. }) =
            self.observed.to_mut().repositories.get_mut(repository)
        else {
            return false;
        };
        let at = snapshots.len();
        if snapshots.last().is_some_and(|last| (last.time, &last.id) > (info.time, &info.id)) {
            return false;
        }
        self.fingerprint.snapshot(repository, &info);
        let of = self.index.add(number, at, &info, proven);
        snapshots.push(info);
        if let Some(of) = of {
            self.index.sort(of as usize, &self.observed);
        }
        self.changed(of);
        true
    }

    /// Takes in what is proven of a snapshot of a resource. Were it another's, everything would be
    /// looked through.
    pub fn prove(&mut self, address: &Address, id: &SnapshotId, evidence: Evidence) {
        let all = &mut self.observed.to_mut().memory.evidence;
        let before = all.get(id).cloned();
        all.entry(id.clone()).or_default().insert(evidence);
        let after = all.get(id);
        self.fingerprint.evidence(id, before.as_ref(), after);
        let proven = is_proven(after, EvidenceKind::Checked);
        match self.index.prove(&self.observed, address, id, proven) {
            Some(number) => self.changed(Some(number)),
            None => {
                self.index = Index::new(self.desired, &self.observed);
                self.dirty = Dirty::All;
            }
        }
    }

    /// Takes in a repository that was read anew. It costs as much as all that is in it.
    pub fn observe_repository(&mut self, name: &Name, found: RepositoryObservation) {
        self.fingerprint.repository(name, &found);
        self.observed.to_mut().repositories.insert(name.clone(), found);
        self.index = Index::new(self.desired, &self.observed);
        self.dirty = Dirty::All;
    }

    /// Changes our own memory, but for evidence, which [`Planner::prove`] takes.
    pub fn remember(&mut self, change: impl FnOnce(&mut Memory)) {
        let memory = &mut self.observed.to_mut().memory;
        let evidence = std::mem::take(&mut memory.evidence);
        let before = memory.clone();
        change(memory);
        memory.evidence = evidence;
        // These have a say in every resource.
        let general = |m: &Memory| (m.known, m.repositories.clone(), m.accepted_alarms.clone());
        if general(&before) != general(memory) {
            let repositories = before.repositories != memory.repositories;
            self.dirty = Dirty::All;
            if repositories {
                self.index = Index::new(self.desired, &self.observed);
            }
            return;
        }
        let requests = before.requests.iter().chain(&memory.requests);
        let numbers: Vec<u32> =
            requests.filter_map(|request| self.index.number(&request.address)).collect();
        numbers.into_iter().for_each(|number| self.changed(Some(number)));
    }

    /// Says when the observation was complete.
    pub fn observed_at(&mut self, at: Timestamp) {
        self.observed.to_mut().at = at;
    }

    fn changed(&mut self, number: Option<u32>) {
        if let (Some(number), Dirty::Some(dirty)) = (number, &mut self.dirty) {
            dirty.insert(number);
        }
    }

    /// Plans for an instant as if everything had changed since the last plan.
    pub fn plan_anew(&mut self, now: Timestamp) -> Plan {
        self.dirty = Dirty::All;
        self.plan(now)
    }

    /// Plans for an instant.
    pub fn plan(&mut self, now: Timestamp) -> Plan {
        let dirty = self.due(now);
        let digests = Digests {
            desired: self.digest.clone(),
            observed: self.fingerprint.digest(&self.observed),
        };
        let Self { desired, observed, scope, detailed, index, graph, .. } = self;
        let view = View::over(index, desired, observed, now);
        let recorded = recorded(&view);
        for number in dirty.iter().chain(&self.entangled).chain(&recorded) {
            let address = index.addresses[*number as usize];
            self.conditions.set(address, condition(&view, address));
        }
        let entangled = entangled(&view, &self.conditions, recorded);
        let alarms = alarms(&view, &self.conditions);
        let fresh = || Draft::new(&view, graph, &self.conditions, scope.as_ref(), *detailed);
        // What was entangled and is not any more has no part yet; what is now has one too many.
        let all: BTreeSet<u32> =
            dirty.iter().chain(&self.entangled).chain(&entangled).copied().collect();
        for number in &all {
            if let Some(at) = self.look_of[*number as usize].take() {
                self.looks.remove(&(at, *number));
            }
            self.parts.remove(number);
            let address = index.addresses[*number as usize];
            if entangled.contains(number) || scope.as_ref().is_some_and(|s| !s.contains(address)) {
                continue;
            }
            let mut draft = fresh();
            draft.look_again(horizon(&view, address));
            backups::plan(&mut draft, address);
            expiry::plan(&mut draft, address);
            if let Some(at) = draft.until {
                self.looks.insert((at, *number));
                self.look_of[*number as usize] = Some(at);
            }
            let part = Part::of(draft);
            if !part.is_empty() {
                self.parts.insert(*number, part);
            }
        }
        let mut draft = fresh();
        repositories::init(&mut draft);
        entangle(&mut draft, &entangled);
        self.parts.values().for_each(|part| part.add_to(&mut draft));
        backups::impossible(&mut draft);
        for (address, note) in &self.notes {
            if draft.in_scope(address) {
                draft.note(note);
            }
        }
        repositories::reclaim(&mut draft);
        let plan = draft.finish(&alarms, digests);
        self.entangled = entangled;
        self.dirty = Dirty::Some(BTreeSet::new());
        self.last = Some(now);
        plan
    }

    /// The resources that must be decided anew at an instant.
    fn due(&mut self, now: Timestamp) -> BTreeSet<u32> {
        let everything = || (0..).take(self.index.addresses.len()).collect();
        let dirty = match std::mem::replace(&mut self.dirty, Dirty::All) {
            // What was decided for a later instant says nothing of an earlier one.
            Dirty::Some(dirty) if self.last.is_some_and(|last| last <= now) => dirty,
            _ => return everything(),
        };
        if crosses(&self.observed, self.last.unwrap_or(now), now) {
            return everything();
        }
        let mut dirty = dirty;
        while let Some((at, number)) = self.looks.first().copied().filter(|(at, _)| *at <= now) {
            self.looks.remove(&(at, number));
            self.look_of[number as usize] = None;
            dirty.insert(number);
        }
        dirty
    }
}

impl Part {
    fn of(draft: Draft<'_, '_>) -> Self {
        Self {
            steps: draft.steps.into_values().collect(),
            deferred: draft.report.deferred,
            notes: draft.report.notes,
            retention: draft.report.retention,
        }
    }

    fn is_empty(&self) -> bool {
        self.steps.is_empty()
            && self.deferred.is_empty()
            && self.notes.is_empty()
            && self.retention.is_empty()
    }

    fn add_to(&self, draft: &mut Draft<'_, '_>) {
        self.steps.iter().cloned().for_each(|step| draft.add(step));
        draft.report.deferred.extend(self.deferred.iter().cloned());
        draft.report.notes.extend(self.notes.iter().cloned());
        draft.report.retention.extend(self.retention.iter().cloned());
    }
}

/// Decides what depends on other resources: recoveries in the order of the graph, then the rest of
/// the same resources.
fn entangle(draft: &mut Draft<'_, '_>, entangled: &BTreeSet<u32>) {
    let view = draft.view;
    let addresses: Vec<&Address> = entangled
        .iter()
        .map(|number| view.index().addresses[*number as usize])
        .filter(|address| draft.in_scope(address))
        .collect();
    let mut ordered = addresses.clone();
    ordered.sort_by_key(|address| draft.graph.position(address));
    for address in ordered {
        recovery::plan(draft, address);
    }
    for address in &addresses {
        backups::plan(draft, address);
    }
    for address in &addresses {
        expiry::pin_documents(draft, address);
    }
    erasure::plan(draft);
    for address in addresses {
        expiry::plan(draft, address);
    }
}

/// What documents say of no resource at all, and what the graph cannot order.
fn notes(desired: &Desired, graph: &Graph<'_>) -> Vec<(Address, String)> {
    let mut notes = backups::undescribed(desired);
    for cycle in &graph.cycles {
        let names = crate::view::names(cycle);
        let note = format!("these depend on each other, so their order is by name: {names}");
        notes.extend(cycle.first().map(|first| (first.clone(), note)));
    }
    for (from, to) in &graph.dangling {
        let note = format!("{from} depends on {to}, which no document describes");
        notes.push((from.clone(), note));
    }
    notes
}

/// Resources of which our memory holds a recovery that is not over.
fn recorded(view: &View<'_>) -> BTreeSet<u32> {
    let records = view.observed.memory.recoveries.values();
    let active = records.filter(|record| {
        !matches!(
            record.phase,
            RecoveryPhase::Committed | RecoveryPhase::RolledBack | RecoveryPhase::Failed
        )
    });
    active.filter_map(|record| view.index().number(&record.address)).collect()
}

/// Resources that are brought back, shall be, or might have to be.
fn entangled(view: &View<'_>, conditions: &Conditions, recorded: BTreeSet<u32>) -> BTreeSet<u32> {
    let mut found = recorded;
    found.extend(view.index().with_recoveries());
    let erased = view.desired.erasures.values();
    found.extend(erased.filter_map(|doc| view.index().number(&doc.resource)));
    let answered = conditions.unwell().iter().filter(|(_, condition)| {
        recovery::kind(condition).is_some() || matches!(condition, Condition::AwaitingCommit { .. })
    });
    found.extend(answered.filter_map(|(address, _)| view.index().number(address)));
    found
}

/// The first instant at which a point of a resource that lies ahead is no longer ahead, or no
/// longer too far.
fn horizon(view: &View<'_>, address: &Address) -> Option<Timestamp> {
    view.points(address)
        .flat_map(|point| {
            let slot = point.receipt().and_then(|receipt| receipt.slot);
            [Some(point.taken_at()), Some(point.info.time), slot]
        })
        .flatten()
        .filter(|at| *at > view.now)
        .flat_map(|at| [Some(at), at.checked_sub(CLOCK_TOLERANCE).ok()])
        .flatten()
        .filter(|at| *at > view.now)
        .min()
}

/// Whether a baseline record that was too far ahead is so no longer.
fn crosses(observed: &Observed, last: Timestamp, now: Timestamp) -> bool {
    let too_far = |at: Timestamp, then: Timestamp| at.duration_since(then) > CLOCK_TOLERANCE;
    observed.repositories.values().any(|seen| match seen {
        RepositoryObservation::Known { controls, .. } => controls.iter().any(|control| {
            matches!(control.body, ControlBody::Baseline { .. })
                && too_far(control.at, last)
                && !too_far(control.at, now)
        }),
        _ => false,
    })
}
