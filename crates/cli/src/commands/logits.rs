//! `quipu logits`: teacher-forced logits for audits.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use crate::fail::Failure;
use crate::input::{parse_ids, read_text};
use crate::options::{ContextArgs, ModelArgs};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// File of token ids, separated by white space.
    #[arg(long)]
    tokens: PathBuf,
    /// Output: n_tokens x n_vocab little-endian f32.
    #[arg(short = 'o', long)]
    output: PathBuf,
    #[command(flatten)]
    context: ContextArgs,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let ids = parse_ids(&read_text(&args.tokens)?, &args.tokens.display().to_string())?;
    let model = args.model.open()?;
    let mut options = args.context.session();
    if options.n_ctx == 0 {
        options.n_ctx = ids.len().max(1);
    }
    let mut session = model.session(&options)?;
    let io = |error| Failure::Io { what: args.output.display().to_string(), error };
    let mut out = BufWriter::new(File::create(&args.output).map_err(io)?);
    let mut written = Ok(());
    session.logits(&ids, |row| {
        for logit in row {
            if written.is_ok() {
                written = out.write_all(&logit.to_le_bytes());
            }
        }
    })?;
    written.and_then(|()| out.flush()).map_err(io)?;
    args.model.report(&mut session);
    eprintln!("{} x {} logits to {}", ids.len(), model.hparams().n_vocab, args.output.display());
    Ok(())
}
