//! What layers remember of each token, and how much memory a model's cache takes at a context length, without taking it.

use quipu_backend::BufferType;
use quipu_gguf::{Array, Metadata, Value};
use quipu_graph::DType;
use quipu_kv_cache::{KvLayerShape, KvParams, MAX_SEQ, RecurrentShape};

use crate::error::Error;
use crate::hparams::Window;

/// What a layer remembers. Answers to the choice of a memory in `llama_model::create_memory`, layer by layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LayerMemory {
    /// Nothing.
    None,
    /// Nothing of its own: it attends over the keys and values of another layer of the same kind (`layer_reuse_cb`).
    Reuse {
        /// That layer, which comes before it.
        layer: usize,
    },
    /// Keys and values of each token.
    Attention {
        /// Their sizes.
        shape: KvLayerShape,
        /// How far back they are needed; `None`: to the first.
        window: Option<Window>,
    },
    /// One state for all tokens of a sequence.
    Recurrent(RecurrentShape),
    /// Keys and values, and a state.
    Both {
        /// Sizes of keys and values.
        shape: KvLayerShape,
        /// How far back they are needed; `None`: to the first.
        window: Option<Window>,
        /// Size of the state.
        state: RecurrentShape,
    },
}

impl LayerMemory {
    /// Sizes of the keys and values of each token; [`KvLayerShape::NONE`] if there are none.
    pub fn kv_shape(self) -> KvLayerShape {
        match self {
            LayerMemory::Attention { shape, .. } | LayerMemory::Both { shape, .. } => shape,
            LayerMemory::None | LayerMemory::Reuse { .. } | LayerMemory::Recurrent(_) => KvLayerShape::NONE,
        }
    }

    /// Size of the state, if there is one.
    pub fn state(self) -> Option<RecurrentShape> {
        match self {
            LayerMemory::Recurrent(state) | LayerMemory::Both { state, .. } => Some(state),
            LayerMemory::None | LayerMemory::Reuse { .. } | LayerMemory::Attention { .. } => None,
        }
    }
}

/// Context lengths are padded to this (`llama_context`).
const N_CTX_PAD: usize = 256;

/// Type of keys and values in a cache nobody asked otherwise for.
pub const CACHE_TYPE: DType = DType::F16;

/// What the metadata of any architecture says about the size of a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvEstimate {
    /// The layers that keep keys and values for each token.
    pub layers: Vec<KvLayerShape>,
    /// Context length the model was trained with.
    pub n_ctx_train: usize,
    /// The model has windows or recurrent state, so that a cache for all of the context is the most it needs.
    pub is_upper_bound: bool,
}

/// Reads the shapes of a model's cache, also of architectures that this crate cannot run; `None` if there is no such cache (recurrent
/// models, files without hyper-parameters) or it is not kept by heads (latent attention).
pub fn kv_estimate(metadata: &Metadata) -> Option<KvEstimate> {
    let arch = metadata.optional::<&str>("general.architecture").ok()??;
    let key = |name: &str| format!("{arch}.{name}");
    let number = |name: &str| -> Option<usize> {
        let value = metadata.optional_integer(&key(name)).ok()??;
        usize::try_from(value).ok().filter(|n| *n <= 1 << 30)
    };
    if metadata.contains(&key("attention.kv_lora_rank")) {
        return None;
    }
    let n_layer = number("block_count").filter(|n| (1..=512).contains(n))?;
    let n_embd = number("embedding_length")?;
    let per_layer = |name: &str| -> Option<Vec<usize>> {
        match metadata.get(&key(name))? {
            Value::Array(values) => heads_of(values, n_layer),
            _ => Some(vec![number(name)?; n_layer]),
        }
    };
    let n_head = per_layer("attention.head_count")?;
    let n_head_kv = per_layer("attention.head_count_kv").unwrap_or_else(|| n_head.clone());
    let head_size = n_embd.checked_div(*n_head.iter().find(|n| **n > 0)?)?;
    let d_k = number("attention.key_length").unwrap_or(head_size);
    let d_v = number("attention.value_length").unwrap_or(head_size);
    let shape = |heads: &usize| -> Option<KvLayerShape> {
        Some(KvLayerShape { n_embd_k_gqa: d_k.checked_mul(*heads)?, n_embd_v_gqa: d_v.checked_mul(*heads)? })
    };
    let layers = n_head_kv.iter().filter(|heads| **heads > 0).map(shape);
    let layers = layers.collect::<Option<Vec<KvLayerShape>>>()?;
    let bounded = ["attention.sliding_window", "ssm.state_size", "ssm.conv_kernel", "wkv.head_size"];
    Some(KvEstimate {
        is_upper_bound: layers.len() < n_layer || bounded.iter().any(|name| metadata.contains(&key(name))),
        layers,
        n_ctx_train: number("context_length")?,
    })
    .filter(|estimate| !estimate.layers.is_empty())
}

fn heads_of(values: &Array, n_layer: usize) -> Option<Vec<usize>> {
    (0..n_layer).map(|il| values.integer(il).and_then(|n| usize::try_from(n).ok())).collect()
}

impl KvEstimate {
    /// Bytes of the cache for `n_ctx` tokens in memory of `buffer_type`, as [`quipu_kv_cache::KvCache::new`] lays it out; nothing is
    /// allocated.
    ///
    /// # Errors
    /// As [`KvParams::n_bytes`].
    pub fn n_bytes(&self, n_ctx: usize, dtype: DType, buffer_type: &dyn BufferType) -> Result<usize, Error> {
        let n_cells = n_ctx.checked_next_multiple_of(N_CTX_PAD).unwrap_or(n_ctx);
        let params = KvParams {
            n_cells,
            n_seq_max: MAX_SEQ,
            type_k: dtype,
            type_v: dtype,
            layers: self.layers.clone(),
            ..KvParams::default()
        };
        Ok(params.n_bytes(&|_| buffer_type)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(numbers: &[(&str, Value)]) -> Metadata {
        let mut metadata = Metadata::default();
        metadata.set("general.architecture", "x".into());
        for (name, value) in numbers {
            metadata.set(&format!("x.{name}"), value.clone());
        }
        metadata
    }

    #[test]
    fn heads_and_sizes_that_no_machine_holds_are_no_estimate() {
        let with = |heads: Value| {
            kv_estimate(&metadata(&[
                ("block_count", Value::U32(1)),
                ("embedding_length", Value::U32(64)),
                ("context_length", Value::U32(64)),
                ("attention.head_count", Value::U32(1)),
                ("attention.head_count_kv", heads),
                ("attention.key_length", Value::U32(1 << 30)),
            ]))
        };
        assert_eq!(with(Value::Array(Array::U64(vec![u64::MAX >> 1]))), None);
        assert_eq!(with(Value::Array(Array::I64(vec![1 << 40]))), None);
        let estimate = with(Value::U32(2)).expect("two large heads");
        assert_eq!(estimate.layers, [KvLayerShape { n_embd_k_gqa: 1 << 31, n_embd_v_gqa: 128 }]);
    }
}
