//! A session: cache, compute memory, outputs, and the loop that runs batches through the model.

mod encode;
mod memory;
mod state;

use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Instant;

use quipu_backend::{Buffer, BufferTable, Devices, Observer, Scheduler, SchedulerStats};
use quipu_batch::{Batch, BatchLimits, CheckedBatch, SeqId, Ubatch};
use quipu_kv_cache::{
    CrossState, GraphShape, InputSource, KvCache, KvPart, Memory, MemoryKey, MemoryPlan, NoMemory,
};
use quipu_model::{Adapters, BuiltGraph, GraphKind, GraphParams, LoraAdapter, Model, RopeConfig};
use tracing::field::Empty;

use crate::callbacks::{AbortCallback, Callbacks};
use crate::error::Error;
use crate::output::Outputs;
use crate::params::ContextParams;
use crate::perf::Perf;
use encode::{has_both, keep_cross};
pub use memory::MemoryBytes;
use memory::memory_for;
pub use state::StateFlags;
use state::Taken;

/// A session on a model. Answers to `llama_context`.
pub struct Context {
    model: Arc<Model>,
    params: ContextParams,
    rope: RopeConfig,
    scheduler: Scheduler,
    buffers: BufferTable,
    memory: Box<dyn Memory>,
    /// What graphs of encoders go by.
    no_memory: NoMemory,
    /// What the batch that was encoded last left for a decoder.
    cross: CrossState,
    callbacks: Callbacks,
    /// Threads the backends were last told to use.
    n_threads_set: usize,
    /// The last ubatch's graph, kept while its parameters stay.
    graph: Option<BuiltGraph>,
    /// States of sequences that were taken with their rows left here.
    pub(crate) taken: HashMap<SeqId, Taken>,
    adapters: Adapters,
    /// Adapters whose buffers were registered, and under which number the first.
    known_loras: Vec<(Arc<LoraAdapter>, u32)>,
    batch: CheckedBatch,
    plan: MemoryPlan,
    outputs: Outputs,
    perf: Perf,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("params", &self.params)
            .field("perf", &self.perf)
            .finish_non_exhaustive()
    }
}

impl Context {
    /// Makes a session on the device (`&device`), or the devices, that the model was loaded on. Each layer's cache lies where its
    /// weights do ([`Model::layer_map`]). What a device does not compute falls to the model's own; [`Context::scheduler_stats`]
    /// counts it.
    ///
    /// # Errors
    /// A parameter that cannot be, other devices than the model's, or memory for the cache that is not to be had.
    pub fn new<'a>(
        model: Arc<Model>,
        devices: impl Into<Devices<'a>>,
        params: &ContextParams,
    ) -> Result<Context, Error> {
        Context::on(model, &devices.into(), params)
    }

    fn on(model: Arc<Model>, devices: &Devices<'_>, params: &ContextParams) -> Result<Context, Error> {
        let (found, expected) = (devices.others().len(), model.layer_map().n_others());
        if found != expected {
            return Err(Error::Devices { found, expected });
        }
        let hparams = model.hparams();
        let mut params = params.resolved(hparams.n_ctx_train, hparams.scores_are_tensors)?;
        if model.has_weights() && model.remembers_nothing() {
            params.kind = GraphKind::Encoder;
            params.causal_attn.get_or_insert(hparams.causal_attn);
        } else if !hparams.causal_attn {
            params.causal_attn.get_or_insert(false);
        }
        let rope = RopeConfig::new(hparams, &params.rope, params.n_ctx_seq());
        let n_pooled = if params.embeddings { model.n_pooled(params.pooling)? } else { 0 };
        let kept = params.embeddings.then_some(params.pooling);
        let outputs = Outputs::new(hparams.n_vocab, hparams.n_embd, n_pooled, kept);
        // The model's graphs name its buffers by number: they come first.
        let mut buffers = BufferTable::new();
        for buffer in model.buffers() {
            buffers.add_shared(Arc::clone(buffer));
        }
        let memory: Box<dyn Memory> = match params.kind {
            GraphKind::Decoder => memory_for(&model, devices, &params, &mut buffers)?,
            _ => Box::new(NoMemory),
        };
        let scheduler = Scheduler::new(devices.backends(params.n_threads)?)?;
        Ok(Context {
            n_threads_set: params.n_threads,
            model,
            params,
            rope,
            scheduler,
            buffers,
            memory,
            no_memory: NoMemory,
            cross: CrossState::default(),
            callbacks: Callbacks::default(),
            graph: None,
            taken: HashMap::new(),
            adapters: Adapters::NONE,
            known_loras: Vec::new(),
            batch: CheckedBatch::new(),
            plan: MemoryPlan::new(),
            outputs,
            perf: Perf::default(),
        })
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The parameters in effect: defaults filled in, lengths rounded.
    pub fn params(&self) -> &ContextParams {
        &self.params
    }

    /// Sequence operations and positions.
    pub fn memory(&self) -> &dyn Memory {
        self.memory.as_ref()
    }

    /// Sequence operations and positions. Shifted positions reach the cached keys before the next decode.
    pub fn memory_mut(&mut self) -> &mut dyn Memory {
        self.memory.as_mut()
    }

    /// Forgets every token (`llama_memory_clear`), with `data` also the bytes that cells hold, which nobody sees.
    ///
    /// # Errors
    /// The memory's buffers refuse; the tokens are forgotten.
    pub fn clear_memory(&mut self, data: bool) -> Result<(), Error> {
        if !data {
            self.memory.clear();
            return Ok(());
        }
        Ok(self.memory.clear_data(&mut self.buffers)?)
    }

    /// The KV cache of layers that see everything, for reading, if the memory is or has one.
    pub fn cache(&self) -> Option<&KvCache> {
        self.memory.kv(KvPart::Full)
    }

    /// Where the memory's bytes are.
    pub(crate) fn buffers(&self) -> &BufferTable {
        &self.buffers
    }

    /// The memory and its bytes, to be changed together.
    pub(crate) fn memory_and_buffers(&mut self) -> (&mut dyn Memory, &mut BufferTable) {
        (self.memory.as_mut(), &mut self.buffers)
    }

    /// The number under which the first buffer of an adapter is known; the buffers of each adapter are registered once.
    pub(crate) fn register_lora(&mut self, adapter: &Arc<LoraAdapter>) -> u32 {
        if let Some((_, first)) = self.known_loras.iter().find(|(known, _)| Arc::ptr_eq(known, adapter)) {
            return *first;
        }
        let first = self.register_buffers(adapter.buffers());
        self.known_loras.push((Arc::clone(adapter), first));
        first
    }

    /// Registers buffers, one behind the other; the number of the first.
    pub(crate) fn register_buffers(&mut self, buffers: &[Arc<dyn Buffer>]) -> u32 {
        let first = self.buffers.len() as u32;
        for buffer in buffers {
            self.buffers.add_shared(Arc::clone(buffer));
        }
        first
    }

    /// Changes what is at work; graphs have it in them.
    pub(crate) fn change_adapters(&mut self, change: impl FnOnce(&mut Adapters)) {
        change(&mut self.adapters);
        self.graph = None;
    }

    /// Whether positions may be shifted (`llama_memory_can_shift`); only rotary ones may.
    pub fn can_shift(&self) -> bool {
        self.model.can_shift() && self.memory.can_shift()
    }

    /// Counters and times.
    pub fn perf(&self) -> Perf {
        self.perf
    }

    /// Sets counters and times to zero (`llama_perf_context_reset`).
    pub fn reset_perf(&mut self) {
        self.perf = Perf::default();
    }

    /// Bytes of the graph's working memory.
    pub fn compute_bytes(&self) -> u64 {
        self.scheduler.compute_bytes()
    }

    /// What ran on which device so far.
    pub fn scheduler_stats(&self) -> &SchedulerStats {
        self.scheduler.stats()
    }

    /// Threads for single tokens and for several (`llama_set_n_threads`).
    pub fn set_n_threads(&mut self, n_threads: usize, n_threads_batch: usize) {
        self.params.n_threads = n_threads.max(1);
        self.params.n_threads_batch = n_threads_batch.max(1);
    }

    /// What is asked between nodes whether to stop (`llama_set_abort_callback`).
    pub fn set_abort_callback(&mut self, abort: Option<AbortCallback>) {
        self.callbacks.set_abort(abort);
    }

    /// Who is shown results while graphs run, if anybody (`cb_eval` of `llama_context_params`).
    pub fn set_observer(&mut self, observer: Option<Box<dyn Observer>>) {
        self.scheduler.set_observer(observer.map(|observer| self.callbacks.guard(observer)));
    }

    /// Number of outputs of the last batch.
    pub fn n_outputs(&self) -> usize {
        self.outputs.n_outputs()
    }

    /// Logits (`n_vocab` values) of the `index`-th token of the last batch; negative indices count outputs
    /// from the end (`llama_get_logits_ith`). An error if the token was no output.
    pub fn logits(&self, index: i32) -> Result<&[f32], Error> {
        self.outputs.logits(index)
    }

    /// Final row (`n_embd` values) of the `index`-th token of the last batch; negative indices count from the
    /// end (`llama_get_embeddings_ith`). Needs `embeddings`.
    pub fn embeddings(&self, index: i32) -> Result<&[f32], Error> {
        self.outputs.embeddings(index)
    }

    /// Pooled embedding (`n_embd` values) of a sequence of the last batch, not normalised, or its scores
    /// (`llama_get_embeddings_seq`). A sequence cut by `n_ubatch` is pooled over its last ubatch only, as in
    /// the reference.
    pub fn embeddings_seq(&self, seq_id: SeqId) -> Result<&[f32], Error> {
        self.outputs.embeddings_seq(seq_id)
    }

    /// Runs a batch through the model and keeps its outputs (`llama_decode`); without a memory as [`Context::encode`].
    ///
    /// On any error, and if a callback panics, the memory is as it was before the call: all of the batch is in it or nothing. (The
    /// reference keeps ubatches that were complete.) Outputs of the batch before are lost once computing began. The one exception is
    /// [`Error::ShiftFailed`].
    pub fn decode(&mut self, batch: &Batch) -> Result<(), Error> {
        self.run(batch, self.params.kind)
    }

    pub(crate) fn run(&mut self, batch: &Batch, kind: GraphKind) -> Result<(), Error> {
        let start = Instant::now();
        let (n_tokens, n_batch) = (batch.n_tokens(), self.params.n_batch);
        let span = tracing::debug_span!("decode", n_tokens, kv_used = Empty, n_cells = self.memory.n_cells());
        let _entered = span.enter();
        if n_tokens > n_batch {
            return Err(Error::BatchTooLarge { n_tokens, n_batch });
        }
        if kind == GraphKind::Decoder && has_both(&self.model) && self.cross.n_rows() == 0 {
            return Err(Error::NotEncoded);
        }
        let (causal, n_ubatch) = (self.params.is_causal(kind), self.params.n_ubatch);
        if n_tokens > n_ubatch && !causal {
            return Err(Error::UbatchTooSmall { n_tokens, n_ubatch });
        }
        let hparams = self.model.hparams();
        let limits = BatchLimits {
            n_vocab: hparams.n_vocab,
            n_embd: hparams.n_embd_inp(),
            n_seq_max: self.params.n_seq_max,
            n_pos: hparams.n_pos(),
            output_all: self.params.embeddings || kind == GraphKind::Encoder,
        };
        let memory = memory_of(kind, &mut self.memory, &mut self.no_memory);
        self.batch.init(batch, &limits, Some(memory))?;
        if kind == GraphKind::Decoder {
            self.update_memory()?;
        }
        let memory = memory_of(kind, &mut self.memory, &mut self.no_memory);
        memory.plan(&mut self.batch, n_ubatch, &mut self.plan).map_err(refusal)?;
        self.outputs.start(self.batch.n_outputs())?;
        let done = catch_unwind(AssertUnwindSafe(|| self.run_ubatches(kind, batch)));
        if !matches!(done, Ok(Ok(()))) {
            memory_of(kind, &mut self.memory, &mut self.no_memory).roll_back(&mut self.plan);
        }
        match done {
            Ok(done) => done?,
            Err(payload) => {
                // Whatever it was, it may have left the graph's memory in any state.
                self.graph = None;
                resume_unwind(payload)
            }
        }
        self.outputs.finish(n_tokens, self.batch.out_ids());
        self.perf.add_call(n_tokens, start.elapsed());
        if !span.is_disabled() {
            span.record("kv_used", self.memory.n_used());
        }
        Ok(())
    }

    /// Takes the planned ubatches into the memory one after the other and computes each.
    fn run_ubatches(&mut self, kind: GraphKind, batch: &Batch) -> Result<(), Error> {
        let mut row = 0;
        while memory_of(kind, &mut self.memory, &mut self.no_memory).apply(&mut self.plan) {
            row += self.process(kind, batch, row)?;
        }
        Ok(())
    }

    /// Builds or reuses the graph of the plan's ubatch, runs it and collects its rows from `row` on; their number
    /// (`process_ubatch`).
    fn process(&mut self, kind: GraphKind, batch: &Batch, row: usize) -> Result<usize, Error> {
        let memory: &dyn Memory = memory_of(kind, &mut self.memory, &mut self.no_memory);
        let Some(ubatch) = self.plan.ubatch() else { return Ok(0) };
        let params = GraphParams {
            kind,
            shape: GraphShape {
                n_tokens: ubatch.n_tokens,
                n_seqs_unq: ubatch.seq_id_unq.len(),
                // A ubatch without outputs still computes one row: the ubatches of a long prompt then share the
                // graph of the last one, which has an output.
                n_outputs: ubatch.n_outputs().max(1),
                from_embeddings: ubatch.from_embeddings,
                n_enc: if kind == GraphKind::Decoder { self.cross.n_rows() } else { 0 },
                memory: memory.key(&self.plan),
            },
            rope: self.rope,
            causal: self.params.is_causal(kind),
            flash_attn: self.params.flash_attn.is_on(),
            embeddings: self.params.embeddings.then_some(self.params.pooling),
        };
        let GraphShape { n_tokens, memory: MemoryKey { n_kv, .. }, .. } = params.shape;
        let span = tracing::trace_span!("ubatch", n_tokens, n_kv, reused = Empty);
        let _entered = span.enter();
        let last = self.graph.take().filter(|last| last.can_reuse(&params));
        span.record("reused", last.is_some());
        let built = if let Some(last) = last {
            self.perf.n_reused += 1;
            last
        } else {
            let mut built = self.model.build_graph_with(&params, memory, &self.adapters)?;
            self.scheduler.alloc_graph(&mut built.graph, &mut self.buffers)?;
            self.perf.n_graph_builds += 1;
            built
        };
        let built = self.graph.insert(built);
        let n_threads = if n_tokens == 1 { self.params.n_threads } else { self.params.n_threads_batch };
        if n_threads != self.n_threads_set {
            self.scheduler.set_n_threads(n_threads)?;
            self.n_threads_set = n_threads;
        }
        let source = InputSource { batch, ubatch, memory, plan: &self.plan, cross: &self.cross };
        built.set_inputs(&source, &mut self.buffers)?;
        let asks: &(dyn Fn() -> bool + Sync) = &|| self.callbacks.wants_abort();
        let abort = self.callbacks.can_abort().then_some(asks);
        let computed = self.scheduler.compute(&built.graph, &mut self.buffers, abort);
        self.callbacks.resume_panic();
        computed?;
        self.model.check_sources()?;
        if kind == GraphKind::Encoder && has_both(&self.model) {
            keep_cross(&mut self.cross, ubatch, built, &self.buffers)?;
        }
        self.outputs.collect(row, ubatch, built, &self.buffers)
    }

    /// Applies pending position shifts to the cached keys (`llama_kv_cache::update`), to all of them or to none: an observer's error or
    /// panic waits until the graph has run.
    pub(crate) fn update_memory(&mut self) -> Result<(), Error> {
        if !self.memory.has_update() {
            return Ok(());
        }
        self.memory.copy_pending(&mut self.buffers)?;
        if !self.memory.has_update() {
            return Ok(());
        }
        let _entered = tracing::debug_span!("shift_keys", n_cells = self.memory.n_cells()).entered();
        // The shift graph takes over the compute memory, and with it the last graph's places.
        self.graph = None;
        let Some(mut shift) = self.model.build_shift_graph(&self.rope, self.memory.as_ref())? else {
            self.memory.updated();
            return Ok(());
        };
        self.scheduler.alloc_graph(&mut shift.graph, &mut self.buffers)?;
        let (batch, ubatch, memory) = (&Batch::new(), &Ubatch::new(), self.memory.as_ref());
        let source = InputSource { batch, ubatch, memory, plan: &self.plan, cross: &self.cross };
        for input in &mut shift.inputs {
            input.set(&shift.graph, &source, &mut self.buffers)?;
        }
        self.callbacks.defer();
        let graph = &shift.graph;
        let computed =
            catch_unwind(AssertUnwindSafe(|| self.scheduler.compute(graph, &mut self.buffers, None)));
        if matches!(computed, Ok(Ok(()))) {
            self.memory.updated();
            self.perf.n_shifts += 1;
        } else {
            // Some layers are rotated and some are not, and nobody knows which.
            self.memory.clear();
        }
        let observed = self.callbacks.settle();
        match computed {
            Ok(Ok(())) => Ok(observed?),
            Ok(Err(error)) => Err(Error::ShiftFailed(error)),
            Err(payload) => resume_unwind(payload),
        }
    }
}

/// The memory that a graph of this kind reads and writes.
fn memory_of<'a>(
    kind: GraphKind,
    memory: &'a mut Box<dyn Memory>,
    none: &'a mut NoMemory,
) -> &'a mut dyn Memory {
    match kind {
        GraphKind::Decoder => memory.as_mut(),
        _ => none,
    }
}

/// Why a batch found no place.
fn refusal(error: quipu_kv_cache::Error) -> Error {
    match error {
        quipu_kv_cache::Error::OneUbatch { n_tokens, n_ubatch } => {
            Error::UbatchTooSmall { n_tokens, n_ubatch }
        }
        quipu_kv_cache::Error::NoSlot { .. } => Error::NoSlot(error),
        other => Error::Memory(other),
    }
}
