//! Looks at a repository: there, surely not there, or not to be told. Called by `observe`.

use model::cancel::Cancel;
use model::desired::RepositorySpec;
use model::error::PortError;
use model::id::RepositoryId;
use model::observed::RepositoryObservation;

use super::labels;
use super::open::Doors;
use super::place::{self, Place};

pub(super) fn unknown(error: &PortError) -> RepositoryObservation {
    RepositoryObservation::Unknown { reason: error.reason.to_owned(), detail: error.chain() }
}

pub(super) fn observe(doors: &Doors, spec: &RepositorySpec) -> RepositoryObservation {
    match place::look(spec) {
        Ok(Place::Nothing(detail)) => RepositoryObservation::Absent { detail },
        Ok(Place::Repository) => read(doors, spec).unwrap_or_else(|error| unknown(&error)),
        Err(error) => unknown(&error),
    }
}

fn read(doors: &Doors, spec: &RepositorySpec) -> Result<RepositoryObservation, PortError> {
    let repository = doors.open(spec)?;
    let (mut snapshots, mut controls) = (Vec::new(), Vec::new());
    for snapshot in repository.snapshots()? {
        if labels::is_control(&snapshot) {
            controls.extend(labels::read_control(&repository, &snapshot, &Cancel::default())?);
        } else {
            snapshots.push(labels::info(&snapshot));
        }
    }
    snapshots.sort_by(|a, b| (a.time, &a.id).cmp(&(b.time, &b.id)));
    controls.sort_by_key(|control: &model::receipt::Control| control.at);
    Ok(RepositoryObservation::Known {
        id: RepositoryId::from(repository.id()),
        snapshots,
        controls,
        free_bytes: place::free_bytes(spec),
        waste_bytes: doors.prune_note(repository.id()).waste_bytes,
    })
}
