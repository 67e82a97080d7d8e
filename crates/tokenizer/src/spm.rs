//! SentencePiece BPE (`llm_tokenizer_spm_session`): characters are joined to the best-scored token that two
//! neighbours form, until none do; what is no token then falls back to bytes.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::unicode::utf8_len;
use crate::vocab::Vocab;
use crate::{Error, TokenId};

const END: u32 = u32::MAX;

/// A piece of the text; its index stays while its length grows. Length 0: merged into its left neighbour.
#[derive(Debug, Clone, Copy)]
struct Node {
    start: u32,
    len: u32,
    prev: u32,
    next: u32,
}

/// Two neighbours that form a token; the greatest is the best-scored, among equals the leftmost.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    score: f32,
    left: u32,
    right: u32,
    len: u32,
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        // Adding zero makes -0 equal to 0.
        (self.score + 0.0).total_cmp(&(other.score + 0.0)).then(other.left.cmp(&self.left))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Candidate {}

/// The escaped space.
const SPACE: &[u8] = "▁".as_bytes();

/// What the merging needs to know about an SPM vocabulary.
#[derive(Debug)]
pub(crate) struct Spm {
    /// No token has a space after anything but spaces. Nothing can then be joined across the start of a word,
    /// so that words are merged one by one, which is the same and keeps the queue short.
    by_word: bool,
}

impl Spm {
    pub(crate) fn new(vocab: &Vocab) -> Self {
        let inner_space = |text: &[u8]| {
            (1..text.len()).any(|i| text[i..].starts_with(SPACE) && !text[..i].ends_with(SPACE))
        };
        Self { by_word: !(0..vocab.len() as TokenId).any(|id| inner_space(vocab.text(id))) }
    }

    /// Appends the tokens of `raw`, in which spaces are replaced by U+2581, with one more in front if
    /// `space_prefix`. Fails where a byte has no token.
    pub(crate) fn encode(
        &self,
        raw: &[u8],
        space_prefix: bool,
        vocab: &Vocab,
        out: &mut Vec<TokenId>,
    ) -> Result<(), Error> {
        let mut text = Vec::with_capacity(raw.len() + raw.len() / 2);
        if space_prefix {
            text.extend_from_slice(SPACE);
        }
        for &byte in raw {
            if byte == b' ' { text.extend_from_slice(SPACE) } else { text.push(byte) }
        }

        let mut nodes = characters(&text);
        let mut queue = BinaryHeap::new();
        let mut start = 0;
        while start < nodes.len() {
            let end = if self.by_word { word_end(&text, &nodes, start) } else { nodes.len() };
            nodes[start].prev = END;
            nodes[end - 1].next = END;
            for left in start as u32..end as u32 - 1 {
                push_candidate(&text, &nodes, vocab, &mut queue, left, left + 1);
            }
            merge(&text, &mut nodes, vocab, &mut queue);
            start = end;
        }

        for node in nodes.iter().filter(|node| node.len > 0) {
            let piece = span(&text, node.start, node.len);
            match vocab.id_of(piece) {
                Some(id) => out.push(id),
                None => {
                    for &byte in piece {
                        out.push(byte_token(byte, vocab)?);
                    }
                }
            }
        }
        Ok(())
    }
}

/// First node after `start` that is a space following something else, or the end.
fn word_end(text: &[u8], nodes: &[Node], start: usize) -> usize {
    let bytes = |i: usize| span(text, nodes[i].start, nodes[i].len);
    (start + 1..nodes.len())
        .find(|&i| bytes(i) == SPACE && !bytes(i - 1).ends_with(SPACE))
        .unwrap_or(nodes.len())
}

/// Joins neighbours until the queue is empty.
fn merge(text: &[u8], nodes: &mut [Node], vocab: &Vocab, queue: &mut BinaryHeap<Candidate>) {
    while let Some(Candidate { left, right, len, .. }) = queue.pop() {
        let (l, r) = (nodes[left as usize], nodes[right as usize]);
        if l.len == 0 || r.len == 0 || l.len + r.len != len {
            continue;
        }
        nodes[left as usize].len = len;
        nodes[left as usize].next = r.next;
        nodes[right as usize].len = 0;
        if r.next != END {
            nodes[r.next as usize].prev = left;
        }
        push_candidate(text, nodes, vocab, queue, l.prev, left);
        push_candidate(text, nodes, vocab, queue, left, r.next);
    }
}

/// Token of a byte: `<0xXX>`, or else the byte as a text (`llama_vocab::byte_to_token`).
pub(crate) fn byte_token(byte: u8, vocab: &Vocab) -> Result<TokenId, Error> {
    vocab
        .id_of(format!("<0x{byte:02X}>").as_bytes())
        .or_else(|| vocab.id_of(&[byte]))
        .ok_or(Error::MissingByteToken(byte))
}

/// One node per character, cut by the length its first byte announces.
fn characters(text: &[u8]) -> Vec<Node> {
    let mut nodes = Vec::with_capacity(text.len());
    let mut start = 0;
    while start < text.len() {
        let len = utf8_len(text[start]).min(text.len() - start);
        let index = nodes.len() as u32;
        let prev = index.checked_sub(1).unwrap_or(END);
        let next = if start + len == text.len() { END } else { index + 1 };
        nodes.push(Node { start: start as u32, len: len as u32, prev, next });
        start += len;
    }
    nodes
}

fn span(text: &[u8], start: u32, len: u32) -> &[u8] {
    &text[start as usize..(start + len) as usize]
}

fn push_candidate(
    text: &[u8],
    nodes: &[Node],
    vocab: &Vocab,
    queue: &mut BinaryHeap<Candidate>,
    left: u32,
    right: u32,
) {
    if left == END || right == END {
        return;
    }
    let (l, r) = (nodes[left as usize], nodes[right as usize]);
    let len = l.len + r.len;
    if len as usize > vocab.max_text_len() {
        return;
    }
    if let Some(id) = vocab.id_of(span(text, l.start, len)) {
        queue.push(Candidate { score: vocab.score(id), left, right, len });
    }
}
