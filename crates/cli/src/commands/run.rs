//! `quipu run`: continue a prompt.

use std::io::Write;
use std::path::PathBuf;

use quipu::{Event, Timings};

use crate::adapters::AdapterArgs;
use crate::context::ContextArgs;
use crate::fail::{Failure, writing};
use crate::generation::{GenerationArgs, Recording};
use crate::input::read_prompt;
use crate::options::ModelArgs;
use crate::output::note;
use crate::sampling::{SamplingArgs, unescape};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// The prompt; \n, \t and the like are what they mean.
    #[arg(short = 'p', long, required_unless_present = "file", overrides_with = "file")]
    prompt: Option<String>,
    /// Read the prompt from a file as it stands, without a line break at its end; - = stdin.
    #[arg(short = 'f', long, overrides_with = "prompt")]
    file: Option<PathBuf>,
    /// Take backslashes in the prompt as they are.
    #[arg(long)]
    no_escape: bool,
    /// Print only what is generated.
    #[arg(long)]
    no_display_prompt: bool,
    /// Most tokens to generate; -1 = until the model or the context ends.
    #[arg(short = 'n', long = "n-predict", default_value_t = 256, allow_negative_numbers = true)]
    n_predict: i64,
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
        (Some(prompt), _) if args.no_escape => prompt.clone(),
        (Some(prompt), _) => unescape(prompt),
        (None, Some(path)) => read_prompt(path)?,
        (None, None) => String::new(),
    };
    let stop = &args.generation.stop;
    let mut options = args.sampling.options(args.model.model.as_deref(), args.n_predict, stop)?;
    args.generation.apply(&mut options);
    let mut inputs = args.model.inputs();
    args.file.iter().for_each(|path| inputs.add(path));
    args.sampling.add_inputs(&mut inputs);
    args.adapters.add_inputs(&mut inputs);
    let recorder = args.generation.recorder(&inputs)?;
    let model = args.model.open()?;
    Recording::begin(recorder.as_ref())?;
    SamplingArgs::check(&options, &model)?;
    let mut session = args.context.session(&model, &args.context.options())?;
    args.adapters.apply(&model, &mut session)?;
    let mut generation = session.stream(&prompt, &options)?;
    // A prompt that is refused is not shown.
    let shown = if args.no_display_prompt { "" } else { prompt.as_str() };
    let mut stdout = std::io::stdout().lock();
    let mut written = write!(stdout, "{shown}").and_then(|()| stdout.flush());
    let mut outcome = None;
    while written.is_ok() {
        match generation.next_event() {
            Some(Ok(Event::Text(text))) => {
                written = write!(stdout, "{text}").and_then(|()| stdout.flush());
            }
            Some(Ok(Event::Done(done))) => outcome = Some(done),
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                // What follows on the terminal starts on a line of its own.
                let _ = writeln!(stdout);
                return Err(error.into());
            }
            None => break,
        }
    }
    drop(generation);
    written.and_then(|()| writeln!(stdout)).map_err(writing)?;
    args.model.report(&mut session);
    args.generation.report(recorder.as_ref())?;
    if let Some(outcome) = outcome {
        let counts = timing_line([outcome.n_prompt, outcome.n_generated], &session.timings());
        note(format_args!("{counts} | stopped by {:?}", outcome.stop));
    }
    Ok(())
}

/// Tokens of prompts and of what was generated, and their speed, on one line. The first token of a text falls to its prompt's time.
pub(crate) fn timing_line([n_prompt, n_generated]: [usize; 2], timings: &Timings) -> String {
    format!(
        "prompt {n_prompt} tokens, {:.1} t/s | generated {n_generated} tokens, {:.1} t/s",
        timings.prompt_per_second(),
        timings.eval_per_second(),
    )
}
