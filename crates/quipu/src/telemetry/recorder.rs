//! The subscriber that adds up metrics and writes JSON lines.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::Metrics;
use super::json::{self, Value};
use super::spans::{Fields, OpenSpan, OpenSpans};

/// A `tracing` subscriber for this engine's spans and events. Clones share what was recorded: install one, keep
/// another to read from.
///
/// ```
/// # #[cfg(feature = "embedded-model")]
/// # fn main() -> Result<(), quipu::Error> {
/// use quipu::telemetry::{Recorder, Summary};
/// let recorder = Recorder::new();
/// tracing::subscriber::with_default(recorder.clone(), || -> Result<(), quipu::Error> {
///     let mut session = quipu::Model::embedded()?.session(&quipu::SessionOptions::default())?;
///     let options = quipu::GenerateOptions { max_tokens: Some(4), ..Default::default() };
///     session.generate("The fox", &options, |_| quipu::Flow::Continue).map(drop)
/// })?;
/// assert_eq!(recorder.metrics().generated_tokens, 4);
/// println!("{}", Summary(recorder.metrics()));
/// # Ok(()) }
/// # #[cfg(not(feature = "embedded-model"))]
/// # fn main() {}
/// ```
#[derive(Clone)]
pub struct Recorder {
    shared: Arc<Mutex<Shared>>,
    start: Instant,
    /// Most detailed level that is recorded.
    level: Level,
}

struct Shared {
    spans: OpenSpans,
    metrics: Metrics,
    out: Option<Box<dyn Write + Send>>,
    failed: Option<io::Error>,
    line: String,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").field("metrics", &self.metrics()).finish_non_exhaustive()
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Recorder::new()
    }
}

impl Recorder {
    /// A recorder that only adds up.
    pub fn new() -> Recorder {
        Recorder::with_output(None)
    }

    /// A recorder that also writes one JSON object per line to `out` for each span that closes and each event:
    /// `t_us` (microseconds since the recorder was made), `name`, for spans `us` (microseconds inside of it), and
    /// the fields. Warnings of the other crates come as events with a `message`.
    pub fn with_json_lines(out: impl Write + Send + 'static) -> Recorder {
        Recorder::with_output(Some(Box::new(out)))
    }

    fn with_output(out: Option<Box<dyn Write + Send>>) -> Recorder {
        let shared = Shared {
            spans: OpenSpans::default(),
            metrics: Metrics::default(),
            out,
            failed: None,
            line: String::new(),
        };
        Recorder { shared: Arc::new(Mutex::new(shared)), start: Instant::now(), level: Level::TRACE }
    }

    /// Records nothing more detailed than `level`: `DEBUG` leaves out ubatches, sampling and detokenizing, `INFO`
    /// keeps only whole prompts and generations.
    #[must_use]
    pub fn level(mut self, level: Level) -> Recorder {
        self.level = level;
        self
    }

    /// Makes this recorder the program's subscriber, for all threads and for good.
    ///
    /// # Errors
    /// The program has a subscriber already.
    pub fn install(&self) -> Result<(), tracing::subscriber::SetGlobalDefaultError> {
        tracing::subscriber::set_global_default(self.clone())
    }

    /// What was recorded so far.
    pub fn metrics(&self) -> Metrics {
        let shared = self.shared();
        Metrics { total: self.start.elapsed(), ..shared.metrics }
    }

    /// Writes out what is buffered.
    ///
    /// # Errors
    /// The output failed, now or earlier; nothing is written after the first failure.
    pub fn flush(&self) -> io::Result<()> {
        let mut shared = self.shared();
        match shared.failed.take() {
            Some(error) => Err(error),
            None => shared.out.as_mut().map_or(Ok(()), Write::flush),
        }
    }

    /// Nothing that is done under the lock leaves it half done, so a thread that died there does no harm.
    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn close(&mut self, span: OpenSpan, start: Instant) {
        let name = span.metadata.name();
        self.metrics.add_span(name, &span);
        let busy_us = span.busy.as_secs_f64() * 1e6;
        self.write(start, name, Some(busy_us), &span.fields);
        self.spans.recycle(span.fields);
    }

    fn write(&mut self, start: Instant, name: &str, busy_us: Option<f64>, fields: &Fields) {
        let Some(out) = &mut self.out else { return };
        self.line.clear();
        json::line(&mut self.line, start.elapsed().as_micros(), name, busy_us, &fields.0);
        if let Err(error) = out.write_all(self.line.as_bytes()) {
            self.failed = Some(error);
            self.out = None;
        }
    }
}

impl Metrics {
    /// Accounts a span that closed.
    fn add_span(&mut self, name: &str, span: &OpenSpan) {
        let (fields, busy) = (&span.fields, span.busy);
        match name {
            // A call that failed says nothing of the cache and is not counted, as in the context's own counters.
            "decode" if fields.get("kv_used").is_some() => {
                self.add_decode(fields.count("n_tokens"), busy);
                self.set_kv(fields.count("kv_used"), fields.count("n_cells"));
            }
            "ubatch" => {
                self.n_ubatches += 1;
                match fields.get("reused") {
                    Some(Value::Bool(true)) => self.n_reused += 1,
                    Some(_) => self.n_graph_builds += 1,
                    None => {}
                }
            }
            "sample" => {
                self.n_sample += 1;
                self.t_sample += busy;
            }
            "detokenize" => self.t_detokenize += busy,
            "generate" => self.n_active = self.n_active.saturating_sub(1),
            _ => {}
        }
    }

    /// Accounts an event.
    fn add_event(&mut self, name: &str, fields: &Fields) {
        match name {
            "load" => self.load = fields.time("seconds"),
            "prompt" => self.add_prompt(fields.count("n_computed"), fields.time("seconds")),
            "generation" => self.add_generation(fields.count("n_generated"), fields.time("seconds")),
            "shift" => self.n_shifts += 1,
            _ => {}
        }
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.level && metadata.target().starts_with("quipu")
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(self.level.into())
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut shared = self.shared();
        let mut fields = shared.spans.fields();
        attributes.record(&mut fields);
        if attributes.metadata().name() == "generate" {
            shared.metrics.n_active += 1;
        }
        Id::from_u64(shared.spans.open(attributes.metadata(), fields))
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        if let Some(span) = self.shared().spans.get(span.into_u64()) {
            values.record(&mut span.fields);
        }
    }

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut shared = self.shared();
        let mut fields = shared.spans.fields();
        event.record(&mut fields);
        // Events without a name of their own are messages; their given name is a place in a file.
        let name = event.metadata().name();
        let name = if name.starts_with("event ") { event.metadata().level().as_str() } else { name };
        shared.metrics.add_event(name, &fields);
        shared.write(self.start, name, None, &fields);
        shared.spans.recycle(fields);
    }

    fn enter(&self, span: &Id) {
        let mut shared = self.shared();
        shared.spans.enter(span.into_u64(), Instant::now());
    }

    fn exit(&self, span: &Id) {
        let now = Instant::now();
        self.shared().spans.exit(span.into_u64(), now);
    }

    fn clone_span(&self, span: &Id) -> Id {
        self.shared().spans.add_ref(span.into_u64());
        span.clone()
    }

    fn try_close(&self, span: Id) -> bool {
        let mut shared = self.shared();
        let Some(span) = shared.spans.drop_ref(span.into_u64()) else { return false };
        shared.close(span, self.start);
        true
    }
}
