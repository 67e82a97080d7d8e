//! What can be asked of a vocabulary: texts, scores and attributes by id, ids by text, special tokens, flags.

use crate::tokenizer::Tokenizer;
use crate::vocab::Vocab;
use crate::{Error, SpecialTokens, TokenAttr, TokenId, VocabType};

impl Tokenizer {
    /// The family.
    pub fn vocab_type(&self) -> VocabType {
        self.inner.family
    }

    /// Number of token ids (`llama_vocab_n_tokens`).
    pub fn n_tokens(&self) -> usize {
        self.inner.n_tokens
    }

    /// Number of segment types of BERT-like models, 0 for others.
    pub fn n_token_types(&self) -> u32 {
        self.inner.n_token_types
    }

    /// Ids of special tokens.
    pub fn special_tokens(&self) -> &SpecialTokens {
        &self.inner.special
    }

    /// Whether `token` ends generation (`llama_vocab_is_eog`); ids out of range do not.
    pub fn is_eog(&self, token: TokenId) -> bool {
        self.inner.eog.contains(&token)
    }

    /// The tokens that end generation, ascending.
    pub fn eog_tokens(&self) -> impl Iterator<Item = TokenId> + '_ {
        self.inner.eog.iter().copied()
    }

    /// Tokens that the model's file asks never to sample.
    pub fn suppressed_tokens(&self) -> &[TokenId] {
        &self.inner.suppressed
    }

    /// Text of a token as the vocabulary writes it (`llama_vocab_get_text`); may be invalid UTF-8.
    ///
    /// # Errors
    /// [`Error::NoVocab`], [`Error::TokenOutOfRange`].
    pub fn text(&self, token: TokenId) -> Result<&[u8], Error> {
        self.in_vocab(token).map(|vocab| vocab.text(token))
    }

    /// Score of a token (`llama_vocab_get_score`); 0 where the file has none.
    ///
    /// # Errors
    /// [`Error::NoVocab`], [`Error::TokenOutOfRange`].
    pub fn score(&self, token: TokenId) -> Result<f32, Error> {
        self.in_vocab(token).map(|vocab| vocab.score(token))
    }

    /// Attributes of a token (`llama_vocab_get_attr`).
    ///
    /// # Errors
    /// [`Error::NoVocab`], [`Error::TokenOutOfRange`].
    pub fn attr(&self, token: TokenId) -> Result<TokenAttr, Error> {
        self.in_vocab(token).map(|vocab| vocab.attr(token))
    }

    /// Id of the token with exactly this text.
    pub fn id_of(&self, text: &[u8]) -> Option<TokenId> {
        self.inner.vocab.id_of(text)
    }

    /// Whether sequences begin with BOS (`llama_vocab_get_add_bos`).
    pub fn add_bos(&self) -> bool {
        self.inner.flags.add_bos
    }

    /// Whether sequences end with EOS (`llama_vocab_get_add_eos`).
    pub fn add_eos(&self) -> bool {
        self.inner.flags.add_eos
    }

    /// Whether a separator stands between segments (`llama_vocab_get_add_sep`).
    pub fn add_sep(&self) -> bool {
        self.inner.flags.add_sep
    }

    /// Whether raw text is prefixed with a space.
    pub fn add_space_prefix(&self) -> bool {
        self.inner.flags.add_space_prefix
    }

    /// Whether [`detokenize`](Self::detokenize) removes spaces before punctuation.
    pub fn clean_spaces(&self) -> bool {
        self.inner.flags.clean_spaces
    }

    /// Whether whole words in the vocabulary skip the merges.
    pub fn ignore_merges(&self) -> bool {
        self.inner.flags.ignore_merges
    }

    /// Whether spaces are written as U+2581 before text is tokenized.
    pub fn escape_whitespaces(&self) -> bool {
        self.inner.flags.escape_whitespaces
    }

    /// What is odd about the vocabulary and how it was read nevertheless (the reference's warnings at load).
    pub fn warnings(&self) -> &[String] {
        &self.inner.warnings
    }

    /// Whether `tokens` begin with BOS twice: once added, once written in the text.
    pub fn has_two_bos(&self, tokens: &[TokenId]) -> bool {
        let bos = self.inner.special.bos;
        self.inner.flags.add_bos && bos.is_some() && tokens.len() >= 2 && tokens.get(1).copied() == bos
    }

    /// Whether `tokens` end with EOS twice: once written in the text, once added.
    pub fn has_two_eos(&self, tokens: &[TokenId]) -> bool {
        let eos = self.inner.special.eos;
        self.inner.flags.add_eos && eos.is_some() && tokens.iter().rev().nth(1).copied() == eos
    }

    /// Whether runs of whitespace become one space before a unigram vocabulary sees them.
    pub fn remove_extra_whitespaces(&self) -> bool {
        self.inner.flags.remove_extra_whitespaces
    }

    fn in_vocab(&self, id: TokenId) -> Result<&Vocab, Error> {
        if self.inner.family == VocabType::None {
            return Err(Error::NoVocab);
        }
        self.inner.vocab.check(id).map(|_| &self.inner.vocab)
    }
}
