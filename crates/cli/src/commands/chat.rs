//! `quipu chat`: a conversation. On a terminal with a line editor and commands; otherwise a line of stdin is a message, and an answer is
//! what stdout has.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use quipu::gguf::Inputs;
use quipu::{CancelToken, ContextFull, Event, GenerateOptions, Outcome, Session, StopReason};

use crate::chat::reader::{Reader, Said};
use crate::chat::saved;
use crate::chat::screen::{Color, Screen};
use crate::chat::slash::{self, Command};
use crate::chat::talk::{Prompt, Talk, Turn};
use crate::chat::thoughts::{Tags, Thoughts};
use crate::chat_template::TemplateArgs;
use crate::commands::run::timing_line;
use crate::context::ContextArgs;
use crate::fail::{Failure, writing};
use crate::generation::{GenerationArgs, Recording};
use crate::input::{Line, MAX_LINE, read_prompt, read_text};
use crate::options::ModelArgs;
use crate::output::note;
use crate::reasoning::ReasoningArgs;
use crate::sampling::SamplingArgs;
use crate::signals;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Message that sets the scene.
    #[arg(long, overrides_with = "system_prompt_file")]
    system: Option<String>,
    /// File with it (-sysf).
    #[arg(long, value_name = "FILE", overrides_with = "system")]
    system_prompt_file: Option<PathBuf>,
    /// The first message.
    #[arg(short = 'p', long)]
    prompt: Option<String>,
    /// End after one answer (-st).
    #[arg(long)]
    single_turn: bool,
    /// Most tokens of an answer; -1 = until the model or the context ends.
    #[arg(short = 'n', long = "n-predict", default_value_t = -1, allow_negative_numbers = true)]
    n_predict: i64,
    /// Dim thoughts (-co): on, off, or auto = on a terminal, unless NO_COLOR is set.
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto")]
    color: Color,
    /// Read lines as they are typed, without a line editor.
    #[arg(long)]
    simple_io: bool,
    #[command(flatten)]
    template: TemplateArgs,
    #[command(flatten)]
    reasoning: ReasoningArgs,
    #[command(flatten)]
    context: ContextArgs,
    #[command(flatten)]
    generation: GenerationArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
}

/// Of a context, the part that an answer should have room for.
const RESERVED: usize = 4;

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let mut options =
        args.sampling.options(args.model.model.as_deref(), args.n_predict, &args.generation.stop)?;
    args.generation.apply(&mut options);
    let mut inputs = args.model.inputs();
    args.sampling.add_inputs(&mut inputs);
    args.system_prompt_file.iter().for_each(|path| inputs.add(path));
    let recorder = args.generation.recorder(&inputs)?;
    let kwargs = args.template.kwargs()?;
    let system = match &args.system_prompt_file {
        Some(path) => Some(read_prompt(path)?),
        None => args.system.clone(),
    };
    let model = args.model.open()?;
    Recording::begin(recorder.as_ref())?;
    SamplingArgs::check(&options, &model)?;
    let template = args.template.template(&model)?;
    let tokenizer = model.tokenizer()?.clone();
    let tags = Tags::of(template.source());
    args.reasoning.apply(&mut options.sampling, tags, &tokenizer);
    let reader = Reader::new(args.simple_io);
    let is_interactive = reader.is_interactive();
    let mut context = args.context.options();
    if is_interactive && context.n_ubatch > 0 {
        // The same ubatches, in calls after which one can hear of them.
        context.n_batch = context.n_batch.min(context.n_ubatch);
    }
    let session = args.context.session(&model, &context)?;
    let n_ctx = session.n_ctx();
    let n_predict = usize::try_from(args.n_predict).unwrap_or(usize::MAX);
    let talk = Talk {
        system,
        turns: Vec::new(),
        template,
        tokenizer,
        kwargs,
        enable_thinking: args.reasoning.is_wanted(),
        n_ctx,
        n_reserved: n_predict.min(n_ctx / RESERVED),
    };
    let computed_by = saved::fingerprint(&session, &args.context.described());
    if is_interactive {
        note(format_args!(
            "{}, context of {n_ctx} tokens; /help shows commands, Ctrl-D ends",
            model.description()
        ));
    }
    let mut chat = Chat {
        screen: Screen::new(args.color, is_interactive),
        reader,
        is_interactive,
        session,
        talk,
        options,
        tags,
        inputs,
        computed_by,
        pending: String::new(),
        n_again: 0,
        counts: [0; 2],
    };
    chat.hold(args.prompt.clone(), args.single_turn)?;
    args.model.report(&mut chat.session);
    note(timing_line(chat.counts, &chat.session.timings()));
    args.generation.report(recorder.as_ref())
}

/// A conversation under way.
struct Chat {
    reader: Reader,
    screen: Screen,
    is_interactive: bool,
    session: Session,
    talk: Talk,
    options: GenerateOptions,
    tags: Tags,
    /// Files that are read and that nothing may be written over.
    inputs: Inputs,
    computed_by: String,
    /// Texts of files, for the next message.
    pending: String,
    /// How often the last message was answered again.
    n_again: u32,
    /// Tokens of prompts and of answers.
    counts: [usize; 2],
}

impl Chat {
    /// Takes messages and answers them, until there is no further one.
    fn hold(&mut self, first: Option<String>, single_turn: bool) -> Result<(), Failure> {
        let mut first = first.map(|text| Said::Line(Line::Text(text)));
        if let (Some(Said::Line(Line::Text(text))), true) = (&first, self.is_interactive) {
            note(format_args!("> {text}"));
        }
        let mut n_interrupts = 0;
        let mut is_answered = false;
        while !single_turn || !is_answered {
            let is_first = first.is_some();
            let said = match first.take() {
                Some(said) => said,
                None => self.reader.next()?,
            };
            n_interrupts = if matches!(said, Said::Interrupt) { n_interrupts + 1 } else { 0 };
            match said {
                Said::End => break,
                Said::Interrupt if n_interrupts > 1 => break,
                Said::Interrupt => note("Ctrl-D, /exit or Ctrl-C again ends the conversation"),
                Said::Line(Line::TooLong) => refused(&format!("it is longer than {MAX_LINE} bytes")),
                Said::Line(Line::NotText) => refused("it is not UTF-8 text"),
                Said::Line(Line::Text(line)) if line.trim().is_empty() && self.pending.is_empty() => {}
                Said::Line(Line::Text(line)) => {
                    let command = slash::parse(&line).filter(|_| self.is_interactive && !is_first);
                    match command {
                        Some(Ok(Command::Exit)) => break,
                        Some(Ok(command)) => self.obey(command)?,
                        Some(Err(why)) => note(why),
                        None => {
                            self.n_again = 0;
                            is_answered |= self.say(&line)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Answers a message; whether it was answered. What is too long to be answered is refused, and the conversation goes on as if it had
    /// not been said.
    fn say(&mut self, line: &str) -> Result<bool, Failure> {
        let message = format!("{}{line}", self.pending);
        match self.talk.say(&message)? {
            Ok(prompt) => {
                self.pending.clear();
                self.answer(message, &prompt)
            }
            Err(why) => {
                refused(&why);
                if !self.pending.is_empty() {
                    note("files that were read are forgotten too");
                    self.pending.clear();
                }
                Ok(false)
            }
        }
    }

    fn answer(&mut self, message: String, prompt: &Prompt) -> Result<bool, Failure> {
        let done = match self.generate(prompt) {
            // The session is as good as before; a person may try something else.
            Err(failure @ Failure::Engine(_)) if self.is_interactive => {
                self.screen.end().map_err(writing)?;
                note(format_args!("not answered: {failure}"));
                return Ok(false);
            }
            done => done?,
        };
        let Some((outcome, thoughts)) = done else { return Ok(false) };
        self.counts[0] += outcome.n_prompt - outcome.n_cached;
        self.counts[1] += outcome.n_generated;
        let (answer, thoughts) = thoughts.split();
        match outcome.stop {
            StopReason::Cancelled if outcome.n_generated == 0 => {
                note("stopped before the answer: the message is forgotten");
                return Ok(false);
            }
            StopReason::ContextFull => {
                note("the context is full, which ends this answer; --context-shift would go on");
            }
            _ => {}
        }
        self.talk.turns.push(Turn { user: message, answer, thoughts });
        Ok(true)
    }

    /// Shows an answer as it comes; none if the person had stopped it before.
    fn generate(&mut self, prompt: &Prompt) -> Result<Option<(Outcome, Thoughts)>, Failure> {
        let mut options = self.options.clone();
        if let ContextFull::Shift { n_keep } = options.context_full
            && n_keep >= 0
        {
            // The token that begins every text is kept besides.
            let n_system = self.talk.n_kept(prompt)?.saturating_sub(self.talk.tokenizer.add_bos().into());
            options.context_full = ContextFull::Shift { n_keep: n_keep.max(n_system as i32) };
        }
        if options.sampling.seed != quipu::sampler::DEFAULT_SEED {
            options.sampling.seed = options.sampling.seed.wrapping_add(self.n_again);
        }
        if self.is_interactive {
            let token = CancelToken::new();
            signals::interrupts_raise(&token);
            options.cancel = Some(token);
        }
        let mut thoughts = Thoughts::new(self.tags, &self.talk.tokenizer, &prompt.text);
        if prompt.text.trim_end().ends_with(self.tags.start) {
            self.tags.start.clone_into(&mut options.sampling.generation_prompt);
        }
        let n_prompt = prompt.tokens.len();
        let common = self.session.held_tokens().iter().zip(&prompt.tokens).take_while(|(a, b)| a == b);
        let n_cached = common.count();
        self.screen.progress(n_cached, n_cached, n_prompt);
        let mut generation = self.session.stream_from(&prompt.tokens, &options)?;
        let mut outcome = None;
        while let Some(event) = generation.next_event() {
            match event? {
                Event::PromptProgress { n_cached, n_processed, n_prompt, .. } if n_processed < n_prompt => {
                    self.screen.progress(n_cached, n_processed, n_prompt);
                }
                Event::Token { id, .. } => thoughts.token(id),
                Event::Text(text) => {
                    for (part, text) in thoughts.push(&text) {
                        self.screen.show(part, &text).map_err(writing)?;
                    }
                }
                Event::Done(done) => outcome = Some(done),
                _ => {}
            }
        }
        drop(generation);
        if let Some((part, text)) = thoughts.finish() {
            self.screen.show(part, &text).map_err(writing)?;
        }
        self.screen.end().map_err(writing)?;
        Ok(outcome.map(|outcome| (outcome, thoughts)))
    }

    fn obey(&mut self, command: Command) -> Result<(), Failure> {
        match command {
            Command::Help => note(slash::HELP),
            Command::Exit => {}
            Command::Clear => {
                self.talk.turns.clear();
                self.pending.clear();
                note("everything but the system text is forgotten");
            }
            Command::System(None) => note(self.talk.system.as_deref().unwrap_or("there is no system text")),
            Command::System(text) => self.talk.system = text,
            Command::Regen => return self.answer_again(),
            Command::Stats => self.tell_stats(),
            // What fails here is said, and the conversation goes on.
            Command::Save(path) => told(self.save(&path)),
            Command::Load(path) => told(self.load(&path)),
            Command::Read(path) => told(self.read(&path)),
        }
        Ok(())
    }

    fn answer_again(&mut self) -> Result<(), Failure> {
        let Some(turn) = self.talk.turns.pop() else {
            note("there is no answer yet");
            return Ok(());
        };
        self.n_again += 1;
        match self.talk.say(&turn.user)? {
            Ok(prompt) => {
                if !self.answer(turn.user.clone(), &prompt)? {
                    self.talk.turns.push(turn);
                }
            }
            Err(why) => {
                refused(&why);
                self.talk.turns.push(turn);
            }
        }
        Ok(())
    }

    fn tell_stats(&self) {
        let (n_held, n_ctx) = (self.session.held_tokens().len(), self.session.n_ctx());
        note(format_args!("{} turns, {n_held} of {n_ctx} tokens of the context", self.talk.turns.len()));
        note(timing_line(self.counts, &self.session.timings()));
    }

    fn save(&mut self, path: &Path) -> Result<String, Failure> {
        saved::save(path, &self.talk, &mut self.session, &self.computed_by, &self.inputs)?;
        Ok(format!("{}: {} turns", path.display(), self.talk.turns.len()))
    }

    fn load(&mut self, path: &Path) -> Result<String, Failure> {
        let (saved, has_state) = saved::load(path, &mut self.session, &self.computed_by)?;
        self.talk.system = saved.system;
        self.talk.turns = saved.turns;
        self.pending.clear();
        let state = if has_state { "" } else { ", to be computed again" };
        Ok(format!("{}: {} turns{state}", path.display(), self.talk.turns.len()))
    }

    fn read(&mut self, path: &Path) -> Result<String, Failure> {
        let text = read_text(path)?;
        // As llama-cli writes it.
        let _ = write!(self.pending, "--- File: {} ---\n{text}", path.display());
        if !self.pending.ends_with('\n') {
            self.pending.push('\n');
        }
        Ok(format!("{}: {} bytes, for the next message", path.display(), text.len()))
    }
}

fn refused(why: &str) {
    note(format_args!("the message was not taken: {why}"));
}

fn told(done: Result<String, Failure>) {
    match done {
        Ok(what) => note(what),
        Err(failure) => note(failure),
    }
}
