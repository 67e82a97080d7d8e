//! What holds for every text and every vocabulary.

mod common;

use proptest::prelude::*;
use quipu_tokenizer::{SpecialIds, Tokenizer, VocabData, pre_tokenizer_names};

/// Pre-tokenizers of vocabularies on bytes: all but four.
fn pres() -> impl Strategy<Value = &'static str> {
    let on_characters = ["gemma4", "granite-embed-multi-311m", "sarvam-moe", "whitespace"];
    let on_bytes = pre_tokenizer_names().iter().copied().filter(move |pre| !on_characters.contains(pre));
    prop::sample::select(on_bytes.collect::<Vec<_>>())
}

/// A vocabulary of every family.
fn families() -> Vec<VocabData> {
    vec![
        common::tiny_bpe("deepseek-llm"),
        common::tiny_spm(),
        common::tiny_wpm(),
        common::tiny_ugm(),
        common::tiny_rwkv(),
        common::tiny_plamo2(),
    ]
}

/// Bytes that tokenizers care about, among any others.
fn texts() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        any::<char>().prop_map(|c| c.to_string().into_bytes()),
        prop::sample::select(vec![
            "hello",
            " w",
            "12",
            "'ll",
            "\n",
            "  ",
            "<user>",
            "<|endoftext|>",
            "中",
            "ab"
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn byte_level_bpe_keeps_every_byte(text in texts(), pre in pres()) {
        let tokenizer = Tokenizer::new(&common::tiny_bpe(pre)).unwrap();
        let text = String::from_utf8_lossy(&text).into_owned();
        let ids = tokenizer.encode(&text, false, true).unwrap();
        let mut pieces = Vec::new();
        for id in ids {
            pieces.extend_from_slice(tokenizer.piece(id, true).unwrap());
        }
        prop_assert_eq!(pieces, text.as_bytes());
    }

    #[test]
    fn no_text_panics(text in texts(), add in any::<bool>(), parse in any::<bool>()) {
        for data in families() {
            let tokenizer = Tokenizer::new(&data).unwrap();
            let ids = tokenizer.encode_bytes(&text, add, parse).unwrap();
            prop_assert!(ids.iter().all(|&id| (id as usize) < tokenizer.n_tokens()));
            tokenizer.detokenize(&ids, add, parse).unwrap();
        }
    }

    #[test]
    fn rwkv_keeps_every_byte(text in prop::collection::vec(any::<u8>(), 0..80)) {
        let tokenizer = Tokenizer::new(&common::tiny_rwkv()).unwrap();
        let ids = tokenizer.encode_bytes(&text, true, false).unwrap();
        prop_assert_eq!(tokenizer.detokenize(&ids, false, true).unwrap(), text);
    }

    #[test]
    fn families_with_byte_tokens_keep_every_character(text in texts()) {
        let text = String::from_utf8_lossy(&text).into_owned();
        let plamo2 = Tokenizer::new(&common::tiny_plamo2()).unwrap();
        let ids = plamo2.encode(&text, true, false).unwrap();
        let back = String::from_utf8(plamo2.detokenize(&ids, false, false).unwrap()).unwrap();
        // PLaMo-2 drops a byte order mark in front.
        prop_assert_eq!(back, text.strip_prefix('\u{FEFF}').unwrap_or(&text));
        // SPM writes spaces as U+2581, so that character comes back as a space.
        let spm = Tokenizer::new(&common::tiny_spm()).unwrap();
        let ids = spm.encode(&text, false, false).unwrap();
        let back = String::from_utf8(spm.detokenize(&ids, false, false).unwrap()).unwrap();
        prop_assert_eq!(back, text.replace('\u{2581}', " "));
    }

    #[test]
    fn unigram_keeps_what_it_has_tokens_for(text in "[abé中.]{0,40}") {
        let tokenizer = Tokenizer::new(&common::tiny_ugm()).unwrap();
        let ids = tokenizer.encode(&text, true, false).unwrap();
        prop_assert_eq!(tokenizer.detokenize(&ids, true, false).unwrap(), text.into_bytes());
    }

    #[test]
    fn long_and_short_lived_tokenizers_agree(texts in prop::collection::vec(texts(), 1..12), add in any::<bool>()) {
        // What one text leaves in a tokenizer's memory of words must not show in the next.
        for data in families() {
            let used = Tokenizer::new(&data).unwrap();
            for text in texts.iter().chain(&texts) {
                let fresh = Tokenizer::new(&data).unwrap();
                prop_assert_eq!(used.encode_bytes(text, add, true).unwrap(), fresh.encode_bytes(text, add, true).unwrap());
            }
        }
    }

    #[test]
    fn streams_add_up(ids in prop::collection::vec(0u32..265, 0..64), special in any::<bool>()) {
        let tokenizer = Tokenizer::new(&common::tiny_spm()).unwrap();
        let mut stream = tokenizer.stream(special);
        let (mut text, mut pieces) = (String::new(), Vec::new());
        for &id in &ids {
            text.push_str(stream.push(id).unwrap());
            pieces.extend_from_slice(tokenizer.piece(id, special).unwrap());
        }
        text.push_str(stream.finish());
        prop_assert_eq!(text, String::from_utf8_lossy(&pieces));
    }

    #[test]
    fn corrupt_vocabularies_do_not_panic(
        model in prop::sample::select(vec!["llama", "gpt2", "bert", "none", "t5", "rwkv", "plamo2", "gemma4", "whitespace", "hybriddna"]),
        tokens in prop::collection::vec(prop::collection::vec(prop::sample::select(b"ab <>0x|\xFF\xE2".to_vec()), 0..6), 0..20),
        merges in prop::option::of(prop::collection::vec(prop::collection::vec(prop::sample::select(b"ab  \xC4\xA0".to_vec()), 0..5), 0..12)),
        types in prop::option::of(prop::collection::vec(-1i32..9, 0..24)),
        scores in prop::option::of(prop::collection::vec(any::<f32>(), 0..24)),
        bos in prop::option::of(any::<u32>()),
        flag in prop::option::of(any::<bool>()),
        text in texts(),
    ) {
        let data = VocabData {
            model: model.into(),
            tokens,
            merges,
            token_types: types,
            scores,
            special: SpecialIds { bos, unk: bos, fim_pad: bos, ..SpecialIds::default() },
            add_bos: flag,
            add_eos: flag,
            suppress_tokens: vec![-1, 0, i32::MAX],
            ..VocabData::default()
        };
        if let Ok(tokenizer) = Tokenizer::new(&data)
            && let Ok(ids) = tokenizer.encode_bytes(&text, true, true)
        {
            tokenizer.detokenize(&ids, true, true).unwrap();
        }
    }
}

/// Sizes at which anything quadratic would take minutes.
#[test]
fn long_texts_are_not_quadratic() {
    let n = 400_000;
    let bpe = Tokenizer::new(&common::tiny_bpe("gpt-2")).unwrap();
    let spm = Tokenizer::new(&common::tiny_spm()).unwrap();
    let wpm = Tokenizer::new(&common::tiny_wpm()).unwrap();
    for text in
        ["l", " ", "\n ", "ab", "<user>", "<", "1", "'", "\u{301}", ".", "中"].map(|unit| unit.repeat(n))
    {
        for pre in ["gpt-2", "deepseek-llm", "llama-bpe", "default"] {
            let tokenizer = Tokenizer::new(&common::tiny_bpe(pre)).unwrap();
            tokenizer.encode(&text, false, true).unwrap();
        }
        bpe.encode(&text, true, true).unwrap();
        spm.encode(&text, true, true).unwrap();
        wpm.encode(&text, true, true).unwrap();
    }
}
