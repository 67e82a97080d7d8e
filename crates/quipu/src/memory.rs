//! What running a file would take, from its metadata alone.

use quipu_backend::Device;
use quipu_cpu_backend::CpuDevice;
use quipu_gguf::GgufSet;
use quipu_kv_cache::{KvParams, WindowedKvParams};
use quipu_model::{CACHE_TYPE, LayerMemory, LoadOptions, Model, kv_estimate};

/// Context lengths worth telling, as far as the model was trained for them.
const CONTEXTS: [usize; 5] = [512, 2048, 8192, 32768, 131_072];
/// Context lengths are padded to this.
const N_CTX_PAD: usize = 256;
/// Most tokens of a ubatch, as a session has it that nobody asked otherwise.
const N_UBATCH: usize = 512;

/// Bytes a model needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryEstimate {
    /// All weights.
    pub weights: u64,
    /// The KV cache in f16 by context length, of one sequence; empty if the metadata does not say what it would be.
    pub kv_cache: Vec<(usize, u64)>,
    /// The cache is the most the model needs: it has windows or layers without one.
    pub is_upper_bound: bool,
}

/// Estimates the memory for the weights and, at several context lengths, for the KV cache; also for architectures that Quipu cannot run.
/// Cache sizes are those of the cache itself on this processor, computed by its own layout.
pub fn memory_estimate(set: &GgufSet) -> MemoryEstimate {
    let weights = set.n_bytes();
    if let Some(kv_cache) = known_caches(set) {
        return MemoryEstimate { weights, kv_cache, is_upper_bound: false };
    }
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

/// The caches of a model that can run here and remembers keys and values alone: windows take no more cells than they need.
fn known_caches(set: &GgufSet) -> Option<Vec<(usize, u64)>> {
    let options = LoadOptions { no_alloc: true, ..LoadOptions::default() };
    let model = Model::load_set(set, &CpuDevice::default(), &mut options.into()).ok()?;
    let memory = model.memory();
    let is_attention = |layer: &LayerMemory| {
        matches!(layer, LayerMemory::None | LayerMemory::Reuse { .. } | LayerMemory::Attention { .. })
    };
    if !memory.iter().all(is_attention) || memory.iter().all(|layer| *layer == LayerMemory::None) {
        return None;
    }
    let hparams = model.hparams();
    let buffer_type = CpuDevice::default().buffer_type();
    let size = |n_ctx: usize| {
        let n_cells = n_ctx.checked_next_multiple_of(N_CTX_PAD)?;
        let full = KvParams {
            n_cells,
            n_seq_max: 1,
            type_k: CACHE_TYPE,
            type_v: CACHE_TYPE,
            layers: model.kv_layers(),
            ..KvParams::default()
        };
        let parts = match hparams.window() {
            None => vec![full],
            Some(window) => {
                let windowed = hparams.layers.iter().map(|layer| layer.window.is_some()).collect();
                let pair = WindowedKvParams { full, window, windowed, n_ubatch: N_UBATCH, all_cells: false };
                pair.parts().to_vec()
            }
        };
        let mut bytes = parts.iter().map(|part| part.n_bytes(&|_| buffer_type.as_ref()).ok());
        let bytes = bytes.try_fold(0u64, |sum, n| sum.checked_add(n? as u64))?;
        Some((n_ctx, bytes))
    };
    let mut contexts: Vec<usize> = CONTEXTS.into_iter().filter(|n| *n < hparams.n_ctx_train).collect();
    contexts.push(hparams.n_ctx_train);
    Some(contexts.into_iter().filter_map(size).collect())
}

/// Parameters that one token meets: of the experts' matrices only those of the experts it uses. `None` of a model without experts.
pub fn n_active_params(set: &GgufSet) -> Option<u64> {
    let metadata = set.metadata();
    let arch = metadata.optional::<&str>("general.architecture").ok()??;
    let number = |name: &str| metadata.optional_integer(&format!("{arch}.{name}")).ok().flatten();
    let (n, n_used) = (number("expert_count")?, number("expert_used_count")?);
    let (n, n_used) = (u64::try_from(n).ok()?, u64::try_from(n_used).ok()?);
    if n == 0 || n_used > n {
        return None;
    }
    let active = |tensor: &quipu_gguf::TensorInfo| {
        let n_params: u64 = tensor.ne.iter().product();
        let is_of_experts = tensor.name.split('.').any(|part| part.ends_with("exps"));
        // The last dimension counts the matrices.
        let n_matrices = tensor.ne[(tensor.n_dims as usize).saturating_sub(1)];
        if is_of_experts && n_matrices > 0 {
            n_params / n_matrices * n_used.min(n_matrices)
        } else {
            n_params
        }
    };
    Some(set.tensors().map(active).sum())
}
