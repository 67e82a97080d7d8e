//! A model file's vocabulary, with or without the weights.

use std::path::Path;

use quipu_gguf::{GgufFile, Metadata};
use quipu_tokenizer::Tokenizer;

use crate::error::Error;

/// Reads the vocabulary of a GGUF file; the file may hold no weights at all (`vocab_only`).
///
/// With the feature `hf-json` a `tokenizer.json` serves where the file has no vocabulary of its own: the one in its
/// metadata (`tokenizer.huggingface.json`) or else the one beside it.
///
/// # Errors
/// The file is missing or not GGUF, or its vocabulary is missing, of an unknown kind, or contradicts itself.
pub fn open_tokenizer(path: impl AsRef<Path>) -> Result<Tokenizer, Error> {
    let path = path.as_ref();
    let file = GgufFile::open(path).map_err(|source| Error::Open { path: path.to_owned(), source })?;
    find(file.metadata(), Some(path))?.ok_or(Error::NoVocabulary { name: path.display().to_string() })
}

/// The tokenizer that the metadata describe; `path` is the file they come from, if they come from one.
pub(crate) fn find(metadata: &Metadata, path: Option<&Path>) -> Result<Option<Tokenizer>, Error> {
    match metadata.optional::<&str>("tokenizer.ggml.model")? {
        Some(model) if !matches!(model, "none" | "no_vocab" | "hf-json") => {
            Ok(Some(Tokenizer::from_gguf(metadata)?))
        }
        _ => hf_json(metadata, path),
    }
}

#[cfg(not(feature = "hf-json"))]
#[allow(clippy::unnecessary_wraps, reason = "the other build has errors")]
fn hf_json(_: &Metadata, _: Option<&Path>) -> Result<Option<Tokenizer>, Error> {
    Ok(None)
}

#[cfg(feature = "hf-json")]
fn hf_json(metadata: &Metadata, path: Option<&Path>) -> Result<Option<Tokenizer>, Error> {
    let ids = quipu_tokenizer::SpecialIds {
        bos: metadata.optional("tokenizer.ggml.bos_token_id")?,
        eos: metadata.optional("tokenizer.ggml.eos_token_id")?,
        eot: metadata.optional("tokenizer.ggml.eot_token_id")?,
        pad: metadata.optional("tokenizer.ggml.padding_token_id")?,
        ..Default::default()
    };
    if let Some(json) = metadata.optional::<&str>("tokenizer.huggingface.json")? {
        return Ok(Some(Tokenizer::from_hf_json(json.as_bytes(), &ids)?));
    }
    let Some(beside) = path.map(|path| path.with_file_name("tokenizer.json")) else { return Ok(None) };
    // A regular file, and not one of any length: the largest in use have 35 MB.
    match quipu_gguf::read_file(&beside, 256 << 20) {
        Ok(json) => Ok(Some(Tokenizer::from_hf_json(&json, &ids)?)),
        Err(_) => Ok(None),
    }
}
