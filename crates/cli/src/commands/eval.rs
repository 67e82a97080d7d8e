//! `quipu eval`: questions with expected answers.

use std::io::Write;
use std::path::PathBuf;

use quipu::{Answer, AnswerMatch, Conversation, EvalReport, Message, Model, TokenId};
use serde_json::json;

use super::run::timing_line;
use crate::chat_template::TemplateArgs;
use crate::context::ContextArgs;
use crate::fail::{Failure, writing};
use crate::input::read_text;
use crate::options::ModelArgs;
use crate::output::note;
use crate::questions::{self, Question};
use crate::sampling::SamplingArgs;

/// Asks each question of a file by itself, prints whether the answer is right, and at the end how many are. Exits with 0,
/// or with 1 if fewer are right than --min-accuracy asks for.
///
/// The file has one JSON object a line: {"prompt": TEXT, "answer": TEXT or LIST}; also read are the lines of TriviaQA, with
/// "question" and a list of "aliases". Answers are the likeliest tokens, unless a sampling flag says something else.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// The questions.
    file: PathBuf,
    #[command(flatten)]
    model: ModelArgs,
    /// When an answer is right: contains = an expected one is in it, exact = it is one, begins = it begins with one.
    #[arg(long = "match", value_enum, value_name = "HOW", default_value = "contains")]
    matching: Matching,
    /// Ask through the model's chat template, each question as a message.
    #[arg(long)]
    chat: bool,
    /// Most tokens of an answer.
    #[arg(short = 'n', long = "n-predict", default_value_t = 32)]
    n_predict: u32,
    /// End an answer before this string; may be given several times.
    #[arg(long = "stop", value_name = "TEXT")]
    stop: Vec<String>,
    /// Most questions; 0 = all.
    #[arg(long, value_name = "N", default_value_t = 0)]
    max_questions: usize,
    /// Fail if a smaller share than this, 0 to 1, is right.
    #[arg(long, value_name = "SHARE", value_parser = share)]
    min_accuracy: Option<f64>,
    /// Print one JSON object for each question and one for all of them.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    template: TemplateArgs,
    #[command(flatten)]
    context: ContextArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
}

/// `--match`.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Matching {
    Contains,
    Exact,
    Begins,
}

impl From<Matching> for AnswerMatch {
    fn from(matching: Matching) -> AnswerMatch {
        match matching {
            Matching::Contains => AnswerMatch::Contains,
            Matching::Exact => AnswerMatch::Exact,
            Matching::Begins => AnswerMatch::Begins,
        }
    }
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "expected a number from 0 to 1".to_owned())
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let text = read_text(&args.file)?;
    let mut all =
        questions::read(&text).map_err(|why| Failure::Input(format!("{}: {why}", args.file.display())))?;
    if args.max_questions > 0 {
        all.truncate(args.max_questions);
    }
    let model_path = args.model.model.as_deref();
    let mut options = args.sampling.options(model_path, i64::from(args.n_predict), &args.stop)?;
    if !args.sampling.is_random() {
        options.sampling.temp = 0.0;
    }
    let model = args.model.open()?;
    SamplingArgs::check(&options, &model)?;
    let mut session = args.context.session(&model, &args.context.options())?;
    let mut report = EvalReport::default();
    let mut out = std::io::stdout().lock();
    for question in &all {
        let prompt = prompt(args, &model, question)?;
        let answer = session.ask(&prompt, &question.answers, args.matching.into(), &options)?;
        report.add(&answer);
        told(&mut out, args.json, question, &answer).and_then(|()| out.flush()).map_err(writing)?;
    }
    summary(&mut out, args.json, &report).and_then(|()| out.flush()).map_err(writing)?;
    args.model.report(&mut session);
    let counts = [report.timings.n_prompt, report.timings.n_eval];
    note(timing_line(counts, &report.timings));
    match args.min_accuracy {
        Some(least) if report.accuracy() < least => {
            let found = report.accuracy();
            Err(Failure::Input(format!("{found:.4} of the answers are right, expected at least {least}")))
        }
        _ => Ok(()),
    }
}

/// The question's tokens.
fn prompt(args: &Args, model: &Model, question: &Question) -> Result<Vec<TokenId>, Failure> {
    let tokenizer = model.tokenizer()?;
    if !args.chat {
        return Ok(tokenizer.encode(&question.prompt, true, false)?);
    }
    let template = args.template.template(model)?;
    let mut conversation = Conversation::new(vec![Message::new("user", &question.prompt).to_json()]);
    conversation.kwargs = args.template.kwargs()?;
    let text = template.apply(&conversation, tokenizer.add_bos(), tokenizer.add_eos())?;
    let mut prompt = tokenizer.encode(&text, true, true)?;
    // An answer follows.
    if tokenizer.add_eos() && prompt.last().copied() == tokenizer.special_tokens().eos {
        prompt.pop();
    }
    Ok(prompt)
}

fn told(out: &mut impl Write, as_json: bool, question: &Question, answer: &Answer) -> std::io::Result<()> {
    let line = question.line;
    let [prompt_ms, eval_ms] = [answer.prompt_time, answer.eval_time].map(|time| time.as_secs_f64() * 1000.0);
    if as_json {
        let object = json!({
            "line": line, "right": answer.is_right, "text": answer.text, "expected": question.answers,
            "n_prompt": answer.n_prompt, "n_generated": answer.n_generated, "prompt_ms": prompt_ms, "eval_ms": eval_ms,
        });
        return writeln!(out, "{object}");
    }
    let verdict = if answer.is_right { "right" } else { "wrong" };
    let said = answer.text.trim().replace(['\n', '\r'], " ");
    writeln!(
        out,
        "{line}: {verdict}, {} and {} tokens, {prompt_ms:.1} and {eval_ms:.1} ms: {said}",
        answer.n_prompt, answer.n_generated
    )
}

fn summary(out: &mut impl Write, as_json: bool, report: &EvalReport) -> std::io::Result<()> {
    let (n, right, accuracy) = (report.n, report.n_right, report.accuracy());
    let [prompt_ms, eval_ms] =
        [report.timings.prompt, report.timings.eval].map(|time| time.as_secs_f64() * 1000.0);
    if as_json {
        let object = json!({
            "questions": n, "right": right, "accuracy": accuracy,
            "n_prompt": report.timings.n_prompt, "n_generated": report.timings.n_eval,
            "prompt_ms": prompt_ms, "eval_ms": eval_ms,
        });
        return writeln!(out, "{object}");
    }
    writeln!(out, "{right} of {n} right, accuracy {:.2} %", 100.0 * accuracy)
}
