//! Hyper-parameters: the numbers in a model's metadata, typed and checked.
//!
//! What differs between layers is per layer ([`LayerHparams`]), also where most models have one value for all. Numbers that only one
//! family has are read by its architecture's file. What a shape must be so that a block can compute with it, the block checks.

mod encoder;
mod experts;
mod extras;
mod keys;
mod rope;
mod rwkv;
mod size;
mod ssm;
mod window;

use std::fmt::Display;

use quipu_graph::RopeMode;

use crate::error::Error;
use crate::pooling::Pooling;

pub use encoder::EncoderHparams;
pub use experts::{Chunks, Experts, Gating};
pub(crate) use extras::Temperature;
pub use extras::Xielu;
pub(crate) use keys::Keys;
pub use rope::{LayerRope, RopeScaling, Yarn};
pub use rwkv::Rwkv;
pub(crate) use size::SizeFacts;
pub use ssm::Ssm;
pub use window::{Window, WindowKind};

/// Most layers a model may have (`LLAMA_MAX_LAYERS`).
const MAX_LAYERS: u32 = 512;
/// Bound on widths and lengths: beyond any model, small enough that products of three stay in 64 bits.
const MAX_DIM: u32 = 1 << 20;
/// Bound on vocabularies and head sizes.
const MAX_LENGTH: u32 = 1 << 30;

/// What the metadata says about a model's shape. Answers to `llama_hparams`.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools)] // independent properties of a model
pub struct Hparams {
    /// `general.architecture`.
    pub architecture: String,
    /// Tokens in the vocabulary.
    pub n_vocab: usize,
    /// Context length the model was trained with; files may say anything that fits 32 bits.
    pub n_ctx_train: usize,
    /// Width of the residual stream.
    pub n_embd: usize,
    /// Kind of the norms.
    pub norm: NormKind,
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
    /// Context length before YaRN scaling, and the longest for which short rotary factors hold.
    pub n_ctx_orig_yarn: usize,
    /// Bound that attention scores are bent to; 0: none.
    pub attn_logit_softcap: f32,
    /// Bound that logits are bent to; 0: none.
    pub final_logit_softcap: f32,
    /// ALiBi's maximal bias; 0: positions do not bias scores.
    pub max_alibi_bias: f32,
    /// Queries, keys and values are brought between this and its negative.
    pub clamp_kqv: Option<f32>,
    /// Factors on what a model computes; 0 is none.
    pub multipliers: Multipliers,
    /// How much queries grow with their position; 0: not at all.
    pub temperature_scale: f32,
    /// After how many positions they grow, where files say so.
    pub temperature_floor: usize,
    /// Attention is computed without flash attention, whatever is asked for, and scores are scaled before they are bent (grok).
    pub scores_are_tensors: bool,
    /// Remembered keys can follow their tokens to other positions.
    pub can_shift: bool,
    /// Widths of latent queries, and of latent keys and values (`n_lora_q`, `n_lora_kv`).
    pub n_lora: [usize; 2],
    /// Numbers of each layer's xIELU; empty where there is none.
    pub xielu: Vec<Xielu>,
    /// Details of YaRN.
    pub yarn: Yarn,
    /// Both blocks of a layer stand side by side, where an architecture leaves that to the file.
    pub is_parallel: bool,
    /// How often the layers of the file run; [`Hparams::layers`] has them as often.
    pub n_loops: usize,
    /// Between two runs there is the final norm.
    pub norms_between_loops: bool,
    /// Mixtures of experts.
    pub experts: Experts,
    /// What only encoders and encoder-decoders have.
    pub encoder: EncoderHparams,
    /// State space models of recurrent layers.
    pub ssm: Ssm,
    /// Steps, and what goes in and out of states, are normed (`ssm.dt_b_c_rms`).
    pub norms_ssm: bool,
    /// Layers of RWKV.
    pub rwkv: Rwkv,
    /// Columns of short convolutions in place of attention (`n_shortconv_l_cache`).
    pub n_short_conv: usize,
    /// Which part of a row that came as an embedding is added before each layer, the first being part 0; empty where none is.
    pub deepstack: Vec<Option<usize>>,
    /// Sizes of keys and values of latent attention's heads, where these are not those of what is remembered; 0: they are.
    pub n_embd_head_mla: [usize; 2],
    /// Layers from this one on read the keys and values of earlier ones, if there are such.
    pub n_layer_kv: usize,
    /// Width of what each layer gets of the tokens themselves; 0: nothing.
    pub n_embd_per_layer: usize,
    /// Bounds inside each layer's networks: of experts, and of the others; 0 is none. Empty where there are no such.
    pub clamps: Vec<Vec<f32>>,
    /// A token sees only what is before it, unless the file says otherwise (`attention.causal`).
    pub causal_attn: bool,
    /// `pooling_type` as the file has it; [`Hparams::pooling`] says what it means.
    pub pooling_type: Option<u32>,
    /// What each layer has of its own.
    pub layers: Vec<LayerHparams>,
}

/// The shape of a layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerHparams {
    /// Query heads.
    pub n_head: usize,
    /// Key and value heads.
    pub n_head_kv: usize,
    /// Elements of a key head.
    pub n_embd_head_k: usize,
    /// Elements of a value head.
    pub n_embd_head_v: usize,
    /// Width of the feed-forward network.
    pub n_ff: usize,
    /// Elements of a head that are rotated.
    pub n_rot: usize,
    /// How they are rotated.
    pub rope: LayerRope,
    /// How far back its attention sees; `None`: everything.
    pub window: Option<Window>,
}

/// Factors on what a model computes; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Multipliers {
    /// On embeddings.
    pub embeddings: f32,
    /// On the results of both blocks of a layer.
    pub residual: f32,
    /// On scores, in place of 1 / sqrt(head size).
    pub scores: f32,
    /// On logits, or what they are divided by.
    pub logits: f32,
    /// On what attention gives.
    pub values: f32,
}

/// Kinds of norms. Each has a key for its epsilon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NormKind {
    /// Root mean square.
    Rms,
    /// Mean and variance.
    Layer,
}

impl NormKind {
    fn eps_key(self) -> &'static str {
        match self {
            NormKind::Rms => "attention.layer_norm_rms_epsilon",
            NormKind::Layer => "attention.layer_norm_epsilon",
        }
    }
}

impl LayerHparams {
    /// Elements of all keys of a token (`n_embd_k_gqa`).
    pub fn n_embd_k_gqa(&self) -> usize {
        self.n_embd_head_k * self.n_head_kv
    }

    /// Elements of all values of a token (`n_embd_v_gqa`).
    pub fn n_embd_v_gqa(&self) -> usize {
        self.n_embd_head_v * self.n_head_kv
    }
}

impl Hparams {
    /// Layers.
    pub fn n_layer(&self) -> usize {
        self.layers.len()
    }

    /// Positions of a token (`n_pos_per_embd`): four where they place parts of images.
    pub fn n_pos(&self) -> usize {
        self.rope_mode.map_or(1, RopeMode::n_pos)
    }

    /// Width of rows that come as embeddings: besides the first layer's there may be rows that are added later (`n_embd_inp`).
    pub fn n_embd_inp(&self) -> usize {
        let n_parts = self.deepstack.iter().flatten().max().map_or(1, |part| part + 1);
        self.n_embd.saturating_mul(n_parts)
    }

    /// How the rows of a text are meant to become its embedding; as they are, one for each token, where the file does not say
    /// (`llama_context` with `LLAMA_POOLING_TYPE_UNSPECIFIED`).
    ///
    /// # Errors
    /// A number that is no pooling.
    pub fn pooling(&self) -> Result<Pooling, Error> {
        // The reference keeps the number in an enum in which -1 is "unspecified".
        let Some(id) = self.pooling_type.filter(|id| *id != u32::MAX) else { return Ok(Pooling::None) };
        Pooling::from_id(id).ok_or_else(|| {
            let expected = "0 (none), 1 (mean), 2 (cls), 3 (last) or 4 (rank)";
            self.error("pooling_type", &id, expected)
        })
    }

    /// What is known without weights: the size of the vocabulary (`vocab_only`); no layers, no widths.
    pub(crate) fn vocabulary_only(keys: &Keys<'_>) -> Result<Hparams, Error> {
        keys.check_name()?;
        let n_vocab = match keys.n_vocab() {
            Err(Error::Gguf(quipu_gguf::Error::MissingKey { .. })) => 0,
            n_vocab => n_vocab?,
        };
        Ok(Hparams::bare(keys, n_vocab))
    }

    /// Without layers and widths, and with none of what only some architectures have.
    fn bare(keys: &Keys<'_>, n_vocab: usize) -> Hparams {
        Hparams {
            architecture: keys.architecture.to_owned(),
            n_vocab,
            n_ctx_train: 0,
            n_embd: 0,
            norm: NormKind::Rms,
            norm_eps: 0.0,
            rope_mode: None,
            rope_freq_base: 0.0,
            rope_freq_scale: 1.0,
            rope_scaling: RopeScaling::Linear,
            rope_attn_factor: 1.0,
            n_ctx_orig_yarn: 0,
            attn_logit_softcap: 0.0,
            final_logit_softcap: 0.0,
            max_alibi_bias: 0.0,
            clamp_kqv: None,
            multipliers: Multipliers::default(),
            temperature_scale: 0.0,
            temperature_floor: 0,
            scores_are_tensors: false,
            can_shift: true,
            n_lora: [0; 2],
            xielu: Vec::new(),
            yarn: Yarn::default(),
            is_parallel: false,
            n_loops: 1,
            norms_between_loops: false,
            experts: Experts::default(),
            encoder: EncoderHparams::default(),
            ssm: Ssm::default(),
            norms_ssm: false,
            rwkv: Rwkv::default(),
            n_short_conv: 0,
            deepstack: Vec::new(),
            n_embd_head_mla: [0; 2],
            n_layer_kv: usize::MAX,
            n_embd_per_layer: 0,
            clamps: Vec::new(),
            causal_attn: true,
            pooling_type: None,
            layers: Vec::new(),
        }
    }

    /// Reads what architectures share (`llama_model_base::load_hparams`), of an architecture without experts.
    pub(crate) fn read(
        keys: &Keys<'_>,
        norm: NormKind,
        rope_mode: Option<RopeMode>,
    ) -> Result<Hparams, Error> {
        if keys.optional_u32("expert_count")?.unwrap_or(0) != 0 {
            return Err(keys.error("expert_count", &"a mixture of experts", "a dense model (0 experts)"));
        }
        Hparams::read_with_experts(keys, norm, rope_mode)
    }

    /// As [`Hparams::read`], of an architecture that may have experts.
    pub(crate) fn read_with_experts(
        keys: &Keys<'_>,
        norm: NormKind,
        rope_mode: Option<RopeMode>,
    ) -> Result<Hparams, Error> {
        let n_layer = keys.dim("block_count", MAX_LAYERS)?;
        let n_embd = keys.dim("embedding_length", MAX_DIM)?;
        let zeros = || vec![0; n_layer];
        let n_head = keys.per_layer("attention.head_count", n_layer)?.unwrap_or_else(zeros);
        let n_head_kv = keys.per_layer("attention.head_count_kv", n_layer)?.unwrap_or_else(|| n_head.clone());
        let n_ff = keys.per_layer("feed_forward_length", n_layer)?.unwrap_or_else(zeros);
        // As in the reference, models without heads in their first layer have no head size.
        let (mut head_k, mut head_v, mut n_rot) = (0, 0, 0);
        if let Some(head_default) = n_embd.checked_div(n_head[0]) {
            head_k = keys.optional_dim("attention.key_length")?.unwrap_or(head_default);
            head_v = keys.optional_dim("attention.value_length")?.unwrap_or(head_default);
            n_rot = keys.optional_dim("rope.dimension_count")?.unwrap_or(head_k);
        }
        if n_rot % 2 != 0 || n_rot > head_k {
            let expected = format!("an even number up to the head size {head_k}");
            return Err(keys.error("rope.dimension_count", &n_rot, expected));
        }
        let n_ctx_train = keys.u32("context_length")?;
        let n_vocab = keys.n_vocab()?;
        let factor = match keys.f32("rope.scaling.factor")? {
            Some(factor) => factor,
            None => keys.f32("rope.scale_linear")?.unwrap_or(0.0),
        };
        keys.check_unused(n_embd)?;
        let freq_base = keys.f32("rope.freq_base")?.unwrap_or(10000.0);
        if rope_mode.is_some() && freq_base <= 0.0 {
            return Err(keys.error("rope.freq_base", &freq_base, "a positive number"));
        }
        let norm_eps = keys.f32(norm.eps_key())?;
        let rope = if rope_mode.is_some() { LayerRope::Context } else { LayerRope::Off };
        let layer = |il: usize| LayerHparams {
            n_head: n_head[il],
            n_head_kv: n_head_kv[il],
            n_embd_head_k: head_k,
            n_embd_head_v: head_v,
            n_ff: n_ff[il],
            n_rot,
            rope,
            window: None,
        };
        Ok(Hparams {
            n_ctx_train,
            n_embd,
            norm,
            norm_eps: norm_eps
                .ok_or_else(|| keys.error(norm.eps_key(), &"missing", "the epsilon of the norms"))?,
            rope_mode,
            rope_freq_base: freq_base,
            rope_freq_scale: if factor == 0.0 { 1.0 } else { 1.0 / factor },
            rope_scaling: keys.rope_scaling()?,
            rope_attn_factor: keys.f32("rope.scaling.attn_factor")?.unwrap_or(1.0),
            n_ctx_orig_yarn: keys
                .optional_u32("rope.scaling.original_context_length")?
                .unwrap_or(n_ctx_train),
            experts: Experts::read(keys)?,
            encoder: EncoderHparams::read(keys)?,
            causal_attn: keys.bool("attention.causal")?.unwrap_or(true),
            pooling_type: keys.metadata.optional(&keys.key("pooling_type"))?,
            layers: (0..n_layer).map(layer).collect(),
            ..Hparams::bare(keys, n_vocab)
        })
    }

    /// Refuses heads that are rotated in part, where the reference's graph asserts that none are.
    pub(crate) fn rotates_whole_heads(self) -> Result<Hparams, Error> {
        for layer in &self.layers {
            if layer.n_rot != layer.n_embd_head_k {
                let expected = format!("the head size {}", layer.n_embd_head_k);
                return Err(self.error("rope.dimension_count", &layer.n_rot, expected));
            }
        }
        Ok(self)
    }

    /// Refuses keys and values of different sizes, which `build_qkv` does not tell apart.
    pub(crate) fn has_one_head_size(self) -> Result<Hparams, Error> {
        for layer in &self.layers {
            if layer.n_embd_head_v != layer.n_embd_head_k {
                let expected = format!("the size of keys, {}", layer.n_embd_head_k);
                return Err(self.error("attention.value_length", &layer.n_embd_head_v, expected));
            }
        }
        Ok(self)
    }

    /// Refuses heads that are not, side by side, as wide as the residual stream, where tensors have that shape.
    pub(crate) fn heads_fill_rows(self) -> Result<Hparams, Error> {
        for layer in &self.layers {
            if layer.n_embd_head_k * layer.n_head != self.n_embd {
                let found = format!("{} for {} heads", layer.n_embd_head_k, layer.n_head);
                let expected = format!("heads that are {} wide together", self.n_embd);
                return Err(self.error("attention.key_length", &found, expected));
            }
        }
        self.has_one_head_size()
    }

    /// Refuses groups of queries, where one projection has as many heads of each kind.
    pub(crate) fn has_ungrouped_heads(self) -> Result<Hparams, Error> {
        for layer in &self.layers {
            if layer.n_head_kv != layer.n_head {
                let expected = format!("the {} heads of queries", layer.n_head);
                return Err(self.error("attention.head_count_kv", &layer.n_head_kv, expected));
            }
        }
        Ok(self)
    }

    /// The error of a key whose value `found` breaks the rule `expected`.
    pub(crate) fn error(&self, name: &str, found: &dyn Display, expected: impl Into<String>) -> Error {
        let key = format!("{}.{name}", self.architecture);
        Error::Hparam { key, found: found.to_string(), expected: expected.into() }
    }
}

#[cfg(test)]
mod tests {
    use quipu_gguf::{Metadata, Value};

    use super::*;

    fn read(more: &[(&str, Value)]) -> Result<Hparams, Error> {
        let mut metadata = Metadata::default();
        metadata.set("general.architecture", "x".into());
        for (name, value) in
            [("block_count", 2), ("embedding_length", 64), ("context_length", 64), ("vocab_size", 9)]
        {
            metadata.set(&format!("x.{name}"), Value::U32(value));
        }
        metadata.set("x.attention.layer_norm_rms_epsilon", Value::F32(1e-5));
        for (key, value) in more {
            metadata.set(key, value.clone());
        }
        Hparams::read(&Keys::new(&metadata)?, NormKind::Rms, None)
    }

    #[test]
    fn poolings_are_what_the_file_says() {
        let pooling = |id| read(&[("x.pooling_type", Value::U32(id))]).expect("a model").pooling();
        let known = [Pooling::None, Pooling::Mean, Pooling::Cls, Pooling::Last, Pooling::Rank];
        for (id, expected) in known.into_iter().enumerate() {
            assert_eq!(pooling(id as u32).expect("a pooling"), expected);
        }
        assert_eq!(pooling(u32::MAX).expect("unspecified"), Pooling::None);
        assert_eq!(read(&[]).expect("a model").pooling().expect("absent"), Pooling::None);
        assert!(pooling(5).expect_err("refused").to_string().contains("is 5, expected"));
    }

    /// Keys that nothing is done with are as strict as in the reference, and may not ask for what is not done.
    #[test]
    fn keys_without_a_use_are_read() {
        assert!(read(&[]).expect("a model").causal_attn);
        assert!(!read(&[("x.attention.causal", Value::Bool(false))]).expect("a model").causal_attn);
        for (key, value) in [
            ("x.attention.causal", Value::U32(1)),
            ("x.expert_used_count", Value::I32(0)),
            ("x.expert_used_count", Value::U32(2)),
            ("x.expert_group_count", Value::U32(1)),
            ("x.expert_group_used_count", Value::U64(0)),
            ("x.embedding_length_out", Value::U32(32)),
            ("x.rope.scaling.finetuned", Value::U8(1)),
            ("x.rope.scaling.alpha", Value::F64(1.0)),
            ("general.name", Value::U32(1)),
        ] {
            let error = read(&[(key, value)]).expect_err(key).to_string();
            assert!(error.contains(key), "{error}");
        }
        for (key, value) in [
            ("x.embedding_length_out", Value::U32(64)),
            ("x.expert_group_used_count", Value::U32(3)),
            ("general.name", Value::String(vec![0xff])),
        ] {
            read(&[(key, value)]).expect(key);
        }
    }
}
