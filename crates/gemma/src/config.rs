//! What a model is: the structs of the `config` blob, their fields in the stored order.
//!
//! Answers to the structs of gemma.cpp's `gemma/configs`. The models that there are, are in [`crate::models`].

use crate::fields::{FieldEnum, FieldError, Fields, Visitor};
use crate::model::Model;
use crate::types::Type;

macro_rules! stored_as_number {
    ($name:ident, $what:literal, $expected:literal, [$($variant:ident = $number:literal),+]) => {
        impl FieldEnum for $name {
            const WHAT: &'static str = $what;
            const EXPECTED: &'static str = $expected;

            fn number(self) -> u32 {
                self as u32
            }

            fn from_number(number: u32) -> Option<$name> {
                match number {
                    $($number => Some($name::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

/// How a prompt is wrapped before the model sees it (`PromptWrapping`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the reference's names
pub enum PromptWrapping {
    GemmaIt = 0,
    GemmaPt = 1,
    GemmaVlm = 2,
    PaliGemma = 3,
}
stored_as_number!(
    PromptWrapping,
    "prompt wrapping",
    "0 to 3",
    [GemmaIt = 0, GemmaPt = 1, GemmaVlm = 2, PaliGemma = 3]
);

impl PromptWrapping {
    /// All, in the order of their numbers.
    pub const ALL: [PromptWrapping; 4] = [
        PromptWrapping::GemmaIt,
        PromptWrapping::GemmaPt,
        PromptWrapping::GemmaVlm,
        PromptWrapping::PaliGemma,
    ];

    /// Its end of a specifier (`WrappingSuffix`).
    pub const fn suffix(self) -> &'static str {
        match self {
            PromptWrapping::GemmaIt => "-it",
            PromptWrapping::GemmaPt => "-pt",
            PromptWrapping::GemmaVlm => "-vlm",
            PromptWrapping::PaliGemma => "-pg",
        }
    }
}

/// What a layer is (`LayerAttentionType`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum LayerType {
    #[default]
    Gemma = 0,
    Vit = 1,
}
stored_as_number!(LayerType, "layer type", "0, 1", [Gemma = 0, Vit = 1]);

/// Norms after attention and feed-forward (`PostNormType`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum PostNorm {
    #[default]
    None = 0,
    Scale = 1,
}
stored_as_number!(PostNorm, "post-norm", "0, 1", [None = 0, Scale = 1]);

/// What happens to queries and keys (`PostQKType`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum PostQk {
    #[default]
    Rope = 0,
    HalfRope = 1,
}
stored_as_number!(PostQk, "post-qk", "0, 1", [Rope = 0, HalfRope = 1]);

/// The feed-forward's function (`ActivationType`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Activation {
    #[default]
    Gelu = 0,
}
stored_as_number!(Activation, "activation", "0", [Gelu = 0]);

/// What queries are divided by (`QueryScaleType`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum QueryScale {
    #[default]
    SqrtKeySize = 0,
    SqrtModelDimDivNumHeads = 1,
}
stored_as_number!(QueryScale, "query scale", "0, 1", [SqrtKeySize = 0, SqrtModelDimDivNumHeads = 1]);

/// A layer.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // the reference's names, in elements
pub struct LayerConfig {
    pub model_dim: u32,
    pub ff_hidden_dim: u32,
    pub heads: u32,
    pub kv_heads: u32,
    /// Of one head's query, key or value.
    pub qkv_dim: u32,
    pub ff_biases: bool,
    pub optimized_gating: bool,
    pub post_norm: PostNorm,
    pub layer_type: LayerType,
    pub activation: Activation,
    pub post_qk: PostQk,
    pub use_qk_norm: bool,
}

impl Default for LayerConfig {
    fn default() -> LayerConfig {
        LayerConfig {
            model_dim: 0,
            ff_hidden_dim: 0,
            heads: 0,
            kv_heads: 0,
            qkv_dim: 0,
            ff_biases: false,
            optimized_gating: true,
            post_norm: PostNorm::None,
            layer_type: LayerType::Gemma,
            activation: Activation::Gelu,
            post_qk: PostQk::Rope,
            use_qk_norm: false,
        }
    }
}

impl Fields for LayerConfig {
    fn visit(&mut self, v: &mut Visitor<'_>) -> Result<(), FieldError> {
        // Three fields were Griffin's; they are stored and not looked at.
        let (mut griffin_dim, mut conv1d_width, mut softmax_biases) = (0, 0, false);
        v.u32(&mut self.model_dim)?;
        v.u32(&mut griffin_dim)?;
        v.u32(&mut self.ff_hidden_dim)?;
        v.u32(&mut self.heads)?;
        v.u32(&mut self.kv_heads)?;
        v.u32(&mut self.qkv_dim)?;
        v.u32(&mut conv1d_width)?;
        v.bool(&mut self.ff_biases)?;
        v.bool(&mut softmax_biases)?;
        v.bool(&mut self.optimized_gating)?;
        v.one_of(&mut self.post_norm)?;
        v.one_of(&mut self.layer_type)?;
        v.one_of(&mut self.activation)?;
        v.one_of(&mut self.post_qk)?;
        v.bool(&mut self.use_qk_norm)
    }
}

/// The image encoder; without layers there is none.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // the reference's names
pub struct VitConfig {
    pub model_dim: u32,
    /// Patches of an image.
    pub seq_len: u32,
    pub num_scales: u32,
    /// In pixels.
    pub patch_width: u32,
    /// In pixels, of each side.
    pub image_size: u32,
    /// Patches are averaged in squares of this side.
    pub pool_dim: u32,
    pub layer_configs: Vec<LayerConfig>,
}

impl Default for VitConfig {
    fn default() -> VitConfig {
        VitConfig {
            model_dim: 0,
            seq_len: 0,
            num_scales: 0,
            patch_width: 14,
            image_size: 224,
            pool_dim: 1,
            layer_configs: Vec::new(),
        }
    }
}

impl Fields for VitConfig {
    fn visit(&mut self, v: &mut Visitor<'_>) -> Result<(), FieldError> {
        v.u32(&mut self.model_dim)?;
        v.u32(&mut self.seq_len)?;
        v.u32(&mut self.num_scales)?;
        v.u32(&mut self.patch_width)?;
        v.u32(&mut self.image_size)?;
        v.list(&mut self.layer_configs, |v, layer| v.fields(layer))?;
        v.u32(&mut self.pool_dim)
    }
}

/// A model.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // the reference's names
pub struct ModelConfig {
    pub model_family_version: u32,
    pub display_name: String,
    pub model: Model,
    pub wrapping: PromptWrapping,
    /// The smallest type among the tensors.
    pub weight: Type,
    pub num_layers: u32,
    pub model_dim: u32,
    pub vocab_size: u32,
    /// In tokens.
    pub max_seq_len: u32,
    pub unused_num_tensor_scales: u32,
    /// Soft cap of attention scores; 0 for none.
    pub att_cap: f32,
    /// Soft cap of logits; 0 for none.
    pub final_cap: f32,
    pub absolute_pe: bool,
    pub query_scale: QueryScale,
    pub layer_configs: Vec<LayerConfig>,
    /// For each layer; `max_seq_len` for those that see everything.
    pub attention_window_sizes: Vec<u32>,
    pub norm_num_groups: u32,
    pub vit_config: VitConfig,
    pub pool_dim: u32,
    pub eos_id: i32,
    pub secondary_eos_id: i32,
    /// Tensors that have scales in files of before 2025.
    pub scale_base_names: Vec<String>,
}

impl Default for ModelConfig {
    fn default() -> ModelConfig {
        ModelConfig {
            model_family_version: 1,
            display_name: String::new(),
            model: Model::Unknown,
            wrapping: PromptWrapping::GemmaPt,
            weight: Type::Unknown,
            num_layers: 0,
            model_dim: 0,
            vocab_size: 0,
            max_seq_len: 0,
            unused_num_tensor_scales: 0,
            att_cap: 0.0,
            final_cap: 0.0,
            absolute_pe: false,
            query_scale: QueryScale::SqrtKeySize,
            layer_configs: Vec::new(),
            attention_window_sizes: Vec::new(),
            norm_num_groups: 1,
            vit_config: VitConfig::default(),
            pool_dim: 1,
            eos_id: 1,
            secondary_eos_id: 1,
            scale_base_names: Vec::new(),
        }
    }
}

impl Fields for ModelConfig {
    fn visit(&mut self, v: &mut Visitor<'_>) -> Result<(), FieldError> {
        let mut use_local_attention = false; // was Griffin's
        v.u32(&mut self.model_family_version)?;
        v.string(&mut self.display_name)?;
        v.one_of(&mut self.model)?;
        v.one_of(&mut self.wrapping)?;
        v.one_of(&mut self.weight)?;
        v.u32(&mut self.num_layers)?;
        v.u32(&mut self.model_dim)?;
        v.u32(&mut self.vocab_size)?;
        v.u32(&mut self.max_seq_len)?;
        v.u32(&mut self.unused_num_tensor_scales)?;
        v.f32(&mut self.att_cap)?;
        v.f32(&mut self.final_cap)?;
        v.bool(&mut self.absolute_pe)?;
        v.bool(&mut use_local_attention)?;
        v.one_of(&mut self.query_scale)?;
        v.list(&mut self.layer_configs, |v, layer| v.fields(layer))?;
        v.list(&mut self.attention_window_sizes, Visitor::u32)?;
        v.u32(&mut self.norm_num_groups)?;
        v.fields(&mut self.vit_config)?;
        v.u32(&mut self.pool_dim)?;
        v.i32(&mut self.eos_id)?;
        v.i32(&mut self.secondary_eos_id)?;
        v.list(&mut self.scale_base_names, Visitor::string)
    }
}

impl ModelConfig {
    /// Whether layer `il` sees all tokens (`IsGlobalLayer`).
    pub fn is_global_layer(&self, il: usize) -> bool {
        self.attention_window_sizes.get(il) == Some(&self.max_seq_len)
    }

    /// Whether there is an image encoder.
    pub fn has_vit(&self) -> bool {
        !self.vit_config.layer_configs.is_empty()
    }
}
