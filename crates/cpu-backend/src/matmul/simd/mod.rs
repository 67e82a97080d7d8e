//! The small vector machine that formats, row dots, panels and tiles are written against, once.
//!
//! [`Simd`] is 32 bytes, eight i32 and eight f32: what one group of 32 quants is. [`Tiles`] are the widest registers,
//! for tiles. Every implementation gives the same integers and rounds floats alike (multiply-adds are fused), so a
//! result depends on the shape of a kernel, never on whose instructions it was compiled to.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(test)]
mod portable;

#[cfg(test)]
pub(super) use portable::Portable;

/// A piece of work that [`Simd::vectorize`] compiles for an instruction set.
pub(super) trait Work {
    type Out;

    /// Does the work. Must be `#[inline(always)]`, as must all it calls that uses the set.
    ///
    /// # Safety
    /// What the fields demand of their pointers; and it runs inside [`Simd::vectorize`] of the set it is written with.
    unsafe fn run(self) -> Self::Out;
}

/// Groups of 32 quants: loading, unpacking, multiplying.
///
/// # Safety
/// Of every function: the running CPU has the set, of which a value of its
/// [`InstructionSet`](crate::isa::InstructionSet) is the proof; pointers are readable (writable) for as much as the
/// function names, at any alignment.
pub(super) trait Simd: 'static {
    /// 32 bytes.
    type Bytes: Copy;
    /// 16 scales of 16 bits: eight for the first 16 bytes of each group of 32, eight for the last 16.
    type Scales: Copy;
    /// One of those pairs, for every byte of a group.
    type Scale: Copy;
    /// Eight i32.
    type Ints: Copy;
    /// Eight f32.
    type Floats: Copy;

    unsafe fn vectorize<W: Work>(work: W) -> W::Out;

    unsafe fn prefetch(p: *const u8);

    unsafe fn load(p: *const u8) -> Self::Bytes;
    /// Stores to a multiple of 32.
    unsafe fn store(p: *mut u8, a: Self::Bytes);
    unsafe fn splat(byte: u8) -> Self::Bytes;
    /// Four times eight bytes, the first lowest.
    unsafe fn from_words(words: [u64; 4]) -> Self::Bytes;
    /// Wrapping.
    unsafe fn add_bytes(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;
    unsafe fn and(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;
    unsafe fn or(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;
    unsafe fn xor(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;
    /// Shifts bytes right; the upper `N` bits of each are anything, to be masked.
    unsafe fn shr<const N: i32>(a: Self::Bytes) -> Self::Bytes;
    /// Shifts bytes left; the lower `N` bits of each are anything, to be masked.
    unsafe fn shl<const N: i32>(a: Self::Bytes) -> Self::Bytes;
    /// All ones where all bits of `mask` are set.
    unsafe fn has(a: Self::Bytes, mask: u8) -> Self::Bytes;
    /// 16 bytes: their low halves, then their high halves.
    unsafe fn nibbles(p: *const u8) -> Self::Bytes;
    /// `value` where the bit of the byte's number is set, else 0.
    unsafe fn bits(bits: u32, value: u8) -> Self::Bytes;
    /// Entries of a table; the indices are below 16.
    unsafe fn lookup(table: &[u8; 16], indices: Self::Bytes) -> Self::Bytes;
    /// Eight registers of eight 4-byte pieces, transposed.
    unsafe fn transpose8(v: [Self::Bytes; 8]) -> [Self::Bytes; 8];

    /// Eight scales (i8), each for a whole group.
    unsafe fn scales8(scales: u64) -> Self::Scales;
    /// Sixteen scales (i8), each for half a group, in the order of the elements.
    unsafe fn scales16(scales: u128) -> Self::Scales;
    /// The scales of group `j`, below 8.
    unsafe fn scale(scales: Self::Scales, j: usize) -> Self::Scale;

    unsafe fn zero_ints() -> Self::Ints;
    /// `first` in the first lane, zeros elsewhere.
    unsafe fn first_int(first: i32) -> Self::Ints;
    /// In the first lane of each half, zeros elsewhere.
    unsafe fn first_ints(low: i32, high: i32) -> Self::Ints;
    unsafe fn sub_ints(a: Self::Ints, b: Self::Ints) -> Self::Ints;
    unsafe fn mul_ints(a: Self::Ints, factor: i32) -> Self::Ints;
    /// Adds the products of unsigned bytes up to 127 with signed ones, four to a lane.
    unsafe fn dot(sum: Self::Ints, w: Self::Bytes, x: Self::Bytes) -> Self::Ints;
    /// Adds the products of signed bytes, of which `w` is given with the top bits flipped.
    /// -128 does not meet -128.
    unsafe fn dot_flipped(sum: Self::Ints, w: Self::Bytes, x: Self::Bytes) -> Self::Ints;
    /// [`Simd::dot`] with each product times its scale.
    unsafe fn dot_scaled(sum: Self::Ints, w: Self::Bytes, x: Self::Bytes, scale: Self::Scale) -> Self::Ints;
    /// As [`Simd::dot_scaled`], for signed bytes with the top bits flipped.
    unsafe fn dot_scaled_flipped(
        sum: Self::Ints,
        w: Self::Bytes,
        x: Self::Bytes,
        scale: Self::Scale,
    ) -> Self::Ints;
    /// Eight i8 with the eight i16 at `p`, pairs added: four lanes, then zeros.
    unsafe fn dot_sums8(factors: u64, p: *const i16) -> Self::Ints;
    /// Sixteen i8 with the sixteen i16 at `p`, pairs added.
    unsafe fn dot_sums16(factors: u128, p: *const i16) -> Self::Ints;

    unsafe fn zero() -> Self::Floats;
    unsafe fn splat_float(x: f32) -> Self::Floats;
    /// `x` in the first four lanes, zeros elsewhere.
    unsafe fn splat_low(x: f32) -> Self::Floats;
    /// One for each half.
    unsafe fn splat_halves(low: f32, high: f32) -> Self::Floats;
    unsafe fn load_floats(p: *const u8) -> Self::Floats;
    unsafe fn store_floats(p: *mut f32, a: Self::Floats);
    unsafe fn load_f16(p: *const u8) -> Self::Floats;
    unsafe fn load_bf16(p: *const u8) -> Self::Floats;
    /// One f16.
    unsafe fn half(p: *const u8) -> f32;
    /// The bits of the lanes.
    unsafe fn float_bits(a: Self::Floats) -> Self::Bytes;
    unsafe fn to_floats(a: Self::Ints) -> Self::Floats;
    /// Eight i8.
    unsafe fn floats_of_i8(bytes: u64) -> Self::Floats;
    unsafe fn add(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    unsafe fn sub(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    unsafe fn mul(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a * b + c`, rounded once.
    unsafe fn fma(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;
    /// Sum of the lanes, halves folded onto each other.
    unsafe fn sum(a: Self::Floats) -> f32;
}

/// Tiles: a lane is a row of the panel.
///
/// # Safety
/// As [`Simd`]; what is called aligned is so to the size of the register.
pub(super) trait Tiles: Simd {
    /// `LANES` i32, or four times as many bytes.
    type I: Copy;
    /// `LANES` f32.
    type F: Copy;

    /// Divides 16.
    const LANES: usize;
    /// Registers of rows (1 or 2) and most columns of an integer tile.
    const INT_REGISTERS: usize;
    const INT_COLS: usize;
    /// Most columns of a float tile, which has two registers of rows.
    const FLOAT_COLS: usize;
    /// [`Tiles::dot4_flipped`] leaves the flip in: the sum is too large by 128 times that of the other side.
    const FLIP_STAYS: bool;

    unsafe fn zeros() -> Self::I;
    unsafe fn splat_int(x: i32) -> Self::I;
    /// `4 * LANES` bytes, aligned.
    unsafe fn load_quants(p: *const u8) -> Self::I;
    /// As [`Simd::dot`].
    unsafe fn dot4(sum: Self::I, w: Self::I, x: Self::I) -> Self::I;
    /// As [`Simd::dot_flipped`], but see [`Tiles::FLIP_STAYS`].
    unsafe fn dot4_flipped(sum: Self::I, w: Self::I, x: Self::I) -> Self::I;
    unsafe fn zeros_f() -> Self::F;
    unsafe fn splat_f(x: f32) -> Self::F;
    /// Aligned.
    unsafe fn load_f(p: *const f32) -> Self::F;
    /// The first `n` floats, zeros in the lanes beyond; all lanes if `n` is larger.
    unsafe fn load_first(p: *const f32, n: usize) -> Self::F;
    unsafe fn store_first(p: *mut f32, n: usize, a: Self::F);
    unsafe fn convert(a: Self::I) -> Self::F;
    unsafe fn mul_f(a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once.
    unsafe fn fma_f(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `c - a * b`, rounded once.
    unsafe fn fnma_f(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
}
