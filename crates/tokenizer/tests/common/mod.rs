//! Vocabularies for tests: files where they are at hand, and tiny ones made up here.
#![allow(dead_code, reason = "every test file uses its own part")]

use std::path::PathBuf;

use quipu_tokenizer::{SpecialIds, TokenAttr, Tokenizer, VocabData};

/// Path of a vocabulary file in the shared directory beside the repository; says so if it is not there.
pub fn shared(name: &str) -> Option<PathBuf> {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.."));
    // A linked working tree may lie one folder deeper.
    let path = [root.join("shared/vocab"), root.join("../shared/vocab")]
        .into_iter()
        .map(|folder| folder.join(name))
        .find(|path| path.exists());
    if path.is_none() {
        println!("skipped: {name} is not in ../shared/vocab");
    }
    path
}

/// The tokenizer of a shared vocabulary file.
pub fn shared_tokenizer(vocab: &str) -> Option<Tokenizer> {
    let file = quipu_gguf::GgufFile::open(shared(&format!("ggml-vocab-{vocab}.gguf"))?).expect("a GGUF file");
    Some(Tokenizer::from_gguf(file.metadata()).expect("a supported vocabulary"))
}

/// Texts of the tokens that are not ordinary text.
pub fn special_texts(tokenizer: &Tokenizer) -> Vec<Vec<u8>> {
    let special = TokenAttr::CONTROL | TokenAttr::USER_DEFINED | TokenAttr::UNKNOWN;
    (0..tokenizer.n_tokens() as u32)
        .filter(|&id| tokenizer.attr(id).expect("in range").intersects(special))
        .map(|id| tokenizer.text(id).expect("in range").to_vec())
        .collect()
}

/// FNV-1a of the ids as little-endian words.
pub fn fingerprint(ids: &[u32]) -> u32 {
    ids.iter()
        .flat_map(|id| id.to_le_bytes())
        .fold(0x811C_9DC5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

fn bytes(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// How a byte-level vocabulary writes `byte`.
pub fn byte_char(byte: u8) -> char {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if printable(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|&b| !printable(b)).count() as u32;
    char::from_u32(256 + before).expect("below the surrogates")
}

/// Byte-level BPE: ids 0 to 255 are the bytes, then merges ("he", "ll", "llo", "hello", "Ġw", "12"), then
/// `<|endoftext|>` (control) and `<user>` (user-defined).
pub fn tiny_bpe(pre: &str) -> VocabData {
    let merges = ["h e", "l l", "ll o", "he llo", "Ġ w", "1 2"];
    let mut tokens: Vec<Vec<u8>> = (0..=255).map(|b| byte_char(b).to_string().into_bytes()).collect();
    tokens.extend(merges.iter().map(|merge| merge.replace(' ', "").into_bytes()));
    tokens.extend(bytes(&["<|endoftext|>", "<user>"]));
    let mut token_types = vec![1; tokens.len()];
    token_types[262] = 3;
    token_types[263] = 4;
    VocabData {
        model: "gpt2".into(),
        pre: Some(pre.into()),
        tokens,
        token_types: Some(token_types),
        merges: Some(bytes(&merges)),
        special: SpecialIds { bos: Some(262), eos: Some(262), ..SpecialIds::default() },
        ..VocabData::default()
    }
}

/// SPM: unk 0, bos 1, eos 2, bytes 3 to 258, then "▁", "a", "b", "ab", "▁a", "▁ab" from id 259.
pub fn tiny_spm() -> VocabData {
    let mut tokens = bytes(&["<unk>", "<s>", "</s>"]);
    tokens.extend((0..=255u8).map(|b| format!("<0x{b:02X}>").into_bytes()));
    tokens.extend(bytes(&["▁", "a", "b", "ab", "▁a", "▁ab"]));
    let mut token_types = vec![2, 3, 3];
    token_types.extend([6; 256]);
    token_types.extend([1; 6]);
    let mut scores = vec![0.0; 259];
    scores.extend([-5.0, -4.0, -4.0, -2.0, -1.0, -3.0]);
    VocabData {
        model: "llama".into(),
        tokens,
        scores: Some(scores),
        token_types: Some(token_types),
        ..VocabData::default()
    }
}

/// WPM: [PAD] 0, [UNK] 1, [CLS] 2, [SEP] 3, then "▁un", "aff", "able", "▁he", "▁,", "▁中" from id 4.
pub fn tiny_wpm() -> VocabData {
    VocabData {
        model: "bert".into(),
        tokens: bytes(&["[PAD]", "[UNK]", "[CLS]", "[SEP]", "▁un", "aff", "able", "▁he", "▁,", "▁中"]),
        token_types: Some(vec![3, 3, 3, 3, 1, 1, 1, 1, 1, 1]),
        special: SpecialIds { bos: Some(2), unk: Some(1), sep: Some(3), ..SpecialIds::default() },
        ..VocabData::default()
    }
}

/// Unigram: pad 0, eos 1, unk 2, then "▁", "a", "b", "ab", "▁a", "é", "中", "." from id 3, then `<user>` (user-defined).
pub fn tiny_ugm() -> VocabData {
    VocabData {
        model: "t5".into(),
        tokens: bytes(&["<pad>", "</s>", "<unk>", "▁", "a", "b", "ab", "▁a", "é", "中", ".", "<user>"]),
        token_types: Some(vec![3, 3, 2, 1, 1, 1, 1, 1, 1, 1, 1, 4]),
        scores: Some(vec![0.0, 0.0, 0.0, -2.0, -3.0, -3.5, -4.0, -4.5, -5.0, -6.0, -3.0, 0.0]),
        ..VocabData::default()
    }
}

/// RWKV: bytes from id 1, then "ab", "  ", "中" and two of its bytes.
pub fn tiny_rwkv() -> VocabData {
    let mut tokens = bytes(&["<s>"]);
    tokens.extend((0..=255u8).map(|b| format!("\\x{b:02x}").into_bytes()));
    tokens.extend(bytes(&["ab", "  ", "中", "\\xe4\\xb8"]));
    let mut token_types = vec![3];
    token_types.extend([1; 260]);
    VocabData { model: "rwkv".into(), token_types: Some(token_types), tokens, ..VocabData::default() }
}

/// PLaMo-2: unk 0, bos 1, eos 2, pad 3, bytes from id 4, then "a", "b", "ab", " a", "中", "é".
pub fn tiny_plamo2() -> VocabData {
    let mut tokens = bytes(&["<unk>", "<s>", "</s>", "<pad>"]);
    tokens.extend((0..=255u8).map(|b| format!("<0x{b:02X}>").into_bytes()));
    tokens.extend(bytes(&["a", "b", "ab", " a", "中", "é"]));
    let mut token_types = vec![2, 3, 3, 3];
    token_types.extend([6; 256]);
    token_types.extend([1; 6]);
    let scores = (0..tokens.len()).map(|id| -(id as f32) / 64.0).collect();
    VocabData {
        model: "plamo2".into(),
        scores: Some(scores),
        token_types: Some(token_types),
        tokens,
        ..VocabData::default()
    }
}
