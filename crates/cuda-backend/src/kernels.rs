//! The kernels as data: names, parameters, block sizes and grids, for whoever plans launches.
//!
//! What a kernel computes stands beside its source in `kernels/*.cu`; nothing here launches anything.
//!
//! Conventions of all kernels:
//! - A [`Kind::Tensor`] is a [`TensorArg`] by value: address, elements and byte strides per dimension, ggml's way
//!   (dimension 0 fastest). A tensor that is not there has address 0.
//! - Rows of f32 operands need no gaps inside (`nb[0] == 4`), but may lie anywhere; [`COPY_F32_F16`] and its
//!   family take any strides. Addresses are aligned as the element type needs; 16-byte alignment of rows of
//!   weights and caches is noticed at run time and makes loads wide.
//! - `dst` is written completely, and nothing else is. A destination may be its first operand (same layout)
//!   for element-wise kernels, norms, `rope_*` and `soft_max`.
//! - `status` is the address of one i32 that kernels add 1 to for each row number out of range; such rows are
//!   left alone.
//! - Grids marked "at most" may be cut: kernels stride over what the grid does not cover.

/// A tensor as kernels take it by value (`struct Tensor` of `kernels/common.cuh`), 72 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct TensorArg {
    /// Device address of the first byte; 0 = no tensor.
    pub data: u64,
    /// Elements per dimension, innermost first.
    pub ne: [i64; 4],
    /// Bytes between neighbours per dimension.
    pub nb: [i64; 4],
}

/// Kind of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`TensorArg`] by value: 72 bytes, aligned to 8.
    Tensor,
    /// A device address: 8 bytes.
    Ptr,
    /// 4 bytes.
    I32,
    /// 8 bytes.
    I64,
    /// 4 bytes.
    F32,
}

impl Kind {
    /// Bytes of an argument; its alignment is the lesser of this and 8.
    pub const fn size(self) -> usize {
        match self {
            Kind::Tensor => 72,
            Kind::Ptr | Kind::I64 => 8,
            Kind::I32 | Kind::F32 => 4,
        }
    }
}

/// A parameter: its name in the source, and its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param {
    /// Name in the source.
    pub name: &'static str,
    /// Kind.
    pub kind: Kind,
}

/// How a kernel's grid follows from shapes. All blocks have [`Kernel::block`] threads in x.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grid {
    /// x: one block per row of `dst` (`ne[1] * ne[2] * ne[3]`), at most.
    Rows,
    /// x: one thread per `n` elements of `dst` (of `x` for `rope_*`, half as many), at most.
    Elements(u32),
    /// x: picked rows (`ids.ne[0]`), y: one block per 1024 elements of a row; both at most.
    PickedRows,
    /// x: one block per 1024 elements of a padded row, y: rows of `x` (`ne[1] * ne[2] * ne[3]`); both at most.
    PaddedRows,
    /// x: one block per `4 / split * rows` rows of `w`; y: one per `columns` columns (`dst.ne[1]`);
    /// z: `dst.ne[2] * dst.ne[3]`. All exactly.
    MatVec {
        /// Rows of `w` per group of `split` warps.
        rows: u32,
        /// Columns of `x` per block.
        columns: u32,
    },
    /// x: one block per `rows` rows of `w`; y: one per `columns` columns (`dst.ne[1]`); z: `dst.ne[2] * dst.ne[3]`.
    /// All exactly.
    MatMul {
        /// Rows of `w` per block.
        rows: u32,
        /// Columns of `x` per block.
        columns: u32,
    },
    /// x: `n_splits`; y: tiles of 16 query rows (`ceil(n_tokens * n_head / n_head_kv / 16)`) times `n_head_kv`;
    /// z: `q.ne[3]`. All exactly.
    AttentionDecode,
    /// x: one block per 64 query rows (`ceil(n_tokens * n_head / n_head_kv / 64)`); y: `n_head_kv`; z: `q.ne[3]`.
    /// All exactly.
    AttentionPrefill,
}

impl Grid {
    /// Blocks in x, y and z for a result of shape `dst`, of which `inner` is what the rule names besides:
    /// `split` for [`Grid::MatVec`], `k_padded` for [`Grid::PaddedRows`] (with `dst` the shape of `x`), nothing else.
    ///
    /// Not for the attention grids, which depend on operands: see [`attention_grid`].
    pub fn blocks(self, block: u32, dst: [usize; 4], inner: usize) -> [u32; 3] {
        const MOST: usize = 1 << 20;
        const MOST_Y: usize = 65535;
        let ceil = |n: usize, d: u32| n.div_ceil(d.max(1) as usize).max(1);
        let rows = dst[1] * dst[2] * dst[3];
        let exact = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let most = |n: usize, m: usize| exact(n.clamp(1, m));
        match self {
            Grid::Rows => [most(rows, MOST), 1, 1],
            Grid::Elements(per) => [most(ceil(rows * dst[0], block * per), MOST), 1, 1],
            Grid::PickedRows => [most(rows, MOST), most(ceil(dst[0], 1024), MOST_Y), 1],
            Grid::PaddedRows => [most(ceil(inner, 1024), MOST), most(rows, MOST_Y), 1],
            Grid::MatVec { rows, columns } => {
                let per_block = 4 / (inner.clamp(1, 4) as u32) * rows;
                [exact(ceil(dst[0], per_block)), exact(ceil(dst[1], columns)), exact(dst[2] * dst[3])]
            }
            Grid::MatMul { rows, columns } => {
                [exact(ceil(dst[0], rows)), exact(ceil(dst[1], columns)), exact(dst[2] * dst[3])]
            }
            Grid::AttentionDecode | Grid::AttentionPrefill => [1, 1, 1],
        }
    }
}

/// The grid of a flash attention kernel for `n_tokens` queries of `n_head` heads over `n_head_kv` key heads, in
/// `n_splits` parts (decode only), for `n_batch` sequences (`q.ne[3]`).
pub fn attention_grid(
    grid: Grid,
    n_tokens: usize,
    n_head: usize,
    n_head_kv: usize,
    n_splits: usize,
    n_batch: usize,
) -> [u32; 3] {
    let rows = n_tokens * (n_head / n_head_kv.max(1));
    let exact = |n: usize| u32::try_from(n.max(1)).unwrap_or(u32::MAX);
    match grid {
        Grid::AttentionPrefill => [exact(rows.div_ceil(64)), exact(n_head_kv), exact(n_batch)],
        _ => [exact(n_splits), exact(rows.div_ceil(16) * n_head_kv), exact(n_batch)],
    }
}

/// Bytes of `partial` of the decode kernels: a row of `d_v + 2` floats per split, query and head.
pub fn attention_partial_bytes(
    d_v: usize,
    n_tokens: usize,
    n_head: usize,
    n_batch: usize,
    n_splits: usize,
) -> usize {
    (d_v + 2) * 4 * n_tokens * n_head * n_batch * n_splits
}

/// Elements of a row of prepared activations: `k` rounded up to whole super-blocks.
pub const fn k_padded(k: usize) -> usize {
    k.div_ceil(256) * 256
}

/// Bytes of `n_rows` rows of activations as `quantize_q8_1` leaves them: for each row `k_padded` i8 quants, then
/// for each 32 of them two f32: the scale, and the scale times the sum of the quants.
pub const fn q8_1_bytes(k: usize, n_rows: usize) -> usize {
    k_padded(k) / 4 * 5 * n_rows
}

/// Bytes of `n_rows` rows of activations as `round_f16` and `round_bf16` leave them.
pub const fn rounded_bytes(k: usize, n_rows: usize) -> usize {
    k_padded(k) * 2 * n_rows
}

/// Columns that the matrix-vector kernels are compiled for.
pub const MAT_VEC_COLUMNS: [usize; 4] = [1, 2, 4, 8];

/// A kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Entry name.
    pub name: &'static str,
    /// Stem of its file: `kernels/<file>.cu`, `generated/<file>.ptx`.
    pub file: &'static str,
    /// Parameters in order.
    pub params: &'static [Param],
    /// Threads of a block, all in x. No kernel takes dynamic shared memory.
    pub block: u32,
    /// Grid.
    pub grid: Grid,
}

/// Looks a kernel up by its entry name.
pub fn find(name: &str) -> Option<&'static Kernel> {
    KERNELS.iter().find(|k| k.name == name)
}

const fn p(name: &'static str, kind: Kind) -> Param {
    Param { name, kind }
}

use Kind::{F32, I32, I64, Ptr, Tensor};

const DST: Param = p("dst", Tensor);
const X: Param = p("x", Tensor);
const STATUS: Param = p("status", Ptr);

/// `x` and `dst` f32 of the same shape.
const UNARY: &[Param] = &[DST, X];
const BINARY: &[Param] = &[DST, p("a", Tensor), p("b", Tensor)];
const GLU: &[Param] = &[DST, p("gate", Tensor), p("up", Tensor)];
const NORM: &[Param] = &[DST, X, p("eps", F32)];
const NORM_MUL: &[Param] = &[DST, X, p("weight", Tensor), p("eps", F32)];
const NORM_MUL_ADD: &[Param] = &[DST, X, p("weight", Tensor), p("bias", Tensor), p("eps", F32)];
const ROPE: &[Param] = &[
    DST,
    X,
    p("pos", Tensor),
    // f32 [n_dims / 2], or 0.
    p("factors", Ptr),
    p("n_dims", I32),
    // freq_base^(-2 / n_dims).
    p("theta_scale", F32),
    p("freq_scale", F32),
    p("ext_factor", F32),
    // attn_factor, times 1 + 0.1 ln(1 / freq_scale) if ext_factor != 0.
    p("magnitude", F32),
    // First and last pair of the YaRN ramp (`ggml_rope_yarn_corr_dims`).
    p("ramp_low", F32),
    p("ramp_high", F32),
];
const SOFT_MAX: &[Param] = &[
    DST,
    X,
    // f16 or f32, or address 0.
    p("mask", Tensor),
    p("mask_is_f16", I32),
    // f32 [n_head], or 0.
    p("sinks", Ptr),
    p("scale", F32),
    p("max_bias", F32),
];
const GET_ROWS: &[Param] = &[DST, p("src", Tensor), p("ids", Tensor), STATUS];
const SET_ROWS: &[Param] = &[DST, p("rows", Tensor), p("ids", Tensor), STATUS];
const COPY: &[Param] = &[DST, p("src", Tensor)];
const PREPARE: &[Param] = &[X, p("out", Ptr), p("k_padded", I64)];
/// Prepared activations: rows counted over all outer dimensions of `dst`.
const MAT_VEC_Q: &[Param] = &[DST, p("w", Tensor), p("x", Ptr), p("k_padded", I64), p("split", I32)];
const MAT_VEC_F: &[Param] = &[DST, p("w", Tensor), X, p("split", I32)];
const MAT_MUL: &[Param] = &[DST, p("w", Tensor), p("x", Ptr), p("k_padded", I64)];
const MAT_MUL_F32: &[Param] = &[DST, p("w", Tensor), X];
const ATTENTION_PREFILL: &[Param] = &[
    DST,
    p("q", Tensor),
    p("k", Tensor),
    p("v", Tensor),
    p("mask", Tensor),
    // f32 [n_head], or 0.
    p("sinks", Ptr),
    p("scale", F32),
    p("max_bias", F32),
    p("logit_softcap", F32),
];
const ATTENTION_DECODE: &[Param] = &[
    DST,
    p("q", Tensor),
    p("k", Tensor),
    p("v", Tensor),
    p("mask", Tensor),
    p("sinks", Ptr),
    // Unused if n_splits is 1: then dst is written, and nothing is left to combine.
    p("partial", Ptr),
    p("scale", F32),
    p("max_bias", F32),
    p("logit_softcap", F32),
    p("n_splits", I32),
];
const ATTENTION_COMBINE: &[Param] = &[DST, p("partial", Ptr), p("sinks", Ptr), p("n_splits", I32)];

const fn kernel(
    file: &'static str,
    name: &'static str,
    params: &'static [Param],
    block: u32,
    grid: Grid,
) -> Kernel {
    Kernel { name, file, params, block, grid }
}

const fn elementwise(file: &'static str, name: &'static str, params: &'static [Param]) -> Kernel {
    kernel(file, name, params, 256, Grid::Elements(4))
}

const fn rows(file: &'static str, name: &'static str, params: &'static [Param]) -> Kernel {
    kernel(file, name, params, 256, Grid::Rows)
}

const fn get_rows(name: &'static str) -> Kernel {
    kernel("get_rows", name, GET_ROWS, 256, Grid::PickedRows)
}

const fn set_rows(name: &'static str) -> Kernel {
    kernel("set_rows", name, SET_ROWS, 256, Grid::PickedRows)
}

const fn prepare(name: &'static str) -> Kernel {
    kernel("quantize", name, PREPARE, 256, Grid::PaddedRows)
}

const fn mmvq(name: &'static str, columns: u32) -> Kernel {
    let rows = if columns == 1 { 1 } else { 2 };
    kernel("mmvq", name, MAT_VEC_Q, 128, Grid::MatVec { rows, columns })
}

const fn mmvf(name: &'static str, columns: u32) -> Kernel {
    let rows = if columns == 1 { 1 } else { 2 };
    kernel("mmvf", name, MAT_VEC_F, 128, Grid::MatVec { rows, columns })
}

const fn mat_mul(name: &'static str) -> Kernel {
    kernel("mat_mul", name, MAT_MUL, 256, Grid::MatMul { rows: 128, columns: 128 })
}

const fn decode(name: &'static str) -> Kernel {
    kernel("flash_attn", name, ATTENTION_DECODE, 128, Grid::AttentionDecode)
}

const fn prefill(name: &'static str) -> Kernel {
    kernel("flash_attn", name, ATTENTION_PREFILL, 128, Grid::AttentionPrefill)
}

/// The copy that converts f32 to f16; the others are named alike.
pub const COPY_F32_F16: &str = "copy_f32_f16";

/// All kernels.
pub const KERNELS: &[Kernel] = &[
    // dst[i] = src[ids[i]] as f32; `_32` copies 4-byte elements (f32, i32) as they are.
    get_rows("get_rows_32"),
    get_rows("get_rows_f16"),
    get_rows("get_rows_bf16"),
    get_rows("get_rows_q4_0"),
    get_rows("get_rows_q5_0"),
    get_rows("get_rows_q8_0"),
    get_rows("get_rows_q4_k"),
    get_rows("get_rows_q5_k"),
    get_rows("get_rows_q6_k"),
    get_rows("get_rows_mxfp4"),
    // dst[ids[i]] = rows[i]; named by the table's type and the type of row numbers. Of equal numbers the last counts.
    set_rows("set_rows_f32_i64"),
    set_rows("set_rows_f16_i64"),
    set_rows("set_rows_bf16_i64"),
    set_rows("set_rows_f32_i32"),
    set_rows("set_rows_f16_i32"),
    set_rows("set_rows_bf16_i32"),
    // Rows of f32 activations, prepared for a product: see q8_1_bytes and rounded_bytes.
    prepare("quantize_q8_1"),
    prepare("round_f16"),
    prepare("round_bf16"),
    // dst = w x, for 1, 2, 4 or 8 columns at a time; `x` from quantize_q8_1.
    mmvq("mmvq_q4_0_1", 1),
    mmvq("mmvq_q4_0_2", 2),
    mmvq("mmvq_q4_0_4", 4),
    mmvq("mmvq_q4_0_8", 8),
    mmvq("mmvq_q5_0_1", 1),
    mmvq("mmvq_q5_0_2", 2),
    mmvq("mmvq_q5_0_4", 4),
    mmvq("mmvq_q5_0_8", 8),
    mmvq("mmvq_q8_0_1", 1),
    mmvq("mmvq_q8_0_2", 2),
    mmvq("mmvq_q8_0_4", 4),
    mmvq("mmvq_q8_0_8", 8),
    mmvq("mmvq_q4_k_1", 1),
    mmvq("mmvq_q4_k_2", 2),
    mmvq("mmvq_q4_k_4", 4),
    mmvq("mmvq_q4_k_8", 8),
    mmvq("mmvq_q5_k_1", 1),
    mmvq("mmvq_q5_k_2", 2),
    mmvq("mmvq_q5_k_4", 4),
    mmvq("mmvq_q5_k_8", 8),
    mmvq("mmvq_q6_k_1", 1),
    mmvq("mmvq_q6_k_2", 2),
    mmvq("mmvq_q6_k_4", 4),
    mmvq("mmvq_q6_k_8", 8),
    mmvq("mmvq_mxfp4_1", 1),
    mmvq("mmvq_mxfp4_2", 2),
    mmvq("mmvq_mxfp4_4", 4),
    mmvq("mmvq_mxfp4_8", 8),
    // dst = w x; `x` is f32 as it is.
    mmvf("mmvf_f32_1", 1),
    mmvf("mmvf_f32_2", 2),
    mmvf("mmvf_f32_4", 4),
    mmvf("mmvf_f32_8", 8),
    mmvf("mmvf_f16_1", 1),
    mmvf("mmvf_f16_2", 2),
    mmvf("mmvf_f16_4", 4),
    mmvf("mmvf_f16_8", 8),
    mmvf("mmvf_bf16_1", 1),
    mmvf("mmvf_bf16_2", 2),
    mmvf("mmvf_bf16_4", 4),
    mmvf("mmvf_bf16_8", 8),
    // dst = w x on tensor cores; `x` from round_f16, but from round_bf16 for bf16 and mxfp4.
    mat_mul("mat_mul_f16"),
    mat_mul("mat_mul_bf16"),
    mat_mul("mat_mul_q4_0"),
    mat_mul("mat_mul_q5_0"),
    mat_mul("mat_mul_q8_0"),
    mat_mul("mat_mul_q4_k"),
    mat_mul("mat_mul_q5_k"),
    mat_mul("mat_mul_q6_k"),
    mat_mul("mat_mul_mxfp4"),
    kernel("mat_mul_f32", "mat_mul_f32", MAT_MUL_F32, 256, Grid::MatMul { rows: 64, columns: 64 }),
    // Weight and bias are repeated over rows as for mul and add.
    rows("norm", "rms_norm", NORM),
    rows("norm", "rms_norm_mul", NORM_MUL),
    rows("norm", "rms_norm_mul_add", NORM_MUL_ADD),
    rows("norm", "layer_norm", NORM),
    rows("norm", "layer_norm_mul_add", NORM_MUL_ADD),
    kernel("rope", "rope_norm", ROPE, 256, Grid::Elements(2)),
    kernel("rope", "rope_neox", ROPE, 256, Grid::Elements(2)),
    rows("soft_max", "soft_max", SOFT_MAX),
    // i32 position of the first largest element of each row of f32; dst is i32 [1, rows..] or [rows].
    kernel("argmax", "argmax", UNARY, 256, Grid::Rows),
    // f16 keys and values; head sizes up to the number in the name (the larger of d_k and d_v counts).
    decode("flash_attn_decode_64"),
    decode("flash_attn_decode_128"),
    decode("flash_attn_decode_256"),
    prefill("flash_attn_prefill_64"),
    prefill("flash_attn_prefill_128"),
    prefill("flash_attn_prefill_256"),
    // One block per row of dst (a head of a token).
    kernel("flash_attn", "flash_attn_combine", ATTENTION_COMBINE, 128, Grid::Rows),
    elementwise("activation", "silu", UNARY),
    elementwise("activation", "gelu", UNARY),
    elementwise("activation", "relu", UNARY),
    elementwise("activation", "tanh_f32", UNARY),
    elementwise("activation", "swiglu", GLU),
    elementwise("activation", "geglu", GLU),
    elementwise("elementwise", "add", BINARY),
    elementwise("elementwise", "mul", BINARY),
    elementwise("elementwise", "scale", &[DST, X, p("scale", F32), p("bias", F32)]),
    // Any strides on both sides; equal numbers of elements, taken in order. `_32` and `_16` copy bits.
    elementwise("copy", "copy_32", COPY),
    elementwise("copy", "copy_16", COPY),
    elementwise("copy", COPY_F32_F16, COPY),
    elementwise("copy", "copy_f16_f32", COPY),
    elementwise("copy", "copy_f32_bf16", COPY),
    elementwise("copy", "copy_bf16_f32", COPY),
];

/// The PTX of each file: `generated/<file>.ptx`, for compute capability 8.0 and above, as `cargo xtask cuda-kernels`
/// wrote it (`.version 9.0`: drivers of release 580 and newer).
pub const PTX: &[(&str, &str)] = &[
    ("activation", include_str!("../generated/activation.ptx")),
    ("argmax", include_str!("../generated/argmax.ptx")),
    ("copy", include_str!("../generated/copy.ptx")),
    ("elementwise", include_str!("../generated/elementwise.ptx")),
    ("flash_attn", include_str!("../generated/flash_attn.ptx")),
    ("get_rows", include_str!("../generated/get_rows.ptx")),
    ("mat_mul", include_str!("../generated/mat_mul.ptx")),
    ("mat_mul_f32", include_str!("../generated/mat_mul_f32.ptx")),
    ("mmvf", include_str!("../generated/mmvf.ptx")),
    ("mmvq", include_str!("../generated/mmvq.ptx")),
    ("norm", include_str!("../generated/norm.ptx")),
    ("quantize", include_str!("../generated/quantize.ptx")),
    ("rope", include_str!("../generated/rope.ptx")),
    ("set_rows", include_str!("../generated/set_rows.ptx")),
    ("soft_max", include_str!("../generated/soft_max.ptx")),
];

/// The PTX that holds the kernels of `file`.
pub fn ptx(file: &str) -> Option<&'static str> {
    PTX.iter().find(|(name, _)| *name == file).map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for (i, kernel) in KERNELS.iter().enumerate() {
            assert!(KERNELS[..i].iter().all(|k| k.name != kernel.name), "{} twice", kernel.name);
            assert_eq!(find(kernel.name), Some(kernel));
            assert!(kernel.block.is_multiple_of(32));
        }
        assert_eq!(find("no_such_kernel"), None);
        assert_eq!(size_of::<TensorArg>(), Kind::Tensor.size());
    }

    #[test]
    fn grids_cover_their_shapes() {
        let mat_vec = Grid::MatVec { rows: 2, columns: 4 };
        assert_eq!(mat_vec.blocks(128, [17, 5, 2, 3], 1), [3, 2, 6]);
        assert_eq!(mat_vec.blocks(128, [17, 5, 1, 1], 4), [9, 2, 1]);
        assert_eq!(Grid::Rows.blocks(256, [9, 2, 3, 1], 0), [6, 1, 1]);
        assert_eq!(Grid::Elements(4).blocks(256, [1025, 1, 1, 1], 0), [2, 1, 1]);
        assert_eq!(attention_grid(Grid::AttentionDecode, 1, 32, 8, 4, 1), [4, 8, 1]);
        assert_eq!(attention_grid(Grid::AttentionPrefill, 65, 8, 8, 0, 1), [2, 8, 1]);
    }
}
