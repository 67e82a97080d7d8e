//! Replays cases recorded from the reference's samplers (`parity/probes/sampler.cpp` writes both files).
//!
//! Ids, survivors, their order, logits and the chosen tokens must be equal; probabilities may differ by one unit in
//! the last place, because they go through the C library's `expf` (the recording used glibc 2.36). With another
//! `expf` a draw that falls on a boundary could also choose another token.
//!
//! `QUIPU_SAMPLER_GOLDENS` names another directory with an `expected.txt` to replay instead, `QUIPU_SAMPLER_VOCAB`
//! the GGUF file whose vocabulary its cases ask.

use std::fmt::Write as _;
use std::path::PathBuf;

use std::sync::Arc;

use quipu_sampler::{
    AdaptiveP, Candidates, Chain, Dist, Dry, Error, Grammar, Greedy, Infill, LogitBias, MinP, Mirostat,
    MirostatV2, Penalties, Pieces, Sampler, Temp, TempExt, TokenData, TokenId, TopK, TopNSigma, TopP,
    Triggers, Typical, Xtc,
};
use quipu_testing::SplitMix;

/// The probe's `logit_of`.
fn logit_of(kind: u32, r: u64, i: usize, n: usize) -> f32 {
    let u = (r >> 40) as f32 * (1.0 / 16_777_216.0);
    match kind {
        0 => u * 20.0 - 10.0,
        1 => (((r >> 33) % 9) as f32 - 4.0) * 0.5,
        2 => u * 80.0 - 40.0,
        3 if r.is_multiple_of(8) => u * 20.0 - 10.0,
        3 => f32::NEG_INFINITY,
        4 => {
            let v = u * u;
            v * v * 30.0 - 10.0
        }
        5 => 1.5,
        6 => {
            let f = f32::from_bits((r >> 32) as u32);
            if f.is_nan() { 0.0 } else { f }
        }
        7 => u * 2_000_000.0 - 1_000_000.0,
        8 => (((r >> 33) % 64) as f32 - 32.0) * 0.25,
        9 => i as f32 * 2.0_f32.powi(-10),
        10 => (n - i) as f32 * 2.0_f32.powi(-10),
        11 => i.min(n - i) as f32 * 2.0_f32.powi(-16),
        _ => [f32::NEG_INFINITY, f32::INFINITY, 0.0, -0.0, 1.0][((r >> 33) % 5) as usize],
    }
}

fn add_sampler(chain: &mut Chain, text: &str, n_vocab: usize, pieces: Option<&Arc<Pieces>>) {
    let vocab = pieces.map(|pieces| pieces.vocabulary());
    let words: Vec<&str> = text.split_whitespace().collect();
    let int = |i: usize| words[i].parse::<i32>().expect("integer argument");
    let float = |i: usize| f32::from_bits(u32::from_str_radix(words[i], 16).expect("float bits"));
    match words[0] {
        "greedy" => chain.add(Greedy),
        "dist" => chain.add(Dist::new(words[1].parse().expect("seed"))),
        "temp" => chain.add(Temp::new(float(1))),
        "top_k" => chain.add(TopK::new(int(1))),
        "top_p" => chain.add(TopP::new(float(1), int(2) as usize)),
        "min_p" => chain.add(MinP::new(float(1), int(2) as usize)),
        "penalties" => chain.add(Penalties::new(n_vocab, int(1), float(2), float(3), float(4))),
        "typical" => chain.add(Typical::new(float(1), int(2) as usize)),
        "temp_ext" => chain.add(TempExt::new(float(1), float(2), float(3))),
        "xtc" => chain.add(Xtc::new(float(1), float(2), int(3) as usize, words[4].parse().expect("seed"))),
        "top_n_sigma" => chain.add(TopNSigma::new(float(1))),
        "mirostat" => {
            let seed = words[1].parse().expect("seed");
            chain.add(Mirostat::new(n_vocab, seed, float(2), float(3), int(4)))
        }
        "mirostat_v2" => chain.add(MirostatV2::new(words[1].parse().expect("seed"), float(2), float(3))),
        "adaptive_p" => chain.add(AdaptiveP::new(float(1), float(2), words[3].parse().expect("seed"))),
        "logit_bias" => {
            let biases: Vec<_> =
                (2..words.len()).step_by(2).map(|i| (int(i) as TokenId, float(i + 1))).collect();
            chain.add(LogitBias::new(&biases))
        }
        "dry" => {
            let mut at = 6;
            let mut breakers = Vec::new();
            for _ in 0..int(5) {
                let n = int(at) as usize;
                breakers.push((at + 1..=at + n).map(|i| int(i) as TokenId).collect());
                at += n + 1;
            }
            chain.add(Dry::with_token_breakers(float(1), float(2), int(3), int(4), &breakers))
        }
        "dry_text" => {
            let breakers: Vec<Vec<u8>> = words[6..].iter().map(|hex| bytes(hex)).collect();
            let vocab = vocab.expect("a vocabulary").as_ref();
            chain.add(Dry::new(vocab, float(1), float(2), int(3), int(4), &breakers))
        }
        "infill" => chain.add(Infill::new(Arc::clone(vocab.expect("a vocabulary")))),
        "grammar" => {
            let text = plain(words[1]);
            chain.add(Grammar::new(pieces.expect("a vocabulary"), &text, "root").expect("a grammar"))
        }
        "grammar_lazy" => {
            let (patterns, tokens) = (vec![plain(words[2])], vec![int(3) as TokenId]);
            let triggers = Triggers { patterns, tokens, ..Triggers::default() };
            let pieces = pieces.expect("a vocabulary");
            chain.add(Grammar::lazy(pieces, &plain(words[1]), "root", &triggers).expect("a grammar"))
        }
        other => panic!("unknown sampler {other}"),
    };
}

fn bytes(hex: &str) -> Vec<u8> {
    let byte = |i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hexadecimal");
    (0..hex.len()).step_by(2).map(byte).collect()
}

/// A text behind an x.
fn plain(hex: &str) -> String {
    String::from_utf8(bytes(&hex[1..])).expect("UTF-8")
}

fn vocabulary() -> Option<Arc<Pieces>> {
    let path = std::env::var_os("QUIPU_SAMPLER_VOCAB")?;
    let file = quipu_gguf::GgufFile::open(std::path::Path::new(&path)).expect("a vocabulary file");
    let tokenizer = quipu_tokenizer::Tokenizer::from_gguf(file.metadata()).expect("a vocabulary");
    Some(Arc::new(Pieces::new(Arc::new(tokenizer))))
}

/// What the probe's `accept` tells the chain.
fn accept(chain: &mut Chain, token: TokenId, eog_of: Option<&Arc<Pieces>>) {
    if !eog_of.is_some_and(|pieces| pieces.vocabulary().is_eog(token)) {
        chain.accept(token);
    }
}

fn bits(f: f32) -> u32 {
    if f.is_nan() { 0x7fc0_0000 } else { f.to_bits() }
}

fn fnv(h: u64, v: u32) -> u64 {
    v.to_le_bytes().iter().fold(h, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

/// The fields of a result line up to the hash of ids and logits, and the hash of probabilities.
fn result_of(c: &Candidates, chosen: i64) -> (String, String) {
    let hash_logits = c.data.iter().fold(FNV_START, |h, d| fnv(fnv(h, d.id), bits(d.logit)));
    let hash_p = c.data.iter().fold(FNV_START, |h, d| fnv(h, bits(d.p)));
    let mut exact = String::new();
    write!(exact, "{chosen} {} {} {hash_logits:016x}", c.data.len(), u8::from(c.sorted))
        .expect("to a string");
    (exact, format!("{hash_p:016x}"))
}

/// Whether a survivor `ID:LOGIT:P` is ours, `p` up to one unit in the last place.
fn survivor_matches(word: &str, ours: TokenData) -> bool {
    let fields: Vec<&str> = word.split(':').collect();
    let hex = |i: usize| u32::from_str_radix(fields[i], 16).expect("float bits");
    fields[0] == ours.id.to_string() && hex(1) == bits(ours.logit) && hex(2).abs_diff(bits(ours.p)) <= 1
}

#[test]
fn the_reference_agrees() {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../parity/goldens/sampler");
    let dir = std::env::var_os("QUIPU_SAMPLER_GOLDENS").map_or(own, PathBuf::from);
    let text = std::fs::read_to_string(dir.join("expected.txt")).expect("recorded results");
    let pieces = vocabulary();
    let mut lines = text.lines().filter(|l| !l.starts_with('#'));

    let (mut n_cases, mut n_draws_total, mut n_p_inexact) = (0, 0, 0);
    let mut wrong = Vec::new();
    while let Some(header) = lines.next() {
        let case = header.strip_prefix("= ").expect("a case header");
        let mut parts = case.split(';');
        let head: Vec<u64> =
            parts.next().expect("head").split_whitespace().map(|w| w.parse().expect("number")).collect();
        let (n_vocab, kind, seed) = (head[0] as usize, head[1] as u32, head[2]);
        let mut chain = Chain::new();
        let mut clones = false;
        for part in parts {
            if part.trim() == "clone" {
                clones = true;
            } else {
                add_sampler(&mut chain, part, n_vocab, pieces.as_ref());
            }
        }
        let mut rng = SplitMix::new(seed);
        let eog_of = pieces.as_ref().filter(|_| case.contains("; grammar"));
        for _ in 0..head[3] {
            accept(&mut chain, (rng.next_u64() % n_vocab as u64) as TokenId, eog_of);
        }
        let mut candidates = Candidates::new();
        let mut case_ok = true;
        for draw in 0..head[4] {
            if draw == 1 && clones {
                chain = chain.clone();
            }
            let logits: Vec<f32> = (0..n_vocab).map(|i| logit_of(kind, rng.next_u64(), i, n_vocab)).collect();
            candidates.load(&logits);
            let expected = lines.next().expect("a result line");
            let applied = chain.apply(&mut candidates);
            if expected == "rejected" {
                case_ok &= matches!(applied, Err(Error::GrammarRejected { .. }));
                break;
            }
            applied.expect("no case is empty");
            let chosen = candidates.selected_token();
            if let Some(token) = chosen {
                accept(&mut chain, token, eog_of);
            }
            let (exact, hash_p) = result_of(&candidates, chosen.map_or(-1, i64::from));
            let expected: Vec<&str> = expected.split(' ').collect();
            let survivors = expected[5..].iter().zip(&candidates.data).all(|(w, &c)| survivor_matches(w, c));
            case_ok &= exact == expected[..4].join(" ") && survivors;
            n_p_inexact += usize::from(hash_p != expected[4]);
            n_draws_total += 1;
        }
        n_cases += 1;
        if !case_ok {
            wrong.push(case);
        }
    }
    println!(
        "{n_cases} cases, {n_draws_total} draws, {} wrong, {n_p_inexact} with other p bits",
        wrong.len()
    );
    assert!(n_cases > 0);
    let first = &wrong[..wrong.len().min(10)];
    assert!(wrong.is_empty(), "{} of {n_cases} cases differ, first: {first:#?}", wrong.len());
}
