//! Which points go, and what keeps all of them.

use insta::assert_snapshot;
use model::desired::{Budget, Point, Scope};
use model::observed::{Backoff, Deed};
use model::plan::{Action, Plan};

use crate::testing::*;

/// Five points, one an hour, all proven, of which the policy keeps two.
fn five() -> World {
    (0..5)
        .fold(World::shop(), |w, i| {
            let id = format!("a{i}");
            w.point("local", &id, "shop/files", ago(i), |r| r.slot = Some(ago(i))).proven(&id)
        })
        .keep("shop", keep_last(2))
}

#[test]
fn what_no_rule_keeps_goes_oldest_first() {
    assert_snapshot!(five().text(), @r"
    steps
      - expire 3 points of shop/files in local  [expire/shop/files/local]
          3 points beyond retention inline
      - reclaim local  [reclaim/local]
          snapshots are forgotten in this plan, and what only they need can go

    changes to apply: 1 expire, 1 reclaim
    ");
    let plan = five().plan();
    let Action::Expire { snapshots, .. } = &plan.steps[0].action else { panic!() };
    assert_eq!(*snapshots, [snapshot("a4"), snapshot("a3"), snapshot("a2")]);
}

#[test]
fn nothing_goes_without_retention() {
    let world = five().with(|w| w.desired.backups.get_mut(&name("shop")).unwrap().retention = None);
    assert_eq!(world.steps(), [""; 0]);
}

fn refused(world: World) -> String {
    let removing = |s: &String| s.starts_with("expire") || s.starts_with("reclaim");
    assert!(!world.steps().iter().any(removing), "{:?}", world.steps());
    let deferred = world.deferred();
    deferred
        .iter()
        .find_map(|d| d.strip_prefix("expire/shop/files/local "))
        .unwrap_or_else(|| panic!("{deferred:?}"))
        .to_owned()
}

#[test]
fn nothing_goes_while_the_resource_is_not_healthy() {
    assert_eq!(refused(five().absent("shop/files")), "ConditionNotHealthy");
    assert_eq!(refused(five().unknown("shop/files")), "ConditionNotHealthy");
}

#[test]
fn nothing_goes_while_nothing_that_stays_is_proven() {
    let world = five().with(|w| w.observed.memory.evidence.clear());
    assert_eq!(refused(world), "NothingProven");
}

#[test]
fn the_newest_proven_point_stays_whatever_the_rules_say() {
    let world = five().with(|w| {
        w.observed.memory.evidence.clear();
    });
    let world = world.proven("a4");
    let plan = world.plan();
    let expired = plan.steps.iter().find_map(|s| match &s.action {
        Action::Expire { snapshots, .. } => Some(snapshots.clone()),
        _ => None,
    });
    assert_eq!(expired, Some(vec![snapshot("a3"), snapshot("a2")]));
    let verdicts = retention(&world);
    let verdict = verdicts.iter().find(|v| v.snapshot == snapshot("a4")).unwrap();
    assert_eq!(verdict.reasons, ["newest proven point"]);
}

/// Damage would keep everything for ever, if each try to prove a damaged point had to succeed
/// first.
#[test]
fn a_proof_that_failed_before_holds_nothing() {
    let world = || five().with(|w| drop(w.observed.memory.evidence.remove(&snapshot("a0"))));
    let plan = world().plan();
    let verify = plan.steps.iter().find(|s| matches!(s.action, Action::Verify { .. })).unwrap();
    let needs = |plan: &Plan| {
        let expire = plan.steps.iter().find(|s| matches!(s.action, Action::Expire { .. }));
        expire.unwrap().needs.clone()
    };
    assert_eq!(needs(&plan), std::slice::from_ref(&verify.id));
    let failed = world().with(|w| {
        let error = "it is damaged".to_owned();
        let backoff = Backoff { failures: 3, since: ago(2), until: ago(1), error };
        w.observed.memory.backoff.insert(verify.id.to_string(), backoff);
    });
    assert_eq!(needs(&failed.plan()), []);
}

#[test]
fn nothing_goes_while_our_state_is_lost() {
    assert_eq!(refused(five().with(|w| w.observed.memory.known = false)), "MemoryUnknown");
}

#[test]
fn nothing_goes_where_nothing_may_be_deleted() {
    let world = five().with(|w| {
        w.desired.repositories.get_mut(&name("local")).unwrap().append_only = true;
    });
    assert_eq!(refused(world), "AppendOnly");
}

#[test]
fn nothing_goes_while_the_newest_point_is_suspicious_until_a_person_says_so() {
    let world = five().point("local", "b0", "shop/files", now(), |r| {
        r.slot = Some(now());
        r.suspicious = Some("10 → 2 files".into());
    });
    let world = world.proven("b0");
    assert_eq!(refused(world.clone()), "SuspiciousPoint");
    let accepted = world.with(|w| {
        w.observed.memory.accepted_alarms.insert(format!("suspicious:{}", snapshot("b0")));
    });
    assert_eq!(accepted.steps(), ["expire/shop/files/local", "reclaim/local"]);
}

#[test]
fn the_new_is_written_and_proven_before_the_old_goes() {
    let world = five().with(|w| w.now = at("2026-11-20T13:00:00Z"));
    let plan = world.plan();
    let expire = plan.steps.iter().find(|s| s.id.as_str() == "expire/shop/files/local").unwrap();
    let needs: Vec<&str> = expire.needs.iter().map(|n| n.as_str()).collect();
    assert_eq!(needs, ["backup/shop/files/local", "verify/shop/files/local/new"]);
}

#[test]
fn a_removed_documents_points_stay() {
    let world = five().with(|w| {
        let mut backup = w.desired.backups.remove(&name("shop")).unwrap();
        backup.name = name("renamed");
        w.desired.backups.insert(name("renamed"), backup);
    });
    assert_eq!(world.steps(), ["backup/shop/files/local", "verify/shop/files/local/new"]);
    assert!(world.plan().report.retention.is_empty());
    let kept = retention(&world);
    assert_eq!(kept.len(), 5);
    assert!(
        kept.iter().all(|v| v.keep && v.reasons[0].contains("made by backup shop")),
        "{kept:#?}"
    );
}

#[test]
fn a_point_that_a_recovery_names_stays() {
    let world = five().recovery("look", "shop/files", |r| {
        r.point = Point::Snapshot(snapshot("a4"));
        r.into = Some(agent(true));
    });
    let plan = world.plan();
    let Some(Action::Expire { snapshots, .. }) =
        plan.steps.iter().map(|s| &s.action).find(|a| matches!(a, Action::Expire { .. }))
    else {
        panic!()
    };
    assert_eq!(*snapshots, [snapshot("a3"), snapshot("a2")]);
}

fn limited(budget: Budget) -> World {
    five().with(|w| {
        let mut rail = guardrail(&["shop/files"]);
        rail.expire = budget;
        w.desired.guardrails.insert(name("rail"), rail);
    })
}

/// The points that a plan forgets, and what the step waits for.
fn forgotten(world: &World) -> (usize, usize) {
    let plan = world.plan();
    let of = |step: &model::plan::Step| match &step.action {
        Action::Expire { snapshots, .. } => Some((snapshots.len(), step.waits.len())),
        _ => None,
    };
    plan.steps.iter().find_map(of).unwrap()
}

#[test]
fn a_budget_lets_the_oldest_through_and_says_what_waits() {
    let per_run = |n| Budget { per_run: Some(n), ..Budget::default() };
    assert_eq!(forgotten(&limited(per_run(3))), (3, 0));
    assert_snapshot!(limited(per_run(2)).text(), @r"
    steps
      - expire 2 points of shop/files in local  [expire/shop/files/local]
          3 points beyond retention inline
          1 point more beyond the budget of guardrail rail: later
      - reclaim local  [reclaim/local]
          snapshots are forgotten in this plan, and what only they need can go

    changes to apply: 1 expire, 1 reclaim
    ");
    let per_day = Budget { per_day: Some(4), ..Budget::default() };
    let spent = |hours: &[i64]| {
        let at = hours.iter().map(|hours| ago(*hours)).collect();
        limited(per_day.clone()).with(|w| {
            w.observed.memory.deeds.insert(Deed::Expired, at);
        })
    };
    assert_eq!(forgotten(&spent(&[1, 2])), (2, 0));
    assert_eq!(forgotten(&spent(&[25, 26])), (3, 0));
    assert_eq!(forgotten(&spent(&[1, 2, 3, 4])), (3, 1));
    let per_hour = Budget { per_hour: Some(3), ..Budget::default() };
    let done = |minutes| {
        limited(per_hour.clone()).with(|w| {
            let at = w.now - jiff::SignedDuration::from_mins(minutes);
            w.observed.memory.deeds.insert(Deed::Expired, vec![at]);
        })
    };
    assert_eq!(forgotten(&done(60)), (3, 0));
    assert_eq!(forgotten(&done(59)), (2, 0));
}

#[test]
fn a_budget_in_per_cent_holds_the_step_and_does_not_hide_it() {
    let percent = |p| Budget { percent: Some(p), ..Budget::default() };
    assert_eq!(forgotten(&limited(percent(60))), (3, 0));
    assert_eq!(forgotten(&limited(percent(59))), (3, 1));
    // What is too much for one brake is not cut for another budget.
    let both = Budget { per_run: Some(2), ..percent(59) };
    assert_eq!(forgotten(&limited(both)), (3, 1));
    // Five are there and one is gone already: four of six.
    let per_cent = |p| Budget { percent_per_day: Some(p), ..Budget::default() };
    let today = |p| {
        limited(per_cent(p)).with(|w| {
            w.observed.memory.deeds.insert(Deed::Expired, vec![ago(2)]);
        })
    };
    assert_eq!(forgotten(&today(67)), (3, 0));
    assert_eq!(forgotten(&today(66)), (3, 1));
}

#[test]
fn a_hold_stops_its_scope() {
    let held = |scope: Scope| {
        five().with(|w| {
            w.observed.memory.holds.push(hold(scope));
        })
    };
    for scope in [
        Scope::All,
        Scope::Application(name("shop")),
        Scope::Resource(address("shop/files")),
        Scope::Repository(name("local")),
    ] {
        assert_eq!(held(scope).steps()[0], "expire/shop/files/local waits hold");
    }
    for scope in [Scope::Application(name("other")), Scope::Repository(name("offsite"))] {
        assert_eq!(held(scope).steps()[0], "expire/shop/files/local");
    }
    let ended = held(Scope::All).with(|w| w.observed.memory.holds[0].until = Some(ago(1)));
    assert_eq!(ended.steps()[0], "expire/shop/files/local");
    let running = held(Scope::All).with(|w| w.observed.memory.holds[0].until = Some(ago(-1)));
    assert_eq!(running.steps()[0], "expire/shop/files/local waits hold");
}

fn retention(world: &World) -> Vec<model::plan::RetentionVerdict> {
    crate::retention_of(&world.desired, &world.observed, world.now, &address("shop/files"))
}

#[test]
fn a_plan_names_what_goes_and_one_resource_tells_of_all_with_dates() {
    let world = five();
    let gone = world.plan().report.retention;
    assert!(!gone.is_empty() && gone.iter().all(|v| !v.keep && v.reasons == ["no rule keeps it"]));
    let all = retention(&world);
    assert_eq!(all.len(), 5);
    let removable: Vec<_> = all.iter().filter(|v| !v.keep).cloned().collect();
    assert_eq!(removable, gone);
    assert!(all.iter().any(|v| v.keep && v.removable_at.is_some()), "{all:#?}");
}

#[test]
fn a_newest_point_that_is_not_trusted_is_spoken_of() {
    let world = five().point("local", "a6", "shop/files", ago(0), |r| {
        r.suspicious = Some("it shrank".into());
    });
    let notes = world.plan().report.notes;
    let about = format!("mainstay accept suspicious:{}", snapshot("a6"));
    assert!(notes.iter().any(|n| n.contains("it shrank") && n.contains(&about)), "{notes:?}");
    let accepted = world.clone().with(|w| {
        let alarm = format!("suspicious:{}", snapshot("a6"));
        w.observed.memory.accepted_alarms.insert(alarm);
    });
    assert_eq!(accepted.plan().report.notes, [""; 0]);
    let older = world.point("local", "a7", "shop/files", ago(0), |_| {});
    assert_eq!(older.plan().report.notes, [""; 0], "a newer one is trusted");
}
