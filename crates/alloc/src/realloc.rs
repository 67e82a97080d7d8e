//! The realloc analyzer: does a plan still serve a graph that was built anew?
//!
//! Linear in nodes and sources, and free of heap allocations, because it runs before every evaluation.

use crate::error::ReallocReason;
use crate::graph::PlanGraph;
use crate::plan::{Expected, NO_TENSOR, NodeRecord, Placement, Plan, Role};

fn fits(graph: &impl PlanGraph, tensor: u32, planned: Option<Placement>) -> bool {
    if graph.is_external(tensor) || graph.view_of(tensor).is_some() {
        return true;
    }
    planned.is_some_and(|p| graph.alloc_size(tensor, p.buffer) <= p.size)
}

/// In the role it had, and no larger.
fn is_as_expected(graph: &impl PlanGraph, expected: &Expected) -> bool {
    Role::of(graph, expected.tensor) == expected.role
        && (!expected.role.needs_memory()
            || graph.alloc_size(expected.tensor, expected.buffer) <= expected.size)
}

/// A node that took over a source's memory must still be able to.
fn may_overwrite(graph: &impl PlanGraph, [node, source]: [u32; 2]) -> bool {
    graph.can_inplace(node) && graph.same_layout(node, source)
}

fn same_sources(found: impl ExactSizeIterator<Item = Option<u32>>, planned: &[u32]) -> bool {
    found.len() == planned.len() && found.zip(planned).all(|(a, &b)| a.unwrap_or(NO_TENSOR) == b)
}

impl Plan {
    /// Why the plan does not serve `graph`, `None` if it does.
    ///
    /// First the reference's own checks ([`Plan::needs_realloc`]), then what it leaves to its callers: that the
    /// graph reads the same tensors in the same roles. Linear, and free of heap allocations.
    pub fn realloc_reason(&self, graph: &impl PlanGraph) -> Option<ReallocReason> {
        if self.serves(graph) {
            return None;
        }
        self.size_reason(graph).or_else(|| self.structure_reason(graph))
    }

    /// The reference's verdict (`ggml_gallocr_needs_realloc`): whether counts differ, or a node or source needs
    /// more than was planned at its position, whichever tensor stands there now. Linear, and free of heap
    /// allocations.
    pub fn needs_realloc(&self, graph: &impl PlanGraph) -> bool {
        !self.serves(graph) && self.size_reason(graph).is_some()
    }

    /// The same tensors in the same places and roles, none larger than planned: the case that nearly always holds. Looks
    /// at each tensor once, not once for each time it is read.
    fn serves(&self, graph: &impl PlanGraph) -> bool {
        let same_leaf = |(i, leaf): (usize, &u32)| graph.leaf(i) == *leaf;
        let mut sources = self.sources.as_slice();
        let same_node = |(i, node): (usize, &NodeRecord)| {
            let (own, rest) = sources.split_at(node.n_sources as usize);
            sources = rest;
            graph.node(i) == node.dst.tensor
                && is_as_expected(graph, &node.dst)
                && same_sources(graph.sources(node.dst.tensor), own)
        };
        graph.n_nodes() == self.nodes.len()
            && graph.n_leafs() == self.leafs.len()
            && graph.n_tensors() == self.placements.len()
            && self.leafs.iter().enumerate().all(same_leaf)
            && self.nodes.iter().enumerate().all(same_node)
            && self.others.iter().all(|other| is_as_expected(graph, other))
            && self.inplace.iter().all(|&pair| may_overwrite(graph, pair))
    }

    fn size_reason(&self, graph: &impl PlanGraph) -> Option<ReallocReason> {
        if graph.n_nodes() != self.nodes.len() {
            return Some(ReallocReason::NodeCount);
        }
        if graph.n_leafs() != self.leafs.len() {
            return Some(ReallocReason::LeafCount);
        }
        for (i, node) in self.nodes.iter().enumerate() {
            let tensor = graph.node(i);
            if !fits(graph, tensor, self.tensor(node.dst.tensor)) {
                return Some(ReallocReason::Node(i));
            }
            let planned = self.node_sources(node);
            for slot in 0..graph.n_sources(tensor) {
                let Some(source) = graph.source(tensor, slot) else { continue };
                let planned = planned.get(slot).and_then(|&s| self.tensor(s));
                if !fits(graph, source, planned) {
                    return Some(ReallocReason::Source(i));
                }
            }
        }
        None
    }

    /// Where the graph, whose sizes are fine, differs from the one planned.
    fn structure_reason(&self, graph: &impl PlanGraph) -> Option<ReallocReason> {
        let other_leaf = |i: &usize| graph.leaf(*i) != self.leafs[*i];
        if let Some(i) = (0..self.leafs.len()).find(other_leaf) {
            return Some(ReallocReason::Leaf(i));
        }
        let other_node = |(i, node): (usize, &NodeRecord)| {
            graph.node(i) != node.dst.tensor
                || !is_as_expected(graph, &node.dst)
                || !same_sources(graph.sources(node.dst.tensor), self.node_sources(node))
        };
        if let Some(i) = self.nodes.iter().enumerate().position(other_node) {
            return Some(ReallocReason::Structure(i));
        }
        if let Some(pair) = self.inplace.iter().find(|&&pair| !may_overwrite(graph, pair)) {
            return self
                .nodes
                .iter()
                .position(|node| node.dst.tensor == pair[0])
                .map(ReallocReason::Structure);
        }
        let other = self.others.iter().find(|other| !is_as_expected(graph, other))?.tensor;
        let leaf = self.leafs.iter().position(|&leaf| leaf == other);
        let reader = || self.nodes.iter().position(|node| self.node_sources(node).contains(&other));
        leaf.map(ReallocReason::Leaf).or_else(|| reader().map(ReallocReason::Structure))
    }
}
