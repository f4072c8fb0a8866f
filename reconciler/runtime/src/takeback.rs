//! Takes back recoveries that were noted as served and whose run broke off before it touched
//! anything. Their swap would be finished past every gate, as halfway is the worst place to wait
//! in; one that never began has to pass each gate again, over whatever lies in the place by then.

use model::cancel::Cancel;
use model::desired::{Desired, Resource};
use model::error::PortError;
use model::journal::Body;
use model::observed::{Observed, RecoveryPhase, RecoveryRecord, RepositoryObservation};
use model::ports::agents::OnTarget;
use model::receipt::{Control, ControlBody, Serving};

use crate::execute::journal;
use crate::memory;
use crate::world::World;

/// Takes back what never began, as its target says, and returns whether there was any. What cannot
/// be looked at or noted stays, and its step then stops before it touches anything.
pub(crate) async fn take_back_swaps(
    world: &World,
    desired: &Desired,
    observed: &mut Observed,
    cancel: &Cancel,
) -> Result<bool, PortError> {
    let records = observed.memory.recoveries.values();
    let noted = records.filter(|r| r.phase == RecoveryPhase::Swapping && !r.elsewhere);
    let noted: Vec<RecoveryRecord> = noted.cloned().collect();
    let mut any = false;
    for record in noted {
        let resource = desired.resources.values().find(|r| r.is_or_was(&record.address));
        let Some(resource) = resource else { continue };
        let remembered = memory::recovery_agent(&*world.state, &record.token).await?;
        let agent = remembered.as_ref().unwrap_or(&resource.agent);
        let token = &record.token;
        match world.agents.recovery_state(&resource.target, agent, token, cancel).await {
            Ok(OnTarget::Swapped) => continue,
            Ok(OnTarget::Nothing | OnTarget::Beside) => {}
            Err(error) => {
                tracing::warn!(recovery = %token, "where it stands is not known: {error}");
                continue;
            }
        }
        match take_back(world, desired, observed, resource, record).await {
            Ok(()) => any = true,
            Err(error) => tracing::warn!("a swap that never began was not taken back: {error}"),
        }
    }
    Ok(any)
}

async fn take_back(
    world: &World,
    desired: &Desired,
    observed: &mut Observed,
    resource: &Resource,
    mut record: RecoveryRecord,
) -> Result<(), PortError> {
    let ended = is_ended(observed, resource, &record.token);
    let verdict = if ended {
        record.phase = RecoveryPhase::Committed;
        "it was put in place and ended, which was not remembered here"
    } else {
        // Beside the data first: a token that memory alone calls free would never be served.
        note_beside(world, desired, observed, resource, &record).await?;
        record.phase = RecoveryPhase::Restoring;
        "its swap was noted and never began, so it passes every gate again"
    };
    record.since = world.clock.now();
    remember(world, observed, resource, record, verdict.to_owned()).await
}

/// Writes down where a recovery was found to stand.
pub(crate) async fn remember(
    world: &World,
    observed: &mut Observed,
    resource: &Resource,
    record: RecoveryRecord,
    verdict: String,
) -> Result<(), PortError> {
    memory::put_recovery(&*world.state, &record, None).await?;
    let step = plan::restore_step(&resource.address, record.recovery.as_ref());
    journal(world, observed.memory.epoch, Body::Recovered { step, verdict }).await?;
    observed.memory.recoveries.insert(record.token.clone(), record);
    Ok(())
}

async fn note_beside(
    world: &World,
    desired: &Desired,
    observed: &mut Observed,
    resource: &Resource,
    record: &RecoveryRecord,
) -> Result<(), PortError> {
    let seen = observed.repositories.get_mut(&record.repository);
    let spec = desired.repositories.get(&record.repository);
    let (Some(RepositoryObservation::Known { controls, .. }), Some(spec)) = (seen, spec) else {
        return Err(PortError::waiting("NoRepository", "its repository could not be looked at"));
    };
    let serving = Serving::of(&*controls, &record.token, |of| resource.is_or_was(of));
    let body = ControlBody::RecoveryTakenBack {
        address: resource.address.clone(),
        token: record.token.clone(),
        attempt: serving.next,
    };
    let memory = &observed.memory;
    let control = Control::new(memory.writer.clone(), memory.epoch, world.clock.now(), body);
    world.engine.record(spec, &control).await?;
    controls.push(control);
    Ok(())
}

/// Whether the resource was measured anew after the recovery was noted as served, which comes after
/// the swap: a state that went back to the moment between takes it for halfway.
pub(crate) fn is_ended(observed: &Observed, resource: &Resource, wanted: &str) -> bool {
    let controls = || observed.repositories.values().flat_map(RepositoryObservation::controls);
    let served = controls().filter(|control| {
        matches!(&control.body, ControlBody::RecoveryServed { token, .. } if token == wanted)
    });
    let Some(served) = served.map(|control| control.at).max() else { return false };
    controls().any(|control| {
        control.at >= served
            && matches!(&control.body, ControlBody::Baseline { address, .. }
                if resource.is_or_was(address))
    })
}
