//! Vocabularies for families and pre-tokenizers of which no real one is at hand: trained on, or composed from, the
//! seeded texts of the tests, so that anyone can make the same files.

use std::collections::{BTreeMap, HashMap};

use quipu_gguf::{Array, GgufWriter, Value};
use quipu_testing::SplitMix;
use quipu_tokenizer::{SpecialIds, VocabData};

use super::corpus;
use crate::error::Error;

/// Token types of `tokenizer.ggml.token_type`.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const BYTE: i32 = 6;

/// Special tokens of every composed vocabulary: what common models call them, so that ends of generation and parts
/// for infilling are found by text.
const SPECIALS: &[(&str, i32)] = &[
    ("<|endoftext|>", CONTROL),
    ("<|im_start|>", CONTROL),
    ("<|im_end|>", CONTROL),
    ("<|eot_id|>", CONTROL),
    ("<fim_prefix>", CONTROL),
    ("<fim_suffix>", CONTROL),
    ("<fim_middle>", CONTROL),
    ("<|user|>", USER_DEFINED),
    ("<tool_call>", USER_DEFINED),
    (">>TITLE<<", USER_DEFINED),
];

/// Words with their counts, each with the space or line feed behind it: what a vocabulary is trained on.
pub type Words = BTreeMap<Vec<u8>, usize>;

/// The words of `text` added to `words`.
pub fn count_words(text: &str, words: &mut Words) {
    for word in text.split_inclusive([' ', '\n']).filter(|word| word.len() < 40) {
        *words.entry(word.as_bytes().to_vec()).or_insert(0) += 1;
    }
}

/// As [`count_words`], with letters, digits and everything else apart, as SentencePiece's trainer and the rule of GPT-2
/// cut them; a space goes with what follows.
pub fn count_runs(text: &str, words: &mut Words) {
    let kind = |c: char| (c.is_alphabetic(), c.is_numeric(), c.is_whitespace());
    // Written out, an escaped space would be taken for one.
    let text = &text.replace('▁', " ");
    let mut start = 0;
    let mut left = None;
    for (i, c) in text.char_indices() {
        if left.is_some_and(|left| left != ' ' && kind(left) != kind(c)) {
            count_words(&text[start..i], words);
            start = i;
        }
        left = Some(c);
    }
    count_words(&text[start..], words);
}

/// Words of the seeded texts of the tests.
pub fn words(seed: u64) -> Words {
    let mut random = SplitMix::new(seed);
    let mut words = Words::new();
    for _ in 0..3000 {
        count_words(&String::from_utf8_lossy(&corpus::text(&mut random, &[])), &mut words);
    }
    words
}

/// How byte-level vocabularies write a byte.
fn byte_char(byte: u8) -> char {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if printable(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|&b| !printable(b)).count() as u32;
    char::from_u32(256 + before).unwrap_or(' ')
}

/// Trains `n_merges` merges on words that are already cut into symbols: the most frequent pair first, of equals the
/// first in order.
fn train(mut words: Vec<(Vec<String>, usize)>, n_merges: usize) -> Vec<(String, String)> {
    let mut merges = Vec::new();
    while merges.len() < n_merges {
        let mut pairs: HashMap<(&str, &str), usize> = HashMap::new();
        for (symbols, count) in &words {
            for pair in symbols.windows(2) {
                *pairs.entry((&pair[0], &pair[1])).or_insert(0) += count;
            }
        }
        let best = pairs.into_iter().max_by(|a, b| a.1.cmp(&b.1).then_with(|| b.0.cmp(&a.0)));
        let Some(((left, right), count)) = best else { break };
        if count < 2 {
            break;
        }
        let pair = (left.to_owned(), right.to_owned());
        for (symbols, _) in &mut words {
            let mut i = 0;
            while i + 1 < symbols.len() {
                if symbols[i] == pair.0 && symbols[i + 1] == pair.1 {
                    symbols[i] = format!("{}{}", pair.0, pair.1);
                    symbols.remove(i + 1);
                }
                i += 1;
            }
        }
        merges.push(pair);
    }
    merges
}

/// A vocabulary being put together.
#[derive(Default)]
struct Tokens {
    texts: Vec<Vec<u8>>,
    types: Vec<i32>,
    scores: Vec<f32>,
    ids: HashMap<Vec<u8>, u32>,
}

impl Tokens {
    /// Adds a token unless its text is taken.
    fn add(&mut self, text: &[u8], token_type: i32, score: f32) -> u32 {
        if let Some(&id) = self.ids.get(text) {
            return id;
        }
        let id = self.texts.len() as u32;
        self.ids.insert(text.to_vec(), id);
        self.texts.push(text.to_vec());
        self.types.push(token_type);
        self.scores.push(score);
        id
    }

    fn add_specials(&mut self) {
        for (text, token_type) in SPECIALS {
            self.add(text.as_bytes(), *token_type, 0.0);
        }
    }

    fn add_bytes(&mut self) {
        for byte in 0..=255u8 {
            self.add(format!("<0x{byte:02X}>").as_bytes(), BYTE, 0.0);
        }
    }

    fn data(self, model: &str) -> VocabData {
        VocabData {
            model: model.to_owned(),
            tokens: self.texts,
            token_types: Some(self.types),
            scores: Some(self.scores),
            architecture: Some("llama".to_owned()),
            ..VocabData::default()
        }
    }
}

/// Byte-level BPE of about a thousand tokens; `pre` is put in by the caller.
pub fn byte_bpe(seed: u64) -> VocabData {
    let symbols = |word: &[u8]| word.iter().map(|&b| byte_char(b).to_string()).collect::<Vec<_>>();
    // A space belongs to the word after it, as these vocabularies have it.
    let words: Vec<_> = words(seed)
        .into_iter()
        .map(|(word, count)| {
            let word = [b" ", word.strip_suffix(b" ").unwrap_or(&word)].concat();
            (symbols(&word), count)
        })
        .collect();
    let merges = train(words, 700);
    let mut tokens = Tokens::default();
    for byte in 0..=255 {
        tokens.add(byte_char(byte).to_string().as_bytes(), NORMAL, 0.0);
    }
    for (left, right) in &merges {
        tokens.add(format!("{left}{right}").as_bytes(), NORMAL, 0.0);
    }
    // Words that no merges lead to: found only where merges are ignored for whole words.
    for word in ["Ġtokenizer", "Hello", "123", "000", "Ċ", "ĊĊ", "Ġ½"] {
        tokens.add(word.as_bytes(), NORMAL, 0.0);
    }
    tokens.add_specials();
    let end = tokens.ids[&b"<|endoftext|>"[..]];
    let merges = merges.iter().map(|(left, right)| format!("{left} {right}").into_bytes()).collect();
    VocabData {
        merges: Some(merges),
        special: SpecialIds { bos: Some(end), eos: Some(end), ..SpecialIds::default() },
        ..tokens.data("gpt2")
    }
}

/// Byte-level BPE of `n_tokens` tokens, each but the bytes the joint of two earlier ones: for measuring how long a
/// large vocabulary takes to load.
pub fn large_bpe(seed: u64, n_tokens: usize) -> VocabData {
    let mut random = SplitMix::new(seed);
    let mut tokens = Tokens::default();
    for byte in 0..=255 {
        tokens.add(byte_char(byte).to_string().as_bytes(), NORMAL, 0.0);
    }
    let mut merges = Vec::new();
    while tokens.texts.len() + SPECIALS.len() < n_tokens {
        // Letters and short tokens are joined more often, as in trained vocabularies.
        let mut pick = |n: usize| {
            let n = if random.below(3) == 0 { 256 } else { n };
            tokens.texts[random.below(n as u64) as usize].clone()
        };
        let (left, right) = (pick(tokens.texts.len()), pick(tokens.texts.len()));
        let joint = [left.as_slice(), &right].concat();
        if joint.len() <= 24 && !tokens.ids.contains_key(&joint) {
            tokens.add(&joint, NORMAL, 0.0);
            merges.push([left.as_slice(), b" ", &right].concat());
        }
    }
    tokens.add_specials();
    let end = tokens.ids[&b"<|endoftext|>"[..]];
    VocabData {
        pre: Some("gpt-2".to_owned()),
        merges: Some(merges),
        special: SpecialIds { bos: Some(end), eos: Some(end), ..SpecialIds::default() },
        ..tokens.data("gpt2")
    }
}

/// BPE whose merges join characters, with byte tokens to fall back to (gemma4 and its kind).
pub fn character_bpe(seed: u64, model: &str) -> VocabData {
    let symbols = |word: &str| word.chars().map(String::from).collect::<Vec<_>>();
    let words: Vec<_> = words(seed)
        .into_iter()
        .map(|(word, count)| (symbols(&String::from_utf8_lossy(&word).replace(' ', "▁")), count))
        .collect();
    let mut tokens = Tokens::default();
    for (text, token_type) in [("<pad>", CONTROL), ("<eos>", CONTROL), ("<bos>", CONTROL), ("<unk>", UNKNOWN)]
    {
        tokens.add(text.as_bytes(), token_type, 0.0);
    }
    tokens.add_bytes();
    let mut characters: BTreeMap<&str, usize> = BTreeMap::new();
    for (symbols, count) in &words {
        for symbol in symbols {
            *characters.entry(symbol).or_insert(0) += count;
        }
    }
    // Rare characters are left to the bytes.
    for (text, _) in characters.iter().filter(|(_, count)| **count > 2) {
        tokens.add(text.as_bytes(), NORMAL, 0.0);
    }
    for n in 1..=12 {
        tokens.add("\n".repeat(n).as_bytes(), NORMAL, 0.0);
    }
    let merges = train(words, 600);
    for (left, right) in &merges {
        tokens.add(format!("{left}{right}").as_bytes(), NORMAL, 0.0);
    }
    tokens.add_specials();
    let merges = merges.iter().map(|(left, right)| format!("{left} {right}").into_bytes()).collect();
    VocabData {
        merges: Some(merges),
        special: SpecialIds {
            bos: Some(2),
            eos: Some(1),
            pad: Some(0),
            unk: Some(3),
            ..SpecialIds::default()
        },
        ..tokens.data(model)
    }
}

/// Byte-level BPE with DNA between tags: all k-mers of six letters follow the unknown one.
pub fn dna(seed: u64) -> VocabData {
    let mut data = byte_bpe(seed);
    let mut add = |text: String, token_type: i32| {
        data.tokens.push(text.into_bytes());
        if let (Some(types), Some(scores)) = (&mut data.token_types, &mut data.scores) {
            types.push(token_type);
            scores.push(0.0);
        }
    };
    for tag in ["<dna>", "</dna>"] {
        add(tag.to_owned(), CONTROL);
    }
    add("<oov>".to_owned(), NORMAL);
    for n in 0..4096usize {
        let kmer: String = (0..6).rev().map(|i| char::from(b"ACGT"[n >> (2 * i) & 3])).collect();
        add(kmer + "\u{E000}", NORMAL);
    }
    VocabData { model: "hybriddna".to_owned(), pre: Some("qwen2".to_owned()), ..data }
}

/// The `n` substrings that words most often have, with the logarithm of their share.
fn pieces(words: &Words, n: usize) -> Vec<(String, f32)> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for (word, count) in words {
        let word: Vec<char> = format!("▁{}", String::from_utf8_lossy(word).trim()).chars().collect();
        for start in 0..word.len() {
            for len in 1..=8.min(word.len() - start) {
                *counts.entry(word[start..start + len].iter().collect()).or_insert(0) += count;
            }
        }
    }
    let total: usize = counts.values().sum();
    let share = |count: usize| (count as f64 / total as f64).ln() as f32;
    let mut pieces: Vec<(String, usize)> = counts.into_iter().collect();
    pieces.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    pieces.truncate(n);
    pieces.into_iter().map(|(text, count)| (text, share(count))).collect()
}

/// A unigram vocabulary of about `n` tokens; `charsmap` gives it one of a few hundred rules.
pub fn unigram(words: &Words, n: usize, charsmap: bool, merge_spaces: bool) -> VocabData {
    let mut tokens = Tokens::default();
    for (text, token_type) in [("<pad>", CONTROL), ("</s>", CONTROL), ("<unk>", UNKNOWN)] {
        tokens.add(text.as_bytes(), token_type, 0.0);
    }
    for (text, score) in pieces(words, n) {
        tokens.add(text.as_bytes(), NORMAL, score);
    }
    tokens.add_specials();
    // Also a user-defined token that begins like ordinary words.
    tokens.add("HTTPServer🙂".as_bytes(), USER_DEFINED, 0.0);
    VocabData {
        precompiled_charsmap: charsmap.then(|| self::charsmap(&rules())),
        add_space_prefix: Some(true),
        remove_extra_whitespaces: Some(merge_spaces),
        special: SpecialIds { eos: Some(1), pad: Some(0), unk: Some(2), ..SpecialIds::default() },
        ..tokens.data("t5")
    }
}

/// RWKV: every byte, and about `n` byte strings of many lengths, escaped as its vocabularies are.
pub fn rwkv(words: &Words, n: usize) -> VocabData {
    let mut tokens = Tokens::default();
    tokens.add(b"<s>", CONTROL, 0.0);
    let escape = |bytes: &[u8]| -> Vec<u8> {
        bytes
            .iter()
            .flat_map(|&byte| match byte {
                b'\n' => b"\\n".to_vec(),
                b'\t' => b"\\t".to_vec(),
                b'\r' => b"\\r".to_vec(),
                b'\\' => b"\\\\".to_vec(),
                0x20..=0x7E => vec![byte],
                _ => format!("\\x{byte:02x}").into_bytes(),
            })
            .collect()
    };
    for byte in 0..=255u8 {
        tokens.add(&escape(&[byte]), NORMAL, 0.0);
    }
    for (text, _) in pieces(words, n) {
        tokens.add(&escape(text.replace('▁', " ").as_bytes()), NORMAL, 0.0);
    }
    for len in 2..24 {
        tokens.add(&escape(&b" ".repeat(len)), NORMAL, 0.0);
        tokens.add(&escape(&b"\n".repeat(len)), NORMAL, 0.0);
    }
    tokens.add(b"\\xe4\\xbd", NORMAL, 0.0);
    tokens.add_specials();
    VocabData {
        special: SpecialIds { bos: Some(0), eos: Some(0), unk: Some(0), ..SpecialIds::default() },
        ..tokens.data("rwkv")
    }
}

/// PLaMo-2: about `n` pieces with scores, and a token for each byte.
pub fn plamo2(words: &Words, n: usize) -> VocabData {
    let mut tokens = Tokens::default();
    for text in ["<|plamo:unk|>", "<|plamo:bos|>", "<|plamo:eos|>", "<|plamo:pad|>"] {
        tokens.add(text.as_bytes(), if text.contains("unk") { UNKNOWN } else { CONTROL }, 0.0);
    }
    tokens.add_bytes();
    for (text, score) in pieces(words, n) {
        tokens.add(text.replace('▁', " ").as_bytes(), NORMAL, score);
    }
    tokens.add_specials();
    VocabData {
        special: SpecialIds {
            bos: Some(1),
            eos: Some(2),
            pad: Some(3),
            unk: Some(0),
            ..SpecialIds::default()
        },
        ..tokens.data("plamo2")
    }
}

/// Rules like those of compatibility normalization: wide and circled forms, ligatures, half-width kana with their
/// marks, kinds of space, control characters that vanish.
fn rules() -> Vec<(String, String)> {
    let mut rules: BTreeMap<String, String> = BTreeMap::new();
    let mut rule = |from: &str, to: &str| rules.insert(from.to_owned(), to.to_owned());
    for c in '!'..='~' {
        let wide = char::from_u32(c as u32 + 0xFEE0).map(String::from).unwrap_or_default();
        rule(&wide, &c.to_string());
    }
    for n in 1..=20u32 {
        let circled = char::from_u32(0x2460 + n - 1).map(String::from).unwrap_or_default();
        rule(&circled, &n.to_string());
    }
    for (from, to) in [
        ("ﬁ", "fi"),
        ("ﬂ", "fl"),
        ("ﬃ", "ffi"),
        ("½", "1⁄2"),
        ("²", "2"),
        ("™", "TM"),
        ("µ", "μ"),
        ("ſ", "s"),
        ("\u{a0}", " "),
        ("\u{2003}", " "),
        ("\u{3000}", " "),
        ("\t", " "),
        ("\n", " "),
        ("\r", " "),
        ("\u{200b}", " "),
        ("\u{1}", ""),
        ("\u{1c}", ""),
        ("\u{ad}", ""),
        ("e\u{301}", "é"),
        ("e\u{300}", "è"),
        ("a\u{308}", "ä"),
        ("Ⅷ", "VIII"),
        ("ｶﾞ", "ガ"),
        ("ｶ", "カ"),
        ("한", "한"),
    ] {
        rule(from, to);
    }
    rules.into_iter().collect()
}

/// A precompiled character map: a double array over the rules' left sides (units as in the darts library:
/// base at bit 10, label in bits 0 to 7, bit 8 = a value follows), then the right sides, each ended by NUL.
fn charsmap(rules: &[(String, String)]) -> Vec<u8> {
    let mut replacements = Vec::new();
    let mut keys: BTreeMap<&[u8], u32> = BTreeMap::new();
    for (from, to) in rules {
        keys.insert(from.as_bytes(), replacements.len() as u32);
        replacements.extend_from_slice(to.as_bytes());
        replacements.push(0);
    }
    // A unit is free while it is none; unit 0 is the root.
    let mut units: Vec<Option<u32>> = vec![None; 1 << 16];
    units[0] = Some(0);
    let mut todo: Vec<(usize, Vec<u8>)> = vec![(0, Vec::new())];
    while let Some((at, prefix)) = todo.pop() {
        let value = keys.get(prefix.as_slice()).copied();
        let mut labels: Vec<u8> = keys
            .range(prefix.as_slice()..)
            .take_while(|(key, _)| key.starts_with(&prefix))
            .filter_map(|(key, _)| key.get(prefix.len()).copied())
            .collect();
        labels.dedup();
        if value.is_some() {
            labels.insert(0, 0);
        }
        // Children lie at `at ^ base ^ label`; the value's label is 0.
        let fits = |base: &usize| {
            labels.iter().all(|&l| units.get(at ^ base ^ usize::from(l)).is_some_and(Option::is_none))
        };
        let Some(base) = (1..1 << 15).find(fits) else { continue };
        units[at] = Some(units[at].unwrap_or(0) | (base as u32) << 10 | u32::from(value.is_some()) << 8);
        for label in labels {
            let child = at ^ base ^ usize::from(label);
            if label == 0 {
                units[child] = value.map(|value| value | 1 << 31);
                continue;
            }
            units[child] = Some(u32::from(label));
            todo.push((child, [prefix.as_slice(), &[label]].concat()));
        }
    }
    let n_units = units.iter().rposition(Option::is_some).map_or(0, |last| last + 1).next_multiple_of(256);
    let mut blob = (4 * n_units as u32).to_le_bytes().to_vec();
    // A free unit has a label that no byte of text equals: 0.
    blob.extend(units[..n_units].iter().flat_map(|unit| unit.unwrap_or(0).to_le_bytes()));
    blob.extend(replacements);
    blob
}

/// The same vocabulary with ids of tokens, scores and attributes scattered: nothing may depend on their order.
pub fn shuffled(data: &VocabData, seed: u64) -> VocabData {
    let n = data.tokens.len();
    let mut random = SplitMix::new(seed);
    let mut order: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        order.swap(i, random.below(i as u64 + 1) as usize);
    }
    let mut place = vec![0u32; n];
    for (new, &old) in order.iter().enumerate() {
        place[old] = new as u32;
    }
    let moved = |id: Option<u32>| id.map(|id| place[id as usize]);
    let SpecialIds { bos, eos, unk, pad, .. } = data.special;
    VocabData {
        tokens: order.iter().map(|&old| data.tokens[old].clone()).collect(),
        scores: data.scores.as_ref().map(|scores| order.iter().map(|&old| scores[old]).collect()),
        token_types: data.token_types.as_ref().map(|types| order.iter().map(|&old| types[old]).collect()),
        special: SpecialIds {
            bos: moved(bos),
            eos: moved(eos),
            unk: moved(unk),
            pad: moved(pad),
            ..data.special
        },
        ..data.clone()
    }
}

/// The vocabulary as a GGUF file without tensors.
///
/// # Errors
/// A text that is not UTF-8, which no composed vocabulary has.
pub fn gguf(data: &VocabData) -> Result<Vec<u8>, Error> {
    let fail = Error::engine::<quipu_gguf::Error>("composed vocabulary");
    let mut writer = GgufWriter::new();
    let metadata = &mut writer.metadata;
    let architecture = data.architecture.as_deref().unwrap_or("llama");
    metadata.set("general.architecture", Value::from(architecture));
    if let Some(n_tokens) = data.vocab_size {
        metadata.set(&format!("{architecture}.vocab_size"), Value::U32(n_tokens));
    }
    if let Some(name) = &data.general_name {
        metadata.set("general.name", Value::from(name.as_str()));
    }
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    metadata.set(&key("model"), Value::from(data.model.as_str()));
    if let Some(pre) = &data.pre {
        metadata.set(&key("pre"), Value::from(pre.as_str()));
    }
    let strings = |texts: &[Vec<u8>]| Value::Array(Array::String(texts.iter().collect()));
    if data.model != "none" {
        metadata.set(&key("tokens"), strings(&data.tokens));
    }
    if let Some(merges) = &data.merges {
        metadata.set(&key("merges"), strings(merges));
    }
    if let Some(scores) = &data.scores {
        metadata.set(&key("scores"), Value::Array(Array::F32(scores.clone())));
    }
    if let Some(types) = &data.token_types {
        metadata.set(&key("token_type"), Value::Array(Array::I32(types.clone())));
    }
    if let Some(charsmap) = &data.precompiled_charsmap {
        metadata.set(&key("precompiled_charsmap"), Value::Array(Array::U8(charsmap.clone())));
    }
    let ids = &data.special;
    for (name, id) in [
        ("bos_token_id", ids.bos),
        ("eos_token_id", ids.eos),
        ("eot_token_id", ids.eot),
        ("eom_token_id", ids.eom),
        ("unknown_token_id", ids.unk),
        ("seperator_token_id", ids.sep),
        ("padding_token_id", ids.pad),
        ("mask_token_id", ids.mask),
        ("fim_pre_token_id", ids.fim_pre),
        ("fim_suf_token_id", ids.fim_suf),
        ("fim_mid_token_id", ids.fim_mid),
        ("fim_pad_token_id", ids.fim_pad),
        ("fim_rep_token_id", ids.fim_rep),
        ("fim_sep_token_id", ids.fim_sep),
        ("prefix_token_id", ids.prefix),
        ("suffix_token_id", ids.suffix),
        ("middle_token_id", ids.middle),
    ] {
        if let Some(id) = id {
            metadata.set(&key(name), Value::U32(id));
        }
    }
    for (name, flag) in [
        ("add_bos_token", data.add_bos),
        ("add_eos_token", data.add_eos),
        ("add_sep_token", data.add_sep),
        ("add_space_prefix", data.add_space_prefix),
        ("remove_extra_whitespaces", data.remove_extra_whitespaces),
        ("normalizer.lowercase", data.lowercase),
        ("normalizer.strip_accents", data.strip_accents),
    ] {
        if let Some(flag) = flag {
            metadata.set(&key(name), Value::Bool(flag));
        }
    }
    let mut out = Vec::new();
    writer.write_to(&mut out, |_, _| Ok(())).map_err(&fail)?;
    Ok(out)
}
