//! Schemas and texts that people reported elsewhere, where they lie beside the project.

use quipu_sampler::{Error, Gbnf, WhiteSpace, grammar::Verdict, schema_to_grammar};
use serde_json::Value;

/// Schemas that no grammar can express: they must be refused by this keyword, and never taken for something else.
const REFUSED: [(&str, &str); 2] = [("contains", "uniqueItems"), ("int-excl-bool", "exclusiveMinimum")];

#[test]
fn no_text_has_the_wrong_verdict() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/field/schemas.jsonl");
    let Ok(lines) = std::fs::read_to_string(path) else { return };
    let mut wrong = Vec::new();
    let mut n = 0;
    for line in lines.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let id = case["id"].as_str().unwrap();
        let grammar = schema_to_grammar(&case["schema"], WhiteSpace::Any);
        let gbnf = match &grammar {
            Ok(text) => Some(Gbnf::parse(text, "root", None).unwrap_or_else(|e| panic!("{id}: {e}\n{text}"))),
            Err(Error::SchemaEmpty) => None,
            Err(error) => {
                let known = REFUSED.iter().find(|(name, _)| *name == id);
                if !known.is_some_and(|(_, keyword)| error.to_string().contains(keyword)) {
                    wrong.push(format!("{id}: {error}"));
                }
                continue;
            }
        };
        for (text, valid) in case["texts"].as_array().unwrap().iter().zip(case["valid"].as_array().unwrap()) {
            let text = text.as_str().unwrap();
            let verdict = gbnf.as_ref().map(|gbnf| gbnf.check(text));
            if (verdict == Some(Ok(Verdict::Accepted))) != valid.as_bool().unwrap() {
                wrong.push(format!("{id}: {text} {verdict:?}"));
            }
            n += 1;
        }
    }
    assert!(wrong.is_empty() && n > 0, "{}", wrong.join("\n"));
}
