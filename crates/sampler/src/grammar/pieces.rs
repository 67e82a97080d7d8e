//! A vocabulary arranged for grammars: the pieces of all tokens as a trie.

use std::collections::HashMap;
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
    /// Tokens whose text is not what the reader sees: never allowed strictly.
    unseen: Vec<TokenId>,
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
        let i = token as usize;
        self.0.get(i / 64).is_some_and(|word| word >> (i % 64) & 1 == 1)
    }

    fn allow(&mut self, token: TokenId) {
        let i = token as usize;
        self.0[i / 64] |= 1 << (i % 64);
    }

    fn forbid(&mut self, token: TokenId) {
        let i = token as usize;
        self.0[i / 64] &= !(1 << (i % 64));
    }
}

/// Whether a token's text is what the reader of the output sees of it.
fn is_seen(vocabulary: &dyn Vocabulary, token: TokenId) -> bool {
    let piece = vocabulary.piece(token);
    piece == vocabulary.plain_piece(token) && !piece.contains(&0)
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

/// Tokens allowed by id, and "any but" these; both sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct IdList {
    ids: Vec<u32>,
    but: Vec<u32>,
}

impl IdList {
    fn allows(&self, token: TokenId) -> bool {
        let id = token;
        let by_but = match self.but[..] {
            [] => false,
            [only] => only != id,
            // Two "any but" are any.
            _ => true,
        };
        by_but || self.ids.binary_search(&id).is_ok()
    }
}

/// The lists that states refer to; the first is empty.
struct ByIds {
    lists: Vec<IdList>,
    /// The list of what a list and a set hold together.
    joined: HashMap<(u32, SetId), u32>,
}

impl ByIds {
    fn new() -> Self {
        Self { lists: vec![IdList::default()], joined: HashMap::new() }
    }

    /// The list `by_id` with what the set waits for.
    fn join(&mut self, engine: &mut Engine, by_id: u32, set: SetId) -> Result<u32, Error> {
        if engine.tokens(set).is_empty() {
            return Ok(by_id);
        }
        if let Some(&known) = self.joined.get(&(by_id, set)) {
            return Ok(known);
        }
        let mut list = self.lists[by_id as usize].clone();
        for &(id, any_but) in engine.tokens(set) {
            if any_but { list.but.push(id) } else { list.ids.push(id) }
        }
        for ids in [&mut list.ids, &mut list.but] {
            engine.spend(ids.len())?;
            ids.sort_unstable();
            ids.dedup();
        }
        let joined = if list == self.lists[by_id as usize] {
            by_id
        } else {
            self.lists.push(list);
            self.lists.len() as u32 - 1
        };
        self.joined.insert((by_id, set), joined);
        Ok(joined)
    }

    fn allows(&self, by_id: u32, token: TokenId) -> bool {
        self.lists[by_id as usize].allows(token)
    }
}

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

        let seen = |token| is_seen(vocabulary.as_ref(), token);
        let unseen = tokens.iter().copied().filter(|&token| !seen(token)).collect();

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
        Self { vocabulary, nodes, tokens, ends, unseen, depth }
    }

    /// The vocabulary asked.
    pub fn vocabulary(&self) -> &Arc<dyn Vocabulary> {
        &self.vocabulary
    }

    /// All tokens that the grammar allows in the state `set` after the bytes `partial`; see [`crate::Gbnf::strict`].
    pub(crate) fn mask(
        &self,
        engine: &mut Engine,
        set: SetId,
        partial: Partial,
        strict: bool,
    ) -> Result<Mask, Error> {
        let mut mask = Mask(vec![0; self.vocabulary.n_tokens().div_ceil(64)].into());
        if engine.is_complete(set) {
            self.ends.iter().for_each(|&token| mask.allow(token));
        }
        let mut by_ids = ByIds::new();
        let start = State { set, partial, carried: partial.n_remain > 0, ended: false, by_id: 0 };
        let mut states = vec![start; self.depth + 1];
        let mut i = 0;
        while let Some(node) = self.nodes.get(i) {
            let depth = node.depth as usize;
            let Some(state) = step(engine, &mut by_ids, states[depth], node.byte, strict)? else {
                i = node.skip as usize;
                continue;
            };
            states[depth + 1] = state;
            let (from, to) = node.tokens;
            if from < to {
                let end = engine.may_end(state.set, state.partial)?;
                for &token in &self.tokens[from as usize..to as usize] {
                    if self.vocabulary.piece(token).len() > Self::MAX_DEPTH {
                        if self.allows(engine, set, partial, token, strict)? {
                            mask.allow(token);
                        }
                    } else if end || by_ids.allows(state.by_id, token) {
                        mask.allow(token);
                    }
                }
            }
            i += 1;
        }
        if strict {
            self.unseen.iter().for_each(|&token| mask.forbid(token));
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
        strict: bool,
    ) -> Result<bool, Error> {
        if self.vocabulary.is_eog(token) {
            return Ok(engine.is_complete(set));
        }
        if strict && !is_seen(self.vocabulary.as_ref(), token) {
            return Ok(false);
        }
        let piece = until_nul(self.vocabulary.piece(token));
        if piece.is_empty() {
            return Ok(false);
        }
        let mut by_ids = ByIds::new();
        let mut state = State { set, partial, carried: partial.n_remain > 0, ended: false, by_id: 0 };
        for &byte in piece {
            match step(engine, &mut by_ids, state, byte, strict)? {
                Some(next) => state = next,
                None => return Ok(false),
            }
        }
        Ok(engine.may_end(state.set, state.partial)? || by_ids.allows(state.by_id, token))
    }
}

/// The state after one more byte; `None` where no token that goes on from here can be allowed.
fn step(
    engine: &mut Engine,
    by_ids: &mut ByIds,
    state: State,
    byte: u8,
    strict: bool,
) -> Result<Option<State>, Error> {
    let mut next = state;
    match state.partial.step(byte, state.carried, strict) {
        Step::Invalid => return Ok(None),
        Step::More(partial) => next.partial = partial,
        Step::Char(c) => {
            next.partial = Partial::default();
            next.carried = false;
            next.ended |= c == 0;
            if !next.ended {
                next.by_id = by_ids.join(engine, state.by_id, state.set)?;
                next.set = engine.next(state.set, c)?;
            }
        }
    }
    Ok((next.set != EMPTY_SET || next.by_id != 0).then_some(next))
}
