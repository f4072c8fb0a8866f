//! Brings a point back in phases: beside the original, verified, swapped in, then kept both until
//! `commit` or `rollback`. Where it stands is decided from the target itself, so that a crash or a
//! lost state resumes at the right phase and a token is never served twice.

use model::Timestamp;
use model::agent::Agent;
use model::desired::Resource;
use model::error::PortError;
use model::id::{Name, SnapshotId, TargetRef};
use model::journal::Body;
use model::observed::{
    Deed, MeasuredRestore, Observation, RecoveryPhase, RecoveryRecord, RepositoryObservation,
};
use model::plan::{Action, Over, Step};
use model::ports::agents::OnTarget;
use model::ports::engine::Restored;
use model::receipt::{ControlBody, Evidence, EvidenceKind, Marker, Receipt, Serving};

use crate::event::{RunEvent, StepProgress};
use crate::execute::journal;
use crate::memory;
use crate::step::{self, StepContext, Success, holders, write_control};

/// Why a restore fails whose point is damaged where it is stored.
const POINT_DAMAGED: &str = "PointDamaged";

/// Reasons for which a restore fails that lie with the point, and not with the place.
pub(crate) const OF_THE_POINT: [&str; 8] = [
    POINT_DAMAGED,
    "BadTree",
    "BlobMissing",
    "Damaged",
    "PackMissing",
    "RestoredDataDiffers",
    "SnapshotMissing",
    "StreamMissing",
];

/// One recovery on its way.
struct Recovering<'a> {
    context: &'a StepContext,
    step: &'a Step,
    resource: &'a Resource,
    agent: Agent,
    repository: Name,
    snapshot: SnapshotId,
    token: String,
    paths: Vec<String>,
    over: Over,
    record: RecoveryRecord,
}

/// Runs a restore step to `AwaitingCommit`, or to `Committed` where nothing was there before.
pub(crate) async fn restore(context: &StepContext, step: &Step) -> Result<Success, PortError> {
    let mut way = Recovering::begin(context, step)?;
    let begun = context.world.clock.now();
    let (target, token) = (&way.resource.target, &way.token);
    let agents = &context.world.agents;
    let at = agents.recovery_state(target, &way.agent, token, &context.cancel).await?;
    if was_ended(&way.record, at) {
        way.reach(RecoveryPhase::Committed).await?;
        let summary = "it was put in place and ended, or its place is gone since; not again";
        return Ok(Success { snapshot: Some(way.snapshot.clone()), ..Success::new(summary) });
    }
    let resumed = at == OnTarget::Swapped;
    let counts = if resumed {
        // A crash came between the swap and our note of it.
        model::progress::Counts::default()
    } else if way.record.phase == RecoveryPhase::Swapping && !way.record.elsewhere {
        // The plan took the swap for begun, which passes every gate. The next pass takes it back.
        return Err(PortError::waiting(
            "SwapNotBegun",
            "nothing was put in place before an earlier run broke off",
        )
        .with_hint("the next plan looks at what is there and asks for what it needs"));
    } else {
        let restored = way.write_beside().await?;
        way.verify(&restored).await?;
        // The last look before anything that exists is touched.
        step::recheck(context, step).await?;
        way.swap().await?;
        way.measure(begun, restored.counts.bytes_done).await?;
        restored.counts
    };
    let kept = way.settle_in(resumed).await?;
    let summary = match (&kept, way.record.phase) {
        (Some(kept), _) => format!(
            "snapshot {} is in place; the old data is kept as {kept} until `mainstay commit {}`",
            way.snapshot.short(),
            way.resource.address
        ),
        (None, _) => format!("snapshot {} is in place", way.snapshot.short()),
    };
    Ok(Success { snapshot: Some(way.snapshot.clone()), counts, ..Success::new(summary) })
}

/// Whether a recovery into another place was ended by a start that this state has forgotten:
/// something lay beside when its swap was noted, and nothing does. In the resource's own place,
/// what was measured since says so.
fn was_ended(record: &RecoveryRecord, at: OnTarget) -> bool {
    record.elsewhere && record.phase == RecoveryPhase::Swapping && at == OnTarget::Nothing
}

impl<'a> Recovering<'a> {
    fn begin(context: &'a StepContext, step: &'a Step) -> Result<Self, PortError> {
        let Action::Restore {
            recovery,
            resource,
            repository,
            snapshot,
            token,
            elsewhere,
            paths,
            over,
        } = &step.action
        else {
            return Err(PortError::terminal("WrongAction", "not a restore"));
        };
        let described = step::resource(context, resource)?;
        let document = recovery.as_ref().and_then(|name| context.desired.recoveries.get(name));
        if !*elsewhere && !paths.is_empty() {
            // Some paths cannot be swapped in for the whole without losing the rest.
            return Err(PortError::terminal(
                "PathsNeedPlace",
                "only some paths are asked for, and they would take the place of the whole",
            )
            .with_hint("give the Recovery an `into`, and take from there what is needed"));
        }
        let agent = match document.and_then(|d| d.into.clone()) {
            Some(agent) if *elsewhere => agent,
            None if *elsewhere => {
                return Err(PortError::terminal(
                    "RecoveryUnknown",
                    "the document that says where to restore to is gone",
                ));
            }
            _ => described.agent.clone(),
        };
        let known = context.observed.memory.recoveries.get(token);
        let record = RecoveryRecord {
            address: resource.clone(),
            token: token.clone(),
            repository: repository.clone(),
            snapshot: snapshot.clone(),
            recovery: recovery.clone(),
            elsewhere: *elsewhere,
            phase: known.map_or(RecoveryPhase::Restoring, |r| r.phase),
            since: context.world.clock.now(),
            kept: known.and_then(|r| r.kept.clone()),
        };
        Ok(Self {
            context,
            step,
            resource: described,
            agent,
            repository: repository.clone(),
            snapshot: snapshot.clone(),
            token: token.clone(),
            paths: paths.clone(),
            over: *over,
            record,
        })
    }

    fn target(&self) -> &'a TargetRef {
        &self.resource.target
    }

    /// Comes to a phase: journal, memory, event.
    async fn reach(&mut self, phase: RecoveryPhase) -> Result<(), PortError> {
        self.record.phase = phase;
        self.record.since = self.context.world.clock.now();
        let world = &self.context.world;
        memory::put_recovery(&*world.state, &self.record, Some(&self.agent)).await?;
        let word = format!("{phase:?}");
        let body = Body::StepReached {
            plan: self.context.plan.clone(),
            step: self.step.id.clone(),
            phase: word.clone(),
        };
        journal(world, self.context.epoch, body).await?;
        let step = self.step.id.clone();
        self.context.observer.event(RunEvent::StepReached { step, phase: word });
        Ok(())
    }

    /// The number of this attempt at the swap.
    fn attempt(&self) -> u32 {
        let seen = self.context.observed.repositories.get(&self.repository);
        let controls = seen.map_or(&[][..], RepositoryObservation::controls);
        Serving::of(controls, &self.token, |of| self.resource.is_or_was(of)).next
    }

    async fn write_beside(&mut self) -> Result<Restored, PortError> {
        self.reach(RecoveryPhase::Restoring).await?;
        let world = &self.context.world;
        let spec = step::repository(self.context, &self.repository)?;
        let agents = &world.agents;
        let cancel = &self.context.cancel;
        let place = agents.prepare(self.target(), &self.agent, &self.token, cancel).await?;
        let progress =
            StepProgress { step: self.step.id.clone(), observer: self.context.observer.clone() };
        let restored =
            world.engine.restore(spec, &self.snapshot, &self.paths, place, &progress, cancel).await;
        match restored {
            Ok(restored) if restored.failures.is_empty() => Ok(restored),
            Ok(restored) => {
                let first = restored.failures.first();
                let first = first.map(|f| format!("{}: {}", f.item, f.error));
                let count = restored.failures.len();
                let reason = if restored.damaged { POINT_DAMAGED } else { "RestoreIncomplete" };
                let error = PortError::terminal(
                    reason,
                    format!("{count} items did not come back: {}", first.unwrap_or_default()),
                )
                .with_hint("the original was not touched; restore by hand what can be had");
                Err(self.give_up(error).await)
            }
            Err(error) => Err(self.give_up(error).await),
        }
    }

    /// Removes what lies beside, unless the run is only being stopped and will go on.
    async fn give_up(&mut self, error: PortError) -> PortError {
        if error.class == model::error::ErrorClass::Terminal {
            let agents = &self.context.world.agents;
            let cancel = &self.context.cancel;
            let discarded = agents.discard(self.target(), &self.agent, &self.token, cancel).await;
            if let Err(second) = discarded {
                tracing::warn!("what lies beside was not removed: {second}");
            }
            if let Err(second) = self.reach(RecoveryPhase::Failed).await {
                tracing::warn!("the failed recovery was not noted: {second}");
            }
        }
        error
    }

    /// Compares what was written with the receipt.
    async fn verify(&mut self, restored: &Restored) -> Result<(), PortError> {
        self.reach(RecoveryPhase::Verifying).await?;
        let receipt = self.receipt();
        let whole = self.paths.is_empty() && receipt.as_ref().is_some_and(|r| r.complete);
        if let (true, Some(receipt), Some(digest)) = (whole, &receipt, &restored.digest)
            && !receipt.digest.is_empty()
            && receipt.digest != *digest
        {
            let error = PortError::terminal(
                "RestoredDataDiffers",
                format!("restored content is {digest}, the receipt says {}", receipt.digest),
            );
            return Err(self.give_up(error).await);
        }
        let world = &self.context.world;
        let cancel = &self.context.cancel;
        let marker = world.agents.inspect(self.target(), &self.agent, &self.token, cancel).await?;
        let mut asserted = false;
        if let (true, Some(receipt)) = (whole, &receipt) {
            match compare_counts(&receipt.marker, &marker) {
                Ok(compared) => asserted = compared > 0,
                Err(why) => {
                    let error = PortError::terminal("RestoredDataDiffers", why);
                    return Err(self.give_up(error).await);
                }
            }
        }
        let at = world.clock.now();
        let mut proofs = vec![
            Evidence { kind: EvidenceKind::Checked, at },
            Evidence { kind: EvidenceKind::Restored, at },
        ];
        if asserted {
            proofs.push(Evidence { kind: EvidenceKind::Asserted, at });
        }
        if whole {
            memory::add_evidence(&*world.state, &self.snapshot, &proofs).await?;
        }
        Ok(())
    }

    /// Notes how long the whole took; some paths of it say nothing of the whole.
    async fn measure(&self, begun: Timestamp, bytes: u64) -> Result<(), PortError> {
        if !self.paths.is_empty() {
            return Ok(());
        }
        let world = &self.context.world;
        let at = world.clock.now();
        let took_ms = at.duration_since(begun).as_millis();
        let measured = MeasuredRestore {
            repository: self.repository.clone(),
            snapshot: self.snapshot.clone(),
            at,
            seconds: u64::try_from(took_ms).unwrap_or(0).div_ceil(1000),
            bytes,
        };
        let key = self.resource.address.to_string();
        world.state.write(&[memory::set(memory::kind::RESTORE, key, &measured)?]).await
    }

    fn receipt(&self) -> Option<Receipt> {
        match self.context.observed.repositories.get(&self.repository)? {
            RepositoryObservation::Known { snapshots, .. } => {
                snapshots.iter().find(|s| s.id == self.snapshot)?.receipt.clone()
            }
            _ => None,
        }
    }

    /// Notes beside the data that the token is served, then swaps.
    async fn swap(&mut self) -> Result<(), PortError> {
        self.reach(RecoveryPhase::Swapping).await?;
        let served = ControlBody::RecoveryServed {
            address: self.resource.address.clone(),
            token: self.token.clone(),
            snapshot: self.snapshot.clone(),
            attempt: self.attempt(),
        };
        let source = [self.repository.clone()];
        write_control(self.context, &source, served).await?;
        // As the budgets count it.
        let deed = match self.over {
            Over::Live | Over::Remains => Deed::RestoredOver,
            Over::Nothing => Deed::Recreated,
        };
        let world = &self.context.world;
        let change = memory::deed(deed, world.clock.now(), &self.token)?;
        world.state.write(&[change]).await?;
        let agents = &world.agents;
        let cancel = &self.context.cancel;
        self.record.kept = agents.swap(self.target(), &self.agent, &self.token, cancel).await?;
        Ok(())
    }

    /// What was put in place, as its receipt says; its identity there nobody saw.
    fn as_restored(&self) -> Marker {
        let marker = self.receipt().map(|receipt| receipt.marker).unwrap_or_default();
        Marker { identity: None, ..marker }
    }

    /// Binds the identity anew and waits for a person, if there is something to decide.
    /// What an earlier run put in place and is lost or empty since was in place all the same: it is
    /// measured as its point was, so that the loss is judged as one.
    async fn settle_in(&mut self, resumed: bool) -> Result<Option<String>, PortError> {
        if self.record.kept.is_none() {
            // Resumed after a crash: the swap says again what it kept.
            let agents = &self.context.world.agents;
            let cancel = &self.context.cancel;
            self.record.kept = agents.swap(self.target(), &self.agent, &self.token, cancel).await?;
        }
        if !self.record.elsewhere {
            let was = resumed.then(|| self.as_restored());
            let seen = probed(self.context, self.resource).await;
            baseline(self.context, self.resource, &self.repository, "a recovery", (seen, was))
                .await?;
        }
        self.reach(RecoveryPhase::AwaitingCommit).await?;
        let kept = self.record.kept.clone();
        if kept.is_none() {
            let agents = &self.context.world.agents;
            let cancel = &self.context.cancel;
            agents.commit(self.target(), &self.agent, &self.token, cancel).await?;
            self.reach(RecoveryPhase::Committed).await?;
        }
        Ok(kept)
    }
}

/// Compares counts that both know; returns how many were compared.
fn compare_counts(expected: &Marker, found: &Marker) -> Result<usize, String> {
    let mut compared = 0;
    for (name, want) in &expected.counts {
        if let Some(have) = found.counts.get(name) {
            if want != have {
                return Err(format!("`{name}` is {have}, the receipt says {want}"));
            }
            compared += 1;
        } else if !found.counts.is_empty() {
            return Err(format!("`{name}` is missing, the receipt says {want}"));
        }
    }
    Ok(compared)
}

/// Whether what had counted items has none.
fn is_emptied(was: &Marker, found: &Marker) -> bool {
    let counted = |of: &Marker| Marker { counts: of.counts.clone(), ..Marker::default() };
    plan::went_back(&counted(was), &counted(found)).is_some()
}

/// Measures a resource from its present state on, or from what it was when that is gone already.
async fn baseline(
    context: &StepContext,
    resource: &Resource,
    repository: &Name,
    why: &str,
    (seen, was): (Observation, Option<Marker>),
) -> Result<(), PortError> {
    let marker = match (seen, was) {
        (Observation::Known { marker, .. }, Some(was)) if is_emptied(&was, &marker) => was,
        (Observation::Known { marker, .. }, _) => marker,
        (Observation::Absent { .. }, Some(was)) => was,
        (Observation::Absent { detail, .. } | Observation::Unknown { detail, .. }, _) => {
            return Err(not_readable(resource, &detail));
        }
    };
    measure(context, resource, Some(repository), (marker, why)).await.map(|_| ())
}

pub(crate) async fn probed(context: &StepContext, resource: &Resource) -> Observation {
    context.world.agents.probe(resource, &context.cancel).await
}

pub(crate) fn not_readable(resource: &Resource, detail: &str) -> PortError {
    PortError::transient(
        "NotReadable",
        format!("{} should be in place and could not be probed: {detail}", resource.address),
    )
}

/// Measures a resource from this state on; returns how many repositories took it down.
pub(crate) async fn measure(
    context: &StepContext,
    resource: &Resource,
    repository: Option<&Name>,
    (marker, why): (Marker, &str),
) -> Result<usize, PortError> {
    let body =
        ControlBody::Baseline { address: resource.address.clone(), marker, reason: why.to_owned() };
    let mut all = holders(context, resource);
    let missing = repository.filter(|name| !all.contains(*name)).cloned();
    all.extend(missing);
    write_control(context, &all, body).await
}

/// What a recovery that is to be ended needs.
struct Ending<'a> {
    resource: &'a Resource,
    agent: Agent,
    record: RecoveryRecord,
}

async fn ending<'a>(context: &'a StepContext, token: &str) -> Result<Ending<'a>, PortError> {
    let memory = memory::load(&*context.world.state, 0).await?;
    let record = memory.recoveries.get(token).cloned().ok_or_else(|| {
        PortError::terminal("RecoveryUnknown", format!("no recovery has the token `{token}`"))
    })?;
    let resource = step::resource(context, &record.address)?;
    let agent = memory::recovery_agent(&*context.world.state, token)
        .await?
        .unwrap_or_else(|| resource.agent.clone());
    Ok(Ending { resource, agent, record })
}

/// Ends a recovery: what was kept aside is removed.
pub(crate) async fn commit(context: &StepContext, token: &str) -> Result<Success, PortError> {
    let mut end = ending(context, token).await?;
    let agents = &context.world.agents;
    agents.commit(&end.resource.target, &end.agent, token, &context.cancel).await?;
    close(context, &mut end.record, RecoveryPhase::Committed).await?;
    Ok(Success::new(format!("the recovery of {} is committed", end.record.address)))
}

/// Undoes a recovery; the state that comes back is what the resource is measured against. Emptiness
/// is right only if a person says so: when time undoes a recovery, what comes back empty is still
/// lost, so that nothing expires on its account.
pub(crate) async fn rollback(
    context: &StepContext,
    token: &str,
    by_hand: bool,
) -> Result<Success, PortError> {
    let mut end = ending(context, token).await?;
    let agents = &context.world.agents;
    agents.rollback(&end.resource.target, &end.agent, token, &context.cancel).await?;
    if !end.record.elsewhere {
        let (resource, from) = (end.resource, &end.record.repository);
        let seen = probed(context, resource).await;
        if is_right(&seen, by_hand) {
            baseline(context, resource, from, "a rollback", (seen, None)).await?;
        }
    }
    close(context, &mut end.record, RecoveryPhase::RolledBack).await?;
    Ok(Success::new(format!("the recovery of {} is rolled back", end.record.address)))
}

/// Whether what a rollback brought back says where the resource should be. What is not there says
/// nothing: it is lost again.
fn is_right(seen: &Observation, by_hand: bool) -> bool {
    match seen {
        Observation::Absent { .. } => false,
        Observation::Known { entries: Some(0), .. } => by_hand,
        _ => true,
    }
}

async fn close(
    context: &StepContext,
    record: &mut RecoveryRecord,
    phase: RecoveryPhase,
) -> Result<(), PortError> {
    record.phase = phase;
    record.since = context.world.clock.now();
    memory::put_recovery(&*context.world.state, record, None).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_elsewhere_and_left_nothing_behind_is_ended() {
        let record = |phase, elsewhere| RecoveryRecord {
            address: "shop/orders".parse().unwrap(),
            token: "first".to_owned(),
            repository: "near".parse().unwrap(),
            snapshot: SnapshotId::from("a1"),
            recovery: None,
            elsewhere,
            phase,
            since: Timestamp::UNIX_EPOCH,
            kept: None,
        };
        let swapping = record(RecoveryPhase::Swapping, true);
        assert!(was_ended(&swapping, OnTarget::Nothing));
        assert!(!was_ended(&swapping, OnTarget::Beside));
        assert!(!was_ended(&swapping, OnTarget::Swapped));
        assert!(!was_ended(&record(RecoveryPhase::Verifying, true), OnTarget::Nothing));
        assert!(!was_ended(&record(RecoveryPhase::Swapping, false), OnTarget::Nothing));
    }
}
