//! The digest of an observation, kept in parts, so that one change costs that change and not the
//! fleet. Made by `plan`; [`Observed::digest`] is the same digest made from nothing.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::digest::{Bag, Digest};
use crate::few::Proofs;
use crate::id::{Address, Name, RepositoryId, SnapshotId};
use crate::observed::{Memory, Observation, Observed, RepositoryObservation, SnapshotInfo};
use crate::receipt::{Control, Marker};

/// The parts of an observation's digest that grow with the fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint {
    resources: Bag,
    snapshots: BTreeMap<Name, Bag>,
    evidence: Bag,
}

impl Fingerprint {
    /// Returns the parts of an observation.
    pub fn of(observed: &Observed) -> Self {
        let mut parts = Self::default();
        for (address, seen) in &observed.resources {
            parts.resource(address, None, Some(seen));
        }
        for (name, seen) in &observed.repositories {
            parts.repository(name, seen);
        }
        for (id, set) in &observed.memory.evidence {
            parts.evidence(id, None, Some(set));
        }
        parts
    }

    /// Notes that what is known of a resource changed. When it was looked at is left out: nothing
    /// is decided by it, and each look would change the digest of a fleet that stands still.
    pub fn resource(
        &mut self,
        address: &Address,
        before: Option<&Observation>,
        after: Option<&Observation>,
    ) {
        let (before, after) = (before.map(Seen::of), after.map(Seen::of));
        replace(&mut self.resources, address, before.as_ref(), after.as_ref());
    }

    /// Notes that a repository was read anew.
    pub fn repository(&mut self, name: &Name, seen: &RepositoryObservation) {
        let mut bag = Bag::default();
        if let RepositoryObservation::Known { snapshots, .. } = seen {
            snapshots.iter().for_each(|info| add(&mut bag, info));
        }
        self.snapshots.insert(name.clone(), bag);
    }

    /// Notes that a repository has one snapshot more.
    pub fn snapshot(&mut self, repository: &Name, info: &SnapshotInfo) {
        add(self.snapshots.entry(repository.clone()).or_default(), info);
    }

    /// Notes that what is proven of a snapshot changed.
    pub fn evidence(&mut self, id: &SnapshotId, before: Option<&Proofs>, after: Option<&Proofs>) {
        replace(&mut self.evidence, id, before, after);
    }

    /// Returns the digest of the observation whose parts these are.
    pub fn digest(&self, observed: &Observed) -> Digest {
        let Observed { at, resources, repositories, memory } = observed;
        let repositories: BTreeMap<&Name, Repository<'_>> = repositories
            .iter()
            .map(|(name, seen)| (name, self.of_repository(name, seen)))
            .collect();
        let bags = (&self.resources, &self.evidence, memory.evidence.len());
        Digest::of("observed", &(at, resources.len(), bags, repositories, rest(memory)))
    }

    fn of_repository<'o>(&self, name: &Name, seen: &'o RepositoryObservation) -> Repository<'o> {
        match seen {
            RepositoryObservation::Known { id, snapshots, controls, free_bytes, waste_bytes } => {
                Repository::Known {
                    id,
                    count: snapshots.len(),
                    snapshots: self.snapshots.get(name).cloned().unwrap_or_default(),
                    controls,
                    sizes: (*free_bytes, *waste_bytes),
                }
            }
            other => Repository::Other(other),
        }
    }
}

/// What a probe said, without when.
#[derive(PartialEq, Serialize)]
enum Seen<'o> {
    Known(&'o Marker, Option<u64>, Option<u64>, Option<&'o str>),
    Absent(&'o str),
    Unknown(&'o str, &'o str),
}

impl<'o> Seen<'o> {
    fn of(seen: &'o Observation) -> Self {
        match seen {
            Observation::Known { marker, bytes, entries, damaged, at: _ } => {
                Self::Known(marker, *bytes, *entries, damaged.as_deref())
            }
            Observation::Absent { detail, at: _ } => Self::Absent(detail),
            Observation::Unknown { reason, detail } => Self::Unknown(reason, detail),
        }
    }
}

/// Returns whether two looks at a resource found the same.
pub fn is_same(a: &Observation, b: &Observation) -> bool {
    Seen::of(a) == Seen::of(b)
}

#[derive(Serialize)]
enum Repository<'o> {
    Known {
        id: &'o RepositoryId,
        count: usize,
        snapshots: Bag,
        controls: &'o [Control],
        sizes: (Option<u64>, Option<u64>),
    },
    Other(&'o RepositoryObservation),
}

/// A snapshot's id is the digest of what it says, so it stands for all of it.
fn add(bag: &mut Bag, info: &SnapshotInfo) {
    info.id.0.read(|digits| bag.add(digits.as_bytes()));
}

fn replace<K: Serialize, V: Serialize>(
    bag: &mut Bag,
    key: &K,
    before: Option<&V>,
    after: Option<&V>,
) {
    let text = |value: &V| serde_json::to_vec(&(key, value)).unwrap_or_default();
    if let Some(before) = before {
        bag.remove(&text(before));
    }
    if let Some(after) = after {
        bag.add(&text(after));
    }
}

/// A memory without its evidence. Every field is named, so that one that is added is not forgotten.
fn rest(memory: &Memory) -> impl Serialize + '_ {
    let Memory {
        known,
        writer,
        epoch,
        epoch_before,
        last_applied,
        last_documents,
        ancestry,
        repositories,
        evidence: _,
        recoveries,
        approvals,
        holds,
        deeds,
        requests,
        backoff,
        reclaimed,
        newest_instant,
        erasures,
        accepted_alarms,
        restores,
    } = memory;
    (
        (known, writer, epoch, epoch_before, last_applied, last_documents, ancestry),
        (repositories, recoveries, approvals, holds, deeds, requests, backoff),
        (reclaimed, newest_instant, erasures, accepted_alarms, restores),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receipt::{Evidence, EvidenceKind};

    fn observed() -> Observed {
        let at: jiff::Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut observed = Observed::empty(at);
        for name in ["a/one", "a/two"] {
            let seen = Observation::Absent { detail: name.to_owned(), at };
            observed.resources.insert(name.parse().unwrap(), seen);
        }
        observed
    }

    #[test]
    fn a_change_in_parts_gives_the_digest_of_the_whole() {
        let mut observed = observed();
        let mut parts = Fingerprint::of(&observed);
        assert_eq!(parts.digest(&observed), observed.digest());
        let first = observed.digest();

        let address: Address = "a/two".parse().unwrap();
        let after = Observation::Unknown { reason: "NoRoute".to_owned(), detail: String::new() };
        let before = observed.resources.insert(address.clone(), after.clone());
        parts.resource(&address, before.as_ref(), Some(&after));
        assert_eq!(parts.digest(&observed), observed.digest());
        assert_ne!(observed.digest(), first);

        let id = SnapshotId::from("ab");
        let proof = Evidence { kind: EvidenceKind::Checked, at: observed.at };
        let set = Proofs::from([proof]);
        observed.memory.evidence.insert(id.clone(), set.clone());
        parts.evidence(&id, None, Some(&set));
        assert_eq!(parts.digest(&observed), observed.digest());
    }

    #[test]
    fn another_look_that_finds_the_same_changes_nothing() {
        let mut later = observed();
        let at = later.at + jiff::SignedDuration::from_secs(1);
        for seen in later.resources.values_mut() {
            if let Observation::Absent { at: looked, .. } = seen {
                *looked = at;
            }
        }
        assert_eq!(later.digest(), observed().digest());
        assert!(
            later
                .resources
                .values()
                .zip(observed().resources.values())
                .all(|(a, b)| { a != b && is_same(a, b) })
        );
    }

    #[test]
    fn what_is_known_of_one_is_not_taken_for_another() {
        let mut swapped = observed();
        let values: Vec<Observation> = swapped.resources.values().cloned().rev().collect();
        for (seen, value) in swapped.resources.values_mut().zip(values) {
            *seen = value;
        }
        assert_ne!(swapped.digest(), observed().digest());
    }
}
