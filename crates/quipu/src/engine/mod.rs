//! Many sequences over one context, with one batch per step.
//!
//! [`Engine::step`] asks every sequence what it wants, gathers one batch of it (single tokens first, then prompts in fair
//! shares), decodes it (`compute`) and feeds each sequence its logits. Sequences come and go between any two steps; when one leaves,
//! what the memory holds of it stays for a prompt that begins alike, as long as there is room. Answers to
//! `server_context::update_slots`. What is generated and when it ends is a [`Sequence`]'s business; queues, requests and
//! text protocols are above.

mod compute;
mod gather;
mod guard;
mod lane;
mod lora;
mod slot;

use std::sync::Arc;
use std::time::Instant;

use quipu_decoder::{Batch, Context, ContextParams, Pooling, SeqId};
use quipu_model::LoraAdapter;

use crate::TokenId;
use crate::error::Error;
use crate::generate::{EventRef, GenerateOptions, Interrupt, Outcome};
use crate::model::Model;
use crate::options::{DEFAULT_N_CTX, EngineOptions, SessionOptions, default_threads};
use crate::sequence::Sequence;
use crate::telemetry::{Metrics, Timings};
use compute::Part;
use lane::{Lane, Live};

/// Names a sequence of an engine; never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SequenceKey(u64);

/// Several sequences that generate at once, on one context and the model's shared weights.
///
/// ```
/// # #[cfg(feature = "embedded-model")]
/// # fn main() -> Result<(), quipu::Error> {
/// use quipu::{EngineOptions, EventRef, GenerateOptions, Model};
/// let mut engine = Model::embedded()?.engine(&EngineOptions::default())?;
/// let options = GenerateOptions { max_tokens: Some(8), ..Default::default() };
/// let fox = engine.add_text("The fox", &options)?;
/// let dog = engine.add_text("The dog", &options)?;
/// while engine.n_live() > 0 {
///     engine.step()?;
///     while let Some((key, event)) = engine.next_event() {
///         match event {
///             Ok(EventRef::Text(text)) => println!("{}: {text}", if key == fox { "fox" } else { "dog" }),
///             Ok(EventRef::Done(outcome)) => println!("{} tokens", outcome.n_generated),
///             Ok(_) => {}
///             Err(error) => println!("{}: {error}", if key == dog { "dog" } else { "fox" }),
///         }
///     }
/// }
/// # Ok(()) }
/// # #[cfg(not(feature = "embedded-model"))]
/// # fn main() {}
/// ```
#[derive(Debug)]
pub struct Engine {
    model: Model,
    context: Context,
    /// Tokens one sequence may have.
    n_ctx_seq: usize,
    deterministic: bool,
    /// Adapters that sequences may ask for.
    adapters: Vec<Arc<LoraAdapter>>,
    /// One per sequence number.
    lanes: Vec<Lane>,
    live: Vec<Live>,
    n_keys: u64,
    /// Counts steps and departures: whose turn it is, and what was left when.
    clock: u64,
    batch: Batch,
    /// Who has how many tokens in the batch.
    parts: Vec<Part>,
    wanted: Vec<usize>,
    shares: Vec<usize>,
    timings: Timings,
    /// What sequences did; the rest of [`Engine::metrics`] is the context's.
    counts: Metrics,
    created: Instant,
}

impl Model {
    /// Makes an engine: a context in which several sequences generate at once.
    ///
    /// # Errors
    /// As [`Model::session`]; more sequences than a context can have.
    pub fn engine(&self, options: &EngineOptions) -> Result<Engine, Error> {
        Engine::new(self.clone(), options)
    }
}

impl Engine {
    pub(crate) fn new(model: Model, options: &EngineOptions) -> Result<Engine, Error> {
        model.check_weights()?;
        let params = context_params(&model, options)?;
        let context = Context::new(model.weights().clone(), model.devices(), &params)?;
        let n_seq_max = context.params().n_seq_max;
        let most = context.params().n_ctx_seq();
        let n_ctx_seq = if options.n_ctx_seq == 0 { most } else { options.n_ctx_seq.min(most) };
        Ok(Engine {
            model,
            context,
            n_ctx_seq,
            deterministic: options.deterministic,
            adapters: Vec::new(),
            lanes: (0..n_seq_max).map(|_| Lane::default()).collect(),
            live: Vec::with_capacity(n_seq_max),
            n_keys: 0,
            clock: 0,
            batch: Batch::new(),
            parts: Vec::with_capacity(n_seq_max),
            wanted: Vec::with_capacity(n_seq_max),
            shares: Vec::with_capacity(n_seq_max),
            timings: Timings::default(),
            counts: Metrics::default(),
            created: Instant::now(),
        })
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The decoder underneath, for those who drive it themselves. Forget what this engine knew with [`Engine::reset`]
    /// afterwards.
    pub fn context(&mut self) -> &mut Context {
        &mut self.context
    }

    /// Tokens the context holds at most, of all sequences together.
    pub fn n_ctx(&self) -> usize {
        self.context.params().n_ctx
    }

    /// Tokens one sequence may have.
    pub fn n_ctx_seq(&self) -> usize {
        self.n_ctx_seq
    }

    /// Sequences that may be under way at once.
    pub fn n_seq_max(&self) -> usize {
        self.lanes.len()
    }

    /// Sequences under way: those that have not ended, or whose events were not all taken.
    pub fn n_live(&self) -> usize {
        self.live.iter().filter(|live| !live.is_over()).count()
    }

    /// Time spent in decode calls so far; a call with tokens of a prompt among others counts as prompt.
    pub fn timings(&self) -> Timings {
        self.timings
    }

    /// What was counted and timed so far, for the exporters of [`crate::telemetry`]. Sampling and detokenizing are timed
    /// by a [`crate::telemetry::Recorder`] only.
    pub fn metrics(&self) -> Metrics {
        let perf = self.context.perf();
        let memory = self.context.memory();
        let mut counts = self.counts;
        for live in self.live.iter().filter(|live| live.is_over()) {
            if let Some(time) = live.sequence.generation_time() {
                counts.add_generation(live.sequence.outcome().n_generated as u64, time);
            }
        }
        Metrics {
            load: self.model.load_time(),
            total: self.model.load_time() + self.created.elapsed(),
            n_prompt: perf.n_prompt as u64,
            t_prompt: perf.t_prompt,
            n_eval: perf.n_eval as u64,
            t_eval: perf.t_eval,
            n_graph_builds: perf.n_graph_builds as u64,
            n_reused: perf.n_reused as u64,
            n_ubatches: (perf.n_graph_builds + perf.n_reused) as u64,
            kv_used: memory.n_used() as u64,
            n_cells: memory.n_cells() as u64,
            n_active: self.n_live() as u64,
            ..counts
        }
    }

    /// Adds a sequence that continues `prompt`, from the next step on. The prompt is not copied.
    ///
    /// # Errors
    /// [`Error::NoFreeSequence`]; an empty or too long prompt, ids outside the vocabulary, bad sampling parameters, a
    /// context to be shifted that cannot be, a model without vocabulary. The engine has not changed then.
    pub fn add(
        &mut self,
        prompt: impl Into<Vec<TokenId>>,
        options: &GenerateOptions,
    ) -> Result<SequenceKey, Error> {
        let prompt = prompt.into();
        self.reap();
        let loras = self.strengths(&options.loras);
        let Some(seq_id) = lane::choose(&self.lanes, &prompt, &loras) else {
            return Err(Error::NoFreeSequence { n_seq_max: self.lanes.len() });
        };
        self.add_to(seq_id, prompt, options, loras)
    }

    /// As [`Engine::add`], with this sequence number.
    ///
    /// # Errors
    /// As [`Engine::add`]; a slot that is not there or not free.
    pub fn add_to_slot(
        &mut self,
        slot: usize,
        prompt: impl Into<Vec<TokenId>>,
        options: &GenerateOptions,
    ) -> Result<SequenceKey, Error> {
        let seq_id = self.free_slot(slot)?;
        let loras = self.strengths(&options.loras);
        self.add_to(seq_id, prompt.into(), options, loras)
    }

    fn add_to(
        &mut self,
        seq_id: SeqId,
        prompt: Vec<TokenId>,
        options: &GenerateOptions,
        loras: Vec<f32>,
    ) -> Result<SequenceKey, Error> {
        let mut sequence = Sequence::new(&self.model, prompt, options, self.n_ctx_seq)?;
        self.use_adapters(seq_id, loras)?;
        sequence.set_seq_id(seq_id);
        self.lanes[seq_id as usize].is_taken = true;
        self.n_keys += 1;
        let key = SequenceKey(self.n_keys);
        // Nobody overtakes who waits for room.
        let is_parked = self.live.iter().any(|live| live.is_parked);
        let takes_over = options.cache_prompt && !self.deterministic;
        self.live.push(Live { key, sequence, waits: false, is_parked, takes_over });
        self.watch_interrupts();
        Ok(key)
    }

    /// As [`Engine::add`], from text.
    ///
    /// # Errors
    /// As [`Engine::add`]; text that cannot be tokenized.
    pub fn add_text(&mut self, prompt: &str, options: &GenerateOptions) -> Result<SequenceKey, Error> {
        let tokens = self.model.tokenizer()?.encode(prompt, true, options.parse_special)?;
        self.add(tokens, options)
    }

    /// A sequence under way; `None` after it was removed, or after its last event was taken and the engine went on.
    pub fn sequence(&self, key: SequenceKey) -> Option<&Sequence> {
        self.live.iter().find(|live| live.key == key).map(|live| &live.sequence)
    }

    /// Takes a sequence out, wherever it is; `None` if it is gone already. What the context holds of it stays for
    /// prompts that begin alike.
    pub fn remove(&mut self, key: SequenceKey) -> Option<Outcome> {
        let index = self.live.iter().position(|live| live.key == key)?;
        let outcome = self.take_out(index);
        self.watch_interrupts();
        Some(outcome)
    }

    /// One batch: computes what the sequences want next, as much as a batch holds, and lets each choose its next token.
    /// Returns the number of tokens computed; 0 if nobody wants any.
    ///
    /// A sequence whose events were not taken with [`Engine::next_event`] waits. One that was cancelled, or whose time
    /// is over, ends within the step. What goes wrong in one sequence ends that one, and is handed out among its events.
    ///
    /// Where a shared context has no room for all, the newest sequences wait until older ones end, and compute again then what was forgotten of
    /// them. One that is alone and finds no room ends with [`crate::StopReason::ContextFull`], and with [`Error::NoRoom`] if nothing was generated.
    ///
    /// # Errors
    /// The computation failed. Every sequence is where it was before the step, which may be tried again; to give up on
    /// them, remove them.
    pub fn step(&mut self) -> Result<usize, Error> {
        self.reap();
        self.sample();
        let n_tokens = self.compute()?;
        self.sample();
        Ok(n_tokens)
    }

    /// The next event of any sequence; `None` if none has one. A sequence is gone when its [`EventRef::Done`] or its
    /// error was taken and the engine goes on.
    pub fn next_event(&mut self) -> Option<(SequenceKey, Result<EventRef<'_>, Error>)> {
        let live = self.live.iter_mut().find(|live| !live.sequence.has_no_events())?;
        Some((live.key, live.sequence.next_event()?))
    }

    /// The next event of this sequence; `None` if it has none, or is gone. For those who hand events on to readers of their own speed:
    /// a sequence whose events are not taken waits, and the others go on.
    pub fn next_event_of(&mut self, key: SequenceKey) -> Option<Result<EventRef<'_>, Error>> {
        let live = self.live.iter_mut().find(|live| live.key == key)?;
        live.sequence.next_event()
    }

    /// Forgets everything that was computed; sequences under way compute their tokens again.
    pub fn reset(&mut self) {
        self.lanes.iter_mut().for_each(|lane| lane.cached.clear());
        self.live.iter_mut().for_each(|live| live.sequence.held_mut().lost());
        self.context.memory_mut().clear();
    }

    /// Half a step, for those who pull one event after the other: chooses tokens if logits are there, else computes.
    pub(crate) fn advance(&mut self) -> Result<(), Error> {
        if self.live.iter().any(|live| live.sequence.wants_logits()) {
            self.sample();
            return Ok(());
        }
        self.compute().map(drop)
    }

    /// The sequence of a key that was not removed yet.
    pub(crate) fn at(&self, key: SequenceKey) -> &Sequence {
        &self.live[self.index(key)].sequence
    }

    /// As [`Engine::at`].
    pub(crate) fn at_mut(&mut self, key: SequenceKey) -> &mut Sequence {
        let index = self.index(key);
        &mut self.live[index].sequence
    }

    fn index(&self, key: SequenceKey) -> usize {
        self.live.iter().position(|live| live.key == key).unwrap_or_default()
    }

    /// The tokens whose keys and values the context holds for a sequence number, by position.
    pub(crate) fn held_tokens(&self, seq_id: SeqId) -> &[TokenId] {
        let live = self.live.iter().find(|live| live.sequence.seq_id() == seq_id);
        match live.filter(|live| !live.sequence.is_new()) {
            Some(live) => live.sequence.held_tokens(),
            None => self.lanes.get(seq_id as usize).map_or(&[], |lane| lane.cached.computed()),
        }
    }

    /// Takes every sequence out, then decodes `tokens` at the end of what lane 0 holds; `all_outputs` says whether every
    /// row's logits are wanted or only the last one's. After an error nothing of them is held.
    pub(crate) fn extend(&mut self, tokens: &[TokenId], all_outputs: bool) -> Result<(), Error> {
        self.remove_all();
        let cached = &mut self.lanes[0].cached;
        cached.set_pending(tokens);
        let first = cached.n_past();
        self.batch.clear();
        for (i, token) in tokens.iter().enumerate() {
            self.batch.add(*token, (first + i) as i32, &[0], all_outputs || i + 1 == tokens.len());
        }
        self.parts.clear();
        self.parts.push(Part { seq_id: 0, n_tokens: tokens.len(), last: tokens.len().saturating_sub(1) });
        let done = self.decode(tokens.len() > 1);
        let cached = &mut self.lanes[0].cached;
        if done.is_ok() {
            cached.advance(tokens.len());
            self.count_held();
        }
        self.lanes[0].cached.trim();
        done
    }

    /// Takes every sequence out, then runs `tokens` through the model from nothing, in pieces of at most `n_batch`,
    /// hands the context with every row of a piece to `read`, and forgets them, whatever happens.
    pub(crate) fn run_apart(
        &mut self,
        tokens: &[TokenId],
        n_batch: usize,
        mut read: impl FnMut(&Context, usize) -> Result<(), quipu_decoder::Error>,
    ) -> Result<(), Error> {
        self.remove_all();
        self.reset();
        self.parts.clear();
        let done = self.guarded(|engine| {
            for (number, piece) in tokens.chunks(n_batch).enumerate() {
                engine.batch.clear();
                for (i, token) in piece.iter().enumerate() {
                    engine.batch.add(*token, (number * n_batch + i) as i32, &[0], true);
                }
                engine.context.decode(&engine.batch)?;
                read(&engine.context, piece.len())?;
            }
            Ok(())
        });
        self.reset();
        done
    }

    /// Takes all sequences out: those of generations that were forgotten ([`std::mem::forget`]) and never dropped.
    pub(crate) fn remove_all(&mut self) {
        if self.live.is_empty() {
            return;
        }
        while !self.live.is_empty() {
            self.take_out(0);
        }
        self.watch_interrupts();
    }

    /// Lets go of sequences that have nothing left to do or to say.
    fn reap(&mut self) {
        let n_before = self.live.len();
        while let Some(index) = self.live.iter().position(Live::is_over) {
            self.take_out(index);
        }
        if self.live.len() < n_before {
            self.watch_interrupts();
        }
    }

    fn take_out(&mut self, index: usize) -> Outcome {
        let Live { sequence, .. } = self.live.remove(index);
        let lane = &mut self.lanes[sequence.seq_id() as usize];
        lane.is_taken = false;
        let is_new = sequence.is_new();
        let (outcome, held, time) = sequence.leave();
        if let Some(time) = time {
            self.counts.add_generation(outcome.n_generated as u64, time);
        }
        // One that never began left what was there before it.
        if !is_new {
            lane.cached = held;
            self.clock += 1;
            lane.last_used = self.clock;
        }
        outcome
    }

    /// Has the decoder ask between nodes whether everybody wants to end; while one does not, the others end after the
    /// batch.
    fn watch_interrupts(&mut self) {
        let interrupts = || self.live.iter().map(|live| live.sequence.interrupt());
        let is_possible = !self.live.is_empty() && interrupts().all(Interrupt::is_possible);
        let interrupts: Option<Vec<Interrupt>> = is_possible.then(|| interrupts().cloned().collect());
        self.context.set_abort_callback(interrupts.map(|all| -> Box<dyn Fn() -> bool + Send + Sync> {
            Box::new(move || all.iter().all(|interrupt| interrupt.reason().is_some()))
        }));
    }
}

/// The parameters of an engine's context. What the file says of pooling is asked only where embeddings are.
fn context_params(model: &Model, options: &EngineOptions) -> Result<ContextParams, Error> {
    let SessionOptions { n_ctx, n_batch, n_ubatch, n_threads, n_threads_batch, flash_attn, .. } =
        options.context;
    let SessionOptions { type_k, type_v, swa_full, pooling, embeddings, rope, .. } = options.context;
    let hparams = model.hparams();
    let pooling = match pooling {
        None if embeddings => {
            let named = |source| Error::Load { name: model.name().to_owned(), source };
            hparams.pooling().map_err(named)?
        }
        pooling => pooling.unwrap_or_default(),
    };
    let n_ctx_train = hparams.n_ctx_train;
    let n_ctx = if n_ctx == 0 { n_ctx_train.min(DEFAULT_N_CTX) } else { n_ctx };
    let n_threads = if n_threads == 0 { default_threads() } else { n_threads };
    // Rows of a text are pooled within a ubatch, and tokens see later ones only there: whatever fits into the context goes
    // into one.
    let is_whole = (embeddings && pooling != Pooling::None) || !hparams.causal_attn;
    let (n_batch, n_ubatch) = if is_whole { (n_ctx, n_ctx) } else { (n_batch, n_ubatch) };
    Ok(ContextParams {
        n_ctx,
        n_batch,
        n_ubatch,
        n_seq_max: options.n_seq_max,
        kv_unified: !options.deterministic,
        n_threads,
        n_threads_batch: if n_threads_batch == 0 { n_threads } else { n_threads_batch },
        type_k,
        type_v,
        swa_full,
        embeddings,
        pooling,
        flash_attn,
        rope,
        ..ContextParams::default()
    })
}
