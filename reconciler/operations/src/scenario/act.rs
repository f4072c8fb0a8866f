//! What `apply` does in a scenario: each step of the last plan that waits for nothing succeeds, as
//! the runtime would do it, and the world is afterwards as it would be. No step is decided here.

use std::collections::{BTreeMap, BTreeSet};

use model::desired::Desired;
use model::id::{Address, Name, SnapshotId, StepId};
use model::observed::{Backoff, Deed, Observation, RecoveryPhase, RecoveryRecord, SnapshotInfo};
use model::plan::{Action, Due, Over, Plan, SnapshotRef, Step, Wait};
use model::receipt::{ControlBody, Evidence, EvidenceKind, Receipt};

use super::facts::{control, instant, receipt};
use super::state::{State, Thing};

/// After a failure a step is tried again after this time.
const BACKOFF: &str = "+5m";

/// Applies a plan; the steps named in `fail` fail. Returns a line for each step.
pub(super) fn apply(
    state: &mut State,
    plan: &Plan,
    fail: &BTreeSet<String>,
) -> Result<String, String> {
    let desired = state.desired.clone().ok_or("there is no configuration")?;
    let observed = state.observed(&desired);
    let approvals = &state.memory.approvals;
    let gates = plan::gates(&desired, &observed, plan, state.now, approvals);
    let mut done: BTreeMap<StepId, Option<SnapshotId>> = BTreeMap::new();
    let mut out = String::new();
    for step in &plan.steps {
        let (word, text) = match one(state, &desired, step, gates.get(&step.id), &done, fail) {
            Ok(Did { summary, snapshot }) => {
                state.memory.backoff.remove(step.id.as_str());
                done.insert(step.id.clone(), snapshot);
                ("done", summary)
            }
            Err(Not { word, why }) => (word, why),
        };
        out.push_str(&format!("{word:<8} {}  {text}\n", step.id));
    }
    remember(state, plan, &desired);
    Ok(if out.is_empty() { "nothing to do\n".to_owned() } else { out })
}

struct Did {
    summary: String,
    snapshot: Option<SnapshotId>,
}

struct Not {
    word: &'static str,
    why: String,
}

fn one(
    state: &mut State,
    desired: &Desired,
    step: &Step,
    waits: Option<&Vec<Wait>>,
    done: &BTreeMap<StepId, Option<SnapshotId>>,
    fail: &BTreeSet<String>,
) -> Result<Did, Not> {
    let not = |word, why: String| Err(Not { word, why });
    if let Some(missing) = step.needs.iter().find(|id| !done.contains_key(*id)) {
        return not("skipped", format!("{missing} was not done"));
    }
    if let Some(wait) = waits.and_then(|waits| waits.first()) {
        return not("waits", plan::render::wait(wait));
    }
    let observed = state.observed(desired);
    let broken = step.preconditions.iter().find_map(|p| plan::precondition(p, &observed).err());
    if let Some(why) = broken {
        return not("stopped", why);
    }
    if fail.contains(step.id.as_str()) {
        let until = instant(state.now, BACKOFF).unwrap_or(state.now);
        let error = "no answer".to_owned();
        let backoff = Backoff { failures: 1, since: state.now, until, error };
        state.memory.backoff.insert(step.id.to_string(), backoff);
        return not("FAILED", "no answer".to_owned());
    }
    act(state, desired, step, done).map_err(|why| Not { word: "stopped", why })
}

fn said(summary: impl Into<String>) -> Result<Did, String> {
    Ok(Did { summary: summary.into(), snapshot: None })
}

fn act(
    state: &mut State,
    desired: &Desired,
    step: &Step,
    done: &BTreeMap<StepId, Option<SnapshotId>>,
) -> Result<Did, String> {
    match &step.action {
        Action::Init { repository } => {
            let store = state.store();
            state.memory.repositories.insert(repository.clone(), store.id.clone());
            state.repositories.insert(repository.clone(), store);
            said("made")
        }
        Action::Backup { backup, resource, repository, due, shrink_percent_max, .. } => {
            let with = Made { backup, due, shrink_percent_max: *shrink_percent_max };
            made(state, resource, repository, &with)
        }
        Action::Verify { snapshot, .. } => {
            let id = match snapshot {
                SnapshotRef::Id(id) => id.clone(),
                SnapshotRef::Of(step) => {
                    done.get(step).cloned().flatten().ok_or("the point was not made")?
                }
            };
            let evidence = Evidence { kind: EvidenceKind::Checked, at: state.now };
            let set = state.memory.evidence.entry(id.clone()).or_default();
            set.retain(|e| e.kind != EvidenceKind::Checked);
            set.insert(evidence);
            said(format!("{} is proven", id.short()))
        }
        Action::Expire { repository, snapshots, .. } => {
            let store = state.repositories.get_mut(repository).ok_or("no such repository")?;
            store.snapshots.retain(|s| !snapshots.contains(&s.id));
            for id in snapshots {
                state.memory.evidence.remove(id);
            }
            let deeds = state.memory.deeds.entry(Deed::Expired).or_default();
            deeds.extend(std::iter::repeat_n(state.now, snapshots.len()));
            let ids: Vec<String> = snapshots.iter().map(SnapshotId::short).collect();
            said(format!("forgot {}", ids.join(", ")))
        }
        Action::Reclaim { repository } => {
            state.memory.reclaimed.insert(repository.clone(), state.now);
            said("freed what no snapshot needs")
        }
        Action::Restore { .. } => restore(state, step),
        Action::Recreate { resource, .. } => recreate(state, resource),
        Action::Commit { resource, token } => {
            close(state, token, RecoveryPhase::Committed)?;
            state.aside.remove(token);
            said(format!("the recovery of {resource} is committed"))
        }
        Action::Rollback { resource, token } => rollback(state, desired, resource, token),
        Action::Adopt { resource, marker } => {
            let names = holders(state, resource);
            let reason = "the state that is there was adopted".to_owned();
            let body =
                ControlBody::Baseline { address: resource.clone(), marker: marker.clone(), reason };
            control(state, &names, body)?;
            said("adopted")
        }
    }
}

/// Puts an empty thing in place and measures it.
fn recreate(state: &mut State, address: &Address) -> Result<Did, String> {
    state.memory.deeds.entry(Deed::Recreated).or_default().push(state.now);
    let made = Thing::default();
    let marker = made.marker.clone();
    state.resources.insert(address.clone(), made);
    let (names, reason) = (holders(state, address), "it was made anew".to_owned());
    control(state, &names, ControlBody::Baseline { address: address.clone(), marker, reason })?;
    said("made anew")
}

struct Made<'a> {
    backup: &'a Option<Name>,
    due: &'a Due,
    shrink_percent_max: u8,
}

fn made(
    state: &mut State,
    address: &Address,
    repository: &Name,
    with: &Made<'_>,
) -> Result<Did, String> {
    let Observation::Known { marker, bytes, entries, .. } = state.observation(address) else {
        return Err("there is nothing to read".to_owned());
    };
    let id = state.snapshot_id();
    let mut receipt = Receipt {
        backup: with.backup.clone(),
        marker,
        files: entries.unwrap_or(0),
        bytes: bytes.unwrap_or(0),
        writer: state.memory.writer.as_str().into(),
        epoch: state.memory.epoch,
        ..receipt(address, state.now)
    };
    match with.due {
        Due::Slot { at, .. } => receipt.slot = Some(*at),
        Due::Token { token } => {
            receipt.trigger = Some(token.into());
            state.memory.requests.retain(|request| &request.token != token);
        }
    }
    let desired = state.desired.clone().ok_or("there is no configuration")?;
    let observed = state.observed(&desired);
    let before = plan::anomaly::newest_trusted(&observed, repository, address);
    let limit = with.shrink_percent_max;
    receipt.suspicious =
        before.and_then(|b| plan::anomaly::suspicion(&receipt, b, limit)).map(Into::into);
    let store = state.repositories.get_mut(repository).ok_or("no such repository")?;
    let mut summary = format!("snapshot {}", id.short());
    if let Some(why) = &receipt.suspicious {
        summary.push_str(&format!("; suspicious: {why}"));
    }
    store.snapshots.push(SnapshotInfo {
        id: id.clone(),
        time: state.now,
        address: Some(address.clone()),
        receipt: Some(receipt),
        tags: Default::default(),
        hostname: "here".into(),
        paths: vec!["/srv".to_owned()].into(),
    });
    Ok(Did { summary, snapshot: Some(id) })
}

fn restore(state: &mut State, step: &Step) -> Result<Did, String> {
    let Action::Restore {
        recovery, resource, repository, snapshot, token, elsewhere, over, ..
    } = &step.action
    else {
        return Err("no restore".to_owned());
    };
    let store = state.repositories.get(repository).ok_or("no such repository")?;
    let info = store.snapshots.iter().find(|s| &s.id == snapshot).ok_or("the point is gone")?;
    let receipt = info.receipt.clone().ok_or("the point has no receipt")?;
    let served = ControlBody::RecoveryServed {
        address: resource.clone(),
        token: token.clone(),
        snapshot: snapshot.clone(),
        attempt: 0,
    };
    control(state, std::slice::from_ref(repository), served)?;
    let kept = !elsewhere && *over != Over::Nothing;
    if !elsewhere {
        let deed = if *over == Over::Nothing { Deed::Recreated } else { Deed::RestoredOver };
        state.memory.deeds.entry(deed).or_default().push(state.now);
        let back = Thing {
            marker: receipt.marker.clone(),
            bytes: receipt.bytes,
            entries: receipt.files,
            ..Thing::default()
        };
        let aside = state.resources.insert(resource.clone(), back);
        state.aside.insert(token.clone(), aside);
        let mut names = holders(state, resource);
        if !names.contains(repository) {
            names.push(repository.clone());
        }
        let (address, marker) = (resource.clone(), receipt.marker.clone());
        let reason = "a recovery".to_owned();
        control(state, &names, ControlBody::Baseline { address, marker, reason })?;
    }
    let phase = if kept { RecoveryPhase::AwaitingCommit } else { RecoveryPhase::Committed };
    let record = RecoveryRecord {
        address: resource.clone(),
        token: token.clone(),
        repository: repository.clone(),
        snapshot: snapshot.clone(),
        recovery: recovery.clone(),
        elsewhere: *elsewhere,
        phase,
        since: state.now,
        kept: kept.then(|| "what was there".to_owned()),
    };
    state.memory.recoveries.insert(token.clone(), record);
    let place = if *elsewhere { "in another place" } else { "in place" };
    let rest = if kept { "; the old data is kept until `commit`" } else { "" };
    said(format!("snapshot {} is {place}{rest}", snapshot.short()))
}

fn rollback(
    state: &mut State,
    desired: &Desired,
    resource: &Address,
    token: &str,
) -> Result<Did, String> {
    close(state, token, RecoveryPhase::RolledBack)?;
    match state.aside.remove(token).flatten() {
        Some(thing) => state.resources.insert(resource.clone(), thing),
        None => state.resources.remove(resource),
    };
    // As the runtime does: measured from what is there again, so that nothing is found rolled back.
    if desired.resources.contains_key(resource)
        && let Observation::Known { marker, .. } = state.observation(resource)
    {
        let names = holders(state, resource);
        let reason = "a recovery was rolled back".to_owned();
        let body = ControlBody::Baseline { address: resource.clone(), marker, reason };
        control(state, &names, body)?;
    }
    said("the old data is back")
}

fn close(state: &mut State, token: &str, phase: RecoveryPhase) -> Result<(), String> {
    let record = state.memory.recoveries.get_mut(token).ok_or("no such recovery")?;
    record.phase = phase;
    record.since = state.now;
    Ok(())
}

/// `commit ADDRESS` and `rollback ADDRESS`: what a person decides.
pub(super) fn end(state: &mut State, address: &Address, keep: bool) -> Result<String, String> {
    let desired = state.desired.clone().ok_or("there is no configuration")?;
    let awaits =
        |r: &&RecoveryRecord| &r.address == address && r.phase == RecoveryPhase::AwaitingCommit;
    let record = state.memory.recoveries.values().find(awaits);
    let token = record.map(|r| r.token.clone()).ok_or("no recovery of it waits")?;
    let did = if keep {
        close(state, &token, RecoveryPhase::Committed)?;
        state.aside.remove(&token);
        said(format!("the recovery of {address} is committed"))?
    } else {
        rollback(state, &desired, address, &token)?
    };
    Ok(format!("{}\n", did.summary))
}

/// The repositories that hold points of a resource.
fn holders(state: &State, address: &Address) -> Vec<Name> {
    let holds = |s: &SnapshotInfo| s.address.as_ref() == Some(address);
    let usable =
        state.repositories.iter().filter(|(_, s)| s.absent.is_none() && s.unknown.is_none());
    usable.filter(|(_, s)| s.snapshots.iter().any(holds)).map(|(name, _)| name.clone()).collect()
}

/// What a run leaves in our state.
fn remember(state: &mut State, plan: &Plan, desired: &Desired) {
    let in_doubt = plan.report.alarms.iter().any(|wait| {
        matches!(wait, Wait::Alarm { accept, .. }
            if accept.starts_with("commit:") || accept.starts_with("documents:"))
    });
    if !in_doubt {
        state.memory.last_applied = Some(desired.commit.clone());
        state.memory.last_documents = Some(desired.documents);
    }
    state.memory.newest_instant = state.memory.newest_instant.max(Some(state.now));
}
