//! The cases of the reference's `test-sampling.cpp`: what each sampler leaves of small distributions, and how many
//! of 10,000 candidates survive queues of filters.
//!
//! Probabilities agree up to 1e-5, the reference's own tolerance; `goldens.rs` compares bits.

use quipu_sampler::{
    Candidates, Dist, Dry, MinP, Penalties, Sampler, Temp, TempExt, TokenId, TopK, TopNSigma, TopP, Typical,
    Xtc,
};

const RISING: [f32; 4] = [0.1, 0.2, 0.3, 0.4];
const FALLING: [f32; 4] = [0.4, 0.3, 0.2, 0.1];
const FIVE_EQUAL: [f32; 5] = [0.2; 5];

/// Candidates with these probabilities; the logits are their logarithms.
fn candidates(probabilities: &[f32]) -> Candidates {
    let logits: Vec<f32> = probabilities.iter().map(|p| p.ln()).collect();
    let mut candidates = Candidates::from_logits(&logits);
    for (candidate, p) in candidates.data.iter_mut().zip(probabilities) {
        candidate.p = *p;
    }
    candidates
}

/// Applies samplers in turn and compares what is left.
fn leaves(probabilities: &[f32], samplers: &mut [&mut dyn Sampler], expected: &[f32]) {
    let mut candidates = candidates(probabilities);
    let names: Vec<String> = samplers.iter().map(|sampler| sampler.name().to_owned()).collect();
    for sampler in samplers {
        sampler.apply(&mut candidates).unwrap();
    }
    let left: Vec<f32> = candidates.data.iter().map(|candidate| candidate.p).collect();
    let close = left.len() == expected.len() && left.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5);
    assert!(close, "{names:?} of {probabilities:?}: {left:?}, expected {expected:?}");
}

/// One sampler, then the draw, which normalises.
fn leaves_drawn(probabilities: &[f32], mut sampler: impl Sampler, expected: &[f32]) {
    leaves(probabilities, &mut [&mut sampler, &mut Dist::new(0)], expected);
}

#[test]
fn temperatures() {
    leaves_drawn(&RISING, Temp::new(1.0), &RISING);
    leaves_drawn(&RISING, Temp::new(0.0), &[0.0, 0.0, 0.0, 1.0]);
    leaves_drawn(&RISING, TempExt::new(1.0, 0.0, 1.0), &RISING);
    leaves_drawn(&RISING, TempExt::new(0.0, 0.0, 1.0), &[0.0, 0.0, 0.0, 1.0]);
}

#[test]
fn the_k_most_probable() {
    leaves_drawn(&RISING, TopK::new(1), &[1.0]);
    leaves_drawn(&RISING, TopK::new(3), &[0.444_44, 0.333_33, 0.222_22]);
    leaves_drawn(&RISING, TopK::new(4), &FALLING);
    leaves_drawn(&RISING, TopK::new(0), &RISING);
}

#[test]
fn the_most_probable_up_to_a_sum() {
    leaves_drawn(&RISING, TopP::new(0.0, 0), &[1.0]);
    leaves_drawn(&RISING, TopP::new(0.7, 0), &[0.571_429, 0.428_571]);
    leaves_drawn(&RISING, TopP::new(0.8, 0), &[0.444_44, 0.333_33, 0.222_22]);
    leaves_drawn(&RISING, TopP::new(1.0, 0), &RISING);
}

#[test]
fn no_less_probable_than_a_share_of_the_best() {
    let three = [0.2 / 0.9, 0.3 / 0.9, 0.4 / 0.9];
    let two = [0.3 / 0.7, 0.4 / 0.7];
    let expected: [(f32, &[f32]); 9] = [
        (0.00, &RISING),
        (0.24, &RISING),
        (0.26, &three),
        (0.49, &three),
        (0.51, &two),
        (0.74, &two),
        (0.76, &[1.0]),
        (1.00, &[1.0]),
        (1.05, &[1.0]),
    ];
    for (p, left) in expected {
        leaves_drawn(&RISING, MinP::new(p, 0), left);
    }
}

#[test]
fn top_choices_that_are_excluded() {
    let expected: [(f32, &[f32]); 4] =
        [(0.09, &[0.1]), (0.19, &[0.2, 0.1]), (0.29, &[0.3, 0.2, 0.1]), (0.39, &FALLING)];
    for (threshold, left) in expected {
        leaves(&FALLING, &mut [&mut Xtc::new(0.99, threshold, 0, 0)], left);
    }
}

#[test]
fn typical_candidates() {
    leaves(&[0.97, 0.01, 0.01, 0.01], &mut [&mut Typical::new(0.5, 0)], &[0.97]);
    leaves(&[0.4, 0.2, 0.2, 0.2], &mut [&mut Typical::new(0.5, 0)], &[0.2, 0.2, 0.2]);
}

#[test]
fn penalties_of_recent_tokens() {
    let penalised = |last: &[TokenId], [repeat, frequency, presence]: [f32; 3], expected: [f32; 5]| {
        let mut penalties = Penalties::new(5, last.len() as i32, repeat, frequency, presence);
        for token in last {
            penalties.accept(*token);
        }
        leaves_drawn(&FIVE_EQUAL, penalties, &expected);
    };
    penalised(&[0], [50.0, 0.0, 0.0], [0.0, 0.25, 0.25, 0.25, 0.25]);
    penalised(&[0, 1, 2], [50.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.5, 0.5]);
    penalised(&[0, 1, 2, 0, 0], [50.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.5, 0.5]);
    let both = [1.0, 5.0, 5.0];
    penalised(&[0], both, [0.000_011, 0.249_997, 0.249_997, 0.249_997, 0.249_997]);
    penalised(&[0, 1, 2], both, [0.000_023, 0.000_023, 0.000_023, 0.499_966, 0.499_966]);
    penalised(&[0, 1, 2, 0, 0], both, [0.0, 0.000_023, 0.000_023, 0.499_977, 0.499_977]);
}

#[test]
fn penalties_of_repeated_sequences() {
    let penalised = |last: &[TokenId], mut dry: Dry, expected: &[f32]| {
        for token in last {
            dry.accept(*token);
        }
        leaves_drawn(&vec![1.0 / expected.len() as f32; expected.len()], dry, expected);
    };
    let dry = |multiplier, length, last_n, breakers: &[Vec<TokenId>]| {
        Dry::with_token_breakers(multiplier, 1.1, length, last_n, breakers)
    };
    penalised(&[0, 1], dry(1.0, 2, 4, &[]), &[0.25; 4]);
    let one_less = [0.296_923, 0.296_923, 0.109_232, 0.296_923];
    penalised(&[0, 1, 2, 0, 1], dry(1.0, 2, 5, &[]), &one_less);
    penalised(&[0, 1, 3, 4, 0, 1], dry(1.0, 2, 6, &[vec![3]]), &FIVE_EQUAL);
    let much_less = [0.241_818, 0.241_818, 0.032_727, 0.241_818, 0.241_818];
    penalised(&[0, 1, 2, 0, 1], dry(2.0, 2, 5, &[]), &much_less);
    penalised(&[0, 1, 2, 3, 4, 0, 1], dry(2.0, 4, 7, &[]), &FIVE_EQUAL);
}

#[test]
fn within_standard_deviations_of_the_best() {
    leaves_drawn(&RISING, TopNSigma::new(1.0), &[0.0, 0.0, 0.428_571, 0.571_429]);
    leaves_drawn(&RISING, TopNSigma::new(0.0), &RISING);
    leaves_drawn(&RISING, TopNSigma::new(3.0), &RISING);
}

/// Candidates of a queue; the logit of token `i` is ln(i), so its probability is `i` over a sum.
const N: i64 = 10_000;

/// What a queue of filters has let through: the `len` largest ids, of which `smallest` is the least.
#[derive(Clone, Copy)]
struct Left {
    smallest: i64,
    len: i64,
}

impl Left {
    fn after_top_k(self, k: i64) -> Left {
        Left { smallest: self.smallest.max(N - k), len: self.len.min(k) }
    }

    /// Ids from the largest down until their sum reaches a share `p` of all that are left.
    fn after_top_p(self, p: f32) -> Left {
        let sum_below = |id: i64| id * (id - 1) / 2;
        let share = (p * (sum_below(N) - sum_below(self.smallest)) as f32).ceil() as i64;
        let reaches = |id: &i64| sum_below(N) - sum_below(*id) >= share;
        let id = (0..N).rev().find(reaches).unwrap_or(0);
        // Token 0 has no probability, but nothing is cut when all others are needed.
        let smallest = if id == 1 { 0 } else { id };
        Left { smallest, len: N - smallest }
    }

    /// Token 0, which has no probability, is never kept.
    fn after_min_p(self, p: f32) -> Left {
        let smallest = ((p * N as f32).floor() as i64).max(1).max(N - self.len).min(N - 1);
        let len = (((1.0 - p) * N as f32).ceil() as i64).max(1).min(self.len).min(N - smallest);
        Left { smallest, len }
    }
}

/// Each filter of the queue is followed by a draw, which must not change what is left.
fn queue(filters: &str, k: i64, top_p: f32, min_p: f32) {
    let logits: Vec<f32> = (0..N).map(|id| (id as f32).ln()).collect();
    let mut candidates = Candidates::from_logits(&logits);
    let mut left = Left { smallest: 0, len: N };
    for filter in filters.chars() {
        let (mut sampler, expected): (Box<dyn Sampler>, Left) = match filter {
            'k' => (Box::new(TopK::new(k as i32)), left.after_top_k(k)),
            'p' => (Box::new(TopP::new(top_p, 1)), left.after_top_p(top_p)),
            _ => (Box::new(MinP::new(min_p, 1)), left.after_min_p(min_p)),
        };
        sampler.apply(&mut candidates).unwrap();
        Dist::new(0).apply(&mut candidates).unwrap();
        let case = format!("{filter} of {filters} with {k}, {top_p}, {min_p}");
        assert_eq!(candidates.data.len() as i64, expected.len, "{case}");
        assert!(candidates.sorted || filter != 'k', "{case}");
        if candidates.sorted {
            let ids = [candidates.data[0].id, candidates.data[candidates.data.len() - 1].id].map(i64::from);
            assert_eq!(ids, [N - 1, expected.smallest], "{case}");
        }
        left = expected;
    }
}

#[test]
fn queues_of_filters() {
    for k in [N, 1, 100] {
        queue("k", k, 1.0, 1.0);
    }
    for p in [1.0, 0.0, 0.0003, 0.8] {
        queue("p", N, p, 1.0);
    }
    for p in [1.0, 1e-12, 9997.9 / 9999.0, 0.1] {
        queue("m", N, 1.0, p);
    }
    for filters in ["kp", "km", "pk", "pm", "mk", "mp", "kpm", "kmp", "pkm", "pmk", "mkp", "mpk"] {
        queue(filters, 100, 0.8, 0.1);
    }
    queue("mp", 100, 0.8, 9997.9 / 9999.0);
}
