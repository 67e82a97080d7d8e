//! Tensors that families store in another way than GGUF does: fused, split, the other way round, in MXFP4. Answers to the
//! `modify_tensors` of the model classes, but for names and stacks, which are tables of `families`.

use super::config::{Config, Family};
use super::error::{ConvertError, Result};
use super::families::{bert, gpt2, mamba};
use super::safetensors::{Checkpoint, Tensor};
use super::source::{Map, Source, View};

/// A tensor to be, under the checkpoint's kind of name; GGUF's follows from the family's table.
#[derive(Debug)]
pub(super) struct Part {
    /// The name.
    pub name: String,
    /// Shape, outermost first.
    pub shape: Vec<usize>,
    /// The values.
    pub source: Source,
}

impl Part {
    fn new(name: impl Into<String>, shape: &[usize], source: Source) -> Part {
        Part { name: name.into(), shape: shape.to_vec(), source }
    }

    fn plain(name: impl Into<String>, tensor: &Tensor) -> Part {
        Part::new(name, &tensor.shape, Source::Plain(tensor.clone()))
    }

    fn view(name: impl Into<String>, tensor: &Tensor, view: View) -> Part {
        let shape = view.shape.clone();
        Part { name: name.into(), shape, source: Source::Views(tensor.clone(), vec![view]) }
    }
}

fn wrong_shape(name: &str, tensor: &Tensor, expected: impl Into<String>) -> ConvertError {
    ConvertError::TensorShape {
        name: name.to_owned(),
        found: tensor.shape.clone(),
        expected: expected.into(),
    }
}

/// The name that a family's table knows, and `None` for tensors that are left out.
pub(super) fn full_name(name: &str, config: &Config) -> Option<String> {
    let skipped = [".attention.masked_bias", ".attention.bias", ".rotary_emb.inv_freq"];
    if skipped.iter().any(|end| name.ends_with(end)) {
        return None;
    }
    let mut name = name.to_owned();
    if config.family.is_llama() {
        name = name.replace("text_model.", "");
    }
    name.insert_str(0, config.prefix);
    match config.family {
        Family::Bert => bert::kept(&name, &config.raw),
        Family::Gemma | Family::Gemma2 if name == "lm_head.weight" => None,
        Family::GptOss if name.contains("sinks") => Some(format!("{name}.weight")),
        Family::Mamba2 => Some(mamba::renamed(&name)),
        Family::Deepseek2 => {
            let is_tied = config.hparams.get("tie_word_embeddings").is_some_and(super::json::truthy);
            let is_head = name == "lm_head.weight" || name == "model.lm_head.weight";
            // Layers behind the model's predict further tokens.
            let layer = name.strip_prefix("model.layers.").and_then(|rest| rest.split('.').next());
            let is_behind = layer.and_then(|n| n.parse().ok()).is_some_and(|n: usize| n >= config.n_layer);
            (!(is_behind || is_tied && is_head)).then_some(name)
        }
        _ => Some(name),
    }
}

/// The number of heads whose rows are regrouped in a tensor with this name, if they are.
///
/// # Errors
/// The configuration does not say how many there are.
pub(super) fn regrouped_heads(name: &str, config: &Config) -> Result<Option<usize>> {
    let of = |projection: &str| {
        let ends = [".weight", ".bias"];
        ends.iter().any(|end| name.strip_suffix(end).is_some_and(|stem| stem.ends_with(projection)))
    };
    if config.family.is_llama() && of("q_proj") {
        return config.n_head().map(Some);
    }
    if config.family.is_llama() && of("k_proj") {
        return Ok(Some(config.n_head_kv()?.map_or_else(|| config.n_head(), Ok)?));
    }
    Ok(None)
}

/// Whether a matrix has a row for each input, where GGUF's have one for each output.
pub(super) fn is_transposed(name: &str, family: Family) -> bool {
    family == Family::Gpt2 && gpt2::TRANSPOSED.iter().any(|end| name.ends_with(end))
}

/// What becomes of a tensor: one part for most, several, or none.
///
/// # Errors
/// A shape that cannot be taken apart as the family does it; missing sizes.
pub(super) fn of(
    name: String,
    tensor: &Tensor,
    config: &Config,
    checkpoint: &Checkpoint,
) -> Result<Vec<Part>> {
    match config.family {
        family if is_transposed(&name, family) => {
            let &[a, b] = &tensor.shape[..] else { return Err(wrong_shape(&name, tensor, "two dimensions")) };
            Ok(vec![Part::view(name, tensor, View::transposed(a, b))])
        }
        Family::Falcon if name.contains("query_key_value") => falcon_qkv(name, tensor, config),
        Family::Deepseek2 if name.ends_with("kv_b_proj.weight") => latent_kv(&name, tensor, config),
        Family::GptOss => gpt_oss(name, tensor),
        Family::Qwen2Moe | Family::Qwen3Moe | Family::Olmoe => qwen_moe(name, tensor),
        Family::Mamba | Family::Mamba2 => mamba(name, tensor, config, checkpoint),
        _ => plain(name, tensor, config),
    }
}

fn plain(name: String, tensor: &Tensor, config: &Config) -> Result<Vec<Part>> {
    if let Some(n_head) = regrouped_heads(&name, config)? {
        check_heads(&name, tensor, n_head)?;
        return Ok(vec![Part::new(name, &tensor.shape, Source::heads(tensor.clone(), n_head))]);
    }
    let mut tensor = tensor.clone();
    if config.family == Family::Gemma3
        && name.contains("embed_tokens.weight")
        && let (Some(n_vocab), Some(rows)) = (config.n_vocab()?, tensor.shape.first_mut())
    {
        // Rows behind the vocabulary.
        *rows = (*rows).min(n_vocab);
    }
    if config.family.is_gemma() && name.ends_with("norm.weight") {
        return Ok(vec![Part::new(name, &tensor.shape.clone(), Source::Mapped(tensor, Map::PlusOne))]);
    }
    Ok(vec![Part::plain(name, &tensor)])
}

/// Rows that are to be regrouped must be whole heads of two halves.
///
/// # Errors
/// They are not.
pub(super) fn check_heads(name: &str, tensor: &Tensor, n_head: usize) -> Result<()> {
    let found = tensor.shape.first().copied().unwrap_or(0);
    let expected = n_head.saturating_mul(2);
    if found == 0 || !found.is_multiple_of(expected) {
        return Err(ConvertError::HeadRows { name: name.to_owned(), found, expected });
    }
    Ok(())
}

/// Groups of queries with their key and value become all queries, all keys, all values.
fn falcon_qkv(name: String, tensor: &Tensor, config: &Config) -> Result<Vec<Part>> {
    let n_head = config.size(&["num_attention_heads", "n_head"])?;
    let n_head_kv = match config.find(&["num_kv_heads", "n_head_kv"]) {
        Some(_) => config.size(&["num_kv_heads", "n_head_kv"])?,
        None => 1,
    };
    let head_dim = config.size(&["hidden_size"])? / n_head;
    let row = head_dim * n_head;
    let in_group = n_head / n_head_kv + 2;
    let expected = n_head_kv.checked_mul(in_group).and_then(|n| n.checked_mul(head_dim));
    let whole = n_head.is_multiple_of(n_head_kv) && head_dim > 0;
    if !whole || expected.is_none_or(|rows| tensor.shape != [rows, row]) {
        let expected = format!("{n_head_kv} groups of {in_group} heads of {head_dim} rows of {row}");
        return Err(wrong_shape(&name, tensor, expected));
    }
    let head = head_dim * row;
    let pick = |first: usize, n: usize| View {
        offset: first * head,
        shape: vec![n_head_kv, n * head],
        strides: vec![in_group * head, 1],
    };
    let views = vec![pick(0, in_group - 2), pick(in_group - 2, 1), pick(in_group - 1, 1)];
    Ok(vec![Part::new(name, &tensor.shape, Source::Views(tensor.clone(), views))])
}

/// Keys and values from the latent ones, by head: those of keys the other way round, as they are absorbed by queries.
fn latent_kv(name: &str, tensor: &Tensor, config: &Config) -> Result<Vec<Part>> {
    let n_head = config.size(&["num_key_value_heads"])?;
    let (n_key, n_value) = (config.size(&["qk_nope_head_dim"])?, config.size(&["v_head_dim"])?);
    let of_head = n_key + n_value;
    let &[rows, rank] = &tensor.shape[..] else { return Err(wrong_shape(name, tensor, "two dimensions")) };
    if n_head.checked_mul(of_head) != Some(rows) {
        return Err(wrong_shape(name, tensor, format!("{n_head} heads of {of_head} rows")));
    }
    let keys = View { offset: 0, shape: vec![n_head, rank, n_key], strides: vec![of_head * rank, 1, rank] };
    let values = View {
        offset: n_key * rank,
        shape: vec![n_head, n_value, rank],
        strides: vec![of_head * rank, rank, 1],
    };
    Ok(vec![
        Part::view(name.replace("kv_b_proj", "k_b_proj"), tensor, keys),
        Part::view(name.replace("kv_b_proj", "v_b_proj"), tensor, values),
    ])
}

/// Experts in stacks, gate and up in turns; those in MXFP4 stand before all others ([`packed_experts`]).
fn gpt_oss(name: String, tensor: &Tensor) -> Result<Vec<Part>> {
    let is_packed = name.contains("_blocks") || name.contains("_scales");
    let of_experts = name.contains("down_proj") || name.contains("gate_up_proj");
    if of_experts && is_packed {
        return Ok(Vec::new());
    }
    if let Some(stem) = name.strip_suffix("down_proj_bias") {
        return Ok(vec![Part::plain(format!("{stem}down_proj.bias"), tensor)]);
    }
    if let Some(stem) = name.strip_suffix("gate_up_proj_bias") {
        let &[n_expert, n] = &tensor.shape[..] else {
            return Err(wrong_shape(&name, tensor, "two dimensions, the second even"));
        };
        if n % 2 != 0 {
            return Err(wrong_shape(&name, tensor, "two dimensions, the second even"));
        }
        let every_other = |offset| View { offset, shape: vec![n_expert, n / 2], strides: vec![n, 2] };
        return Ok(vec![
            Part::view(format!("{stem}gate_proj.bias"), tensor, every_other(0)),
            Part::view(format!("{stem}up_proj.bias"), tensor, every_other(1)),
        ]);
    }
    if !of_experts {
        return Ok(vec![Part::plain(name, tensor)]);
    }
    let &[n_expert, rows, columns] = &tensor.shape[..] else {
        return Err(wrong_shape(&name, tensor, "three dimensions"));
    };
    let size = rows * columns;
    if let Some(stem) = name.strip_suffix("gate_up_proj") {
        if columns % 2 != 0 {
            return Err(wrong_shape(&name, tensor, "three dimensions, the last even"));
        }
        let every_other = |offset| View {
            offset,
            shape: vec![n_expert, columns / 2, rows],
            strides: vec![size, 2, columns],
        };
        return Ok(vec![
            Part::view(format!("{stem}gate_proj.weight"), tensor, every_other(0)),
            Part::view(format!("{stem}up_proj.weight"), tensor, every_other(1)),
        ]);
    }
    let turned = View { offset: 0, shape: vec![n_expert, columns, rows], strides: vec![size, 1, columns] };
    Ok(vec![Part::view(name.replace("down_proj", "down_proj.weight"), tensor, turned)])
}

/// gpt-oss' experts in MXFP4, in the order of their scales.
///
/// # Errors
/// Blocks without scales or the other way round, of shapes that do not fit each other.
pub(super) fn packed_experts(checkpoint: &Checkpoint) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    for scales in &checkpoint.tensors {
        let Some((stem, kind)) = ["down_proj", "gate_up_proj"].iter().find_map(|kind| {
            let stem = scales.name.strip_suffix("_scales")?.strip_suffix(kind)?;
            stem.ends_with("mlp.experts.").then_some((stem, *kind))
        }) else {
            continue;
        };
        let wanted = format!("{stem}{kind}_blocks");
        let blocks = checkpoint.tensors.iter().find(|tensor| tensor.name == wanted);
        let Some(blocks) = blocks else {
            return Err(ConvertError::MissingPart { name: scales.name.clone(), part: wanted });
        };
        let bytes = ::safetensors::Dtype::U8;
        let &[n_expert, rows, n_blocks, 16] = &blocks.shape[..] else {
            return Err(wrong_shape(&wanted, blocks, "four dimensions, the last 16"));
        };
        if blocks.dtype != bytes || scales.dtype != bytes || scales.shape != blocks.shape[..3] {
            return Err(wrong_shape(
                &scales.name,
                scales,
                format!("a byte for each block of {:?}", blocks.shape),
            ));
        }
        let mut add = |name: &str, first: usize, step: usize| {
            let shape = [n_expert, (rows - first.min(rows)).div_ceil(step), n_blocks * 32];
            let source = Source::Mxfp4 { blocks: blocks.clone(), scales: scales.clone(), first, step };
            parts.push(Part::new(format!("{stem}{name}.weight"), &shape, source));
        };
        if kind == "down_proj" {
            add("down_proj", 0, 1);
        } else {
            add("gate_proj", 0, 2);
            add("up_proj", 1, 2);
        }
    }
    Ok(parts)
}

/// Experts that are stored as stacks, gate and up behind each other.
fn qwen_moe(name: String, tensor: &Tensor) -> Result<Vec<Part>> {
    let stem = name.strip_suffix(".weight").unwrap_or(&name);
    if stem.ends_with("mlp.experts.down_proj") {
        return Ok(vec![Part::plain(format!("{stem}.weight"), tensor)]);
    }
    let Some(experts) = stem.strip_suffix(".gate_up_proj").filter(|stem| stem.ends_with("mlp.experts"))
    else {
        return Ok(vec![Part::plain(name, tensor)]);
    };
    let &[n_expert, rows, columns] = &tensor.shape[..] else {
        return Err(wrong_shape(&name, tensor, "three dimensions, the second even"));
    };
    if rows % 2 != 0 {
        return Err(wrong_shape(&name, tensor, "three dimensions, the second even"));
    }
    let size = rows / 2 * columns;
    let half = |offset| View {
        offset,
        shape: vec![n_expert, rows / 2, columns],
        strides: vec![2 * size, columns, 1],
    };
    Ok(vec![
        Part::view(format!("{experts}.gate_proj.weight"), tensor, half(0)),
        Part::view(format!("{experts}.up_proj.weight"), tensor, half(size)),
    ])
}

/// Mamba's shapes: kernels without the dimension of 1, scalars of heads with one, norms by group.
fn mamba(name: String, tensor: &Tensor, config: &Config, checkpoint: &Checkpoint) -> Result<Vec<Part>> {
    let is_2 = config.family == Family::Mamba2;
    let mut part = Part::plain(name, tensor);
    if part.name.ends_with(".A_log") {
        part.source = Source::Mapped(tensor.clone(), Map::NegativeExp);
    }
    if part.name.ends_with(".conv1d.weight") {
        part.shape.retain(|&n| n != 1);
    } else if is_2 && [".A_log", ".D"].iter().any(|end| part.name.ends_with(end)) {
        part.shape.push(1);
    } else if is_2 && part.name.ends_with(".mixer.norm.weight") {
        let n_group = config.find(&["n_groups"]).map_or(Ok(1), |_| config.size(&["n_groups"]))?;
        let n = mamba2_inner(config)?;
        if tensor.n_elements() != n || n % n_group != 0 {
            return Err(wrong_shape(&part.name, tensor, format!("{n} elements in {n_group} groups")));
        }
        part.shape = vec![n_group, n / n_group];
    } else if !is_2 && part.name == "lm_head.weight" {
        let embedding = checkpoint.tensors.iter().find(|tensor| {
            ["backbone.embedding.weight", "backbone.embeddings.weight"].contains(&tensor.name.as_str())
        });
        if embedding.is_some_and(|embedding| checkpoint.equal(embedding, tensor)) {
            return Ok(Vec::new());
        }
    }
    Ok(vec![part])
}

/// Mamba 2's inner size.
///
/// # Errors
/// The configuration does not say it.
pub(super) fn mamba2_inner(config: &Config) -> Result<usize> {
    let given = ["mamba_d_ssm", "intermediate_size", "d_inner"];
    if config.find(&given).is_some() {
        return config.size(&given);
    }
    let expand = ["mamba_expand", "expand"];
    let expand = config.find(&expand).map_or(Ok(2), |_| config.size(&expand))?;
    Ok(config.size(&["hidden_size", "d_model", "dim"])?.saturating_mul(expand))
}
