//! MUL_MAT: describes the product to [`crate::matmul`], which computes it.

use quipu_backend::check::ensure;

use super::{BadRow, Context, OpKernel, Part, Step};
use crate::matmul::{self, MatMul, Operands, mul_mat};
use crate::pool::Team;

pub(super) static KERNEL: OpKernel = OpKernel {
    takes: |_, src| {
        let supported = matmul::is_supported(src[0].dtype, src[0].ne[0]);
        ensure(supported, "weights of a type with a matrix product")
    },
    scratch_bytes: |step, _n_threads| describe(step).scratch_bytes().ok(),
    ..OpKernel::of(run)
};

/// The product's shape. All strides were checked to be multiples of 4 where floats are meant.
fn describe(step: &Step) -> MatMul {
    let (dst, w, x) = (&step.dst, &step.src[0], &step.src[1]);
    MatMul {
        dtype: w.dtype,
        k: w.ne[0],
        n_rows: w.ne[1],
        n_cols: x.ne[1],
        w_batch: [w.ne[2], w.ne[3]],
        x_batch: [x.ne[2], x.ne[3]],
        w_stride: [w.nb[1], w.nb[2], w.nb[3]],
        x_stride: [x.nb[1], x.nb[2], x.nb[3]],
        dst_stride: [dst.nb[1], dst.nb[2], dst.nb[3]],
    }
}

/// Every row of `src[1]` times every row of `src[0]` (`ggml_compute_forward_mul_mat`).
unsafe fn run(step: &Step, context: Context, _part: Part, team: &Team<'_>) -> Result<(), BadRow> {
    let operands = Operands {
        w: step.src[0].ptr,
        x: step.src[1].ptr.cast::<f32>(),
        dst: step.dst.ptr.cast::<f32>(),
        scratch: context.scratch,
    };
    // SAFETY: the caller's promises are those of `mul_mat`; a barrier surrounds each step that is not solo,
    // and products never are.
    unsafe { mul_mat(team, context.isa, &describe(step), &operands) }
        .expect("type and sizes were checked when the plan sized the scratch");
    Ok(())
}
