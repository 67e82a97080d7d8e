//! A session: one context, the tokens it holds, and what was measured on it.

use std::time::{Duration, Instant};

use quipu_decoder::{Batch, Context, ContextParams, Pooling, RopeOverrides};

use crate::TokenId;
use crate::error::Error;
use crate::generate::CancelToken;
use crate::model::Model;

/// Context length a session gets when none is asked for and the model was trained for more.
const DEFAULT_N_CTX: usize = 4096;

/// How to make a session (`llama_context_params`).
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// Tokens the context holds; 0 = what the model was trained for, at most 4096.
    pub n_ctx: usize,
    /// Most tokens in one decode call.
    pub n_batch: usize,
    /// Most tokens computed at once.
    pub n_ubatch: usize,
    /// Threads; 0 = one for each core.
    pub n_threads: usize,
    /// How rows become one embedding per text.
    pub pooling: Pooling,
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
            pooling: Pooling::None,
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
    pub(crate) model: Model,
    pub(crate) context: Context,
    /// The tokens the cache holds for sequence 0, by position.
    pub(crate) tokens: Vec<TokenId>,
    pub(crate) timings: Timings,
    batch: Batch,
}

impl Session {
    pub(crate) fn new(model: Model, options: &SessionOptions) -> Result<Session, Error> {
        let n_ctx_train = model.hparams().n_ctx_train;
        let n_ctx = if options.n_ctx == 0 { n_ctx_train.min(DEFAULT_N_CTX) } else { options.n_ctx };
        let n_threads = if options.n_threads == 0 { default_threads() } else { options.n_threads };
        let params = ContextParams {
            n_ctx,
            n_batch: options.n_batch,
            n_ubatch: options.n_ubatch,
            n_threads,
            n_threads_batch: n_threads,
            embeddings: options.embeddings,
            pooling: options.pooling,
            rope: options.rope,
            ..ContextParams::default()
        };
        let context =
            Context::with_offload(model.weights().clone(), model.device(), model.offload_device(), &params)?;
        Ok(Session {
            model,
            context,
            tokens: Vec::with_capacity(n_ctx),
            timings: Timings::default(),
            batch: Batch::new(),
        })
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The decoder underneath, for those who drive it themselves. Forget what this session knew with
    /// [`Session::reset`] afterwards.
    pub fn context(&mut self) -> &mut Context {
        &mut self.context
    }

    /// Tokens the context holds at most.
    pub fn n_ctx(&self) -> usize {
        self.context.params().n_ctx
    }

    /// Time spent so far.
    pub fn timings(&self) -> Timings {
        self.timings
    }

    /// Forgets everything decoded so far.
    pub fn reset(&mut self) {
        self.tokens.clear();
        self.context.memory_mut().clear();
    }

    /// Decodes `tokens` at the end of what the cache holds; `outputs` says whether every row's logits are
    /// wanted or only the last one's. On an error the cache keeps what was complete.
    pub(crate) fn extend(&mut self, tokens: &[TokenId], all_outputs: bool) -> Result<(), Error> {
        let start = Instant::now();
        let first = self.tokens.len();
        self.batch.clear();
        for (i, token) in tokens.iter().enumerate() {
            let output = all_outputs || i + 1 == tokens.len();
            self.batch.add(*token, (first + i) as i32, &[0], output);
        }
        let done = self.context.decode(&self.batch);
        if done.is_ok() {
            self.tokens.extend_from_slice(tokens);
        } else {
            // Complete ubatches before the failing one stay; anything else was rolled back.
            let kept = usize::try_from(self.context.memory().seq_pos_max(0) + 1).unwrap_or(0);
            let kept = kept.saturating_sub(first).min(tokens.len());
            self.tokens.extend_from_slice(&tokens[..kept]);
        }
        let spent = start.elapsed();
        if tokens.len() == 1 {
            self.timings.n_eval += 1;
            self.timings.eval += spent;
        } else {
            self.timings.n_prompt += tokens.len();
            self.timings.prompt += spent;
        }
        Ok(done?)
    }

    /// Makes the cache hold exactly `prompt`, computing only what differs from what it holds; the logits
    /// of the last token can be read afterwards.
    pub(crate) fn set_prompt(
        &mut self,
        prompt: &[TokenId],
        cancel: Option<&CancelToken>,
    ) -> Result<(), Error> {
        let Some(last) = prompt.len().checked_sub(1) else { return Err(Error::EmptyPrompt) };
        if prompt.len() >= self.n_ctx() {
            return Err(Error::PromptTooLong { n_prompt: prompt.len(), n_ctx: self.n_ctx() });
        }
        let common = self.tokens.iter().zip(&prompt[..last]).take_while(|(a, b)| a == b).count();
        if common < self.tokens.len() {
            self.context.memory_mut().seq_rm(0, common as i32, -1).map_err(quipu_decoder::Error::from)?;
            self.tokens.truncate(common);
        }
        let n_batch = self.context.params().n_batch;
        for chunk in prompt[common..].chunks(n_batch) {
            if cancel.is_some_and(CancelToken::is_raised) {
                return Err(Error::Cancelled);
            }
            self.extend(chunk, false)?;
        }
        Ok(())
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
            return Err(Error::PromptTooLong { n_prompt: tokens.len(), n_ctx: self.n_ctx() });
        }
        self.reset();
        let n_batch = self.context.params().n_batch;
        for chunk in tokens.chunks(n_batch) {
            self.extend(chunk, true)?;
            for i in 0..chunk.len() {
                sink(self.context.logits(i as i32)?);
            }
        }
        Ok(())
    }
}

/// One thread for each core the process may use.
fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
