//! The dependency graph over resources: order, cycles, closures, and its pictures. Called by the
//! planner and by the `graph` command.

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::fmt::Write as _;

use indexmap::IndexMap;
use model::desired::Desired;
use model::id::Address;
use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};

/// Edges go from a resource to what must be there before it.
pub struct Graph<'a> {
    /// A node's index is its place among the sorted addresses.
    graph: DiGraph<&'a Address, ()>,
    addresses: Vec<&'a Address>,
    /// The component of each node; two nodes of one component lie on a cycle. Empty: no cycles.
    component: Vec<usize>,
    order: Vec<&'a Address>,
    position: Vec<usize>,
    /// Groups of resources that depend on each other, each sorted.
    pub cycles: Vec<Vec<Address>>,
    /// Edges whose end is not in the desired state: resource and missing dependency.
    pub dangling: Vec<(Address, Address)>,
}

impl<'a> Graph<'a> {
    /// Builds the graph of a desired state. Cycles and dangling ends are reported, never fatal:
    /// edges inside a cycle are left out of the order.
    pub fn new(desired: &'a Desired) -> Self {
        let addresses: Vec<&Address> = desired.resources.keys().collect();
        let edges = desired.resources.values().map(|r| r.depends_on.len()).sum();
        let mut graph = DiGraph::with_capacity(addresses.len(), edges);
        let index: IndexMap<&Address, NodeIndex> =
            addresses.iter().map(|address| (*address, graph.add_node(*address))).collect();
        let mut dangling = Vec::new();
        for (number, (address, resource)) in desired.resources.iter().enumerate() {
            for dependency in &resource.depends_on {
                match index.get(dependency) {
                    Some(to) => {
                        graph.add_edge(NodeIndex::new(number), *to, ());
                    }
                    None => dangling.push((address.clone(), dependency.clone())),
                }
            }
        }
        let mut built = Self {
            graph,
            component: Vec::new(),
            order: Vec::new(),
            position: Vec::new(),
            addresses,
            cycles: Vec::new(),
            dangling,
        };
        built.order = built.sorted(desired);
        if built.order.len() < built.addresses.len() {
            built.find_cycles();
            built.order = built.sorted(desired);
        }
        built.position = vec![0; built.order.len()];
        for (place, address) in built.order.iter().enumerate() {
            if let Ok(number) = built.addresses.binary_search(address) {
                built.position[number] = place;
            }
        }
        built
    }

    /// Names the components. petgraph's own choice of Kosaraju's algorithm is the one that does not
    /// call itself: a chain of a hundred thousand resources would end its stack.
    fn find_cycles(&mut self) {
        self.component = vec![0; self.graph.node_count()];
        for (number, nodes) in kosaraju_scc(&self.graph).into_iter().enumerate() {
            for node in &nodes {
                self.component[node.index()] = number;
            }
            let alone = nodes.len() == 1 && !self.graph.contains_edge(nodes[0], nodes[0]);
            if !alone {
                let mut cycle: Vec<Address> =
                    nodes.iter().map(|n| self.graph[*n].clone()).collect();
                cycle.sort();
                self.cycles.push(cycle);
            }
        }
        self.cycles.sort();
    }

    fn same_component(&self, a: NodeIndex, b: NodeIndex) -> bool {
        !self.component.is_empty() && self.component[a.index()] == self.component[b.index()]
    }

    /// Kahn's algorithm with a sorted ready set: higher priority first, then by address. Adding one
    /// resource therefore moves only itself and what depends on it.
    fn sorted(&self, desired: &Desired) -> Vec<&'a Address> {
        // Nodes are numbered in the order of the addresses, so numbers compare as addresses do.
        let priorities: Vec<i64> =
            desired.resources.values().map(|r| -i64::from(r.priority)).collect();
        let rank = |node: NodeIndex| Reverse((priorities[node.index()], node));
        let mut waiting: Vec<usize> = vec![0; self.graph.node_count()];
        let mut ready = BinaryHeap::new();
        for node in self.graph.node_indices() {
            waiting[node.index()] = self.direct(node).count();
            if waiting[node.index()] == 0 {
                ready.push(rank(node));
            }
        }
        let mut order = Vec::with_capacity(self.graph.node_count());
        while let Some(Reverse((_, node))) = ready.pop() {
            order.push(self.graph[node]);
            for dependant in self.graph.neighbors_directed(node, petgraph::Incoming) {
                if self.same_component(dependant, node) {
                    continue;
                }
                waiting[dependant.index()] -= 1;
                if waiting[dependant.index()] == 0 {
                    ready.push(rank(dependant));
                }
            }
        }
        order
    }

    /// Dependencies outside the node's own cycle.
    fn direct(&self, node: NodeIndex) -> impl Iterator<Item = NodeIndex> + '_ {
        self.graph.neighbors(node).filter(move |to| !self.same_component(*to, node))
    }

    fn node(&self, address: &Address) -> Option<NodeIndex> {
        self.addresses.binary_search(&address).ok().map(NodeIndex::new)
    }

    /// Returns all resources, each after what it depends on.
    pub fn order(&self) -> &[&'a Address] {
        &self.order
    }

    /// Returns the place of a resource in the order; unknown ones come last.
    pub fn position(&self, address: &Address) -> usize {
        self.node(address).map_or(usize::MAX, |node| self.position[node.index()])
    }

    /// Returns the direct dependencies of a resource, edges inside a cycle left out, sorted.
    pub fn dependencies(&self, address: &Address) -> BTreeSet<&'a Address> {
        let Some(node) = self.node(address) else {
            return BTreeSet::new();
        };
        self.direct(node).map(|to| self.graph[to]).collect()
    }

    /// Returns the given resources and everything they depend on, directly or not.
    pub fn closure(&self, of: &BTreeSet<Address>) -> BTreeSet<Address> {
        let mut found: BTreeSet<Address> = BTreeSet::new();
        let mut open: Vec<&Address> = of.iter().collect();
        while let Some(address) = open.pop() {
            if found.insert(address.clone()) {
                open.extend(self.dependencies(address));
            }
        }
        found
    }

    /// Returns the nearest dependencies for which `is_end` holds, looking through the others.
    pub fn nearest(
        &self,
        of: &Address,
        is_end: impl Fn(&Address) -> bool,
    ) -> BTreeSet<&'a Address> {
        let mut ends = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut open: Vec<&Address> = self.dependencies(of).into_iter().collect();
        while let Some(address) = open.pop() {
            let Some(node) = self.node(address) else { continue };
            let known = self.graph[node];
            if !seen.insert(known) {
                continue;
            }
            if is_end(known) {
                ends.insert(known);
            } else {
                open.extend(self.dependencies(known));
            }
        }
        ends
    }

    /// Every edge as written, also those of cycles, sorted.
    fn edges(&self) -> BTreeSet<(&'a Address, &'a Address)> {
        self.graph
            .edge_indices()
            .filter_map(|edge| self.graph.edge_endpoints(edge))
            .map(|(from, to)| (self.graph[from], self.graph[to]))
            .collect()
    }

    /// Returns one line per resource in order, with what it depends on.
    pub fn to_text(&self) -> String {
        let mut direct: BTreeMap<&Address, Vec<String>> = BTreeMap::new();
        for (from, to) in self.edges() {
            direct.entry(from).or_default().push(to.to_string());
        }
        let mut out = String::new();
        for address in &self.order {
            let _ = match direct.get(address) {
                Some(needs) => writeln!(out, "{address} <- {}", needs.join(", ")),
                None => writeln!(out, "{address}"),
            };
        }
        for cycle in &self.cycles {
            let names: Vec<String> = cycle.iter().map(ToString::to_string).collect();
            let _ = writeln!(out, "cycle: {}", names.join(", "));
        }
        for (from, to) in &self.dangling {
            let _ = writeln!(out, "missing: {from} depends on {to}");
        }
        out
    }

    /// Returns the graph in the DOT language; arrows point at what must be there before.
    pub fn to_dot(&self) -> String {
        let mut out = String::from("digraph mainstay {\n  rankdir=LR;\n  node [shape=box];\n");
        for address in &self.order {
            let _ = writeln!(out, "  \"{address}\";");
        }
        for (from, to) in self.edges() {
            let _ = writeln!(out, "  \"{from}\" -> \"{to}\";");
        }
        out.push_str("}\n");
        out
    }

    /// Returns the graph in the Mermaid language, as code hosts draw it in Markdown.
    pub fn to_mermaid(&self) -> String {
        let mut out = String::from("graph LR\n");
        let number: BTreeMap<&Address, usize> =
            self.order.iter().enumerate().map(|(i, a)| (*a, i)).collect();
        for (i, address) in self.order.iter().enumerate() {
            let _ = writeln!(out, "  n{i}[\"{address}\"]");
        }
        for (from, to) in self.edges() {
            let _ = writeln!(out, "  n{} --> n{}", number[from], number[to]);
        }
        out
    }
}
