//! Parameters of a context, checked and completed.

use quipu_batch::MAX_SEQ;
use quipu_graph::DType;
use quipu_model::{GraphKind, Pooling, RopeOverrides};

use crate::error::Error;

/// Context lengths are multiples of this.
const N_CTX_PAD: usize = 256;

/// How attention is computed (`llama_flash_attn_type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FlashAttn {
    /// By flash attention, unless the model forbids it.
    #[default]
    Auto,
    /// By flash attention.
    On,
    /// Through a tensor of scores; cached values are kept transposed, and not quantised.
    Off,
}

impl FlashAttn {
    /// All of them.
    pub const ALL: [FlashAttn; 3] = [FlashAttn::Auto, FlashAttn::On, FlashAttn::Off];

    /// The reference's word for it (`-fa`).
    pub const fn name(self) -> &'static str {
        match self {
            FlashAttn::Auto => "auto",
            FlashAttn::On => "on",
            FlashAttn::Off => "off",
        }
    }

    /// Whether flash attention computes it.
    pub fn is_on(self) -> bool {
        self != FlashAttn::Off
    }
}

/// Parameters of a context. Answers to `llama_context_params`.
#[derive(Clone, Debug, PartialEq)]
pub struct ContextParams {
    /// What [`crate::Context::decode`] is: a decoder, which remembers, or an encoder, which sees one batch at a time.
    pub kind: GraphKind,
    /// Whether a token sees only what is before it (`attention_type`); `None`: decoders yes, encoders no.
    pub causal_attn: Option<bool>,
    /// Cells of the KV cache; 0: as many as the model was trained with. Rounded up to a multiple of 256.
    pub n_ctx: usize,
    /// Most tokens of one decode call; at most `n_ctx`.
    pub n_batch: usize,
    /// Most tokens that go through the graph together; 0: `n_batch`.
    pub n_ubatch: usize,
    /// Sequence numbers are below this.
    pub n_seq_max: usize,
    /// All sequences share the cells of the cache. Else each has an equal part of them for itself: then it never attends over cells of
    /// others, and may be no longer than its part.
    pub kv_unified: bool,
    /// Layers with windows keep cells for the whole context too, so that positions can be taken back and shifted; else only what windows see.
    pub swa_full: bool,
    /// Threads for single tokens.
    pub n_threads: usize,
    /// Threads for several tokens.
    pub n_threads_batch: usize,
    /// Type of cached keys, one of `quipu_kv_cache::CACHE_TYPES`.
    pub type_k: DType,
    /// Type of cached values, one of `quipu_kv_cache::CACHE_TYPES`.
    pub type_v: DType,
    /// How attention is computed.
    pub flash_attn: FlashAttn,
    /// Rotary parameters other than the model's.
    pub rope: RopeOverrides,
    /// Keep the final rows of all tokens as embeddings.
    pub embeddings: bool,
    /// What to make of them.
    pub pooling: Pooling,
}

impl Default for ContextParams {
    /// The reference's defaults (`llama_context_default_params`), with a context as long as the model's, whose cells all sequences share, and
    /// caches of windows that hold what windows see.
    fn default() -> ContextParams {
        ContextParams {
            kind: GraphKind::Decoder,
            causal_attn: None,
            n_ctx: 0,
            n_batch: 2048,
            n_ubatch: 512,
            n_seq_max: 1,
            kv_unified: true,
            swa_full: false,
            n_threads: 4,
            n_threads_batch: 4,
            type_k: DType::F16,
            type_v: DType::F16,
            flash_attn: FlashAttn::Auto,
            rope: RopeOverrides::default(),
            embeddings: false,
            pooling: Pooling::None,
        }
    }
}

impl ContextParams {
    /// Whether tokens of a graph of this kind see only what is before them.
    pub fn is_causal(&self, kind: GraphKind) -> bool {
        self.causal_attn.unwrap_or(kind == GraphKind::Decoder)
    }

    /// Most tokens of one sequence (`n_ctx_seq`).
    pub fn n_ctx_seq(&self) -> usize {
        if self.kv_unified { self.n_ctx } else { self.n_ctx / self.n_seq_max.max(1) }
    }

    /// The parameters with every default filled in, for a model whose attention `without_flash` attention alone can compute; or the first
    /// that cannot be.
    pub(crate) fn resolved(&self, n_ctx_train: usize, without_flash: bool) -> Result<ContextParams, Error> {
        let flash_attn = if without_flash { FlashAttn::Off } else { self.flash_attn };
        let n_ctx = if self.n_ctx == 0 { n_ctx_train } else { self.n_ctx };
        let n_streams = if self.kv_unified { 1 } else { self.n_seq_max.max(1) };
        // Each stream is padded, so that together they may have more.
        let n_stream_cells = n_ctx.checked_next_multiple_of(N_CTX_PAD).map(|n| n / n_streams);
        let n_cells =
            n_stream_cells.and_then(|n| n.checked_next_multiple_of(N_CTX_PAD)?.checked_mul(n_streams));
        let n_cells = n_cells.filter(|n| i32::try_from(*n).is_ok());
        let (Some(n_cells), true) = (n_cells, n_ctx > 0) else {
            return Err(param("n_ctx", n_ctx, "1 to 2^31 - 256"));
        };
        // A batch beyond the context could not be placed.
        let n_batch = self.n_batch.min(n_ctx);
        let n_ubatch = if self.n_ubatch == 0 { n_batch } else { self.n_ubatch.min(n_batch) };
        if n_batch == 0 {
            return Err(param("n_batch", 0, "at least 1"));
        }
        if !flash_attn.is_on() && self.type_v.is_quantized() {
            return Err(Error::QuantizedValues(self.type_v));
        }
        if self.n_seq_max > MAX_SEQ {
            return Err(quipu_batch::Error::TooManySequences(self.n_seq_max).into());
        }
        for (name, found) in [("n_threads", self.n_threads), ("n_threads_batch", self.n_threads_batch)] {
            if found == 0 {
                return Err(param(name, found, "at least 1"));
            }
        }
        Ok(ContextParams {
            n_ctx: n_cells,
            flash_attn,
            n_batch,
            n_ubatch,
            n_seq_max: self.n_seq_max.max(1),
            ..self.clone()
        })
    }
}

fn param(name: &'static str, found: usize, expected: &str) -> Error {
    Error::Param { name, found, expected: expected.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_follow_the_reference() {
        let resolved = |n_ctx, n_batch, n_ubatch| {
            let params = ContextParams { n_ctx, n_batch, n_ubatch, ..ContextParams::default() };
            params.resolved(1000, false).map(|p| (p.n_ctx, p.n_batch, p.n_ubatch))
        };
        assert_eq!(resolved(0, 2048, 512).unwrap(), (1024, 1000, 512));
        assert_eq!(resolved(257, 2048, 512).unwrap(), (512, 257, 257));
        assert_eq!(resolved(4096, 2048, 0).unwrap(), (4096, 2048, 2048));
        assert_eq!(resolved(256, 64, 512).unwrap(), (256, 64, 64));
        assert!(resolved(256, 0, 0).is_err());
        assert!(resolved(usize::MAX, 1, 1).is_err());
        assert!(ContextParams::default().resolved(0, false).is_err());
        let threads = ContextParams { n_threads: 0, ..ContextParams::default() };
        assert!(threads.resolved(8, false).is_err());
    }
}
