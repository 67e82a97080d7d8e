//! Any JSON gives a grammar or an error, in both ways; an exact grammar has a way to go from its beginning, and is within
//! the bounds of grammars.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quipu_sampler::{Gbnf, WhiteSpace, grammar::Verdict, json_schema_to_grammar, schema_to_grammar};

fuzz_target!(|data: &[u8]| {
    let Ok(schema) = serde_json::from_slice(data) else { return };
    if let Ok(grammar) = json_schema_to_grammar(&schema) {
        let _ = Gbnf::parse(&grammar, "root", None);
    }
    if let Ok(grammar) = schema_to_grammar(&schema, WhiteSpace::Any) {
        let gbnf = Gbnf::parse(&grammar, "root", None).expect("a grammar of our own");
        assert!(!matches!(gbnf.check(" "), Ok(Verdict::Accepted | Verdict::RejectedAt(_))));
    }
});
