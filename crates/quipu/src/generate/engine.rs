//! The engine: a generation as a state machine that yields one event after the other.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use quipu_tokenizer::{StreamDecoder, Tokenizer};
use tracing::Span;

use crate::TokenId;
use crate::error::Error;
use crate::generate::cancel::{Flow, Interrupt};
use crate::generate::events::{Event, Outcome, StopReason};
use crate::generate::logprobs::Logprobs;
use crate::generate::options::GenerateOptions;
use crate::generate::sampling::{TokenSampler, ignores_eog};
use crate::generate::shift::Shift;
use crate::session::Session;
use crate::stop::{StopMatcher, Verdict};

/// A generation under way: an iterator of events, made by [`Session::stream`].
///
/// After [`Event::Done`] or an error it yields nothing more. It may be dropped at any time; the session keeps what
/// was computed and is free for the next generation.
#[derive(Debug)]
pub struct Generation<'s> {
    session: &'s mut Session,
    tokenizer: Tokenizer,
    prompt: Vec<TokenId>,
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
    /// Events that are known and not yet handed out.
    pending: VecDeque<Event>,
    state: State,
    started: Instant,
    prompt_done: Option<Instant>,
    span: Span,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// See what of the prompt the session holds.
    Begin,
    /// Compute the prompt from this token on.
    Prefill(usize),
    /// Choose a token from the last logits.
    Sample,
    /// Compute this token.
    Decode(TokenId),
    /// Hand out the outcome.
    Report,
    /// Nothing.
    Ended,
}

impl<'s> Generation<'s> {
    pub(crate) fn new(
        session: &'s mut Session,
        prompt: &[TokenId],
        options: &GenerateOptions,
    ) -> Result<Generation<'s>, Error> {
        let tokenizer = session.model.tokenizer()?.clone();
        session.check_prompt(prompt)?;
        let shift = Shift::new(options.context_full, prompt.len(), &tokenizer, session)?;
        let sampler = TokenSampler::new(options, &session.model, session.n_ctx())?;
        Ok(Generation {
            prompt: prompt.to_vec(),
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
                n_prompt: prompt.len(),
                n_cached: 0,
                n_generated: 0,
                n_shifts: 0,
                stop: StopReason::MaxTokens,
                stop_string: None,
            },
            pending: VecDeque::new(),
            state: State::Begin,
            started: Instant::now(),
            prompt_done: None,
            span: tracing::info_span!("generate", n_prompt = prompt.len()),
            tokenizer,
            session,
        })
    }

    /// The next event; `None` after the end. An error ends the generation, not the session.
    pub fn next_event(&mut self) -> Option<Result<Event, Error>> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                if let Event::Text(text) = &event {
                    self.outcome.text.push_str(text);
                }
                return Some(Ok(event));
            }
            if let Err(error) = self.step()? {
                self.state = State::Ended;
                self.report("error");
                return Some(Err(error));
            }
        }
    }

    /// What happened so far.
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// Hands every event to `on_event` until the end, or until it asks to stop.
    pub(crate) fn run(mut self, mut on_event: impl FnMut(&Event) -> Flow) -> Result<Outcome, Error> {
        while let Some(event) = self.next_event() {
            let event = event?;
            let flow = on_event(&event);
            if let Event::Done(outcome) = event {
                return Ok(outcome);
            }
            if flow == Flow::Stop {
                self.pending.clear();
                self.finish(StopReason::Sink);
            }
        }
        Ok(self.outcome.clone())
    }

    /// Does what is next; `None` if nothing is.
    fn step(&mut self) -> Option<Result<(), Error>> {
        let span = self.span.clone();
        let _in_generation = span.enter();
        match self.state {
            State::Begin => Some(self.begin()),
            State::Prefill(next) => Some(self.prefill(next)),
            State::Sample => Some(self.sample()),
            State::Decode(token) => Some(self.decode(token)),
            State::Report => {
                self.state = State::Ended;
                self.report(self.outcome.stop.name());
                self.pending.push_back(Event::Done(self.outcome.clone()));
                Some(Ok(()))
            }
            State::Ended => None,
        }
    }

    fn begin(&mut self) -> Result<(), Error> {
        self.session.context.set_abort_callback(self.interrupt.abort_callback());
        self.sampler.accept_prompt(&self.prompt)?;
        let n_cached = self.session.begin_prompt(&self.prompt)?;
        self.outcome.n_cached = n_cached;
        self.state = State::Prefill(n_cached);
        Ok(())
    }

    /// Computes the next `n_batch` tokens of the prompt.
    fn prefill(&mut self, next: usize) -> Result<(), Error> {
        if self.interrupted() {
            return Ok(());
        }
        let n_batch = self.session.context.params().n_batch;
        let end = self.prompt.len().min(next + n_batch);
        let span = tracing::debug_span!("prefill", n_tokens = end - next, n_past = next);
        let computed = span.in_scope(|| self.session.extend(&self.prompt[next..end], false));
        if !self.survives(computed)? {
            return Ok(());
        }
        let elapsed = self.started.elapsed();
        let (n_prompt, n_cached) = (self.prompt.len(), self.outcome.n_cached);
        self.pending.push_back(Event::PromptProgress { n_prompt, n_cached, n_processed: end, elapsed });
        self.state = State::Prefill(end);
        if end == n_prompt {
            self.state = State::Sample;
            self.prompt_done = Some(Instant::now());
            let (n_computed, seconds) = (n_prompt - n_cached, elapsed.as_secs_f64());
            self.session.counts.add_prompt(n_computed as u64, elapsed);
            tracing::info!(name: "prompt", n_prompt, n_cached, n_computed, seconds);
        }
        Ok(())
    }

    /// Chooses a token and looks at its text.
    fn sample(&mut self) -> Result<(), Error> {
        if self.outcome.n_generated >= self.max_tokens {
            self.finish(StopReason::MaxTokens);
            return Ok(());
        }
        if self.interrupted() {
            return Ok(());
        }
        let logits = self.session.context.logits(-1)?;
        let sampler = &mut self.sampler;
        let id = tracing::trace_span!("sample").in_scope(|| sampler.sample(logits))?;
        let logprobs = match &mut self.logprobs {
            Some(logprobs) => Some(logprobs.of(id, logits, &mut self.sampler, &self.tokenizer)?),
            None => None,
        };
        let piece = self.tokenizer.piece(id, self.special)?.to_vec();
        self.outcome.tokens.push(id);
        self.outcome.n_generated += 1;
        self.pending.push_back(Event::Token { id, piece, logprobs });
        if self.tokenizer.is_eog(id) && !self.ignore_eog {
            self.finish(StopReason::EndOfGeneration);
            return Ok(());
        }
        let (stops, text) = (&mut self.stops, &mut self.text);
        let verdict =
            tracing::trace_span!("detokenize").in_scope(|| text.push(id).map(|text| stops.push(text)))?;
        self.state = State::Decode(id);
        match verdict {
            Verdict::Emit(text) => self.queue(text),
            Verdict::Stop { before, stop } => {
                self.queue(before);
                self.outcome.stop_string = Some(stop);
                self.finish(StopReason::StopString);
                return Ok(());
            }
        }
        if self.outcome.n_generated == self.max_tokens {
            self.finish(StopReason::MaxTokens);
        }
        Ok(())
    }

    /// Computes the logits after `token`, for which a full context makes room first.
    fn decode(&mut self, token: TokenId) -> Result<(), Error> {
        if self.interrupted() || !self.make_room()? {
            return Ok(());
        }
        let computed = self.session.extend(&[token], false);
        if self.survives(computed)? {
            self.state = State::Sample;
        }
        Ok(())
    }

    /// Whether there is room for a token; the generation is finished if not. As in the reference the last place
    /// is never used, unless there was nothing left to forget.
    fn make_room(&mut self) -> Result<bool, Error> {
        let (n_past, n_ctx) = (self.session.tokens.len(), self.session.n_ctx());
        if n_past + 1 < n_ctx {
            return Ok(true);
        }
        let (n_keep, n_discard) = self.shift.map_or((0, 0), |shift| shift.split(n_past));
        if n_discard > 0 {
            self.session.shift(n_keep, n_discard)?;
            self.outcome.n_shifts += 1;
            self.session.counts.n_shifts += 1;
            let n_past = n_past - n_discard;
            self.pending.push_back(Event::Shifted { n_keep, n_discard, n_past });
            tracing::info!(name: "shift", n_keep, n_discard, n_past);
            return Ok(true);
        }
        let room = self.shift.is_some() && n_past < n_ctx;
        if !room {
            self.finish(StopReason::ContextFull);
        }
        Ok(room)
    }

    /// Whether the computation went through. A computation that was interrupted finishes the generation; any other
    /// failure is an error.
    fn survives(&mut self, computed: Result<(), Error>) -> Result<bool, Error> {
        match computed {
            Ok(()) => Ok(true),
            Err(Error::Decoder(quipu_decoder::Error::Aborted)) if self.interrupted() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether the caller or the clock ends it here.
    fn interrupted(&mut self) -> bool {
        let reason = self.interrupt.reason();
        if let Some(reason) = reason {
            self.finish(reason);
        }
        reason.is_some()
    }

    /// Ends it: text held back comes out, unless a stop string or the callback cut it off.
    fn finish(&mut self, stop: StopReason) {
        self.outcome.stop = stop;
        if !matches!(stop, StopReason::StopString | StopReason::Sink) {
            let mut rest = match self.stops.push(self.text.finish()) {
                Verdict::Emit(text) | Verdict::Stop { before: text, .. } => text,
            };
            rest.push_str(&self.stops.finish());
            self.queue(rest);
        }
        self.state = State::Report;
    }

    fn queue(&mut self, text: String) {
        if !text.is_empty() {
            self.pending.push_back(Event::Text(text));
        }
    }

    /// Tells session and telemetry how it ended.
    fn report(&mut self, stop: &'static str) {
        let time = self.prompt_done.map_or(Duration::ZERO, |done| done.elapsed());
        let (n_prompt, n_generated) = (self.outcome.n_prompt, self.outcome.n_generated);
        self.session.counts.add_generation(n_generated as u64, time);
        let seconds = time.as_secs_f64();
        tracing::info!(name: "generation", n_prompt, n_generated, seconds, stop);
    }
}

impl Iterator for Generation<'_> {
    type Item = Result<Event, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_event()
    }
}

impl std::iter::FusedIterator for Generation<'_> {}

impl Drop for Generation<'_> {
    fn drop(&mut self) {
        // A cancel token raised after the fact, or time that passes, must not stop what comes next.
        self.session.context.set_abort_callback(None);
        if !matches!(self.state, State::Begin | State::Ended) {
            self.report("dropped");
        }
    }
}
