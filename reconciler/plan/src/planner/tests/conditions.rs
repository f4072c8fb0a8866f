//! What the comparison says.

use model::plan::Condition;
use model::receipt::{ControlBody, Marker};

use crate::testing::*;

/// A database whose points at 6, 5 and 4 hours ago are at 100, 120 and 140.
fn database() -> World {
    World::shop().with(|w| {
        w.desired.resources.get_mut(&address("shop/files")).unwrap().agent = agent(false);
        *w = [("a1", 6, 100), ("a2", 5, 120), ("a3", 4, 140)].into_iter().fold(
            w.clone(),
            |w, (id, hours, lsn)| {
                w.point("local", id, "shop/files", ago(hours), |r| r.marker = position(lsn))
                    .proven(id)
            },
        );
    })
}

fn condition(world: World) -> Condition {
    let unwell = world.plan().report.conditions;
    unwell.get(&address("shop/files")).cloned().unwrap_or(Condition::Healthy)
}

fn word(world: World) -> &'static str {
    condition(world).word()
}

#[test]
fn counters_that_grew_or_stand_are_healthy() {
    assert_eq!(word(database().found("shop/files", position(150))), "Healthy");
    assert_eq!(word(database().found("shop/files", position(140))), "Healthy");
}

#[test]
fn a_lower_counter_is_rolled_back_to_the_newest_point_it_is_not_behind() {
    assert_eq!(
        condition(database().found("shop/files", position(125))),
        Condition::RolledBack {
            from: ago(4),
            to: Some(ago(5)),
            detail: vec!["counter lsn 140 → 125".to_owned()],
        }
    );
    let before_all = condition(database().found("shop/files", position(90)));
    assert!(matches!(before_all, Condition::RolledBack { to: None, .. }), "{before_all:?}");
}

#[test]
fn another_identity_is_replaced() {
    let other = Marker { identity: Some("two".into()), ..position(500) };
    assert_eq!(word(database().found("shop/files", other)), "Replaced");
    let nameless = Marker { identity: None, ..position(500) };
    assert_eq!(word(database().found("shop/files", nameless)), "Healthy");
}

#[test]
fn the_content_of_an_older_point_is_rolled_back() {
    let world = World::shop()
        .point("local", "a1", "shop/files", ago(6), |r| r.marker = content("x"))
        .point("local", "a2", "shop/files", ago(5), |r| r.marker = content("y"))
        .proven("a1")
        .proven("a2");
    let found = |text: &str| condition(world.clone().found("shop/files", content(text)));
    assert_eq!(found("y"), Condition::Healthy);
    assert_eq!(found("z"), Condition::Healthy);
    assert!(matches!(found("x"), Condition::RolledBack { to: Some(to), .. } if to == ago(6)));
}

#[test]
fn content_that_returned_while_counters_went_on_is_healthy() {
    let mark = |n, text: &str| Marker { digest: Some(text.into()), ..position(n) };
    let world = World::shop()
        .point("local", "a1", "shop/files", ago(6), |r| r.marker = mark(1, "x"))
        .point("local", "a2", "shop/files", ago(5), |r| r.marker = mark(2, "y"))
        .proven("a1")
        .proven("a2")
        .found("shop/files", mark(3, "x"));
    assert_eq!(word(world), "Healthy");
}

#[test]
fn counters_that_stand_still_do_not_hide_an_older_content() {
    let mark = |text: &str| Marker { digest: Some(text.into()), ..position(1) };
    let world = World::shop()
        .point("local", "a1", "shop/files", ago(6), |r| r.marker = mark("x"))
        .point("local", "a2", "shop/files", ago(5), |r| r.marker = mark("y"))
        .proven("a1")
        .proven("a2")
        .found("shop/files", mark("x"));
    assert_eq!(word(world), "RolledBack");
}

#[test]
fn absence_is_lost_only_where_something_was() {
    assert_eq!(word(database().absent("shop/files")), "Lost");
    assert_eq!(word(World::shop().absent("shop/files")), "NeverSeen");
    assert_eq!(word(World::shop()), "NeverProtected");
}

#[test]
fn full_and_then_empty_is_lost() {
    let full = || World::shop().point("local", "a1", "shop/files", ago(6), |_| {}).proven("a1");
    let empty = |w: World| w.found_with("shop/files", Marker::default(), Some(0), None);
    assert_eq!(word(empty(full())), "Lost");
    let was_empty = World::shop().point("local", "a1", "shop/files", ago(6), |r| {
        r.files = 0;
        r.bytes = 0;
    });
    assert_eq!(word(empty(was_empty.proven("a1"))), "Healthy");
}

#[test]
fn a_database_without_tables_is_lost_only_if_it_had_rows() {
    let empty = |w: World, lsn| w.found_with("shop/files", position(lsn), Some(0), None);
    assert_eq!(word(empty(database(), 150)), "Healthy");
    let counted = database().point("local", "a4", "shop/files", ago(1), |r| {
        r.marker = position(150);
        r.marker.counts.insert("table orders".to_owned(), 12);
    });
    assert_eq!(word(empty(counted.proven("a4"), 150)), "Lost");
}

#[test]
fn damage_goes_before_comparison() {
    let world = database().found_with("shop/files", position(10), Some(3), Some("bad page"));
    assert_eq!(word(world), "Damaged");
}

#[test]
fn what_cannot_be_seen_is_neither_lost_nor_healthy() {
    assert_eq!(word(database().unknown("shop/files")), "Unreachable");
    let never_looked = database().with(|w| w.observed.resources.clear());
    assert_eq!(word(never_looked), "Unreachable");
}

#[test]
fn without_a_readable_repository_nothing_is_said_from_the_absence_of_points() {
    assert_eq!(word(World::shop().repository_unknown("local")), "Unreachable");
    assert_eq!(word(World::shop().absent("shop/files").repository_unknown("local")), "Unreachable");
    let one_of_two = World::shop().repository("offsite").repository_unknown("offsite").backup(
        "shop",
        &["shop/files"],
        &["local", "offsite"],
    );
    assert_eq!(word(one_of_two.clone()), "NeverProtected");
    assert_eq!(word(one_of_two.absent("shop/files")), "Unreachable");
}

#[test]
fn a_baseline_record_starts_the_comparison_anew() {
    let baseline = |lsn| ControlBody::Baseline {
        address: address("shop/files"),
        marker: Marker { identity: Some("two".into()), ..position(lsn) },
        reason: "adopted".to_owned(),
    };
    let found = Marker { identity: Some("two".into()), ..position(50) };
    let world =
        database().control("local", ago(2), baseline(50)).found("shop/files", found.clone());
    assert_eq!(word(world), "Healthy");
    let older = database().control("local", ago(5), baseline(50)).found("shop/files", found);
    assert_eq!(word(older), "Replaced", "a newer point counts again");
    let behind = database()
        .control("local", ago(2), baseline(60))
        .found("shop/files", Marker { identity: Some("two".into()), ..position(50) });
    assert_eq!(word(behind), "RolledBack");
}

#[test]
fn incomplete_and_future_points_are_no_baseline() {
    let incomplete = database().point("local", "a4", "shop/files", ago(1), |r| {
        r.marker = position(900);
        r.complete = false;
    });
    assert_eq!(word(incomplete.found("shop/files", position(150))), "Healthy");
    let future = database()
        .point("local", "a4", "shop/files", at("2031-01-01T00:00:00Z"), |r| {
            r.marker = position(900)
        })
        .proven("a4");
    assert_eq!(word(future.found("shop/files", position(150))), "Healthy");
}
