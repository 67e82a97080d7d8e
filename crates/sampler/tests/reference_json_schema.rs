//! The cases of the reference's `test-json-schema-to-grammar.cpp` (the grammars' texts) and the schemas of its
//! `test-grammar-integration.cpp` (what the grammars take). Both lie in `data`.

use quipu_sampler::{Gbnf, grammar::Verdict, json_schema_to_grammar};
use serde_json::Value;

fn cases(name: &str) -> Vec<Value> {
    let path = format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn texts_of_grammars() {
    let cases = cases("schema_texts.json");
    let mut n_refused = 0;
    for case in &cases {
        let (schema, expected) = (&case["schema"], case["grammar"].as_array());
        let found = json_schema_to_grammar(schema);
        let Some(expected) = expected else {
            assert!(found.is_err(), "{schema}");
            n_refused += 1;
            continue;
        };
        let expected: Vec<&str> = expected.iter().filter_map(Value::as_str).collect();
        let found = found.unwrap_or_else(|error| panic!("{schema}: {error}"));
        let lines: Vec<&str> = found.trim_end().lines().map(str::trim_start).collect();
        assert_eq!(lines, expected, "{schema}");
        assert!(Gbnf::parse(&found, "root", None).is_ok(), "{schema}");
    }
    assert_eq!((cases.len(), n_refused), (75, 2));
}

#[test]
fn what_the_grammars_take() {
    let cases = cases("schema_verdicts.json");
    let mut n = 0;
    for case in &cases {
        let schema = &case["schema"];
        let grammar = json_schema_to_grammar(schema).unwrap();
        let gbnf = Gbnf::parse(&grammar, "root", None).unwrap();
        for (key, expected) in [("accepts", true), ("rejects", false)] {
            for text in case[key].as_array().unwrap().iter().filter_map(Value::as_str) {
                assert_eq!(gbnf.check(text) == Ok(Verdict::Accepted), expected, "{text} by {schema}");
                n += 1;
            }
        }
    }
    assert_eq!((cases.len(), n), (33, 246));
}
