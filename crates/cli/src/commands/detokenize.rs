//! `quipu detokenize`: ids on stdin to text on stdout.

use std::io::Write;

use crate::fail::{Failure, writing};
use crate::input::{parse_ids, read_stdin};
use crate::options::ModelArgs;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Leave out beginning- and end-of-sequence tokens.
    #[arg(long)]
    remove_special: bool,
    /// Leave out the text of control tokens.
    #[arg(long)]
    no_special: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let tokenizer = args.model.tokenizer()?;
    let ids = parse_ids(&read_stdin()?, "stdin")?;
    let text = tokenizer.detokenize(&ids, args.remove_special, !args.no_special)?;
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&text).and_then(|()| stdout.flush()).map_err(writing)
}
