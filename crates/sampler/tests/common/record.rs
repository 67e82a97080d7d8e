//! What the probe `common_sampler` (parity/probes) wrote: sampling parameters, and then tokens with their logits.

use std::path::Path;
use std::sync::Arc;

use quipu_sampler::{
    GenerationSampler, GrammarParams, GrammarTrigger, Pieces, SamplerKind, SamplerParams, TokenId, Vocabulary,
};

/// A record's parameters and steps.
pub struct Record<'a> {
    pub params: SamplerParams,
    grammar_first: bool,
    prompt: Vec<TokenId>,
    n_vocab: usize,
    steps: &'a [u8],
}

fn number<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("{text} is no number"))
}

fn unhex(text: &str) -> String {
    let digits = &text.as_bytes()[1..];
    let bytes = digits.chunks(2).map(|d| u8::from_str_radix(std::str::from_utf8(d).expect("ASCII"), 16));
    String::from_utf8(bytes.collect::<Result<_, _>>().expect("hexadecimal")).expect("UTF-8")
}

pub fn parse(bytes: &[u8]) -> Record<'_> {
    let mark = b"\nend\n";
    let end = bytes.windows(mark.len()).position(|w| w == mark).expect("a header");
    let header = std::str::from_utf8(&bytes[..end]).expect("UTF-8");
    let mut p = SamplerParams { dry_sequence_breakers: Vec::new(), ..SamplerParams::default() };
    let (mut grammar_first, mut prompt, mut n_vocab) = (false, Vec::new(), 0);
    let mut triggers = Vec::new();
    for line in header.lines() {
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        let float = || f32::from_bits(number(value));
        let tokens = || value.split_whitespace().map(number).collect::<Vec<TokenId>>();
        match key {
            "seed" => p.seed = number(value),
            "samplers" => {
                p.samplers = value.chars().map(|c| SamplerKind::from_letter(c).expect("known")).collect();
            }
            "top_k" => p.top_k = number(value),
            "penalty_last_n" => p.penalty_last_n = number(value),
            "dry_allowed_length" => p.dry_allowed_length = number(value),
            "dry_penalty_last_n" => p.dry_penalty_last_n = number(value),
            "mirostat" => p.mirostat = number(value),
            "min_keep" => p.min_keep = number(value),
            "n_prev" => p.n_prev = number(value),
            "ignore_eos" => p.ignore_eos = value == "1",
            "grammar_first" => grammar_first = value == "1",
            "top_p" => p.top_p = float(),
            "min_p" => p.min_p = float(),
            "typ_p" => p.typ_p = float(),
            "top_n_sigma" => p.top_n_sigma = float(),
            "xtc_probability" => p.xtc_probability = float(),
            "xtc_threshold" => p.xtc_threshold = float(),
            "temp" => p.temp = float(),
            "dynatemp_range" => p.dynatemp_range = float(),
            "dynatemp_exponent" => p.dynatemp_exponent = float(),
            "penalty_repeat" => p.penalty_repeat = float(),
            "penalty_freq" => p.penalty_freq = float(),
            "penalty_present" => p.penalty_present = float(),
            "dry_multiplier" => p.dry_multiplier = float(),
            "dry_base" => p.dry_base = float(),
            "adaptive_target" => p.adaptive_target = float(),
            "adaptive_decay" => p.adaptive_decay = float(),
            "mirostat_tau" => p.mirostat_tau = float(),
            "mirostat_eta" => p.mirostat_eta = float(),
            "breaker" => p.dry_sequence_breakers.push(unhex(value)),
            "bias" => {
                let (token, bias) = value.split_once(' ').expect("two numbers");
                p.logit_bias.push((number(token), f32::from_bits(number(bias))));
            }
            "grammar" => p.grammar = Some(GrammarParams::gbnf(unhex(value))),
            "word" => triggers.push(GrammarTrigger::Word(unhex(value))),
            "pattern" => triggers.push(GrammarTrigger::Pattern(unhex(value))),
            "full" => triggers.push(GrammarTrigger::PatternFull(unhex(value))),
            "budget" => p.reasoning.n_tokens = number(value),
            "start" => p.reasoning.start = tokens(),
            "stop" => {
                p.reasoning.end = vec![tokens()];
                p.reasoning.forced = tokens();
            }
            "prompt" => prompt = tokens(),
            "n_vocab" => n_vocab = number(value),
            other => panic!("unknown key {other}"),
        }
    }
    if let Some(grammar) = &mut p.grammar {
        grammar.lazy = !triggers.is_empty();
        grammar.triggers = triggers;
    }
    Record { params: p, grammar_first, prompt, n_vocab, steps: &bytes[end + mark.len()..] }
}

/// Samples along the record: how many tokens were the same, and the sampler behind them, or where the first other
/// one is.
pub fn replay(record: &Record<'_>, pieces: &Arc<Pieces>) -> Result<(usize, GenerationSampler), String> {
    let sampler = GenerationSampler::with_pieces(&record.params, pieces).expect("valid parameters");
    let mut sampler = sampler.grammar_first(record.grammar_first);
    for &token in &record.prompt {
        sampler.accept(token, false).expect("tokens of a prompt");
    }
    let mut n = 0;
    for step in record.steps.chunks_exact(4 * (1 + record.n_vocab)) {
        let (token, row) = step.split_at(4);
        let token = TokenId::from_le_bytes(token.try_into().expect("4 bytes"));
        let row: Vec<f32> =
            row.chunks(4).map(|x| f32::from_le_bytes(x.try_into().expect("4 bytes"))).collect();
        match sampler.sample(&row) {
            Ok(own) if own == token => {}
            other => return Err(format!("token {n} differs: {token} and {other:?}")),
        }
        sampler.accept(token, true).expect("a token that was sampled");
        n += 1;
    }
    Ok((n, sampler))
}

/// The vocabulary of a model's file.
pub fn pieces(model: &Path) -> Arc<Pieces> {
    let file = quipu_gguf::GgufFile::open(model).expect("a model");
    let tokenizer = quipu_tokenizer::Tokenizer::from_gguf(file.metadata()).expect("a vocabulary");
    let vocabulary: Arc<dyn Vocabulary> = Arc::new(tokenizer);
    Arc::new(Pieces::new(vocabulary))
}
