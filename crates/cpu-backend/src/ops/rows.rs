//! GET_ROWS and SET_ROWS: rows picked from and put into a table, with conversion.

use half::{bf16, f16};
use quipu_backend::check::ensure;
use quipu_graph::DType;
use quipu_quant::{dequantize_row, quantize_row_cpu};

#[cfg(test)]
use super::battery::{Battery, Case, Layout};
use super::{BadRow, Context, OpKernel, Part, Step};
use crate::isa::Isa;
use crate::pool::Team;
use crate::quantize;

pub(super) static GET_ROWS: OpKernel = OpKernel {
    takes: |_, src| {
        let table = src[0].dtype;
        ensure(table.is_computed() || table == DType::I32, "rows of a computed type")
    },
    ..OpKernel::of(get_rows)
};
pub(super) static SET_ROWS: OpKernel = OpKernel {
    takes: |dst, _| ensure(dst.dtype.is_storable(), "rows of a type that rows can be converted to"),
    ..OpKernel::of(set_rows)
};

/// Converts the row of `n` elements of `dtype` at `src` to f32.
///
/// # Safety
/// `src` points to a row of a computed type, aligned for it; `out` is not part of it.
pub(super) unsafe fn read_row(isa: Isa, dtype: DType, src: *const u8, out: &mut [f32]) {
    let n = out.len();
    // SAFETY: the caller promises `n` elements.
    unsafe {
        match dtype {
            DType::F32 => std::ptr::copy_nonoverlapping(src.cast::<f32>(), out.as_mut_ptr(), n),
            DType::F16 => {
                quantize::f16_to_f32_row(isa, std::slice::from_raw_parts(src.cast::<f16>(), n), out);
            }
            DType::BF16 => {
                quantize::bf16_to_f32_row(std::slice::from_raw_parts(src.cast::<bf16>(), n), out);
            }
            _ => {
                let len = dtype.row_bytes(n).expect("the plan checked whole blocks");
                dequantize_row(dtype, std::slice::from_raw_parts(src, len), out)
                    .expect("the plan checked that the type is computed");
            }
        }
    }
}

/// Converts a row of f32 to `dtype` at `dst`. Whole blocks, as ggml-cpu's `from_float` does.
///
/// # Safety
/// `dst` points to a writable row of `x.len()` elements of a storable type, aligned for it, apart from `x`.
pub(super) unsafe fn write_row(isa: Isa, dtype: DType, x: &[f32], dst: *mut u8) {
    let n = x.len();
    // SAFETY: the caller promises room for `n` elements.
    unsafe {
        match dtype {
            DType::F32 => std::ptr::copy_nonoverlapping(x.as_ptr(), dst.cast::<f32>(), n),
            DType::F16 => {
                quantize::f32_to_f16_row(isa, x, std::slice::from_raw_parts_mut(dst.cast::<f16>(), n));
            }
            DType::BF16 => {
                quantize::f32_to_bf16_row(x, std::slice::from_raw_parts_mut(dst.cast::<bf16>(), n));
            }
            _ => {
                let len = dtype.row_bytes(n).expect("the plan checked whole blocks");
                let out = std::slice::from_raw_parts_mut(dst, len);
                quantize_row_cpu(dtype, x, out).expect("the plan checked that the type is storable");
            }
        }
    }
}

/// `dst[i] = a[ids[i]]` (`ggml_compute_forward_get_rows`). Nothing is written if an index is out of range.
unsafe fn get_rows(step: &Step, context: Context, part: Part, _team: &Team<'_>) -> Result<(), BadRow> {
    let (dst, a, ids) = (&step.dst, &step.src[0], &step.src[1]);
    // SAFETY: `ids` is a contiguous vector of i32.
    let ids = unsafe { std::slice::from_raw_parts(ids.ptr.cast_const().cast::<i32>(), ids.ne[0]) };
    let n_rows = a.ne[1];
    if let Some(&row) = ids.iter().find(|id| usize::try_from(**id).map_or(true, |id| id >= n_rows)) {
        return Err(BadRow { row: i64::from(row), n_rows });
    }
    for i in part.share(ids.len()) {
        // SAFETY: the index was checked; `dst` has a row for each index; rows of `a` and `dst` are apart.
        unsafe {
            let src = a.row([ids[i] as usize, 0, 0]);
            let out = dst.row([i, 0, 0]);
            if a.dtype == DType::I32 {
                std::ptr::copy_nonoverlapping(src, out, dst.ne[0] * 4);
            } else {
                let out = std::slice::from_raw_parts_mut(out.cast::<f32>(), dst.ne[0]);
                read_row(context.isa, a.dtype, src, out);
            }
        }
    }
    Ok(())
}

/// `dst[ids[i]] = rows[i]` (`ggml_compute_forward_set_rows`). Nothing is written if an index is out of
/// range; of rows with equal indices the last one counts.
unsafe fn set_rows(step: &Step, context: Context, part: Part, _team: &Team<'_>) -> Result<(), BadRow> {
    let (dst, rows, ids) = (&step.dst, &step.src[0], &step.src[1]);
    // SAFETY: `ids` is a contiguous vector of i64.
    let ids = unsafe { std::slice::from_raw_parts(ids.ptr.cast_const().cast::<i64>(), ids.ne[0]) };
    let n_rows = dst.ne[1];
    if let Some(&row) = ids.iter().find(|id| usize::try_from(**id).map_or(true, |id| id >= n_rows)) {
        return Err(BadRow { row, n_rows });
    }
    for (i, &id) in ids.iter().enumerate() {
        let id = id as usize;
        // Split by target, so that two threads never write the same row.
        if id % part.nth != part.ith {
            continue;
        }
        // SAFETY: the index was checked; rows of `dst` do not overlap each other or `rows`.
        unsafe {
            let x = rows.row([i, 0, 0]).cast_const().cast::<f32>();
            let x = std::slice::from_raw_parts(x, rows.ne[0]);
            write_row(context.isa, dst.dtype, x, dst.row([id, 0, 0]));
        }
    }
    Ok(())
}

#[cfg(test)]
pub(super) fn cases(battery: &mut Battery) {
    for dtype in DType::ALL.into_iter().filter(|t| t.is_storable()) {
        let (k, n) = (512, 31);
        let row_bytes = dtype.row_bytes(k).unwrap();
        let mut case = Case::new(19);
        let mut values: Vec<f32> = (0..k * n).map(|_| case.noise()).collect();
        if dtype.block_len() == 1 {
            values[k + 7] = f32::NAN;
        }
        let mut table = vec![0u8; row_bytes * n];
        quipu_quant::quantize_row(dtype, &values, &mut table).unwrap();
        quipu_quant::dequantize_row(dtype, &table, &mut values).unwrap();
        let a = case.leaf(dtype, [k, n, 1, 1], &table);
        let numbers: Vec<i32> = (0..20).map(|i| i * i % n as i32).collect();
        let ids = case.leaf(DType::I32, [20, 1, 1, 1], &numbers);
        let out = case.graph.get_rows(a, ids).unwrap();
        let expected: Vec<f32> =
            numbers.iter().flat_map(|row| values[*row as usize * k..][..k].to_vec()).collect();
        battery.equal(&format!("get_rows of {dtype}"), &mut case, out, &expected);

        for layout in [Layout::Dense, Layout::Gaps] {
            let mut case = Case::new(20);
            let a = case.leaf(dtype, [k, n, 1, 1], &table);
            let (rows, new) = case.values([k, 19, 1, 1], layout, 1.0, false);
            // Some twice: the last one counts.
            let numbers: Vec<i64> = (0..19).map(|i| i * i % 23).collect();
            let ids = case.leaf(DType::I64, [19, 1, 1, 1], &numbers);
            let out = case.graph.set_rows(a, rows, ids).unwrap();
            let mut expected = table.clone();
            for (row, values) in numbers.iter().zip(new.chunks(k)) {
                let to = &mut expected[*row as usize * row_bytes..][..row_bytes];
                quipu_quant::quantize_row_cpu(dtype, values, to).unwrap();
            }
            battery.bytes(&format!("set_rows of {dtype}"), &mut case, out, &expected);
        }
    }
}
