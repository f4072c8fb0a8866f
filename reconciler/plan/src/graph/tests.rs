//! Tests of the graph.

use std::collections::BTreeSet;

use insta::assert_snapshot;

use super::Graph;
use crate::testing::{World, address};

fn shop() -> World {
    ["shop/api", "shop/db", "shop/files", "shop/web"]
        .into_iter()
        .fold(World::new(), World::resource)
        .needs("shop/api", "shop/db")
        .needs("shop/api", "shop/files")
        .needs("shop/web", "shop/api")
}

fn order(world: &World) -> Vec<String> {
    Graph::new(&world.desired).order().iter().map(ToString::to_string).collect()
}

#[test]
fn dependencies_come_first_then_names() {
    assert_eq!(order(&shop()), ["shop/db", "shop/files", "shop/api", "shop/web"]);
}

#[test]
fn priority_goes_before_names_and_never_before_dependencies() {
    let world = shop().with(|w| {
        w.desired.resources.get_mut(&address("shop/files")).unwrap().priority = 5;
        w.desired.resources.get_mut(&address("shop/web")).unwrap().priority = 9;
    });
    assert_eq!(order(&world), ["shop/files", "shop/db", "shop/api", "shop/web"]);
}

#[test]
fn one_more_resource_moves_nothing_else() {
    let before = order(&shop());
    for new in ["shop/aaa", "shop/cache", "shop/zzz"] {
        let after = order(&shop().resource(new).needs(new, "shop/db"));
        let others: Vec<String> = after.into_iter().filter(|a| a != new).collect();
        assert_eq!(others, before, "{new}");
    }
}

#[test]
fn a_cycle_is_reported_and_ordered_by_name() {
    let world =
        shop().needs("shop/db", "shop/web").resource("shop/new").needs("shop/new", "shop/new");
    let graph = Graph::new(&world.desired);
    assert_eq!(graph.cycles.len(), 2);
    let cycle: Vec<String> = graph.cycles[0].iter().map(ToString::to_string).collect();
    assert_eq!(cycle, ["shop/api", "shop/db", "shop/web"]);
    assert_eq!(graph.order().len(), 5);
    assert!(world.plan().report.notes[0].starts_with("these depend on each other"));
}

#[test]
fn a_missing_end_is_reported() {
    let world = shop().needs("shop/db", "other/gone");
    assert_snapshot!(Graph::new(&world.desired).to_text(), @r"
    shop/db
    shop/files
    shop/api <- shop/db, shop/files
    shop/web <- shop/api
    missing: shop/db depends on other/gone
    ");
}

#[test]
fn closure_and_nearest() {
    let world = shop();
    let graph = Graph::new(&world.desired);
    let closure = graph.closure(&BTreeSet::from([address("shop/api")]));
    assert_eq!(closure, ["shop/api", "shop/db", "shop/files"].map(address).into());
    let is_end = |a: &model::id::Address| a.resource.as_str() == "db";
    let nearest: Vec<String> =
        graph.nearest(&address("shop/web"), is_end).into_iter().map(ToString::to_string).collect();
    assert_eq!(nearest, ["shop/db"]);
}

#[test]
fn pictures() {
    let world = shop();
    let graph = Graph::new(&world.desired);
    assert_snapshot!(graph.to_text(), @r"
    shop/db
    shop/files
    shop/api <- shop/db, shop/files
    shop/web <- shop/api
    ");
    assert_snapshot!(graph.to_dot(), @r#"
    digraph mainstay {
      rankdir=LR;
      node [shape=box];
      "shop/db";
      "shop/files";
      "shop/api";
      "shop/web";
      "shop/api" -> "shop/db";
      "shop/api" -> "shop/files";
      "shop/web" -> "shop/api";
    }
    "#);
    assert_snapshot!(graph.to_mermaid(), @r#"
    graph LR
      n0["shop/db"]
      n1["shop/files"]
      n2["shop/api"]
      n3["shop/web"]
      n2 --> n0
      n2 --> n1
      n3 --> n2
    "#);
}
