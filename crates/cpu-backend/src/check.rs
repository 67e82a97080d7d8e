//! Which nodes this backend computes: types, shapes and layouts of each op.
//!
//! The ops dereference pointers on the strength of these checks, and a graph is plain data that its owner
//! may have edited, so nothing that the graph's builders promise is taken for granted here.

use quipu_graph::{DType, Graph, Op, Tensor, TensorId};

use crate::matmul;

/// Why a node cannot be computed: what was expected of it.
type Reason = &'static str;

/// Alignment in bytes that kernels need of a type's elements.
pub(crate) fn alignment(dtype: DType) -> usize {
    match dtype {
        DType::F32 | DType::I32 => 4,
        DType::I64 | DType::F64 => 8,
        DType::F16 | DType::BF16 | DType::I16 => 2,
        _ => 1,
    }
}

fn ensure(holds: bool, reason: Reason) -> Result<(), Reason> {
    if holds { Ok(()) } else { Err(reason) }
}

fn dense_rows(t: &Tensor) -> bool {
    t.nb[0] == t.dtype.block_bytes() || (t.ne[0] == 1 && t.dtype.block_len() == 1)
}

fn f32_rows(t: &Tensor) -> bool {
    t.dtype == DType::F32 && dense_rows(t)
}

fn is_vector(t: &Tensor, dtype: DType) -> bool {
    t.dtype == dtype && dense_rows(t) && t.ne[1..] == [1; 3]
}

fn copyable(from: DType, to: DType) -> bool {
    matches!((from, to), (DType::F32 | DType::F16, DType::F32 | DType::F16) | (DType::I32, DType::I32))
}

/// Checks one node; the error says what was expected.
pub(crate) fn node(graph: &Graph, id: TensorId) -> Result<(), Reason> {
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
            let fits = |f: &Tensor| f.dtype == DType::F32 && dense_rows(f) && f.ne[0] >= n_dims / 2;
            ensure(src(2).is_none_or(fits), "one f32 factor for each pair of rotated elements")
        }
        Op::SoftMax { .. } => {
            ensure(f32_rows(a) && f32_rows(dst) && a.ne == dst.ne, "f32 rows without gaps")?;
            let fits = |m: &Tensor| {
                matches!(m.dtype, DType::F16 | DType::F32)
                    && dense_rows(m)
                    && m.ne[0] == a.ne[0]
                    && m.ne[1] >= a.ne[1]
                    && (2..4).all(|i| m.ne[i] != 0 && a.ne[i].is_multiple_of(m.ne[i]))
            };
            ensure(src(1).is_none_or(fits), "an f16 or f32 mask that covers the scores")
        }
        Op::FlashAttn { .. } => flash_attn(dst, a, need(1)?, need(2)?, src(3)),
        Op::MulMat => {
            let b = need(1)?;
            ensure(f32_rows(b) && f32_rows(dst) && dense_rows(a), "f32 activations, rows without gaps")?;
            ensure(matmul::is_supported(a.dtype, a.ne[0]), "weights of a type with a matrix product")?;
            let repeats = (2..4).all(|i| a.ne[i] != 0 && b.ne[i].is_multiple_of(a.ne[i]));
            let shape = [a.ne[1], b.ne[1], b.ne[2], b.ne[3]];
            ensure(a.ne[0] == b.ne[0] && repeats && dst.ne == shape, "shapes that multiply")
        }
        Op::GetRows => {
            let ids = need(1)?;
            ensure(
                dense_rows(a) && (a.dtype.is_computed() || a.dtype == DType::I32),
                "rows of a computed type",
            )?;
            let dtype = if a.dtype == DType::I32 { DType::I32 } else { DType::F32 };
            ensure(dst.dtype == dtype && is_vector(ids, DType::I32), "a vector of i32 row numbers")?;
            let shape = [a.ne[0], ids.ne[0], 1, 1];
            ensure(dst.ne == shape && a.ne[2..] == [1; 2] && ids.ne[0] > 0, "a matrix to pick rows from")
        }
        Op::SetRows => {
            let ids = need(1)?;
            let shapes = dst.ne[0] == a.ne[0] && dst.ne[2..] == [1; 2] && a.ne[1..] == [ids.ne[0], 1, 1];
            ensure(f32_rows(a) && is_vector(ids, DType::I64), "f32 rows and a vector of i64 row numbers")?;
            ensure(
                dst.dtype.is_storable() && dense_rows(dst),
                "rows of a type that rows can be converted to",
            )?;
            ensure(shapes && dst.is_injective(), "a matrix to put rows into")
        }
        Op::Cpy | Op::Cont => {
            ensure(copyable(a.dtype, dst.dtype), "a copy among f32 and f16, or of i32")?;
            ensure(dst.is_injective(), "a target without overlapping elements")?;
            ensure(a.n_elements() == dst.n_elements(), "equal numbers of elements")
        }
        Op::None | Op::Reshape | Op::View | Op::Permute | Op::Transpose => Ok(()),
    }
}

fn flash_attn(dst: &Tensor, q: &Tensor, k: &Tensor, v: &Tensor, mask: Option<&Tensor>) -> Result<(), Reason> {
    let float = |t: &Tensor| matches!(t.dtype, DType::F16 | DType::F32) && dense_rows(t);
    ensure(f32_rows(q) && f32_rows(dst), "f32 queries, rows without gaps")?;
    ensure(float(k) && float(v), "f16 or f32 keys and values, rows without gaps")?;
    let heads = k.ne[2] != 0 && q.ne[2].is_multiple_of(k.ne[2]) && q.ne[3] == k.ne[3];
    let shapes =
        q.ne[0] == k.ne[0] && k.ne[1..] == v.ne[1..] && dst.ne == [v.ne[0], q.ne[2], q.ne[1], q.ne[3]];
    ensure(heads && shapes, "equal head sizes, and n_head a multiple of n_head_kv")?;
    let fits = |m: &Tensor| {
        m.dtype == DType::F16
            && dense_rows(m)
            && m.ne[0] == k.ne[1]
            && m.ne[1] >= q.ne[1]
            && m.ne[2..] == [1; 2]
    };
    ensure(mask.is_none_or(fits), "an f16 mask [n_kv, n_tokens]")
}

/// Whether the node may write over its `i`-th operand where the two have the same bytes and layout.
pub(crate) fn may_overwrite(op: Op, i: usize) -> bool {
    match op {
        Op::SetRows => i == 2,
        Op::Cpy | Op::Add | Op::Mul | Op::Glu(_) => i <= 1,
        _ => i == 0 && op.can_inplace(),
    }
}
