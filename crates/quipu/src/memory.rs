//! What running a file would take, from its metadata alone.

use quipu_backend::Device;
use quipu_cpu_backend::CpuDevice;
use quipu_decoder::{ContextParams, MemoryBytes};
use quipu_gguf::GgufSet;
use quipu_model::{CACHE_TYPE, LoadOptions, Model, kv_estimate};

/// Context lengths worth telling, as far as the model was trained for them.
const CONTEXTS: [usize; 5] = [512, 2048, 8192, 32768, 131_072];

/// Bytes a model needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryEstimate {
    /// All weights.
    pub weights: u64,
    /// States of recurrent layers, of one sequence of any length.
    pub states: u64,
    /// The KV cache in f16 by context length, of one sequence; empty if the model has none, or the metadata does not say what it would be.
    pub kv_cache: Vec<(usize, u64)>,
    /// The cache is the most the model needs: it has windows or layers without one.
    pub is_upper_bound: bool,
    /// Tensors of the file that no graph reads; `None` if Quipu cannot run the model and does not know.
    pub unused_tensors: Option<Vec<String>>,
}

/// Estimates the memory for the weights, for states and, at several context lengths, for the KV cache; also for architectures that Quipu
/// cannot run. Sizes are those of the memory itself on this processor, computed by its own layout.
pub fn memory_estimate(set: &GgufSet) -> MemoryEstimate {
    let weights = set.n_bytes();
    let device = CpuDevice::default();
    let options = LoadOptions { no_alloc: true, ..LoadOptions::default() };
    if let Ok(model) = Model::load_set(set, &device, &mut options.into()) {
        return known(weights, &model, &device);
    }
    let Some(kv) = kv_estimate(set.metadata()) else {
        return MemoryEstimate { weights, ..MemoryEstimate::default() };
    };
    let buffer_type = device.buffer_type();
    let size = |n_ctx: usize| {
        // A length that no cache can have is left out.
        let bytes = kv.n_bytes(n_ctx, CACHE_TYPE, buffer_type.as_ref()).ok()?;
        Some((n_ctx, bytes as u64))
    };
    MemoryEstimate {
        weights,
        kv_cache: contexts(kv.n_ctx_train).filter_map(size).collect(),
        is_upper_bound: kv.is_upper_bound,
        ..MemoryEstimate::default()
    }
}

/// The lengths to tell of a model trained with `n_ctx_train` tokens.
fn contexts(n_ctx_train: usize) -> impl Iterator<Item = usize> {
    CONTEXTS.into_iter().filter(move |n| *n < n_ctx_train).chain([n_ctx_train])
}

/// Of a model that can run here: what its sessions allocate.
fn known(weights: u64, model: &Model, device: &CpuDevice) -> MemoryEstimate {
    let size = |n_ctx: usize| {
        let params = ContextParams { n_ctx, ..ContextParams::default() };
        Some((n_ctx, MemoryBytes::of(model, device, &params).ok()?))
    };
    let sizes: Vec<(usize, MemoryBytes)> = contexts(model.hparams().n_ctx_train).filter_map(size).collect();
    MemoryEstimate {
        weights,
        states: sizes.first().map_or(0, |(_, bytes)| bytes.states),
        kv_cache: sizes
            .iter()
            .map(|(n_ctx, bytes)| (*n_ctx, bytes.kv_cache))
            .filter(|(_, kv_cache)| *kv_cache > 0)
            .collect(),
        is_upper_bound: false,
        unused_tensors: Some(model.unused_tensors().to_vec()),
    }
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
