//! Samples under grammars and JSON schemas: every text is a sentence of the grammar, read by a matcher that knows
//! nothing of tokens, and every JSON text is an instance of its schema, read by `serde_json`.

mod common;

use std::path::Path;
use std::sync::Arc;

use common::Texts;
use quipu_sampler::{
    Chain, Dist, Gbnf, GenerationSampler, Grammar, GrammarParams, Pieces, TokenId, Vocabulary,
    grammar::Matcher, grammar::Verdict, json_schema_to_grammar,
};
use quipu_testing::SplitMix;
use serde_json::Value;

/// Tokens drawn freely before the text is drawn to its end.
const FREE: usize = 25;
const MAX_TOKENS: usize = 400;

struct Case {
    name: &'static str,
    gbnf: String,
    /// For texts of JSON: whether the value is an instance of the schema.
    is_instance: Option<fn(&Value) -> bool>,
}

fn grammar(name: &'static str, gbnf: &str) -> Case {
    Case { name, gbnf: gbnf.to_owned(), is_instance: None }
}

fn schema(name: &'static str, schema: &str, is_instance: fn(&Value) -> bool) -> Case {
    let gbnf = json_schema_to_grammar(&serde_json::from_str(schema).unwrap()).unwrap();
    Case { name, gbnf, is_instance: Some(is_instance) }
}

fn cases() -> Vec<Case> {
    let json = r#"root ::= value
value ::= object | array | string | number | "true" | "false" | "null"
object ::= "{" ws (pair ("," ws pair)*)? "}"
pair ::= string ":" ws value
array ::= "[" ws (value ("," ws value)*)? "]" ws
string ::= "\"" ([^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}))* "\"" ws
number ::= "-"? ("0" | [1-9] [0-9]{0,15}) ("." [0-9]+)? ws
ws ::= [ \n]{0,2}"#;
    vec![
        Case { is_instance: Some(|_| true), ..grammar("JSON", json) },
        grammar(
            "arithmetic",
            "root ::= (expr \"=\" term \"\\n\"){1,4}\nexpr ::= term ([-+*/] term)*\nterm ::= [a-z] | [0-9]+ | \"(\" expr \")\"",
        ),
        grammar(
            "letters of many alphabets",
            "root ::= ([à-ü] | [α-ω] | \"日本\" | [😀-😎] | [^\\x00-\\xFF])+ \"=\"",
        ),
        grammar("a list", "root ::= (\"- \" [^\\n]+ \"\\n\"){2,5}"),
        grammar("many readings", "root ::= x{1,30} \"=\"\nx ::= y | y y\ny ::= \"a\" | \"ab\" | \"b\""),
        schema(
            "a person",
            r#"{"type": "object", "properties": {"name": {"type": "string", "minLength": 1, "maxLength": 9},
                "age": {"type": "integer", "minimum": 0, "maximum": 150}, "tags": {"type": "array",
                "items": {"enum": ["x", "yy", 3, null]}, "minItems": 1, "maxItems": 3}},
                "required": ["name", "age", "tags"], "additionalProperties": false}"#,
            |v| {
                let name = v["name"].as_str().map_or(0, |name| name.chars().count());
                let tags = v["tags"].as_array().is_some_and(|tags| {
                    (1..=3).contains(&tags.len())
                        && tags.iter().all(|t| t == "x" || t == "yy" || *t == 3 || t.is_null())
                });
                v.as_object().is_some_and(|o| o.len() == 3)
                    && (1..=9).contains(&name)
                    && v["age"].as_i64().is_some_and(|age| (0..=150).contains(&age))
                    && tags
            },
        ),
        schema(
            "a date and a pattern",
            r#"{"type": "object", "properties": {"on": {"type": "string", "format": "date"},
                "code": {"type": "string", "pattern": "^[A-F]{2}-[0-9]{1,4}(x|yz)?$"}}, "required": ["on", "code"]}"#,
            |v| {
                let date = regex::Regex::new("^[0-9]{4}-[0-9]{2}-[0-9]{2}$").unwrap();
                let code = regex::Regex::new("^[A-F]{2}-[0-9]{1,4}(x|yz)?$").unwrap();
                v["on"].as_str().is_some_and(|s| date.is_match(s))
                    && v["code"].as_str().is_some_and(|s| code.is_match(s))
            },
        ),
        schema(
            "a number or a list of lists",
            r##"{"$defs": {"list": {"type": "array", "items": {"anyOf": [{"type": "boolean"}, {"$ref": "#/$defs/list"}]}}},
                "oneOf": [{"type": "number"}, {"$ref": "#/$defs/list"}]}"##,
            |v| {
                fn is_list(v: &Value) -> bool {
                    v.as_array().is_some_and(|items| items.iter().all(|i| i.is_boolean() || is_list(i)))
                }
                v.is_number() || is_list(v)
            },
        ),
        // Keys that are only known not to be others are left out: the reference's grammar for them, which is ours,
        // lets through what JSON escapes.
        schema(
            "optional properties",
            r#"{"type": "object", "properties": {"a": {"type": "boolean"}, "b": {"const": "B"}, "c": {"type": "null"}},
                "additionalProperties": false}"#,
            |v| {
                v.as_object().is_some_and(|o| {
                    o.iter().all(|(key, value)| match key.as_str() {
                        "a" => value.is_boolean(),
                        "b" => value == "B",
                        "c" => value.is_null(),
                        _ => false,
                    })
                })
            },
        ),
        schema(
            "a table of small numbers",
            r#"{"type": "object", "additionalProperties": {"type": "integer", "minimum": -5, "maximum": 5}}"#,
            // -0 is read as a float.
            |v| v.as_object().is_some_and(|o| o.values().all(|n| n.as_f64().is_some_and(|n| n.abs() <= 5.0))),
        ),
        schema("anything", "{}", |_| true),
    ]
}

/// Single characters, bytes of characters (of leading bytes those that no continuation spoils: a grammar takes any
/// byte sequence for a character, as the reference's does), and pieces that lie across the borders of a grammar's elements.
fn composed() -> Arc<dyn Vocabulary> {
    let mut texts: Vec<Vec<u8>> = (1_u8..0xC0).chain([0xC3, 0xCE, 0xE6]).map(|byte| vec![byte]).collect();
    for piece in [
        "{\"", "\":", "\": ", "\", \"", ", ", "\"}", "\"]", "]}", "}}", "[[", "true", "false", "null",
        "name", "age", "tags", "12", "-1", "0.", "e", "ab", "aab", "é", "αβγ", "日", "日本", "本", "😀",
        "😀😁", "(a", ")=", "=1\n", "\n- ", "AB-", "  ", "\\u00", "\\n", "2024-", "ü\"", "",
    ] {
        texts.push(piece.as_bytes().to_vec());
    }
    // Cut in the middle of characters.
    texts.extend(
        [&b"\xE6\x97"[..], b"\xA5\xE6", b"\x9C\xAC", b"\xF0\x9F", b"\x98\x80", b"a\xC3", b"\xA9b"]
            .map(<[u8]>::to_vec),
    );
    texts.push(b"</s>".to_vec());
    Arc::new(Texts(texts))
}

fn draws_to_the_end(piece: &[u8]) -> bool {
    matches!(piece, b"\"" | b"}" | b"]" | b")" | b"=" | b"\n" | b"1" | b":" | b"-" | b"a" | b"x")
}

/// A text, and whether it is finished.
fn draw(
    sampler: &mut GenerationSampler,
    vocabulary: &dyn Vocabulary,
    possible: &[bool],
    random: &mut SplitMix,
) -> (Vec<u8>, bool) {
    sampler.restart();
    let n = vocabulary.n_tokens();
    let mut text = Vec::new();
    let mut row: Vec<f32> = vec![0.0; n];
    for i in 0..MAX_TOKENS {
        for (logit, possible) in row.iter_mut().zip(possible) {
            *logit = if *possible { common::logit(random) } else { -1e9 };
        }
        if i >= FREE {
            for (token, logit) in row.iter_mut().enumerate() {
                let token = token as TokenId;
                if vocabulary.is_eog(token) {
                    *logit += 60.0;
                } else if draws_to_the_end(vocabulary.piece(token)) {
                    *logit += 30.0;
                }
            }
        }
        let token = sampler.sample(&row).unwrap();
        sampler.accept(token, true).unwrap();
        if vocabulary.is_eog(token) {
            return (text, true);
        }
        text.extend_from_slice(vocabulary.piece(token));
    }
    (text, false)
}

/// Which tokens a model that writes UTF-8 could mean on their own.
fn whole_characters(vocabulary: &dyn Vocabulary) -> Vec<bool> {
    let n = vocabulary.n_tokens() as TokenId;
    (0..n).map(|token| std::str::from_utf8(vocabulary.piece(token)).is_ok()).collect()
}

/// Draws `n` texts under each grammar and returns how many were finished.
fn draw_all(vocabulary: &Arc<dyn Vocabulary>, possible: &[bool], n: u32, grammar_first: bool) -> usize {
    let pieces = Arc::new(Pieces::new(Arc::clone(vocabulary)));
    let mut finished = 0;
    for (i, case) in cases().into_iter().enumerate() {
        let mut chain = Chain::new();
        chain.add(Dist::new(i as u32));
        let mut sampler = GenerationSampler::from_chain(chain)
            .with_grammar(Grammar::new(&pieces, &case.gbnf, "root").unwrap())
            .grammar_first(grammar_first);
        for seed in 0..n {
            let mut random = SplitMix::new(u64::from(seed) * 1000 + i as u64);
            let (text, done) = draw(&mut sampler, vocabulary.as_ref(), possible, &mut random);
            let shown = String::from_utf8_lossy(&text).into_owned();
            let fresh = Gbnf::parse(&case.gbnf, "root", None).unwrap();
            if !done {
                let mut matcher = Matcher::new(&fresh).unwrap();
                assert!(matcher.accept_bytes(&text).unwrap(), "{}: {shown:?}", case.name);
                continue;
            }
            finished += 1;
            let text = String::from_utf8(text).unwrap_or_else(|_| panic!("{}: {shown:?}", case.name));
            assert_eq!(fresh.check(&text), Ok(Verdict::Accepted), "{}: {shown:?}", case.name);
            if let Some(is_instance) = case.is_instance {
                let value = match serde_json::from_str(&text) {
                    Ok(value) => value,
                    // A number of JSON, though none of this machine.
                    Err(error) if error.to_string().contains("number out of range") => continue,
                    Err(error) => panic!("{}: {error}: {shown:?}", case.name),
                };
                assert!(is_instance(&value), "{}: {shown}", case.name);
            }
        }
    }
    println!("{finished} texts finished");
    finished
}

#[test]
fn a_thousand_samples_over_a_composed_vocabulary() {
    let finished = draw_all(&composed(), &[true; 400], 100, false);
    assert!(finished >= 1000, "{finished} of 1100 finished");
}

#[test]
fn samples_with_the_grammar_first() {
    let finished = draw_all(&composed(), &[true; 400], 20, true);
    assert!(finished >= 200, "{finished} of 220 finished");
}

#[test]
fn samples_over_real_vocabularies() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vocab");
    for name in ["llama-spm", "gpt-2", "falcon", "deepseek-llm"] {
        let path = folder.join(format!("ggml-vocab-{name}.gguf"));
        let Ok(file) = quipu_gguf::GgufFile::open(&path) else {
            println!("skipped: no vocabulary {name}");
            continue;
        };
        let tokenizer = quipu_tokenizer::Tokenizer::from_gguf(file.metadata()).unwrap();
        let vocabulary: Arc<dyn Vocabulary> = Arc::new(tokenizer);
        let finished = draw_all(&vocabulary, &whole_characters(vocabulary.as_ref()), 5, false);
        assert!(finished >= 45, "{name}: {finished} of 55 finished");
    }
}

#[test]
fn a_schema_among_the_parameters() {
    let vocabulary = composed();
    let possible = vec![true; vocabulary.n_tokens()];
    let schema = r#"{"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 12}, "minItems": 2, "maxItems": 4}"#;
    let params = quipu_sampler::SamplerParams {
        seed: 1,
        grammar: Some(GrammarParams::json_schema(schema)),
        ..Default::default()
    };
    let mut sampler = GenerationSampler::new(&params, &vocabulary).unwrap();
    for seed in 0..50 {
        let (text, done) = draw(&mut sampler, vocabulary.as_ref(), &possible, &mut SplitMix::new(seed));
        assert!(done);
        let values: Vec<u8> = serde_json::from_slice(&text).unwrap();
        assert!((2..=4).contains(&values.len()) && values.iter().all(|v| (1..=12).contains(v)));
    }
}
