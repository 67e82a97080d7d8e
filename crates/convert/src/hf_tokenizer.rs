//! `tokenizer.json` as `AutoTokenizer` of transformers 4.57 loads it: the file itself through the `tokenizers`
//! crate, and what the Python classes change afterwards (special tokens of `tokenizer_config.json`, llama's
//! template, the prefix space).

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json};
use tokenizers::normalizers::BertNormalizer;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, Tokenizer};

use super::bounds;
use super::error::{ConvertError, Result};
use super::json::{JsonFile, truthy};

/// Attributes that name one special token each, in the order in which missing ones are added.
const ATTRIBUTES: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// The Python classes whose behaviour is known; any other is taken as `Plain`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Plain,
    Llama,
    Qwen2,
    Gpt2,
    Bert,
}

/// The loaded tokenizer.
pub(super) struct HfTokenizer {
    path: PathBuf,
    tokenizer: Tokenizer,
    /// Contents of the special tokens of the configuration.
    specials: Vec<String>,
    /// Text of each id, added tokens included.
    pub texts: HashMap<u32, String>,
    /// The added tokens by id.
    pub added: HashMap<u32, AddedToken>,
}

/// Runs `work`, turning a panic of the `tokenizers` crate into an error: its input is the user's.
fn guarded<T>(path: &Path, work: impl FnOnce() -> std::result::Result<T, String>) -> Result<T> {
    let outcome = catch_unwind(AssertUnwindSafe(work));
    let message = match outcome {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(message)) => message,
        Err(_) => "it makes the tokenizers library panic".to_owned(),
    };
    Err(ConvertError::Tokenizer { path: path.to_owned(), message })
}

impl HfTokenizer {
    /// Loads `tokenizer.json` of `dir`; `model_type` of `config.json` decides the class where
    /// `tokenizer_config.json` does not.
    pub(super) fn load(dir: &Path, model_type: Option<&str>) -> Result<HfTokenizer> {
        let path = dir.join("tokenizer.json");
        // Parsed once more than needed: what is not JSON makes the library panic in places.
        let parsed = JsonFile::read(&path)?;
        let mut tokenizer = guarded(&path, || {
            bounds::check(&parsed)?;
            let text = serde_json::to_string(&parsed.map).map_err(|error| error.to_string())?;
            Tokenizer::from_bytes(&text).map_err(|error| error.to_string())
        })?;
        let config = JsonFile::read_optional(&dir.join("tokenizer_config.json"))?;
        let mut config =
            config.unwrap_or(JsonFile { path: dir.join("tokenizer_config.json"), map: Map::new() });
        let class = class_of(&config, model_type);
        let declared = declared_tokens(dir, &mut config, &parsed)?;
        let specials = special_tokens(&config.map, class, &declared);
        let tokenizer = guarded(&path, || {
            bounds::check_added(declared.values().chain(specials.iter().map(|(_, token)| token)))?;
            // As the Python classes leave them.
            tokenizer.with_padding(None);
            tokenizer.with_truncation(None).map_err(|error| error.to_string())?;
            add_tokens(&mut tokenizer, &declared, &specials);
            if class == Class::Llama {
                set_llama_template(&mut tokenizer, &config.map, &specials)?;
            }
            if class == Class::Bert {
                set_normalizer(&mut tokenizer, &config.map);
            } else if class != Class::Llama {
                set_prefix_space(&mut tokenizer, config.map.get("add_prefix_space").is_some_and(truthy));
            }
            Ok(tokenizer)
        })?;
        let texts = tokenizer.get_vocab(true).into_iter().map(|(text, id)| (id, text)).collect();
        let added = tokenizer.get_added_tokens_decoder().into_iter().collect();
        let specials = specials.into_iter().map(|(_, token)| token.content).collect();
        Ok(HfTokenizer { path, tokenizer, specials, texts, added })
    }

    /// Number of tokens without the added ones.
    pub(super) fn n_base(&self) -> usize {
        self.tokenizer.get_vocab_size(false)
    }

    /// True for a special token of the configuration.
    pub(super) fn is_special(&self, text: &str) -> bool {
        self.specials.iter().any(|special| special == text)
    }

    /// Ids of `text`.
    pub(super) fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>> {
        guarded(&self.path, || {
            let encoding = self.tokenizer.encode(text, add_special).map_err(|error| error.to_string())?;
            Ok(encoding.get_ids().to_vec())
        })
    }

    /// The text of `ids`, special tokens included.
    pub(super) fn decode(&self, ids: &[u32]) -> Result<String> {
        guarded(&self.path, || self.tokenizer.decode(ids, false).map_err(|error| error.to_string()))
    }
}

fn class_of(config: &JsonFile, model_type: Option<&str>) -> Class {
    let named = config.get("tokenizer_class").and_then(Json::as_str);
    match named.map(|name| name.strip_suffix("Fast").unwrap_or(name)) {
        Some("LlamaTokenizer") => Class::Llama,
        Some("Qwen2Tokenizer") => Class::Qwen2,
        Some("GPT2Tokenizer") => Class::Gpt2,
        Some("BertTokenizer") => Class::Bert,
        Some(_) => Class::Plain,
        None => match model_type {
            Some("llama" | "mistral" | "mixtral" | "phi3" | "deepseek_v2" | "deepseek_v3") => Class::Llama,
            Some("qwen2" | "qwen3" | "qwen2_moe" | "qwen3_moe") => Class::Qwen2,
            Some("gpt2" | "starcoder2") => Class::Gpt2,
            Some("bert") => Class::Bert,
            _ => Class::Plain,
        },
    }
}

/// A token as JSON files describe it.
fn token_of(entry: &Json) -> Option<AddedToken> {
    let flag = |key: &str| entry.get(key).and_then(Json::as_bool);
    let special = flag("special").unwrap_or(false);
    Some(AddedToken {
        content: entry.get("content")?.as_str()?.to_owned(),
        single_word: flag("single_word").unwrap_or(false),
        lstrip: flag("lstrip").unwrap_or(false),
        rstrip: flag("rstrip").unwrap_or(false),
        normalized: flag("normalized").unwrap_or(!special),
        special,
    })
}

/// `added_tokens_decoder` of the configuration, by id. Without one the older files stand in for it, and
/// `special_tokens_map.json` overrides the configuration's special tokens.
fn declared_tokens(
    dir: &Path,
    config: &mut JsonFile,
    tokenizer: &JsonFile,
) -> Result<BTreeMap<u64, AddedToken>> {
    let mut declared = BTreeMap::new();
    if let Some(decoder) = config.map.get("added_tokens_decoder") {
        let expected = "an object of ids and tokens";
        let entries =
            decoder.as_object().ok_or_else(|| config.wrong("added_tokens_decoder", decoder, expected))?;
        for (id, entry) in entries {
            let token = id.parse().ok().zip(token_of(entry));
            let (id, token) = token.ok_or_else(|| config.wrong("added_tokens_decoder", entry, expected))?;
            declared.insert(id, token);
        }
        return Ok(declared);
    }
    if let Some(file) = JsonFile::read_optional(&dir.join("special_tokens_map.json"))? {
        for (key, mut value) in file.map {
            if let Json::Object(entry) = &mut value {
                entry.insert("special".to_owned(), Json::Bool(true));
            }
            config.map.insert(key, value);
        }
    }
    if let Some(file) = JsonFile::read_optional(&dir.join("added_tokens.json"))? {
        let named = |text: &str| ATTRIBUTES.iter().any(|key| content_of(config.map.get(*key)) == Some(text));
        for (text, id) in &file.map {
            let number = id.as_u64().ok_or_else(|| file.wrong(text, id, "an id"))?;
            declared.insert(number, AddedToken::from(text.clone(), named(text)));
        }
    }
    for entry in tokenizer.get("added_tokens").and_then(Json::as_array).into_iter().flatten() {
        if let Some((id, token)) = entry.get("id").and_then(Json::as_u64).zip(token_of(entry)) {
            declared.insert(id, token);
        }
    }
    Ok(declared)
}

fn content_of(entry: Option<&Json>) -> Option<&str> {
    entry.and_then(|entry| entry.as_str().or_else(|| entry.get("content")?.as_str()))
}

/// The special tokens of the configuration and of the class.
fn special_tokens(
    config: &Map<String, Json>,
    class: Class,
    declared: &BTreeMap<u64, AddedToken>,
) -> Vec<(&'static str, AddedToken)> {
    let default = |key: &str| match (class, key) {
        (Class::Llama, "bos_token") => Some("<s>"),
        (Class::Llama, "eos_token") => Some("</s>"),
        (Class::Llama, "unk_token") => Some("<unk>"),
        (Class::Qwen2, "unk_token" | "eos_token" | "pad_token")
        | (Class::Gpt2, "unk_token" | "bos_token" | "eos_token") => Some("<|endoftext|>"),
        (Class::Bert, "unk_token") => Some("[UNK]"),
        (Class::Bert, "sep_token") => Some("[SEP]"),
        (Class::Bert, "pad_token") => Some("[PAD]"),
        (Class::Bert, "cls_token") => Some("[CLS]"),
        (Class::Bert, "mask_token") => Some("[MASK]"),
        _ => None,
    };
    let mut found: Vec<(&'static str, AddedToken)> = Vec::new();
    let known = |content: &str| declared.values().find(|token| token.content == content).cloned();
    for key in ATTRIBUTES {
        let entry = config.get(key);
        let token = match entry {
            None => default(key).map(|text| AddedToken::from(text, true)),
            Some(Json::Object(_)) => entry.and_then(token_of).map(|mut token| {
                token.special = true;
                token
            }),
            Some(Json::String(text)) => Some(AddedToken::from(text.clone(), true)),
            Some(_) => None,
        };
        if let Some(token) = token {
            found.push((key, known(&token.content).unwrap_or(token)));
        }
    }
    for entry in config.get("additional_special_tokens").and_then(Json::as_array).into_iter().flatten() {
        let token = token_of(entry).or_else(|| entry.as_str().map(|text| AddedToken::from(text, true)));
        if let Some(token) = token {
            found.push(("additional_special_tokens", known(&token.content).unwrap_or(token)));
        }
    }
    found
}

/// Adds what the files declare and the tokenizer lacks (`PreTrainedTokenizerFast.__init__`).
fn add_tokens(
    tokenizer: &mut Tokenizer,
    declared: &BTreeMap<u64, AddedToken>,
    specials: &[(&str, AddedToken)],
) {
    let present: Vec<String> =
        tokenizer.get_added_tokens_decoder().into_values().map(|token| token.content).collect();
    let mut tokens: Vec<AddedToken> = declared.values().cloned().collect();
    for (_, token) in specials {
        if !present.contains(&token.content) && !tokens.iter().any(|known| known.content == token.content) {
            tokens.push(token.clone());
        }
    }
    for token in &mut tokens {
        token.special |= specials.iter().any(|(_, special)| special.content == token.content);
    }
    tokenizer.add_tokens(&tokens);
}

/// Llama's class puts its own template in place of the file's.
fn set_llama_template(
    tokenizer: &mut Tokenizer,
    config: &Map<String, Json>,
    specials: &[(&str, AddedToken)],
) -> std::result::Result<(), String> {
    let flag = |key: &str, default: bool| config.get(key).map_or(default, truthy);
    let mut single = Vec::new();
    let mut used = Vec::new();
    let mut piece = |wanted: bool, key: &str| -> std::result::Result<Option<String>, String> {
        if !wanted {
            return Ok(None);
        }
        let token = specials.iter().find(|(name, _)| *name == key).map(|(_, token)| token.content.clone());
        let token = token.ok_or_else(|| format!("add_{key} is set, but there is no {key}"))?;
        let id = tokenizer.token_to_id(&token).ok_or_else(|| format!("{key} {token:?} has no id"))?;
        used.push((token.clone(), id));
        Ok(Some(format!("{token}:0")))
    };
    let bos = piece(flag("add_bos_token", true), "bos_token")?;
    let eos = piece(flag("add_eos_token", false), "eos_token")?;
    single.extend(bos);
    single.push("$A:0".to_owned());
    single.extend(eos);
    used.dedup();
    let template = TemplateProcessing::builder()
        .try_single(single)
        .map_err(|error| error.clone())?
        .special_tokens(used)
        .build()
        .map_err(|error| error.to_string())?;
    tokenizer.with_post_processor(Some(PostProcessorWrapper::Template(template)));
    Ok(())
}

/// BERT's class puts its own flags in place of the file's, where they differ.
fn set_normalizer(tokenizer: &mut Tokenizer, config: &Map<String, Json>) {
    let Some(NormalizerWrapper::BertNormalizer(normalizer)) = tokenizer.get_normalizer() else { return };
    let flag = |key: &str| config.get(key).is_none_or(truthy);
    let normalizer = BertNormalizer::new(
        normalizer.clean_text,
        flag("tokenize_chinese_chars"),
        config.get("strip_accents").and_then(Json::as_bool),
        flag("do_lower_case"),
    );
    tokenizer.with_normalizer(Some(normalizer));
}

/// The configuration's prefix space goes into a pre-tokenizer that knows one.
fn set_prefix_space(tokenizer: &mut Tokenizer, wanted: bool) {
    let replaced = match tokenizer.get_pre_tokenizer() {
        Some(PreTokenizerWrapper::ByteLevel(bytes)) if bytes.add_prefix_space != wanted => {
            Some(PreTokenizerWrapper::ByteLevel(bytes.add_prefix_space(wanted)))
        }
        _ => None,
    };
    if let Some(replaced) = replaced {
        tokenizer.with_pre_tokenizer(Some(replaced));
    }
}
