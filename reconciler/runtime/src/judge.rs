//! Compares our memory with what the repositories say of themselves: a state that was lost or went
//! back is never taken for one that knows everything. Called once in each pass, before it plans.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use model::desired::{Desired, Erasure, RepositorySpec};
use model::error::PortError;
use model::id::{Name, RepositoryId};
use model::observed::{Observed, RepositoryObservation, SnapshotInfo};
use model::ports::state::Change;

use crate::memory::{self, kind, meta};
use crate::world::World;

/// For how many hours deeds are kept. The longest budget counts those of 24.
const DEEDS_KEPT: i64 = 48;

/// For how many hours proofs are kept of points that are nowhere in sight: a disk with older copies
/// of a repository may come back.
const PROOFS_KEPT: i64 = 30 * 24;

/// Compares our memory with what the repositories say of themselves. A writer keeps what it found
/// until a person accepts it; a reader only shows it.
pub(crate) async fn judge_memory(
    world: &World,
    desired: &Desired,
    observed: &mut Observed,
    writer: bool,
) -> Result<(), PortError> {
    let metas = world.state.list(kind::META).await?;
    let found = memory::found(&*world.state).await?;
    let mut changes = doubt(desired, observed, metas.contains_key(meta::KNOWN), &found)?;
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
    changes.extend(looked_at(observed, &found, &settled)?);
    changes.extend(of_gone_points(observed).map(|step| memory::unset(kind::BACKOFF, step)));
    let first = settled.values().all(|looked| *looked != epoch);
    if first && sees_every_repository(desired, observed) {
        changes.extend(old_proofs(observed));
    }
    if let Some(before) = seen_for(observed, DEEDS_KEPT)
        && has_deeds_before(observed, before)
    {
        changes.extend(memory::old_deeds(world.state.list(kind::DEED).await?, before));
    }
    changes.extend(erasures(desired, observed)?);
    let newest = observed.memory.newest_instant.max(Some(observed.at));
    changes.push(memory::set(kind::META, meta::NEWEST_INSTANT, &newest)?);
    world.state.write(&changes).await
}

/// Whether our memory may be a lost or a fresh one, and what of that is remembered. `had_state`: it
/// had been through a whole pass.
fn doubt(
    desired: &Desired,
    observed: &mut Observed,
    had_state: bool,
    found: &BTreeMap<Name, RepositoryId>,
) -> Result<Vec<Change>, PortError> {
    let mut changes = Vec::new();
    // A disk that was away when our state was lost looks like one that was never seen, or lies
    // where another one was made meanwhile.
    let repositories = &observed.memory.repositories;
    let lost = has_foreign_receipts(desired, observed, |name, id| {
        !had_state || found.get(name).or_else(|| repositories.get(name)) != Some(id)
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
    Ok(changes)
}

/// Remembers which repositories were looked at, and under which epoch.
fn looked_at(
    observed: &Observed,
    found: &BTreeMap<Name, RepositoryId>,
    settled: &BTreeMap<Name, u64>,
) -> Result<Vec<Change>, PortError> {
    let epoch = observed.memory.epoch;
    let mut changes = Vec::new();
    for (name, seen) in &observed.repositories {
        let RepositoryObservation::Known { id, .. } = seen else { continue };
        if !observed.memory.repositories.contains_key(name) {
            changes.push(memory::set(kind::REPOSITORY, name.as_str(), id)?);
        }
        if found.get(name) != Some(id) {
            changes.push(memory::set(kind::FOUND, name.as_str(), id)?);
        }
        if settled.get(name) != Some(&epoch) {
            changes.push(memory::set(kind::SETTLED, name.as_str(), &epoch)?);
        }
    }
    Ok(changes)
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
    of: impl Fn(&Name, &RepositoryId) -> bool,
) -> bool {
    let writer = &observed.memory.writer;
    let foreign = |snapshot: &SnapshotInfo| {
        let ours = snapshot.receipt.as_ref().is_some_and(|r| r.writer == *writer);
        let desired = snapshot.address.as_ref().is_some_and(|a| desired.resources.contains_key(a));
        desired && (!ours || writer.is_empty())
    };
    observed.repositories.iter().any(|(name, seen)| match seen {
        RepositoryObservation::Known { id, snapshots, .. } => {
            of(name, id) && snapshots.iter().any(foreign)
        }
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

/// The instant that lies so long before all that is surely past: a clock that is ahead for one pass
/// makes nothing old.
fn seen_for(observed: &Observed, hours: i64) -> Option<Timestamp> {
    let surely = observed.memory.newest_instant?.min(observed.at);
    surely.checked_sub(SignedDuration::from_hours(hours)).ok()
}

/// Whether there is something to forget beside the newest deed of each kind.
fn has_deeds_before(observed: &Observed, before: Timestamp) -> bool {
    let mut kinds = observed.memory.deeds.values();
    kinds.any(|deeds| deeds.len() > 1 && deeds.first().is_some_and(|at| *at < before))
}

/// Returns what is proven of points that were deleted by other hands long ago. Looked for once in a
/// start, as it goes through the whole memory.
fn old_proofs(observed: &Observed) -> Vec<Change> {
    let Some(before) = seen_for(observed, PROOFS_KEPT) else { return Vec::new() };
    let seen = |seen: &RepositoryObservation| match seen {
        RepositoryObservation::Known { snapshots, .. } => {
            snapshots.iter().map(|point| point.id.clone()).collect()
        }
        _ => Vec::new(),
    };
    let there: BTreeSet<_> = observed.repositories.values().flat_map(seen).collect();
    let proofs = observed.memory.evidence.iter();
    proofs
        .filter(|(id, proofs)| proofs.iter().all(|e| e.at < before) && !there.contains(*id))
        .map(|(id, _)| memory::unset(kind::EVIDENCE, id.to_string()))
        .collect()
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
    use std::sync::Arc;

    use model::few::Proofs;
    use model::id::SnapshotId;
    use model::observed::{Backoff, Memory};
    use model::receipt::{Control, ControlBody, Evidence, EvidenceKind};

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
        let (since, until, error) = (Timestamp::UNIX_EPOCH, Timestamp::MAX, String::new());
        let backoff = |_| Backoff { failures: 1, since, until, error: error.clone() };
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

    fn day(day: i8) -> Timestamp {
        jiff::civil::date(2026, 11, day).to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp()
    }

    fn looked(at: Timestamp, memory: Memory) -> Observed {
        let repositories = [(name("near"), holding(1))].into();
        Observed { at, resources: BTreeMap::new(), repositories, memory }
    }

    #[test]
    fn deeds_of_before_the_longest_budget_are_forgotten_but_the_newest() {
        let deeds = |days: &[(&str, i8)]| {
            let deed = |(key, at): &(&str, i8)| {
                (key.to_string(), crate::world::encode(&day(*at)).unwrap())
            };
            days.iter().map(deed).collect()
        };
        let all =
            deeds(&[("expired:a", 1), ("expired:b", 9), ("expired:c", 2), ("recreated:d", 1)]);
        let gone = memory::old_deeds(all, day(8)).into_iter().map(|change| change.key);
        assert_eq!(gone.collect::<Vec<_>>(), ["expired:a", "expired:c"]);
        let all = deeds(&[("expired:a", 1), ("expired:c", 2)]);
        let gone = memory::old_deeds(all, day(8)).into_iter().map(|change| change.key);
        assert_eq!(gone.collect::<Vec<_>>(), ["expired:a"]);
    }

    #[test]
    fn a_clock_that_is_ahead_for_one_pass_makes_nothing_old() {
        let seen = |now, newest_instant| {
            seen_for(&looked(now, Memory { newest_instant, ..Memory::default() }), 24)
        };
        assert_eq!(seen(day(20), None), None);
        assert_eq!(seen(day(20), Some(day(5))), Some(day(4)));
        assert_eq!(seen(day(5), Some(day(20))), Some(day(4)));
    }

    #[test]
    fn proofs_of_points_gone_for_a_month_are_forgotten() {
        let proven = |at| Evidence { kind: EvidenceKind::Restored, at };
        let evidence = [("old", day(1)), ("new", day(20))];
        let evidence = evidence.map(|(id, at)| (SnapshotId::from(id), Proofs::from([proven(at)])));
        let memory = Memory {
            evidence: evidence.into_iter().collect(),
            newest_instant: Some(day(29).checked_add(SignedDuration::from_hours(96)).unwrap()),
            ..Memory::default()
        };
        let mut observed = looked(memory.newest_instant.unwrap(), memory);
        let forgotten = |observed: &Observed| -> Vec<String> {
            old_proofs(observed).into_iter().map(|change| change.key).collect()
        };
        assert_eq!(forgotten(&observed), ["old"]);
        let seen = observed.repositories.get_mut(&name("near")).unwrap();
        if let RepositoryObservation::Known { snapshots, .. } = seen {
            snapshots.push(SnapshotInfo {
                id: SnapshotId::from("old"),
                time: day(1),
                address: None,
                receipt: None,
                tags: Arc::default(),
                hostname: "web".into(),
                paths: Vec::new().into(),
            });
        }
        assert_eq!(forgotten(&observed), [""; 0]);
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
