//! `quipu audit-log`: whether a model would have said what a log says it said.

use std::io::Write;
use std::path::PathBuf;

use quipu::{Agreement, AuditOptions, Parting, SessionOptions, Tokenizer, Transcript};

use crate::context::ContextArgs;
use crate::fail::{Failure, writing};
use crate::input::read_text;
use crate::options::ModelArgs;
use crate::transcripts;

/// Replays the generations of a log, each of its ids fed to the model whatever the model says, and prints for each whether it is exact, a
/// near tie or wrong, with the first place where model and log part and its margin. Exits with 0 if none is wrong, with 1 if
/// one is, and with 2 if one cannot be replayed.
///
/// The log has one JSON object a line: {"prompt": TEXT or LIST, "tokens": LIST, "seed": N, ...} with llama-server's
/// names of the sampling parameters, what llama-server answers with return_tokens, streamed or whole, or what --events
/// writes.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// The log.
    file: PathBuf,
    #[command(flatten)]
    model: ModelArgs,
    /// Change of logits up to which a parting is a near tie [default: three times what this engine's logits differ there
    /// between one batch and token by token, and at least 0.001].
    #[arg(long, value_name = "LOGITS")]
    tolerance: Option<f32>,
    #[command(flatten)]
    context: ContextArgs,
}

/// Verdicts, counted.
#[derive(Debug, Default)]
struct Counts {
    all: usize,
    wrong: usize,
    refused: usize,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    if args.tolerance.is_some_and(|tolerance| tolerance.is_nan() || tolerance < 0.0) {
        return Err(Failure::Refused("the tolerance must be a number of at least 0".to_owned()));
    }
    let log = read_text(&args.file).map_err(Failure::refused)?;
    let found = transcripts::read(&log);
    if found.is_empty() {
        let file = args.file.display();
        return Err(Failure::Refused(format!("{file}: no generations, expected one JSON object a line")));
    }
    let model = args.model.open().map_err(Failure::refused)?;
    let tokenizer: &Tokenizer = model.tokenizer().map_err(|error| Failure::from(error).refused())?;
    let found: Vec<(usize, Result<Transcript, String>)> = found
        .into_iter()
        .map(|(line, logged)| (line, logged.and_then(|logged| logged.transcript(tokenizer))))
        .collect();
    let mut options = SessionOptions { n_batch: 512, ..args.context.options() };
    if options.n_ctx == 0 {
        let lengths = found.iter().flat_map(|(_, t)| t).map(|t| t.prompt.len() + t.tokens.len());
        options.n_ctx = lengths.max().unwrap_or(0).max(1);
    }
    let mut session = args.context.session(&model, &options)?;
    let audit = AuditOptions { tolerance: args.tolerance };
    let mut counts = Counts::default();
    let mut out = std::io::stdout().lock();
    for (line, transcript) in found {
        let verdict = transcript.and_then(|transcript| {
            let n = transcript.tokens.len();
            session.audit(&transcript, &audit).map(|found| (found, n)).map_err(|error| error.to_string())
        });
        writeln!(out, "{line}: {}", counts.told(&verdict)).and_then(|()| out.flush()).map_err(writing)?;
    }
    counts.outcome()
}

impl Counts {
    /// Counts a verdict and puts it into words.
    fn told(&mut self, verdict: &Result<(Agreement, usize), String>) -> String {
        self.all += 1;
        match verdict {
            Ok((Agreement::Exact, n)) => format!("exact, {n} ids"),
            Ok((Agreement::NearTie { first, count }, n)) => {
                let more = if *count > 1 { format!(" and at {} more", count - 1) } else { String::new() };
                format!("near tie at {}{more}, {n} ids", place(first))
            }
            Ok((Agreement::Wrong(parting), n)) => {
                self.wrong += 1;
                format!("wrong at {}, {n} ids", place(parting))
            }
            Err(why) => {
                self.refused += 1;
                // Messages quote the log, and a log may hold anything.
                format!("refused: {}", why.replace(['\n', '\r'], " "))
            }
        }
    }

    fn outcome(&self) -> Result<(), Failure> {
        let Counts { all, wrong, refused } = self;
        match (wrong, refused) {
            (0, 0) => Ok(()),
            (0, _) => Err(Failure::Refused(format!("{refused} of {all} generations cannot be replayed"))),
            _ => Err(Failure::Input(format!("{wrong} of {all} generations are wrong"))),
        }
    }
}

/// Where model and log part, and how far they are from not doing so.
fn place(parting: &Parting) -> String {
    let Parting { step, logged, chosen, margin, tolerance } = parting;
    let chosen = chosen.map_or("nothing".to_owned(), |id| id.to_string());
    let margin = margin.map_or("no change of logits gives the logged id".to_owned(), |margin| {
        format!("margin {margin:.2e}")
    });
    format!("id {step} ({logged} logged, {chosen} chosen, {margin}, tolerance {tolerance:.2e})")
}
