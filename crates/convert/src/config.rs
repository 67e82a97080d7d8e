//! `config.json` as transformers 4.57 understands it: which model, and its hyper-parameters with the
//! defaults of its configuration class. Answers to `load_hparams` and `TextModel.__init__`.

use std::path::Path;

use serde_json::{Map, Value as Json, json};

use super::error::{ConvertError, Result};
use super::families::{
    self, Names, Stacked, bert, deepseek2, dense, falcon, gemma, glm4, gpt_oss, gpt2, llama, mamba, phi3,
    qwen_moe, stablelm,
};
use super::json::{JsonFile, float};
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
    /// Qwen2 with experts.
    Qwen2Moe,
    /// Phi 3 and Phi 4.
    Phi3,
    /// gpt-oss.
    GptOss,
    /// Mamba.
    Mamba,
    /// Mamba 2.
    Mamba2,
    /// GPT-2.
    Gpt2,
    /// StableLM.
    StableLm,
    /// Falcon.
    Falcon,
    /// DeepSeek V2 and V3.
    Deepseek2,
    /// GLM 4.
    Glm4,
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
            Family::Qwen3Moe => "qwen3moe",
            Family::Olmoe => "olmoe",
            Family::Olmo2 => "olmo2",
            Family::Starcoder2 => "starcoder2",
            Family::SmolLm3 => "smollm3",
            Family::Granite => "granite",
            Family::Qwen2Moe => "qwen2moe",
            Family::Phi3 => "phi3",
            Family::GptOss => "gpt-oss",
            Family::Mamba => "mamba",
            Family::Mamba2 => "mamba2",
            Family::Gpt2 => "gpt2",
            Family::StableLm => "stablelm",
            Family::Falcon => "falcon",
            Family::Deepseek2 => "deepseek2",
            Family::Glm4 => "glm4",
        }
    }

    /// Names of the tensors.
    pub(super) const fn names(self) -> &'static Names {
        match self {
            Family::Llama => &llama::LLAMA,
            Family::Qwen2 | Family::SmolLm3 | Family::Granite => &llama::DENSE,
            Family::Qwen3 => &llama::QWEN3,
            Family::Bert => &bert::NAMES,
            Family::Gemma => &gemma::NAMES,
            Family::Gemma2 => &gemma::NAMES_2,
            Family::Gemma3 => &gemma::NAMES_3,
            Family::Qwen3Moe | Family::Olmoe => &qwen_moe::NAMES,
            Family::Olmo2 => &dense::OLMO2,
            Family::Starcoder2 => &dense::STARCODER2,
            Family::Qwen2Moe => &qwen_moe::NAMES_2,
            Family::Phi3 => &phi3::NAMES,
            Family::GptOss => &gpt_oss::NAMES,
            Family::Mamba => &mamba::NAMES,
            Family::Mamba2 => &mamba::NAMES_2,
            Family::Gpt2 => &gpt2::NAMES,
            Family::StableLm => &stablelm::NAMES,
            Family::Falcon => &falcon::NAMES,
            Family::Deepseek2 => &deepseek2::NAMES,
            Family::Glm4 => &glm4::NAMES,
        }
    }

    /// Tensors that are stored one by one and become stacks.
    pub(super) const fn stacked(self) -> &'static [Stacked] {
        match self {
            Family::Llama => llama::STACKED,
            Family::Qwen2Moe | Family::Qwen3Moe | Family::Olmoe => qwen_moe::STACKED,
            Family::Deepseek2 => deepseek2::STACKED,
            _ => &[],
        }
    }

    /// What the number of tokens is rounded up to a multiple of, unless the configuration says so.
    const fn vocab_multiple(self) -> Option<usize> {
        match self {
            Family::Mamba => Some(8),
            Family::Mamba2 => Some(16),
            _ => None,
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
const ARCHITECTURES: [(&str, Family, &str); 37] = [
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
    ("Qwen3MoeForCausalLM", Family::Qwen3Moe, ""),
    ("OlmoeForCausalLM", Family::Olmoe, ""),
    ("Olmo2ForCausalLM", Family::Olmo2, ""),
    ("Starcoder2ForCausalLM", Family::Starcoder2, ""),
    ("SmolLM3ForCausalLM", Family::SmolLm3, ""),
    ("GraniteForCausalLM", Family::Granite, ""),
    ("Qwen2MoeForCausalLM", Family::Qwen2Moe, ""),
    ("Phi3ForCausalLM", Family::Phi3, ""),
    ("GptOssForCausalLM", Family::GptOss, ""),
    ("MambaForCausalLM", Family::Mamba, ""),
    ("MambaLMHeadModel", Family::Mamba, ""),
    ("FalconMambaForCausalLM", Family::Mamba, ""),
    ("Mamba2ForCausalLM", Family::Mamba2, ""),
    ("GPT2LMHeadModel", Family::Gpt2, ""),
    ("StableLmForCausalLM", Family::StableLm, ""),
    ("StableLMEpochForCausalLM", Family::StableLm, ""),
    ("LlavaStableLMEpochForCausalLM", Family::StableLm, ""),
    ("FalconForCausalLM", Family::Falcon, ""),
    ("RWForCausalLM", Family::Falcon, ""),
    ("DeepseekV2ForCausalLM", Family::Deepseek2, ""),
    ("DeepseekV3ForCausalLM", Family::Deepseek2, ""),
    ("Glm4ForCausalLM", Family::Glm4, ""),
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
        refuse_quantized(dir)?;
        if raw.map.contains_key("draft_vocab_size") {
            return Err(unsupported("a draft model (draft_vocab_size)".to_owned()));
        }
        let mut hparams = with_defaults(&raw)?;
        refuse_reranker(dir, &raw, family)?;
        let (key, value) = find(&hparams, &["n_layers", "num_hidden_layers", "n_layer", "num_layers"])
            .ok_or_else(|| hparams.wrong("num_hidden_layers", &Json::Null, "the number of layers"))?;
        let n_layer = size_of(&hparams, key, value)?;
        if let Some(multiple) = family.vocab_multiple() {
            pad_vocab(&mut hparams, multiple)?;
        }
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

    /// The first of `keys` that has a value, which must be there.
    ///
    /// # Errors
    /// None has one; the first is named.
    pub(super) fn required(&self, keys: &[&'static str]) -> Result<(&'static str, &Json)> {
        self.find(keys).ok_or_else(|| {
            self.hparams.wrong(keys.first().copied().unwrap_or_default(), &Json::Null, "a value")
        })
    }

    /// The first of `keys` that has a value, as a positive size.
    pub(super) fn size(&self, keys: &[&'static str]) -> Result<usize> {
        let (key, value) = self.required(keys)?;
        size_of(&self.hparams, key, value)
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

    /// The share of a head's dimensions that is rotated, from 0 to 1.
    ///
    /// # Errors
    /// It is missing and there is no `otherwise`, or no such number.
    pub(super) fn rotary_share(&self, otherwise: Option<f64>) -> Result<f64> {
        let key = "partial_rotary_factor";
        match (self.rope.get(key), otherwise) {
            (None, Some(otherwise)) => Ok(otherwise),
            (found, _) => {
                let value = found.unwrap_or(&Json::Null);
                let share = float(value).filter(|share| (0.0..=1.0).contains(share));
                share.ok_or_else(|| self.rope.wrong(key, value, "a number from 0 to 1"))
            }
        }
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

/// Rounds the number of tokens up.
fn pad_vocab(hparams: &mut JsonFile, otherwise: usize) -> Result<()> {
    let value = |key: &str| hparams.map.get(key).unwrap_or(&Json::Null);
    let n_vocab = size_of(hparams, "vocab_size", value("vocab_size"))?;
    let key = "pad_vocab_size_multiple";
    let multiple = hparams.map.get(key).map_or(Ok(otherwise), |value| size_of(hparams, key, value))?;
    let padded = n_vocab.div_ceil(multiple).saturating_mul(multiple);
    hparams.map.insert("vocab_size".to_owned(), json!(padded));
    Ok(())
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

/// Checkpoints whose quantisation is described beside them are unpacked by the reference; here they are refused.
fn refuse_quantized(dir: &Path) -> Result<()> {
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

/// What `AutoConfig.from_pretrained(...).to_dict()` gives, or the file as it is where that raises.
fn with_defaults(raw: &JsonFile) -> Result<JsonFile> {
    let Some(model_type) = raw.get("model_type") else { return Ok(raw.clone()) };
    // Those the reference reads itself, and those whose class is not in transformers.
    let mut plain = mamba::MODEL_TYPES.iter().chain(&["RefinedWeb", "RefinedWebModel"]);
    if plain.any(|plain| model_type == *plain) {
        return Ok(raw.clone());
    }
    let Some(Json::Object(mut map)) = model_type.as_str().and_then(families::defaults) else {
        return Err(unsupported(format!(
            "model_type {}, expected the type of an architecture that is converted,",
            super::json::shown(model_type)
        )));
    };
    map.extend(raw.map.clone());
    if model_type == "falcon" && map.get("num_kv_heads").is_none_or(Json::is_null) {
        let heads = map.get("num_attention_heads").cloned().unwrap_or(Json::Null);
        map.insert("num_kv_heads".to_owned(), heads);
    }
    if ["bert", "gpt2", "falcon"].iter().any(|other| model_type == *other) {
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
    if model_type.starts_with("deepseek_v") {
        let rotated = map.get("qk_rope_head_dim").cloned().unwrap_or(Json::Null);
        map.insert("head_dim".to_owned(), rotated);
    }
    if model_type == "phi3" {
        return phi3_scaling(raw, map);
    }
    if !["mistral", "mixtral", "glm4"].contains(&model_type) {
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

/// Phi 3's scaling as its class leaves it, or the file as it is where that raises.
fn phi3_scaling(raw: &JsonFile, mut map: Map<String, Json>) -> Result<JsonFile> {
    let filled = JsonFile { path: raw.path.clone(), map: map.clone() };
    let value = |key: &str| filled.map.get(key).unwrap_or(&Json::Null);
    let n_heads = size_of(&filled, "num_attention_heads", value("num_attention_heads"))?;
    let head_dim = size_of(&filled, "hidden_size", value("hidden_size"))? / n_heads;
    let share = float(value("partial_rotary_factor")).unwrap_or(1.0);
    let n_pairs = (head_dim as f64 * share) as usize / 2;
    match map.get_mut("rope_scaling") {
        None | Some(Json::Null) => {}
        Some(Json::Object(scaling)) => {
            if matches!(scaling.get("type").and_then(Json::as_str), Some("su" | "yarn")) {
                scaling.insert("type".to_owned(), json!("longrope"));
            }
            let has_factors = ["short_factor", "long_factor"].iter().all(|key| {
                let factors = scaling.get(*key).and_then(Json::as_array);
                factors.is_some_and(|list| list.len() == n_pairs && list.iter().all(|x| float(x).is_some()))
            });
            let is_longrope = scaling.get("type").and_then(Json::as_str) == Some("longrope");
            if scaling.len() != 3 || !is_longrope || !has_factors {
                return Ok(raw.clone());
            }
        }
        Some(_) => return Ok(raw.clone()),
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
        mirror("partial_rotary_factor", top(&["partial_rotary_factor", "rope_pct", "rope_percent"]));
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
