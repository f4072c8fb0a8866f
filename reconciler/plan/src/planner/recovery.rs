//! Decides what is brought back: what was begun, what documents ask for, what policies answer.

use model::desired::{CommitThen, ConditionKind, Recovery, RecoveryPolicy, Repeat, Response};
use model::digest::Digest;
use model::id::{Address, SnapshotId};
use model::observed::{Observation, RecoveryPhase, RecoveryRecord};
use model::plan::{Action, Class, Condition, Estimate, Precondition, Step};
use model::receipt::Marker;

use super::recreate::recreate;
use super::restore::{Wanted, restore};
use super::selection::{self, Chosen};
use super::{Draft, ids};
use crate::alarms::doubts_memory;
use crate::condition::holding;
use crate::retention::span;
use crate::slots::seconds;
use crate::view::{PointRef, RepositoryState, View};

/// Plans what is brought back of one resource. What it depends on comes before it.
pub(super) fn plan(draft: &mut Draft<'_, '_>, address: &Address) {
    pin_active(draft, address);
    if !own(draft, address) {
        answer(draft, address);
    }
    elsewhere(draft, address);
}

/// Points that recoveries under way read from must stay.
fn pin_active(draft: &mut Draft<'_, '_>, address: &Address) {
    let view = draft.view;
    for record in view.observed.memory.recoveries.values() {
        let active = !matches!(
            record.phase,
            RecoveryPhase::Committed | RecoveryPhase::RolledBack | RecoveryPhase::Failed
        );
        if active && view.same(&record.address, address) {
            draft.pin(&record.snapshot, format!("recovery {} uses it", record.token));
        }
    }
}

/// Recoveries into the resource itself that were begun or that documents ask for. Returns whether
/// one has the resource.
fn own(draft: &mut Draft<'_, '_>, address: &Address) -> bool {
    let view = draft.view;
    if let Some(record) = holding(view, address) {
        draft.busy.insert(
            address.clone(),
            format!("recovery {} waits for commit or rollback", record.token),
        );
        end(draft, address, record);
        left_halfway(draft, address, record);
        let others: Vec<&Recovery> = documents(draft, address)
            .filter(|doc| doc.into.is_none() && doc.token != record.token)
            .collect();
        for doc in others {
            if !view.is_served(address, &doc.token) {
                let id = ids::restore(address, Some(&doc.name));
                let reason = format!("recovery {} waits for commit or rollback", record.token);
                draft.defer(id, "RecoveryUnderWay", reason);
            }
        }
        return true;
    }
    if resume(draft, address) {
        return true;
    }
    let docs: Vec<&Recovery> = documents(draft, address).filter(|doc| doc.into.is_none()).collect();
    let mut taken = false;
    for doc in docs {
        if taken {
            let id = ids::restore(address, Some(&doc.name));
            if !view.is_served(address, &doc.token) {
                draft.defer(id, "RecoveryUnderWay", "another recovery of the resource goes first");
            }
            continue;
        }
        taken = document(draft, doc);
    }
    taken
}

fn documents<'d>(
    draft: &Draft<'_, 'd>,
    address: &Address,
) -> impl Iterator<Item = &'d Recovery> + use<'d> {
    draft.view.index().recoveries(address).to_vec().into_iter()
}

/// Says what becomes of recoveries that were half put in place before another one was.
fn left_halfway(draft: &mut Draft<'_, '_>, address: &Address, over: &RecoveryRecord) {
    let view = draft.view;
    for record in view.observed.memory.recoveries.values() {
        let swapping = record.phase == RecoveryPhase::Swapping && !record.elsewhere;
        if swapping && view.same(&record.address, address) {
            let id = ids::restore(address, record.recovery.as_ref());
            let reason = format!("recovery {} was put in place since and is not ended", over.token);
            draft.defer(id, "RecoveryUnderWay", reason);
        }
    }
}

/// Commits or rolls back a recovery that nobody decided in time.
fn end(draft: &mut Draft<'_, '_>, address: &Address, record: &RecoveryRecord) {
    let view = draft.view;
    if record.kept.is_none() {
        // Nothing was there before, so there is nothing to decide: a run broke off before its end.
        let reason = "nothing was put aside when it was brought back".to_owned();
        finish(draft, address, record, true, reason);
        return;
    }
    let Some(policy) = view.policy(address).filter(|p| p.then != CommitThen::Wait) else {
        return;
    };
    let Some(after_s) = policy.commit_after_s else { return };
    let Ok(due) = record.since.checked_add(seconds(after_s)) else { return };
    let commit = policy.then == CommitThen::Commit;
    let id = if commit { ids::commit(address) } else { ids::rollback(address) };
    if view.now < due {
        let reason = format!("policy {} does it {} after the swap", policy.name, span(after_s));
        draft.defer_until(id, "CommitTimeNotReached", reason, Some(due));
        return;
    }
    let usable = matches!(
        view.observed.resources.get(address),
        Some(Observation::Known { damaged: None, .. })
    );
    if commit && !usable {
        let reason = "what was put in place is not there or cannot be used, so what was kept \
                      aside is not removed";
        draft.defer(id, "ConditionNotHealthy", reason);
        return;
    }
    let reason = format!(
        "nobody decided on recovery {} within {}, which policy {} allows",
        record.token,
        span(after_s),
        policy.name
    );
    finish(draft, address, record, commit, reason);
}

fn finish(
    draft: &mut Draft<'_, '_>,
    address: &Address,
    record: &RecoveryRecord,
    commit: bool,
    reason: String,
) {
    let (resource, token) = (address.clone(), record.token.clone());
    let precondition = Precondition::NoOtherRecovery {
        resource: address.clone(),
        token: Some(record.token.clone()),
    };
    let (id, action) = if commit {
        (ids::commit(address), Action::Commit { resource, token })
    } else {
        (ids::rollback(address), Action::Rollback { resource, token })
    };
    draft.add(Step {
        id,
        action,
        class: Class::Mutating,
        reasons: vec![reason],
        preconditions: vec![precondition],
        needs: Vec::new(),
        estimate: Estimate::default(),
        loss: None,
        waits: Vec::new(),
    });
}

/// Plans again what was begun and cut short. Returns whether something was. What was cut short
/// while it was put in place comes first, so that one that is given up never hides it.
fn resume(draft: &mut Draft<'_, '_>, address: &Address) -> bool {
    let view = draft.view;
    let of_it = view.observed.memory.recoveries.values().filter(|record| {
        !record.elsewhere && is_begun(record.phase) && view.same(&record.address, address)
    });
    let (swapping, begun): (Vec<_>, Vec<_>) =
        of_it.partition(|record| record.phase == RecoveryPhase::Swapping);
    for record in swapping.into_iter().chain(begun) {
        let doc = record.recovery.as_ref().and_then(|name| view.desired.recoveries.get(name));
        if record.phase != RecoveryPhase::Swapping
            && let Some(why) = abandoned(draft, address, record, doc)
        {
            draft.note(format!("recovery {} of {address} is given up: {why}", record.token));
            continue;
        }
        go_on(draft, address, record, doc);
        return true;
    }
    false
}

fn go_on(
    draft: &mut Draft<'_, '_>,
    address: &Address,
    record: &RecoveryRecord,
    doc: Option<&Recovery>,
) {
    let swapping = record.phase == RecoveryPhase::Swapping;
    let id = ids::restore(address, record.recovery.as_ref());
    draft.busy.insert(address.clone(), format!("recovery {} is under way", record.token));
    if !swapping && let Some(Condition::Unreachable { detail }) = draft.condition(address) {
        let reason = format!("what is there cannot be seen: {detail}");
        draft.defer(id, "ResourceUnknown", reason);
        return;
    }
    let Some(point) = point_of(draft, address, record) else {
        let (code, reason) = selection::no_point(draft, address, Some(&record.repository));
        draft.defer(id, code, format!("recovery {} cannot go on: {reason}", record.token));
        return;
    };
    let wanted = Wanted {
        recovery: doc.filter(|doc| doc.token == record.token),
        recovery_name: record.recovery.clone(),
        address,
        token: record.token.clone(),
        chosen: Chosen {
            point,
            proven: point.proven,
            reason: format!("point {} of {}", point.id().short(), point.taken_at()),
        },
        reasons: vec![format!(
            "recovery {} was begun at {} and cut short",
            record.token, record.since
        )],
        swapping,
    };
    restore(draft, wanted);
}

fn point_of<'a>(
    draft: &Draft<'_, 'a>,
    address: &Address,
    record: &RecoveryRecord,
) -> Option<PointRef<'a>> {
    draft.view.points_in(address, &record.repository).find(|p| *p.id() == record.snapshot)
}

/// Why the point of a recovery will not come back; what could not be read now may be read later.
fn point_gone(draft: &Draft<'_, '_>, address: &Address, record: &RecoveryRecord) -> Option<String> {
    if point_of(draft, address, record).is_some() {
        return None;
    }
    let (code, reason) = selection::no_point(draft, address, Some(&record.repository));
    (code != "RepositoryUnknown")
        .then(|| format!("its point {} is gone: {reason}", record.snapshot.short()))
}

fn is_begun(phase: RecoveryPhase) -> bool {
    matches!(phase, RecoveryPhase::Restoring | RecoveryPhase::Verifying | RecoveryPhase::Swapping)
}

/// Why a recovery that has not touched the original yet does not go on.
fn abandoned(
    draft: &Draft<'_, '_>,
    address: &Address,
    record: &RecoveryRecord,
    doc: Option<&Recovery>,
) -> Option<String> {
    // Noted by a start that this state has forgotten, or by another state: whether it was put in
    // place, only its target can say.
    if draft.view.is_served(address, &record.token) {
        return Some("its token is noted as served beside the data".to_owned());
    }
    if let Some(why) = point_gone(draft, address, record) {
        return Some(why);
    }
    if let Some(name) = &record.recovery {
        return match doc {
            None => Some(format!("document {name} is gone")),
            Some(doc) if doc.token != record.token && !is_repeat(doc, &record.token) => {
                Some(format!("document {name} asks for another token"))
            }
            Some(_) => None,
        };
    }
    let condition = draft.condition(address)?;
    let Some(kind) = kind(condition) else {
        return Some(format!("the resource is {}", condition.word()));
    };
    match draft.view.policy(address).and_then(|policy| policy.on.get(&kind)) {
        Some(Response::Restore) => None,
        _ => Some("no policy answers with a restore".to_owned()),
    }
}

fn is_repeat(doc: &Recovery, token: &str) -> bool {
    doc.repeat == Repeat::Always && token.starts_with(&format!("{}+", doc.token))
}

/// Plans what a document asks for. Returns whether it has the resource.
fn document(draft: &mut Draft<'_, '_>, doc: &Recovery) -> bool {
    let view = draft.view;
    let Some(address) = view.current(&doc.resource) else { return false };
    let id = ids::restore(address, Some(&doc.name));
    let served = view.is_served(address, &doc.token);
    if served && doc.repeat == Repeat::IfNotRecovered {
        draft.note(format!("recovery {}: token {} was served", doc.name, doc.token));
        return false;
    }
    let chosen = match selection::for_document(draft, doc) {
        Ok(chosen) => chosen,
        Err((code, reason)) => {
            draft.defer(id, code, reason);
            return !served;
        }
    };
    if doc.repeat == Repeat::Always && is_there(draft.view, address, &chosen.point, served) {
        draft.note(format!("recovery {}: {address} is at the wanted point", doc.name));
        return false;
    }
    if let Some((code, reason)) = untold(draft, doc, address).filter(|_| !served) {
        draft.defer(id, code, reason);
        return true;
    }
    let mut token = doc.token.clone();
    let mut reasons = vec![format!("recovery {} asks for it under token {}", doc.name, doc.token)];
    if served {
        match again(draft, doc, address) {
            Ok(None) => return false,
            Ok(Some((next, reason))) => {
                token = next;
                reasons.push(reason);
            }
            Err((code, reason)) => {
                draft.defer(id, code, reason);
                return false;
            }
        }
    }
    if let Some(Condition::Unreachable { detail }) = draft.condition(address) {
        let reason = format!("what is there cannot be seen: {detail}");
        draft.defer(id, "ResourceUnknown", reason);
        return true;
    }
    let wanted = Wanted {
        recovery: Some(doc),
        recovery_name: Some(doc.name.clone()),
        address,
        token,
        chosen,
        reasons,
        swapping: false,
    };
    restore(draft, wanted);
    true
}

/// Why nobody can tell whether a document's token was served: our memory is in doubt, and a
/// repository that may hold the note of it cannot be read.
fn untold(
    draft: &Draft<'_, '_>,
    doc: &Recovery,
    address: &Address,
) -> Option<(&'static str, String)> {
    let view = draft.view;
    let blind = unread_for_token(view, doc, address)?;
    // A recovery that our memory holds was begun by this very state.
    if view.record(address, &doc.token).is_some() {
        return None;
    }
    let reason = format!(
        "whether token {} was served cannot be told: our state is new or went back, and {blind}; \
         if it never was, `mainstay accept token:{}`",
        doc.token, doc.token
    );
    Some(("TokenUnknown", reason))
}

/// The repository that may hold the note of a served token and cannot be read, while our memory is
/// in doubt and nobody said that the token was not served.
pub(crate) fn unread_for_token(
    view: &View<'_>,
    doc: &Recovery,
    address: &Address,
) -> Option<String> {
    let accepted = &view.observed.memory.accepted_alarms;
    if !doubts_memory(view) || accepted.contains(&format!("token:{}", doc.token)) {
        return None;
    }
    let named = view.repositories_of(address).into_iter().chain(&doc.repository);
    named
        .filter_map(|name| match view.state(name) {
            // One that was known would be lost; this state may have forgotten that it was.
            RepositoryState::New => Some(format!("repository {name} is not in its place")),
            state => {
                let why = state.trouble()?.1;
                Some(format!("repository {name} cannot be looked at: {why}"))
            }
        })
        .next()
}

/// Whether a repeating recovery whose token was served is wanted again, and under which token.
fn again(
    draft: &Draft<'_, '_>,
    doc: &Recovery,
    address: &Address,
) -> Result<Option<(String, String)>, (&'static str, String)> {
    if let Some(Observation::Unknown { .. }) | None = draft.view.observed.resources.get(address) {
        return Ok(None);
    }
    if !doc.acknowledges_newer_data {
        let reason = "the resource is not at the wanted point, and the document does not \
                      acknowledge that newer data is put aside";
        return Err(("NewerDataNotAcknowledged", reason.to_owned()));
    }
    // Each repetition has a token of its own, made of where the resource was measured from when it
    // was wanted, so that each happens once.
    let since = draft.view.baseline(address).map(|b| (b.at, b.marker.clone()));
    let token = format!("{}+{}", doc.token, Digest::of("repeat", &since).short());
    if draft.view.is_served(address, &token) {
        return Ok(None);
    }
    Ok(Some((
        token,
        "the resource is not at the wanted point, and the recovery repeats".to_owned(),
    )))
}

/// Whether a resource is where a point says, or where the recovery that brought it back left it.
/// Before anything was brought back, a marker that says nothing does not say that it is there.
fn is_there(view: &View<'_>, address: &Address, point: &PointRef<'_>, served: bool) -> bool {
    let Some(Observation::Known { marker, damaged: None, entries, .. }) =
        view.observed.resources.get(address)
    else {
        return false;
    };
    let Some(receipt) = point.receipt() else { return false };
    // What was emptied is not there, whatever its marker says.
    let emptied = *entries == Some(0) && receipt.files > 0;
    let left = view.brought_back(address, point.id());
    let wanted = &receipt.marker;
    let silent = wanted.digest.is_none() && wanted.counters.is_empty() && wanted.counts.is_empty();
    if !served && (silent || wanted.identity != marker.identity) {
        return false;
    }
    !emptied && (is_at(marker, wanted) || left.is_some_and(|left| is_at(marker, left)))
}

/// Whether a resource is where a point says; identity is left out, because a restore binds a new
/// one.
fn is_at(found: &Marker, wanted: &Marker) -> bool {
    match (&found.digest, &wanted.digest) {
        (Some(found), Some(wanted)) => found == wanted,
        _ => found.counters == wanted.counters && found.counts == wanted.counts,
    }
}

/// Plans recoveries into other places.
fn elsewhere(draft: &mut Draft<'_, '_>, address: &Address) {
    let view = draft.view;
    let docs: Vec<&Recovery> = documents(draft, address).filter(|doc| doc.into.is_some()).collect();
    for doc in docs {
        if view.is_served(address, &doc.token) {
            draft.note(format!("recovery {}: token {} was served", doc.name, doc.token));
            continue;
        }
        if let Some((code, reason)) = untold(draft, doc, address) {
            draft.defer(ids::restore(address, Some(&doc.name)), code, reason);
            continue;
        }
        let chosen = match selection::for_document(draft, doc) {
            Ok(chosen) => chosen,
            Err((code, reason)) => {
                draft.defer(ids::restore(address, Some(&doc.name)), code, reason);
                continue;
            }
        };
        let reasons = vec![format!(
            "recovery {} asks for it in another place under token {}",
            doc.name, doc.token
        )];
        restore(
            draft,
            Wanted {
                recovery: Some(doc),
                recovery_name: Some(doc.name.clone()),
                address,
                token: doc.token.clone(),
                chosen,
                reasons,
                swapping: false,
            },
        );
    }
}

pub(super) fn kind(condition: &Condition) -> Option<ConditionKind> {
    match condition {
        Condition::Lost { .. } => Some(ConditionKind::Lost),
        Condition::RolledBack { .. } => Some(ConditionKind::RolledBack),
        Condition::Replaced { .. } => Some(ConditionKind::Replaced),
        Condition::Damaged { .. } => Some(ConditionKind::Damaged),
        _ => None,
    }
}

/// Answers a condition as the policy says.
fn answer(draft: &mut Draft<'_, '_>, address: &Address) {
    let Some(condition) = draft.condition(address).cloned() else { return };
    let Some(kind) = kind(&condition) else { return };
    let policy = draft.view.policy(address);
    let response = policy.and_then(|p| p.on.get(&kind)).copied().unwrap_or(Response::Hold);
    draft.report.responses.insert(address.clone(), response);
    let word = condition.word();
    match (response, policy) {
        (Response::Restore, Some(policy)) => by_policy(draft, address, &condition, policy),
        (Response::Adopt, Some(policy)) => adopt(draft, address, &condition, policy),
        (Response::Recreate, Some(policy)) => recreate(draft, address, &condition, policy),
        (_, policy) => {
            let who = policy.map_or("no recovery policy answers".to_owned(), |policy| {
                format!("policy {} answers hold", policy.name)
            });
            let hint = match selection::newest(draft, address, |_| true) {
                Some(chosen) => format!(
                    "; a Recovery document can bring back {} of {}",
                    chosen.point.id().short(),
                    chosen.point.taken_at()
                ),
                None => String::new(),
            };
            let reason = format!("it is {word}, and {who}{hint}");
            draft.defer(ids::restore(address, None), "HeldByPolicy", reason);
        }
    }
}

fn by_policy(
    draft: &mut Draft<'_, '_>,
    address: &Address,
    condition: &Condition,
    policy: &RecoveryPolicy,
) {
    let view = draft.view;
    let id = ids::restore(address, None);
    // What went back must not go further back: only points ahead of what is there help.
    let ahead = |point: &PointRef<'_>| match condition {
        Condition::RolledBack { to: Some(to), .. } => point.taken_at() > *to,
        _ => true,
    };
    let Some(chosen) = selection::newest(draft, address, ahead) else {
        let (code, reason) = selection::no_point(draft, address, None);
        draft.defer(id, code, reason);
        return;
    };
    let token = policy_token(draft, address, condition, chosen.point.id());
    if view.is_served(address, &token) {
        let reason =
            format!("token {token} was served, and the resource is still {}", condition.word());
        draft.defer(id, "TokenServed", reason);
        return;
    }
    let loss = selection::loss(draft, address, &chosen.point);
    if let Some(max) = policy.loss_s_max
        && loss.seconds > max
    {
        draft.report.responses.insert(address.clone(), Response::Hold);
        let reason = format!(
            "it would lose {} s, and policy {} allows {} s",
            loss.seconds, policy.name, max
        );
        draft.defer(id, "LossTooLarge", reason);
        return;
    }
    if let Some(reason) = blocked(draft, address) {
        draft.defer(id, "DependencyNotHealthy", reason);
        return;
    }
    let reasons = vec![
        format!("the resource is {}", describe(condition)),
        format!("policy {} answers with a restore", policy.name),
    ];
    restore(
        draft,
        Wanted {
            recovery: None,
            recovery_name: None,
            address,
            token,
            chosen,
            reasons,
            swapping: false,
        },
    );
}

/// A condition in words.
pub(crate) fn describe(condition: &Condition) -> String {
    let word = condition.word();
    match condition {
        Condition::Lost { detail }
        | Condition::Damaged { detail }
        | Condition::Unreachable { detail } => format!("{word}: {detail}"),
        Condition::RolledBack { from, to, detail } => {
            let to = to.map_or("before every known point".to_owned(), |to| to.to_string());
            format!("{word} from {from} to {to}: {}", detail.join(", "))
        }
        Condition::Replaced { expected, found } => {
            format!("{word}: {expected} is expected, {found} was found")
        }
        Condition::AwaitingCommit { token, since } => {
            format!("{word}: recovery {token} was put in place at {since}")
        }
        Condition::Healthy | Condition::NeverProtected | Condition::NeverSeen => word.to_owned(),
    }
}

/// A dependency that is not healthy and is not brought back in this plan.
pub(super) fn blocked(draft: &Draft<'_, '_>, address: &Address) -> Option<String> {
    let unhealthy = |a: &Address| {
        draft
            .condition(a)
            .is_some_and(|c| kind(c).is_some() || matches!(c, Condition::Unreachable { .. }))
    };
    draft
        .graph
        .nearest(address, |a| unhealthy(a) || draft.restores.contains_key(a))
        .into_iter()
        .find(|a| !draft.restores.contains_key(*a))
        .map(|a| {
            let word = draft.condition(a).map_or("unknown", Condition::word);
            format!("it depends on {a}, which is {word} and is not brought back in this plan")
        })
}

/// The token of a policy's own recovery. No clock of this pass is in it, so each pass finds the
/// same. Where the measure that a committed recovery left is gone with its repository, what is lost
/// again would have the token of that one: it gets another, made of it.
fn policy_token(
    draft: &Draft<'_, '_>,
    address: &Address,
    condition: &Condition,
    snapshot: &SnapshotId,
) -> String {
    let baseline = draft.view.baseline(address).map(|b| (b.at, b.marker.clone()));
    let digest = Digest::of("recovery-token", &(address, condition.word(), snapshot, baseline));
    let mut token = format!("policy-{}", digest.short());
    let is_lost = matches!(condition, Condition::Lost { .. });
    let committed = |token: &str| {
        let record = draft.view.record(address, token);
        record.is_some_and(|record| record.phase == RecoveryPhase::Committed)
    };
    while is_lost && committed(&token) {
        token = format!("policy-{}", Digest::of("recovery-token-again", &token).short());
    }
    token
}

fn adopt(
    draft: &mut Draft<'_, '_>,
    address: &Address,
    condition: &Condition,
    policy: &RecoveryPolicy,
) {
    let id = ids::adopt(address);
    let Some(Observation::Known { marker, damaged: None, .. }) =
        draft.view.observed.resources.get(address)
    else {
        let reason =
            format!("it is {}, so there is no state that could be right", condition.word());
        draft.defer(id, "NothingToAdopt", reason);
        return;
    };
    let step = Step {
        id,
        action: Action::Adopt { resource: address.clone(), marker: marker.clone() },
        class: Class::Mutating,
        reasons: vec![
            format!("the resource is {}", describe(condition)),
            format!("policy {} takes the state that is there as the right one", policy.name),
        ],
        preconditions: vec![
            Precondition::ResourceUnmoved {
                resource: address.clone(),
                marker: Some(Marker { counts: Default::default(), ..marker.clone() }),
            },
            Precondition::NoOtherRecovery { resource: address.clone(), token: None },
        ],
        needs: Vec::new(),
        estimate: Estimate::default(),
        loss: None,
        waits: Vec::new(),
    };
    draft.add(step);
}
