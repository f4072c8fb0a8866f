//! Each test takes a good plan and breaks one promise of it; only that one is reported.

use std::collections::BTreeSet;

use model::observed::{Ancestry, RecoveryPhase};
use model::plan::{Action, Class, Plan, Precondition, SnapshotRef, Step, Wait};

use super::{Promise, STEPS_MAX, TEXT_CHARS_MAX, check};
use crate::planner::{destructive_digest, plan_id};
use crate::testing::*;

/// Breaks the plan of a world, seals it again, and returns the promises that are then reported.
fn broken(world: &World, breaks: impl FnOnce(&mut Plan)) -> BTreeSet<Promise> {
    let mut plan = world.plan();
    breaks(&mut plan);
    seal(world, &mut plan);
    check(&world.desired, &world.observed, &plan).into_iter().map(|v| v.promise).collect()
}

/// Makes the ids and digests right again, so that only what was broken shows.
fn seal(world: &World, plan: &mut Plan) {
    plan.destructive = destructive_digest(&world.desired, &plan.steps);
    let digest = plan.destructive.clone();
    for step in &mut plan.steps {
        for wait in &mut step.waits {
            if let (Wait::Approval { digest: of }, Some(digest)) = (wait, &digest) {
                *of = digest.clone();
            }
        }
    }
    plan.id = plan_id(plan);
}

fn step<'p>(plan: &'p mut Plan, id: &str) -> &'p mut Step {
    plan.steps.iter_mut().find(|s| s.id.as_str() == id).unwrap()
}

fn only(promise: Promise) -> BTreeSet<Promise> {
    BTreeSet::from([promise])
}

const EXPIRE: &str = "expire/shop/files/local";
const RESTORE: &str = "restore/shop/db";

#[test]
fn a_good_plan_breaks_nothing() {
    assert_eq!(broken(&World::busy(), |_| {}), BTreeSet::new());
}

#[test]
fn p1_points_go_while_the_resource_is_not_seen() {
    let blind = World::busy().unknown("shop/files");
    let expire = World::busy().plan().steps.into_iter().find(|s| s.id.as_str() == EXPIRE).unwrap();
    let broken = broken(&blind, |plan| {
        plan.steps.push(Step { needs: Vec::new(), ..expire });
    });
    assert_eq!(broken, only(Promise::P1));
}

#[test]
fn p1_a_known_repository_is_made_anew() {
    let world = World::busy();
    let broken = broken(&world, |plan| {
        plan.steps.push(Step {
            id: "init/local".into(),
            action: Action::Init { repository: name("local") },
            class: Class::Mutating,
            reasons: vec!["no reason".to_owned()],
            preconditions: vec![Precondition::RepositoryIs { repository: name("local"), id: None }],
            needs: Vec::new(),
            estimate: Default::default(),
            loss: None,
            waits: Vec::new(),
        });
    });
    assert_eq!(broken, only(Promise::P1));
}

#[test]
fn p1_a_point_goes_that_no_document_lets_go() {
    let world =
        World::busy().point("local", "a9", "shop/files", ago(9), |r| r.backup = None).proven("a9");
    let broken = broken(&world, |plan| {
        let Action::Expire { snapshots, .. } = &mut step(plan, EXPIRE).action else { panic!() };
        snapshots.push(snapshot("a9"));
    });
    assert_eq!(broken, only(Promise::P1));
}

#[test]
fn p2_the_last_proven_point_goes() {
    let broken = broken(&World::busy(), |plan| {
        let Action::Expire { snapshots, .. } = &mut step(plan, EXPIRE).action else { panic!() };
        snapshots.push(snapshot("a1"));
    });
    assert_eq!(broken, only(Promise::P2));
}

#[test]
fn p2_expiry_does_not_look_again() {
    let broken = broken(&World::busy(), |plan| {
        let preconditions = &mut step(plan, EXPIRE).preconditions;
        preconditions.retain(|p| !matches!(p, Precondition::ProvenCopyStays { .. }));
    });
    assert_eq!(broken, only(Promise::P2));
}

#[test]
fn p3_the_plan_was_changed_after_it_was_made() {
    let world = World::busy();
    let mut plan = world.plan();
    plan.steps[0].reasons[0].push('!');
    let found = check(&world.desired, &world.observed, &plan);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].promise, Promise::P3);
}

#[test]
fn p3_it_was_made_for_another_world() {
    let plan = World::busy().plan();
    let other = World::busy().with(|w| w.observed.memory.epoch_before = 5);
    let found = check(&other.desired, &other.observed, &plan);
    assert!(found.iter().any(|v| v.promise == Promise::P3), "{found:#?}");
}

#[test]
fn p3_a_write_does_not_look_again() {
    let broken = broken(&World::busy(), |plan| {
        step(plan, "backup/shop/files/local").preconditions.clear();
    });
    assert_eq!(broken, only(Promise::P3));
}

#[test]
fn p4_points_go_while_our_state_is_lost() {
    let expire = World::busy().plan().steps.into_iter().find(|s| s.id.as_str() == EXPIRE).unwrap();
    let world = World::busy().with(|w| {
        w.observed.memory.known = false;
        w.observed.memory.accepted_alarms.insert("memory:6".to_owned());
    });
    let broken = broken(&world, |plan| plan.steps.push(Step { waits: Vec::new(), ..expire }));
    assert_eq!(broken, only(Promise::P4));
}

#[test]
fn p5_a_step_comes_before_what_it_needs() {
    let broken = broken(&World::busy(), |plan| {
        let i = plan.steps.iter().position(|s| s.id.as_str() == "backup/shop/files/local").unwrap();
        plan.steps.swap(i, i + 1);
    });
    assert_eq!(broken, only(Promise::P5));
}

#[test]
fn p5_two_steps_share_an_id() {
    let broken = broken(&World::busy(), |plan| {
        let again = step(plan, "verify/shop/files/local/new").clone();
        plan.steps.push(again);
    });
    assert_eq!(broken, only(Promise::P5));
}

#[test]
fn p5_a_swap_is_left_halfway() {
    let world = World::busy().record("shop/db", "x", "b1", RecoveryPhase::Swapping, None);
    let broken = broken(&world, |plan| plan.steps.retain(|s| s.id.as_str() != RESTORE));
    assert_eq!(broken, only(Promise::P5));
}

#[test]
fn p6_a_point_comes_back_that_is_neither_proven_nor_verified() {
    let world = World::busy().point("local", "b0", "shop/db", ago(3), |r| r.marker = position(1));
    let broken = broken(&world, |plan| {
        plan.steps.retain(|s| s.id.as_str() != "verify/shop/db/local/b00000000000");
        let Action::Restore { snapshot: point, .. } = &mut step(plan, RESTORE).action else {
            panic!()
        };
        *point = snapshot("b0");
    });
    assert_eq!(broken, only(Promise::P6));
}

#[test]
fn p6_an_incomplete_point_comes_back() {
    let world =
        World::busy().point("local", "b0", "shop/db", ago(3), |r| r.complete = false).proven("b0");
    let broken = broken(&world, |plan| {
        let Action::Restore { snapshot: point, .. } = &mut step(plan, RESTORE).action else {
            panic!()
        };
        *point = snapshot("b0");
    });
    assert_eq!(broken, only(Promise::P6));
}

#[test]
fn p6_a_new_point_is_not_proven() {
    let broken = broken(&World::busy(), |plan| {
        plan.steps
            .retain(|s| !matches!(&s.action, Action::Verify { snapshot: SnapshotRef::Of(_), .. }));
        step(plan, EXPIRE).needs.retain(|n| !n.as_str().starts_with("verify/"));
    });
    assert_eq!(broken, only(Promise::P6));
}

#[test]
fn p7_a_token_is_served_again() {
    let world = World::busy().record("shop/db", "done", "b1", RecoveryPhase::Committed, None);
    let broken = broken(&world, |plan| {
        let step = step(plan, RESTORE);
        let Action::Restore { token, .. } = &mut step.action else { panic!() };
        *token = "done".to_owned();
        for precondition in &mut step.preconditions {
            if let Precondition::NoOtherRecovery { token, .. } = precondition {
                *token = Some("done".to_owned());
            }
        }
    });
    assert_eq!(broken, only(Promise::P7));
}

#[test]
fn p7_live_data_is_replaced_and_not_called_destructive() {
    let broken = broken(&World::busy(), |plan| step(plan, RESTORE).class = Class::Mutating);
    assert_eq!(broken, only(Promise::P7));
}

#[test]
fn p7_a_backup_runs_while_its_resource_is_brought_back() {
    let backup = World::busy()
        .found("shop/db", position(9))
        .plan()
        .steps
        .into_iter()
        .filter(|s| s.id.as_str().contains("shop/db/local"))
        .collect::<Vec<_>>();
    let broken = broken(&World::busy(), |plan| plan.steps.extend(backup));
    assert_eq!(broken, only(Promise::P7));
}

#[test]
fn p8_a_step_does_not_wait_for_an_alarm() {
    let world = World::busy().with(|w| w.observed.memory.ancestry = Ancestry::Diverged);
    let broken = broken(&world, |plan| step(plan, EXPIRE).waits.clear());
    assert_eq!(broken, only(Promise::P8));
}

#[test]
fn p8_a_destructive_step_asks_nobody() {
    let broken = broken(&World::busy(), |plan| step(plan, RESTORE).waits.clear());
    assert_eq!(broken, only(Promise::P8));
}

#[test]
fn p9_a_detail_carries_a_secret() {
    for secret in [
        "cannot reach postgres://app:hunter2@db-1/orders",
        "PGPASSWORD=hunter2",
        "AGE-SECRET-KEY-1QQQ",
        "-----BEGIN OPENSSH PRIVATE KEY-----",
    ] {
        let broken = broken(&World::busy(), |plan| plan.report.notes.push(secret.to_owned()));
        assert_eq!(broken, only(Promise::P9), "{secret}");
    }
    for harmless in
        ["https://example.org/a:b@c", "postgres://app@db-1/orders", "ssh://git@host:22/x"]
    {
        let broken = broken(&World::busy(), |plan| plan.report.notes.push(harmless.to_owned()));
        assert_eq!(broken, BTreeSet::new(), "{harmless}");
    }
}

#[test]
fn p10_a_text_has_no_end() {
    let broken = broken(&World::busy(), |plan| {
        plan.steps[0].reasons.push("a".repeat(TEXT_CHARS_MAX + 1));
    });
    assert_eq!(broken, only(Promise::P10));
}

#[test]
fn p10_the_limits_are_boundaries() {
    let within =
        broken(&World::busy(), |plan| plan.steps[0].reasons.push("a".repeat(TEXT_CHARS_MAX)));
    assert_eq!(within, BTreeSet::new());
    let reasons = broken(&World::busy(), |plan| {
        plan.steps[0].reasons = vec!["why".to_owned(); super::REASONS_MAX + 1];
    });
    assert_eq!(reasons, only(Promise::P10));
    const { assert!(STEPS_MAX >= 100_000 * 4, "a large fleet must fit") };
}

/// A point of a resource that no document describes, the last proven one, named by an erasure.
fn erasing() -> World {
    World::new()
        .repository("local")
        .point("local", "e1", "shop/gone", ago(50), |_| {})
        .proven("e1")
        .erasure("shop/gone", &["e1"], |_| {})
}

const ERASE: &str = "erase/gdpr/shop/gone/local";

#[test]
fn p2_an_erasure_is_the_one_exception() {
    assert_eq!(broken(&erasing(), |plan| assert_eq!(plan.steps[0].id.as_str(), ERASE)), [].into());
}

#[test]
fn p2_an_erasure_holds_to_its_document() {
    let of = |erase: &mut Step, change: &dyn Fn(&mut Option<model::id::Name>)| {
        let Action::Expire { erasure, .. } = &mut erase.action else { panic!() };
        change(erasure);
    };
    let unknown = broken(&erasing(), |plan| {
        of(step(plan, ERASE), &|erasure| *erasure = Some(name("other")));
    });
    assert_eq!(unknown, only(Promise::P2));
    let unnamed = erasing().point("local", "e2", "shop/gone", ago(49), |_| {}).proven("e2");
    let unnamed = broken(&unnamed, |plan| {
        let Action::Expire { snapshots, .. } = &mut step(plan, ERASE).action else { panic!() };
        snapshots.push(snapshot("e2"));
    });
    assert_eq!(unnamed, only(Promise::P2));
    let mild = broken(&erasing(), |plan| {
        let erase = step(plan, ERASE);
        erase.class = Class::Mutating;
        erase.waits.clear();
    });
    assert_eq!(mild, only(Promise::P2));
    // Without the document behind it, it is an expiry that nothing lets go.
    let bare = broken(&erasing(), |plan| of(step(plan, ERASE), &|erasure| *erasure = None));
    assert_eq!(bare, [Promise::P1, Promise::P2].into());
}

#[test]
fn p2_an_erasure_too_early_or_by_one_person() {
    let made = erasing().plan();
    let checked = |world: World| {
        let mut plan = made.clone();
        plan.desired = world.desired.digest();
        plan.observed = world.observed.digest();
        seal(&world, &mut plan);
        let found = check(&world.desired, &world.observed, &plan);
        found.into_iter().map(|v| v.promise).collect::<BTreeSet<_>>()
    };
    assert_eq!(checked(erasing()), [].into());
    let early = erasing().with(|w| {
        w.observed.memory.erasures.values_mut().for_each(|seen| *seen = ago(71));
    });
    assert_eq!(checked(early), only(Promise::P2));
    let base =
        || World::new().repository("local").point("local", "e1", "shop/gone", ago(50), |_| {});
    let alone = base().proven("e1").erasure("shop/gone", &["e1"], |doc| {
        doc.approved_by = ["ann".to_owned(), "Ann ".to_owned()].into();
    });
    assert_eq!(checked(alone), only(Promise::P2));
}

#[test]
fn p2_an_erasure_takes_no_point_of_another() {
    let world = erasing().with(|w| {
        let doc = w.desired.erasures.get_mut(&name("gdpr")).unwrap();
        doc.snapshots.insert(snapshot("c1"));
        let digest = doc.digest();
        w.observed.memory.erasures.insert(digest, ago(96));
    });
    let world = world.point("local", "c1", "shop/other", ago(50), |_| {}).proven("c1");
    assert_eq!(world.deferred(), ["erase/gdpr/shop/gone/local PointOfAnother"]);
    let erase = erasing().plan().steps[0].clone();
    let broken = broken(&world, |plan| {
        plan.steps.push(erase);
        let Action::Expire { snapshots, .. } = &mut plan.steps[0].action else { panic!() };
        snapshots.push(snapshot("c1"));
    });
    assert!(broken.contains(&Promise::P2), "{broken:?}");
}

#[test]
fn p7_a_token_that_may_have_been_served() {
    let world = World::busy()
        .repository("offsite")
        .backup("shop", &["shop/files", "shop/db"], &["local", "offsite"])
        .recovery("back", "shop/db", |_| {});
    let made = world.plan();
    let restore = made.steps.iter().find(|s| s.id.as_str() == "restore/shop/db/back").unwrap();
    let blind =
        world.clone().repository_unknown("offsite").with(|w| w.observed.memory.known = false);
    let broken = broken(&blind, |plan| plan.steps.push(restore.clone()));
    // Over live data it would also have to wait for the alarm.
    assert_eq!(broken, BTreeSet::from([Promise::P7, Promise::P8]));
}
