//! NORM, L2_NORM and RMS_NORM, the latter optionally with the weight that follows it.

use quipu_graph::Op;

#[cfg(test)]
use super::battery::{Battery, Case, Layout, SHAPES};
use super::{BadRow, Context, OpKernel, Part, Step};
use crate::pool::Team;
use crate::vec::rows::{CenterRow, ScaleRow, Sum, SumRow};
use crate::vec::with_isa;

pub(super) static NORM: OpKernel = OpKernel::of(norm);
pub(super) static RMS_NORM: OpKernel = OpKernel::of(rms_norm);
pub(super) static L2_NORM: OpKernel = OpKernel::of(l2_norm);

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

/// Length 1 per row, unless it is shorter than `eps` (`ggml_compute_forward_l2_norm`).
unsafe fn l2_norm(step: &Step, context: Context, part: Part, _team: &Team<'_>) -> Result<(), BadRow> {
    let Op::L2Norm { eps } = step.op else { return Ok(()) };
    let isa = context.isa;
    let (dst, a) = (&step.dst, &step.src[0]);
    let n = dst.ne[0];
    for row in part.share(dst.n_rows()) {
        let at = dst.row_index(row);
        // SAFETY: indices are inside the shapes.
        unsafe {
            let (x, y) = (a.row(at).cast::<f32>(), dst.row(at).cast::<f32>());
            let length = (with_isa(isa, SumRow { sum: Sum::Squares, x, n }) as f32).sqrt();
            let scale = 1.0 / if length > eps { length } else { eps };
            // What is no number stays visible.
            let scale = if length.is_nan() { length } else { scale };
            with_isa(isa, ScaleRow { x, weight: std::ptr::null(), scale, y, n });
        }
    }
    Ok(())
}

#[cfg(test)]
pub(super) fn cases(battery: &mut Battery) {
    let eps = 1e-5;
    for ne in SHAPES {
        for layout in Layout::ALL {
            for rms in [false, true] {
                let mut case = Case::new(6);
                // NaN in one row spoils that row and no other.
                let (a, mut values) = case.values(ne, Layout::Dense, 3.0, false);
                let a = if layout == Layout::Dense {
                    a
                } else {
                    values[ne[0] / 2] = f32::NAN;
                    case.f32(ne, layout, &values)
                };
                let out = if rms { case.graph.rms_norm(a, eps) } else { case.graph.norm(a, eps) }.unwrap();
                let mut expected = Vec::new();
                for row in values.chunks(ne[0]) {
                    let row: Vec<f64> = row.iter().map(|x| f64::from(*x)).collect();
                    let mean = if rms { 0.0 } else { row.iter().sum::<f64>() / row.len() as f64 };
                    let square = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / row.len() as f64;
                    expected.extend(row.iter().map(|x| (x - mean) / (square + f64::from(eps)).sqrt()));
                }
                battery.close(&format!("norm {ne:?} rms {rms}"), &mut case, out, &expected, 1e-11);
            }
            for eps in [1e-6, 2.0] {
                let mut case = Case::new(9);
                let (a, values) = case.values(ne, layout, 1.0, false);
                let out = case.graph.l2_norm(a, eps).unwrap();
                let mut expected = Vec::new();
                for row in values.chunks(ne[0]) {
                    let length = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
                    expected.extend(row.iter().map(|x| f64::from(*x) / length.max(f64::from(eps))));
                }
                battery.close(&format!("l2_norm {ne:?} {eps}"), &mut case, out, &expected, 1e-11);
            }
        }
    }
}
