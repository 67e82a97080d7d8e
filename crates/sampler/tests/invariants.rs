//! What holds for any logits: survivors are a subset in the promised order, probabilities sum to one, and no
//! bit pattern makes a sampler panic.

use proptest::prelude::*;
use quipu_sampler::{
    Candidates, Chain, Dist, Error, Greedy, MinP, Penalties, Sampler, SamplerParams, Temp, TopK, TopP,
};

fn any_bits() -> impl Strategy<Value = f32> {
    any::<u32>().prop_map(f32::from_bits)
}

/// Finite logits, with ties.
fn finite() -> impl Strategy<Value = f32> {
    prop_oneof![(-20.0_f32..20.0), (-8_i8..8).prop_map(f32::from)]
}

fn rows<S: Strategy<Value = f32>>(logit: S) -> impl Strategy<Value = Vec<f32>> {
    prop::collection::vec(logit, 1..1500)
}

fn any_sampler() -> impl Strategy<Value = Box<dyn Sampler>> {
    let small = 0_usize..400;
    prop_oneof![
        Just(()).prop_map(|()| Box::new(Greedy) as Box<dyn Sampler>),
        any::<u32>().prop_map(|s| Box::new(Dist::new(s)) as Box<dyn Sampler>),
        any_bits().prop_map(|t| Box::new(Temp::new(t)) as Box<dyn Sampler>),
        prop_oneof![any::<i32>(), -1..400].prop_map(|k| Box::new(TopK::new(k)) as Box<dyn Sampler>),
        (any_bits(), any::<usize>()).prop_map(|(p, k)| Box::new(TopP::new(p, k)) as Box<dyn Sampler>),
        (0.0_f32..1.0, small.clone()).prop_map(|(p, k)| Box::new(TopP::new(p, k)) as Box<dyn Sampler>),
        (any_bits(), any::<usize>()).prop_map(|(p, k)| Box::new(MinP::new(p, k)) as Box<dyn Sampler>),
        (0.0_f32..1.0, small).prop_map(|(p, k)| Box::new(MinP::new(p, k)) as Box<dyn Sampler>),
        (any::<i32>(), any_bits(), any_bits(), any_bits())
            .prop_map(|(n, r, f, p)| Box::new(Penalties::new(64, n, r, f, p)) as Box<dyn Sampler>),
    ]
}

/// All survivors are candidates of the row, each at most once.
fn is_subset(c: &Candidates, n: usize) -> bool {
    let mut seen = vec![false; n];
    c.data.iter().all(|d| !std::mem::replace(&mut seen[d.id as usize], true))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_bit_pattern_panics(
        row in prop::collection::vec(any_bits(), 0..1500),
        samplers in prop::collection::vec(any_sampler(), 1..6),
        tokens in prop::collection::vec(any::<u32>(), 0..20),
    ) {
        let mut c = Candidates::from_logits(&row);
        for mut s in samplers {
            for &t in &tokens {
                s.accept(t);
            }
            match s.apply(&mut c) {
                Ok(()) => {}
                Err(Error::EmptyCandidates { .. }) => prop_assert!(c.data.is_empty()),
                Err(e) => prop_assert!(false, "{e}"),
            }
            prop_assert!(is_subset(&c, row.len()));
            s.reset();
        }
    }

    #[test]
    fn top_k_gives_the_k_largest_in_order(row in rows(finite()), k in 1_i32..1600) {
        let mut c = Candidates::from_logits(&row);
        TopK::new(k).apply(&mut c).unwrap();
        let mut want = row.clone();
        want.sort_by(|a, b| b.total_cmp(a));
        want.truncate(k as usize);
        let got: Vec<f32> = c.data.iter().map(|d| d.logit).collect();
        prop_assert_eq!(got, want);
        prop_assert!(is_subset(&c, row.len()) && c.data.iter().all(|d| row[d.id as usize] == d.logit));
    }

    #[test]
    fn top_p_keeps_the_least_prefix_that_reaches_p(row in rows(finite()), p in 0.01_f32..0.99) {
        let mut c = Candidates::from_logits(&row);
        TopP::new(p, 0).apply(&mut c).unwrap();
        prop_assert!(c.sorted && c.data.windows(2).all(|w| w[0].logit >= w[1].logit));
        let kept: f32 = c.data.iter().map(|d| d.p).sum();
        let without_last: f32 = c.data[..c.data.len() - 1].iter().map(|d| d.p).sum();
        prop_assert!(kept >= p - 1e-4 && without_last < p + 1e-4);
    }

    #[test]
    fn min_p_keeps_the_order_and_the_best(row in rows(finite()), p in 0.001_f32..1.0) {
        let mut c = Candidates::from_logits(&row);
        MinP::new(p, 0).apply(&mut c).unwrap();
        prop_assert!(c.data.windows(2).all(|w| w[0].id < w[1].id));
        let best = row.iter().copied().fold(f32::MIN, f32::max);
        prop_assert!(c.data.iter().any(|d| d.logit == best));
        prop_assert!(c.data.iter().all(|d| d.logit >= best + p.ln()));
    }

    #[test]
    fn dist_normalises(row in rows(finite()), seed in any::<u32>()) {
        let mut c = Candidates::from_logits(&row);
        Dist::new(seed).apply(&mut c).unwrap();
        let sum: f64 = c.data.iter().map(|d| f64::from(d.p)).sum();
        prop_assert!((sum - 1.0).abs() < 1e-4, "{sum}");
        prop_assert!(c.data[c.selected.unwrap()].p > 0.0);
    }

    #[test]
    fn the_default_chain_always_chooses_a_token_of_the_row(row in rows(any_bits()), seed in any::<u32>()) {
        let params = SamplerParams { seed, penalty_repeat: 1.1, ..SamplerParams::default() };
        let mut chain = Chain::from_params(&params, row.len()).unwrap();
        match chain.sample(&row) {
            Ok(token) => prop_assert!((0..row.len() as u32).contains(&token)),
            Err(Error::NanLogit { token }) => prop_assert!(row[token].is_nan()),
            Err(e) => prop_assert!(false, "{e}"),
        }
    }
}
