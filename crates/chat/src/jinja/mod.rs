//! Jinja as Python's jinja2 understands it, in the environment that transformers gives chat templates: the immutable
//! sandbox with `trim_blocks`, `lstrip_blocks`, loop controls and `{% generation %}`.
//!
//! A tree-walking interpreter over Python's values, counterpart of `common/jinja` of the reference. It is written here
//! and not taken from a crate because a template's text must come out as jinja2 writes it, to the byte, and because a
//! template is input: every step, byte and level of nesting is counted by one [`Meter`](meter::Meter), also inside
//! filters and operators.
//!
//! What is not there: template inheritance (`extends`, `include`, `import`; transformers has no loader, so they fail
//! there too), `lipsum`, `urlize`, `\N{...}` escapes and lone surrogates.

pub(crate) mod ast;
pub(crate) mod meter;
pub(crate) mod value;

mod attributes;
mod compare;
mod expressions;
mod filters;
mod format;
mod integer;
mod interpreter;
mod json;
mod lexer;
mod loops;
mod macros;
mod methods;
mod operators;
mod parser;
mod percent;
mod predicates;
mod scope;
mod str_methods;
pub(crate) mod strftime;
mod text;
mod unicode;

pub(crate) use interpreter::{Host, render};
pub(crate) use parser::parse;
