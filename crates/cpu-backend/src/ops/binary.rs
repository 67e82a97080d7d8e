//! ADD, SUB, MUL and DIV: two operands, the second repeated to the first one's shape.

use quipu_graph::Op;

#[cfg(test)]
use super::battery::{Battery, Case, Layout, SHAPES, repeated};
use super::{BadRow, Context, OpKernel, Part, Step};
use crate::isa::Isa;
use crate::pool::Team;
use crate::vec::rows::{Map, MapRow, Zip, ZipRow};
use crate::vec::with_isa;

pub(super) static KERNEL: OpKernel = OpKernel::of(run);

/// `dst = a op b` (`ggml_compute_forward_add`, `_sub`, `_mul`, `_div`).
unsafe fn run(step: &Step, context: Context, part: Part, _team: &Team<'_>) -> Result<(), BadRow> {
    let (dst, a, b) = (&step.dst, &step.src[0], &step.src[1]);
    for row in part.share(dst.n_rows()) {
        let at = dst.row_index(row);
        let at_b = [at[0] % b.ne[1], at[1] % b.ne[2], at[2] % b.ne[3]];
        // SAFETY: indices are inside the shapes; `b`'s row is repeated a whole number of times.
        unsafe {
            let (y, x) = (dst.row(at).cast::<f32>(), a.row(at).cast::<f32>());
            let other = b.row(at_b).cast::<f32>();
            if b.ne[0] == 1 && dst.ne[0] > 1 {
                with_value(context.isa, step.op, x, *other, y, dst.ne[0]);
            } else {
                for start in (0..dst.ne[0]).step_by(b.ne[0]) {
                    with_row(context.isa, step.op, x.add(start), other, y.add(start), b.ne[0]);
                }
            }
        }
    }
    Ok(())
}

/// `y[i] = x[i] op value`.
unsafe fn with_value(isa: Isa, op: Op, x: *const f32, value: f32, y: *mut f32, n: usize) {
    // SAFETY: the caller promises rows of `n` floats.
    unsafe {
        match op {
            Op::Add => with_isa(isa, MapRow { map: Map::Scale { scale: 1.0, bias: value }, x, y, n }),
            Op::Sub => (0..n).for_each(|i| *y.add(i) = *x.add(i) - value),
            Op::Div => (0..n).for_each(|i| *y.add(i) = *x.add(i) / value),
            _ => with_isa(isa, MapRow { map: Map::Scale { scale: value, bias: 0.0 }, x, y, n }),
        }
    }
}

/// `y[i] = a[i] op b[i]`.
unsafe fn with_row(isa: Isa, op: Op, a: *const f32, b: *const f32, y: *mut f32, n: usize) {
    // SAFETY: the caller promises rows of `n` floats; elements are read before they are written.
    unsafe {
        match op {
            Op::Add => with_isa(isa, ZipRow { zip: Zip::Add, a, b, y, n }),
            Op::Sub => (0..n).for_each(|i| *y.add(i) = *a.add(i) - *b.add(i)),
            Op::Div => (0..n).for_each(|i| *y.add(i) = *a.add(i) / *b.add(i)),
            _ => with_isa(isa, ZipRow { zip: Zip::Mul, a, b, y, n }),
        }
    }
}

#[cfg(test)]
pub(super) fn cases(battery: &mut Battery) {
    use quipu_graph::{Graph, TensorId};
    type Build = fn(&mut Graph, TensorId, TensorId) -> Result<TensorId, quipu_graph::Error>;
    type Exact = fn(f32, f32) -> f32;
    let ops: [(&str, Build, Exact); 4] = [
        ("add", Graph::add, |x, y| x + y),
        ("sub", Graph::sub, |x, y| x - y),
        ("mul", Graph::mul, |x, y| x * y),
        ("div", Graph::div, |x, y| x / y),
    ];
    let smaller: [fn([usize; 4]) -> [usize; 4]; 5] = [
        |ne| ne,
        |ne| [ne[0], 1, 1, 1],
        |ne| [1, ne[1], 1, 1],
        |_| [1, 1, 1, 1],
        |ne| [if ne[0].is_multiple_of(11) { 11 } else { ne[0] }, ne[1], 1, ne[3]],
    ];
    for (name, build, f) in ops {
        for ne in SHAPES {
            for (layout, other) in [(Layout::Dense, Layout::Dense), (Layout::Gaps, Layout::Permuted)] {
                for (smaller, nan) in smaller.iter().zip([false, true, true, false, false]) {
                    let mut case = Case::new(1);
                    let small = smaller(ne);
                    let (a, va) = case.values(ne, layout, 2.0, nan);
                    let (b, vb) = case.values(small, other, 2.0, nan);
                    let out = build(&mut case.graph, a, b).unwrap();
                    let expected: Vec<f32> =
                        va.iter().enumerate().map(|(i, x)| f(*x, vb[repeated(i, ne, small)])).collect();
                    battery.equal(&format!("{name} {ne:?} {small:?}"), &mut case, out, &expected);
                }
            }
        }
    }
}
