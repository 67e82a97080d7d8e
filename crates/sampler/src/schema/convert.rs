//! From goals to rules: for each set of schemas that one value must satisfy, a rule.

use std::collections::{HashMap, VecDeque};

use serde_json::Value;

use super::WhiteSpace;
use super::charset::CharSet;
use super::document::{Document, SchemaId, fail};
use super::language::{EVERYTHING, Lang, Languages, TooLarge};
use super::logic::{Atom, Formula, Goal, KINDS, Kind, Literal, goal};
use super::number;
use super::rules::{RuleId, Rules, Symbol, TooLong, text};
use crate::Error;

/// Most cases of the arrays, or of the objects, of one goal.
const MAX_CASES: usize = 512;
/// Most goals.
const MAX_GOALS: usize = 20_000;
/// Deepest look for values when it is asked whether there are any; behind it there may be some.
const MAX_SEARCH: usize = 40;
/// Longest indent where white space is short.
const MAX_INDENT: u64 = 20;

pub(super) struct Converter<'a> {
    pub(super) document: Document<'a>,
    pub(super) languages: Languages,
    pub(super) rules: Rules,
    /// Rules for white space, which may stand between all parts.
    pub(super) space: RuleId,
    goals: HashMap<Goal, RuleId>,
    todo: VecDeque<(Goal, RuleId)>,
    strings: HashMap<Lang, RuleId>,
    pub(super) patterns: HashMap<String, Lang>,
    /// Goals known to have values (or taken to) or to have none.
    possible: HashMap<Goal, bool>,
    search_depth: usize,
    /// The schemas that are being looked at, about one value.
    pub(super) open: Vec<(SchemaId, bool, Kind)>,
    pub(super) n_visits: usize,
}

/// The rules of white space around the whole, and between its parts.
fn space_rules(rules: &mut Rules, space: WhiteSpace) -> (RuleId, RuleId) {
    let blank = |rules: &mut Rules, ranges: &[(u32, u32)]| {
        rules.rule(vec![vec![Symbol::Class(CharSet::new(ranges.to_vec()))]])
    };
    match space {
        WhiteSpace::Any => {
            let blank = blank(rules, &[(9, 10), (13, 13), (32, 32)]);
            let space = rules.counted(blank, 0, None);
            (space, space)
        }
        WhiteSpace::Short => {
            let indent = blank(rules, &[(9, 9), (32, 32)]);
            let indent = rules.counted(indent, 0, Some(MAX_INDENT));
            let line = vec![Symbol::Class(CharSet::of(10)), Symbol::Rule(indent)];
            let between = rules.rule(vec![vec![], vec![text(" ")], line]);
            (rules.rule(vec![vec![]]), between)
        }
    }
}

impl<'a> Converter<'a> {
    /// The grammar's text; `None` if no value satisfies the schema.
    pub(super) fn convert(schema: &'a Value, space: WhiteSpace) -> Result<Option<String>, Error> {
        let mut document = Document::new(schema)?;
        let root = document.root(schema);
        let mut rules = Rules::default();
        let (around, space) = space_rules(&mut rules, space);
        let mut converter = Self {
            document,
            languages: Languages::new(),
            rules,
            space,
            goals: HashMap::new(),
            todo: VecDeque::new(),
            strings: HashMap::new(),
            patterns: HashMap::new(),
            possible: HashMap::new(),
            search_depth: 0,
            open: Vec::new(),
            n_visits: 0,
        };
        let value = converter.value(goal(vec![(root, true)]));
        let around = Symbol::Rule(around);
        let top = converter.rules.rule(vec![vec![around.clone(), Symbol::Rule(value), around]]);
        while let Some((goal, rule)) = converter.todo.pop_front() {
            converter.build(&goal, rule)?;
            if converter.rules.is_crowded() || converter.goals.len() > MAX_GOALS {
                return fail(
                    "",
                    format_args!("needs more than {MAX_GOALS} kinds of values, or too many rules"),
                );
            }
        }
        let gbnf = converter.rules.to_gbnf(top);
        gbnf.or_else(|TooLong| fail("", "the grammar passes 4 MiB"))
    }

    /// The rule of a value that satisfies all of the goal.
    pub(super) fn value(&mut self, goal: Goal) -> RuleId {
        if let Some(&known) = self.goals.get(&goal) {
            return known;
        }
        let rule = self.rules.announce();
        self.goals.insert(goal.clone(), rule);
        self.todo.push_back((goal, rule));
        rule
    }

    /// Where the first of the goal's schemas stands.
    fn owner(goal: &Goal) -> SchemaId {
        goal.first().map_or(super::document::TRUE, |literal| literal.0)
    }

    /// What the goal asks of values of this kind.
    fn asked(&mut self, goal: &Goal, kind: Kind) -> Result<Formula, Error> {
        let parts: Vec<Formula> =
            goal.iter().map(|&literal| self.formula(literal, kind)).collect::<Result<_, _>>()?;
        Ok(Formula::and(parts))
    }

    fn build(&mut self, goal: &Goal, rule: RuleId) -> Result<(), Error> {
        let owner = Self::owner(goal);
        let mut alternatives = Vec::new();
        for kind in KINDS {
            let formula = self.asked(goal, kind)?;
            if formula.is(false) {
                continue;
            }
            match kind {
                Kind::Null => alternatives.push(vec![text("null")]),
                Kind::True => alternatives.push(vec![text("true")]),
                Kind::False => alternatives.push(vec![text("false")]),
                Kind::Number => {
                    let lang = self.number_texts(&formula);
                    let dfa = self.languages.dfa(lang);
                    let dfa =
                        dfa.or_else(|TooLarge| self.refuse(owner, "its numbers need too many states"))?;
                    let number = self.rules.automaton(&dfa, &[], false);
                    alternatives.push(vec![Symbol::Rule(number)]);
                }
                Kind::String => {
                    let lang = self.texts_of(&formula);
                    alternatives.push(vec![Symbol::Rule(self.string_rule(owner, lang)?)]);
                }
                Kind::Array => {
                    for case in self.cases(owner, &formula, "arrays")? {
                        if let Some(shape) = self.array_shape(owner, &case)? {
                            alternatives.push(vec![Symbol::Rule(self.array_rule(owner, &shape)?)]);
                        }
                    }
                }
                Kind::Object => {
                    for case in self.cases(owner, &formula, "objects")? {
                        for shape in self.object_shapes(owner, &case)? {
                            alternatives.push(vec![Symbol::Rule(self.object_rule(owner, &shape)?)]);
                        }
                    }
                }
            }
        }
        self.rules.define(rule, alternatives);
        Ok(())
    }

    fn cases(&self, owner: SchemaId, formula: &Formula, what: &str) -> Result<Vec<Vec<Atom>>, Error> {
        match formula.cases(MAX_CASES) {
            Some(cases) => Ok(cases),
            None => self.refuse(
                owner,
                format_args!(
                    "'anyOf', 'oneOf', 'not' and the like make more than {MAX_CASES} cases of {what}"
                ),
            ),
        }
    }

    /// The strings that a formula describes.
    pub(super) fn texts_of(&mut self, formula: &Formula) -> Lang {
        match formula {
            Formula::Const(false) => super::language::NOTHING,
            Formula::Atom(Atom::Lang(lang)) => *lang,
            // Formulas about strings and numbers have no other demands.
            Formula::Const(true) | Formula::Atom(_) => EVERYTHING,
            Formula::And(parts) | Formula::Or(parts) => {
                let langs: Vec<Lang> = parts.iter().map(|part| self.texts_of(part)).collect();
                if matches!(formula, Formula::And(_)) {
                    self.languages.and(&langs)
                } else {
                    self.languages.or(&langs)
                }
            }
        }
    }

    fn number_texts(&mut self, formula: &Formula) -> Lang {
        let lang = self.texts_of(formula);
        let all = number::numbers(&mut self.languages);
        self.languages.and(&[all, lang])
    }

    /// The rule of a string in its quotation marks.
    pub(super) fn string_rule(&mut self, owner: SchemaId, lang: Lang) -> Result<RuleId, Error> {
        if let Some(&known) = self.strings.get(&lang) {
            return Ok(known);
        }
        let body = self.string_body(lang);
        let body = body.or_else(|TooLarge| {
            self.refuse(
                owner,
                "'pattern', 'format', lengths and the like need more than 20000 states together",
            )
        })?;
        let rule = self.rules.rule(vec![body]);
        self.strings.insert(lang, rule);
        Ok(rule)
    }

    fn string_body(&mut self, lang: Lang) -> Result<Vec<Symbol>, TooLarge> {
        if let Some((min, max)) = self.languages.as_length(lang) {
            return Ok(self.counted_chars(&CharSet::any(), min, max));
        }
        // A length beside other demands multiplies their states, unless they say as much or nothing but the length.
        let (rest, min, max) = self.languages.split_length(lang);
        let mut dfa = None;
        if (min, max) != (0, None) {
            let without = self.languages.dfa(rest)?;
            if let Some((set, least, most)) = without.as_run() {
                let min = min.max(least);
                let max = match (max, most) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                };
                if max.is_none_or(|max| max >= min) {
                    return Ok(self.counted_chars(&set, min, max));
                }
            }
            // No text at all has no length either.
            if without.is_empty() {
                dfa = Some(without);
            } else {
                let (shortest, longest) = without.lengths();
                let fits = longest.is_some_and(|longest| max.is_none_or(|max| longest <= max));
                if shortest >= min && (fits || max.is_none()) {
                    dfa = Some(without);
                }
            }
        }
        let dfa = match dfa {
            Some(dfa) => dfa,
            None => self.languages.dfa(lang)?,
        };
        let quote = text("\"");
        Ok(vec![quote.clone(), Symbol::Rule(self.rules.automaton(&dfa, &[quote], true))])
    }

    fn counted_chars(&mut self, set: &CharSet, min: u64, max: Option<u64>) -> Vec<Symbol> {
        let unit = self.rules.spelled(set);
        let counted = self.rules.counted(unit, min, max);
        vec![text("\""), Symbol::Rule(counted), text("\"")]
    }

    /// Whether no value of this kind satisfies the formula. Says no where it does not know.
    pub(super) fn is_empty(&mut self, owner: SchemaId, kind: Kind, formula: &Formula) -> Result<bool, Error> {
        if matches!(formula, Formula::Const(_)) {
            return Ok(formula.is(false));
        }
        match kind {
            Kind::Number => {
                let lang = self.number_texts(formula);
                Ok(self.languages.is_empty(lang).unwrap_or(false))
            }
            Kind::String => {
                let lang = self.texts_of(formula);
                Ok(self.languages.is_empty(lang).unwrap_or(false))
            }
            Kind::Array => {
                for case in self.cases(owner, formula, "arrays")? {
                    if self.array_shape(owner, &case)?.is_some() {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Kind::Object => {
                for case in self.cases(owner, formula, "objects")? {
                    if !self.object_shapes(owner, &case)?.is_empty() {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Whether some value may satisfy the goal. Says yes where it does not know.
    pub(super) fn is_possible(&mut self, goal: &Goal) -> Result<bool, Error> {
        if goal.is_empty() {
            return Ok(true);
        }
        if *goal == [super::logic::NONE] {
            return Ok(false);
        }
        if let Some(&known) = self.possible.get(goal) {
            return Ok(known);
        }
        if self.search_depth >= MAX_SEARCH {
            return Ok(true);
        }
        // Meanwhile it counts as possible: what refers to itself may have values.
        self.possible.insert(goal.clone(), true);
        self.search_depth += 1;
        let open = std::mem::take(&mut self.open);
        let found = self.find_possible(goal);
        self.search_depth -= 1;
        self.open = open;
        let found = found?;
        self.possible.insert(goal.clone(), found);
        Ok(found)
    }

    fn find_possible(&mut self, goal: &Goal) -> Result<bool, Error> {
        for kind in KINDS {
            let formula = self.asked(goal, kind)?;
            if !self.is_empty(Self::owner(goal), kind, &formula)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// All values of a goal as their texts, if they are few and neither arrays nor objects.
    pub(super) fn few_values(&mut self, goal: &Goal, most: usize) -> Result<Option<Vec<Symbol>>, Error> {
        let owner = Self::owner(goal);
        let mut out = Vec::new();
        for kind in KINDS {
            let formula = self.asked(goal, kind)?;
            if self.is_empty(owner, kind, &formula)? {
                continue;
            }
            match kind {
                Kind::Null => out.push(text("null")),
                Kind::True => out.push(text("true")),
                Kind::False => out.push(text("false")),
                Kind::Array | Kind::Object => return Ok(None),
                Kind::Number => {
                    let lang = self.number_texts(&formula);
                    let integers = number::integers(&mut self.languages);
                    let opposite = self.languages.not(integers);
                    let others = self.languages.and(&[lang, opposite]);
                    if !self.is_whole_valued(others) {
                        return Ok(None);
                    }
                    let lang = self.languages.and(&[lang, integers]);
                    let words = self.languages.dfa(lang).ok().and_then(|dfa| dfa.words(most));
                    let Some(words) = words else { return Ok(None) };
                    out.extend(words.iter().filter(|word| *word != "-0").map(|word| text(word)));
                }
                Kind::String => {
                    let lang = self.texts_of(&formula);
                    let words = self.languages.dfa(lang).ok().and_then(|dfa| dfa.words(most));
                    let Some(words) = words else { return Ok(None) };
                    for word in words {
                        let lang = self.languages.words([word.as_str()]);
                        out.push(Symbol::Rule(self.string_rule(owner, lang)?));
                    }
                }
            }
        }
        Ok(Some(out).filter(|all| all.len() <= most))
    }

    /// Whether these texts are all of numbers that are whole.
    fn is_whole_valued(&mut self, lang: Lang) -> bool {
        let broken = number::with_fraction(&mut self.languages);
        let left = self.languages.and(&[lang, broken]);
        self.languages.is_empty(left).unwrap_or(false)
    }

    /// The goal with one more demand.
    pub(super) fn with(goal_before: &Goal, literal: Literal) -> Goal {
        goal([goal_before.as_slice(), &[literal]].concat())
    }
}
