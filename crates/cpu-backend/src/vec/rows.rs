//! Kernels over one row of f32: element-wise functions, sums, softmax.
//!
//! Outputs may be the very row of an input (in place), never overlap it otherwise: every sixteen lanes are
//! loaded before they are stored.

use super::Kernel;
use super::lanes::{Lanes, N};

#[inline(always)]
unsafe fn load(p: *const f32, len: usize, pad: f32) -> Lanes {
    // SAFETY: the caller promises `len` floats.
    unsafe { if len == N { Lanes::load(p) } else { Lanes::load_part(p, len, pad) } }
}

#[inline(always)]
unsafe fn store(lanes: Lanes, p: *mut f32, len: usize) {
    // SAFETY: the caller promises `len` floats.
    unsafe { if len == N { lanes.store(p) } else { lanes.store_part(p, len) } }
}

/// A function of two lanes, as a type: see [`super::lanes`] on closures.
trait LaneFn: Copy {
    fn apply<const FMA: bool>(self, a: Lanes, b: Lanes) -> Lanes;
}

/// `y[i] = f(a[i], b[i])` for `n` floats; `y` may be `a` or `b`.
#[inline(always)]
unsafe fn zip_into<const FMA: bool, F: LaneFn>(f: F, a: *const f32, b: *const f32, y: *mut f32, n: usize) {
    let mut i = 0;
    while i < n {
        let len = if n - i < N { n - i } else { N };
        // SAFETY: `i + len <= n`, and the caller promises rows of `n` floats.
        unsafe {
            let lanes = f.apply::<FMA>(load(a.add(i), len, 0.0), load(b.add(i), len, 0.0));
            store(lanes, y.add(i), len);
        }
        i += N;
    }
}

/// `y[i] = f(x[i])` for `n` floats; `y` may be `x`.
#[inline(always)]
unsafe fn map_into<const FMA: bool, F: LaneFn>(f: F, x: *const f32, y: *mut f32, n: usize) {
    let mut i = 0;
    while i < n {
        let len = if n - i < N { n - i } else { N };
        // SAFETY: `i + len <= n`, and the caller promises rows of `n` floats.
        unsafe { store(f.apply::<FMA>(load(x.add(i), len, 0.0), Lanes::ZERO), y.add(i), len) };
        i += N;
    }
}

#[derive(Clone, Copy)]
struct Add;

impl LaneFn for Add {
    #[inline(always)]
    fn apply<const FMA: bool>(self, a: Lanes, b: Lanes) -> Lanes {
        a.add(b)
    }
}

#[derive(Clone, Copy)]
struct Mul;

impl LaneFn for Mul {
    #[inline(always)]
    fn apply<const FMA: bool>(self, a: Lanes, b: Lanes) -> Lanes {
        a.mul(b)
    }
}

#[derive(Clone, Copy)]
struct Silu;

impl LaneFn for Silu {
    #[inline(always)]
    fn apply<const FMA: bool>(self, a: Lanes, _b: Lanes) -> Lanes {
        a.silu::<FMA>()
    }
}

#[derive(Clone, Copy)]
struct Swiglu;

impl LaneFn for Swiglu {
    #[inline(always)]
    fn apply<const FMA: bool>(self, a: Lanes, b: Lanes) -> Lanes {
        a.silu::<FMA>().mul(b)
    }
}

#[derive(Clone, Copy)]
struct Relu;

impl LaneFn for Relu {
    #[inline(always)]
    fn apply<const FMA: bool>(self, a: Lanes, _b: Lanes) -> Lanes {
        Lanes::ZERO.larger(a)
    }
}

#[derive(Clone, Copy)]
struct Affine {
    scale: f32,
    bias: f32,
}

impl LaneFn for Affine {
    #[inline(always)]
    fn apply<const FMA: bool>(self, a: Lanes, _b: Lanes) -> Lanes {
        a.fma::<FMA>(Lanes::splat(self.scale), Lanes::splat(self.bias))
    }
}

#[derive(Clone, Copy)]
struct Scaled(f32);

impl LaneFn for Scaled {
    #[inline(always)]
    fn apply<const FMA: bool>(self, a: Lanes, _b: Lanes) -> Lanes {
        a.mul(Lanes::splat(self.0))
    }
}

#[derive(Clone, Copy)]
struct Weighted(f32);

impl LaneFn for Weighted {
    #[inline(always)]
    fn apply<const FMA: bool>(self, a: Lanes, b: Lanes) -> Lanes {
        a.mul(Lanes::splat(self.0)).mul(b)
    }
}

#[derive(Clone, Copy)]
struct Minus(f32);

impl LaneFn for Minus {
    #[inline(always)]
    fn apply<const FMA: bool>(self, a: Lanes, _b: Lanes) -> Lanes {
        a.sub(Lanes::splat(self.0))
    }
}

#[derive(Clone, Copy)]
struct ExpMinus(f32);

impl LaneFn for ExpMinus {
    #[inline(always)]
    fn apply<const FMA: bool>(self, a: Lanes, _b: Lanes) -> Lanes {
        a.sub(Lanes::splat(self.0)).exp::<FMA>()
    }
}

/// Element-wise functions of one row.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Map {
    /// `x * scale + bias`.
    Scale { scale: f32, bias: f32 },
    /// `x / (1 + e^-x)`.
    Silu,
    /// `max(x, 0)`.
    Relu,
}

/// `y[i] = map(x[i])`. Both rows hold `n` floats; `y` may be `x`.
pub(crate) struct MapRow {
    pub map: Map,
    pub x: *const f32,
    pub y: *mut f32,
    pub n: usize,
}

impl Kernel for MapRow {
    type Out = ();

    #[inline(always)]
    unsafe fn run<const FMA: bool>(self) {
        let MapRow { map, x, y, n } = self;
        // SAFETY: the rows hold `n` floats.
        unsafe {
            match map {
                Map::Scale { scale, bias } => map_into::<FMA, _>(Affine { scale, bias }, x, y, n),
                Map::Silu => map_into::<FMA, _>(Silu, x, y, n),
                Map::Relu => map_into::<FMA, _>(Relu, x, y, n),
            }
        }
    }
}

/// Element-wise functions of two rows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Zip {
    /// `a + b`.
    Add,
    /// `a * b`.
    Mul,
    /// `silu(a) * b`.
    Swiglu,
}

/// `y[i] = zip(a[i], b[i])`. All rows hold `n` floats; `y` may be `a` or `b`.
pub(crate) struct ZipRow {
    pub zip: Zip,
    pub a: *const f32,
    pub b: *const f32,
    pub y: *mut f32,
    pub n: usize,
}

impl Kernel for ZipRow {
    type Out = ();

    #[inline(always)]
    unsafe fn run<const FMA: bool>(self) {
        let ZipRow { zip, a, b, y, n } = self;
        // SAFETY: the rows hold `n` floats.
        unsafe {
            match zip {
                Zip::Add => zip_into::<FMA, _>(Add, a, b, y, n),
                Zip::Mul => zip_into::<FMA, _>(Mul, a, b, y, n),
                Zip::Swiglu => zip_into::<FMA, _>(Swiglu, a, b, y, n),
            }
        }
    }
}

/// `y[i] = x[i] * scale`, times `weight[i]` unless that is null. `y` may be `x`.
pub(crate) struct ScaleRow {
    pub x: *const f32,
    pub weight: *const f32,
    pub scale: f32,
    pub y: *mut f32,
    pub n: usize,
}

impl Kernel for ScaleRow {
    type Out = ();

    #[inline(always)]
    unsafe fn run<const FMA: bool>(self) {
        let ScaleRow { x, weight, scale, y, n } = self;
        // SAFETY: the rows hold `n` floats.
        unsafe {
            if weight.is_null() {
                map_into::<FMA, _>(Scaled(scale), x, y, n);
            } else {
                zip_into::<FMA, _>(Weighted(scale), x, weight, y, n);
            }
        }
    }
}

/// What [`SumRow`] adds up, in f64.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sum {
    /// The elements.
    Values,
    /// Their squares, each rounded to f32 as ggml does.
    Squares,
}

/// Sum over a row of `n` floats.
pub(crate) struct SumRow {
    pub sum: Sum,
    pub x: *const f32,
    pub n: usize,
}

impl Kernel for SumRow {
    type Out = f64;

    #[inline(always)]
    unsafe fn run<const FMA: bool>(self) -> f64 {
        // SAFETY: the row holds `n` floats.
        unsafe {
            match self.sum {
                Sum::Values => sum_f64::<false>(self.x, self.n),
                Sum::Squares => sum_f64::<true>(self.x, self.n),
            }
        }
    }
}

/// Sum of a row, or of its squares, in sixteen f64 lanes.
#[inline(always)]
#[allow(clippy::needless_range_loop)] // see `super::lanes` on iterators
unsafe fn sum_f64<const SQUARES: bool>(x: *const f32, n: usize) -> f64 {
    let mut acc = [0f64; N];
    let mut i = 0;
    while i < n {
        let len = if n - i < N { n - i } else { N };
        // SAFETY: `i + len <= n`, and the caller promises a row of `n` floats.
        let mut lanes = unsafe { load(x.add(i), len, 0.0) };
        if SQUARES {
            lanes = lanes.mul(lanes);
        }
        for j in 0..N {
            acc[j] += f64::from(lanes.0[j]);
        }
        i += N;
    }
    let mut width = N / 2;
    while width > 0 {
        for j in 0..width {
            acc[j] += acc[j + width];
        }
        width /= 2;
    }
    acc[0]
}

/// Subtracts `mean` from a row and returns the sum of the squares of what remains (`ggml_vec_cvar_f32`).
/// `y` may be `x`.
pub(crate) struct CenterRow {
    pub x: *const f32,
    pub mean: f32,
    pub y: *mut f32,
    pub n: usize,
}

impl Kernel for CenterRow {
    type Out = f64;

    #[inline(always)]
    unsafe fn run<const FMA: bool>(self) -> f64 {
        let CenterRow { x, mean, y, n } = self;
        // SAFETY: the rows hold `n` floats.
        unsafe {
            map_into::<FMA, _>(Minus(mean), x, y, n);
            sum_f64::<true>(y, n)
        }
    }
}

/// Softmax of a row of scores in place: the row becomes probabilities.
pub(crate) struct SoftMaxRow {
    pub y: *mut f32,
    pub n: usize,
    /// One more score, which takes its share of the sum.
    pub sink: Option<f32>,
}

impl Kernel for SoftMaxRow {
    type Out = ();

    #[inline(always)]
    unsafe fn run<const FMA: bool>(self) {
        let SoftMaxRow { y, n, sink } = self;
        let mut top = Lanes::splat(sink.unwrap_or(f32::NEG_INFINITY));
        let mut i = 0;
        // SAFETY: the row holds `n` floats, and `i + len <= n`.
        unsafe {
            while i < n {
                let len = if n - i < N { n - i } else { N };
                top = load(y.add(i), len, f32::NEG_INFINITY).larger(top);
                i += N;
            }
            let top = top.max();
            map_into::<FMA, _>(ExpMinus(top), y, y, n);
            let of_sink = sink.map_or(0.0, |sink| f64::from((sink - top).exp()));
            let scale = (1.0 / (sum_f64::<false>(y, n) + of_sink)) as f32;
            map_into::<FMA, _>(Scaled(scale), y, y, n);
        }
    }
}
