//! Any parameters and any bits of logits: a token of the row or an error.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use quipu_sampler::{
    GenerationSampler, GrammarParams, ReasoningParams, SamplerKind, SamplerParams, TokenId, Vocabulary,
};

/// Token `i` is the byte `i`; the last one ends generation.
struct Bytes(Vec<[u8; 1]>);

impl Vocabulary for Bytes {
    fn n_tokens(&self) -> usize {
        self.0.len()
    }

    fn piece(&self, token: TokenId) -> &[u8] {
        self.0.get(token as usize).map_or(&[], |byte| byte)
    }

    fn plain_piece(&self, token: TokenId) -> &[u8] {
        if self.is_eog(token) { &[] } else { self.piece(token) }
    }

    fn is_eog(&self, token: TokenId) -> bool {
        token as usize + 1 == self.0.len()
    }

    fn end_of_turn(&self) -> Option<TokenId> {
        TokenId::try_from(self.0.len()).ok().filter(|n| *n > 0).map(|n| n - 1)
    }

    fn tokenize(&self, text: &[u8], _parse_special: bool) -> Vec<TokenId> {
        text.iter().map(|byte| TokenId::from(*byte)).collect()
    }

    fn detokenize(&self, token: TokenId) -> Vec<u8> {
        self.piece(token).to_vec()
    }
}

/// Takes numbers from the input, zeros behind its end.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn float(&mut self) -> f32 {
        match self.byte() {
            0 => f32::NAN,
            1 => f32::INFINITY,
            2 => f32::NEG_INFINITY,
            3 => f32::from_bits(u32::from_le_bytes([self.byte(), self.byte(), self.byte(), self.byte()])),
            n => (f32::from(n) - 64.0) / 32.0,
        }
    }

    fn integer(&mut self) -> i32 {
        match self.byte() {
            0 => i32::MIN,
            1 => i32::MAX,
            n => i32::from(n) - 8,
        }
    }

    fn token(&mut self) -> TokenId {
        match self.byte() {
            0 => TokenId::MAX,
            n => TokenId::from(n),
        }
    }
}

const GRAMMARS: [&str; 5] =
    ["", "root ::= [a-z]*", "root ::= \"\"", "root ::= .{3} root | \"b\"", "root ::= !<[5]>+ <[7]>"];

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let n = usize::from(input.byte()) + 1;
    let kinds: Vec<SamplerKind> = SamplerKind::all().collect();
    let vocabulary: Arc<dyn Vocabulary> = Arc::new(Bytes((0..n).map(|i| [i as u8]).collect()));
    let samplers = (0..input.byte() % 8).map(|_| kinds[usize::from(input.byte()) % kinds.len()]).collect();
    let params = SamplerParams {
        seed: u32::from(input.byte()),
        samplers,
        top_k: input.integer(),
        top_p: input.float(),
        min_p: input.float(),
        typ_p: input.float(),
        top_n_sigma: input.float(),
        xtc_probability: input.float(),
        xtc_threshold: input.float(),
        temp: input.float(),
        dynatemp_range: input.float(),
        dynatemp_exponent: input.float(),
        penalty_last_n: input.integer().min(1 << 12),
        penalty_repeat: input.float(),
        penalty_freq: input.float(),
        penalty_present: input.float(),
        dry_multiplier: input.float(),
        dry_base: input.float(),
        dry_allowed_length: input.integer(),
        dry_penalty_last_n: input.integer().min(1 << 12),
        adaptive_target: input.float(),
        adaptive_decay: input.float(),
        mirostat: i32::from(input.byte() % 8) - 1,
        mirostat_tau: input.float(),
        mirostat_eta: input.float(),
        logit_bias: vec![(input.token(), input.float())],
        ignore_eos: input.byte() % 2 == 1,
        min_keep: usize::from(input.byte()),
        grammar: Some(GrammarParams::gbnf(GRAMMARS[usize::from(input.byte()) % GRAMMARS.len()])),
        reasoning: ReasoningParams {
            n_tokens: input.integer(),
            start: vec![input.token()],
            end: vec![vec![input.token()]],
            forced: vec![input.token(), input.token()],
            control: true,
        },
        ..SamplerParams::default()
    };
    let Ok(sampler) = GenerationSampler::new(&params, &vocabulary) else { return };
    let mut sampler = sampler.grammar_first(input.byte() % 2 == 1);
    while !input.0.is_empty() {
        let len = usize::from(input.byte());
        let row: Vec<f32> = (0..len).map(|_| input.float()).collect();
        let Ok(token) = sampler.sample(&row) else { continue };
        assert!((token as usize) < len.max(n));
        let _ = sampler.accept(token, true);
        if len % 16 == 3 {
            sampler.restart();
        }
    }
});
