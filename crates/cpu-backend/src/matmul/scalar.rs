//! The portable twin of every kernel: one row against one column, in the order of ggml's generic code.

use half::{bf16, f16};
use quipu_quant::DType;
use quipu_quant::blocks::{
    BlockMxfp4, BlockQ4_0, BlockQ4K, BlockQ5_0, BlockQ5K, BlockQ6K, BlockQ8_0, QK, QK_K,
};

use super::columns::Column;

/// The E2M1 values of MXFP4, doubled so that they are integers (`kvalues_mxfp4`).
pub(super) const MXFP4_VALUES: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// Half the value of an E8M0 exponent (`ggml_e8m0_to_fp32_half`): the other half of [`MXFP4_VALUES`]' doubling.
pub(super) fn e8m0_half(e: u8) -> f32 {
    f32::from_bits(if e < 2 { 0x0020_0000 << e } else { (u32::from(e) - 1) << 23 })
}

/// Scale and minimum of sub-block `j` of a Q4_K or Q5_K block (`get_scale_min_k4`).
pub(super) fn scale_min_k4(scales: &[u8; 12], j: usize) -> (u8, u8) {
    if j < 4 {
        (scales[j] & 63, scales[j + 4] & 63)
    } else {
        let (lo, s, m) = (scales[j + 4], scales[j - 4], scales[j]);
        ((lo & 15) | ((s >> 6) << 4), (lo >> 4) | ((m >> 6) << 4))
    }
}

/// Dot product of the weight row at `row` with the column `x`, over `k` elements.
///
/// # Safety
/// `row` holds `k` elements of `dtype` (which has kernels) and `x` is a column of the matching layout at `k0 = 0`.
pub(super) unsafe fn dot(dtype: DType, row: *const u8, k: usize, x: Column) -> f32 {
    // SAFETY: the caller promises `k` elements behind each pointer; blocks are read
    // unaligned because a row may start at any byte.
    unsafe {
        match dtype {
            DType::F32 => dot_float(k, x, |i| row.cast::<f32>().add(i).read_unaligned()),
            DType::F16 => dot_float(k, x, |i| row.cast::<f16>().add(i).read_unaligned().to_f32()),
            DType::BF16 => dot_float(k, x, |i| row.cast::<bf16>().add(i).read_unaligned().to_f32()),
            DType::Q8_0 => dot_32(k, x, |b| {
                let b = row.cast::<BlockQ8_0>().add(b).read_unaligned();
                (b.d.to_f32(), b.qs)
            }),
            DType::Q4_0 => dot_32(k, x, |b| {
                let b = row.cast::<BlockQ4_0>().add(b).read_unaligned();
                let nibble = |i: usize| if i < 16 { b.qs[i] & 15 } else { b.qs[i - 16] >> 4 };
                (b.d.to_f32(), std::array::from_fn(|i| nibble(i) as i8 - 8))
            }),
            DType::Q5_0 => dot_32(k, x, |b| {
                let b = row.cast::<BlockQ5_0>().add(b).read_unaligned();
                let qh = u32::from_le_bytes(b.qh);
                let nibble = |i: usize| if i < 16 { b.qs[i] & 15 } else { b.qs[i - 16] >> 4 };
                (b.d.to_f32(), std::array::from_fn(|i| (nibble(i) | (((qh >> i) & 1) << 4) as u8) as i8 - 16))
            }),
            DType::MXFP4 => dot_32(k, x, |b| {
                let b = row.cast::<BlockMxfp4>().add(b).read_unaligned();
                let nibble = |i: usize| if i < 16 { b.qs[i] & 15 } else { b.qs[i - 16] >> 4 };
                (e8m0_half(b.e), std::array::from_fn(|i| MXFP4_VALUES[usize::from(nibble(i))]))
            }),
            DType::Q4_K => dot_k45(k, x, |b| {
                let b = row.cast::<BlockQ4K>().add(b).read_unaligned();
                (b.d.to_f32(), b.dmin.to_f32(), b.scales, std::array::from_fn(|i| q4_k_quant(&b.qs, i)))
            }),
            DType::Q5_K => dot_k45(k, x, |b| {
                let b = row.cast::<BlockQ5K>().add(b).read_unaligned();
                let q = |i: usize| q4_k_quant(&b.qs, i) | (((b.qh[i % 32] >> (i / 32)) & 1) << 4);
                (b.d.to_f32(), b.dmin.to_f32(), b.scales, std::array::from_fn(q))
            }),
            DType::Q6_K => dot_q6_k(k, x, row),
            other => unreachable!("no kernel for {other}: checked when the product was described"),
        }
    }
}

fn q4_k_quant(qs: &[u8; QK_K / 2], i: usize) -> u8 {
    let byte = qs[i / 64 * 32 + i % 32];
    if i % 64 < 32 { byte & 15 } else { byte >> 4 }
}

unsafe fn dot_float(k: usize, x: Column, w: impl Fn(usize) -> f32) -> f32 {
    let x = x.q.cast::<f32>();
    // SAFETY: the column holds `k` floats.
    (0..k).map(|i| f64::from(w(i) * unsafe { *x.add(i) })).sum::<f64>() as f32
}

unsafe fn dot_32(k: usize, x: Column, block: impl Fn(usize) -> (f32, [i8; QK])) -> f32 {
    let mut sum = 0.0;
    for b in 0..k / QK {
        let (d, w) = block(b);
        // SAFETY: the column holds `k` quants and `k / 32` scales.
        let (xq, xd) = unsafe { (&*x.q.add(b * QK).cast::<[i8; QK]>(), *x.scales.add(b)) };
        let isum: i32 = w.iter().zip(xq).map(|(&w, &x)| i32::from(w) * i32::from(x)).sum();
        sum += isum as f32 * (d * xd);
    }
    sum
}

unsafe fn dot_k45(k: usize, x: Column, block: impl Fn(usize) -> (f32, f32, [u8; 12], [u8; QK_K])) -> f32 {
    let mut sum = 0.0;
    for b in 0..k / QK_K {
        let (d, dmin, scales, w) = block(b);
        let (mut isum, mut msum) = (0i32, 0i32);
        for j in 0..8 {
            let (sc, m) = scale_min_k4(&scales, j);
            // SAFETY: the column holds `k` quants and `k / 32` sums.
            let (xq, xs) =
                unsafe { (&*x.q.add(b * QK_K + j * 32).cast::<[i8; 32]>(), *x.sums.add(b * 8 + j)) };
            let part: i32 = w[j * 32..].iter().zip(xq).map(|(&w, &x)| i32::from(w) * i32::from(x)).sum();
            isum += part * i32::from(sc);
            msum += i32::from(xs) * i32::from(m);
        }
        // SAFETY: the column holds `k / 32` scales.
        let xd = unsafe { *x.scales.add(b * 8) };
        sum += d * xd * isum as f32 - dmin * xd * msum as f32;
    }
    sum
}

unsafe fn dot_q6_k(k: usize, x: Column, row: *const u8) -> f32 {
    let mut sum = 0.0;
    for b in 0..k / QK_K {
        // SAFETY: the row holds `k / 256` blocks.
        let w = unsafe { row.cast::<BlockQ6K>().add(b).read_unaligned() };
        let mut isum = 0i32;
        for i in 0..QK_K {
            let (half, quarter, l) = (i / 128, i % 128 / 32, i % 32);
            let ql = w.ql[half * 64 + quarter % 2 * 32 + l] >> (quarter / 2 * 4) & 15;
            let qh = w.qh[half * 32 + l] >> (quarter * 2) & 3;
            // SAFETY: the column holds `k` quants.
            let xq = i32::from(unsafe { *x.q.add(b * QK_K + i).cast::<i8>() });
            isum += (i32::from(ql | qh << 4) - 32) * xq * i32::from(w.scales[i / 16]);
        }
        // SAFETY: the column holds `k / 16` scales.
        let xd = unsafe { *x.scales.add(b * 16) };
        sum += w.d.to_f32() * xd * isum as f32;
    }
    sum
}
