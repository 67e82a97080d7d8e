//! The text that tokenizers are measured on, the same on every machine for the same version of the project.
//!
//! Half of its bytes are made-up prose in six scripts: words of seeded syllables, drawn with Zipf's frequencies (the n-th
//! word of a language 1/n as often as the first), so that words repeat as they do in books. A third are this project's
//! own sources and documents. The rest are tables of numbers, markup and emoji.

use std::path::Path;

use quipu_testing::SplitMix;

const MARKUP: [&str; 3] = [
    "# 🙂 Überschrift\n\n* **fett** `code()` 👍🏽\n",
    "<p class=\"x\">Don't they'll we've 🇩🇪</p>\n",
    "{\"id\": 17, \"ok\": true, \"λ\": null}\n",
];

/// Words of a language, most frequent first.
struct Language {
    words: Vec<String>,
    spaced: bool,
}

/// Bytes of one kind before the next is drawn.
const BLOCK: usize = 2048;

/// Documents of 4 to 64 kB, `n_bytes` in all.
pub fn documents(n_bytes: usize) -> Vec<String> {
    let mut random = SplitMix::new(20_261_121);
    let languages = languages(&mut random);
    let own = own_files();
    let mut documents = Vec::new();
    let mut total = 0;
    while total < n_bytes {
        let len = 4096 + random.below(60_000) as usize;
        let mut text = String::with_capacity(len + 256);
        while text.len() < len {
            let kind = random.below(12);
            // Half of all prose is in the first language.
            let n = if random.below(2) == 0 { 0 } else { random.below(languages.len() as u64) as usize };
            let end = text.len() + BLOCK;
            while text.len() < end {
                match kind {
                    0..=5 => paragraph(&languages[n], &mut random, &mut text),
                    6..=9 => excerpt(&own, &mut random, &mut text),
                    10 => table(&mut random, &mut text),
                    _ => text.push_str(MARKUP[random.below(3) as usize]),
                }
            }
        }
        total += text.len();
        documents.push(text);
    }
    documents
}

fn languages(random: &mut SplitMix) -> Vec<Language> {
    let syllables: [&[&str]; 6] = [
        &[
            "th", "e", "a", "n", "in", "er", "re", "on", "st", "o", "ing", "l", "es", "i", "t", "ou", "s",
            "d", "m", "pr",
        ],
        &["во", "на", "то", "ра", "не", "ко", "ли", "по", "ть", "ст", "ы", "го", "а", "и"],
        &["και", "το", "ν", "α", "σ", "ρι", "ο", "μέ", "τη", "ς"],
        &[
            "的", "一", "是", "不", "了", "人", "我", "在", "有", "他", "这", "中", "大", "来", "上", "国",
            "个", "到", "说", "们",
        ],
        &["の", "に", "は", "を", "た", "が", "で", "て", "と", "し", "ン", "ー", "ス", "日", "本"],
        &["ال", "من", "في", "ه", "ي", "ة", "ا", "ل", "م"],
    ];
    let mut language = |syllables: &[&str], spaced: bool| {
        let word = |random: &mut SplitMix, longest: u64| -> String {
            (0..=random.below(longest))
                .map(|_| syllables[random.below(syllables.len() as u64) as usize])
                .collect()
        };
        // Frequent words are short.
        let words = (0..20_000).map(|n: usize| word(random, 1 + u64::from((n + 2).ilog2()) / 3)).collect();
        Language { words, spaced }
    };
    syllables.iter().enumerate().map(|(i, s)| language(s, !matches!(i, 3 | 4))).collect()
}

fn paragraph(language: &Language, random: &mut SplitMix, out: &mut String) {
    for _ in 0..1 + random.below(6) {
        let n_words = 4 + random.below(20);
        for i in 0..n_words {
            // The inverse of Zipf's distribution function, nearly: ranks are even on a logarithmic scale.
            let share = random.below(1 << 20) as f64 / f64::from(1 << 20);
            let rank = (language.words.len() as f64).powf(share) as usize - 1;
            let word = &language.words[rank.min(language.words.len() - 1)];
            let mut letters = word.chars();
            match letters.next() {
                Some(first) if i == 0 => {
                    out.extend(first.to_uppercase());
                    out.push_str(letters.as_str());
                }
                _ => out.push_str(word),
            }
            if random.below(12) == 0 {
                out.push(',');
            }
            if language.spaced && i + 1 < n_words {
                out.push(' ');
            }
        }
        out.push_str(
            [". ", "? ", "! ", ".\n", "。"][if language.spaced { random.below(4) as usize } else { 4 }],
        );
    }
    out.push_str("\n\n");
}

fn table(random: &mut SplitMix, out: &mut String) {
    for _ in 0..8 {
        let [a, b, c] = [10_000, 1000, 100].map(|n| random.below(n));
        out.push_str(&format!("| {a} | 2026-11-{:02} | {b}.{c:02} | 0x{:08x} |\n", 1 + b % 28, a * 77_777));
    }
}

/// Up to ten lines of one of the project's files.
fn excerpt(files: &[String], random: &mut SplitMix, out: &mut String) {
    let file = &files[random.below(files.len() as u64) as usize];
    let n_lines = file.lines().count() as u64;
    for line in file.lines().skip(random.below(n_lines) as usize).take(10) {
        out.push_str(line);
        out.push('\n');
    }
}

/// The project's sources and documents, in the order of their paths.
fn own_files() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut todo: Vec<_> = ["crates", "parity/src", "docs", "xtask/src"].map(|dir| root.join(dir)).to_vec();
    let mut paths = Vec::new();
    while let Some(path) = todo.pop() {
        if let Ok(entries) = std::fs::read_dir(&path) {
            todo.extend(entries.flatten().map(|entry| entry.path()));
        } else if path.extension().is_some_and(|kind| kind == "rs" || kind == "md") {
            paths.push(path);
        }
    }
    paths.sort();
    paths
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .filter(|text| !text.is_empty())
        .collect()
}
