//! The world as the planner looks at it: which repository is which, which points belong to which
//! resource, what is proven, which tokens were served. Built once per plan from the inputs; every
//! rule reads it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use model::desired::{Backup, Desired, RecoveryPolicy};
use model::id::{Address, Name, RepositoryId, SnapshotId};
use model::observed::{Backoff, Observed, RecoveryPhase, RecoveryRecord, SnapshotInfo, is_proven};
use model::receipt::{Control, ControlBody, EvidenceKind, Marker, Receipt, Serving};

pub(crate) use crate::index::RepositoryState;
use crate::index::{Index, repository_state, taken_at};
use crate::retention::Standing;

/// How far the clocks of two machines may differ before an instant counts as lying in the future.
pub(crate) const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_mins(10);

/// A point of a resource in a repository.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PointRef<'a> {
    pub(crate) repository: &'a Name,
    pub(crate) info: &'a SnapshotInfo,
    /// Its stored bytes were read again.
    pub(crate) proven: bool,
}

impl<'a> PointRef<'a> {
    pub(crate) fn id(&self) -> &'a SnapshotId {
        &self.info.id
    }

    pub(crate) fn receipt(&self) -> Option<&'a Receipt> {
        self.info.receipt.as_ref()
    }

    /// The instant of the consistency point.
    pub(crate) fn taken_at(&self) -> Timestamp {
        taken_at(self.info)
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.receipt().is_some_and(|receipt| receipt.complete)
    }
}

/// Where a resource should be, and since when that is known.
#[derive(Clone, Debug)]
pub(crate) struct Baseline<'a> {
    pub(crate) at: Timestamp,
    pub(crate) marker: &'a Marker,
    /// The receipt, when it comes from one; `None`: from a control record.
    pub(crate) receipt: Option<&'a Receipt>,
}

impl<'a> Baseline<'a> {
    /// Where a point says that it should be.
    pub(crate) const fn of(receipt: &'a Receipt) -> Self {
        Self { at: receipt.taken_at, marker: &receipt.marker, receipt: Some(receipt) }
    }
}

/// See the module.
pub(crate) struct View<'a> {
    pub(crate) desired: &'a Desired,
    pub(crate) observed: &'a Observed,
    pub(crate) now: Timestamp,
    pub(crate) repositories: BTreeMap<&'a Name, RepositoryState<'a>>,
    index: Held<'a>,
    tables: Vec<&'a [SnapshotInfo]>,
    pub(crate) controls: Vec<&'a Control>,
    /// The newest baseline record of each resource.
    baselines: BTreeMap<&'a Address, (Timestamp, &'a Marker)>,
}

/// An index of one's own, or one that is kept from plan to plan.
enum Held<'a> {
    Own(Box<Index<'a>>),
    Kept(&'a Index<'a>),
}

impl<'a> View<'a> {
    pub(crate) fn new(desired: &'a Desired, observed: &'a Observed, now: Timestamp) -> Self {
        let index = Box::new(Index::new(desired, observed));
        Self::with(Held::Own(index), desired, observed, now)
    }

    /// A view over an index that is up to date with the observation.
    pub(crate) fn over(
        index: &'a Index<'a>,
        desired: &'a Desired,
        observed: &'a Observed,
        now: Timestamp,
    ) -> Self {
        Self::with(Held::Kept(index), desired, observed, now)
    }

    fn with(index: Held<'a>, desired: &'a Desired, observed: &'a Observed, now: Timestamp) -> Self {
        let repositories: BTreeMap<_, _> = desired
            .repositories
            .keys()
            .map(|name| (name, repository_state(desired, observed, name)))
            .collect();
        let tables = match &index {
            Held::Own(index) => index.tables(observed),
            Held::Kept(index) => index.tables(observed),
        };
        let mut view = Self {
            desired,
            observed,
            now,
            repositories,
            index,
            tables,
            controls: Vec::new(),
            baselines: BTreeMap::new(),
        };
        view.collect_controls();
        view
    }

    fn collect_controls(&mut self) {
        for (name, state) in &self.repositories {
            if let RepositoryState::Ready(_) = state
                && let Some(seen) = self.observed.repositories.get(*name)
            {
                self.controls.extend(seen.controls());
            }
        }
        self.controls.sort_by_key(|control| control.at);
        for control in &self.controls {
            if let ControlBody::Baseline { address, marker, .. } = &control.body
                && let Some(current) = self.current(address)
                && !self.is_future(control.at)
            {
                self.baselines.insert(current, (control.at, marker));
            }
        }
    }

    pub(crate) fn index(&self) -> &Index<'a> {
        match &self.index {
            Held::Own(index) => index,
            Held::Kept(index) => index,
        }
    }

    /// Points of a resource in all readable repositories, oldest first.
    pub(crate) fn points<'v>(
        &'v self,
        address: &Address,
    ) -> impl DoubleEndedIterator<Item = PointRef<'a>> + ExactSizeIterator + Clone + use<'v, 'a>
    {
        self.index().places(address).iter().map(move |place| {
            let repository = usize::from(place.repository);
            PointRef {
                repository: self.index().repositories[repository],
                info: &self.tables[repository][place.at as usize],
                proven: place.proven,
            }
        })
    }

    /// Points of a resource in one repository, oldest first.
    pub(crate) fn points_in<'v>(
        &'v self,
        address: &Address,
        repository: &'v Name,
    ) -> impl DoubleEndedIterator<Item = PointRef<'a>> + use<'v, 'a> {
        self.points(address).filter(move |p| p.repository == repository)
    }

    /// Backups that select a resource, by name.
    pub(crate) fn backups(&self, address: &Address) -> &[&'a Backup] {
        self.index().backups(address)
    }

    /// The policy that answers for a resource: the first by name.
    pub(crate) fn policy(&self, address: &Address) -> Option<&'a RecoveryPolicy> {
        self.desired.recovery_policies.values().find(|policy| policy.resources.contains(address))
    }

    /// The desired resource to which an address belongs, by its present or an earlier name.
    pub(crate) fn current(&self, address: &Address) -> Option<&'a Address> {
        let index = self.index();
        index.number(address).map(|number| index.addresses[number as usize])
    }

    /// Repositories that a resource's backups name, in the order of the documents.
    pub(crate) fn repositories_of(&self, address: &Address) -> Vec<&'a Name> {
        let mut names: Vec<&Name> = Vec::new();
        for backup in self.backups(address) {
            for name in &backup.repositories {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        names
    }

    pub(crate) fn state(&self, repository: &Name) -> RepositoryState<'a> {
        self.repositories.get(repository).cloned().unwrap_or(RepositoryState::Unknown {
            reason: "NoDocument",
            detail: "no such document",
        })
    }

    pub(crate) fn repository_id(&self, repository: &Name) -> Option<&'a RepositoryId> {
        match self.repositories.get(repository) {
            Some(RepositoryState::Ready(id)) => Some(*id),
            _ => None,
        }
    }

    /// Whether an instant lies further ahead than clocks may differ.
    pub(crate) fn is_future(&self, at: Timestamp) -> bool {
        at.duration_since(self.now) > CLOCK_TOLERANCE
    }

    /// Whether what failed is not tried again yet.
    pub(crate) fn is_put_off(&self, backoff: &Backoff) -> bool {
        backoff.until > self.now && !self.is_future(backoff.since)
    }

    pub(crate) fn is_proven(&self, snapshot: &SnapshotId) -> bool {
        is_proven(self.observed.memory.evidence.get(snapshot), EvidenceKind::Checked)
    }

    /// Whether nothing speaks against a point, or a person said that it is right.
    fn is_trusted(&self, point: &PointRef<'_>) -> bool {
        let Some(receipt) = point.receipt() else { return false };
        receipt.suspicious.is_none()
            || self.observed.memory.accepted_alarms.contains(&format!("suspicious:{}", point.id()))
    }

    pub(crate) fn standing(&self, point: &PointRef<'_>) -> Standing {
        match point.receipt() {
            None => Standing::Foreign,
            Some(receipt) if !receipt.complete => Standing::Incomplete,
            Some(_) if self.is_trusted(point) => Standing::Good,
            Some(receipt) => Standing::Suspicious(receipt.suspicious.clone().unwrap_or_default()),
        }
    }

    /// Complete, trusted and not stamped in the future.
    pub(crate) fn is_good(&self, point: &PointRef<'_>) -> bool {
        self.standing(point) == Standing::Good && !self.is_future(point.taken_at())
    }

    /// Complete and trusted, but stamped in the future by a wrong clock.
    pub(crate) fn is_astray(&self, point: &PointRef<'_>) -> bool {
        self.standing(point) == Standing::Good && self.is_future(point.taken_at())
    }

    /// The newest proven good point of a resource; among copies of one instant, the one whose
    /// repository the documents name first.
    pub(crate) fn newest_proven(&self, address: &Address) -> Option<PointRef<'a>> {
        self.best(address, |point| point.proven)
    }

    /// The newest good point that satisfies a condition.
    pub(crate) fn best(
        &self,
        address: &Address,
        accepts: impl Fn(&PointRef<'a>) -> bool,
    ) -> Option<PointRef<'a>> {
        self.newest_of(address, |point| self.is_good(point) && accepts(point))
    }

    /// The newest point that is good but for its stamp in the future and satisfies a condition.
    pub(crate) fn best_astray(
        &self,
        address: &Address,
        accepts: impl Fn(&PointRef<'a>) -> bool,
    ) -> Option<PointRef<'a>> {
        self.newest_of(address, |point| self.is_astray(point) && accepts(point))
    }

    fn newest_of(
        &self,
        address: &Address,
        accepts: impl Fn(&PointRef<'a>) -> bool,
    ) -> Option<PointRef<'a>> {
        let order = self.repositories_of(address);
        let preference = |point: &PointRef<'_>| {
            order.iter().position(|name| *name == point.repository).unwrap_or(usize::MAX)
        };
        self.points(address).filter(accepts).max_by(|a, b| {
            (a.taken_at(), std::cmp::Reverse(preference(a)), b.id()).cmp(&(
                b.taken_at(),
                std::cmp::Reverse(preference(b)),
                a.id(),
            ))
        })
    }

    /// The newest baseline record of a resource.
    fn control_baseline(&self, address: &Address) -> Option<(Timestamp, &'a Marker)> {
        self.baselines.get(address).copied()
    }

    /// Where a resource should be: the newest complete point or the newest baseline record.
    pub(crate) fn baseline(&self, address: &Address) -> Option<Baseline<'a>> {
        let record = self.control_baseline(address);
        let point =
            self.points(address).rev().find(|p| p.is_complete() && !self.is_future(p.taken_at()));
        match (record, point.and_then(|p| p.receipt())) {
            (Some((at, marker)), Some(receipt)) if at > receipt.taken_at => {
                Some(Baseline { at, marker, receipt: None })
            }
            (_, Some(receipt)) => Some(Baseline::of(receipt)),
            (Some((at, marker)), None) => Some(Baseline { at, marker, receipt: None }),
            (None, None) => None,
        }
    }

    /// Receipts against which a resource may be compared: complete ones since its newest baseline
    /// record, oldest first.
    pub(crate) fn comparable(&self, address: &Address) -> Vec<&'a Receipt> {
        let since = self.control_baseline(address).map(|(at, _)| at);
        self.points(address)
            .filter_map(|point| point.receipt())
            .filter(|receipt| receipt.complete && !self.is_future(receipt.taken_at))
            .filter(|receipt| since.is_none_or(|since| receipt.taken_at >= since))
            .collect()
    }

    /// Whether the token of a recovery was served, in our memory or beside the data.
    pub(crate) fn is_served(&self, address: &Address, token: &str) -> bool {
        let remembered = self.observed.memory.recoveries.get(token).is_some_and(|record| {
            self.same(&record.address, address)
                && matches!(
                    record.phase,
                    RecoveryPhase::AwaitingCommit
                        | RecoveryPhase::Committed
                        | RecoveryPhase::RolledBack
                )
        });
        let resuming = self
            .record(address, token)
            .is_some_and(|record| matches!(record.phase, RecoveryPhase::Swapping));
        let recorded = || {
            let controls = self.controls.iter().copied();
            Serving::of(controls, token, |of| self.same(of, address)).served
        };
        // The record beside the data is written before the swap, so a swap that was cut short is
        // finished, not taken for done.
        remembered || (!resuming && recorded())
    }

    /// The marker that a resource had when the last recovery brought back this point; `None` when
    /// the last one brought back another, or there was none.
    pub(crate) fn brought_back(&self, address: &Address, point: &SnapshotId) -> Option<&'a Marker> {
        let came_to_nothing = |wanted: &str, nth: u32| {
            self.controls.iter().any(|control| {
                let ControlBody::RecoveryTakenBack { address: of, token, attempt } = &control.body
                else {
                    return false;
                };
                token == wanted && *attempt == nth && self.same(of, address)
            })
        };
        let served = self.controls.iter().rev().find_map(|control| match &control.body {
            ControlBody::RecoveryServed { address: of, token, snapshot, attempt }
                if self.same(of, address) && !came_to_nothing(token, *attempt) =>
            {
                Some((control.at, snapshot))
            }
            _ => None,
        });
        let (at, snapshot) = served?;
        // The baseline is measured after the note that the token is served, in the same recovery.
        let measured = self.controls.iter().find_map(|control| match &control.body {
            ControlBody::Baseline { address: of, marker, .. }
                if control.at >= at && self.same(of, address) =>
            {
                Some(marker)
            }
            _ => None,
        });
        measured.filter(|_| snapshot == point)
    }

    /// What is remembered of a recovery of a resource under a token.
    pub(crate) fn record(&self, address: &Address, token: &str) -> Option<&'a RecoveryRecord> {
        let record = self.observed.memory.recoveries.get(token)?;
        self.same(&record.address, address).then_some(record)
    }

    /// Whether two addresses name one resource, by its present or an earlier name.
    pub(crate) fn same(&self, a: &Address, b: &Address) -> bool {
        a == b || self.current(a).is_some_and(|current| Some(current) == self.current(b))
    }
}

/// The names of resources in a list, for sentences.
pub(crate) fn names<'n>(addresses: impl IntoIterator<Item = &'n Address>) -> String {
    let sorted: BTreeSet<String> = addresses.into_iter().map(ToString::to_string).collect();
    sorted.into_iter().collect::<Vec<_>>().join(", ")
}
