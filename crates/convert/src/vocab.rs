//! `tokenizer.ggml.*`: which of the three ways to a vocabulary a model takes, and the tokens of each. Answers
//! to the `set_vocab` of the model classes, `_set_vocab_sentencepiece`, `_set_vocab_llama_hf` and
//! `_set_vocab_gpt2`.

use std::path::Path;

use quipu_gguf::{Array, Value};
use serde_json::Value as Json;

use super::config::{Config, Family};
use super::error::{ConvertError, Result};
use super::families::{bert, glm4};
use super::hf_tokenizer::HfTokenizer;
use super::json::{JsonFile, truthy};
use super::kv::KeyValues;
use super::pre;
use super::special_vocab::SpecialVocab;
use super::spm::{self, piece_type};

/// Most tokens a vocabulary may declare: the configuration's number is allocated for.
const MAX_TOKENS: usize = 1 << 21;

/// The space of SentencePiece and what it stands for.
const SPM_SPACE: char = '\u{2581}';

/// Tokens in the making.
struct Tokens {
    texts: Vec<Vec<u8>>,
    scores: Option<Vec<f32>>,
    types: Vec<i32>,
}

impl Tokens {
    fn add(self, kv: &mut KeyValues, model: &str, pre: &str) {
        kv.string("tokenizer.ggml.model", model);
        kv.string("tokenizer.ggml.pre", pre);
        kv.strings("tokenizer.ggml.tokens", self.texts.iter().map(Vec::as_slice));
        if let Some(scores) = self.scores {
            kv.array("tokenizer.ggml.scores", Array::F32(scores));
        }
        kv.array("tokenizer.ggml.token_type", Array::I32(self.types));
    }
}

/// Writes the vocabulary's keys. `pre` overrides the name of the pre-tokenizer of a BPE vocabulary.
pub(super) fn add(kv: &mut KeyValues, dir: &Path, config: &Config, pre: Option<&str>) -> Result<()> {
    let is_llama = config.family.is_llama();
    if is_llama {
        let file = JsonFile::read_optional(&dir.join("tokenizer_config.json"))?;
        if let Some(value) = file.as_ref().and_then(|file| file.get("add_prefix_space")) {
            kv.set("tokenizer.ggml.add_space_prefix", Value::Bool(truthy(value)));
        }
    }
    let model_path = dir.join("tokenizer.model");
    let json_path = dir.join("tokenizer.json");
    if config.family == Family::Bert {
        return word_pieces(kv, dir, &json_path, config, pre);
    }
    if config.family == Family::Phi3 && !is_gpt2_class(dir)? {
        if !model_path.is_file() {
            return Err(ConvertError::NoTokenizer { path: dir.to_owned() });
        }
        let tokens = phi3_pieces(dir, &model_path, config)?;
        let n_vocab = tokens.texts.len();
        tokens.add(kv, "llama", "default");
        SpecialVocab::load(dir, false, Some(n_vocab))?.add(kv);
        return Ok(());
    }
    if config.family == Family::Glm4 && json_path.is_file() {
        return glm4_tokens(kv, dir, &json_path, config, pre);
    }
    let has_pieces = config.family == Family::Mamba2
        || config.family == Family::Mamba && !json_path.is_file()
        || is_llama
        || config.family.is_gemma()
        || matches!(config.family, Family::Qwen2 | Family::Qwen3);
    if has_pieces && model_path.is_file() {
        let tokens = sentencepiece(dir, &model_path, config)?;
        let n_vocab = tokens.texts.len();
        tokens.add(kv, "llama", "default");
        SpecialVocab::load(dir, false, Some(n_vocab))?.add(kv);
        add_gemma(kv, dir, config)?;
    } else if matches!(config.family, Family::Gemma | Family::Gemma2) {
        // These have nothing else.
        return Err(ConvertError::NoTokenizer { path: dir.to_owned() });
    } else if !json_path.is_file() {
        return Err(ConvertError::NoTokenizer { path: dir.to_owned() });
    } else if is_llama && is_sentencepiece_like(&json_path)? {
        let tokens = llama_hf(dir, config)?;
        let n_vocab = tokens.texts.len();
        tokens.add(kv, "llama", "default");
        SpecialVocab::load(dir, false, Some(n_vocab))?.add(kv);
    } else {
        let tokenizer = HfTokenizer::load(dir, model_type(config))?;
        let (tokens, pre) = byte_level(&tokenizer, &json_path, config, pre)?;
        tokens.add(kv, "gpt2", &pre);
        SpecialVocab::load(dir, true, None)?.add(kv);
    }
    if is_llama {
        match config.n_vocab()? {
            // CodeLlama: its end of turn; the tokens for filling in have no keys any more.
            Some(32016) => {
                let kinds = ["prefix", "suffix", "middle", "eot"];
                let mut special = SpecialVocab::load_types(dir, false, None, &kinds)?;
                special.or_id("eot", 32010);
                special.add(kv);
            }
            Some(49152) => kv.set("tokenizer.ggml.add_bos_token", Value::Bool(false)),
            _ => {}
        }
    }
    Ok(())
}

/// Gemma's vocabularies: no space is put before a text, and the first of them has an end of turn.
fn add_gemma(kv: &mut KeyValues, dir: &Path, config: &Config) -> Result<()> {
    if !config.family.is_gemma() {
        return Ok(());
    }
    if config.family == Family::Gemma {
        let kinds = ["prefix", "suffix", "middle", "fsep", "eot"];
        let mut special = SpecialVocab::load_types(dir, false, None, &kinds)?.without_template();
        special.or_id("eot", 107);
        special.add(kv);
    }
    kv.set("tokenizer.ggml.add_space_prefix", Value::Bool(false));
    Ok(())
}

/// GLM 4's vocabulary, whose special tokens are known by their texts (`Glm4Model.set_vocab`).
fn glm4_tokens(
    kv: &mut KeyValues,
    dir: &Path,
    path: &Path,
    config: &Config,
    pre: Option<&str>,
) -> Result<()> {
    let tokenizer = HfTokenizer::load(dir, model_type(config))?;
    let (tokens, pre) = byte_level(&tokenizer, path, config, pre)?;
    tokens.add(kv, "gpt2", &pre);
    let mut special = SpecialVocab::load(dir, true, None)?;
    for (kind, text) in glm4::SPECIAL_TOKENS {
        let id = tokenizer.added.iter().find(|(_, token)| token.content == text).map(|(id, _)| *id);
        let message = || format!("it has no added token {text}");
        let id = id.ok_or_else(|| ConvertError::Tokenizer { path: path.to_owned(), message: message() })?;
        special.or_id(kind, id);
    }
    special.add(kv);
    Ok(())
}

/// Phi 4 has GPT-2's kind of vocabulary, and says so.
fn is_gpt2_class(dir: &Path) -> Result<bool> {
    let Some(file) = JsonFile::read_optional(&dir.join("tokenizer_config.json"))? else { return Ok(false) };
    let class = file.map.get("tokenizer_class").unwrap_or(&Json::Null);
    Ok(super::kv::str_of(&file, "tokenizer_class", class)? == "GPT2Tokenizer")
}

/// SentencePiece with the added tokens of three files, as they are written there (`Phi3MiniModel.set_vocab`).
fn phi3_pieces(dir: &Path, path: &Path, config: &Config) -> Result<Tokens> {
    let (mut tokens, _) = base_pieces(dir, path, config)?;
    let mut set = |file: &JsonFile, key: &str, id: Option<u32>, entry: &Json| -> Result<()> {
        let text = entry.get("content").and_then(Json::as_str);
        let place = id.and_then(|id| usize::try_from(id).ok()).filter(|id| *id < tokens.texts.len());
        let (id, text) =
            place.zip(text).ok_or_else(|| file.wrong(key, entry, "an id of the vocabulary and its token"))?;
        let special = entry.get("special").is_some_and(truthy);
        tokens.texts[id] = text.as_bytes().to_vec();
        if let Some(scores) = &mut tokens.scores {
            scores[id] = -1000.0;
        }
        tokens.types[id] = if special { piece_type::CONTROL } else { piece_type::USER_DEFINED };
        Ok(())
    };
    if let Some(file) = JsonFile::read_optional(&dir.join("tokenizer_config.json"))? {
        for (id, entry) in file.get("added_tokens_decoder").and_then(Json::as_object).into_iter().flatten() {
            set(&file, "added_tokens_decoder", id.parse().ok(), entry)?;
        }
    }
    if let Some(file) = JsonFile::read_optional(&dir.join("tokenizer.json"))? {
        for entry in file.get("added_tokens").and_then(Json::as_array).into_iter().flatten() {
            let id = entry.get("id").and_then(Json::as_u64).and_then(|id| u32::try_from(id).ok());
            set(&file, "added_tokens", id, entry)?;
        }
    }
    Ok(tokens)
}

/// A WordPiece vocabulary (`BertModel.set_vocab`).
fn word_pieces(
    kv: &mut KeyValues,
    dir: &Path,
    path: &Path,
    config: &Config,
    pre: Option<&str>,
) -> Result<()> {
    if !path.is_file() {
        return Err(ConvertError::NoTokenizer { path: dir.to_owned() });
    }
    let tokenizer = HfTokenizer::load(dir, model_type(config))?;
    let (mut tokens, pre) = byte_level(&tokenizer, path, config, pre)?;
    let n_types = match config.find(&["type_vocab_size"]) {
        Some((name, value)) => super::kv::u32_of(&config.hparams, name, value)?,
        None => 1,
    };
    kv.set("tokenizer.ggml.token_type_count", Value::U32(n_types));
    let texts = std::mem::take(&mut tokens.texts);
    tokens.texts =
        texts.into_iter().zip(&tokens.types).map(|(text, kind)| bert::phantom(text, *kind)).collect();
    let n_vocab = tokens.texts.len();
    tokens.add(kv, "bert", &pre);
    SpecialVocab::load(dir, false, Some(n_vocab))?.add(kv);
    Ok(())
}

/// Texts that are control tokens although their files do not say so (`does_token_look_special`).
fn looks_special(text: &str) -> bool {
    let between = |start: &str, end: &str| text.starts_with(start) && text.ends_with(end);
    ["<pad>", "<mask>", "<2mass>", "[@BOS@]"].contains(&text)
        || between("<|", "|>")
        || between("<\u{ff5c}", "\u{ff5c}>")
        || between("<unused", ">")
}

fn checked_size(config: &Config) -> Result<Option<usize>> {
    let n_vocab = config.n_vocab()?;
    if n_vocab.is_some_and(|n| n > MAX_TOKENS) {
        let value = config.hparams.map.get("vocab_size").unwrap_or(&Json::Null);
        return Err(config.hparams.wrong("vocab_size", value, "at most 2097152 tokens"));
    }
    Ok(n_vocab)
}

/// The pieces of a SentencePiece model and the tokens of `added_tokens.json`, up to the vocabulary's size, which is returned too.
fn base_pieces(dir: &Path, path: &Path, config: &Config) -> Result<(Tokens, usize)> {
    let pieces = spm::read(path)?;
    let n_vocab = checked_size(config)?.unwrap_or(pieces.len());
    let mut texts: Vec<Vec<u8>> = (0..n_vocab).map(|i| format!("[PAD{i}]").into_bytes()).collect();
    let mut scores = vec![-10000.0f32; n_vocab];
    let mut types = vec![piece_type::UNUSED; n_vocab];
    for (id, piece) in pieces.into_iter().enumerate().take(n_vocab) {
        texts[id] = piece.text.into_bytes();
        scores[id] = piece.score;
        // The reference does not ask for this kind.
        types[id] = if piece.kind == piece_type::USER_DEFINED { piece_type::NORMAL } else { piece.kind };
    }
    if let Some(file) = JsonFile::read_optional(&dir.join("added_tokens.json"))? {
        for (text, id) in &file.map {
            let id = super::kv::u32_of(&file, text, id)? as usize;
            if id < n_vocab {
                texts[id] = text.as_bytes().to_vec();
                scores[id] = -1000.0;
                types[id] = piece_type::USER_DEFINED;
            }
        }
    }
    Ok((Tokens { texts, scores: Some(scores), types }, n_vocab))
}

fn sentencepiece(dir: &Path, path: &Path, config: &Config) -> Result<Tokens> {
    let (mut tokens, n_vocab) = base_pieces(dir, path, config)?;
    let mut set = |id: usize, text: &str, kind: i32| {
        // Ids beyond the vocabulary are passed over.
        if id < n_vocab {
            tokens.texts[id] = text.as_bytes().to_vec();
            if let Some(scores) = &mut tokens.scores {
                scores[id] = -1000.0;
            }
            tokens.types[id] = kind;
        }
    };
    if let Some(file) = JsonFile::read_optional(&dir.join("tokenizer_config.json"))? {
        let decoder = file.get("added_tokens_decoder").and_then(Json::as_object);
        for (id, entry) in decoder.into_iter().flatten() {
            let text = entry.get("content").and_then(Json::as_str);
            let number = id.parse::<u32>().ok();
            let (id, text) = number
                .zip(text)
                .ok_or_else(|| file.wrong("added_tokens_decoder", entry, "an id and its token"))?;
            if entry.get("special").is_some_and(truthy) || looks_special(text) {
                set(id as usize, text, piece_type::CONTROL);
            } else {
                set(id as usize, &text.replace(SPM_SPACE, " "), piece_type::USER_DEFINED);
            }
        }
    }
    Ok(tokens)
}

/// True for a `tokenizer.json` that was made from a SentencePiece model: BPE that falls back to bytes.
fn is_sentencepiece_like(path: &Path) -> Result<bool> {
    let file = JsonFile::read(path)?;
    let model = file.get("model");
    let of_model = |key: &str| model.and_then(|model| model.get(key));
    let is_bpe = of_model("type").and_then(Json::as_str) == Some("BPE");
    let falls_back = of_model("byte_fallback").is_some_and(truthy);
    let decoder = file.get("decoder").and_then(|decoder| decoder.get("type")).and_then(Json::as_str);
    Ok(is_bpe && falls_back && decoder == Some("Sequence"))
}

fn model_type(config: &Config) -> Option<&str> {
    config.raw.get("model_type").and_then(Json::as_str)
}

fn llama_hf(dir: &Path, config: &Config) -> Result<Tokens> {
    let tokenizer = HfTokenizer::load(dir, model_type(config))?;
    let n_base = tokenizer.n_base();
    let mut tokens = Tokens { texts: Vec::new(), scores: None, types: Vec::new() };
    let is_byte = |text: &str| {
        let hex = text.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
        hex.is_some_and(|hex| hex.len() == 2 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    for id in 0..n_base {
        let text = u32::try_from(id).ok().and_then(|id| tokenizer.texts.get(&id));
        let Some(text) = text else {
            return Err(ConvertError::Tokenizer {
                path: dir.join("tokenizer.json"),
                message: format!("id {id} of {n_base} has no token"),
            });
        };
        tokens.types.push(if is_byte(text) {
            piece_type::BYTE
        } else if tokenizer.is_special(text) {
            piece_type::CONTROL
        } else {
            piece_type::NORMAL
        });
        tokens.texts.push(text.clone().into_bytes());
    }
    let mut added: Vec<_> = tokenizer.added.iter().filter(|(id, _)| **id as usize >= n_base).collect();
    added.sort_by_key(|(id, _)| **id);
    for (_, token) in added {
        let special = tokenizer.is_special(&token.content);
        tokens.types.push(if special { piece_type::CONTROL } else { piece_type::USER_DEFINED });
        tokens.texts.push(token.content.clone().into_bytes());
    }
    tokens.scores = Some(vec![-1000.0; tokens.texts.len()]);
    Ok(tokens)
}

/// A byte-level BPE vocabulary, or any other that is read the same way, and the name of its pre-tokenizer.
fn byte_level(
    tokenizer: &HfTokenizer,
    path: &Path,
    config: &Config,
    pre: Option<&str>,
) -> Result<(Tokens, String)> {
    let n_vocab = checked_size(config)?.unwrap_or(tokenizer.texts.len());
    if let Some((&id, text)) = tokenizer.texts.iter().max_by_key(|(id, _)| **id)
        && id as usize >= n_vocab
    {
        return Err(ConvertError::TokenOutOfRange { id: id.into(), text: text.clone(), n_vocab });
    }
    let pre = match pre {
        Some(name) => name.to_owned(),
        None => pre::detect(tokenizer)?.to_owned(),
    };
    let mut tokens =
        Tokens { texts: Vec::with_capacity(n_vocab), scores: None, types: Vec::with_capacity(n_vocab) };
    for id in 0..n_vocab as u32 {
        let Some(text) = tokenizer.texts.get(&id) else {
            tokens.texts.push(format!("[PAD{id}]").into_bytes());
            tokens.types.push(piece_type::UNUSED);
            continue;
        };
        let Some(added) = tokenizer.added.get(&id) else {
            tokens.texts.push(text.clone().into_bytes());
            tokens.types.push(piece_type::NORMAL);
            continue;
        };
        let mut text = text.clone();
        if !added.normalized {
            // Written as the tokenizer gives it back.
            text = tokenizer.decode(&tokenizer.encode(&text, false)?)?;
        }
        let kind = if added.special || looks_special(&text) {
            piece_type::CONTROL
        } else {
            text = text.replace(SPM_SPACE, " ");
            piece_type::USER_DEFINED
        };
        tokens.texts.push(text.into_bytes());
        tokens.types.push(kind);
    }
    if tokens.texts.is_empty() {
        let message = "it has no tokens".to_owned();
        return Err(ConvertError::Tokenizer { path: path.to_owned(), message });
    }
    Ok((tokens, pre))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_tokens_are_recognised_by_their_looks() {
        for text in ["<pad>", "<|im_end|>", "<\u{ff5c}begin\u{2581}of\u{2581}sentence\u{ff5c}>", "<unused7>"]
        {
            assert!(looks_special(text), "{text}");
        }
        for text in ["<think>", "<|", "|>", "pad"] {
            assert!(!looks_special(text), "{text}");
        }
    }
}
