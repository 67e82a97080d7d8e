//! `quipu run`: continue a prompt.

use std::io::Write;
use std::path::PathBuf;

use quipu::{Flow, Timings};

use crate::adapters::AdapterArgs;
use crate::fail::{Failure, writing};
use crate::generation::{GenerationArgs, Recording};
use crate::input::read_text;
use crate::options::{ContextArgs, ModelArgs};
use crate::output::note;
use crate::sampling::SamplingArgs;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// The prompt.
    #[arg(short = 'p', long, required_unless_present = "file", conflicts_with = "file")]
    prompt: Option<String>,
    /// Read the prompt from a file.
    #[arg(short = 'f', long)]
    file: Option<PathBuf>,
    /// Most tokens to generate; -1 = until the model or the context ends.
    #[arg(short = 'n', long = "n-predict", default_value_t = 256, allow_negative_numbers = true)]
    n_predict: i64,
    /// End the text before this string; may be given several times.
    #[arg(long = "stop", value_name = "TEXT")]
    stop: Vec<String>,
    #[command(flatten)]
    context: ContextArgs,
    #[command(flatten)]
    adapters: AdapterArgs,
    #[command(flatten)]
    generation: GenerationArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let prompt = match (&args.prompt, &args.file) {
        (Some(prompt), _) => prompt.clone(),
        (None, Some(path)) => read_text(path)?,
        (None, None) => String::new(),
    };
    let mut options = args.sampling.options(args.model.model.as_deref(), args.n_predict, &args.stop)?;
    args.generation.apply(&mut options);
    let mut inputs = args.model.inputs();
    args.file.iter().for_each(|path| inputs.add(path));
    args.sampling.add_inputs(&mut inputs);
    args.adapters.add_inputs(&mut inputs);
    let recorder = args.generation.recorder(&inputs)?;
    let model = args.model.open()?;
    Recording::begin(recorder.as_ref())?;
    SamplingArgs::check_grammar(&options, &model)?;
    let mut session = model.session(&args.context.session())?;
    args.adapters.apply(&model, &mut session)?;
    let mut stdout = std::io::stdout().lock();
    let mut failed = write!(stdout, "{prompt}").and_then(|()| stdout.flush()).err();
    let outcome = session.generate(&prompt, &options, |text| {
        if failed.is_none() {
            failed = write!(stdout, "{text}").and_then(|()| stdout.flush()).err();
        }
        if failed.is_some() { Flow::Stop } else { Flow::Continue }
    });
    // Whatever happened, what follows on the terminal starts on a line of its own.
    let ended = writeln!(stdout);
    let outcome = outcome?;
    if let Some(error) = failed.or(ended.err()) {
        return Err(writing(error));
    }
    args.model.report(&mut session);
    args.generation.report(recorder.as_ref())?;
    note(format_args!("{} | stopped by {:?}", timing_line(&session.timings()), outcome.stop));
    Ok(())
}

/// Prompt and generation speed on one line.
pub(crate) fn timing_line(timings: &Timings) -> String {
    format!(
        "prompt {} tokens, {:.1} t/s | generated {} tokens, {:.1} t/s",
        timings.n_prompt,
        timings.prompt_per_second(),
        timings.n_eval,
        timings.eval_per_second(),
    )
}
