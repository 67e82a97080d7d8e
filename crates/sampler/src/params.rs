//! Sampling parameters as data, with the defaults of the reference's command line, and the chain they describe.

use std::sync::Arc;

use crate::{
    AdaptiveP, Chain, DEFAULT_SEED, Dist, Dry, Error, GrammarParams, Infill, LogitBias, MinP, Mirostat,
    MirostatV2, Penalties, ReasoningParams, SamplerKind, Temp, TempExt, TokenId, TopK, TopNSigma, TopP,
    Typical, Vocabulary, Xtc,
};

/// Candidates from which mirostat 1.0 estimates its exponent.
const MIROSTAT_M: i32 = 100;

/// What the reference's `common_params_sampling` holds for samplers.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplerParams {
    /// Seed of the draws; [`DEFAULT_SEED`] means random.
    pub seed: u32,
    /// The filters, in order. The final draw is not among them.
    pub samplers: Vec<SamplerKind>,
    /// Candidates kept by top-k; 0 or less keeps all.
    pub top_k: i32,
    /// Total probability kept by top-p; 1 disables.
    pub top_p: f32,
    /// Least probability relative to the best; 0 disables.
    pub min_p: f32,
    /// Locally typical sampling; 1 disables.
    pub typ_p: f32,
    /// Standard deviations below the best that top-n-sigma keeps; 0 or less disables.
    pub top_n_sigma: f32,
    /// How often XTC acts; 0 disables.
    pub xtc_probability: f32,
    /// Least probability of the choices that XTC removes; above 0.5 disables.
    pub xtc_threshold: f32,
    /// Temperature; 0 or less is greedy, 1 is neutral.
    pub temp: f32,
    /// Half the width of the dynamic temperature's range; 0 disables.
    pub dynatemp_range: f32,
    /// How the entropy maps to the dynamic temperature.
    pub dynatemp_exponent: f32,
    /// Tokens that the penalties look back on; 0 disables, -1 stands for the context size and must be replaced by
    /// it by the caller (here it disables).
    pub penalty_last_n: i32,
    /// Repeat penalty; 1 is neutral.
    pub penalty_repeat: f32,
    /// Frequency penalty; 0 is neutral.
    pub penalty_freq: f32,
    /// Presence penalty; 0 is neutral.
    pub penalty_present: f32,
    /// DRY's multiplier; 0 disables.
    pub dry_multiplier: f32,
    /// DRY's base; below 1 disables.
    pub dry_base: f32,
    /// Repetitions up to this length are free.
    pub dry_allowed_length: i32,
    /// Tokens that DRY looks back on; 0 or less disables.
    pub dry_penalty_last_n: i32,
    /// Texts that end a repetition for DRY.
    pub dry_sequence_breakers: Vec<String>,
    /// Probability that adaptive-p aims at; negative only draws.
    pub adaptive_target: f32,
    /// Decay of adaptive-p's average.
    pub adaptive_decay: f32,
    /// 0, or the version of mirostat (1 or 2), which then replaces all filters but the temperature.
    pub mirostat: i32,
    /// Mirostat's target surprise in bits.
    pub mirostat_tau: f32,
    /// Mirostat's learning rate.
    pub mirostat_eta: f32,
    /// Added to the logits of tokens before everything else.
    pub logit_bias: Vec<(TokenId, f32)>,
    /// Forbids the tokens that end generation, if the vocabulary has an end of the sequence.
    pub ignore_eos: bool,
    /// Candidates that top-p, min-p, typical and XTC always keep.
    pub min_keep: usize,
    /// Accepted tokens that [`crate::GenerationSampler::history`] remembers; at least 32.
    pub n_prev: usize,
    /// What the text must be. Chains leave it aside, [`crate::GenerationSampler`] obeys it, as all that follows.
    pub grammar: Option<GrammarParams>,
    /// How long the model may think.
    pub reasoning: ReasoningParams,
    /// End of the prompt that is the beginning of the answer: the reasoning budget takes it first, and the grammar
    /// if [`GrammarParams::prefill`] says so.
    pub generation_prompt: String,
}

impl Default for SamplerParams {
    fn default() -> Self {
        Self {
            seed: DEFAULT_SEED,
            samplers: SamplerKind::default_order(),
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            typ_p: 1.0,
            top_n_sigma: -1.0,
            xtc_probability: 0.0,
            xtc_threshold: 0.1,
            temp: 0.8,
            dynatemp_range: 0.0,
            dynatemp_exponent: 1.0,
            penalty_last_n: 64,
            penalty_repeat: 1.0,
            penalty_freq: 0.0,
            penalty_present: 0.0,
            dry_multiplier: 0.0,
            dry_base: 1.75,
            dry_allowed_length: 2,
            dry_penalty_last_n: 64,
            dry_sequence_breakers: ["\n", ":", "\"", "*"].map(str::to_owned).to_vec(),
            adaptive_target: -1.0,
            adaptive_decay: 0.9,
            mirostat: 0,
            mirostat_tau: 5.0,
            mirostat_eta: 0.1,
            logit_bias: Vec::new(),
            ignore_eos: false,
            min_keep: 0,
            n_prev: 64,
            grammar: None,
            reasoning: ReasoningParams::default(),
            generation_prompt: String::new(),
        }
    }
}

impl SamplerParams {
    /// Checks what the reference's `common_sampler_init` checks, and that no float is NaN.
    ///
    /// # Errors
    /// [`Error::Param`] names the first parameter out of its domain.
    pub fn validate(&self) -> Result<(), Error> {
        let check = |ok: bool, name, value, expected| {
            if ok { Ok(()) } else { Err(Error::Param { name, value, expected }) }
        };
        let repeat = self.penalty_repeat;
        let repeat_ok = repeat.is_finite() && repeat > 0.0 && (1.0 / repeat).is_finite();
        check(repeat_ok, "penalty_repeat", repeat, "a finite number above 0 with a finite inverse")?;
        check(self.penalty_freq.is_finite(), "penalty_freq", self.penalty_freq, "a finite number")?;
        check(self.penalty_present.is_finite(), "penalty_present", self.penalty_present, "a finite number")?;
        let numbers = [
            ("top_p", self.top_p),
            ("min_p", self.min_p),
            ("typ_p", self.typ_p),
            ("top_n_sigma", self.top_n_sigma),
            ("xtc_probability", self.xtc_probability),
            ("xtc_threshold", self.xtc_threshold),
            ("temp", self.temp),
            ("dynatemp_range", self.dynatemp_range),
            ("dynatemp_exponent", self.dynatemp_exponent),
            ("dry_multiplier", self.dry_multiplier),
            ("dry_base", self.dry_base),
            ("adaptive_target", self.adaptive_target),
            ("adaptive_decay", self.adaptive_decay),
            ("mirostat_tau", self.mirostat_tau),
            ("mirostat_eta", self.mirostat_eta),
        ];
        for (name, value) in numbers {
            check(!value.is_nan(), name, value, "a number")?;
        }
        for &(_, bias) in &self.logit_bias {
            check(!bias.is_nan(), "logit_bias", bias, "a number")?;
        }
        check((0..=2).contains(&self.mirostat), "mirostat", self.mirostat as f32, "0, 1 or 2")
    }
}

impl SamplerParams {
    /// Takes what a model's file says about sampling, so it must come before what a user says
    /// (`common_init_sampler_from_model`). `value` is asked for metadata keys under `general.sampling.` and answers
    /// with the value's text. What is no number, and samplers of unknown names, are passed over, as in the reference.
    pub fn take_model_defaults(&mut self, value: impl Fn(&str) -> Option<String>) {
        let value = |name: &str| value(&format!("general.sampling.{name}"));
        let number = |name: &str, place: &mut f32| {
            if let Some(number) = value(name).and_then(|text| text.trim().parse().ok()) {
                *place = number;
            }
        };
        let integer = |name: &str, place: &mut i32| {
            let text = value(name);
            let whole =
                text.as_deref().map(|text| text.trim().split_once('.').map_or(text, |(whole, _)| whole));
            if let Some(number) = whole.and_then(|text| text.trim().parse().ok()) {
                *place = number;
            }
        };
        if let Some(names) = value("sequence") {
            self.samplers = names.split(';').filter_map(|name| SamplerKind::from_name(name).ok()).collect();
        }
        integer("top_k", &mut self.top_k);
        number("top_p", &mut self.top_p);
        number("min_p", &mut self.min_p);
        number("xtc_probability", &mut self.xtc_probability);
        number("xtc_threshold", &mut self.xtc_threshold);
        number("temp", &mut self.temp);
        integer("penalty_last_n", &mut self.penalty_last_n);
        number("penalty_repeat", &mut self.penalty_repeat);
        integer("mirostat", &mut self.mirostat);
        number("mirostat_tau", &mut self.mirostat_tau);
        number("mirostat_eta", &mut self.mirostat_eta);
    }
}

impl Chain {
    /// The chain that `params` describe for a vocabulary of `n_vocab` tokens, of which nothing else is known (`ignore_eos`
    /// does nothing).
    /// With `temp <= 0` the draw sees one candidate above `-inf`, so it is greedy.
    ///
    /// # Errors
    /// As [`SamplerParams::validate`]; [`Error::NoVocabulary`] for infill, and for DRY with sequence breakers.
    pub fn from_params(params: &SamplerParams, n_vocab: usize) -> Result<Self, Error> {
        build(params, n_vocab, None)
    }

    /// The chain that `params` describe (`common_sampler_init` without its grammar).
    ///
    /// # Errors
    /// As [`SamplerParams::validate`].
    pub fn with_vocabulary(params: &SamplerParams, vocabulary: &Arc<dyn Vocabulary>) -> Result<Self, Error> {
        build(params, vocabulary.n_tokens(), Some(vocabulary))
    }
}

fn build(
    params: &SamplerParams,
    n_vocab: usize,
    vocab: Option<&Arc<dyn Vocabulary>>,
) -> Result<Chain, Error> {
    params.validate()?;
    let mut chain = Chain::new();
    let biases = biases(params, vocab.map(AsRef::as_ref));
    if !biases.is_empty() {
        chain.add(LogitBias::new(&biases));
    }
    if params.mirostat != 0 {
        chain.add(Temp::new(params.temp));
        let (seed, tau, eta) = (params.seed, params.mirostat_tau, params.mirostat_eta);
        if params.mirostat == 1 {
            chain.add(Mirostat::new(n_vocab, seed, tau, eta, MIROSTAT_M));
        } else {
            chain.add(MirostatV2::new(seed, tau, eta));
        }
        return Ok(chain);
    }
    for kind in &params.samplers {
        add(&mut chain, *kind, params, n_vocab, vocab)?;
    }
    if params.samplers.contains(&SamplerKind::AdaptiveP) {
        chain.add(AdaptiveP::new(params.adaptive_target, params.adaptive_decay, params.seed));
    } else {
        chain.add(Dist::new(params.seed));
    }
    Ok(chain)
}

/// The biases asked for, then those against ending, then those against what the model's file suppresses.
fn biases(params: &SamplerParams, vocab: Option<&dyn Vocabulary>) -> Vec<(TokenId, f32)> {
    let mut biases = params.logit_bias.clone();
    let Some(vocab) = vocab else { return biases };
    let never = |token: TokenId| (token, f32::NEG_INFINITY);
    if params.ignore_eos && vocab.end_of_sequence().is_some() {
        let n_tokens = TokenId::try_from(vocab.n_tokens()).unwrap_or(TokenId::MAX);
        biases.extend((0..n_tokens).filter(|&token| vocab.is_eog(token)).map(never));
    }
    biases.extend(vocab.suppressed().into_iter().map(never));
    biases
}

fn add(
    chain: &mut Chain,
    kind: SamplerKind,
    params: &SamplerParams,
    n_vocab: usize,
    vocab: Option<&Arc<dyn Vocabulary>>,
) -> Result<(), Error> {
    let p = params;
    match kind {
        SamplerKind::Penalties => chain.add(Penalties::new(
            n_vocab,
            p.penalty_last_n,
            p.penalty_repeat,
            p.penalty_freq,
            p.penalty_present,
        )),
        SamplerKind::Dry => chain.add(dry(params, vocab)?),
        SamplerKind::TopNSigma => chain.add(TopNSigma::new(p.top_n_sigma)),
        SamplerKind::TopK => chain.add(TopK::new(p.top_k)),
        SamplerKind::TypicalP => chain.add(Typical::new(p.typ_p, p.min_keep)),
        SamplerKind::TopP => chain.add(TopP::new(p.top_p, p.min_keep)),
        SamplerKind::MinP => chain.add(MinP::new(p.min_p, p.min_keep)),
        SamplerKind::Xtc => chain.add(Xtc::new(p.xtc_probability, p.xtc_threshold, p.min_keep, p.seed)),
        SamplerKind::Temperature => chain.add(TempExt::new(p.temp, p.dynatemp_range, p.dynatemp_exponent)),
        SamplerKind::Infill => {
            let vocab = vocab.ok_or(Error::NoVocabulary { sampler: "infill" })?;
            chain.add(Infill::new(Arc::clone(vocab)))
        }
        // It takes the place of the final draw.
        SamplerKind::AdaptiveP => chain,
    };
    Ok(())
}

fn dry(p: &SamplerParams, vocab: Option<&Arc<dyn Vocabulary>>) -> Result<Dry, Error> {
    let (length, last_n) = (p.dry_allowed_length, p.dry_penalty_last_n);
    let disabled = p.dry_multiplier == 0.0 || p.dry_base < 1.0 || last_n <= 0;
    match vocab {
        Some(vocab) => {
            let breakers = &p.dry_sequence_breakers;
            Ok(Dry::new(vocab.as_ref(), p.dry_multiplier, p.dry_base, length, last_n, breakers))
        }
        None if disabled || p.dry_sequence_breakers.is_empty() => {
            Ok(Dry::with_token_breakers(p.dry_multiplier, p.dry_base, length, last_n, &[]))
        }
        None => Err(Error::NoVocabulary { sampler: "dry" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_says_how_it_is_sampled() {
        let mut params = SamplerParams::default();
        params.take_model_defaults(|_| None);
        assert_eq!(params, SamplerParams::default());
        params.take_model_defaults(|key| {
            let text = match key.strip_prefix("general.sampling.")? {
                "sequence" => "temperature;what;top_k",
                "top_k" => "20",
                "penalty_last_n" => "7.000000",
                "temp" => "0.600000",
                "top_p" => "much",
                "mirostat" => "x",
                _ => return None,
            };
            Some(text.to_owned())
        });
        let want = SamplerParams {
            samplers: vec![SamplerKind::Temperature, SamplerKind::TopK],
            top_k: 20,
            penalty_last_n: 7,
            temp: 0.6,
            ..SamplerParams::default()
        };
        assert_eq!(params, want);
    }
}
