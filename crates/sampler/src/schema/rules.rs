//! Rules under construction, and their text in GBNF.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use super::charset::CharSet;
use super::dfa::Dfa;

/// Longest text of a grammar, as GBNF is read.
const MAX_TEXT: usize = 4 << 20;
/// Most rules.
const MAX_RULES: usize = 400_000;
/// Repetitions up to this number are written out one after the other.
const CHAIN: u64 = 256;

/// From here on a number of repetitions is as good as any: no text is so long.
const UNBOUNDED: u64 = 1 << 40;

pub(super) type RuleId = usize;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Symbol {
    Text(String),
    Class(CharSet),
    Rule(RuleId),
}

type Alternative = Vec<Symbol>;
type Ranges = Vec<(u32, u32)>;

/// A rule's alternatives; `None` while it is only announced.
#[derive(Debug, Default)]
pub(super) struct Rules {
    all: Vec<Option<Vec<Alternative>>>,
    known: HashMap<Vec<Alternative>, RuleId>,
    /// Any number of a rule.
    stars: HashMap<RuleId, RuleId>,
    spelled: HashMap<CharSet, RuleId>,
    hex: HashMap<(Ranges, u32), RuleId>,
}

/// The grammar passes a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLong;

pub(super) fn text(text: &str) -> Symbol {
    Symbol::Text(text.to_owned())
}

impl Rules {
    /// A rule to be defined later.
    pub(super) fn announce(&mut self) -> RuleId {
        self.all.push(None);
        self.all.len() - 1
    }

    pub(super) fn define(&mut self, rule: RuleId, alternatives: Vec<Alternative>) {
        self.all[rule] = Some(alternatives);
    }

    /// A rule with these alternatives, the known one if there is one.
    pub(super) fn rule(&mut self, alternatives: Vec<Alternative>) -> RuleId {
        if let Some(&known) = self.known.get(&alternatives) {
            return known;
        }
        let id = self.announce();
        self.known.insert(alternatives.clone(), id);
        self.define(id, alternatives);
        id
    }

    pub(super) fn is_crowded(&self) -> bool {
        self.all.len() > MAX_RULES
    }

    /// `min` to `max` times the unit.
    pub(super) fn counted(&mut self, unit: RuleId, min: u64, max: Option<u64>) -> RuleId {
        let tail = match max.map(|max| max.saturating_sub(min)) {
            Some(more) if more < UNBOUNDED => self.up_to(unit, more),
            _ => self.any_number(unit),
        };
        self.times(unit, min, tail)
    }

    fn any_number(&mut self, unit: RuleId) -> RuleId {
        if let Some(&known) = self.stars.get(&unit) {
            return known;
        }
        let id = self.announce();
        self.stars.insert(unit, id);
        self.define(id, vec![vec![Symbol::Rule(unit), Symbol::Rule(id)], vec![]]);
        id
    }

    /// Exactly `n` units, and then `tail`.
    fn times(&mut self, unit: RuleId, n: u64, tail: RuleId) -> RuleId {
        let mut parts = Vec::new();
        let mut doubled = unit;
        for bit in 0..64 - n.leading_zeros() {
            if n >> bit & 1 == 1 {
                parts.push(Symbol::Rule(doubled));
            }
            doubled = self.rule(vec![vec![Symbol::Rule(doubled), Symbol::Rule(doubled)]]);
        }
        parts.push(Symbol::Rule(tail));
        if let [Symbol::Rule(only)] = parts[..] { only } else { self.rule(vec![parts]) }
    }

    /// No more than `n` units. Short ones are a chain; long ones are put together of powers of two, so that rules and
    /// the readings of a text grow with the logarithm of `n`.
    fn up_to(&mut self, unit: RuleId, n: u64) -> RuleId {
        let mut rule = self.rule(vec![vec![]]);
        if n <= CHAIN {
            for _ in 0..n {
                rule = self.rule(vec![vec![Symbol::Rule(unit), Symbol::Rule(rule)], vec![]]);
            }
            return rule;
        }
        // powers[k] is 2^k units, fewer[k] is up to 2^k - 1 of them.
        let mut powers = vec![unit];
        let mut fewer = vec![rule];
        while 1u64 << powers.len() <= n {
            let last = powers[powers.len() - 1];
            powers.push(self.rule(vec![vec![Symbol::Rule(last), Symbol::Rule(last)]]));
        }
        for k in 1..=powers.len() {
            let below = Symbol::Rule(fewer[k - 1]);
            let with = vec![Symbol::Rule(powers[k - 1]), below.clone()];
            fewer.push(self.rule(vec![with, vec![below]]));
        }
        // From the lowest bit on: at most the bits so far.
        let mut at_most = rule;
        for (k, &power) in powers.iter().enumerate() {
            if n >> k & 1 == 1 {
                at_most = self.rule(vec![
                    vec![Symbol::Rule(power), Symbol::Rule(at_most)],
                    vec![Symbol::Rule(fewer[k])],
                ]);
            }
        }
        at_most
    }

    /// One of these characters as a string of JSON spells it: itself, or by an escape.
    pub(super) fn spelled(&mut self, set: &CharSet) -> RuleId {
        if let Some(&known) = self.spelled.get(set) {
            return known;
        }
        let must_escape = CharSet::new(vec![(0, 0x1F), (0x22, 0x22), (0x5C, 0x5C)]);
        let set = set.intersection(&CharSet::any());
        let mut alternatives = Vec::new();
        let plain = set.intersection(&must_escape.complement());
        if !plain.is_empty() {
            alternatives.push(vec![Symbol::Class(plain)]);
        }
        let mut escapes = Vec::new();
        let short =
            [('"', 0x22), ('\\', 0x5C), ('/', 0x2F), ('b', 8), ('f', 12), ('n', 10), ('r', 13), ('t', 9)];
        let short = short.iter().filter(|(_, c)| set.has(*c)).map(|(sign, _)| (*sign as u32, *sign as u32));
        let short = CharSet::new(short.collect());
        if !short.is_empty() {
            escapes.push(vec![Symbol::Class(short)]);
        }
        let by_number = self.by_number(&set);
        if !by_number.is_empty() {
            let by_number = self.rule(by_number);
            escapes.push(vec![text("u"), Symbol::Rule(by_number)]);
        }
        if !escapes.is_empty() {
            let escapes = self.rule(escapes);
            alternatives.push(vec![text("\\"), Symbol::Rule(escapes)]);
        }
        let id = self.rule(alternatives);
        self.spelled.insert(set, id);
        id
    }

    /// The characters' numbers behind `\u`.
    fn by_number(&mut self, set: &CharSet) -> Vec<Alternative> {
        let mut alternatives = Vec::new();
        let low_plane = set.intersection(&CharSet::new(vec![(0, 0xFFFF)]));
        if !low_plane.is_empty() {
            alternatives.push(vec![Symbol::Rule(self.digits(low_plane.ranges(), 4))]);
        }
        // The first half of a pair for each set of second halves.
        let mut pairs: BTreeMap<Ranges, Ranges> = BTreeMap::new();
        let mut partly: BTreeMap<u32, Ranges> = BTreeMap::new();
        for &(low, high) in set.intersection(&CharSet::new(vec![(0x1_0000, 0x10_FFFF)])).ranges() {
            let (low, high) = (low - 0x1_0000, high - 0x1_0000);
            let (first, last) = (low >> 10, high >> 10);
            let mut add = |half: u32, from: u32, to: u32| {
                partly.entry(half).or_default().push((from, to));
            };
            if first == last {
                add(first, low & 0x3FF, high & 0x3FF);
                continue;
            }
            add(first, low & 0x3FF, 0x3FF);
            add(last, 0, high & 0x3FF);
            if first + 1 < last {
                pairs.entry(vec![(0, 0x3FF)]).or_default().push((first + 1, last - 1));
            }
        }
        for (half, seconds) in partly {
            pairs.entry(seconds).or_default().push((half, half));
        }
        for (seconds, firsts) in pairs {
            let shift = |ranges: &[(u32, u32)], by: u32| {
                CharSet::new(ranges.iter().map(|&(low, high)| (low + by, high + by)).collect())
            };
            let (firsts, seconds) = (shift(&firsts, 0xD800), shift(&seconds, 0xDC00));
            let (firsts, seconds) = (self.digits(firsts.ranges(), 4), self.digits(seconds.ranges(), 4));
            alternatives.push(vec![Symbol::Rule(firsts), text("\\u"), Symbol::Rule(seconds)]);
        }
        alternatives
    }

    /// `n` hexadecimal digits that make one of these numbers.
    fn digits(&mut self, ranges: &[(u32, u32)], n: u32) -> RuleId {
        if n == 0 {
            return self.rule(vec![vec![]]);
        }
        let key = (ranges.to_vec(), n);
        if let Some(&known) = self.hex.get(&key) {
            return known;
        }
        let unit = 1u32 << (4 * (n - 1));
        let mut by_rest: BTreeMap<Ranges, Vec<u32>> = BTreeMap::new();
        for digit in 0..16 {
            let (from, to) = (digit * unit, digit * unit + unit - 1);
            let rest = ranges.iter().filter(|(low, high)| *low <= to && *high >= from);
            let rest: Vec<(u32, u32)> =
                rest.map(|&(low, high)| (low.max(from) - from, high.min(to) - from)).collect();
            if !rest.is_empty() {
                by_rest.entry(rest).or_default().push(digit);
            }
        }
        let mut alternatives = Vec::new();
        for (rest, digits) in by_rest {
            let signs = digits.iter().flat_map(|&digit| match digit {
                0..10 => vec![(48 + digit, 48 + digit)],
                _ => vec![(55 + digit, 55 + digit), (87 + digit, 87 + digit)],
            });
            let class = Symbol::Class(CharSet::new(signs.collect()));
            alternatives.push(if n == 1 {
                vec![class]
            } else {
                vec![class, Symbol::Rule(self.digits(&rest, n - 1))]
            });
        }
        let id = self.rule(alternatives);
        self.hex.insert(key, id);
        id
    }

    /// The automaton's texts and then `tail`; characters as strings spell them, or as they are.
    pub(super) fn automaton(&mut self, dfa: &Dfa, tail: &[Symbol], spelled: bool) -> RuleId {
        if dfa.is_empty() {
            return self.rule(Vec::new());
        }
        let states: Vec<RuleId> = dfa.next.iter().map(|_| self.announce()).collect();
        for (i, row) in dfa.next.iter().enumerate() {
            let mut alternatives = Vec::with_capacity(row.len() + 1);
            for (set, to) in row {
                let symbol =
                    if spelled { Symbol::Rule(self.spelled(set)) } else { Symbol::Class(set.clone()) };
                alternatives.push(vec![symbol, Symbol::Rule(states[*to])]);
            }
            if dfa.accepts[i] {
                alternatives.push(tail.to_vec());
            }
            self.define(states[i], alternatives);
        }
        states[0]
    }

    /// The grammar's text with `root` as its root. Rules that describe no text are left out with what needs them;
    /// `None` if that is the root.
    pub(super) fn to_gbnf(&self, root: RuleId) -> Result<Option<String>, TooLong> {
        let productive = self.productive();
        if !productive[root] {
            return Ok(None);
        }
        let lives = |alternative: &Alternative| {
            alternative.iter().all(|symbol| !matches!(symbol, Symbol::Rule(id) if !productive[*id]))
        };
        let mut names: HashMap<RuleId, usize> = HashMap::from([(root, 0)]);
        let mut order = vec![root];
        let mut out = String::new();
        let mut at = 0;
        while let Some(&rule) = order.get(at) {
            out.push_str(&name(at));
            out.push_str(" ::= ");
            let alternatives = self.all[rule].iter().flatten().filter(|alternative| lives(alternative));
            for (i, alternative) in alternatives.enumerate() {
                if i > 0 {
                    out.push_str(" | ");
                }
                let start = out.len();
                for symbol in alternative {
                    if out.len() > start {
                        out.push(' ');
                    }
                    match symbol {
                        Symbol::Text(text) => quote(&mut out, text),
                        Symbol::Class(set) => class(&mut out, set),
                        Symbol::Rule(id) => {
                            let n = *names.entry(*id).or_insert_with(|| {
                                order.push(*id);
                                order.len() - 1
                            });
                            out.push_str(&name(n));
                        }
                    }
                }
                if alternative.is_empty() {
                    out.push_str("\"\"");
                }
            }
            out.push('\n');
            if out.len() > MAX_TEXT {
                return Err(TooLong);
            }
            at += 1;
        }
        Ok(Some(out))
    }

    /// For each rule whether it describes some text.
    fn productive(&self) -> Vec<bool> {
        let mut out = vec![false; self.all.len()];
        // Alternatives by the rules they need, each with the number of those not known to be productive.
        let mut waiting: Vec<(RuleId, usize)> = Vec::new();
        let mut needed_by: Vec<Vec<usize>> = vec![Vec::new(); self.all.len()];
        let mut todo = Vec::new();
        for (rule, alternatives) in self.all.iter().enumerate() {
            for alternative in alternatives.iter().flatten() {
                let empty = alternative.iter().any(|s| matches!(s, Symbol::Class(set) if set.is_empty()));
                if empty {
                    continue;
                }
                let needs = alternative.iter().filter_map(|symbol| match symbol {
                    Symbol::Rule(id) => Some(*id),
                    _ => None,
                });
                let mut n = 0;
                for id in needs {
                    needed_by[id].push(waiting.len());
                    n += 1;
                }
                waiting.push((rule, n));
                if n == 0 && !out[rule] {
                    out[rule] = true;
                    todo.push(rule);
                }
            }
        }
        while let Some(rule) = todo.pop() {
            for &alternative in &needed_by[rule] {
                let (needing, n) = &mut waiting[alternative];
                *n -= 1;
                if *n == 0 && !out[*needing] {
                    out[*needing] = true;
                    todo.push(*needing);
                }
            }
        }
        out
    }
}

fn name(n: usize) -> String {
    if n == 0 { "root".to_owned() } else { format!("r{n}") }
}

fn quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

fn class(out: &mut String, set: &CharSet) {
    out.push('[');
    for &(low, high) in set.ranges() {
        sign(out, low);
        if high > low {
            out.push('-');
            sign(out, high);
        }
    }
    out.push(']');
}

fn sign(out: &mut String, c: u32) {
    // Writing to a string cannot fail.
    let _ = match char::from_u32(c).filter(char::is_ascii_alphanumeric) {
        Some(c) => write!(out, "{c}"),
        None if c <= 0xFF => write!(out, "\\x{c:02X}"),
        None if c <= 0xFFFF => write!(out, "\\u{c:04X}"),
        None => write!(out, "\\U{c:08X}"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Gbnf, grammar::Verdict};

    fn accepts(rules: &Rules, root: RuleId, text: &str) -> bool {
        let gbnf = rules.to_gbnf(root).unwrap().unwrap();
        Gbnf::parse(&gbnf, "root", None).unwrap().check(text) == Ok(Verdict::Accepted)
    }

    #[test]
    fn counts_are_exact() {
        for (min, max) in
            [(0, Some(0)), (2, Some(5)), (3, None), (0, Some(300)), (257, Some(900)), (600, Some(600))]
        {
            let mut rules = Rules::default();
            let unit = rules.rule(vec![vec![text("ab")]]);
            let root = rules.counted(unit, min, max);
            for n in [0, 1, 2, 3, 5, 6, 256, 257, 258, 300, 301, 599, 600, 601, 899, 900, 901] {
                let want = n >= min && max.is_none_or(|max| n <= max);
                assert_eq!(accepts(&rules, root, &"ab".repeat(n as usize)), want, "{n} of {min} to {max:?}");
            }
        }
        let mut rules = Rules::default();
        let unit = rules.rule(vec![vec![text("a")]]);
        let root = rules.counted(unit, 1, Some(1 << 31));
        assert!(rules.all.len() < 200 && accepts(&rules, root, &"a".repeat(5000)));
    }

    #[test]
    fn characters_are_spelled_in_every_way() {
        let mut rules = Rules::default();
        let set = CharSet::new(vec![(0x22, 0x22), (0x41, 0x41), (10, 10), (0x1_F600, 0x1_FA00)]);
        let root = rules.spelled(&set);
        for yes in [
            "\\\"",
            "\\u0022",
            "A",
            "\\u0041",
            "\\n",
            "\\u000a",
            "\\u000A",
            "😀",
            "\\ud83d\\uDE00",
            "\\uD83E\\ude00",
        ] {
            assert!(accepts(&rules, root, yes), "{yes}");
        }
        for no in [
            "\"",
            "\n",
            "B",
            "\\u0042",
            "\\t",
            "\\ud83d",
            "\\ud83d\\ud83d",
            "\\ud83d\\udd00",
            "\\ud83e\\ude01",
            "😁a",
        ] {
            assert!(!accepts(&rules, root, no), "{no}");
        }
        let any = rules.spelled(&CharSet::any());
        assert!(accepts(&rules, any, "\\/") && accepts(&rules, any, "\\udbff\\udfff"));
        assert!(!accepts(&rules, any, "\\udc00") && !accepts(&rules, any, "\u{1f}"));
    }

    #[test]
    fn rules_without_texts_are_left_out() {
        let mut rules = Rules::default();
        let nothing = rules.rule(Vec::new());
        let lives = rules.rule(vec![vec![text("a"), Symbol::Rule(nothing)], vec![text("b")]]);
        let dead = rules.announce();
        rules.define(dead, vec![vec![text("c"), Symbol::Rule(dead)]]);
        assert_eq!(rules.to_gbnf(lives).unwrap().unwrap(), "root ::= \"b\"\n");
        assert_eq!(rules.to_gbnf(dead), Ok(None));
    }
}
