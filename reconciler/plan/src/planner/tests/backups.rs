//! What is backed up and proven.

use std::collections::BTreeSet;

use insta::assert_snapshot;
use model::desired::{When, Window};
use model::id::StepId;
use model::observed::{Backoff, BackupRequest};
use model::plan::{Action, Due, Wait};

use crate::testing::*;

#[test]
fn a_new_resource_is_backed_up_at_once() {
    assert_snapshot!(World::shop().text(), @r"
    steps
      + backup shop/files to local (slot 2026-11-20T12:00:00Z)  [backup/shop/files/local]
          slot 2026-11-20T12:00:00Z of backup shop is due, the first one in local
          about 4.0 KiB
      ? verify shop/files, the new point, in local  [verify/shop/files/local/new]
          backup shop proves each point after it is written
          about 4.0 KiB

    changes to apply: 1 backup, 1 verify
    ");
}

#[test]
fn what_is_protected_needs_nothing() {
    assert_snapshot!(World::protected().text(), @r"nothing to do: no steps");
}

#[test]
fn missed_slots_are_served_by_one_backup() {
    let world = World::shop()
        .point("local", "a1", "shop/files", ago(50), |r| r.slot = Some(ago(50)))
        .proven("a1");
    assert_snapshot!(world.text(), @r"
    steps
      + backup shop/files to local (slot 2026-11-20T12:00:00Z)  [backup/shop/files/local]
          slot 2026-11-20T12:00:00Z of backup shop is due, and 49 before it were missed
          about 4.0 KiB
      ? verify shop/files, the new point, in local  [verify/shop/files/local/new]
          backup shop proves each point after it is written
          about 4.0 KiB

    changes to apply: 1 backup, 1 verify
    ");
}

#[test]
fn an_attempt_without_slot_serves_none() {
    let world = World::shop().point("local", "a1", "shop/files", ago(0), |_| {}).proven("a1");
    assert_eq!(world.steps(), ["backup/shop/files/local", "verify/shop/files/local/new"]);
}

#[test]
fn another_backups_slot_serves_none() {
    let world = World::shop()
        .point("local", "a1", "shop/files", ago(0), |r| {
            r.slot = Some(now());
            r.backup = Some(name("other"));
        })
        .proven("a1");
    assert_eq!(world.steps(), ["backup/shop/files/local", "verify/shop/files/local/new"]);
}

#[test]
fn a_partial_point_serves_its_slot() {
    let world = World::shop().point("local", "a1", "shop/files", ago(0), |r| {
        r.slot = Some(now());
        r.complete = false;
    });
    assert_eq!(world.steps(), [""; 0]);
}

#[test]
fn an_earlier_name_keeps_its_slots() {
    let world = World::shop()
        .point("local", "a1", "old/files", ago(0), |r| r.slot = Some(now()))
        .proven("a1")
        .with(|w| {
            w.desired.resources.get_mut(&address("shop/files")).unwrap().formerly =
                vec![address("old/files")];
        });
    assert_eq!(world.steps(), [""; 0]);
}

#[test]
fn a_slot_of_a_wrong_clock_does_not_stop_backups() {
    let world = World::shop()
        .point("local", "a1", "shop/files", at("2031-01-01T00:00:00Z"), |r| {
            r.slot = Some(at("2031-01-01T00:00:00Z"));
        })
        .proven("a1");
    assert_eq!(world.steps(), ["backup/shop/files/local", "verify/shop/files/local/new"]);
}

#[test]
fn each_repository_has_its_own_slots() {
    let world = World::protected().repository("offsite").backup(
        "shop",
        &["shop/files"],
        &["local", "offsite"],
    );
    assert_eq!(world.steps(), ["backup/shop/files/offsite", "verify/shop/files/offsite/new"]);
}

#[test]
fn two_documents_for_one_place_have_ids_of_their_own() {
    let world = World::shop().backup("weekly", &["shop/files"], &["local"]);
    assert_eq!(
        world.steps(),
        [
            "backup/shop/files/local/shop",
            "backup/shop/files/local/weekly",
            "verify/shop/files/local/new/shop",
            "verify/shop/files/local/new/weekly",
        ]
    );
}

#[test]
fn a_trigger_is_served_once_per_token() {
    let world = World::protected().trigger("now", "shop", "go-1");
    assert_eq!(world.steps(), ["backup/shop/files/local", "verify/shop/files/local/new"]);
    let served = world.point("local", "a2", "shop/files", ago(0), |r| {
        r.trigger = Some("go-1".into());
    });
    assert_snapshot!(served.proven("a2").text(), @r"
    notes
      shop/files in local: token go-1 was served

    nothing to do: no steps
    ");
}

#[test]
fn a_request_by_hand_is_served_like_a_trigger() {
    let world = World::protected().with(|w| {
        let request = BackupRequest { address: address("shop/files"), token: "hand-1".to_owned() };
        w.observed.memory.requests.push(request);
    });
    assert_eq!(world.steps(), ["backup/shop/files/local", "verify/shop/files/local/new"]);
    let served = world.point("local", "a2", "shop/files", ago(0), |r| {
        r.trigger = Some("hand-1".into());
    });
    assert_eq!(served.proven("a2").steps(), [""; 0]);
}

#[test]
fn a_token_goes_before_a_slot_and_the_slot_stays_due() {
    let due = |world: &World| match &world.plan().steps[0].action {
        Action::Backup { due, .. } => due.clone(),
        other => panic!("{other:?}"),
    };
    let world = World::shop().trigger("now", "shop", "go-1");
    assert_eq!(due(&world), Due::Token { token: "go-1".to_owned() });
    let served = world
        .point("local", "a2", "shop/files", ago(0), |r| r.trigger = Some("go-1".into()))
        .proven("a2");
    assert_eq!(due(&served), Due::Slot { at: now(), missed: 0 });
}

#[test]
fn a_deadline_skips_a_slot_but_never_the_first() {
    let late = |world: World| {
        world.with(|w| {
            let schedule = &mut w.desired.backups.get_mut(&name("shop")).unwrap().schedule;
            schedule.when = When::Every { seconds: 24 * 3600 };
            schedule.deadline_s = Some(3600);
        })
    };
    assert_eq!(late(World::shop()).steps()[0], "backup/shop/files/local");
    let served = World::shop()
        .point("local", "a1", "shop/files", ago(36), |r| r.slot = Some(ago(36)))
        .proven("a1");
    assert_snapshot!(late(served).text(), @r"
    not planned
      backup/shop/files/local DeadlinePassed: slot 2026-11-20T00:00:00Z was to begin within 1 h, until 2026-11-21T00:00:00Z

    nothing to do: no steps
    ");
}

#[test]
fn a_closed_window_holds_a_slot_but_no_token() {
    let night = |world: World| {
        world.with(|w| {
            let schedule = &mut w.desired.backups.get_mut(&name("shop")).unwrap().schedule;
            schedule.windows = vec![Window {
                opens: "0 22 * * *".to_owned(),
                duration_s: 6 * 3600,
                time_zone: "Europe/Berlin".to_owned(),
                allow: true,
            }];
        })
    };
    assert_snapshot!(night(World::shop()).text(), @r"
    steps
      + backup shop/files to local (slot 2026-11-20T12:00:00Z)  [backup/shop/files/local]
          slot 2026-11-20T12:00:00Z of backup shop is due, the first one in local
          about 4.0 KiB
          waits for window of backup/shop, opens 2026-11-20T21:00:00Z
      ? verify shop/files, the new point, in local  [verify/shop/files/local/new]
          backup shop proves each point after it is written
          about 4.0 KiB

    changes to apply: 1 backup, 1 verify
    ");
    let token = night(World::protected()).trigger("now", "shop", "go");
    assert_eq!(token.steps()[0], "backup/shop/files/local");
}

#[test]
fn a_step_that_failed_lately_waits() {
    let waits = |since, wait_s| {
        let step = "backup/shop/files/local";
        let until = since + jiff::SignedDuration::from_secs(wait_s);
        let backoff = Backoff { failures: 2, since, until, error: "disk full".to_owned() };
        let world = World::shop()
            .with(|w| drop(w.observed.memory.backoff.insert(step.to_owned(), backoff)));
        world.steps().contains(&format!("{step} waits backoff"))
    };
    assert!(waits(now(), 60) && waits(ago(2), 3 * 3600));
    assert!(!waits(ago(2), 2 * 3600));
    // Clocks may differ a little; what failed in an hour was noted by one that was wrong.
    let in_minutes = |minutes| now() + jiff::SignedDuration::from_mins(minutes);
    assert!(waits(in_minutes(10), 60) && !waits(in_minutes(60), 60));
}

#[test]
fn nothing_is_recorded_of_what_is_not_healthy() {
    let code = |world: World| world.deferred().join(" ");
    let protected = || {
        World::shop()
            .point("local", "a1", "shop/files", ago(5), |r| r.slot = Some(ago(5)))
            .proven("a1")
    };
    assert!(code(protected().absent("shop/files")).contains("ConditionNotHealthy"));
    assert!(code(protected().unknown("shop/files")).contains("ResourceUnknown"));
    assert!(code(World::shop().absent("shop/files")).contains("ResourceAbsent"));
    let emptied = protected().found_with("shop/files", Default::default(), Some(0), None);
    assert_snapshot!(emptied.text(), @r"
    conditions
      shop/files Lost: it is empty, and had 10 files at 2026-11-20T07:00:00Z

    not planned
      backup/shop/files/local ConditionNotHealthy: the resource is Lost: it is empty, and had 10 files at 2026-11-20T07:00:00Z
      restore/shop/files HeldByPolicy: it is Lost, and no recovery policy answers; a Recovery document can bring back a1000000 of 2026-11-20T07:00:00Z

    nothing is planned: no steps; 1 resource is not well
    ");
}

#[test]
fn what_was_empty_from_the_beginning_is_backed_up() {
    let world = World::shop().found_with("shop/files", Default::default(), Some(0), None);
    assert_eq!(world.steps()[0], "backup/shop/files/local");
}

#[test]
fn a_lost_memory_is_learnt_again_in_small_parts() {
    let world = World::protected()
        .point("local", "a2", "shop/files", ago(3), |_| {})
        .point("local", "a3", "shop/files", ago(4), |_| {})
        .with(|w| w.observed.memory.evidence.clear());
    assert_eq!(
        world.steps(),
        ["verify/shop/files/local/a10000000000", "verify/shop/files/local/a20000000000"]
    );
}

#[test]
fn an_old_proof_is_made_anew() {
    let world = World::protected().with(|w| {
        w.desired.backups.get_mut(&name("shop")).unwrap().verify.again_after_s = Some(1800);
    });
    assert_eq!(world.steps(), ["verify/shop/files/local/a10000000000"]);
}

#[test]
fn a_suspicious_point_is_no_parent() {
    let world = World::shop()
        .point("local", "a1", "shop/files", ago(9), |_| {})
        .point("local", "a2", "shop/files", ago(8), |r| r.suspicious = Some("shrank".into()))
        .proven("a1")
        .proven("a2");
    let plan = world.plan();
    let Action::Backup { parent, .. } = &plan.steps[0].action else { panic!() };
    assert_eq!(*parent, Some(snapshot("a1")));
}

#[test]
fn a_narrow_plan_is_of_the_resource_and_what_it_needs() {
    let world = World::shop()
        .resource("shop/db")
        .resource("other/files")
        .needs("shop/files", "shop/db")
        .backup("shop", &["shop/files", "shop/db", "other/files"], &["local"]);
    let only = BTreeSet::from([address("shop/files")]);
    let plan = crate::plan_only(&world.desired, &world.observed, world.now, &only);
    let ids: Vec<&str> = plan.steps.iter().map(|s| s.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "backup/shop/db/local",
            "backup/shop/files/local",
            "verify/shop/db/local/new",
            "verify/shop/files/local/new",
        ]
    );
    assert_eq!(plan.report.conditions.len(), 2);
}

#[test]
fn a_removed_document_deletes_nothing() {
    let world = World::protected().with(|w| {
        w.desired.backups.clear();
        w.desired.resources.clear();
    });
    assert_snapshot!(world.text(), @r"
    notes
      1 point of shop/files in local without a document: kept

    nothing to do: no steps
    ");
}

#[test]
fn of_two_tokens_the_first_by_name_is_served_first() {
    let world = World::protected().trigger("a", "shop", "one").trigger("b", "shop", "two");
    let plan = world.plan();
    let Action::Backup { due, .. } = &plan.steps[0].action else { panic!() };
    assert_eq!(*due, Due::Token { token: "one".to_owned() });
}

#[test]
fn a_backup_pauses_while_a_restore_of_the_resource_is_planned() {
    let world = World::shop()
        .point("local", "a1", "shop/files", ago(5), |r| r.slot = Some(ago(5)))
        .proven("a1")
        .recovery("back", "shop/files", |_| {});
    assert_eq!(world.steps(), ["restore/shop/files/back"]);
    assert_eq!(world.deferred(), ["backup/shop/files/local RecoveryUnderWay"]);
}

#[test]
fn among_steps_of_one_kind_dependencies_come_first() {
    let world = World::shop().resource("shop/zz").needs("shop/files", "shop/zz").backup(
        "shop",
        &["shop/files", "shop/zz"],
        &["local"],
    );
    assert_eq!(world.steps()[..2], ["backup/shop/zz/local", "backup/shop/files/local"]);
}

#[test]
fn what_needs_a_step_that_waits_may_not_begin_either() {
    let world = World::shop();
    let plan = crate::plan(&world.desired, &world.observed, world.now);
    let open = |waiting: &[&str]| {
        let wait = Wait::Backoff { until: world.now, error: "it failed".to_owned() };
        let gates = waiting.iter().map(|id| (StepId::from(*id), vec![wait.clone()])).collect();
        crate::is_open(&plan, &gates)
    };
    assert!(open(&[]));
    assert!(open(&["verify/shop/files/local/new"]));
    assert!(!open(&["backup/shop/files/local"]), "its proof alone does nothing");
}
