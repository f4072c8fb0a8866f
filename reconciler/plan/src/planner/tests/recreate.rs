//! What is made anew instead of brought back.

use insta::assert_snapshot;
use model::agent::{Arg, Command};
use model::desired::{Budget, ConditionKind, Response};
use model::plan::{Action, Class, Over, Precondition, Wait};
use model::receipt::{ControlBody, Marker};

use crate::check::{Promise, check};
use crate::planner::plan_id;
use crate::testing::*;

const ANEW: [(ConditionKind, Response); 4] = [
    (ConditionKind::Lost, Response::Recreate),
    (ConditionKind::RolledBack, Response::Recreate),
    (ConditionKind::Replaced, Response::Recreate),
    (ConditionKind::Damaged, Response::Recreate),
];

/// A resource with a proven point, whose type can be made anew.
fn declared() -> World {
    let world = World::shop()
        .point("local", "a1", "shop/files", ago(1), |r| {
            r.slot = Some(now());
            r.marker = position(140);
        })
        .proven("a1")
        .found("shop/files", position(140));
    can_be_made(world, "shop/files").policy(&["shop/files"], &ANEW)
}

fn can_be_made(world: World, of: &str) -> World {
    world.with(|w| {
        let make = Command { argv: vec![Arg::text("/usr/bin/make")], ..Command::default() };
        w.desired.resources.get_mut(&address(of)).unwrap().agent.recreate = vec![make];
    })
}

#[test]
fn what_is_lost_is_made_anew_without_any_point() {
    assert_snapshot!(declared().absent("shop/files").text(), @r"
    conditions
      shop/files Lost: no such directory

    steps
      ~ recreate shop/files, where nothing is  [recreate/shop/files]
          the resource is Lost: no such directory
          policy back makes it anew
          no point is put in; the newest, a1000000 of 2026-11-20T11:00:00Z, stays

    changes to apply: 1 recreate; 1 resource is not well
    ");
}

#[test]
fn a_type_without_commands_is_named() {
    let world = declared().absent("shop/files").with(|w| {
        w.desired.resources.get_mut(&address("shop/files")).unwrap().agent.recreate.clear();
    });
    assert_eq!(world.steps(), [""; 0]);
    assert_eq!(world.deferred()[0], "recreate/shop/files RecreateUnsupported");
}

#[test]
fn over_live_data_it_needs_a_yes() {
    let plan = declared().found("shop/files", position(90)).plan();
    let step = &plan.steps[0];
    assert!(matches!(step.action, Action::Recreate { over: Over::Live, .. }), "{step:?}");
    assert_eq!(step.class, Class::Destructive);
    assert!(matches!(step.waits[..], [Wait::Approval { .. }]), "{:?}", step.waits);
    let wanted = position(90).counters;
    let looks_again = step.preconditions.iter().any(|p| match p {
        Precondition::ResourceUnmoved { marker: Some(marker), .. } => marker.counters == wanted,
        _ => false,
    });
    assert!(looks_again, "{:?}", step.preconditions);
}

#[test]
fn what_was_begun_and_left_empty_goes_on_without_a_person() {
    let world = declared().found_with("shop/files", position(140), Some(0), None);
    let plan = world.plan();
    assert!(matches!(plan.steps[0].action, Action::Recreate { over: Over::Remains, .. }));
    assert_eq!((plan.steps[0].class, plan.steps[0].waits.len()), (Class::Mutating, 0));
}

#[test]
fn what_depends_on_it_comes_after_it() {
    let world = declared()
        .resource("shop/site")
        .needs("shop/site", "shop/files")
        .backup("site", &["shop/site"], &["local"])
        .point("local", "b1", "shop/site", ago(1), |r| r.slot = Some(now()))
        .proven("b1")
        .policy(&["shop/site"], &[(ConditionKind::Lost, Response::Restore)])
        .with(|w| {
            // Each policy of the builder has the same name.
            let policies = &mut w.desired.recovery_policies;
            let back = policies.remove(&name("back")).unwrap();
            policies.insert(name("site"), back);
        })
        .policy(&["shop/files"], &ANEW)
        .absent("shop/files")
        .absent("shop/site")
        .with(|w| w.desired.guardrails.clear());
    let plan = world.plan();
    let restore = plan.steps.iter().find(|s| s.id.as_str() == "restore/shop/site").unwrap();
    assert_eq!(restore.needs.len(), 1, "{restore:?}");
    assert_eq!(restore.needs[0].as_str(), "recreate/shop/files");
    let blocked = world.unknown("shop/files");
    assert_eq!(blocked.deferred().last().unwrap(), "restore/shop/site DependencyNotHealthy");
}

#[test]
fn budgets_and_doubts_hold_it() {
    let budget = Budget { per_run: Some(0), ..Budget::default() };
    let limited = declared().absent("shop/files").with(|w| {
        let mut limits = guardrail(&["shop/files"]);
        limits.recreate = budget;
        w.desired.guardrails.insert(limits.name.clone(), limits);
    });
    assert!(matches!(limited.plan().steps[0].waits[..], [Wait::Budget { .. }]));
    let forgetful = declared().absent("shop/files").with(|w| w.observed.memory.known = false);
    let step = &forgetful.plan().steps[0];
    assert!(matches!(step.waits[..], [Wait::Alarm { .. }]), "{:?}", step.waits);
}

#[test]
fn once_made_it_is_well() {
    let made = position(0);
    let baseline = ControlBody::Baseline {
        address: address("shop/files"),
        marker: made.clone(),
        reason: "it was made anew".to_owned(),
    };
    let world = declared().control("local", now(), baseline).found("shop/files", made);
    assert_eq!(world.steps(), [""; 0]);
    assert_eq!(world.deferred(), [""; 0]);
}

#[test]
fn full_points_stay_until_an_empty_one_is_called_right() {
    let made = Marker::default();
    let (marker, reason) = (made.clone(), "it was made anew".to_owned());
    let body = ControlBody::Baseline { address: address("shop/files"), marker, reason };
    let world = declared()
        .keep("shop", keep_last(1))
        .point("local", "a0", "shop/files", ago(2), |r| r.marker = position(130))
        .proven("a0")
        .control("local", now(), body);
    let full = world.clone().found("shop/files", made.clone());
    let goes = ["expire/shop/files/local", "reclaim/local"];
    assert_eq!(full.steps(), goes);
    let empty = world.clone().found_with("shop/files", made.clone(), Some(0), None);
    assert_eq!(empty.deferred(), ["expire/shop/files/local ResourceEmpty"]);
    let plan = full.plan();
    let found = check(&empty.desired, &empty.observed, &plan);
    assert!(found.iter().any(|v| v.promise == Promise::P1 && v.detail.contains("it is empty")));
    let seen = empty
        .point("local", "a2", "shop/files", ago(0), |r| {
            (r.slot, r.files) = (Some(now()), 0);
        })
        .proven("a2");
    assert_eq!(seen.steps(), goes);
}

#[test]
fn its_checks_see_what_is_wrong_with_it() {
    let world = declared().absent("shop/files");
    let broken = |change: fn(&mut model::plan::Step)| {
        let mut plan = world.plan();
        change(&mut plan.steps[0]);
        plan.id = plan_id(&plan);
        check(&world.desired, &world.observed, &plan)
    };
    assert_eq!(broken(|_| {}), []);
    let shared = broken(|step| {
        step.preconditions.retain(|p| !matches!(p, Precondition::NoOtherRecovery { .. }));
    });
    assert_eq!(shared[0].promise, Promise::P7, "{shared:?}");
    let live = broken(|step| {
        if let Action::Recreate { over, .. } = &mut step.action {
            *over = Over::Live;
        }
    });
    assert_eq!(live[0].promise, Promise::P7, "{live:?}");
    let unseen = declared().absent("shop/files");
    let plan = unseen.plan();
    let blind = unseen.unknown("shop/files");
    let found = check(&blind.desired, &blind.observed, &plan);
    assert!(found.iter().any(|v| v.promise == Promise::P1), "{found:?}");
}
