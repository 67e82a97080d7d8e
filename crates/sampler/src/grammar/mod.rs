//! GBNF grammars: text to rules ([`Gbnf`]), matching text ([`Matcher`]), and constraining tokens ([`Grammar`]).
//!
//! Follows llama-grammar.cpp in what is accepted, down to sequences of UTF-8 cut between tokens; the data
//! structures are different ones (see `engine`). Every call does a bounded amount of work and keeps a bounded
//! amount of memory; a grammar that needs more gives [`Error::GrammarLimit`]: texts of grammars end at 4 MiB, 4
//! million elements and groups nested 200 deep; a character or token is taken after at most 10 million stacks, a
//! vocabulary masked after 20 million, a whole text checked after 100 million; less than 400 MB is kept. On a
//! machine of today the worst call takes some seconds.

mod engine;
mod parse;
mod pieces;
mod rules;
mod sampler;
mod trigger;
mod utf8;

pub use pieces::Pieces;
pub use rules::Gbnf;
pub use sampler::Grammar;
pub use trigger::Triggers;

use std::sync::Arc;

use crate::Error;
use engine::{EMPTY_SET, Engine, SetId};
use utf8::Partial;

/// Most stacks looked at while a whole text is checked.
const MAX_CHECK_WORK: usize = 100_000_000;

/// Whether a whole text is a sentence of a grammar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Accepted,
    /// It is the beginning of one, at best.
    Incomplete,
    /// No sentence goes on with the character at this byte offset.
    RejectedAt(usize),
}

/// Matches text against a grammar, piece by piece.
#[derive(Debug, Clone)]
pub struct Matcher {
    engine: Engine,
    set: SetId,
    partial: Partial,
    chars: Vec<u32>,
    strict: bool,
}

impl Gbnf {
    /// Matches a whole text. Besides one step for each character, no more than 100 million stacks are looked at.
    ///
    /// # Errors
    /// [`Error::GrammarLimit`].
    pub fn check(&self, text: &str) -> Result<Verdict, Error> {
        let mut matcher = Matcher::new(self)?;
        let mut work = 0;
        for (at, c) in text.char_indices() {
            if !matcher.accept_char(c as u32)? {
                return Ok(Verdict::RejectedAt(at));
            }
            work += matcher.engine.spent();
            if work > MAX_CHECK_WORK {
                let what = "number of stacks looked at in one text";
                return Err(Error::GrammarLimit { what, limit: MAX_CHECK_WORK });
            }
        }
        Ok(if matcher.may_end() { Verdict::Accepted } else { Verdict::Incomplete })
    }
}

impl Matcher {
    /// Before any text.
    ///
    /// # Errors
    /// [`Error::GrammarLimit`].
    pub fn new(grammar: &Gbnf) -> Result<Self, Error> {
        let mut engine = Engine::new(Arc::clone(&grammar.rules));
        engine.begin();
        let set = engine.start()?;
        let strict = grammar.strict;
        Ok(Self { engine, set, partial: Partial::default(), chars: Vec::new(), strict })
    }

    /// Takes one code point (`llama_grammar_accept`); false when the grammar does not allow it, now and from then
    /// on.
    ///
    /// # Errors
    /// [`Error::GrammarLimit`].
    pub fn accept_char(&mut self, c: u32) -> Result<bool, Error> {
        self.make_room()?;
        self.set = self.engine.next(self.set, c)?;
        Ok(self.set != EMPTY_SET)
    }

    /// Takes bytes, which may begin and end within a character (`llama_grammar_accept_str`).
    ///
    /// # Errors
    /// [`Error::GrammarLimit`].
    pub fn accept_bytes(&mut self, bytes: &[u8]) -> Result<bool, Error> {
        let mut chars = std::mem::take(&mut self.chars);
        self.partial = utf8::decode(bytes, self.partial, &mut chars, self.strict);
        if self.strict && self.partial.n_remain < 0 {
            self.set = EMPTY_SET;
        }
        let done = chars.iter().try_for_each(|&c| self.accept_char(c).map(|_| ()));
        self.chars = chars;
        done?;
        Ok(self.set != EMPTY_SET)
    }

    /// Whether the text so far is a sentence.
    pub fn may_end(&self) -> bool {
        self.engine.is_complete(self.set)
    }

    /// Starts a call, and drops what is remembered when it grew large.
    fn make_room(&mut self) -> Result<(), Error> {
        self.engine.begin();
        if self.engine.is_crowded() {
            self.set = self.engine.rebase(self.set)?;
        }
        Ok(())
    }
}
