//! Byte-level BPE (`llm_tokenizer_bpe_session`).
//!
//! Merge rules are compiled to numbers once: every string that can come up while merging gets a symbol number,
//! so that the loop compares no strings. Each word costs n log n in its bytes.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use crate::split::{Stage, split};
use crate::text::Text;
use crate::unicode::byte_to_char;
use crate::vocab::Vocab;
use crate::{TokenId, hash::PairHasherBuilder};

/// No symbol: a piece that has been merged into its left neighbour.
const GONE: u32 = u32::MAX;
/// No neighbour.
const END: u32 = u32::MAX;

/// Compiled merges and the pre-tokenizer of a BPE vocabulary.
#[derive(Debug)]
pub(crate) struct Bpe {
    stages: &'static [Stage],
    ignore_merges: bool,
    /// `left << 32 | right` to rank and the symbol of the merged string.
    merges: HashMap<u64, (u32, u32), PairHasherBuilder>,
    /// What a symbol that remains stands for.
    tokens: Vec<SymbolTokens>,
}

/// Tokens of a symbol that is left when no merge applies any more.
#[derive(Debug, Clone, PartialEq, Eq)]
enum SymbolTokens {
    One(TokenId),
    /// The vocabulary lacks the string: one token per byte of it, where there is one.
    Bytes(Box<[TokenId]>),
}

/// A symbol of the word being merged. Its index stays; its neighbours change.
#[derive(Debug, Clone, Copy)]
struct Node {
    symbol: u32,
    prev: u32,
    next: u32,
}

/// A possible merge; ordered by rank, then from left to right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    rank: u32,
    left: u32,
    left_symbol: u32,
    right: u32,
    right_symbol: u32,
    merged: u32,
}

/// Buffers that words share.
#[derive(Default)]
struct Scratch {
    nodes: Vec<Node>,
    queue: BinaryHeap<Reverse<Candidate>>,
    encoded: Vec<u8>,
}

impl Bpe {
    /// Compiles `merges` ("left right", by rank); lines without two parts never apply, like in the reference.
    pub(crate) fn new(
        stages: &'static [Stage],
        ignore_merges: bool,
        merges: &[Vec<u8>],
        vocab: &Vocab,
    ) -> Self {
        let mut symbols = Symbols::default();
        for byte in 0..=255u8 {
            symbols.intern(byte_to_char(byte).to_string().as_bytes());
        }
        let mut compiled = HashMap::with_capacity_and_hasher(merges.len(), PairHasherBuilder::default());
        for (rank, merge) in merges.iter().enumerate() {
            // The parts meet at the first space, but a space in front belongs to the left part.
            let Some(space) = merge.iter().skip(1).position(|&b| b == b' ').map(|i| i + 1) else { continue };
            let (left, right) = (&merge[..space], &merge[space + 1..]);
            if right.is_empty() {
                continue;
            }
            let merged = symbols.intern(&[left, right].concat());
            let key = pair(symbols.intern(left), symbols.intern(right));
            compiled.entry(key).or_insert((rank as u32, merged));
        }
        let tokens = symbols.texts.iter().map(|text| tokens_of(text, vocab)).collect();
        Self { stages, ignore_merges, merges: compiled, tokens }
    }

    /// Appends the tokens of `raw`.
    pub(crate) fn encode(&self, raw: &[u8], vocab: &Vocab, out: &mut Vec<TokenId>) {
        let text = Text::decode(raw);
        let mut scratch = Scratch::default();
        let mut start = 0;
        for end in split(self.stages, &text) {
            self.encode_word(text.word(start..end), vocab, &mut scratch, out);
            start = end;
        }
    }

    fn encode_word(&self, word: &[u8], vocab: &Vocab, scratch: &mut Scratch, out: &mut Vec<TokenId>) {
        if self.ignore_merges {
            scratch.encoded.clear();
            for &byte in word {
                let mut utf8 = [0; 4];
                scratch.encoded.extend_from_slice(byte_to_char(byte).encode_utf8(&mut utf8).as_bytes());
            }
            if let Some(id) = vocab.id_of(&scratch.encoded) {
                out.push(id);
                return;
            }
        }
        self.merge(word, scratch);
        for node in &scratch.nodes {
            if node.symbol != GONE {
                match &self.tokens[node.symbol as usize] {
                    SymbolTokens::One(id) => out.push(*id),
                    SymbolTokens::Bytes(ids) => out.extend_from_slice(ids),
                }
            }
        }
    }

    /// Merges the bytes of `word` for as long as a rule applies, lowest rank first, then leftmost.
    fn merge(&self, word: &[u8], Scratch { nodes, queue, .. }: &mut Scratch) {
        nodes.clear();
        queue.clear();
        // A byte's symbol is its number: they were interned first.
        nodes.extend(word.iter().enumerate().map(|(i, &byte)| Node {
            symbol: u32::from(byte),
            prev: if i == 0 { END } else { i as u32 - 1 },
            next: if i + 1 == word.len() { END } else { i as u32 + 1 },
        }));
        for left in 0..nodes.len().saturating_sub(1) as u32 {
            self.push_candidate(nodes, queue, left, left + 1);
        }
        while let Some(Reverse(candidate)) = queue.pop() {
            let (left, right) = (candidate.left, candidate.right);
            if nodes[left as usize].symbol != candidate.left_symbol
                || nodes[right as usize].symbol != candidate.right_symbol
            {
                continue;
            }
            let next = nodes[right as usize].next;
            nodes[right as usize].symbol = GONE;
            nodes[left as usize].symbol = candidate.merged;
            nodes[left as usize].next = next;
            if next != END {
                nodes[next as usize].prev = left;
            }
            self.push_candidate(nodes, queue, nodes[left as usize].prev, left);
            self.push_candidate(nodes, queue, left, next);
        }
    }

    fn push_candidate(
        &self,
        nodes: &[Node],
        queue: &mut BinaryHeap<Reverse<Candidate>>,
        left: u32,
        right: u32,
    ) {
        if left == END || right == END {
            return;
        }
        let (left_symbol, right_symbol) = (nodes[left as usize].symbol, nodes[right as usize].symbol);
        if let Some(&(rank, merged)) = self.merges.get(&pair(left_symbol, right_symbol)) {
            queue.push(Reverse(Candidate { rank, left, left_symbol, right, right_symbol, merged }));
        }
    }
}

fn pair(left: u32, right: u32) -> u64 {
    u64::from(left) << 32 | u64::from(right)
}

/// Tokens of a final symbol: its own, or else those of its bytes as one-byte texts.
fn tokens_of(text: &[u8], vocab: &Vocab) -> SymbolTokens {
    match vocab.id_of(text) {
        Some(id) => SymbolTokens::One(id),
        None => SymbolTokens::Bytes(text.iter().filter_map(|&byte| vocab.id_of(&[byte])).collect()),
    }
}

/// Numbers strings in the order they come.
#[derive(Default)]
struct Symbols {
    numbers: HashMap<Box<[u8]>, u32>,
    texts: Vec<Box<[u8]>>,
}

impl Symbols {
    fn intern(&mut self, text: &[u8]) -> u32 {
        if let Some(&number) = self.numbers.get(text) {
            return number;
        }
        let number = self.texts.len() as u32;
        self.numbers.insert(text.into(), number);
        self.texts.push(text.into());
        number
    }
}
