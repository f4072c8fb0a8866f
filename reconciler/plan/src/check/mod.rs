//! One function per promise of the design, run on every plan; a plan that breaks one is not
//! applied. They read the plan and its inputs, not the planner's reasoning, so that a mistake there
//! shows here.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use model::desired::{Desired, Point};
use model::digest::Digest;
use model::id::{Address, Name, SnapshotId, StepId};
use model::observed::{Observation, Observed, RecoveryPhase, RepositoryObservation};
use model::plan::{Action, Class, Over, Plan, Precondition, SnapshotRef, Step, Wait};
use serde::{Deserialize, Serialize};

use crate::alarms::alarms;
use crate::condition::{awaiting, conditions, holding, newly_empty};
use crate::planner::erasure::{belongs, cooled};
use crate::planner::{destructive_digest, holds_nothing, plan_id, step_digest, unread_for_token};
use crate::view::{RepositoryState, View};

/// The most steps that a plan may have: a fleet of a hundred thousand resources with some copies.
pub const STEPS_MAX: usize = 1_000_000;

/// The most reasons of one step, and characters of one text: what a person can still read.
pub const REASONS_MAX: usize = 32;
/// See [`REASONS_MAX`].
pub const TEXT_CHARS_MAX: usize = 8192;

/// A promise of the design.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Promise {
    /// Absence is never deletion.
    P1,
    /// The last proven copy of anything is never removed.
    P2,
    /// The plan is what is applied.
    P3,
    /// Our state is a cache.
    P4,
    /// Kill us anywhere.
    P5,
    /// Success means restorable.
    P6,
    /// A restore happens once per token.
    P7,
    /// Going back in time is noticed.
    P8,
    /// Secrets are references.
    P9,
    /// Bounded.
    P10,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Violation {
    /// Which.
    pub promise: Promise,
    /// By which step; `None`: by the plan as a whole.
    pub step: Option<StepId>,
    /// How.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.step {
            Some(step) => write!(f, "{:?}: {step}: {}", self.promise, self.detail),
            None => write!(f, "{:?}: {}", self.promise, self.detail),
        }
    }
}

/// What every check reads.
struct Case<'a> {
    view: View<'a>,
    plan: &'a Plan,
}

/// Returns every promise that a plan breaks, sorted. `desired` and `observed` are those for which
/// it was made.
pub fn check(desired: &Desired, observed: &Observed, plan: &Plan) -> Vec<Violation> {
    let case = Case { view: View::new(desired, observed, plan.at), plan };
    let checks: [(Promise, Check); 10] = [
        (Promise::P1, absence_is_never_deletion),
        (Promise::P2, last_proven_copy_stays),
        (Promise::P3, plan_is_what_is_applied),
        (Promise::P4, state_is_a_cache),
        (Promise::P5, can_be_killed_anywhere),
        (Promise::P6, success_means_restorable),
        (Promise::P7, restores_once),
        (Promise::P8, going_back_is_noticed),
        (Promise::P9, secrets_are_references),
        (Promise::P10, bounded),
    ];
    let mut violations: Vec<Violation> = checks
        .into_iter()
        .flat_map(|(promise, check)| {
            check(&case).into_iter().map(move |(step, detail)| Violation { promise, step, detail })
        })
        .collect();
    violations.sort();
    violations
}

type Found = Vec<(Option<StepId>, String)>;
type Check = fn(&Case<'_>) -> Found;

fn by(step: &Step, detail: impl Into<String>) -> (Option<StepId>, String) {
    (Some(step.id.clone()), detail.into())
}

/// Nothing is removed, replaced or made anew on the strength of something not being seen.
fn absence_is_never_deletion(case: &Case<'_>) -> Found {
    let mut found = Found::new();
    for step in &case.plan.steps {
        if let Some(repository) = step.action.repository() {
            let state = case.view.state(repository);
            match (&step.action, &state) {
                (Action::Init { .. }, RepositoryState::New) => {}
                (Action::Init { .. }, _) => {
                    found.push(by(step, "a repository that is known or not seen is made anew"));
                }
                (Action::Backup { .. } | Action::Verify { .. }, RepositoryState::New) => {}
                (_, RepositoryState::Ready(_)) => {}
                _ => found.push(by(step, "it works on a repository that cannot be used")),
            }
        }
        if let Action::Expire { resource, repository, snapshots, erasure } = &step.action {
            // An erasure needs nothing to be seen of the resource: `erased` judges it.
            if erasure.is_some() {
                continue;
            }
            if !matches!(
                case.view.observed.resources.get(resource),
                Some(Observation::Known { damaged: None, .. })
            ) {
                found.push(by(step, "points go while the resource is not seen"));
            }
            if let Some(why) = newly_empty(&case.view, resource, repository) {
                found.push(by(step, format!("points go although {why}")));
            }
            found.extend(unruled(case, step, resource, repository, snapshots));
        }
        let seen = &case.view.observed.resources;
        let unseen = |resource: &Address| !seen.get(resource).is_some_and(Observation::is_seen);
        if let Action::Restore { resource, elsewhere: false, token, .. } = &step.action
            && unseen(resource)
            && !is_swapping(case, resource, token)
        {
            found.push(by(step, "it is put where nothing could be seen"));
        }
        if let Action::Recreate { resource, .. } = &step.action
            && unseen(resource)
        {
            found.push(by(step, "it is made anew where nothing could be seen"));
        }
    }
    found
}

/// A point goes only by the retention of the document that made it.
fn unruled(
    case: &Case<'_>,
    step: &Step,
    resource: &Address,
    repository: &Name,
    snapshots: &[SnapshotId],
) -> Found {
    let ruled = |id: &SnapshotId| {
        let of = case
            .view
            .points_in(resource, repository)
            .find(|p| p.id() == id)
            .and_then(|p| p.receipt())
            .and_then(|receipt| receipt.backup.as_ref());
        case.view.backups(resource).iter().any(|backup| {
            Some(&backup.name) == of
                && backup.retention.is_some()
                && backup.repositories.contains(repository)
        })
    };
    snapshots
        .iter()
        .filter(|id| !ruled(id))
        .map(|id| by(step, format!("no document lets {} go", id.short())))
        .collect()
}

fn is_swapping(case: &Case<'_>, resource: &Address, token: &str) -> bool {
    case.view.record(resource, token).is_some_and(|r| r.phase == RecoveryPhase::Swapping)
}

/// In every repository from which points go, a proven good one stays, and the step says which.
fn last_proven_copy_stays(case: &Case<'_>) -> Found {
    let mut removed: BTreeMap<&Name, BTreeSet<&SnapshotId>> = BTreeMap::new();
    for step in &case.plan.steps {
        if let Action::Expire { repository, snapshots, .. } = &step.action {
            removed.entry(repository).or_default().extend(snapshots);
        }
    }
    let gone = |repository: &Name, id: &SnapshotId| {
        removed.get(repository).is_some_and(|set| set.contains(id))
    };
    let mut found = Found::new();
    for step in &case.plan.steps {
        let Action::Expire { resource, repository, snapshots, erasure } = &step.action else {
            continue;
        };
        if let Some(name) = erasure {
            found.extend(erased(case, step, (name, resource, snapshots)));
            continue;
        }
        let stays = case
            .view
            .points_in(resource, repository)
            .any(|p| case.view.is_good(&p) && p.proven && !gone(repository, p.id()));
        if !stays {
            found.push(by(step, "no proven point stays"));
        }
        let guarded = step.preconditions.iter().any(|p| match p {
            Precondition::ProvenCopyStays { resource: of, snapshots } => {
                of == resource
                    && snapshots.values().any(|ids| !ids.is_empty())
                    && snapshots.iter().all(|(name, ids)| ids.iter().all(|id| !gone(name, id)))
            }
            _ => false,
        });
        if !guarded {
            found.push(by(step, "it does not look again whether a proven point stays"));
        }
    }
    found
}

/// The exception to [`last_proven_copy_stays`], as narrow as its document: two people, a reason, a
/// cooling-off that passed, these points of this resource, and a yes to the step itself.
fn erased(
    case: &Case<'_>,
    step: &Step,
    (name, resource, snapshots): (&Name, &Address, &[SnapshotId]),
) -> Found {
    let view = &case.view;
    let Some(doc) = view.desired.erasures.get(name) else {
        return vec![by(step, "no document asks for the erasure")];
    };
    let mut found = Found::new();
    if let Some(flaw) = doc.flaw() {
        found.push(by(step, format!("the erasure does not hold: {flaw}")));
    }
    if doc.resource != *resource || snapshots.iter().any(|id| !doc.snapshots.contains(id)) {
        found.push(by(step, "it erases what the document does not name"));
    }
    if cooled(view, doc).is_none_or(|at| at > view.now) {
        found.push(by(step, "the erasure's cooling-off has not passed"));
    }
    if step.class != Class::Destructive {
        found.push(by(step, "the erasure is not called destructive"));
    }
    let known = view.observed.repositories.values().filter_map(|seen| match seen {
        RepositoryObservation::Known { snapshots, .. } => Some(snapshots),
        _ => None,
    });
    let mut others = known.flatten().filter(|info| snapshots.contains(&info.id));
    if others.any(|info| !belongs(view, doc, info)) {
        found.push(by(step, "it erases a point of another resource"));
    }
    found
}

/// The ids and digests are those of the contents, and each write looks again before it acts.
fn plan_is_what_is_applied(case: &Case<'_>) -> Found {
    let plan = case.plan;
    let mut found = Found::new();
    let mut whole = |ok: bool, detail: &str| {
        if !ok {
            found.push((None, detail.to_owned()));
        }
    };
    whole(plan_id(plan) == plan.id, "the id is not the digest of the plan");
    whole(plan.desired == case.view.desired.digest(), "it was made for another desired state");
    whole(plan.observed == case.view.observed.digest(), "it was made for another observation");
    whole(
        plan.destructive == destructive_digest(case.view.desired, &plan.steps),
        "the destructive digest is not that of the destructive steps",
    );
    for step in &plan.steps {
        let looks_again = !step.preconditions.is_empty();
        if step.class != Class::Safe && !looks_again {
            found.push(by(step, "it writes without looking again"));
        }
        if step.reasons.is_empty() {
            found.push(by(step, "it has no reason"));
        }
    }
    found
}

/// While our memory is lost or went back, nothing is done that only memory could justify.
fn state_is_a_cache(case: &Case<'_>) -> Found {
    let mut found = Found::new();
    for step in &case.plan.steps {
        if let Action::Expire { .. } = &step.action
            && !case.view.observed.memory.known
        {
            found.push(by(step, "points go while nothing is known of what is proven"));
        }
    }
    found
}

/// Each step has an id of its own, comes after what it needs, and a recovery that was cut short
/// while it was put in place goes on.
fn can_be_killed_anywhere(case: &Case<'_>) -> Found {
    let mut found = Found::new();
    let mut seen: BTreeSet<&StepId> = BTreeSet::new();
    for step in &case.plan.steps {
        for need in step.needs.iter().filter(|need| !seen.contains(need)) {
            found.push(by(step, format!("it needs {need}, which does not come before it")));
        }
        if let Action::Verify { snapshot: SnapshotRef::Of(of), .. } = &step.action
            && !step.needs.contains(of)
        {
            found.push(by(step, "it does not need the step whose point it reads"));
        }
        if !seen.insert(&step.id) {
            found.push(by(step, "its id is not its own"));
        }
    }
    let mentioned = |address: &Address| {
        let steps = case.plan.steps.iter().map(|step| &step.action);
        let restored = steps
            .filter(|a| matches!(a, Action::Restore { elsewhere: false, .. }))
            .any(|a| a.resource() == Some(address));
        let prefix = format!("restore/{address}");
        restored || case.plan.report.deferred.iter().any(|d| d.step.as_str().starts_with(&prefix))
    };
    for record in case.view.observed.memory.recoveries.values() {
        let Some(address) = case.view.current(&record.address) else { continue };
        let planned = case.plan.report.scope.as_ref().is_none_or(|s| s.contains(address));
        if record.phase == RecoveryPhase::Swapping
            && !record.elsewhere
            && planned
            && !mentioned(address)
        {
            let detail = format!("recovery {} of {address} is left halfway", record.token);
            found.push((None, detail));
        }
    }
    found
}

/// What is brought back is proven or verified first, and complete unless a person named it; what is
/// written is proven where the document says so.
fn success_means_restorable(case: &Case<'_>) -> Found {
    // What each verification reads: the point of a step, or a known one.
    let mut new: BTreeSet<&StepId> = BTreeSet::new();
    let mut known: BTreeMap<&StepId, &SnapshotId> = BTreeMap::new();
    for step in &case.plan.steps {
        match &step.action {
            Action::Verify { snapshot: SnapshotRef::Of(of), .. } => {
                new.insert(of);
            }
            Action::Verify { snapshot: SnapshotRef::Id(id), .. } => {
                known.insert(&step.id, id);
            }
            _ => {}
        }
    }
    let mut found = Found::new();
    for step in &case.plan.steps {
        match &step.action {
            Action::Restore { resource, repository, snapshot, recovery, token, .. } => {
                if is_swapping(case, resource, token) {
                    continue;
                }
                let point = case.view.points_in(resource, repository).find(|p| p.id() == snapshot);
                let named = recovery
                    .as_ref()
                    .and_then(|name| case.view.desired.recoveries.get(name))
                    .is_some_and(|doc| matches!(doc.point, Point::Snapshot(_)));
                // A wrong clock's stamp is no harm where nothing is that could be lost.
                let begun = case.view.record(resource, token).is_some();
                let seen = case.view.observed.resources.get(resource);
                let harmless = begun || holds_nothing(seen);
                let good = point
                    .is_some_and(|p| case.view.is_good(&p) || harmless && case.view.is_astray(&p));
                if !(good || named && point.is_some()) {
                    found.push(by(step, "the point is not complete and trusted"));
                }
                let verified = step.needs.iter().any(|need| known.get(need) == Some(&snapshot));
                if !case.view.is_proven(snapshot) && !verified {
                    found.push(by(step, "the point is neither proven nor verified first"));
                }
            }
            Action::Backup { backup: Some(name), .. } => {
                let wanted =
                    case.view.desired.backups.get(name).is_some_and(|b| b.verify.after_backup);
                if wanted && !new.contains(&step.id) {
                    found.push(by(step, "the new point is not proven"));
                }
            }
            _ => {}
        }
    }
    found
}

/// A token is served once, one recovery at a time has a resource, and its backups and expiry pause.
fn restores_once(case: &Case<'_>) -> Found {
    let mut found = Found::new();
    let mut restored: BTreeSet<&Address> = BTreeSet::new();
    for step in &case.plan.steps {
        if let Action::Recreate { resource, over, .. } = &step.action {
            found.extend(exclusive(case, step, (resource, *over, None), &mut restored));
        }
        let Action::Restore { resource, token, elsewhere, over, recovery, .. } = &step.action
        else {
            continue;
        };
        let doc = recovery.as_ref().and_then(|name| case.view.desired.recoveries.get(name));
        if let Some(doc) = doc.filter(|doc| doc.token == *token)
            && case.view.record(resource, token).is_none()
            && let Some(blind) = unread_for_token(&case.view, doc, resource)
        {
            found.push(by(step, format!("its token may have been served: {blind}")));
        }
        if token.is_empty() || case.view.is_served(resource, token) {
            found.push(by(step, "its token was served"));
        }
        if *elsewhere {
            continue;
        }
        found.extend(exclusive(case, step, (resource, *over, Some(token)), &mut restored));
    }
    for step in &case.plan.steps {
        let (Action::Backup { resource, .. } | Action::Expire { resource, .. }) = &step.action
        else {
            continue;
        };
        if restored.contains(resource) || awaiting(&case.view, resource).is_some() {
            found.push(by(step, "a recovery of the resource is not finished"));
        }
    }
    found
}

/// What is put in a place, under a token or made anew, has it alone.
fn exclusive<'a>(
    case: &Case<'_>,
    step: &Step,
    (resource, over, under): (&'a Address, Over, Option<&String>),
    restored: &mut BTreeSet<&'a Address>,
) -> Found {
    let mut found = Found::new();
    if !restored.insert(resource) || holding(&case.view, resource).is_some() {
        found.push(by(step, "another recovery has the resource"));
    }
    if over == Over::Live && step.class != Class::Destructive {
        let done = if under.is_some() { "replaced" } else { "made anew" };
        found.push(by(step, format!("live data is {done}, and it is not called destructive")));
    }
    let alone = step.preconditions.iter().any(|p| match p {
        Precondition::NoOtherRecovery { resource: of, token } => {
            of == resource && token.as_ref() == under
        }
        _ => false,
    });
    if !alone {
        found.push(by(step, "it does not look again for other recoveries"));
    }
    found
}

/// Steps that an alarm holds say so.
fn going_back_is_noticed(case: &Case<'_>) -> Found {
    let conditions = conditions(&case.view);
    let alarms = alarms(&case.view, &conditions);
    let mut found = Found::new();
    for step in &case.plan.steps {
        let halfway = matches!(&step.action, Action::Restore { resource, token, .. }
            if is_swapping(case, resource, token));
        for alarm in alarms.iter().filter(|alarm| alarm.holds(step) && !halfway) {
            if !step.waits.contains(&alarm.wait()) {
                found.push(by(step, format!("it does not wait for: {}", alarm.detail)));
            }
        }
        let by_document = matches!(step.action, Action::Restore { recovery: Some(_), .. });
        let approved = |digest: &Digest| case.view.observed.memory.approvals.contains(digest);
        let asks = step.waits.iter().any(|wait| matches!(wait, Wait::Approval { .. }));
        if step.class == Class::Destructive
            && !by_document
            && !halfway
            && !asks
            && !case.plan.destructive.as_ref().is_some_and(approved)
            && !step_digest(case.view.desired, step).as_ref().is_some_and(approved)
        {
            found.push(by(step, "it does not wait for a person's yes"));
        }
    }
    found
}

/// The planner sees references only. What adapters wrote into details could carry a secret, so the
/// plan is searched for the shapes that secrets have.
fn secrets_are_references(case: &Case<'_>) -> Found {
    let text = serde_json::to_string(case.plan).unwrap_or_default();
    let mut found = Found::new();
    for shape in ["-----BEGIN ", "AGE-SECRET-KEY-", "PGPASSWORD=", "RESTIC_PASSWORD="] {
        if text.contains(shape) {
            found.push((None, format!("it contains `{}…`", shape.trim())));
        }
    }
    if has_url_password(&text) {
        found.push((None, "it contains an address with a password".to_owned()));
    }
    found
}

/// `scheme://user:password@host`.
fn has_url_password(text: &str) -> bool {
    text.split("://").skip(1).any(|rest| {
        let end = rest.find(|c: char| c.is_whitespace() || "/\"'\\?#".contains(c));
        let authority = end.map_or(rest, |end| rest.get(..end).unwrap_or(rest));
        authority.rsplit_once('@').is_some_and(|(user, _)| {
            user.split_once(':').is_some_and(|(_, password)| !password.is_empty())
        })
    })
}

/// Nothing in it grows without limit.
fn bounded(case: &Case<'_>) -> Found {
    let mut found = Found::new();
    if case.plan.steps.len() > STEPS_MAX {
        found.push((None, format!("it has more than {STEPS_MAX} steps")));
    }
    for step in &case.plan.steps {
        if step.reasons.len() > REASONS_MAX {
            found.push(by(step, format!("it has more than {REASONS_MAX} reasons")));
        }
        if step.reasons.iter().any(|reason| reason.chars().count() > TEXT_CHARS_MAX) {
            found.push(by(step, format!("a reason is longer than {TEXT_CHARS_MAX} characters")));
        }
    }
    found
}
