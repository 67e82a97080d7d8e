//! GLU: gated linear units.

use quipu_graph::{GluOp, Op};

use super::unary::{gelu, gelu_table};
use super::{BadRow, Context, OpKernel, Part, Step};
use crate::pool::Team;
use crate::vec::rows::{Zip, ZipRow};
use crate::vec::with_isa;

pub(super) static KERNEL: OpKernel = OpKernel { warm_up, ..OpKernel::of(run) };

fn warm_up(op: Op) {
    if op == Op::Glu(GluOp::Geglu) {
        gelu_table();
    }
}

/// `f(gate) * up` (`ggml_compute_forward_glu`).
unsafe fn run(step: &Step, context: Context, part: Part, _team: &Team<'_>) -> Result<(), BadRow> {
    let Op::Glu(op) = step.op else { return Ok(()) };
    let (dst, gate, up) = (&step.dst, &step.src[0], &step.src[1]);
    let n = dst.ne[0];
    for row in part.share(dst.n_rows()) {
        let at = dst.row_index(row);
        // SAFETY: indices are inside the shapes; elements are read before they are written.
        unsafe {
            let (a, b) = (gate.row(at).cast::<f32>(), up.row(at).cast::<f32>());
            let y = dst.row(at).cast::<f32>();
            match op {
                GluOp::Swiglu => with_isa(context.isa, ZipRow { zip: Zip::Swiglu, a, b, y, n }),
                GluOp::Geglu => {
                    for i in 0..n {
                        *y.add(i) = gelu(*a.add(i)) * *b.add(i);
                    }
                }
            }
        }
    }
    Ok(())
}
