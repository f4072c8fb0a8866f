//! Going back in time, and going blind.

use model::desired::CommitThen;
use model::observed::{Ancestry, RecoveryPhase};
use model::receipt::ControlBody;

use crate::testing::*;

const CALM: [&str; 5] = [
    "restore/shop/db waits approval",
    "backup/shop/files/local",
    "verify/shop/files/local/new",
    "expire/shop/files/local",
    "reclaim/local",
];

fn held(alarm: &str, restore: bool) -> Vec<String> {
    let restore = if restore {
        format!("restore/shop/db waits approval+alarm:{alarm}")
    } else {
        CALM[0].to_owned()
    };
    vec![
        restore,
        CALM[1].to_owned(),
        CALM[2].to_owned(),
        format!("expire/shop/files/local waits alarm:{alarm}"),
        format!("reclaim/local waits alarm:{alarm}"),
    ]
}

#[test]
fn without_alarm_only_the_destructive_step_waits() {
    assert_eq!(World::busy().steps(), CALM);
}

#[test]
fn a_commit_that_does_not_descend_holds_until_accepted() {
    let world = World::busy().with(|w| w.observed.memory.ancestry = Ancestry::Diverged);
    assert_eq!(world.steps(), held("commit", true));
    let commit = world.desired.commit.clone();
    let by_memory = world.clone().with(|w| {
        w.observed.memory.accepted_alarms.insert(format!("commit:{commit}"));
    });
    assert_eq!(by_memory.steps(), CALM);
    let by_record = world.control("local", ago(1), ControlBody::CommitAccepted { commit });
    assert_eq!(by_record.steps(), CALM);
}

#[test]
fn a_document_recovery_waits_too_when_git_went_back() {
    let world = World::protected()
        .recovery("back", "shop/files", |_| {})
        .with(|w| w.observed.memory.ancestry = Ancestry::Diverged);
    assert_eq!(world.steps(), ["restore/shop/files/back waits alarm:commit"]);
}

#[test]
fn a_tree_that_lost_most_documents_holds() {
    let world = World::busy().with(|w| w.observed.memory.last_documents = Some(11));
    assert_eq!(world.steps(), held("documents", true));
    let half = World::busy().with(|w| w.observed.memory.last_documents = Some(10));
    assert_eq!(half.steps(), CALM);
}

/// Whether it was there before, nobody knows: its note may have gone with a repository.
#[test]
fn another_place_waits_when_our_state_went_back() {
    let world = World::protected()
        .recovery("look", "shop/files", |r| r.into = Some(agent(true)))
        .point("local", "a0", "shop/files", ago(3), |r| r.epoch = 9);
    let waits = "restore/shop/files/look waits alarm:epoch".to_owned();
    assert!(world.steps().contains(&waits), "{:?}", world.steps());
    let accepted = world.with(|w| {
        w.observed.memory.accepted_alarms.insert("epoch:9".to_owned());
    });
    assert!(accepted.steps().contains(&"restore/shop/files/look".to_owned()));
}

#[test]
fn a_state_that_went_back_holds() {
    let world =
        World::busy().point("local", "a0", "shop/files", ago(3), |r| r.epoch = 9).proven("a0");
    assert_eq!(world.steps(), held("epoch", true));
    let accepted = world.with(|w| {
        w.observed.memory.accepted_alarms.insert("epoch:9".to_owned());
    });
    assert_eq!(accepted.steps(), CALM);
    let own =
        World::busy().point("local", "a0", "shop/files", ago(3), |r| r.epoch = 7).proven("a0");
    assert_eq!(own.steps(), CALM, "what this writer wrote itself is no surprise");
}

#[test]
fn a_lost_state_observes_and_backs_up() {
    let world = World::busy().with(|w| {
        w.observed.memory.known = false;
        w.observed.memory.epoch_before = 0;
    });
    assert_eq!(
        world.steps(),
        [
            "restore/shop/db waits approval+alarm:memory",
            "backup/shop/files/local",
            "verify/shop/files/local/new",
        ]
    );
    let document = world.recovery("back", "shop/db", |_| {});
    assert_eq!(
        document.steps()[0],
        "restore/shop/db/back waits alarm:memory",
        "nobody knows whether it was done already"
    );
    let gone = document.absent("shop/db");
    assert_eq!(gone.steps()[0], "restore/shop/db/back", "nothing is lost by it");
}

#[test]
fn a_clock_behind_what_was_seen_holds_expiry() {
    let ahead = |minutes| {
        World::busy().with(|w| {
            let ahead = jiff::SignedDuration::from_mins(minutes);
            w.observed.memory.newest_instant = Some(now() + ahead);
        })
    };
    assert_eq!(ahead(11).steps(), held("clock", false));
    assert_eq!(ahead(10).steps(), CALM);
}

#[test]
fn much_of_the_fleet_gone_at_once_means_that_we_are_blind() {
    let fleet = |gone: usize| {
        let names = ["x/a", "x/b", "x/c", "x/d", "x/e", "x/f"];
        let world = names.into_iter().fold(World::busy(), World::resource);
        names.into_iter().take(gone).fold(world, World::unknown)
    };
    assert_eq!(fleet(4).steps(), held("mass-loss", true));
    assert_eq!(fleet(3).steps(), CALM, "3 of 8 are less than 40 per cent");
    let small = |gone: usize| {
        let names = ["x/a", "x/b", "x/c"];
        let world = names.into_iter().fold(World::busy(), World::resource);
        names.into_iter().take(gone).fold(world, World::unknown)
    };
    assert_eq!(small(3).steps(), held("mass-loss", true), "3 of 5");
    assert_eq!(small(2).steps(), CALM, "two may fail by chance");
    // A recovery that waits for its end does not hide that nothing is there.
    let awaiting =
        |world: World| world.record("x/c", "t", "a1", RecoveryPhase::AwaitingCommit, None).steps();
    assert_eq!(awaiting(small(2).absent("x/c")), held("mass-loss", true));
    assert_eq!(awaiting(small(2)), CALM);
    let accepted = fleet(4);
    let plan = accepted.plan();
    let model::plan::Wait::Alarm { accept, .. } = plan.report.alarms[0].clone() else { panic!() };
    let accepted = accepted.with(|w| {
        w.observed.memory.accepted_alarms.insert(accept);
    });
    assert_eq!(accepted.steps(), CALM);
}

#[test]
fn a_repository_in_anothers_place_tells_of_a_lost_memory() {
    let wait = RecoveryPhase::AwaitingCommit;
    let world = World::protected()
        .record("shop/files", "policy-x", "a1", wait, None)
        .policy(&["shop/files"], &[])
        .with(|w| {
            let policy = w.desired.recovery_policies.get_mut(&name("back")).unwrap();
            (policy.then, policy.commit_after_s) = (CommitThen::Commit, Some(3600));
            w.observed.memory.repositories.insert(name("local"), repository_id("another"));
        });
    assert_eq!(world.steps(), ["commit/shop/files"]);
    let lost = world.with(|w| w.observed.memory.known = false);
    assert_eq!(lost.steps(), ["commit/shop/files waits alarm:memory"]);
}
