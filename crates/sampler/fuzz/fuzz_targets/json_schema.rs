//! Any JSON gives a grammar or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quipu_sampler::{Gbnf, json_schema_to_grammar};

fuzz_target!(|data: &[u8]| {
    let Ok(schema) = serde_json::from_slice(data) else { return };
    if let Ok(grammar) = json_schema_to_grammar(&schema) {
        let _ = Gbnf::parse(&grammar, "root", None);
    }
});
