//! Which nodes this backend computes: the types that each op's kernel takes, besides what every backend asks
//! ([`quipu_backend::check`]).

use quipu_backend::check::{self, Reason, ensure};
use quipu_graph::{DType, Graph, TensorId};

use crate::ops;

/// Alignment in bytes that kernels need of a type's elements.
pub(crate) fn alignment(dtype: DType) -> usize {
    match dtype {
        DType::F32 | DType::I32 => 4,
        DType::I64 | DType::F64 => 8,
        DType::F16 | DType::BF16 | DType::I16 => 2,
        _ => 1,
    }
}

/// Checks one node; the error says what was expected.
pub(crate) fn node(graph: &Graph, id: TensorId) -> Result<(), Reason> {
    let operands = check::node(graph, id, alignment)?;
    let dst = &graph[id];
    if dst.op.is_metadata() {
        return Ok(());
    }
    let kernel = ops::kernel(dst.op);
    ensure(kernel.is_some(), "an op with a kernel")?;
    kernel.map_or(Ok(()), |kernel| (kernel.takes)(dst, operands.as_slice()))
}
