//! What is lost or rolled back, row by row: what is brought back, from where, in which order, what
//! is lost by it, and what waits for a person. Rows about git, our memory and the clock are in
//! `alarms`, those about a process that was killed in `recovery`.

use model::desired::{ConditionKind, Response};
use model::plan::{Action, Plan};

use crate::testing::*;

const SHOP: [&str; 3] = ["shop/api", "shop/db", "shop/files"];
/// Others that stay, so that three lost ones are not much of the fleet.
const REST: [&str; 6] = ["a/one", "a/three", "a/two", "b/one", "b/three", "b/two"];

/// An api over a database and files, each with a proven point of an hour ago here and elsewhere,
/// nothing due, everything answered by a restore.
fn fleet() -> World {
    let all: Vec<&str> = SHOP.into_iter().chain(REST).collect();
    let world = World::new().repository("local").repository("offsite");
    let mut world = all.iter().copied().fold(world, World::resource);
    world = world
        .needs("shop/api", "shop/db")
        .needs("shop/api", "shop/files")
        .backup("shop", &all, &["local", "offsite"])
        .policy(
            &all,
            &[
                (ConditionKind::Lost, Response::Restore),
                (ConditionKind::Damaged, Response::Restore),
            ],
        );
    for (number, of) in all.iter().enumerate() {
        for repository in ["local", "offsite"] {
            let id = format!("{}{number}", &repository[..1].replace('l', "a").replace('o', "b"));
            world = world.point(repository, &id, of, ago(1), |r| r.slot = Some(now())).proven(&id);
        }
    }
    world
}

/// Where each restore reads, in the order of the plan.
fn sources(plan: &Plan) -> Vec<String> {
    plan.steps
        .iter()
        .filter_map(|step| match &step.action {
            Action::Restore { resource, repository, .. } => {
                Some(format!("{resource} from {repository}"))
            }
            _ => None,
        })
        .collect()
}

#[test]
fn nothing_is_lost_nothing_is_done() {
    assert_eq!(fleet().steps(), [""; 0]);
}

#[test]
fn deleted_by_accident_comes_back_by_itself() {
    let plan = fleet().absent("shop/files").plan();
    assert_eq!(sources(&plan), ["shop/files from local"]);
    assert_eq!(fleet().absent("shop/files").steps(), ["restore/shop/files"]);
    let loss = plan.steps[0].loss.clone().unwrap();
    assert_eq!((loss.after, loss.seconds), (ago(1), 3600));
}

#[test]
fn an_application_comes_back_in_the_order_of_what_it_needs() {
    let world = SHOP.into_iter().fold(fleet(), World::absent);
    assert_eq!(world.steps(), ["restore/shop/db", "restore/shop/files", "restore/shop/api"]);
    let api = world.plan().steps[2].clone();
    let needs: Vec<&str> = api.needs.iter().map(model::id::StepId::as_str).collect();
    assert_eq!(needs, ["restore/shop/db", "restore/shop/files"]);
}

#[test]
fn a_dependency_that_cannot_be_seen_keeps_back_what_needs_it() {
    let world = fleet().absent("shop/api").unknown("shop/db");
    assert_eq!(world.steps(), [""; 0]);
    assert!(world.deferred().contains(&"restore/shop/api DependencyNotHealthy".to_owned()));
}

#[test]
fn a_site_with_its_repository_comes_back_from_elsewhere() {
    let world = SHOP.into_iter().fold(fleet(), World::absent).with(|w| {
        w.observed.memory.repositories.insert(name("local"), repository_id("local"));
    });
    let plan = world.repository_absent("local").plan();
    let expected = ["shop/db from offsite", "shop/files from offsite", "shop/api from offsite"];
    assert_eq!(sources(&plan), expected);
    let init = plan.report.deferred.iter().find(|d| d.step.as_str() == "init/local").unwrap();
    assert_eq!(init.code, "RepositoryLost");
    assert!(!plan.report.incomplete.is_empty());
}

#[test]
fn everything_gone_at_once_is_shown_and_waits_for_one_word() {
    let world = SHOP.into_iter().chain(REST).fold(fleet(), World::absent);
    let steps = world.steps();
    assert_eq!(steps.len(), 9);
    assert!(steps.iter().all(|s| s.ends_with(" waits alarm:mass-loss")), "{steps:?}");
    let accept = match &world.plan().report.alarms[..] {
        [model::plan::Wait::Alarm { accept, .. }] => accept.clone(),
        other => panic!("{other:?}"),
    };
    let accepted = world.with(|w| {
        w.observed.memory.accepted_alarms.insert(accept);
    });
    assert!(accepted.steps().iter().all(|s| !s.contains("waits")));
}

#[test]
fn a_point_that_shrank_is_not_what_comes_back() {
    let world = fleet()
        .point("local", "c1", "shop/files", ago(0), |r| {
            r.suspicious = Some("files fell by 90 %".into());
        })
        .proven("c1")
        .found_with("shop/files", Default::default(), Some(3), Some("encrypted"))
        .keep("shop", keep_last(1));
    let plan = world.plan();
    let Action::Restore { snapshot: point, .. } = &plan.steps[0].action else { panic!() };
    assert_eq!(*point, snapshot("a2"));
    assert_eq!(world.steps(), ["restore/shop/files waits approval"]);
}

#[test]
fn a_newer_point_that_was_made_by_the_fault_freezes_expiry() {
    let world = fleet()
        .point("local", "c0", "shop/files", ago(30), |_| {})
        .point("local", "c1", "shop/files", ago(0), |r| {
            r.suspicious = Some("files fell by 90 %".into());
        })
        .keep("shop", keep_last(1));
    assert!(world.deferred().contains(&"expire/shop/files/local SuspiciousPoint".to_owned()));
}
