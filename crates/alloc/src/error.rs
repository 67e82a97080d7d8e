//! The crate's one error type, and why a plan does not serve.

/// Why memory could not be planned or obtained. Where ggml aborts the process, this crate returns one of these.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AllocError {
    /// An alignment that is zero or not a power of two.
    #[error("buffer alignment is {found}, expected a power of two")]
    BadAlignment {
        /// The alignment given.
        found: u64,
    },
    /// A size that, rounded up to the alignment, exceeds [`crate::MAX_SIZE`].
    #[error("tensor of {size} bytes (alignment {alignment}) exceeds the addressable {max} bytes")]
    SizeTooLarge {
        /// The size asked for, bytes.
        size: u64,
        /// The alignment it is rounded up to, bytes.
        alignment: u64,
        /// The largest size accepted, bytes.
        max: u64,
    },
    /// A sum of sizes that does not fit 64 bits.
    #[error("total size of {what} does not fit 64 bits")]
    TotalTooLarge {
        /// What was being summed.
        what: &'static str,
    },
    /// All 16 chunks exist and none has a free block this large.
    #[error("no free block of {size} bytes, the largest in {n_chunks} chunks has {largest}")]
    NoSpace {
        /// The aligned size asked for, bytes.
        size: u64,
        /// The largest free block, bytes.
        largest: u64,
        /// How many chunks exist.
        n_chunks: usize,
    },
    /// A range handed to `free` that is not allocated (unknown chunk, out of bounds, not aligned, or already free).
    #[error("freeing {size} bytes at chunk {chunk} offset {offset}, which is not an allocated range")]
    BadFree {
        /// Chunk index of the range.
        chunk: u32,
        /// Byte offset in the chunk.
        offset: u64,
        /// Aligned size of the range, bytes.
        size: u64,
    },
    /// A tensor id the graph itself does not have.
    #[error("graph refers to tensor {tensor} as {role}, expected an id below {n_tensors}")]
    BadTensor {
        /// The id found.
        tensor: u32,
        /// Where it was found.
        role: &'static str,
        /// How many tensors the graph has.
        n_tensors: usize,
    },
    /// A view whose root is itself a view.
    #[error("tensor {tensor} is a view of {root}, which is a view too; expected the root of the chain")]
    ViewOfView {
        /// The view.
        tensor: u32,
        /// What it names as its root.
        root: u32,
    },
    /// An in-place node that needs more bytes than the parent with the same layout.
    #[error(
        "node {node} of {node_size} bytes has the layout of its parent {parent}, which has only {parent_size}"
    )]
    InplaceTooLarge {
        /// The node that would reuse memory.
        node: u32,
        /// Its size in the parent's buffer, bytes.
        node_size: u64,
        /// The parent.
        parent: u32,
        /// Size of the parent, bytes.
        parent_size: u64,
    },
    /// A buffer index outside the list of buffer types.
    #[error("{role} {index} is assigned to buffer {buffer}, expected an index below {n_buffers}")]
    BadBuffer {
        /// `"node"` or `"leaf"`.
        role: &'static str,
        /// Position in the graph's node or leaf list.
        index: usize,
        /// The buffer index found.
        buffer: u32,
        /// How many buffer types there are.
        n_buffers: usize,
    },
    /// Buffer indices given for another number of tensors than the graph has.
    #[error("{found} buffer indices for {expected} {role}s")]
    BadAssignment {
        /// `"node"` or `"leaf"`.
        role: &'static str,
        /// How many indices were given.
        found: usize,
        /// How many the graph needs.
        expected: usize,
    },
    /// No buffer types at all.
    #[error("no buffer types given, expected at least one")]
    NoBuffers,
    /// The plan does not serve this graph and several buffers make the assignment of nodes the caller's choice.
    #[error(
        "graph does not match the reserved plan ({reason:?}); with {n_buffers} buffers call reserve first"
    )]
    NeedsReserve {
        /// What differs.
        reason: ReallocReason,
        /// How many buffer types there are.
        n_buffers: usize,
    },
    /// The backing allocator could not provide a chunk.
    #[error("buffer {buffer}: chunk {chunk} of {size} bytes could not be allocated: {cause}")]
    Backing {
        /// Buffer index.
        buffer: u32,
        /// Chunk index in the buffer.
        chunk: usize,
        /// Size of the chunk, bytes.
        size: u64,
        /// What the backing allocator said.
        cause: String,
    },
    /// A linear buffer without room for the tensor.
    #[error("tensor of {size} bytes does not fit: {used} of {capacity} bytes are used")]
    BufferFull {
        /// Aligned size of the tensor, bytes.
        size: u64,
        /// Bytes already handed out.
        used: u64,
        /// Size of the buffer, bytes.
        capacity: u64,
    },
}

/// Why a plan does not serve a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
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
    /// Node `i` reads other tensors, views another root, or it or a source lost or gained a flag that decides about its
    /// lifetime. The reference does not look and would run such a graph on a plan made for another one.
    Structure(usize),
}

impl ReallocReason {
    /// Whether `ggml_gallocr_needs_realloc` sees the difference too.
    pub fn is_in_reference(self) -> bool {
        !matches!(self, Self::Leaf(_) | Self::Structure(_))
    }
}
