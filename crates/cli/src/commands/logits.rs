//! `quipu logits`: teacher-forced logits for audits.

use std::io::Write;
use std::path::PathBuf;

use crate::adapters::AdapterArgs;
use crate::context::ContextArgs;
use crate::fail::Failure;
use crate::input::{parse_ids, read_text};
use crate::options::ModelArgs;
use crate::output::{Output, note};

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
    #[command(flatten)]
    adapters: AdapterArgs,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let ids = parse_ids(&read_text(&args.tokens)?, &args.tokens.display().to_string())?;
    let mut inputs = args.model.inputs();
    inputs.add(&args.tokens);
    args.adapters.add_inputs(&mut inputs);
    let mut out = Output::create(&args.output, &inputs)?;
    let model = args.model.open()?;
    let mut options = args.context.options();
    if options.n_ctx == 0 {
        options.n_ctx = ids.len().max(1);
    }
    let mut session = args.context.session(&model, &options)?;
    args.adapters.apply(&model, &mut session)?;
    let mut written = Ok(());
    session.logits(&ids, |row| {
        for logit in row {
            if written.is_ok() {
                written = out.write_all(&logit.to_le_bytes());
            }
        }
    })?;
    written.map_err(|error| out.failed(error))?;
    out.finish()?;
    args.model.report(&mut session);
    note(format_args!("{} x {} logits to {}", ids.len(), model.hparams().n_vocab, args.output.display()));
    Ok(())
}
