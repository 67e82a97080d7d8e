//! UNARY and GLU: silu, gelu, relu, tanh, swiglu, geglu.

use std::sync::OnceLock;

use half::f16;
use quipu_graph::{GluOp, UnaryOp};

use super::elementwise::map_rows;
use super::{Part, Step};
use crate::isa::Isa;
use crate::vec::rows::{Map, Zip, ZipRow};
use crate::vec::with_isa;

/// An element-wise function (`ggml_compute_forward_unary`).
///
/// # Safety
/// See [`super::run`].
pub(super) unsafe fn unary(step: &Step, isa: Isa, part: Part, op: UnaryOp) {
    // SAFETY: the caller's promises.
    unsafe {
        match op {
            UnaryOp::Silu => map_rows(step, isa, part, Map::Silu),
            UnaryOp::Relu => map_rows(step, isa, part, Map::Relu),
            UnaryOp::Gelu => scalar_rows(step, part, |x, _| gelu(x)),
            UnaryOp::Tanh => scalar_rows(step, part, |x, _| x.tanh()),
        }
    }
}

/// `f(gate) * up` (`ggml_compute_forward_swiglu`, `_geglu`).
///
/// # Safety
/// See [`super::run`].
pub(super) unsafe fn glu(step: &Step, isa: Isa, part: Part, op: GluOp) {
    let (dst, gate, up) = (&step.dst, &step.src[0], &step.src[1]);
    if op == GluOp::Geglu {
        // SAFETY: the caller's promises.
        unsafe { scalar_rows(step, part, |x, g| gelu(x) * g) };
        return;
    }
    for row in part.share(dst.n_rows()) {
        let at = dst.row_index(row);
        // SAFETY: indices are inside the shapes.
        unsafe {
            let (a, b) = (gate.row(at).cast::<f32>(), up.row(at).cast::<f32>());
            with_isa(isa, ZipRow { zip: Zip::Swiglu, a, b, y: dst.row(at).cast(), n: dst.ne[0] });
        }
    }
}

/// Applies `f` to each element of `src[0]` and, if there is one, its neighbour in `src[1]`.
unsafe fn scalar_rows(step: &Step, part: Part, f: impl Fn(f32, f32) -> f32) {
    let (dst, a, b) = (&step.dst, &step.src[0], &step.src[1]);
    for row in part.share(dst.n_rows()) {
        let at = dst.row_index(row);
        // SAFETY: indices are inside the shapes; each element is read before it is written.
        unsafe {
            let (x, y) = (a.row(at).cast::<f32>(), dst.row(at).cast::<f32>());
            let other = if b.ptr.is_null() { x } else { b.row(at).cast::<f32>() };
            for i in 0..dst.ne[0] {
                *y.add(i) = f(*x.add(i), *other.add(i));
            }
        }
    }
}

/// Tanh-approximated GELU as ggml computes it: through a table of f16 values by f16 argument, outside of
/// which it is 0 or the identity (`ggml_vec_gelu_f32`).
fn gelu(x: f32) -> f32 {
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
