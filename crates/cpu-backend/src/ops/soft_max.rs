//! SOFT_MAX, with mask and ALiBi slopes.

use half::f16;
use quipu_graph::{DType, Op};

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
            let y = dst.row(at).cast::<f32>();
            with_isa(isa, MapRow { map: Map::Scale { scale, bias: 0.0 }, x: a.row(at).cast(), y, n });
            if let Some(mask) = step.optional(1) {
                let slope = slope(at[1], dst.ne[2], max_bias);
                let bias = mask.row([at[0], at[1] % mask.ne[2], at[2] % mask.ne[3]]);
                if mask.dtype == DType::F16 {
                    let bias = bias.cast::<f16>();
                    for i in 0..n {
                        *y.add(i) += slope * (*bias.add(i)).to_f32();
                    }
                } else {
                    let bias = bias.cast::<f32>();
                    for i in 0..n {
                        *y.add(i) += slope * *bias.add(i);
                    }
                }
            }
            with_isa(isa, SoftMaxRow { y, n });
        }
    }
    Ok(())
}
