//! Hyper-parameters: the numbers in a model's metadata, typed and checked.

use quipu_gguf::{Metadata, Value};
use quipu_graph::RopeMode;

use crate::error::Error;
use crate::rope::RopeScaling;

/// Most layers a model may have (`LLAMA_MAX_LAYERS`).
const MAX_LAYERS: i64 = 512;
/// Bound on widths and lengths: beyond any model, small enough that products of three stay in 64 bits.
const MAX_DIM: i64 = 1 << 20;
/// Bound on context lengths and vocabularies.
const MAX_LENGTH: i64 = 1 << 30;

/// What the metadata says about a model's shape. Answers to `llama_hparams`.
#[derive(Clone, Debug)]
pub struct Hparams {
    /// Tokens in the vocabulary.
    pub n_vocab: usize,
    /// Context length the model was trained with.
    pub n_ctx_train: usize,
    /// Width of the residual stream.
    pub n_embd: usize,
    /// Layers.
    pub n_layer: usize,
    /// Query heads per layer.
    pub n_head: Vec<usize>,
    /// Key and value heads per layer.
    pub n_head_kv: Vec<usize>,
    /// Width of the feed-forward network per layer.
    pub n_ff: Vec<usize>,
    /// Elements of a key head.
    pub n_embd_head_k: usize,
    /// Elements of a value head.
    pub n_embd_head_v: usize,
    /// Elements of a head that are rotated.
    pub n_rot: usize,
    /// Epsilon of the norms.
    pub norm_eps: f32,
    /// How rotary embeddings pair elements; `None` for learned positions.
    pub rope_mode: Option<RopeMode>,
    /// Base of the rotary frequencies.
    pub rope_freq_base: f32,
    /// Linear scale of positions (1 / factor).
    pub rope_freq_scale: f32,
    /// Kind of rotary scaling.
    pub rope_scaling: RopeScaling,
    /// Extra magnitude factor.
    pub rope_attn_factor: f32,
    /// Context length before YaRN scaling.
    pub n_ctx_orig_yarn: usize,
}

impl Hparams {
    /// Elements of all keys of a token in layer `il` (`n_embd_k_gqa`).
    pub fn n_embd_k_gqa(&self, il: usize) -> usize {
        self.n_embd_head_k * self.n_head_kv[il]
    }

    /// Elements of all values of a token in layer `il` (`n_embd_v_gqa`).
    pub fn n_embd_v_gqa(&self, il: usize) -> usize {
        self.n_embd_head_v * self.n_head_kv[il]
    }

    /// What is known without weights: the size of the vocabulary (`vocab_only`); no layers, no widths.
    pub(crate) fn vocabulary_only(metadata: &Metadata) -> Result<Hparams, Error> {
        let arch = metadata.str("general.architecture")?;
        let n_vocab = match (Reader { metadata, arch }).n_vocab() {
            Err(Error::Gguf(quipu_gguf::Error::MissingKey { .. })) => 0,
            n_vocab => n_vocab?,
        };
        Ok(Hparams {
            n_vocab,
            n_ctx_train: 0,
            n_embd: 0,
            n_layer: 0,
            n_head: Vec::new(),
            n_head_kv: Vec::new(),
            n_ff: Vec::new(),
            n_embd_head_k: 0,
            n_embd_head_v: 0,
            n_rot: 0,
            norm_eps: 0.0,
            rope_mode: None,
            rope_freq_base: 0.0,
            rope_freq_scale: 1.0,
            rope_scaling: RopeScaling::Linear,
            rope_attn_factor: 1.0,
            n_ctx_orig_yarn: 0,
        })
    }

    /// Factor on attention scores.
    pub fn kq_scale(&self) -> f32 {
        1.0 / (self.n_embd_head_k as f32).sqrt()
    }

    /// Reads what all architectures share (`llama_model_base::load_hparams`). `norm_key` names the key of
    /// the epsilon, which differs between kinds of norms.
    pub(crate) fn read(
        metadata: &Metadata,
        arch: &str,
        norm_key: &str,
        rope_mode: Option<RopeMode>,
    ) -> Result<Hparams, Error> {
        let reader = Reader { metadata, arch };
        let n_layer = reader.dim("block_count", MAX_LAYERS)?;
        let n_embd = reader.dim("embedding_length", MAX_DIM)?;
        let n_head = reader.per_layer("attention.head_count", n_layer)?.ok_or_else(|| Error::Hparam {
            key: reader.key("attention.head_count"),
            found: "missing".to_owned(),
            expected: "the number of attention heads".to_owned(),
        })?;
        let n_head_kv =
            reader.per_layer("attention.head_count_kv", n_layer)?.unwrap_or_else(|| n_head.clone());
        for (il, (heads, heads_kv)) in n_head.iter().zip(&n_head_kv).enumerate() {
            if *heads == 0 || *heads_kv == 0 || heads % heads_kv != 0 {
                return Err(Error::Hparam {
                    key: reader.key("attention.head_count_kv"),
                    found: format!("{heads_kv} for {heads} heads in layer {il}"),
                    expected: "a positive divisor of the head count".to_owned(),
                });
            }
        }
        let head_default = n_embd / n_head[0];
        let n_embd_head_k = reader.dim_or("attention.key_length", head_default)?;
        let n_embd_head_v = reader.dim_or("attention.value_length", head_default)?;
        let n_rot = reader.dim_or("rope.dimension_count", n_embd_head_k)?;
        if n_rot % 2 != 0 || n_rot > n_embd_head_k {
            return Err(Error::Hparam {
                key: reader.key("rope.dimension_count"),
                found: n_rot.to_string(),
                expected: format!("an even number up to the head size {n_embd_head_k}"),
            });
        }
        let n_ctx_train = reader.dim("context_length", MAX_LENGTH)?;
        let n_ff = reader.per_layer("feed_forward_length", n_layer)?.ok_or_else(|| Error::Hparam {
            key: reader.key("feed_forward_length"),
            found: "missing".to_owned(),
            expected: "the width of the feed-forward network".to_owned(),
        })?;
        let n_vocab = reader.n_vocab()?;
        let factor = match reader.f32("rope.scaling.factor")? {
            Some(factor) => factor,
            None => reader.f32("rope.scale_linear")?.unwrap_or(0.0),
        };
        if reader.dim_or("expert_count", 0)? != 0 {
            return Err(Error::Hparam {
                key: reader.key("expert_count"),
                found: "a mixture of experts".to_owned(),
                expected: "a dense model (0 experts)".to_owned(),
            });
        }
        Ok(Hparams {
            n_vocab,
            n_ctx_train,
            n_embd,
            n_layer,
            n_head,
            n_head_kv,
            n_ff,
            n_embd_head_k,
            n_embd_head_v,
            n_rot,
            norm_eps: reader.f32(norm_key)?.ok_or_else(|| Error::Hparam {
                key: reader.key(norm_key),
                found: "missing".to_owned(),
                expected: "the epsilon of the norms".to_owned(),
            })?,
            rope_mode,
            rope_freq_base: reader.f32("rope.freq_base")?.unwrap_or(10000.0),
            rope_freq_scale: if factor == 0.0 { 1.0 } else { 1.0 / factor },
            rope_scaling: reader.rope_scaling()?,
            rope_attn_factor: reader.f32("rope.scaling.attn_factor")?.unwrap_or(1.0),
            n_ctx_orig_yarn: reader.dim_or("rope.scaling.original_context_length", n_ctx_train)?,
        })
    }
}

/// Typed access to the keys of one architecture.
struct Reader<'a> {
    metadata: &'a Metadata,
    arch: &'a str,
}

impl Reader<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.arch)
    }

    /// A number from 1 to `max` that must be there.
    fn dim(&self, name: &str, max: i64) -> Result<usize, Error> {
        let key = self.key(name);
        let value = self.metadata.integer(&key)?;
        within(key, value, 1, max)
    }

    fn dim_or(&self, name: &str, default: usize) -> Result<usize, Error> {
        let key = self.key(name);
        match self.metadata.optional_integer(&key)? {
            Some(value) => within(key, value, 0, MAX_LENGTH),
            None => Ok(default),
        }
    }

    fn f32(&self, name: &str) -> Result<Option<f32>, Error> {
        let key = self.key(name);
        match self.metadata.optional::<f32>(&key)? {
            Some(value) if !value.is_finite() => {
                Err(Error::Hparam { key, found: value.to_string(), expected: "a finite number".to_owned() })
            }
            value => Ok(value),
        }
    }

    /// One number for all layers, or an array with one for each (`get_key_or_arr`).
    fn per_layer(&self, name: &str, n_layer: usize) -> Result<Option<Vec<usize>>, Error> {
        let key = self.key(name);
        match self.metadata.get(&key) {
            None => Ok(None),
            Some(Value::Array(values)) => (0..n_layer)
                .map(|il| values.integer(il).and_then(|v| usize::try_from(v).ok()))
                .map(|v| v.filter(|v| *v <= MAX_DIM as usize))
                .collect::<Option<Vec<usize>>>()
                .map(Some)
                .ok_or_else(|| Error::Hparam {
                    key,
                    found: format!("{} values", values.len()),
                    expected: format!("a number up to {MAX_DIM} for each of {n_layer} layers"),
                }),
            Some(_) => {
                let value = self.metadata.integer(&key)?;
                Ok(Some(vec![within(key, value, 0, MAX_DIM)?; n_layer]))
            }
        }
    }

    /// The length of the token list, or else the explicit size.
    fn n_vocab(&self) -> Result<usize, Error> {
        if self.metadata.contains("tokenizer.ggml.tokens") {
            return Ok(self.metadata.strings("tokenizer.ggml.tokens")?.len());
        }
        self.dim("vocab_size", MAX_LENGTH)
    }

    fn rope_scaling(&self) -> Result<RopeScaling, Error> {
        let key = self.key("rope.scaling.type");
        let Some(name) = self.metadata.optional::<&str>(&key)? else { return Ok(RopeScaling::Linear) };
        RopeScaling::from_name(name).ok_or_else(|| Error::Hparam {
            key,
            found: name.to_owned(),
            expected: "none, linear or yarn".to_owned(),
        })
    }
}

/// `value` of `key`, if it lies in `min..=max`.
fn within(key: String, value: i64, min: i64, max: i64) -> Result<usize, Error> {
    if value < min || value > max {
        let expected = format!("a number from {min} to {max}");
        return Err(Error::Hparam { key, found: value.to_string(), expected });
    }
    Ok(value as usize)
}
