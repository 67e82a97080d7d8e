//! UNARY, and the ops that are element-wise functions too: SQR, SQRT, CLAMP, LEAKY_RELU.

use std::sync::OnceLock;

use half::f16;
use quipu_graph::{Op, UnaryOp};

#[cfg(test)]
use super::battery::{Battery, Case, Layout, SHAPES};
use super::{BadRow, Context, OpKernel, Part, Step};
use crate::pool::Team;
use crate::vec::rows::{Map, MapRow};
use crate::vec::with_isa;

pub(super) static KERNEL: OpKernel = OpKernel { warm_up, ..OpKernel::of(run) };

fn warm_up(op: Op) {
    match op {
        Op::Unary(UnaryOp::Gelu) => drop(gelu_table()),
        Op::Unary(UnaryOp::GeluQuick) => drop(gelu_quick_table()),
        _ => {}
    }
}

/// `dst = f(a)` (`ggml_compute_forward_unary`, `_sqr`, `_sqrt`, `_clamp`, `_leaky_relu`).
unsafe fn run(step: &Step, context: Context, part: Part, _team: &Team<'_>) -> Result<(), BadRow> {
    // SAFETY: the caller's promises.
    unsafe {
        match step.op {
            Op::Unary(op) => unary(step, context, part, op),
            Op::Sqr => each(step, part, |x| x * x),
            Op::Sqrt => each(step, part, f32::sqrt),
            // As the reference compares: what is not a number becomes `max`.
            Op::Clamp { min, max } => each(step, part, |x| {
                let x = if x < max { x } else { max };
                if x > min { x } else { min }
            }),
            Op::LeakyRelu { slope } => each(step, part, |x| {
                let (positive, negative) = (if x > 0.0 { x } else { 0.0 }, if x < 0.0 { x } else { 0.0 });
                positive + slope * negative
            }),
            _ => {}
        }
    }
    Ok(())
}

unsafe fn unary(step: &Step, context: Context, part: Part, op: UnaryOp) {
    // SAFETY: the caller's promises.
    unsafe {
        match op {
            UnaryOp::Abs => each(step, part, f32::abs),
            UnaryOp::Sgn => each(step, part, sign),
            UnaryOp::Neg => each(step, part, |x| -x),
            UnaryOp::Step => each(step, part, |x| if x > 0.0 { 1.0 } else { 0.0 }),
            UnaryOp::Tanh => each(step, part, f32::tanh),
            UnaryOp::Elu => each(step, part, |x| if x > 0.0 { x } else { x.exp_m1() }),
            UnaryOp::Relu => map_rows(step, context, part, Map::Relu),
            UnaryOp::Sigmoid => each(step, part, |x| 1.0 / (1.0 + (-x).exp())),
            UnaryOp::Gelu => each(step, part, gelu),
            UnaryOp::GeluQuick => each(step, part, gelu_quick),
            UnaryOp::Silu => map_rows(step, context, part, Map::Silu),
            UnaryOp::HardSwish => each(step, part, |x| x * hard_sigmoid(x)),
            UnaryOp::HardSigmoid => each(step, part, hard_sigmoid),
            UnaryOp::Exp => each(step, part, f32::exp),
            UnaryOp::Softplus => each(step, part, |x| if x > 20.0 { x } else { (1.0 + x.exp()).ln() }),
            UnaryOp::GeluErf => each(step, part, gelu_erf),
            UnaryOp::Xielu { alpha_n, alpha_p, beta, eps } => each(step, part, |x| {
                if x > 0.0 {
                    alpha_p * x * x + beta * x
                } else {
                    // C's `fminf`, like this, prefers a number to what is none.
                    (x.min(eps).exp_m1() - x) * alpha_n + beta * x
                }
            }),
        }
    }
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
unsafe fn each(step: &Step, part: Part, f: impl Fn(f32) -> f32) {
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

fn sign(x: f32) -> f32 {
    if x > 0.0 {
        1.0
    } else if x < 0.0 {
        -1.0
    } else {
        0.0
    }
}

/// `(x + 3) / 6` between 0 and 1. C's `fmaxf` and `fminf`, like these, prefer a number to what is none.
fn hard_sigmoid(x: f32) -> f32 {
    0f32.max((x + 3.0) / 6.0).min(1.0)
}

/// GELU by the error function (`ggml_vec_gelu_erf_f32`).
pub(super) fn gelu_erf(x: f32) -> f32 {
    0.5 * x * (1.0 + libm::erff(x * std::f32::consts::FRAC_1_SQRT_2))
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

/// Sigmoid-approximated GELU, through a table too (`ggml_vec_gelu_quick_f32`).
pub(super) fn gelu_quick(x: f32) -> f32 {
    gelu_quick_table()[usize::from(f16::from_f32(x).to_bits())].to_f32()
}

/// GELU of every f16, by its bits (`ggml_table_gelu_f16`).
pub(super) fn gelu_table() -> &'static [f16] {
    const SQRT_2_OVER_PI: f32 = 0.797_884_6;
    const COEF_A: f32 = 0.044_715;
    static TABLE: OnceLock<Vec<f16>> = OnceLock::new();
    TABLE.get_or_init(|| by_bits(|x| 0.5 * x * (1.0 + (SQRT_2_OVER_PI * x * (1.0 + COEF_A * x * x)).tanh())))
}

/// Quick GELU of every f16, by its bits (`ggml_table_gelu_quick_f16`).
pub(super) fn gelu_quick_table() -> &'static [f16] {
    const COEF: f32 = -1.702;
    static TABLE: OnceLock<Vec<f16>> = OnceLock::new();
    TABLE.get_or_init(|| by_bits(|x| x * (1.0 / (1.0 + (COEF * x).exp()))))
}

/// A function of every f16.
fn by_bits(f: impl Fn(f32) -> f32) -> Vec<f16> {
    (0..=u16::MAX).map(|bits| f16::from_f32(f(f16::from_bits(bits).to_f32()))).collect()
}

#[cfg(test)]
pub(super) fn cases(battery: &mut Battery) {
    use quipu_graph::{Graph, TensorId};
    type Build = Box<dyn Fn(&mut Graph, TensorId) -> Result<TensorId, quipu_graph::Error>>;
    type Exact = fn(f64) -> f64;
    let mut ops: Vec<(String, Build, Exact, f64)> = Vec::new();
    for op in UnaryOp::ALL {
        let (f, bound) = exact(op);
        ops.push((format!("{op:?}"), Box::new(move |g, a| g.unary(op, a)), f, bound));
    }
    ops.push(("sqr".into(), Box::new(Graph::sqr), |x| x * x, 1e-13));
    ops.push(("sqrt".into(), Box::new(Graph::sqrt), f64::sqrt, 1e-13));
    let nan_is_max = |x: f64| if x.is_nan() { 3.0 } else { x.clamp(-0.5, 3.0) };
    ops.push(("clamp".into(), Box::new(|g, a| g.clamp(a, -0.5, 3.0)), nan_is_max, 0.0));
    let leaky = |x: f64| if x.is_nan() { 0.0 } else { x.max(0.25 * x) };
    ops.push(("leaky_relu".into(), Box::new(|g, a| g.leaky_relu(a, 0.25)), leaky, 0.0));
    for (name, build, f, bound) in ops {
        for ne in SHAPES {
            for layout in Layout::ALL {
                let mut case = Case::new(3);
                let (a, values) = case.values(ne, layout, 15.0, layout != Layout::Dense);
                let out = build(&mut case.graph, a).unwrap();
                let expected: Vec<f64> = values.iter().map(|x| f(f64::from(*x))).collect();
                battery.close(&format!("{name} {ne:?}"), &mut case, out, &expected, bound);
            }
        }
    }
}

/// A function by its definition, and how far from it the reference's arithmetic may be.
#[cfg(test)]
fn exact(op: UnaryOp) -> (fn(f64) -> f64, f64) {
    let gate = |x: f64| if x.is_nan() { 0.0 } else { ((x + 3.0) / 6.0).clamp(0.0, 1.0) };
    match op {
        UnaryOp::Abs => (f64::abs, 0.0),
        UnaryOp::Sgn => (|x| if x.is_nan() { 0.0 } else { x.signum() }, 0.0),
        UnaryOp::Neg => (|x| -x, 0.0),
        UnaryOp::Step => (|x| if x > 0.0 { 1.0 } else { 0.0 }, 0.0),
        UnaryOp::Tanh => (f64::tanh, 1e-12),
        UnaryOp::Elu => (|x| if x > 0.0 { x } else { x.exp_m1() }, 1e-12),
        // The reference makes 0 of NaN; here it stays visible.
        UnaryOp::Relu => (|x| if x <= 0.0 { 0.0 } else { x }, 0.0),
        UnaryOp::Sigmoid => (|x| 1.0 / (1.0 + (-x).exp()), 1e-12),
        UnaryOp::Gelu => {
            (|x| 0.5 * x * (1.0 + (0.797_884_560_802_865_4 * x * (1.0 + 0.044715 * x * x)).tanh()), 1e-6)
        }
        UnaryOp::GeluQuick => (|x| x / (1.0 + (-1.702 * x).exp()), 1e-6),
        UnaryOp::Silu => (|x| x / (1.0 + (-x).exp()), 1e-12),
        UnaryOp::HardSwish => (|x| x * ((x + 3.0) / 6.0).clamp(0.0, 1.0), 1e-12),
        UnaryOp::HardSigmoid => (gate, 1e-12),
        UnaryOp::Exp => (f64::exp, 1e-12),
        UnaryOp::Softplus => (|x| x.exp().ln_1p(), 1e-12),
        UnaryOp::Xielu { .. } => {
            let xielu = |x: f64| {
                let bent = if x > 0.0 { 0.9 * x * x } else { 1.2 * (x.min(-1e-6).exp_m1() - x) };
                bent + 0.5 * x
            };
            (xielu, 1e-12)
        }
        UnaryOp::GeluErf => (|x| 0.5 * x * (1.0 + libm::erf(x * std::f64::consts::FRAC_1_SQRT_2)), 1e-12),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of the reference's tables, `ggml_table_gelu_f16` and `ggml_table_gelu_quick_f16`, where the last bit tells.
    #[test]
    fn gelus_go_through_f16() {
        for (x, bits) in
            [(1.0, f16::from_f32(0.841_192).to_bits()), (-1.0, f16::from_f32(-0.158_808).to_bits())]
        {
            assert_eq!(f16::from_f32(gelu(x)).to_bits(), bits);
            assert_eq!(f16::from_f32(gelu(x)).to_f32(), gelu(x));
            assert_eq!(f16::from_f32(gelu_quick(x)).to_f32(), gelu_quick(x));
        }
        assert_eq!((gelu(-10.0), gelu(10.5)), (0.0, 10.5));
        assert!(gelu(f32::NAN).is_nan() && gelu_quick(f32::NAN).is_nan() && gelu_erf(f32::NAN).is_nan());
    }
}
