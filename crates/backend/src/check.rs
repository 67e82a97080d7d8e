//! What every backend asks of nodes and weights before it computes with them: numbers of operands, shapes and layouts.
//!
//! Kernels follow addresses on the strength of these checks, and a graph is plain data that its owner may have edited, so
//! nothing that the graph's builders promise is taken for granted here. Which types a backend computes, and how large its
//! tensors may be, is checked by the backend besides.

use quipu_graph::{DType, Graph, Op, Tensor, TensorId};

use crate::error::Error;

/// Why a node cannot be computed: what was expected of it.
pub type Reason = &'static str;

/// `reason`, unless it holds.
pub fn ensure(holds: bool, reason: Reason) -> Result<(), Reason> {
    if holds { Ok(()) } else { Err(reason) }
}

fn f32_rows(t: &Tensor) -> bool {
    t.dtype == DType::F32 && t.has_contiguous_rows()
}

fn is_vector(t: &Tensor, dtype: DType) -> bool {
    t.dtype == dtype && t.has_contiguous_rows() && t.ne[1..] == [1; 3]
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

/// Checks one node, whose operands' and result's strides must keep elements at multiples of `alignment` bytes. Passed, a node
/// has all operands its op needs, and blocks of quantised operands lie side by side.
///
/// # Errors
/// What was expected.
pub fn node(graph: &Graph, id: TensorId, alignment: fn(DType) -> usize) -> Result<(), Reason> {
    let dst = &graph[id];
    if dst.op.is_metadata() {
        return Ok(());
    }
    let src = |i: usize| dst.src.get(i).map(|s| &graph[*s]);
    let need = |i: usize| src(i).ok_or("as many operands as the op has");
    for t in dst.src.iter().map(|s| &graph[*s]).chain([dst]) {
        ensure(t.extent().is_some(), "whole blocks, and a size in bytes that fits in 64 bits")?;
        let align = alignment(t.dtype);
        let aligned = (0..4).all(|i| t.ne[i] <= 1 || t.nb[i].is_multiple_of(align));
        ensure(aligned, "strides that keep its elements aligned")?;
        let block = t.dtype.block_len();
        ensure(block == 1 || t.nb[0] == t.dtype.block_bytes(), "blocks side by side")?;
    }
    let fresh = !matches!(dst.op, Op::SetRows | Op::Cpy);
    ensure(!fresh || dst.is_contiguous(), "a contiguous result")?;
    let a = need(0)?;
    match dst.op {
        Op::Add | Op::Mul => {
            let b = need(1)?;
            ensure(f32_rows(a) && f32_rows(b) && f32_rows(dst), "f32 rows without gaps")?;
            let repeats = (0..4).all(|i| b.ne[i] != 0 && a.ne[i].is_multiple_of(b.ne[i]));
            ensure(
                a.ne == dst.ne && repeats,
                "a second operand that can be repeated to the first one's shape",
            )
        }
        Op::Scale { .. } | Op::Norm { .. } | Op::RmsNorm { .. } | Op::Unary(_) => {
            ensure(f32_rows(a) && f32_rows(dst) && a.ne == dst.ne, "f32 rows without gaps")
        }
        Op::Glu(_) => {
            let b = need(1)?;
            ensure(f32_rows(a) && f32_rows(b) && f32_rows(dst), "f32 rows without gaps")?;
            ensure(a.ne == dst.ne && b.ne == dst.ne, "equal shapes")
        }
        Op::Rope(params) => {
            let pos = need(1)?;
            ensure(f32_rows(a) && f32_rows(dst) && a.ne == dst.ne, "f32 rows without gaps")?;
            ensure(is_vector(pos, DType::I32) && pos.ne[0] == a.ne[2], "one i32 position for each token")?;
            let n_dims = params.n_dims;
            ensure(n_dims.is_multiple_of(2) && n_dims <= a.ne[0], "an even n_dims of at most ne[0]")?;
            let fits = |f: &Tensor| f32_rows(f) && f.ne[0] >= n_dims / 2;
            ensure(src(2).is_none_or(fits), "one f32 factor for each pair of rotated elements")
        }
        Op::SoftMax { .. } => {
            ensure(f32_rows(a) && f32_rows(dst) && a.ne == dst.ne, "f32 rows without gaps")?;
            let fits = |m: &Tensor| {
                matches!(m.dtype, DType::F16 | DType::F32)
                    && m.has_contiguous_rows()
                    && m.ne[0] == a.ne[0]
                    && m.ne[1] >= a.ne[1]
                    && (2..4).all(|i| m.ne[i] != 0 && a.ne[i].is_multiple_of(m.ne[i]))
            };
            ensure(src(1).is_none_or(fits), "an f16 or f32 mask that covers the scores")
        }
        Op::FlashAttn { .. } => flash_attn(dst, a, need(1)?, need(2)?, src(3)),
        Op::MulMat => {
            let b = need(1)?;
            let rows = f32_rows(b) && f32_rows(dst) && a.has_contiguous_rows();
            ensure(rows, "f32 activations, rows without gaps")?;
            let repeats = (2..4).all(|i| a.ne[i] != 0 && b.ne[i].is_multiple_of(a.ne[i]));
            let shape = [a.ne[1], b.ne[1], b.ne[2], b.ne[3]];
            ensure(a.ne[0] == b.ne[0] && repeats && dst.ne == shape, "shapes that multiply")
        }
        Op::GetRows => {
            let ids = need(1)?;
            ensure(a.has_contiguous_rows(), "rows without gaps")?;
            let dtype = if a.dtype == DType::I32 { DType::I32 } else { DType::F32 };
            ensure(dst.dtype == dtype && is_vector(ids, DType::I32), "a vector of i32 row numbers")?;
            let shape = [a.ne[0], ids.ne[0], 1, 1];
            ensure(dst.ne == shape && a.ne[2..] == [1; 2] && ids.ne[0] > 0, "a matrix to pick rows from")
        }
        Op::SetRows => {
            let ids = need(1)?;
            let shapes = dst.ne[0] == a.ne[0] && dst.ne[2..] == [1; 2] && a.ne[1..] == [ids.ne[0], 1, 1];
            ensure(f32_rows(a) && is_vector(ids, DType::I64), "f32 rows and a vector of i64 row numbers")?;
            ensure(dst.has_contiguous_rows(), "rows without gaps")?;
            ensure(shapes && dst.is_injective(), "a matrix to put rows into")
        }
        Op::Cpy | Op::Cont => {
            ensure(dst.is_injective(), "a target without overlapping elements")?;
            ensure(a.n_elements() == dst.n_elements(), "equal numbers of elements")
        }
        Op::None | Op::Reshape | Op::View | Op::Permute | Op::Transpose => Ok(()),
    }
}

fn flash_attn(dst: &Tensor, q: &Tensor, k: &Tensor, v: &Tensor, mask: Option<&Tensor>) -> Result<(), Reason> {
    ensure(f32_rows(q) && f32_rows(dst), "f32 queries, rows without gaps")?;
    ensure(k.has_contiguous_rows() && v.has_contiguous_rows(), "keys and values, rows without gaps")?;
    let heads = k.ne[2] != 0 && q.ne[2].is_multiple_of(k.ne[2]) && q.ne[3] == k.ne[3];
    let shapes =
        q.ne[0] == k.ne[0] && k.ne[1..] == v.ne[1..] && dst.ne == [v.ne[0], q.ne[2], q.ne[1], q.ne[3]];
    ensure(heads && shapes, "equal head sizes, and n_head a multiple of n_head_kv")?;
    let fits = |m: &Tensor| {
        m.dtype == DType::F16
            && m.has_contiguous_rows()
            && m.ne[0] == k.ne[1]
            && m.ne[1] >= q.ne[1]
            && m.ne[2..] == [1; 2]
    };
    ensure(mask.is_none_or(fits), "an f16 mask [n_kv, n_tokens]")
}
