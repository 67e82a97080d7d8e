//! MUL_MAT: describes the product to [`crate::matmul`], which computes it.

use quipu_backend::check::ensure;

#[cfg(test)]
use super::battery::{Battery, Case, Layout};
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
    // SAFETY: the caller's promises are those of `mul_mat`; a barrier surrounds each step of the team, and a solo step has a
    // team of one.
    unsafe { mul_mat(team, context.isa, &describe(step), &operands) }
        .expect("type and sizes were checked when the plan sized the scratch");
    Ok(())
}

#[cfg(test)]
pub(super) fn cases(battery: &mut Battery) {
    use quipu_graph::DType;
    let types = [DType::F32, DType::F16, DType::BF16, DType::Q8_0, DType::Q4_0, DType::Q4_K, DType::Q6_K];
    for dtype in types {
        for (n, m) in [(37, 1), (5, 3), (37, 9), (3, 8)] {
            for layout in Layout::ALL {
                // NaN in one row of the weights, which blocks cannot hold everywhere.
                let nan = layout != Layout::Dense && dtype.block_len() == 1;
                let k = 256;
                let mut case = Case::new(15);
                let mut weights: Vec<f32> = (0..k * n * 2).map(|_| case.noise()).collect();
                if nan {
                    weights[k + 3] = f32::NAN;
                }
                let mut stored = vec![0u8; dtype.row_bytes(k).unwrap() * n * 2];
                quipu_quant::quantize_row(dtype, &weights, &mut stored).unwrap();
                quipu_quant::dequantize_row(dtype, &stored, &mut weights).unwrap();
                let w = case.leaf(dtype, [k, n, 2, 1], &stored);
                let (x, vx) = case.values([k, m, 4, 1], layout, 1.0, false);
                let out = case.graph.mul_mat(w, x).unwrap();
                let mut expected = Vec::new();
                for batch in 0..4 {
                    for x in vx[batch * m * k..][..m * k].chunks(k) {
                        for w in weights[batch / 2 * n * k..][..n * k].chunks(k) {
                            let dot = w.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x));
                            expected.push(dot.sum::<f64>());
                        }
                    }
                }
                // Activations are rounded as the type's dot product wants them.
                let bound = match dtype {
                    DType::F32 => 1e-10,
                    DType::F16 => 1e-6,
                    _ => 1e-3,
                };
                battery.close(&format!("mul_mat {dtype} {n} x {m}"), &mut case, out, &expected, bound);
            }
        }
    }
}
