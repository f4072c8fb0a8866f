//! Applied again and again to a world that obeys, plans come to an end, and every pass on the way
//! keeps all promises.

use std::collections::BTreeMap;

use model::digest::Digest;
use model::id::SnapshotId;
use model::observed::{Observation, RecoveryPhase, RepositoryObservation};
use model::plan::{Action, Due, SnapshotRef, Step};
use model::receipt::{ControlBody, Marker};
use proptest::prelude::*;

use super::properties::{REPOSITORIES, recipe, world};
use crate::testing::*;

/// Passes after which nothing may be left to do: verification learns two points a pass.
const PASSES_MAX: usize = 24;

/// Does what a step says, as the runtime would.
fn act(mut w: World, step: &Step, made: &mut BTreeMap<String, SnapshotId>) -> World {
    match step.action.clone() {
        Action::Init { repository } => w.repository(repository.as_str()),
        Action::Backup { resource, repository, due, .. } => {
            let id = Digest::of("made", &(&step.id, &due)).to_string();
            made.insert(step.id.to_string(), SnapshotId::from(id.as_str()));
            let (marker, entries) = match &w.observed.resources[&resource] {
                Observation::Known { marker, entries, .. } => (marker.clone(), *entries),
                other => panic!("a backup of {other:?}"),
            };
            let now = w.now;
            w.point(repository.as_str(), &id, &resource.to_string(), now, |r| {
                r.marker = marker;
                r.files = entries.unwrap_or(1);
                r.epoch = 7;
                match due {
                    Due::Slot { at, .. } => r.slot = Some(at),
                    Due::Token { token } => r.trigger = Some(token.into()),
                }
            })
        }
        Action::Verify { snapshot: SnapshotRef::Id(id), .. } => w.proven(&id.to_string()),
        Action::Verify { snapshot: SnapshotRef::Of(of), .. } => {
            let id = made[of.as_str()].clone();
            w.proven(&id.to_string())
        }
        Action::Recreate { resource, .. } => {
            let made = position(0);
            let body = ControlBody::Baseline {
                address: resource.clone(),
                marker: made.clone(),
                reason: "test".to_owned(),
            };
            control(w.found(&resource.to_string(), made), "local", body)
        }
        Action::Expire { repository, snapshots, .. } => {
            if let Some(RepositoryObservation::Known { snapshots: there, .. }) =
                w.observed.repositories.get_mut(&repository)
            {
                there.retain(|info| !snapshots.contains(&info.id));
            }
            w
        }
        Action::Restore { resource, repository, snapshot: point, token, .. } => {
            let Some(RepositoryObservation::Known { snapshots, .. }) =
                w.observed.repositories.get(&repository)
            else {
                panic!("a restore from a repository that is not there")
            };
            let receipt = snapshots.iter().find(|i| i.id == point).unwrap().receipt.clone();
            let marker = receipt.unwrap().marker;
            let of = resource.to_string();
            let served = ControlBody::RecoveryServed {
                address: resource.clone(),
                token: token.clone(),
                snapshot: point.clone(),
                attempt: 0,
            };
            w = control(w, repository.as_str(), served);
            w = baseline(w, repository.as_str(), &of, marker.clone());
            w = w.record(&of, &token, "00", RecoveryPhase::Committed, None);
            w.found(&of, marker)
        }
        // Wherever it can be written, as the runtime does.
        Action::Adopt { resource, marker } => REPOSITORIES
            .into_iter()
            .fold(w, |w, name| baseline(w, name, &resource.to_string(), marker.clone())),
        Action::Reclaim { .. } | Action::Commit { .. } | Action::Rollback { .. } => w,
    }
}

fn baseline(w: World, repository: &str, of: &str, marker: Marker) -> World {
    let body = ControlBody::Baseline { address: address(of), marker, reason: "test".to_owned() };
    control(w, repository, body)
}

fn control(w: World, repository: &str, body: ControlBody) -> World {
    let at = w.now;
    w.control(repository, at, body)
}

/// One pass: every step that waits for nothing, approvals given. Returns how many were done.
fn pass(mut w: World) -> (World, usize) {
    w.now += jiff::SignedDuration::from_secs(1);
    let plan = w.plan();
    w.observed.memory.approvals.extend(plan.destructive.clone());
    let waits = crate::gates(&w.desired, &w.observed, &plan, w.now, &Default::default());
    let mut made = BTreeMap::new();
    let mut done = Vec::new();
    for step in &plan.steps {
        if waits[&step.id].is_empty() && step.needs.iter().all(|need| done.contains(&need)) {
            for precondition in &step.preconditions {
                let holds = crate::precondition(precondition, &w.observed);
                assert_eq!(holds, Ok(()), "{}: {precondition:?}", step.id);
            }
            w = act(w, step, &mut made);
            done.push(&step.id);
        }
    }
    let n = done.len();
    (w, n)
}

proptest! {
    #![proptest_config(cases(64))]

    /// Plans come to an end, whatever the world was like.
    #[test]
    fn a_world_that_obeys_comes_to_rest(recipe in recipe()) {
        let mut world = world(&recipe);
        for _ in 0..PASSES_MAX {
            let (next, done) = pass(world);
            world = next;
            if done == 0 {
                return Ok(());
            }
        }
        prop_assert!(false, "still at work after {PASSES_MAX} passes: {:#?}", world.steps());
    }
}
