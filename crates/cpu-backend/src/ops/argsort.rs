//! ARGSORT: where the elements of each row stand in its order.

use quipu_graph::{Op, SortOrder};
use quipu_std_sort::sort_by;

#[cfg(test)]
use super::battery::{Battery, Case, Layout, SHAPES};

use super::{BadRow, Context, OpKernel, Part, Step};
use crate::pool::Team;

pub(super) static KERNEL: OpKernel = OpKernel::of(run);

/// Each row's element numbers in the order of its elements, equal ones as `std::sort` leaves them
/// (`ggml_compute_forward_argsort_f32`).
unsafe fn run(step: &Step, _context: Context, part: Part, _team: &Team<'_>) -> Result<(), BadRow> {
    let Op::Argsort(order) = step.op else { return Ok(()) };
    let (dst, a) = (&step.dst, &step.src[0]);
    let n = dst.ne[0];
    for row in part.share(dst.n_rows()) {
        let at = dst.row_index(row);
        // SAFETY: indices are inside the shapes; operand and result are apart.
        let (values, numbers) = unsafe {
            let values = std::slice::from_raw_parts(a.row(at).cast_const().cast::<f32>(), n);
            let out = dst.row(at).cast::<i32>();
            (0..n).for_each(|i| *out.add(i) = i as i32);
            (values, std::slice::from_raw_parts_mut(out, n))
        };
        match order {
            SortOrder::Ascending => sort_by(numbers, |a, b| values[a as usize] < values[b as usize]),
            SortOrder::Descending => sort_by(numbers, |a, b| values[a as usize] > values[b as usize]),
        }
    }
    Ok(())
}

#[cfg(test)]
pub(super) fn cases(battery: &mut Battery) {
    for ne in SHAPES.into_iter().chain([[700, 13, 1, 1]]) {
        for layout in Layout::ALL {
            for order in [SortOrder::Ascending, SortOrder::Descending] {
                let mut case = Case::new(13);
                // No two of a row are equal, so that any sort gives this.
                let values: Vec<f32> =
                    (0..ne.iter().product()).map(|i: usize| (i * 7919 % 8191) as f32 - 4000.0).collect();
                let a = case.f32(ne, layout, &values);
                let out = case.graph.argsort(a, order).unwrap();
                let expected: Vec<i32> = values
                    .chunks(ne[0])
                    .flat_map(|row| {
                        let mut numbers: Vec<i32> = (0..row.len() as i32).collect();
                        numbers.sort_by(|a, b| row[*a as usize].total_cmp(&row[*b as usize]));
                        if order == SortOrder::Descending {
                            numbers.reverse();
                        }
                        numbers
                    })
                    .collect();
                battery.bytes(&format!("argsort {ne:?} {order:?}"), &mut case, out, &expected);
            }
        }
    }
    // NaN gives some order of all elements, never a panic: here of nothing else, the order they had.
    let mut case = Case::new(14);
    let a = case.f32([12, 1, 1, 1], Layout::Dense, &[f32::NAN; 12]);
    let out = case.graph.argsort(a, SortOrder::Descending).unwrap();
    battery.bytes("argsort of NaN", &mut case, out, &std::array::from_fn::<i32, 12, _>(|i| i as i32));
}
