//! Decides what is backed up, and which points are proven.

use std::collections::BTreeSet;

use jiff::Timestamp;
use model::desired::{Backup, Desired};
use model::id::{Address, Name};
use model::observed::Observation;
use model::plan::{Action, Class, Condition, Due, Estimate, Precondition, SnapshotRef, Step};
use model::receipt::{EvidenceKind, Marker};

use super::recovery::describe;
use super::{Draft, ids};
use crate::retention::span;
use crate::slots::{Calendar, Dueness, jitter_s, seconds};
use crate::view::{PointRef, RepositoryState};

/// How many known points of one resource in one repository are verified in one plan, newest first:
/// so a lost memory is learnt again in small parts.
const VERIFY_MAX: usize = 2;

/// Plans the backups of one resource and the proof of its points.
pub(super) fn plan(draft: &mut Draft<'_, '_>, address: &Address) {
    let view = draft.view;
    for backup in view.backups(address) {
        let Some(calendar) = view.index().calendar(&backup.name) else { continue };
        for repository in &backup.repositories {
            one(draft, backup, calendar, address, repository);
            verify_known(draft, backup, address, repository);
        }
    }
}

/// What documents and people ask for that cannot be.
pub(super) fn impossible(draft: &mut Draft<'_, '_>) {
    let view = draft.view;
    for request in &view.observed.memory.requests {
        if draft.in_scope(&request.address) && view.backups(&request.address).is_empty() {
            draft.note(format!(
                "a backup of {} was asked for by hand, and no Backup document selects it",
                request.address
            ));
        }
    }
}

/// Resources that a document selects and no document describes.
pub(super) fn undescribed(desired: &Desired) -> Vec<(Address, String)> {
    let mut notes = Vec::new();
    for backup in desired.backups.values() {
        let unknown = |address: &&Address| !desired.resources.contains_key(*address);
        for address in backup.resources.iter().filter(unknown) {
            let name = &backup.name;
            let note = format!("backup {name} selects {address}, which no document describes");
            notes.push((address.clone(), note));
        }
    }
    notes
}

/// The newest slot that was committed. One that lies further ahead than clocks may differ was made
/// by a wrong clock; were it to count, nothing would be due until then.
pub(crate) fn newest_served(
    view: &crate::view::View<'_>,
    backup: &Name,
    address: &Address,
    repository: &Name,
) -> Option<Timestamp> {
    view.points_in(address, repository)
        .filter_map(|point| point.receipt())
        .filter(|receipt| receipt.backup.as_ref() == Some(backup))
        .filter_map(|receipt| receipt.slot)
        .filter(|slot| !view.is_future(*slot))
        .max()
}

fn one(
    draft: &mut Draft<'_, '_>,
    backup: &Backup,
    calendar: &Calendar<'_>,
    address: &Address,
    repository: &Name,
) {
    let view = draft.view;
    let state = view.state(repository);
    if let Some((code, reason)) = state.trouble() {
        draft.defer(ids::backup(view, address, repository, &backup.name), code, reason);
        return;
    }
    let Some((due, reason)) = due(draft, backup, calendar, address, repository) else { return };
    let id = ids::backup(view, address, repository, &backup.name);
    if let Some(why) = draft.busy.get(address).cloned() {
        draft.defer(id, "RecoveryUnderWay", why);
        return;
    }
    match draft.condition(address) {
        Some(Condition::Healthy | Condition::NeverProtected) => {}
        Some(Condition::Unreachable { detail }) => {
            let reason = format!("the resource could not be looked at: {detail}");
            draft.defer(id, "ResourceUnknown", reason);
            return;
        }
        Some(Condition::NeverSeen) => {
            draft.defer(id, "ResourceAbsent", "the resource is not there, and never was");
            return;
        }
        condition => {
            let condition = condition.map_or("unknown".to_owned(), describe);
            draft.defer(id, "ConditionNotHealthy", format!("the resource is {condition}"));
            return;
        }
    }
    add(draft, backup, address, repository, due, reason);
}

/// Why a backup is due, if it is. A token goes before a slot; the slot then stays due for the next
/// plan, so that each of both has a receipt of its own.
fn due(
    draft: &mut Draft<'_, '_>,
    backup: &Backup,
    calendar: &Calendar<'_>,
    address: &Address,
    repository: &Name,
) -> Option<(Due, String)> {
    let view = draft.view;
    let triggers = view.index().triggers(&backup.name).iter();
    let by_git = triggers.map(|t| (&t.token, format!("trigger {} asks for it", t.name)));
    let requests = view.observed.memory.requests.iter().filter(|r| view.same(&r.address, address));
    let by_hand = requests.map(|r| (&r.token, "it was asked for by hand".to_owned()));
    let mut notes = Vec::new();
    let mut asked = None;
    let mut newest = None;
    let mut served: BTreeSet<&str> = BTreeSet::new();
    for receipt in view.points_in(address, repository).filter_map(|point| point.receipt()) {
        if receipt.backup.as_ref() == Some(&backup.name) {
            newest = newest.max(receipt.slot.filter(|slot| !view.is_future(*slot)));
            served.extend(receipt.trigger.as_deref());
        }
    }
    for (token, reason) in by_git.chain(by_hand) {
        if served.contains(token.as_str()) {
            notes.push(format!("{address} in {repository}: token {token} was served"));
        } else if asked.is_none() {
            let reason = format!("{reason} under token {token}");
            asked = Some((Due::Token { token: token.clone() }, reason));
        }
    }
    draft.report.notes.append(&mut notes);
    if asked.is_some() {
        return asked;
    }
    let jitter = jitter_s(address, &backup.name, backup.schedule.jitter_s);
    draft.look_again(calendar.changes(newest, jitter, view.now));
    match calendar.due(newest, jitter, view.now) {
        Dueness::NotDue => None,
        Dueness::TooLate(slot) => {
            let id = ids::backup(view, address, repository, &backup.name);
            let deadline = backup.schedule.deadline_s.unwrap_or_default();
            let reason = format!("slot {} was to begin within {}", slot.at, span(deadline));
            let next = calendar.next_due(jitter, view.now);
            draft.defer_until(id, "DeadlinePassed", reason, next);
            None
        }
        Dueness::Due(slot) => {
            let mut reason = format!("slot {} of backup {} is due", slot.at, backup.name);
            if newest.is_none() {
                reason.push_str(&format!(", the first one in {repository}"));
            }
            if slot.missed > 0 {
                reason.push_str(&format!(", and {} before it were missed", slot.missed));
            }
            Some((Due::Slot { at: slot.at, missed: slot.missed }, reason))
        }
    }
}

fn add(
    draft: &mut Draft<'_, '_>,
    backup: &Backup,
    address: &Address,
    repository: &Name,
    due: Due,
    reason: String,
) {
    let view = draft.view;
    let id = ids::backup(view, address, repository, &backup.name);
    let is_new = view.state(repository) == RepositoryState::New;
    let mut preconditions = Vec::new();
    if !is_new {
        preconditions.push(draft.repository_is(repository));
    }
    let (bytes, empty) = match view.observed.resources.get(address) {
        Some(Observation::Known { bytes, entries, .. }) => (*bytes, *entries == Some(0)),
        _ => (None, false),
    };
    // What is empty from the beginning may be backed up empty; what was full must not be.
    preconditions.push(if empty {
        Precondition::ResourceUnmoved { resource: address.clone(), marker: Some(Marker::default()) }
    } else {
        Precondition::ResourcePresent { resource: address.clone() }
    });
    preconditions.push(Precondition::NoOtherRecovery { resource: address.clone(), token: None });
    let parent = parent(draft, address, repository);
    let last_bytes = parent.and_then(|p| p.receipt()).map(|receipt| receipt.bytes);
    let parent = parent.map(|p| p.id().clone());
    draft.add(Step {
        id: id.clone(),
        action: Action::Backup {
            backup: Some(backup.name.clone()),
            resource: address.clone(),
            repository: repository.clone(),
            due,
            parent,
            shrink_percent_max: backup.anomaly.shrink_percent_max,
        },
        class: Class::Mutating,
        reasons: vec![reason],
        preconditions,
        needs: if is_new { vec![ids::init(repository)] } else { Vec::new() },
        estimate: Estimate { bytes: bytes.or(last_bytes), seconds: None },
        loss: None,
        waits: Vec::new(),
    });
    if !backup.verify.after_backup {
        return;
    }
    draft.add(Step {
        id: ids::verify_new(view, address, repository, &backup.name),
        action: Action::Verify {
            resource: address.clone(),
            repository: repository.clone(),
            snapshot: SnapshotRef::Of(id.clone()),
        },
        class: Class::Safe,
        reasons: vec![format!("backup {} proves each point after it is written", backup.name)],
        preconditions: Vec::new(),
        needs: vec![id],
        estimate: Estimate { bytes: bytes.or(last_bytes), seconds: None },
        loss: None,
        waits: Vec::new(),
    });
}

/// The newest good point in the repository; a suspicious or incomplete one would make the next one
/// look right that repeats its fault.
fn parent<'a>(draft: &Draft<'_, 'a>, address: &Address, repository: &Name) -> Option<PointRef<'a>> {
    let view = draft.view;
    view.points_in(address, repository).rev().find(|p| view.is_good(p))
}

/// Plans the verification of known points that are not proven, or not lately.
fn verify_known(draft: &mut Draft<'_, '_>, backup: &Backup, address: &Address, repository: &Name) {
    let view = draft.view;
    if !backup.verify.after_backup && backup.verify.again_after_s.is_none() {
        return;
    }
    if view.repository_id(repository).is_none() {
        return;
    }
    let mut wanted = Vec::new();
    for (rank, point) in view.points_in(address, repository).rev().enumerate() {
        if wanted.len() >= VERIFY_MAX {
            break;
        }
        if !point.is_complete()
            || point.receipt().and_then(|r| r.backup.as_ref()) != Some(&backup.name)
        {
            continue;
        }
        if !point.proven {
            wanted.push((point, "its stored bytes were never read again".to_owned()));
        } else if rank == 0
            && let Some(again_s) = backup.verify.again_after_s
            && let Some(at) = checked_at(draft, &point)
        {
            // Only the newest is proven again and again: it is what a restore will take.
            if view.now.duration_since(at) >= seconds(again_s) {
                let again = span(again_s);
                wanted.push((point, format!("its proof of {at} is older than {again}")));
            } else {
                draft.look_again(at.checked_add(seconds(again_s)).ok());
            }
        }
    }
    for (point, reason) in wanted {
        draft.verify(address, repository, point.id(), reason);
    }
}

fn checked_at(draft: &Draft<'_, '_>, point: &PointRef<'_>) -> Option<Timestamp> {
    let evidence = draft.view.observed.memory.evidence.get(point.id())?;
    evidence.iter().filter(|e| e.kind >= EvidenceKind::Checked).map(|e| e.at).max()
}
