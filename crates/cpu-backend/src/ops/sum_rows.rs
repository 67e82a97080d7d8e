//! SUM_ROWS: the sum of each row.

#[cfg(test)]
use super::battery::{Battery, Case, Layout, SHAPES};
use super::{BadRow, Context, OpKernel, Part, Step};
use crate::pool::Team;

pub(super) static KERNEL: OpKernel = OpKernel::of(run);

/// Sums in f64, one element after the other, rounded once at the end (`ggml_compute_forward_sum_rows`).
unsafe fn run(step: &Step, _context: Context, part: Part, _team: &Team<'_>) -> Result<(), BadRow> {
    let (dst, a) = (&step.dst, &step.src[0]);
    for row in part.share(dst.n_rows()) {
        let at = dst.row_index(row);
        // SAFETY: indices are inside the shapes.
        unsafe {
            let x = std::slice::from_raw_parts(a.row(at).cast_const().cast::<f32>(), a.ne[0]);
            let sum = x.iter().fold(0.0, |sum, x| sum + f64::from(*x));
            *dst.row(at).cast::<f32>() = sum as f32;
        }
    }
    Ok(())
}

#[cfg(test)]
pub(super) fn cases(battery: &mut Battery) {
    for ne in SHAPES.into_iter().chain([[3, 9000, 1, 1]]) {
        for layout in Layout::ALL {
            let mut case = Case::new(7);
            let (a, values) = case.values(ne, layout, 3.0, layout == Layout::Gaps);
            let out = case.graph.sum_rows(a).unwrap();
            // The reference's own arithmetic: f64, one after the other.
            let sum = |row: &[f32]| row.iter().fold(0.0, |sum, x| sum + f64::from(*x)) as f32;
            let expected: Vec<f32> = values.chunks(ne[0]).map(sum).collect();
            battery.equal(&format!("sum_rows {ne:?}"), &mut case, out, &expected);
        }
    }
}
