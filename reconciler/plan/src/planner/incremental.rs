//! Plans again at the cost of what changed. What was decided of a resource is kept until it, or an
//! instant that matters to it, changes; a plan from nothing takes the same way with everything
//! changed, so both give the same bytes. Called for every plan, and by who keeps it between plans.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

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
use crate::gates::{Gates, waits};
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

/// An observation that somebody lends, or one that is shared with whoever executes the plan.
pub(super) enum Held<'d> {
    Lent(&'d Observed),
    Shared(Arc<Observed>),
}

impl Held<'_> {
    /// One of our own to change; copied if somebody else still reads it.
    fn to_mut(&mut self) -> &mut Observed {
        if let Self::Lent(observed) = self {
            *self = Self::Shared(Arc::new((*observed).clone()));
        }
        match self {
            Self::Shared(observed) => Arc::make_mut(observed),
            Self::Lent(_) => unreachable!("it was just taken over"),
        }
    }
}

impl std::ops::Deref for Held<'_> {
    type Target = Observed;
    fn deref(&self) -> &Observed {
        match self {
            Self::Lent(observed) => observed,
            Self::Shared(observed) => observed,
        }
    }
}

/// A planner that remembers. Its plans are those of [`crate::plan`], byte for byte.
pub struct Planner<'d> {
    pub(super) desired: &'d Desired,
    pub(super) observed: Held<'d>,
    scope: Option<BTreeSet<Address>>,
    /// The resources of which plans speak.
    named: Arc<BTreeSet<Address>>,
    detailed: bool,
    pub(super) index: Index<'d>,
    graph: Graph<'d>,
    pub(super) fingerprint: Fingerprint,
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
    pub(super) dirty: Dirty,
    last: Option<Timestamp>,
}

/// Which resources are to be decided anew.
pub(super) enum Dirty {
    All,
    Some(BTreeSet<u32>),
}

impl<'d> Planner<'d> {
    /// Takes in a desired state and an observation; nothing is planned yet.
    pub fn new(desired: &'d Desired, observed: Observed) -> Self {
        Self::made(desired, Held::Shared(Arc::new(observed)), None)
    }

    pub(super) fn over(
        desired: &'d Desired,
        observed: &'d Observed,
        only: Option<&BTreeSet<Address>>,
    ) -> Self {
        Self::made(desired, Held::Lent(observed), only)
    }

    fn made(desired: &'d Desired, observed: Held<'d>, only: Option<&BTreeSet<Address>>) -> Self {
        let graph = Graph::new(desired);
        let scope = only.map(|only| graph.closure(only));
        let in_scope = |a: &&Address| scope.as_ref().is_none_or(|scope| scope.contains(*a));
        let named = desired.resources.keys().filter(in_scope).cloned().collect();
        Self {
            named: Arc::new(named),
            scope,
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
        let after = memory.clone();
        memory.evidence = evidence;
        for number in self.take_memory(&before, &after) {
            self.changed(Some(number));
        }
        if before.repositories != after.repositories {
            self.index = Index::new(self.desired, &self.observed);
            self.dirty = Dirty::All;
        }
    }

    /// Says when the observation was complete.
    pub fn observed_at(&mut self, at: Timestamp) {
        self.observed.to_mut().at = at;
    }

    /// The observation, to be held beside the planner.
    pub(super) fn shared(&self) -> Arc<Observed> {
        match &self.observed {
            Held::Lent(observed) => Arc::new((*observed).clone()),
            Held::Shared(observed) => observed.clone(),
        }
    }

    /// What each step of the last plan waits for at an instant.
    pub(super) fn gates(&self, plan: &Plan, now: Timestamp, approvals: &BTreeSet<Digest>) -> Gates {
        let view = View::over(&self.index, self.desired, &self.observed, now);
        waits(&view, &alarms(&view, &self.conditions), plan, approvals)
    }

    pub(super) fn changed(&mut self, number: Option<u32>) {
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
        let looked: Vec<u32> =
            dirty.iter().chain(&self.entangled).chain(&recorded).copied().collect();
        let found = side_by_side(&looked, &|n| condition(&view, index.addresses[n as usize]));
        for (number, condition) in looked.into_iter().zip(found) {
            self.conditions.set(index.addresses[number as usize], condition);
        }
        let entangled = entangled(&view, &self.conditions, recorded);
        let alarms = alarms(&view, &self.conditions);
        let fresh = || Draft::new(&view, graph, &self.conditions, scope.as_ref(), *detailed);
        // What was entangled and is not any more has no part yet; what is now has one too many.
        let all: BTreeSet<u32> =
            dirty.iter().chain(&self.entangled).chain(&entangled).copied().collect();
        let alone: Vec<u32> = all
            .iter()
            .copied()
            .filter(|number| !entangled.contains(number))
            .filter(|n| scope.as_ref().is_none_or(|s| s.contains(index.addresses[*n as usize])))
            .collect();
        let decide = |number: u32| {
            let address = index.addresses[number as usize];
            let mut draft = fresh();
            draft.look_again(horizon(&view, address));
            backups::plan(&mut draft, address);
            expiry::plan(&mut draft, address);
            (draft.until, Part::of(draft))
        };
        let decided = side_by_side(&alone, &decide);
        for number in &all {
            if let Some(at) = self.look_of[*number as usize].take() {
                self.looks.remove(&(at, *number));
            }
            self.parts.remove(number);
        }
        for (number, (until, part)) in alone.into_iter().zip(decided) {
            if let Some(at) = until {
                self.looks.insert((at, number));
                self.look_of[number as usize] = Some(at);
            }
            if !part.is_empty() {
                self.parts.insert(number, part);
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
        let plan = draft.finish(&alarms, digests, self.named.clone());
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

/// Threads that decide. A number, not the machine's count of cores, because that would have to be
/// asked from the environment; the plan is the same with any.
const DECIDERS: usize = 4;

/// Resources below which one thread decides all: starting others would take longer.
const DECIDED_ALONE: usize = 4096;

/// What is decided of each of many resources, in their order; by several threads when they are
/// many.
fn side_by_side<T: Send>(numbers: &[u32], decide: &(impl Fn(u32) -> T + Sync)) -> Vec<T> {
    if numbers.len() < DECIDED_ALONE {
        return numbers.iter().map(|number| decide(*number)).collect();
    }
    std::thread::scope(|scope| {
        let deciders: Vec<_> = numbers
            .chunks(numbers.len().div_ceil(DECIDERS))
            .map(|part| {
                scope.spawn(move || part.iter().map(|number| decide(*number)).collect::<Vec<T>>())
            })
            .collect();
        let join = |decider: std::thread::ScopedJoinHandle<'_, Vec<T>>| {
            // A panic goes on in this thread, as it would have without the others.
            decider.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        deciders.into_iter().flat_map(join).collect()
    })
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
    observed.repositories.values().flat_map(RepositoryObservation::controls).any(|control| {
        matches!(control.body, ControlBody::Baseline { .. })
            && too_far(control.at, last)
            && !too_far(control.at, now)
    })
}
