//! A vocabulary of listed texts, for unit tests.

use crate::{TokenId, Vocabulary};

/// Token `i` stands for `texts[i]`; those of the form `</...>` end generation. Tokenizes greedily, longest first.
#[derive(Debug, Clone)]
pub(crate) struct Texts(pub(crate) Vec<Vec<u8>>);

impl Texts {
    pub(crate) fn new(texts: &[&str]) -> Self {
        Self(texts.iter().map(|t| t.as_bytes().to_vec()).collect())
    }
}

impl Vocabulary for Texts {
    fn n_tokens(&self) -> usize {
        self.0.len()
    }

    fn piece(&self, token: TokenId) -> &[u8] {
        self.0.get(token as usize).map_or(&[], Vec::as_slice)
    }

    fn plain_piece(&self, token: TokenId) -> &[u8] {
        if self.is_eog(token) { &[] } else { self.piece(token) }
    }

    fn is_eog(&self, token: TokenId) -> bool {
        self.piece(token).starts_with(b"</")
    }

    fn end_of_turn(&self) -> Option<TokenId> {
        (0..self.0.len() as TokenId).find(|&t| self.is_eog(t))
    }

    fn tokenize(&self, mut text: &[u8], _parse_special: bool) -> Vec<TokenId> {
        let mut ids = Vec::new();
        while !text.is_empty() {
            let best = (0..self.0.len()).filter(|&i| !self.0[i].is_empty() && text.starts_with(&self.0[i]));
            let Some(best) = best.max_by_key(|&i| self.0[i].len()) else { break };
            ids.push(best as TokenId);
            text = &text[self.0[best].len()..];
        }
        ids
    }

    fn detokenize(&self, token: TokenId) -> Vec<u8> {
        self.piece(token).to_vec()
    }
}
