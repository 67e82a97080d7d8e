//! MUL_MAT_ID: columns are gathered matrix by matrix, and each matrix meets its columns in one product of [`crate::matmul`].
//!
//! Which columns share a product depends on the numbers alone, so the result does not depend on the number of threads.

use quipu_backend::check::ensure;

#[cfg(test)]
use super::battery::{Battery, Case, Layout};
use super::{BadRow, Context, OpKernel, Part, Step};
use crate::matmul::{self, MatMul, Operands, mul_mat};
use crate::pool::Team;

pub(super) static KERNEL: OpKernel = OpKernel {
    takes: |_, src| {
        let supported = matmul::is_supported(src[0].dtype, src[0].ne[0]);
        ensure(supported, "weights of a type with a matrix product")?;
        ensure(u32::try_from(src[2].n_elements()).is_ok(), "fewer than 2^32 columns")
    },
    scratch_bytes: |step, _n_threads| Scratch::of(step).map(|scratch| scratch.n_bytes),
    ..OpKernel::of(run)
};

/// Scratch by its parts, all of them aligned to 64.
struct Scratch {
    /// Columns in the order of their matrices, f32 `[k, n_columns]`.
    gathered: usize,
    /// Their products, f32 `[n, n_columns]`.
    products: usize,
    /// The columns' numbers in that order, u32.
    order: usize,
    n_bytes: usize,
}

impl Scratch {
    /// Behind what the largest product needs.
    fn of(step: &Step) -> Option<Scratch> {
        let (w, n_columns) = (&step.src[0], step.src[2].n_elements());
        let mut end = product(step, n_columns)?.scratch_bytes().ok()?;
        let mut part = |n: usize| -> Option<usize> {
            let start = end.checked_next_multiple_of(matmul::SCRATCH_ALIGN)?;
            end = start.checked_add(n.checked_mul(4)?)?;
            Some(start)
        };
        let gathered = part(w.ne[0].checked_mul(n_columns)?)?;
        let products = part(w.ne[1].checked_mul(n_columns)?)?;
        let order = part(n_columns)?;
        Some(Scratch { gathered, products, order, n_bytes: end })
    }
}

/// The product of one matrix with `n_cols` gathered columns.
fn product(step: &Step, n_cols: usize) -> Option<MatMul> {
    let w = &step.src[0];
    let plain = MatMul::plain(w.dtype, w.ne[0], w.ne[1], n_cols).ok()?;
    Some(MatMul { w_stride: [w.nb[1], w.nb[2], w.nb[3]], ..plain })
}

/// Each column times the matrices it names (`ggml_compute_forward_mul_mat_id`). Nothing is written if a number is out of range.
unsafe fn run(step: &Step, context: Context, _part: Part, team: &Team<'_>) -> Result<(), BadRow> {
    let (dst, w, b, ids) = (&step.dst, &step.src[0], &step.src[1], &step.src[2]);
    let (n_used, n_columns, n_matrices) = (ids.ne[0], ids.n_elements(), w.ne[2]);
    let number = |column: usize| {
        // SAFETY: the column exists; its number is an i32 in a row without gaps.
        unsafe { *ids.row([column / n_used, 0, 0]).cast_const().cast::<i32>().add(column % n_used) }
    };
    let bad = |id: &i32| usize::try_from(*id).map_or(true, |id| id >= n_matrices);
    if let Some(row) = (0..n_columns).map(number).find(bad) {
        return Err(BadRow { row: i64::from(row), n_rows: n_matrices });
    }
    if n_columns == 0 || w.ne[1] == 0 {
        return Ok(());
    }
    let scratch = Scratch::of(step).expect("sizes were checked when the plan sized the scratch");
    let (k, n) = (w.ne[0], w.ne[1]);
    // SAFETY: the parts lie in the scratch, apart from each other and aligned; shares of columns do not overlap, and barriers stand
    // between writing and reading; rows exist by the arithmetic of the shapes; the products' operands are parts of the scratch, and
    // a matrix of the weights.
    unsafe {
        let gathered = context.scratch.add(scratch.gathered).cast::<f32>();
        let products = context.scratch.add(scratch.products).cast::<f32>();
        let order = context.scratch.add(scratch.order).cast::<u32>();
        if team.ith() == 0 {
            let mut at = 0;
            for matrix in 0..n_matrices {
                for column in (0..n_columns).filter(|column| number(*column) as usize == matrix) {
                    *order.add(at) = column as u32;
                    at += 1;
                }
            }
        }
        team.barrier();
        for at in team.share(n_columns) {
            let column = *order.add(at) as usize;
            let row = b.row([column % n_used % b.ne[1], column / n_used, 0]);
            std::ptr::copy_nonoverlapping(row.cast_const().cast::<f32>(), gathered.add(at * k), k);
        }
        team.barrier();
        let mut first = 0;
        while first < n_columns {
            let matrix = number(*order.add(first) as usize);
            let same = |at: &usize| number(*order.add(*at) as usize) == matrix;
            let n_cols = (first..n_columns).take_while(same).count();
            let operands = Operands {
                w: w.ptr.add(matrix as usize * w.nb[2]),
                x: gathered.add(first * k),
                dst: products.add(first * n),
                scratch: context.scratch,
            };
            let product = product(step, n_cols).expect("it is no larger than the one that was checked");
            mul_mat(team, context.isa, &product, &operands).expect("the type was checked");
            team.barrier();
            first += n_cols;
        }
        for at in team.share(n_columns) {
            let column = *order.add(at) as usize;
            let to = dst.row([column % n_used, column / n_used, 0]).cast::<f32>();
            std::ptr::copy_nonoverlapping(products.add(at * n).cast_const(), to, n);
        }
    }
    Ok(())
}

#[cfg(test)]
pub(super) fn cases(battery: &mut Battery) {
    use quipu_graph::DType;
    use quipu_testing::SplitMix;
    let types = DType::ALL.into_iter().filter(|dtype| matmul::is_supported(*dtype, 256));
    for dtype in types {
        // Columns for each number and one for all; matrices nobody names; more than four columns of one, and single ones.
        for (n, n_used, n_tokens, shared) in [(5, 3, 1, true), (37, 2, 9, true), (8, 3, 7, false)] {
            let (k, n_matrices) = (256, 6);
            let mut case = Case::new(31);
            let stored = quipu_testing::rows::weights(&mut SplitMix::new(31), dtype, k, n * n_matrices);
            let mut weights = vec![0f32; k * n * n_matrices];
            quipu_quant::dequantize_row(dtype, &stored, &mut weights).unwrap();
            let w = case.leaf(dtype, [k, n, n_matrices, 1], &stored);
            let n_b = if shared { 1 } else { n_used };
            let layout = if shared { Layout::Gaps } else { Layout::Dense };
            let (x, vx) = case.values([k, n_b, n_tokens, 1], layout, 1.0, false);
            // Numbers are the first of longer rows, as a choice of the best has them.
            let wide: Vec<i32> = (0..5 * n_tokens as i32).map(|i| (i * i + i / 5) % 5).collect();
            let ids = case.leaf(DType::I32, [5, n_tokens, 1, 1], &wide);
            let nb = case.graph[ids].nb;
            let ids = case.graph.view(ids, [n_used, n_tokens, 1, 1], [nb[1], nb[2], nb[3]], 0).unwrap();
            let out = case.graph.mul_mat_id(w, x, ids).unwrap();
            let mut expected = Vec::new();
            for (token, row) in wide.chunks(5).enumerate() {
                for (slot, matrix) in row[..n_used].iter().enumerate() {
                    let x = &vx[(token * n_b + slot % n_b) * k..][..k];
                    for w in weights[*matrix as usize * n * k..][..n * k].chunks(k) {
                        let dot = w.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x));
                        expected.push(dot.sum::<f64>());
                    }
                }
            }
            let bound = match dtype {
                DType::F32 => 1e-10,
                DType::F16 => 1e-6,
                _ => 1e-3,
            };
            battery.close(&format!("mul_mat_id {dtype} {n} x {n_tokens}"), &mut case, out, &expected, bound);
        }
    }
}
