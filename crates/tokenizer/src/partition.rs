//! Cuts special tokens out of raw text (`tokenizer_st_partition`).
//!
//! The reference searches the text once per special token, long tokens first. Here one walk over a trie finds where
//! any of them occurs. Where only one does, it is taken; where several overlap, they are searched for in the
//! reference's order, but only there.

use std::ops::Range;

use crate::trie::Trie;
use crate::vocab::Vocab;
use crate::{TokenAttr, TokenId};

/// A part of the text: raw bytes still to be tokenized, or a special token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fragment {
    Raw(Range<usize>),
    Token(TokenId),
}

/// The special tokens of a vocabulary and a trie of their texts.
#[derive(Debug, Default)]
pub(crate) struct SpecialMatcher {
    /// Tokens in matching order; a rank is an index of it.
    order: Vec<TokenId>,
    /// Ranks by text.
    trie: Trie,
    /// By rank: only read with `parse_special`.
    hidden: Vec<bool>,
    /// Whether the text of any token begins with a byte: of those always read, of all.
    first: [Vec<bool>; 2],
    /// Some token takes the whitespace beside it along.
    strips: bool,
}

/// Control, user-defined and unknown tokens in matching order: long before short.
pub(crate) fn matching_order(vocab: &Vocab) -> Vec<TokenId> {
    let special = TokenAttr::CONTROL | TokenAttr::USER_DEFINED | TokenAttr::UNKNOWN;
    let mut order: Vec<TokenId> =
        (0..vocab.len() as TokenId).filter(|&id| vocab.attr(id).intersects(special)).collect();
    quipu_std_sort::sort_by(&mut order, |a, b| vocab.text(a).len() > vocab.text(b).len());
    order
}

impl SpecialMatcher {
    /// Prepares for the tokens of [`matching_order`].
    pub(crate) fn new(order: Vec<TokenId>, vocab: &Vocab) -> Self {
        let is = |&id: &TokenId, attr| vocab.attr(id).intersects(attr);
        let hidden: Vec<bool> =
            order.iter().map(|id| is(id, TokenAttr::CONTROL | TokenAttr::UNKNOWN)).collect();
        let mut first = [Vec::new(), Vec::new()];
        for (&id, &hidden) in order.iter().zip(&hidden) {
            for (all, first) in [false, true].into_iter().zip(&mut first) {
                if all || !hidden {
                    first.resize(256, false);
                    first[usize::from(vocab.text(id)[0])] = true;
                }
            }
        }
        Self {
            strips: order.iter().any(|id| is(id, TokenAttr::LSTRIP | TokenAttr::RSTRIP)),
            trie: Trie::new(order.iter().map(|&id| vocab.text(id)).zip(0..)),
            order,
            hidden,
            first,
        }
    }

    /// Cuts `text` into fragments; without `parse_special` only user-defined tokens are cut out.
    pub(crate) fn partition(&self, text: &[u8], vocab: &Vocab, parse_special: bool) -> Vec<Fragment> {
        let first = &self.first[usize::from(parse_special)];
        let mut fragments = Vec::new();
        let mut raw_start = 0;
        let mut at = 0;
        while !first.is_empty()
            && let Some(skipped) = text[at..].iter().position(|&byte| first[usize::from(byte)])
        {
            at += skipped;
            let mut cluster = Cluster { start: at, end: at, n: 0, ranks: Vec::new() };
            while at < text.len() && (at < cluster.end || cluster.n == 0) {
                if first[usize::from(text[at])] {
                    self.occurrences(text, at, parse_special, &mut cluster);
                }
                at += 1;
                if cluster.n == 0 {
                    break;
                }
            }
            if cluster.n == 0 {
                continue;
            }
            if self.strips {
                // Whitespace beside a token may belong to another: look at the whole text at once.
                while at < text.len() {
                    if first[usize::from(text[at])] {
                        self.occurrences(text, at, parse_special, &mut cluster);
                    }
                    at += 1;
                }
                cluster.ranks.sort_unstable();
                cluster.ranks.dedup();
                return self.cut(text, 0..text.len(), &cluster.ranks, vocab);
            }
            at = cluster.end;
            cluster.ranks.sort_unstable();
            cluster.ranks.dedup();
            let parts = match cluster.ranks[..] {
                [rank] if cluster.n == 1 => {
                    raw(&mut fragments, raw_start..cluster.start);
                    fragments.push(Fragment::Token(self.order[rank as usize]));
                    raw_start = cluster.end;
                    continue;
                }
                _ => self.cut(text, cluster.start..cluster.end, &cluster.ranks, vocab),
            };
            let mut end = cluster.start;
            for part in parts {
                match part {
                    // Raw text at the border of the cluster goes on beyond it.
                    Fragment::Raw(range) => end = range.end,
                    Fragment::Token(id) => {
                        raw(&mut fragments, raw_start..end);
                        fragments.push(Fragment::Token(id));
                        end += vocab.text(id).len();
                        raw_start = end;
                    }
                }
            }
        }
        raw(&mut fragments, raw_start..text.len());
        fragments
    }

    /// Adds the tokens that `text` has at `at` to the cluster.
    fn occurrences(&self, text: &[u8], at: usize, parse_special: bool, cluster: &mut Cluster) {
        let mut node = self.trie.root();
        for (i, &byte) in text[at..].iter().enumerate() {
            let Some(next) = self.trie.child(node, byte) else { return };
            node = next;
            if let Some(rank) = node.value()
                && (parse_special || !self.hidden[rank as usize])
            {
                cluster.end = cluster.end.max(at + i + 1);
                cluster.n += 1;
                if cluster.ranks.len() >= 2 * self.order.len() {
                    cluster.ranks.sort_unstable();
                    cluster.ranks.dedup();
                }
                cluster.ranks.push(rank);
            }
        }
    }

    /// Searches `range` of the text for the tokens of `ranks` in order, each only in what the ones before left.
    fn cut(&self, text: &[u8], range: Range<usize>, ranks: &[u32], vocab: &Vocab) -> Vec<Fragment> {
        let mut parts = vec![Fragment::Raw(range)];
        for &rank in ranks {
            let id = self.order[rank as usize];
            let (token, attr) = (vocab.text(id), vocab.attr(id));
            let mut next = Vec::with_capacity(parts.len());
            for part in parts {
                let Fragment::Raw(mut rest) = part else {
                    next.push(part);
                    continue;
                };
                while let Some(start) = find(&text[rest.clone()], token) {
                    let start = rest.start + start;
                    let mut left = rest.start..start;
                    if attr.intersects(TokenAttr::LSTRIP) {
                        while left.end > left.start && is_space(text[left.end - 1]) {
                            left.end -= 1;
                        }
                    }
                    raw(&mut next, left);
                    next.push(Fragment::Token(id));
                    rest.start = start + token.len();
                    if attr.intersects(TokenAttr::RSTRIP) {
                        while rest.start < rest.end && is_space(text[rest.start]) {
                            rest.start += 1;
                        }
                    }
                }
                raw(&mut next, rest);
            }
            parts = next;
        }
        parts
    }
}

/// Tokens that overlap, directly or through others.
struct Cluster {
    start: usize,
    end: usize,
    /// Occurrences.
    n: usize,
    ranks: Vec<u32>,
}

fn raw(fragments: &mut Vec<Fragment>, range: Range<usize>) {
    if !range.is_empty() {
        fragments.push(Fragment::Raw(range));
    }
}

fn find(text: &[u8], token: &[u8]) -> Option<usize> {
    let last = text.len().checked_sub(token.len())?;
    let mut at = 0;
    while at <= last {
        at += text[at..=last].iter().position(|&byte| byte == token[0])?;
        if text[at..].starts_with(token) {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// `isspace` of the C locale.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | 0x09..=0x0D)
}
