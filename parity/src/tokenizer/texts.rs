//! Texts for the audit: what the reference is asked about. All seeded; a text may hold any byte.

use quipu_testing::SplitMix;

use super::corpus;

/// Texts one after another, each behind its length as 32 bits: what the probe reads.
#[derive(Default)]
pub(super) struct Texts {
    bytes: Vec<u8>,
    n: usize,
}

impl Texts {
    pub(super) fn push(&mut self, text: &[u8]) {
        self.bytes.extend((text.len() as u32).to_le_bytes());
        self.bytes.extend(text);
        self.n += 1;
    }

    pub(super) fn len(&self) -> usize {
        self.n
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.bytes.as_slice();
        std::iter::from_fn(move || {
            let (len, after) = rest.split_first_chunk::<4>()?;
            let (text, after) = after.split_at_checked(u32::from_le_bytes(*len) as usize)?;
            rest = after;
            Some(text)
        })
    }
}

/// Texts of words, contractions, spaces, numbers, special tokens, scripts and stray bytes in turns with texts of any
/// code points whatever, with DNA and with long words.
pub(super) fn random(seed: u64, n: usize, special: &[&[u8]]) -> Texts {
    let mut random = SplitMix::new(seed);
    let mut texts = Texts::default();
    for i in 0..n {
        match i % 16 {
            0..=11 => texts.push(&corpus::text(&mut random, special)),
            12 | 13 => {
                let mut text = Vec::new();
                for _ in 0..random.index(16) {
                    push_code_point(random.index(0x11_0000) as u32, &mut text);
                }
                texts.push(&text);
            }
            14 => {
                let mut text: Vec<u8> = match random.index(2) {
                    0 => b"x <dna>".to_vec(),
                    _ => Vec::new(),
                };
                text.extend((0..random.index(40)).map(|_| b"ACGTACGTNa"[random.index(10)]));
                text.extend([&b"</dna> y"[..], b"", b"</dna>"][random.index(3)]);
                texts.push(&text);
            }
            _ => {
                let letters = [&b"ab"[..], b"the", b"  ", b"\n ", b"1", "ä€".as_bytes()][random.index(6)];
                let text: Vec<u8> =
                    (0..random.index(120)).map(|_| letters[random.index(letters.len())]).collect();
                // The reference throws on some sequences that begin so.
                texts.push(&text.iter().map(|&b| if b >= 0xF4 { b' ' } else { b }).collect::<Vec<_>>());
            }
        }
    }
    texts
}

/// Texts mostly of special tokens and of what may stand beside them: whitespace, parts of their own texts, letters.
pub(super) fn around_specials(seed: u64, n: usize, special: &[&[u8]]) -> Texts {
    let mut random = SplitMix::new(seed);
    let mut texts = Texts::default();
    for i in 0..n {
        if i % 3 == 0 || special.is_empty() {
            texts.push(&corpus::text(&mut random, special));
            continue;
        }
        let mut text = Vec::new();
        for _ in 0..random.index(12) {
            let token = special[random.index(special.len())];
            match random.index(8) {
                0..=2 => text.extend(token),
                3 | 4 => text.extend((0..random.index(4)).map(|_| b" \n\t\r\x0b\x0c"[random.index(6)])),
                5 => text.extend(&token[..random.index(token.len() + 1)]),
                6 => text.extend(["é", "\u{a0}", "\u{3000}", "▁", "\u{85}"][random.index(5)].bytes()),
                _ => text.extend((0..random.index(6)).map(|_| b"aabthe.'"[random.index(8)])),
            }
        }
        texts.push(&text);
    }
    texts
}

/// Every code point from 0 to 0x10FFFF as a text of its own.
pub(super) fn code_points() -> Texts {
    let mut texts = Texts::default();
    for cpt in 0..0x11_0000 {
        let mut text = Vec::new();
        push_code_point(cpt, &mut text);
        texts.push(&text);
    }
    texts
}

/// Code points of the planes in use between letters, digits, spaces and quotes, sixteen to a text.
pub(super) fn code_points_in_context() -> Texts {
    let mut texts = Texts::default();
    let cpts: Vec<u32> = (1..0x3_3480).chain(0xE_0000..0xE_0200).chain(0x10_FF00..0x11_0000).collect();
    for (n, chunk) in cpts.chunks(16).enumerate() {
        let mut text = Vec::new();
        for (i, &cpt) in chunk.iter().enumerate() {
            text.extend([&b"x"[..], b" ", b"1", b"'s", b"\n", b".", b"Ab", b" '"][(n + i) % 8]);
            push_code_point(cpt, &mut text);
            if i % 3 == 0 {
                push_code_point(cpt, &mut text);
            }
        }
        texts.push(&text);
    }
    texts
}

/// UTF-8 of any code point, halves of surrogate pairs included.
fn push_code_point(cpt: u32, out: &mut Vec<u8>) {
    let tail = |shift: u32| 0x80 | (cpt >> shift & 0x3F) as u8;
    match cpt {
        0..=0x7F => out.push(cpt as u8),
        0x80..=0x7FF => out.extend([0xC0 | (cpt >> 6) as u8, tail(0)]),
        0x800..=0xFFFF => out.extend([0xE0 | (cpt >> 12) as u8, tail(6), tail(0)]),
        _ => out.extend([0xF0 | (cpt >> 18) as u8, tail(12), tail(6), tail(0)]),
    }
}
