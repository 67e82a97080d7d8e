//! A vocabulary of listed texts.
#![allow(dead_code)] // every test file uses a part

use std::sync::Arc;

use quipu_sampler::{TokenId, Vocabulary};
use quipu_testing::SplitMix;

/// Token `i` stands for `texts[i]`; those of the form `</...>` end generation.
pub struct Texts(pub Vec<Vec<u8>>);

impl Texts {
    pub fn shared(texts: &[&str]) -> Arc<dyn Vocabulary> {
        Arc::new(Self(texts.iter().map(|text| text.as_bytes().to_vec()).collect()))
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
        self.piece(token).starts_with(b"</") && self.piece(token).ends_with(b">")
    }

    fn end_of_turn(&self) -> Option<TokenId> {
        (0..self.0.len() as TokenId).find(|&token| self.is_eog(token))
    }

    /// Greedily, the longest first; stops where nothing fits.
    fn tokenize(&self, mut text: &[u8], _parse_special: bool) -> Vec<TokenId> {
        let mut ids = Vec::new();
        while !text.is_empty() {
            let fits = (0..self.0.len()).filter(|&i| !self.0[i].is_empty() && text.starts_with(&self.0[i]));
            let Some(longest) = fits.max_by_key(|&i| self.0[i].len()) else { break };
            ids.push(longest as TokenId);
            text = &text[self.0[longest].len()..];
        }
        ids
    }

    fn detokenize(&self, token: TokenId) -> Vec<u8> {
        self.piece(token).to_vec()
    }
}

/// A logit from -8 to 8.
pub fn logit(random: &mut SplitMix) -> f32 {
    random.signed() * 8.0
}
