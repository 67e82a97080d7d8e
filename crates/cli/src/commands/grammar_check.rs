//! `quipu grammar-check`: whether a text is a sentence of a grammar, or JSON of a schema.

use std::borrow::Cow;
use std::io::Write;
use std::path::{Path, PathBuf};

use quipu::sampler::grammar::Verdict;
use quipu::sampler::{Error, Gbnf, GrammarParams, SchemaMode, WhiteSpace, schema_to_grammar};

use crate::fail::{Failure, writing};
use crate::input::read_text;
use crate::sampling::schema_mode;

/// Prints `valid` and exits with 0, or says where the text leaves the grammar and exits with 1: the position counts
/// characters from 0, as llama's gbnf-validator counts them, line and column count from 1. Exits with 2 for a grammar
/// or schema that is refused.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files with a GBNF grammar and the text; with --json-schema, with the text alone.
    #[arg(value_name = "GRAMMAR FILE", num_args = 1..=2, required = true)]
    files: Vec<PathBuf>,
    /// File with a JSON schema, in the place of a grammar.
    #[arg(short = 'j', long, value_name = "SCHEMA.json")]
    json_schema: Option<PathBuf>,
    /// How the schema is taken: exact = exactly the JSON it accepts, or refused; llama = as llama.cpp converts it.
    #[arg(long, value_name = "MODE", value_parser = schema_mode, default_value = "exact")]
    json_schema_mode: SchemaMode,
    /// Rule to begin with.
    #[arg(long, value_name = "RULE", default_value = "root")]
    root: String,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let (source, file) = match (&args.json_schema, &args.files[..]) {
        (Some(schema), [file]) => (schema, file),
        (None, [grammar, file]) => (grammar, file),
        (Some(_), _) => return Err(refused("one file is checked by a schema, found two")),
        (None, _) => return Err(refused("expected a grammar and a file, or --json-schema and a file")),
    };
    let of_source = |error: Error| refused(format!("{}: {error}", source.display()));
    let text = read_text(source).map_err(Failure::refused)?;
    let text = match (&args.json_schema, args.json_schema_mode) {
        (Some(_), SchemaMode::Exact) => serde_json::from_str(&text)
            .map_err(|error| Error::Schema { message: format!("not JSON: {error}") })
            .and_then(|schema| schema_to_grammar(&schema, WhiteSpace::Any)),
        (Some(_), mode) => GrammarParams::json_schema_as(text, mode).to_gbnf().map(Cow::into_owned),
        (None, _) => Ok(text),
    };
    let grammar = match text.and_then(|text| Gbnf::parse(&text, &args.root, None)) {
        Ok(grammar) => Some(grammar),
        // Then it is no sentence, whatever it is.
        Err(Error::SchemaEmpty) => None,
        Err(error) => return Err(of_source(error)),
    };
    let text = read_text(file)?;
    let verdict = match grammar {
        Some(grammar) => check(&grammar, &text).map_err(of_source)?,
        None => Some((0, format!("no value satisfies {}", source.display()))),
    };
    match verdict {
        None => writeln!(std::io::stdout(), "valid").map_err(writing),
        Some((at, what)) => Err(Failure::Input(told(file, &text[..at], &what))),
    }
}

fn refused(message: impl Into<String>) -> Failure {
    Failure::Refused(message.into())
}

/// Where and how the text leaves the grammar, if it does.
fn check(grammar: &Gbnf, text: &str) -> Result<Option<(usize, String)>, Error> {
    Ok(match grammar.check(text)? {
        Verdict::Accepted => None,
        Verdict::Incomplete => Some((text.len(), "unexpected end of the text".to_owned())),
        Verdict::RejectedAt(at) => {
            let found = text[at..].chars().next().unwrap_or_default();
            Some((at, format!("unexpected character {found:?}")))
        }
    })
}

fn told(file: &Path, before: &str, what: &str) -> String {
    format!("{}: {}: {what}", file.display(), Place::of(before))
}

/// The place behind a text.
struct Place {
    /// Characters before it.
    position: usize,
    /// From 1.
    line: usize,
    /// From 1, in characters.
    column: usize,
}

impl Place {
    fn of(before: &str) -> Self {
        let last_line = before.rsplit('\n').next().unwrap_or_default();
        Self {
            position: before.chars().count(),
            line: before.matches('\n').count() + 1,
            column: last_line.chars().count() + 1,
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "position {} (line {}, column {})", self.position, self.line, self.column)
    }
}
