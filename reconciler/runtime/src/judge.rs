//! Compares our memory with what the repositories say of themselves: a state that was lost or went
//! back is never taken for one that knows everything. Called once in each pass, before it plans.

use std::collections::{BTreeMap, BTreeSet};

use model::desired::{Desired, Erasure, RepositorySpec};
use model::error::PortError;
use model::id::Name;
use model::observed::{Observed, RepositoryObservation, SnapshotInfo};
use model::ports::state::Change;

use crate::memory::{self, kind, meta};
use crate::world::World;

/// Compares our memory with what the repositories say of themselves. A writer keeps what it found
/// until a person accepts it; a reader only shows it.
pub(crate) async fn judge_memory(
    world: &World,
    desired: &Desired,
    observed: &mut Observed,
    writer: bool,
) -> Result<(), PortError> {
    let metas = world.state.list(kind::META).await?;
    let had_state = metas.contains_key(meta::KNOWN);
    let mut changes = Vec::new();
    // A disk that was away when our state was lost looks like one that was never seen.
    let lost = has_foreign_receipts(desired, observed, |name| {
        !had_state || !observed.memory.repositories.contains_key(name)
    });
    if lost {
        observed.memory.known = false;
        changes.push(memory::set(kind::META, meta::LOST, &true)?);
        // What a person accepted before was said of what was in sight then.
        let (said, other): (BTreeSet<_>, _) = std::mem::take(&mut observed.memory.accepted_alarms)
            .into_iter()
            .partition(|text| text.starts_with("memory:"));
        observed.memory.accepted_alarms = other;
        changes.extend(said.into_iter().map(|text| memory::unset(kind::ALARM, text)));
    }
    if !had_state {
        // Where a repository could not be read, or none is asked for, nothing can be said yet: a
        // lost state would pass for a fresh one.
        let blind = !lost && !sees_every_repository(desired, observed);
        observed.memory.known = !lost && !blind;
        if !blind {
            changes.push(memory::set(kind::META, meta::KNOWN, &true)?);
        }
    }
    // Once this start's epoch is above all that was in a repository, what carries it there is its
    // own work; before that, an equal one is of a start that this state has forgotten.
    let settled = memory::settled(&*world.state).await?;
    let memory = &observed.memory;
    let highest = highest_epoch(observed, &settled);
    if memory.known && writer && memory.epoch_before < highest {
        changes.push(memory::set(kind::META, meta::EPOCH_SUSPECT, &memory.epoch_before)?);
    }
    if !writer {
        return Ok(());
    }
    if memory.epoch <= highest {
        let raised = world.state.raise_epoch(highest + 1).await?;
        observed.memory.epoch = raised;
        changes.push(memory::set(kind::META, meta::EPOCH, &raised)?);
    }
    let epoch = observed.memory.epoch;
    for (name, seen) in &observed.repositories {
        let RepositoryObservation::Known { id, .. } = seen else { continue };
        if !observed.memory.repositories.contains_key(name) {
            changes.push(memory::set(kind::REPOSITORY, name.as_str(), id)?);
        }
        if settled.get(name) != Some(&epoch) {
            changes.push(memory::set(kind::SETTLED, name.as_str(), &epoch)?);
        }
    }
    changes.extend(of_gone_points(observed).map(|step| memory::unset(kind::BACKOFF, step)));
    changes.extend(erasures(desired, observed)?);
    let newest = observed.memory.newest_instant.max(Some(observed.at));
    changes.push(memory::set(kind::META, meta::NEWEST_INSTANT, &newest)?);
    world.state.write(&changes).await
}

/// An erasure cools off from its first sight on; one that is gone or changed begins anew when it
/// returns.
fn erasures(desired: &Desired, observed: &Observed) -> Result<Vec<Change>, PortError> {
    let known = &observed.memory.erasures;
    let wanted: BTreeSet<_> = desired.erasures.values().map(Erasure::digest).collect();
    let new = wanted.iter().filter(|digest| !known.contains_key(*digest));
    let gone = known.keys().filter(|digest| !wanted.contains(*digest));
    new.map(|digest| memory::set(kind::ERASURE, digest.to_string(), &observed.at))
        .chain(gone.map(|digest| Ok(memory::unset(kind::ERASURE, digest.to_string()))))
        .collect()
}

/// Whether one of some repositories holds a point of a desired resource that this state did not
/// write.
fn has_foreign_receipts(
    desired: &Desired,
    observed: &Observed,
    of: impl Fn(&Name) -> bool,
) -> bool {
    let writer = &observed.memory.writer;
    let foreign = |snapshot: &SnapshotInfo| {
        let ours = snapshot.receipt.as_ref().is_some_and(|r| r.writer == *writer);
        let desired = snapshot.address.as_ref().is_some_and(|a| desired.resources.contains_key(a));
        desired && (!ours || writer.is_empty())
    };
    observed.repositories.iter().any(|(name, seen)| match seen {
        RepositoryObservation::Known { snapshots, .. } => of(name) && snapshots.iter().any(foreign),
        _ => false,
    })
}

/// Returns the proofs that failed of points which are not in their repository any more.
fn of_gone_points(observed: &Observed) -> impl Iterator<Item = &String> {
    observed.memory.backoff.keys().filter(|step| {
        let Some((repository, digits)) = plan::proof_of(step) else { return false };
        let seen = repository.parse().ok().and_then(|name: Name| observed.repositories.get(&name));
        let Some(RepositoryObservation::Known { snapshots, .. }) = seen else { return false };
        !snapshots.iter().any(|point| point.id.starts_with(digits))
    })
}

/// Whether there are repositories and each of them could be looked at.
fn sees_every_repository(desired: &Desired, observed: &Observed) -> bool {
    let seen = |(name, spec): (&Name, &RepositorySpec)| {
        observed.repositories.get(name).is_some_and(|seen| is_seen(seen, spec.id.is_some()))
    };
    !desired.repositories.is_empty() && desired.repositories.iter().all(seen)
}

/// Whether what was found says what a repository holds. One whose id git names was there once: its
/// absence is that of a disk.
fn is_seen(seen: &RepositoryObservation, named: bool) -> bool {
    match seen {
        RepositoryObservation::Known { .. } => true,
        RepositoryObservation::Absent { .. } => !named,
        RepositoryObservation::Unknown { .. } => false,
    }
}

/// Returns the highest epoch that receipts and control records of this state carry, those left out
/// that it wrote since it started.
fn highest_epoch(observed: &Observed, settled: &BTreeMap<Name, u64>) -> u64 {
    let memory = &observed.memory;
    let mut highest = 0;
    for (name, seen) in &observed.repositories {
        let RepositoryObservation::Known { snapshots, controls, .. } = seen else { continue };
        let own = settled.get(name).filter(|epoch| **epoch == memory.epoch);
        let foreign = |epoch: &u64| Some(epoch) != own;
        let receipts = snapshots.iter().filter_map(|s| s.receipt.as_ref());
        let receipts = receipts.filter(|r| r.writer == memory.writer).map(|r| r.epoch);
        let controls = controls.iter().filter(|c| c.writer == memory.writer).map(|c| c.epoch);
        highest = receipts.chain(controls).filter(foreign).fold(highest, u64::max);
    }
    highest
}

#[cfg(test)]
mod tests {
    use model::Timestamp;
    use model::id::RepositoryId;
    use model::observed::{Backoff, Memory};
    use model::receipt::{Control, ControlBody};

    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    /// A repository in which the writer `us` left a record under an epoch.
    fn holding(epoch: u64) -> RepositoryObservation {
        let body = ControlBody::CommitAccepted { commit: model::id::CommitId::from("c") };
        let control = Control::new("us".to_owned(), epoch, Timestamp::UNIX_EPOCH, body);
        RepositoryObservation::Known {
            id: RepositoryId::from("r"),
            snapshots: Vec::new(),
            controls: vec![control],
            free_bytes: None,
            waste_bytes: None,
        }
    }

    #[test]
    fn failed_proofs_of_gone_points_are_forgotten() {
        let backoff = |_| Backoff { failures: 1, until: Timestamp::MAX, error: String::new() };
        let steps = ["verify/a/b/near/1715609f27a5", "verify/a/b/near/new", "verify/a/b/far/17156"];
        let steps = steps.into_iter().chain(["backup/a/b/near", "verify/a/b/near/new/doc"]);
        let backoff = steps.map(|step| (step.to_owned(), backoff(step))).collect();
        let memory = Memory { backoff, ..Memory::default() };
        let observed = Observed {
            at: Timestamp::UNIX_EPOCH,
            resources: BTreeMap::new(),
            repositories: [(name("near"), holding(1))].into(),
            memory,
        };
        // What cannot be looked at may still be there.
        let gone: Vec<&String> = of_gone_points(&observed).collect();
        assert_eq!(gone, ["verify/a/b/near/1715609f27a5"]);
    }

    #[test]
    fn what_git_names_and_is_not_there_was_not_seen() {
        let absent = RepositoryObservation::Absent { detail: "no such folder".to_owned() };
        assert!(is_seen(&absent, false) && !is_seen(&absent, true));
        assert!(is_seen(&holding(1), true));
    }

    #[test]
    fn an_epoch_is_our_own_only_where_it_was_found_to_be() {
        let memory = Memory { writer: "us".to_owned(), epoch: 4, ..Memory::default() };
        let observed = Observed {
            at: Timestamp::UNIX_EPOCH,
            resources: BTreeMap::new(),
            repositories: [(name("near"), holding(4)), (name("far"), holding(3))].into(),
            memory,
        };
        let settled = |at: &[(&str, u64)]| at.iter().map(|(n, e)| (name(n), *e)).collect();
        assert_eq!(highest_epoch(&observed, &settled(&[("near", 4), ("far", 4)])), 3);
        // A disk that was away when this start began may hold what a forgotten one wrote.
        assert_eq!(highest_epoch(&observed, &settled(&[("far", 4)])), 4);
        assert_eq!(highest_epoch(&observed, &settled(&[("near", 3), ("far", 4)])), 4);
    }
}
