//! Where everything lies in the inputs: which points belong to which resource, which of them are
//! proven, which documents speak of it. Made once from an observation and kept up with its changes,
//! so that a plan need not look through the fleet. Called by `view` and `planner::incremental`.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::{IndexMap, IndexSet};
use jiff::Timestamp;
use model::desired::{Backup, Desired, Recovery, Trigger};
use model::id::{Address, Name, RepositoryId, SnapshotId};
use model::observed::{Observed, RepositoryObservation, SnapshotInfo, is_proven};
use model::receipt::EvidenceKind;
use model::text::Text;

use crate::slots::Calendar;

/// The most repositories that an index tells apart.
pub(crate) const REPOSITORIES_MAX: usize = u16::MAX as usize;

/// What a repository of the desired state turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RepositoryState<'a> {
    /// It is the one that is meant.
    Ready(&'a RepositoryId),
    /// There is none yet, and nothing knows of one.
    New,
    /// There is none, and there was one.
    Lost(&'a str),
    /// Another one is in its place.
    Other { expected: &'a RepositoryId, found: &'a RepositoryId },
    /// It could not be read.
    Unknown { reason: &'a str, detail: &'a str },
}

impl RepositoryState<'_> {
    /// Why it cannot be used, with a stable word; `None` when it can.
    pub(crate) fn trouble(&self) -> Option<(&'static str, String)> {
        match self {
            Self::Ready(_) | Self::New => None,
            Self::Lost(detail) => Some((
                "RepositoryLost",
                format!("a repository was known here and is gone: {detail}"),
            )),
            Self::Other { expected, found } => Some((
                "RepositoryReplaced",
                format!(
                    "repository {} is expected here, {} was found",
                    expected.short(),
                    found.short()
                ),
            )),
            Self::Unknown { reason, detail } => Some((
                "RepositoryUnknown",
                format!("the repository could not be read: {reason}: {detail}"),
            )),
        }
    }
}

/// Compares what is known of a repository with what was found in its place.
pub(crate) fn repository_state<'a>(
    desired: &'a Desired,
    observed: &'a Observed,
    name: &'a Name,
) -> RepositoryState<'a> {
    let pinned = desired.repositories.get(name).and_then(|spec| spec.id.as_ref());
    let known = pinned.or_else(|| observed.memory.repositories.get(name));
    match observed.repositories.get(name) {
        Some(RepositoryObservation::Known { id, .. }) => match known {
            Some(expected) if expected != id => RepositoryState::Other { expected, found: id },
            _ => RepositoryState::Ready(id),
        },
        Some(RepositoryObservation::Absent { detail }) => match known {
            Some(_) => RepositoryState::Lost(detail),
            None => RepositoryState::New,
        },
        Some(RepositoryObservation::Unknown { reason, detail }) => {
            RepositoryState::Unknown { reason, detail }
        }
        None => RepositoryState::Unknown { reason: "NotObserved", detail: "it was not looked at" },
    }
}

/// Where a point lies: which repository by its place among the names, and which of its snapshots.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) repository: u16,
    pub(crate) proven: bool,
    pub(crate) at: u32,
}

/// See the module. Borrows from the desired state only, so that the observation may change.
pub(crate) struct Index<'d> {
    /// The desired resources, sorted; a resource's number is its place here.
    pub(crate) addresses: Vec<&'d Address>,
    /// Present and earlier addresses to numbers.
    numbers: IndexMap<&'d Address, u32>,
    /// The desired repositories, sorted.
    pub(crate) repositories: Vec<&'d Name>,
    /// Points by number, oldest first.
    places: Vec<Vec<Place>>,
    backups: Vec<Vec<&'d Backup>>,
    /// Recovery documents by number, by name.
    recoveries: BTreeMap<u32, Vec<&'d Recovery>>,
    triggers: BTreeMap<&'d Name, Vec<&'d Trigger>>,
    calendars: BTreeMap<&'d Name, Calendar<'d>>,
    /// Points whose resource is in no document, counted by address.
    pub(crate) orphans: BTreeMap<(Address, &'d Name), usize>,
    /// The epochs that the receipts of each writer carry.
    pub(crate) epochs: BTreeMap<Text, BTreeSet<u64>>,
    /// The newest instant of any receipt.
    pub(crate) newest: Option<Timestamp>,
}

impl<'d> Index<'d> {
    pub(crate) fn new(desired: &'d Desired, observed: &Observed) -> Self {
        let addresses: Vec<&Address> = desired.resources.keys().collect();
        let mut index = Self {
            numbers: numbers(desired, &addresses),
            places: vec![Vec::new(); addresses.len()],
            backups: vec![Vec::new(); addresses.len()],
            addresses,
            repositories: desired.repositories.keys().take(REPOSITORIES_MAX).collect(),
            recoveries: BTreeMap::new(),
            triggers: BTreeMap::new(),
            calendars: BTreeMap::new(),
            orphans: BTreeMap::new(),
            epochs: BTreeMap::new(),
            newest: None,
        };
        index.documents(desired);
        index.points(desired, observed);
        index
    }

    fn documents(&mut self, desired: &'d Desired) {
        for backup in desired.backups.values() {
            self.calendars.insert(&backup.name, Calendar::new(&backup.schedule));
            for address in &backup.resources {
                // By its present name only: a document that still selects an earlier one is told.
                if let Some(number) = self.present(address) {
                    self.backups[number as usize].push(backup);
                }
            }
        }
        for recovery in desired.recoveries.values() {
            if let Some(number) = self.number(&recovery.resource) {
                self.recoveries.entry(number).or_default().push(recovery);
            }
        }
        for trigger in desired.triggers.values() {
            self.triggers.entry(&trigger.backup).or_default().push(trigger);
        }
    }

    fn points(&mut self, desired: &'d Desired, observed: &Observed) {
        let evidence = &observed.memory.evidence;
        let mut proven: IndexSet<&SnapshotId> = IndexSet::with_capacity(evidence.len());
        let checked = evidence.iter().filter(|(_, e)| is_proven(Some(e), EvidenceKind::Checked));
        proven.extend(checked.map(|(id, _)| id));
        for number in 0..self.repositories.len() {
            let name = self.repositories[number];
            if !matches!(repository_state(desired, observed, name), RepositoryState::Ready(_)) {
                continue;
            }
            let snapshots = snapshots(observed, name);
            for (at, info) in snapshots.iter().enumerate() {
                self.add(number, at, info, proven.contains(&info.id));
            }
        }
        for number in 0..self.places.len() {
            self.sort(number, observed);
        }
    }

    /// Notes a snapshot of a usable repository; returns the number of its resource.
    pub(crate) fn add(
        &mut self,
        repository: usize,
        at: usize,
        info: &SnapshotInfo,
        proven: bool,
    ) -> Option<u32> {
        if let Some(receipt) = &info.receipt {
            self.newest = self.newest.max(Some(receipt.taken_at));
            match self.epochs.get_mut(&receipt.writer) {
                Some(epochs) => drop(epochs.insert(receipt.epoch)),
                None => {
                    self.epochs.insert(receipt.writer.clone(), BTreeSet::from([receipt.epoch]));
                }
            }
        }
        let address = info.address.as_ref()?;
        let Some(number) = self.number(address) else {
            let orphan = (address.clone(), self.repositories[repository]);
            *self.orphans.entry(orphan).or_default() += 1;
            return None;
        };
        self.places[number as usize].push(Place {
            repository: u16::try_from(repository).unwrap_or(u16::MAX),
            proven,
            at: u32::try_from(at).unwrap_or(u32::MAX),
        });
        Some(number)
    }

    /// Puts the points of a resource in order.
    pub(crate) fn sort(&mut self, number: usize, observed: &Observed) {
        let tables: Vec<&[SnapshotInfo]> =
            if self.places[number].len() < 2 { return } else { self.tables(observed) };
        let key = |place: &Place| {
            let info = &tables[usize::from(place.repository)][place.at as usize];
            (taken_at(info), place.repository, &info.id)
        };
        let places = &mut self.places[number];
        if !places.is_sorted_by(|a, b| key(a) <= key(b)) {
            places.sort_by(|a, b| key(a).cmp(&key(b)));
        }
    }

    /// Notes that what is proven of a snapshot changed; returns the number of its resource, if that
    /// is the resource.
    pub(crate) fn prove(
        &mut self,
        observed: &Observed,
        address: &Address,
        id: &SnapshotId,
        proven: bool,
    ) -> Option<u32> {
        let number = self.number(address)?;
        let tables = self.tables(observed);
        let mut found = false;
        for place in &mut self.places[number as usize] {
            if tables[usize::from(place.repository)][place.at as usize].id == *id {
                place.proven = proven;
                found = true;
            }
        }
        found.then_some(number)
    }

    /// The snapshots of each repository, in the order of the names.
    pub(crate) fn tables<'o>(&self, observed: &'o Observed) -> Vec<&'o [SnapshotInfo]> {
        self.repositories.iter().map(|name| snapshots(observed, name)).collect()
    }

    /// The number of the resource to which an address belongs, by its present or an earlier name.
    pub(crate) fn number(&self, address: &Address) -> Option<u32> {
        self.numbers.get(address).copied()
    }

    /// The number of a resource by its present name.
    pub(crate) fn present(&self, address: &Address) -> Option<u32> {
        self.number(address).filter(|number| self.addresses[*number as usize] == address)
    }

    pub(crate) fn repository(&self, name: &Name) -> Option<usize> {
        self.repositories.binary_search(&name).ok()
    }

    pub(crate) fn places(&self, address: &Address) -> &[Place] {
        self.present(address).map_or(&[], |number| &self.places[number as usize])
    }

    pub(crate) fn backups(&self, address: &Address) -> &[&'d Backup] {
        self.present(address).map_or(&[], |number| &self.backups[number as usize])
    }

    /// Recovery documents of a resource, by name.
    pub(crate) fn recoveries(&self, address: &Address) -> &[&'d Recovery] {
        let of = self.present(address).and_then(|number| self.recoveries.get(&number));
        of.map_or(&[], Vec::as_slice)
    }

    /// Resources that recovery documents speak of.
    pub(crate) fn with_recoveries(&self) -> impl Iterator<Item = u32> + '_ {
        self.recoveries.keys().copied()
    }

    pub(crate) fn triggers(&self, backup: &Name) -> &[&'d Trigger] {
        self.triggers.get(backup).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn calendar(&self, backup: &Name) -> Option<&Calendar<'d>> {
        self.calendars.get(backup)
    }
}

/// Present and earlier addresses to numbers. An earlier address that is in use again belongs to its
/// new owner; one that two resources claim belongs to the first of them.
fn numbers<'d>(desired: &'d Desired, addresses: &[&'d Address]) -> IndexMap<&'d Address, u32> {
    let mut numbers: IndexMap<&Address, u32> = IndexMap::with_capacity(addresses.len());
    for (number, address) in (0..).zip(addresses) {
        numbers.insert(address, number);
    }
    for (number, resource) in (0..).zip(desired.resources.values()) {
        for former in &resource.formerly {
            numbers.entry(former).or_insert(number);
        }
    }
    numbers
}

fn snapshots<'o>(observed: &'o Observed, name: &Name) -> &'o [SnapshotInfo] {
    match observed.repositories.get(name) {
        Some(RepositoryObservation::Known { snapshots, .. }) => snapshots,
        _ => &[],
    }
}

/// The instant of a snapshot's consistency point.
pub(crate) fn taken_at(info: &SnapshotInfo) -> Timestamp {
    info.receipt.as_ref().map_or(info.time, |receipt| receipt.taken_at)
}
