//! Seeded texts that visit the corners of tokenizers. Recorded ids depend on them: do not change a seed's texts.
#![allow(dead_code, reason = "every test file uses its own part")]

use quipu_testing::SplitMix;

const RANGES: &[(u32, u32)] = &[
    (0x20, 0x7E),
    (0x20, 0x7E),
    (0x01, 0x1F),
    (0x7F, 0xFF),
    (0x100, 0x24F),
    (0x300, 0x36F),
    (0x370, 0x52F),
    (0x590, 0x6FF),
    (0x900, 0xDFF),
    (0xE00, 0x10FF),
    (0x1100, 0x11FF),
    (0x1E00, 0x1FFF),
    (0x2000, 0x206F),
    (0x2070, 0x2BFF),
    (0x3000, 0x30FF),
    (0x4E00, 0x9FFF),
    (0xAC00, 0xD7FF),
    (0xE000, 0xFFFF),
    (0x1_0000, 0x1_FFFF),
    (0x1_F300, 0x1_FAFF),
    (0x2_0000, 0x3_FFFF),
    (0xE_0000, 0x10_FFFF),
];

const WORDS: &[&str] = &[
    "Hello",
    "world",
    "the",
    "of",
    "and",
    "tokenizer",
    "naïve",
    "café",
    "Straße",
    "Übergröße",
    "привет",
    "мир",
    "你好",
    "世界",
    "中国人民",
    "こんにちは",
    "한국어",
    "नमस्ते",
    "สวัสดี",
    "مرحبا",
    "שלום",
    "ἀρχή",
    "e\u{301}te\u{301}",
    "HTTPServer",
    "snake_case_name",
    "camelCase",
    "x86_64",
    "0xDEADBEEF",
    "foo->bar",
    "a[i] = b;",
    "fn main() {",
    "#include <stdio.h>",
    "def f(x):",
    "return",
    "// TODO",
    "/* c */",
    "https://example.com/?q=1&r=2",
    "@user",
    "#hashtag",
    "e.g.",
    "U.S.A.",
    "...",
    "!!!",
    "?!",
    "--",
    "=>",
    "&&",
    "||",
    "`code`",
    "**bold**",
    "~/.bashrc",
    "🙂",
    "👨‍👩‍👧‍👦",
    "🇩🇪",
    "👍🏽",
    "½",
    "²",
    "Ⅷ",
    "٣٤٥",
    "１２３",
    "①②",
    "§",
    "€5",
    "¥",
    "™",
    "µ",
    "ſ",
    "İ",
    "ı",
];

const CONTRACTIONS: &[&str] = &[
    "'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'T", "'RE", "'Ve", "'M", "'lL", "'D", "'x", "'",
    "''", "'ſ", " 's", "don't", "I'LL've", "'r", "'l", "’s",
];

const SPACES: &[&str] = &[
    " ", "  ", "   ", "\n", "\n\n", "\r\n", "\r", "\t", "\t\t", " \n", "\n ", " \n \n", "\u{a0}", "\u{2003}",
    "\u{3000}", "\u{85}", "\u{2028}", "\u{b}", "\u{c}", "\u{200b}", "\u{1c}", "▁", "▁▁",
];

const SPECIAL: &[&str] = &[
    "<s>",
    "</s>",
    "<unk>",
    "<|endoftext|>",
    "<|end|>",
    "<|user|>",
    "<|assistant|>",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "[UNK]",
    "<fim_prefix>",
    "<fim_suffix>",
    ">>TITLE<<",
    ">>ANSWER<<",
    "<｜begin▁of▁sentence｜>",
    "<｜end▁of▁sentence｜>",
    "<|padding|>",
    "<|im_start|>",
    "<0x0A>",
    "<|EOT|>",
    "<｜fim▁hole｜>",
];

/// A text of some parts; `special` are texts of special tokens of the vocabulary at hand. No byte is 0.
pub fn text(random: &mut SplitMix, special: &[&[u8]]) -> Vec<u8> {
    let mut text = Vec::new();
    let raw_bytes = random.index(12) == 0;
    for _ in 0..=random.index(14) {
        match random.index(14) {
            0..=2 => text.extend(random.pick(WORDS).bytes()),
            3 => text.extend(random.pick(CONTRACTIONS).bytes()),
            4..=6 => text.extend(random.pick(SPACES).bytes()),
            7 => text.extend(std::iter::repeat_n(random.pick(b" \n\t \r "), random.index(40))),
            8 => text.extend((0..random.index(12)).map(|_| b'0' + random.index(10) as u8)),
            9 => text.extend(random.pick(SPECIAL).bytes()),
            10 if !special.is_empty() => {
                for _ in 0..=random.index(3) {
                    text.extend(random.pick(special));
                }
            }
            11 if raw_bytes => text.extend((0..random.index(8)).map(|_| match random.index(256) as u8 {
                // 0 ends a text; the reference throws on some sequences that begin with the others.
                0 | 0xF4..=0xF7 => 0x80,
                byte => byte,
            })),
            12 => text.extend((0..random.index(10)).map(|_| b'a' + random.index(26) as u8)),
            _ => {
                let (first, last) = random.pick(RANGES);
                for _ in 0..random.index(12) {
                    let cpt = first + random.index((last - first + 1) as usize) as u32;
                    let mut utf8 = [0; 4];
                    text.extend(char::from_u32(cpt).unwrap_or('\u{FFFD}').encode_utf8(&mut utf8).bytes());
                }
            }
        }
    }
    text
}
