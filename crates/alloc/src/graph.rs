//! How the planner sees a graph and its buffer types.

/// A view's root and where in it the view starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// The tensor that owns the memory; never a view itself (`view_src`).
    pub root: u32,
    /// Byte offset in the root (`view_offs`).
    pub offset: u64,
}

/// What memory planning needs to know of a graph. Tensors are named by ids below [`PlanGraph::n_tensors`];
/// nodes and leafs are listed in execution order (`ggml_cgraph`).
pub trait PlanGraph {
    /// One past the largest tensor id.
    fn n_tensors(&self) -> usize;
    /// Number of nodes.
    fn n_nodes(&self) -> usize;
    /// Tensor id of node `i`.
    fn node(&self, i: usize) -> u32;
    /// Number of leafs.
    fn n_leafs(&self) -> usize;
    /// Tensor id of leaf `i`.
    fn leaf(&self, i: usize) -> u32;
    /// Number of source slots of a tensor.
    fn n_sources(&self, tensor: u32) -> usize;
    /// Source `slot` of a tensor, `None` for an empty slot.
    fn source(&self, tensor: u32, slot: usize) -> Option<u32>;
    /// All source slots of a tensor in order. Called for every node before every evaluation: worth implementing where
    /// the sources lie in a slice.
    fn sources(&self, tensor: u32) -> impl ExactSizeIterator<Item = Option<u32>> {
        (0..self.n_sources(tensor)).map(move |slot| self.source(tensor, slot))
    }
    /// The root of a view, `None` for a tensor with memory of its own.
    fn view_of(&self, tensor: u32) -> Option<View>;
    /// Bytes the tensor takes in a buffer of this index (`ggml_backend_buft_get_alloc_size`).
    fn alloc_size(&self, tensor: u32, buffer: u32) -> u64;
    /// Written from outside before the graph runs: placed ahead of everything computed.
    fn is_input(&self, tensor: u32) -> bool;
    /// Read from outside after the graph ran: never freed nor overwritten.
    fn is_output(&self, tensor: u32) -> bool;
    /// Has memory already (weights, KV cache): never planned.
    fn is_external(&self, tensor: u32) -> bool;
    /// Whether the tensor's op may write where one of its sources lies (`ggml_op_can_inplace`). Which ops may is
    /// for those to say who implement them.
    fn can_inplace(&self, tensor: u32) -> bool;
    /// Same type, shape and strides (`ggml_are_same_layout`).
    fn same_layout(&self, a: u32, b: u32) -> bool;
    /// A node without an op, put into the list only to keep its sources alive up to there (`GGML_OP_NONE`).
    fn is_dependency_only(&self, tensor: u32) -> bool {
        let _ = tensor;
        false
    }
}

/// A buffer type, as far as planning needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BufferSpec {
    /// Identity of the buffer type: equal ids share one allocator and one backing buffer.
    pub id: u64,
    /// Alignment of every tensor, bytes, a power of two.
    pub alignment: u64,
    /// Largest single buffer, bytes; `u64::MAX` if unlimited.
    pub max_size: u64,
}

/// Which buffer each node and each leaf goes to, by position; `None` sends all to buffer 0.
#[derive(Debug, Clone, Copy, Default)]
pub struct BufferAssignment<'a> {
    /// Buffer index per node.
    pub nodes: Option<&'a [u32]>,
    /// Buffer index per leaf.
    pub leafs: Option<&'a [u32]>,
}
