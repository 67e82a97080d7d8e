//! SCALE: a factor and a summand for every element.

use quipu_graph::Op;

use super::{BadRow, Context, OpKernel, Part, Step};
use crate::pool::Team;
use crate::vec::rows::{Map, MapRow};
use crate::vec::with_isa;

pub(super) static KERNEL: OpKernel = OpKernel::of(run);

/// `dst = a * scale + bias` (`ggml_compute_forward_scale`).
unsafe fn run(step: &Step, context: Context, part: Part, _team: &Team<'_>) -> Result<(), BadRow> {
    let Op::Scale { scale, bias } = step.op else { return Ok(()) };
    let (dst, a) = (&step.dst, &step.src[0]);
    let map = Map::Scale { scale, bias };
    for row in part.share(dst.n_rows()) {
        let at = dst.row_index(row);
        // SAFETY: indices are inside the shapes.
        unsafe {
            let (x, y) = (a.row(at).cast(), dst.row(at).cast());
            with_isa(context.isa, MapRow { map, x, y, n: dst.ne[0] });
        }
    }
    Ok(())
}
