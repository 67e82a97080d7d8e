//! The realloc analyzer: does a plan still serve a graph that was built anew?
//!
//! Linear in nodes and sources, and free of heap allocations, because it runs before every evaluation.

use crate::PlanGraph;
use crate::plan::{NodeSlots, Plan, Slot};

/// Why a plan does not serve a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReallocReason {
    /// Nothing is reserved yet.
    NoPlan,
    /// Another number of nodes.
    NodeCount,
    /// Another number of leafs.
    LeafCount,
    /// Node `i` needs more bytes than planned, or memory where none was planned.
    Node(usize),
    /// A source of node `i` needs more bytes than planned, or memory where none was planned.
    Source(usize),
    /// Leaf `i` needs more bytes than planned (the reference looks at leafs only where nodes read them).
    Leaf(usize),
    /// Node `i` reads other tensors, views another root, or lost or gained a flag that decides about its
    /// lifetime. The reference does not look and would run such a graph on a plan made for another one.
    Structure(usize),
}

impl ReallocReason {
    /// Whether `ggml_gallocr_needs_realloc` sees the difference too.
    pub fn is_in_reference(self) -> bool {
        !matches!(self, Self::Leaf(_) | Self::Structure(_))
    }
}

fn fits(graph: &impl PlanGraph, tensor: u32, slot: Option<Slot>) -> bool {
    if graph.is_external(tensor) || graph.view_of(tensor).is_some() {
        return true;
    }
    slot.and_then(|s| s.placement).is_some_and(|p| graph.alloc_size(tensor, p.buffer) <= p.size)
}

fn same_role(graph: &impl PlanGraph, tensor: u32, slot: &Slot) -> bool {
    tensor == slot.tensor
        && graph.view_of(tensor).map(|v| v.root) == slot.root
        && graph.is_output(tensor) == slot.is_output
        && graph.is_external(tensor) == slot.is_external
}

impl Plan {
    /// Why the plan does not serve `graph`, `None` if it does.
    ///
    /// First the reference's own checks (`ggml_gallocr_needs_realloc`): counts, and every node and source no
    /// larger than planned. Then what it leaves to its callers: that the graph reads the same tensors.
    pub fn realloc_reason(&self, graph: &impl PlanGraph) -> Option<ReallocReason> {
        self.size_reason(graph).or_else(|| self.structure_reason(graph))
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
            if !fits(graph, tensor, Some(node.dst)) {
                return Some(ReallocReason::Node(i));
            }
            for slot in 0..graph.n_sources(tensor) {
                let Some(source) = graph.source(tensor, slot) else { continue };
                if !fits(graph, source, self.source_slot(node, slot)) {
                    return Some(ReallocReason::Source(i));
                }
            }
        }
        None
    }

    fn structure_reason(&self, graph: &impl PlanGraph) -> Option<ReallocReason> {
        for (i, leaf) in self.leafs.iter().enumerate() {
            let tensor = graph.leaf(i);
            if tensor != leaf.tensor || !fits(graph, tensor, Some(*leaf)) {
                return Some(ReallocReason::Leaf(i));
            }
        }
        (0..self.nodes.len())
            .find(|&i| !self.same_structure(graph, graph.node(i), &self.nodes[i]))
            .map(ReallocReason::Structure)
    }

    fn same_structure(&self, graph: &impl PlanGraph, tensor: u32, node: &NodeSlots) -> bool {
        if !same_role(graph, tensor, &node.dst) || graph.n_sources(tensor) != node.n_sources {
            return false;
        }
        for slot in 0..node.n_sources {
            let same = match (graph.source(tensor, slot), self.source_slot(node, slot)) {
                (None, None) => true,
                (Some(source), Some(planned)) => same_role(graph, source, &planned),
                _ => false,
            };
            if !same {
                return false;
            }
        }
        // A node that took over a source's memory must still be able to.
        node.inplace_source.is_none_or(|slot| {
            graph.can_inplace(tensor)
                && graph.source(tensor, slot as usize).is_some_and(|s| graph.same_layout(tensor, s))
        })
    }
}
