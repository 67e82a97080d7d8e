//! What running a file would take, from its metadata alone.

use quipu_backend::Device;
use quipu_cpu_backend::CpuDevice;
use quipu_gguf::GgufSet;
use quipu_model::kv_estimate;

/// Context lengths worth telling, as far as the model was trained for them.
const CONTEXTS: [usize; 5] = [512, 2048, 8192, 32768, 131_072];

/// Bytes a model needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryEstimate {
    /// All weights.
    pub weights: u64,
    /// The KV cache in f16 by context length; empty if the metadata does not say what it would be.
    pub kv_cache: Vec<(usize, u64)>,
    /// The cache is the most the model needs: it has windows or layers without one.
    pub is_upper_bound: bool,
}

/// Estimates the memory for the weights and, at several context lengths, for the KV cache; also for architectures that Quipu cannot run.
/// Cache sizes are those of the cache itself on this processor, computed by its own layout.
pub fn memory_estimate(set: &GgufSet) -> MemoryEstimate {
    let weights = set.n_bytes();
    let Some(kv) = kv_estimate(set.metadata()) else {
        return MemoryEstimate { weights, ..MemoryEstimate::default() };
    };
    let mut contexts: Vec<usize> = CONTEXTS.into_iter().filter(|n| *n < kv.n_ctx_train).collect();
    contexts.push(kv.n_ctx_train);
    let buffer_type = CpuDevice::default().buffer_type();
    let size = |n_ctx: usize| {
        // A length that no cache can have is left out.
        let bytes = kv.n_bytes(n_ctx, quipu_model::CACHE_TYPE, buffer_type.as_ref()).ok()?;
        Some((n_ctx, bytes as u64))
    };
    MemoryEstimate {
        weights,
        kv_cache: contexts.into_iter().filter_map(size).collect(),
        is_upper_bound: kv.is_upper_bound,
    }
}
