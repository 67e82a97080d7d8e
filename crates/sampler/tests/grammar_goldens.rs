//! Replays grammars and texts to which the reference's answers were recorded (`parity/probes/grammar.cpp`): per line
//! the grammar and texts in hexadecimal, then how many code points of each text the grammar takes and whether the
//! text may end there.

use std::fmt::Write as _;

use quipu_sampler::{Gbnf, grammar::Matcher};

fn unhex(hex: &str) -> String {
    let hex = hex.trim_start_matches('x');
    let byte = |i: usize| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).expect("hexadecimal");
    String::from_utf8((0..hex.len() / 2).map(byte).collect()).expect("UTF-8")
}

fn answer(case: &str) -> String {
    let mut fields = case.split(' ').map(unhex);
    let Ok(gbnf) = Gbnf::parse(&fields.next().expect("a grammar"), "root", None) else {
        return "refused".to_owned();
    };
    let mut out = String::from("parsed");
    for text in fields {
        let mut matcher = Matcher::new(&gbnf).expect("within the bounds");
        let taken = text.chars().take_while(|c| matcher.accept_char(*c as u32).expect("within the bounds"));
        let n = taken.count();
        write!(out, " {n}:{}", u8::from(matcher.may_end())).expect("to a string");
    }
    out
}

#[test]
fn the_reference_agrees() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../parity/goldens/grammar/texts.txt");
    let text = std::fs::read_to_string(path).expect("recorded answers");
    let mut n = 0;
    for line in text.lines() {
        let (case, want) = line.split_once('|').expect("a case and its answer");
        assert_eq!(answer(case), want, "{}", unhex(case.split(' ').next().unwrap_or_default()));
        n += 1;
    }
    assert!(n >= 200, "{n}");
}
