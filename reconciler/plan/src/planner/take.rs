//! Takes a whole observation in by what differs from the one before, so that a pass over a fleet
//! that stands still costs a comparison and no planning. Called by `kept`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::fingerprint::is_same;
use model::id::{Address, Name, SnapshotId};
use model::observed::{Memory, Observed, RepositoryObservation, SnapshotInfo, is_proven};
use model::receipt::{Control, ControlBody, EvidenceKind};

use super::incremental::{Dirty, Held, Planner};
use crate::index::{Index, RepositoryState, repository_state};

/// What became of a repository since it was read before.
enum Turn<'o> {
    /// It holds these snapshots more, the newest of it, and these control records came or went.
    Grew(&'o [SnapshotInfo], Vec<&'o Control>),
    /// Anything else; `None`: it is not looked at any more.
    Other(Option<&'o RepositoryObservation>),
}

impl Planner<'_> {
    /// Takes in a whole observation.
    pub fn take(&mut self, observed: Observed) {
        let after = Arc::new(observed);
        let held = Held::Shared(after.clone());
        let before = std::mem::replace(&mut self.observed, held);
        let mut numbers = self.take_resources(&before, &after);
        numbers.extend(self.take_memory(&before.memory, &after.memory));
        let turns = turns(&before, &after);
        // Which repository is the right one is for the memory to say.
        let anew = before.memory.repositories != after.memory.repositories
            || turns.iter().any(|(_, turn)| matches!(turn, Turn::Other(_)));
        for (name, turn) in &turns {
            match turn {
                Turn::Grew(more, controls) => {
                    more.iter().for_each(|info| self.fingerprint.snapshot(name, info));
                    if !anew {
                        numbers.extend(self.grow(name, more, &after));
                        numbers.extend(self.named_by(controls));
                    }
                }
                Turn::Other(Some(is)) => self.fingerprint.repository(name, is),
                // The fingerprint of one that is gone is of no use and does no harm.
                Turn::Other(None) => {}
            }
        }
        let proofs = self.take_evidence(&before, &after);
        if anew {
            self.index = Index::new(self.desired, &after);
            self.dirty = Dirty::All;
        } else if !proofs.is_empty() {
            numbers.extend(self.prove_again(&proofs, &after));
        }
        numbers.into_iter().for_each(|number| self.changed(Some(number)));
    }

    fn take_resources(&mut self, before: &Observed, after: &Observed) -> BTreeSet<u32> {
        let mut numbers = BTreeSet::new();
        for (address, was, is) in both(&before.resources, &after.resources) {
            if !matches!((was, is), (Some(was), Some(is)) if is_same(was, is)) {
                self.fingerprint.resource(address, was, is);
                numbers.extend(self.index.number(address));
            }
        }
        numbers
    }

    /// Takes in what a repository has more; returns whose it is.
    fn grow(&mut self, name: &Name, more: &[SnapshotInfo], after: &Observed) -> BTreeSet<u32> {
        let state = repository_state(self.desired, after, name);
        let (Some(repository), RepositoryState::Ready(_)) = (self.index.repository(name), state)
        else {
            return BTreeSet::new();
        };
        let Some(RepositoryObservation::Known { snapshots, .. }) = after.repositories.get(name)
        else {
            return BTreeSet::new();
        };
        let mut grown = BTreeSet::new();
        for (at, info) in (snapshots.len() - more.len()..).zip(more) {
            let proofs = after.memory.evidence.get(&info.id);
            let proven = is_proven(proofs, EvidenceKind::Checked);
            grown.extend(self.index.add(repository, at, info, proven));
        }
        grown.iter().for_each(|number| self.index.sort(*number as usize, after));
        grown
    }

    /// Whose records came or went that say what a resource is measured against, or that its token
    /// was served; the other records are looked at in every plan.
    fn named_by(&self, controls: &[&Control]) -> BTreeSet<u32> {
        let of = controls.iter().filter_map(|control| match &control.body {
            ControlBody::Baseline { address, .. }
            | ControlBody::RecoveryServed { address, .. }
            | ControlBody::RecoveryTakenBack { address, .. } => self.index.number(address),
            ControlBody::CommitAccepted { .. } | ControlBody::EpochStarted => None,
        });
        of.collect()
    }

    /// Notes which snapshots are proven otherwise than before.
    fn take_evidence(&mut self, before: &Observed, after: &Observed) -> BTreeSet<SnapshotId> {
        let mut changed = BTreeSet::new();
        for (id, was, is) in both(&before.memory.evidence, &after.memory.evidence) {
            if was != is {
                self.fingerprint.evidence(id, was, is);
                changed.insert(id.clone());
            }
        }
        changed
    }

    fn prove_again(&mut self, ids: &BTreeSet<SnapshotId>, after: &Observed) -> BTreeSet<u32> {
        let mut numbers = BTreeSet::new();
        for seen in after.repositories.values() {
            let RepositoryObservation::Known { snapshots, .. } = seen else { continue };
            for info in snapshots.iter().filter(|info| ids.contains(&info.id)) {
                let Some(address) = &info.address else { continue };
                let proofs = after.memory.evidence.get(&info.id);
                let proven = is_proven(proofs, EvidenceKind::Checked);
                numbers.extend(self.index.prove(after, address, &info.id, proven));
            }
        }
        numbers
    }

    /// Notes what of our memory has a say in resources that nothing else speaks of, and returns in
    /// which. Evidence and the ids of repositories have their own ways.
    pub(super) fn take_memory(&mut self, before: &Memory, after: &Memory) -> BTreeSet<u32> {
        if before.known != after.known || before.accepted_alarms != after.accepted_alarms {
            self.dirty = Dirty::All;
        }
        // Whether a known point's proof failed lately has a say in what may go.
        let mut numbers: BTreeSet<u32> = both(&before.backoff, &after.backoff)
            .filter(|(_, was, is)| was.is_some() != is.is_some())
            .filter_map(|(step, ..)| self.index.number(&verified(step)?))
            .collect();
        if before.requests != after.requests {
            let requests = before.requests.iter().chain(&after.requests);
            numbers.extend(requests.filter_map(|asked| self.index.number(&asked.address)));
        }
        numbers
    }
}

/// The resource of which a step verifies a point.
fn verified(step: &str) -> Option<Address> {
    let (application, rest) = step.strip_prefix("verify/")?.split_once('/')?;
    let (resource, _) = rest.split_once('/')?;
    format!("{application}/{resource}").parse().ok()
}

fn turns<'o>(before: &'o Observed, after: &'o Observed) -> Vec<(&'o Name, Turn<'o>)> {
    let turn = |was, is| match (was, is) {
        (Some(was), Some(is)) => turn(was, is),
        (_, is) => Turn::Other(is),
    };
    both(&before.repositories, &after.repositories).map(|(n, was, is)| (n, turn(was, is))).collect()
}

fn turn<'o>(was: &'o RepositoryObservation, is: &'o RepositoryObservation) -> Turn<'o> {
    use RepositoryObservation::Known;
    let (
        Known { id: old_id, snapshots: old, controls: old_controls, .. },
        Known { id, snapshots, controls, .. },
    ) = (was, is)
    else {
        return if was == is { Turn::Grew(&[], Vec::new()) } else { Turn::Other(Some(is)) };
    };
    // A snapshot's id is the digest of all that it says.
    let same = |(a, b): (&SnapshotInfo, &SnapshotInfo)| a.id == b.id;
    if id != old_id || snapshots.len() < old.len() || !old.iter().zip(snapshots).all(same) {
        return Turn::Other(Some(is));
    }
    let differ = if old_controls == controls {
        Vec::new()
    } else {
        let gone = old_controls.iter().filter(|control| !controls.contains(control));
        let come = controls.iter().filter(|control| !old_controls.contains(control));
        gone.chain(come).collect()
    };
    Turn::Grew(&snapshots[old.len()..], differ)
}

/// Every key of two maps with what each says of it, in order.
fn both<'m, K: Ord, V>(
    a: &'m BTreeMap<K, V>,
    b: &'m BTreeMap<K, V>,
) -> impl Iterator<Item = (&'m K, Option<&'m V>, Option<&'m V>)> {
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    std::iter::from_fn(move || {
        let order = match (a.peek(), b.peek()) {
            (None, None) => return None,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some((a, _)), Some((b, _))) => a.cmp(b),
        };
        let left = if order.is_le() { a.next() } else { None };
        let right = if order.is_ge() { b.next() } else { None };
        let key = left.or(right)?.0;
        Some((key, left.map(|l| l.1), right.map(|r| r.1)))
    })
}
