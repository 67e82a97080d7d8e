//! NORM and RMS_NORM, the latter optionally with the weight that follows it.

use quipu_graph::Op;

use super::{BadRow, Context, OpKernel, Part, Step};
use crate::pool::Team;
use crate::vec::rows::{CenterRow, ScaleRow, Sum, SumRow};
use crate::vec::with_isa;

pub(super) static NORM: OpKernel = OpKernel::of(norm);
pub(super) static RMS_NORM: OpKernel = OpKernel::of(rms_norm);

/// Mean 0, variance 1 per row (`ggml_compute_forward_norm`).
unsafe fn norm(step: &Step, context: Context, part: Part, _team: &Team<'_>) -> Result<(), BadRow> {
    let Op::Norm { eps } = step.op else { return Ok(()) };
    let isa = context.isa;
    let (dst, a) = (&step.dst, &step.src[0]);
    let n = dst.ne[0];
    for row in part.share(dst.n_rows()) {
        let at = dst.row_index(row);
        // SAFETY: indices are inside the shapes.
        unsafe {
            let (x, y) = (a.row(at).cast::<f32>(), dst.row(at).cast::<f32>());
            let mean = with_isa(isa, SumRow { sum: Sum::Values, x, n }) as f32 / n as f32;
            let variance = (with_isa(isa, CenterRow { x, mean, y, n }) / n as f64) as f32;
            let scale = 1.0 / (variance + eps).sqrt();
            with_isa(isa, ScaleRow { x: y, weight: std::ptr::null(), scale, y, n });
        }
    }
    Ok(())
}

/// Root mean square 1 per row, times `src[1]`'s row if the step is fused
/// (`ggml_compute_forward_rms_norm`, `_rms_norm_mul_fused`).
unsafe fn rms_norm(step: &Step, context: Context, part: Part, _team: &Team<'_>) -> Result<(), BadRow> {
    let Op::RmsNorm { eps } = step.op else { return Ok(()) };
    let isa = context.isa;
    let (dst, a) = (&step.dst, &step.src[0]);
    let n = dst.ne[0];
    let weight = if step.fused_mul { step.src[1].ptr.cast_const().cast::<f32>() } else { std::ptr::null() };
    for row in part.share(dst.n_rows()) {
        let at = dst.row_index(row);
        // SAFETY: indices are inside the shapes; a fused weight is one row of `n`.
        unsafe {
            let (x, y) = (a.row(at).cast::<f32>(), dst.row(at).cast::<f32>());
            let mean = (with_isa(isa, SumRow { sum: Sum::Squares, x, n }) / n as f64) as f32;
            let scale = 1.0 / (mean + eps).sqrt();
            with_isa(isa, ScaleRow { x, weight, scale, y, n });
        }
    }
    Ok(())
}
