//! The thread that owns the engine: takes jobs as slots become free, computes, and tells each job's reader what came of it.
//!
//! Readers are told through bounded channels. A full one makes its text wait, and nobody else; a closed one ends it. Answers to the loop of
//! `server_context::update_slots` and to `server_queue`.

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quipu::{
    CancelToken, Engine, Event, GenerateOptions, Outcome, SequenceKey, StopReason, TokenId, TokenLogprobs,
};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::sync::oneshot;

use crate::api_error::{ApiError, Kind};
use crate::shared::{Shared, SlotView};
use crate::times::Times;

/// How long the worker rests when every text waits for its reader.
const REST: Duration = Duration::from_millis(1);

/// What handlers ask for.
#[derive(Debug)]
pub(crate) enum Work {
    /// A text.
    Text(Box<Job>),
    /// Something with a slot.
    Slot(SlotJob),
}

impl Work {
    /// The slot it needs, if it needs one of its own.
    fn slot(&self) -> Option<usize> {
        match self {
            Work::Text(job) => job.slot,
            Work::Slot(job) => Some(job.slot),
        }
    }
}

/// Something that is to be done with a slot when no text has it.
#[derive(Debug)]
pub(crate) struct SlotJob {
    /// Which.
    pub slot: usize,
    /// What.
    pub action: SlotAction,
    /// Where to tell what came of it.
    pub reader: oneshot::Sender<Result<SlotDone, ApiError>>,
}

/// What is to be done with a slot.
#[derive(Debug)]
pub(crate) enum SlotAction {
    /// Write what it holds to a file.
    Save(PathBuf),
    /// Read what a file holds.
    Restore(PathBuf),
    /// Forget what it holds.
    Erase,
}

/// What was done with a slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlotDone {
    /// Tokens that were written, read or forgotten.
    pub n_tokens: usize,
    /// Bytes of the file.
    pub n_bytes: u64,
    /// How long it took.
    pub time: Duration,
}

/// A text that is wanted.
#[derive(Debug)]
pub(crate) struct Job {
    /// Which of a request's texts it is.
    pub index: usize,
    /// The slot it is to have; `None`: any.
    pub slot: Option<usize>,
    /// Its prompt; without a token there is no text either.
    pub prompt: Vec<TokenId>,
    /// What to do with it.
    pub options: GenerateOptions,
    /// Raised when nobody waits any more.
    pub cancel: CancelToken,
    /// Where to tell what came of it.
    pub reader: Sender<Told>,
}

/// One thing a reader is told.
#[derive(Debug)]
pub(crate) struct Told {
    /// Of which of the request's texts.
    pub index: usize,
    /// What.
    pub what: What,
}

/// What happened to a text.
#[derive(Debug)]
pub(crate) enum What {
    /// A slot has it.
    Started,
    /// A part of the prompt was computed.
    Progress {
        /// Tokens of the prompt.
        n_prompt: usize,
        /// Tokens that were held.
        n_cached: usize,
        /// Tokens done.
        n_processed: usize,
        /// Since it started.
        elapsed: Duration,
    },
    /// A token was chosen.
    Token {
        /// The token.
        id: TokenId,
        /// Its bytes.
        piece: Vec<u8>,
        /// Its probabilities, if they were asked for.
        logprobs: Option<TokenLogprobs>,
    },
    /// Text that is certain, by the last token.
    Text(String, Times),
    /// The end.
    Done(Box<Finished>),
    /// The end, with an error.
    Failed(ApiError),
}

/// A text at its end.
#[derive(Debug)]
pub(crate) struct Finished {
    /// What was generated.
    pub outcome: Outcome,
    /// By which slot.
    pub slot: usize,
    /// How long it took.
    pub times: Times,
}

/// A job that has a slot.
struct Slot {
    key: SequenceKey,
    index: usize,
    id: usize,
    reader: Sender<Told>,
    cancel: CancelToken,
    started: Instant,
    first_token: Option<Instant>,
    times: Times,
    /// Since when the reader takes nothing.
    waits_since: Option<Instant>,
    /// Nothing more is to be told.
    is_over: bool,
}

/// Works until every sender of jobs is gone and the last text has ended.
pub(crate) fn work(mut engine: Engine, mut jobs: Receiver<Work>, shared: &Arc<Shared>, patience: Duration) {
    let mut slots: Vec<Slot> = Vec::new();
    // What waits for a slot that a text has, in the order in which it came.
    let mut waiting: Vec<Work> = Vec::new();
    loop {
        let mut is_closed = false;
        let mut i = 0;
        while i < waiting.len() {
            if waiting[i].slot().is_some_and(|slot| engine.is_slot_taken(slot)) {
                i += 1;
            } else {
                let work = waiting.remove(i);
                slots.extend(begin(&mut engine, work, shared));
            }
        }
        while slots.len() < engine.n_seq_max() && waiting.len() < engine.n_seq_max() {
            let work = if slots.is_empty() { jobs.blocking_recv() } else { jobs.try_recv().ok() };
            let Some(work) = work else {
                is_closed = slots.is_empty();
                break;
            };
            if work.slot().is_some_and(|slot| engine.is_slot_taken(slot)) {
                waiting.push(work);
            } else {
                slots.extend(begin(&mut engine, work, shared));
            }
        }
        if is_closed {
            return;
        }
        let computed = compute(&mut engine, &mut slots, shared);
        let told = tell_all(&mut engine, &mut slots, shared, patience);
        slots.retain(|slot| {
            if slot.is_over {
                engine.remove(slot.key);
                shared.free(slot.id);
            }
            !slot.is_over
        });
        if computed == 0 && !told && !slots.is_empty() {
            std::thread::sleep(REST);
        }
    }
}

/// Begins with it; the slot, if it is a text that got one.
fn begin(engine: &mut Engine, work: Work, shared: &Shared) -> Option<Slot> {
    match work {
        Work::Text(job) => start(engine, *job, shared),
        Work::Slot(SlotJob { slot, action, reader }) => {
            let done = std::panic::catch_unwind(AssertUnwindSafe(|| act(engine, slot, &action)));
            let done = done.unwrap_or_else(|_| Err(ApiError::new(Kind::Server, "the slot's action failed")));
            // Nobody waits for it.
            let _ = reader.send(done);
            None
        }
    }
}

/// Does something with a free slot.
fn act(engine: &mut Engine, slot: usize, action: &SlotAction) -> Result<SlotDone, ApiError> {
    let start = Instant::now();
    let (n_tokens, path) = match action {
        SlotAction::Save(path) => (engine.save_slot(slot, path), Some(path)),
        SlotAction::Restore(path) => (engine.restore_slot(slot, path), Some(path)),
        SlotAction::Erase => (engine.erase_slot(slot), None),
    };
    let n_tokens = n_tokens.map_err(|error| match (&error, action) {
        (quipu::Error::Slot { .. }, _) | (_, SlotAction::Restore(_)) => {
            ApiError::invalid(format!("Unable to restore slot: {error}"))
        }
        _ => ApiError::while_computing(&error),
    })?;
    let n_bytes = path.and_then(|path| std::fs::metadata(path).ok()).map_or(0, |file| file.len());
    Ok(SlotDone { n_tokens, n_bytes, time: start.elapsed() })
}

/// Gives a job a slot, or tells its reader why not.
fn start(engine: &mut Engine, job: Job, shared: &Shared) -> Option<Slot> {
    let Job { index, slot, prompt, mut options, cancel, reader } = job;
    // Nobody waits for it any more.
    if reader.is_closed() {
        return None;
    }
    let n_prompt = prompt.len();
    if n_prompt == 0 {
        let finished = Finished { outcome: nothing(), slot: slot.unwrap_or(0), times: Times::default() };
        let _ = reader.try_send(Told { index, what: What::Done(Box::new(finished)) });
        return None;
    }
    let view = SlotView::new(n_prompt, &options);
    // As in the reference the first token is chosen before anybody asks how many are wanted.
    options.max_tokens = options.max_tokens.map(|n| n.max(1));
    let added = match slot {
        Some(slot) => engine.add_to_slot(slot, prompt, &options),
        None => engine.add(prompt, &options),
    };
    match added {
        Ok(key) => {
            let slot = engine.sequence(key).map_or(0, |sequence| sequence.seq_id() as usize);
            shared.take(slot, view);
            let now = Instant::now();
            let slot = Slot {
                key,
                index,
                id: slot,
                reader,
                cancel,
                started: now,
                first_token: None,
                times: Times::default(),
                waits_since: None,
                is_over: false,
            };
            // The channel has room for the first word.
            let _ = slot.reader.try_send(Told { index, what: What::Started });
            Some(slot)
        }
        Err(error) => {
            let what = What::Failed(ApiError::at_start(&error));
            let _ = reader.try_send(Told { index, what });
            None
        }
    }
}

/// What comes of a prompt without a token.
fn nothing() -> Outcome {
    Outcome {
        text: String::new(),
        tokens: Vec::new(),
        n_prompt: 0,
        n_cached: 0,
        n_generated: 0,
        n_shifts: 0,
        stop: StopReason::Sink,
        stop_string: None,
    }
}

/// One step; whatever goes wrong in it ends the texts under way and leaves an engine that knows nothing of them.
fn compute(engine: &mut Engine, slots: &mut [Slot], shared: &Shared) -> usize {
    let done = std::panic::catch_unwind(AssertUnwindSafe(|| engine.step()));
    let error = match done {
        Ok(Ok(n)) => {
            shared.decoded(engine, slots.len(), n);
            return n;
        }
        Ok(Err(error)) => ApiError::while_computing(&error),
        Err(_) => ApiError::new(Kind::Server, "computing failed"),
    };
    for slot in slots {
        let _ = slot.reader.try_send(Told { index: slot.index, what: What::Failed(error.clone()) });
        slot.is_over = true;
        engine.remove(slot.key);
    }
    engine.reset();
    0
}

/// Hands on what there is, as far as readers take it; whether anything was.
fn tell_all(engine: &mut Engine, slots: &mut [Slot], shared: &Shared, patience: Duration) -> bool {
    let mut told = false;
    for slot in slots.iter_mut().filter(|slot| !slot.is_over) {
        if slot.reader.is_closed() {
            slot.cancel.cancel();
            slot.is_over = true;
            continue;
        }
        loop {
            let permit = match slot.reader.clone().try_reserve_owned() {
                Ok(permit) => permit,
                Err(TrySendError::Full(_)) => {
                    let since = *slot.waits_since.get_or_insert_with(Instant::now);
                    slot.is_over = since.elapsed() >= patience;
                    break;
                }
                Err(TrySendError::Closed(_)) => {
                    slot.is_over = true;
                    break;
                }
            };
            slot.waits_since = None;
            let Some(event) = engine.next_event_of(slot.key) else { break };
            let event = event.map(quipu::EventRef::to_event);
            told = true;
            if let Some(what) = slot.what(event, shared) {
                permit.send(Told { index: slot.index, what });
            }
            if slot.is_over {
                break;
            }
        }
    }
    told
}

impl Slot {
    /// What the reader is told of an event.
    fn what(&mut self, event: Result<Event, quipu::Error>, shared: &Shared) -> Option<What> {
        Some(match event {
            Ok(Event::PromptProgress { n_prompt, n_cached, n_processed, elapsed }) => {
                self.times.n_cached = n_cached;
                self.times.n_prompt = n_processed - n_cached.min(n_processed);
                What::Progress { n_prompt, n_cached, n_processed, elapsed }
            }
            Ok(Event::Token { id, piece, logprobs }) => {
                let now = Instant::now();
                let first = *self.first_token.get_or_insert(now);
                self.times.prompt = first - self.started;
                self.times.generated = now - first;
                self.times.n_generated += 1;
                shared.progress(self.id, self.times.n_generated);
                What::Token { id, piece, logprobs }
            }
            Ok(Event::Text(text)) => What::Text(text, self.times),
            Ok(Event::Done(outcome)) => {
                self.is_over = true;
                self.times.n_cached = outcome.n_cached;
                self.times.n_prompt = outcome.n_prompt - outcome.n_cached;
                if self.first_token.is_none() {
                    self.times.prompt = self.started.elapsed();
                }
                shared.finished(&self.times);
                // Who hears of the end may ask what the slot does.
                shared.free(self.id);
                if outcome.stop == StopReason::Cancelled {
                    return None;
                }
                What::Done(Box::new(Finished { outcome, slot: self.id, times: self.times }))
            }
            Err(error) => {
                self.is_over = true;
                What::Failed(ApiError::while_computing(&error))
            }
            Ok(_) => return None,
        })
    }
}
