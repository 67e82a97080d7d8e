//! Any text parses or is an error, and matching stays within its bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quipu_sampler::{Gbnf, grammar::Matcher};

fuzz_target!(|data: &[u8]| {
    // Up to the last NUL the grammar, after it bytes to match.
    let (grammar, text) = match data.iter().rposition(|b| *b == 0) {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (data, &b"ab1 {\"\xC3\xA9"[..]),
    };
    let Ok(grammar) = std::str::from_utf8(grammar) else { return };
    for grammar in [grammar.to_owned(), format!("root ::= {grammar}")] {
        if let Ok(gbnf) = Gbnf::parse(&grammar, "root", None)
            && let Ok(mut matcher) = Matcher::new(&gbnf)
        {
            let _ = matcher.accept_bytes(text);
            let _ = matcher.may_end();
        }
    }
});
