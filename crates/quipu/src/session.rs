//! A session: one context, the tokens it holds, and what was measured on it.

use std::time::{Duration, Instant};

use quipu_decoder::{Batch, BatchError, Context, ContextParams, Pooling, RopeOverrides};

use crate::TokenId;
use crate::error::Error;
use crate::model::Model;
use crate::telemetry::Metrics;

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
    /// Tokens from this one on were computed after others that are forgotten since: a prompt that begins with them
    /// must compute them again.
    shifted_from: Option<usize>,
    /// What generations did in this session; the rest of [`Session::metrics`] is the context's.
    pub(crate) counts: Metrics,
    created: Instant,
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
            shifted_from: None,
            counts: Metrics::default(),
            created: Instant::now(),
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

    /// The tokens whose keys and values the session holds, by position.
    pub fn held_tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    /// Time spent so far.
    pub fn timings(&self) -> Timings {
        self.timings
    }

    /// What was counted and timed in this session so far, for the exporters of [`crate::telemetry`]. Sampling and
    /// detokenizing are timed by a [`crate::telemetry::Recorder`] only.
    pub fn metrics(&self) -> Metrics {
        let perf = self.context.perf();
        let cells = self.context.cache().cells();
        Metrics {
            load: self.model.load_time(),
            total: self.model.load_time() + self.created.elapsed(),
            n_prompt: perf.n_prompt as u64,
            t_prompt: perf.t_prompt,
            n_eval: perf.n_eval as u64,
            t_eval: perf.t_eval,
            n_graph_builds: perf.n_graph_builds as u64,
            n_reused: perf.n_reused as u64,
            n_ubatches: (perf.n_graph_builds + perf.n_reused) as u64,
            kv_used: cells.n_used() as u64,
            n_cells: cells.len() as u64,
            ..self.counts
        }
    }

    /// Forgets everything decoded so far.
    pub fn reset(&mut self) {
        self.tokens.clear();
        self.shifted_from = None;
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
        self.counts.n_decode += u64::from(done.is_ok());
        self.counts.n_tokens_max = self.counts.n_tokens_max.max(self.tokens.len() as u64);
        if tokens.len() == 1 {
            self.timings.n_eval += 1;
            self.timings.eval += spent;
        } else {
            self.timings.n_prompt += tokens.len();
            self.timings.prompt += spent;
        }
        Ok(done?)
    }

    /// Refuses prompts that cannot be computed, before anything is.
    pub(crate) fn check_prompt(&self, prompt: &[TokenId]) -> Result<(), Error> {
        if prompt.is_empty() {
            return Err(Error::EmptyPrompt);
        }
        if prompt.len() >= self.n_ctx() {
            return Err(Error::PromptTooLong { n_prompt: prompt.len(), n_ctx: self.n_ctx() });
        }
        let n_vocab = self.model.hparams().n_vocab;
        match prompt.iter().position(|token| *token as usize >= n_vocab) {
            Some(index) => {
                let error = BatchError::InvalidToken { index, token: prompt[index], n_vocab };
                Err(quipu_decoder::Error::from(error).into())
            }
            None => Ok(()),
        }
    }

    /// Makes the cache hold nothing but the longest beginning of `prompt` that it holds already, and returns its
    /// length. The last token is never part of it: its logits are to be computed.
    pub(crate) fn begin_prompt(&mut self, prompt: &[TokenId]) -> Result<usize, Error> {
        let reusable = self.shifted_from.take().unwrap_or(usize::MAX).min(prompt.len().saturating_sub(1));
        let held = self.tokens.iter().zip(&prompt[..reusable]);
        let common = held.take_while(|(a, b)| a == b).count();
        if common == self.tokens.len() {
            return Ok(common);
        }
        let removed = self.context.memory_mut().seq_rm(0, common as i32, -1);
        if !removed.map_err(quipu_decoder::Error::from)? {
            // A memory that cannot go back to the common beginning starts anew.
            self.reset();
            return Ok(0);
        }
        self.tokens.truncate(common);
        Ok(common)
    }

    /// Forgets `n_discard` tokens after the first `n_keep`; those behind them move up.
    pub(crate) fn shift(&mut self, n_keep: usize, n_discard: usize) -> Result<(), Error> {
        let (keep, end, n_past) = (n_keep as i32, (n_keep + n_discard) as i32, self.tokens.len() as i32);
        let memory = self.context.memory_mut();
        memory.seq_rm(0, keep, end).map_err(quipu_decoder::Error::from)?;
        self.tokens.drain(n_keep..n_keep + n_discard);
        self.shifted_from = Some(self.shifted_from.unwrap_or(usize::MAX).min(n_keep));
        memory.seq_add(0, end, n_past, -(n_discard as i32)).map_err(quipu_decoder::Error::from)?;
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
