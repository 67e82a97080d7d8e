//! SOFT_MAX, with mask and ALiBi slopes.

use half::f16;
use quipu_graph::{DType, Op};

#[cfg(test)]
use super::battery::{Battery, Case, Layout};
use super::{BadRow, Context, OpKernel, Part, Step};
use crate::pool::Team;
use crate::vec::rows::{Map, MapRow, SoftMaxRow};
use crate::vec::with_isa;

pub(super) static KERNEL: OpKernel = OpKernel::of(run);

/// ALiBi: how strongly a head's mask counts; 1 for all heads if `max_bias` is 0.
pub(super) fn slope(head: usize, n_head: usize, max_bias: f32) -> f32 {
    if max_bias <= 0.0 || n_head == 0 {
        return 1.0;
    }
    let n_log2 = 1usize << n_head.ilog2();
    if head < n_log2 {
        2f32.powf(-max_bias / n_log2 as f32).powf((head + 1) as f32)
    } else {
        2f32.powf(-(max_bias / 2.0) / n_log2 as f32).powf((2 * (head - n_log2) + 1) as f32)
    }
}

/// `softmax(a * scale + slope * mask)` per row (`ggml_compute_forward_soft_max_f32`).
unsafe fn run(step: &Step, context: Context, part: Part, _team: &Team<'_>) -> Result<(), BadRow> {
    let Op::SoftMax { scale, max_bias } = step.op else { return Ok(()) };
    let (dst, a, isa) = (&step.dst, &step.src[0], context.isa);
    let n = dst.ne[0];
    for row in part.share(dst.n_rows()) {
        let at = dst.row_index(row);
        // SAFETY: indices are inside the shapes, and the mask covers the rows modulo its outer dimensions.
        unsafe {
            let (x, y) = (a.row(at).cast::<f32>(), dst.row(at).cast::<f32>());
            // One for each head, as the mask's slopes are. The result may lie over it, where it is a single number.
            let sink = step.optional(2).map(|sinks| *sinks.ptr.cast::<f32>().add(at[1]));
            match step.optional(1) {
                None => with_isa(isa, MapRow { map: Map::Scale { scale, bias: 0.0 }, x, y, n }),
                Some(mask) => {
                    let slope = slope(at[1], dst.ne[2], max_bias);
                    let bias = mask.row([at[0], at[1] % mask.ne[2], at[2] % mask.ne[3]]);
                    if mask.dtype == DType::F16 {
                        let bias = bias.cast::<f16>();
                        with_isa(isa, MapRow { map: Map::Scale { scale, bias: 0.0 }, x, y, n });
                        for i in 0..n {
                            *y.add(i) += slope * (*bias.add(i)).to_f32();
                        }
                    } else {
                        // One pass: the result may lie over the mask.
                        let bias = bias.cast::<f32>();
                        for i in 0..n {
                            *y.add(i) = (*x.add(i) * scale + 0.0) + slope * *bias.add(i);
                        }
                    }
                }
            }
            with_isa(isa, SoftMaxRow { y, n, sink });
        }
    }
    Ok(())
}

#[cfg(test)]
pub(super) fn cases(battery: &mut Battery) {
    for ne in [[1, 1, 1, 1], [7, 3, 2, 1], [33, 6, 5, 2], [101, 9, 11, 1]] {
        for layout in Layout::ALL {
            let masks = [
                (None, false, false),
                (Some(2), true, false),
                (Some(2), false, false),
                (Some(0), false, false),
                (Some(0), false, true),
            ];
            for (mask_rows, half, with_sinks) in masks {
                let mut case = Case::new(17);
                let (a, mut values) = case.values(ne, Layout::Dense, 9.0, false);
                let a = if layout == Layout::Dense {
                    a
                } else {
                    // Spoils its row and no other.
                    values[ne[0] - 1] = f32::NAN;
                    case.f32(ne, layout, &values)
                };
                let max_bias = if mask_rows == Some(2) { 8.0 } else { 0.0 };
                let n_rows = ne[1] + mask_rows.unwrap_or(0);
                let bias: Vec<f32> = (0..ne[0] * n_rows)
                    .map(|i| if i % 5 == 1 { f32::NEG_INFINITY } else { case.noise() })
                    .map(|x| f16::from_f32(x).to_f32())
                    .collect();
                let mask = mask_rows.map(|_| {
                    let mask_ne = [ne[0], n_rows, 1, 1];
                    if half {
                        let bias: Vec<f16> = bias.iter().map(|x| f16::from_f32(*x)).collect();
                        case.leaf(DType::F16, mask_ne, &bias)
                    } else {
                        case.f32(mask_ne, Layout::Dense, &bias)
                    }
                });
                let sinks: Vec<f32> = (0..ne[2]).map(|_| 2.0 * case.noise()).collect();
                let out = match mask.filter(|_| with_sinks) {
                    Some(mask) => {
                        let sinks = case.f32([ne[2], 1, 1, 1], Layout::Dense, &sinks);
                        case.graph.soft_max_with_sinks(a, mask, sinks, 0.3, max_bias).unwrap()
                    }
                    None => case.graph.soft_max(a, mask, 0.3, max_bias).unwrap(),
                };
                let mut expected = Vec::new();
                for (r, row) in values.chunks(ne[0]).enumerate() {
                    let slope = f64::from(slope(r / ne[1] % ne[2], ne[2], max_bias));
                    let bias = |i: usize| match mask {
                        Some(_) => slope * f64::from(bias[r % ne[1] * ne[0] + i]),
                        None => 0.0,
                    };
                    let scores: Vec<f64> =
                        (0..ne[0]).map(|i| f64::from(row[i]) * f64::from(0.3f32) + bias(i)).collect();
                    let sink =
                        if with_sinks { f64::from(sinks[r / ne[1] % ne[2]]) } else { f64::NEG_INFINITY };
                    let top = scores.iter().copied().fold(sink, f64::max);
                    let sum: f64 = scores.iter().map(|s| (s - top).exp()).sum::<f64>() + (sink - top).exp();
                    expected.extend(scores.iter().map(|s| (s - top).exp() / sum));
                }
                battery.close(&format!("soft_max {ne:?} {mask_rows:?}"), &mut case, out, &expected, 1e-11);
            }
        }
    }
}
