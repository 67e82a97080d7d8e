//! A model file's vocabulary without its weights.

use std::path::Path;

use quipu_gguf::GgufFile;
use quipu_tokenizer::Tokenizer;

use crate::error::Error;

/// Reads the vocabulary of a GGUF file; the file may hold no weights at all (`vocab_only`).
///
/// # Errors
/// The file is missing or not GGUF, or its vocabulary is missing, of an unknown kind, or contradicts itself.
pub fn open_tokenizer(path: impl AsRef<Path>) -> Result<Tokenizer, Error> {
    let path = path.as_ref();
    let file = GgufFile::open(path).map_err(|source| Error::Open { path: path.to_owned(), source })?;
    if file.metadata().optional::<&str>("tokenizer.ggml.model")?.is_none() {
        return Err(Error::NoVocabulary { name: path.display().to_string() });
    }
    Ok(Tokenizer::from_gguf(file.metadata())?)
}
