//! Sets of strings, closed under all that schemas do to them: regular expressions with intersection and complement,
//! read by derivatives (Brzozowski).
//!
//! Equal sets that are built alike have equal numbers. What is kept is bounded; a set that needs more states than
//! [`MAX_STATES`] is an error of whoever asks for its automaton.

use std::collections::{BTreeMap, HashMap};

use super::charset::{CharSet, END};
use super::dfa::Dfa;

/// Number of a set of strings.
pub(super) type Lang = u32;

/// No string.
pub(super) const NOTHING: Lang = 0;
/// The empty string alone.
pub(super) const EMPTY: Lang = 1;
/// All strings.
pub(super) const EVERYTHING: Lang = 2;
/// The class of all symbols.
const ALL: Lang = 3;

/// Most states of one automaton.
const MAX_STATES: usize = 20_000;
/// And of one that reads a list of words.
const MAX_LIST_STATES: usize = 100_000;
/// Most nodes kept.
const MAX_NODES: usize = 2_000_000;
/// Most derivatives of all automata.
const MAX_WORK: usize = 10_000_000;

/// More states, nodes or steps than are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLarge;

type Made<T> = Result<T, TooLarge>;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Node {
    Nothing,
    Empty,
    Class(CharSet),
    Concat(Lang, Lang),
    Or(Box<[Lang]>),
    And(Box<[Lang]>),
    Not(Lang),
    Repeat {
        of: Lang,
        min: u64,
        max: Option<u64>,
    },
    /// The ends from `depth` on of the words `from..to` of a sorted list; they agree before.
    Words {
        list: u32,
        from: u32,
        to: u32,
        depth: u32,
    },
    /// What the inner set has with [`END`] behind it.
    Ended(Lang),
    /// Decimal texts of multiples of `step / 10^scale`, from a place within the number on.
    Multiple {
        step: u64,
        scale: u32,
        rest: u64,
        /// Digits read behind the point; `None` before it.
        fraction: Option<u32>,
    },
}

/// All sets of one conversion.
#[derive(Debug)]
pub(super) struct Languages {
    nodes: Vec<Node>,
    nullable: Vec<bool>,
    ids: HashMap<Node, Lang>,
    lists: Vec<Vec<Vec<u32>>>,
    list_ids: HashMap<Vec<Vec<u32>>, u32>,
    work: usize,
}

impl Languages {
    pub(super) fn new() -> Self {
        let mut out = Self {
            nodes: Vec::new(),
            nullable: Vec::new(),
            ids: HashMap::new(),
            lists: Vec::new(),
            list_ids: HashMap::new(),
            work: 0,
        };
        out.keep(Node::Nothing, false);
        out.keep(Node::Empty, true);
        out.keep(Node::Repeat { of: ALL, min: 0, max: None }, true);
        out.keep(Node::Class(CharSet::all()), false);
        out
    }

    fn keep(&mut self, node: Node, nullable: bool) -> Lang {
        if let Some(&known) = self.ids.get(&node) {
            return known;
        }
        let id = self.nodes.len() as Lang;
        self.nodes.push(node.clone());
        self.nullable.push(nullable);
        self.ids.insert(node, id);
        id
    }

    /// Whether the set has the empty string.
    pub(super) fn is_nullable(&self, lang: Lang) -> bool {
        self.nullable[lang as usize]
    }

    /// The strings of one character.
    pub(super) fn class(&mut self, set: CharSet) -> Lang {
        if set.is_empty() { NOTHING } else { self.keep(Node::Class(set), false) }
    }

    pub(super) fn concat(&mut self, a: Lang, b: Lang) -> Lang {
        match (a, b) {
            (NOTHING, _) | (_, NOTHING) => return NOTHING,
            (EMPTY, _) => return b,
            (_, EMPTY) => return a,
            _ => {}
        }
        // Chains lean to the right.
        let mut parts = Vec::new();
        let mut at = a;
        while let Node::Concat(head, tail) = self.nodes[at as usize] {
            parts.push(head);
            at = tail;
        }
        parts.push(at);
        parts.into_iter().rev().fold(b, |rest, part| {
            let nullable = self.is_nullable(part) && self.is_nullable(rest);
            self.keep(Node::Concat(part, rest), nullable)
        })
    }

    pub(super) fn sequence(&mut self, parts: &[Lang]) -> Lang {
        parts.iter().rev().fold(EMPTY, |rest, &part| self.concat(part, rest))
    }

    pub(super) fn text(&mut self, text: &str) -> Lang {
        let parts: Vec<Lang> = text.chars().map(|c| self.class(CharSet::of(c as u32))).collect();
        self.sequence(&parts)
    }

    pub(super) fn repeat(&mut self, of: Lang, min: u64, max: Option<u64>) -> Lang {
        if max.is_some_and(|max| max < min) {
            return NOTHING;
        }
        match (of, min, max) {
            (_, _, Some(0)) | (EMPTY, _, _) | (NOTHING, 0, _) => EMPTY,
            (NOTHING, _, _) => NOTHING,
            (_, 1, Some(1)) => of,
            (EVERYTHING, 0, _) | (EVERYTHING, _, None) => EVERYTHING,
            _ => {
                if let Node::Repeat { min: 0, max: None, .. } = self.nodes[of as usize] {
                    return of;
                }
                let nullable = min == 0 || self.is_nullable(of);
                self.keep(Node::Repeat { of, min, max }, nullable)
            }
        }
    }

    /// All strings of so many characters.
    pub(super) fn length(&mut self, min: u64, max: Option<u64>) -> Lang {
        self.repeat(ALL, min, max)
    }

    /// The bounds, if the set is all strings of so many characters.
    pub(super) fn as_length(&self, lang: Lang) -> Option<(u64, Option<u64>)> {
        match self.nodes[lang as usize] {
            Node::Repeat { of: ALL, min, max } => Some((min, max)),
            Node::Empty => Some((0, Some(0))),
            Node::Class(_) if lang == ALL => Some((1, Some(1))),
            _ => None,
        }
    }

    /// The set without the bounds on lengths that it is cut with, and those.
    pub(super) fn split_length(&mut self, lang: Lang) -> (Lang, u64, Option<u64>) {
        let Node::And(parts) = self.nodes[lang as usize].clone() else { return (lang, 0, None) };
        let found = parts.iter().find_map(|&part| self.as_length(part).map(|bounds| (part, bounds)));
        let Some((length, (min, max))) = found else { return (lang, 0, None) };
        let rest: Vec<Lang> = parts.iter().copied().filter(|part| *part != length).collect();
        (self.and(&rest), min, max)
    }

    pub(super) fn or(&mut self, parts: &[Lang]) -> Lang {
        let mut flat = Vec::new();
        let mut class: Option<CharSet> = None;
        let mut todo: Vec<Lang> = parts.to_vec();
        while let Some(part) = todo.pop() {
            match &self.nodes[part as usize] {
                Node::Nothing => {}
                Node::Or(inner) => todo.extend_from_slice(inner),
                Node::Class(set) => class = Some(class.map_or_else(|| set.clone(), |known| known.union(set))),
                _ => flat.push(part),
            }
        }
        flat.extend(class.map(|set| self.class(set)));
        flat.sort_unstable();
        flat.dedup();
        if flat.contains(&EVERYTHING) || self.has_opposites(&flat) {
            return EVERYTHING;
        }
        match flat[..] {
            [] => NOTHING,
            [only] => only,
            _ => {
                let nullable = flat.iter().any(|&part| self.is_nullable(part));
                self.keep(Node::Or(flat.into()), nullable)
            }
        }
    }

    pub(super) fn and(&mut self, parts: &[Lang]) -> Lang {
        let mut flat = Vec::new();
        let mut bounds: Option<(u64, Option<u64>)> = None;
        let mut todo: Vec<Lang> = parts.to_vec();
        while let Some(part) = todo.pop() {
            match &self.nodes[part as usize] {
                Node::Nothing => return NOTHING,
                Node::And(inner) => todo.extend_from_slice(inner),
                Node::Repeat { of: ALL, min, max } => {
                    let (low, high) = bounds.unwrap_or((0, None));
                    let high = match (high, *max) {
                        (Some(a), Some(b)) => Some(a.min(b)),
                        (a, b) => a.or(b),
                    };
                    bounds = Some((low.max(*min), high));
                }
                _ => flat.push(part),
            }
        }
        if let Some((min, max)) = bounds {
            match self.length(min, max) {
                NOTHING => return NOTHING,
                EVERYTHING => {}
                length => flat.push(length),
            }
        }
        flat.sort_unstable();
        flat.dedup();
        if self.has_opposites(&flat) {
            return NOTHING;
        }
        if flat.contains(&EMPTY) {
            return if flat.iter().all(|&part| self.is_nullable(part)) { EMPTY } else { NOTHING };
        }
        match flat[..] {
            [] => EVERYTHING,
            [only] => only,
            _ => {
                let nullable = flat.iter().all(|&part| self.is_nullable(part));
                self.keep(Node::And(flat.into()), nullable)
            }
        }
    }

    /// Whether a set and its complement are in a sorted list.
    fn has_opposites(&self, sorted: &[Lang]) -> bool {
        sorted.iter().any(|&part| match self.nodes[part as usize] {
            Node::Not(inner) => sorted.binary_search(&inner).is_ok(),
            _ => false,
        })
    }

    pub(super) fn not(&mut self, lang: Lang) -> Lang {
        match self.nodes[lang as usize] {
            Node::Nothing => EVERYTHING,
            Node::Not(inner) => inner,
            _ if lang == EVERYTHING => NOTHING,
            Node::Repeat { of: ALL, min, max } => {
                let below = min.checked_sub(1).map(|most| self.length(0, Some(most)));
                let above = max.map(|max| self.length(max.saturating_add(1), None));
                let parts: Vec<Lang> = below.into_iter().chain(above).collect();
                self.or(&parts)
            }
            _ => {
                let nullable = !self.is_nullable(lang);
                self.keep(Node::Not(lang), nullable)
            }
        }
    }

    /// These strings.
    pub(super) fn words<'t>(&mut self, words: impl IntoIterator<Item = &'t str>) -> Lang {
        let mut list: Vec<Vec<u32>> =
            words.into_iter().map(|word| word.chars().map(u32::from).collect()).collect();
        list.sort_unstable();
        list.dedup();
        let to = list.len() as u32;
        let id = *self.list_ids.entry(list).or_insert_with_key(|list| {
            self.lists.push(list.clone());
            self.lists.len() as u32 - 1
        });
        self.word_range(id, 0, to, 0)
    }

    fn word_range(&mut self, list: u32, from: u32, to: u32, depth: u32) -> Lang {
        if from == to {
            return NOTHING;
        }
        let nullable = self.lists[list as usize][from as usize].len() == depth as usize;
        if nullable && to - from == 1 {
            return EMPTY;
        }
        self.keep(Node::Words { list, from, to, depth }, nullable)
    }

    /// What the set has when [`END`] stands behind a string.
    pub(super) fn ended(&mut self, lang: Lang) -> Made<Lang> {
        if lang == NOTHING || lang == EVERYTHING {
            return Ok(lang);
        }
        let after = self.derivative(lang, END)?;
        let nullable = self.is_nullable(after);
        Ok(self.keep(Node::Ended(lang), nullable))
    }

    /// Decimal texts of multiples of `step / 10^scale`.
    pub(super) fn multiple(&mut self, step: u64, scale: u32) -> Lang {
        self.multiple_at(step, scale, 0, None)
    }

    fn multiple_at(&mut self, step: u64, scale: u32, rest: u64, fraction: Option<u32>) -> Lang {
        let missing = 10u64.saturating_pow(scale - fraction.unwrap_or(0));
        let nullable = (u128::from(rest) * u128::from(missing)).is_multiple_of(u128::from(step));
        self.keep(Node::Multiple { step, scale, rest, fraction }, nullable)
    }

    /// What may follow after `c`.
    pub(super) fn derivative(&mut self, lang: Lang, c: u32) -> Made<Lang> {
        self.work += 1;
        if self.work > MAX_WORK || self.nodes.len() > MAX_NODES {
            return Err(TooLarge);
        }
        Ok(match self.nodes[lang as usize].clone() {
            Node::Nothing | Node::Empty => NOTHING,
            Node::Class(set) => {
                if set.has(c) {
                    EMPTY
                } else {
                    NOTHING
                }
            }
            Node::Concat(a, b) => {
                let first = self.derivative(a, c)?;
                let first = self.concat(first, b);
                if self.is_nullable(a) {
                    let second = self.derivative(b, c)?;
                    self.or(&[first, second])
                } else {
                    first
                }
            }
            Node::Or(parts) => {
                self.work += parts.len();
                let parts: Vec<Lang> =
                    parts.iter().map(|&part| self.derivative(part, c)).collect::<Made<_>>()?;
                self.or(&parts)
            }
            Node::And(parts) => {
                self.work += parts.len();
                let parts: Vec<Lang> =
                    parts.iter().map(|&part| self.derivative(part, c)).collect::<Made<_>>()?;
                self.and(&parts)
            }
            Node::Not(inner) => {
                let inner = self.derivative(inner, c)?;
                self.not(inner)
            }
            Node::Repeat { of, min, max } => {
                let first = self.derivative(of, c)?;
                // Of an optional part any number may have been left out before.
                let min = if self.is_nullable(of) { 0 } else { min.saturating_sub(1) };
                let rest = self.repeat(of, min, max.map(|max| max - 1));
                self.concat(first, rest)
            }
            Node::Words { list, from, to, depth } => {
                let words = &self.lists[list as usize][from as usize..to as usize];
                let at = depth as usize;
                let key = |word: &Vec<u32>| word.get(at).map_or(0, |&c| u64::from(c) + 1);
                let low = words.partition_point(|word| key(word) < u64::from(c) + 1) as u32;
                let high = words.partition_point(|word| key(word) <= u64::from(c) + 1) as u32;
                self.word_range(list, from + low, from + high, depth + 1)
            }
            Node::Ended(inner) => {
                let inner = self.derivative(inner, c)?;
                self.ended(inner)?
            }
            Node::Multiple { step, scale, rest, fraction } => match (char::from_u32(c), fraction) {
                (Some('-'), None) if rest == 0 => lang,
                (Some('.'), None) => self.multiple_at(step, scale, rest, Some(0)),
                (Some('0'), Some(n)) if n == scale => lang,
                (Some(digit @ '0'..='9'), at) if at.is_none_or(|n| n < scale) => {
                    let rest = (rest * 10 + u64::from(digit as u32 - 48)) % step;
                    self.multiple_at(step, scale, rest, at.map(|n| n + 1))
                }
                _ => NOTHING,
            },
        })
    }

    /// Whether the set has this string.
    pub(super) fn has(&mut self, lang: Lang, text: &str) -> Made<bool> {
        let end = text.chars().try_fold(lang, |at, c| self.derivative(at, c as u32))?;
        Ok(self.is_nullable(end))
    }

    /// Whether the set has no string.
    pub(super) fn is_empty(&mut self, lang: Lang) -> Made<bool> {
        if lang == NOTHING || self.is_nullable(lang) || self.as_length(lang).is_some() {
            return Ok(lang == NOTHING);
        }
        let alphabet = self.alphabet(lang);
        let mut seen = std::collections::HashSet::from([lang]);
        let mut todo = vec![lang];
        while let Some(at) = todo.pop() {
            for &(c, _) in &alphabet {
                let next = self.derivative(at, c)?;
                if self.is_nullable(next) {
                    return Ok(false);
                }
                if next != NOTHING && seen.insert(next) {
                    if seen.len() > MAX_STATES {
                        return Err(TooLarge);
                    }
                    todo.push(next);
                }
            }
        }
        Ok(true)
    }

    /// Code points that the set cannot tell apart: one of each kind, and all of the kind.
    fn alphabet(&self, lang: Lang) -> Vec<(u32, CharSet)> {
        let mut sets: Vec<CharSet> = vec![CharSet::any()];
        let mut lists = std::collections::HashSet::new();
        let mut singles = std::collections::BTreeSet::new();
        let mut seen = std::collections::HashSet::from([lang]);
        let mut todo = vec![lang];
        while let Some(at) = todo.pop() {
            let children: Vec<Lang> = match &self.nodes[at as usize] {
                Node::Nothing | Node::Empty => Vec::new(),
                Node::Class(set) => {
                    sets.push(set.clone());
                    Vec::new()
                }
                Node::Concat(a, b) => vec![*a, *b],
                Node::Or(parts) | Node::And(parts) => parts.to_vec(),
                Node::Not(of) | Node::Ended(of) | Node::Repeat { of, .. } => vec![*of],
                Node::Words { list, from, to, .. } => {
                    if lists.insert((*list, *from, *to)) {
                        singles.extend(
                            self.lists[*list as usize][*from as usize..*to as usize].iter().flatten(),
                        );
                    }
                    Vec::new()
                }
                Node::Multiple { .. } => {
                    singles.extend("-.0123456789".chars().map(u32::from));
                    Vec::new()
                }
            };
            todo.extend(children.into_iter().filter(|&child| seen.insert(child)));
        }
        sets.sort_unstable_by(|a, b| a.ranges().cmp(b.ranges()));
        sets.dedup();
        let mut borders: Vec<u32> = sets
            .iter()
            .flat_map(CharSet::ranges)
            .flat_map(|&(low, high)| [low, high + 1])
            .chain(singles.iter().flat_map(|&c| [c, c + 1]))
            .collect();
        borders.sort_unstable();
        borders.dedup();
        // The kind of each interval, told apart set by set.
        let mut kinds = vec![0usize; borders.len()];
        let mut n_kinds = 1;
        let mut split = |kinds: &mut [usize], from: usize, to: usize, moved: &mut HashMap<usize, usize>| {
            for kind in &mut kinds[from..to] {
                *kind = *moved.entry(*kind).or_insert_with(|| {
                    n_kinds += 1;
                    n_kinds - 1
                });
            }
        };
        let place = |c: u32| borders.partition_point(|&border| border < c);
        for set in &sets {
            let mut moved = HashMap::new();
            for &(low, high) in set.ranges() {
                split(&mut kinds, place(low), place(high + 1), &mut moved);
            }
        }
        for &c in &singles {
            split(&mut kinds, place(c), place(c + 1), &mut HashMap::new());
        }
        let mut grouped: BTreeMap<usize, Vec<(u32, u32)>> = BTreeMap::new();
        for (i, pair) in borders.windows(2).enumerate() {
            grouped.entry(kinds[i]).or_default().push((pair[0], pair[1] - 1));
        }
        let any = CharSet::any();
        let sets = grouped.into_values().map(|ranges| CharSet::new(ranges).intersection(&any));
        let mut out: Vec<(u32, CharSet)> =
            sets.filter(|set| !set.is_empty()).map(|set| (set.ranges()[0].0, set)).collect();
        out.sort_unstable_by_key(|(c, _)| *c);
        out
    }

    /// The set's automaton.
    pub(super) fn dfa(&mut self, lang: Lang) -> Made<Dfa> {
        let alphabet = self.alphabet(lang);
        let is_list = matches!(self.nodes[lang as usize], Node::Words { .. });
        let most = if is_list { MAX_LIST_STATES } else { MAX_STATES };
        let mut states = vec![lang];
        let mut numbers = HashMap::from([(lang, 0usize)]);
        let mut next: Vec<Vec<usize>> = Vec::new();
        while let Some(&state) = states.get(next.len()) {
            let mut row = Vec::with_capacity(alphabet.len());
            for &(c, _) in &alphabet {
                let to = self.derivative(state, c)?;
                row.push(if to == NOTHING {
                    usize::MAX
                } else {
                    *numbers.entry(to).or_insert_with(|| {
                        states.push(to);
                        states.len() - 1
                    })
                });
            }
            next.push(row);
            if states.len() > most {
                return Err(TooLarge);
            }
        }
        let accepts: Vec<bool> = states.iter().map(|&state| self.is_nullable(state)).collect();
        Ok(Dfa::new(&next, &accepts, &alphabet))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digits(l: &mut Languages) -> Lang {
        l.class(CharSet::new(vec![(48, 57)]))
    }

    fn accepts(dfa: &Dfa, text: &str) -> bool {
        let mut at = 0;
        for c in text.chars() {
            let Some((_, to)) =
                dfa.next.get(at).and_then(|row| row.iter().find(|(set, _)| set.has(c as u32)))
            else {
                return false;
            };
            at = *to;
        }
        dfa.accepts.get(at).copied().unwrap_or(false)
    }

    #[test]
    fn derivatives_and_automata_agree() {
        let l = &mut Languages::new();
        let digit = digits(l);
        let number = l.repeat(digit, 1, Some(3));
        let zeros = l.text("00");
        let everything = l.concat(zeros, EVERYTHING);
        let no_zeros = l.not(everything);
        let words = l.words(["7", "70", "x"]);
        let no_words = l.not(words);
        let both = l.and(&[number, no_zeros, no_words]);
        let dfa = l.dfa(both).unwrap();
        for (text, want) in [
            ("1", true),
            ("7", false),
            ("70", false),
            ("700", true),
            ("001", false),
            ("01", true),
            ("", false),
        ] {
            assert_eq!(l.has(both, text), Ok(want), "{text}");
            assert_eq!(accepts(&dfa, text), want, "{text}");
        }
        assert_eq!(l.is_empty(both), Ok(false));
        let few = l.and(&[words, number]);
        assert_eq!(l.dfa(few).unwrap().words(5).unwrap(), ["7", "70"]);
        let none = l.and(&[few, no_words]);
        assert_eq!(l.is_empty(none), Ok(true));
        assert!(l.dfa(none).unwrap().is_empty());
    }

    #[test]
    fn lengths_stay_lengths() {
        let l = &mut Languages::new();
        let (a, b) = (l.length(2, None), l.length(0, Some(1 << 31)));
        let both = l.and(&[a, b]);
        assert_eq!(l.as_length(both), Some((2, Some(1 << 31))));
        let none = l.length(0, Some(1));
        assert_eq!(l.and(&[a, none]), NOTHING);
        assert_eq!(l.not(a), none);
        let word = l.words(["abc"]);
        let long = l.and(&[word, both]);
        assert_eq!(l.dfa(long).unwrap().words(3).unwrap(), ["abc"]);
    }

    #[test]
    fn multiples_of_decimals() {
        let l = &mut Languages::new();
        let halves = l.multiple(5, 1);
        for (text, want) in [("1.5", true), ("-2", true), ("0.25", false), ("0.50", true), ("7.4", false)] {
            assert_eq!(l.has(halves, text), Ok(want), "{text}");
        }
        let twelves = l.multiple(12, 0);
        assert_eq!((l.has(twelves, "144"), l.has(twelves, "145")), (Ok(true), Ok(false)));
        assert_eq!((l.has(twelves, "144.0"), l.has(twelves, "144.5")), (Ok(true), Ok(false)));
    }

    #[test]
    fn what_explodes_is_refused() {
        let l = &mut Languages::new();
        let a = l.text("a");
        let any = l.length(1, Some(1));
        let tail = l.repeat(any, 30, Some(30));
        let late = l.sequence(&[EVERYTHING, a, tail]);
        assert_eq!(l.dfa(late), Err(TooLarge));
    }
}
