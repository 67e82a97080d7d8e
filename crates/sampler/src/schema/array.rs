//! Arrays: what is asked of their items, and the rules of such arrays.

use std::collections::HashMap;

use super::convert::Converter;
use super::document::SchemaId;
use super::logic::{ANY, Atom, Goal, Literal, goal};
use super::rules::{RuleId, Symbol, text};
use crate::Error;

/// Most states where items are counted by what they are.
const MAX_STATES: usize = 20_000;
/// Most items that are told apart by their place.
const MAX_PLACES: u64 = 5000;
/// Most values of which no two may be equal.
const MAX_DISTINCT: usize = 10;

/// So many items from a place on that satisfy something.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Count {
    from: u64,
    what: Literal,
    min: u64,
    max: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ArrayShape {
    /// By place.
    first: Vec<Goal>,
    /// Of all others.
    rest: Goal,
    min: u64,
    max: Option<u64>,
    counts: Vec<Count>,
    unique: bool,
}

fn lower(bound: &mut Option<u64>, to: u64) {
    *bound = Some(bound.map_or(to, |known| known.min(to)));
}

/// Where reading an array of counted items stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    n_items: u64,
    counted: Vec<u64>,
}

impl Converter<'_> {
    /// Arrays that meet all demands; `None` if there are none.
    pub(super) fn array_shape(
        &mut self,
        owner: SchemaId,
        case: &[Atom],
    ) -> Result<Option<ArrayShape>, Error> {
        let (mut min, mut max, mut unique) = (0u64, None, false);
        let mut counts = Vec::new();
        let mut lists: Vec<(&[Literal], Literal)> = Vec::new();
        let mut at = Vec::new();
        for atom in case {
            match atom {
                Atom::Items(first, rest) => lists.push((first, *rest)),
                Atom::ItemAt(i, what) => {
                    min = min.max(i + 1);
                    at.push((*i, *what));
                }
                Atom::MinItems(n) => min = min.max(*n),
                Atom::MaxItems(n) => lower(&mut max, *n),
                Atom::Contains { what: ANY, from, min: least, max: most } => {
                    if *least > 0 {
                        min = min.max(from.saturating_add(*least));
                    }
                    if let Some(most) = most {
                        lower(&mut max, from.saturating_add(*most));
                    }
                }
                Atom::Contains { min: 0, max: None, .. } => {}
                Atom::Contains { from, what, min, max } => {
                    counts.push(Count { from: *from, what: *what, min: *min, max: *max });
                }
                Atom::Unique(true) => unique = true,
                Atom::Unique(false) => {
                    return self.refuse(owner, "the opposite of 'uniqueItems' cannot be expressed");
                }
                _ => {}
            }
        }
        let n_first = lists.iter().map(|list| list.0.len() as u64).chain(at.iter().map(|(i, _)| i + 1));
        let n_first = n_first.max().unwrap_or(0);
        if n_first > MAX_PLACES {
            return self
                .refuse(owner, format_args!("more than {MAX_PLACES} items told apart by their place"));
        }
        let rest = goal(lists.iter().map(|list| list.1).collect());
        let mut first = Vec::new();
        for i in 0..n_first {
            let listed = lists.iter().map(|(first, rest)| *first.get(i as usize).unwrap_or(rest));
            let asked = at.iter().filter(|(place, _)| *place == i).map(|(_, what)| *what);
            first.push(goal(listed.chain(asked).collect()));
        }
        // An item that cannot be ends the array before it.
        for (i, goal) in first.iter().enumerate() {
            if max.is_none_or(|max| (i as u64) < max) && !self.is_possible(goal)? {
                lower(&mut max, i as u64);
            }
        }
        if max.is_none_or(|max| max > n_first) && !self.is_possible(&rest)? {
            lower(&mut max, n_first);
        }
        if let Some(max) = max {
            first.truncate(usize::try_from(max).unwrap_or(usize::MAX));
        }
        if max.is_some_and(|max| max < min) {
            return Ok(None);
        }
        for count in &counts {
            // Is there a place for so many?
            let places = max.map(|max| max.saturating_sub(count.from));
            if places.is_some_and(|places| places < count.min) || count.max.is_some_and(|max| max < count.min)
            {
                return Ok(None);
            }
            if count.min > 0 {
                let wanted = [count.what];
                let anywhere = first.iter().skip(count.from as usize).chain([&rest]);
                let goals: Vec<Goal> = anywhere.map(|g| goal([g.as_slice(), &wanted].concat())).collect();
                let mut found = false;
                for goal in goals {
                    found = found || self.is_possible(&goal)?;
                }
                if !found {
                    return Ok(None);
                }
            }
        }
        unique = unique && max.is_none_or(|max| max > 1);
        Ok(Some(ArrayShape { first, rest, min, max, counts, unique }))
    }

    /// A value and the space behind it.
    fn item(&mut self, goal: Goal) -> Vec<Symbol> {
        let value = self.value(goal);
        vec![Symbol::Rule(value), Symbol::Rule(self.space)]
    }

    fn comma(&self) -> Vec<Symbol> {
        vec![text(","), Symbol::Rule(self.space)]
    }

    pub(super) fn array_rule(&mut self, owner: SchemaId, shape: &ArrayShape) -> Result<RuleId, Error> {
        let open = vec![text("["), Symbol::Rule(self.space)];
        let inside = if shape.unique {
            self.distinct_items(owner, shape)?
        } else if shape.counts.is_empty() {
            self.plain_items(shape)
        } else {
            self.counted_items(owner, shape)?
        };
        Ok(self.rules.rule(vec![[open, vec![Symbol::Rule(inside)]].concat()]))
    }

    /// Items by their place and then others, to the closing bracket.
    fn plain_items(&mut self, shape: &ArrayShape) -> RuleId {
        let close = self.rules.rule(vec![vec![text("]")]]);
        let n = shape.first.len() as u64;
        let more = shape.max.is_none_or(|max| max > n);
        // From the last item on: what may follow when some items have been read.
        let mut tail = close;
        if more {
            let item = self.item(shape.rest.clone());
            let unit = self.rules.rule(vec![[self.comma(), item.clone()].concat()]);
            let (min, max) = (shape.min.saturating_sub(n), shape.max.map(|max| max - n));
            if n == 0 {
                let others = self.rules.counted(unit, min.saturating_sub(1), max.map(|max| max - 1));
                let some = [item, vec![Symbol::Rule(others), text("]")]].concat();
                let none = (min == 0).then(|| vec![text("]")]);
                return self.rules.rule(std::iter::once(some).chain(none).collect());
            }
            let others = self.rules.counted(unit, min, max);
            tail = self.rules.rule(vec![vec![Symbol::Rule(others), text("]")]]);
        }
        for (i, goal) in shape.first.iter().enumerate().rev() {
            let mut symbols = if i > 0 { self.comma() } else { Vec::new() };
            symbols.extend(self.item(goal.clone()));
            symbols.push(Symbol::Rule(tail));
            let ends = (shape.min <= i as u64).then(|| vec![text("]")]);
            tail = self.rules.rule(std::iter::once(symbols).chain(ends).collect());
        }
        tail
    }

    /// Items of which some are counted by what they are.
    fn counted_items(&mut self, owner: SchemaId, shape: &ArrayShape) -> Result<RuleId, Error> {
        // Behind this place all items are alike.
        let alike = shape
            .counts
            .iter()
            .map(|count| count.from)
            // The first differs from the others in the comma.
            .chain([1, shape.first.len() as u64, shape.min, shape.max.unwrap_or(0)])
            .max()
            .unwrap_or(1);
        let start = State { n_items: 0, counted: vec![0; shape.counts.len()] };
        let first = self.rules.announce();
        let mut known: HashMap<State, RuleId> = HashMap::from([(start.clone(), first)]);
        let mut todo = vec![(start, first)];
        while let Some((state, rule)) = todo.pop() {
            let mut alternatives = Vec::new();
            let enough = |(count, n): (&Count, &u64)| *n >= count.min;
            if state.n_items >= shape.min && shape.counts.iter().zip(&state.counted).all(enough) {
                alternatives.push(vec![text("]")]);
            }
            if shape.max.is_none_or(|max| state.n_items < max) {
                let goal = shape.first.get(state.n_items as usize).unwrap_or(&shape.rest).clone();
                for (goal, counted) in counted_ways(shape, &state, goal) {
                    let next = State { n_items: (state.n_items + 1).min(alike), counted };
                    if known.len() > MAX_STATES {
                        return self.refuse(
                            owner,
                            format_args!("'contains' and the like count in more than {MAX_STATES} ways"),
                        );
                    }
                    let next_rule = if let Some(&rule) = known.get(&next) {
                        rule
                    } else {
                        let rule = self.rules.announce();
                        known.insert(next.clone(), rule);
                        todo.push((next, rule));
                        rule
                    };
                    let mut symbols = if state.n_items > 0 { self.comma() } else { Vec::new() };
                    symbols.extend(self.item(goal));
                    symbols.push(Symbol::Rule(next_rule));
                    alternatives.push(symbols);
                }
            }
            self.rules.define(rule, alternatives);
        }
        Ok(first)
    }

    /// Items of few values, none of them twice.
    fn distinct_items(&mut self, owner: SchemaId, shape: &ArrayShape) -> Result<RuleId, Error> {
        let refused = format!("'uniqueItems' cannot be expressed for more than {MAX_DISTINCT} values");
        if !shape.counts.is_empty() || !shape.first.is_empty() {
            return self
                .refuse(owner, "'uniqueItems' beside 'prefixItems' or 'contains' cannot be expressed");
        }
        let Some(values) = self.few_values(&shape.rest, MAX_DISTINCT)? else {
            return self.refuse(owner, refused);
        };
        let n = values.len();
        let rules: Vec<RuleId> = (0..1usize << n).map(|_| self.rules.announce()).collect();
        for (used, &rule) in rules.iter().enumerate() {
            let n_items = u64::from(used.count_ones());
            let mut alternatives = Vec::new();
            if n_items >= shape.min {
                alternatives.push(vec![text("]")]);
            }
            if shape.max.is_none_or(|max| n_items < max) {
                for (i, value) in values.iter().enumerate().filter(|(i, _)| used >> i & 1 == 0) {
                    let mut symbols = if used > 0 { self.comma() } else { Vec::new() };
                    symbols.extend([
                        value.clone(),
                        Symbol::Rule(self.space),
                        Symbol::Rule(rules[used | 1 << i]),
                    ]);
                    alternatives.push(symbols);
                }
            }
            self.rules.define(rule, alternatives);
        }
        Ok(rules[0])
    }
}

/// What the next item can be, and what is counted then.
fn counted_ways(shape: &ArrayShape, state: &State, item: Goal) -> Vec<(Goal, Vec<u64>)> {
    let mut ways = vec![(item, state.counted.clone())];
    for (i, count) in shape.counts.iter().enumerate() {
        if state.n_items < count.from {
            continue;
        }
        let mut next = Vec::new();
        for (item, counted) in ways {
            let n = counted[i];
            let (what, wanted) = count.what;
            let mut one_more = counted.clone();
            one_more[i] = if count.max.is_none() { (n + 1).min(count.min) } else { n + 1 };
            if one_more[i] != n && count.max.is_none_or(|max| n < max) {
                next.push((goal([item.as_slice(), &[(what, wanted)]].concat()), one_more));
            }
            // Enough of them, and any number is allowed: then it does not matter what the item is.
            let other =
                if count.max.is_none() { item } else { goal([item.as_slice(), &[(what, !wanted)]].concat()) };
            next.push((other, counted));
        }
        ways = next;
    }
    ways
}
