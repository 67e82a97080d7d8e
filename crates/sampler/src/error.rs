//! What can go wrong between a row of logits and a token.

use crate::TokenId;

/// Errors of samplers, chains, their parameters, grammars and schemas.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A sampler that must choose or normalise met an empty candidate array (the reference aborts or reads
    /// outside of the array).
    #[error("sampler '{sampler}' was given no candidates, expected at least one")]
    EmptyCandidates {
        /// Name of the sampler.
        sampler: &'static str,
    },
    /// A row of logits contains NaN: the forward pass is broken, and the reference's sort is undefined for it.
    #[error("logit of token {token} is NaN, expected a number")]
    NanLogit {
        /// Index of the first NaN.
        token: usize,
    },
    /// More logits than the reference's token ids (`i32`) can name.
    #[error("{n_logits} logits in one row, expected at most {}", i32::MAX)]
    TooManyLogits {
        /// Length of the row.
        n_logits: usize,
    },
    /// The chain ran to its end and no sampler selected a token (it has no greedy or dist, or a later sampler
    /// removed the selected one).
    #[error(
        "the chain of {n_samplers} samplers selected no token out of {n_candidates} candidates, expected it to \
         end in a selecting sampler such as greedy or dist"
    )]
    NothingSelected {
        /// Samplers in the chain.
        n_samplers: usize,
        /// Candidates left at the end.
        n_candidates: usize,
    },
    /// A sampling parameter is outside of its domain.
    #[error("sampling parameter {name} is {value}, expected {expected}")]
    Param {
        /// Name of the parameter.
        name: &'static str,
        /// Value found.
        value: f32,
        /// What is allowed.
        expected: &'static str,
    },
    /// A sampling parameter is JSON of another kind.
    #[error("sampling parameter {name} is {found}, expected {expected}")]
    ParamJson {
        /// Name of the parameter.
        name: String,
        /// Value found.
        found: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// The parameters ask for a sampler that needs token texts, and no vocabulary was given.
    #[error("sampler '{sampler}' needs a vocabulary, and none was given")]
    NoVocabulary {
        /// Name of the sampler.
        sampler: &'static str,
    },
    /// A sampler's name or letter is unknown.
    #[error("sampler '{found}' is unknown, expected one of: {expected}")]
    UnknownSampler {
        /// What was found.
        found: String,
        /// The names or letters there are.
        expected: String,
    },
    /// Infill must end the turn, and the vocabulary has neither an end-of-turn nor an end-of-sequence token.
    #[error(
        "infill ends the turn, but the vocabulary has neither an end-of-turn nor an end-of-sequence token"
    )]
    NoEndToken,
    /// A grammar's text is not GBNF.
    #[error("grammar, line {line} column {column}: {found}, expected {expected}")]
    GrammarSyntax {
        /// Line, counting from 1.
        line: usize,
        /// Column in characters, counting from 1.
        column: usize,
        /// What stands there.
        found: String,
        /// What could stand there.
        expected: &'static str,
    },
    /// A grammar refers to a rule that it does not define, or has no rule of the root's name.
    #[error("grammar rule '{name}' is not defined")]
    GrammarUndefined {
        /// The rule.
        name: String,
    },
    /// A rule can begin with itself.
    #[error("grammar rule '{name}' is left-recursive, expected a rule that reads a character before itself")]
    GrammarLeftRecursion {
        /// The rule.
        name: String,
    },
    /// A grammar or its evaluation passes a stated bound.
    #[error("grammar too large: {what} passes {limit}")]
    GrammarLimit {
        /// What was counted.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// A token was accepted that the grammar does not allow here (the reference throws or aborts).
    #[error("token {token} ('{piece}') does not fit the grammar at this place")]
    GrammarRejected {
        /// The token.
        token: TokenId,
        /// Its text.
        piece: String,
    },
    /// Nothing that the grammar and the reasoning budget allow is possible.
    #[error(
        "no token is allowed: the grammar and the reasoning budget forbid every token with a finite logit"
    )]
    NoTokenAllowed,
    /// A draft and its rows of logits do not belong together.
    #[error("{n_rows} rows of logits for a draft of {n_draft} tokens, expected one row more than tokens")]
    DraftLength {
        /// Rows given.
        n_rows: usize,
        /// Tokens of the draft.
        n_draft: usize,
    },
    /// A grammar is meant for llguidance, which this build does not have.
    #[error("the grammar begins with %llguidance, and this build has no feature 'llguidance'")]
    NoLlguidance,
    /// llguidance refused a schema, grammar, pattern or token.
    #[error("llguidance: {message}")]
    Llguidance {
        /// Its first line about it.
        message: String,
    },
    /// A trigger pattern of a lazy grammar cannot be used.
    #[error("trigger pattern '{pattern}': {message}")]
    TriggerPattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        message: String,
    },
    /// A JSON schema cannot be turned into a grammar.
    #[error("JSON schema: {message}")]
    Schema {
        /// One line for each thing found.
        message: String,
    },
    /// A JSON schema could not be looked at: there was no thread, or no memory for its stack.
    #[error("JSON schema: no thread to convert it, expected memory for one")]
    SchemaNotRun,
    /// A JSON schema accepts no value at all, so no text can be made under it.
    #[error("JSON schema: no value satisfies it")]
    SchemaEmpty,
}
