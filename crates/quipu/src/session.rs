//! A session: an engine with one sequence.

use std::time::Duration;

use quipu_decoder::{Context, Pooling, RopeOverrides};

use crate::TokenId;
use crate::engine::{Engine, EngineOptions};
use crate::error::Error;
use crate::model::Model;
use crate::telemetry::Metrics;

/// How to make a session (`llama_context_params`).
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// Tokens the context holds; 0 = what the model was trained for, at most 4096.
    pub n_ctx: usize,
    /// Most tokens in one decode call; with embeddings that are pooled, as many as the context holds.
    pub n_batch: usize,
    /// Most tokens computed at once; with embeddings that are pooled, as many as the context holds.
    pub n_ubatch: usize,
    /// Threads; 0 = one for each core.
    pub n_threads: usize,
    /// How rows become one embedding per text; `None`: as the model's file says, and one row per token where it does not
    /// (`pooling_type`).
    pub pooling: Option<Pooling>,
    /// Keep the final rows so that they can be read as embeddings.
    pub embeddings: bool,
    /// Rotary parameters instead of the model's own.
    pub rope: RopeOverrides,
}

impl Default for SessionOptions {
    fn default() -> Self {
        SessionOptions {
            n_ctx: 0,
            n_batch: 2048,
            n_ubatch: 512,
            n_threads: 0,
            pooling: None,
            embeddings: false,
            rope: RopeOverrides::default(),
        }
    }
}

/// Time spent in a session so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// Tokens of prompts that were computed; reused ones do not count.
    pub n_prompt: usize,
    /// Time they took.
    pub prompt: Duration,
    /// Tokens computed one by one.
    pub n_eval: usize,
    /// Time they took.
    pub eval: Duration,
}

impl Timings {
    /// Prompt tokens per second; 0 if there were none.
    pub fn prompt_per_second(&self) -> f64 {
        per_second(self.n_prompt, self.prompt)
    }

    /// Generated tokens per second; 0 if there were none.
    pub fn eval_per_second(&self) -> f64 {
        per_second(self.n_eval, self.eval)
    }
}

fn per_second(n: usize, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { n as f64 / time.as_secs_f64() }
}

/// A conversation with a model: its own cache, the model's shared weights.
#[derive(Debug)]
pub struct Session {
    pub(crate) engine: Engine,
}

impl Session {
    pub(crate) fn new(model: Model, options: &SessionOptions) -> Result<Session, Error> {
        let options = EngineOptions { n_seq_max: 1, n_ctx_seq: 0, context: options.clone() };
        Ok(Session { engine: Engine::new(model, &options)? })
    }

    /// The model.
    pub fn model(&self) -> &Model {
        self.engine.model()
    }

    /// The decoder underneath, for those who drive it themselves. Forget what this session knew with
    /// [`Session::reset`] afterwards.
    pub fn context(&mut self) -> &mut Context {
        self.engine.context()
    }

    /// Tokens the context holds at most.
    pub fn n_ctx(&self) -> usize {
        self.engine.n_ctx()
    }

    /// The tokens whose keys and values the session holds, by position.
    pub fn held_tokens(&self) -> &[TokenId] {
        self.engine.held_tokens(0)
    }

    /// Time spent so far.
    pub fn timings(&self) -> Timings {
        self.engine.timings()
    }

    /// What was counted and timed in this session so far, for the exporters of [`crate::telemetry`]. Sampling and
    /// detokenizing are timed by a [`crate::telemetry::Recorder`] only.
    pub fn metrics(&self) -> Metrics {
        self.engine.metrics()
    }

    /// Forgets everything decoded so far.
    pub fn reset(&mut self) {
        self.engine.reset();
    }

    /// Teacher-forced logits: forgets what was decoded, decodes `tokens`, and hands every position's row of
    /// `n_vocab` logits to `sink` in order.
    ///
    /// # Errors
    /// No tokens, ids outside the vocabulary, more tokens than the context holds.
    pub fn logits(&mut self, tokens: &[TokenId], mut sink: impl FnMut(&[f32])) -> Result<(), Error> {
        if tokens.is_empty() {
            return Err(Error::EmptyPrompt);
        }
        if tokens.len() > self.n_ctx() {
            return Err(Error::TooManyTokens { n_tokens: tokens.len(), n_ctx: self.n_ctx() });
        }
        self.reset();
        let n_batch = self.engine.context().params().n_batch;
        for chunk in tokens.chunks(n_batch) {
            self.engine.extend(chunk, true)?;
            for i in 0..chunk.len() {
                sink(self.engine.context().logits(i as i32)?);
            }
        }
        Ok(())
    }
}

/// One thread for each core the process may use.
pub(crate) fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
