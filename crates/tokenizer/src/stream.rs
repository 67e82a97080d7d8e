//! Text out of tokens one by one, valid UTF-8 at every step.

use crate::{Error, TokenId, Tokenizer};

/// Turns generated tokens into text as they come.
///
/// A token may end within a character; its bytes are held back until the character is whole. The texts of all
/// [`push`](Self::push) calls and of [`finish`](Self::finish) are together the pieces of the tokens, decoded
/// like [`String::from_utf8_lossy`] decodes them.
#[derive(Debug, Clone)]
pub struct StreamDecoder {
    tokenizer: Tokenizer,
    special: bool,
    /// Bytes of a character not yet complete, at most 3 between calls.
    held: Vec<u8>,
    text: String,
}

impl Tokenizer {
    /// A decoder for tokens that come one by one; `special` shows control tokens by their text.
    pub fn stream(&self, special: bool) -> StreamDecoder {
        StreamDecoder::new(self.clone(), special)
    }
}

impl StreamDecoder {
    fn new(tokenizer: Tokenizer, special: bool) -> Self {
        // Room for all but very long pieces, so that a token allocates nothing.
        Self { tokenizer, special, held: Vec::with_capacity(64), text: String::with_capacity(64) }
    }

    /// The text that `token` completes; empty while a character is incomplete or the token is hidden.
    ///
    /// # Errors
    /// [`Error::TokenOutOfRange`].
    pub fn push(&mut self, token: TokenId) -> Result<&str, Error> {
        self.held.extend_from_slice(self.tokenizer.piece(token, self.special)?);
        self.text.clear();
        let mut done = 0;
        let mut keep = 0;
        for chunk in self.held.utf8_chunks() {
            let bad = chunk.invalid();
            self.text.push_str(chunk.valid());
            done += chunk.valid().len() + bad.len();
            let unfinished = std::str::from_utf8(bad).is_err_and(|error| error.error_len().is_none());
            if unfinished && done == self.held.len() {
                // What comes next may still make a character of it.
                keep = bad.len();
            } else if !bad.is_empty() {
                self.text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        self.held.drain(..done - keep);
        Ok(&self.text)
    }

    /// Ends the text: U+FFFD if a character was left incomplete. The decoder is then as new.
    pub fn finish(&mut self) -> &str {
        self.text.clear();
        self.text.push_str(&String::from_utf8_lossy(&self.held));
        self.held.clear();
        &self.text
    }
}
