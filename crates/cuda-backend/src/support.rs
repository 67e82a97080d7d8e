//! Which nodes the kernels compute: types, shapes and layouts of each op.
//!
//! Kernels dereference addresses on the strength of these checks, and a graph is plain data that its owner may have edited, so
//! nothing that the graph's builders promise is taken for granted here.

use quipu_graph::{DType, Graph, Op, Tensor, TensorId};

use crate::types;

/// Why a node cannot be computed: what was expected of it.
type Reason = &'static str;

/// Largest head the attention kernels are compiled for.
const MAX_HEAD: usize = 256;

/// [`Tensor::extent`], if kernels can count it: they count elements, rows and strides in 64 bits with a sign.
pub(crate) fn extent(t: &Tensor) -> Option<usize> {
    t.ne.iter().try_fold(8i64, |n, e| n.checked_mul(i64::try_from(*e).ok()?.max(1)))?;
    t.extent().filter(|end| i64::try_from(*end).is_ok())
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

/// The kernel that copies elements of one type into elements of another.
pub(crate) fn copy_kernel(from: DType, to: DType) -> Option<&'static str> {
    Some(match (from, to) {
        (DType::F32, DType::F32) | (DType::I32, DType::I32) => "copy_32",
        (DType::F16, DType::F16) | (DType::BF16, DType::BF16) => "copy_16",
        (DType::F32, DType::F16) => "copy_f32_f16",
        (DType::F16, DType::F32) => "copy_f16_f32",
        (DType::F32, DType::BF16) => "copy_f32_bf16",
        (DType::BF16, DType::F32) => "copy_bf16_f32",
        _ => return None,
    })
}

/// The kernel that puts rows into a table of that type at i64 row numbers.
pub(crate) fn set_rows_kernel(table: DType) -> Option<&'static str> {
    Some(match table {
        DType::F32 => "set_rows_f32_i64",
        DType::F16 => "set_rows_f16_i64",
        DType::BF16 => "set_rows_bf16_i64",
        _ => return None,
    })
}

/// Sizes that the kernels' 32-bit counters and the limits of grids bear.
fn fits_grids(t: &Tensor) -> bool {
    t.ne.iter().all(|n| i32::try_from(*n).is_ok())
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
        ensure(extent(t).is_some(), "whole blocks, and a size in bytes that fits in 63 bits")?;
        ensure(fits_grids(t), "dimensions below 2^31")?;
        let align = types::alignment(t.dtype);
        let aligned = (0..4).all(|i| t.ne[i] <= 1 || t.nb[i].is_multiple_of(align));
        ensure(aligned, "strides that keep its rows aligned")?;
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
            ensure(a.ne == dst.ne && repeats, "a second operand that repeats to the first one's shape")
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
            ensure(types::find(a.dtype).is_some(), "weights of a type with kernels")?;
            let repeats = (2..4).all(|i| a.ne[i] != 0 && b.ne[i].is_multiple_of(a.ne[i]));
            let shape = [a.ne[1], b.ne[1], b.ne[2], b.ne[3]];
            ensure(a.ne[0] == b.ne[0] && repeats && dst.ne == shape, "shapes that multiply")?;
            // Grids: y counts columns (at most 8 to a block), z outer dimensions.
            ensure(b.ne[1] <= 65535 * 64 && b.ne[2] * b.ne[3] <= 65535, "at most 65535 matrices")
        }
        Op::GetRows => {
            let ids = need(1)?;
            let known = types::find(a.dtype).is_some() || a.dtype == DType::I32;
            ensure(dense_rows(a) && known, "rows of a type with kernels")?;
            let dtype = if a.dtype == DType::I32 { DType::I32 } else { DType::F32 };
            ensure(dst.dtype == dtype && is_vector(ids, DType::I32), "a vector of i32 row numbers")?;
            let shape = [a.ne[0], ids.ne[0], 1, 1];
            ensure(dst.ne == shape && a.ne[2..] == [1; 2] && ids.ne[0] > 0, "a matrix to pick rows from")
        }
        Op::SetRows => {
            let ids = need(1)?;
            let shapes = dst.ne[0] == a.ne[0] && dst.ne[2..] == [1; 2] && a.ne[1..] == [ids.ne[0], 1, 1];
            ensure(f32_rows(a) && is_vector(ids, DType::I64), "f32 rows and a vector of i64 row numbers")?;
            ensure(set_rows_kernel(dst.dtype).is_some() && dense_rows(dst), "a table of f32, f16 or bf16")?;
            ensure(shapes && dst.is_injective(), "a matrix to put rows into")
        }
        Op::Cpy | Op::Cont => {
            ensure(copy_kernel(a.dtype, dst.dtype).is_some(), "a copy among f32, f16 and bf16, or of i32")?;
            ensure(dst.is_injective(), "a target without overlapping elements")?;
            ensure(a.n_elements() == dst.n_elements(), "equal numbers of elements")
        }
        Op::None | Op::Reshape | Op::View | Op::Permute | Op::Transpose => Ok(()),
    }
}

fn flash_attn(dst: &Tensor, q: &Tensor, k: &Tensor, v: &Tensor, mask: Option<&Tensor>) -> Result<(), Reason> {
    let half = |t: &Tensor| t.dtype == DType::F16 && dense_rows(t);
    ensure(f32_rows(q) && f32_rows(dst), "f32 queries, rows without gaps")?;
    ensure(half(k) && half(v), "f16 keys and values, rows without gaps")?;
    let heads = k.ne[2] != 0 && q.ne[2].is_multiple_of(k.ne[2]) && q.ne[3] == k.ne[3];
    let shapes =
        q.ne[0] == k.ne[0] && k.ne[1..] == v.ne[1..] && dst.ne == [v.ne[0], q.ne[2], q.ne[1], q.ne[3]];
    ensure(heads && shapes, "equal head sizes, and n_head a multiple of n_head_kv")?;
    ensure(k.ne[0] <= MAX_HEAD && v.ne[0] <= MAX_HEAD && k.ne[1] > 0, "heads of at most 256 elements")?;
    let rows = q.ne[1] * (q.ne[2] / k.ne[2]);
    let grid = rows.div_ceil(16) * k.ne[2] <= 65535 && q.ne[3] <= 65535;
    ensure(grid && i32::try_from(rows).is_ok(), "a number of queries and heads that fits a grid")?;
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
