//! Cuts special tokens out of raw text (`tokenizer_st_partition`).
//!
//! The reference searches the text once per special token, in its order; here one walk over a trie finds where
//! any of them occurs, and the occurrences are then taken in that same order.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use crate::vocab::Vocab;
use crate::{TokenAttr, TokenId, reference_sort};

/// A part of the text: raw bytes still to be tokenized, or a special token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fragment {
    Raw(Range<usize>),
    Token(TokenId),
}

/// The special tokens of a vocabulary, in matching order (long before short), and a trie of their texts.
#[derive(Debug, Default)]
pub(crate) struct SpecialMatcher {
    /// Tokens in matching order.
    pub(crate) order: Vec<TokenId>,
    /// Child of a trie node by byte; node 0 is the root.
    children: HashMap<(u32, u8), u32>,
    /// Whether any text begins with a byte.
    first: Vec<bool>,
    /// Index in `order` of the token that ends at a node.
    ends_at: Vec<Option<u32>>,
}

impl SpecialMatcher {
    /// Collects control, user-defined and unknown tokens.
    pub(crate) fn new(vocab: &Vocab) -> Self {
        let special = TokenAttr::CONTROL | TokenAttr::USER_DEFINED | TokenAttr::UNKNOWN;
        let mut order: Vec<TokenId> =
            (0..vocab.len() as TokenId).filter(|&id| vocab.attr(id).intersects(special)).collect();
        reference_sort::sort(&mut order, |a, b| vocab.text(a).len() > vocab.text(b).len());

        let mut matcher =
            Self { order, children: HashMap::new(), first: vec![false; 256], ends_at: vec![None] };
        for rank in 0..matcher.order.len() {
            let text = vocab.text(matcher.order[rank]);
            matcher.first[text[0] as usize] = true;
            let mut node = 0;
            for &byte in text {
                let fresh = matcher.ends_at.len() as u32;
                node = *matcher.children.entry((node, byte)).or_insert(fresh);
                if node == fresh {
                    matcher.ends_at.push(None);
                }
            }
            matcher.ends_at[node as usize] = Some(rank as u32);
        }
        matcher
    }

    /// Cuts `text` into fragments; without `parse_special` only user-defined tokens are cut out.
    pub(crate) fn partition(&self, text: &[u8], vocab: &Vocab, parse_special: bool) -> Vec<Fragment> {
        if text.is_empty() {
            return Vec::new();
        }
        let mut found = self.occurrences(text, vocab, parse_special);
        if found.is_empty() {
            return vec![Fragment::Raw(0..text.len())];
        }
        found.sort_unstable();

        // Fragments by start: their end, and the token if they are one.
        let mut fragments = BTreeMap::from([(0, (text.len(), None))]);
        for (rank, start) in found {
            let id = self.order[rank as usize];
            let end = start + vocab.text(id).len();
            let around = fragments.range(..=start).next_back().map(|(&s, &(e, token))| (s, e, token));
            let Some((raw_start, raw_end, None)) = around else { continue };
            if end > raw_end {
                continue;
            }
            let attr = vocab.attr(id);
            fragments.remove(&raw_start);
            let (mut left_end, mut right_start) = (start, end);
            if attr.intersects(TokenAttr::LSTRIP) {
                while left_end > raw_start && is_space(text[left_end - 1]) {
                    left_end -= 1;
                }
            }
            if attr.intersects(TokenAttr::RSTRIP) {
                while right_start < raw_end && is_space(text[right_start]) {
                    right_start += 1;
                }
            }
            if raw_start < left_end {
                fragments.insert(raw_start, (left_end, None));
            }
            fragments.insert(start, (end, Some(id)));
            if right_start < raw_end {
                fragments.insert(right_start, (raw_end, None));
            }
        }
        fragments
            .into_iter()
            .map(|(start, (end, token))| token.map_or(Fragment::Raw(start..end), Fragment::Token))
            .collect()
    }

    /// Every `(index in order, position)` at which a token may be cut out.
    fn occurrences(&self, text: &[u8], vocab: &Vocab, parse_special: bool) -> Vec<(u32, usize)> {
        let hidden = TokenAttr::CONTROL | TokenAttr::UNKNOWN;
        let mut found = Vec::new();
        if self.order.is_empty() {
            return found;
        }
        for start in 0..text.len() {
            if !self.first[text[start] as usize] {
                continue;
            }
            let mut node = 0;
            for &byte in &text[start..] {
                let Some(&child) = self.children.get(&(node, byte)) else { break };
                node = child;
                if let Some(rank) = self.ends_at[node as usize] {
                    let attr = vocab.attr(self.order[rank as usize]);
                    if parse_special || !attr.intersects(hidden) {
                        found.push((rank, start));
                    }
                }
            }
        }
        found
    }
}

/// `isspace` of the C locale.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | 0x09..=0x0D)
}
