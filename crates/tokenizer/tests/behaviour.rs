//! Behaviour through the public API, on vocabularies small enough to follow by hand.

mod common;

use quipu_tokenizer::{Error, SpecialIds, TokenAttr, Tokenizer, VocabData, VocabType};

fn bpe(pre: &str) -> Tokenizer {
    Tokenizer::new(&common::tiny_bpe(pre)).expect("a sound vocabulary")
}

fn spm() -> Tokenizer {
    Tokenizer::new(&common::tiny_spm()).expect("a sound vocabulary")
}

fn wpm() -> Tokenizer {
    Tokenizer::new(&common::tiny_wpm()).expect("a sound vocabulary")
}

#[test]
fn clones_share_and_cross_threads() {
    let tokenizer = spm();
    let clone = tokenizer.clone();
    let ids = std::thread::spawn(move || clone.encode("ab", false, false).unwrap()).join().unwrap();
    assert_eq!(ids, tokenizer.encode("ab", false, false).unwrap());
}

#[test]
fn bpe_merges_by_rank() {
    let tokenizer = bpe("gpt-2");
    // "hello" is one token; " w" merges, "orld" stays bytes.
    assert_eq!(tokenizer.encode("hello world", false, false).unwrap(), [259, 260, 111, 114, 108, 100]);
    assert_eq!(tokenizer.encode("lll", false, false).unwrap(), [257, 108], "the leftmost pair merges first");
    assert_eq!(tokenizer.encode("", true, true).unwrap(), [0u32; 0]);
    assert_eq!(tokenizer.encode_bytes(b"\xFF", false, false).unwrap(), [0xEF, 0xBF, 0xBD]);
}

#[test]
fn bpe_pretokenizer_decides_what_can_merge() {
    assert_eq!(bpe("gpt-2").encode("12", false, false).unwrap(), [261]);
    assert_eq!(bpe("qwen2").encode("12", false, false).unwrap(), [49, 50]);
    assert_eq!(bpe("llama-bpe").encode("12", false, false).unwrap(), [261]);
}

#[test]
fn special_tokens_are_parsed_on_request_user_defined_always() {
    let tokenizer = bpe("gpt-2");
    let control = "<|endoftext|>";
    assert_eq!(tokenizer.encode(control, false, true).unwrap(), [262]);
    assert!(tokenizer.encode(control, false, false).unwrap().len() > 1);
    assert_eq!(tokenizer.encode("a<user>b", false, false).unwrap(), [97, 263, 98]);
    assert_eq!(tokenizer.special_tokens().eot, Some(262), "found by its text");
    assert!(tokenizer.is_eog(262) && !tokenizer.is_eog(263) && !tokenizer.is_eog(9999));
    assert!(tokenizer.attr(262).unwrap().intersects(TokenAttr::CONTROL));
}

#[test]
fn ignore_merges_takes_whole_words() {
    let mut data = common::tiny_bpe("llama-bpe");
    data.tokens.push(b"xyz".to_vec());
    data.token_types.as_mut().unwrap().push(1);
    assert_eq!(Tokenizer::new(&data).unwrap().encode("xyz", false, false).unwrap(), [264]);
    data.pre = Some("gpt-2".into());
    assert_eq!(Tokenizer::new(&data).unwrap().encode("xyz", false, false).unwrap(), [120, 121, 122]);
}

#[test]
fn a_symbol_without_token_falls_back_to_its_bytes() {
    let mut data = common::tiny_bpe("gpt-2");
    data.merges.as_mut().unwrap().push(b"q u".to_vec());
    data.merges.as_mut().unwrap().push("Ġ z".as_bytes().to_vec());
    let tokenizer = Tokenizer::new(&data).unwrap();
    assert_eq!(tokenizer.encode("qu", false, false).unwrap(), [113, 117]);
    // The bytes of "Ġz" as written: those of "Ġ" are no tokens and vanish, as in the reference.
    assert_eq!(tokenizer.encode("a z", false, false).unwrap(), [97, 122]);
}

#[test]
fn spm_joins_by_score_and_falls_back_to_bytes() {
    let tokenizer = spm();
    // "ab" (-2) beats "▁ab" only at first: "▁a" (-1) is best, then "▁ab".
    assert_eq!(tokenizer.encode("ab", false, false).unwrap(), [264]);
    assert_eq!(tokenizer.encode("bab", true, false).unwrap(), [1, 259, 261, 262]);
    assert_eq!(tokenizer.encode("é", false, false).unwrap(), [259, 3 + 0xC3, 3 + 0xA9]);
    assert_eq!(tokenizer.encode_bytes(b"\xFF", false, false).unwrap(), [259, 3 + 0xFF]);
    // The space prefix comes after every special token.
    assert_eq!(tokenizer.encode("a</s>a", false, true).unwrap(), [263, 2, 263]);
    assert_eq!(tokenizer.special_tokens().nl, Some(3 + 10));
}

#[test]
fn spm_tokens_may_span_words() {
    let mut data = common::tiny_spm();
    data.tokens.extend(["b▁", "b▁a"].map(|text| text.as_bytes().to_vec()));
    data.token_types.as_mut().unwrap().extend([1, 1]);
    data.scores.as_mut().unwrap().extend([-0.5, -0.25]);
    let tokenizer = Tokenizer::new(&data).unwrap();
    assert_eq!(tokenizer.encode("b ab", false, false).unwrap(), [259, 266, 261]);
    assert_eq!(spm().encode("b ab", false, false).unwrap(), [259, 261, 264]);
}

#[test]
fn spm_without_a_byte_token_says_which() {
    let mut data = common::tiny_spm();
    data.tokens[3 + 0xC3] = b"other".to_vec();
    let error = Tokenizer::new(&data).unwrap().encode("é", false, false).unwrap_err();
    assert!(matches!(error, Error::MissingByteToken(0xC3)));
}

#[test]
fn wpm_covers_words_or_gives_up_on_them() {
    let tokenizer = wpm();
    assert_eq!(tokenizer.encode("Unaffable, hé中", true, false).unwrap(), [2, 4, 5, 6, 8, 7, 9, 3]);
    assert_eq!(tokenizer.encode("unaffordable he", false, false).unwrap(), [1, 7]);
    assert_eq!(tokenizer.encode("", true, false).unwrap(), [2, 3]);
}

#[test]
fn detokenization() {
    let tokenizer = spm();
    let ids = tokenizer.encode("ab ab", true, false).unwrap();
    assert_eq!(tokenizer.detokenize(&ids, true, false).unwrap(), b" ab ab".as_slice());
    assert_eq!(tokenizer.detokenize(&ids[1..], true, false).unwrap(), b"ab ab");
    assert_eq!(tokenizer.detokenize(&ids, false, true).unwrap(), b"<s> ab ab");
    assert_eq!(tokenizer.token_to_piece(264, 1, false).unwrap(), b"ab");
    assert_eq!(tokenizer.piece(1, false).unwrap(), b"");
    assert_eq!(tokenizer.piece(1, true).unwrap(), b"<s>");
    assert_eq!(wpm().detokenize(&[4, 5, 6, 8], false, false).unwrap(), b" unaffable,");
}

#[test]
fn streams_are_whole_characters() {
    let tokenizer = spm();
    let mut stream = tokenizer.stream(false);
    let euro = "€".as_bytes();
    assert_eq!(stream.push(3 + u32::from(euro[0])).unwrap(), "");
    assert_eq!(stream.push(3 + u32::from(euro[1])).unwrap(), "");
    assert_eq!(stream.push(3 + u32::from(euro[2])).unwrap(), "€");
    assert_eq!(stream.push(2).unwrap(), "", "control tokens are hidden");
    assert_eq!(stream.push(3 + 0xE2).unwrap(), "");
    assert_eq!(stream.push(260).unwrap(), "\u{FFFD}a");
    assert_eq!(stream.push(3 + 0xF0).unwrap(), "");
    assert_eq!(stream.finish(), "\u{FFFD}");
    assert_eq!(stream.finish(), "");
    assert!(matches!(stream.push(100_000), Err(Error::TokenOutOfRange { id: 100_000, n_tokens: 265 })));
}

#[test]
fn rstrip_of_phi_3() {
    let mut data = common::tiny_spm();
    data.general_name = Some("Phi-3 mini".into());
    data.tokens.extend([b"<|end|>".to_vec(), b"<|endoftext|>".to_vec()]);
    data.token_types.as_mut().unwrap().extend([3, 3]);
    data.scores.as_mut().unwrap().extend([0.0, 0.0]);
    let tokenizer = Tokenizer::new(&data).unwrap();
    assert_eq!(tokenizer.encode("a<|end|> \n a", false, true).unwrap(), [263, 265, 263]);
    assert_eq!(tokenizer.encode("a<|endoftext|> a", false, true).unwrap(), [263, 266, 259, 263]);
    data.tokens.pop();
    assert!(matches!(Tokenizer::new(&data), Err(Error::MissingText("<|endoftext|>"))));
}

#[test]
fn lstrip_of_jina_masks() {
    let mut data = common::tiny_bpe("jina-v2-de");
    data.tokens.push(b"<mask>".to_vec());
    data.token_types.as_mut().unwrap().push(4);
    let tokenizer = Tokenizer::new(&data).unwrap();
    assert_eq!(tokenizer.encode("a \n<mask> b", false, false).unwrap(), [97, 264, 32, 98]);
}

#[test]
fn harmony_does_not_end_at_end() {
    let mut data = common::tiny_bpe("gpt-2");
    for text in ["<|return|>", "<|call|>", "<|end|>", "<|channel|>"] {
        data.tokens.push(text.as_bytes().to_vec());
        data.token_types.as_mut().unwrap().push(3);
    }
    let tokenizer = Tokenizer::new(&data).unwrap();
    assert_eq!(tokenizer.eog_tokens().collect::<Vec<_>>(), [262, 264, 265]);
    assert_eq!(tokenizer.attr(266).unwrap(), TokenAttr::USER_DEFINED);
    assert_eq!(tokenizer.attr(267).unwrap(), TokenAttr::USER_DEFINED);
}

#[test]
fn no_vocabulary() {
    let data = VocabData { model: "none".into(), vocab_size: Some(7), ..VocabData::default() };
    let tokenizer = Tokenizer::new(&data).unwrap();
    assert_eq!((tokenizer.n_tokens(), tokenizer.vocab_type()), (7, VocabType::None));
    assert!(matches!(tokenizer.encode("a", false, false), Err(Error::NoVocab)));
    assert!(matches!(tokenizer.text(0), Err(Error::NoVocab)));
    assert_eq!(tokenizer.detokenize(&[6], false, false).unwrap(), b"");
    assert!(tokenizer.detokenize(&[7], false, false).is_err());
}

#[test]
fn broken_vocabularies_are_errors() {
    let build = |change: fn(&mut VocabData)| {
        let mut data = common::tiny_spm();
        change(&mut data);
        Tokenizer::new(&data)
    };
    assert!(matches!(build(|d| d.model = "t6".into()), Err(Error::UnknownModel(_))));
    assert!(matches!(build(|d| d.model = "gpt2".into()), Err(Error::MissingKey("tokenizer.ggml.merges"))));
    assert!(matches!(build(|d| d.scores = Some(vec![0.0])), Err(Error::ArrayTooShort { found: 1, .. })));
    assert!(matches!(build(|d| d.token_types = Some(vec![])), Err(Error::ArrayTooShort { found: 0, .. })));
    let duplicate = build(|d| d.tokens[5] = b"<s>".to_vec());
    assert!(matches!(duplicate, Err(Error::DuplicateToken { first: 1, second: 5, .. })));
    assert!(matches!(build(|d| d.tokens[5] = b"x".to_vec()), Err(Error::BadByteToken { id: 5, .. })));
    // Ids out of range are ignored.
    let tokenizer =
        build(|d| d.special = SpecialIds { bos: Some(1 << 30), ..SpecialIds::default() }).unwrap();
    assert_eq!(tokenizer.special_tokens().bos, Some(1));
    // A default out of range is none: there is no BOS to add.
    let mut data = common::tiny_wpm();
    data.special = SpecialIds::default();
    let error = Tokenizer::new(&data).unwrap().encode("a", true, false).unwrap_err();
    assert!(matches!(error, Error::MissingSpecialToken("BOS")));
}

#[test]
fn clones_are_shared_and_threads_agree() {
    fn shared<T: Send + Sync + Clone>(_: &T) {}
    let tokenizer = Tokenizer::new(&common::tiny_bpe("gpt-2")).expect("a sound vocabulary");
    shared(&tokenizer);
    let texts: Vec<String> = (0..200).map(|n| format!("hello {n} world").repeat(n % 7)).collect();
    let one = tokenizer.encode_batch(&texts, true, false, 1).expect("encodes");
    let alone: Vec<Vec<u32>> =
        texts.iter().map(|text| tokenizer.encode(text, true, false).expect("encodes")).collect();
    assert_eq!(one, alone);
    for n_threads in [0, 2, 3, 1000] {
        assert_eq!(tokenizer.clone().encode_batch(&texts, true, false, n_threads).expect("encodes"), one);
    }
}
