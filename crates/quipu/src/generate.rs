//! From a prompt to text: prefill, the decode loop, and all the ways it can end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use quipu_sampler::{GenerationSampler, SamplerParams, Vocabulary};

use crate::TokenId;
use crate::error::Error;
use crate::session::Session;
use crate::stop::{StopMatcher, Verdict};

/// Whether a sink wants more text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    Continue,
    /// Stop here.
    Stop,
}

/// Raised from any thread, it ends a generation within a token or between two pieces of a prompt.
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// A token that is not raised.
    pub fn new() -> CancelToken {
        CancelToken::default()
    }

    /// Asks the generation to end.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody asked.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What to generate.
#[derive(Clone, Debug)]
pub struct GenerateOptions {
    /// Most tokens to generate; `None` = until the model or the context ends.
    pub max_tokens: Option<usize>,
    /// Sampling parameters, with llama.cpp's defaults; the same seed gives the same text.
    pub sampling: SamplerParams,
    /// Strings that end the text and are not part of it.
    pub stop: Vec<String>,
    /// Read the text of control tokens in the prompt as those tokens.
    pub parse_special: bool,
    /// Go on past end-of-generation tokens.
    pub ignore_eog: bool,
    /// Ends the generation from outside.
    pub cancel: Option<CancelToken>,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        GenerateOptions {
            max_tokens: None,
            sampling: SamplerParams::default(),
            stop: Vec::new(),
            parse_special: true,
            ignore_eog: false,
            cancel: None,
        }
    }
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The model produced an end-of-generation token.
    EndOfGeneration,
    /// [`GenerateOptions::max_tokens`] was reached.
    MaxTokens,
    /// A stop string appeared.
    StopString,
    /// The context is full.
    ContextFull,
    /// The sink asked to stop.
    Sink,
    /// The cancel token was raised.
    Cancelled,
}

/// What a generation did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The generated text, without stop strings.
    pub text: String,
    /// The generated tokens, an ending end-of-generation token included.
    pub tokens: Vec<TokenId>,
    /// Tokens of the prompt.
    pub n_prompt: usize,
    /// Tokens generated.
    pub n_generated: usize,
    /// Why it ended.
    pub stop: StopReason,
}

impl Session {
    /// Continues `prompt`. What the session decoded before is reused as far as the prompt begins with it.
    /// Pieces of text, always whole characters, go to `sink` as soon as they are certain.
    ///
    /// # Errors
    /// An empty or too long prompt, bad sampling parameters, a failed computation. The session stays usable.
    pub fn generate(
        &mut self,
        prompt: &str,
        options: &GenerateOptions,
        sink: impl FnMut(&str) -> Flow,
    ) -> Result<Outcome, Error> {
        let tokens = self.model.tokenizer()?.encode(prompt, true, options.parse_special)?;
        self.generate_from(&tokens, options, sink)
    }

    /// As [`Session::generate`], from tokens.
    ///
    /// # Errors
    /// As [`Session::generate`]; also token ids outside the vocabulary.
    pub fn generate_from(
        &mut self,
        prompt: &[TokenId],
        options: &GenerateOptions,
        sink: impl FnMut(&str) -> Flow,
    ) -> Result<Outcome, Error> {
        self.context.set_abort_callback(options.cancel.clone().map(|cancel| {
            let raised: Box<dyn Fn() -> bool + Send + Sync> = Box::new(move || cancel.is_raised());
            raised
        }));
        let done = self.continue_prompt(prompt, options, sink);
        // A token raised after the fact must not stop what comes next.
        self.context.set_abort_callback(None);
        done
    }

    fn continue_prompt(
        &mut self,
        prompt: &[TokenId],
        options: &GenerateOptions,
        mut sink: impl FnMut(&str) -> Flow,
    ) -> Result<Outcome, Error> {
        let tokenizer = self.model.tokenizer()?.clone();
        let mut sampling = options.sampling.clone();
        if sampling.penalty_last_n < 0 {
            sampling.penalty_last_n = self.n_ctx() as i32;
        }
        let vocabulary: Arc<dyn Vocabulary> = Arc::new(tokenizer.clone());
        let mut sampler = GenerationSampler::new(&sampling, &vocabulary)?;
        for token in prompt {
            sampler.accept(*token as i32, false)?;
        }
        let cancel = options.cancel.as_ref();
        let mut out = Outcome {
            text: String::new(),
            tokens: Vec::new(),
            n_prompt: prompt.len(),
            n_generated: 0,
            stop: StopReason::MaxTokens,
        };
        let mut decoder = tokenizer.stream(false);
        let mut stops = StopMatcher::new(&options.stop);
        let max_tokens = options.max_tokens.unwrap_or(usize::MAX);
        let mut emit = |text: &mut String, piece: &str| -> Flow {
            text.push_str(piece);
            if piece.is_empty() { Flow::Continue } else { sink(piece) }
        };

        if let Err(error) = self.set_prompt(prompt, cancel) {
            return if cancel.is_some_and(CancelToken::is_raised) {
                Ok(Outcome { stop: StopReason::Cancelled, ..out })
            } else {
                Err(error)
            };
        }
        let mut ended_by_stop_string = false;
        while out.n_generated < max_tokens {
            if cancel.is_some_and(CancelToken::is_raised) {
                out.stop = StopReason::Cancelled;
                break;
            }
            let token = sampler.sample(self.context.logits(-1)?)?;
            sampler.accept(token, true)?;
            let token = token as TokenId;
            out.tokens.push(token);
            out.n_generated += 1;
            if tokenizer.is_eog(token) && !options.ignore_eog {
                out.stop = StopReason::EndOfGeneration;
                break;
            }
            match stops.push(decoder.push(token)?) {
                Verdict::Emit(text) => {
                    if emit(&mut out.text, &text) == Flow::Stop {
                        out.stop = StopReason::Sink;
                        break;
                    }
                }
                Verdict::Stop(text) => {
                    emit(&mut out.text, &text);
                    out.stop = StopReason::StopString;
                    ended_by_stop_string = true;
                    break;
                }
            }
            if out.n_generated == max_tokens {
                break;
            }
            if self.tokens.len() >= self.n_ctx() {
                out.stop = StopReason::ContextFull;
                break;
            }
            if let Err(error) = self.extend(&[token], false) {
                if cancel.is_some_and(CancelToken::is_raised) {
                    out.stop = StopReason::Cancelled;
                    break;
                }
                return Err(error);
            }
        }
        if !ended_by_stop_string && out.stop != StopReason::Sink {
            let rest = match stops.push(decoder.finish()) {
                Verdict::Emit(text) | Verdict::Stop(text) => text,
            };
            let rest = rest + &stops.finish();
            emit(&mut out.text, &rest);
        }
        Ok(out)
    }
}
