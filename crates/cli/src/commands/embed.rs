//! `quipu embed`: one embedding per input line.

use std::io::{BufWriter, Write};
use std::path::PathBuf;

use quipu::{Pooling, SessionOptions};

use crate::context::ContextArgs;
use crate::fail::{Failure, writing};
use crate::input::{read_stdin, read_text};
use crate::options::ModelArgs;
use crate::output::Output;
use crate::sampling::unescape;

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum PoolingArg {
    None,
    Mean,
    Cls,
    Last,
    Rank,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// How the rows of a text's tokens become one; with none every token's row is written, with rank a reranker's scores [default: as the model's file
    /// says, none where it does not].
    #[arg(long, value_enum)]
    pooling: Option<PoolingArg>,
    /// Do not scale rows to length 1.
    #[arg(long)]
    no_normalize: bool,
    /// Texts, one per line; without it stdin is read. A text without tokens, as an empty line is to some models, has a row of zeros.
    #[arg(short = 'f', long)]
    file: Option<PathBuf>,
    /// The texts themselves, in the place of a file.
    #[arg(short = 'p', long, overrides_with = "file")]
    prompt: Option<String>,
    /// Output as little-endian f32; without it rows are printed as text.
    #[arg(short = 'o', long)]
    output: Option<PathBuf>,
    #[command(flatten)]
    context: ContextArgs,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let text = match (&args.prompt, &args.file) {
        (Some(text), _) => unescape(text),
        (None, Some(path)) => read_text(path)?,
        (None, None) => read_stdin()?,
    };
    let mut inputs = args.model.inputs();
    args.file.iter().for_each(|path| inputs.add(path));
    let mut file = args.output.as_deref().map(|path| Output::create(path, &inputs)).transpose()?;
    let model = args.model.open()?;
    let pooling = args.pooling.map(|pooling| match pooling {
        PoolingArg::None => Pooling::None,
        PoolingArg::Mean => Pooling::Mean,
        PoolingArg::Cls => Pooling::Cls,
        PoolingArg::Last => Pooling::Last,
        PoolingArg::Rank => Pooling::Rank,
    });
    let options = SessionOptions { embeddings: true, pooling, ..args.context.options() };
    let mut session = args.context.session(&model, &options)?;
    // The session was made: the file's pooling is one that there is.
    let pooling = pooling.or_else(|| model.hparams().pooling().ok()).unwrap_or_default();
    let is_pooled = pooling != Pooling::None;
    let n_embd = model.n_pooled(pooling)?;
    let mut stdout = BufWriter::new(std::io::stdout().lock());
    for (i, line) in text.lines().enumerate() {
        let rows = match session.embed(line, !args.no_normalize) {
            // As llama-embedding has it: rows stay where their lines are.
            Err(quipu::Error::EmptyPrompt) if !is_pooled => Vec::new(),
            Err(quipu::Error::EmptyPrompt) => vec![0.0; n_embd],
            rows => rows.map_err(|error| Failure::Input(format!("line {}: {error}", i + 1)))?,
        };
        if let Some(found) = rows.iter().find(|value| !value.is_finite()) {
            let what =
                format!("line {}: a value of the embedding is {found}, expected a finite number", i + 1);
            return Err(Failure::Input(what));
        }
        for row in rows.chunks(n_embd) {
            if let Some(out) = &mut file {
                row.iter().try_for_each(|x| out.write_all(&x.to_le_bytes())).map_err(|e| out.failed(e))?;
            } else {
                let words: Vec<String> = row.iter().map(|x| format!("{x:.6}")).collect();
                writeln!(stdout, "{}", words.join(" ")).map_err(writing)?;
            }
        }
    }
    stdout.flush().map_err(writing)?;
    file.map_or(Ok(()), Output::finish)
}
