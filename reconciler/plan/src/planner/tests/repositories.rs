//! Which repositories are made, and which are lost, replaced or unknown.

use insta::assert_snapshot;
use model::observed::{Deed, RepositoryObservation};

use crate::testing::*;

#[test]
fn one_that_nothing_knows_is_made_first() {
    let world = World::shop().repository_absent("local");
    assert_eq!(
        world.steps(),
        ["init/local", "backup/shop/files/local", "verify/shop/files/local/new"]
    );
}

#[test]
fn one_that_a_document_pins_is_lost_never_new() {
    let world = World::shop().repository_absent("local").with(|w| {
        w.desired.repositories.get_mut(&name("local")).unwrap().id = Some(repository_id("local"));
    });
    assert_snapshot!(world.text(), @r"
    conditions
      shop/files Unreachable: it is there, but nothing can be compared with it: repository local: a repository was known here and is gone: no config file

    not planned
      backup/shop/files/local RepositoryLost: a repository was known here and is gone: no config file
      init/local RepositoryLost: a repository was known here and is gone: no config file; it is not made anew

    not observed
      repository local: a repository was known here and is gone: no config file
      resource shop/files: it is there, but nothing can be compared with it: repository local: a repository was known here and is gone: no config file

    not everything could be observed: no steps; 1 resource is not well
    ");
}

#[test]
fn one_that_our_state_knows_is_lost_never_new() {
    let world = World::shop().repository_absent("local").with(|w| {
        w.observed.memory.repositories.insert(name("local"), repository_id("local"));
    });
    assert_eq!(world.steps(), [""; 0]);
    assert_eq!(
        world.deferred(),
        ["backup/shop/files/local RepositoryLost", "init/local RepositoryLost"]
    );
}

#[test]
fn one_with_another_id_is_left_alone() {
    let world = World::protected().with(|w| {
        w.desired.repositories.get_mut(&name("local")).unwrap().id = Some(repository_id("other"));
    });
    assert_eq!(world.steps(), [""; 0]);
    assert_eq!(world.deferred(), ["backup/shop/files/local RepositoryReplaced"]);
}

#[test]
fn git_goes_before_our_state_about_an_id() {
    let world = World::shop().with(|w| {
        w.desired.repositories.get_mut(&name("local")).unwrap().id = Some(repository_id("local"));
        w.observed.memory.repositories.insert(name("local"), repository_id("old"));
    });
    assert_eq!(world.steps(), ["backup/shop/files/local", "verify/shop/files/local/new"]);
}

#[test]
fn an_unknown_one_defers_only_its_own_work() {
    let world = World::shop().repository("offsite").repository_unknown("offsite").backup(
        "shop",
        &["shop/files"],
        &["local", "offsite"],
    );
    assert_snapshot!(world.text(), @r"
    steps
      + backup shop/files to local (slot 2026-11-20T12:00:00Z)  [backup/shop/files/local]
          slot 2026-11-20T12:00:00Z of backup shop is due, the first one in local
          about 4.0 KiB
      ? verify shop/files, the new point, in local  [verify/shop/files/local/new]
          backup shop proves each point after it is written
          about 4.0 KiB

    not planned
      backup/shop/files/offsite RepositoryUnknown: the repository could not be read: Timeout: no answer

    not observed
      repository offsite: the repository could not be read: Timeout: no answer

    not everything could be observed: 1 backup, 1 verify
    ");
}

#[test]
fn while_our_state_is_lost_none_is_made() {
    let world = World::protected()
        .repository("offsite")
        .repository_absent("offsite")
        .backup("shop", &["shop/files"], &["local", "offsite"])
        .with(|w| w.observed.memory.known = false);
    let steps = world.steps();
    assert_eq!(steps[0], "init/offsite waits alarm:memory");
}

#[test]
fn prune_returns_while_waste_waits() {
    let waste = |days: i64, bytes| {
        World::protected().with(|w| {
            w.observed.memory.reclaimed.insert(name("local"), ago(days * 24));
            if let Some(RepositoryObservation::Known { waste_bytes, .. }) =
                w.observed.repositories.get_mut(&name("local"))
            {
                *waste_bytes = Some(bytes);
            }
        })
    };
    assert_eq!(waste(8, 100).steps(), ["reclaim/local"]);
    assert_eq!(waste(6, 100).steps(), [""; 0]);
    assert_eq!(waste(8, 0).steps(), [""; 0]);
    let forgotten = waste(8, 0).with(|w| {
        w.observed.memory.deeds.insert(Deed::Expired, vec![ago(24)]);
    });
    assert_eq!(forgotten.steps(), ["reclaim/local"]);
    let append_only = waste(8, 100).with(|w| {
        w.desired.repositories.get_mut(&name("local")).unwrap().append_only = true;
    });
    assert_eq!(append_only.steps(), [""; 0]);
}

#[test]
fn work_waits_for_what_it_needs() {
    let needs = |world: World, id: &str| {
        let plan = world.plan();
        let step = plan.steps.iter().find(|s| s.id.as_str() == id).unwrap();
        step.needs.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let new = World::shop().repository_absent("local");
    assert_eq!(needs(new, "backup/shop/files/local"), ["init/local"]);
    let old = World::protected()
        .keep("shop", keep_last(1))
        .point("local", "a0", "shop/files", ago(9), |_| {})
        .proven("a0");
    assert_eq!(needs(old, "reclaim/local"), ["expire/shop/files/local"]);
}
