//! What a `tokenizer.json` may ask of the `tokenizers` crate, which believes every file: how much a text may grow, how many
//! patterns and added tokens there are, what a character map claims. Real files are far below each bound.

use serde_json::Value as Json;
use tokenizers::AddedToken;

use super::json::JsonFile;

/// How many times as long a text may become on its way through all normalizers, or all decoders.
const MAX_GROWTH: usize = 4096;
/// Deepest nesting of a part.
const MAX_DEPTH: usize = 32;
/// Regular expressions in a part: each may take megabytes.
const MAX_PATTERNS: usize = 64;
/// Pieces of a template.
const MAX_PIECES: usize = 1024;
/// Bytes of all added tokens, which become one automaton, and what each counts beside its own.
const MAX_ADDED: usize = 4 << 20;
const ADDED_TOKEN: usize = 32;
/// Bytes of one: the automaton takes their square in time.
const MAX_ADDED_TOKEN: usize = 1 << 16;

/// Whether the parts of a tokenizer keep to the bounds.
///
/// # Errors
/// Which part does not.
pub(super) fn check(tokenizer: &JsonFile) -> Result<(), String> {
    for key in ["normalizer", "pre_tokenizer", "decoder", "post_processor"] {
        let Some(part) = tokenizer.get(key) else { continue };
        let mut found = Found { growth: 1, n_patterns: 0 };
        found.visit(part, 0).map_err(|message| format!("its {key} {message}"))?;
    }
    let empty = Vec::new();
    let added = tokenizer.get("added_tokens").and_then(Json::as_array).unwrap_or(&empty);
    let texts = added.iter().filter_map(|token| token.get("content")?.as_str());
    check_lengths(texts.map(str::len))
}

/// Whether tokens that are to be added keep to the bound.
///
/// # Errors
/// There are too many, or too long ones.
pub(super) fn check_added<'a>(tokens: impl Iterator<Item = &'a AddedToken>) -> Result<(), String> {
    check_lengths(tokens.map(|token| token.content.len()))
}

fn check_lengths(lengths: impl Iterator<Item = usize>) -> Result<(), String> {
    let mut n_bytes = 0usize;
    for len in lengths {
        if len > MAX_ADDED_TOKEN {
            return Err(format!("it adds a token of {len} bytes, expected at most {MAX_ADDED_TOKEN}"));
        }
        n_bytes = n_bytes.saturating_add(len + ADDED_TOKEN);
    }
    if n_bytes > MAX_ADDED {
        return Err(format!("its added tokens take {n_bytes} bytes, expected at most {MAX_ADDED}"));
    }
    Ok(())
}

/// What was found in a part so far.
struct Found {
    growth: usize,
    n_patterns: usize,
}

impl Found {
    /// Parts are known by their fields: the library does not insist on their types' names either.
    fn visit(&mut self, part: &Json, depth: usize) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(format!("nests deeper than {MAX_DEPTH}"));
        }
        match part {
            Json::Array(parts) => parts.iter().try_for_each(|part| self.visit(part, depth + 1)),
            Json::Object(fields) => {
                let text = |key: &str| fields.get(key).and_then(Json::as_str);
                if let (Some(pattern), Some(content)) = (fields.get("pattern"), text("content")) {
                    let replaced = pattern.get("String").and_then(Json::as_str).unwrap_or_default().len();
                    // An expression may match nothing between any two characters.
                    self.grow(content.len().checked_div(replaced).map_or(content.len() + 1, |n| n + 1))?;
                }
                if let Some(text) = text("prepend") {
                    self.grow(text.len() + 1)?;
                }
                if let Some(map) = text("precompiled_charsmap") {
                    self.grow(longest_entry(map)?)?;
                }
                if text("type") == Some("ByteLevel") {
                    self.grow(2)?;
                }
                if fields.get("pattern").is_some_and(|pattern| pattern.get("Regex").is_some()) {
                    self.n_patterns += 1;
                    if self.n_patterns > MAX_PATTERNS {
                        return Err(format!("has more than {MAX_PATTERNS} regular expressions"));
                    }
                }
                for key in ["single", "pair"] {
                    if fields
                        .get(key)
                        .and_then(Json::as_array)
                        .is_some_and(|pieces| pieces.len() > MAX_PIECES)
                    {
                        return Err(format!("has a template of more than {MAX_PIECES} pieces"));
                    }
                }
                fields.values().try_for_each(|part| self.visit(part, depth + 1))
            }
            _ => Ok(()),
        }
    }

    fn grow(&mut self, times: usize) -> Result<(), String> {
        self.growth = self.growth.saturating_mul(times.max(1));
        if self.growth > MAX_GROWTH {
            return Err(format!("makes a text more than {MAX_GROWTH} times as long"));
        }
        Ok(())
    }
}

/// Bytes of the longest entry of a precompiled character map: the length of a trie, the trie, and texts that end with NUL.
fn longest_entry(map: &str) -> Result<usize, String> {
    let bytes = base64(map).ok_or("has a character map that is not base64")?;
    let texts = bytes.first_chunk::<4>().and_then(|len| {
        let end = usize::try_from(u32::from_le_bytes(*len)).ok()?.checked_add(4)?;
        bytes.get(end..)
    });
    let texts = texts.ok_or("has a character map that is cut off")?;
    Ok(texts.split(|byte| *byte == 0).map(<[u8]>::len).max().unwrap_or(0))
}

/// The bytes of a text in base64, padded or not.
fn base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for group in digits.chunks(4) {
        let mut bits = 0u32;
        for digit in group {
            let value = match digit {
                b'A'..=b'Z' => digit - b'A',
                b'a'..=b'z' => digit - b'a' + 26,
                b'0'..=b'9' => digit - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(value);
        }
        bits <<= 6 * (4 - group.len());
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Result<(), String> {
        let Ok(Json::Object(map)) = serde_json::from_str(text) else { panic!("{text}") };
        check(&JsonFile { path: "tokenizer.json".into(), map })
    }

    #[test]
    fn what_real_files_hold_passes() {
        // SentencePiece's space, a byte-level decoder, the split of a byte-pair encoding.
        for text in [
            r#"{"normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]}}"#,
            r#"{"decoder": {"type": "ByteLevel", "add_prefix_space": true}, "pre_tokenizer": {"type": "Sequence",
                "pretokenizers": [{"type": "Split", "pattern": {"Regex": "\\s+"}, "behavior": "Isolated"}]}}"#,
            // A trie of one unit, and texts "ab" and "c".
            r#"{"normalizer": {"type": "Precompiled", "precompiled_charsmap": "BAAAAAAAAABhYgBjAA=="}}"#,
            r#"{"normalizer": null, "added_tokens": [{"id": 1, "content": "<s>"}]}"#,
        ] {
            assert_eq!(checked(text), Ok(()));
        }
    }

    #[test]
    fn growth_multiplies() {
        let double = r#"{"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}"#;
        let all = vec![double; 40].join(",");
        let text = format!(r#"{{"normalizer": {{"type": "Sequence", "normalizers": [{all}]}}}}"#);
        assert!(checked(&text).unwrap_err().contains("4096 times"));
        let text = format!(r#"{{"decoder": {{"type": "Sequence", "decoders": [{all}]}}}}"#);
        assert!(checked(&text).unwrap_err().contains("its decoder makes a text"));
        let bytes = vec![r#"{"type": "ByteLevel"}"#; 40].join(",");
        assert!(checked(&format!(r#"{{"pre_tokenizer": {{"pretokenizers": [{bytes}]}}}}"#)).is_err());
    }

    #[test]
    fn claims_are_held_against_what_is_there() {
        for (map, message) in [("/////w==", "cut off"), ("AA==", "cut off"), ("!", "not base64")] {
            let text =
                format!(r#"{{"normalizer": {{"type": "Precompiled", "precompiled_charsmap": "{map}"}}}}"#);
            assert!(checked(&text).unwrap_err().contains(message), "{map}");
        }
        let long = "x".repeat(20 << 20);
        let text = format!(r#"{{"added_tokens": [{{"id": 1, "content": "{long}"}}]}}"#);
        assert!(checked(&text).unwrap_err().contains("adds a token of 20971520 bytes"));
        let many = vec![r#"{"content": "a"}"#; 200_000].join(",");
        assert!(
            checked(&format!(r#"{{"added_tokens": [{many}]}}"#)).unwrap_err().contains("added tokens take")
        );
        let many = vec![r#"{"pattern": {"Regex": "a{1000}"}}"#; 65].join(",");
        assert!(checked(&format!(r#"{{"pre_tokenizer": [{many}]}}"#)).unwrap_err().contains("expressions"));
        let deep = format!(r#"{{"normalizer": {}{}}}"#, "[".repeat(40), "]".repeat(40));
        assert!(checked(&deep).unwrap_err().contains("nests"));
    }
}
