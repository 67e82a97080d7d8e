//! JSON files of a model directory: reading them, and Python's view of their values.

use std::path::Path;

use serde_json::{Map, Value as Json};

use super::error::{ConvertError, Result};

/// Longest excerpt of a value in messages.
const SHOWN: usize = 60;

/// A JSON object with the file it came from, which is what errors name.
#[derive(Clone, Debug)]
pub(super) struct JsonFile {
    /// The file.
    pub path: std::path::PathBuf,
    /// Its object.
    pub map: Map<String, Json>,
}

impl JsonFile {
    /// Reads an object.
    ///
    /// # Errors
    /// The file cannot be read, is not JSON, or holds something else than an object.
    pub(super) fn read(path: &Path) -> Result<JsonFile> {
        let bytes = read(path)?;
        let value: Json = serde_json::from_slice(&bytes)
            .map_err(|error| ConvertError::Json { path: path.to_owned(), message: error.to_string() })?;
        match value {
            Json::Object(map) => Ok(JsonFile { path: path.to_owned(), map }),
            other => Err(ConvertError::Field {
                path: path.to_owned(),
                key: "the top level".to_owned(),
                found: shown(&other),
                expected: "an object",
            }),
        }
    }

    /// Reads an object if the file exists.
    pub(super) fn read_optional(path: &Path) -> Result<Option<JsonFile>> {
        // What is there but no file is refused when it is read.
        if path.exists() { JsonFile::read(path).map(Some) } else { Ok(None) }
    }

    /// The value of `key`, unless it is absent or null.
    pub(super) fn get(&self, key: &str) -> Option<&Json> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// The error for a value of the wrong kind.
    pub(super) fn wrong(&self, key: &str, found: &Json, expected: &'static str) -> ConvertError {
        ConvertError::Field { path: self.path.clone(), key: key.to_owned(), found: shown(found), expected }
    }
}

/// Longest file that is read whole. The largest in use are lists of tensors and vocabularies of some 30 MB.
pub(super) const MAX_BYTES: u64 = 256 << 20;

/// Reads a whole file: a regular one, of bounded length.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    quipu_gguf::read_file(path, MAX_BYTES).map_err(|error| match error {
        quipu_gguf::Error::Open { path, source } => ConvertError::Read { path, source },
        quipu_gguf::Error::NotAFile { path } => {
            ConvertError::Read { path, source: std::io::Error::other("not a regular file") }
        }
        other => ConvertError::Gguf(other),
    })
}

/// Reads a text file.
pub(super) fn read_text(path: &Path) -> Result<String> {
    String::from_utf8(read(path)?).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        ConvertError::NotText { path: path.to_owned(), at }
    })
}

/// Reads a text file as Python's text mode does: `\r\n` and `\r` become `\n`.
pub(super) fn read_text_lines(path: &Path) -> Result<String> {
    Ok(read_text(path)?.replace("\r\n", "\n").replace('\r', "\n"))
}

/// A short rendering of a value for messages.
pub(super) fn shown(value: &Json) -> String {
    let text = value.to_string();
    if text.chars().count() <= SHOWN {
        return text;
    }
    let cut: String = text.chars().take(SHOWN).collect();
    format!("{cut}…")
}

/// Python's truth of a value.
pub(super) fn truthy(value: &Json) -> bool {
    match value {
        Json::Null => false,
        Json::Bool(flag) => *flag,
        Json::Number(number) => number.as_f64() != Some(0.0),
        Json::String(text) => !text.is_empty(),
        Json::Array(items) => !items.is_empty(),
        Json::Object(map) => !map.is_empty(),
    }
}

/// An integer as Python has it: JSON integers and booleans.
pub(super) fn integer(value: &Json) -> Option<i128> {
    match value {
        Json::Bool(flag) => Some(i128::from(*flag)),
        Json::Number(number) => number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from)),
        _ => None,
    }
}

/// A number as a C double: integers, floats and booleans.
pub(super) fn float(value: &Json) -> Option<f64> {
    match value {
        Json::Bool(flag) => Some(f64::from(u8::from(*flag))),
        Json::Number(number) => number.as_f64(),
        _ => None,
    }
}
