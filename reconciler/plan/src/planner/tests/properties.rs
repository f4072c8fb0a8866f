//! Properties of all plans, over small random worlds.

use std::collections::{BTreeMap, BTreeSet};

use model::desired::{ConditionKind, Response};
use model::digest::Digest;
use model::id::SnapshotId;
use model::observed::RepositoryObservation;
use model::plan::{Action, Plan};
use model::receipt::Marker;
use proptest::prelude::*;

use crate::testing::*;

pub(super) const NAMES: [&str; 4] = ["a/one", "a/two", "b/one", "b/two"];
pub(super) const REPOSITORIES: [&str; 2] = ["local", "offsite"];

/// What a random world is made of; small numbers, so that things meet.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    points: Vec<(usize, usize, i64, u64, bool, bool, bool)>,
    resources: Vec<(u8, u64)>,
    repositories: Vec<u8>,
    edges: Vec<(usize, usize)>,
    keep: u32,
    response: u8,
    memory: bool,
    diverged: bool,
}

pub(super) fn recipe() -> impl Strategy<Value = Recipe> {
    let point = (
        0..NAMES.len(),
        0..REPOSITORIES.len(),
        -30i64..90,
        0u64..6,
        any::<bool>(),
        prop::bool::weighted(0.8),
        prop::bool::weighted(0.1),
    );
    (
        prop::collection::vec(point, 0..24),
        prop::collection::vec((0u8..6, 0u64..6), NAMES.len()),
        prop::collection::vec(0u8..8, REPOSITORIES.len()),
        prop::collection::vec((0..NAMES.len(), 0..NAMES.len()), 0..5),
        0u32..4,
        0u8..4,
        prop::bool::weighted(0.9),
        prop::bool::weighted(0.1),
    )
        .prop_map(
            |(points, resources, repositories, edges, keep, response, memory, diverged)| Recipe {
                points,
                resources,
                repositories,
                edges,
                keep,
                response,
                memory,
                diverged,
            },
        )
}

pub(super) fn world(recipe: &Recipe) -> World {
    let mut world = REPOSITORIES.into_iter().fold(World::new(), World::repository);
    world = NAMES.into_iter().fold(world, World::resource);
    world = world.backup("shop", &NAMES, &REPOSITORIES).keep("shop", keep_last(recipe.keep));
    for (number, point) in recipe.points.iter().enumerate() {
        let (of, repository, hours, counter, proven, complete, suspicious) = *point;
        let id = format!("{number:02x}");
        world = world.point(REPOSITORIES[repository], &id, NAMES[of], ago(hours), |r| {
            r.slot = Some(ago(hours));
            r.marker = position(counter);
            r.complete = complete;
            r.suspicious = suspicious.then(|| "shrank".into());
        });
        if proven {
            world = world.proven(&id);
        }
    }
    for (of, (kind, counter)) in NAMES.into_iter().zip(&recipe.resources) {
        world = match kind {
            0 => world.absent(of),
            1 => world.unknown(of),
            2 => world.found_with(of, position(*counter), Some(0), None),
            3 => world.found_with(of, position(*counter), Some(3), Some("bad page")),
            4 => world.found(of, Marker { identity: Some("two".into()), ..position(*counter) }),
            _ => world.found(of, position(*counter)),
        };
    }
    for (text, kind) in REPOSITORIES.into_iter().zip(&recipe.repositories) {
        world = match kind {
            0 => world.repository_unknown(text),
            1 => world.repository_absent(text),
            _ => world,
        };
    }
    for (from, to) in &recipe.edges {
        world = world.needs(NAMES[*from], NAMES[*to]);
    }
    let answer = [Response::Hold, Response::Restore, Response::Adopt, Response::Restore]
        [usize::from(recipe.response)];
    let kinds = [
        ConditionKind::Lost,
        ConditionKind::RolledBack,
        ConditionKind::Replaced,
        ConditionKind::Damaged,
    ];
    let on: Vec<_> = kinds.into_iter().map(|kind| (kind, answer)).collect();
    world.policy(&NAMES, &on).with(|w| {
        w.observed.memory.known = recipe.memory;
        if recipe.diverged {
            w.observed.memory.ancestry = model::observed::Ancestry::Diverged;
        }
    })
}

/// Snapshots of each repository that are good and proven and stay after a prefix of the steps.
fn proven_after(world: &World, plan: &Plan, steps: usize) -> BTreeMap<(String, String), usize> {
    let gone: BTreeSet<&SnapshotId> = plan.steps[..steps]
        .iter()
        .flat_map(|step| match &step.action {
            Action::Expire { snapshots, .. } => snapshots.iter().collect::<Vec<_>>(),
            _ => Vec::new(),
        })
        .collect();
    let mut counts = BTreeMap::new();
    for (name, observation) in &world.observed.repositories {
        let RepositoryObservation::Known { snapshots, .. } = observation else { continue };
        for info in snapshots {
            let Some(receipt) = &info.receipt else { continue };
            let proven = world.observed.memory.evidence.contains_key(&info.id);
            if proven
                && receipt.complete
                && receipt.suspicious.is_none()
                && !gone.contains(&info.id)
            {
                *counts.entry((name.to_string(), receipt.address.to_string())).or_default() += 1;
            }
        }
    }
    counts
}

proptest! {
    #![proptest_config(cases(160))]

    /// Every promise holds for every plan, and equal inputs give equal bytes.
    #[test]
    fn promises_hold_and_plans_repeat(recipe in recipe()) {
        let first = world(&recipe).plan();
        let second = world(&recipe).plan();
        prop_assert_eq!(
            serde_json::to_string(&first).unwrap(),
            serde_json::to_string(&second).unwrap()
        );
    }

    /// The order in which points were made known does not matter where it says nothing.
    #[test]
    fn the_order_of_insertion_does_not_matter(recipe in recipe()) {
        let mut shuffled = recipe.clone();
        let numbered: Vec<_> = shuffled.points.iter().cloned().enumerate().collect();
        let mut one = world(&recipe);
        let mut other = world(&Recipe { points: Vec::new(), ..recipe.clone() });
        for (number, point) in numbered.iter().rev() {
            let (of, repository, hours, counter, proven, complete, suspicious) = *point;
            let id = format!("{number:02x}");
            other = other.point(REPOSITORIES[repository], &id, NAMES[of], ago(hours), |r| {
                r.slot = Some(ago(hours));
                r.marker = position(counter);
                r.complete = complete;
                r.suspicious = suspicious.then(|| "shrank".into());
            });
            if proven {
                other = other.proven(&id);
            }
        }
        shuffled.points.clear();
        // Repositories that cannot be read lose their points in both.
        for (text, kind) in REPOSITORIES.into_iter().zip(&recipe.repositories) {
            if *kind == 0 {
                one = one.repository_unknown(text);
                other = other.repository_unknown(text);
            }
            if *kind == 1 {
                one = one.repository_absent(text);
                other = other.repository_absent(text);
            }
        }
        prop_assert_eq!(one.plan().id, other.plan().id);
    }

    /// After any prefix of the steps, what had a proven point still has one.
    #[test]
    fn a_proven_point_stays_at_every_prefix(recipe in recipe()) {
        let world = world(&recipe);
        let plan = world.plan();
        let before = proven_after(&world, &plan, 0);
        for steps in 0..=plan.steps.len() {
            let after = proven_after(&world, &plan, steps);
            for key in before.keys() {
                prop_assert!(after.contains_key(key), "{key:?} after {steps} steps");
            }
        }
    }

    /// Steps come after what they need, and restores after those of their dependencies.
    #[test]
    fn dependencies_come_first(recipe in recipe()) {
        let world = world(&recipe);
        let plan = world.plan();
        let graph = crate::graph::Graph::new(&world.desired);
        let place: BTreeMap<_, _> = plan
            .steps
            .iter()
            .enumerate()
            .filter_map(|(i, step)| match &step.action {
                Action::Restore { resource, .. } => Some((resource.clone(), i)),
                _ => None,
            })
            .collect();
        for (resource, i) in &place {
            for dependency in graph.dependencies(resource) {
                if let Some(j) = place.get(dependency) {
                    prop_assert!(j < i, "{dependency} comes before {resource}");
                }
            }
        }
    }

    /// What an approval names does not depend on the clock, within one slot.
    #[test]
    fn the_destructive_digest_has_no_clock(recipe in recipe()) {
        let one = world(&recipe);
        let later = one.clone().with(|w| w.now += jiff::SignedDuration::from_secs(61));
        let (one, later) = (one.plan(), later.plan());
        let ids = |plan: &Plan| -> Vec<_> {
            plan.steps
                .iter()
                .filter(|s| s.class == model::plan::Class::Destructive)
                .map(|s| Digest::of("step", &s.action))
                .collect()
        };
        if ids(&one) == ids(&later) {
            prop_assert_eq!(one.destructive, later.destructive);
        } else {
            prop_assert_ne!(one.destructive, later.destructive);
        }
    }

    /// A narrow plan is a part of the whole one.
    #[test]
    fn a_narrow_plan_is_a_part(recipe in recipe(), of in 0..NAMES.len()) {
        let world = world(&recipe);
        let whole: BTreeSet<_> = world.plan().steps.into_iter().map(|s| s.id).collect();
        let only = BTreeSet::from([address(NAMES[of])]);
        let part = crate::plan_only(&world.desired, &world.observed, world.now, &only);
        let violations = crate::check(&world.desired, &world.observed, &part);
        prop_assert!(violations.is_empty(), "{violations:#?}");
        for step in &part.steps {
            prop_assert!(whole.contains(&step.id), "{}", step.id);
            for need in &step.needs {
                prop_assert!(part.steps.iter().any(|s| s.id == *need), "{need}");
            }
        }
    }
}
