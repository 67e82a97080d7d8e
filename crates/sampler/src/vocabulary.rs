//! What DRY, infill and grammars ask a vocabulary, and the tokenizer's answer.

use crate::TokenId;

/// Texts and roles of tokens. Ids run from 0 to `n_tokens() - 1`; others give the empty answer.
pub trait Vocabulary: Send + Sync {
    /// Number of tokens (`llama_vocab_n_tokens`).
    fn n_tokens(&self) -> usize;

    /// Bytes a token stands for, special tokens by their text; a token may be part of a character.
    fn piece(&self, token: TokenId) -> &[u8];

    /// As `piece`, but control and unknown tokens are empty (`llama_token_to_piece` without `special`).
    fn plain_piece(&self, token: TokenId) -> &[u8];

    /// Whether the token ends generation (`llama_vocab_is_eog`).
    fn is_eog(&self, token: TokenId) -> bool;

    /// The end-of-turn token, or else the end of the sequence.
    fn end_of_turn(&self) -> Option<TokenId>;

    /// The token that ends a sequence (`llama_vocab_eos`). Unless told otherwise, the first that ends generation.
    fn end_of_sequence(&self) -> Option<TokenId> {
        let n_tokens = TokenId::try_from(self.n_tokens()).unwrap_or(TokenId::MAX);
        (0..n_tokens).find(|&token| self.is_eog(token))
    }

    /// Tokens never to be sampled (`llama_vocab_get_suppress_tokens`). None unless told otherwise.
    fn suppressed(&self) -> Vec<TokenId> {
        Vec::new()
    }

    /// Ids of `text` without BOS and EOS (`llama_tokenize`); empty where the tokenizer refuses.
    fn tokenize(&self, text: &[u8], parse_special: bool) -> Vec<TokenId>;

    /// Text of this token on its own, special tokens shown (`llama_detokenize`).
    fn detokenize(&self, token: TokenId) -> Vec<u8>;
}

#[cfg(feature = "tokenizer")]
impl Vocabulary for quipu_tokenizer::Tokenizer {
    fn n_tokens(&self) -> usize {
        quipu_tokenizer::Tokenizer::n_tokens(self)
    }

    fn piece(&self, token: TokenId) -> &[u8] {
        quipu_tokenizer::Tokenizer::piece(self, token, true).unwrap_or_default()
    }

    fn plain_piece(&self, token: TokenId) -> &[u8] {
        quipu_tokenizer::Tokenizer::piece(self, token, false).unwrap_or_default()
    }

    fn is_eog(&self, token: TokenId) -> bool {
        quipu_tokenizer::Tokenizer::is_eog(self, token)
    }

    fn end_of_turn(&self) -> Option<TokenId> {
        let special = self.special_tokens();
        special.eot.or(special.eos)
    }

    fn end_of_sequence(&self) -> Option<TokenId> {
        self.special_tokens().eos
    }

    fn suppressed(&self) -> Vec<TokenId> {
        self.suppressed_tokens().to_vec()
    }

    fn tokenize(&self, text: &[u8], parse_special: bool) -> Vec<TokenId> {
        self.encode_bytes(text, false, parse_special).unwrap_or_default()
    }

    fn detokenize(&self, token: TokenId) -> Vec<u8> {
        quipu_tokenizer::Tokenizer::detokenize(self, &[token], false, true).unwrap_or_default()
    }
}
