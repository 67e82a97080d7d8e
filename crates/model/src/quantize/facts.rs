//! What choosing tensor types needs to know of a model. Read from metadata alone, so that files of every
//! architecture can be quantised, whether this crate runs them or not.

use quipu_gguf::{Array, Metadata, Value};

use super::error::Error;
use crate::archs;
use crate::hparams::SizeFacts;

/// An architecture that this crate does not run, and one whose size classes it shares.
const SIZED_AS: [(&str, &str); 1] = [("llama-embed", "llama")];

/// The architecture whose mixtures have rules of their own.
const FALCON: &str = "falcon";

/// The hyper-parameters that decide tensor types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// Layers in all, those for speculative heads included (`n_layer_all`).
    pub n_layer: u32,
    /// Experts of each mixture; 0 in dense models.
    pub n_expert: u32,
    /// Query heads for each key head of the first layer; 0 without attention.
    pub n_gqa: u32,
    /// A 70B model, whose `attn_v` is eight times smaller than its `attn_q` (`LLM_TYPE_70B`).
    pub is_70b: bool,
    /// The mixtures of falcon hold.
    pub is_falcon: bool,
}

/// Most layers a model may have (`LLAMA_MAX_LAYERS`).
const MAX_LAYERS: u32 = 512;

impl Facts {
    /// Reads them; files without hyper-parameters of their own (`clip`) have zeros.
    pub fn read(metadata: &Metadata) -> Result<Facts, Error> {
        let architecture = metadata.str("general.architecture")?;
        if architecture == "clip" {
            return Ok(Facts { n_layer: 0, n_expert: 0, n_gqa: 0, is_70b: false, is_falcon: false });
        }
        let key = |name: &str| format!("{architecture}.{name}");
        let block_count = key("block_count");
        let n_layer = metadata.u32(&block_count)?;
        if !(1..=MAX_LAYERS).contains(&n_layer) {
            return Err(Error::BlockCount { key: block_count, found: n_layer, max: MAX_LAYERS });
        }
        let mut n_expert = metadata.optional::<u32>(&key("expert_count"))?.unwrap_or(0);
        if n_expert == 1 && matches!(architecture, "hunyuan_vl" | "hunyuan-dense") {
            n_expert = 0;
        }
        let n_head = first(metadata, &key("attention.head_count"))?.unwrap_or(0);
        let n_head_kv = first(metadata, &key("attention.head_count_kv"))?.unwrap_or(n_head);
        let size = SizeFacts {
            n_layer: n_layer as usize,
            n_head: n_head as usize,
            n_head_kv: n_head_kv as usize,
            n_expert: n_expert as usize,
            ..SizeFacts::default()
        };
        let n_gqa = n_head.checked_div(n_head_kv).unwrap_or(0);
        let (is_70b, is_falcon) = (is_70b(architecture, &size), architecture == FALCON);
        Ok(Facts { n_layer, n_expert, n_gqa, is_70b, is_falcon })
    }
}

/// Whether a model is of the size class 70B; architectures that this crate does not run have no such class. The width and the vocabulary decide other classes only.
fn is_70b(architecture: &str, size: &SizeFacts) -> bool {
    let twin = SIZED_AS.iter().find(|(name, _)| *name == architecture);
    let known = archs::get(twin.map_or(architecture, |(_, twin)| twin));
    known.is_some_and(|known| (known.size_class)(size) == "70B")
}

/// A number, or the first of an array with one for each layer.
fn first(metadata: &Metadata, key: &str) -> Result<Option<u32>, Error> {
    match metadata.get(key) {
        Some(Value::Array(Array::U32(values))) => Ok(values.first().copied()),
        Some(Value::Array(Array::I32(values))) => Ok(values.first().map(|&v| v as u32)),
        _ => Ok(metadata.optional::<u32>(key)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn llama(n_layer: u32, n_head: Value, n_head_kv: u32) -> Metadata {
        let mut metadata = Metadata::default();
        metadata.set("general.architecture", "llama".into());
        metadata.set("llama.block_count", Value::U32(n_layer));
        metadata.set("llama.attention.head_count", n_head);
        metadata.set("llama.attention.head_count_kv", Value::U32(n_head_kv));
        metadata
    }

    #[test]
    fn heads_may_differ_by_layer() {
        let heads = Value::Array(Array::U32(vec![32, 16]));
        let facts = Facts::read(&llama(2, heads, 8)).unwrap();
        assert_eq!((facts.n_gqa, facts.n_layer, facts.is_70b), (4, 2, false));
        assert!(Facts::read(&llama(80, Value::U32(64), 8)).unwrap().is_70b);
        assert!(!Facts::read(&llama(80, Value::U32(64), 64)).unwrap().is_70b);
        assert_eq!(Facts::read(&llama(80, Value::U32(64), 0)).unwrap().n_gqa, 0);
    }

    #[test]
    fn layers_are_bounded() {
        for n_layer in [0, 513, u32::MAX] {
            let error = Facts::read(&llama(n_layer, Value::U32(1), 1)).unwrap_err();
            assert!(error.to_string().contains("llama.block_count"), "{error}");
        }
    }
}
