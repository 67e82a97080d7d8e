//! ADD_ID: rows that numbers name, added to columns.

#[cfg(test)]
use super::battery::{Battery, Case, Layout, SHAPES};
use super::{BadRow, Context, OpKernel, Part, Step};
use crate::pool::Team;
use crate::vec::rows::{Zip, ZipRow};
use crate::vec::with_isa;

pub(super) static KERNEL: OpKernel = OpKernel::of(run);

/// `dst = a + b[ids]` (`ggml_compute_forward_add_id`). Nothing is written if a number is out of range.
unsafe fn run(step: &Step, context: Context, part: Part, _team: &Team<'_>) -> Result<(), BadRow> {
    let (dst, a, b, ids) = (&step.dst, &step.src[0], &step.src[1], &step.src[2]);
    let number = |column: usize| {
        // SAFETY: the column exists; its number is an i32 in a row without gaps.
        unsafe { *ids.row([column / ids.ne[0], 0, 0]).cast_const().cast::<i32>().add(column % ids.ne[0]) }
    };
    let n_rows = b.ne[1];
    let bad = |id: &i32| usize::try_from(*id).map_or(true, |id| id >= n_rows);
    if let Some(row) = (0..ids.n_elements()).map(number).find(bad) {
        return Err(BadRow { row: i64::from(row), n_rows });
    }
    for column in part.share(dst.n_rows()) {
        let at = dst.row_index(column);
        let row = number(column) as usize;
        // SAFETY: indices are inside the shapes, which agree in `ne[0]`; elements are read before they are written.
        unsafe {
            let (a, b) = (a.row(at).cast::<f32>(), b.row([row, 0, 0]).cast::<f32>());
            with_isa(context.isa, ZipRow { zip: Zip::Add, a, b, y: dst.row(at).cast(), n: dst.ne[0] });
        }
    }
    Ok(())
}

#[cfg(test)]
pub(super) fn cases(battery: &mut Battery) {
    use quipu_graph::DType;
    const N_ROWS: usize = 5;
    for ne in SHAPES.into_iter().chain([[37, 6, 41, 1]]).filter(|ne| ne[3] == 1) {
        for layout in Layout::ALL {
            let mut case = Case::new(19);
            let (a, va) = case.values(ne, layout, 2.0, layout == Layout::Gaps);
            let (b, vb) = case.values([ne[0], N_ROWS, 1, 1], Layout::Gaps, 2.0, false);
            let numbers: Vec<i32> = (0..ne[1] * ne[2]).map(|i| (i * 7 % N_ROWS) as i32).collect();
            let ids = case.leaf(DType::I32, [ne[1], ne[2], 1, 1], &numbers);
            let out = case.graph.add_id(a, b, ids).unwrap();
            let of = |i: usize| vb[numbers[i / ne[0]] as usize * ne[0] + i % ne[0]];
            let expected: Vec<f32> = va.iter().enumerate().map(|(i, x)| x + of(i)).collect();
            battery.equal(&format!("add_id {ne:?}"), &mut case, out, &expected);
        }
    }
}
