//! One tensor: type, shape, strides, where it comes from and where its bytes live.

use quipu_quant::DType;
use smallvec::SmallVec;

use crate::ops::{MAX_SRC, Op};

/// Dimensions of every tensor (`GGML_MAX_DIMS`).
pub const MAX_DIMS: usize = 4;

/// A tensor's number in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TensorId(pub(crate) u32);

impl TensorId {
    /// The index into [`crate::Graph::tensors`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A buffer's number in the table of whoever runs the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub u32);

/// Where a tensor's bytes live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Storage {
    /// Nowhere yet: the memory planner decides.
    #[default]
    Unbound,
    /// In memory the planner does not own: a weight or a cache.
    External {
        /// The buffer.
        buffer: BufferId,
        /// Byte offset in it.
        offset: usize,
    },
    /// In compute memory, at a place the planner chose.
    Planned {
        /// The buffer.
        buffer: BufferId,
        /// Byte offset in it.
        offset: usize,
    },
}

impl Storage {
    /// Buffer and byte offset, if bound.
    pub const fn location(self) -> Option<(BufferId, usize)> {
        match self {
            Storage::Unbound => None,
            Storage::External { buffer, offset } | Storage::Planned { buffer, offset } => {
                Some((buffer, offset))
            }
        }
    }
}

/// A tensor that shares the bytes of another (`view_src`, `view_offs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// The tensor that owns the bytes; never itself a view.
    pub root: TensorId,
    /// Byte offset from the start of the root.
    pub offset: usize,
}

/// `GGML_TENSOR_FLAG_INPUT` and `_OUTPUT`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// Written by the caller before the graph runs; its memory is never shared with another tensor before use.
    pub input: bool,
    /// Read by the caller after the graph ran; its memory is never reused.
    pub output: bool,
}

/// A tensor of a graph. Answers to `struct ggml_tensor`.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// The reference's name for it (`attn_norm-0`, `blk.0.attn_q.weight`, ...); for people and audits.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Elements per dimension, innermost first.
    pub ne: [usize; MAX_DIMS],
    /// Bytes between neighbours per dimension; `nb[0]` is the bytes of one block.
    pub nb: [usize; MAX_DIMS],
    /// What computes it; [`Op::None`] for leaves.
    pub op: Op,
    /// Operands, in ggml's order.
    pub src: SmallVec<[TensorId; MAX_SRC]>,
    /// Set if the bytes belong to another tensor.
    pub view: Option<View>,
    /// Input and output marks.
    pub flags: Flags,
    /// Where the bytes live; for a view, filled from its root.
    pub storage: Storage,
}

impl Tensor {
    /// Its name, or its op's if it has none: for messages.
    pub fn label(&self) -> &str {
        if self.name.is_empty() { self.op.name() } else { &self.name }
    }

    /// Total elements (`ggml_nelements`).
    pub fn n_elements(&self) -> usize {
        self.ne.iter().product()
    }

    /// Rows: elements of all dimensions but the first (`ggml_nrows`).
    pub fn n_rows(&self) -> usize {
        self.ne[1] * self.ne[2] * self.ne[3]
    }

    /// Bytes from the first to past the last element, strides included (`ggml_nbytes`); 0 if empty.
    pub fn n_bytes(&self) -> usize {
        if self.ne.contains(&0) {
            return 0;
        }
        let tail: usize = (1..MAX_DIMS).map(|i| (self.ne[i] - 1) * self.nb[i]).sum();
        let block_len = self.dtype.block_len();
        if block_len == 1 {
            self.dtype.block_bytes() + (self.ne[0] - 1) * self.nb[0] + tail
        } else {
            self.ne[0] / block_len * self.nb[0] + tail
        }
    }

    /// Rows lie one after the other without gaps (`ggml_is_contiguous`).
    pub fn is_contiguous(&self) -> bool {
        let mut next = self.dtype.block_bytes();
        if self.ne[0] != self.dtype.block_len() && self.nb[0] != next {
            return false;
        }
        let Some(row) = self.dtype.row_bytes(self.ne[0]) else { return false };
        next = row;
        for i in 1..MAX_DIMS {
            if self.ne[i] != 1 && self.nb[i] != next {
                return false;
            }
            next = next.saturating_mul(self.ne[i]);
        }
        true
    }

    /// Bytes from the first element to past the last one, in checked arithmetic: 0 for an empty tensor, `None` if they, or
    /// the bytes of as many elements, do not fit in a `usize`. For graphs whose owner may have edited sizes and strides.
    pub fn extent(&self) -> Option<usize> {
        // Kernels multiply dimensions in any order, so the product must fit even if one of them is 0.
        self.ne.iter().try_fold(8usize, |n, e| n.checked_mul((*e).max(1)))?;
        if self.ne.contains(&0) {
            return Some(0);
        }
        let row = if self.dtype.block_len() == 1 {
            self.nb[0].checked_mul(self.ne[0] - 1)?.checked_add(self.dtype.block_bytes())?
        } else {
            self.dtype.row_bytes(self.ne[0])?
        };
        (1..MAX_DIMS).try_fold(row, |end, i| end.checked_add(self.nb[i].checked_mul(self.ne[i] - 1)?))
    }

    /// Whether the bytes from first to last of both meet, this tensor's from address `at` on, the other's from `other_at`.
    pub fn overlaps(&self, at: u64, other: &Tensor, other_at: u64) -> bool {
        let end = |t: &Tensor, at: u64| at + t.extent().unwrap_or(0) as u64;
        let empty = self.n_elements() == 0 || other.n_elements() == 0;
        !empty && at < end(other, other_at) && other_at < end(self, at)
    }

    /// No two elements share a byte.
    pub fn is_injective(&self) -> bool {
        let mut dims = [0, 1, 2, 3];
        dims.sort_unstable_by_key(|i| self.nb[*i]);
        let mut end = self.dtype.block_bytes();
        for i in dims {
            let n = if i == 0 { self.ne[0] / self.dtype.block_len() } else { self.ne[i] };
            if n > 1 {
                if self.nb[i] < end {
                    return false;
                }
                end = end.saturating_add(self.nb[i].saturating_mul(n - 1));
            }
        }
        true
    }

    /// Elements of one row lie side by side (`ggml_is_contiguous_rows`).
    pub fn has_contiguous_rows(&self) -> bool {
        self.ne[0] == self.dtype.block_len() || self.nb[0] == self.dtype.block_bytes()
    }

    /// Same type, shape and strides (`ggml_are_same_layout`).
    pub fn same_layout(&self, other: &Tensor) -> bool {
        self.dtype == other.dtype && self.ne == other.ne && self.nb == other.nb
    }
}

/// Strides of a contiguous tensor; `None` on a partial block or overflow.
pub(crate) fn contiguous_strides(dtype: DType, ne: [usize; MAX_DIMS]) -> Option<[usize; MAX_DIMS]> {
    let mut nb = [dtype.block_bytes(), dtype.row_bytes(ne[0])?, 0, 0];
    nb[2] = nb[1].checked_mul(ne[1])?;
    nb[3] = nb[2].checked_mul(ne[2])?;
    // The whole tensor must be addressable too; padding by a planner leaves headroom of half the range.
    (nb[3].checked_mul(ne[3])? < usize::MAX / 2).then_some(nb)
}
