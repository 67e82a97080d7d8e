//! The flags of `run` and `chat` that say how long a text goes on, what is shown of it, and what is reported about it.

use std::path::PathBuf;
use std::time::Duration;

use quipu::gguf::Inputs;
use quipu::telemetry::{Recorder, Summary};
use quipu::{ContextFull, GenerateOptions};

use crate::fail::Failure;
use crate::output::{Log, note};

/// When a text ends and what is reported.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Generation")]
#[allow(clippy::struct_excessive_bools)] // independent flags
pub(crate) struct GenerationArgs {
    /// When the context is full, forget half of what is behind the kept tokens and go on.
    #[arg(long, overrides_with = "no_context_shift")]
    context_shift: bool,
    /// When the context is full, end.
    #[arg(long, overrides_with = "context_shift")]
    no_context_shift: bool,
    /// Tokens of the prompt that a context shift keeps; -1 = all of them.
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    keep: i32,
    /// End a text before this string (-r); may be given several times.
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// Show control tokens.
    #[arg(long)]
    special: bool,
    /// End a text after this time, its prompt included.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    time_limit: Option<Duration>,
    /// Print times and counts at the end, as llama.cpp does.
    #[arg(long)]
    perf: bool,
    /// Write what happens to a file, one JSON object per line.
    #[arg(long, value_name = "FILE")]
    pub events: Option<PathBuf>,
}

impl GenerationArgs {
    /// Puts what was given into the options.
    pub fn apply(&self, options: &mut GenerateOptions) {
        if self.context_shift {
            options.context_full = ContextFull::Shift { n_keep: self.keep };
        }
        options.special = self.special;
        options.time_limit = self.time_limit;
    }

    /// Starts to record, if something of it was asked for. `inputs` are the files that are read: events must not be
    /// written over one of them.
    pub fn recorder(&self, inputs: &Inputs) -> Result<Option<Recording>, Failure> {
        let (recorder, events) = match &self.events {
            Some(path) => {
                let events = Log::create(path, inputs)?;
                (Recorder::with_json_lines(events.clone()), Some(events))
            }
            None if self.perf => (Recorder::new(), None),
            None => return Ok(None),
        };
        // There is no other subscriber in this program.
        recorder.install().map_err(|error| Failure::Input(error.to_string()))?;
        Ok(Some(Recording { recorder, events }))
    }

    /// Ends the recording.
    pub fn report(&self, recording: Option<&Recording>) -> Result<(), Failure> {
        let Some(Recording { recorder, .. }) = recording else { return Ok(()) };
        if self.perf {
            note(Summary(recorder.metrics()));
        }
        let what = || self.events.as_deref().unwrap_or_else(|| "events".as_ref()).display().to_string();
        recorder.flush().map_err(|error| Failure::Io { what: what(), error })
    }
}

/// What is recorded, and the file it is written to if it is.
#[derive(Debug)]
pub(crate) struct Recording {
    recorder: Recorder,
    events: Option<Log>,
}

impl Recording {
    /// There is a model: the file of events replaces an older one.
    pub fn begin(recording: Option<&Recording>) -> Result<(), Failure> {
        let events = recording.and_then(|recording| recording.events.as_ref());
        events.map_or(Ok(()), Log::appear)
    }
}

/// Seconds, with a fraction perhaps.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.trim().parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.ok_or_else(|| "expected seconds, such as 1.5".to_owned())
}
