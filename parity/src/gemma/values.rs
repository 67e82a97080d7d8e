//! Seeded values for the codecs: all special ones, then stretches of ten kinds that meet within groups.

use quipu_gemma::Type;
use quipu_testing::SplitMix;

/// What follows the upper half of an f32 in the special values: nothing, what rounds down, to even, up, and all.
const LOWER_HALVES: [u32; 6] = [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff];

/// `count` values that the reference's code is defined for, the same for the same seed everywhere.
pub(super) fn values(dtype: Type, seed: u64, count: usize) -> Vec<f32> {
    let mut random = SplitMix::new(seed);
    let mut values = Vec::with_capacity(count);
    // Every bf16 in range, with all that can follow it that matters. NUQ's groups would be the same again and again.
    if dtype != Type::Nuq {
        let all = (0..=0xffffu32).flat_map(|high| LOWER_HALVES.map(|low| f32::from_bits((high << 16) | low)));
        values.extend(all.filter(|x| fits(*x, dtype)).take(count));
    }
    while values.len() < count {
        let kind = random.below(10);
        // No multiple of a group, so that kinds meet within groups.
        for _ in 0..random.below(1500).min((count - values.len()) as u64) {
            values.push(value(&mut random, kind, dtype));
        }
    }
    values
}

fn fits(x: f32, dtype: Type) -> bool {
    match dtype {
        // NaN and infinities, too.
        Type::Bf16 => true,
        Type::I8 => x.abs() < 1e30,
        _ => x.abs() <= 1.875,
    }
}

/// -1 to below 1.
fn uniform(random: &mut SplitMix) -> f32 {
    (random.next_u64() >> 40) as f32 / 8_388_608.0 - 1.0
}

/// -1 to 1, mostly small.
fn bell(random: &mut SplitMix) -> f32 {
    let sum = uniform(random) + uniform(random);
    let sum = sum + uniform(random);
    (sum + uniform(random)) * 0.25
}

fn value(random: &mut SplitMix, kind: u64, dtype: Type) -> f32 {
    let bits = random.next_u64();
    let x = match kind {
        0 => bell(random) * 1.875,
        1 => uniform(random) * 1.875,
        // Weights as they are.
        2 => bell(random) * 0.08,
        // All exponents.
        3 => f32::from_bits((bits >> 32) as u32),
        // Few values, many of them equal.
        4 => (bell(random) * 6.0).round() * 0.25,
        5 => 0.75,
        6 => uniform(random).abs() * -0.5,
        // bf16's own values.
        7 => f32::from_bits(bell(random).to_bits() & 0xffff_0000),
        8 if bits.trailing_zeros() >= 4 => uniform(random),
        8 => 0.0,
        // Small differences on a large offset.
        _ => 1.5 + uniform(random) * 1e-3,
    };
    match dtype {
        _ if fits(x, dtype) => x,
        Type::I8 => 0.0,
        _ => f32::from_bits((x.to_bits() & 0x807f_ffff) | 0x3f00_0000),
    }
}
