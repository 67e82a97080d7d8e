//! Vocabularies made of arbitrary bytes: merges that name missing tokens, duplicate tokens, ids out of range, short arrays,
//! garbage for a character map. They are refused, or tokenize without a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quipu_tokenizer::{SpecialIds, Tokenizer, VocabData, pre_tokenizer_names};

const MODELS: [&str; 11] =
    ["llama", "gpt2", "bert", "t5", "rwkv", "plamo2", "gemma4", "whitespace", "hybriddna", "none", "?"];

/// Takes the input apart.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn take(&mut self, n: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn id(&mut self) -> Option<u32> {
        match self.byte() {
            0..=127 => None,
            255 => Some(u32::MAX),
            byte => Some(u32::from(byte - 128)),
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let mut bytes = Bytes(input);
    let model = MODELS[usize::from(bytes.byte()) % MODELS.len()];
    let names = pre_tokenizer_names();
    let pre = names.get(usize::from(bytes.byte())).map(|name| (*name).to_owned());
    let flags = bytes.byte();
    let flag = |bit: u8| (flags >> bit & 1 != 0).then_some(flags >> (bit + 1) & 1 != 0);
    let mut tokens: Vec<Vec<u8>> = Vec::new();
    let with_bytes = flags & 0xE0 == 0xE0;
    if with_bytes {
        tokens.extend((0..=255u8).map(|byte| format!("<0x{byte:02X}>").into_bytes()));
    }
    for _ in 0..bytes.byte() % 32 {
        let len = usize::from(bytes.byte() % 8);
        tokens.push(bytes.take(len).to_vec());
    }
    let n = tokens.len();
    let short = usize::from(bytes.byte() == 7);
    let types = (0..n.saturating_sub(short))
        .map(|id| if id < 256 && with_bytes { 6 } else { i32::from(bytes.byte() % 8) });
    let types = types.collect();
    let scores = (0..n).map(|_| f32::from_bits(u32::from(bytes.byte()) << 24 | 0x0012_3456)).collect();
    let merges = (0..bytes.byte() % 16).map(|_| {
        let len = usize::from(bytes.byte() % 10);
        bytes.take(len).to_vec()
    });
    let merges = merges.collect();
    let special = SpecialIds {
        bos: bytes.id(),
        eos: bytes.id(),
        eot: bytes.id(),
        unk: bytes.id(),
        sep: bytes.id(),
        pad: bytes.id(),
        fim_pre: bytes.id(),
        ..SpecialIds::default()
    };
    let n_charsmap = usize::from(bytes.byte());
    let mut charsmap = bytes.take(n_charsmap).to_vec();
    if flags & 2 != 0 && charsmap.len() > 4 {
        // A sound header before the garbage.
        let size = (charsmap.len() as u32 - 5) & !3;
        charsmap[..4].copy_from_slice(&size.to_le_bytes());
    }
    let data = VocabData {
        model: model.to_owned(),
        pre,
        tokens,
        token_types: Some(types),
        scores: Some(scores),
        merges: Some(merges),
        precompiled_charsmap: Some(charsmap),
        special,
        add_bos: flag(0),
        add_eos: flag(1),
        add_space_prefix: flag(2),
        remove_extra_whitespaces: flag(3),
        lowercase: flag(4),
        ..VocabData::default()
    };
    let Ok(tokenizer) = Tokenizer::new(&data) else { return };
    for text in [bytes.0, b"the <0x41> a\n  b"] {
        let Ok(ids) = tokenizer.encode_bytes(text, true, flags & 4 != 0) else { continue };
        tokenizer.detokenize(&ids, true, false).expect("ids in range");
    }
});
