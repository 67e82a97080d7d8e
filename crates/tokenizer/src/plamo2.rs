//! PLaMo-2 (`llm_tokenizer_plamo2`): the cheapest way to cover the text with tokens, found from its end with a table
//! of all suffixes of tokens, in integers. Characters that no token covers fall back to bytes.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::cache::WordCache;
use crate::hash::{NO_VALUE, PairTable};
use crate::scratch::Scratch;
use crate::segment::Neighbours;
use crate::unicode::{decode_one, decode_sound, push_utf8, sanitize};
use crate::vocab::Vocab;
use crate::{Error, TokenAttr, TokenId};

/// Score of a string that is the end of a token but no token.
const INVALID: i32 = -20_000_000;
/// Score of a character on its own; ends the rows of a suffix.
const UNKNOWN: i32 = -10_000_000;
/// The table's cost grows with the cube of a token's length; more than this is no vocabulary.
const MAX_WORK: u64 = 1 << 33;
const BYTE_ORDER_MARK: &[u8] = "\u{FEFF}".as_bytes();

/// A prefix of a suffix.
#[derive(Debug, Clone, Copy)]
struct Row {
    /// Characters.
    len: u32,
    /// Negative: no token.
    token: i32,
    score: i32,
    /// The prefix as a suffix: the number of its first row.
    suffix: u32,
}

/// Suffixes of tokens. A suffix is known by the number of its first row; its rows are its prefixes that are
/// suffixes themselves, longest first, and one for a character on its own.
#[derive(Debug)]
pub(crate) struct Plamo2 {
    rows: Vec<Row>,
    /// A character and a suffix to the suffix they make together.
    longer: PairTable,
    bytes: Box<[TokenId; 256]>,
    neighbours: Neighbours,
}

/// Buffers of one call.
#[derive(Default)]
pub(crate) struct Buffers {
    characters: Vec<u32>,
    costs: Vec<i64>,
    /// Length and token of the first step from each position.
    steps: Vec<(u32, i32)>,
}

impl Buffers {
    pub(crate) fn shrink(&mut self) {
        if self.costs.capacity() > 1 << 18 {
            *self = Self::default();
        }
    }
}

impl Plamo2 {
    /// Builds the table. Fails if a byte has no token, or on tokens too long to build it from.
    pub(crate) fn new(vocab: &Vocab) -> Result<Self, Error> {
        let mut bytes = Box::new([0; 256]);
        // Score of each suffix; not a number if it is no token.
        let mut scores: HashMap<Vec<u8>, f32> = HashMap::new();
        let mut work = 0u64;
        for (id, text) in vocab.texts() {
            if vocab.attr(id).intersects(TokenAttr::BYTE) {
                if let Some(byte) = byte_of(text) {
                    bytes[usize::from(byte)] = id;
                }
                continue;
            }
            let n = characters(text).count() as u64;
            work += n * n * text.len() as u64;
            if work > MAX_WORK {
                return Err(Error::TokenTooLong { id, len: text.len() });
            }
            scores.insert(text.to_vec(), vocab.score(id));
            let sound = sanitize(text);
            for start in starts(&sound).skip(1) {
                if let Entry::Vacant(entry) = scores.entry(sound[start..].to_vec()) {
                    entry.insert(f32::NAN);
                }
            }
        }
        if let Some(byte) = bytes.iter().position(|&id| id == 0) {
            return Err(Error::MissingByteToken(byte as u8));
        }

        let mut suffixes: Vec<&[u8]> = scores.keys().map(Vec::as_slice).chain([&[][..]]).collect();
        suffixes.sort_unstable_by(|a, b| a.iter().rev().cmp(b.iter().rev()));
        let mut numbers: HashMap<Vec<u8>, u32> = HashMap::with_capacity(suffixes.len());
        let mut longer = PairTable::with_capacity(suffixes.len());
        let mut n_rows = 0u32;
        for &suffix in &suffixes {
            numbers.insert(suffix.to_vec(), n_rows);
            if let Some((first, _)) = characters(suffix).next() {
                let sound = sanitize(suffix);
                let rest = &sound[starts(&sound).nth(1).unwrap_or(sound.len())..];
                let rest = *numbers.entry(rest.to_vec()).or_insert(0);
                longer.insert(first, rest, u64::from(n_rows));
                n_rows += prefixes(&sound).filter(|prefix| scores.contains_key(*prefix)).count() as u32;
            }
            n_rows += 1;
        }
        let mut rows = Vec::with_capacity(n_rows as usize);
        for suffix in &suffixes {
            let sound = sanitize(suffix);
            let mut len = starts(&sound).count() as u32;
            for prefix in prefixes(&sound) {
                if let Some(&score) = scores.get(prefix) {
                    let score = if score.is_finite() { integer_score(score) } else { INVALID };
                    let token = vocab.id_of(prefix).map_or(-1, u32::cast_signed);
                    let suffix = numbers.get(prefix).copied().unwrap_or(0);
                    rows.push(Row { len, token, score, suffix });
                }
                len -= 1;
            }
            rows.push(Row { len: 1, token: -1, score: UNKNOWN, suffix: 0 });
        }
        let texts = vocab.texts().filter(|&(id, _)| !vocab.attr(id).intersects(TokenAttr::BYTE));
        Ok(Self { rows, longer, bytes, neighbours: Neighbours::new(texts.map(|(_, text)| text)) })
    }

    /// Appends the tokens of `raw`, without the byte order mark it may begin with.
    pub(crate) fn encode(&self, raw: &[u8], scratch: &mut Scratch, out: &mut Vec<TokenId>) {
        let text = sanitize(raw);
        let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&text);
        let mut start = 0;
        while start < text.len() {
            let end = self.neighbours.end(text, start);
            let segment = &text[start..end];
            start = end;
            let Some(key) = WordCache::key_in(text, end - segment.len(), end) else {
                self.cheapest(segment, &mut scratch.plamo2, out);
                continue;
            };
            if scratch.cache.copy(&key, out) {
                continue;
            }
            let before = out.len();
            self.cheapest(segment, &mut scratch.plamo2, out);
            scratch.cache.put(&key, &out[before..]);
        }
    }

    fn cheapest(&self, text: &[u8], buffers: &mut Buffers, out: &mut Vec<TokenId>) {
        let Buffers { characters, costs, steps } = buffers;
        characters.clear();
        let mut i = 0;
        while i < text.len() {
            let (cpt, len) = decode_sound(text, i);
            characters.push(cpt);
            i += len;
        }
        let n = characters.len();
        costs.clear();
        costs.resize(n + 1, 1 << 60);
        costs[n] = 0;
        steps.clear();
        steps.resize(n, (1, -1));

        let mut suffix = 0u32;
        for i in (0..n).rev() {
            // The longest suffix of tokens that the text continues with from here.
            for row in &self.rows[suffix as usize..] {
                let found = self.longer.get(characters[i], row.suffix);
                suffix = if found == NO_VALUE { 0 } else { found as u32 };
                if suffix > 0 || row.score == UNKNOWN {
                    break;
                }
            }
            for row in &self.rows[suffix as usize..] {
                if row.score > INVALID
                    && let Some(after) = costs.get(i + row.len as usize)
                {
                    let cost = after - i64::from(row.score);
                    if cost < costs[i] {
                        costs[i] = cost;
                        steps[i] = (row.len, row.token);
                    }
                }
                if row.score == UNKNOWN {
                    break;
                }
            }
        }

        let mut i = 0;
        while i < n {
            let (len, token) = steps[i];
            if token >= 0 {
                out.push(token as TokenId);
            } else {
                let mut utf8 = Vec::with_capacity(4);
                push_utf8(characters[i], &mut utf8);
                out.extend(utf8.iter().map(|&byte| self.bytes[usize::from(byte)]));
            }
            i += len as usize;
        }
    }
}

/// The byte of a text of the form `<0xXX>`.
pub(crate) fn byte_of(text: &[u8]) -> Option<u8> {
    let [b'<', b'0', b'x', high, low, b'>'] = *text else { return None };
    let digit = |c: u8| char::from(c).to_digit(16);
    Some((digit(high)? << 4 | digit(low)?) as u8)
}

/// Code points of `text` and their lengths.
fn characters(text: &[u8]) -> impl Iterator<Item = (u32, usize)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (cpt, len) = decode_one(rest);
        rest = &rest[len..];
        Some((cpt, len))
    })
}

/// Where the characters of sound text begin.
fn starts(text: &[u8]) -> impl Iterator<Item = usize> {
    text.iter().enumerate().filter(|(_, byte)| **byte & 0xC0 != 0x80).map(|(i, _)| i)
}

/// The prefixes of sound text, longest first, without the empty one.
fn prefixes(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let boundary = |&end: &usize| end == text.len() || text[end] & 0xC0 != 0x80;
    (1..=text.len()).rev().filter(boundary).map(|end| &text[..end])
}

/// Ten-thousandths. What does not fit becomes the smallest number, as on the reference's machines.
fn integer_score(score: f32) -> i32 {
    let scaled = (f64::from(score) * 1e4).round();
    if scaled > f64::from(i32::MAX) { i32::MIN } else { scaled as i32 }
}
