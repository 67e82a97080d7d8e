//! Objects: what is asked of their members, and the rules of such objects.
//!
//! Members that schemas name come in the order in which they are named; others may stand anywhere between them.

use std::collections::HashMap;

use super::convert::Converter;
use super::document::SchemaId;
use super::language::{Lang, TooLarge};
use super::logic::{ANY, Atom, Goal, Literal, NONE};
use super::rules::{RuleId, Symbol, text};
use crate::Error;

/// Most states where members are counted.
const MAX_STATES: usize = 50_000;
/// Most sets of names that are told apart.
const MAX_SETS: usize = 64;
/// Most cases that one set of demands splits into.
const MAX_SHAPES: usize = 512;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Member {
    name: String,
    value: Goal,
    required: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ObjectShape {
    named: Vec<Member>,
    /// Sets of other names, and what their values must satisfy.
    others: Vec<(Lang, Goal)>,
    min: u64,
    max: Option<u64>,
}

/// The demands on members.
#[derive(Debug, Clone, Default)]
struct Demands<'c> {
    named: Vec<(&'c str, Vec<Literal>, bool)>,
    places: HashMap<&'c str, usize>,
    sets: Vec<(Lang, Literal)>,
    some: Vec<(Lang, Literal, &'static str)>,
    min: u64,
    max: Option<u64>,
}

impl<'c> Demands<'c> {
    fn of(case: &'c [Atom]) -> Self {
        let mut out = Self::default();
        for atom in case {
            match atom {
                Atom::Member(name, what) => out.add(name, *what, false),
                Atom::Has(name, what) if *what != ANY => out.add(name, *what, true),
                Atom::Members(names, what) => out.sets.push((*names, *what)),
                Atom::SomeMember(names, what, keyword) => out.some.push((*names, *what, keyword)),
                Atom::MinMembers(n) => out.min = out.min.max(*n),
                Atom::MaxMembers(n) => out.max = Some(out.max.map_or(*n, |known| known.min(*n))),
                _ => {}
            }
        }
        // Names that are required and nothing else do not decide the order.
        for atom in case {
            if let Atom::Has(name, ANY) = atom {
                out.add(name, ANY, true);
            }
        }
        out
    }

    fn add(&mut self, name: &'c str, what: Literal, required: bool) {
        let at = *self.places.entry(name).or_insert_with(|| {
            self.named.push((name, Vec::new(), false));
            self.named.len() - 1
        });
        self.named[at].1.push(what);
        self.named[at].2 |= required;
    }
}

impl Converter<'_> {
    /// Objects that meet all demands, as cases; none if there are no such objects.
    pub(super) fn object_shapes(
        &mut self,
        owner: SchemaId,
        case: &[Atom],
    ) -> Result<Vec<ObjectShape>, Error> {
        let large = |this: &Self| this.refuse(owner, "its members' names need too many states");
        let mut todo = vec![Demands::of(case)];
        let mut shapes = Vec::new();
        while let Some(mut demands) = todo.pop() {
            let Some((names, what, keyword)) = demands.some.pop() else {
                match self.object_shape(&demands) {
                    Ok(shape) => shapes.extend(shape?),
                    Err(TooLarge) => return large(self),
                }
                if shapes.len() > MAX_SHAPES {
                    return self.refuse(owner, format_args!("more than {MAX_SHAPES} cases of objects"));
                }
                continue;
            };
            // It is one of those that are named, or another one.
            for i in 0..demands.named.len() {
                let Ok(has) = self.languages.has(names, demands.named[i].0) else { return large(self) };
                if has {
                    let mut with = demands.clone();
                    with.named[i].1.push(what);
                    with.named[i].2 = true;
                    todo.push(with);
                }
            }
            if todo.len() > MAX_SHAPES {
                return self.refuse(owner, format_args!("more than {MAX_SHAPES} cases of objects"));
            }
            match self.object_shape(&demands) {
                Ok(shape) => {
                    for (others, goal) in shape?.map(|shape| shape.others).unwrap_or_default() {
                        let both = self.languages.and(&[others, names]);
                        let goal = Self::with(&goal, what);
                        let Ok(none) = self.languages.is_empty(both) else { return large(self) };
                        if !none && self.is_possible(&goal)? {
                            return self.refuse(
                                owner,
                                format_args!("the opposite of '{keyword}' (of 'not', 'oneOf' or 'if') cannot be expressed here"),
                            );
                        }
                    }
                }
                Err(TooLarge) => return large(self),
            }
        }
        Ok(shapes)
    }

    fn object_shape(
        &mut self,
        demands: &Demands<'_>,
    ) -> Result<Result<Option<ObjectShape>, Error>, TooLarge> {
        let mut named = Vec::with_capacity(demands.named.len());
        for (name, literals, required) in &demands.named {
            let mut literals = literals.clone();
            for (names, what) in &demands.sets {
                if self.languages.has(*names, name)? {
                    literals.push(*what);
                }
            }
            let value = super::logic::goal(literals);
            match self.is_possible(&value) {
                Ok(true) => named.push(Member { name: (*name).to_owned(), value, required: *required }),
                Ok(false) if *required => return Ok(Ok(None)),
                Ok(false) => {}
                Err(error) => return Ok(Err(error)),
            }
        }
        let known = self.languages.words(demands.named.iter().map(|(name, ..)| *name));
        let unknown = self.languages.not(known);
        let mut others: Vec<(Lang, Goal)> = vec![(unknown, Vec::new())];
        for (names, what) in &demands.sets {
            let without = self.languages.not(*names);
            let mut split = Vec::with_capacity(2 * others.len());
            for (lang, goal) in others {
                let (inside, outside) =
                    (self.languages.and(&[lang, *names]), self.languages.and(&[lang, without]));
                if !self.languages.is_empty(inside)? {
                    split.push((inside, Self::with(&goal, *what)));
                }
                if !self.languages.is_empty(outside)? {
                    split.push((outside, goal));
                }
            }
            others = split;
            if others.len() > MAX_SETS {
                return Err(TooLarge);
            }
        }
        let mut possible = Vec::new();
        for (lang, goal) in others {
            match self.is_possible(&goal) {
                Ok(true) if goal != [NONE] => possible.push((lang, goal)),
                Ok(_) => {}
                Err(error) => return Ok(Err(error)),
            }
        }
        let required = named.iter().filter(|member| member.required).count() as u64;
        let most = if possible.is_empty() { Some(named.len() as u64) } else { None };
        let max = demands.max.filter(|max| most.is_none_or(|most| *max < most));
        let min = if demands.min > required { demands.min } else { 0 };
        let least = demands.min.max(required);
        let impossible = [most, demands.max].iter().flatten().any(|most| *most < least);
        Ok(Ok((!impossible).then_some(ObjectShape { named, others: possible, min, max })))
    }

    /// A member, its name being one of the set, and the space behind it.
    fn member(&mut self, owner: SchemaId, names: Lang, value: &Goal) -> Result<Vec<Symbol>, Error> {
        let (key, space) = (self.string_rule(owner, names)?, Symbol::Rule(self.space));
        let value = self.value(value.clone());
        Ok(vec![Symbol::Rule(key), space.clone(), text(":"), space.clone(), Symbol::Rule(value), space])
    }

    pub(super) fn object_rule(&mut self, owner: SchemaId, shape: &ObjectShape) -> Result<RuleId, Error> {
        let required = shape.named.iter().filter(|member| member.required).count() as u64;
        if !shape.others.is_empty() && shape.min > required + 1 {
            return self.refuse(
                owner,
                format_args!("'minProperties' {} cannot be expressed: it takes names that differ", shape.min),
            );
        }
        let counts = shape.min > 0 || shape.max.is_some();
        let most = shape.max.unwrap_or(shape.min);
        let n_states = (shape.named.len() as u64 + 1).saturating_mul(most.saturating_add(2));
        if counts && n_states > MAX_STATES as u64 {
            return self.refuse(
                owner,
                format_args!("'minProperties' and 'maxProperties' count in more than {MAX_STATES} ways"),
            );
        }
        let mut named = Vec::new();
        for member in &shape.named {
            let name = self.languages.words([member.name.as_str()]);
            let symbols = self.member(owner, name, &member.value)?;
            named.push(Symbol::Rule(self.rules.rule(vec![symbols])));
        }
        let mut others = Vec::new();
        for (names, goal) in &shape.others {
            others.push(self.member(owner, *names, goal)?);
        }
        let other = (!others.is_empty()).then(|| Symbol::Rule(self.rules.rule(others)));
        let comma = [text(","), Symbol::Rule(self.space)];

        // What may follow, from the last named member back: `entries[n]` after n members (0, or any other number
        // where they are not counted), with another member possible; `skips[n]` with a named one or the end.
        let top = if counts { most.max(1) } else { 1 };
        let after =
            |n: u64| if counts { (n + 1).min(if shape.max.is_some() { n + 1 } else { top }) } else { 1 };
        let is_full = |n: u64| shape.max.is_some_and(|max| n >= max);
        let mut entries: Vec<RuleId> = Vec::new();
        for i in (0..=shape.named.len()).rev() {
            let fresh: Vec<RuleId> = (0..=top).map(|_| self.rules.announce()).collect();
            let mut skips_before = Vec::new();
            for n in 0..=top {
                let mut skip = Vec::new();
                let before = |n: u64| if n > 0 { comma.to_vec() } else { Vec::new() };
                if let Some(member) = shape.named.get(i) {
                    if !is_full(n) {
                        let next = Symbol::Rule(entries[after(n) as usize]);
                        skip.push([before(n), vec![named[i].clone(), next]].concat());
                    }
                    if !member.required {
                        skip.push(vec![Symbol::Rule(entries_skips(&entries, top, n))]);
                    }
                } else if n >= shape.min {
                    skip.push(vec![text("}")]);
                }
                let skip = self.rules.rule(skip);
                skips_before.push(skip);
                let mut entry = vec![vec![Symbol::Rule(skip)]];
                if let Some(other) = other.as_ref().filter(|_| !is_full(n)) {
                    let next = Symbol::Rule(fresh[after(n) as usize]);
                    entry.push([before(n), vec![other.clone(), next]].concat());
                }
                self.rules.define(fresh[n as usize], entry);
            }
            entries = [fresh, skips_before].concat();
        }
        let open = vec![text("{"), Symbol::Rule(self.space), Symbol::Rule(entries[0])];
        Ok(self.rules.rule(vec![open]))
    }
}

/// The rule for `n` members without another one before the next named: behind the entries.
fn entries_skips(entries: &[RuleId], top: u64, n: u64) -> RuleId {
    entries[(top + 1 + n) as usize]
}
