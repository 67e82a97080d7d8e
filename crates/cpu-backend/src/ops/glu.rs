//! GLU: gated linear units, of two tensors or of the halves of one.

use quipu_graph::{GluOp, Op};

#[cfg(test)]
use super::battery::{Battery, Case, Layout, SHAPES};
use super::unary::{gelu, gelu_erf, gelu_quick, gelu_quick_table, gelu_table};
use super::{BadRow, Context, OpKernel, Part, Step};
use crate::isa::Isa;
use crate::pool::Team;
use crate::vec::rows::{Zip, ZipRow};
use crate::vec::with_isa;

pub(super) static KERNEL: OpKernel = OpKernel { warm_up, ..OpKernel::of(run) };

fn warm_up(op: Op) {
    match op {
        Op::Glu { op: GluOp::Geglu, .. } => drop(gelu_table()),
        Op::Glu { op: GluOp::GegluQuick, .. } => drop(gelu_quick_table()),
        _ => {}
    }
}

/// `f(gate) * up` (`ggml_compute_forward_glu`).
unsafe fn run(step: &Step, context: Context, part: Part, _team: &Team<'_>) -> Result<(), BadRow> {
    let Op::Glu { op, swapped } = step.op else { return Ok(()) };
    let (dst, a) = (&step.dst, &step.src[0]);
    let n = dst.ne[0];
    for row in part.share(dst.n_rows()) {
        let at = dst.row_index(row);
        // SAFETY: indices are inside the shapes; rows of one operand hold two halves of `n`.
        unsafe {
            let first = a.row(at).cast::<f32>().cast_const();
            let (gate, up) = match step.optional(1) {
                Some(up) => (first, up.row(at).cast::<f32>().cast_const()),
                None if swapped => (first.add(n), first),
                None => (first, first.add(n)),
            };
            gate_row(context.isa, op, gate, up, dst.row(at).cast(), n);
        }
    }
    Ok(())
}

/// `y[i] = f(gate[i]) * up[i]`. `y` may be `gate` or `up`.
unsafe fn gate_row(isa: Isa, op: GluOp, gate: *const f32, up: *const f32, y: *mut f32, n: usize) {
    // SAFETY: the caller promises rows of `n` floats.
    unsafe {
        match op {
            GluOp::Swiglu => with_isa(isa, ZipRow { zip: Zip::Swiglu, a: gate, b: up, y, n }),
            GluOp::Reglu => each(gate, up, y, n, |x, g| if x > 0.0 { x * g } else { 0.0 }),
            GluOp::Geglu => each(gate, up, y, n, |x, g| gelu(x) * g),
            GluOp::GegluErf => each(gate, up, y, n, |x, g| gelu_erf(x) * g),
            GluOp::GegluQuick => each(gate, up, y, n, |x, g| gelu_quick(x) * g),
            GluOp::SwigluOai { alpha, limit } => each(gate, up, y, n, |x, g| {
                let x = if limit < x { limit } else { x };
                x / (1.0 + (alpha * -x).exp()) * (clamp(g, limit) + 1.0)
            }),
        }
    }
}

/// Between `-limit` and `limit`, as `std::clamp` compares: what is not a number stays so.
fn clamp(x: f32, limit: f32) -> f32 {
    if x < -limit {
        -limit
    } else if limit < x {
        limit
    } else {
        x
    }
}

unsafe fn each(gate: *const f32, up: *const f32, y: *mut f32, n: usize, f: impl Fn(f32, f32) -> f32) {
    for i in 0..n {
        // SAFETY: the caller promises rows of `n` floats; elements are read before they are written.
        unsafe { *y.add(i) = f(*gate.add(i), *up.add(i)) };
    }
}

#[cfg(test)]
pub(super) fn cases(battery: &mut Battery) {
    for op in GluOp::ALL {
        for ne in SHAPES {
            for (layout, nan) in [(Layout::Dense, false), (Layout::Gaps, true), (Layout::Permuted, true)] {
                let expected = |gate: &[f32], up: &[f32]| -> Vec<f64> {
                    gate.iter().zip(up).map(|(x, y)| exact(op, f64::from(*x), f64::from(*y))).collect()
                };
                let mut case = Case::new(4);
                let (a, va) = case.values(ne, layout, 12.0, nan);
                let (b, vb) = case.values(ne, Layout::Dense, 9.0, nan);
                let out = case.graph.glu(op, a, b).unwrap();
                battery.close(&format!("{op:?} {ne:?}"), &mut case, out, &expected(&va, &vb), 1e-6);

                for swapped in [false, true] {
                    let mut case = Case::new(5);
                    let (a, values) = case.values([2 * ne[0], ne[1], ne[2], ne[3]], layout, 9.0, nan);
                    let out = case.graph.glu_halves(op, a, swapped).unwrap();
                    let half = |second: bool| -> Vec<f32> {
                        let at = if second { ne[0] } else { 0 };
                        values.chunks(2 * ne[0]).flat_map(|row| row[at..at + ne[0]].to_vec()).collect()
                    };
                    let expected = expected(&half(swapped), &half(!swapped));
                    let what = format!("{op:?} {ne:?} swapped {swapped}");
                    battery.close(&what, &mut case, out, &expected, 1e-6);
                }
            }
        }
    }
}

/// A gate by its definition.
#[cfg(test)]
fn exact(op: GluOp, x: f64, y: f64) -> f64 {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    match op {
        GluOp::Reglu => {
            if x > 0.0 {
                x * y
            } else {
                0.0
            }
        }
        GluOp::Geglu => 0.5 * x * (1.0 + (0.797_884_560_802_865_4 * x * (1.0 + 0.044715 * x * x)).tanh()) * y,
        GluOp::Swiglu => x * sigmoid(x) * y,
        GluOp::SwigluOai { alpha, limit } => {
            let (alpha, limit) = (f64::from(alpha), f64::from(limit));
            let x = if x > limit { limit } else { x };
            x * sigmoid(alpha * x) * (y.clamp(-limit, limit) + 1.0)
        }
        GluOp::GegluErf => 0.5 * x * (1.0 + libm::erf(x * std::f64::consts::FRAC_1_SQRT_2)) * y,
        GluOp::GegluQuick => x * sigmoid(1.702 * x) * y,
    }
}
