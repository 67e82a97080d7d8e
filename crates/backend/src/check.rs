//! What every backend asks of nodes and weights before it computes with them: the op's own rule, sizes and layouts.
//!
//! Kernels follow addresses on the strength of these checks, and a graph is plain data that its owner may have edited, so
//! nothing that the graph's builders promise is taken for granted here. Which types a backend computes, and how large its
//! tensors may be, is checked by the backend besides.

use quipu_graph::{DType, Graph, MAX_SRC, Tensor, TensorId};

use crate::error::Error;

/// Why a node cannot be computed: what was expected of it.
pub type Reason = &'static str;

/// `reason`, unless it holds.
pub fn ensure(holds: bool, reason: Reason) -> Result<(), Reason> {
    if holds { Ok(()) } else { Err(reason) }
}

/// Checks that `len` bytes are a weight of this type and shape.
///
/// # Errors
/// [`Error::Tensor`] if they are not.
pub fn weight(dtype: DType, ne: [usize; 4], len: usize) -> Result<(), Error> {
    let expected =
        dtype.row_bytes(ne[0]).and_then(|row| ne[1..].iter().try_fold(row, |n, e| n.checked_mul(*e)));
    if expected == Some(len) {
        return Ok(());
    }
    Err(Error::Tensor {
        name: format!("{dtype} weight {ne:?}"),
        found: format!("{len} bytes"),
        expected: "the bytes of its type and shape",
    })
}

/// The tensors that a node is computed from, without allocating.
#[derive(Clone, Copy, Debug)]
pub struct Operands<'a> {
    tensors: [&'a Tensor; MAX_SRC],
    len: usize,
}

impl<'a> Operands<'a> {
    /// Those of `node`.
    ///
    /// # Errors
    /// What was expected, if there are more than any op has.
    pub fn of(graph: &'a Graph, node: &'a Tensor) -> Result<Operands<'a>, Reason> {
        ensure(node.src.len() <= MAX_SRC, "as many operands as the op has")?;
        let mut tensors = [node; MAX_SRC];
        for (slot, id) in tensors.iter_mut().zip(&node.src) {
            *slot = &graph[*id];
        }
        Ok(Operands { tensors, len: node.src.len() })
    }

    /// In ggml's order.
    pub fn as_slice(&self) -> &[&'a Tensor] {
        &self.tensors[..self.len]
    }
}

/// Checks one node, whose operands' and result's strides must keep elements at multiples of `alignment` bytes. Passed, a node
/// is what its op's rule ([`quipu_graph::OpRule`]) says, and blocks of quantised operands lie side by side. Gives the node's
/// operands back for what the backend asks besides.
///
/// # Errors
/// What was expected.
pub fn node(graph: &Graph, id: TensorId, alignment: fn(DType) -> usize) -> Result<Operands<'_>, Reason> {
    let dst = &graph[id];
    let operands = Operands::of(graph, dst)?;
    if dst.op.is_metadata() {
        return Ok(operands);
    }
    for t in operands.as_slice().iter().copied().chain([dst]) {
        ensure(t.extent().is_some(), "whole blocks, and a size in bytes that fits in 64 bits")?;
        let align = alignment(t.dtype);
        let aligned = (0..4).all(|i| t.ne[i] <= 1 || t.nb[i].is_multiple_of(align));
        ensure(aligned, "strides that keep its elements aligned")?;
        let block = t.dtype.block_len();
        ensure(block == 1 || t.nb[0] == t.dtype.block_bytes(), "blocks side by side")?;
    }
    dst.op.rule().check(dst, operands.as_slice()).map_err(|broken| broken.expected)?;
    Ok(operands)
}
