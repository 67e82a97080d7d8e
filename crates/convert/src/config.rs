//! `config.json` as transformers 4.57 understands it: which model, and its hyper-parameters with the
//! defaults of its configuration class. Answers to `load_hparams` and `TextModel.__init__`.

use std::path::Path;

use serde_json::{Map, Value as Json, json};

use super::error::{ConvertError, Result};
use super::families::{self, Names, bert, dense, gemma, qwen_moe};
use super::json::JsonFile;
use super::kv::size_of;

/// The model families that are converted. Several Hugging Face architectures share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// Llama, Mistral and Mixtral.
    Llama,
    /// Qwen2 and Qwen2.5.
    Qwen2,
    /// Qwen3.
    Qwen3,
    /// BERT.
    Bert,
    /// Gemma.
    Gemma,
    /// Gemma 2.
    Gemma2,
    /// The text models of Gemma 3.
    Gemma3,
    /// Qwen2 with experts.
    Qwen2Moe,
    /// Qwen3 with experts.
    Qwen3Moe,
    /// OLMoE.
    Olmoe,
    /// OLMo 2.
    Olmo2,
    /// StarCoder 2.
    Starcoder2,
    /// SmolLM 3.
    SmolLm3,
    /// Granite.
    Granite,
}

impl Family {
    /// GGUF's name of the architecture.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Family::Llama => "llama",
            Family::Qwen2 => "qwen2",
            Family::Qwen3 => "qwen3",
            Family::Bert => "bert",
            Family::Gemma => "gemma",
            Family::Gemma2 => "gemma2",
            Family::Gemma3 => "gemma3",
            Family::Qwen2Moe => "qwen2moe",
            Family::Qwen3Moe => "qwen3moe",
            Family::Olmoe => "olmoe",
            Family::Olmo2 => "olmo2",
            Family::Starcoder2 => "starcoder2",
            Family::SmolLm3 => "smollm3",
            Family::Granite => "granite",
        }
    }

    /// Names of the tensors, where they are in a table.
    pub(super) const fn names(self) -> Option<&'static Names> {
        match self {
            Family::Llama | Family::Qwen2 | Family::Qwen3 => None,
            Family::Bert => Some(&bert::NAMES),
            Family::Gemma => Some(&gemma::NAMES),
            Family::Gemma2 => Some(&gemma::NAMES_2),
            Family::Gemma3 => Some(&gemma::NAMES_3),
            Family::Qwen2Moe => Some(&qwen_moe::NAMES_2),
            Family::Qwen3Moe | Family::Olmoe => Some(&qwen_moe::NAMES_3),
            Family::Olmo2 => Some(&dense::OLMO2),
            Family::Starcoder2 => Some(&dense::STARCODER2),
            Family::SmolLm3 | Family::Granite => Some(&dense::LLAMA),
        }
    }

    /// Llama's conversion serves it: rows of queries and keys in another order, factors of rotary frequencies, its vocabularies.
    pub(super) const fn is_llama(self) -> bool {
        matches!(self, Family::Llama | Family::SmolLm3 | Family::Granite)
    }

    /// Gemma's norms, whose weights are what is added to one.
    pub(super) const fn is_gemma(self) -> bool {
        matches!(self, Family::Gemma | Family::Gemma2 | Family::Gemma3)
    }
}

/// Hugging Face architectures, their family, and what their tensors' names lack in front.
const ARCHITECTURES: [(&str, Family, &str); 22] = [
    ("LlamaForCausalLM", Family::Llama, ""),
    ("LLaMAForCausalLM", Family::Llama, ""),
    ("LlamaModel", Family::Llama, "model."),
    ("MistralForCausalLM", Family::Llama, ""),
    ("MixtralForCausalLM", Family::Llama, ""),
    ("Qwen2ForCausalLM", Family::Qwen2, ""),
    ("Qwen2Model", Family::Qwen2, "model."),
    ("Qwen3ForCausalLM", Family::Qwen3, ""),
    ("Qwen3Model", Family::Qwen3, ""),
    ("BertModel", Family::Bert, ""),
    ("BertForMaskedLM", Family::Bert, ""),
    ("BertForSequenceClassification", Family::Bert, ""),
    ("GemmaForCausalLM", Family::Gemma, ""),
    ("Gemma2ForCausalLM", Family::Gemma2, ""),
    ("Gemma3ForCausalLM", Family::Gemma3, ""),
    ("Qwen2MoeForCausalLM", Family::Qwen2Moe, ""),
    ("Qwen3MoeForCausalLM", Family::Qwen3Moe, ""),
    ("OlmoeForCausalLM", Family::Olmoe, ""),
    ("Olmo2ForCausalLM", Family::Olmo2, ""),
    ("Starcoder2ForCausalLM", Family::Starcoder2, ""),
    ("SmolLM3ForCausalLM", Family::SmolLm3, ""),
    ("GraniteForCausalLM", Family::Granite, ""),
];

/// Keys that nest another configuration inside, as multimodal models do.
const NESTED: [&str; 7] = [
    "text_config",
    "llm_config",
    "lm_config",
    "thinker_config",
    "language_config",
    "lfm",
    "transformer_layer_config",
];

/// Most dimensions of a head: there is a factor for each pair of them.
const MAX_HEAD_DIM: usize = 1 << 16;

/// A model's configuration.
#[derive(Debug)]
pub(super) struct Config {
    /// `config.json` as written.
    pub raw: JsonFile,
    /// The same with the configuration class's defaults.
    pub hparams: JsonFile,
    /// The family.
    pub family: Family,
    /// What the tensors' names lack in front.
    pub prefix: &'static str,
    /// Number of layers.
    pub n_layer: usize,
    /// Rotary parameters: `rope_parameters` or `rope_scaling`, completed from the top level.
    pub rope: JsonFile,
}

impl Config {
    /// Reads `config.json`.
    ///
    /// # Errors
    /// The file is missing or malformed, or describes a model that is not converted.
    pub(super) fn read(dir: &Path) -> Result<Config> {
        let raw = JsonFile::read(&dir.join("config.json"))?;
        if let Some(key) = NESTED.iter().find(|key| raw.map.contains_key(**key)) {
            return Err(unsupported(format!("a model with a nested configuration ({key})")));
        }
        let (family, prefix) = architecture(&raw)?;
        refuse_quantized(dir, &raw)?;
        if raw.map.contains_key("draft_vocab_size") {
            return Err(unsupported("a draft model (draft_vocab_size)".to_owned()));
        }
        let mut hparams = with_defaults(&raw)?;
        refuse_reranker(dir, &raw, family)?;
        let (key, value) = find(&hparams, &["n_layers", "num_hidden_layers", "n_layer", "num_layers"])
            .ok_or_else(|| hparams.wrong("num_hidden_layers", &Json::Null, "the number of layers"))?;
        let n_layer = size_of(&hparams, key, value)?;
        if family == Family::Granite {
            // The reference ignores it there.
            hparams.map.remove("head_dim");
        }
        let rope = rope_parameters(&hparams)?;
        Ok(Config { raw, hparams, family, prefix, n_layer, rope })
    }

    /// The first of `keys` that is present, with its value (which may be null).
    pub(super) fn find<'a>(&'a self, keys: &[&'static str]) -> Option<(&'static str, &'a Json)> {
        find(&self.hparams, keys).filter(|(_, value)| !value.is_null())
    }

    /// Number of attention heads.
    pub(super) fn n_head(&self) -> Result<usize> {
        let (key, value) = self
            .find(&["n_heads", "num_attention_heads"])
            .ok_or_else(|| self.hparams.wrong("num_attention_heads", &Json::Null, "the number of heads"))?;
        size_of(&self.hparams, key, value)
    }

    /// Number of heads of keys and values, if it is given.
    pub(super) fn n_head_kv(&self) -> Result<Option<usize>> {
        self.find(&["n_kv_heads", "num_key_value_heads"])
            .map(|(key, value)| size_of(&self.hparams, key, value))
            .transpose()
    }

    /// Rotary dimensions of a llama: `head_dim`, or the embedding's share of one head.
    pub(super) fn rope_dim(&self) -> Result<usize> {
        if let Some((key, value)) = self.find(&["head_dim"]) {
            return size_of(&self.hparams, key, value)
                .ok()
                .filter(|dim| *dim <= MAX_HEAD_DIM)
                .ok_or_else(|| self.hparams.wrong(key, value, "1 to 65536"));
        }
        let hidden = self.hparams.map.get("hidden_size").unwrap_or(&Json::Null);
        let heads = self.hparams.map.get("num_attention_heads").unwrap_or(&Json::Null);
        let dim = size_of(&self.hparams, "hidden_size", hidden)?
            / size_of(&self.hparams, "num_attention_heads", heads)?;
        if dim > MAX_HEAD_DIM {
            return Err(self.hparams.wrong("hidden_size", hidden, "heads of at most 65536 dimensions"));
        }
        Ok(dim)
    }

    /// `vocab_size`, if it is given.
    pub(super) fn n_vocab(&self) -> Result<Option<usize>> {
        self.find(&["vocab_size"]).map(|(key, value)| size_of(&self.hparams, key, value)).transpose()
    }

    /// The rotary parameters of full attention.
    pub(super) fn rope_full(&self) -> Result<JsonFile> {
        match self.rope.map.get("full_attention") {
            None => Ok(self.rope.clone()),
            Some(Json::Object(map)) => Ok(JsonFile { path: self.rope.path.clone(), map: map.clone() }),
            Some(other) => Err(self.rope.wrong("full_attention", other, "an object")),
        }
    }
}

fn unsupported(what: String) -> ConvertError {
    ConvertError::Unsupported { what }
}

fn find<'a>(file: &'a JsonFile, keys: &[&'static str]) -> Option<(&'static str, &'a Json)> {
    keys.iter().find_map(|&key| file.map.get(key).map(|value| (key, value)))
}

fn architecture(raw: &JsonFile) -> Result<(Family, &'static str)> {
    let expected = || ARCHITECTURES.map(|(name, ..)| name).join(", ");
    let found = raw.get("architectures").and_then(|list| list.get(0));
    let Some(name) = found.and_then(Json::as_str) else {
        let found = raw.map.get("architectures").unwrap_or(&Json::Null);
        return Err(raw.wrong("architectures", found, "a list with a name"));
    };
    ARCHITECTURES
        .iter()
        .find(|(known, ..)| *known == name)
        .map(|(_, family, prefix)| (*family, *prefix))
        .ok_or_else(|| ConvertError::Architecture { found: name.to_owned(), expected: expected() })
}

/// Checkpoints that are quantised already are unpacked by the reference; here they are refused.
fn refuse_quantized(dir: &Path, raw: &JsonFile) -> Result<()> {
    if let Some(config) = raw.get("quantization_config") {
        let method = config.get("quant_method").and_then(Json::as_str).unwrap_or("unnamed");
        return Err(unsupported(format!("a checkpoint quantised with {method}")));
    }
    if dir.join("hf_quant_config.json").is_file() {
        return Err(unsupported("a checkpoint with hf_quant_config.json".to_owned()));
    }
    Ok(())
}

/// Qwen3 rerankers get a classifier head from the reference; here they are refused.
fn refuse_reranker(dir: &Path, raw: &JsonFile, family: Family) -> Result<()> {
    if family != Family::Qwen3 {
        return Ok(());
    }
    let readme = dir.join("README.md");
    let text = if readme.is_file() { super::json::read_text(&readme)?.to_lowercase() } else { String::new() };
    let titled = ["# qwen3-reranker", "# qwen3-vl-reranker"].iter().any(|title| text.contains(title));
    let mut hints = vec![dir.to_string_lossy().to_lowercase()];
    hints.extend(raw.get("_name_or_path").and_then(Json::as_str).map(str::to_lowercase));
    let named =
        hints.iter().any(|hint| hint.contains("qwen3-reranker") || hint.contains("qwen3-vl-reranker"));
    if titled || named {
        return Err(unsupported("a reranker".to_owned()));
    }
    Ok(())
}

/// Defaults of the configuration classes; a missing head count of keys and values follows below.
fn class_defaults(model_type: &str) -> Option<Json> {
    if let Some(own) = families::defaults(model_type) {
        return Some(own);
    }
    let common = json!({
        "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0, "tie_word_embeddings": false,
    });
    let own = match model_type {
        "llama" => json!({
            "vocab_size": 32000, "intermediate_size": 11008, "max_position_embeddings": 2048,
            "num_key_value_heads": null, "rope_scaling": null, "head_dim": null,
        }),
        "mistral" => json!({
            "vocab_size": 32000, "intermediate_size": 14336, "max_position_embeddings": 131_072,
            "num_key_value_heads": 8, "head_dim": null,
        }),
        "mixtral" => json!({
            "vocab_size": 32000, "intermediate_size": 14336, "max_position_embeddings": 131_072,
            "num_key_value_heads": 8, "head_dim": null, "rms_norm_eps": 1e-5, "rope_theta": 1e6,
            "num_experts_per_tok": 2, "num_local_experts": 8,
        }),
        "qwen2" => json!({
            "vocab_size": 151_936, "intermediate_size": 22016, "max_position_embeddings": 32768,
            "num_key_value_heads": 32, "rope_scaling": null,
        }),
        "qwen3" => json!({
            "vocab_size": 151_936, "intermediate_size": 22016, "max_position_embeddings": 32768,
            "num_key_value_heads": 32, "rope_scaling": null, "head_dim": 128,
        }),
        _ => return None,
    };
    let (Json::Object(mut map), Json::Object(own)) = (common, own) else { return None };
    map.extend(own);
    Some(Json::Object(map))
}

/// What `AutoConfig.from_pretrained(...).to_dict()` gives, or the file as it is where that raises.
fn with_defaults(raw: &JsonFile) -> Result<JsonFile> {
    let Some(model_type) = raw.get("model_type") else { return Ok(raw.clone()) };
    let Some(Json::Object(mut map)) = model_type.as_str().and_then(class_defaults) else {
        return Err(unsupported(format!(
            "model_type {}, expected the type of an architecture that is converted,",
            super::json::shown(model_type)
        )));
    };
    map.extend(raw.map.clone());
    if model_type == "bert" {
        return Ok(JsonFile { path: raw.path.clone(), map });
    }
    if map.get("num_key_value_heads").is_none_or(Json::is_null) {
        let heads = map.get("num_attention_heads").cloned().unwrap_or(Json::Null);
        map.insert("num_key_value_heads".to_owned(), heads);
    }
    let model_type = model_type.as_str().unwrap_or_default();
    if model_type == "llama" && map.get("head_dim").is_none_or(Json::is_null) {
        let filled = JsonFile { path: raw.path.clone(), map: map.clone() };
        let size = |key: &str| size_of(&filled, key, map.get(key).unwrap_or(&Json::Null));
        let head_dim = size("hidden_size")? / size("num_attention_heads")?;
        map.insert("head_dim".to_owned(), json!(head_dim));
    }
    if model_type != "mistral" && model_type != "mixtral" {
        match map.get_mut("rope_scaling") {
            None | Some(Json::Null) => {}
            Some(Json::Object(scaling)) => {
                if let Some(kind) = scaling.get("type").cloned() {
                    scaling.insert("rope_type".to_owned(), kind);
                }
                if !has_rope_keys(scaling) {
                    return Ok(raw.clone());
                }
            }
            Some(other) => return Err(raw.wrong("rope_scaling", other, "an object")),
        }
    }
    Ok(JsonFile { path: raw.path.clone(), map })
}

/// Whether transformers accepts the scaling; where it does not, the reference reads the plain file.
fn has_rope_keys(scaling: &Map<String, Json>) -> bool {
    let kind = scaling.get("rope_type").and_then(Json::as_str).unwrap_or("default");
    let required: &[&str] = match kind {
        "default" => &["rope_type"],
        "linear" | "dynamic" | "yarn" => &["rope_type", "factor"],
        "longrope" => &["rope_type", "short_factor", "long_factor"],
        "llama3" => &[
            "rope_type",
            "factor",
            "original_max_position_embeddings",
            "low_freq_factor",
            "high_freq_factor",
        ],
        _ => &[],
    };
    required.iter().all(|key| scaling.contains_key(*key))
}

/// The rotary parameters, with the top level's values mirrored into them.
fn rope_parameters(hparams: &JsonFile) -> Result<JsonFile> {
    let given = hparams.map.get("rope_parameters").or_else(|| hparams.map.get("rope_scaling"));
    let mut rope = match given {
        Some(Json::Object(map)) => map.clone(),
        None | Some(Json::Null | Json::Bool(false)) => Map::new(),
        Some(other) => return Err(hparams.wrong("rope_scaling", other, "an object")),
    };
    let top = |keys: &[&'static str]| {
        find(hparams, keys).map(|(_, value)| value).filter(|value| !value.is_null()).cloned()
    };
    if !rope.contains_key("full_attention") && !rope.contains_key("sliding_attention") {
        let local = [
            "local_rope_theta",
            "rope_local_theta",
            "rope_theta_local",
            "swa_rope_theta",
            "rope_local_base_freq",
        ];
        if let Some(theta) = top(&local) {
            rope.insert("sliding_attention".to_owned(), json!({ "rope_theta": theta }));
        }
        let global =
            ["global_rope_theta", "rope_global_theta", "rope_theta_global", "rope_theta", "rotary_emb_base"];
        let mut mirror = |key: &str, value: Option<Json>| {
            if let Some(value) = value
                && !rope.contains_key(key)
            {
                rope.insert(key.to_owned(), value);
            }
        };
        mirror("rope_theta", top(&global));
        mirror("original_max_position_embeddings", top(&["original_max_position_embeddings"]));
        let kind = rope.get("type").filter(|kind| !kind.is_null()).cloned();
        if let Some(kind) = kind
            && !rope.contains_key("rope_type")
        {
            rope.insert("rope_type".to_owned(), kind);
        }
    }
    Ok(JsonFile { path: hparams.path.clone(), map: rope })
}
