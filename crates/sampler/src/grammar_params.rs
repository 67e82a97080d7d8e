//! A grammar and a reasoning budget as data, as sampling parameters hold them.

use std::borrow::Cow;
use std::sync::Arc;

use crate::{
    BudgetParams, BudgetState, Error, Gbnf, ReasoningBudget, SchemaMode, TokenId, Triggers, Vocabulary,
    WhiteSpace, json_schema_to_grammar, schema_to_grammar,
};

/// What a grammar for llguidance begins with.
const LLGUIDANCE: &str = "%llguidance";

/// What a grammar is written in.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum GrammarText {
    /// GBNF; or for llguidance, if it begins with `%llguidance`.
    Gbnf(String),
    /// A JSON schema, of which a grammar is made in this way.
    JsonSchema(String, SchemaMode),
}

/// What wakes a lazy grammar (`common_grammar_trigger`).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum GrammarTrigger {
    /// This text.
    Word(String),
    /// This token.
    Token(TokenId),
    /// What this pattern finds, see [`Triggers::patterns`].
    Pattern(String),
    /// The whole text, if the pattern matches all of it.
    PatternFull(String),
}

/// The grammar among sampling parameters (`common_grammar` and its triggers).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrammarParams {
    /// The grammar. An empty text is no grammar.
    pub text: GrammarText,
    /// The rule to begin with; the reference always takes `root`.
    pub root: String,
    /// Whether the grammar waits for a trigger.
    pub lazy: bool,
    /// What wakes a lazy grammar.
    pub triggers: Vec<GrammarTrigger>,
    /// Whether the grammar takes the tokens of [`crate::SamplerParams::generation_prompt`] first. So do the
    /// reference's grammars from schemas and templates, and not those a user wrote.
    pub prefill: bool,
}

impl GrammarParams {
    /// A grammar that a user wrote (`COMMON_GRAMMAR_TYPE_USER`).
    pub fn gbnf(text: impl Into<String>) -> Self {
        Self::of(GrammarText::Gbnf(text.into()), false)
    }

    /// A grammar of exactly the JSON that a schema accepts, with short white space
    /// (`COMMON_GRAMMAR_TYPE_OUTPUT_FORMAT`).
    pub fn json_schema(schema: impl Into<String>) -> Self {
        Self::json_schema_as(schema, SchemaMode::Exact)
    }

    /// A grammar made of a JSON schema in the way that `mode` says.
    pub fn json_schema_as(schema: impl Into<String>, mode: SchemaMode) -> Self {
        Self::of(GrammarText::JsonSchema(schema.into(), mode), true)
    }

    fn of(text: GrammarText, prefill: bool) -> Self {
        Self { text, root: "root".to_owned(), lazy: false, triggers: Vec::new(), prefill }
    }

    /// Whether there is no grammar.
    pub fn is_empty(&self) -> bool {
        matches!(&self.text, GrammarText::Gbnf(text) if text.is_empty())
    }

    /// The grammar's text, made of the schema if that is what was given.
    ///
    /// # Errors
    /// [`Error::Schema`], also for what is not JSON; [`Error::SchemaEmpty`].
    pub fn to_gbnf(&self) -> Result<Cow<'_, str>, Error> {
        match &self.text {
            GrammarText::Gbnf(text) => Ok(Cow::Borrowed(text)),
            GrammarText::JsonSchema(schema, mode) => {
                let schema = serde_json::from_str(schema)
                    .map_err(|error| Error::Schema { message: format!("not JSON: {error}") })?;
                match mode {
                    SchemaMode::Exact => schema_to_grammar(&schema, WhiteSpace::Short),
                    SchemaMode::Llama => json_schema_to_grammar(&schema),
                }
                .map(Cow::Owned)
            }
        }
    }

    /// Tells whether the grammar can be used with this vocabulary, without making ready to use it. A text for
    /// llguidance is not looked into.
    ///
    /// # Errors
    /// As [`GrammarParams::to_gbnf`] and [`Gbnf::parse`]; [`Error::NoLlguidance`].
    pub fn check(&self, vocabulary: &dyn Vocabulary) -> Result<(), Error> {
        if self.is_llguidance() {
            return if cfg!(feature = "llguidance") { Ok(()) } else { Err(Error::NoLlguidance) };
        }
        if self.is_empty() {
            return Ok(());
        }
        self.parse(Some(vocabulary)).map(|_| ())
    }

    /// The grammar, ready to be matched; of an exact schema strictly ([`Gbnf::strict`]).
    ///
    /// # Errors
    /// As [`GrammarParams::to_gbnf`] and [`Gbnf::parse`].
    pub fn parse(&self, vocabulary: Option<&dyn Vocabulary>) -> Result<Gbnf, Error> {
        let gbnf = Gbnf::parse(&self.to_gbnf()?, &self.root, vocabulary)?;
        let is_exact = matches!(self.text, GrammarText::JsonSchema(_, SchemaMode::Exact));
        Ok(if is_exact { gbnf.strict() } else { gbnf })
    }

    /// Whether the text is meant for llguidance.
    pub(crate) fn is_llguidance(&self) -> bool {
        matches!(&self.text, GrammarText::Gbnf(text) if text.starts_with(LLGUIDANCE))
    }

    /// The triggers as the grammar takes them: patterns keep their order, words become patterns.
    pub(crate) fn to_triggers(&self) -> Triggers {
        let mut out = Triggers::default();
        for trigger in &self.triggers {
            match trigger {
                GrammarTrigger::Word(word) => out.patterns.push(escape(word)),
                GrammarTrigger::Token(token) => out.tokens.push(*token),
                GrammarTrigger::Pattern(pattern) => out.patterns.push(pattern.clone()),
                GrammarTrigger::PatternFull(pattern) => out.patterns.push(anchored(pattern)),
            }
        }
        out
    }
}

/// A pattern for this text alone (`regex_escape`).
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if ".^$|()*+?[]{}\\".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn anchored(pattern: &str) -> String {
    if pattern.is_empty() {
        return "^$".to_owned();
    }
    let before = if pattern.starts_with('^') { "" } else { "^" };
    let after = if pattern.ends_with('$') { "" } else { "$" };
    format!("{before}{pattern}{after}")
}

/// The reasoning budget among sampling parameters. There is a budget only if `start` and `end` are known, and a
/// number of tokens, runtime control or a lazy grammar asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReasoningParams {
    /// Most tokens of thoughts; negative is no bound (`reasoning_budget_tokens`).
    pub n_tokens: i32,
    /// Tokens that begin thoughts (`reasoning_budget_start`).
    pub start: Vec<TokenId>,
    /// Token sequences that end them (`reasoning_budget_end`).
    pub end: Vec<Vec<TokenId>>,
    /// Said when the budget is used up: a message and the first end (`reasoning_budget_forced`).
    pub forced: Vec<TokenId>,
    /// Whether the thoughts can be ended at any time (`reasoning_control`).
    pub control: bool,
}

impl Default for ReasoningParams {
    fn default() -> Self {
        Self { n_tokens: -1, start: Vec::new(), end: Vec::new(), forced: Vec::new(), control: false }
    }
}

impl ReasoningParams {
    /// From the tags' texts: what is forced is the message and the first end tag.
    pub fn from_tags(
        n_tokens: i32,
        start: &str,
        ends: &[&str],
        message: &str,
        vocabulary: &dyn Vocabulary,
    ) -> Self {
        let tokens = |text: &str| vocabulary.tokenize(text.as_bytes(), true);
        let end: Vec<_> = ends.iter().filter(|end| !end.is_empty()).map(|end| tokens(end)).collect();
        let mut forced = if end.is_empty() { Vec::new() } else { tokens(message) };
        forced.extend(end.first().into_iter().flatten());
        Self { n_tokens, start: tokens(start), end, forced, control: false }
    }

    pub(crate) fn sampler(&self, lazy: bool, vocabulary: &Arc<dyn Vocabulary>) -> Option<ReasoningBudget> {
        let known = !self.start.is_empty() && !self.end.is_empty();
        if !(known && (lazy || self.n_tokens >= 0 || self.control)) {
            return None;
        }
        let params = BudgetParams {
            start: vec![self.start.clone()],
            end: self.end.clone(),
            forced: self.forced.clone(),
            budget: if self.n_tokens < 0 { i32::MAX } else { self.n_tokens },
        };
        Some(ReasoningBudget::new(params, Some(Arc::clone(vocabulary)), BudgetState::Idle))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn triggers_become_patterns_in_their_order() {
        let mut params = GrammarParams::gbnf("root ::= \"a\"");
        params.triggers = vec![
            GrammarTrigger::Pattern("b+".into()),
            GrammarTrigger::Word("f(x)".into()),
            GrammarTrigger::Token(7),
            GrammarTrigger::PatternFull("a|b".into()),
            GrammarTrigger::PatternFull("^c$".into()),
            GrammarTrigger::PatternFull(String::new()),
        ];
        let triggers = params.to_triggers();
        assert_eq!(triggers.patterns, ["b+", "f\\(x\\)", "^a|b$", "^c$", "^$"]);
        assert_eq!((triggers.tokens, triggers.words), (vec![7], vec![]));
    }

    #[test]
    fn a_schema_is_turned_into_a_grammar() {
        let schema = "{\"type\": \"boolean\"}";
        let llama = GrammarParams::json_schema_as(schema, SchemaMode::Llama);
        assert!(llama.to_gbnf().unwrap().contains("root ::= (\"true\" | \"false\")"));
        let schema = GrammarParams::json_schema(schema);
        assert!(schema.parse(None).unwrap().strict && !llama.parse(None).unwrap().strict);
        assert!(schema.prefill && !schema.is_empty() && GrammarParams::gbnf("").is_empty());
        assert!(matches!(GrammarParams::json_schema("{").to_gbnf(), Err(Error::Schema { .. })));
    }
}
