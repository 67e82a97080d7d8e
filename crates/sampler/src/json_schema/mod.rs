//! JSON schema to GBNF, with the reference's text (common/json-schema-to-grammar.cpp).
//!
//! The rules come out sorted by name, named as the reference names them. Where the reference cuts a character of
//! several bytes apart (property names and patterns outside of ASCII), characters stay whole here.

mod builtin;
mod convert;
mod dump;
mod integer;
mod object;
mod pattern;

use serde_json::Value;

use crate::Error;
use convert::Converter;

/// A GBNF grammar whose sentences are the JSON texts that `schema` describes (`json_schema_to_grammar`).
///
/// Look-around in patterns is skipped, as by the reference.
///
/// # Errors
/// [`Error::Schema`] for what the reference refuses, crashes on, or never returns from: unknown types, unresolved,
/// remote or circular references, malformed patterns, nesting deeper than 200, more than 1,000,000 schemas visited
/// or 16 MiB of grammar.
pub fn json_schema_to_grammar(schema: &Value) -> Result<String, Error> {
    let mut converter = Converter::new();
    converter.resolve_refs(schema)?;
    converter.visit(schema, "")?;
    converter.finish()
}

/// An error of the conversion.
fn fail<T>(message: impl Into<String>) -> Result<T, Error> {
    Err(Error::Schema { message: message.into() })
}
