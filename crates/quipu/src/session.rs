//! A session: an engine with one sequence.

use std::path::Path;

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

    /// Writes what the session holds, and the tokens it was made of, to a sequence file, as the reference's `llama_state_seq_save_file`.
    /// The file appears when it is complete. Tokens behind a context shift are left out: nobody could go on from them.
    ///
    /// # Errors
    /// The file cannot be written; what was under its name is still there then.
    pub fn save_state(&mut self, path: impl AsRef<Path>) -> Result<(), Error> {
        self.engine.remove_all();
        self.engine.save_slot(0, path)?;
        Ok(())
    }

    /// Reads what [`Session::save_state`] or the reference wrote, in place of all that the session held; the number of tokens. It must come
    /// from the same model in the same kind of context: sizes and types are checked, weights cannot be.
    ///
    /// # Errors
    /// A file that is none, cut off or damaged, or of another shape of model; more tokens than the context holds. The session has forgotten
    /// everything then.
    pub fn load_state(&mut self, path: impl AsRef<Path>) -> Result<usize, Error> {
        self.engine.remove_all();
        self.engine.reset();
        self.engine.restore_slot(0, path)
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
