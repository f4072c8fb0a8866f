//! Points that go on purpose, the last proven one among them.

use insta::assert_snapshot;
use model::desired::{Point, Scope};
use model::observed::{Ancestry, RecoveryPhase};

use crate::testing::*;

/// Two points of a resource in each of two repositories; the erasure names three of the four.
fn gone() -> World {
    World::new()
        .repository("local")
        .repository("offsite")
        .point("local", "a1", "shop/gone", ago(50), |_| {})
        .point("local", "a2", "shop/gone", ago(26), |_| {})
        .point("offsite", "b1", "shop/gone", ago(50), |_| {})
        .point("offsite", "b2", "shop/gone", ago(26), |_| {})
        .proven("a1")
        .proven("a2")
        .proven("b1")
        .erasure("shop/gone", &["a1", "a2", "b1"], |_| {})
}

fn refused(world: &World) -> Vec<String> {
    assert!(world.steps().iter().all(|step| !step.starts_with("erase")), "{:?}", world.steps());
    let deferred = world.deferred().into_iter();
    deferred.filter(|d| d.starts_with("erase")).map(|d| d.replace("erase/gdpr/", "")).collect()
}

#[test]
fn everything_that_is_named_goes_where_it_lies_and_waits_for_a_yes() {
    let text = gone().text();
    // The digest that the approval names changes with every field of the document.
    let text = text.lines().map(|l| l.split(": mainstay approve").next().unwrap_or(l));
    assert_snapshot!(text.collect::<Vec<_>>().join("\n"), @r"
    steps
      ! erase 2 points of shop/gone in local for ever  [erase/gdpr/shop/gone/local]
          erasure gdpr names 2 points: asked for by the customer
          ann and ben agreed, and its cooling-off has passed
          about 1.9 KiB
          waits for approval
      ! erase 1 point of shop/gone in offsite for ever  [erase/gdpr/shop/gone/offsite]
          erasure gdpr names 1 point: asked for by the customer
          ann and ben agreed, and its cooling-off has passed
          about 1000 B
          waits for approval
      - reclaim local  [reclaim/local]
          snapshots are forgotten in this plan, and what only they need can go
      - reclaim offsite  [reclaim/offsite]
          snapshots are forgotten in this plan, and what only they need can go

    notes
      erasure gdpr: 1 point of shop/gone not named, so kept

    destructive steps wait for approval: 2 expire, 2 reclaim
    ");
}

#[test]
fn one_yes_is_for_what_was_shown() {
    let digest = gone().plan().destructive.unwrap();
    let approved = gone().with(|w| {
        w.observed.memory.approvals.insert(digest.clone());
    });
    assert!(approved.steps().contains(&"erase/gdpr/shop/gone/local".to_owned()));
    let changed = approved.erasure("shop/gone", &["a1", "a2", "b1", "b2"], |_| {});
    assert!(changed.steps().contains(&"erase/gdpr/shop/gone/local waits approval".to_owned()));
}

#[test]
fn it_cools_off_from_when_it_was_first_seen() {
    let both = ["shop/gone/local CoolingOff", "shop/gone/offsite CoolingOff"];
    let seen = |hours| {
        gone().with(|w| w.observed.memory.erasures.values_mut().for_each(|at| *at = ago(hours)))
    };
    assert_eq!(refused(&seen(71)), both);
    let until = seen(71).plan().report.deferred[0].until;
    assert_eq!(until, Some(ago(-1)));
    assert_eq!(seen(72).deferred(), [""; 0]);
    let never = gone().with(|w| w.observed.memory.erasures.clear());
    assert_eq!(refused(&never), both);
    let lost = gone().with(|w| w.observed.memory.known = false);
    assert_eq!(
        refused(&lost),
        ["shop/gone/local MemoryUnknown", "shop/gone/offsite MemoryUnknown",]
    );
}

#[test]
fn a_changed_document_begins_anew() {
    let world = gone().with(|w| {
        w.desired.erasures.get_mut(&name("gdpr")).unwrap().snapshots.insert(snapshot("b2"));
    });
    assert_eq!(refused(&world).len(), 2);
}

#[test]
fn one_person_is_not_enough() {
    let alone = gone().erasure("shop/gone", &["a1"], |doc| {
        doc.approved_by = ["ann".to_owned(), " ANN".to_owned()].into();
    });
    assert_eq!(refused(&alone), ["shop/gone/local ErasureFlawed"]);
    let hasty = gone().erasure("shop/gone", &["a1"], |doc| doc.cooling_off_s = 60);
    assert_eq!(refused(&hasty), ["shop/gone/local ErasureFlawed"]);
    let mute = gone().erasure("shop/gone", &["a1"], |doc| doc.reason = " ".to_owned());
    assert_eq!(refused(&mute), ["shop/gone/local ErasureFlawed"]);
}

#[test]
fn nothing_goes_where_nothing_may_be_deleted_or_read() {
    let world =
        gone().with(|w| w.desired.repositories.get_mut(&name("local")).unwrap().append_only = true);
    assert_eq!(world.deferred(), ["erase/gdpr/shop/gone/local AppendOnly"]);
    let blind = gone().repository_unknown("offsite");
    assert!(blind.steps()[0].starts_with("erase/gdpr/shop/gone/local"));
    assert!(!blind.plan().report.incomplete.is_empty());
    let nothing = blind.repository_unknown("local").plan();
    assert!(nothing.report.notes[0].contains("not every repository could be read"));
}

#[test]
fn done_is_done() {
    let done = gone().erasure("shop/gone", &["f1"], |_| {}).plan();
    assert!(done.steps.is_empty());
    assert!(
        done.report.notes.contains(&"erasure gdpr: nothing is left of what it names".to_owned())
    );
}

/// A living resource with its last proven point named.
fn living() -> World {
    World::protected().keep("shop", keep_last(1)).erasure("shop/files", &["a1"], |_| {})
}

#[test]
fn what_a_recovery_needs_stays() {
    let named = living().recovery("look", "shop/files", |r| {
        r.point = Point::Snapshot(snapshot("a1"));
        r.token = "served".to_owned();
    });
    let named = named.record("shop/files", "served", "a1", RecoveryPhase::Committed, Some("look"));
    assert_eq!(refused(&named), ["shop/files/local PointNeeded"]);
    let open = living().record("shop/files", "t", "a1", RecoveryPhase::AwaitingCommit, None);
    assert_eq!(refused(&open), ["shop/files/local RecoveryUnderWay"]);
}

#[test]
fn retention_waits_until_it_is_seen_what_an_erasure_left() {
    let world = living().point("local", "a0", "shop/files", ago(9), |_| {}).proven("a0");
    assert_eq!(world.deferred(), ["expire/shop/files/local ErasureUnderWay"]);
}

#[test]
fn holds_and_alarms_stop_it() {
    let held = living().with(|w| w.observed.memory.holds.push(hold(Scope::All)));
    assert_eq!(held.steps()[0], "erase/gdpr/shop/files/local waits approval+hold");
    let back = living().with(|w| w.observed.memory.ancestry = Ancestry::Diverged);
    assert_eq!(back.steps()[0], "erase/gdpr/shop/files/local waits approval+alarm:commit");
}
