//! What held when a step was planned, looked at again in a world that moved.

use std::collections::{BTreeMap, BTreeSet};

use model::few::Numbers;
use model::observed::RecoveryPhase;
use model::plan::{Plan, Precondition};
use model::receipt::Marker;

use super::precondition;
use crate::testing::*;

/// Why the preconditions of a step no longer hold in another world.
fn stops(plan: &Plan, id: &str, world: &World) -> Vec<String> {
    let step = plan.steps.iter().find(|s| s.id.as_str() == id).unwrap();
    step.preconditions.iter().filter_map(|p| precondition(p, &world.observed).err()).collect()
}

#[test]
fn every_step_may_begin_in_the_world_for_which_it_was_planned() {
    let world = World::protected()
        .keep("shop", keep_last(1))
        .point("local", "a0", "shop/files", ago(9), |_| {})
        .proven("a0")
        .with(|w| w.now = at("2026-11-20T13:00:00Z"))
        .recovery("look", "shop/files", |r| r.into = Some(agent(true)));
    let plan = world.plan();
    assert_eq!(plan.steps.len(), 5);
    for step in &plan.steps {
        assert_eq!(stops(&plan, step.id.as_str(), &world), [""; 0], "{}", step.id);
    }
}

#[test]
fn a_backup_stops_when_the_resource_went_away_or_empty() {
    let plan = World::shop().plan();
    let id = "backup/shop/files/local";
    let stops = |world: World| stops(&plan, id, &world);
    assert_eq!(
        stops(World::shop().absent("shop/files")),
        ["shop/files is not there: no such directory"]
    );
    let empty = World::shop().found_with("shop/files", Marker::default(), Some(0), None);
    assert_eq!(stops(empty), ["shop/files is empty"]);
    let damaged = World::shop().found_with("shop/files", Marker::default(), Some(9), Some("bad"));
    assert_eq!(stops(damaged), ["shop/files is damaged: bad"]);
    assert_eq!(
        stops(World::shop().unknown("shop/files")),
        ["shop/files could not be looked at: NoRoute: host is off"]
    );
    let restored =
        World::shop().record("shop/files", "t", "a1", RecoveryPhase::AwaitingCommit, None);
    assert_eq!(stops(restored), ["recovery t of shop/files is under way"]);
}

#[test]
fn a_step_stops_when_the_repository_is_another_one() {
    let plan = World::shop().plan();
    let stops = |world: World| stops(&plan, "backup/shop/files/local", &world);
    assert_eq!(
        stops(World::shop().repository_absent("local")),
        ["repository local is gone: no config file"]
    );
    assert_eq!(
        stops(World::shop().repository_unknown("local")),
        ["repository local could not be read: Timeout: no answer"]
    );
    let other = World::shop().with(|w| {
        let RepositoryKnown { id, .. } = w.observed.repositories.get_mut(&name("local")).unwrap()
        else {
            panic!()
        };
        *id = repository_id("other");
    });
    assert_eq!(stops(other), ["repository local is other000, not local000"]);
}

use model::observed::RepositoryObservation::Known as RepositoryKnown;

#[test]
fn init_stops_when_somebody_else_made_the_repository() {
    let plan = World::shop().repository_absent("local").plan();
    assert_eq!(
        stops(&plan, "init/local", &World::shop()),
        ["repository local exists already as local000"]
    );
}

#[test]
fn expiry_stops_when_the_proven_point_is_gone_or_no_longer_proven() {
    let world = World::protected()
        .keep("shop", keep_last(1))
        .point("local", "a0", "shop/files", ago(9), |_| {})
        .proven("a0");
    let plan = world.plan();
    let stops = |world: World| stops(&plan, "expire/shop/files/local", &world);
    let forgotten = world.clone().with(|w| w.observed.memory.evidence.clear());
    assert_eq!(stops(forgotten), ["no proven point of shop/files would stay"]);
    let gone = world.with(|w| {
        let RepositoryKnown { snapshots, .. } =
            w.observed.repositories.get_mut(&name("local")).unwrap()
        else {
            panic!()
        };
        snapshots.retain(|info| info.id != snapshot("a1"));
    });
    assert_eq!(stops(gone), ["no proven point of shop/files would stay"]);
}

#[test]
fn what_was_absent_must_still_be_absent() {
    let unmoved = Precondition::ResourceUnmoved { resource: address("shop/files"), marker: None };
    let look = |world: World| precondition(&unmoved, &world.observed);
    assert_eq!(look(World::shop().absent("shop/files")), Ok(()));
    assert_eq!(look(World::shop()), Err("shop/files is there again".to_owned()));
    assert!(look(World::shop().unknown("shop/files")).is_err());
}

#[test]
fn what_is_named_must_not_have_moved_and_the_rest_may() {
    let expected = |marker| Precondition::ResourceUnmoved {
        resource: address("shop/files"),
        marker: Some(marker),
    };
    let world = |marker| World::shop().found("shop/files", marker).observed;
    let found = world(Marker { digest: Some("x".into()), ..position(5) });
    let look = |marker| precondition(&expected(marker), &found);
    assert_eq!(look(position(5)), Ok(()));
    assert_eq!(look(Marker::default()), Ok(()));
    assert_eq!(look(position(4)), Err("shop/files moved: counter lsn 4 → 5".to_owned()));
    assert_eq!(look(content("y")), Err("shop/files moved: its content changed".to_owned()));
    let other = Marker { identity: Some("two".into()), ..Marker::default() };
    assert_eq!(look(other), Err("shop/files is another one than when this was planned".to_owned()));
    let was_empty = Marker { counts: Numbers::from([(super::ENTRIES, 0)]), ..Marker::default() };
    assert_eq!(look(was_empty), Err("shop/files moved: it had 0 entries".to_owned()));
}

#[test]
fn nothing_that_was_not_looked_at_holds() {
    let empty = model::observed::Observed::empty(now());
    let resource = address("shop/files");
    let repository = name("local");
    for each in [
        Precondition::RepositoryIs { repository: repository.clone(), id: None },
        Precondition::SnapshotsExist { repository, snapshots: Vec::new() },
        Precondition::ProvenCopyStays {
            resource: resource.clone(),
            snapshots: BTreeMap::from([(name("local"), BTreeSet::from([snapshot("a1")]))]),
        },
        Precondition::ResourcePresent { resource: resource.clone() },
        Precondition::ResourceUnmoved { resource, marker: None },
    ] {
        assert!(precondition(&each, &empty).is_err(), "{each:?}");
    }
}

#[test]
fn a_recovery_into_another_place_stops_nothing() {
    let rule = Precondition::NoOtherRecovery { resource: address("shop/files"), token: None };
    let world = World::shop().record("shop/files", "t", "a1", RecoveryPhase::Swapping, None);
    assert!(precondition(&rule, &world.observed).is_err());
    let aside = world.with(|w| {
        w.observed.memory.recoveries.values_mut().for_each(|record| record.elsewhere = true);
    });
    assert_eq!(precondition(&rule, &aside.observed), Ok(()));
}

#[test]
fn of_two_recoveries_in_place_the_last_is_ended_first() {
    let wait = RecoveryPhase::AwaitingCommit;
    let world = World::shop()
        .record("shop/files", "a-late", "a1", wait, None)
        .record("shop/files", "b-early", "a1", wait, None)
        .with(|w| {
            w.observed.memory.recoveries.get_mut("b-early").unwrap().since = ago(5);
        });
    let ends = |token: &str, world: &World| {
        let (resource, token) = (address("shop/files"), Some(token.to_owned()));
        precondition(&Precondition::NoOtherRecovery { resource, token }, &world.observed)
    };
    assert_eq!(ends("a-late", &world), Ok(()));
    let stopped = Err("recovery a-late of shop/files is under way".to_owned());
    assert_eq!(ends("b-early", &world), stopped);
    // One that is only about to be put in place goes over nothing that waits.
    assert!(ends("new", &world).is_err());
    let half = world.with(|w| {
        w.observed.memory.recoveries.get_mut("b-early").unwrap().phase = RecoveryPhase::Swapping;
    });
    assert_eq!(
        ends("a-late", &half),
        Err("recovery b-early of shop/files is under way".to_owned())
    );
}
