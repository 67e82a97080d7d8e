//! `.sbs` to GGUF: which rows of which tensors become which, and in what type.

use std::io::{self, Write};
use std::ops::Range;

use quipu_gguf::{GgufFile, GgufWriter, Metadata, Value};
use quipu_quant::DType;

use super::{SAME, blk, tokenizer};
use crate::codec::bf16;
use crate::config::{LayerConfig, LayerType, ModelConfig};
use crate::error::{Error, Result};
use crate::mat::Mat;
use crate::model::Model;
use crate::store::SbsFile;
use crate::types::Type;

/// Values are converted so many at a time, or a row.
const CHUNK: usize = 1 << 16;

/// A model as a GGUF file in memory: for running it. Its memory is that of the weights in BF16.
///
/// # Errors
/// As [`write_gguf`].
pub fn to_gguf(sbs: &SbsFile, tokenizer: Option<&[u8]>) -> Result<GgufFile> {
    let mut bytes = Vec::new();
    write_gguf(sbs, tokenizer, &mut bytes)?;
    Ok(GgufFile::from_vec(bytes)?)
}

/// The keys of the file's vocabulary, without its weights.
///
/// # Errors
/// [`Error::Convert`]: there is none, or it is no SentencePiece model.
pub fn vocabulary(sbs: &SbsFile) -> Result<Metadata> {
    let tokenizer = sbs.tokenizer()?.ok_or_else(no_tokenizer)?;
    let mut metadata = Metadata::default();
    tokenizer::vocabulary_of(&tokenizer, &mut metadata)?;
    ends(sbs.config(), &mut metadata);
    Ok(metadata)
}

/// The ids that end a text (`ModelConfig::IsEOS`): the second one is the end of a turn.
fn ends(config: &ModelConfig, metadata: &mut Metadata) {
    let ids = [("eos", config.eos_id), ("eot", config.secondary_eos_id)];
    for (name, id) in ids.into_iter().take(1 + usize::from(config.eos_id != config.secondary_eos_id)) {
        if let Some(id) = u32::try_from(id).ok().filter(|id| *id < config.vocab_size) {
            metadata.set(&format!("tokenizer.ggml.{name}_token_id"), Value::U32(id));
        }
    }
}

fn no_tokenizer() -> Error {
    Error::Convert { what: "the file has no tokenizer, and none was given".to_owned() }
}

/// Writes a model as a GGUF file; `tokenizer`, a SentencePiece model, replaces that of the file.
///
/// # Errors
/// [`Error`]: tensors that are missing, a model without vocabulary, layers that GGUF does not know, writing.
pub fn write_gguf(sbs: &SbsFile, tokenizer: Option<&[u8]>, sink: &mut impl Write) -> Result<()> {
    let own = if tokenizer.is_some() { None } else { sbs.tokenizer()? };
    let tokenizer = tokenizer.or(own.as_deref()).ok_or_else(no_tokenizer)?;
    let planned = plan(sbs)?;
    let mut writer = GgufWriter::new();
    metadata(sbs, &mut writer);
    tokenizer::vocabulary_of(tokenizer, &mut writer.metadata)?;
    ends(sbs.config(), &mut writer.metadata);
    writer.metadata.set("general.quantization_version", Value::U32(2));
    for tensor in &planned {
        writer.add_tensor(&tensor.name, tensor.dtype, &tensor.dims())?;
    }
    // The sink speaks of I/O; what went wrong here is kept beside it.
    let mut failed = None;
    let written = writer.write_to(sink, |i, sink| match planned[i].write(sbs, sink) {
        Ok(()) => Ok(()),
        Err(Error::Write { source, .. }) => Err(source),
        Err(error) => {
            failed = Some(error);
            Err(io::Error::other("the tensor could not be converted"))
        }
    });
    match failed {
        Some(error) => Err(error),
        None => Ok(written?),
    }
}

/// A tensor of the GGUF file.
struct Planned {
    name: String,
    dtype: DType,
    rows: usize,
    cols: usize,
    /// A vector, that is, a norm: one is added.
    vector: bool,
    from: From,
}

/// Where its rows are.
enum From {
    /// Rows of a tensor, in this order.
    Rows(String, Vec<Range<usize>>),
    /// A row is one row from each of so many matrices behind each other.
    Heads(String, usize),
}

impl Planned {
    fn dims(&self) -> Vec<u64> {
        if self.vector { vec![self.cols as u64] } else { vec![self.cols as u64, self.rows as u64] }
    }

    fn write(&self, sbs: &SbsFile, sink: &mut dyn Write) -> Result<()> {
        match &self.from {
            From::Rows(name, ranges) => {
                let at_once = (CHUNK / self.cols).max(1);
                for range in ranges {
                    for first in range.clone().step_by(at_once) {
                        let n = at_once.min(range.end - first);
                        let from = first as u64 * self.cols as u64;
                        self.put(sbs.values(name, from, n * self.cols)?, sink)?;
                    }
                }
                Ok(())
            }
            From::Heads(name, n_heads) => {
                let per_head = self.cols / n_heads;
                let all = sbs.values(name, 0, self.rows * self.cols)?;
                let heads: Vec<&[f32]> = all.chunks(self.rows * per_head).collect();
                for row in 0..self.rows {
                    let parts = heads.iter().map(|head| &head[row * per_head..(row + 1) * per_head]);
                    self.put(parts.collect::<Vec<_>>().concat(), sink)?;
                }
                Ok(())
            }
        }
    }

    fn put(&self, mut values: Vec<f32>, sink: &mut dyn Write) -> Result<()> {
        if self.vector {
            for x in &mut values {
                *x += 1.0;
            }
        }
        let bytes: Vec<u8> = match self.dtype {
            DType::BF16 => values.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect(),
            _ => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        };
        let what = || format!("tensor '{}'", self.name);
        sink.write_all(&bytes).map_err(|source| Error::Write { what: what(), source })
    }
}

/// The smallest type of ggml that has the values that gemma.cpp's kernels multiply.
fn dtype_of(mat: &Mat) -> DType {
    // A power of two changes no mantissa; exponents this small cannot leave bf16's range.
    let exact = mat.scale.to_bits().trailing_zeros() >= 23 && (1e-20..1e20).contains(&mat.scale);
    match mat.dtype {
        Type::Sfp | Type::Nuq | Type::Bf16 if exact => DType::BF16,
        // Rounded, as there.
        Type::I8 if mat.scale == 1.0 => DType::BF16,
        _ => DType::F32,
    }
}

fn plan(sbs: &SbsFile) -> Result<Vec<Planned>> {
    let config = sbs.config();
    let mut planned = Vec::new();
    planned.push(whole(sbs, "c_embedding", "token_embd.weight".to_owned())?);
    planned.push(whole(sbs, "c_final_norm", "output_norm.weight".to_owned())?);
    for (il, layer) in config.layer_configs.iter().enumerate() {
        if layer.layer_type != LayerType::Gemma || layer.ff_biases {
            let what = format!(
                "layer {il} has biases or is of an image encoder, which gemma's layers in GGUF are not"
            );
            return Err(Error::Convert { what });
        }
        attention(sbs, layer, il, &mut planned)?;
        feed_forward(sbs, layer, il, &mut planned)?;
        for (name, gguf) in SAME {
            let name = format!("{name}_{il}");
            if sbs.find(&name).is_some() {
                planned.push(whole(sbs, &name, blk(il, gguf))?);
            }
        }
    }
    Ok(planned)
}

fn required<'a>(sbs: &'a SbsFile, name: &str) -> Result<&'a Mat> {
    sbs.find(name).ok_or_else(|| Error::MissingTensor { name: name.to_owned() })
}

fn whole(sbs: &SbsFile, name: &str, gguf: String) -> Result<Planned> {
    let mat = required(sbs, name)?;
    let (rows, cols) = (mat.rows as usize, mat.cols as usize);
    let vector = rows == 1;
    let dtype = if vector { DType::F32 } else { dtype_of(mat) };
    Ok(Planned {
        name: gguf,
        dtype,
        rows,
        cols,
        vector,
        from: From::Rows(name.to_owned(), std::iter::once(0..rows).collect()),
    })
}

/// Rows of a matrix as a matrix.
fn rows_of(mat: &Mat, ranges: Vec<Range<usize>>, gguf: String) -> Result<Planned> {
    let n = ranges.iter().map(ExactSizeIterator::len).sum();
    let (cols, end) = (mat.cols as usize, ranges.iter().map(|range| range.end).max());
    if end.is_none_or(|end| end > mat.rows as usize) {
        let what = format!("{} rows long, expected {} or more", mat.rows, end.unwrap_or(0));
        return Err(Error::Tensor { name: mat.name.clone(), what });
    }
    let from = From::Rows(mat.name.clone(), ranges);
    Ok(Planned { name: gguf, dtype: dtype_of(mat), rows: n, cols, vector: false, from })
}

fn attention(sbs: &SbsFile, layer: &LayerConfig, il: usize, planned: &mut Vec<Planned>) -> Result<()> {
    let (heads, kv_heads, h) = (layer.heads as usize, layer.kv_heads as usize, layer.qkv_dim as usize);
    let joined = sbs.find(&format!("qkv_ein_{il}"));
    let (q, kv, first_kv) = match joined {
        Some(qkv) => (qkv, qkv, heads * h),
        None => (required(sbs, &format!("qkv1_w_{il}"))?, required(sbs, &format!("qkv2_w_{il}"))?, 0),
    };
    planned.push(rows_of(q, std::iter::once(0..heads * h).collect(), blk(il, "attn_q"))?);
    // Key and value of a head follow each other.
    let every_second = |nth: usize| {
        (0..kv_heads).map(|head| first_kv + (2 * head + nth) * h).map(|first| first..first + h).collect()
    };
    planned.push(rows_of(kv, every_second(0), blk(il, "attn_k"))?);
    planned.push(rows_of(kv, every_second(1), blk(il, "attn_v"))?);

    let (name, per_head) = (blk(il, "attn_output"), format!("att_ein_{il}"));
    let output = if let Some(mat) = sbs.find(&format!("att_w_{il}")) {
        whole(sbs, &mat.name, name)?
    } else {
        let mat = required(sbs, &per_head)?;
        let rows = mat.rows as usize / heads.max(1);
        let from = From::Heads(per_head, heads.max(1));
        Planned { name, dtype: dtype_of(mat), rows, cols: heads * h, vector: false, from }
    };
    planned.push(output);
    Ok(())
}

fn feed_forward(sbs: &SbsFile, layer: &LayerConfig, il: usize, planned: &mut Vec<Planned>) -> Result<()> {
    let f = layer.ff_hidden_dim as usize;
    let halves = match sbs.find(&format!("gating_ein_{il}")) {
        Some(joined) => [(joined, 0), (joined, f)],
        None => {
            [(required(sbs, &format!("gating1_w_{il}"))?, 0), (required(sbs, &format!("gating2_w_{il}"))?, 0)]
        }
    };
    for ((mat, first), name) in halves.into_iter().zip(["ffn_gate", "ffn_up"]) {
        planned.push(rows_of(mat, std::iter::once(first..first + f).collect(), blk(il, name))?);
    }
    Ok(())
}

/// The keys of `gemma2` and `gemma3`, as the reference's converter sets them.
fn metadata(sbs: &SbsFile, writer: &mut GgufWriter) {
    let config = sbs.config();
    let arch = if config.model.is_gemma3() { "gemma3" } else { "gemma2" };
    let layer = &config.layer_configs[0];
    let metadata = &mut writer.metadata;
    metadata.set("general.architecture", Value::from(arch));
    metadata.set("general.type", Value::from("model"));
    metadata.set("general.name", Value::from(config.display_name.as_str()));
    let mut set = |key: &str, value: Value| metadata.set(&format!("{arch}.{key}"), value);
    set("context_length", Value::U32(config.max_seq_len));
    set("embedding_length", Value::U32(config.model_dim));
    set("block_count", Value::U32(config.num_layers));
    set("feed_forward_length", Value::U32(layer.ff_hidden_dim));
    set("attention.head_count", Value::U32(layer.heads));
    set("attention.head_count_kv", Value::U32(layer.kv_heads));
    set("attention.layer_norm_rms_epsilon", Value::F32(1e-6));
    set("attention.key_length", Value::U32(layer.qkv_dim));
    set("attention.value_length", Value::U32(layer.qkv_dim));
    let window = config.attention_window_sizes.iter().copied().filter(|&n| n != config.max_seq_len).max();
    if let Some(window) = window {
        set("attention.sliding_window", Value::U32(window));
    }
    if config.model.is_gemma3() {
        set("rope.freq_base", Value::F32(1e6));
    }
    // The larger ones were stretched to their context; gemma.cpp does not do so.
    if matches!(config.model, Model::Gemma3_4B | Model::Gemma3_12B | Model::Gemma3_27B) {
        set("rope.scaling.type", Value::from("linear"));
        set("rope.scaling.factor", Value::F32(8.0));
    }
    if config.att_cap != 0.0 {
        set("attn_logit_softcapping", Value::F32(config.att_cap));
    }
    if config.final_cap != 0.0 {
        set("final_logit_softcapping", Value::F32(config.final_cap));
    }
    let file_type = if config.weight == Type::F32 { 0 } else { 32 };
    metadata.set("general.file_type", Value::U32(file_type));
}
