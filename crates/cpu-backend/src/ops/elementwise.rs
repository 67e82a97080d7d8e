//! ADD, MUL and SCALE.

use quipu_graph::Op;

use super::{Part, Step};
use crate::isa::Isa;
use crate::vec::rows::{Map, MapRow, Zip, ZipRow};
use crate::vec::with_isa;

/// `dst = a op b`, `b` repeated to `a`'s shape (`ggml_compute_forward_add`, `_mul`).
///
/// # Safety
/// See [`super::run`].
pub(super) unsafe fn binary(step: &Step, isa: Isa, part: Part) {
    let (dst, a, b) = (&step.dst, &step.src[0], &step.src[1]);
    let zip = if step.op == Op::Add { Zip::Add } else { Zip::Mul };
    for row in part.share(dst.n_rows()) {
        let at = dst.row_index(row);
        let at_b = [at[0] % b.ne[1], at[1] % b.ne[2], at[2] % b.ne[3]];
        // SAFETY: indices are inside the shapes; `b`'s row is repeated a whole number of times.
        unsafe {
            let (y, x) = (dst.row(at).cast::<f32>(), a.row(at).cast::<f32>());
            let other = b.row(at_b).cast::<f32>();
            if b.ne[0] == 1 && dst.ne[0] > 1 {
                let value = *other;
                let map = match zip {
                    Zip::Add => Map::Scale { scale: 1.0, bias: value },
                    _ => Map::Scale { scale: value, bias: 0.0 },
                };
                with_isa(isa, MapRow { map, x, y, n: dst.ne[0] });
            } else {
                for start in (0..dst.ne[0]).step_by(b.ne[0]) {
                    with_isa(isa, ZipRow { zip, a: x.add(start), b: other, y: y.add(start), n: b.ne[0] });
                }
            }
        }
    }
}

/// `dst = a * scale + bias` (`ggml_compute_forward_scale`).
///
/// # Safety
/// See [`super::run`].
pub(super) unsafe fn scale(step: &Step, isa: Isa, part: Part, scale: f32, bias: f32) {
    // SAFETY: the caller's promises.
    unsafe { map_rows(step, isa, part, Map::Scale { scale, bias }) };
}

/// `dst = map(a)`, row by row.
///
/// # Safety
/// See [`super::run`].
pub(super) unsafe fn map_rows(step: &Step, isa: Isa, part: Part, map: Map) {
    let (dst, a) = (&step.dst, &step.src[0]);
    for row in part.share(dst.n_rows()) {
        let at = dst.row_index(row);
        // SAFETY: indices are inside the shapes.
        unsafe {
            with_isa(isa, MapRow { map, x: a.row(at).cast(), y: dst.row(at).cast(), n: dst.ne[0] });
        }
    }
}
