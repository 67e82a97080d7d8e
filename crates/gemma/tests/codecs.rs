//! Codecs: every code, every special value, goldens of gemma.cpp, and the bounds of its own tests.

use proptest::prelude::*;
use quipu_gemma::codec::{self, bf16, sfp};
use quipu_gemma::{DistortionStats, Error, Type};

/// What gemma.cpp made of [`golden_values`]; provenance in the file.
const GOLDEN: &str = include_str!("goldens/codecs.txt");

fn encoded(dtype: Type, values: &[f32]) -> Vec<u8> {
    codec::encode(dtype, values).expect("values in range")
}

fn decoded(dtype: Type, bytes: &[u8], n: usize) -> Vec<f32> {
    let mut out = vec![0.0; n];
    codec::decode(dtype, bytes, &mut out).expect("whole streams");
    out
}

/// 600 values: two whole groups of NUQ, five of I8 with a rest, all in SFP's range.
fn golden_values() -> Vec<f32> {
    let mut state = 1u64;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / 8_388_608.0 - 1.0
    };
    (0..600)
        .map(|i| match i % 5 {
            0 => next() * 1.875,
            1 => next() * 0.05,
            2 => next() * next() * next(),
            3 => (next() * 4.0).round() * 0.25,
            _ => next() * 1e-6,
        })
        .collect()
}

#[test]
fn goldens_are_met() {
    let values = golden_values();
    let mut seen = 0;
    for line in GOLDEN.lines().filter(|line| !line.starts_with('#')) {
        let (name, hex) = line.split_once(' ').expect("a type and bytes");
        let dtype = Type::from_name(name).expect("a type");
        let bytes = encoded(dtype, &values);
        let own = bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().concat();
        assert_eq!(own, hex, "{name}");
        seen += 1;
    }
    assert_eq!(seen, 4);
}

#[test]
fn all_sfp_codes_decode_to_their_values_and_back() {
    for code in 0..=255u8 {
        let x = sfp::decode_value(code);
        assert_eq!(sfp::decode_to_bf16(code), bf16::from_f32(x), "a subset of bf16");
        // By the definition: two or three bits behind the one, and two biases.
        let magnitude = u32::from(code & 0x7f);
        let expected = match magnitude {
            0 => 0.0,
            1..64 => (1.0 + (magnitude & 3) as f32 / 4.0) * ((magnitude >> 2) as f32 - 23.0).exp2(),
            _ => (1.0 + (magnitude & 7) as f32 / 8.0) * ((magnitude >> 3) as f32 - 15.0).exp2(),
        };
        assert_eq!(x.abs(), expected, "{code:#x}");
        assert_eq!(x.is_sign_negative(), code & 0x80 != 0);
        // -0 is not written.
        let back = sfp::encode_value(x);
        assert_eq!(back, if code == 0x80 { 0 } else { code });
    }
}

/// Of every bf16 in range the nearest code, and of two as near the even one; but zero begins below 2^-23.
#[test]
fn all_of_bf16_goes_to_the_nearest_code() {
    let mut codes: Vec<u8> = (1..0x80).collect();
    codes.sort_by(|a, b| sfp::decode_value(*a).total_cmp(&sfp::decode_value(*b)));
    let mut seen = 0;
    for bits in 0..=bf16::from_f32(1.875) {
        let x = bf16::to_f32(bits);
        let code = sfp::encode_value(x);
        assert_eq!(sfp::encode_value(-x), if code == 0 { 0 } else { code | 0x80 });
        seen += 1;
        if x < 2f32.powi(-23) {
            // Rounding may reach the smallest exponent.
            assert!(code <= 1, "{x:e}");
            continue;
        }
        // The lowest bit of bf16 is not looked at.
        let x = bf16::to_f32(bits & !1);
        let distance = |code: &u8| (sfp::decode_value(*code) - x).abs();
        let least = codes.iter().map(distance).fold(f32::MAX, f32::min);
        assert_eq!(distance(&code), least, "{x:e} became {code:#x}");
        let nearest: Vec<u8> = codes.iter().copied().filter(|c| distance(c) == least).collect();
        assert!(nearest.len() == 1 || code & 1 == 0, "{x:e} is between {nearest:?}");
    }
    assert_eq!(seen, 0x3ff1);
}

#[test]
fn bf16_rounds_to_even_and_keeps_nan() {
    for (x, expected) in [
        (1.0f32, 0x3f80u16),
        (f32::from_bits(0x3f80_8000), 0x3f80),
        (f32::from_bits(0x3f81_8000), 0x3f82),
        (f32::from_bits(0x3f80_8001), 0x3f81),
        (f32::MAX, 0x7f80),
        (f32::INFINITY, 0x7f80),
        (-0.0, 0x8000),
        (f32::from_bits(0x7f80_0001), 0x7fc0),
    ] {
        assert_eq!(bf16::from_f32(x), expected, "{x:e}");
    }
}

/// In the figures of the reference's `sfp_test`, `nuq_test` and `int_test`, on bell-shaped weights.
#[test]
fn distortion_is_within_bounds() {
    let mut state = 7u64;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / 16_777_216.0
    };
    let values: Vec<f32> = (0..8192).map(|_| (next() + next() + next() + next() - 2.0) * 0.4).collect();
    for (dtype, snr, weighted) in [(Type::Sfp, 30.0, 4e-2), (Type::Nuq, 8.0, 8e-2), (Type::I8, 30.0, 1.5e-2)]
    {
        let back = decoded(dtype, &encoded(dtype, &values), values.len());
        let stats = DistortionStats::of(&values, &back);
        assert_eq!(stats.n(), 8192);
        assert!(stats.geomean_value_div_l1() > snr, "{dtype}: {}", stats.geomean_value_div_l1());
        assert!(stats.weighted_average_l1() < weighted, "{dtype}: {}", stats.weighted_average_l1());
        assert!(dtype != Type::Sfp || stats.n_sign_flip() == 0);
    }
}

/// `distortion_test` of the reference: figures that can be worked out.
#[test]
fn statistics_are_what_they_say() {
    let mut stats = DistortionStats::default();
    assert_eq!((stats.geomean_value_div_l1(), stats.weighted_average_l1()), (0.0, 0.0));
    stats.notify(0.0, 0.0);
    stats.notify(-1.0, 1.0);
    stats.notify(1.0, 0.0);
    assert_eq!((stats.n(), stats.n_exact(), stats.n_sign_flip(), stats.n_rounded_to_zero()), (3, 1, 1, 1));
    assert_eq!((stats.sum_l1(), stats.sum_l1_rounded()), (3.0, 1.0));
    let mut same = DistortionStats::default();
    (0..100).for_each(|_| same.notify(0.5, 0.25));
    assert_eq!(same.weighted_average_l1(), 0.25);
    assert!((same.geomean_value_div_l1() - 3.0).abs() < 1e-12);
    // Ten small errors and one large one: the large one prevails.
    let mut one = DistortionStats::default();
    (0..10).for_each(|_| one.notify(1.0, 1.0 - 1.0 / 1024.0));
    one.notify(1.0, 0.5);
    let weighted = one.weighted_average_l1();
    assert!((0.4..0.5).contains(&weighted), "{weighted}");
    // Sums of both halves are the sum of all.
    let mut first = stats.clone();
    first.assimilate(&one);
    assert_eq!(first.n(), 14);
    assert_eq!(first.sum_l1(), 3.0 + 10.0 / 1024.0 + 0.5);
}

#[test]
fn weights_are_scaled_into_range() {
    let mut values = [0.5, -1.875];
    assert_eq!(codec::scale_weights(&mut values), 1.0);
    assert_eq!(values, [0.5, -1.875]);
    let mut values = [7.5, -3.0, 0.0];
    assert_eq!(codec::scale_weights(&mut values), 4.0);
    assert_eq!(values, [1.875, -0.75, 0.0]);
}

#[test]
fn what_a_codec_cannot_hold_is_refused() {
    let value = |dtype, x| codec::encode(dtype, &[0.0, x]).expect_err("out of range");
    assert!(matches!(value(Type::Sfp, 1.9), Error::CodecValue { index: 1, .. }));
    assert!(matches!(value(Type::Nuq, f32::NAN), Error::CodecValue { index: 1, .. }));
    assert!(matches!(value(Type::I8, f32::INFINITY), Error::CodecValue { index: 1, .. }));
    assert!(matches!(value(Type::U32, 1.0), Error::CodecType { .. }));
    assert!(matches!(
        codec::decode(Type::I8, &[0; 5], &mut [0.0; 2]),
        Err(Error::CodecLength { expected: 6, .. })
    ));
}

proptest! {
    /// Every codec from every begin of a group, and streams of any length and content.
    #[test]
    fn any_bytes_decode(n in 1usize..700, seed in any::<u64>()) {
        for dtype in [Type::Bf16, Type::Sfp, Type::Nuq, Type::I8, Type::F32] {
            let len = dtype.n_bytes(n as u64).expect("small") as usize;
            let bytes: Vec<u8> = (0..len).map(|i| (seed.wrapping_mul(i as u64 * 2 + 1) >> 32) as u8).collect();
            let all = decoded(dtype, &bytes, n);
            // A prefix of whole groups decodes to a prefix.
            let part = n / 256 * 256;
            let some = decoded(dtype, &bytes[..dtype.n_bytes(part as u64).expect("small") as usize], part);
            prop_assert!(all.iter().zip(&some).all(|(a, b)| a.to_bits() == b.to_bits()));
        }
    }

    /// What was decoded once is encoded to the same values again.
    #[test]
    fn sfp_is_stable(values in prop::collection::vec(-1.875f32..1.875, 1..300)) {
        let once = decoded(Type::Sfp, &encoded(Type::Sfp, &values), values.len());
        prop_assert_eq!(encoded(Type::Sfp, &once), encoded(Type::Sfp, &values));
    }

    /// Of 16 values or fewer none ends far from where it was: its neighbour at most.
    #[test]
    fn nuq_keeps_few_values(picks in prop::collection::vec(0u8..16, 1..256)) {
        let values: Vec<f32> = picks.iter().map(|p| sfp::decode_value(100 + p)).collect();
        let back = decoded(Type::Nuq, &encoded(Type::Nuq, &values), values.len());
        prop_assert!(values.iter().zip(&back).all(|(a, b)| (a - b).abs() <= 1.0 / 32.0));
    }
}
