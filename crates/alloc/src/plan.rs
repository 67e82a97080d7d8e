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

/// In place of a tensor id: an empty source slot.
pub(crate) const NO_TENSOR: u32 = u32::MAX;

/// What a tensor is to the planner, read once from the graph: flags in the low bits, above them the root of a view plus
/// one. In one word, because roles are compared for every tensor before every evaluation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Role(u64);

impl Role {
    const USED: u64 = 1;
    const INPUT: u64 = 2;
    const OUTPUT: u64 = 4;
    const EXTERNAL: u64 = 8;
    const ROOT_SHIFT: u32 = 4;

    #[inline]
    pub fn of(graph: &impl PlanGraph, tensor: u32) -> Self {
        let root = graph.view_of(tensor).map_or(0, |v| u64::from(v.root) + 1);
        Self(
            Self::USED
                | (u64::from(graph.is_input(tensor)) * Self::INPUT)
                | (u64::from(graph.is_output(tensor)) * Self::OUTPUT)
                | (u64::from(graph.is_external(tensor)) * Self::EXTERNAL)
                | (root << Self::ROOT_SHIFT),
        )
    }

    /// A leaf, a node or a source of one.
    pub fn is_used(self) -> bool {
        self.0 & Self::USED != 0
    }

    pub fn is_input(self) -> bool {
        self.0 & Self::INPUT != 0
    }

    pub fn is_output(self) -> bool {
        self.0 & Self::OUTPUT != 0
    }

    /// Neither a view nor a tensor with memory of its own.
    pub fn needs_memory(self) -> bool {
        self.0 & !(Self::INPUT | Self::OUTPUT) == Self::USED
    }

    /// The root, for a view.
    pub fn root(self) -> Option<u32> {
        (self.0 >> Self::ROOT_SHIFT).checked_sub(1).map(|root| root as u32)
    }
}

/// One tensor as it stood when the plan was made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected {
    pub tensor: u32,
    /// Buffer it was planned in, if it needs memory.
    pub buffer: u32,
    /// Bytes it may take there (`size_max`).
    pub size: u64,
    pub role: Role,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct NodeRecord {
    pub dst: Expected,
    /// Start of its range in [`Plan::sources`].
    pub first_source: u32,
    pub n_sources: u32,
    /// The source slot whose memory the node took over.
    pub inplace_source: Option<u32>,
}

/// Where everything goes (`node_allocs`, `leaf_allocs`).
///
/// Which tensor stands at which position (leaf `i`, node `i`, source `j` of node `i`) is kept apart from what is known of
/// each tensor, so that a check need look at a tensor only once however often it is read.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    pub(crate) leafs: Vec<u32>,
    pub(crate) nodes: Vec<NodeRecord>,
    /// [`NO_TENSOR`] for an empty slot.
    pub(crate) sources: Vec<u32>,
    /// Nodes in place and the sources whose memory they took over.
    pub(crate) inplace: Vec<[u32; 2]>,
    /// Used tensors that are no nodes: leafs, and sources that are neither.
    pub(crate) others: Vec<Expected>,
    /// By tensor id; `None` for a view, a tensor with memory of its own, or one the graph does not use.
    pub(crate) placements: Vec<Option<Placement>>,
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
        self.tensor(*self.leafs.get(i)?)
    }

    /// Placement of node `i`; `None` for a view, a tensor with memory of its own, or no such node.
    pub fn node(&self, i: usize) -> Option<Placement> {
        self.tensor(self.nodes.get(i)?.dst.tensor)
    }

    /// Placement of source `slot` of node `i`; `None` as for [`Plan::node`], or for an empty slot.
    pub fn source(&self, i: usize, slot: usize) -> Option<Placement> {
        self.tensor(*self.node_sources(self.nodes.get(i)?).get(slot)?)
    }

    /// Placement of a tensor by id; `None` as for [`Plan::node`], or for one the graph does not use.
    pub fn tensor(&self, tensor: u32) -> Option<Placement> {
        *self.placements.get(tensor as usize)?
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

    pub(crate) fn node_sources(&self, node: &NodeRecord) -> &[u32] {
        &self.sources[node.first_source as usize..(node.first_source + node.n_sources) as usize]
    }

    /// Writes the placement of every tensor of `graph` to `out`, indexed by tensor id. Views get their root's
    /// buffer and chunk with the offsets added. Tensors the graph does not use, external ones and views of
    /// external ones get `None`. The graph must be one the plan serves ([`Plan::realloc_reason`] is `None`).
    /// Allocates only if `out` has to grow.
    pub fn place(&self, graph: &impl PlanGraph, out: &mut Vec<Option<Placement>>) {
        let n_tensors = graph.n_tensors();
        out.clear();
        out.extend(self.placements.iter().take(n_tensors));
        out.resize(n_tensors, None);
        for tensor in 0..n_tensors as u32 {
            let Some(view) = graph.view_of(tensor) else { continue };
            let root = out.get(view.root as usize).copied().flatten();
            out[tensor as usize] = root.and_then(|root| {
                let offset = root.offset.checked_add(view.offset)?;
                Some(Placement { offset, size: root.size.saturating_sub(view.offset), ..root })
            });
        }
    }
}
