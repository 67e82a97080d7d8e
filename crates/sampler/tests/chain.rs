//! Chains through the public API: building, taking apart, repeating, and every documented refusal.

use quipu_sampler::{
    Candidates, Chain, DEFAULT_SEED, Dist, Error, Greedy, Sampler, SamplerParams, Temp, TokenId, TopK,
};

fn logits(n: usize, step: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 + step * 104_729) % 997) as f32 / 100.0 - 5.0).collect()
}

fn run(chain: &mut Chain, n: usize) -> Vec<TokenId> {
    (0..n).map(|step| chain.sample(&logits(300, step)).unwrap()).collect()
}

fn seeded(seed: u32) -> Chain {
    let params = SamplerParams { seed, penalty_repeat: 1.2, temp: 2.0, ..SamplerParams::default() };
    Chain::from_params(&params, 300).unwrap()
}

#[test]
fn a_seed_fixes_the_tokens_and_reset_starts_over() {
    let mut chain = seeded(7);
    let first = run(&mut chain, 20);
    assert_eq!(first, run(&mut seeded(7), 20));
    assert_ne!(first, run(&mut seeded(8), 20));
    assert_ne!(first, run(&mut chain, 20));
    chain.reset();
    assert_eq!(first, run(&mut chain, 20));
}

#[test]
fn a_clone_continues_on_its_own() {
    let mut chain = seeded(7);
    run(&mut chain, 5);
    let mut copy = chain.clone();
    assert_eq!(run(&mut chain, 10), run(&mut copy, 10));
}

#[test]
fn the_default_chain_is_the_reference_s() {
    let chain = Chain::from_params(&SamplerParams::default(), 10).unwrap();
    let names: Vec<_> = (0..chain.len()).filter_map(|i| chain.get(i)).map(Sampler::name).collect();
    let want = [
        "?penalties",
        "?dry",
        "?top-n-sigma",
        "top-k",
        "?typical",
        "top-p",
        "min-p",
        "?xtc",
        "temp-ext",
        "dist",
    ];
    assert_eq!(names, want);
    assert_eq!(SamplerParams::default().seed, DEFAULT_SEED);
}

#[test]
fn samplers_can_be_looked_at_and_removed() {
    let mut chain = Chain::new();
    chain.add(TopK::new(2)).add(Temp::new(0.5)).add(Greedy);
    assert_eq!((chain.len(), chain.is_empty()), (3, false));
    assert_eq!(chain.get(1).map(Sampler::name), Some("temp"));
    assert_eq!(chain.remove(1).map(|s| s.name().to_string()), Some("temp".to_string()));
    assert!(chain.remove(2).is_none() && chain.get(2).is_none());
    assert_eq!(chain.sample(&[1.0, 3.0, 2.0]), Ok(1));
    let left: Vec<_> = chain.candidates().data.iter().map(|c| c.id).collect();
    assert_eq!(left, [1, 2]);
}

#[test]
fn chains_nest() {
    let mut inner = Chain::new();
    inner.add(TopK::new(1));
    let mut outer = Chain::new();
    outer.add(inner).add(Dist::new(1));
    assert_eq!(outer.sample(&[0.0, 9.0, 0.0]), Ok(1));
}

#[test]
fn zero_temperature_is_greedy_with_the_first_of_equals() {
    for temp in [0.0, -1.0] {
        let params = SamplerParams { temp, top_k: 0, top_p: 1.0, min_p: 0.0, ..SamplerParams::default() };
        let mut chain = Chain::from_params(&params, 4).unwrap();
        for _ in 0..50 {
            assert_eq!(chain.sample(&[1.0, 4.0, 4.0, 0.0]), Ok(1));
        }
    }
}

#[test]
fn a_vocabulary_of_one() {
    let mut chain = Chain::from_params(&SamplerParams::default(), 1).unwrap();
    for logit in [0.0, f32::NEG_INFINITY, f32::INFINITY] {
        assert_eq!(chain.sample(&[logit]), Ok(0));
    }
}

#[test]
fn all_minus_infinity_still_gives_a_token() {
    let mut chain = Chain::from_params(&SamplerParams { seed: 1, ..SamplerParams::default() }, 64).unwrap();
    assert!((0..64).contains(&chain.sample(&[f32::NEG_INFINITY; 64]).unwrap()));
}

#[test]
fn refusals_are_typed() {
    let mut chain = seeded(1);
    assert_eq!(chain.sample(&[]), Err(Error::EmptyCandidates { sampler: "chain" }));
    assert_eq!(chain.sample(&[0.0, f32::NAN]), Err(Error::NanLogit { token: 1 }));
    let mut blind = Chain::new();
    blind.add(TopK::new(1));
    let refused = blind.sample(&[0.0, 1.0]);
    assert_eq!(refused, Err(Error::NothingSelected { n_samplers: 1, n_candidates: 1 }));
    let mut cut_after = Chain::new();
    cut_after.add(Greedy).add(TopK::new(1));
    // Greedy chose index 1, of which top-k left only index 0.
    assert!(matches!(cut_after.sample(&[0.0, 1.0]), Err(Error::NothingSelected { .. })));
}

#[test]
fn parameters_are_checked() {
    let bad = |change: fn(&mut SamplerParams)| {
        let mut params = SamplerParams::default();
        change(&mut params);
        match Chain::from_params(&params, 8) {
            Err(Error::Param { name, .. }) => name,
            other => panic!("expected a refusal, got {other:?}"),
        }
    };
    assert_eq!(bad(|p| p.penalty_repeat = 0.0), "penalty_repeat");
    assert_eq!(bad(|p| p.penalty_repeat = 1e-40), "penalty_repeat");
    assert_eq!(bad(|p| p.penalty_repeat = f32::NAN), "penalty_repeat");
    assert_eq!(bad(|p| p.penalty_freq = f32::INFINITY), "penalty_freq");
    assert_eq!(bad(|p| p.penalty_present = f32::NAN), "penalty_present");
    assert_eq!(bad(|p| p.temp = f32::NAN), "temp");
    assert_eq!(bad(|p| p.top_p = f32::NAN), "top_p");
    assert_eq!(bad(|p| p.min_p = f32::NAN), "min_p");
}

#[test]
fn the_penalties_see_what_the_chain_chose() {
    let mut params = SamplerParams { temp: 0.0, penalty_present: 100.0, ..SamplerParams::default() };
    params.top_k = 1;
    let mut chain = Chain::from_params(&params, 4).unwrap();
    let row = [4.0, 3.0, 2.0, 1.0];
    let tokens: Vec<_> = (0..4).map(|_| chain.sample(&row).unwrap()).collect();
    assert_eq!(tokens, [0, 1, 2, 3]);
    let mut empty = Candidates::new();
    assert!(Greedy.apply(&mut empty).is_err());
}
