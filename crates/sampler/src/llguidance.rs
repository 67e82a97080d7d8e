//! Constraints by the llguidance crate: JSON schemas, Lark grammars and regular expressions (feature `llguidance`).
//!
//! Answers to common/llguidance.cpp. A token's bytes are its piece here, also at the beginning of a text, where the
//! reference asks its detokenizer and loses a leading space of vocabularies that add one.
//!
//! Bounds are the crate's own defaults: `ParserLimits` of a parser caps the Earley items of a row, the states and
//! the fuel of its lexer, and the size of a grammar. What passes them is [`Error::Llguidance`].

use std::sync::Arc;

use llguidance::{
    Matcher, ParserFactory,
    api::TopLevelGrammar,
    panic_utils::catch_unwind,
    toktrie::{INVALID_TOKEN, SimpleVob, TokEnv, TokRxInfo, TokTrie, TokenId as LlgToken, TokenizerEnv},
};

use crate::{Candidates, Error, Sampler, TokenId, Vocabulary};

/// Pieces longer than this are never allowed: the crate's trie is not built for them.
const MAX_PIECE: usize = 1000;

/// A vocabulary arranged for llguidance, shared by all its constraints (`LlgTokenizer`).
///
/// Making one sorts the vocabulary; keep it for as long as the vocabulary is used.
#[derive(Clone)]
pub struct LlTokens {
    factory: Arc<ParserFactory>,
}

impl std::fmt::Debug for LlTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LlTokens").finish_non_exhaustive()
    }
}

/// What llguidance asks a tokenizer.
struct Environment {
    trie: TokTrie,
    vocabulary: Arc<dyn Vocabulary>,
}

impl TokenizerEnv for Environment {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, text: &[u8]) -> Vec<LlgToken> {
        let tokenize = |text: &str| -> Vec<LlgToken> { self.vocabulary.tokenize(text.as_bytes(), true) };
        self.trie.tokenize_with_greedy_fallback(text, tokenize)
    }
}

impl LlTokens {
    /// Reads every piece of the vocabulary.
    ///
    /// # Errors
    /// [`Error::Llguidance`] for a vocabulary that llguidance cannot hold.
    pub fn new(vocabulary: &Arc<dyn Vocabulary>) -> Result<Self, Error> {
        let n_tokens = TokenId::try_from(vocabulary.n_tokens()).unwrap_or(TokenId::MAX);
        let words: Vec<Vec<u8>> = (0..n_tokens).map(|token| word(vocabulary.as_ref(), token)).collect();
        let eos = vocabulary.end_of_turn();
        let vocabulary = Arc::clone(vocabulary);
        let factory = catch_unwind(std::panic::AssertUnwindSafe(|| {
            let info = TokRxInfo::new(words.len() as u32, eos.unwrap_or(INVALID_TOKEN));
            let trie = TokTrie::from(&info, &words);
            let environment: TokEnv = Arc::new(Environment { trie, vocabulary });
            let mut factory = ParserFactory::new_simple(&environment)?;
            factory.quiet();
            Ok(factory)
        }));
        Ok(Self { factory: Arc::new(factory.map_err(|error| refused(&error))?) })
    }
}

/// A token's bytes; special tokens carry a mark.
fn word(vocabulary: &dyn Vocabulary, token: TokenId) -> Vec<u8> {
    let plain = vocabulary.plain_piece(token);
    let word = if plain.is_empty() {
        let special = vocabulary.piece(token);
        if special.is_empty() { Vec::new() } else { [&[TokTrie::SPECIAL_TOKEN_MARKER], special].concat() }
    } else {
        plain.to_vec()
    };
    if word.len() > MAX_PIECE { Vec::new() } else { word }
}

/// Sets the logits of tokens that a schema, Lark grammar or regular expression does not allow to `-inf`
/// (`llama_sampler_init_llg`).
///
/// [`Sampler::accept`] cannot fail. After a token that does not fit, every [`Sampler::apply`] returns the error until
/// [`Sampler::reset`] (the reference stops constraining); [`LlGuidance::accept_token`] returns it at once.
pub struct LlGuidance {
    start: Matcher,
    now: Matcher,
    /// The tokens allowed next, once asked for.
    mask: Option<SimpleVob>,
    failure: Option<Error>,
}

impl std::fmt::Debug for LlGuidance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LlGuidance").field("failure", &self.failure).finish_non_exhaustive()
    }
}

impl Clone for LlGuidance {
    fn clone(&self) -> Self {
        Self {
            start: self.start.deep_clone(),
            now: self.now.deep_clone(),
            mask: self.mask.clone(),
            failure: self.failure.clone(),
        }
    }
}

impl LlGuidance {
    /// Texts of a grammar in llguidance's variant of Lark.
    ///
    /// # Errors
    /// [`Error::Llguidance`].
    pub fn lark(tokens: &LlTokens, grammar: &str) -> Result<Self, Error> {
        Self::new(tokens, "lark", grammar)
    }

    /// Texts that a JSON schema describes.
    ///
    /// # Errors
    /// [`Error::Llguidance`].
    pub fn json_schema(tokens: &LlTokens, schema: &str) -> Result<Self, Error> {
        Self::new(tokens, "json_schema", schema)
    }

    /// Texts that a regular expression matches as a whole.
    ///
    /// # Errors
    /// [`Error::Llguidance`].
    pub fn regex(tokens: &LlTokens, pattern: &str) -> Result<Self, Error> {
        Self::new(tokens, "regex", pattern)
    }

    fn new(tokens: &LlTokens, kind: &str, text: &str) -> Result<Self, Error> {
        let parser = catch_unwind(std::panic::AssertUnwindSafe(|| {
            let grammar = TopLevelGrammar::from_tagged_str(kind, text)?;
            tokens.factory.create_parser(grammar)
        }));
        let start = Matcher::new(parser);
        if let Some(error) = start.get_error() {
            return Err(refused(&error));
        }
        Ok(Self { now: start.deep_clone(), start, mask: None, failure: None })
    }

    /// Whether this token may come next.
    ///
    /// # Errors
    /// [`Error::Llguidance`], and the error of an earlier token.
    pub fn allows(&mut self, token: TokenId) -> Result<bool, Error> {
        Ok(is_allowed(self.mask()?, token))
    }

    /// Takes a token.
    ///
    /// # Errors
    /// [`Error::Llguidance`] for one that does not fit.
    pub fn accept_token(&mut self, token: TokenId) -> Result<(), Error> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        if self.now.is_stopped() {
            // Nothing can follow but the end, which the crate does not take any more.
            let ends = self.allows(token)?;
            return if ends { Ok(()) } else { Err(self.fail(&"the text has ended, expected the end token")) };
        }
        self.mask = None;
        let taken = self.now.consume_token(token);
        taken.map_err(|error| self.fail(&error))
    }

    /// Whether the text so far may end here.
    ///
    /// # Errors
    /// As [`LlGuidance::allows`].
    pub fn may_end(&mut self) -> Result<bool, Error> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        if self.now.is_stopped() {
            return Ok(true);
        }
        self.now.is_accepting().map_err(|error| self.fail(&error))
    }

    fn mask(&mut self) -> Result<&SimpleVob, Error> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let mask = match self.mask.take() {
            Some(mask) => mask,
            None => self.now.compute_mask_or_eos().map_err(|error| self.fail(&error))?,
        };
        Ok(self.mask.insert(mask))
    }

    fn fail(&mut self, error: &impl ToString) -> Error {
        self.failure.insert(refused(error)).clone()
    }
}

fn is_allowed(mask: &SimpleVob, token: TokenId) -> bool {
    (token as usize) < mask.len() && mask.is_allowed(token)
}

/// The first line: more of it shows the parser's state.
fn refused(error: &impl ToString) -> Error {
    let text = error.to_string();
    Error::Llguidance { message: text.lines().next().unwrap_or_default().to_owned() }
}

impl Sampler for LlGuidance {
    fn name(&self) -> &'static str {
        "llguidance"
    }

    /// # Errors
    /// [`Error::Llguidance`], and the error of an earlier [`Sampler::accept`].
    fn apply(&mut self, candidates: &mut Candidates) -> Result<(), Error> {
        let mask = self.mask()?;
        for c in &mut candidates.data {
            if !is_allowed(mask, c.id) {
                c.logit = f32::NEG_INFINITY;
            }
        }
        Ok(())
    }

    fn accept(&mut self, token: TokenId) {
        // Kept in `failure`, and returned by the next apply.
        let _ = self.accept_token(token);
    }

    fn reset(&mut self) {
        self.now = self.start.deep_clone();
        self.mask = None;
        self.failure = None;
    }

    fn clone_box(&self) -> Box<dyn Sampler> {
        Box::new(self.clone())
    }
}
