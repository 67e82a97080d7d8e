//! The seeded rows of `parity/probes/quant.cpp` through this crate, in the same lines:
//!
//!     parity_cases TYPE SEED FIRST N HOSTILE
//!
//! prints, for each of N chunks from number FIRST, the chunk's number and hashes of: the input, quantizing
//! without and with importances, the CPU backend's quantizer, expanding its own blocks and arbitrary bytes, dot
//! products of both, and verdicts on arbitrary bytes. What is left out of the comparison, and why, stands there.

use quipu_quant::{
    DType, dequantize_row, quantize_row, quantize_row_cpu, quantize_rows, validate_rows, vec_dot,
};
use quipu_testing::SplitMix;

const ROW: usize = 512;
const ROWS: usize = 12;

/// -3.5 to 3.5, mostly small.
fn bell(r: &mut SplitMix) -> f32 {
    let sum = r.fraction() + r.fraction();
    let sum = sum + r.fraction();
    (sum + r.fraction() - 2.0) * 1.75
}

fn any_bits(r: &mut SplitMix) -> f32 {
    f32::from_bits((r.next_u64() >> 32) as u32)
}

fn pow2(e: i32) -> f32 {
    f32::from_bits(((127 + e) as u32) << 23)
}

/// One row of a kind; none for arbitrary bits.
fn fill(r: &mut SplitMix, kind: Option<usize>, x: &mut [f32]) {
    let e = (r.next_u64() % 24) as i32;
    let constant = bell(r);
    let mut scale = 1.0;
    for (i, x) in x.iter_mut().enumerate() {
        if i % 32 == 0 {
            scale = if r.next_u64().is_multiple_of(4) { 0.0 } else { pow2((r.next_u64() % 8) as i32 - 4) };
        }
        *x = match kind {
            Some(0) => bell(r) * pow2(e - 12),
            Some(1) => {
                let g = bell(r);
                g * g * g * g * g * pow2(e - 12)
            }
            Some(2) => constant,
            Some(3) => {
                if r.next_u64().is_multiple_of(8) {
                    -0.0
                } else {
                    0.0
                }
            }
            Some(4) => bell(r) * pow2(-110) * pow2(-e),
            Some(5) => bell(r) * pow2(100) * pow2(e),
            Some(6) => {
                let f = any_bits(r);
                if f.is_finite() { f } else { 1.0 }
            }
            Some(7) => {
                if r.next_u64().is_multiple_of(8) {
                    bell(r)
                } else {
                    0.0
                }
            }
            Some(8) => ((r.next_u64() % 33) as f32 - 16.0) * 0.125,
            Some(9) => 1.0 + r.fraction(),
            Some(10) => -1.0 + r.fraction() * pow2(-8 - e / 2),
            Some(11) => bell(r) * scale,
            _ => any_bits(r),
        };
    }
}

struct Fnv(u64);

impl Fnv {
    fn new() -> Fnv {
        Fnv(0xcbf2_9ce4_8422_2325)
    }

    fn word(&mut self, w: u32) {
        self.0 = (self.0 ^ u64::from(w)).wrapping_mul(0x100_0000_01b3);
    }

    /// One NaN for all.
    fn numbers(&mut self, values: &[f32]) {
        for v in values {
            self.word(if v.is_nan() { 0x7fc0_0000 } else { v.to_bits() });
        }
    }

    fn bytes(mut self, bytes: &[u8]) -> u64 {
        for &b in bytes {
            self.word(u32::from(b));
        }
        self.0
    }
}

/// The types whose groups are points of a grid: computed, but the CPU does not store rows as them.
fn is_grid(dtype: DType) -> bool {
    dtype.is_computed() && !dtype.is_storable()
}

/// The blocks' bytes, or what they expand to.
fn blocks_hash(dtype: DType, bytes: &[u8], hostile: bool) -> u64 {
    let mut hash = Fnv::new();
    let mut y = vec![0.0f32; ROW * ROWS];
    // Of these two the reference's table has no expansion.
    if !hostile || matches!(dtype, DType::F32 | DType::Q8_K) || dequantize_row(dtype, bytes, &mut y).is_err()
    {
        return hash.bytes(bytes);
    }
    hash.numbers(&y);
    hash.0
}

/// The line of one chunk.
pub(crate) fn line(dtype: DType, seed: u64, chunk: u64, hostile: bool) -> String {
    let row_bytes = dtype.row_bytes(ROW).expect("whole blocks of every type");
    let mut r = SplitMix::new(seed.wrapping_add(u64::from(dtype.id()) << 48).wrapping_add(chunk << 8));
    let mut x = vec![0.0f32; ROW * ROWS];
    for (i, row) in x.chunks_exact_mut(ROW).enumerate() {
        // The reference aborts in its searches for grid points where magnitudes are extreme, and its IQ3_S puts
        // what follows 32 zeros in the wrong place.
        let extreme = is_grid(dtype) && (4..=6).contains(&i);
        let sparse = dtype == DType::IQ3_S && (i == 7 || i == 11);
        let kind = if extreme || sparse { 0 } else { i };
        fill(&mut r, (!hostile).then_some(kind), row);
    }
    let w: Vec<f32> = (0..ROW)
        .map(|_| {
            let u = r.fraction();
            if hostile {
                return any_bits(&mut r);
            }
            if chunk % 8 == 7 || r.next_u64().is_multiple_of(16) { 0.0 } else { u * u * 4.0 }
        })
        .collect();
    let junk: Vec<u8> = (0..row_bytes * ROWS).map(|_| (r.next_u64() >> 56) as u8).collect();

    let mut fields = Vec::new();
    let mut input = Fnv::new();
    input.numbers(&x);
    input.numbers(&w);
    fields.push(Some(input.0));

    let mut plain = vec![0u8; row_bytes * ROWS];
    let done = quantize_row(dtype, &x, &mut plain).is_ok();
    fields.push(done.then(|| blocks_hash(dtype, &plain, hostile)));
    let mut out = vec![0u8; row_bytes * ROWS];
    // The reference has no importances for these two, and says so.
    let weighted = !matches!(dtype, DType::Q8_1 | DType::Q8_K)
        && quantize_rows(dtype, &x, ROW, Some(&w), &mut out).is_ok();
    fields.push(weighted.then(|| blocks_hash(dtype, &out, hostile)));
    if !done && weighted {
        plain.copy_from_slice(&out);
    }
    let stored = quantize_row_cpu(dtype, &x, &mut out).is_ok();
    if dtype == DType::IQ4_NL {
        for block in out.chunks_exact_mut(18).filter(|b| b[0] == 0 && matches!(b[1], 0 | 0x80)) {
            block[2..].fill(0);
        }
    }
    fields.push(stored.then(|| blocks_hash(dtype, &out, hostile)));

    for bytes in [&plain, &junk] {
        let mut y = vec![0.0f32; ROW * ROWS];
        let expanded = dequantize_row(dtype, bytes, &mut y).is_ok();
        let mut hash = Fnv::new();
        hash.numbers(&y);
        fields.push(expanded.then_some(hash.0));
    }

    // The reference's products of plain floats are summed in its vectors' order.
    let partner = dtype.vec_dot_type().filter(|_| dtype.is_quantized() && dtype.is_computed());
    fields.push(partner.map(|partner| {
        let mut hash = Fnv::new();
        let mut a = vec![0u8; partner.row_bytes(ROW).expect("whole blocks of every type")];
        for i in 0..ROWS {
            let other = &x[ROW * ((i + 1) % ROWS)..][..ROW];
            quantize_row_cpu(partner, other, &mut a).expect("activations have quantizers");
            for bytes in [&plain, &junk] {
                let row = &bytes[row_bytes * i..][..row_bytes];
                hash.numbers(&[vec_dot(dtype, ROW, row, &a).expect("lengths match")]);
            }
        }
        hash.0
    }));

    let mut verdicts: Vec<u8> =
        junk.chunks_exact(dtype.block_bytes()).map(|b| u8::from(validate_rows(dtype, b).is_ok())).collect();
    verdicts.push(u8::from(validate_rows(dtype, &plain).is_ok()));
    verdicts.push(u8::from(validate_rows(dtype, &junk[..dtype.block_bytes() - 1]).is_ok()));
    fields.push(Some(Fnv::new().bytes(&verdicts)));

    let fields: Vec<String> =
        fields.into_iter().map(|f| f.map_or("-".to_owned(), |hash| format!("{hash:016x}"))).collect();
    format!("{chunk} {}", fields.join(" "))
}

#[allow(dead_code, clippy::print_stdout)] // unused where the tests include this file
fn main() {
    let args: Vec<u64> = std::env::args().skip(1).map(|a| a.parse().expect("a number")).collect();
    let [dtype, seed, first, n, hostile] = args[..] else {
        panic!("expected TYPE SEED FIRST N HOSTILE, found {} numbers", args.len());
    };
    let dtype = DType::from_id(dtype as u32).expect("a type id");
    for chunk in first..first + n {
        println!("{}", line(dtype, seed, chunk, hostile != 0));
    }
}
