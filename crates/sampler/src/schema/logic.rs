//! What a schema asks of values of one kind, as a formula.

use super::document::{SchemaId, TRUE};
use super::language::Lang;

/// Kinds of JSON values; the two truth values are kinds of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    Null,
    True,
    False,
    Number,
    String,
    Array,
    Object,
}

pub(super) const KINDS: [Kind; 7] =
    [Kind::Null, Kind::True, Kind::False, Kind::Number, Kind::String, Kind::Array, Kind::Object];

/// A schema that a value must, or must not, satisfy.
pub(super) type Literal = (SchemaId, bool);
pub(super) const ANY: Literal = (TRUE, true);
pub(super) const NONE: Literal = (TRUE, false);

/// All that a value must satisfy: sorted, without repetition.
pub(super) type Goal = Vec<Literal>;

/// The goal of all these; [`NONE`] alone where they contradict each other in so many words.
pub(super) fn goal(mut literals: Vec<Literal>) -> Goal {
    literals.sort_unstable();
    literals.dedup();
    literals.retain(|literal| *literal != ANY);
    let contradicts = |&(id, wanted): &Literal| wanted && literals.binary_search(&(id, false)).is_ok();
    if literals.contains(&NONE) || literals.iter().any(contradicts) { vec![NONE] } else { literals }
}

/// One demand, of the kind that its formula is about.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Atom {
    /// A string or a number's text is one of these.
    Lang(Lang),
    /// Items at the beginning by their place, and all others.
    Items(Vec<Literal>, Literal),
    /// There is an item at this place, and it satisfies this.
    ItemAt(u64, Literal),
    MinItems(u64),
    MaxItems(u64),
    /// So many items from a place on satisfy this.
    Contains {
        from: u64,
        what: Literal,
        min: u64,
        max: Option<u64>,
    },
    /// No two items are equal (or some are).
    Unique(bool),
    /// A member of this name, if there is one, satisfies this.
    Member(String, Literal),
    /// There is a member of this name, and it satisfies this.
    Has(String, Literal),
    /// All members with names of the set satisfy this.
    Members(Lang, Literal),
    /// Some member with a name of the set satisfies this; and the keyword that asks for it.
    SomeMember(Lang, Literal, &'static str),
    MinMembers(u64),
    MaxMembers(u64),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Formula {
    Const(bool),
    Atom(Atom),
    And(Vec<Formula>),
    Or(Vec<Formula>),
}

impl Formula {
    pub(super) fn is(&self, value: bool) -> bool {
        *self == Formula::Const(value)
    }

    pub(super) fn and(parts: Vec<Formula>) -> Formula {
        Self::join(parts, true)
    }

    pub(super) fn or(parts: Vec<Formula>) -> Formula {
        Self::join(parts, false)
    }

    /// Conjunction, or disjunction. `neutral` is what changes nothing in it.
    fn join(parts: Vec<Formula>, neutral: bool) -> Formula {
        if parts.iter().any(|part| part.is(!neutral)) {
            return Formula::Const(!neutral);
        }
        let mut flat = Vec::with_capacity(parts.len());
        for part in parts {
            match (part, neutral) {
                (Formula::Const(_), _) => {}
                (Formula::And(inner), true) | (Formula::Or(inner), false) => flat.extend(inner),
                (part, _) => flat.push(part),
            }
        }
        match (flat.len(), neutral) {
            (0, _) => Formula::Const(neutral),
            (1, _) => flat.remove(0),
            (_, true) => Formula::And(flat),
            (_, false) => Formula::Or(flat),
        }
    }

    /// Sets of demands of which one must be met as a whole; `None` if there are more than `most`.
    pub(super) fn cases(&self, most: usize) -> Option<Vec<Vec<Atom>>> {
        Some(match self {
            Formula::Const(true) => vec![Vec::new()],
            Formula::Const(false) => Vec::new(),
            Formula::Atom(atom) => vec![vec![atom.clone()]],
            Formula::Or(parts) => {
                let mut all = Vec::new();
                for part in parts {
                    for case in part.cases(most)? {
                        if !all.contains(&case) {
                            all.push(case);
                        }
                    }
                    if all.len() > most {
                        return None;
                    }
                }
                all
            }
            Formula::And(parts) => {
                let mut all: Vec<Vec<Atom>> = vec![Vec::new()];
                for part in parts {
                    let cases = part.cases(most)?;
                    if all.len().saturating_mul(cases.len()) > most {
                        return None;
                    }
                    let mut joined = Vec::with_capacity(all.len() * cases.len());
                    for before in &all {
                        joined.extend(cases.iter().map(|case| [before.as_slice(), case].concat()));
                    }
                    all = joined;
                }
                all
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_become_cases() {
        let min = |n| Formula::Atom(Atom::MinItems(n));
        let both = Formula::and(vec![Formula::or(vec![min(1), min(2)]), Formula::Const(true), min(3)]);
        let cases = both.cases(8).unwrap();
        assert_eq!(cases, [[Atom::MinItems(1), Atom::MinItems(3)], [Atom::MinItems(2), Atom::MinItems(3)]]);
        assert!(both.cases(1).is_none());
        assert!(Formula::and(vec![min(1), Formula::Const(false)]).is(false));
        assert!(Formula::or(vec![]).is(false) && Formula::and(vec![]).is(true));
    }

    #[test]
    fn goals_know_plain_contradictions() {
        assert_eq!(goal(vec![(3, true), ANY, (2, false), (3, true)]), [(2, false), (3, true)]);
        assert_eq!(goal(vec![(3, true), (3, false)]), [NONE]);
        assert_eq!(goal(vec![(3, true), NONE]), [NONE]);
    }
}
