//! The sampler that lets only those tokens live that a grammar allows.

use std::collections::HashMap;
use std::sync::Arc;

use crate::{
    Candidates, Error, Gbnf, Pieces, Sampler, TokenId, Triggers,
    grammar::{
        Matcher,
        engine::{EMPTY_SET, SetId},
        pieces::Mask,
        trigger::Pattern,
        utf8,
    },
};

/// From this many candidates on, the whole vocabulary is matched at once.
const MASK_FROM: usize = 512;
/// Masks kept for states that come back.
const MAX_MASKS: usize = 256;

/// Sets the logits of tokens that the grammar does not allow to `-inf` (`llama_sampler_init_grammar`, and with
/// triggers `llama_sampler_init_grammar_lazy_patterns`).
///
/// Tokens that end generation are allowed where the text may end; tokens without text never are. A lazy grammar
/// constrains nothing until it is woken.
///
/// [`Sampler::accept`] cannot fail. After a token that does not fit, every [`Sampler::apply`] returns
/// [`Error::GrammarRejected`] until [`Sampler::reset`]; [`Grammar::accept_token`] returns it at once.
#[derive(Debug, Clone)]
pub struct Grammar {
    pieces: Arc<Pieces>,
    gbnf: Gbnf,
    start: Matcher,
    now: Matcher,
    masks: HashMap<SetId, Arc<Mask>>,
    lazy: Option<Lazy>,
    failure: Option<Error>,
}

/// What a lazy grammar waits for, and what it has read meanwhile.
#[derive(Debug, Clone)]
struct Lazy {
    tokens: Vec<TokenId>,
    patterns: Arc<[Pattern]>,
    waiting: bool,
    text: Vec<u8>,
    /// Tokens and where their texts begin.
    read: Vec<(TokenId, usize)>,
}

impl Grammar {
    /// Constrains from the first token on.
    ///
    /// # Errors
    /// As [`Gbnf::parse`].
    pub fn new(pieces: &Arc<Pieces>, text: &str, root: &str) -> Result<Self, Error> {
        Self::of(pieces, Gbnf::parse(text, root, Some(pieces.vocabulary().as_ref()))?)
    }

    /// As [`Grammar::new`], for a grammar that is there.
    ///
    /// # Errors
    /// [`Error::GrammarLimit`].
    pub fn of(pieces: &Arc<Pieces>, gbnf: Gbnf) -> Result<Self, Error> {
        let start = Matcher::new(&gbnf)?;
        Ok(Self {
            pieces: Arc::clone(pieces),
            gbnf,
            now: start.clone(),
            start,
            masks: HashMap::new(),
            lazy: None,
            failure: None,
        })
    }

    /// Constrains from a trigger on. Words count as one more pattern.
    ///
    /// # Errors
    /// As [`Gbnf::parse`]; [`Error::TriggerPattern`].
    pub fn lazy(pieces: &Arc<Pieces>, text: &str, root: &str, triggers: &Triggers) -> Result<Self, Error> {
        Self::new(pieces, text, root)?.waiting_for(triggers)
    }

    /// Constrains from a trigger on, as [`Grammar::lazy`].
    ///
    /// # Errors
    /// [`Error::TriggerPattern`].
    pub fn waiting_for(mut self, triggers: &Triggers) -> Result<Self, Error> {
        let mut patterns = Vec::new();
        if !triggers.words.is_empty() {
            patterns.push(Pattern::for_words(&triggers.words)?);
        }
        for pattern in &triggers.patterns {
            patterns.push(Pattern::new(pattern)?);
        }
        self.lazy = Some(Lazy {
            tokens: triggers.tokens.clone(),
            patterns: patterns.into(),
            waiting: true,
            text: Vec::new(),
            read: Vec::new(),
        });
        Ok(self)
    }

    /// The grammar.
    pub fn gbnf(&self) -> &Gbnf {
        &self.gbnf
    }

    /// Whether it is lazy and nothing has woken it yet.
    pub fn is_waiting(&self) -> bool {
        self.lazy.as_ref().is_some_and(|lazy| lazy.waiting)
    }

    /// Whether it was made with triggers.
    pub fn is_lazy(&self) -> bool {
        self.lazy.is_some()
    }

    /// Whether this token may come next; any may while it waits.
    ///
    /// # Errors
    /// [`Error::GrammarLimit`], and the error of an earlier token.
    pub fn allows(&mut self, token: TokenId) -> Result<bool, Error> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        if self.is_waiting() {
            return Ok(true);
        }
        let Matcher { engine, set, partial, .. } = &mut self.now;
        engine.begin_mask();
        self.pieces.allows(engine, *set, *partial, token, self.gbnf.strict)
    }

    /// Whether the text so far may end here.
    pub fn may_end(&self) -> bool {
        self.now.may_end()
    }

    /// Takes a token (`llama_grammar_accept_impl`).
    ///
    /// # Errors
    /// [`Error::GrammarRejected`], where the reference throws or aborts; [`Error::GrammarLimit`].
    pub fn accept_token(&mut self, token: TokenId) -> Result<(), Error> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let done = self.take(token);
        self.failure = done.as_ref().err().cloned();
        done
    }

    fn take(&mut self, token: TokenId) -> Result<(), Error> {
        let pieces = Arc::clone(&self.pieces);
        let piece = pieces.vocabulary().piece(token);
        if let Some(lazy) = self.lazy.as_mut().filter(|lazy| lazy.waiting) {
            if lazy.tokens.contains(&token) {
                lazy.wake();
                return self.take_piece(token, piece);
            }
            lazy.read.push((token, lazy.text.len()));
            lazy.text.extend_from_slice(piece);
            let Some(start) = lazy.patterns.iter().find_map(|pattern| pattern.find(&lazy.text)) else {
                return Ok(());
            };
            let (text, read) = lazy.wake();
            let ends = read.iter().skip(1).map(|r| r.1).chain([text.len()]);
            for (&(token, from), to) in read.iter().zip(ends).filter(|(_, to)| *to > start) {
                self.take_piece(token, &text[from.max(start)..to])?;
            }
            return Ok(());
        }
        if pieces.vocabulary().is_eog(token) {
            return if self.now.may_end() { Ok(()) } else { Err(rejected(token, piece)) };
        }
        self.take_piece(token, piece)
    }

    /// Takes a token of which `piece` is the text that counts (`llama_grammar_accept_token`).
    fn take_piece(&mut self, token: TokenId, piece: &[u8]) -> Result<(), Error> {
        let now = &mut self.now;
        now.engine.begin();
        if now.engine.is_crowded() {
            now.set = now.engine.rebase(now.set)?;
            // The numbers of states have changed.
            self.masks.clear();
        }
        now.partial = utf8::decode(piece, now.partial, &mut now.chars, now.strict);
        if now.strict && now.partial.n_remain < 0 {
            return Err(rejected(token, piece));
        }
        now.set = now.engine.after_token(now.set, token, &now.chars)?;
        if now.set == EMPTY_SET { Err(rejected(token, piece)) } else { Ok(()) }
    }

    fn restrict(&mut self, candidates: &mut Candidates) -> Result<(), Error> {
        let Matcher { engine, set, partial, .. } = &mut self.now;
        engine.begin_mask();
        if candidates.data.len() < MASK_FROM {
            for c in &mut candidates.data {
                if !self.pieces.allows(engine, *set, *partial, c.id, self.gbnf.strict)? {
                    c.logit = f32::NEG_INFINITY;
                }
            }
            return Ok(());
        }
        // Within a character the state is not the set alone.
        let known = if partial.n_remain > 0 { None } else { self.masks.get(set).cloned() };
        let mask = if let Some(mask) = known {
            mask
        } else {
            let mask = Arc::new(self.pieces.mask(engine, *set, *partial, self.gbnf.strict)?);
            if partial.n_remain <= 0 {
                if self.masks.len() >= MAX_MASKS {
                    self.masks.clear();
                }
                self.masks.insert(*set, Arc::clone(&mask));
            }
            mask
        };
        for c in &mut candidates.data {
            if !mask.allows(c.id) {
                c.logit = f32::NEG_INFINITY;
            }
        }
        Ok(())
    }
}

impl Lazy {
    /// Stops waiting, and hands out what was read.
    fn wake(&mut self) -> (Vec<u8>, Vec<(TokenId, usize)>) {
        self.waiting = false;
        (std::mem::take(&mut self.text), std::mem::take(&mut self.read))
    }
}

fn rejected(token: TokenId, piece: &[u8]) -> Error {
    Error::GrammarRejected { token, piece: String::from_utf8_lossy(piece).into_owned() }
}

impl Sampler for Grammar {
    fn name(&self) -> &'static str {
        "grammar"
    }

    /// # Errors
    /// [`Error::GrammarLimit`], and the error of an earlier [`Sampler::accept`].
    fn apply(&mut self, candidates: &mut Candidates) -> Result<(), Error> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        if self.is_waiting() {
            return Ok(());
        }
        self.restrict(candidates)
    }

    fn accept(&mut self, token: TokenId) {
        // Kept in `failure`, and returned by the next apply.
        let _ = self.accept_token(token);
    }

    fn reset(&mut self) {
        self.now = self.start.clone();
        self.masks.clear();
        self.failure = None;
        if let Some(lazy) = &mut self.lazy {
            lazy.wake();
            lazy.waiting = true;
        }
    }

    fn clone_box(&self) -> Box<dyn Sampler> {
        Box::new(self.clone())
    }
}
