//! JSON files of a model directory: reading them, and Python's view of their values.
//!
//! Python writes and reads three words that JSON does not have, `NaN`, `Infinity` and `-Infinity`, and takes numbers beyond its floats
//! for infinite. `serde_json` has no place for them: they become texts that nobody writes ([`Special`]).

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
        match parse(&bytes)
            .map_err(|error| ConvertError::Json { path: path.to_owned(), message: error.to_string() })?
        {
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

/// JSON as Python reads it.
///
/// # Errors
/// What is no JSON with those words either; the place is the one in the text as it stands.
fn parse(bytes: &[u8]) -> serde_json::Result<Json> {
    serde_json::from_slice(bytes).or_else(|error| match with_specials(bytes) {
        Some(rewritten) => serde_json::from_slice(&rewritten).map_err(|_| error),
        None => Err(error),
    })
}

/// A number that JSON does not have, as the text that stands for it.
#[derive(Clone, Copy)]
enum Special {
    NaN,
    Infinite,
    NegativeInfinite,
}

impl Special {
    const ALL: [Special; 3] = [Special::NaN, Special::Infinite, Special::NegativeInfinite];

    /// Python's word for it.
    fn word(self) -> &'static str {
        match self {
            Special::NaN => "NaN",
            Special::Infinite => "Infinity",
            Special::NegativeInfinite => "-Infinity",
        }
    }

    /// The word between two noncharacters.
    fn text(self) -> String {
        format!("\u{ffff}{}\u{ffff}", self.word())
    }

    fn of(value: &Json) -> Option<Special> {
        let text = value.as_str()?;
        Special::ALL.into_iter().find(|special| special.text() == text)
    }

    fn float(self) -> f64 {
        match self {
            Special::NaN => f64::NAN,
            Special::Infinite => f64::INFINITY,
            Special::NegativeInfinite => f64::NEG_INFINITY,
        }
    }
}

/// The text with such words and numbers replaced by their texts; `None` if it has none.
fn with_specials(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut found = false;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let len = match byte {
            b'"' => string_len(&bytes[at..]),
            b'-' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => word_len(&bytes[at..]),
            _ => 1,
        };
        let token = &bytes[at..at + len];
        match special(token) {
            Some(special) => {
                found = true;
                out.push(b'"');
                out.extend_from_slice(special.text().as_bytes());
                out.push(b'"');
            }
            None => out.extend_from_slice(token),
        }
        at += len;
    }
    found.then_some(out)
}

/// Bytes of a string with its quotation marks, or to the end.
fn string_len(bytes: &[u8]) -> usize {
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Bytes of a word or number.
fn word_len(bytes: &[u8]) -> usize {
    let is_inner = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
    1 + bytes[1..].iter().take_while(|byte| is_inner(byte)).count()
}

fn special(token: &[u8]) -> Option<Special> {
    let text = std::str::from_utf8(token).ok()?;
    if let Some(special) = Special::ALL.into_iter().find(|special| special.word() == text) {
        return Some(special);
    }
    // A float that is too large; integers of any size are numbers to Python.
    let is_float =
        text.starts_with(|c: char| c == '-' || c.is_ascii_digit()) && text.contains(['e', 'E', '.']);
    let value: f64 = text.parse().ok().filter(|_| is_float)?;
    match value {
        f64::INFINITY => Some(Special::Infinite),
        f64::NEG_INFINITY => Some(Special::NegativeInfinite),
        _ => None,
    }
}

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
    let text = Special::of(value).map_or_else(|| value.to_string(), |special| special.word().to_owned());
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
        _ => Special::of(value).map(Special::float),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_python_writes_is_read() {
        let text = br#"{"a": NaN, "b": [Infinity, -Infinity], "c": "NaN, \"Infinity\\", "d": 1e999, "e": -1.5e400, "f": 1e5}"#;
        let value = parse(text).expect("Python's JSON");
        let float = |value: &Json| float(value).expect("a number");
        assert!(float(&value["a"]).is_nan());
        assert_eq!([float(&value["b"][0]), float(&value["b"][1])], [f64::INFINITY, f64::NEG_INFINITY]);
        assert_eq!(
            [float(&value["d"]), float(&value["e"]), float(&value["f"])],
            [f64::INFINITY, f64::NEG_INFINITY, 1e5]
        );
        assert_eq!(value["c"], json!("NaN, \"Infinity\\"));
        assert_eq!(
            (shown(&value["b"][1]).as_str(), integer(&value["a"]), truthy(&value["a"])),
            ("-Infinity", None, true)
        );
    }

    #[test]
    fn other_words_are_no_json() {
        for text in
            ["{\"a\": nan}", "{\"a\": inf}", "{\"a\": +Infinity}", "{\"a\": NaNs}", "{\"a\": NaN", "NaN NaN"]
        {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
