//! SentencePiece unigram (`llm_tokenizer_ugm_session`): text is normalized, then cut into the tokens whose scores
//! add up highest.

use crate::cache::WordCache;
use crate::charsmap::Charsmap;
use crate::scratch::{Best, Scratch};
use crate::segment::{Neighbours, SPACE, sound_character};
use crate::trie::Trie;
use crate::unicode::{sequence_len, utf8_len};
use crate::vocab::Vocab;
use crate::{Error, TokenAttr, TokenId, VocabData};

/// What an unknown character costs beyond the lowest score.
const UNKNOWN_PENALTY: f32 = 10.0;

/// Normalizer and scores of a unigram vocabulary.
#[derive(Debug)]
pub(crate) struct Ugm {
    charsmap: Charsmap,
    /// Text that begins like one of these is not normalized.
    user_defined: Trie,
    tokens: Trie,
    unknown_score: f64,
    neighbours: Neighbours,
    /// Bit `right` of `[left]`, in two halves: the ASCII character stays as it is in front of the other, which some token
    /// has behind it. Never a space.
    joined: Box<[[u64; 2]; 128]>,
    /// Longest text whose scores add up without rounding, whatever the order; cutting it changes nothing then.
    exact_len: usize,
    /// Bytes of a text whose words between spaces can be tokenized apart, whatever is between them; 0 if they cannot.
    words_apart: usize,
    space_prefix: bool,
    merge_spaces: bool,
    /// How a space is written.
    space: &'static [u8],
}

impl Ugm {
    /// Fails if the character map's header contradicts its size.
    pub(crate) fn new(
        data: &VocabData,
        space_prefix: bool,
        merge_spaces: bool,
        vocab: &Vocab,
    ) -> Result<Self, Error> {
        let is = |id, attr| vocab.attr(id).intersects(attr);
        let matched = TokenAttr::NORMAL | TokenAttr::USER_DEFINED | TokenAttr::UNUSED;
        let normal_scores =
            vocab.texts().filter(|&(id, _)| is(id, TokenAttr::NORMAL)).map(|(id, _)| vocab.score(id));
        let min_score = normal_scores.fold(f32::MAX, |min, score| if score < min { score } else { min });
        let unknown_score = f64::from(min_score - UNKNOWN_PENALTY);
        let score = |id| if is(id, TokenAttr::USER_DEFINED) { 0.0 } else { vocab.score(id) };
        let used = vocab.texts().filter(|&(id, _)| is(id, matched)).map(|(id, _)| f64::from(score(id)));
        let charsmap = Charsmap::new(data.precompiled_charsmap.as_deref())?;
        let exact_len = exact_len(used.chain([unknown_score]));
        // Spaces must stay spaces, and no token reach across one: then a word's tokens depend on nothing else.
        let reaches_across = |(id, text): (TokenId, &[u8])| {
            let spaced =
                |text: &[u8]| text.contains(&b' ') || text.windows(SPACE.len()).any(|part| part == SPACE);
            spaced(text.strip_prefix(SPACE).unwrap_or(text)) && is(id, matched)
        };
        let apart = merge_spaces && !charsmap.may_replace_spaces() && !vocab.texts().any(reaches_across);
        let longest = charsmap.longest_replacement().max(SPACE.len()) + SPACE.len();
        let neighbours = Neighbours::new(vocab.texts().map(|(_, text)| text));
        let joined = Box::new(std::array::from_fn(|left| {
            let goes_on = |right: u32| {
                let spaced = left == usize::from(b' ') || right == u32::from(b' ');
                !spaced && charsmap.keeps(left as u8, right as u8) && neighbours.contains(left as u32, right)
            };
            let half = |first: u32| (0..64).fold(0, |bits, i| bits | u64::from(goes_on(first + i)) << i);
            [half(0), half(64)]
        }));
        Ok(Self {
            joined,
            neighbours,
            words_apart: if apart { exact_len / longest } else { 0 },
            charsmap,
            user_defined: Trie::new(
                vocab.texts().filter(|&(id, _)| is(id, TokenAttr::USER_DEFINED)).map(|(id, text)| (text, id)),
            ),
            // User-defined tokens cost nothing.
            tokens: Trie::with_scores(
                vocab.texts().filter(|&(id, _)| is(id, matched)).map(|(id, text)| (text, id, score(id))),
            ),
            exact_len,
            unknown_score,
            space_prefix,
            merge_spaces,
            space: SPACE,
        })
    }

    /// Appends the tokens of `raw`; fails where the character map leads outside itself, or where an unknown token
    /// is needed and `unk` is none.
    pub(crate) fn encode(
        &self,
        raw: &[u8],
        unk: Option<TokenId>,
        scratch: &mut Scratch,
        out: &mut Vec<TokenId>,
    ) -> Result<(), Error> {
        let mut text = std::mem::take(&mut scratch.text);
        let before = out.len();
        let mut result = self.words(raw, unk, &mut text, scratch, out);
        if let Ok(false) = result {
            out.truncate(before);
            text.clear();
            result = self
                .normalize(raw, false, &mut text)
                .and_then(|()| self.cut(&text, unk, scratch, out))
                .map(|()| true);
        }
        scratch.text = text;
        result.map(|_| ())
    }

    /// Tokenizes what is between spaces word by word, with the words that are remembered; `false` where the vocabulary
    /// or the text does not allow it.
    fn words(
        &self,
        raw: &[u8],
        unk: Option<TokenId>,
        text: &mut Vec<u8>,
        scratch: &mut Scratch,
        out: &mut Vec<TokenId>,
    ) -> Result<bool, Error> {
        if raw.len() >= self.words_apart || std::str::from_utf8(raw).is_err() {
            return Ok(false);
        }
        let first = out.len();
        let mut start = 0;
        while start < raw.len() {
            if raw[start] == b' ' {
                start += 1;
                continue;
            }
            let end = find_space(raw, start);
            let before = out.len();
            // With the space before it a word is not taken for what is within one.
            let key = start.checked_sub(1).and_then(|space| WordCache::key_in(raw, space, end));
            if !key.as_ref().is_some_and(|key| scratch.cache.copy(key, out)) {
                if !self.word(&raw[..end], start, unk, text, scratch, out)? {
                    return Ok(false);
                }
                if let Some(key) = key {
                    scratch.cache.put(&key, &out[before..]);
                }
            }
            start = end;
            join_unknown(first, before, unk, out);
        }
        Ok(true)
    }

    /// Appends the tokens of the word from `start` to the end of `raw`, piece by piece; `false` if the character map breaks
    /// it, because what follows a broken character may be taken along by it.
    fn word(
        &self,
        raw: &[u8],
        mut start: usize,
        unk: Option<TokenId>,
        text: &mut Vec<u8>,
        scratch: &mut Scratch,
        out: &mut Vec<TokenId>,
    ) -> Result<bool, Error> {
        let first = out.len();
        let mut in_word = false;
        while start < raw.len() {
            let (end, unchanged) = self.piece(raw, start);
            let before = out.len();
            // With the space before it, if it begins the word; the whole word is the caller's to remember.
            let whole = !in_word && end == raw.len();
            let from = if in_word { Some(start) } else { start.checked_sub(1) };
            let key = from.filter(|_| !whole).and_then(|from| WordCache::key_in(raw, from, end));
            if !key.as_ref().is_some_and(|key| scratch.cache.copy(key, out)) {
                text.clear();
                if unchanged {
                    text.extend_from_slice(if in_word { &[] } else { SPACE });
                    text.extend_from_slice(&raw[start..end]);
                    self.best_tokens(text, unk, &mut scratch.unigram, out)?;
                } else {
                    self.normalize(&raw[start..end], in_word, text)?;
                    if std::str::from_utf8(text).is_err() {
                        return Ok(false);
                    }
                    self.cut(text, unk, scratch, out)?;
                }
                if let Some(key) = key {
                    scratch.cache.put(&key, &out[before..]);
                }
            }
            start = end;
            in_word = true;
            join_unknown(first, before, unk, out);
        }
        Ok(true)
    }

    /// End of the piece of sound text without spaces that begins at `start`, and whether the character map leaves it as
    /// it is. Pieces end between two characters that stay and are neighbours in no token.
    #[inline]
    fn piece(&self, raw: &[u8], start: usize) -> (usize, bool) {
        let mut i = start;
        let mut left = None;
        // Within ASCII most characters go on; what ends here, or may end, is looked at below.
        while let Some(&[this, next]) = raw.get(i..).and_then(<[u8]>::first_chunk)
            && self
                .joined
                .get(usize::from(this))
                .is_some_and(|bits| next < 0x80 && bits[usize::from(next >> 6)] >> (next & 63) & 1 != 0)
        {
            left = Some(u32::from(this));
            i += 1;
        }
        while i < raw.len() {
            let (right, len) = sound_character(raw, i);
            // An escaped space in the text is not told from a space here.
            if right == u32::from(b' ') || !self.charsmap.keeps_character(raw, i, right, len) {
                return (raw.len(), false);
            }
            if left.is_some_and(|left| !self.neighbours.contains(left, right)) {
                break;
            }
            left = Some(right);
            i += len;
        }
        (i, true)
    }

    fn cut(
        &self,
        text: &[u8],
        unk: Option<TokenId>,
        scratch: &mut Scratch,
        out: &mut Vec<TokenId>,
    ) -> Result<(), Error> {
        if text.len() >= self.exact_len || std::str::from_utf8(text).is_err() {
            return self.best_tokens(text, unk, &mut scratch.unigram, out);
        }
        let first = out.len();
        let mut start = 0;
        while start < text.len() {
            let end = self.neighbours.end(text, start);
            let segment = &text[start..end];
            start = end;
            let before = out.len();
            let key = WordCache::key_in(text, end - segment.len(), end);
            if !key.as_ref().is_some_and(|key| scratch.cache.copy(key, out)) {
                self.best_tokens(segment, unk, &mut scratch.unigram, out)?;
                if let Some(key) = key {
                    scratch.cache.put(&key, &out[before..]);
                }
            }
            join_unknown(first, before, unk, out);
        }
        Ok(())
    }

    /// The tokens of one segment. Scores are added in double precision from left to right, as in the reference.
    fn best_tokens(
        &self,
        text: &[u8],
        unk: Option<TokenId>,
        best: &mut Vec<Best>,
        out: &mut Vec<TokenId>,
    ) -> Result<(), Error> {
        /// Stands for the unknown token, which the vocabulary may lack.
        const UNKNOWN: TokenId = TokenId::MAX;
        if text.is_empty() {
            return Ok(());
        }
        best.clear();
        best.resize(text.len() + 1, Best { score: -f64::MAX, from: 0, token: UNKNOWN });
        best[0].score = 0.0;
        let mut start = 0;
        while start < text.len() {
            let so_far = best[start].score;
            let len = utf8_len(text[start]).min(text.len() - start);
            let mut covered = false;
            for (n, token, score) in self.tokens.prefixes(&text[start..]) {
                covered |= n == len;
                let score = so_far + f64::from(score);
                let champion = &mut best[start + n];
                if score > champion.score {
                    *champion = Best { score, from: start as u32, token };
                }
            }
            if !covered {
                let score = so_far + self.unknown_score;
                let champion = &mut best[start + len];
                if score > champion.score {
                    *champion = Best { score, from: start as u32, token: UNKNOWN };
                }
            }
            start += len;
        }

        let before = out.len();
        let mut was_unknown = false;
        let mut at = text.len();
        loop {
            let Best { from, token, .. } = best[at];
            let is_unknown = token == UNKNOWN || Some(token) == unk;
            if !(was_unknown && is_unknown) {
                let id = if token == UNKNOWN { unk } else { Some(token) };
                out.push(id.ok_or(Error::MissingSpecialToken("unknown"))?);
            }
            if from == 0 {
                break;
            }
            was_unknown = is_unknown;
            at = from as usize;
        }
        out[before..].reverse();
        Ok(())
    }

    /// Replaces what the character map replaces and rewrites spaces. A text that goes on `in_word` gets no space first.
    fn normalize(&self, raw: &[u8], mut in_word: bool, out: &mut Vec<u8>) -> Result<(), Error> {
        out.reserve(raw.len() + raw.len() / 2);
        let mut prepended = in_word;
        let mut push = |bytes: &[u8]| {
            for &byte in bytes {
                if byte == b' ' {
                    in_word = false;
                    if !self.merge_spaces {
                        out.extend_from_slice(self.space);
                    }
                    continue;
                }
                if !in_word {
                    in_word = true;
                    if (self.space_prefix && !prepended) || self.merge_spaces {
                        out.extend_from_slice(self.space);
                        prepended = true;
                    }
                }
                out.push(byte);
            }
        };
        let mut i = 0;
        while i < raw.len() {
            let next = raw.get(i + 1).copied().unwrap_or(0);
            if self.charsmap.keeps(raw[i], next)
                && self.user_defined.child(self.user_defined.root(), raw[i]).is_none()
            {
                push(&raw[i..=i]);
                i += 1;
                continue;
            }
            let rest = &raw[i..];
            // As far as any user-defined token goes along, whether or not it ends there.
            let protected = self.user_defined.depth(rest);
            if protected > 0 {
                push(&rest[..protected]);
                i += protected;
            } else if let Some((len, replacement)) = self.charsmap.longest(rest)? {
                push(replacement);
                i += len;
            } else if let Some(len) = sequence_len(rest) {
                push(&rest[..len]);
                i += len;
            } else {
                push("\u{FFFD}".as_bytes());
                i += 1;
            }
        }
        Ok(())
    }
}

/// The first space of `text` from `start` on, or its end.
#[inline]
fn find_space(text: &[u8], start: usize) -> usize {
    const ONES: u64 = u64::MAX / 0xFF;
    let mut i = start;
    while let Some(chunk) = text[i..].first_chunk::<8>() {
        // Spaces are zeros now; the lowest byte whose borrow sets bit 7 is one.
        let bytes = u64::from_le_bytes(*chunk) ^ (ONES * u64::from(b' '));
        let zeros = bytes.wrapping_sub(ONES) & !bytes & ONES << 7;
        if zeros != 0 {
            return i + zeros.trailing_zeros() as usize / 8;
        }
        i += 8;
    }
    text[i..].iter().position(|&byte| byte == b' ').map_or(text.len(), |n| i + n)
}

/// Makes two unknown tokens in a row one, where the tokens from `before` on join those from `first` on.
fn join_unknown(first: usize, before: usize, unk: Option<TokenId>, out: &mut Vec<TokenId>) {
    if before > first && out[before..].first().copied() == unk && out[before - 1] == out[before] {
        out.remove(before);
    }
}

/// Number of `scores` that add up exactly in double precision in any order; 0 if there is no such number.
fn exact_len(scores: impl Iterator<Item = f64>) -> usize {
    // Every score is a multiple of 2^finest and at most 2^greatest.
    let (mut finest, mut greatest) = (1024i64, -1024i64);
    for score in scores {
        if !score.is_finite() {
            return 0;
        }
        if score == 0.0 {
            continue;
        }
        let bits = score.to_bits();
        let exponent = (bits >> 52 & 0x7FF) as i64;
        if exponent == 0 {
            return 0;
        }
        let mantissa = bits & ((1 << 52) - 1) | 1 << 52;
        finest = finest.min(exponent - 1075 + i64::from(mantissa.trailing_zeros()));
        greatest = greatest.max(exponent - 1022);
    }
    if greatest < finest {
        return usize::MAX;
    }
    // Sums below 2^(53 + finest) are exact.
    let spare = 53 + finest - greatest;
    if spare <= 0 { 0 } else { 1usize.checked_shl(spare as u32).unwrap_or(usize::MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A map that replaces `x` by `replacement`.
    fn map_of_x(replacement: &[u8]) -> Vec<u8> {
        let mut array = [0u32; 256];
        // The root's base is 0, that of `x` is 1, where its value is.
        array[usize::from(b'x')] = u32::from(b'x') | 1 << 8 | 1 << 10;
        array[usize::from(b'x') ^ 1] = 1 << 31;
        let array = array.iter().flat_map(|unit| unit.to_le_bytes());
        let size = 1024u32.to_le_bytes();
        size.into_iter().chain(array).chain(replacement.iter().copied()).chain([0]).collect()
    }

    #[test]
    fn words_give_what_the_whole_text_gives() {
        let texts = ["<unk>", "▁", "a", "b", "c", "▁a", "ab", "▁bc", "é", "(", "b(", "\u{4E00}", "▁中"];
        for replacement in
            ["x", "y", "é", "ab ", "\u{4E00}"].map(str::as_bytes).into_iter().chain([&[0xE4][..]])
        {
            let data = VocabData {
                model: "t5".to_owned(),
                tokens: texts.iter().map(|text| text.as_bytes().to_vec()).collect(),
                scores: Some((0..texts.len()).map(|i| -(i as f32) - 1.0).collect()),
                token_types: Some([2].into_iter().chain([1; 12]).collect()),
                precompiled_charsmap: Some(map_of_x(replacement)),
                ..VocabData::default()
            };
            let vocab = Vocab::new(&data).expect("a sound vocabulary");
            let ugm = Ugm::new(&data, true, true, &vocab).expect("a sound map");
            let mut scratch = Scratch::default();
            for text in [
                "ax b",
                "abxc x a",
                "a(bx)中 xx",
                "x",
                " ab  (x",
                "é(x 中中é",
                "ab(c)ab ab(c) c(ab",
                "b \u{2581}a xb",
            ] {
                // Twice, the second time from the cache.
                for _ in 0..2 {
                    let (mut ids, mut whole, mut normal) = (Vec::new(), Vec::new(), Vec::new());
                    ugm.encode(text.as_bytes(), Some(0), &mut scratch, &mut ids).expect("unknown is there");
                    ugm.normalize(text.as_bytes(), false, &mut normal).expect("a sound map");
                    ugm.best_tokens(&normal, Some(0), &mut Vec::new(), &mut whole).expect("unknown is there");
                    assert_eq!(ids, whole, "{text:?}, x is {replacement:?}");
                }
            }
        }
    }

    #[test]
    fn exactness() {
        assert_eq!(exact_len([-1.0, -2.0].into_iter()), 1 << 51);
        assert_eq!(exact_len([0.0].into_iter()), usize::MAX);
        assert_eq!(exact_len([f64::NAN].into_iter()), 0);
        assert_eq!(exact_len([1e-300, 1.0].into_iter()), 0);
        let score = f64::from(-7.123_456_f32);
        let n = exact_len([score].into_iter());
        assert!((1 << 20..1 << 40).contains(&n), "{n}");
    }
}
