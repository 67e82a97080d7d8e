//! A vocabulary arranged for grammars: the pieces of all tokens as a trie.

use std::sync::Arc;

use crate::{
    Error, TokenId, Vocabulary,
    grammar::{
        engine::{EMPTY_SET, Engine, SetId},
        utf8::{Partial, Step, until_nul},
    },
};

/// One byte of some pieces. Nodes lie in preorder.
#[derive(Debug, Clone, Copy)]
struct Node {
    /// Where the next node is that does not begin with this one's bytes.
    skip: u32,
    /// Tokens that end here, as a range of `Pieces::tokens`.
    tokens: (u32, u32),
    depth: u16,
    byte: u8,
}

/// A vocabulary and the trie of its pieces, shared by all grammars for it.
///
/// Making one sorts the vocabulary; keep it for as long as the vocabulary is used.
pub struct Pieces {
    vocabulary: Arc<dyn Vocabulary>,
    nodes: Vec<Node>,
    tokens: Vec<TokenId>,
    /// Tokens that end generation.
    ends: Vec<TokenId>,
    depth: usize,
}

impl std::fmt::Debug for Pieces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pieces").field("tokens", &self.tokens.len()).finish_non_exhaustive()
    }
}

/// A bit for each token: whether it is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mask(Box<[u64]>);

impl Mask {
    pub(crate) fn allows(&self, token: TokenId) -> bool {
        let Ok(i) = usize::try_from(token) else { return false };
        self.0.get(i / 64).is_some_and(|word| word >> (i % 64) & 1 == 1)
    }

    fn allow(&mut self, token: TokenId) {
        let i = token as usize;
        self.0[i / 64] |= 1 << (i % 64);
    }
}

/// Where matching stands within a piece.
#[derive(Debug, Clone, Copy)]
struct State {
    set: SetId,
    partial: Partial,
    /// Whether `partial` began in the token before.
    carried: bool,
    /// After a code point 0, which ends a token's text for the reference: nothing is matched any more.
    ended: bool,
    /// Tokens allowed by id from here on, as an index into the list of such lists; 0 is none.
    by_id: u32,
}

/// Lists of (token, "any but") that a state can refer to.
type ByIds = Vec<Vec<(u32, bool)>>;

impl Pieces {
    /// Longer pieces are compared one by one.
    const MAX_DEPTH: usize = 4096;

    /// Reads every piece of the vocabulary.
    pub fn new(vocabulary: Arc<dyn Vocabulary>) -> Self {
        let n = TokenId::try_from(vocabulary.n_tokens()).unwrap_or(TokenId::MAX);
        let (ends, rest): (Vec<TokenId>, Vec<TokenId>) = (0..n).partition(|&token| vocabulary.is_eog(token));
        let text = |token: TokenId| until_nul(vocabulary.piece(token));
        let mut tokens: Vec<TokenId> = rest.into_iter().filter(|&token| !text(token).is_empty()).collect();
        tokens.sort_by(|&a, &b| text(a).cmp(text(b)).then(a.cmp(&b)));

        let mut nodes: Vec<Node> = Vec::new();
        let mut open: Vec<usize> = Vec::new();
        let mut depth = 0;
        for (i, &token) in tokens.iter().enumerate() {
            let piece = text(token);
            let piece = &piece[..piece.len().min(Self::MAX_DEPTH)];
            let shared =
                open.iter().zip(piece).take_while(|(node, byte)| nodes[**node].byte == **byte).count();
            for closed in open.drain(shared..) {
                nodes[closed].skip = nodes.len() as u32;
            }
            for (at, &byte) in piece.iter().enumerate().skip(shared) {
                open.push(nodes.len());
                nodes.push(Node { skip: 0, tokens: (i as u32, i as u32), depth: at as u16, byte });
            }
            depth = depth.max(piece.len());
            if let Some(&last) = open.last() {
                nodes[last].tokens.1 = i as u32 + 1;
            }
        }
        for closed in open {
            nodes[closed].skip = nodes.len() as u32;
        }
        Self { vocabulary, nodes, tokens, ends, depth }
    }

    /// The vocabulary asked.
    pub fn vocabulary(&self) -> &Arc<dyn Vocabulary> {
        &self.vocabulary
    }

    /// All tokens that the grammar allows in the state `set` after the bytes `partial`.
    pub(crate) fn mask(&self, engine: &mut Engine, set: SetId, partial: Partial) -> Result<Mask, Error> {
        let mut mask = Mask(vec![0; self.vocabulary.n_tokens().div_ceil(64)].into());
        if engine.is_complete(set) {
            self.ends.iter().for_each(|&token| mask.allow(token));
        }
        let mut by_ids: ByIds = vec![Vec::new()];
        let start = State { set, partial, carried: partial.n_remain > 0, ended: false, by_id: 0 };
        let mut states = vec![start; self.depth + 1];
        let mut i = 0;
        while let Some(node) = self.nodes.get(i) {
            let depth = node.depth as usize;
            let Some(state) = step(engine, &mut by_ids, states[depth], node.byte)? else {
                i = node.skip as usize;
                continue;
            };
            states[depth + 1] = state;
            let (from, to) = node.tokens;
            if from < to {
                let end = engine.may_end(state.set, state.partial)?;
                for &token in &self.tokens[from as usize..to as usize] {
                    if self.vocabulary.piece(token).len() > Self::MAX_DEPTH {
                        if self.allows(engine, set, partial, token)? {
                            mask.allow(token);
                        }
                    } else if end || allowed_by_id(&by_ids[state.by_id as usize], token) {
                        mask.allow(token);
                    }
                }
            }
            i += 1;
        }
        Ok(mask)
    }

    /// As [`Pieces::mask`], for one token.
    pub(crate) fn allows(
        &self,
        engine: &mut Engine,
        set: SetId,
        partial: Partial,
        token: TokenId,
    ) -> Result<bool, Error> {
        if self.vocabulary.is_eog(token) {
            return Ok(engine.is_complete(set));
        }
        let piece = until_nul(self.vocabulary.piece(token));
        if piece.is_empty() {
            return Ok(false);
        }
        let mut by_ids: ByIds = vec![Vec::new()];
        let mut state = State { set, partial, carried: partial.n_remain > 0, ended: false, by_id: 0 };
        for &byte in piece {
            match step(engine, &mut by_ids, state, byte)? {
                Some(next) => state = next,
                None => return Ok(false),
            }
        }
        Ok(engine.may_end(state.set, state.partial)? || allowed_by_id(&by_ids[state.by_id as usize], token))
    }
}

fn allowed_by_id(list: &[(u32, bool)], token: TokenId) -> bool {
    list.iter().any(|&(id, any_but)| (id == token as u32) != any_but)
}

/// The state after one more byte; `None` where no token that goes on from here can be allowed.
fn step(engine: &mut Engine, by_ids: &mut ByIds, state: State, byte: u8) -> Result<Option<State>, Error> {
    let mut next = state;
    match state.partial.step(byte, state.carried) {
        Step::Invalid => return Ok(None),
        Step::More(partial) => next.partial = partial,
        Step::Char(c) => {
            next.partial = Partial::default();
            next.carried = false;
            next.ended |= c == 0;
            if !next.ended {
                let waiting = engine.tokens(state.set);
                if !waiting.is_empty() {
                    let mut list = by_ids[state.by_id as usize].clone();
                    list.extend_from_slice(waiting);
                    list.sort_unstable();
                    list.dedup();
                    if by_ids[state.by_id as usize] != list {
                        if by_ids.last() != Some(&list) {
                            by_ids.push(list);
                        }
                        next.by_id = by_ids.len() as u32 - 1;
                    }
                }
                next.set = engine.next(state.set, c)?;
            }
        }
    }
    Ok((next.set != EMPTY_SET || next.by_id != 0).then_some(next))
}
