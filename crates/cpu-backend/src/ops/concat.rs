//! CONCAT and REPEAT: copies of whole rows to several places. Types do not matter, blocks stay whole.

use quipu_graph::Op;

#[cfg(test)]
use super::battery::{Battery, Case, Layout, SHAPES, repeated, unravel};
use super::{BadRow, Context, OpKernel, Operand, Part, Step};
use crate::pool::Team;

pub(super) static CONCAT: OpKernel = OpKernel::of(concat);
pub(super) static REPEAT: OpKernel = OpKernel::of(repeat);

/// `b` behind `a` along one dimension (`ggml_compute_forward_concat`).
unsafe fn concat(step: &Step, _context: Context, part: Part, _team: &Team<'_>) -> Result<(), BadRow> {
    let Op::Concat { dim } = step.op else { return Ok(()) };
    let (dst, a, b) = (&step.dst, &step.src[0], &step.src[1]);
    for row in part.share(dst.n_rows()) {
        let at = dst.row_index(row);
        // SAFETY: indices are inside the shapes: along `dim` those of `b` start where `a` ends.
        unsafe {
            let out = dst.row(at);
            if dim == 0 {
                copy_row(a, a.row(at), out);
                copy_row(b, b.row(at), out.add(row_bytes(a)));
            } else if at[dim - 1] < a.ne[dim] {
                copy_row(a, a.row(at), out);
            } else {
                let mut at = at;
                at[dim - 1] -= a.ne[dim];
                copy_row(b, b.row(at), out);
            }
        }
    }
    Ok(())
}

/// `a` again and again (`ggml_compute_forward_repeat`).
unsafe fn repeat(step: &Step, _context: Context, part: Part, _team: &Team<'_>) -> Result<(), BadRow> {
    let (dst, a) = (&step.dst, &step.src[0]);
    for row in part.share(dst.n_rows()) {
        let at = dst.row_index(row);
        // SAFETY: indices are inside the shapes; a row of `dst` holds a whole number of rows of `a`.
        unsafe {
            let src = a.row([at[0] % a.ne[1], at[1] % a.ne[2], at[2] % a.ne[3]]);
            let out = dst.row(at);
            for i in 0..dst.ne[0] / a.ne[0] {
                copy_row(a, src, out.add(i * row_bytes(a)));
            }
        }
    }
    Ok(())
}

/// Bytes of a row of `t` without gaps.
fn row_bytes(t: &Operand) -> usize {
    t.ne[0] / t.dtype.block_len() * t.dtype.block_bytes()
}

/// Copies one row of `t`, at its stride, to a place without gaps.
unsafe fn copy_row(t: &Operand, src: *const u8, out: *mut u8) {
    let block = t.dtype.block_bytes();
    // SAFETY: the caller promises a row of `t` at `src`, and room for one at `out`, apart from it.
    unsafe {
        if t.nb[0] == block {
            std::ptr::copy_nonoverlapping(src, out, row_bytes(t));
        } else {
            for i in 0..t.ne[0] / t.dtype.block_len() {
                std::ptr::copy_nonoverlapping(src.add(i * t.nb[0]), out.add(i * block), block);
            }
        }
    }
}

#[cfg(test)]
pub(super) fn cases(battery: &mut Battery) {
    for ne in SHAPES {
        for dim in 0..4 {
            for (layout, other) in [(Layout::Dense, Layout::Gaps), (Layout::Permuted, Layout::Dense)] {
                let mut case = Case::new(8);
                let mut b_ne = ne;
                b_ne[dim] += 2;
                let (a, va) = case.values(ne, layout, 1.0, true);
                let (b, vb) = case.values(b_ne, other, 1.0, false);
                let out = case.graph.concat(a, b, dim).unwrap();
                let to = case.graph[out].ne;
                let element = |i: usize| {
                    let mut at = unravel(i, to);
                    let (values, ne) = if at[dim] < ne[dim] { (&va, ne) } else { (&vb, b_ne) };
                    if at[dim] >= to[dim] - b_ne[dim] {
                        at[dim] -= to[dim] - b_ne[dim];
                    }
                    values[((at[3] * ne[2] + at[2]) * ne[1] + at[1]) * ne[0] + at[0]]
                };
                let expected: Vec<f32> = (0..to.iter().product()).map(element).collect();
                battery.equal(&format!("concat {ne:?} along {dim}"), &mut case, out, &expected);
            }
        }
        for times in [[1, 1, 1, 1], [3, 1, 2, 1], [1, 2, 1, 3]] {
            for layout in Layout::ALL {
                let mut case = Case::new(9);
                let to: [usize; 4] = std::array::from_fn(|d| ne[d] * times[d]);
                let (a, values) = case.values(ne, layout, 1.0, true);
                let out = case.graph.repeat(a, to).unwrap();
                let expected: Vec<f32> =
                    (0..to.iter().product()).map(|i| values[repeated(i, to, ne)]).collect();
                battery.equal(&format!("repeat {ne:?} to {to:?}"), &mut case, out, &expected);
            }
        }
    }
    // Columns that are not side by side, blocks of quantised rows, and small types.
    let mut case = Case::new(10);
    let (a, va) = case.values([5, 3, 1, 1], Layout::Dense, 1.0, false);
    let turned = case.graph.transpose(a);
    let out = case.graph.concat(turned, turned, 0).unwrap();
    let expected: Vec<f32> = (0..30).map(|i| va[i % 6 % 3 * 5 + i / 6]).collect();
    battery.equal("concat of a transposed matrix", &mut case, out, &expected);
    let mut case = Case::new(11);
    let blocks: Vec<u8> = (0..34 * 6).map(|i| i as u8).collect();
    let a = case.leaf(quipu_graph::DType::Q8_0, [64, 3, 1, 1], &blocks);
    let out = case.graph.concat(a, a, 0).unwrap();
    let expected: Vec<u8> =
        blocks.chunks(68).flat_map(|row| row.iter().chain(row).copied().collect::<Vec<_>>()).collect();
    battery.bytes("concat of blocks", &mut case, out, &expected);
    let mut case = Case::new(12);
    let a = case.leaf(quipu_graph::DType::I16, [3, 1, 1, 1], &[1i16, 2, 3]);
    let out = case.graph.repeat(a, [6, 2, 1, 1]).unwrap();
    battery.bytes("repeat of i16", &mut case, out, &[1i16, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3]);
}
