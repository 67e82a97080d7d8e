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

#![allow(
    clippy::needless_pass_by_value,
    clippy::ref_option,
    reason = "arguments of a call are bound to values, which filters and methods are handed"
)]
#![allow(
    clippy::unused_self,
    clippy::wrong_self_convention,
    reason = "operations are asked of the interpreter"
)]
#![allow(clippy::iter_not_returning_iterator, reason = "named as in Python")]
#![allow(
    clippy::match_same_arms,
    clippy::single_match_else,
    clippy::while_let_loop,
    reason = "tables of cases"
)]
#![allow(clippy::format_push_string, clippy::naive_bytecount, reason = "short texts")]
#![allow(clippy::option_option, reason = "not numbers, and numbers without an order")]
#![allow(clippy::struct_excessive_bools, reason = "flags of a format, each by itself")]

pub(crate) mod ast;
pub(crate) mod meter;
pub(crate) mod value;

mod attributes;
mod compare;
mod expressions;
pub(crate) mod filters;
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
