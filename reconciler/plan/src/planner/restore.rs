//! Builds the step of a restore: what lies in the place, what it needs, what it looks at again.

use model::desired::{Recovery, Response};
use model::id::{Address, Name, StepId};
use model::observed::Observation;
use model::plan::{Action, Class, Estimate, Over, Precondition, Step};
use model::receipt::Marker;

use super::recovery::kind;
use super::selection::{self, Chosen};
use super::{Draft, ids};

/// A restore that shall be planned.
pub(super) struct Wanted<'w, 'a> {
    pub(super) recovery: Option<&'w Recovery>,
    /// The name to carry when the document itself is gone.
    pub(super) recovery_name: Option<Name>,
    pub(super) address: &'w Address,
    pub(super) token: String,
    pub(super) chosen: Chosen<'a>,
    pub(super) reasons: Vec<String>,
    /// It was cut short while it was put in place.
    pub(super) swapping: bool,
}

/// What lies in the place, how far putting something over it can do harm, and how it is known
/// again.
pub(super) fn place(
    draft: &Draft<'_, '_>,
    address: &Address,
    recovery: Option<&Recovery>,
) -> (Over, Class, Option<Precondition>) {
    if recovery.is_some_and(|doc| doc.into.is_some()) {
        return (Over::Nothing, Class::Mutating, None);
    }
    let unmoved = |marker| Precondition::ResourceUnmoved { resource: address.clone(), marker };
    match draft.view.observed.resources.get(address) {
        Some(Observation::Known { marker, damaged, entries, .. }) => {
            let emptied = *entries == Some(0);
            let (over, class) = if damaged.is_some() {
                (Over::Remains, Class::Destructive)
            } else if emptied {
                (Over::Remains, Class::Mutating)
            } else {
                (Over::Live, Class::Destructive)
            };
            // A document was written for whatever is there; only its identity must not change.
            let mut expected = if recovery.is_some() {
                Marker { identity: marker.identity.clone(), ..Marker::default() }
            } else {
                Marker { counts: Default::default(), ..marker.clone() }
            };
            if emptied {
                expected.counts.insert(crate::precondition::ENTRIES.to_owned(), 0);
            }
            (over, class, Some(unmoved(Some(expected))))
        }
        _ => (Over::Nothing, Class::Mutating, Some(unmoved(None))),
    }
}

/// Adds the restore, after the verification and the restores that it needs.
pub(super) fn restore(draft: &mut Draft<'_, '_>, wanted: Wanted<'_, '_>) {
    let view = draft.view;
    let address = wanted.address;
    let point = wanted.chosen.point;
    let elsewhere = wanted.recovery.is_some_and(|doc| doc.into.is_some());
    let id = ids::restore(address, wanted.recovery_name.as_ref());
    let (over, class, unmoved) = place(draft, address, wanted.recovery);
    let mut preconditions = vec![
        draft.repository_is(point.repository),
        Precondition::SnapshotsExist {
            repository: point.repository.clone(),
            snapshots: vec![point.id().clone()],
        },
    ];
    if !wanted.swapping {
        preconditions.extend(unmoved);
    }
    if !elsewhere {
        preconditions.push(Precondition::NoOtherRecovery {
            resource: address.clone(),
            token: Some(wanted.token.clone()),
        });
    }
    let needs = needs(draft, &wanted, &id);
    let loss = selection::loss(draft, address, &point);
    let mut reasons = wanted.reasons;
    reasons.push(wanted.chosen.reason);
    if class == Class::Destructive && wanted.recovery_name.is_some() {
        reasons.push("merged in git, the document is its own approval".to_owned());
    }
    draft.pin(point.id(), format!("{id} brings it back"));
    if !elsewhere {
        draft.restores.insert(address.clone(), id.clone());
        draft.busy.entry(address.clone()).or_insert_with(|| format!("{id} is planned"));
    }
    if let Some(response) = wanted.recovery.map(|_| Response::Restore)
        && !elsewhere
        && view.desired.resources.contains_key(address)
        && draft.condition(address).is_some_and(|c| kind(c).is_some())
    {
        draft.report.responses.insert(address.clone(), response);
    }
    draft.add(Step {
        id,
        action: Action::Restore {
            recovery: wanted.recovery_name,
            resource: address.clone(),
            repository: point.repository.clone(),
            snapshot: point.id().clone(),
            token: wanted.token,
            elsewhere,
            paths: wanted.recovery.map(|doc| doc.paths.clone()).unwrap_or_default(),
            over,
        },
        class,
        reasons,
        preconditions,
        needs,
        estimate: Estimate { bytes: point.receipt().map(|r| r.bytes), seconds: None },
        loss: (!elsewhere).then_some(loss),
        waits: Vec::new(),
    });
}

/// The steps that bring back or make anew what a resource depends on, sorted.
pub(super) fn before(draft: &Draft<'_, '_>, address: &Address) -> Vec<StepId> {
    let there = draft.graph.nearest(address, |a| draft.restores.contains_key(a));
    let mut steps: Vec<StepId> =
        there.into_iter().filter_map(|a| draft.restores.get(a).cloned()).collect();
    steps.sort();
    steps
}

/// What comes [`before`] it, and the verification of a point that is not proven.
fn needs(draft: &mut Draft<'_, '_>, wanted: &Wanted<'_, '_>, id: &StepId) -> Vec<StepId> {
    let address = wanted.address;
    let mut needs = before(draft, address);
    if !wanted.chosen.proven && !wanted.swapping {
        let reason = format!("{id} needs it, and it is not proven");
        let point = wanted.chosen.point;
        needs.push(draft.verify(address, point.repository, point.id(), reason));
    }
    needs.sort();
    needs
}
