//! Which nodes this backend computes: the types of each op, besides what every backend asks
//! ([`quipu_backend::check`]).

use quipu_backend::check::{self, Reason, ensure};
use quipu_graph::{DType, Graph, Op, Tensor, TensorId};

use crate::matmul;

/// Alignment in bytes that kernels need of a type's elements.
pub(crate) fn alignment(dtype: DType) -> usize {
    match dtype {
        DType::F32 | DType::I32 => 4,
        DType::I64 | DType::F64 => 8,
        DType::F16 | DType::BF16 | DType::I16 => 2,
        _ => 1,
    }
}

fn copyable(from: DType, to: DType) -> bool {
    matches!((from, to), (DType::F32 | DType::F16, DType::F32 | DType::F16) | (DType::I32, DType::I32))
}

/// Checks one node; the error says what was expected.
pub(crate) fn node(graph: &Graph, id: TensorId) -> Result<(), Reason> {
    check::node(graph, id, alignment)?;
    let dst = &graph[id];
    // Those that the op needs are there.
    let src = |i: usize| &graph[dst.src[i]];
    match dst.op {
        Op::FlashAttn { .. } => {
            let float = |t: &Tensor| matches!(t.dtype, DType::F16 | DType::F32);
            ensure(float(src(1)) && float(src(2)), "f16 or f32 keys and values, rows without gaps")
        }
        Op::MulMat => {
            let a = src(0);
            ensure(matmul::is_supported(a.dtype, a.ne[0]), "weights of a type with a matrix product")
        }
        Op::GetRows => {
            let table = src(0).dtype;
            ensure(table.is_computed() || table == DType::I32, "rows of a computed type")
        }
        Op::SetRows => ensure(dst.dtype.is_storable(), "rows of a type that rows can be converted to"),
        Op::Cpy | Op::Cont => {
            ensure(copyable(src(0).dtype, dst.dtype), "a copy among f32 and f16, or of i32")
        }
        _ => Ok(()),
    }
}
