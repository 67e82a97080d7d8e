//! Any bytes through a small vocabulary of every family and every pre-tokenizer: no panic, and every id is in range.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use quipu_tokenizer::{SpecialIds, Tokenizer, VocabData, pre_tokenizer_names};

static TOKENIZERS: LazyLock<Vec<Tokenizer>> = LazyLock::new(|| {
    let mut all: Vec<VocabData> = pre_tokenizer_names().iter().map(|pre| byte_level(pre)).collect();
    all.extend(
        ["llama", "bert", "t5", "rwkv", "plamo2", "gemma4", "whitespace", "hybriddna"].map(by_characters),
    );
    all.iter().map(|data| Tokenizer::new(data).expect("a sound vocabulary")).collect()
});

fuzz_target!(|input: &[u8]| {
    let Some(([which, flags], text)) = input.split_first_chunk::<2>() else { return };
    let tokenizer = &TOKENIZERS[usize::from(*which) % TOKENIZERS.len()];
    let Ok(ids) = tokenizer.encode_bytes(text, flags & 1 != 0, flags & 2 != 0) else { return };
    assert!(ids.iter().all(|&id| (id as usize) < tokenizer.n_tokens()));
    let whole = tokenizer.detokenize(&ids, flags & 4 != 0, flags & 8 != 0).expect("ids in range");
    assert!(whole.len() <= 64 * ids.len());
    let mut stream = tokenizer.stream(flags & 8 != 0);
    for id in ids {
        stream.push(id).expect("ids in range");
    }
    stream.finish();
});

const WORDS: [&str; 24] = [
    "▁", "a", "b", "ab", "▁a", "▁ab", "th", "the", "▁the", "1", "12", "123", "é", "中", "中国", "\n", "\n\n",
    "  ", " ", ".", "'s", "C", "G", "T",
];

fn byte_level(pre: &str) -> VocabData {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut next = 255u32;
    let letters: Vec<String> = (0..=255u8)
        .map(|byte| {
            next += u32::from(!printable(byte));
            let code = if printable(byte) { u32::from(byte) } else { next };
            char::from_u32(code).expect("below the surrogates").to_string()
        })
        .collect();
    let merges = ["t h", "th e", "Ġ t", "Ġt he", "a b", "ab ab", "1 2", "Ċ Ċ", "Ġ Ġ", "ĠĠ ĠĠ", "ä ¸"];
    let mut tokens = letters;
    tokens.extend(merges.iter().map(|merge| merge.replace(' ', "")));
    tokens.extend(["<|end|>", "<user>"].map(str::to_owned));
    let n = tokens.len();
    let mut types = vec![1; n];
    (types[n - 2], types[n - 1]) = (3, 4);
    let bytes = |texts: &[String]| texts.iter().map(|text| text.clone().into_bytes()).collect();
    VocabData {
        model: "gpt2".to_owned(),
        pre: Some(pre.to_owned()),
        tokens: bytes(&tokens),
        token_types: Some(types),
        merges: Some(merges.iter().map(|merge| merge.as_bytes().to_vec()).collect()),
        special: SpecialIds { bos: Some(n as u32 - 2), eos: Some(n as u32 - 2), ..SpecialIds::default() },
        ..VocabData::default()
    }
}

fn by_characters(model: &str) -> VocabData {
    let mut tokens: Vec<Vec<u8>> = ["<unk>", "<s>", "</s>"].map(|text| text.as_bytes().to_vec()).to_vec();
    let mut types = vec![2, 3, 3];
    tokens.extend((0..=255u8).map(|byte| match model {
        "rwkv" => format!("\\x{byte:02x}").into_bytes(),
        _ => format!("<0x{byte:02X}>").into_bytes(),
    }));
    // Where bytes have no tokens of their own, these are texts like any others.
    types.extend(vec![if matches!(model, "llama" | "plamo2" | "gemma4") { 6 } else { 1 }; 256]);
    for word in WORDS.into_iter().chain(["<dna>", "</dna>", "<oov>", "ACGTAC\u{E000}"]) {
        tokens.push(word.as_bytes().to_vec());
        types.push(1);
    }
    tokens.push(b"<user>".to_vec());
    types.push(4);
    let scores = (0..tokens.len()).map(|id| -((id * 7 % 31) as f32) - 0.5).collect();
    VocabData {
        model: model.to_owned(),
        pre: matches!(model, "whitespace" | "hybriddna")
            .then(|| if model == "whitespace" { "whitespace" } else { "qwen2" }.to_owned()),
        tokens,
        scores: Some(scores),
        token_types: Some(types),
        merges: Some(["t h", "th e", "▁ a", "中 国", "A C"].map(|merge| merge.as_bytes().to_vec()).to_vec()),
        special: SpecialIds {
            bos: Some(1),
            eos: Some(2),
            unk: Some(0),
            sep: Some(2),
            ..SpecialIds::default()
        },
        add_space_prefix: Some(true),
        remove_extra_whitespaces: Some(true),
        ..VocabData::default()
    }
}
