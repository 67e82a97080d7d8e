//! Which nodes the kernels compute: the types and the largest sizes of each op, besides what every backend asks
//! ([`quipu_backend::check`]).

use quipu_backend::check::{self, Operands, Reason, ensure};
use quipu_graph::{DType, GluOp, Graph, Op, Tensor, TensorId, UnaryOp};

use crate::types;

/// Largest head the attention kernels are compiled for.
const MAX_HEAD: usize = 256;

/// [`Tensor::extent`], if kernels can count it: they count elements, rows and strides in 64 bits with a sign.
pub(crate) fn extent(t: &Tensor) -> Option<usize> {
    t.ne.iter().try_fold(8i64, |n, e| n.checked_mul(i64::try_from(*e).ok()?.max(1)))?;
    t.extent().filter(|end| i64::try_from(*end).is_ok())
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

/// The kernel of an element-wise function.
pub(crate) fn unary_kernel(op: UnaryOp) -> Option<&'static str> {
    Some(match op {
        UnaryOp::Silu => "silu",
        UnaryOp::Gelu => "gelu",
        UnaryOp::Relu => "relu",
        UnaryOp::Tanh => "tanh_f32",
        _ => return None,
    })
}

/// The kernel of a gated linear unit of two operands.
pub(crate) fn glu_kernel(op: GluOp) -> Option<&'static str> {
    Some(match op {
        GluOp::Swiglu => "swiglu",
        GluOp::Geglu => "geglu",
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
    for t in Operands::of(graph, dst)?.as_slice().iter().copied().chain([dst]) {
        ensure(extent(t).is_some(), "whole blocks, and a size in bytes that fits in 63 bits")?;
        ensure(fits_grids(t), "dimensions below 2^31")?;
    }
    let operands = check::node(graph, id, types::alignment)?;
    let src = operands.as_slice();
    match dst.op {
        Op::FlashAttn { .. } => {
            ensure(src.get(3).is_none_or(|mask| mask.ne[3] == 1), "one mask for all streams")?;
            ensure(src.len() < 5, "attention without sinks")?;
            flash_attn(src[0], src[1], src[2])
        }
        Op::MulMat => {
            let b = src[1];
            ensure(types::find(src[0].dtype).is_some(), "weights of a type with kernels")?;
            // Grids: y counts columns (at most 8 to a block), z outer dimensions.
            ensure(b.ne[1] <= 65535 * 64 && b.ne[2] * b.ne[3] <= 65535, "at most 65535 matrices")
        }
        Op::GetRows => {
            let table = src[0].dtype;
            let one = src[0].ne[2..] == [1; 2] && src[1].is_contiguous();
            ensure(one, "one table, and numbers without gaps")?;
            ensure(types::find(table).is_some() || table == DType::I32, "rows of a type with kernels")
        }
        Op::SetRows => ensure(set_rows_kernel(dst.dtype).is_some(), "a table of f32, f16 or bf16"),
        Op::Cpy | Op::Cont => {
            let kernel = copy_kernel(src[0].dtype, dst.dtype);
            ensure(kernel.is_some(), "a copy among f32, f16 and bf16, or of i32")
        }
        Op::Unary(op) => ensure(unary_kernel(op).is_some(), "a function with a kernel"),
        Op::Glu { op, .. } => {
            let two = src.len() == 2 && glu_kernel(op).is_some();
            ensure(two, "a gate with a kernel, of two tensors")
        }
        Op::Rope(params) => ensure(params.mode.n_pos() == 1, "one position for each token"),
        Op::Add | Op::Mul | Op::Scale { .. } | Op::Norm { .. } | Op::RmsNorm { .. } => Ok(()),
        Op::SoftMax { .. } => ensure(src.len() <= 2, "no sinks"),
        _ => Err("an op with kernels"),
    }
}

fn flash_attn(q: &Tensor, k: &Tensor, v: &Tensor) -> Result<(), Reason> {
    let half = |t: &Tensor| t.dtype == DType::F16;
    ensure(half(k) && half(v), "f16 keys and values, rows without gaps")?;
    ensure(k.ne[0] <= MAX_HEAD && v.ne[0] <= MAX_HEAD && k.ne[1] > 0, "heads of at most 256 elements")?;
    let rows = q.ne[1] * (q.ne[2] / k.ne[2]);
    let grid = rows.div_ceil(16) * k.ne[2] <= 65535 && q.ne[3] <= 65535;
    ensure(grid && i32::try_from(rows).is_ok(), "a number of queries and heads that fits a grid")
}
