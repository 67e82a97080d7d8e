//! A session: an engine with one sequence.

use quipu_decoder::Context;

use crate::TokenId;
use crate::engine::Engine;
use crate::error::Error;
use crate::model::Model;
use crate::options::{EngineOptions, SessionOptions};
use crate::telemetry::{Metrics, Timings};

/// A conversation with a model: its own cache, the model's shared weights.
#[derive(Debug)]
pub struct Session {
    pub(crate) engine: Engine,
}

impl Model {
    /// Makes a session: a context with its own cache (`llama_init_from_model`).
    ///
    /// # Errors
    /// A context that does not fit in memory; a model that was opened without its weights.
    pub fn session(&self, options: &SessionOptions) -> Result<Session, Error> {
        Session::new(self.clone(), options)
    }
}

impl Session {
    fn new(model: Model, options: &SessionOptions) -> Result<Session, Error> {
        let options = EngineOptions { n_seq_max: 1, context: options.clone(), ..EngineOptions::default() };
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
