//! The vector machine as plain arrays: the oracle that the others are compared with, bit for bit.

use half::f16;

use super::{Simd, Tiles, Work};

/// Arrays, on any CPU.
pub(in super::super) struct Portable;

fn each<const N: usize, A: Copy>(a: [A; N], b: [A; N], f: impl Fn(A, A) -> A) -> [A; N] {
    std::array::from_fn(|i| f(a[i], b[i]))
}

fn dot_bytes(sum: [i32; 8], product: impl Fn(usize) -> i32) -> [i32; 8] {
    std::array::from_fn(|lane| sum[lane] + (4 * lane..4 * lane + 4).map(&product).sum::<i32>())
}

fn unflip(byte: u8) -> i32 {
    i32::from((byte ^ 0x80) as i8)
}

fn signed(byte: u8) -> i32 {
    i32::from(byte as i8)
}

impl Simd for Portable {
    type Bytes = [u8; 32];
    type Scales = [[i8; 8]; 2];
    type Scale = [i32; 32];
    type Ints = [i32; 8];
    type Floats = [f32; 8];

    unsafe fn vectorize<W: Work>(work: W) -> W::Out {
        // SAFETY: the caller keeps the work's demands.
        unsafe { work.run() }
    }

    unsafe fn prefetch(_: *const u8) {}

    unsafe fn load(p: *const u8) -> [u8; 32] {
        // SAFETY: the caller's promise.
        unsafe { p.cast::<[u8; 32]>().read_unaligned() }
    }

    unsafe fn store(p: *mut u8, a: [u8; 32]) {
        assert_eq!(p.addr() % 32, 0);
        // SAFETY: the caller's promise.
        unsafe { p.cast::<[u8; 32]>().write_unaligned(a) };
    }

    unsafe fn splat(byte: u8) -> [u8; 32] {
        [byte; 32]
    }

    unsafe fn from_words(words: [u64; 4]) -> [u8; 32] {
        std::array::from_fn(|i| words[i / 8].to_le_bytes()[i % 8])
    }

    unsafe fn add_bytes(a: [u8; 32], b: [u8; 32]) -> [u8; 32] {
        each(a, b, u8::wrapping_add)
    }

    unsafe fn and(a: [u8; 32], b: [u8; 32]) -> [u8; 32] {
        each(a, b, |a, b| a & b)
    }

    unsafe fn or(a: [u8; 32], b: [u8; 32]) -> [u8; 32] {
        each(a, b, |a, b| a | b)
    }

    unsafe fn xor(a: [u8; 32], b: [u8; 32]) -> [u8; 32] {
        each(a, b, |a, b| a ^ b)
    }

    unsafe fn shr<const N: i32>(a: [u8; 32]) -> [u8; 32] {
        // What is to be masked is set, so that a mask that is missing is seen.
        a.map(|a| a >> N | !(0xff >> N))
    }

    unsafe fn shl<const N: i32>(a: [u8; 32]) -> [u8; 32] {
        a.map(|a| a << N | !(0xff << N))
    }

    unsafe fn has(a: [u8; 32], mask: u8) -> [u8; 32] {
        a.map(|a| if a & mask == mask { 0xff } else { 0 })
    }

    unsafe fn nibbles(p: *const u8) -> [u8; 32] {
        // SAFETY: the caller's promise.
        let b = unsafe { p.cast::<[u8; 16]>().read_unaligned() };
        std::array::from_fn(|i| if i < 16 { b[i] & 15 } else { b[i - 16] >> 4 })
    }

    unsafe fn bits(bits: u32, value: u8) -> [u8; 32] {
        std::array::from_fn(|i| if bits >> i & 1 == 1 { value } else { 0 })
    }

    unsafe fn lookup(table: &[u8; 16], indices: [u8; 32]) -> [u8; 32] {
        indices.map(|i| table[usize::from(i)])
    }

    unsafe fn transpose8(v: [[u8; 32]; 8]) -> [[u8; 32]; 8] {
        std::array::from_fn(|piece| std::array::from_fn(|i| v[i / 4][piece * 4 + i % 4]))
    }

    unsafe fn scales8(scales: u64) -> [[i8; 8]; 2] {
        [scales.to_le_bytes().map(|b| b as i8); 2]
    }

    unsafe fn scales16(scales: u128) -> [[i8; 8]; 2] {
        let scales = scales.to_le_bytes();
        [0, 1].map(|half| std::array::from_fn(|j| scales[2 * j + half] as i8))
    }

    unsafe fn scale(scales: [[i8; 8]; 2], j: usize) -> [i32; 32] {
        std::array::from_fn(|i| i32::from(scales[i / 16][j]))
    }

    unsafe fn zero_ints() -> [i32; 8] {
        [0; 8]
    }

    unsafe fn first_int(first: i32) -> [i32; 8] {
        [first, 0, 0, 0, 0, 0, 0, 0]
    }

    unsafe fn first_ints(low: i32, high: i32) -> [i32; 8] {
        [low, 0, 0, 0, high, 0, 0, 0]
    }

    unsafe fn sub_ints(a: [i32; 8], b: [i32; 8]) -> [i32; 8] {
        each(a, b, |a, b| a - b)
    }

    unsafe fn mul_ints(a: [i32; 8], factor: i32) -> [i32; 8] {
        a.map(|a| a * factor)
    }

    unsafe fn dot(sum: [i32; 8], w: [u8; 32], x: [u8; 32]) -> [i32; 8] {
        assert!(w.iter().all(|&w| w < 128));
        dot_bytes(sum, |i| i32::from(w[i]) * signed(x[i]))
    }

    unsafe fn dot_flipped(sum: [i32; 8], w: [u8; 32], x: [u8; 32]) -> [i32; 8] {
        dot_bytes(sum, |i| unflip(w[i]) * signed(x[i]))
    }

    unsafe fn dot_scaled(sum: [i32; 8], w: [u8; 32], x: [u8; 32], scale: [i32; 32]) -> [i32; 8] {
        assert!(w.iter().all(|&w| w < 128));
        dot_bytes(sum, |i| i32::from(w[i]) * signed(x[i]) * scale[i])
    }

    unsafe fn dot_scaled_flipped(sum: [i32; 8], w: [u8; 32], x: [u8; 32], scale: [i32; 32]) -> [i32; 8] {
        dot_bytes(sum, |i| unflip(w[i]) * signed(x[i]) * scale[i])
    }

    unsafe fn dot_sums8(factors: u64, p: *const i16) -> [i32; 8] {
        let f = factors.to_le_bytes();
        // SAFETY: the caller's promise.
        let sums = unsafe { p.cast::<[i16; 8]>().read_unaligned() };
        let product = |i: usize| signed(f[i]) * i32::from(sums[i]);
        std::array::from_fn(|lane| if lane < 4 { product(2 * lane) + product(2 * lane + 1) } else { 0 })
    }

    unsafe fn dot_sums16(factors: u128, p: *const i16) -> [i32; 8] {
        let f = factors.to_le_bytes();
        // SAFETY: the caller's promise.
        let sums = unsafe { p.cast::<[i16; 16]>().read_unaligned() };
        let product = |i: usize| signed(f[i]) * i32::from(sums[i]);
        std::array::from_fn(|lane| product(2 * lane) + product(2 * lane + 1))
    }

    unsafe fn zero() -> [f32; 8] {
        [0.0; 8]
    }

    unsafe fn splat_float(x: f32) -> [f32; 8] {
        [x; 8]
    }

    unsafe fn splat_low(x: f32) -> [f32; 8] {
        [x, x, x, x, 0.0, 0.0, 0.0, 0.0]
    }

    unsafe fn splat_halves(low: f32, high: f32) -> [f32; 8] {
        [low, low, low, low, high, high, high, high]
    }

    unsafe fn load_floats(p: *const u8) -> [f32; 8] {
        // SAFETY: the caller's promise.
        unsafe { p.cast::<[f32; 8]>().read_unaligned() }
    }

    unsafe fn store_floats(p: *mut f32, a: [f32; 8]) {
        // SAFETY: the caller's promise.
        unsafe { p.cast::<[f32; 8]>().write_unaligned(a) };
    }

    unsafe fn load_f16(p: *const u8) -> [f32; 8] {
        // SAFETY: the caller's promise.
        unsafe { p.cast::<[u16; 8]>().read_unaligned() }.map(|h| f16::from_bits(h).to_f32_const())
    }

    unsafe fn load_bf16(p: *const u8) -> [f32; 8] {
        // SAFETY: the caller's promise.
        unsafe { p.cast::<[u16; 8]>().read_unaligned() }.map(|h| f32::from_bits(u32::from(h) << 16))
    }

    unsafe fn half(p: *const u8) -> f32 {
        // SAFETY: the caller's promise.
        f16::from_bits(unsafe { p.cast::<u16>().read_unaligned() }).to_f32_const()
    }

    unsafe fn float_bits(a: [f32; 8]) -> [u8; 32] {
        bytemuck::cast(a)
    }

    unsafe fn to_floats(a: [i32; 8]) -> [f32; 8] {
        a.map(|a| a as f32)
    }

    unsafe fn floats_of_i8(bytes: u64) -> [f32; 8] {
        bytes.to_le_bytes().map(|b| f32::from(b as i8))
    }

    unsafe fn add(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        each(a, b, |a, b| a + b)
    }

    unsafe fn sub(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        each(a, b, |a, b| a - b)
    }

    unsafe fn mul(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        each(a, b, |a, b| a * b)
    }

    unsafe fn fma(a: [f32; 8], b: [f32; 8], c: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| a[i].mul_add(b[i], c[i]))
    }

    unsafe fn sum(a: [f32; 8]) -> f32 {
        let s: [f32; 4] = std::array::from_fn(|i| a[i] + a[i + 4]);
        (s[0] + s[2]) + (s[1] + s[3])
    }
}

impl Tiles for Portable {
    type I = [i32; 8];
    type F = [f32; 8];

    const LANES: usize = 8;
    const INT_REGISTERS: usize = 1;
    const INT_COLS: usize = 3;
    const FLOAT_COLS: usize = 5;
    const FLIP_STAYS: bool = false;

    unsafe fn zeros() -> [i32; 8] {
        [0; 8]
    }

    unsafe fn splat_int(x: i32) -> [i32; 8] {
        [x; 8]
    }

    unsafe fn load_quants(p: *const u8) -> [i32; 8] {
        assert_eq!(p.addr() % 32, 0);
        // SAFETY: the caller's promise.
        unsafe { p.cast::<[i32; 8]>().read_unaligned() }
    }

    unsafe fn dot4(sum: [i32; 8], w: [i32; 8], x: [i32; 8]) -> [i32; 8] {
        // SAFETY: plain arrays.
        unsafe { Self::dot(sum, bytemuck::cast(w), bytemuck::cast(x)) }
    }

    unsafe fn dot4_flipped(sum: [i32; 8], w: [i32; 8], x: [i32; 8]) -> [i32; 8] {
        // SAFETY: plain arrays.
        unsafe { Self::dot_flipped(sum, bytemuck::cast(w), bytemuck::cast(x)) }
    }

    unsafe fn zeros_f() -> [f32; 8] {
        [0.0; 8]
    }

    unsafe fn splat_f(x: f32) -> [f32; 8] {
        [x; 8]
    }

    unsafe fn load_f(p: *const f32) -> [f32; 8] {
        assert_eq!(p.addr() % 32, 0);
        // SAFETY: the caller's promise.
        unsafe { p.cast::<[f32; 8]>().read_unaligned() }
    }

    unsafe fn load_first(p: *const f32, n: usize) -> [f32; 8] {
        // SAFETY: the caller has the first `n` floats.
        std::array::from_fn(|i| if i < n { unsafe { p.add(i).read() } } else { 0.0 })
    }

    unsafe fn store_first(p: *mut f32, n: usize, a: [f32; 8]) {
        for (i, a) in a.into_iter().enumerate().take(n) {
            // SAFETY: the caller has the first `n` floats.
            unsafe { p.add(i).write(a) };
        }
    }

    unsafe fn convert(a: [i32; 8]) -> [f32; 8] {
        a.map(|a| a as f32)
    }

    unsafe fn mul_f(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        each(a, b, |a, b| a * b)
    }

    unsafe fn fma_f(a: [f32; 8], b: [f32; 8], c: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| a[i].mul_add(b[i], c[i]))
    }

    unsafe fn fnma_f(a: [f32; 8], b: [f32; 8], c: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| (-a[i]).mul_add(b[i], c[i]))
    }
}
