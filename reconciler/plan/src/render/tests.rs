//! Tests of the views of a plan, and of explanations.

use insta::assert_snapshot;
use model::desired::{ConditionKind, Response};
use model::observed::RepositoryObservation;

use super::{MARKDOWN_CHARS_MAX, bytes, duration, json, markdown};
use crate::Outcome;
use crate::explain::Subject;
use crate::testing::*;

fn rolled_back() -> World {
    World::shop()
        .resource("shop/db")
        .backup("shop", &["shop/files", "shop/db"], &["local"])
        .point("local", "b1", "shop/db", ago(1), |r| {
            r.slot = Some(now());
            r.marker = position(9);
        })
        .proven("b1")
        .found("shop/db", position(5))
        .policy(&["shop/db"], &[(ConditionKind::RolledBack, Response::Restore)])
}

#[test]
fn markdown_begins_with_what_can_do_harm() {
    let text = markdown(&rolled_back().plan());
    let lines: Vec<&str> = text.lines().filter(|l| !l.contains("plan `")).collect();
    assert_snapshot!(lines.join("\n"), @r"
    ### Mainstay plan: destructive steps wait for approval


    #### Destructive

    - **restore shop/db from b1000000 in local, over live data**
      - the resource is RolledBack from 2026-11-20T11:00:00Z to before every known point: counter lsn 9 → 5
      - policy back answers with a restore
      - the newest proven point that fits is b1000000 of 2026-11-20T11:00:00Z
      - loses everything after 2026-11-20T11:00:00Z (1 h)
      - waits for approval: mainstay approve 91baa38637e3

    Approve with `mainstay approve 91baa38637e3`

    #### Conditions

    - `shop/db` RolledBack from 2026-11-20T11:00:00Z to before every known point: counter lsn 9 → 5

    #### Steps

    | step | why | waits for |
    |---|---|---|
    | backup shop/files to local (slot 2026-11-20T12:00:00Z) | slot 2026-11-20T12:00:00Z of backup shop is due, the first one in local |  |
    | verify shop/files, the new point, in local | backup shop proves each point after it is written |  |
    ");
}

#[test]
fn markdown_fits_into_a_comment_and_carries_no_markup_of_others() {
    let many =
        (0..2000).fold(World::new().repository("local"), |w, i| w.resource(&format!("a/r{i}")));
    let names: Vec<String> = (0..2000).map(|i| format!("a/r{i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let plan = many.backup("shop", &names, &["local"]).plan();
    let text = markdown(&plan);
    assert!(text.chars().count() <= MARKDOWN_CHARS_MAX);
    assert!(text.ends_with("saved file._\n"));
    let mut plan = World::shop().plan();
    plan.steps[0].reasons = vec!["a | b <script> @everyone\n# head".to_owned()];
    let text = markdown(&plan);
    assert!(text.contains(r"a \| b \<script\> @"), "{text}");
    assert!(!text.contains("@everyone") && !text.contains("\n# head"), "{text}");
}

#[test]
fn json_has_a_version_and_the_whole_plan() {
    let plan = rolled_back().plan();
    let value = json(&plan);
    assert_eq!(value["version"], 2);
    assert_eq!(value["outcome"], "destructiveWaiting");
    assert_eq!(value["exitCode"], 3);
    let back: model::plan::Plan = serde_json::from_value(value["plan"].clone()).unwrap();
    assert_eq!(back, plan);
}

#[test]
fn outcomes_have_their_exit_codes() {
    let code = |world: World| Outcome::of(&world.plan()).exit_code();
    assert_eq!(code(World::protected()), 0);
    assert_eq!(code(World::shop()), 2);
    assert_eq!(code(rolled_back()), 3);
    assert_eq!(code(rolled_back().unknown("shop/files")), 4);
    let digest = rolled_back().plan().destructive.unwrap();
    let approved = rolled_back().with(|w| {
        w.observed.memory.approvals.insert(digest);
    });
    assert_eq!(code(approved), 2);
}

#[test]
fn numbers_are_readable() {
    let sizes = [0, 1023, 1024, 1536, 1_048_575, 1_048_576, u64::MAX].map(bytes);
    assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1023.9 KiB", "1.0 MiB", "15.9 EiB"]);
    let spans = [0, 59, 60, 3599, 3600, 90_061].map(duration);
    assert_eq!(spans, ["0 s", "59 s", "1 min", "59 min 59 s", "1 h", "1 d 1 h"]);
}

fn explained(world: &World, text: &str) -> String {
    let plan = world.plan();
    let subject = Subject::parse(text, &plan);
    crate::explain(&world.desired, &world.observed, &plan, world.now, &subject)
        .map_or("nothing".to_owned(), |lines| lines.to_plain())
        .trim()
        .to_owned()
}

#[test]
fn a_step_is_explained() {
    assert_snapshot!(explained(&rolled_back(), "restore/shop/db"), @r"
    restore shop/db from b1000000 in local, over live data  [restore/shop/db, destructive]
      because
        the resource is RolledBack from 2026-11-20T11:00:00Z to before every known point: counter lsn 9 → 5
        policy back answers with a restore
        the newest proven point that fits is b1000000 of 2026-11-20T11:00:00Z
      loses
        everything after 2026-11-20T11:00:00Z (1 h)
      looks again whether
        repository local is local000
        1 points exist in local
        shop/db has not moved since
        no other recovery of shop/db is under way
      waits for
        approval: mainstay approve 91baa38637e3
    ");
    let held = rolled_back().with(|w| w.desired.recovery_policies.clear());
    assert_snapshot!(explained(&held, "restore/shop/db"), @r"
    restore/shop/db is not planned: HeldByPolicy
      because
        it is RolledBack, and no recovery policy answers; a Recovery document can bring back b1000000 of 2026-11-20T11:00:00Z
    ");
    assert_eq!(explained(&held, "restore/shop/nothing"), "nothing");
}

#[test]
fn a_point_is_explained() {
    let world = World::protected().keep("shop", keep_last(2)).point(
        "local",
        "a0",
        "shop/files",
        ago(9),
        |r| r.suspicious = Some("10 → 2 files".into()),
    );
    assert_snapshot!(explained(&world, "a1"), @r"
    a1000000 shop/files in local of 2026-11-20T11:00:00Z
      is
        10 files, 1000 B
        serves slot 2026-11-20T12:00:00Z
        commit c0ffee, plan p
      proven
        checked at 2026-11-20T11:00:00Z
      stays because
        last 1 of 2
        newest proven point
      removable from
        2026-11-20T14:00:00Z, if every backup succeeds until then
    ");
    assert_snapshot!(explained(&world, "a0"), @r"
    a0000000 shop/files in local of 2026-11-20T03:00:00Z
      is
        10 files, 1000 B
        suspicious: 10 → 2 files
        commit c0ffee, plan p
      proven
        nothing
      may go because
        suspicious (10 → 2 files), and a newer trusted point exists
    ");
    assert_eq!(explained(&world, "ff"), "nothing");
}

#[test]
fn a_point_that_belongs_to_nothing_described_is_explained() {
    let world = World::protected()
        .point("local", "e1", "shop/gone", ago(2), |_| {})
        .point("local", "e2", "shop/files", ago(2), |_| {})
        .with(|w| {
            let local = w.observed.repositories.get_mut(&name("local"));
            let Some(RepositoryObservation::Known { snapshots, .. }) = local else { panic!() };
            let foreign = snapshots.iter_mut().find(|s| s.id == snapshot("e2")).unwrap();
            foreign.address = None;
            foreign.receipt = None;
            foreign.tags = std::collections::BTreeSet::from(["nightly".to_owned()]).into();
        });
    let gone = explained(&world, "e1");
    assert!(gone.contains("of shop/gone, which no document describes"), "{gone}");
    let foreign = explained(&world, "e2");
    assert!(foreign.contains("not made by Mainstay"), "{foreign}");
    assert!(foreign.contains("tagged nightly"), "{foreign}");
    assert!(foreign.contains("no retention looks at what Mainstay did not make"), "{foreign}");
}

#[test]
fn a_resource_is_explained() {
    assert_snapshot!(explained(&rolled_back(), "shop/db"), @r"
    shop/db
      is
        RolledBack from 2026-11-20T11:00:00Z to before every known point: counter lsn 9 → 5
      newest proven point
        b1000000 in local of 2026-11-20T11:00:00Z, 1 h ago
      next backup due
        2026-11-20T13:00:00Z
      planned
        restore/shop/db: the resource is RolledBack from 2026-11-20T11:00:00Z to before every known point: counter lsn 9 → 5; policy back answers with a restore; the newest proven point that fits is b1000000 of 2026-11-20T11:00:00Z
    ");
    assert_snapshot!(explained(&World::protected().absent("shop/files"), "shop/files"), @r"
    shop/files
      is
        Lost: no such directory
      newest proven point
        a1000000 in local of 2026-11-20T11:00:00Z, 1 h ago
      next backup due
        2026-11-20T13:00:00Z
      not planned
        restore/shop/files: HeldByPolicy: it is Lost, and no recovery policy answers; a Recovery document can bring back a1000000 of 2026-11-20T11:00:00Z
    ");
}

/// Worlds whose plans have every kind of step, wait and condition.
fn every_kind() -> Vec<World> {
    use model::desired::{Budget, CommitThen, Scope, Window};
    use model::observed::{Ancestry, Backoff, RecoveryPhase};
    let on = |response| [(ConditionKind::RolledBack, response), (ConditionKind::Lost, response)];
    let over = |then| {
        World::protected()
            .policy(&["shop/files"], &on(Response::Hold))
            .record("shop/files", "t", "a1", RecoveryPhase::AwaitingCommit, None)
            .with(|w| {
                let policy = w.desired.recovery_policies.get_mut(&name("back")).unwrap();
                policy.commit_after_s = Some(60);
                policy.then = then;
            })
    };
    let gated = World::busy().with(|w| {
        w.observed.memory.ancestry = Ancestry::Diverged;
        w.observed.memory.holds.push(hold(Scope::All));
        let error = "no space".to_owned();
        let backoff = Backoff { failures: 1, since: ago(1), until: ago(-1), error };
        w.observed.memory.backoff.insert("backup/shop/files/local".to_owned(), backoff);
        let mut rail = guardrail(&["shop/files", "shop/db"]);
        rail.expire = Budget { per_run: Some(0), ..Budget::default() };
        let opens = "0 3 * * *".to_owned();
        let time_zone = "UTC".to_owned();
        rail.windows.push(Window { opens, duration_s: 60, time_zone, allow: true });
        w.desired.guardrails.insert(name("rail"), rail);
    });
    let erased = World::protected().erasure("shop/files", &["a1"], |_| {});
    vec![
        gated,
        erased,
        World::shop().repository_absent("local"),
        rolled_back(),
        rolled_back().policy(&["shop/db"], &on(Response::Adopt)),
        over(CommitThen::Commit),
        over(CommitThen::Rollback),
        World::protected().absent("shop/files").policy(&["shop/files"], &on(Response::Restore)),
        World::protected().unknown("shop/files"),
        World::shop().absent("shop/files"),
        anew(),
        World::protected().found_with("shop/files", Default::default(), Some(3), Some("bad page")),
        World::protected()
            .point("local", "a2", "shop/files", ago(0), |r| r.marker = position(3))
            .found(
                "shop/files",
                model::receipt::Marker { identity: Some("two".into()), ..position(3) },
            ),
    ]
}

/// Something lost whose type can make it anew.
fn anew() -> World {
    World::protected()
        .absent("shop/files")
        .policy(&["shop/files"], &[(ConditionKind::Lost, Response::Recreate)])
        .with(|w| {
            let files = w.desired.resources.get_mut(&address("shop/files")).unwrap();
            files.agent.recreate.push(model::agent::Command::default());
        })
}

#[test]
fn json_is_what_its_schema_says() {
    let text = include_str!("../../../../schema/plan.json");
    let schema: serde_json::Value = serde_json::from_str(text).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for world in every_kind() {
        let plan = world.plan();
        let value = json(&plan);
        let wrong: Vec<String> = validator
            .iter_errors(&value)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(wrong.is_empty(), "{wrong:#?}\n{value:#}");
        seen.extend(plan.steps.iter().map(|step| step.action.verb().to_owned()));
        for wait in plan.steps.iter().flat_map(|step| &step.waits) {
            let value = serde_json::to_value(wait).unwrap();
            seen.extend(value.as_object().unwrap().keys().map(|kind| format!("wait {kind}")));
        }
        seen.extend(plan.report.conditions.iter().map(|(_, c)| c.word().to_owned()));
    }
    // One that never occurred here would not have been held against the schema.
    for kind in [
        "init",
        "backup",
        "verify",
        "expire",
        "reclaim",
        "restore",
        "recreate",
        "commit",
        "rollback",
        "adopt",
        "wait approval",
        "wait hold",
        "wait window",
        "wait budget",
        "wait backoff",
        "wait alarm",
        "Lost",
        "RolledBack",
        "Replaced",
        "Damaged",
        "Unreachable",
        "NeverProtected",
        "NeverSeen",
        "AwaitingCommit",
    ] {
        assert!(seen.contains(kind), "no {kind} among {seen:?}");
    }
    let mut other = json(&rolled_back().plan());
    other["plan"]["steps"][0]["surprise"] = serde_json::Value::Null;
    assert!(!validator.is_valid(&other), "a field that the schema does not know passes");
}
