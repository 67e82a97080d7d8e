//! The result of planning: an address for every slot of a graph, and how large each chunk must be.

use crate::{Address, PlanGraph};

/// Where a tensor lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// Index of the buffer type, as given to the planner.
    pub buffer: u32,
    /// Chunk index in that buffer.
    pub chunk: u32,
    /// Byte offset in the chunk.
    pub offset: u64,
    /// Bytes set aside for the tensor.
    pub size: u64,
}

impl Placement {
    /// Chunk and offset.
    pub fn address(&self) -> Address {
        Address { chunk: self.chunk, offset: self.offset }
    }
}

/// One tensor as it stood when the plan was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    pub tensor: u32,
    /// `None` for a view, a tensor with memory of its own, or an empty source slot (`buffer_id == -1`).
    pub placement: Option<Placement>,
    /// Root of the view, if it is one.
    pub root: Option<u32>,
    pub is_output: bool,
    pub is_external: bool,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct NodeSlots {
    pub dst: Slot,
    /// Range of [`Plan::sources`].
    pub first_source: usize,
    pub n_sources: usize,
    /// The source slot whose memory the node took over.
    pub inplace_source: Option<u32>,
}

/// Where everything goes. Slots are positional (leaf `i`, node `i`, source `j` of node `i`), so that a plan
/// serves every graph of the same structure, whichever tensors it is made of (`node_allocs`, `leaf_allocs`).
#[derive(Debug, Clone, Default)]
pub struct Plan {
    pub(crate) leafs: Vec<Slot>,
    pub(crate) nodes: Vec<NodeSlots>,
    pub(crate) sources: Vec<Option<Slot>>,
    pub(crate) chunk_sizes: Vec<Vec<u64>>,
    pub(crate) total_sizes: Vec<u64>,
}

impl Plan {
    /// Number of nodes planned.
    pub fn n_nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Number of leafs planned.
    pub fn n_leafs(&self) -> usize {
        self.leafs.len()
    }

    /// Placement of leaf `i`; `None` for a view, a tensor with memory of its own, or no such leaf.
    pub fn leaf(&self, i: usize) -> Option<Placement> {
        self.leafs.get(i)?.placement
    }

    /// Placement of node `i`; `None` for a view, a tensor with memory of its own, or no such node.
    pub fn node(&self, i: usize) -> Option<Placement> {
        self.nodes.get(i)?.dst.placement
    }

    /// Placement of source `slot` of node `i`; `None` as for [`Plan::node`], or for an empty slot.
    pub fn source(&self, i: usize, slot: usize) -> Option<Placement> {
        self.source_slot(self.nodes.get(i)?, slot)?.placement
    }

    /// The source slot whose memory node `i` writes over, if it runs in place.
    pub fn inplace_source(&self, i: usize) -> Option<u32> {
        self.nodes.get(i)?.inplace_source
    }

    /// Bytes of every chunk of a buffer. A buffer of the same id as an earlier one repeats its sizes.
    pub fn chunk_sizes(&self, buffer: usize) -> &[u64] {
        self.chunk_sizes.get(buffer).map_or(&[], Vec::as_slice)
    }

    /// Bytes of all chunks of a buffer together (`ggml_gallocr_reserve_n_size`).
    pub fn total_size(&self, buffer: usize) -> u64 {
        self.total_sizes.get(buffer).copied().unwrap_or(0)
    }

    pub(crate) fn source_slot(&self, node: &NodeSlots, slot: usize) -> Option<Slot> {
        if slot >= node.n_sources {
            return None;
        }
        self.sources[node.first_source + slot]
    }

    /// Writes the placement of every tensor of `graph` to `out`, indexed by tensor id. Views get their root's
    /// buffer and chunk with the offsets added. Tensors the graph does not use, external ones and views of
    /// external ones get `None`. The graph must be one the plan serves ([`Plan::realloc_reason`] is `None`).
    /// Allocates only if `out` has to grow.
    pub fn place(&self, graph: &impl PlanGraph, out: &mut Vec<Option<Placement>>) {
        out.clear();
        out.resize(graph.n_tensors(), None);
        let mut put = |tensor: u32, slot: Option<Slot>| {
            let (Some(entry), Some(slot)) = (out.get_mut(tensor as usize), slot) else { return };
            // The first slot that names a tensor decides, as in ggml_gallocr_init_tensor.
            if entry.is_none() {
                *entry = slot.placement;
            }
        };
        for (i, leaf) in self.leafs.iter().enumerate() {
            put(graph.leaf(i), Some(*leaf));
        }
        for (i, node) in self.nodes.iter().enumerate() {
            let tensor = graph.node(i);
            for slot in 0..graph.n_sources(tensor) {
                if let Some(source) = graph.source(tensor, slot) {
                    put(source, self.source_slot(node, slot));
                }
            }
            put(tensor, Some(node.dst));
        }
        for tensor in 0..out.len() as u32 {
            let Some(view) = graph.view_of(tensor) else { continue };
            let root = out.get(view.root as usize).copied().flatten();
            out[tensor as usize] = root.and_then(|root| {
                let offset = root.offset.checked_add(view.offset)?;
                Some(Placement { offset, size: root.size.saturating_sub(view.offset), ..root })
            });
        }
    }
}
