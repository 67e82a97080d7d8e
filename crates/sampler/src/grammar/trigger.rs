//! What wakes a lazy grammar: words, tokens and patterns.
//!
//! Words and patterns need the feature `regex`; without it they are errors.

use crate::TokenId;

#[cfg(feature = "regex")]
pub(crate) use pattern::Pattern;
#[cfg(not(feature = "regex"))]
pub(crate) use without::Pattern;

/// When a lazy grammar begins to constrain (`llama_sampler_init_grammar_lazy_patterns` and its older forms).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Triggers {
    /// Texts; the grammar is given the text from the first of them on.
    pub words: Vec<String>,
    /// Tokens; the grammar is given the token and what follows.
    pub tokens: Vec<TokenId>,
    /// ECMAScript patterns without look-around and back references, searched in all text so far; the grammar is
    /// given the text from the first group that matched something, or from the match. A pattern in `^` and `$`
    /// is tried on the whole text first.
    pub patterns: Vec<String>,
}

#[cfg(not(feature = "regex"))]
mod without {
    use crate::Error;

    /// No pattern: this build has none.
    #[derive(Debug, Clone)]
    pub(crate) enum Pattern {}

    impl Pattern {
        pub(crate) fn new(pattern: &str) -> Result<Self, Error> {
            let message = "this build has no feature 'regex'".to_owned();
            Err(Error::TriggerPattern { pattern: pattern.to_owned(), message })
        }

        pub(crate) fn for_words(words: &[String]) -> Result<Self, Error> {
            Self::new(&words.join("|"))
        }

        pub(crate) fn find(&self, _text: &[u8]) -> Option<usize> {
            match *self {}
        }
    }
}

#[cfg(feature = "regex")]
#[path = "trigger_pattern.rs"]
mod pattern;
