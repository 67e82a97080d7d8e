//! `quipu chat`: a conversation on stdin and stdout.

use std::io::{IsTerminal, Write};

use quipu::{ChatTemplate, Conversation, Flow, Message, TokenId, Tokenizer};
use serde_json::{Map, Value};

use crate::chat_template::TemplateArgs;
use crate::commands::run::timing_line;
use crate::context::ContextArgs;
use crate::fail::{Failure, writing};
use crate::generation::{GenerationArgs, Recording};
use crate::input::{Line, MAX_LINE, read_line};
use crate::options::ModelArgs;
use crate::output::note;
use crate::sampling::SamplingArgs;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Message that sets the scene.
    #[arg(long)]
    system: Option<String>,
    /// The first message.
    #[arg(short = 'p', long)]
    prompt: Option<String>,
    /// End after one answer (-st).
    #[arg(long)]
    single_turn: bool,
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
    let mut options =
        args.sampling.options(args.model.model.as_deref(), args.n_predict, &args.generation.stop)?;
    args.generation.apply(&mut options);
    let mut inputs = args.model.inputs();
    args.sampling.add_inputs(&mut inputs);
    let recorder = args.generation.recorder(&inputs)?;
    let kwargs = args.template.kwargs()?;
    let model = args.model.open()?;
    Recording::begin(recorder.as_ref())?;
    SamplingArgs::check_grammar(&options, &model)?;
    let template = args.template.template(&model)?;
    let tokenizer = model.tokenizer()?.clone();
    let mut session = args.context.session(&model, &args.context.options())?;
    let system = args.system.iter().map(|text| Message::new("system", text).to_json()).collect();
    let mut talk = Talk { system, turns: Vec::new(), template, tokenizer, kwargs, n_ctx: session.n_ctx() };
    let interactive = std::io::stdin().is_terminal();
    let mut stdout = std::io::stdout().lock();
    let mut stdin = std::io::stdin().lock();
    let mut first = args.prompt.clone().map(Line::Text);
    let mut counts = [0; 2];
    while !args.single_turn || talk.turns.is_empty() {
        if interactive && first.is_none() {
            let _ = write!(std::io::stderr(), "> ");
        }
        let line = match first.take() {
            None => read_line(&mut stdin).map_err(|error| Failure::Io { what: "stdin".to_owned(), error })?,
            first => first,
        };
        let line = match line {
            None => break,
            Some(Line::Text(line)) if line.trim().is_empty() => continue,
            Some(Line::Text(line)) => Ok(line),
            Some(Line::TooLong) => Err(format!("it is longer than {MAX_LINE} bytes")),
            Some(Line::NotText) => Err("it is not UTF-8 text".to_owned()),
        };
        // What is too long to be answered is refused, and the conversation goes on as if it had not been said.
        let said = match line {
            Ok(line) => talk.say(&line)?.map(|prompt| (line, prompt)),
            Err(why) => Err(why),
        };
        let (line, prompt) = match said {
            Ok(said) => said,
            Err(why) => {
                note(format_args!("the message was not taken: {why}"));
                continue;
            }
        };
        let mut failed = None;
        let outcome = session.generate_from(&prompt, &options, |text| {
            failed = write!(stdout, "{text}").and_then(|()| stdout.flush()).err();
            if failed.is_some() { Flow::Stop } else { Flow::Continue }
        })?;
        if let Some(error) = failed.or(writeln!(stdout).err()) {
            return Err(writing(error));
        }
        counts = [counts[0] + outcome.n_prompt - outcome.n_cached, counts[1] + outcome.n_generated];
        talk.turns.push([
            Message::new("user", &line).to_json(),
            Message::new("assistant", &outcome.text).to_json(),
        ]);
    }
    args.model.report(&mut session);
    note(timing_line(counts, &session.timings()));
    args.generation.report(recorder.as_ref())
}

/// What was said so far.
struct Talk {
    system: Vec<Value>,
    /// Messages and their answers.
    turns: Vec<[Value; 2]>,
    template: ChatTemplate,
    tokenizer: Tokenizer,
    kwargs: Map<String, Value>,
    n_ctx: usize,
}

impl Talk {
    /// The prompt for an answer to `message`. Where the context does not hold all that was said, the oldest turns are
    /// forgotten, half of them at a time.
    /// Otherwise, why it cannot be answered.
    fn say(&mut self, message: &str) -> Result<Result<Vec<TokenId>, String>, Failure> {
        let mut n_forgotten = 0;
        loop {
            let prompt = self.prompt(message, n_forgotten)?;
            let n_prompt = prompt.len();
            if n_prompt < self.n_ctx {
                if n_forgotten > 0 {
                    self.turns.drain(..n_forgotten);
                    note(format_args!("the context is full: {n_forgotten} turns were forgotten"));
                }
                return Ok(Ok(prompt));
            }
            if n_forgotten == self.turns.len() {
                let error = quipu::Error::PromptTooLong { n_prompt, n_ctx: self.n_ctx };
                return Ok(Err(error.to_string()));
            }
            // Half of them at a time, so that not every message forgets one.
            n_forgotten += (self.turns.len() - n_forgotten).div_ceil(2);
        }
    }

    fn prompt(&self, message: &str, n_forgotten: usize) -> Result<Vec<TokenId>, Failure> {
        let mut messages = self.system.clone();
        messages.extend(self.turns[n_forgotten..].iter().flatten().cloned());
        messages.push(Message::new("user", message).to_json());
        let mut conversation = Conversation::new(messages);
        conversation.kwargs.clone_from(&self.kwargs);
        // What the tokenizer adds at the ends is not in the text, whether the template wrote it or not. An answer
        // follows, so nothing is added behind the prompt.
        let tokenizer = &self.tokenizer;
        let text = self.template.apply(&conversation, tokenizer.add_bos(), tokenizer.add_eos())?;
        let mut prompt = tokenizer.encode(&text, true, true)?;
        if tokenizer.add_eos() && prompt.last().copied() == tokenizer.special_tokens().eos {
            prompt.pop();
        }
        Ok(prompt)
    }
}
