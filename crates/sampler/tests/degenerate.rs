//! What no model should produce: every sampler and random chains on empty, infinite and broken candidates. Results or
//! errors as documented, never a panic.

mod common;

use std::collections::HashSet;
use std::sync::Arc;

use common::{Texts, logit};
use proptest::prelude::*;
use quipu_sampler::{
    AdaptiveP, BudgetParams, BudgetState, Candidates, Chain, Dist, Dry, Error, GenerationSampler, Grammar,
    GrammarParams, Greedy, Infill, LogitBias, MinP, Mirostat, MirostatV2, Penalties, Pieces, ReasoningBudget,
    Sampler, SamplerKind, SamplerParams, Temp, TempExt, TokenData, TokenId, TopK, TopNSigma, TopP, Triggers,
    Typical, Vocabulary, Xtc,
};
use quipu_testing::SplitMix;

const INF: f32 = f32::INFINITY;
const NAN: f32 = f32::NAN;

type Named = (String, Box<dyn Sampler>);

fn vocabulary(n: usize) -> Arc<dyn Vocabulary> {
    let mut texts: Vec<Vec<u8>> = (0..n).map(|i| format!("{}", i % 10 + i / 10 * 7).into_bytes()).collect();
    if n > 1 {
        texts[n - 1] = b"</s>".to_vec();
    }
    Arc::new(Texts(texts))
}

/// Every sampler, each with sane and with strange parameters.
fn all_samplers(vocabulary: &Arc<dyn Vocabulary>) -> Vec<Named> {
    let n = vocabulary.n_tokens();
    let breakers = ["1".to_owned(), String::new()];
    let pieces = Arc::new(Pieces::new(Arc::clone(vocabulary)));
    let mut all: Vec<Named> = Vec::new();
    let mut add = |name: String, sampler: Box<dyn Sampler>| all.push((name, sampler));
    add("greedy".into(), Box::new(Greedy));
    add("dist".into(), Box::new(Dist::new(1)));
    for k in [0, -1, 1, 2, 40, 200, i32::MAX, i32::MIN] {
        add(format!("top-k {k}"), Box::new(TopK::new(k)));
    }
    let odd = [0.0, 0.5, 0.999, 1.0, -1.0, 2.0, INF, -INF, NAN, f32::MAX, f32::MIN_POSITIVE];
    for x in odd {
        for keep in [0, 1, 5, usize::MAX] {
            add(format!("top-p {x} {keep}"), Box::new(TopP::new(x, keep)));
            add(format!("min-p {x} {keep}"), Box::new(MinP::new(x, keep)));
            add(format!("typical {x} {keep}"), Box::new(Typical::new(x, keep)));
            add(format!("xtc {x} {keep}"), Box::new(Xtc::new(x, 0.1, keep, 1)));
            add(format!("xtc 1 {x} {keep}"), Box::new(Xtc::new(1.0, x, keep, 1)));
        }
        add(format!("temp {x}"), Box::new(Temp::new(x)));
        add(format!("top-n-sigma {x}"), Box::new(TopNSigma::new(x)));
        add(format!("adaptive-p {x}"), Box::new(AdaptiveP::new(x, 0.9, 1)));
        add(format!("adaptive-p 0.3 {x}"), Box::new(AdaptiveP::new(0.3, x, 1)));
        for y in odd {
            add(format!("temp-ext {x} {y}"), Box::new(TempExt::new(x, y, 1.0)));
            add(format!("temp-ext 1 {x} {y}"), Box::new(TempExt::new(1.0, x, y)));
            add(format!("mirostat {x} {y}"), Box::new(Mirostat::new(n, 1, x, y, 100)));
            add(format!("mirostat-v2 {x} {y}"), Box::new(MirostatV2::new(1, x, y)));
            add(format!("penalties {x} {y}"), Box::new(Penalties::new(n, 64, x, y, y)));

            add(format!("dry {x} {y}"), Box::new(Dry::new(vocabulary.as_ref(), x, y, 1, 64, &breakers)));
        }
    }
    for m in [i32::MIN, -1, 0, 1, i32::MAX] {
        add(format!("mirostat m {m}"), Box::new(Mirostat::new(n, 1, 5.0, 0.1, m)));
        add(format!("penalties last {m}"), Box::new(Penalties::new(n, m.min(1 << 20), 1.1, 0.1, 0.1)));
        let dry = Dry::new(vocabulary.as_ref(), 1.0, 1.75, m, m.min(1 << 20), &breakers);
        add(format!("dry last {m}"), Box::new(dry));
    }
    add("mirostat of nothing".into(), Box::new(Mirostat::new(0, 1, 5.0, 0.1, 100)));
    let biases = [(0, INF), (0, -INF), (1, NAN), (TokenId::MAX, 1.0), (1 << 31, 1.0)];
    add("logit-bias".into(), Box::new(LogitBias::new(&biases)));
    add("logit-bias of nothing".into(), Box::new(LogitBias::new(&[])));
    add("infill".into(), Box::new(Infill::new(Arc::clone(vocabulary))));
    for text in ["root ::= [0-9]+", "root ::= \"\"", "root ::= \"x\""] {
        add(format!("grammar {text}"), Box::new(Grammar::new(&pieces, text, "root").unwrap()));
    }
    let triggers =
        Triggers { words: vec!["3".into()], tokens: vec![TokenId::MAX], patterns: vec![String::new()] };
    add(
        "lazy grammar".into(),
        Box::new(Grammar::lazy(&pieces, "root ::= [0-9]+", "root", &triggers).unwrap()),
    );
    for forced in [vec![], vec![0], vec![TokenId::MAX, 99]] {
        let params = BudgetParams { start: vec![vec![0]], end: vec![vec![1]], forced, budget: 0 };
        let budget = ReasoningBudget::new(params, Some(Arc::clone(vocabulary)), BudgetState::Counting);
        add("reasoning-budget".into(), Box::new(budget));
    }
    add("chain of nothing".into(), Box::new(Chain::new()));
    all
}

fn candidates(logits: &[f32]) -> Candidates {
    Candidates::from_logits(logits)
}

/// Candidate arrays that a caller can make, broken in every way.
fn strange_candidates() -> Vec<(String, Candidates)> {
    let mut out = vec![
        ("nothing".into(), candidates(&[])),
        ("one".into(), candidates(&[1.0])),
        ("one, -inf".into(), candidates(&[-INF])),
        ("one, +inf".into(), candidates(&[INF])),
        ("one, NaN".into(), candidates(&[NAN])),
    ];
    for n in [2, 5, 40, 150, 2000] {
        for (name, logits) in [
            ("equal", vec![1.0; n]),
            ("all -inf", vec![-INF; n]),
            ("all +inf", vec![INF; n]),
            ("all NaN", vec![NAN; n]),
            ("one +inf", (0..n).map(|i| if i == n / 2 { INF } else { i as f32 }).collect()),
            ("one -inf", (0..n).map(|i| if i == n / 2 { -INF } else { i as f32 }).collect()),
            ("one finite", (0..n).map(|i| if i == n / 2 { 0.0 } else { -INF }).collect()),
            ("one NaN", (0..n).map(|i| if i == n / 2 { NAN } else { i as f32 }).collect()),
            ("both infinities", (0..n).map(|i| if i % 2 == 0 { INF } else { -INF }).collect()),
            ("largest numbers", (0..n).map(|i| if i % 2 == 0 { f32::MAX } else { f32::MIN }).collect()),
            ("smallest numbers", (0..n).map(|i| f32::from_bits(i as u32)).collect()),
        ] {
            let c: Candidates = candidates(&logits);
            let mut sorted = c.clone();
            sorted.sorted = true;
            sorted.selected = Some(n + 7);
            out.push((format!("{name} {n}, said to be sorted"), sorted));
            let mut ids = c.clone();
            for (i, d) in ids.data.iter_mut().enumerate() {
                d.id = [TokenId::MAX, i32::MAX as TokenId, 1 << 31, 0][i % 4];
                d.p = [NAN, INF, -1.0, 0.5][i % 4];
            }
            out.push((format!("{name} {n}, strange ids"), ids));
            out.push((format!("{name} {n}"), c));
        }
    }
    out
}

/// Ids only ever come from the candidates given, and a selection lies within them, unless the sampler's business is
/// to make one (infill) or the caller's selection was wrong to begin with.
fn check(name: &str, on: &str, before: &Candidates, after: &Candidates, done: &Result<(), Error>) {
    if name != "infill" {
        let ids: HashSet<TokenId> = before.data.iter().map(|d| d.id).collect();
        assert!(after.data.iter().all(|d| ids.contains(&d.id)), "{name} on {on}");
    }
    if done.is_ok() && after.selected != before.selected {
        assert!(after.selected.is_none_or(|i| i < after.data.len()), "{name} on {on}: {:?}", after.selected);
    }
    if let Err(error) = done {
        assert!(!error.to_string().is_empty());
        assert!(
            matches!(
                error,
                Error::EmptyCandidates { .. } | Error::NoEndToken | Error::GrammarRejected { .. }
            ),
            "{name} on {on}: {error}"
        );
    }
}

#[test]
fn every_sampler_on_every_strange_array() {
    let strange = strange_candidates();
    for n in [1, 2, 2000] {
        for (name, mut sampler) in all_samplers(&vocabulary(n)) {
            let few: &[(String, Candidates)] =
                if name.contains("ext") || name.contains("mirostat") { &strange[..80] } else { &strange };
            for (on, before) in few {
                let mut after = before.clone();
                let done = sampler.apply(&mut after);
                check(&name, on, before, &after, &done);
            }
            for token in [0, 1, TokenId::MAX, i32::MAX as TokenId, 1 << 31, 0, 0, 3] {
                sampler.accept(token);
            }
            let mut copy = sampler.clone_box();
            for (on, before) in strange.iter().take(20) {
                let (mut one, mut two) = (before.clone(), before.clone());
                let done = sampler.apply(&mut one);
                check(&name, on, before, &one, &done);
                // A copy does the same; bits, because NaN is not itself.
                assert_eq!(copy.apply(&mut two).is_ok(), done.is_ok(), "{name} on {on}");
                if !name.starts_with("adaptive-p") {
                    let bits = |c: &Candidates| -> Vec<_> {
                        c.data.iter().map(|d: &TokenData| (d.id, d.logit.to_bits(), d.p.to_bits())).collect()
                    };
                    assert_eq!((bits(&one), one.selected), (bits(&two), two.selected), "{name} on {on}");
                }
            }
            sampler.reset();
            let _ = sampler.apply(&mut candidates(&[1.0, 2.0, 3.0]));
        }
    }
}

/// The documented answer of each sampler to an empty array.
#[test]
fn nothing_to_choose_from() {
    let refuses = ["greedy", "top-p", "typical", "mirostat", "adaptive-p", "infill"];
    for (name, mut sampler) in all_samplers(&vocabulary(8)) {
        let done = sampler.apply(&mut Candidates::new());
        let disabled = sampler.is_disabled();
        let expected = !disabled && refuses.iter().any(|r| name.starts_with(r));
        match done {
            Err(Error::EmptyCandidates { .. }) => assert!(expected, "{name}"),
            other => assert!(!expected && other == Ok(()), "{name}: {other:?}"),
        }
    }
}

fn params(temp: f32) -> SamplerParams {
    SamplerParams { seed: 3, temp, ..SamplerParams::default() }
}

/// What a chain answers to a row of logits.
#[test]
fn rows_and_their_answers() {
    let draw = |row: &[f32], temp| Chain::from_params(&params(temp), row.len()).unwrap().sample(row);
    let only = |sampler: Box<dyn Sampler>, row: &[f32]| Chain::new().add(sampler).sample(row);
    for temp in [0.0, 0.8] {
        assert_eq!(draw(&[], temp), Err(Error::EmptyCandidates { sampler: "chain" }));
        assert_eq!(draw(&[1.0, NAN, NAN], temp), Err(Error::NanLogit { token: 1 }));
        assert_eq!(draw(&[-NAN], temp), Err(Error::NanLogit { token: 0 }));
        for alone in [0.0, INF, -INF, f32::MAX, f32::MIN] {
            assert_eq!(draw(&[alone], temp), Ok(0), "{alone} {temp}");
        }
        assert_eq!(draw(&[-INF, 2.0, -INF], temp), Ok(1));
        assert!((0..3).contains(&draw(&[-INF; 3], temp).unwrap()));
        assert!((0..3).contains(&draw(&[INF; 3], temp).unwrap()));
        assert!((0..3).contains(&draw(&[0.0, INF, -INF], temp).unwrap()));
    }
    assert_eq!(only(Box::new(Greedy), &[-INF; 3]), Ok(0));
    assert_eq!(only(Box::new(Greedy), &[0.0, INF, INF]), Ok(1));
    // No probability is a number: the last one, as the reference's release build.
    assert_eq!(only(Box::new(Dist::new(1)), &[-INF; 3]), Ok(2));
    assert_eq!(only(Box::new(Dist::new(1)), &[INF, 0.0, 0.0]), Ok(2));
    for k in [0, -1] {
        let mut chain = Chain::new();
        chain.add(TopK::new(k)).add(Greedy);
        assert_eq!(chain.sample(&[0.0, 5.0, 1.0]), Ok(1));
        assert_eq!(chain.candidates().data.len(), 3, "k = {k} keeps all");
    }
    assert!(matches!(Chain::new().sample(&[1.0]), Err(Error::NothingSelected { n_candidates: 1, .. })));
    let mut filters = Chain::new();
    filters.add(TopK::new(1));
    assert!(matches!(filters.sample(&[1.0, 2.0]), Err(Error::NothingSelected { n_candidates: 1, .. })));
}

#[test]
fn a_vocabulary_of_one_and_none() {
    for texts in [&["a"][..], &["</s>"], &[""], &[]] {
        let vocabulary = Texts::shared(texts);
        for grammar in [None, Some("root ::= \"a\"*"), Some("root ::= \"\""), Some("root ::= <[0]>")] {
            for kind in SamplerKind::all() {
                let params = SamplerParams {
                    samplers: vec![kind, kind],
                    ignore_eos: true,
                    dry_multiplier: 1.0,
                    adaptive_target: 0.5,
                    xtc_probability: 1.0,
                    grammar: grammar.map(GrammarParams::gbnf),
                    ..params(1.0)
                };
                let mut sampler = GenerationSampler::new(&params, &vocabulary).unwrap();
                for _ in 0..3 {
                    match sampler.sample(&vec![1.0; texts.len()]) {
                        Ok(token) => {
                            assert_eq!(token, 0);
                            let _ = sampler.accept(token, true);
                        }
                        Err(error) => assert!(
                            matches!(
                                error,
                                Error::EmptyCandidates { .. }
                                    | Error::NoTokenAllowed
                                    | Error::NoEndToken
                                    | Error::GrammarRejected { .. }
                            ),
                            "{error}"
                        ),
                    }
                }
            }
        }
    }
}

fn any_bits() -> impl Strategy<Value = f32> {
    prop_oneof![
        any::<u32>().prop_map(f32::from_bits),
        prop::sample::select(vec![0.0, -0.0, 1.0, -1.0, INF, -INF, NAN, f32::MAX, f32::MIN]),
        -20.0_f32..20.0,
    ]
}

fn any_params() -> impl Strategy<Value = SamplerParams> {
    let kinds = prop::collection::vec(prop::sample::select(SamplerKind::all().collect::<Vec<_>>()), 0..8);
    let integers = prop::collection::vec(prop_oneof![-3..300, any::<i32>()], 4);
    let numbers = prop::collection::vec(any_bits(), 18);
    (kinds, integers, numbers, -1..4, any::<u32>(), 0_usize..50).prop_map(
        |(samplers, i, x, mirostat, seed, min_keep)| SamplerParams {
            seed,
            samplers,
            top_k: i[0],
            penalty_last_n: i[1].min(1000),
            dry_penalty_last_n: i[2].min(1000),
            dry_allowed_length: i[3],
            top_p: x[0],
            min_p: x[1],
            typ_p: x[2],
            top_n_sigma: x[3],
            xtc_probability: x[4],
            xtc_threshold: x[5],
            temp: x[6],
            dynatemp_range: x[7],
            dynatemp_exponent: x[8],
            penalty_repeat: x[9],
            penalty_freq: x[10],
            penalty_present: x[11],
            dry_multiplier: x[12],
            dry_base: x[13],
            adaptive_target: x[14],
            adaptive_decay: x[15],
            mirostat_tau: x[16],
            mirostat_eta: x[17],
            mirostat,
            min_keep,
            logit_bias: vec![(0, x[0]), (i[0] as TokenId, x[1])],
            ..SamplerParams::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Any parameters make a chain or an error; any row gives a token of the row or an error; and so on from there.
    #[test]
    fn random_chains_on_random_rows(
        params in any_params(),
        rows in prop::collection::vec((0_usize..300, any::<u64>(), any_bits()), 1..6),
        grammar in prop::sample::select(vec![None, Some("root ::= [0-9]+"), Some("root ::= [0-9]{0,3} \"1\"?")]),
    ) {
        let vocabulary = vocabulary(256);
        let params = SamplerParams { grammar: grammar.map(GrammarParams::gbnf), ..params };
        let mut sampler = match GenerationSampler::new(&params, &vocabulary) {
            Ok(sampler) => sampler,
            Err(error) => {
                prop_assert!(matches!(error, Error::Param { .. }), "{}", error);
                return Ok(());
            }
        };
        for (n, seed, odd) in rows {
            let mut random = SplitMix::new(seed);
            let row: Vec<f32> =
                (0..n).map(|_| if random.index(8) == 0 { odd } else { logit(&mut random) }).collect();
            match sampler.sample(&row) {
                Ok(token) => {
                    prop_assert!((token as usize) < n.max(256));
                    let _ = sampler.accept(token, true);
                }
                Err(error) => {
                    let nan = row.iter().position(|x| x.is_nan());
                    match error {
                        Error::NanLogit { token } => prop_assert_eq!(Some(token), nan),
                        Error::EmptyCandidates { .. } | Error::NothingSelected { .. } | Error::NoTokenAllowed
                            | Error::GrammarRejected { .. } => {}
                        other => prop_assert!(false, "{}", other),
                    }
                }
            }
        }
    }
}

#[test]
fn tokens_that_are_none_are_taken_in_stride() {
    let vocabulary = vocabulary(16);
    let mut sampler = GenerationSampler::new(&params(0.8), &vocabulary).unwrap();
    for token in [1 << 31, 16, TokenId::MAX, TokenId::MIN] {
        sampler.accept(token, true).unwrap();
    }
    assert!((0..16).contains(&sampler.sample(&[0.5; 16]).unwrap()));
    // More or fewer logits than tokens.
    assert!((0..40).contains(&sampler.sample(&[0.5; 40]).unwrap()));
    assert_eq!(sampler.sample(&[0.5]), Ok(0));
}
