//! Looks again, when a step writes, at what held when it was planned. Called by the runtime with a
//! fresh observation.

#[cfg(test)]
mod tests;

use model::id::{Address, Name, RepositoryId};
use model::observed::{
    Observation, Observed, RecoveryPhase, RecoveryRecord, RepositoryObservation, is_proven,
};
use model::plan::Precondition;
use model::receipt::{EvidenceKind, Marker};

/// The count under which a planned step remembers how many entries the resource had; it is compared
/// with the observation's `entries`, not with the marker's own counts.
pub const ENTRIES: &str = "entries";

/// Returns why a precondition no longer holds. What cannot be seen does not hold.
pub fn precondition(precondition: &Precondition, observed: &Observed) -> Result<(), String> {
    match precondition {
        Precondition::RepositoryIs { repository, id } => {
            repository_is(repository, id.as_ref(), observed.repositories.get(repository))
        }
        Precondition::SnapshotsExist { repository, snapshots } => {
            let Some(RepositoryObservation::Known { snapshots: there, .. }) =
                observed.repositories.get(repository)
            else {
                return Err(format!("repository {repository} could not be read"));
            };
            match snapshots.iter().find(|id| !there.iter().any(|info| info.id == **id)) {
                Some(missing) => {
                    Err(format!("snapshot {} is no longer in {repository}", missing.short()))
                }
                None => Ok(()),
            }
        }
        Precondition::ProvenCopyStays { resource, snapshots } => {
            let proven = |id| is_proven(observed.memory.evidence.get(id), EvidenceKind::Checked);
            let stays = snapshots.iter().any(|(repository, ids)| {
                matches!(
                    observed.repositories.get(repository),
                    Some(RepositoryObservation::Known { snapshots: there, .. })
                        if there.iter().any(|info| ids.contains(&info.id) && proven(&info.id))
                )
            });
            if stays { Ok(()) } else { Err(format!("no proven point of {resource} would stay")) }
        }
        Precondition::ResourcePresent { resource } => match observed.resources.get(resource) {
            Some(Observation::Known { damaged: Some(detail), .. }) => {
                Err(format!("{resource} is damaged: {detail}"))
            }
            Some(Observation::Known { entries: Some(0), .. }) => {
                Err(format!("{resource} is empty"))
            }
            Some(Observation::Known { .. }) => Ok(()),
            other => Err(not_there(resource, other)),
        },
        Precondition::ResourceUnmoved { resource, marker } => {
            unmoved(resource, marker.as_ref(), observed.resources.get(resource))
        }
        Precondition::NoOtherRecovery { resource, token } => {
            let recoveries = &observed.memory.recoveries;
            let own = token.as_ref().and_then(|token| recoveries.get(token));
            let over = own.filter(|record| is_in_place(record.phase));
            let stops = |record: &RecoveryRecord| match record.phase {
                RecoveryPhase::Swapping => true,
                // What lies over another, or half over it, is finished and ended before it.
                RecoveryPhase::AwaitingCommit => {
                    over.is_none_or(|own| record.put_in_place() > own.put_in_place())
                }
                _ => false,
            };
            let other = recoveries.values().find(|record| {
                record.address == *resource
                    && !record.elsewhere
                    && Some(&record.token) != token.as_ref()
                    && stops(record)
            });
            match other {
                Some(record) => {
                    Err(format!("recovery {} of {resource} is under way", record.token))
                }
                None => Ok(()),
            }
        }
    }
}

fn is_in_place(phase: RecoveryPhase) -> bool {
    matches!(phase, RecoveryPhase::Swapping | RecoveryPhase::AwaitingCommit)
}

fn repository_is(
    repository: &Name,
    id: Option<&RepositoryId>,
    observation: Option<&RepositoryObservation>,
) -> Result<(), String> {
    match (observation, id) {
        (Some(RepositoryObservation::Known { id: found, .. }), Some(id)) if found == id => Ok(()),
        (Some(RepositoryObservation::Known { id: found, .. }), Some(id)) => {
            Err(format!("repository {repository} is {}, not {}", found.short(), id.short()))
        }
        (Some(RepositoryObservation::Known { id: found, .. }), None) => {
            Err(format!("repository {repository} exists already as {}", found.short()))
        }
        (Some(RepositoryObservation::Absent { .. }), None) => Ok(()),
        (Some(RepositoryObservation::Absent { detail }), Some(_)) => {
            Err(format!("repository {repository} is gone: {detail}"))
        }
        (Some(RepositoryObservation::Unknown { reason, detail }), _) => {
            Err(format!("repository {repository} could not be read: {reason}: {detail}"))
        }
        (None, _) => Err(format!("repository {repository} was not looked at")),
    }
}

fn not_there(resource: &Address, observation: Option<&Observation>) -> String {
    match observation {
        Some(Observation::Absent { detail, .. }) => format!("{resource} is not there: {detail}"),
        Some(Observation::Unknown { reason, detail }) => {
            format!("{resource} could not be looked at: {reason}: {detail}")
        }
        _ => format!("{resource} was not looked at"),
    }
}

/// Compares what the expected marker carries; what it leaves out may have changed.
fn unmoved(
    resource: &Address,
    expected: Option<&Marker>,
    observation: Option<&Observation>,
) -> Result<(), String> {
    match (expected, observation) {
        (None, Some(Observation::Absent { .. })) => Ok(()),
        (None, Some(Observation::Known { .. })) => Err(format!("{resource} is there again")),
        (Some(expected), Some(Observation::Known { marker, entries, .. })) => {
            if expected.identity.is_some() && expected.identity != marker.identity {
                return Err(format!("{resource} is another one than when this was planned"));
            }
            for (name, was) in &expected.counters {
                let is = marker.counters.get(name);
                if is != Some(was) {
                    let is = is.map_or("unknown".to_owned(), u64::to_string);
                    return Err(format!("{resource} moved: counter {name} {was} → {is}"));
                }
            }
            if expected.digest.is_some() && expected.digest != marker.digest {
                return Err(format!("{resource} moved: its content changed"));
            }
            match expected.counts.get(ENTRIES) {
                Some(was) if *entries != Some(*was) => {
                    Err(format!("{resource} moved: it had {was} entries"))
                }
                _ => Ok(()),
            }
        }
        (_, other) => Err(not_there(resource, other)),
    }
}
