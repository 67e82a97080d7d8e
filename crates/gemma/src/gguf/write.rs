//! GGUF to `.sbs`: the tensors as gemma.cpp's exporters write them.

use std::io::Write;

use quipu_gguf::GgufSet;
use quipu_quant::dequantize_row;

use super::{SAME, blk, tokenizer};
use crate::config::{LayerConfig, ModelConfig, PromptWrapping};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::models::config_of;
use crate::store::SbsWriter;
use crate::tensors::{TensorInfos, used_tensors};
use crate::types::Type;

/// How to write a `.sbs` file.
#[derive(Clone, Copy, Debug)]
pub struct WriteOptions<'a> {
    /// Type of the matrices; the embedding and vectors are BF16 at least.
    pub weight: Type,
    /// Whether the model was instructed; `None`: if it has a chat template.
    pub instructed: Option<bool>,
    /// A serialised SentencePiece model, instead of one made of the vocabulary.
    pub tokenizer: Option<&'a [u8]>,
}

/// Writes the model of a GGUF file as a `.sbs` file and says what it is.
///
/// Quantised weights are expanded first. Norms lose the 1 that GGUF has added.
///
/// # Errors
/// [`Error`]: a model that gemma.cpp does not know, tensors that are missing or have other shapes, writing.
pub fn write_sbs<W: Write>(set: &GgufSet, options: &WriteOptions<'_>, sink: W) -> Result<(W, ModelConfig)> {
    let config = config_of_gguf(set, options)?;
    Ok((write_sbs_as(set, &config, options, sink)?, config))
}

/// As [`write_sbs`], as the model that `config` says, whatever the GGUF file's sizes are called.
///
/// # Errors
/// As [`write_sbs`].
pub fn write_sbs_as<W: Write>(
    set: &GgufSet,
    config: &ModelConfig,
    options: &WriteOptions<'_>,
    sink: W,
) -> Result<W> {
    let made;
    let tokenizer = if let Some(given) = options.tokenizer {
        given
    } else {
        made = tokenizer::sentencepiece_of(set.metadata())?;
        &made
    };
    let infos = TensorInfos::new(config);
    let mut writer = SbsWriter::new(sink)?;
    for (name, _) in used_tensors(config) {
        let Some(info) = infos.find(&name) else { continue };
        let (rows, cols) = info.extents();
        let Some(mut values) = values_of(set, config, &name)? else { continue };
        if values.len() != rows * cols {
            let what = format!("{} values long in the GGUF file, expected {rows} x {cols}", values.len());
            return Err(Error::Tensor { name, what });
        }
        let dtype = if info.min_size.bits() > options.weight.bits() { info.min_size } else { options.weight };
        // What is at most I8 may be anything.
        let dtype = if info.min_size == Type::I8 { options.weight } else { dtype };
        writer.encode(&name, dtype, rows, cols, &mut values)?;
    }
    writer.finish(config, Some(tokenizer))
}

/// The configuration of the known model with these sizes.
fn config_of_gguf(set: &GgufSet, options: &WriteOptions<'_>) -> Result<ModelConfig> {
    let metadata = set.metadata();
    let arch = metadata.str("general.architecture")?;
    if !["gemma2", "gemma3"].contains(&arch) {
        let what = format!(
            "the architecture is '{arch}', expected gemma2 or gemma3: gemma.cpp's files hold no other"
        );
        return Err(Error::Convert { what });
    }
    let key = |name: &str| metadata.integer(&format!("{arch}.{name}"));
    let found = [
        key("block_count")?,
        key("embedding_length")?,
        key("feed_forward_length")?,
        key("attention.head_count")?,
        key("attention.head_count_kv")?,
        key("attention.key_length")?,
    ];
    let instructed = options.instructed.unwrap_or_else(|| metadata.contains("tokenizer.chat_template"));
    let known = |model: Model| {
        let config = config_of(model, options.weight, model.wrapping(Some(instructed))).ok()?;
        let layer = config.layer_configs.first()?;
        let own = [
            config.num_layers,
            config.model_dim,
            layer.ff_hidden_dim,
            layer.heads,
            layer.kv_heads,
            layer.qkv_dim,
        ];
        let family = if model.is_gemma3() { "gemma3" } else { "gemma2" };
        (arch == family && own.map(i64::from) == found).then_some(config)
    };
    let mut models = Model::ALL.into_iter().filter(|model| !model.is_pali_gemma());
    let Some(mut config) = models.find_map(known) else {
        let [layers, width, feed, heads, kv_heads, head] = found;
        let what = format!(
            "gemma.cpp knows no model of the architecture '{arch}' with {layers} layers of {width}, a feed-forward of \
             {feed} and {heads} heads ({kv_heads} for keys) of {head}"
        );
        return Err(Error::Convert { what });
    };
    config.vit_config = crate::config::VitConfig::default();
    if config.wrapping == PromptWrapping::GemmaVlm && !instructed {
        config.wrapping = PromptWrapping::GemmaPt;
    }
    let position = set.position("token_embd.weight");
    let position = position.ok_or_else(|| Error::MissingTensor { name: "token_embd.weight".to_owned() })?;
    config.vocab_size = u32::try_from(set.tensor(position)?.ne[1]).unwrap_or(u32::MAX);
    Ok(config)
}

/// The values of a `.sbs` tensor, if its model has it: it is one of the file's, or some of them joined.
fn values_of(set: &GgufSet, config: &ModelConfig, name: &str) -> Result<Option<Vec<f32>>> {
    match name {
        "c_embedding" => return tensor(set, "token_embd.weight").map(Some),
        "c_final_norm" => return vector(set, "output_norm.weight").map(Some),
        _ => {}
    }
    let Some((base, il)) =
        name.rsplit_once('_').and_then(|(base, il)| Some((base, il.parse::<usize>().ok()?)))
    else {
        return Ok(None);
    };
    let layer = &config.layer_configs[il];
    if let Some((_, gguf)) = SAME.iter().find(|(sbs, _)| *sbs == base) {
        let read = if base == "linear_w" { tensor } else { vector };
        return read(set, &blk(il, gguf)).map(Some);
    }
    Ok(match base {
        "qkv_ein" => Some(joined_qkv(set, layer, il)?),
        "att_ein" => Some(by_head(&tensor(set, &blk(il, "attn_output"))?, layer)),
        "gating_ein" => {
            let mut gate = tensor(set, &blk(il, "ffn_gate"))?;
            gate.extend(tensor(set, &blk(il, "ffn_up"))?);
            Some(gate)
        }
        // The others are other forms of these.
        _ => None,
    })
}

fn joined_qkv(set: &GgufSet, layer: &LayerConfig, il: usize) -> Result<Vec<f32>> {
    let mut joined = tensor(set, &blk(il, "attn_q"))?;
    let (k, v) = (tensor(set, &blk(il, "attn_k"))?, tensor(set, &blk(il, "attn_v"))?);
    let per_head = layer.qkv_dim as usize * layer.model_dim as usize;
    for (k, v) in k.chunks(per_head).zip(v.chunks(per_head)) {
        joined.extend_from_slice(k);
        joined.extend_from_slice(v);
    }
    Ok(joined)
}

/// From a row for each output to a matrix for each head.
fn by_head(output: &[f32], layer: &LayerConfig) -> Vec<f32> {
    let (heads, h) = (layer.heads as usize, layer.qkv_dim as usize);
    let mut out = Vec::with_capacity(output.len());
    for head in 0..heads {
        for row in output.chunks_exact(heads * h) {
            out.extend_from_slice(&row[head * h..(head + 1) * h]);
        }
    }
    out
}

fn vector(set: &GgufSet, name: &str) -> Result<Vec<f32>> {
    let mut values = tensor(set, name)?;
    for x in &mut values {
        *x -= 1.0;
    }
    Ok(values)
}

fn tensor(set: &GgufSet, name: &str) -> Result<Vec<f32>> {
    let index = set.position(name).ok_or_else(|| Error::MissingTensor { name: name.to_owned() })?;
    let info = set.tensor(index)?;
    let bytes = set.tensor_data(index)?;
    let mut values = vec![0.0; info.n_elements() as usize];
    dequantize_row(info.dtype, &bytes, &mut values)
        .map_err(|error| Error::Tensor { name: name.to_owned(), what: format!("unreadable: {error}") })?;
    Ok(values)
}
