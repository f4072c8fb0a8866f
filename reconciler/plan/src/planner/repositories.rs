//! Decides which repositories are made and which are pruned.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use model::id::{Name, StepId};
use model::observed::{Deed, RepositoryObservation};
use model::plan::{Action, Class, Estimate, Precondition, Step};

use super::{Draft, ids};
use crate::view::RepositoryState;

/// A prune has two phases: what the first marks, a later one deletes. So one is planned again after
/// this time as long as there is something to remove.
const RECLAIM_AGAIN: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Repositories that the resources in scope use; `None`: all of them.
fn in_scope(draft: &Draft<'_, '_>) -> Option<BTreeSet<Name>> {
    let scope = draft.scope.as_ref()?;
    Some(scope.iter().flat_map(|a| draft.view.repositories_of(a)).cloned().collect())
}

/// Plans `init` for repositories that nothing knows.
pub(super) fn init(draft: &mut Draft<'_, '_>) {
    let scope = in_scope(draft);
    let view = draft.view;
    for (name, state) in &view.repositories {
        if scope.as_ref().is_some_and(|scope| !scope.contains(*name)) {
            continue;
        }
        if *state != RepositoryState::New {
            if let RepositoryState::Lost(_) = state
                && let Some((code, detail)) = state.trouble()
            {
                draft.defer(ids::init(name), code, format!("{detail}; it is not made anew"));
            }
            continue;
        }
        draft.add(Step {
            id: ids::init(name),
            action: Action::Init { repository: (*name).clone() },
            class: Class::Mutating,
            reasons: vec![
                "there is no repository in that place, and neither a pinned id nor our state \
                 knows of one"
                    .to_owned(),
            ],
            preconditions: vec![Precondition::RepositoryIs {
                repository: (*name).clone(),
                id: None,
            }],
            needs: Vec::new(),
            estimate: Estimate::default(),
            loss: None,
            waits: Vec::new(),
        });
    }
}

/// Plans `reclaim` after expiry, and again later while something waits to be removed.
pub(super) fn reclaim(draft: &mut Draft<'_, '_>) {
    let scope = in_scope(draft);
    let view = draft.view;
    let mut expiring: BTreeMap<Name, Vec<StepId>> = BTreeMap::new();
    for step in draft.steps.values() {
        if let Action::Expire { repository, .. } = &step.action {
            expiring.entry(repository.clone()).or_default().push(step.id.clone());
        }
    }
    for (name, spec) in &view.desired.repositories {
        if spec.append_only
            || view.repository_id(name).is_none()
            || scope.as_ref().is_some_and(|scope| !scope.contains(name))
        {
            continue;
        }
        let expiries = expiring.remove(name).unwrap_or_default();
        let reason = if expiries.is_empty() {
            match overdue(draft, name) {
                Some(reason) => reason,
                None => continue,
            }
        } else {
            "snapshots are forgotten in this plan, and what only they need can go".to_owned()
        };
        draft.add(Step {
            id: ids::reclaim(name),
            action: Action::Reclaim { repository: name.clone() },
            class: Class::Mutating,
            reasons: vec![reason],
            preconditions: vec![draft.repository_is(name)],
            needs: expiries,
            estimate: Estimate::default(),
            loss: None,
            waits: Vec::new(),
        });
    }
}

fn overdue(draft: &Draft<'_, '_>, repository: &Name) -> Option<String> {
    let memory = &draft.view.observed.memory;
    let last = memory.reclaimed.get(repository).copied();
    if !memory.known
        || last.is_some_and(|last| draft.view.now.duration_since(last) <= RECLAIM_AGAIN)
    {
        return None;
    }
    let waste = match draft.view.observed.repositories.get(repository) {
        Some(RepositoryObservation::Known { waste_bytes, .. }) => waste_bytes.unwrap_or(0),
        _ => 0,
    };
    let forgotten = memory
        .deeds
        .get(&Deed::Expired)
        .is_some_and(|at| at.iter().any(|at| *at > last.unwrap_or(Timestamp::MIN)));
    let since =
        last.map_or("it was never pruned".to_owned(), |last| format!("the last prune was {last}"));
    if waste > 0 {
        return Some(format!("{since}, and {waste} bytes are needed by no snapshot"));
    }
    (forgotten && last.is_some()).then(|| format!("{since}, and snapshots were forgotten since"))
}
