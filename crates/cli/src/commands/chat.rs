//! `quipu chat`: a conversation on stdin and stdout.

use std::io::{BufRead, IsTerminal, Write};

use quipu::{Conversation, Flow, Message};
use serde_json::Value;

use crate::chat_template::TemplateArgs;
use crate::commands::run::timing_line;
use crate::fail::{Failure, writing};
use crate::generation::{GenerationArgs, Recording};
use crate::options::{ContextArgs, ModelArgs};
use crate::output::note;
use crate::sampling::SamplingArgs;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Message that sets the scene.
    #[arg(long)]
    system: Option<String>,
    /// Most tokens of an answer; -1 = until the model or the context ends.
    #[arg(short = 'n', long = "n-predict", default_value_t = -1, allow_negative_numbers = true)]
    n_predict: i64,
    #[command(flatten)]
    template: TemplateArgs,
    #[command(flatten)]
    context: ContextArgs,
    #[command(flatten)]
    generation: GenerationArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let mut options = args.sampling.options(args.model.model.as_deref(), args.n_predict, &[])?;
    args.generation.apply(&mut options);
    let mut inputs = args.model.inputs();
    args.sampling.add_inputs(&mut inputs);
    let recorder = args.generation.recorder(&inputs)?;
    let kwargs = args.template.kwargs()?;
    let model = args.model.open()?;
    Recording::begin(recorder.as_ref())?;
    SamplingArgs::check_grammar(&options, &model)?;
    let template = args.template.template(&model)?;
    let tokenizer = model.tokenizer()?;
    let mut session = model.session(&args.context.session())?;
    let mut messages: Vec<Value> =
        args.system.iter().map(|text| Message::new("system", text).to_json()).collect();
    let interactive = std::io::stdin().is_terminal();
    let mut stdout = std::io::stdout().lock();
    let mut lines = std::io::stdin().lock().lines();
    loop {
        if interactive {
            let _ = write!(std::io::stderr(), "> ");
        }
        let Some(line) = lines.next() else { break };
        let line = line.map_err(|error| Failure::Io { what: "stdin".to_owned(), error })?;
        if line.trim().is_empty() {
            continue;
        }
        messages.push(Message::new("user", &line).to_json());
        let mut conversation = Conversation::new(messages.clone());
        conversation.kwargs.clone_from(&kwargs);
        // What the tokenizer adds at the ends is not in the text, whether the template wrote it or not. An answer
        // follows, so nothing is added behind the prompt.
        let text = template.apply(&conversation, tokenizer.add_bos(), tokenizer.add_eos())?;
        let mut prompt = tokenizer.encode(&text, true, true)?;
        if tokenizer.add_eos() && prompt.last().copied() == tokenizer.special_tokens().eos {
            prompt.pop();
        }
        let mut failed = None;
        let outcome = session.generate_from(&prompt, &options, |text| {
            failed = write!(stdout, "{text}").and_then(|()| stdout.flush()).err();
            if failed.is_some() { Flow::Stop } else { Flow::Continue }
        })?;
        if let Some(error) = failed.or(writeln!(stdout).err()) {
            return Err(writing(error));
        }
        messages.push(Message::new("assistant", &outcome.text).to_json());
    }
    args.model.report(&mut session);
    note(timing_line(&session.timings()));
    args.generation.report(recorder.as_ref())
}
