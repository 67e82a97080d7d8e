//! What a caller asks of a generation.

use std::time::Duration;

use quipu_sampler::{Chain, SamplerParams};

use crate::generate::cancel::CancelToken;

/// What happens when the context has room for no further token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ContextFull {
    /// The generation ends with [`crate::StopReason::ContextFull`] (the reference's default).
    #[default]
    Stop,
    /// Half of the tokens after the first `n_keep` are forgotten and the rest moves up (`--context-shift`, as
    /// llama-completion does it).
    Shift {
        /// Tokens of the prompt that stay (`--keep`); a token that begins every text (BOS) is kept besides. A
        /// negative number, or one beyond the prompt, means the whole prompt.
        n_keep: i32,
    },
}

/// What to generate.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "independent switches, each one a flag of the reference")]
pub struct GenerateOptions {
    /// Most tokens to generate; `None` = until the model or the context ends.
    pub max_tokens: Option<usize>,
    /// Time for prompt and text together; `None` = no limit.
    pub time_limit: Option<Duration>,
    /// Sampling parameters, with llama.cpp's defaults; the same seed gives the same text. A grammar and a reasoning
    /// budget are among them.
    pub sampling: SamplerParams,
    /// Samplers of the caller's own instead of all that [`GenerateOptions::sampling`] describes. The generation works
    /// on a copy with their present states.
    pub chain: Option<Chain>,
    /// Strings that end the text and are not part of it.
    pub stop: Vec<String>,
    /// Read the text of control tokens in the prompt as those tokens.
    pub parse_special: bool,
    /// Show control tokens in the text (`--special`).
    pub special: bool,
    /// Never choose end-of-generation tokens: their logits become `-inf` (`--ignore-eos`; without effect on a
    /// vocabulary that has no end of sequence). A caller's own chain may choose them, and the text goes on.
    pub ignore_eog: bool,
    /// Likeliest tokens to report with each generated one ([`crate::TokenLogprobs`]); 0 = no probabilities.
    pub n_probs: usize,
    /// Take those probabilities from what the samplers left instead of from the logits.
    pub post_sampling_probs: bool,
    /// What to do when the context is full.
    pub context_full: ContextFull,
    /// Take over what the context holds of a prompt that begins alike (`cache_prompt`).
    pub cache_prompt: bool,
    /// How strongly each of the engine's adapters works ([`crate::Engine::set_adapters`]), by number; those behind the last one do not.
    pub loras: Vec<f32>,
    /// Ends the generation from outside.
    pub cancel: Option<CancelToken>,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        GenerateOptions {
            max_tokens: None,
            time_limit: None,
            sampling: SamplerParams::default(),
            chain: None,
            stop: Vec::new(),
            parse_special: true,
            special: false,
            ignore_eog: false,
            n_probs: 0,
            post_sampling_probs: false,
            context_full: ContextFull::Stop,
            cache_prompt: true,
            loras: Vec::new(),
            cancel: None,
        }
    }
}
