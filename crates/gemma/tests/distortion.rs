//! The figures that gemma.cpp's own tests of its codecs ask for, on the same numbers (`distortion_test`, `sfp_test`,
//! `compress_test`, `nuq_test`).

use quipu_gemma::codec::{self, bf16, sfp};
use quipu_gemma::{DistortionStats, Type};

/// highway's generator of its tests, and the numbers that gemma.cpp's tests make of it.
struct Random(u64, u64);

impl Random {
    fn new() -> Random {
        let mix = |z: u64| {
            let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ (z >> 31)
        };
        let first = mix(0x1_2345_6789u64.wrapping_add(0x9E37_79B9_7F4A_7C15));
        Random(first, mix(first))
    }

    fn next(&mut self) -> u32 {
        let (mut s1, s0) = (self.0, self.1);
        let bits = s1.wrapping_add(s0);
        self.0 = s0;
        s1 ^= s1 << 23;
        s1 ^= s0 ^ (s1 >> 18) ^ (s0 >> 5);
        self.1 = s1;
        bits as u32
    }

    /// Mean 0, deviation a third.
    fn gaussian(&mut self) -> f32 {
        let sum: u64 = (0..40).map(|_| u64::from(self.next() & 0xf_ffff)).sum();
        let unit = sum as f64 / f64::from(0xf_ffff * 40);
        ((2.0 * unit - 1.0) * (40.0f64 / 3.0).sqrt()) as f32
    }

    fn gaussians(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.gaussian()).collect()
    }
}

fn through(dtype: Type, values: &[f32]) -> (DistortionStats, f32) {
    let mut back = vec![0.0; values.len()];
    let bytes = codec::encode(dtype, values).expect("in range");
    codec::decode(dtype, &bytes, &mut back).expect("whole streams");
    let largest = values.iter().zip(&back).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
    (DistortionStats::of(values, &back), largest)
}

#[test]
fn values_that_vanish_and_values_that_stay_are_counted() {
    let mut stats = DistortionStats::default();
    for i in 1..10 {
        stats.notify(i as f32 / 100.0, 0.0);
        stats.notify(i as f32 / -100.0, 0.0);
    }
    assert_eq!((stats.n_exact(), stats.n_rounded_to_zero()), (0, 18));
    for i in 0..=6 {
        let x = 0.25 * i as f32;
        stats.notify(x, x);
        stats.notify(-x, -x);
    }
    assert_eq!((stats.n_exact(), stats.n_rounded_to_zero()), (14, 18));
}

/// Few large differences are diluted in one figure and not in the other.
#[test]
fn large_errors_prevail_in_the_weighted_average() {
    let mut stats = DistortionStats::default();
    for _ in 0..100 {
        stats.notify(0.998, 0.999);
    }
    assert!((900.0..=1000.0).contains(&stats.geomean_value_div_l1()));
    assert!((stats.weighted_average_l1() - 0.001).abs() <= 1e-6);
    stats.notify(sfp::MAX - 0.0625, sfp::MAX);
    assert!((0.020..=0.025).contains(&stats.weighted_average_l1()));
    stats.notify((1.75 - 0.125) / 1024.0, 1.75 / 1024.0);
    stats.notify(-sfp::MAX + 0.0625, -sfp::MAX);
    assert!((890.0..=900.0).contains(&stats.geomean_value_div_l1()));
    assert!((0.030..=0.035).contains(&stats.weighted_average_l1()));
    assert_eq!((stats.n_exact(), stats.n_rounded_to_zero(), stats.sum_l1_rounded()), (0, 0, 0.0));
    assert!((0.220..=0.23).contains(&stats.sum_l1()));
}

/// Every bf16 in range whose lower three bits are zero, and its negative.
#[test]
fn sfp_loses_what_the_reference_says() {
    let all = (0..0x8000u16).step_by(8).map(bf16::to_f32).filter(|x| *x <= sfp::MAX);
    let values: Vec<f32> = all.flat_map(|x| [x, -x]).collect();
    let (stats, largest) = through(Type::Sfp, &values);
    assert_eq!(stats.n(), values.len());
    assert_eq!((stats.n_rounded_to_zero(), stats.n_exact(), stats.n_sign_flip()), (3322, 256, 0));
    assert_eq!(largest, 0.0625);
    assert!((4e-4..=5e-4).contains(&(stats.sum_l1() / values.len() as f64)));
    assert!((5e-6..=6e-6).contains(&stats.sum_l1_rounded()));
    assert!((1.880..=1.885).contains(&stats.sum_l1()), "{}", stats.sum_l1());
    assert!((2.70..=2.75).contains(&stats.geomean_value_div_l1()), "{}", stats.geomean_value_div_l1());
    assert!((0.010..=0.011).contains(&stats.weighted_average_l1()), "{}", stats.weighted_average_l1());
}

/// `TestDecompress2`: two vectors of AVX2.
#[test]
fn two_vectors_lose_little() {
    let values = Random::new().gaussians(16);
    let (stats, largest) = through(Type::Bf16, &values);
    assert!(largest <= 2e-3 && (3e-4..=2e-3).contains(&stats.weighted_average_l1()));
    let (stats, largest) = through(Type::Sfp, &values);
    assert!(stats.sum_l1() <= 0.4 && largest <= 0.04);
    assert!((48.0..=72.0).contains(&stats.geomean_value_div_l1()), "{}", stats.geomean_value_div_l1());
    assert!((0.01..=0.03).contains(&stats.weighted_average_l1()));
}

/// `TestShortLengths`, as long as vectors of AVX-512 make it: one generator goes on through all lengths.
#[test]
fn short_streams_are_within_bounds() {
    for dtype in [Type::F32, Type::Bf16, Type::Sfp, Type::Nuq] {
        let mut random = Random::new();
        for n in 1..80 {
            let values = random.gaussians(n);
            let (stats, largest) = through(dtype, &values);
            let (snr, weighted) = (stats.geomean_value_div_l1(), stats.weighted_average_l1());
            let ok = match dtype {
                Type::F32 => stats.n_exact() == n && stats.sum_l1() == 0.0 && largest == 0.0,
                Type::Bf16 => {
                    largest <= 4e-3 && (1e-5..=3e-3).contains(&weighted) && (300.0..=2200.0).contains(&snr)
                }
                Type::Sfp => {
                    stats.sum_l1() <= 1.3
                        && largest <= 0.08
                        && (7e-5..=0.05).contains(&weighted)
                        && (28.0..=200.0).contains(&snr)
                }
                _ => {
                    stats.sum_l1() <= 4.6
                        && largest <= 0.14
                        && (7e-5..=0.06).contains(&weighted)
                        && (11.0..=180.0).contains(&snr)
                }
            };
            assert!(ok, "{dtype}, {n}: {} {largest} {snr} {weighted}", stats.sum_l1());
        }
    }
}

/// `TestEncDec` of NUQ: four groups.
#[test]
fn nuq_loses_what_the_reference_says() {
    let values = Random::new().gaussians(1024);
    let (stats, largest) = through(Type::Nuq, &values);
    assert_eq!((stats.n_exact(), stats.n_rounded_to_zero()), (0, 0));
    assert!(stats.n_sign_flip() < 1024 / 16 && largest <= 0.11);
    assert!((23.0..=24.0).contains(&stats.sum_l1()), "{}", stats.sum_l1());
    assert!((13.0..=13.3).contains(&stats.geomean_value_div_l1()), "{}", stats.geomean_value_div_l1());
    assert!((0.034..=0.035).contains(&stats.weighted_average_l1()), "{}", stats.weighted_average_l1());
}
