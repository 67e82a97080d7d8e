//! JSON schemas as grammars, right before equal: a text is a sentence of the grammar if and only if it is JSON that the
//! schema accepts.
//!
//! [`crate::json_schema`] is the reference's conversion, which leaves out what it does not know and is wrong in places.
//! Here what cannot be expressed is an error that names the keyword and its place, and nothing is left out:
//!
//! - Schemas are taken apart by the kind of value, with `allOf`, `oneOf`, `not`, `if` and references as plain logic
//!   (`keywords`, `members`, `logic`), so that a rule stands for all that one value must satisfy (`convert`, `array`,
//!   `object`).
//! - Strings and numbers are sets of texts, closed under intersection and complement (`language`): patterns, formats,
//!   lengths, lists, names of members, bounds and steps are all such sets (`pattern`, `formats`, `number`), and
//!   become deterministic automata. Characters may be written in every way that JSON has.
//! - Rules without texts are left out, so no way through the grammar ends without a sentence (`rules`).
//!
//! What is fixed where JSON leaves a choice: members that a schema names come in the order in which it names them,
//! integers have no fraction, numbers with bounds other than 0, steps or listed values have no exponent, numbers with
//! `multipleOf` have at most 15 digits, and exponents end at 299. Half of a surrogate pair is not a character. While a
//! text is generated white space is short ([`WhiteSpace`]).

mod array;
mod charset;
mod convert;
mod dfa;
mod document;
mod formats;
mod keywords;
mod language;
mod logic;
mod members;
mod number;
mod object;
mod pattern;
mod rules;

use serde_json::Value;

use crate::Error;

/// How a schema is made a grammar.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SchemaMode {
    /// So that exactly the schema's JSON is accepted, or not at all ([`schema_to_grammar`]).
    #[default]
    Exact,
    /// With the reference's rules ([`crate::json_schema_to_grammar`]).
    Llama,
}

impl SchemaMode {
    /// The mode of this name, `exact` or `llama`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "exact" => Some(Self::Exact),
            "llama" => Some(Self::Llama),
            _ => None,
        }
    }
}

/// White space that may stand around and between the parts of a text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum WhiteSpace {
    /// Any, as JSON has it: for checking texts.
    #[default]
    Any,
    /// Between the parts one space, or a line break and up to 20 blanks; none around the whole. For generating: models
    /// that do not know how to go on write blanks for ever.
    Short,
}

/// Stack of the thread on which schemas are converted: they and their patterns nest.
const STACK: usize = 64 << 20;

/// A GBNF grammar whose sentences are the JSON texts that `schema` accepts (JSON Schema 2020-12, or the draft that
/// `$schema` names), `format` asserted, with this white space.
///
/// Token by token it must be matched with [`crate::Gbnf::strict`], or bytes that are no UTF-8 slip through.
///
/// # Errors
/// [`Error::Schema`] for what is no schema or cannot be expressed, with the keyword and its place;
/// [`Error::SchemaEmpty`] for a schema that accepts nothing; [`Error::SchemaNotRun`] where the system has no thread for it. Work and memory are bounded: 1,000,000 subschemas visited,
/// 20,000 states of one set of strings (100,000 of a list), 4 MiB of grammar; what passes them is refused.
pub fn schema_to_grammar(schema: &Value, space: WhiteSpace) -> Result<String, Error> {
    let converted = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK);
        let running = thread.spawn_scoped(scope, || convert::Converter::convert(schema, space));
        running.ok().and_then(|running| running.join().ok())
    });
    match converted {
        Some(converted) => converted?.ok_or(Error::SchemaEmpty),
        None => Err(Error::SchemaNotRun),
    }
}
