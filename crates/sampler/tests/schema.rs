//! JSON schemas as exact grammars: texts by kind, what is refused, texts drawn under schemas, and random schemas, judged
//! by a validator.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use quipu_sampler::{
    Error, Gbnf, Grammar, Pieces, TokenId, Vocabulary, WhiteSpace, grammar::Verdict, schema_to_grammar,
};
use quipu_testing::SplitMix;
use serde_json::{Value, json};

fn lines(path: &str) -> Vec<Value> {
    let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    let Ok(text) = std::fs::read_to_string(path) else { return Vec::new() };
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn kinds() -> Vec<Value> {
    lines("tests/data/schema_kinds.jsonl")
}

fn gbnf(schema: &Value) -> Option<Gbnf> {
    match schema_to_grammar(schema, WhiteSpace::Any) {
        Ok(text) => {
            Some(Gbnf::parse(&text, "root", None).unwrap_or_else(|e| panic!("{schema}: {e}\n{text}")))
        }
        Err(Error::SchemaEmpty) => None,
        Err(error) => panic!("{schema}: {error}"),
    }
}

fn accepts(gbnf: Option<&Gbnf>, text: &str) -> bool {
    gbnf.is_some_and(|gbnf| gbnf.check(text).unwrap() == Verdict::Accepted)
}

fn validator(schema: &Value) -> jsonschema::Validator {
    let options = jsonschema::options().should_validate_formats(true);
    options.build(schema).unwrap_or_else(|error| panic!("{schema}: {error}"))
}

#[test]
fn texts_of_all_kinds() {
    let mut wrong = Vec::new();
    let cases = kinds();
    for case in &cases {
        let gbnf = gbnf(&case["schema"]);
        for (key, want) in [("yes", true), ("no", false)] {
            for text in case[key].as_array().unwrap().iter().map(|text| text.as_str().unwrap()) {
                if accepts(gbnf.as_ref(), text) != want {
                    wrong.push(format!("{}: {key} {text}", case["id"]));
                }
                // The table itself is judged by a validator; what it fixes of JSON's choices is no mistake of it.
                let value: Result<Value, _> = serde_json::from_str(text);
                let valid = value.is_ok_and(|value| validator(&case["schema"]).is_valid(&value));
                let fixed =
                    ["integers between", "many that may be"].map(|id| json!(id)).contains(&case["id"]);
                if valid != want && !fixed {
                    wrong.push(format!("{}: {key} {text}, says the validator", case["id"]));
                }
            }
        }
    }
    assert!(wrong.is_empty() && cases.len() > 60, "{}", wrong.join("\n"));
}

/// Demands that no text meets leave no text, also where a length stands beside them.
#[test]
fn demands_that_exclude_each_other_have_no_text() {
    let demands = [
        json!({"pattern": "^a$", "allOf": [{"pattern": "^b$"}], "minLength": 2}),
        json!({"format": "date", "minLength": 3, "pattern": "^$"}),
    ];
    // What is no text has every pattern, and so not its opposite.
    let none = json!({"pattern": "^x", "not": {"pattern": "^x"}, "maxLength": 9, "type": ["string", "null"]});
    assert_eq!(schema_to_grammar(&none, WhiteSpace::Any), Err(Error::SchemaEmpty));
    for mut schema in demands {
        schema["type"] = "string".into();
        assert_eq!(schema_to_grammar(&schema, WhiteSpace::Any), Err(Error::SchemaEmpty), "{schema}");
        schema["type"] = json!(["string", "null"]);
        let gbnf = gbnf(&schema);
        assert!(accepts(gbnf.as_ref(), "null") && !accepts(gbnf.as_ref(), "\"ab\""), "{schema}");
    }
}

#[test]
fn what_cannot_be_expressed_is_named_with_its_place() {
    for (schema, message) in [
        (json!({"properties": {"a": {"uniqueItems": true}}}), "#/properties/a: 'uniqueItems' cannot be"),
        (json!({"not": {"uniqueItems": true}, "type": "array"}), "the opposite of 'uniqueItems'"),
        (json!({"items": {"pattern": "(a)\\1"}}), "#/items: 'pattern' '(a)\\1': the back reference"),
        (json!({"patternProperties": {"(?<=a)": {}}}), "'patternProperties' '(?<=a)': look-behind"),
        (json!({"format": "regex"}), "#: 'format' 'regex'"),
        (json!({"multipleOf": 0.1}), "'multipleOf' 0.1"),
        (json!({"multipleOf": 0}), "'multipleOf' 0"),
        (json!({"minProperties": 2}), "'minProperties' 2"),
        (json!({"unevaluatedProperties": false, "allOf": [{}]}), "'unevaluatedProperties' beside 'allOf'"),
        (json!({"unevaluatedItems": false, "contains": {}}), "'unevaluatedItems' beside 'contains'"),
        (json!({"$dynamicRef": "#a"}), "'$dynamicRef'"),
        (json!({"$ref": "#/$defs/x"}), "'$ref' to '#/$defs/x': nothing at '$defs'"),
        (json!({"$ref": "https://example.com/x"}), "nothing is fetched"),
        (json!({"$ref": "#"}), "'$ref' leads back to itself"),
        (json!({"$schema": "https://example.com/own"}), "'$schema' names"),
        (json!({"items": [{}]}), "'items' is a list"),
        (json!({"dependencies": {"a": ["b"]}}), "'dependencies' is of draft 7"),
        (json!({"minLength": "3"}), "'minLength' is \"3\""),
        (json!({"maxItems": -1}), "'maxItems' is -1"),
        (json!({"maxItems": 1.5}), "'maxItems' is 1.5"),
        (json!({"exclusiveMinimum": true, "type": "integer"}), "'exclusiveMinimum' is true"),
        (json!({"type": "strange"}), "'type' is \"strange\""),
        (json!({"anyOf": []}), "'anyOf' is no list of schemas"),
        (json!({"enum": 1}), "'enum' is no list"),
        (json!({"required": [1]}), "'required' is [1]"),
        (json!({"properties": {"a": 1}}), "#/properties/a: no schema"),
        (json!(1), "#: no schema"),
        (
            json!({"type": "object", "not": {"additionalProperties": {"type": "null"}}}),
            "'additionalProperties'",
        ),
        (json!({"type": "string", "pattern": "^(a|b)*a(a|b){20}$"}), "states"),
        (json!({"type": "string", "pattern": "^(ab)*$", "maxLength": 65535}), "states"),
    ] {
        let error = schema_to_grammar(&schema, WhiteSpace::Any).expect_err(&schema.to_string()).to_string();
        assert!(error.starts_with("JSON schema: #") && error.contains(message), "{schema}: {error}");
    }
    for schema in [json!(false), json!({"type": "integer", "minimum": 5, "maximum": 3}), json!({"enum": []})]
    {
        assert_eq!(schema_to_grammar(&schema, WhiteSpace::Any), Err(Error::SchemaEmpty), "{schema}");
    }
}

/// All bytes, a few longer pieces of which some end within a character, a control token, and the end.
struct Bytes(Vec<Vec<u8>>);

const PIECES: [&[u8]; 12] = [
    b"\": ",
    b", \"",
    b"true",
    b"\xE2\x82",
    b"\x82\xAC",
    b"\\u00",
    b"\\ud83d",
    b"}}",
    b"]\n",
    b"  ",
    b"ab",
    b"a\0b",
];

impl Bytes {
    fn new() -> Self {
        let mut texts: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
        texts.extend(PIECES.map(<[u8]>::to_vec));
        texts.extend([b"<|control|>".to_vec(), b"</s>".to_vec()]);
        Self(texts)
    }

    fn end(&self) -> TokenId {
        self.0.len() as TokenId - 1
    }
}

impl Vocabulary for Bytes {
    fn n_tokens(&self) -> usize {
        self.0.len()
    }

    fn piece(&self, token: TokenId) -> &[u8] {
        self.0.get(token as usize).map_or(&[], Vec::as_slice)
    }

    fn plain_piece(&self, token: TokenId) -> &[u8] {
        if token + 2 >= self.0.len() as TokenId { &[] } else { self.piece(token) }
    }

    fn is_eog(&self, token: TokenId) -> bool {
        token == self.end()
    }

    fn end_of_turn(&self) -> Option<TokenId> {
        Some(self.end())
    }

    fn tokenize(&self, text: &[u8], _parse_special: bool) -> Vec<TokenId> {
        text.iter().map(|byte| TokenId::from(*byte)).collect()
    }

    fn detokenize(&self, token: TokenId) -> Vec<u8> {
        self.piece(token).to_vec()
    }
}

/// A text drawn token by token from what is allowed; from some length on what closes things comes first. `None` if it
/// finds no end in reasonable time: a pattern may ask for letters that are hardly drawn.
fn draw(
    grammar: &mut Grammar,
    vocabulary: &Bytes,
    random: &mut SplitMix,
    soft_limit: usize,
) -> Result<Option<Vec<u8>>, String> {
    use quipu_sampler::Sampler as _;
    grammar.reset();
    let mut text = Vec::new();
    for _ in 0..1500 {
        let allowed: Vec<TokenId> =
            (0..vocabulary.n_tokens() as TokenId).filter(|&t| grammar.allows(t).unwrap()).collect();
        if allowed.is_empty() {
            return Err(format!("nothing may follow {:?}", String::from_utf8_lossy(&text)));
        }
        let may_end = allowed.last() == Some(&vocabulary.end());
        let closing = b"\"]}".map(TokenId::from).into_iter().find(|t| allowed.contains(t));
        let solid: Vec<TokenId> =
            allowed.iter().copied().filter(|t| !b" \t\r\n".map(TokenId::from).contains(t)).collect();
        let choices = if solid.is_empty() || random.index(12) == 0 { &allowed } else { &solid };
        let token = if text.len() > soft_limit && may_end {
            vocabulary.end()
        } else if let Some(closing) = closing.filter(|_| text.len() > soft_limit && random.index(2) == 0) {
            closing
        } else {
            choices[random.index(choices.len())]
        };
        if token == vocabulary.end() {
            return Ok(Some(text));
        }
        grammar.accept_token(token).unwrap();
        text.extend_from_slice(vocabulary.piece(token));
    }
    Ok(None)
}

#[test]
fn two_thousand_texts_drawn_under_schemas_are_valid() {
    let vocabulary = Arc::new(Bytes::new());
    let pieces = Arc::new(Pieces::new(Arc::clone(&vocabulary) as Arc<dyn Vocabulary>));
    let mut random = SplitMix::new(11);
    let mut schemas: Vec<Value> = kinds().iter().map(|case| case["schema"].clone()).collect();
    // More of them may lie beside the project.
    schemas.extend(lines("../../../shared/field/schemas.jsonl").iter().map(|case| case["schema"].clone()));
    let grammars: Vec<(Value, Gbnf)> = schemas
        .into_iter()
        .filter_map(|schema| {
            let text = schema_to_grammar(&schema, WhiteSpace::Any).ok()?;
            // As texts are generated.
            let short = schema_to_grammar(&schema, WhiteSpace::Short).unwrap();
            let gbnf = [text, short].map(|text| Gbnf::parse(&text, "root", None).unwrap().strict());
            Some(gbnf.map(|gbnf| (schema.clone(), gbnf)))
        })
        .flatten()
        .collect();
    let rounds = 2300_usize.div_ceil(grammars.len());
    let (mut n, mut wrong) = (0, Vec::new());
    for (schema, gbnf) in &grammars {
        // It refuses references that are no URIs.
        let Ok(validator) = jsonschema::options().should_validate_formats(true).build(schema) else {
            continue;
        };
        let mut grammar = Grammar::of(&pieces, gbnf.clone()).unwrap();
        for round in 0..rounds {
            let text = draw(&mut grammar, &vocabulary, &mut random, [3, 20, 60, 150][round % 4]);
            let Some(text) = text.unwrap_or_else(|error| panic!("{schema}: {error}")) else { continue };
            let text = String::from_utf8(text).unwrap_or_else(|e| panic!("{schema}: {e}"));
            let value: Value =
                serde_json::from_str(&text).unwrap_or_else(|e| panic!("{schema}: {e}: {text}"));
            if !validator.is_valid(&value) || !accepts(Some(gbnf), &text) {
                wrong.push(format!("{schema}: {text}"));
            }
            n += 1;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(n >= 2000, "{n}");
}

#[test]
fn tokens_that_are_not_seen_as_they_are_read_are_not_allowed() {
    let vocabulary = Arc::new(Bytes::new());
    let pieces = Arc::new(Pieces::new(Arc::clone(&vocabulary) as Arc<dyn Vocabulary>));
    let gbnf = gbnf(&json!({"type": "string"})).unwrap();
    let mut grammar = Grammar::of(&pieces, gbnf.clone().strict()).unwrap();
    let mut lenient = Grammar::of(&pieces, gbnf).unwrap();
    for grammar in [&mut grammar, &mut lenient] {
        grammar.accept_token(b'"'.into()).unwrap();
    }
    let control = vocabulary.end() - 1;
    let nul = (256 + PIECES.len() - 1) as TokenId;
    for token in [control, nul] {
        assert!(!grammar.allows(token).unwrap() && lenient.allows(token).unwrap(), "{token}");
    }
    // Bytes that the reference's decoder takes for characters.
    for byte in [0xC0, 0xC1, 0xF5, 0xFF, 0x80] {
        assert!(!grammar.allows(byte).unwrap(), "{byte:x}");
    }
    grammar.accept_token(0xE2).unwrap();
    assert!(grammar.allows(0x82).unwrap() && !grammar.allows(b'a'.into()).unwrap());
    assert!(grammar.clone().accept_token(b'a'.into()).is_err());
}

/// Small schemas of everything that is simple to judge.
fn schemas() -> impl Strategy<Value = Value> {
    let name = || prop::sample::select(vec!["a", "b", "c"]);
    let scalar = || {
        prop_oneof![
            Just(json!(null)),
            Just(json!(true)),
            (-3..4).prop_map(|n| json!(n)),
            prop::sample::select(vec!["", "a", "ab", "b\"", "é"]).prop_map(|s| json!(s)),
            Just(json!(0.5)),
            Just(json!([1])),
            Just(json!({"a": 1})),
        ]
    };
    let kind =
        || prop::sample::select(vec!["null", "boolean", "integer", "number", "string", "array", "object"]);
    let leaf = prop_oneof![
        any::<bool>().prop_map(|b| json!(b)),
        kind().prop_map(|k| json!({"type": k})),
        prop::collection::vec(kind(), 1..4).prop_map(|mut k| {
            k.sort_unstable();
            k.dedup();
            json!({"type": k})
        }),
        scalar().prop_map(|v| json!({"const": v})),
        prop::collection::vec(scalar(), 1..4).prop_map(|v| json!({"enum": v})),
        (-3..4, 0..5).prop_map(|(low, n)| json!({"minimum": low, "maximum": low + n})),
        (-3..4).prop_map(|n| json!({"exclusiveMinimum": n})),
        prop::sample::select(vec![1, 2, 3]).prop_map(|n| json!({"multipleOf": n})),
        (0..3, 0..3).prop_map(|(low, n)| json!({"minLength": low, "maxLength": low + n})),
        prop::sample::select(vec!["a", "^a", "b$", "^[ab]*$", "^.$", "^(?!a)"])
            .prop_map(|p| json!({"pattern": p})),
        (0..3, 0..3).prop_map(|(low, n)| json!({"minItems": low, "maxItems": low + n})),
        (0..2, 0..3).prop_map(|(low, n)| json!({"minProperties": low, "maxProperties": low + n})),
        prop::collection::vec(name(), 0..3).prop_map(|mut names| {
            names.sort_unstable();
            names.dedup();
            json!({"required": names})
        }),
        (name(), name()).prop_map(|(a, b)| json!({"dependentRequired": {a: [b]}})),
    ];
    leaf.prop_recursive(3, 12, 3, move |inner| {
        let list = || prop::collection::vec(inner.clone(), 1..3);
        let map =
            || prop::collection::btree_map(prop::sample::select(vec!["a", "b", "c"]), inner.clone(), 0..3);
        prop_oneof![
            list().prop_map(|s| json!({"allOf": s})),
            list().prop_map(|s| json!({"anyOf": s})),
            list().prop_map(|s| json!({"oneOf": s})),
            inner.clone().prop_map(|s| json!({"not": s})),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| json!({"if": a, "then": b, "else": c})),
            map().prop_map(|m| json!({"properties": m})),
            (map(), inner.clone()).prop_map(|(m, s)| json!({"properties": m, "additionalProperties": s})),
            (map(), Just(false)).prop_map(|(m, s)| json!({"properties": m, "additionalProperties": s})),
            inner.clone().prop_map(|s| json!({"patternProperties": {"^[ab]": s}})),
            inner.clone().prop_map(|s| json!({"propertyNames": s})),
            inner.clone().prop_map(|s| json!({"items": s})),
            (list(), inner.clone()).prop_map(|(p, s)| json!({"prefixItems": p, "items": s})),
            (inner.clone(), 0..2, 0..2)
                .prop_map(|(s, low, n)| json!({"contains": s, "minContains": low, "maxContains": low + n})),
            inner.clone().prop_map(|s| json!({"contains": s})),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| match (a, b) {
                (Value::Object(mut a), Value::Object(b)) => {
                    a.extend(b);
                    Value::Object(a)
                }
                (a, _) => a,
            }),
        ]
    })
}

/// Values, with each of their objects in every order of its members.
fn values() -> Vec<(Value, Vec<String>)> {
    let scalars = [
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(1),
        json!(-2),
        json!(3),
        json!(0.5),
        json!(-1.25),
        json!(""),
        json!("a"),
        json!("b"),
        json!("ab"),
        json!("b\""),
        json!("é"),
        json!("aaa"),
        json!([]),
        json!({}),
    ];
    let mut all: Vec<Value> = scalars.to_vec();
    for (i, a) in scalars.iter().enumerate() {
        all.push(json!([a]));
        all.push(json!({"a": a}));
        all.push(json!({"c": a}));
        let b = &scalars[(i * 7 + 3) % scalars.len()];
        all.push(json!([a, b]));
        all.push(json!({"a": a, "b": b}));
        all.push(json!({"b": a, "d": b}));
        all.push(json!({"a": a, "b": 1, "c": b}));
        all.push(json!([a, b, a]));
        all.push(json!({"a": {"a": a}, "b": [b]}));
    }
    all.into_iter()
        .map(|value| {
            let texts = match &value {
                Value::Object(map) => {
                    orders(&map.iter().map(|(k, v)| format!("{k:?}:{v}")).collect::<Vec<_>>())
                        .into_iter()
                        .map(|members| format!("{{{}}}", members.join(",")))
                        .collect()
                }
                other => vec![other.to_string()],
            };
            (value, texts)
        })
        .collect()
}

fn orders(all: &[String]) -> Vec<Vec<String>> {
    if all.is_empty() {
        return vec![Vec::new()];
    }
    let mut out = Vec::new();
    for i in 0..all.len() {
        let mut rest = all.to_vec();
        let first = rest.remove(i);
        for mut order in orders(&rest) {
            order.insert(0, first.clone());
            out.push(order);
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// A value is accepted, in some order of its members, if and only if the validator accepts it.
    #[test]
    fn random_schemas_are_judged_as_by_a_validator(schema in schemas()) {
        let gbnf = match schema_to_grammar(&schema, WhiteSpace::Any) {
            Ok(text) => Some(Gbnf::parse(&text, "root", None).unwrap()),
            Err(Error::SchemaEmpty) => None,
            // Refused is not wrong.
            Err(_) => return Ok(()),
        };
        let validator = validator(&schema);
        for (value, texts) in values() {
            let accepted = texts.iter().any(|text| accepts(gbnf.as_ref(), text));
            prop_assert_eq!(accepted, validator.is_valid(&value), "{} by {}", value, schema);
        }
    }
}

#[test]
fn white_space_is_short_where_texts_are_generated() {
    let schema = json!({"type": "array", "items": {"type": "integer"}});
    let text = schema_to_grammar(&schema, WhiteSpace::Short).unwrap();
    let gbnf = Gbnf::parse(&text, "root", None).unwrap();
    let (deep, deeper) = (format!("[\n{}1]", " ".repeat(20)), format!("[\n{}1]", " ".repeat(21)));
    for text in ["[1,2]", "[1, 2]", "[\n  1,\n\t2\n]", &deep] {
        assert!(accepts(Some(&gbnf), text), "{text}");
    }
    for text in [" [1]", "[1]\n", "[1,  2]", "[\n\n1]", &deeper] {
        assert!(!accepts(Some(&gbnf), text), "{text}");
    }
}

#[test]
fn hostile_schemas_end_soon() {
    let mut nested = json!({"type": "integer"});
    for _ in 0..120 {
        nested = json!({"properties": {"a": nested}, "required": ["a"]});
    }
    let mut any_of = json!({"type": "integer"});
    for _ in 0..60 {
        any_of = json!({"anyOf": [any_of, {"not": {"minimum": 3}}]});
    }
    // Each level doubles what the next one unfolds to.
    let doubling: serde_json::Map<String, Value> = (0..40)
        .map(|i| {
            let next = format!("#/$defs/d{}", i + 1);
            (
                format!("d{i}"),
                json!({"anyOf": [{"$ref": next}, {"allOf": [{"$ref": next}, {"minLength": 1}]}]}),
            )
        })
        .chain([("d40".to_owned(), json!({"type": "string"}))])
        .collect();
    let words: Vec<String> = (0..20_000).map(|i| format!("word-{i}-{}", i * 7919 % 1000)).collect();
    let many: serde_json::Map<String, Value> =
        (0..2000).map(|i| (format!("p{i}"), json!({"type": "integer"}))).collect();
    let one_of: Vec<Value> =
        (0..150).map(|i| json!({"properties": {format!("k{i}"): {"const": i}}, "type": "object"})).collect();
    let chain: serde_json::Map<String, Value> =
        (0..5000).map(|i| (format!("c{i}"), json!({"$ref": format!("#/$defs/c{}", i + 1)}))).collect();
    for schema in [
        nested,
        any_of,
        json!({"$ref": "#/$defs/d0", "$defs": doubling}),
        json!({"$ref": "#/$defs/c0", "$defs": chain}),
        json!({"enum": words}),
        json!({"not": {"enum": words}, "type": "string"}),
        json!({"properties": many}),
        json!({"properties": many, "minProperties": 1500}),
        json!({"oneOf": one_of}),
        json!({"type": "string", "maxLength": 1u64 << 31, "minLength": 1_000_000}),
        json!({"type": "array", "maxItems": u64::MAX, "minItems": 1u64 << 62}),
        json!({"type": "string", "pattern": "a{2147483647}"}),
        json!({"type": "string", "pattern": "((a{1,100}){1,100}){1,100}"}),
        json!({"type": "string", "pattern": "^(?=.*a)(?=.*b)(?=.*c)(?=.*d)(?=.*e)(?=.*f)(?=.*g)(?=.*h)(?=.*i)(?=.*j)(?=.*k)(?=.*l)(?=.*m)(?=.*n)"}),
        json!({"type": "array", "prefixItems": vec![json!({}); 6000]}),
        json!({"type": "array", "contains": {}, "minContains": 1u64 << 40}),
        json!({"type": "array", "contains": {"type": "null"}, "minContains": 300, "maxContains": 1u64 << 33}),
        json!({"type": "number", "minimum": 1e308, "maximum": 1.7e308, "multipleOf": 9973}),
        json!({"patternProperties": (0..12).map(|i| (format!("{i}.*x"), json!({"minimum": i}))).collect::<serde_json::Map<_, _>>()}),
        json!({"items": {"$ref": "#"}, "additionalProperties": {"$ref": "#"}, "not": {"$ref": "#/x"}, "x": {"items": {"$ref": "#"}}}),
    ] {
        let started = Instant::now();
        let done = schema_to_grammar(&schema, WhiteSpace::Any);
        let text = schema.to_string();
        let told: String = text.chars().take(80).collect();
        match &done {
            Ok(grammar) => assert!(Gbnf::parse(grammar, "root", None).is_ok(), "{told}"),
            Err(error) => assert!(error.to_string().len() < 2000, "{told}"),
        }
        assert!(started.elapsed() < Duration::from_secs(30), "{told}: {:?}", started.elapsed());
    }
}
