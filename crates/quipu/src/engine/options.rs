//! How an engine is made.

use crate::session::SessionOptions;

/// How to make an engine.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Sequences that may be under way at once, at most [`quipu_decoder::MAX_SEQ`] (`--parallel`).
    pub n_seq_max: usize,
    /// Tokens one sequence may have in the context, prompt included; 0 = all that the context holds, which is shared on
    /// a first come, first served basis (`--kv-unified`).
    pub n_ctx_seq: usize,
    /// The context they share; its `n_ctx` tokens are those of all sequences together.
    pub context: SessionOptions,
}

impl Default for EngineOptions {
    /// Four sequences, as llama-server has, that share one context.
    fn default() -> EngineOptions {
        EngineOptions { n_seq_max: 4, n_ctx_seq: 0, context: SessionOptions::default() }
    }
}
