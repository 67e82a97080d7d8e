//! Texts that are one word: the time grows at most like n log n, in every family.

mod common;

use std::time::{Duration, Instant};

use quipu_tokenizer::{Tokenizer, VocabData};

/// The quickest of three: other programs run beside this one.
fn time(tokenizer: &Tokenizer, text: &str) -> Duration {
    let once = || {
        let start = Instant::now();
        let ids = tokenizer.encode(text, false, false).expect("encodes");
        assert!(!ids.is_empty() || text.trim().is_empty());
        start.elapsed()
    };
    (0..3).map(|_| once()).min().expect("three runs")
}

#[test]
fn time_is_not_quadratic_in_the_length_of_a_word() {
    let data: [VocabData; 5] = [
        common::tiny_bpe("gpt-2"),
        common::tiny_bpe("llama3"),
        common::tiny_spm(),
        VocabData { model: "plamo2".into(), ..common::tiny_spm() },
        VocabData { model: "t5".into(), token_types: None, ..common::tiny_spm() },
    ];
    for data in data {
        let tokenizer = Tokenizer::new(&data).expect("a sound vocabulary");
        for (name, unit) in
            [("a", "a"), ("space", " "), ("ab", "ab"), ("he he llo", "hehello"), ("line feed", "\n")]
        {
            let text = |n: usize| unit.repeat(n / unit.len());
            let (short, long) = (time(&tokenizer, &text(1 << 17)), time(&tokenizer, &text(1 << 21)));
            // Sixteen times the text: n log n would be 20 times the time, quadratic 256 times. In between there is
            // room for machines that do other things.
            let bound = short * 80 + Duration::from_millis(50);
            assert!(long < bound, "{} {name}: {short:?}, then {long:?}", data.model);
        }
    }
}
