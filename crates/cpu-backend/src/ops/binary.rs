//! ADD and MUL: two operands, the second repeated to the first one's shape.

use quipu_graph::Op;

use super::{BadRow, Context, OpKernel, Part, Step};
use crate::pool::Team;
use crate::vec::rows::{Map, MapRow, Zip, ZipRow};
use crate::vec::with_isa;

pub(super) static KERNEL: OpKernel = OpKernel::of(run);

/// `dst = a op b` (`ggml_compute_forward_add`, `_mul`).
unsafe fn run(step: &Step, context: Context, part: Part, _team: &Team<'_>) -> Result<(), BadRow> {
    let (dst, a, b) = (&step.dst, &step.src[0], &step.src[1]);
    let isa = context.isa;
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
    Ok(())
}
