//! `quipu grammar-check`: whether a text is a sentence of a grammar.

use std::io::Write;
use std::path::PathBuf;

use quipu::sampler::grammar::Verdict;
use quipu::sampler::{Error, Gbnf};

use crate::fail::{Failure, writing};
use crate::input::read_text;

/// Prints `valid`, or fails and says where the text leaves the grammar: the position counts characters from 0, as
/// llama's gbnf-validator counts them, line and column count from 1.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// File with a GBNF grammar.
    #[arg(value_name = "GRAMMAR")]
    grammar: PathBuf,
    /// File with the text.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Rule to begin with.
    #[arg(long, value_name = "RULE", default_value = "root")]
    root: String,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let of_grammar = |error: Error| Failure::Input(format!("{}: {error}", args.grammar.display()));
    let grammar = Gbnf::parse(&read_text(&args.grammar)?, &args.root, None).map_err(of_grammar)?;
    let text = read_text(&args.file)?;
    let (at, what) = match grammar.check(&text).map_err(of_grammar)? {
        Verdict::Accepted => return writeln!(std::io::stdout(), "valid").map_err(writing),
        Verdict::Incomplete => (text.len(), "unexpected end of the text".to_owned()),
        Verdict::RejectedAt(at) => {
            let found = text[at..].chars().next().unwrap_or_default();
            (at, format!("unexpected character {found:?}"))
        }
    };
    let place = Place::of(&text[..at]);
    Err(Failure::Input(format!("{}: {place}: {what}", args.file.display())))
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
