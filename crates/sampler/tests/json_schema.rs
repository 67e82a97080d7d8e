//! JSON schemas as grammars: the text the reference gives, that the grammars accept what they describe, and that no
//! schema runs away.

use std::fmt::Write as _;

use proptest::prelude::*;
use quipu_sampler::{Error, Gbnf, grammar::Verdict, json_schema_to_grammar};
use serde_json::{Value, json};

fn grammar(schema: &Value) -> String {
    json_schema_to_grammar(schema).unwrap()
}

/// Whether the grammar of `schema` parses, and accepts or refuses these texts.
fn accepts(schema: &Value, yes: &[&str], no: &[&str]) {
    let text = grammar(schema);
    let gbnf = Gbnf::parse(&text, "root", None).unwrap_or_else(|e| panic!("{e}\n{text}"));
    for json in yes {
        assert_eq!(gbnf.check(json), Ok(Verdict::Accepted), "{json}\n{text}");
    }
    for json in no {
        assert_ne!(gbnf.check(json), Ok(Verdict::Accepted), "{json}\n{text}");
    }
}

#[test]
fn texts_of_small_schemas() {
    let space = "space ::= | \" \" | \"\\n\"{1,2} [ \\t]{0,20}\n";
    assert_eq!(grammar(&json!({"const": "a\n"})), format!("root ::= \"\\\"a\\\\n\\\"\"\n{space}"));
    assert_eq!(grammar(&json!({"enum": [1, null]})), format!("root ::= (\"1\" | \"null\")\n{space}"));
    assert_eq!(grammar(&json!({"type": "boolean"})), format!("root ::= (\"true\" | \"false\")\n{space}"));
    assert_eq!(
        grammar(&json!({"type": "integer", "minimum": 3})),
        format!("root ::= ([1-2] [0-9]{{1,15}} | [3-9] [0-9]{{0,15}})\n{space}")
    );
    assert_eq!(
        grammar(&json!({"type": "object", "properties": {"a": {"type": "null"}, "b": {"type": "null"}}})),
        format!(
            "a-kv ::= \"\\\"a\\\"\" space \":\" space null\n\
             a-rest ::= ( \",\" space b-kv )?\n\
             b-kv ::= \"\\\"b\\\"\" space \":\" space null\n\
             null ::= \"null\"\n\
             root ::= \"{{\" space  (a-kv a-rest | b-kv )? space \"}}\"\n{space}"
        )
    );
}

#[test]
fn recorded_answers_of_the_reference() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../parity/goldens/grammar/schemas.txt");
    let text = std::fs::read_to_string(path).expect("recorded answers");
    let unhex = |hex: &str| -> Vec<u8> {
        let hex = hex.trim_start_matches('x');
        (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect()
    };
    let mut n = 0;
    for line in text.lines() {
        let (schema, want) = line.split_once(' ').unwrap();
        let schema: Value = serde_json::from_slice(&unhex(schema)).unwrap();
        let got = json_schema_to_grammar(&schema);
        match want {
            "refused" => assert!(matches!(got, Err(Error::Schema { .. })), "{schema}: {got:?}"),
            want => assert_eq!(got, Ok(String::from_utf8(unhex(want)).unwrap()), "{schema}"),
        }
        n += 1;
    }
    assert!(n >= 200, "{n}");
}

#[test]
fn what_the_grammars_accept() {
    accepts(&json!({}), &["{}", "{\"a\": [1, true]}"], &["1", "{"]);
    accepts(
        &json!({"type": "string", "minLength": 1, "maxLength": 2}),
        &["\"a\"", "\"é€\""],
        &["\"\"", "\"abc\""],
    );
    accepts(
        &json!({"type": "integer", "minimum": -12, "maximum": 105}),
        &["-12", "0", "105"],
        &["-13", "106", "1.0"],
    );
    accepts(&json!({"type": "integer", "exclusiveMinimum": 9}), &["10", "99999"], &["9", "-10"]);
    accepts(
        &json!({"type": "array", "items": {"type": "number"}, "minItems": 1, "maxItems": 2}),
        &["[1]", "[1.5, -2e3]"],
        &["[]", "[1,2,3]"],
    );
    accepts(
        &json!({"prefixItems": [{"const": 1}, {"type": "string"}]}),
        &["[1,\"a\"]"],
        &["[1]", "[2,\"a\"]"],
    );
    accepts(
        &json!({"type": "object", "properties": {"a": {"type": "null"}}, "required": ["a"], "additionalProperties": {"type": "null"}}),
        &["{\"a\":null}", "{\"a\": null, \"ab\": null}"],
        &["{}", "{\"a\": null, \"a\": null}"],
    );
    accepts(
        &json!({"type": "string", "pattern": "^(a|b)+[0-9]{2,3}\\.x$"}),
        &["\"ab12.x\""],
        &["\"12.x\"", "\"ab1.x\""],
    );
    accepts(
        &json!({"type": "string", "format": "date-time"}),
        &["\"2026-11-21T10:00:00Z\""],
        &["\"2026-13-21T10:00:00Z\""],
    );
    accepts(&json!({"type": ["integer", "null"]}), &["1", "null"], &["\"a\""]);
    accepts(&json!({"anyOf": [{"const": 1}, {"const": 2}]}), &["1", "2"], &["3"]);
    let list = json!({"$ref": "#/$defs/l", "$defs": {"l": {"type": "object", "properties": {"next": {"$ref": "#/$defs/l"}}}}});
    // A node with $ref hides its definitions from the reference's search too: the reference is null, any object.
    accepts(&list, &["{}"], &["1"]);
    let list = json!({"type": "object", "properties": {"l": {"$ref": "#/$defs/l"}},
        "$defs": {"l": {"type": "object", "properties": {"next": {"$ref": "#/$defs/l"}}}}});
    accepts(&list, &["{\"l\":{\"next\":{\"next\":{}}}}"], &["{\"l\":{\"other\":{}}}"]);
    accepts(
        &json!({"allOf": [{"properties": {"a": {"type": "null"}}}, {"anyOf": [{"properties": {"b": {"type": "null"}}}]}]}),
        &["{\"a\":null}", "{\"a\":null,\"b\":null}"],
        &["{\"b\":null}"],
    );
}

#[test]
fn refusals() {
    let refused = |schema: Value| match json_schema_to_grammar(&schema) {
        Err(Error::Schema { message }) => message,
        other => panic!("{other:?}"),
    };
    assert!(refused(json!({"type": "float"})).contains("float"));
    assert!(refused(json!({"type": "string", "pattern": "a"})).contains('^'));
    for pattern in
        ["^*$", "^[a$", "^a{$", "^a{x}$", "^a{1,2,3}$", "^{2}$", "^a{99999999999}$", "^a}$", "^a]b$"]
    {
        refused(json!({"type": "string", "pattern": pattern}));
    }
    refused(json!({"properties": {"a": {"$ref": "#/none"}}}));
    refused(json!({"properties": {"a": {"$ref": "other.json"}}}));
    refused(json!({"properties": {"a": {"$ref": "https://example.com/x#/y"}}}));
    refused(json!({"type": "string", "format": 3}));
    refused(json!({"type": "array", "items": {}, "minItems": "x"}));
    let circular = json!({"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"$ref": "#/$defs/a"}}});
    assert!(refused(circular).contains("circular"));
    let mut deep = json!({"type": "null"});
    for _ in 0..1000 {
        deep = json!({"type": "array", "items": deep});
    }
    assert!(refused(deep).contains("nested"));
    let pattern = format!("^{}a$", "(".repeat(5000));
    assert!(refused(json!({"type": "string", "pattern": pattern})).contains("nested"));
    let name = "a".repeat(100_000);
    refused(json!({"properties": {name: {}}, "additionalProperties": true}));
}

#[test]
fn many_optional_properties_stay_small() {
    let mut members = String::new();
    for i in 0..2000 {
        write!(members, "{}\"p{i}\":{{\"type\":\"null\"}}", if i > 0 { "," } else { "" }).unwrap();
    }
    let schema: Value = serde_json::from_str(&format!("{{\"properties\":{{{members}}}}}")).unwrap();
    let text = grammar(&schema);
    assert!(text.len() < 1_000_000, "{}", text.len());
}

fn any_json() -> impl Strategy<Value = Value> {
    let key = prop::sample::select(vec![
        "type",
        "properties",
        "required",
        "items",
        "prefixItems",
        "anyOf",
        "oneOf",
        "allOf",
        "const",
        "enum",
        "$ref",
        "$defs",
        "pattern",
        "format",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "minimum",
        "exclusiveMaximum",
        "additionalProperties",
        "a",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(vec![
            "object",
            "array",
            "string",
            "integer",
            "#/a",
            "#/$defs/a",
            "^a{1,2}$",
            "date",
            "uuid"
        ])
        .prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..6).prop_map(|members| Value::Object(
                members.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
            )),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_json_gives_a_grammar_or_an_error(schema in any_json()) {
        match json_schema_to_grammar(&schema) {
            Ok(text) => prop_assert!(text.contains("root ::= ")),
            Err(Error::Schema { .. }) => {}
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}
