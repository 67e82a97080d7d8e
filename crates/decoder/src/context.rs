//! A session: cache, compute memory, outputs, and the loop that runs batches through the model.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use quipu_backend::{BufferTable, BufferType, Device, Observer, Scheduler, SchedulerStats};
use quipu_batch::{Batch, BatchLimits, CheckedBatch, Pos, SeqId, Ubatch};
use quipu_kv_cache::{KvCache, KvParams, Memory, SlotPlan};
use quipu_model::{BuiltGraph, GraphParams, Model, RopeConfig};
use tracing::field::Empty;

use crate::error::Error;
use crate::inputs::InputScratch;
use crate::output::Outputs;
use crate::params::ContextParams;
use crate::perf::Perf;

/// Asked between nodes of a graph; `true` stops the call with [`Error::Aborted`].
type AbortCallback = Box<dyn Fn() -> bool + Send + Sync>;

/// A session on a model. Answers to `llama_context`.
pub struct Context {
    model: Arc<Model>,
    params: ContextParams,
    rope: RopeConfig,
    scheduler: Scheduler,
    buffers: BufferTable,
    cache: KvCache,
    abort: Option<AbortCallback>,
    /// Threads the backends were last told to use.
    n_threads_set: usize,
    /// The last ubatch's graph, kept while its parameters stay.
    graph: Option<(GraphParams, BuiltGraph)>,
    batch: CheckedBatch,
    ubatches: Vec<Ubatch>,
    plan: SlotPlan,
    inputs: InputScratch,
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
    /// Makes a session on `device`, on which the model's weights are readable.
    ///
    /// Errors if a parameter cannot be, or if the cache's memory is not to be had.
    pub fn new(model: Arc<Model>, device: &dyn Device, params: &ContextParams) -> Result<Context, Error> {
        Context::with_offload(model, device, None, params)
    }

    /// Makes a session of a model that has layers on `offload` too, as it was loaded with
    /// ([`quipu_model::LoadParams::offload`]). What that device does not compute falls to `device`;
    /// [`Context::scheduler_stats`] counts it.
    ///
    /// Errors as [`Context::new`].
    pub fn with_offload(
        model: Arc<Model>,
        device: &dyn Device,
        offload: Option<&dyn Device>,
        params: &ContextParams,
    ) -> Result<Context, Error> {
        let hparams = model.hparams();
        let params = params.resolved(hparams.n_ctx_train)?;
        let rope = RopeConfig::new(hparams, &params.rope);
        let outputs = Outputs::new(hparams.n_vocab, hparams.n_embd, params.embeddings, params.pooling);
        // The model's graphs name its buffers by number: they come first.
        let mut buffers = BufferTable::new();
        for buffer in model.buffers() {
            buffers.add_shared(Arc::clone(buffer));
        }
        let kv_params = KvParams {
            n_cells: params.n_ctx,
            type_k: params.type_k,
            type_v: params.type_v,
            layers: model.kv_layers(),
        };
        // A layer's cache lies with its weights.
        let own = device.buffer_type();
        let other = offload.map(Device::buffer_type);
        let memory = |il: usize| -> &dyn BufferType {
            other.as_ref().filter(|_| model.is_offloaded(il)).unwrap_or(&own).as_ref()
        };
        let cache = KvCache::new_in(&kv_params, &memory, &mut buffers)?;
        let backends = offload.into_iter().chain([device]).map(|device| device.backend(params.n_threads));
        let scheduler = Scheduler::new(backends.collect::<Result<_, _>>()?)?;
        Ok(Context {
            n_threads_set: params.n_threads,
            model,
            params,
            rope,
            scheduler,
            buffers,
            cache,
            abort: None,
            graph: None,
            batch: CheckedBatch::new(),
            ubatches: Vec::new(),
            plan: SlotPlan::new(),
            inputs: InputScratch::default(),
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
        &self.cache
    }

    /// Sequence operations and positions. Shifted positions reach the cached keys before the next decode.
    pub fn memory_mut(&mut self) -> &mut dyn Memory {
        &mut self.cache
    }

    /// The KV cache, for reading.
    pub fn cache(&self) -> &KvCache {
        &self.cache
    }

    /// Whether positions may be shifted (`llama_memory_can_shift`); only rotary ones may.
    pub fn can_shift(&self) -> bool {
        self.model.can_shift() && self.cache.can_shift()
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
        self.abort = abort;
    }

    /// Who is shown results while graphs run, if anybody (`cb_eval` of `llama_context_params`).
    pub fn set_observer(&mut self, observer: Option<Box<dyn Observer>>) {
        self.scheduler.set_observer(observer);
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

    /// Pooled embedding (`n_embd` values) of a sequence of the last batch, not normalised
    /// (`llama_get_embeddings_seq`). A sequence cut by `n_ubatch` is pooled over its last ubatch only, as in
    /// the reference.
    pub fn embeddings_seq(&self, seq_id: SeqId) -> Result<&[f32], Error> {
        self.outputs.embeddings_seq(seq_id)
    }

    /// Runs a batch through the model and keeps its outputs (`llama_decode`).
    ///
    /// On [`Error::NoSlot`] and on a batch that breaks a rule nothing has changed. When computing fails or is
    /// aborted, earlier ubatches stay in the memory and the failing one is removed, so that the session goes
    /// on from the last position the memory reports.
    pub fn decode(&mut self, batch: &Batch) -> Result<(), Error> {
        let start = Instant::now();
        let (n_tokens, n_batch) = (batch.n_tokens(), self.params.n_batch);
        let span = tracing::debug_span!("decode", n_tokens, kv_used = Empty, n_cells = self.cache.n_cells());
        let _entered = span.enter();
        if n_tokens > n_batch {
            return Err(Error::BatchTooLarge { n_tokens, n_batch });
        }
        let hparams = self.model.hparams();
        let limits = BatchLimits {
            n_vocab: hparams.n_vocab,
            n_embd: hparams.n_embd,
            n_seq_max: self.params.n_seq_max,
            output_all: self.params.embeddings,
        };
        self.batch.init(batch, &limits, Some(&self.cache))?;
        self.apply_shift()?;
        let n_ubatches = self.split();
        self.cache.prepare(&self.ubatches[..n_ubatches], &mut self.plan).map_err(Error::NoSlot)?;
        self.outputs.start(self.batch.n_outputs());
        let mut row = 0;
        for k in 0..n_ubatches {
            self.cache.apply_ubatch(self.plan.slot(k), &self.ubatches[k]);
            if let Err(error) = self.process(k, row) {
                self.roll_back(k)?;
                return Err(error);
            }
            row += self.ubatches[k].n_outputs();
        }
        self.outputs.finish(n_tokens, self.batch.out_ids());
        self.perf.add_call(n_tokens, start.elapsed());
        if !span.is_disabled() {
            span.record("kv_used", self.cache.cells().n_used());
        }
        Ok(())
    }

    /// Splits the batch in its order and returns the number of ubatches. One stream needs no other split.
    fn split(&mut self) -> usize {
        let mut n = 0;
        loop {
            if self.ubatches.len() == n {
                self.ubatches.push(Ubatch::new());
            }
            if !self.batch.split_simple(self.params.n_ubatch, &mut self.ubatches[n]) {
                return n;
            }
            n += 1;
        }
    }

    /// Builds or reuses the graph of ubatch `k`, runs it and collects its rows from `row` on
    /// (`process_ubatch`).
    fn process(&mut self, k: usize, row: usize) -> Result<(), Error> {
        let ubatch = &self.ubatches[k];
        let params = GraphParams {
            n_tokens: ubatch.n_tokens,
            // A ubatch without outputs still computes one row: the ubatches of a long prompt then share the
            // graph of the last one, which has an output.
            n_outputs: ubatch.n_outputs().max(1),
            n_kv: self.cache.n_kv(),
            rope: self.rope,
            from_embeddings: !ubatch.embd.is_empty(),
        };
        let span =
            tracing::trace_span!("ubatch", n_tokens = params.n_tokens, n_kv = params.n_kv, reused = Empty);
        let _entered = span.enter();
        let last = self.graph.take().filter(|(last, _)| *last == params);
        let built = if let Some((_, built)) = last {
            self.perf.n_reused += 1;
            span.record("reused", true);
            built
        } else {
            let mut built = self.model.build_graph(&params, &self.cache)?;
            self.scheduler.alloc_graph(&mut built.graph, &mut self.buffers)?;
            self.perf.n_graph_builds += 1;
            span.record("reused", false);
            built
        };
        let (_, built) = &*self.graph.insert((params, built));
        let n_threads =
            if params.n_tokens == 1 { self.params.n_threads } else { self.params.n_threads_batch };
        if n_threads != self.n_threads_set {
            self.scheduler.set_n_threads(n_threads)?;
            self.n_threads_set = n_threads;
        }
        self.inputs.write(built, ubatch, self.plan.slot(k), &self.cache, &mut self.buffers)?;
        let abort = self.abort.as_ref().map(|abort| abort.as_ref() as &(dyn Fn() -> bool + Sync));
        self.scheduler.compute(&built.graph, &mut self.buffers, abort)?;
        self.outputs.collect(row, ubatch, built, &self.buffers)
    }

    /// Applies pending position shifts to the cached keys (`llama_kv_cache::update`).
    fn apply_shift(&mut self) -> Result<(), Error> {
        if !self.cache.has_shift() {
            return Ok(());
        }
        let _entered = tracing::debug_span!("shift_keys", n_cells = self.cache.n_cells()).entered();
        // The shift graph takes over the compute memory, and with it the last graph's places.
        self.graph = None;
        if let Some(mut shift) = self.model.build_shift_graph(&self.rope, &self.cache)? {
            self.scheduler.alloc_graph(&mut shift.graph, &mut self.buffers)?;
            self.inputs.write_shift(&shift.graph, shift.shift, &self.cache, &mut self.buffers)?;
            self.scheduler.compute(&shift.graph, &mut self.buffers, None)?;
            self.perf.n_shifts += 1;
        }
        self.cache.reset_shift();
        Ok(())
    }

    /// Takes the tokens of ubatch `k` out of the memory. Each sequence loses everything from its first
    /// position in the ubatch on, of which no earlier token can be.
    fn roll_back(&mut self, k: usize) -> Result<(), Error> {
        for seq_id in &self.ubatches[k].seq_id_unq {
            let ubatch = &self.ubatches[k];
            let of_seq = ubatch.seq_set.iter().zip(&ubatch.pos).filter(|(set, _)| set.contains(*seq_id));
            let first: Option<Pos> = of_seq.map(|(_, pos)| *pos).min();
            if let Some(first) = first {
                self.cache.seq_rm(*seq_id, first, -1)?;
            }
        }
        Ok(())
    }
}
