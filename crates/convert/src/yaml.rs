//! The YAML front matter of a model card, resolved as YAML 1.1 by PyYAML's rules (`yes` is a boolean, `1:30` is
//! a number), into JSON values.
//!
//! Parsing is `yaml-rust2`'s; what the scalars mean is decided here. Dates and other values without a JSON
//! counterpart become objects, which no user of the card takes for text. Lists of words are words, whatever YAML makes of
//! them: `language: [no]` is Norwegian.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value as Json, json};
use yaml_rust2::parser::{Event, Parser};
use yaml_rust2::scanner::TScalarStyle;

/// Deepest nesting, most values and most bytes of text accepted: aliases repeat what they stand for.
const MAX_DEPTH: usize = 64;
const MAX_VALUES: usize = 100_000;
const MAX_BYTES: usize = 16 << 20;
/// Keys of lists of words.
const WORDS: [&str; 4] = ["language", "languages", "tags", "pipeline_tag"];

/// What a front matter says; `Null` if it is empty.
///
/// # Errors
/// What is not YAML, nests too deep or grows too large, or has keys that are no scalars.
pub(super) fn parse(text: &str) -> Result<Json, String> {
    let mut builder = Builder {
        parser: Parser::new_from_str(text),
        anchors: Vec::new(),
        size: Size::default(),
        is_words: false,
    };
    loop {
        match builder.next()? {
            Event::StreamStart | Event::DocumentStart | Event::Nothing => {}
            Event::StreamEnd => return Ok(Json::Null),
            event => {
                let value = builder.value(event, 0)?;
                // One document, as `safe_load` wants it.
                while !matches!(builder.next()?, Event::StreamEnd) {
                    if matches!(builder.parser.peek().map_err(|e| e.to_string())?.0, Event::DocumentStart) {
                        return Err("it holds more than one document".to_owned());
                    }
                }
                return Ok(value);
            }
        }
    }
}

struct Builder<'a> {
    parser: Parser<std::str::Chars<'a>>,
    anchors: Vec<(usize, Json, Size)>,
    size: Size,
    /// Within one of [`WORDS`].
    is_words: bool,
}

/// What values take.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    n_values: usize,
    n_bytes: usize,
}

impl Builder<'_> {
    fn next(&mut self) -> Result<Event, String> {
        self.parser.next_token().map(|(event, _)| event).map_err(|error| error.to_string())
    }

    fn count(&mut self, more: Size) -> Result<(), String> {
        // Both stay far from the end of numbers: what is added was within the bounds itself.
        self.size.n_values += more.n_values;
        self.size.n_bytes += more.n_bytes;
        if self.size.n_values > MAX_VALUES {
            return Err(format!("it has more than {MAX_VALUES} values"));
        }
        if self.size.n_bytes > MAX_BYTES {
            return Err(format!("it has more than {MAX_BYTES} bytes of text, aliases included"));
        }
        Ok(())
    }

    fn value(&mut self, event: Event, depth: usize) -> Result<Json, String> {
        if depth > MAX_DEPTH {
            return Err(format!("it nests deeper than {MAX_DEPTH}"));
        }
        let before = self.size;
        let n_bytes = if let Event::Scalar(text, ..) = &event { text.len() } else { 0 };
        self.count(Size { n_values: 1, n_bytes })?;
        let (value, anchor) = match event {
            Event::Alias(id) => {
                let found = self.anchors.iter().rev().find(|(anchor, ..)| *anchor == id);
                let found = found.map(|(_, value, size)| (value, *size));
                let (value, size) = found.ok_or("an alias is recursive")?;
                let value = value.clone();
                self.count(size)?;
                return Ok(value);
            }
            Event::Scalar(text, style, anchor, tag) => {
                let value = match tag {
                    Some(tag) if tag.handle == "tag:yaml.org,2002:" && tag.suffix != "str" => {
                        return Err(format!("the tag !!{} is not supported", tag.suffix));
                    }
                    Some(tag) if tag.handle != "tag:yaml.org,2002:" && !(tag.suffix.is_empty()) => {
                        return Err(format!("the tag {}{} is not supported", tag.handle, tag.suffix));
                    }
                    None if style == TScalarStyle::Plain => match scalar(&text) {
                        Json::Null => Json::Null,
                        _ if self.is_words => Json::String(text),
                        value => value,
                    },
                    _ => Json::String(text),
                };
                (value, anchor)
            }
            Event::SequenceStart(anchor, _) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        Event::SequenceEnd => break,
                        event => items.push(self.value(event, depth + 1)?),
                    }
                }
                (Json::Array(items), anchor)
            }
            Event::MappingStart(anchor, _) => (Json::Object(self.mapping(depth)?), anchor),
            other => return Err(format!("unexpected {other:?}")),
        };
        if anchor > 0 {
            let size = Size {
                n_values: self.size.n_values - before.n_values,
                n_bytes: self.size.n_bytes - before.n_bytes,
            };
            // What is kept for aliases counts, too: anchors nest.
            self.count(size)?;
            self.anchors.push((anchor, value.clone(), size));
        }
        Ok(value)
    }

    fn mapping(&mut self, depth: usize) -> Result<Map<String, Json>, String> {
        let mut map = Map::new();
        let mut merged = Map::new();
        loop {
            let key = match self.next()? {
                Event::MappingEnd => break,
                event => self.value(event, depth + 1)?,
            };
            let event = self.next()?;
            if depth == 0 {
                self.is_words = key.as_str().is_some_and(|key| WORDS.contains(&key));
            }
            let value = self.value(event, depth + 1)?;
            match (key, value) {
                (Json::String(key), Json::Object(other)) if key == "<<" => {
                    other.into_iter().for_each(|(key, value)| {
                        merged.entry(key).or_insert(value);
                    });
                }
                (Json::String(key), value) => {
                    map.insert(key, value);
                }
                (Json::Array(_) | Json::Object(_), _) => return Err("a key is not a scalar".to_owned()),
                // Python keeps such keys as what they are; no one asks for them.
                (key, value) => {
                    map.insert(format!("!{key}"), value);
                }
            }
        }
        for (key, value) in merged {
            map.entry(key).or_insert(value);
        }
        Ok(map)
    }
}

fn whole(pattern: &str) -> Regex {
    Regex::new(&format!("^(?:{pattern})$")).expect("a constant pattern")
}

static INTEGER: LazyLock<Regex> = LazyLock::new(|| {
    whole(
        r"[-+]?0b[01_]+|[-+]?0[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+|[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+",
    )
});
static FLOAT: LazyLock<Regex> = LazyLock::new(|| {
    whole(
        r"[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
    )
});
static TIMESTAMP: LazyLock<Regex> = LazyLock::new(|| {
    whole(
        r"[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]*)?(?:[ \t]*(?:Z|[-+][0-9]{1,2}(?::[0-9]{2})?))?",
    )
});

/// The meaning of a plain scalar.
fn scalar(text: &str) -> Json {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Json::Null,
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Json::Bool(true),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => return Json::Bool(false),
        _ => {}
    }
    if FLOAT.is_match(text) {
        // Infinities and sexagesimal numbers have no user; JSON has no place for the former.
        return text.replace('_', "").parse::<f64>().map_or_else(|_| odd(text), |x| json!(x));
    }
    if INTEGER.is_match(text) {
        let plain = text.replace('_', "");
        let (sign, digits) = match plain.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, plain.strip_prefix('+').unwrap_or(&plain)),
        };
        let value = if let Some(binary) = digits.strip_prefix("0b") {
            i64::from_str_radix(binary, 2)
        } else if let Some(hex) = digits.strip_prefix("0x") {
            i64::from_str_radix(hex, 16)
        } else if digits.len() > 1 && digits.starts_with('0') {
            i64::from_str_radix(digits, 8)
        } else {
            digits.parse()
        };
        return value.map_or_else(|_| odd(text), |n| json!(sign * n));
    }
    if TIMESTAMP.is_match(text) { odd(text) } else { Json::String(text.to_owned()) }
}

/// A value that JSON cannot hold.
fn odd(text: &str) -> Json {
    json!({ "!scalar": text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_are_yaml_1_1() {
        let text = "a: no\nb: 012\nc: 1e3\nd: 1.5e+3\ne: 'no'\nf: ~\ng: 0x10\nh: 2024-01-02\ni: 1_000\nj: -\nk: 1.0.0\n";
        // A lone dash is a sequence entry, so leave it out here.
        let value = parse(&text.replace("j: -\n", "")).expect("valid");
        assert_eq!(
            value,
            json!({"a": false, "b": 10, "c": "1e3", "d": 1500.0, "e": "no", "f": null, "g": 16,
                   "h": {"!scalar": "2024-01-02"}, "i": 1000, "k": "1.0.0"})
        );
    }

    #[test]
    fn collections_anchors_and_merges() {
        let value = parse("base: &b {x: 1, y: [a, b]}\nmore:\n  <<: *b\n  x: 2\nlist:\n- en\n- \"no\"\n")
            .expect("valid");
        assert_eq!(value["more"], json!({"x": 2, "y": ["a", "b"]}));
        assert_eq!(value["list"], json!(["en", "no"]));
        assert_eq!(parse("").expect("empty"), Json::Null);
        assert_eq!(parse("just text").expect("text"), json!("just text"));
    }

    #[test]
    fn lists_of_words_are_words() {
        let text = "language: [no, en]\ntags:\n- on\n- 2024\n- 1.5\n- \"off\"\n- ~\nother: [no, 2024]\nlicense: no\n";
        let value = parse(text).expect("valid");
        assert_eq!(value["language"], json!(["no", "en"]));
        assert_eq!(value["tags"], json!(["on", "2024", "1.5", "off", null]));
        assert_eq!((&value["other"], &value["license"]), (&json!([false, 2024]), &json!(false)));
        assert_eq!(parse("languages: no\n").expect("valid")["languages"], "no");
    }

    #[test]
    fn aliases_cannot_explode() {
        let line = |i: usize| {
            let list = vec![format!("*a{}", i - 1); 10].join(", ");
            format!("a{i}: &a{i} [{list}]\n")
        };
        let text: String = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned()]
            .into_iter()
            .chain((1..12).map(line))
            .collect();
        assert!(parse(&text).expect_err("too large").contains("values"));
        assert!(parse(&"[".repeat(1000)).is_err());
        // A few values of many bytes each.
        let text = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), vec!["*a"; 1000].join(", "));
        assert!(parse(&text).expect_err("too large").contains("bytes of text"));
        // Anchors within anchors.
        let anchors: Vec<String> = (0..60).map(|i| format!("&a{i} [")).collect();
        let text = anchors.concat();
        let text = format!("{text}{}", "x".repeat(1 << 20));
        assert!(
            parse(&format!("{text}{}", "]".repeat(60))).expect_err("too large").contains("bytes of text")
        );
    }

    #[test]
    fn broken_text_is_an_error() {
        for text in ["a: [1", "a: b: c", "a: \"x", "- a\nb: c", "a: *nowhere"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
