//! UNARY: element-wise functions of one operand.

use std::sync::OnceLock;

use half::f16;
use quipu_graph::{Op, UnaryOp};

use super::{BadRow, Context, OpKernel, Part, Step};
use crate::pool::Team;
use crate::vec::rows::{Map, MapRow};
use crate::vec::with_isa;

pub(super) static KERNEL: OpKernel = OpKernel { warm_up, ..OpKernel::of(run) };

fn warm_up(op: Op) {
    if op == Op::Unary(UnaryOp::Gelu) {
        gelu_table();
    }
}

/// `dst = f(a)` (`ggml_compute_forward_unary`).
unsafe fn run(step: &Step, context: Context, part: Part, _team: &Team<'_>) -> Result<(), BadRow> {
    let Op::Unary(op) = step.op else { return Ok(()) };
    // SAFETY: the caller's promises.
    unsafe {
        match op {
            UnaryOp::Silu => map_rows(step, context, part, Map::Silu),
            UnaryOp::Relu => map_rows(step, context, part, Map::Relu),
            UnaryOp::Gelu => each(step, part, gelu),
            UnaryOp::Tanh => each(step, part, f32::tanh),
        }
    }
    Ok(())
}

/// `dst = map(a)`, row by row.
unsafe fn map_rows(step: &Step, context: Context, part: Part, map: Map) {
    let (dst, a) = (&step.dst, &step.src[0]);
    for row in part.share(dst.n_rows()) {
        let at = dst.row_index(row);
        // SAFETY: indices are inside the shapes.
        unsafe {
            let (x, y) = (a.row(at).cast(), dst.row(at).cast());
            with_isa(context.isa, MapRow { map, x, y, n: dst.ne[0] });
        }
    }
}

/// Applies `f` to each element.
pub(super) unsafe fn each(step: &Step, part: Part, f: impl Fn(f32) -> f32) {
    let (dst, a) = (&step.dst, &step.src[0]);
    for row in part.share(dst.n_rows()) {
        let at = dst.row_index(row);
        // SAFETY: indices are inside the shapes; each element is read before it is written.
        unsafe {
            let (x, y) = (a.row(at).cast::<f32>(), dst.row(at).cast::<f32>());
            for i in 0..dst.ne[0] {
                *y.add(i) = f(*x.add(i));
            }
        }
    }
}

/// Tanh-approximated GELU as ggml computes it: through a table of f16 values by f16 argument, outside of
/// which it is 0 or the identity (`ggml_vec_gelu_f32`).
pub(super) fn gelu(x: f32) -> f32 {
    if x <= -10.0 {
        0.0
    } else if x >= 10.0 {
        x
    } else {
        gelu_table()[usize::from(f16::from_f32(x).to_bits())].to_f32()
    }
}

/// GELU of every f16, by its bits (`ggml_table_gelu_f16`).
pub(super) fn gelu_table() -> &'static [f16] {
    const SQRT_2_OVER_PI: f32 = 0.797_884_6;
    const COEF_A: f32 = 0.044_715;
    static TABLE: OnceLock<Vec<f16>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let value = |bits| {
            let x = f16::from_bits(bits).to_f32();
            f16::from_f32(0.5 * x * (1.0 + (SQRT_2_OVER_PI * x * (1.0 + COEF_A * x * x)).tanh()))
        };
        (0..=u16::MAX).map(value).collect()
    })
}
