//! One text under way, as a value that is fed logits and says what it wants next.
//!
//! A [`Sequence`] knows prompt, sampler, stops, text stream, limits and positions; it owns no context and computes
//! nothing. [`crate::Engine`] drives many of them over one context; whoever drives a decoder of their own may drive one
//! as well. Answers to what `server_slot` holds of a completion, and to the loop of the reference's completion tool.

mod held;
mod queue;
mod told;

use std::time::{Duration, Instant};

use quipu_decoder::{BatchError, Memory, SeqId};
use quipu_tokenizer::{StreamDecoder, Tokenizer};
use tracing::Span;

use crate::TokenId;
use crate::error::Error;
use crate::generate::{
    EventRef, GenerateOptions, Interrupt, Logprobs, Outcome, Shift, StopReason, TokenLogprobs, TokenSampler,
    ignores_eog,
};
use crate::model::Model;
use crate::stop::StopMatcher;

pub(crate) use held::Held;
use queue::{Queue, Queued};
use told::Told;

/// What a sequence wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step<'a> {
    /// These tokens are to be computed, or the first of them, from this position on; after the last one its logits
    /// are wanted. [`Sequence::computed`] answers.
    Compute {
        /// The tokens, at least one.
        tokens: &'a [TokenId],
        /// Position of the first.
        pos: usize,
    },
    /// The logits of the last token that was computed; [`Sequence::feed`] answers.
    Logits,
    /// The context is full: `n_discard` tokens after the first `n_keep` are to be forgotten, those behind them move up
    /// ([`quipu_decoder::Memory::seq_rm`], [`quipu_decoder::Memory::seq_add`]). [`Sequence::shifted`] answers.
    Shift {
        /// Tokens kept at the beginning.
        n_keep: usize,
        /// Tokens forgotten after them.
        n_discard: usize,
    },
    /// Nothing: it has ended.
    Done,
}

/// A text under way: what is generated, how, and how far it is.
///
/// ```
/// # #[cfg(feature = "embedded-model")]
/// # fn main() -> Result<(), quipu::Error> {
/// use quipu::{EventRef, GenerateOptions, Sequence, Step};
/// # let model = quipu::Model::embedded()?;
/// # let mut session = model.session(&quipu::SessionOptions::default())?;
/// let context = session.context(); // or any quipu_decoder::Context
/// let options = GenerateOptions { max_tokens: Some(8), ..Default::default() };
/// let prompt = model.tokenizer()?.encode("Once upon a time", true, true)?;
/// let mut sequence = Sequence::new(&model, prompt, &options, context.params().n_ctx)?;
/// let mut batch = quipu_decoder::Batch::new();
/// loop {
///     match sequence.step() {
///         Step::Compute { tokens, pos } => {
///             batch.clear();
///             for (i, token) in tokens.iter().enumerate() {
///                 batch.add(*token, (pos + i) as i32, &[0], i + 1 == tokens.len());
///             }
///             let n = tokens.len();
///             context.decode(&batch)?;
///             sequence.computed(n);
///         }
///         Step::Logits => sequence.feed(context.logits(-1)?),
///         _ => break,
///     }
///     while let Some(event) = sequence.next_event() {
///         if let EventRef::Text(text) = event? {
///             print!("{text}");
///         }
///     }
/// }
/// assert_eq!(sequence.outcome().n_generated, 8);
/// # Ok(()) }
/// # #[cfg(not(feature = "embedded-model"))]
/// # fn main() {}
/// ```
#[derive(Debug)]
pub struct Sequence {
    tokenizer: Tokenizer,
    seq_id: SeqId,
    /// Tokens it may have in the context.
    n_ctx: usize,
    held: Held,
    sampler: TokenSampler,
    text: StreamDecoder,
    stops: StopMatcher,
    logprobs: Option<Logprobs>,
    interrupt: Interrupt,
    max_tokens: usize,
    shift: Option<Shift>,
    special: bool,
    ignore_eog: bool,
    /// What happened so far, as far as it was handed out.
    outcome: Outcome,
    queue: Queue,
    /// Of the token that was handed out last.
    last_logprobs: Option<TokenLogprobs>,
    state: State,
    started: Instant,
    prompt_done: Option<Instant>,
    /// Time from the end of the prompt to the end, once the end was handed out.
    reported: Option<Duration>,
    span: Span,
    /// What to tell a recorder at the end, if somebody listens.
    transcript: Option<Box<Told>>,
}

/// Where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing was asked yet.
    New,
    /// Tokens are to be computed.
    Compute,
    /// A token is to be chosen.
    Sample,
    /// Nothing is to be done.
    Ended,
}

impl Sequence {
    /// A sequence that continues `prompt` in a context in which it may have `n_ctx` tokens.
    ///
    /// # Errors
    /// An empty or too long prompt, ids outside the vocabulary, bad sampling parameters, a context to be shifted that
    /// cannot be, a model without vocabulary.
    pub fn new(
        model: &Model,
        prompt: Vec<TokenId>,
        options: &GenerateOptions,
        n_ctx: usize,
    ) -> Result<Sequence, Error> {
        let tokenizer = model.tokenizer()?.clone();
        check_prompt(&prompt, n_ctx, model.hparams().n_vocab)?;
        let n_prompt = prompt.len();
        let shift = Shift::new(options.context_full, n_prompt, model, &tokenizer)?;
        let sampler = TokenSampler::new(options, model, n_ctx)?;
        let transcript = Told::new(&prompt, options, &sampler, n_ctx).map(Box::new);
        Ok(Sequence {
            seq_id: 0,
            n_ctx,
            held: Held::new(prompt),
            sampler,
            text: tokenizer.stream(options.special),
            stops: StopMatcher::new(&options.stop),
            logprobs: Logprobs::new(options.n_probs, options.post_sampling_probs, options.special),
            interrupt: Interrupt::new(options.cancel.clone(), options.time_limit),
            max_tokens: options.max_tokens.unwrap_or(usize::MAX),
            shift,
            special: options.special,
            ignore_eog: ignores_eog(options, &tokenizer),
            outcome: Outcome {
                text: String::new(),
                tokens: Vec::new(),
                n_prompt,
                n_cached: 0,
                n_generated: 0,
                n_shifts: 0,
                stop: StopReason::MaxTokens,
                stop_string: None,
            },
            queue: Queue::default(),
            last_logprobs: None,
            state: State::New,
            started: Instant::now(),
            prompt_done: None,
            reported: None,
            span: tracing::info_span!("generate", n_prompt),
            transcript,
            tokenizer,
        })
    }

    /// Its number in the context; 0 unless an engine gave it another.
    pub fn seq_id(&self) -> SeqId {
        self.seq_id
    }

    /// What happened so far, as far as it was handed out.
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// The tokens the context holds of it, by position.
    pub fn held_tokens(&self) -> &[TokenId] {
        self.held.computed()
    }

    /// Whether it has ended; events may be left to hand out.
    pub fn is_done(&self) -> bool {
        self.state == State::Ended
    }

    /// What it wants next.
    pub fn step(&mut self) -> Step<'_> {
        let span = self.span.clone();
        let _in_generation = span.enter();
        if self.state == State::New {
            self.begin();
        }
        if self.state == State::Compute && self.interrupted() {
            return Step::Done;
        }
        match self.state {
            State::Compute => self.compute(),
            State::Sample => Step::Logits,
            State::New | State::Ended => Step::Done,
        }
    }

    /// Tells it that the next `n` of the tokens it wanted were computed.
    pub fn computed(&mut self, n: usize) {
        let span = self.span.clone();
        let _in_generation = span.enter();
        self.held.advance(n);
        let is_last = self.held.pending().is_empty();
        if is_last && self.state == State::Compute {
            self.state = State::Sample;
        }
        if self.prompt_done.is_some() {
            return;
        }
        let elapsed = self.started.elapsed();
        self.queue.push(Queued::PromptProgress { n_processed: self.held.n_past(), elapsed });
        if is_last {
            self.prompt_done = Some(Instant::now());
            self.reserve();
            let (n_prompt, n_cached) = (self.outcome.n_prompt, self.outcome.n_cached);
            let (n_computed, seconds) = (n_prompt - n_cached, elapsed.as_secs_f64());
            tracing::info!(name: "prompt", n_prompt, n_cached, n_computed, seconds);
        }
    }

    /// Chooses the next token from the logits it wanted, one per token of the vocabulary. A failure ends it, and is the
    /// last thing that [`Sequence::next_event`] hands out.
    pub fn feed(&mut self, logits: &[f32]) {
        let span = self.span.clone();
        let _in_generation = span.enter();
        if self.state != State::Sample {
            return;
        }
        // A sampler of the caller's own may panic: then this was the end.
        self.state = State::Ended;
        if let Err(error) = self.sample(logits) {
            self.end_with(error);
        }
    }

    /// Tells it that the tokens it wanted to be forgotten are.
    pub fn shifted(&mut self) {
        let Some((n_keep, n_discard)) = self.discard() else { return };
        self.held.forget(n_keep, n_discard);
        self.report_shift(n_keep, n_discard);
    }

    /// Ends it with an error; one that has ended stays as it is.
    pub fn fail(&mut self, error: Error) {
        if self.state != State::Ended {
            self.end_with(error);
        }
    }

    /// Ends it here: what was not handed out is dropped, and the end itself is all that is left to hand out. One whose
    /// end was handed out stays as it is.
    pub fn stop(&mut self) {
        if self.state == State::Ended && self.queue.is_empty() {
            return;
        }
        self.queue.clear();
        self.outcome.stop_string = None;
        self.finish(StopReason::Sink);
    }

    /// The next event; `None` if there is none yet, and after the end.
    ///
    /// # Errors
    /// What ended the sequence before its time; nothing comes after it.
    pub fn next_event(&mut self) -> Option<Result<EventRef<'_>, Error>> {
        let span = self.span.clone();
        let _in_generation = span.enter();
        let event = match self.queue.pop()? {
            Queued::PromptProgress { n_processed, elapsed } => EventRef::PromptProgress {
                n_prompt: self.outcome.n_prompt,
                n_cached: self.outcome.n_cached,
                n_processed,
                elapsed,
            },
            Queued::Token { id, logprobs } => {
                self.last_logprobs = logprobs;
                let piece = self.tokenizer.piece(id, self.special).unwrap_or_default();
                EventRef::Token { id, piece, logprobs: self.last_logprobs.as_ref() }
            }
            Queued::Text(n) => {
                let start = self.outcome.text.len();
                self.queue.take_text(n, &mut self.outcome.text);
                EventRef::Text(&self.outcome.text[start..])
            }
            Queued::Shifted { n_keep, n_discard, n_past } => EventRef::Shifted { n_keep, n_discard, n_past },
            Queued::Done => {
                self.report(self.outcome.stop.name());
                EventRef::Done(&self.outcome)
            }
            Queued::Failed(error) => {
                self.report("error");
                return Some(Err(error));
            }
        };
        Some(Ok(event))
    }

    fn begin(&mut self) {
        self.state = State::Ended;
        match self.sampler.accept_prompt(self.held.tokens()) {
            Ok(()) => self.state = State::Compute,
            Err(error) => self.end_with(error),
        }
    }

    fn end_with(&mut self, error: Error) {
        self.state = State::Ended;
        self.queue.push(Queued::Failed(error));
    }

    /// Tokens to compute, for which a full context makes room first. As in the reference the last place is never used,
    /// unless there was nothing left to forget.
    fn compute(&mut self) -> Step<'_> {
        let full = self.prompt_done.is_some() && self.held.len() >= self.n_ctx;
        if full {
            if let Some((n_keep, n_discard)) = self.discard() {
                return Step::Shift { n_keep, n_discard };
            }
            let has_room = self.shift.is_some() && self.held.len() <= self.n_ctx;
            if !has_room {
                self.finish(StopReason::ContextFull);
                return Step::Done;
            }
        }
        Step::Compute { tokens: self.held.pending(), pos: self.held.n_past() }
    }

    /// What a full context forgets for the next token: tokens kept, and tokens discarded after them. Tokens that are
    /// computed again had their room, and need none to be made.
    fn discard(&self) -> Option<(usize, usize)> {
        if self.held.pending().len() > 1 {
            return None;
        }
        let (n_keep, n_discard) = self.shift?.split(self.held.n_past());
        (n_discard > 0).then_some((n_keep, n_discard))
    }

    /// Looks at the text of the token that the sampler chooses.
    fn sample(&mut self, logits: &[f32]) -> Result<(), Error> {
        if self.outcome.n_generated >= self.max_tokens {
            self.finish(StopReason::MaxTokens);
            return Ok(());
        }
        if self.interrupted() {
            return Ok(());
        }
        let sampler = &mut self.sampler;
        let id = tracing::trace_span!("sample").in_scope(|| sampler.sample(logits))?;
        let logprobs = match &mut self.logprobs {
            Some(logprobs) => Some(logprobs.of(id, logits, &mut self.sampler, &self.tokenizer)?),
            None => None,
        };
        self.tokenizer.piece(id, self.special)?;
        self.outcome.tokens.push(id);
        self.outcome.n_generated += 1;
        self.queue.push(Queued::Token { id, logprobs });
        if self.tokenizer.is_eog(id) && !self.ignore_eog {
            self.finish(StopReason::EndOfGeneration);
            return Ok(());
        }
        let (stops, text, out) = (&mut self.stops, &mut self.text, self.queue.text_mut());
        let stop = tracing::trace_span!("detokenize")
            .in_scope(|| text.push(id).map(|text| stops.push(text, out)))?;
        let stop = stop.map(str::to_owned);
        self.queue.push_text();
        if stop.is_some() {
            self.outcome.stop_string = stop;
            self.finish(StopReason::StopString);
        } else if self.outcome.n_generated == self.max_tokens {
            self.finish(StopReason::MaxTokens);
        } else {
            self.held.push(id);
            self.state = State::Compute;
        }
        Ok(())
    }

    /// Whether the caller or the clock ends it here.
    fn interrupted(&mut self) -> bool {
        let reason = self.interrupt.reason();
        if let Some(reason) = reason {
            self.finish(reason);
        }
        reason.is_some()
    }

    /// Ends it: text held back comes out, unless a stop string or the caller cut it off.
    fn finish(&mut self, stop: StopReason) {
        self.state = State::Ended;
        self.outcome.stop = stop;
        if !matches!(stop, StopReason::StopString | StopReason::Sink) {
            let out = self.queue.text_mut();
            let met = self.stops.push(self.text.finish(), out).is_some();
            if !met {
                self.stops.finish(out);
            }
            self.queue.push_text();
        }
        self.queue.push(Queued::Done);
    }

    /// Has the memory for what is generated before the first token is.
    fn reserve(&mut self) {
        let n = self.max_tokens.min(self.n_ctx);
        self.held.reserve(n.min(self.n_ctx.saturating_sub(self.held.len())) + 1);
        self.outcome.tokens.reserve(n);
        self.outcome.text.reserve(n * TEXT_PER_TOKEN);
        self.queue.reserve();
    }

    fn report_shift(&mut self, n_keep: usize, n_discard: usize) {
        let n_past = self.held.n_past();
        self.outcome.n_shifts += 1;
        self.queue.push(Queued::Shifted { n_keep, n_discard, n_past });
        tracing::info!(name: "shift", n_keep, n_discard, n_past);
    }

    /// Tells telemetry how it ended, once.
    fn report(&mut self, stop: &'static str) {
        if self.reported.is_some() {
            return;
        }
        let time = self.prompt_done.map_or(Duration::ZERO, |done| done.elapsed());
        self.reported = Some(time);
        let (n_prompt, n_generated) = (self.outcome.n_prompt, self.outcome.n_generated);
        let seconds = time.as_secs_f64();
        tracing::info!(name: "generation", n_prompt, n_generated, seconds, stop);
        if let Some(told) = self.transcript.take() {
            told.tell(&self.outcome);
        }
    }
}

/// Bytes of text a token may be expected to have; more only costs an allocation.
const TEXT_PER_TOKEN: usize = 8;

/// What an engine does with its sequences.
impl Sequence {
    /// Gives it its number.
    pub(crate) fn set_seq_id(&mut self, seq_id: SeqId) {
        self.seq_id = seq_id;
    }

    pub(crate) fn held(&self) -> &Held {
        &self.held
    }

    pub(crate) fn held_mut(&mut self) -> &mut Held {
        &mut self.held
    }

    /// The prompt, before anything was computed.
    pub(crate) fn is_new(&self) -> bool {
        self.state == State::New
    }

    /// Takes over what the memory holds of another sequence's tokens with this number.
    pub(crate) fn adopt(&mut self, cached: &mut Held, memory: &mut dyn Memory) -> Result<(), Error> {
        let span = self.span.clone();
        let _in_generation = span.enter();
        // First of all: a sampler may fail or panic at the prompt, and then somebody must know what the memory holds.
        self.held.adopt(cached, self.seq_id, memory)?;
        self.outcome.n_cached = self.held.n_past();
        self.begin();
        Ok(())
    }

    /// Shifts it in the memory as [`Step::Shift`] said; `false` if the memory refuses.
    pub(crate) fn shift(
        &mut self,
        n_keep: usize,
        n_discard: usize,
        memory: &mut dyn Memory,
    ) -> Result<bool, Error> {
        let span = self.span.clone();
        let _in_generation = span.enter();
        let done = self.held.shift(n_keep, n_discard, self.seq_id, memory)?;
        if done {
            self.report_shift(n_keep, n_discard);
        }
        Ok(done)
    }

    /// Ends it if the caller or the clock wants that now.
    pub(crate) fn end_if_interrupted(&mut self) -> bool {
        let span = self.span.clone();
        let _in_generation = span.enter();
        self.state != State::Ended && self.interrupted()
    }

    /// Ends it where it is, because the context has no room for more; `false` if nothing was generated yet.
    pub(crate) fn end_full(&mut self) -> bool {
        let span = self.span.clone();
        let _in_generation = span.enter();
        let has_text = self.outcome.n_generated > 0 && self.state != State::Ended;
        if has_text {
            self.finish(StopReason::ContextFull);
        }
        has_text
    }

    /// Tokens of its prompt.
    pub(crate) fn n_prompt(&self) -> usize {
        self.outcome.n_prompt
    }

    pub(crate) fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    /// Whether it wants logits.
    pub(crate) fn wants_logits(&self) -> bool {
        self.state == State::Sample
    }

    /// Time from its beginning to the end of its prompt, once that came.
    pub(crate) fn prompt_time(&self) -> Option<Duration> {
        self.prompt_done.map(|done| done - self.started)
    }

    /// Time from the end of its prompt to its end, once that was handed out.
    pub(crate) fn generation_time(&self) -> Option<Duration> {
        self.reported
    }

    /// Whether all events were handed out.
    pub(crate) fn has_no_events(&self) -> bool {
        self.queue.is_empty()
    }

    /// Ends it for good: its outcome, what it holds, and the time it generated for; no time if it never began.
    pub(crate) fn leave(mut self) -> (Outcome, Held, Option<Duration>) {
        if self.state != State::New {
            let span = self.span.clone();
            let _in_generation = span.enter();
            self.report("dropped");
        }
        self.held.trim();
        (self.outcome, self.held, self.reported)
    }
}

/// Refuses prompts that cannot be computed, before anything is.
fn check_prompt(prompt: &[TokenId], n_ctx: usize, n_vocab: usize) -> Result<(), Error> {
    if prompt.is_empty() {
        return Err(Error::EmptyPrompt);
    }
    if prompt.len() >= n_ctx {
        return Err(Error::PromptTooLong { n_prompt: prompt.len(), n_ctx });
    }
    match prompt.iter().position(|token| *token as usize >= n_vocab) {
        Some(index) => {
            let error = BatchError::InvalidToken { index, token: prompt[index], n_vocab };
            Err(quipu_decoder::Error::from(error).into())
        }
        None => Ok(()),
    }
}
