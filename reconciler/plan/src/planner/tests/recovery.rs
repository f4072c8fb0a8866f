//! What is brought back.

use insta::assert_snapshot;
use jiff::{SignedDuration, Timestamp};
use model::desired::{Budget, CommitThen, ConditionKind, Point, Repeat, Response};
use model::observed::{Backoff, RecoveryPhase};
use model::plan::{Action, Class, Over, Plan};
use model::receipt::{ControlBody, Marker};

use crate::testing::*;

const RESTORE_ALL: [(ConditionKind, Response); 4] = [
    (ConditionKind::Lost, Response::Restore),
    (ConditionKind::RolledBack, Response::Restore),
    (ConditionKind::Replaced, Response::Restore),
    (ConditionKind::Damaged, Response::Restore),
];

/// A counted resource at 140 with points at 100 and 140, both proven.
fn counted() -> World {
    World::shop()
        .point("local", "a1", "shop/files", ago(3), |r| {
            r.slot = Some(ago(3));
            r.marker = position(100);
        })
        .point("local", "a2", "shop/files", ago(1), |r| {
            r.slot = Some(now());
            r.marker = position(140);
        })
        .proven("a1")
        .proven("a2")
        .found("shop/files", position(140))
}

fn answered() -> World {
    counted().policy(&["shop/files"], &RESTORE_ALL)
}

#[test]
fn what_is_lost_comes_back_where_nothing_is() {
    assert_snapshot!(answered().absent("shop/files").text(), @r"
    conditions
      shop/files Lost: no such directory

    steps
      ~ restore shop/files from a2000000 in local, where nothing is  [restore/shop/files]
          the resource is Lost: no such directory
          policy back answers with a restore
          the newest proven point that fits is a2000000 of 2026-11-20T11:00:00Z
          loses everything after 2026-11-20T11:00:00Z (1 h)
          about 1000 B

    changes to apply: 1 restore; 1 resource is not well
    ");
}

#[test]
fn what_went_back_needs_a_yes_because_live_data_is_replaced() {
    let world = answered().found("shop/files", position(110));
    assert_snapshot!(world.text(), @r"
    conditions
      shop/files RolledBack from 2026-11-20T11:00:00Z to 2026-11-20T09:00:00Z: counter lsn 140 → 110

    steps
      ! restore shop/files from a2000000 in local, over live data  [restore/shop/files]
          the resource is RolledBack from 2026-11-20T11:00:00Z to 2026-11-20T09:00:00Z: counter lsn 140 → 110
          policy back answers with a restore
          the newest proven point that fits is a2000000 of 2026-11-20T11:00:00Z
          loses everything after 2026-11-20T11:00:00Z (1 h)
          about 1000 B
          waits for approval: mainstay approve 4d0a28b188d5

    destructive steps wait for approval: 1 restore; 1 resource is not well
    ");
    let digest = world.plan().destructive.unwrap();
    let approved = world.with(|w| {
        w.observed.memory.approvals.insert(digest);
    });
    assert_eq!(approved.steps(), ["restore/shop/files"]);
}

#[test]
fn what_went_back_never_goes_further_back() {
    let unproven = answered().found("shop/files", position(110)).with(|w| {
        w.observed.memory.evidence.remove(&snapshot("a2"));
    });
    let plan = unproven.plan();
    let restore = plan.steps.iter().find(|s| s.id.as_str() == "restore/shop/files").unwrap();
    let Action::Restore { snapshot: point, .. } = &restore.action else { panic!() };
    assert_eq!(*point, snapshot("a2"), "a1 is proven, and behind what is there");
    assert_eq!(restore.needs[0].as_str(), "verify/shop/files/local/a20000000000");
}

#[test]
fn the_digest_to_approve_does_not_depend_on_the_instant() {
    let world = answered().found("shop/files", position(110));
    let first = world.plan();
    let later = world.clone().with(|w| w.now = at("2026-11-20T12:20:00Z")).plan();
    assert_ne!(first.id, later.id);
    assert_eq!(first.destructive, later.destructive);
    let moved = world.found("shop/files", position(111)).plan();
    assert_ne!(first.destructive, moved.destructive, "it is another state that would be replaced");
}

#[test]
fn what_is_in_the_place_decides_the_class() {
    let place = |world: World| {
        let plan = world.plan();
        let Action::Restore { over, .. } = plan.steps[0].action else { panic!() };
        (over, plan.steps[0].class)
    };
    let emptied = answered().found_with("shop/files", position(140), Some(0), None);
    assert_eq!(place(answered().absent("shop/files")), (Over::Nothing, Class::Mutating));
    assert_eq!(place(emptied), (Over::Remains, Class::Mutating));
    let damaged = answered().found_with("shop/files", position(140), Some(9), Some("bad page"));
    assert_eq!(place(damaged), (Over::Remains, Class::Destructive));
    let other = Marker { identity: Some("two".into()), ..position(900) };
    assert_eq!(place(answered().found("shop/files", other)), (Over::Live, Class::Destructive));
}

#[test]
fn without_a_policy_it_is_said_and_a_person_decides() {
    assert_snapshot!(counted().absent("shop/files").text(), @r"
    conditions
      shop/files Lost: no such directory

    not planned
      restore/shop/files HeldByPolicy: it is Lost, and no recovery policy answers; a Recovery document can bring back a2000000 of 2026-11-20T11:00:00Z

    nothing is planned: no steps; 1 resource is not well
    ");
}

#[test]
fn a_restore_that_would_lose_too_much_is_held() {
    let world = answered().absent("shop/files").with(|w| {
        w.desired.recovery_policies.get_mut(&name("back")).unwrap().loss_s_max = Some(3599);
    });
    assert_eq!(world.steps(), [""; 0]);
    assert_eq!(world.deferred()[0], "restore/shop/files LossTooLarge");
    assert_eq!(world.plan().report.responses[&address("shop/files")], Response::Hold);
}

#[test]
fn adopt_takes_the_state_that_is_there() {
    let adopting = |kind| counted().policy(&["shop/files"], &[(kind, Response::Adopt)]);
    let world = adopting(ConditionKind::RolledBack).found("shop/files", position(110));
    assert_eq!(world.steps(), ["adopt/shop/files"]);
    let gone = adopting(ConditionKind::Lost).absent("shop/files");
    assert_eq!(gone.deferred(), ["adopt/shop/files NothingToAdopt"]);
}

#[test]
fn an_unproven_point_is_verified_before_it_is_brought_back() {
    let world = answered().absent("shop/files").with(|w| w.observed.memory.evidence.clear());
    let steps = world.steps();
    assert_eq!(
        steps,
        [
            "verify/shop/files/local/a10000000000",
            "verify/shop/files/local/a20000000000",
            "restore/shop/files",
        ]
    );
    let chosen = |failed: &[(&str, Timestamp)]| {
        let world = world.clone().with(|w| {
            for (digits, until) in failed {
                let id = format!("verify/shop/files/local/{digits}0000000000");
                let error = "bad blob".to_owned();
                let backoff = Backoff { failures: 1, since: ago(2), until: *until, error };
                w.observed.memory.backoff.insert(id, backoff);
            }
        });
        let plan = world.plan();
        let restore = plan.steps.iter().find(|s| s.id.as_str() == "restore/shop/files").unwrap();
        let Action::Restore { snapshot: point, .. } = &restore.action else { panic!() };
        point.clone()
    };
    let later = now().checked_add(SignedDuration::from_hours(1)).unwrap();
    // A point that failed its verification steps back.
    assert_eq!(chosen(&[("a2", ago(1))]), snapshot("a1"));
    // Where all failed, that which may be tried again goes first, and the newest of those.
    assert_eq!(chosen(&[("a2", later), ("a1", ago(1))]), snapshot("a1"));
    assert_eq!(chosen(&[("a2", ago(1)), ("a1", ago(1))]), snapshot("a2"));
    assert_eq!(chosen(&[("a2", later), ("a1", later)]), snapshot("a2"));
}

#[test]
fn suspicious_incomplete_and_future_points_are_not_brought_back_by_themselves() {
    let world = answered()
        .point("local", "a3", "shop/files", ago(0), |r| r.suspicious = Some("shrank".into()))
        .point("local", "a4", "shop/files", ago(0), |r| r.complete = false)
        .point("local", "a5", "shop/files", at("2031-01-01T00:00:00Z"), |_| {})
        .proven("a3")
        .proven("a4")
        .proven("a5")
        .absent("shop/files");
    let plan = world.plan();
    let Action::Restore { snapshot: point, .. } = &plan.steps[0].action else { panic!() };
    assert_eq!(*point, snapshot("a2"));
}

#[test]
fn a_point_stamped_in_the_future_is_better_than_none_where_nothing_is() {
    let tomorrow = at("2026-11-21T12:00:00Z");
    let astray = World::shop()
        .point("local", "a5", "shop/files", tomorrow, |r| r.marker = position(140))
        .point("local", "a6", "shop/files", at("2026-11-21T13:00:00Z"), |r| {
            r.suspicious = Some("shrank".into());
        })
        .proven("a5")
        .proven("a6")
        .policy(&["shop/files"], &RESTORE_ALL);
    let lost = astray.clone().absent("shop/files").plan();
    let Action::Restore { snapshot: point, over, .. } = &lost.steps[0].action else { panic!() };
    assert_eq!((point, *over), (&snapshot("a5"), Over::Nothing));
    assert!(lost.steps[0].reasons.iter().any(|r| r.contains("stamped in the future")));
    // It is also better than one in time whose proof failed.
    let (id, hour_ago) = ("verify/shop/files/local/a40000000000", ago(1));
    let (since, until, error) = (ago(2), hour_ago, "bad blob".to_owned());
    let backoff = Backoff { failures: 1, since, until, error };
    let rotten = astray
        .clone()
        .absent("shop/files")
        .point("local", "a4", "shop/files", ago(3), |r| r.marker = position(120))
        .with(|w| drop(w.observed.memory.backoff.insert(id.to_owned(), backoff)))
        .plan();
    let Action::Restore { snapshot: point, .. } = &rotten.steps[0].action else { panic!() };
    assert_eq!(point, &snapshot("a5"));
    let there = astray.clone().found("shop/files", position(150));
    assert!(!there.steps().iter().any(|step| step.starts_with("restore")));
    let emptied = astray.found_with("shop/files", Marker::default(), Some(0), None);
    assert_eq!(emptied.steps(), ["restore/shop/files"], "what is empty was full before now");
    let plan = emptied.plan();
    let Action::Restore { snapshot: point, over, .. } = &plan.steps[0].action else { panic!() };
    assert_eq!((point, *over), (&snapshot("a5"), Over::Remains));
    assert!(crate::check(&emptied.desired, &emptied.observed, &plan).is_empty());
}

#[test]
fn the_newest_proven_point_of_any_repository_wins_then_the_order_of_the_document() {
    let chosen = |offsite_hours| {
        let world = answered()
            .repository("offsite")
            .backup("shop", &["shop/files"], &["local", "offsite"])
            .point("offsite", "c1", "shop/files", ago(offsite_hours), |r| {
                r.slot = Some(now());
                r.marker = position(140);
            })
            .proven("c1")
            .absent("shop/files");
        let plan = world.plan();
        let Action::Restore { repository, .. } = &plan.steps[0].action else { panic!() };
        repository.to_string()
    };
    assert_eq!(chosen(0), "offsite");
    assert_eq!(chosen(1), "local");
}

#[test]
fn dependencies_come_back_first() {
    let world = answered()
        .resource("shop/between")
        .resource("shop/api")
        .needs("shop/api", "shop/between")
        .needs("shop/between", "shop/files")
        .backup("shop", &["shop/files", "shop/api"], &["local"])
        .point("local", "b1", "shop/api", ago(1), |r| r.slot = Some(now()))
        .proven("b1")
        .policy(&["shop/files", "shop/api"], &RESTORE_ALL)
        .absent("shop/files")
        .absent("shop/api");
    assert_eq!(world.steps(), ["restore/shop/files", "restore/shop/api"]);
    assert_eq!(world.plan().steps[1].needs[0].as_str(), "restore/shop/files");
    let blocked = world.unknown("shop/files");
    assert_eq!(blocked.steps(), [""; 0]);
    assert!(blocked.deferred().contains(&"restore/shop/api DependencyNotHealthy".to_owned()));
}

#[test]
fn a_served_token_is_not_served_again() {
    let world = answered().absent("shop/files");
    let plan = world.plan();
    let Action::Restore { token, snapshot: point, .. } = plan.steps[0].action.clone() else {
        panic!()
    };
    let served = ControlBody::RecoveryServed {
        address: address("shop/files"),
        token,
        snapshot: point,
        attempt: 0,
    };
    let again = world.control("local", ago(0), served);
    assert_eq!(again.steps(), [""; 0]);
    assert!(again.deferred().contains(&"restore/shop/files TokenServed".to_owned()));
}

/// Its repository went back with the measure that the recovery left, so what is lost again looks as
/// it did before.
#[test]
fn what_a_committed_recovery_brought_back_comes_back_again() {
    let token = |world: &World| match world.plan().steps[0].action.clone() {
        Action::Restore { token, .. } => token,
        other => panic!("{other:?}"),
    };
    let lost = answered().absent("shop/files");
    let first = token(&lost);
    let ended =
        |phase| answered().absent("shop/files").record("shop/files", &first, "a2", phase, None);
    let again = ended(RecoveryPhase::Committed);
    assert_ne!(token(&again), first);
    assert_eq!(token(&again), token(&ended(RecoveryPhase::Committed)));
    // What was rolled back is not asked for again.
    assert_eq!(ended(RecoveryPhase::RolledBack).steps(), [""; 0]);
    // Nor does anything go over what is there.
    let there = answered().found("shop/files", position(110));
    let first = token(&there);
    let there = there.record("shop/files", &first, "a2", RecoveryPhase::Committed, None);
    assert_eq!(there.steps(), [""; 0]);
}

#[test]
fn a_token_that_was_taken_back_can_be_served_once_more() {
    let world = answered().absent("shop/files");
    let plan = world.plan();
    let Action::Restore { token, snapshot: point, .. } = plan.steps[0].action.clone() else {
        panic!()
    };
    let served = |attempt| ControlBody::RecoveryServed {
        address: address("shop/files"),
        token: token.clone(),
        snapshot: point.clone(),
        attempt,
    };
    let taken_back = ControlBody::RecoveryTakenBack {
        address: address("shop/files"),
        token: token.clone(),
        attempt: 0,
    };
    let free = world
        .control("local", ago(3), served(0))
        .control("local", ago(2), taken_back.clone())
        .control("local", ago(2), taken_back);
    assert_eq!(free.steps(), ["restore/shop/files"]);
    assert_eq!(free.control("local", ago(1), served(1)).steps(), [""; 0]);
}

#[test]
fn a_swap_that_was_taken_back_asks_again() {
    let world = answered().found("shop/files", position(50)).record(
        "shop/files",
        "policy-x",
        "a1",
        RecoveryPhase::Restoring,
        None,
    );
    let of = || ("policy-x".to_owned(), address("shop/files"));
    let ((token, address), (again, same)) = (of(), of());
    let served =
        ControlBody::RecoveryServed { address, token, snapshot: snapshot("a1"), attempt: 0 };
    let taken_back = ControlBody::RecoveryTakenBack { address: same, token: again, attempt: 0 };
    let world = world.control("local", ago(2), served).control("local", ago(1), taken_back);
    assert_eq!(world.steps(), ["restore/shop/files waits approval"]);
}

#[test]
fn a_recovery_that_was_cut_short_goes_on_with_its_token_and_point() {
    for phase in [RecoveryPhase::Restoring, RecoveryPhase::Verifying, RecoveryPhase::Swapping] {
        let world =
            answered().absent("shop/files").record("shop/files", "policy-x", "a1", phase, None);
        let plan = world.plan();
        let Action::Restore { token, snapshot: point, .. } = &plan.steps[0].action else {
            panic!()
        };
        assert_eq!((token.as_str(), point), ("policy-x", &snapshot("a1")), "{phase:?}");
    }
}

#[test]
fn a_swap_that_was_cut_short_is_finished_without_asking_again() {
    let world = answered()
        .found("shop/files", position(110))
        .record("shop/files", "policy-x", "a1", RecoveryPhase::Swapping, None)
        .with(|w| w.desired.holds.clear());
    let served = ControlBody::RecoveryServed {
        address: address("shop/files"),
        token: "policy-x".to_owned(),
        snapshot: snapshot("a1"),
        attempt: 0,
    };
    let world = world.control("local", ago(2), served);
    assert_eq!(world.steps(), ["restore/shop/files"]);
}

#[test]
fn a_recovery_that_was_only_begun_does_not_go_on_under_a_token_that_was_served() {
    let begun = answered().recovery("back", "shop/files", |_| {}).record(
        "shop/files",
        "t1",
        "a2",
        RecoveryPhase::Restoring,
        Some("back"),
    );
    assert_eq!(begun.steps(), ["restore/shop/files/back"]);
    let served = ControlBody::RecoveryServed {
        address: address("shop/files"),
        token: "t1".to_owned(),
        snapshot: snapshot("a2"),
        attempt: 0,
    };
    let world = begun.control("local", ago(1), served);
    let plan = world.plan();
    assert_eq!(world.steps(), [""; 0]);
    assert!(plan.report.notes.iter().any(|n| n.contains("noted as served beside the data")));
    assert!(crate::check(&world.desired, &world.observed, &plan).is_empty());
}

#[test]
fn a_recovery_that_touched_nothing_is_given_up_when_the_resource_is_well() {
    let world = answered().record("shop/files", "policy-x", "a1", RecoveryPhase::Restoring, None);
    assert_eq!(world.steps(), [""; 0]);
    assert!(world.plan().report.notes[0].contains("is given up: the resource is Healthy"));
}

#[test]
fn a_recovery_whose_point_is_gone_is_given_up_and_answered_anew() {
    for phase in [RecoveryPhase::Restoring, RecoveryPhase::Verifying] {
        let world = answered().absent("shop/files").record("shop/files", "p-x", "ee", phase, None);
        let plan = world.plan();
        let Action::Restore { token, snapshot: point, .. } = &plan.steps[0].action else {
            panic!()
        };
        assert_eq!(*point, snapshot("a2"), "{phase:?}");
        assert_ne!(token, "p-x");
        assert!(plan.report.notes[0].contains("p-x of shop/files is given up: its point ee"));
        let asked = world.clone().recovery("back", "shop/files", |_| {});
        assert_eq!(asked.steps(), ["restore/shop/files/back"], "{phase:?}");
        let unread = counted()
            .repository("offsite")
            .backup("shop", &["shop/files"], &["local", "offsite"])
            .point("offsite", "c1", "shop/files", ago(1), |r| r.marker = position(140))
            .record("shop/files", "t1", "ee", phase, Some("back"))
            .recovery("back", "shop/files", |_| {})
            .repository_unknown("local");
        let deferred = unread.deferred();
        let waits = "restore/shop/files/back RepositoryUnknown".to_owned();
        assert!(deferred.contains(&waits), "it may still be there: {deferred:?}");
    }
    let swapping = RecoveryPhase::Swapping;
    let world = answered().absent("shop/files").record("shop/files", "p-x", "ee", swapping, None);
    assert_eq!(world.deferred(), ["restore/shop/files NoPoint"]);
}

#[test]
fn a_recovery_that_is_given_up_does_not_hide_one_that_was_half_put_in_place() {
    let world = answered()
        .absent("shop/files")
        .record("shop/files", "p-1", "ee", RecoveryPhase::Restoring, None)
        .record("shop/files", "p-2", "a1", RecoveryPhase::Swapping, None);
    let plan = world.plan();
    let Action::Restore { token, .. } = &plan.steps[0].action else { panic!() };
    assert_eq!(token, "p-2");
}

#[test]
fn a_recovery_that_was_cut_short_waits_while_nothing_can_be_seen() {
    let phase = RecoveryPhase::Restoring;
    let world = counted().unknown("shop/files").recovery("back", "shop/files", |_| {}).record(
        "shop/files",
        "t1",
        "a2",
        phase,
        Some("back"),
    );
    assert_eq!(world.steps(), [""; 0]);
    assert!(world.deferred().contains(&"restore/shop/files/back ResourceUnknown".to_owned()));
}

#[test]
fn backups_and_expiry_pause_until_a_recovery_is_committed() {
    let world = counted()
        .keep("shop", keep_last(1))
        .record("shop/files", "t1", "a2", RecoveryPhase::AwaitingCommit, None)
        .with(|w| w.now = at("2026-11-20T13:30:00Z"));
    assert_snapshot!(world.text(), @r"
    conditions
      shop/files AwaitingCommit: recovery t1 was put in place at 2026-11-20T10:00:00Z

    not planned
      backup/shop/files/local RecoveryUnderWay: recovery t1 waits for commit or rollback
      expire/shop/files/local RecoveryUnderWay: 1 point could go, but recovery t1 waits for commit or rollback

    nothing is planned: no steps; 1 resource is not well
    ");
}

#[test]
fn what_nobody_decided_in_time_ends_as_the_policy_says() {
    let ending = |then, after| {
        answered().record("shop/files", "policy-x", "a2", RecoveryPhase::AwaitingCommit, None).with(
            |w| {
                let policy = w.desired.recovery_policies.get_mut(&name("back")).unwrap();
                policy.then = then;
                policy.commit_after_s = Some(after);
            },
        )
    };
    assert_eq!(ending(CommitThen::Commit, 7200).steps(), ["commit/shop/files"]);
    assert_eq!(ending(CommitThen::Rollback, 7200).steps(), ["rollback/shop/files"]);
    assert_eq!(ending(CommitThen::Wait, 7200).steps(), [""; 0]);
    assert_eq!(
        ending(CommitThen::Commit, 7201).deferred(),
        ["commit/shop/files CommitTimeNotReached"]
    );
    let gone = ending(CommitThen::Commit, 7200).absent("shop/files");
    assert_eq!(gone.deferred(), ["commit/shop/files ConditionNotHealthy"]);
}

#[test]
fn what_is_halfway_over_one_that_waits_is_finished() {
    let (wait, half) = (RecoveryPhase::AwaitingCommit, RecoveryPhase::Swapping);
    let world = answered()
        .record("shop/files", "a-early", "a2", wait, None)
        .record("shop/files", "b-late", "a2", half, None)
        .with(|w| {
            w.observed.memory.recoveries.get_mut("a-early").unwrap().since = ago(5);
        });
    let plan = world.plan();
    let [step] = &plan.steps[..] else { panic!("{:?}", plan.steps) };
    assert!(matches!(&step.action, Action::Restore { token, .. } if token == "b-late"), "{step:?}");
    assert!(crate::check(&world.desired, &world.observed, &plan).is_empty());
    let stops = |plan: &Plan, world: &World| {
        let rules = plan.steps[0].preconditions.iter();
        rules.filter_map(|rule| crate::precondition(rule, &world.observed).err()).count()
    };
    assert_eq!(stops(&plan, &world), 0);
    // One that was half put in place before does not go over what was put in place since.
    let before = world.with(|w| {
        w.observed.memory.recoveries.get_mut("a-early").unwrap().since = ago(1);
    });
    assert_eq!(before.steps(), [""; 0]);
    assert_eq!(stops(&plan, &before), 1);
}

#[test]
fn of_two_that_are_in_place_the_last_ends_first() {
    let wait = RecoveryPhase::AwaitingCommit;
    let world = answered()
        .record("shop/files", "a-late", "a2", wait, None)
        .record("shop/files", "b-early", "a2", wait, None)
        .with(|w| {
            w.observed.memory.recoveries.get_mut("b-early").unwrap().since = ago(5);
            let policy = w.desired.recovery_policies.get_mut(&name("back")).unwrap();
            policy.then = CommitThen::Commit;
            policy.commit_after_s = Some(3600);
        });
    let plan = world.plan();
    let [step] = &plan.steps[..] else { panic!("{:?}", plan.steps) };
    assert!(matches!(&step.action, Action::Commit { token, .. } if token == "a-late"), "{step:?}");
}

#[test]
fn a_document_is_its_own_approval_and_goes_before_the_policy() {
    let world = answered().found("shop/files", position(110)).recovery("back", "shop/files", |r| {
        r.point = Point::AtOrBefore(ago(2));
    });
    assert_snapshot!(world.text(), @r"
    conditions
      shop/files RolledBack from 2026-11-20T11:00:00Z to 2026-11-20T09:00:00Z: counter lsn 140 → 110

    steps
      ! restore shop/files from a1000000 in local, over live data  [restore/shop/files/back]
          recovery back asks for it under token t1
          the newest proven point that fits is a1000000 of 2026-11-20T09:00:00Z
          merged in git, the document is its own approval
          loses everything after 2026-11-20T09:00:00Z (3 h)
            counter lsn 110 → 100
          about 1000 B

    changes to apply: 1 restore; 1 resource is not well
    ");
}

#[test]
fn a_documents_token_is_served_once() {
    let asked = || counted().recovery("back", "shop/files", |_| {});
    assert_eq!(asked().steps(), ["restore/shop/files/back"]);
    let done = asked().record("shop/files", "t1", "a2", RecoveryPhase::Committed, Some("back"));
    assert_eq!(done.steps(), [""; 0]);
    assert_eq!(done.plan().report.notes, ["recovery back: token t1 was served"]);
    let failed = asked().record("shop/files", "t1", "a2", RecoveryPhase::Failed, Some("back"));
    assert_eq!(failed.steps(), ["restore/shop/files/back"], "a failure touched nothing");
    let anew = done.recovery("back", "shop/files", |r| r.token = "t2".to_owned());
    assert_eq!(anew.steps(), ["restore/shop/files/back"]);
}

#[test]
fn a_document_can_name_any_point() {
    let named = |digits: &str| {
        let point = Point::Snapshot(digits.into());
        counted().point("local", "f1", "shop/files", ago(9), |r| r.complete = false).recovery(
            "back",
            "shop/files",
            |r| r.point = point,
        )
    };
    assert_eq!(
        named("f1").steps(),
        ["verify/shop/files/local/f10000000000", "restore/shop/files/back"]
    );
    assert_eq!(named("ee").deferred(), ["restore/shop/files/back NoPoint"]);
}

#[test]
fn repeating_needs_the_acknowledgement_and_happens_once_per_state() {
    let always = |acknowledged| {
        counted()
            .found("shop/files", position(150))
            .record("shop/files", "t1", "a2", RecoveryPhase::Committed, Some("back"))
            .recovery("back", "shop/files", |r| {
                r.repeat = Repeat::Always;
                r.acknowledges_newer_data = acknowledged;
            })
    };
    assert_eq!(always(false).deferred(), ["restore/shop/files/back NewerDataNotAcknowledged"]);
    assert_eq!(always(true).steps(), ["restore/shop/files/back"]);
    let plan = always(true).plan();
    let Action::Restore { token, .. } = &plan.steps[0].action else { panic!() };
    assert!(token.starts_with("t1+"));
    let again =
        always(true).record("shop/files", token, "a2", RecoveryPhase::Committed, Some("back"));
    assert_eq!(again.steps(), [""; 0]);
    let there = always(true).found("shop/files", position(140));
    assert_eq!(there.steps(), [""; 0]);
}

#[test]
fn another_place_leaves_the_resource_alone() {
    let world = World::protected().recovery("look", "shop/files", |r| r.into = Some(agent(true)));
    assert_eq!(world.steps(), ["restore/shop/files/look"]);
    let later = world.with(|w| w.now = at("2026-11-20T13:00:00Z"));
    assert_eq!(
        later.steps(),
        ["restore/shop/files/look", "backup/shop/files/local", "verify/shop/files/local/new"]
    );
}

#[test]
fn what_cannot_be_seen_is_not_restored_over() {
    let world = counted().unknown("shop/files").recovery("back", "shop/files", |_| {});
    assert!(world.deferred().contains(&"restore/shop/files/back ResourceUnknown".to_owned()));
}

#[test]
fn restores_have_budgets_of_their_own() {
    let world = answered()
        .resource("shop/db")
        .backup("shop", &["shop/files", "shop/db"], &["local"])
        .point("local", "b1", "shop/db", ago(1), |r| r.slot = Some(now()))
        .proven("b1")
        .policy(&["shop/files", "shop/db"], &RESTORE_ALL)
        .absent("shop/files")
        .absent("shop/db")
        .with(|w| {
            let mut rail = guardrail(&["shop/files", "shop/db"]);
            rail.recreate = Budget { per_run: Some(1), ..Budget::default() };
            w.desired.guardrails.insert(name("rail"), rail);
        });
    assert_eq!(world.steps(), ["restore/shop/db", "restore/shop/files waits budget"]);
}

#[test]
fn a_recovery_that_put_nothing_aside_ends_by_itself() {
    let world = counted()
        .record("shop/files", "t1", "a2", RecoveryPhase::AwaitingCommit, None)
        .with(|w| w.observed.memory.recoveries.values_mut().for_each(|r| r.kept = None));
    assert_eq!(world.steps(), ["commit/shop/files"]);
}

#[test]
fn a_repeating_recovery_leaves_alone_what_is_at_its_point() {
    let always = |world: World| {
        world.recovery("back", "shop/files", |r| {
            r.repeat = Repeat::Always;
            r.acknowledges_newer_data = true;
        })
    };
    let there = always(counted());
    assert_eq!(there.steps(), [""; 0]);
    let note = "recovery back: shop/files is at the wanted point";
    assert_eq!(there.plan().report.notes, [note]);
    let moved = there.clone().found("shop/files", position(141));
    assert_eq!(moved.steps(), ["restore/shop/files/back"]);
    let other = Marker { identity: Some("two".into()), ..position(140) };
    assert_eq!(there.clone().found("shop/files", other).steps(), ["restore/shop/files/back"]);
    let emptied = there.found_with("shop/files", position(140), Some(0), None);
    assert_eq!(emptied.steps(), ["restore/shop/files/back"]);
    let silent = always(World::protected());
    assert_eq!(silent.steps(), ["restore/shop/files/back"], "a marker that says nothing");
}

#[test]
fn a_repeating_recovery_knows_where_it_left_the_resource() {
    // A database's counter goes on while it is brought back.
    let served = |point: &str| ControlBody::RecoveryServed {
        address: address("shop/files"),
        token: "t1".to_owned(),
        snapshot: snapshot(point),
        attempt: 0,
    };
    let left = ControlBody::Baseline {
        address: address("shop/files"),
        marker: position(500),
        reason: "a recovery".to_owned(),
    };
    let world = |point: &str, n: u64| {
        counted()
            .found("shop/files", position(n))
            .record("shop/files", "t1", "a2", RecoveryPhase::Committed, Some("back"))
            .control("local", ago(0), served(point))
            .control("local", ago(0), left.clone())
            .recovery("back", "shop/files", |r| {
                r.repeat = Repeat::Always;
                r.acknowledges_newer_data = true;
            })
    };
    assert_eq!(world("a2", 500).steps(), [""; 0]);
    assert_eq!(world("a2", 501).steps(), ["restore/shop/files/back"]);
    assert_eq!(world("a1", 500).steps(), ["restore/shop/files/back"], "another point was brought");
}

#[test]
fn a_token_is_not_served_while_nobody_can_tell_whether_it_was() {
    let lost = |world: World| world.with(|w| w.observed.memory.known = false);
    let asked = || {
        counted()
            .repository("offsite")
            .backup("shop", &["shop/files"], &["local", "offsite"])
            .point("offsite", "c1", "shop/files", ago(2), |_| {})
            .recovery("back", "shop/files", |_| {})
    };
    let restores = |world: &World| {
        world.steps().iter().any(|step| step.starts_with("restore/shop/files/back"))
    };
    assert!(restores(&lost(asked())), "every repository can be asked");
    assert!(restores(&asked().repository_unknown("offsite")), "our memory knows");
    let blind = lost(asked().repository_unknown("offsite"));
    assert!(!restores(&blind));
    let why = "restore/shop/files/back TokenUnknown".to_owned();
    assert!(blind.deferred().contains(&why), "{:?}", blind.deferred());
    let gone = lost(asked().repository_absent("offsite"));
    assert!(gone.deferred().contains(&why), "a repository may have been there and is forgotten");
    let accepted = blind.clone().with(|w| {
        w.observed.memory.accepted_alarms.insert("token:t1".to_owned());
    });
    assert!(restores(&accepted));
    let begun = blind.record("shop/files", "t1", "a2", RecoveryPhase::Restoring, Some("back"));
    assert!(restores(&begun), "what this state began goes on");
}

#[test]
fn one_destructive_step_can_be_approved_alone() {
    let world = World::shop()
        .resource("shop/db")
        .backup("shop", &["shop/files", "shop/db"], &["local"])
        .point("local", "a1", "shop/files", ago(1), |r| {
            r.slot = Some(now());
            r.marker = position(9);
        })
        .point("local", "b1", "shop/db", ago(1), |r| {
            r.slot = Some(now());
            r.marker = position(9);
        })
        .proven("a1")
        .proven("b1")
        .found("shop/files", position(5))
        .found("shop/db", position(5))
        .policy(&["shop/files", "shop/db"], &RESTORE_ALL);
    let waiting = ["restore/shop/db waits approval", "restore/shop/files waits approval"];
    assert_eq!(world.steps(), waiting);
    let plan = world.plan();
    let one = crate::step_digest(&world.desired, &plan.steps[0]).unwrap();
    assert_ne!(Some(&one), plan.destructive.as_ref());
    let approved = world.with(|w| {
        w.observed.memory.approvals.insert(one);
    });
    assert_eq!(approved.steps(), ["restore/shop/db", "restore/shop/files waits approval"]);
    assert!(crate::check(&approved.desired, &approved.observed, &approved.plan()).is_empty());
    let moved = approved.found("shop/db", position(4));
    assert_eq!(moved.steps(), waiting, "it is another state that would be replaced");
}
