//! What a generator samples with: a chain, a grammar and a reasoning budget, in the reference's order.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::{
    BudgetState, Candidates, Chain, Error, Grammar, Pieces, ReasoningBudget, Sampler, SamplerParams,
    TokenData, TokenId, Vocabulary, grammar_params::GrammarParams,
};

/// Least length of the history (`common_sampler::prev`).
const MIN_HISTORY: usize = 32;

/// Chooses the tokens of one sequence (`common_sampler`).
///
/// One token is: the reasoning budget on the raw logits, the chain, and then the grammar on the chosen token
/// alone. Only if the grammar forbids that token is everything done again with the grammar on all candidates
/// before the chain, so most tokens cost no look at the vocabulary. The tokens differ from those of a grammar at
/// the head of the chain: [`GenerationSampler::grammar_first`] has the latter.
///
/// ```
/// use std::sync::Arc;
/// use quipu_sampler::{Chain, GenerationSampler, Greedy};
///
/// let mut chain = Chain::new();
/// chain.add(Greedy);
/// let mut sampler = GenerationSampler::from_chain(chain);
/// let token = sampler.sample(&[0.1, 3.0, -1.0])?;
/// sampler.accept(token, true)?;
/// assert_eq!(sampler.last(), Some(1));
/// # Ok::<(), quipu_sampler::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct GenerationSampler {
    chain: Chain,
    grammar: Option<Constraint>,
    /// Whether the grammar waits for a trigger; then it rests while the model thinks.
    lazy: bool,
    budget: Option<ReasoningBudget>,
    grammar_first: bool,
    /// The last accepted tokens, prompt included.
    history: VecDeque<TokenId>,
    n_history: usize,
}

/// What decides which tokens may come.
#[derive(Debug, Clone)]
enum Constraint {
    Gbnf(Box<Grammar>),
    #[cfg(feature = "llguidance")]
    Llguidance(Box<crate::LlGuidance>),
}

impl Constraint {
    /// Whether this token may come.
    fn allows(&mut self, token: TokenId) -> Result<bool, Error> {
        match self {
            Self::Gbnf(grammar) => grammar.allows(token),
            #[cfg(feature = "llguidance")]
            Self::Llguidance(constraint) => constraint.allows(token),
        }
    }

    fn apply(&mut self, candidates: &mut Candidates) -> Result<(), Error> {
        match self {
            Self::Gbnf(grammar) => grammar.apply(candidates),
            #[cfg(feature = "llguidance")]
            Self::Llguidance(constraint) => constraint.apply(candidates),
        }
    }

    fn accept(&mut self, token: TokenId) -> Result<(), Error> {
        match self {
            Self::Gbnf(grammar) => grammar.accept_token(token),
            #[cfg(feature = "llguidance")]
            Self::Llguidance(constraint) => constraint.accept_token(token),
        }
    }

    fn reset(&mut self) {
        match self {
            Self::Gbnf(grammar) => grammar.reset(),
            #[cfg(feature = "llguidance")]
            Self::Llguidance(constraint) => constraint.reset(),
        }
    }
}

impl GenerationSampler {
    /// Everything that `params` describe (`common_sampler_init`).
    ///
    /// A grammar needs the vocabulary sorted, which takes a moment: whoever makes many samplers for one model
    /// keeps a [`Pieces`] and calls [`GenerationSampler::with_pieces`].
    ///
    /// # Errors
    /// As [`SamplerParams::validate`], [`crate::Gbnf::parse`], [`crate::json_schema_to_grammar`];
    /// [`Error::TriggerPattern`]; [`Error::GrammarRejected`] for a generation prompt that the grammar does not
    /// begin with; [`Error::NoLlguidance`].
    pub fn new(params: &SamplerParams, vocabulary: &Arc<dyn Vocabulary>) -> Result<Self, Error> {
        Self::build(params, vocabulary, &mut || Arc::new(Pieces::new(Arc::clone(vocabulary))))
    }

    /// As [`GenerationSampler::new`], for the vocabulary of `pieces`.
    ///
    /// # Errors
    /// As [`GenerationSampler::new`].
    pub fn with_pieces(params: &SamplerParams, pieces: &Arc<Pieces>) -> Result<Self, Error> {
        Self::build(params, pieces.vocabulary(), &mut || Arc::clone(pieces))
    }

    fn build(
        params: &SamplerParams,
        vocabulary: &Arc<dyn Vocabulary>,
        pieces: &mut dyn FnMut() -> Arc<Pieces>,
    ) -> Result<Self, Error> {
        let mut sampler = Self::from_chain(Chain::with_vocabulary(params, vocabulary)?);
        sampler.n_history = sampler.n_history.max(params.n_prev);
        let prefill = prefill(params, vocabulary.as_ref());
        if let Some(grammar) = params.grammar.as_ref().filter(|grammar| !grammar.is_empty()) {
            let mut constraint = constraint(grammar, vocabulary, pieces)?;
            if !grammar.lazy && grammar.prefill {
                prefill.iter().try_for_each(|&token| constraint.accept(token))?;
            }
            sampler.lazy = grammar.lazy;
            sampler.grammar = Some(constraint);
        }
        sampler.budget = params.reasoning.sampler(sampler.lazy, vocabulary);
        if let Some(budget) = &mut sampler.budget {
            for &token in &prefill {
                budget.accept(token);
            }
        }
        Ok(sampler)
    }

    /// A chain alone.
    pub fn from_chain(chain: Chain) -> Self {
        Self {
            chain,
            grammar: None,
            lazy: false,
            budget: None,
            grammar_first: false,
            history: VecDeque::new(),
            n_history: MIN_HISTORY.max(SamplerParams::default().n_prev),
        }
    }

    /// With this grammar, in place of another.
    #[must_use]
    pub fn with_grammar(mut self, grammar: Grammar) -> Self {
        self.lazy = grammar.is_lazy();
        self.grammar = Some(Constraint::Gbnf(Box::new(grammar)));
        self
    }

    /// With this constraint, in place of another or a grammar.
    #[cfg(feature = "llguidance")]
    #[must_use]
    pub fn with_llguidance(mut self, constraint: crate::LlGuidance) -> Self {
        self.lazy = false;
        self.grammar = Some(Constraint::Llguidance(Box::new(constraint)));
        self
    }

    /// With this reasoning budget, in place of another.
    #[must_use]
    pub fn with_reasoning_budget(mut self, budget: ReasoningBudget) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Whether the grammar sees all candidates before the chain, for every token. Off at first, as in the
    /// reference.
    #[must_use]
    pub fn grammar_first(mut self, on: bool) -> Self {
        self.grammar_first = on;
        self
    }

    /// Chooses a token for one row of logits, one per token of the vocabulary (`common_sampler_sample`). Accepts
    /// nothing: [`GenerationSampler::accept`] must follow.
    ///
    /// # Errors
    /// As [`Chain::sample`]; [`Error::GrammarLimit`]; [`Error::NoTokenAllowed`] where the grammar, after the
    /// reasoning budget, leaves no token with a finite logit (the reference returns one of the forbidden, and throws
    /// or aborts when that is accepted).
    pub fn sample(&mut self, logits: &[f32]) -> Result<TokenId, Error> {
        let applies = self.grammar_applies();
        if !(applies && self.grammar_first) {
            let token = self.choose(logits, false)?;
            let Some(grammar) = self.grammar.as_mut().filter(|_| applies) else { return Ok(token) };
            if grammar.allows(token)? {
                return Ok(token);
            }
        }
        let token = self.choose(logits, true)?;
        let chosen = self.chain.candidates();
        let logit = chosen.selected.and_then(|i| chosen.data.get(i)).map_or(f32::NEG_INFINITY, |c| c.logit);
        if logit == f32::NEG_INFINITY { Err(Error::NoTokenAllowed) } else { Ok(token) }
    }

    /// The budget, the grammar if asked for, and the chain.
    fn choose(&mut self, logits: &[f32], with_grammar: bool) -> Result<TokenId, Error> {
        let Self { chain, grammar, budget, .. } = self;
        let mut grammar = grammar.as_mut().filter(|_| with_grammar);
        let mut budget = budget.as_mut().filter(|budget| budget.state() == BudgetState::Forcing);
        if grammar.is_none() && budget.is_none() {
            return chain.choose(logits);
        }
        chain.choose_among(logits, &mut |candidates| {
            if let Some(budget) = &mut budget {
                budget.apply(candidates)?;
            }
            if let Some(grammar) = &mut grammar {
                grammar.apply(candidates)?;
            }
            Ok(())
        })
    }

    /// Tells everything which token comes next (`common_sampler_accept`). For a token of a prompt `is_generated` is
    /// false: then only the chain and the history learn of it.
    ///
    /// # Errors
    /// [`Error::GrammarRejected`] for a token that the grammar does not allow, where the reference throws or
    /// aborts; [`Error::GrammarLimit`]. The chain and the history have not learnt of the token then.
    pub fn accept(&mut self, token: TokenId, is_generated: bool) -> Result<(), Error> {
        // The budget's state before it learns of this token counts.
        let to_grammar = is_generated && self.grammar_applies();
        if let Some(budget) = self.budget.as_mut().filter(|_| is_generated) {
            budget.accept(token);
            if let (Some(grammar), false, BudgetState::Done) =
                (self.grammar.as_mut(), to_grammar, budget.state())
            {
                // The words that ended the thoughts may be the grammar's trigger.
                for &token in budget.end_match().unwrap_or_default() {
                    grammar.accept(token)?;
                }
            }
        }
        if let Some(grammar) = self.grammar.as_mut().filter(|_| to_grammar) {
            grammar.accept(token)?;
        }
        self.chain.accept(token);
        if self.history.len() >= self.n_history {
            self.history.pop_front();
        }
        self.history.push_back(token);
        Ok(())
    }

    /// Samples and accepts for the rows of a draft's tokens and the one after it, up to and including the first
    /// token that is not the draft's (`common_sampler_sample_and_accept_n`).
    ///
    /// # Errors
    /// [`Error::DraftLength`] unless there is one row more than tokens of the draft; as
    /// [`GenerationSampler::sample`] and [`GenerationSampler::accept`].
    pub fn sample_and_accept_n(&mut self, rows: &[&[f32]], draft: &[TokenId]) -> Result<Vec<TokenId>, Error> {
        if rows.len() != draft.len() + 1 {
            return Err(Error::DraftLength { n_rows: rows.len(), n_draft: draft.len() });
        }
        let mut tokens = Vec::with_capacity(rows.len());
        for (i, row) in rows.iter().enumerate() {
            let token = self.sample(row)?;
            self.accept(token, true)?;
            tokens.push(token);
            if draft.get(i) != Some(&token) {
                break;
            }
        }
        Ok(tokens)
    }

    /// Whether the grammar has a say now: a lazy one has none while the model thinks.
    fn grammar_applies(&self) -> bool {
        let thinks =
            |budget: &ReasoningBudget| !matches!(budget.state(), BudgetState::Idle | BudgetState::Done);
        self.grammar.is_some() && !(self.lazy && self.budget.as_ref().is_some_and(thinks))
    }

    /// The candidates as the last [`GenerationSampler::sample`] left them (`common_sampler_get_candidates`).
    pub fn candidates(&self) -> &Candidates {
        self.chain.candidates()
    }

    /// As [`GenerationSampler::candidates`], by descending probability unless they are marked as sorted already.
    pub fn sorted_candidates(&mut self) -> &Candidates {
        let candidates = self.chain.candidates_mut();
        if !candidates.sorted {
            let token = candidates.selected_token();
            quipu_std_sort::sort_by(&mut candidates.data, |a: TokenData, b: TokenData| a.p > b.p);
            candidates.selected = token.and_then(|token| candidates.data.iter().position(|c| c.id == token));
            candidates.sorted = true;
        }
        candidates
    }

    /// The chain and the history begin anew; grammar and reasoning budget stay where they are
    /// (`common_sampler_reset`).
    pub fn reset(&mut self) {
        self.chain.reset();
        self.history.clear();
    }

    /// Everything begins anew, for the next text; the tokens of a generation prompt are not taken again.
    pub fn restart(&mut self) {
        self.reset();
        if let Some(grammar) = &mut self.grammar {
            grammar.reset();
        }
        if let Some(budget) = &mut self.budget {
            budget.reset();
        }
    }

    /// The chain (`common_sampler_get`).
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The chain, to measure it or to change its samplers.
    pub fn chain_mut(&mut self) -> &mut Chain {
        &mut self.chain
    }

    /// The GBNF grammar, if there is one.
    pub fn grammar(&self) -> Option<&Grammar> {
        match self.grammar.as_ref()? {
            Constraint::Gbnf(grammar) => Some(grammar),
            #[cfg(feature = "llguidance")]
            Constraint::Llguidance(_) => None,
        }
    }

    /// The reasoning budget, if there is one.
    pub fn reasoning_budget(&self) -> Option<&ReasoningBudget> {
        self.budget.as_ref()
    }

    /// Makes the model end its thoughts now (`common_sampler_reasoning_budget_force`); false where it does not
    /// think or there is no budget.
    pub fn force_reasoning_end(&mut self) -> bool {
        self.budget.as_mut().is_some_and(ReasoningBudget::force)
    }

    /// The seed of the draws (`common_sampler_get_seed`).
    pub fn seed(&self) -> Option<u32> {
        Sampler::seed(&self.chain)
    }

    /// The last accepted token (`common_sampler_last`).
    pub fn last(&self) -> Option<TokenId> {
        self.history.back().copied()
    }

    /// The last accepted tokens, the oldest first; as many as `n_prev` says, and at least 32
    /// (`common_sampler_prev_str` detokenizes some).
    pub fn history(&self) -> impl DoubleEndedIterator<Item = TokenId> + ExactSizeIterator {
        self.history.iter().copied()
    }

    /// The chain's samplers on one line (`common_sampler_print`).
    pub fn describe(&self) -> String {
        let mut line = String::from("logits ");
        for sampler in (0..self.chain.len()).filter_map(|i| self.chain.get(i)) {
            line += "-> ";
            line += sampler.name();
            line.push(' ');
        }
        line
    }
}

fn constraint(
    params: &GrammarParams,
    vocabulary: &Arc<dyn Vocabulary>,
    pieces: &mut dyn FnMut() -> Arc<Pieces>,
) -> Result<Constraint, Error> {
    if params.is_llguidance() {
        return llguidance(&params.to_gbnf()?, vocabulary);
    }
    let mut grammar = Grammar::of(&pieces(), params.parse(Some(vocabulary.as_ref()))?)?;
    if params.lazy {
        grammar = grammar.waiting_for(&params.to_triggers())?;
    }
    Ok(Constraint::Gbnf(Box::new(grammar)))
}

#[cfg(feature = "llguidance")]
fn llguidance(text: &str, vocabulary: &Arc<dyn Vocabulary>) -> Result<Constraint, Error> {
    let tokens = crate::LlTokens::new(vocabulary)?;
    Ok(Constraint::Llguidance(Box::new(crate::LlGuidance::lark(&tokens, text)?)))
}

#[cfg(not(feature = "llguidance"))]
fn llguidance(_text: &str, _vocabulary: &Arc<dyn Vocabulary>) -> Result<Constraint, Error> {
    Err(Error::NoLlguidance)
}

/// The tokens of the generation prompt, which are in the prompt already.
fn prefill(params: &SamplerParams, vocabulary: &dyn Vocabulary) -> Vec<TokenId> {
    let text = params.generation_prompt.as_bytes();
    let Some(&first) = text.first() else { return Vec::new() };
    let mut tokens = vocabulary.tokenize(text, true);
    // Some tokenizers put a space before the first special token.
    let is_space = |byte: u8| byte.is_ascii_whitespace() || byte == 0x0B;
    let spaced =
        tokens.first().and_then(|&token| vocabulary.piece(token).first()).copied().is_some_and(is_space);
    if spaced && !is_space(first) {
        tokens.remove(0);
    }
    tokens
}
