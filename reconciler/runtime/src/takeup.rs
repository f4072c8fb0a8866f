//! Takes recoveries up again that this very state noted as served beside the data and has forgotten
//! since, because it went back: where each of them stands, its target says. What another state
//! noted is left alone, as it may be in the midst of it.

use std::collections::BTreeMap;

use model::cancel::Cancel;
use model::desired::{Desired, Resource};
use model::error::PortError;
use model::id::{Address, Name, SnapshotId};
use model::observed::{Observation, Observed, RecoveryPhase, RecoveryRecord};
use model::ports::agents::OnTarget;
use model::receipt::{Control, ControlBody, Serving};

use crate::memory;
use crate::takeback::{is_ended, remember};
use crate::world::World;

/// A note that a token is served.
struct Note<'d> {
    resource: &'d Resource,
    repository: Name,
    token: String,
    snapshot: SnapshotId,
    at: model::Timestamp,
}

/// Remembers again what was forgotten, as far as it can be asked. Where it cannot be, what is in
/// the place is not known: it may be half of what is put there, or wait for a person.
pub(crate) async fn take_up_forgotten(
    world: &World,
    desired: &Desired,
    observed: &mut Observed,
    cancel: &Cancel,
) -> Result<(), PortError> {
    let mut untold = Vec::new();
    for note in forgotten(desired, observed).into_values() {
        match take_up(world, desired, observed, &note, cancel).await {
            Ok(record) => {
                let verdict = format!("noted as served and forgotten: {:?}", record.phase);
                remember(world, observed, note.resource, record, verdict).await?;
            }
            Err(error) => {
                let detail = format!(
                    "recovery {} was served, and where it stands cannot be asked: {error}",
                    note.token
                );
                untold.push((note.resource.address.clone(), detail));
            }
        }
    }
    for (address, detail) in untold {
        let unknown = Observation::Unknown { reason: "RecoveryUnknown".to_owned(), detail };
        observed.resources.insert(address, unknown);
    }
    Ok(())
}

/// The notes of this state's own that count and that it does not remember, by token.
fn forgotten<'d>(desired: &'d Desired, observed: &Observed) -> BTreeMap<String, Note<'d>> {
    let memory = &observed.memory;
    let is_forgotten = |token: &str| match memory.recoveries.get(token) {
        None => true,
        Some(record) => {
            !record.elsewhere
                && matches!(
                    record.phase,
                    RecoveryPhase::Restoring | RecoveryPhase::Verifying | RecoveryPhase::Failed
                )
        }
    };
    let elsewhere =
        |token: &str| desired.recoveries.values().any(|d| d.token == token && d.into.is_some());
    let is_seen =
        |address: &Address| observed.resources.get(address).is_some_and(Observation::is_seen);
    let mut found = BTreeMap::new();
    for (repository, seen) in &observed.repositories {
        let own = |control: &&Control| !memory.writer.is_empty() && control.writer == memory.writer;
        for control in seen.controls().iter().filter(own) {
            let ControlBody::RecoveryServed { address, token, snapshot, .. } = &control.body else {
                continue;
            };
            if !is_forgotten(token) || elsewhere(token) {
                continue;
            }
            let resource = desired.resources.values().find(|r| r.is_or_was(address));
            let Some(resource) = resource.filter(|r| is_seen(&r.address)) else { continue };
            if Serving::of(seen.controls(), token, |of| resource.is_or_was(of)).served {
                let note = Note {
                    resource,
                    repository: repository.clone(),
                    token: token.clone(),
                    snapshot: snapshot.clone(),
                    at: control.at,
                };
                found.insert(token.clone(), note);
            }
        }
    }
    found
}

async fn take_up(
    world: &World,
    desired: &Desired,
    observed: &Observed,
    note: &Note<'_>,
    cancel: &Cancel,
) -> Result<RecoveryRecord, PortError> {
    let remembered = memory::recovery_agent(&*world.state, &note.token).await?;
    let agent = remembered.as_ref().unwrap_or(&note.resource.agent);
    let (agents, target) = (&world.agents, &note.resource.target);
    let (mut phase, mut kept) = (RecoveryPhase::Swapping, None);
    match agents.recovery_state(target, agent, &note.token, cancel).await? {
        // It was ended, or what lay there is gone with its place: never to be served again.
        OnTarget::Nothing => phase = RecoveryPhase::Committed,
        // Measured after it was put in place, so nothing is left to be done but to end it.
        OnTarget::Swapped if is_ended(observed, note.resource, &note.token) => {
            phase = RecoveryPhase::AwaitingCommit;
            // A swap that was made says again what it kept.
            kept = agents.swap(target, agent, &note.token, cancel).await?;
        }
        OnTarget::Swapped | OnTarget::Beside => {}
    }
    let asks = |token: &str| note.token == token || note.token.starts_with(&format!("{token}+"));
    let mut documents = desired.recoveries.values();
    let document = documents
        .find(|d| d.into.is_none() && asks(&d.token) && note.resource.is_or_was(&d.resource));
    Ok(RecoveryRecord {
        address: note.resource.address.clone(),
        token: note.token.clone(),
        repository: note.repository.clone(),
        snapshot: note.snapshot.clone(),
        recovery: document.map(|document| document.name.clone()),
        elsewhere: false,
        phase,
        since: note.at,
        kept,
    })
}
