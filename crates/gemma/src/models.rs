//! The models that there are: their numbers, names and configurations.
//!
//! Answers to the rest of gemma.cpp's `gemma/configs`: Gemma 2 and 3, PaliGemma 2. Gemma 1, Griffin and the first
//! PaliGemma are no longer in its tree; their numbers are refused, as there.

use crate::config::{LayerConfig, LayerType, ModelConfig, PostNorm, PromptWrapping, QueryScale};
use crate::error::{Error, Result};
use crate::fields;
use crate::model::Model;
use crate::types::Type;

/// The configuration of a known model (the second constructor of `ModelConfig`).
///
/// # Errors
/// [`Error::Config`] for [`Model::Unknown`] and [`Type::Unknown`].
pub fn config_of(model: Model, weight: Type, wrapping: PromptWrapping) -> Result<ModelConfig> {
    if weight == Type::Unknown {
        return Err(Error::Config { what: "has no type of weights".to_owned() });
    }
    let mut config = match model {
        Model::Unknown => return Err(Error::Config { what: "is of no known model".to_owned() }),
        Model::Gemma2_2B => gemma2(model, &GEMMA2_2B),
        Model::Gemma2_9B => gemma2(model, &GEMMA2_9B),
        Model::Gemma2_27B => gemma2(model, &GEMMA2_27B),
        Model::PaliGemma2_3B_224 => pali_gemma(model, &GEMMA2_2B, 224),
        Model::PaliGemma2_3B_448 => pali_gemma(model, &GEMMA2_2B, 448),
        Model::PaliGemma2_10B_224 => pali_gemma(model, &GEMMA2_9B, 224),
        Model::PaliGemma2_10B_448 => pali_gemma(model, &GEMMA2_9B, 448),
        Model::Gemma3_270M => gemma3(model, &GEMMA3_270M),
        Model::Gemma3_1B => gemma3(model, &GEMMA3_1B),
        Model::Gemma3_4B => gemma3_vlm(model, &GEMMA3_4B),
        Model::Gemma3_12B => gemma3_vlm(model, &GEMMA3_12B),
        Model::Gemma3_27B => gemma3_vlm(model, &GEMMA3_27B),
    };
    config.weight = weight;
    config.wrapping = wrapping;
    Ok(config)
}

/// What differs between the sizes of a generation.
struct Size {
    display_name: &'static str,
    n_layers: u32,
    model_dim: u32,
    ff_hidden_dim: u32,
    heads: u32,
    kv_heads: u32,
    qkv_dim: u32,
    window: u32,
}

const GEMMA2_2B: Size = Size {
    display_name: "Gemma2_2B",
    n_layers: 26,
    model_dim: 2304,
    ff_hidden_dim: 9216,
    heads: 8,
    kv_heads: 4,
    qkv_dim: 256,
    window: 4096,
};
const GEMMA2_9B: Size = Size {
    display_name: "Gemma2_9B",
    n_layers: 42,
    model_dim: 3584,
    ff_hidden_dim: 14336,
    heads: 16,
    kv_heads: 8,
    qkv_dim: 256,
    window: 4096,
};
const GEMMA2_27B: Size = Size {
    display_name: "Gemma2_27B",
    n_layers: 46,
    model_dim: 4608,
    ff_hidden_dim: 36864,
    heads: 32,
    kv_heads: 16,
    qkv_dim: 128,
    window: 4096,
};
const GEMMA3_270M: Size = Size {
    display_name: "Gemma3_270M",
    n_layers: 18,
    model_dim: 640,
    ff_hidden_dim: 2048,
    heads: 4,
    kv_heads: 1,
    qkv_dim: 256,
    window: 512,
};
const GEMMA3_1B: Size = Size {
    display_name: "Gemma3_1B",
    n_layers: 26,
    model_dim: 1152,
    ff_hidden_dim: 6912,
    heads: 4,
    kv_heads: 1,
    qkv_dim: 256,
    window: 512,
};
const GEMMA3_4B: Size = Size {
    display_name: "Gemma3_4B",
    n_layers: 34,
    model_dim: 2560,
    ff_hidden_dim: 10240,
    heads: 8,
    kv_heads: 4,
    qkv_dim: 256,
    window: 1024,
};
const GEMMA3_12B: Size = Size {
    display_name: "Gemma3_12B",
    n_layers: 48,
    model_dim: 3840,
    ff_hidden_dim: 15360,
    heads: 16,
    kv_heads: 8,
    qkv_dim: 256,
    window: 1024,
};
const GEMMA3_27B: Size = Size {
    display_name: "Gemma3_27B",
    n_layers: 62,
    model_dim: 5376,
    ff_hidden_dim: 21504,
    heads: 32,
    kv_heads: 16,
    qkv_dim: 128,
    window: 1024,
};

fn gemma(model: Model, size: &Size) -> ModelConfig {
    let scaled = [
        "att_ein",
        "qkv_ein",
        "gr_lin_x_w",
        "gr_lin_y_w",
        "gr_lin_out_w",
        "gr_gate_w",
        "gating_ein",
        "linear_w",
    ];
    let layer = LayerConfig {
        model_dim: size.model_dim,
        ff_hidden_dim: size.ff_hidden_dim,
        heads: size.heads,
        kv_heads: size.kv_heads,
        qkv_dim: size.qkv_dim,
        post_norm: PostNorm::Scale,
        ..LayerConfig::default()
    };
    ModelConfig {
        display_name: size.display_name.to_owned(),
        model,
        num_layers: size.n_layers,
        model_dim: size.model_dim,
        layer_configs: vec![layer; size.n_layers as usize],
        eos_id: 1,
        scale_base_names: scaled.map(str::to_owned).to_vec(),
        ..ModelConfig::default()
    }
}

/// Windows in every second layer, caps on scores and logits.
fn gemma2(model: Model, size: &Size) -> ModelConfig {
    let mut config = gemma(model, size);
    config.att_cap = 50.0;
    config.final_cap = 30.0;
    config.secondary_eos_id = 107;
    config.vocab_size = 256_000;
    config.max_seq_len = 8192;
    config.attention_window_sizes = windows(&config, size.window, 2);
    config.layer_configs.iter_mut().for_each(|layer| layer.optimized_gating = false);
    if model == Model::Gemma2_27B {
        config.query_scale = QueryScale::SqrtModelDimDivNumHeads;
    }
    config
}

/// Windows in five of six layers, norms of queries and keys.
fn gemma3(model: Model, size: &Size) -> ModelConfig {
    let mut config = gemma(model, size);
    config.secondary_eos_id = 106;
    config.vocab_size = 262_144;
    config.max_seq_len = 32 * 1024;
    config.attention_window_sizes = windows(&config, size.window, 6);
    config.layer_configs.iter_mut().for_each(|layer| layer.use_qk_norm = true);
    config
}

fn windows(config: &ModelConfig, window: u32, period: u32) -> Vec<u32> {
    let global = |il: u32| (il + 1) % period == 0;
    (0..config.num_layers).map(|il| if global(il) { config.max_seq_len } else { window }).collect()
}

fn pali_gemma(model: Model, size: &Size, image_size: u32) -> ModelConfig {
    let mut config = gemma2(model, size);
    let billions = if size.n_layers == GEMMA2_2B.n_layers { 3 } else { 10 };
    config.display_name = format!("PaliGemma2_{billions}B_{image_size}");
    config.vocab_size = 256_000 + 1024 + 128;
    add_vit(&mut config, image_size);
    config
}

fn gemma3_vlm(model: Model, size: &Size) -> ModelConfig {
    let mut config = gemma3(model, size);
    add_vit(&mut config, 896);
    config.vit_config.pool_dim = 4;
    config
}

/// SigLIP's encoder (`AddVitConfig`).
fn add_vit(config: &mut ModelConfig, image_size: u32) {
    let vit = &mut config.vit_config;
    vit.model_dim = 1152;
    vit.image_size = image_size;
    vit.patch_width = 14;
    vit.seq_len = (image_size / vit.patch_width).pow(2);
    let layer = LayerConfig {
        model_dim: vit.model_dim,
        ff_hidden_dim: 4304,
        heads: 16,
        kv_heads: 16,
        qkv_dim: 72,
        ff_biases: true,
        layer_type: LayerType::Vit,
        ..LayerConfig::default()
    };
    vit.layer_configs = vec![layer; 27];
    vit.num_scales = 4 * 27;
}

impl Model {
    /// How its prompts are wrapped; `instructed` decides where the model does not (`ChooseWrapping`).
    pub const fn wrapping(self, instructed: Option<bool>) -> PromptWrapping {
        if self.is_pali_gemma() {
            return PromptWrapping::PaliGemma;
        }
        if self.is_vlm() {
            return PromptWrapping::GemmaVlm;
        }
        match instructed {
            Some(false) => PromptWrapping::GemmaPt,
            _ => PromptWrapping::GemmaIt,
        }
    }
}

impl ModelConfig {
    /// The configuration that a specifier names, such as `gemma3-270m-sfp-it` (the third constructor).
    ///
    /// # Errors
    /// [`Error::Specifier`].
    pub fn from_specifier(specifier: &str) -> Result<ModelConfig> {
        let refused = || Error::Specifier { specifier: specifier.to_owned() };
        let begins =
            |model: &Model| specifier.strip_prefix(model.prefix()).is_some_and(|rest| rest.starts_with('-'));
        let model = Model::ALL.into_iter().find(begins).ok_or_else(refused)?;
        let rest = &specifier[model.prefix().len() + 1..];
        let (weight, suffix) = rest.split_at(rest.find('-').unwrap_or(rest.len()));
        let weight = Type::from_name(weight).filter(|&t| t != Type::Unknown).ok_or_else(refused)?;
        let wrapping = match suffix {
            "" => model.wrapping(None),
            suffix => PromptWrapping::ALL.into_iter().find(|w| w.suffix() == suffix).ok_or_else(refused)?,
        };
        config_of(model, weight, wrapping)
    }

    /// A name for model, type and wrapping, which does not change (`Specifier`).
    pub fn specifier(&self) -> String {
        let suffix = match self.wrapping {
            PromptWrapping::GemmaVlm | PromptWrapping::PaliGemma => "",
            other => other.suffix(),
        };
        format!("{}-{}{suffix}", self.model.prefix(), self.weight)
    }

    /// Whether all fields are the same but those that a converter does not set (`TestEqual`).
    pub fn is_like(&self, other: &ModelConfig) -> bool {
        if self.layer_configs.len() != other.layer_configs.len() {
            return false;
        }
        let mut other = other.clone();
        other.display_name.clone_from(&self.display_name);
        other.model = self.model;
        other.pool_dim = self.pool_dim;
        other.eos_id = self.eos_id;
        other.secondary_eos_id = self.secondary_eos_id;
        other.scale_base_names.clone_from(&self.scale_base_names);
        for (other, own) in other.layer_configs.iter_mut().zip(&self.layer_configs) {
            other.optimized_gating = own.optimized_gating;
        }
        *self == other
    }

    /// The known configuration that is like this one (`OverwriteWithCanonical`).
    pub fn canonical(&self) -> Option<ModelConfig> {
        Model::ALL
            .into_iter()
            .filter_map(|model| config_of(model, self.weight, self.wrapping).ok())
            .find(|known| known.is_like(self))
    }

    /// The bytes of the `config` blob.
    ///
    /// # Errors
    /// [`Error::WriteFields`].
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut words = Vec::new();
        fields::write(self, &mut words).map_err(Error::WriteFields)?;
        Ok(fields::bytes(&words))
    }
}
