//! Seeded values through a codec of this crate, for `parity/probes/gemma.cpp` to compare:
//!
//!     codec_cases TYPE SEED COUNT PREFIX
//!
//! writes PREFIX.values (f32), PREFIX.bytes (encoded) and PREFIX.decoded (f32), and prints the distortion's figures in
//! the probe's line.

use std::fs;

use quipu_gemma::{DistortionStats, Type, codec};

struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// -1 to below 1.
    fn uniform(&mut self) -> f32 {
        (self.next() >> 40) as f32 / 8_388_608.0 - 1.0
    }

    /// -1 to 1, mostly small.
    fn bell(&mut self) -> f32 {
        let sum = self.uniform() + self.uniform();
        let sum = sum + self.uniform();
        (sum + self.uniform()) * 0.25
    }
}

/// The kinds of values, a stretch of which goes through each of several groups.
fn value(rng: &mut SplitMix, kind: u64, dtype: Type) -> f32 {
    let bits = rng.next();
    let x = match kind {
        0 => rng.bell() * 1.875,
        1 => rng.uniform() * 1.875,
        // Weights as they are.
        2 => rng.bell() * 0.08,
        // All exponents.
        3 => f32::from_bits((bits >> 32) as u32),
        // Few values, many of them equal.
        4 => (rng.bell() * 6.0).round() * 0.25,
        5 => 0.75,
        6 => rng.uniform().abs() * -0.5,
        // bf16's own values.
        7 => f32::from_bits(rng.bell().to_bits() & 0xffff_0000),
        8 => {
            if bits.trailing_zeros() >= 4 {
                rng.uniform()
            } else {
                0.0
            }
        }
        // Small differences on a large offset.
        _ => 1.5 + rng.uniform() * 1e-3,
    };
    match dtype {
        // NaN and infinities, too.
        Type::Bf16 => x,
        Type::I8 if x.is_finite() && x.abs() < 1e30 => x,
        Type::I8 => 0.0,
        // Beyond the range the reference's code is not defined.
        _ if x.abs() <= 1.875 => x,
        _ => f32::from_bits((x.to_bits() & 0x807f_ffff) | 0x3f00_0000),
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [dtype, seed, count, prefix] = &args[..] else { return Err("TYPE SEED COUNT PREFIX".into()) };
    let dtype = Type::from_name(dtype).ok_or("no such type")?;
    let (mut rng, count) = (SplitMix(seed.parse()?), count.parse()?);
    let mut values = Vec::with_capacity(count);
    // Every bf16 in range, with all that can follow it that matters.
    for high in 0..=0xffffu32 {
        for low in [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff] {
            let x = f32::from_bits((high << 16) | low);
            let fits = match dtype {
                Type::Bf16 => true,
                Type::I8 => x.abs() < 1e30,
                _ => x.abs() <= 1.875,
            };
            if fits && dtype != Type::Nuq {
                values.push(x);
            }
        }
    }
    while values.len() < count {
        let kind = rng.next() % 10;
        // No multiple of a group, so that kinds meet within groups.
        for _ in 0..(rng.next() % 1500).min((count - values.len()) as u64) {
            values.push(value(&mut rng, kind, dtype));
        }
    }
    let bytes = codec::encode(dtype, &values)?;
    let mut decoded = vec![0.0; values.len()];
    codec::decode(dtype, &bytes, &mut decoded)?;
    let raw = |values: &[f32]| values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    fs::write(format!("{prefix}.values"), raw(&values))?;
    fs::write(format!("{prefix}.bytes"), &bytes)?;
    fs::write(format!("{prefix}.decoded"), raw(&decoded))?;
    let mut stats = DistortionStats::default();
    for (x, y) in values
        .iter()
        .zip(&decoded)
        .filter(|(x, y)| x.is_finite() && y.is_finite() && (**x != 0.0 || **y == 0.0))
    {
        stats.notify(*x, *y);
    }
    println!(
        "distortion exact {} flips {} zeros {} sum {:e} rounded {:e} snr {:e} weighted {:e}",
        stats.n_exact(),
        stats.n_sign_flip(),
        stats.n_rounded_to_zero(),
        stats.sum_l1(),
        stats.sum_l1_rounded(),
        stats.geomean_value_div_l1(),
        stats.weighted_average_l1()
    );
    Ok(())
}
