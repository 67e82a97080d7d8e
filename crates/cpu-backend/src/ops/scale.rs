//! SCALE: a factor and a summand for every element.

use quipu_graph::Op;

#[cfg(test)]
use super::battery::{Battery, Case, Layout, SHAPES};
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

#[cfg(test)]
pub(super) fn cases(battery: &mut Battery) {
    for ne in SHAPES {
        for layout in Layout::ALL {
            let mut case = Case::new(2);
            let (a, values) = case.values(ne, layout, 2.0, true);
            let out = case.graph.scale(a, 0.3, -1.5).unwrap();
            let expected: Vec<f64> = values.iter().map(|x| f64::from(*x) * f64::from(0.3f32) - 1.5).collect();
            battery.close(&format!("scale {ne:?}"), &mut case, out, &expected, 1e-13);
        }
    }
}
