//! Seeded inputs for tests and benches: random weights of every type, valid in every bit.

use half::{bf16, f16};
use quipu_quant::DType;

/// The types that have vector kernels.
pub const TYPES: [DType; 28] = [
    DType::F32,
    DType::F16,
    DType::BF16,
    DType::Q8_0,
    DType::Q4_0,
    DType::Q5_0,
    DType::MXFP4,
    DType::Q4_K,
    DType::Q5_K,
    DType::Q6_K,
    DType::Q4_1,
    DType::Q5_1,
    DType::IQ4_NL,
    DType::Q2_K,
    DType::Q3_K,
    DType::IQ4_XS,
    DType::IQ1_S,
    DType::IQ1_M,
    DType::IQ2_XXS,
    DType::IQ2_XS,
    DType::IQ2_S,
    DType::IQ3_XXS,
    DType::IQ3_S,
    DType::TQ1_0,
    DType::TQ2_0,
    DType::Q1_0,
    DType::Q2_0,
    DType::NVFP4,
];

/// SplitMix64.
pub struct Rng(u64);

impl Rng {
    /// A generator with its own sequence per seed.
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    /// The next 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in -1..1.
    pub fn float(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// `n` values, uniform in -scale..scale.
    pub fn floats(&mut self, n: usize, scale: f32) -> Vec<f32> {
        (0..n).map(|_| self.float() * scale).collect()
    }
}

/// `n_rows` rows of `k` random weights of `dtype`: random quants, moderate scales.
///
/// # Panics
/// If `k` is no whole number of blocks.
pub fn weights(rng: &mut Rng, dtype: DType, k: usize, n_rows: usize) -> Vec<u8> {
    let row = dtype.row_bytes(k).expect("whole blocks");
    let mut bytes: Vec<u8> = (0..(row * n_rows).div_ceil(8)).flat_map(|_| rng.bits().to_le_bytes()).collect();
    bytes.truncate(row * n_rows);
    let mut half = |at: &mut [u8]| at.copy_from_slice(&f16::from_f32(rng.float() * 0.1).to_le_bytes());
    for block in bytes.chunks_exact_mut(dtype.block_bytes()) {
        match dtype {
            DType::Q8_0
            | DType::Q4_0
            | DType::Q5_0
            | DType::IQ4_NL
            | DType::IQ4_XS
            | DType::IQ1_S
            | DType::IQ2_XXS
            | DType::IQ2_XS
            | DType::IQ2_S
            | DType::IQ3_XXS
            | DType::IQ3_S
            | DType::Q1_0
            | DType::Q2_0 => half(&mut block[..2]),
            DType::TQ1_0 => half(&mut block[52..]),
            DType::TQ2_0 => half(&mut block[64..]),
            // The scale's bits are the top four of each scale word: 0x2... is moderate.
            DType::IQ1_M => block[55] = block[55] & 15 | 0x20,
            DType::NVFP4 => block[..4].iter_mut().for_each(|d| *d = 32 + *d % 32),
            DType::Q4_K | DType::Q5_K | DType::Q4_1 | DType::Q5_1 => {
                half(&mut block[..2]);
                half(&mut block[2..4]);
            }
            DType::Q6_K => half(&mut block[208..]),
            DType::Q3_K => half(&mut block[108..]),
            DType::Q2_K => {
                half(&mut block[80..82]);
                half(&mut block[82..]);
            }
            DType::MXFP4 => block[0] = 120 + block[0] % 8,
            _ => {}
        }
    }
    let mut floats = || rng.float();
    match dtype {
        DType::F32 => bytes.chunks_exact_mut(4).for_each(|b| b.copy_from_slice(&floats().to_le_bytes())),
        DType::F16 => {
            bytes.chunks_exact_mut(2).for_each(|b| b.copy_from_slice(&f16::from_f32(floats()).to_le_bytes()));
        }
        DType::BF16 => {
            bytes
                .chunks_exact_mut(2)
                .for_each(|b| b.copy_from_slice(&bf16::from_f32(floats()).to_le_bytes()));
        }
        _ => {}
    }
    bytes
}

/// Normalised mean squared error of `got` against `want`.
pub fn nmse(got: &[f32], want: &[f32]) -> f64 {
    let mut error = 0.0;
    let mut power = 0.0;
    for (g, w) in got.iter().zip(want) {
        error += (f64::from(*g) - f64::from(*w)).powi(2);
        power += f64::from(*w).powi(2);
    }
    error / power.max(f64::MIN_POSITIVE)
}
