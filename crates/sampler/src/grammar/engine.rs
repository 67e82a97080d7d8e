//! Matching: all pushdown stacks a grammar can be in, as numbers.
//!
//! A stack is a chain of interned nodes, a state is an interned set of stacks, and where a state leads on a class of
//! code points is remembered. So matching a text that was matched before costs one table look-up per character,
//! and two stacks that differ only at the top share the rest. Work and memory are bounded: ambiguous grammars can
//! have exponentially many stacks, and some left recursion passes the parser's check (as it does the reference's).
//!
//! The bounds, each an [`Error::GrammarLimit`]: one call looks at no more than 10 million stacks to take a character
//! or a token, and 20 million to mask a vocabulary; 1 million stack elements and 16 million entries of all tables
//! are kept, which is less than 400 MB. Ordinary grammars stay a thousand times below.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use crate::{
    Error,
    grammar::{
        rules::{Kind, Rules},
        utf8::Partial,
    },
};

/// Interned stack; 0 is the empty one.
type StackId = u32;
/// Interned set of stacks; 0 is the empty set.
pub(crate) type SetId = u32;

const EMPTY_STACK: StackId = 0;
pub(crate) const EMPTY_SET: SetId = 0;
const UNKNOWN: SetId = SetId::MAX;

/// Most stack nodes alive.
const MAX_NODES: usize = 1_000_000;
/// Most entries of all tables and sets together.
const MAX_ENTRIES: usize = 16_000_000;
/// Most stacks looked at in one call that masks a vocabulary.
const MAX_WORK: usize = 20_000_000;
/// Most stacks looked at in one call that takes a character or a token.
const MAX_STEP_WORK: usize = 10_000_000;
/// What a set takes besides its stacks, in entries.
const SET_ENTRIES: usize = 32;
/// Elements of a class that are compared for the price of one stack.
const CLASS_PER_STACK: usize = 16;

/// A multiplicative hash for keys that are small numbers.
#[derive(Default, Clone, Copy)]
struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for &b in bytes {
            self.write_u32(u32::from(b));
        }
    }

    fn write_u32(&mut self, n: u32) {
        self.0 = (self.0.rotate_left(5) ^ u64::from(n)).wrapping_mul(0x517C_C1B7_2722_0A95);
    }

    fn write_usize(&mut self, n: usize) {
        self.write_u32(n as u32);
    }
}

type Numbers = BuildHasherDefault<NumberHasher>;

/// The element on top of a stack, and the stack below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Node {
    below: StackId,
    place: u32,
}

#[derive(Debug, Clone, Default)]
struct Set {
    stacks: Box<[StackId]>,
    /// For each class of code points the set it leads to; empty until first asked.
    next: Vec<SetId>,
    /// Tokens that the stacks with a token on top wait for: id, and whether it is "any but".
    tokens: Box<[(u32, bool)]>,
    /// Whether the empty stack is in it: the text may end.
    complete: bool,
}

/// Stacks, sets and what is known about them, for one grammar.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    rules: Arc<Rules>,
    nodes: Vec<Node>,
    node_ids: HashMap<Node, StackId, Numbers>,
    /// The stacks with a terminal on top that a stack leads to, as a range of `advanced_to`.
    advanced: HashMap<StackId, (u32, u32), Numbers>,
    advanced_to: Vec<StackId>,
    sets: Vec<Set>,
    set_ids: HashMap<Box<[StackId]>, SetId, Numbers>,
    /// Entries of tables and sets.
    n_entries: usize,
    /// Nodes and entries from which on it is crowded.
    crowded_from: (usize, usize),
    /// Stacks that this call may still look at.
    budget: usize,
}

impl Engine {
    pub(crate) fn new(rules: Arc<Rules>) -> Self {
        let root = Node { below: EMPTY_STACK, place: u32::MAX };
        let mut engine = Self {
            rules,
            nodes: vec![root],
            node_ids: HashMap::default(),
            advanced: HashMap::default(),
            advanced_to: Vec::new(),
            sets: vec![Set::default()],
            set_ids: HashMap::default(),
            n_entries: 0,
            crowded_from: (MAX_NODES / 4, MAX_ENTRIES / 4),
            budget: 0,
        };
        engine.set_ids.insert(Box::default(), EMPTY_SET);
        engine
    }

    /// Starts a call that takes a character or a token: its work is counted from here.
    pub(crate) fn begin(&mut self) {
        self.budget = MAX_STEP_WORK;
    }

    /// Starts a call that masks a vocabulary.
    pub(crate) fn begin_mask(&mut self) {
        self.budget = MAX_WORK;
    }

    /// Stacks looked at since [`Engine::begin`].
    pub(crate) fn spent(&self) -> usize {
        MAX_STEP_WORK.saturating_sub(self.budget)
    }

    /// Whether so much is remembered that it is time to [`Engine::rebase`].
    pub(crate) fn is_crowded(&self) -> bool {
        self.nodes.len() > self.crowded_from.0 || self.n_entries > self.crowded_from.1
    }

    /// Forgets everything but the stacks of `set`, and returns its new number.
    pub(crate) fn rebase(&mut self, set: SetId) -> Result<SetId, Error> {
        let mut fresh = Self::new(Arc::clone(&self.rules));
        fresh.begin_mask();
        let mut stacks = Vec::new();
        for &stack in &self.sets[set as usize].stacks {
            let mut places = Vec::new();
            let mut at = stack;
            while at != EMPTY_STACK {
                places.push(self.nodes[at as usize].place);
                at = self.nodes[at as usize].below;
            }
            fresh.spend(places.len())?;
            let copied =
                places.iter().rev().try_fold(EMPTY_STACK, |below, &place| fresh.push(below, place))?;
            stacks.push(copied);
        }
        let kept = fresh.intern(stacks)?;
        // What is alive may be much: then the next time is when it has doubled.
        fresh.crowded_from.0 = fresh.crowded_from.0.max(2 * fresh.nodes.len());
        fresh.crowded_from.1 = fresh.crowded_from.1.max(2 * fresh.n_entries);
        fresh.budget = self.budget;
        *self = fresh;
        Ok(kept)
    }

    /// The set of stacks before any text.
    pub(crate) fn start(&mut self) -> Result<SetId, Error> {
        let rules = Arc::clone(&self.rules);
        let mut stacks = Vec::new();
        for &place in &rules.alternatives[rules.root as usize] {
            let stack = self.push_unless_end(EMPTY_STACK, place)?;
            self.advance(stack, &mut stacks)?;
        }
        self.intern(stacks)
    }

    pub(crate) fn is_complete(&self, set: SetId) -> bool {
        self.sets[set as usize].complete
    }

    /// Tokens waited for: id, and whether it is "any but"; sorted.
    pub(crate) fn tokens(&self, set: SetId) -> &[(u32, bool)] {
        &self.sets[set as usize].tokens
    }

    /// The set after one code point: stacks with a class on top that has it go on, the others end.
    pub(crate) fn next(&mut self, set: SetId, c: u32) -> Result<SetId, Error> {
        let class = self.rules.class_of(c) as usize;
        match self.sets[set as usize].next.get(class) {
            Some(&known) if known != UNKNOWN => Ok(known),
            _ => self.find_next(set, class),
        }
    }

    fn find_next(&mut self, set: SetId, class: usize) -> Result<SetId, Error> {
        let rules = Arc::clone(&self.rules);
        let c = rules.classes[class];
        let stacks = self.sets[set as usize].stacks.clone();
        self.spend(stacks.len())?;
        let mut after_all = Vec::new();
        for &stack in stacks.iter().filter(|s| **s != EMPTY_STACK) {
            let node = self.nodes[stack as usize];
            if matches!(rules.at(node.place).kind, Kind::Token | Kind::TokenNot) {
                continue;
            }
            let after = rules.after_class(node.place);
            self.spend((after - node.place) as usize / CLASS_PER_STACK)?;
            if rules.matches(node.place, c) {
                after_all.push(self.push_unless_end(node.below, after)?);
            }
        }
        let next = self.advance_all(after_all)?;
        let next = self.intern(next)?;
        let table = &mut self.sets[set as usize].next;
        if table.is_empty() {
            table.resize(rules.classes.len(), UNKNOWN);
            self.n_entries += rules.classes.len();
        }
        table[class] = next;
        self.check_entries()?;
        Ok(next)
    }

    /// The set after a token that ends on `partial`: from stacks with a class on top by its code points, from
    /// stacks with a matching token on top by the token.
    pub(crate) fn after_token(&mut self, set: SetId, token: u32, chars: &[u32]) -> Result<SetId, Error> {
        let rules = Arc::clone(&self.rules);
        let stacks = self.sets[set as usize].stacks.clone();
        self.spend(stacks.len())?;
        let mut after_token = Vec::new();
        let mut by_class = Vec::new();
        for &stack in stacks.iter().filter(|s| **s != EMPTY_STACK) {
            let node = self.nodes[stack as usize];
            let element = rules.at(node.place);
            match element.kind {
                Kind::Token | Kind::TokenNot => {
                    if (element.value == token) == (element.kind == Kind::Token) {
                        after_token.push(self.push_unless_end(node.below, node.place + 1)?);
                    }
                }
                _ => by_class.push(stack),
            }
        }
        let mut on_class = self.intern(by_class)?;
        for &c in chars {
            on_class = self.next(on_class, c)?;
        }
        let mut by_token = self.advance_all(after_token)?;
        by_token.extend_from_slice(&self.sets[on_class as usize].stacks);
        self.intern(by_token)
    }

    /// Whether a token may end here: anywhere after a whole code point, within one where a class on top could
    /// still match.
    pub(crate) fn may_end(&mut self, set: SetId, partial: Partial) -> Result<bool, Error> {
        let n = self.sets[set as usize].stacks.len();
        if partial.n_remain == 0 {
            return Ok(n > 0);
        }
        let rules = Arc::clone(&self.rules);
        for i in 0..n {
            let stack = self.sets[set as usize].stacks[i];
            let place = self.nodes[stack as usize].place;
            if stack == EMPTY_STACK || matches!(rules.at(place).kind, Kind::Token | Kind::TokenNot) {
                continue;
            }
            self.spend(1 + (rules.after_class(place) - place) as usize / CLASS_PER_STACK)?;
            if rules.matches_partial(place, partial.value, partial.n_remain) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes `n` from what this call may still look at.
    pub(crate) fn spend(&mut self, n: usize) -> Result<(), Error> {
        let limit =
            || Error::GrammarLimit { what: "number of stacks looked at in one step", limit: MAX_STEP_WORK };
        self.budget = self.budget.checked_sub(n).ok_or_else(limit)?;
        Ok(())
    }

    fn check_entries(&self) -> Result<(), Error> {
        if self.n_entries > MAX_ENTRIES {
            return Err(Error::GrammarLimit { what: "number of states kept", limit: MAX_ENTRIES });
        }
        Ok(())
    }

    fn push_unless_end(&mut self, below: StackId, place: u32) -> Result<StackId, Error> {
        if self.rules.at(place).ends_sequence() { Ok(below) } else { self.push(below, place) }
    }

    fn push(&mut self, below: StackId, place: u32) -> Result<StackId, Error> {
        let node = Node { below, place };
        if let Some(&known) = self.node_ids.get(&node) {
            return Ok(known);
        }
        if self.nodes.len() >= MAX_NODES {
            return Err(Error::GrammarLimit { what: "number of stack elements", limit: MAX_NODES });
        }
        let id = self.nodes.len() as StackId;
        self.nodes.push(node);
        self.node_ids.insert(node, id);
        Ok(id)
    }

    /// The stacks with a terminal on top (or empty) that these stacks lead to, each looked at once.
    fn advance_all(&mut self, mut stacks: Vec<StackId>) -> Result<Vec<StackId>, Error> {
        stacks.sort_unstable();
        stacks.dedup();
        let mut into = Vec::new();
        for stack in stacks {
            self.advance(stack, &mut into)?;
        }
        Ok(into)
    }

    /// Adds the stacks with a terminal on top (or empty) that `stack` leads to (`llama_grammar_advance_stack`).
    fn advance(&mut self, stack: StackId, into: &mut Vec<StackId>) -> Result<(), Error> {
        if let Some(&(from, to)) = self.advanced.get(&stack) {
            self.spend((to - from) as usize)?;
            into.extend_from_slice(&self.advanced_to[from as usize..to as usize]);
            return Ok(());
        }
        let rules = Arc::clone(&self.rules);
        let from = self.advanced_to.len();
        let mut seen: HashSet<StackId, Numbers> = HashSet::default();
        let mut todo = vec![stack];
        while let Some(stack) = todo.pop() {
            if !seen.insert(stack) {
                continue;
            }
            self.spend(1)?;
            let node = self.nodes[stack as usize];
            let element = if stack == EMPTY_STACK { None } else { Some(rules.at(node.place)) };
            match element {
                Some(e) if e.kind == Kind::Rule => {
                    let rest = self.push_unless_end(node.below, node.place + 1)?;
                    let alternatives = &rules.alternatives[e.value as usize];
                    self.spend(alternatives.len())?;
                    for &place in alternatives {
                        todo.push(self.push_unless_end(rest, place)?);
                    }
                }
                _ => self.advanced_to.push(stack),
            }
        }
        let to = self.advanced_to.len();
        self.n_entries += to - from;
        self.check_entries()?;
        self.advanced.insert(stack, (from as u32, to as u32));
        into.extend_from_slice(&self.advanced_to[from..]);
        Ok(())
    }

    fn intern(&mut self, mut stacks: Vec<StackId>) -> Result<SetId, Error> {
        stacks.sort_unstable();
        stacks.dedup();
        if let Some(&known) = self.set_ids.get(stacks.as_slice()) {
            return Ok(known);
        }
        self.n_entries += stacks.len() + SET_ENTRIES;
        self.check_entries()?;
        let tops = stacks
            .iter()
            .filter(|s| **s != EMPTY_STACK)
            .map(|&s| self.rules.at(self.nodes[s as usize].place));
        let tokens = tops.filter_map(|e| match e.kind {
            Kind::Token => Some((e.value, false)),
            Kind::TokenNot => Some((e.value, true)),
            _ => None,
        });
        let mut tokens: Vec<(u32, bool)> = tokens.collect();
        tokens.sort_unstable();
        tokens.dedup();
        let set = Set {
            tokens: tokens.into(),
            complete: stacks.first() == Some(&EMPTY_STACK),
            next: Vec::new(),
            stacks: stacks.clone().into(),
        };
        let id = self.sets.len() as SetId;
        self.sets.push(set);
        self.set_ids.insert(stacks.into(), id);
        Ok(id)
    }
}
