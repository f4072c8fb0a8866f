//! Tests of `status`.

use model::desired::Scope;
use model::observed::RecoveryPhase;

use super::{Verdict, status};
use crate::testing::*;

fn of(world: &World) -> super::ResourceStatus {
    let status = status(&world.desired, &world.observed, world.now);
    status.resources[&address("shop/files")].clone()
}

fn promised(rpo_s: u64) -> World {
    World::protected().with(|w| {
        let resource = w.desired.resources.get_mut(&address("shop/files")).unwrap();
        resource.objectives.rpo_s = Some(rpo_s);
        resource.objectives.copies = Some(2);
    })
}

#[test]
fn the_age_is_that_of_the_newest_proven_point() {
    let world = promised(3600);
    let status = of(&world);
    assert_eq!((status.age_s, status.rpo), (Some(3600), Verdict::Kept));
    assert_eq!((status.copies, status.copies_verdict), (2, Verdict::Kept));
    let newer = of(&world.clone().point("local", "a2", "shop/files", ago(0), |_| {}));
    assert_eq!(newer.age_s, Some(3600), "what is not proven does not count");
    assert_eq!(newer.newest.unwrap().snapshot, snapshot("a2"));
    let incomplete = world.point("local", "a3", "shop/files", ago(0), |r| r.complete = false);
    assert_eq!(of(&incomplete.proven("a3")).age_s, Some(3600), "nor what is incomplete");
}

#[test]
fn too_old_is_violated_and_unseen_is_unknown() {
    let world = promised(3599);
    assert_eq!(of(&world).rpo, Verdict::Violated);
    assert_eq!(of(&world).copies, 1, "a copy older than promised is none");
    assert_eq!(of(&world.clone().repository_unknown("local")).rpo, Verdict::Unknown);
    let gone = of(&promised(3600).absent("shop/files"));
    assert_eq!((gone.copies, gone.copies_verdict), (1, Verdict::Violated), "live data is gone");
    assert_eq!(of(&World::protected()).rpo, Verdict::NoObjective);
}

#[test]
fn next_due_triggers_holds_and_recoveries_are_shown() {
    assert_eq!(of(&World::protected()).next_due, Some(at("2026-11-20T13:00:00Z")));
    assert_eq!(of(&World::shop()).next_due, Some(now()));
    let world = World::protected()
        .trigger("now", "shop", "t")
        .record("shop/files", "r1", "a1", RecoveryPhase::AwaitingCommit, None)
        .with(|w| {
            w.observed.memory.holds.push(hold(Scope::All));
            let mut ended = hold(Scope::All);
            ended.until = Some(ago(1));
            w.observed.memory.holds.push(ended);
        });
    let all = status(&world.desired, &world.observed, world.now);
    assert!(!all.triggers[&name("now")]);
    assert_eq!(all.holds.len(), 1);
    assert_eq!(of(&world).awaiting_commit, ["r1"]);
    let served = world.point("local", "a2", "shop/files", ago(0), |r| r.trigger = Some("t".into()));
    assert!(status(&served.desired, &served.observed, served.now).triggers[&name("now")]);
}

#[test]
fn repositories_say_what_they_are() {
    let state = |world: World| {
        let status = status(&world.desired, &world.observed, world.now);
        status.repositories[&name("local")].state.clone()
    };
    assert_eq!(state(World::shop()), "Ready");
    assert_eq!(state(World::shop().repository_absent("local")), "New");
    assert_eq!(state(World::shop().repository_unknown("local")), "RepositoryUnknown");
}

#[test]
fn it_survives_a_round_trip() {
    let world = promised(3600);
    let status = status(&world.desired, &world.observed, world.now);
    let text = serde_json::to_string(&status).unwrap();
    assert_eq!(serde_json::from_str::<super::Status>(&text).unwrap(), status);
}
