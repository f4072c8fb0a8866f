//! Dependencies and former addresses: that what is named exists, and that nothing waits for itself.

use std::collections::{BTreeMap, VecDeque};

use model::diagnostic::Diagnostic;
use model::id::Address;
use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use crate::checks::Whole;
use crate::diagnostics::{self as d, Place};
use crate::lower::text;

/// One written dependency: from which resource to which, and where.
struct Edge {
    to: Address,
    place: Place,
}

pub(super) fn check(whole: &Whole<'_>, found: &mut Vec<Diagnostic>) {
    let edges = edges(whole, found);
    cycles(whole, &edges, found);
    former(whole, found);
}

/// Reads the dependencies again, with the place of each.
fn edges(whole: &Whole<'_>, found: &mut Vec<Diagnostic>) -> BTreeMap<Address, Vec<Edge>> {
    let resources = &whole.lowered.desired.resources;
    let mut edges: BTreeMap<Address, Vec<Edge>> = BTreeMap::new();
    for address in resources.keys() {
        let Some((spec, at)) = whole.written(address) else { continue };
        for (index, written) in spec.depends_on.iter().enumerate() {
            let place = at.at("dependsOn").item(index).place();
            let read =
                text::address(place.clone(), written, Some(&address.application), &mut Vec::new());
            let Some(to) = read else { continue };
            if to == *address {
                found.push(d::dependency_self(place, &to.to_string()));
            } else if resources.contains_key(&to) {
                edges.entry(address.clone()).or_default().push(Edge { to, place });
            } else if !whole.lowered.broken.has(&to) {
                unknown(whole, address, &to, place, found);
            }
        }
    }
    edges
}

fn unknown(
    whole: &Whole<'_>,
    from: &Address,
    to: &Address,
    place: Place,
    found: &mut Vec<Diagnostic>,
) {
    let own = from.application == to.application;
    let known: Vec<String> = whole
        .lowered
        .desired
        .resources
        .keys()
        .filter(|known| *known != from && (!own || known.application == from.application))
        .map(ToString::to_string)
        .collect();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    found.push(d::reference_unknown(place, "resource", &to.to_string(), &known));
}

/// Finds circles: one diagnostic for each group of resources that wait for each other, with the
/// shortest circle through its first resource.
fn cycles(whole: &Whole<'_>, edges: &BTreeMap<Address, Vec<Edge>>, found: &mut Vec<Diagnostic>) {
    let mut graph: DiGraph<&Address, ()> = DiGraph::new();
    let nodes: BTreeMap<&Address, NodeIndex> =
        whole.lowered.desired.resources.keys().map(|a| (a, graph.add_node(a))).collect();
    for (from, list) in edges {
        for edge in list {
            if let (Some(&a), Some(&b)) = (nodes.get(from), nodes.get(&edge.to)) {
                graph.add_edge(a, b, ());
            }
        }
    }
    for group in kosaraju_scc(&graph).into_iter().filter(|group| group.len() > 1) {
        let mut members: Vec<&Address> = group.iter().map(|&node| graph[node]).collect();
        members.sort();
        if let Some(circle) = shortest_circle(members[0], edges) {
            found.push(describe(members[0], &circle));
        }
    }
}

/// Returns the edges of the shortest circle through a resource.
fn shortest_circle<'e>(
    start: &Address,
    edges: &'e BTreeMap<Address, Vec<Edge>>,
) -> Option<Vec<(&'e Address, &'e Edge)>> {
    let mut came: BTreeMap<&Address, (&'e Address, &'e Edge)> = BTreeMap::new();
    let (start, _) = edges.get_key_value(start)?;
    let mut queue = VecDeque::from([start]);
    while let Some(from) = queue.pop_front() {
        for edge in edges.get(from).into_iter().flatten() {
            if came.contains_key(&edge.to) {
                continue;
            }
            came.insert(&edge.to, (from, edge));
            if edge.to == *start {
                return Some(unwind(start, &came));
            }
            queue.push_back(&edge.to);
        }
    }
    None
}

fn unwind<'e>(
    start: &'e Address,
    came: &BTreeMap<&Address, (&'e Address, &'e Edge)>,
) -> Vec<(&'e Address, &'e Edge)> {
    let mut circle = Vec::new();
    let mut at = start;
    while let Some(&(from, edge)) = came.get(at) {
        circle.push((from, edge));
        at = from;
        if at == start {
            break;
        }
    }
    circle.reverse();
    circle
}

fn describe(start: &Address, circle: &[(&Address, &Edge)]) -> Diagnostic {
    let mut path = vec![start.to_string()];
    path.extend(circle.iter().map(|(_, edge)| edge.to.to_string()));
    let place = circle[0].1.place.clone();
    let mut diagnostic = d::dependency_cycle(place, &path.join(" → "));
    for (from, edge) in &circle[1..] {
        let what = format!("`{from}` depends on `{}`", edge.to);
        diagnostic = d::related(diagnostic, edge.place.clone(), what);
    }
    diagnostic
}

/// Former addresses: one history belongs to one resource.
fn former(whole: &Whole<'_>, found: &mut Vec<Diagnostic>) {
    let resources = &whole.lowered.desired.resources;
    let mut claimed: BTreeMap<&Address, (&Address, Place)> = BTreeMap::new();
    for (address, resource) in resources {
        let Some((_, at)) = whole.written(address) else { continue };
        for (index, former) in resource.formerly.iter().enumerate() {
            let place = at.at("formerly").item(index).place();
            if resources.contains_key(former) {
                found.push(d::formerly_in_use(place, &former.to_string()));
                continue;
            }
            match claimed.get(former) {
                Some((other, first)) => {
                    let shared = d::formerly_shared(place, &former.to_string(), &other.to_string());
                    found.push(d::related(shared, first.clone(), "the other claim"));
                }
                None => {
                    claimed.insert(former, (address, place));
                }
            }
        }
    }
}
