//! How sessions and engines are made.

use quipu_decoder::{FlashAttn, Pooling, RopeOverrides};
use quipu_quant::DType;

/// Context length when none is asked for and the model was trained for more.
pub const DEFAULT_N_CTX: usize = 4096;

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
    /// Threads where several tokens are computed at once; 0 = as `n_threads`.
    pub n_threads_batch: usize,
    /// Type of cached keys, one of [`quipu_kv_cache::CACHE_TYPES`].
    pub type_k: DType,
    /// Type of cached values, one of [`quipu_kv_cache::CACHE_TYPES`].
    pub type_v: DType,
    /// Layers with windows keep the whole context too.
    pub swa_full: bool,
    /// How rows become one embedding per text; `None`: as the model's file says, and one row per token where it does not
    /// (`pooling_type`).
    pub pooling: Option<Pooling>,
    /// Keep the final rows so that they can be read as embeddings.
    pub embeddings: bool,
    /// How attention is computed.
    pub flash_attn: FlashAttn,
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
            n_threads_batch: 0,
            type_k: DType::F16,
            type_v: DType::F16,
            swa_full: false,
            pooling: None,
            embeddings: false,
            flash_attn: FlashAttn::Auto,
            rope: RopeOverrides::default(),
        }
    }
}

/// How to make an engine.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Sequences that may be under way at once, at most [`quipu_decoder::MAX_SEQ`] (`--parallel`).
    pub n_seq_max: usize,
    /// Tokens one sequence may have in the context, prompt included; 0 = all that the context holds, which is shared on
    /// a first come, first served basis (`--kv-unified`).
    pub n_ctx_seq: usize,
    /// What a sequence gives does not depend on the others, nor on what was computed before, bit by bit: each has its own part of the context,
    /// is computed in batches of its own, its prompt in whole ubatches from the first token on, and takes over nothing that is held already.
    pub deterministic: bool,
    /// The context they share; its `n_ctx` tokens are those of all sequences together.
    pub context: SessionOptions,
}

impl Default for EngineOptions {
    /// Four sequences, as llama-server has, that share one context.
    fn default() -> EngineOptions {
        EngineOptions { n_seq_max: 4, n_ctx_seq: 0, deterministic: false, context: SessionOptions::default() }
    }
}

/// One thread for each core the process may use.
pub(crate) fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
