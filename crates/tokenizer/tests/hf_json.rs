//! `tokenizer.json` files through the `tokenizers` crate, behind the same interface.

use quipu_tokenizer::{Error, SpecialIds, Tokenizer, VocabType};

/// Byte-level BPE with one merge and two special tokens, BOS put in front.
const BYTE_LEVEL: &str = r#"{
    "version": "1.0",
    "added_tokens": [
        {"id": 6, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true},
        {"id": 7, "content": "<|im_end|>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}
    ],
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
    "post_processor": {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [6], "tokens": ["<s>"]}}
    },
    "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
    "model": {
        "type": "BPE",
        "vocab": {"a": 0, "b": 1, "ab": 2, "Ġ": 3, "Ã": 4, "©": 5},
        "merges": ["a b"]
    }
}"#;

fn tokenizer() -> Tokenizer {
    Tokenizer::from_hf_json(BYTE_LEVEL.as_bytes(), &SpecialIds::default()).expect("a sound file")
}

#[test]
fn ids_special_tokens_and_text() {
    let tokenizer = tokenizer();
    assert_eq!((tokenizer.vocab_type(), tokenizer.n_tokens()), (VocabType::HfJson, 8));
    assert_eq!(tokenizer.encode("ab a", false, false).expect("encodes"), [2, 3, 0]);
    assert_eq!(tokenizer.encode("ab", true, false).expect("encodes"), [6, 2]);
    assert_eq!(tokenizer.encode("a<|im_end|>", false, true).expect("encodes"), [0, 7]);
    assert!(!tokenizer.encode("a<|im_end|>", false, false).expect("encodes").contains(&7));
    assert_eq!(tokenizer.special_tokens().bos, Some(6));
    assert!(tokenizer.add_bos() && tokenizer.is_eog(7) && !tokenizer.is_eog(0));
    assert_eq!(tokenizer.text(3).expect("in range"), "Ġ".as_bytes());
    assert_eq!(tokenizer.token_to_piece(3, 0, false).expect("in range"), b" ");
    assert_eq!(tokenizer.token_to_piece(6, 0, false).expect("in range"), b"");
    assert_eq!(tokenizer.detokenize(&[6, 2, 3, 0], true, false).expect("ids"), b"ab a");
    assert!(matches!(tokenizer.text(8), Err(Error::TokenOutOfRange { .. })));
}

#[test]
fn streams_whole_characters() {
    let tokenizer = tokenizer();
    let ids = tokenizer.encode("aéb", false, false).expect("encodes");
    assert_eq!(ids, [0, 4, 5, 1]);
    let mut stream = tokenizer.stream(false);
    let parts: Vec<String> = ids.iter().map(|&id| stream.push(id).expect("in range").to_owned()).collect();
    assert_eq!(parts, ["a", "", "é", "b"]);
}

#[test]
fn broken_files_are_errors() {
    for json in ["", "{}", "[1]", &BYTE_LEVEL.replace("\"type\": \"BPE\"", "\"type\": \"X\"")] {
        let error =
            Tokenizer::from_hf_json(json.as_bytes(), &SpecialIds::default()).expect_err("no tokenizer");
        assert!(error.to_string().starts_with("tokenizer.json: "), "{error}");
    }
    let far = BYTE_LEVEL.replace("\"b\": 1", "\"b\": 4000000000");
    assert!(matches!(Tokenizer::from_hf_json(far.as_bytes(), &SpecialIds::default()), Err(Error::HfJson(_))));
}
