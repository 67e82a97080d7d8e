//! The tensors of a model: names, shapes, where they come from and how far they may be compressed.
//!
//! Answers to gemma.cpp's `gemma/tensor_info` (the registry) and to the order of `gemma/weights` (`ForEachTensor`), in
//! which tensors are written.

use std::collections::HashMap;

use crate::config::{LayerConfig, LayerType, ModelConfig, PostNorm, PromptWrapping};
use crate::types::Type;

/// A tensor of a model. Answers to `TensorInfo`.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorInfo {
    /// Its name in the file, at most 16 bytes, with the layer's suffix.
    pub name: String,
    /// Ends of its names in the Python model.
    pub source_names: Vec<&'static str>,
    /// As `source_names`, with the layer's number in them.
    pub layer_source_names: Vec<String>,
    /// Shape before the transposition, where dimensions must be split; usually empty.
    pub preshape: Vec<usize>,
    /// Transposition from the Python model's axes.
    pub axes: Vec<u32>,
    /// Shape after it, slowest first.
    pub shape: Vec<usize>,
    /// The result's name and the tensors behind this one, if it is the first of several; one empty name if it is one of
    /// the others.
    pub concat_names: Vec<String>,
    /// Axis along which they are joined.
    pub concat_axis: u32,
    /// The smallest type that it may be stored in.
    pub min_size: Type,
    /// Whether `[10, 20, 30]` is stored as 10 x 600 and not as 200 x 30.
    pub cols_take_extra_dims: bool,
}

impl TensorInfo {
    /// Rows and columns in the file; 0 x 0 if the model has no such tensor (`ExtentsFromInfo`).
    pub fn extents(&self) -> (usize, usize) {
        let Some((&last, rest)) = self.shape.split_last() else { return (0, 0) };
        let (rows, cols) = if self.cols_take_extra_dims {
            let (first, middle) = rest.split_first().map_or((1, rest), |(first, middle)| (*first, middle));
            (first, middle.iter().product::<usize>() * last)
        } else {
            (rest.iter().product(), last)
        };
        if rows == 0 || cols == 0 { (0, 0) } else { (rows, cols) }
    }
}

/// All tensors that a model may have. Answers to `TensorInfoRegistry`.
#[derive(Clone, Debug)]
pub struct TensorInfos {
    infos: Vec<TensorInfo>,
    by_name: HashMap<String, usize>,
}

impl TensorInfos {
    /// The tensors of `config`'s model.
    pub fn new(config: &ModelConfig) -> TensorInfos {
        let mut infos = model_tensors(config);
        for (il, layer) in config.layer_configs.iter().enumerate() {
            infos.extend(layer_tensors(config, layer, il));
        }
        for (il, layer) in config.vit_config.layer_configs.iter().enumerate() {
            infos.extend(image_layer_tensors(config, layer, il));
        }
        let by_name = infos.iter().enumerate().map(|(i, info)| (info.name.clone(), i)).collect();
        TensorInfos { infos, by_name }
    }

    /// All of them, in the reference's order.
    pub fn infos(&self) -> &[TensorInfo] {
        &self.infos
    }

    /// The tensor of that name.
    pub fn find(&self, name: &str) -> Option<&TensorInfo> {
        self.by_name.get(name).map(|&i| &self.infos[i])
    }

    /// The tensor that a path of the Python model ends with (`TensorInfoFromSourcePath`).
    pub fn by_source_path(&self, path: &str, il: Option<usize>) -> Option<&TensorInfo> {
        let ends = |info: &&TensorInfo| {
            info.source_names.iter().any(|name| path.ends_with(name))
                || info.layer_source_names.iter().any(|name| path.ends_with(name.as_str()))
        };
        let found = self.infos.iter().find(ends)?;
        match il {
            None => Some(found),
            Some(il) => self.find(&format!("{}_{il}", base_name(&found.name))),
        }
    }
}

/// A name without its layer's suffix (`StripLayerSuffix`).
pub fn base_name(name: &str) -> &str {
    match name.rsplit_once('_') {
        Some((base, number)) if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) => base,
        _ => name,
    }
}

/// The layer in a name, 0 if there is none (`LayerIdxFromKey`).
pub(crate) fn layer_of(name: &str) -> usize {
    let number = name.rsplit_once('_').map_or("", |(_, number)| number);
    let digits = number.bytes().take_while(u8::is_ascii_digit).count();
    number[..digits].parse().unwrap_or(0)
}

/// Whether a tensor must be in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It must.
    Must,
    /// It may: there are others that could stand for it.
    May,
}

/// The names of the tensors that a model uses, in the order in which they are written (`WeightsPtrs::ForEachTensor`).
pub fn used_tensors(config: &ModelConfig) -> Vec<(String, Presence)> {
    use Presence::{May, Must};
    let mut names: Vec<(String, Presence)> = Vec::new();
    let mut add = |list: &[&str], presence: Presence, il: Option<usize>| {
        names.extend(list.iter().map(|name| match il {
            Some(il) => (format!("{name}_{il}"), presence),
            None => ((*name).to_owned(), presence),
        }));
    };
    add(&["c_embedding", "c_final_norm"], Must, None);
    if config.has_vit() {
        let image = [
            "enc_norm_bias",
            "enc_norm_scale",
            "img_emb_bias",
            "img_emb_kernel",
            "img_pos_emb",
            "img_head_bias",
            "img_head_kernel",
        ];
        add(&image, Must, None);
        if config.wrapping == PromptWrapping::GemmaVlm {
            add(&["mm_embed_norm"], Must, None);
        }
    }
    let layers = config.layer_configs.iter().enumerate();
    for (il, layer) in layers.chain(config.vit_config.layer_configs.iter().enumerate()) {
        let il = Some(il);
        if layer.layer_type == LayerType::Vit {
            let vit = [
                "attn_out_w",
                "attn_out_b",
                "qkv_ein_w",
                "qkv_ein_b",
                "linear_0_w",
                "linear_0_b",
                "linear_1_w",
                "linear_1_b",
                "ln_0_bias",
                "ln_0_scale",
                "ln_1_bias",
                "ln_1_scale",
            ];
            add(&vit, Must, il);
            continue;
        }
        add(&["att_w", "att_ein", "qkv_ein", "qkv1_w", "qkv2_w"], May, il);
        add(&["gating_ein", "gating1_w", "gating2_w", "linear_w"], May, il);
        add(&["pre_att_ns", "pre_ff_ns"], Must, il);
        if layer.post_norm == PostNorm::Scale {
            add(&["post_att_ns", "post_ff_ns"], Must, il);
        }
        if layer.use_qk_norm {
            add(&["key_norm", "query_norm"], Must, il);
        }
        if layer.ff_biases {
            add(&["ffw_gat_b", "ffw_out_b"], Must, il);
        }
    }
    names
}

/// What a line of the tables below says; the rest is as in most lines.
fn info(
    suffix: &str,
    name: &str,
    sources: &[&'static str],
    axes: &[u32],
    shape: &[usize],
    min_size: Type,
) -> TensorInfo {
    TensorInfo {
        name: format!("{name}{suffix}"),
        source_names: sources.to_vec(),
        layer_source_names: Vec::new(),
        preshape: Vec::new(),
        axes: axes.to_vec(),
        shape: shape.to_vec(),
        concat_names: Vec::new(),
        concat_axis: 0,
        min_size,
        cols_take_extra_dims: false,
    }
}

/// `first` begins the joined tensor `names[0]`, of which the rest are parts.
fn joined(first: TensorInfo, suffix: &str, names: &[&str], axis: u32) -> TensorInfo {
    let concat_names = names.iter().map(|name| format!("{name}{suffix}")).collect();
    TensorInfo { concat_names, concat_axis: axis, ..first }
}

/// A part of a joined tensor.
fn part(info: TensorInfo, suffix: &str) -> TensorInfo {
    TensorInfo { concat_names: vec![suffix.to_owned()], ..info }
}

fn model_tensors(config: &ModelConfig) -> Vec<TensorInfo> {
    use Type::{Bf16, F32};
    let d = config.model_dim as usize;
    let vit = &config.vit_config;
    let (v, patch) = (vit.model_dim as usize, vit.patch_width as usize);
    let kernel =
        info("", "img_emb_kernel", &["img/embedding/kernel"], &[3, 0, 1, 2], &[v, patch, patch, 3], Bf16);
    let head_bias = ["img/head/bias", "embedder/mm_input_projection/b"];
    let head_kernel = ["img/head/kernel", "embedder/mm_input_projection/w"];
    let embedding = [config.vocab_size as usize, d];
    vec![
        info("", "c_embedding", &["embedder/input_embedding"], &[0, 1], &embedding, Bf16),
        info("", "c_final_norm", &["final_norm/scale"], &[0], &[d], Bf16),
        info("", "enc_norm_bias", &["img/Transformer/encoder_norm/bias"], &[0], &[v], Bf16),
        info("", "enc_norm_scale", &["img/Transformer/encoder_norm/scale"], &[0], &[v], Bf16),
        info("", "img_emb_bias", &["img/embedding/bias"], &[0], &[v], F32),
        TensorInfo { cols_take_extra_dims: true, ..kernel },
        info("", "img_head_bias", &head_bias, &[0], &[d], F32),
        info("", "img_head_kernel", &head_kernel, &[1, 0], &[d, v], Bf16),
        info("", "img_pos_emb", &["img/pos_embedding"], &[0, 1], &[vit.seq_len as usize, v], F32),
        info("", "mm_embed_norm", &["embedder/mm_soft_embedding_norm/scale"], &[0], &[v], Bf16),
    ]
}

fn image_layer_tensors(config: &ModelConfig, layer: &LayerConfig, il: usize) -> Vec<TensorInfo> {
    use Type::{Bf16, F32};
    let s = format!("_{il}");
    let s = s.as_str();
    let v = config.vit_config.model_dim as usize;
    let (heads, kv_heads, h) = (layer.heads as usize, layer.kv_heads as usize, layer.qkv_dim as usize);
    let f = layer.ff_hidden_dim as usize;
    let einsum = &[heads, h, v];
    let out = info(
        s,
        "attn_out_w",
        &["MultiHeadDotProductAttention_0/out/kernel"],
        &[2, 0, 1],
        &[v, heads, h],
        Bf16,
    );
    let q = info(s, "q_ein_w", &["MultiHeadDotProductAttention_0/query/kernel"], &[1, 2, 0], einsum, Bf16);
    let k = info(s, "k_ein_w", &["MultiHeadDotProductAttention_0/key/kernel"], &[1, 2, 0], einsum, Bf16);
    let value =
        info(s, "v_ein_w", &["MultiHeadDotProductAttention_0/value/kernel"], &[1, 2, 0], einsum, Bf16);
    let qkv_sources = ["MultiHeadDotProductAttention_0/qkv/kernel"];
    let q_bias =
        info(s, "q_ein_b", &["MultiHeadDotProductAttention_0/query/bias"], &[0, 1], &[heads, h], F32);
    let k_bias =
        info(s, "k_ein_b", &["MultiHeadDotProductAttention_0/key/bias"], &[0, 1], &[kv_heads, h], F32);
    let v_bias =
        info(s, "v_ein_b", &["MultiHeadDotProductAttention_0/value/bias"], &[0, 1], &[kv_heads, h], F32);
    let qkv_bias = [heads + kv_heads * 2, h];
    let norm = |name: &str, source: &'static str, tail: &str| {
        let numbered = format!("img/Transformer/encoderblock_{il}/{tail}");
        TensorInfo { layer_source_names: vec![numbered], ..info(s, name, &[source], &[0], &[v], Bf16) }
    };
    vec![
        TensorInfo { cols_take_extra_dims: true, ..out },
        info(s, "attn_out_b", &["MultiHeadDotProductAttention_0/out/bias"], &[0], &[v], F32),
        joined(q, s, &["qkv_ein_w", "k_ein_w", "v_ein_w"], 1),
        part(k, s),
        part(value, s),
        info(s, "qkv_ein_w", &qkv_sources, &[1, 2, 0], &[heads, 3 * h, v], Bf16),
        joined(q_bias, s, &["qkv_ein_b", "k_ein_b", "v_ein_b"], 1),
        part(k_bias, s),
        part(v_bias, s),
        info(s, "qkv_ein_b", &["MultiHeadDotProductAttention_0/qkv/bias"], &[0, 1], &qkv_bias, F32),
        info(s, "linear_0_w", &["MlpBlock_0/Dense_0/kernel"], &[1, 0], &[f, v], Bf16),
        info(s, "linear_0_b", &["MlpBlock_0/Dense_0/bias"], &[0], &[f], F32),
        info(s, "linear_1_w", &["MlpBlock_0/Dense_1/kernel"], &[1, 0], &[v, f], Bf16),
        info(s, "linear_1_b", &["MlpBlock_0/Dense_1/bias"], &[0], &[v], F32),
        norm("ln_0_bias", "img/Transformer/encoderblock/LayerNorm_0/bias", "LayerNorm_0/bias"),
        norm("ln_0_scale", "img/Transformer/encoderblock/LayerNorm_0/scale", "LayerNorm_0/scale"),
        norm("ln_1_bias", "img/Transformer/encoderblock/LayerNorm_1/bias", "LayerNorm_1/bias"),
        norm("ln_1_scale", "img/Transformer/encoderblock/LayerNorm_1/scale", "LayerNorm_1/scale"),
    ]
}

fn layer_tensors(config: &ModelConfig, layer: &LayerConfig, il: usize) -> Vec<TensorInfo> {
    use Type::{Bf16, F32, I8};
    let s = format!("_{il}");
    let s = s.as_str();
    let d = config.model_dim as usize;
    let own = layer.model_dim as usize;
    let (heads, kv_heads, h) = (layer.heads as usize, layer.kv_heads as usize, layer.qkv_dim as usize);
    let f = layer.ff_hidden_dim as usize;
    let gating: &[u32] = if layer.optimized_gating { &[0, 1, 2] } else { &[0, 2, 1] };
    let gating_sources = ["mlp/gating_einsum/w", "mlp/gating_einsum", "mlp_block/ffw_up/w"];
    let linear_sources = ["mlp/linear/w", "mlp/linear", "mlp_block/ffw_down/kernel"];
    let q1 = info(s, "qkv1_w", &["attn/q_einsum/w"], &[0, 2, 1], &[heads * h, d], I8);
    let q2 = info(s, "qkv2_w", &["attn/kv_einsum/w"], &[1, 0, 3, 2], &[2 * kv_heads * h, d], I8);
    let q = info(s, "q_ein", &["attention_block/proj_q/kernel"], &[1, 0], &[own, own], I8);
    let k = info(s, "k_ein", &["attention_block/proj_k/kernel"], &[1, 0], &[h, own], I8);
    let value = info(s, "v_ein", &["attention_block/proj_v/kernel"], &[1, 0], &[h, own], I8);
    let qkv = [(heads + 2 * kv_heads) * h, d];
    let att_sources = ["attn/attn_vec_einsum/w", "attention_block/proj_final/kernel"];
    let att_ein = info(s, "att_ein", &att_sources, &[0, 2, 1], &[heads, d, h], I8);
    let att_w = info(s, "att_w", &[], &[], &[d, heads, h], I8);
    let norm = |name: &str, sources: &[&'static str]| info(s, name, sources, &[0], &[d], Bf16);
    vec![
        info(s, "key_norm", &["attn/_key_norm/scale"], &[0], &[h], Bf16),
        info(s, "query_norm", &["attn/_query_norm/scale"], &[0], &[h], Bf16),
        joined(q1, s, &["qkv_ein", "qkv2_w"], 0),
        part(q2, s),
        joined(q, s, &["qkv_ein", "k_ein", "v_ein"], 0),
        part(k, s),
        part(value, s),
        info(s, "qkv_ein", &["attn/qkv_einsum/w"], &[1, 0, 3, 2], &qkv, I8),
        info(s, "attn_ob", &["attention_block/proj_final/bias"], &[0], &[d], F32),
        info(s, "gating_ein", &gating_sources, gating, &[2, f, d], I8),
        info(s, "gating1_w", &["none"], gating, &[f, d], I8),
        info(s, "gating2_w", &["none"], gating, &[f, d], I8),
        info(s, "linear_w", &linear_sources, &[1, 0], &[d, f], I8),
        norm("pre_att_ns", &["pre_attention_norm/scale", "temporal_pre_norm/scale"]),
        norm("pre_ff_ns", &["pre_ffw_norm/scale", "channel_pre_norm/scale"]),
        norm("post_att_ns", &["post_attention_norm/scale"]),
        norm("post_ff_ns", &["post_ffw_norm/scale"]),
        info(s, "ffw_gat_b", &["mlp_block/ffw_up/b"], &[0], &[2 * f], F32),
        info(s, "ffw_out_b", &["mlp_block/ffw_down/bias"], &[0], &[d], F32),
        TensorInfo { preshape: vec![heads, h, d], ..att_ein },
        TensorInfo { cols_take_extra_dims: true, ..att_w },
    ]
}
