//! What real models are asked about: this repository's own documents and sources, shuffled, and random characters between them.

use std::path::Path;

use quipu_testing::SplitMix;

/// Bytes of a text with everything in it; the probe gives back at most 1 MiB.
const N_BYTES: usize = 1_000_000;
/// Most bytes of a piece of it.
const N_PIECE: usize = 2000;
/// Bytes of plain prose.
const N_PROSE: usize = 1 << 16;
/// Seed of the shuffles.
const SEED: u64 = 14;

/// Files with prose, and files with code.
const PROSE: [&str; 5] = [
    "models/heldout.txt",
    "README.md",
    "ARCHITECTURE.md",
    "docs/reliability.md",
    "docs/parity/deviations.md",
];
const CODE: [&str; 6] = [
    "parity/src/generation.rs",
    "parity/src/tokenizer/mod.rs",
    "crates/quipu/src/engine/mod.rs",
    "crates/gguf/src/parse.rs",
    "parity/probes/loader.cpp",
    "Cargo.toml",
];

/// Paragraphs of these files, as far as they can be read.
fn paragraphs(files: &[&str]) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let texts = files.iter().filter_map(|file| std::fs::read_to_string(root.join(file)).ok());
    let paragraphs: Vec<String> = texts
        .flat_map(|text| text.split("\n\n").map(|part| format!("{part}\n\n")).collect::<Vec<_>>())
        .filter(|part| part.len() > 40)
        .collect();
    if paragraphs.is_empty() {
        vec!["Once upon a time there was a little fox.\n\n".to_owned()]
    } else {
        paragraphs
    }
}

/// Prose: documents and stories, a paragraph from here and one from there.
pub(super) fn prose() -> String {
    let paragraphs = paragraphs(&PROSE);
    let mut random = SplitMix::new(SEED);
    let mut text = String::new();
    while text.len() < N_PROSE {
        text += &paragraphs[random.below(paragraphs.len() as u64) as usize];
    }
    text
}

/// A megabyte of prose, code, and after each paragraph a line of random characters of a random script, or of all Unicode.
pub(super) fn mixed() -> String {
    let paragraphs = paragraphs(&[&PROSE[..], &CODE].concat());
    let mut random = SplitMix::new(SEED + 1);
    let mut text = String::with_capacity(N_BYTES + N_PIECE);
    while text.len() < N_BYTES {
        text += &paragraphs[random.below(paragraphs.len() as u64) as usize];
        let (first, n) = SCRIPTS[random.below(SCRIPTS.len() as u64) as usize];
        for _ in 0..random.below(60) {
            let space = random.below(7) == 0;
            let c = char::from_u32(first + random.below(u64::from(n)) as u32);
            text.push(if space { ' ' } else { c.unwrap_or('\u{fffd}') });
        }
        text += ["\n", "\r\n", "\t", "  \n\n\n", ""][random.below(5) as usize];
    }
    text
}

/// First code point and number of code points of some scripts, and of all.
const SCRIPTS: [(u32, u32); 12] = [
    (0x20, 0x5f),
    (0xa0, 0x160),
    (0x370, 0x90),
    (0x400, 0x130),
    (0x590, 0x170),
    (0x900, 0x80),
    (0xe00, 0x60),
    (0x3040, 0xc0),
    (0x4e00, 0x51ff),
    (0xac00, 0x2ba4),
    (0x1f300, 0x350),
    (0, 0x11_0000),
];

/// A text in pieces of at most 2,000 bytes, cut where characters end.
pub(super) fn pieces(text: &str) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let mut at = N_PIECE.min(rest.len());
        while !rest.is_char_boundary(at) {
            at -= 1;
        }
        let (piece, after) = rest.split_at(at);
        pieces.push(piece.as_bytes());
        rest = after;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_seeded_and_whole() {
        let text = mixed();
        assert!(text == mixed() && text.len() >= N_BYTES && prose().len() >= N_PROSE);
        let pieces = pieces(&text);
        assert!(pieces.iter().all(|piece| !piece.is_empty() && piece.len() <= N_PIECE));
        assert_eq!(pieces.concat(), text.as_bytes());
        assert!(text.chars().filter(|c| *c > '\u{ffff}').count() > 1000, "all of Unicode is in it");
    }
}
