//! A call that fails in one of its phases (no cells, no memory for the graph, a graph that cannot be prepared or run, an abort) leaves the memory
//! as it was, and the next call gives what a new context gives.

mod common;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{params, sequence, tokens};
use quipu_backend::{
    Abort, Backend, Buffer, BufferTable, BufferType, Error as BackendError, Prepared, WeightSpec,
};
use quipu_cpu_backend::CpuDevice;
use quipu_decoder::{Context, ContextParams, Error, FlashAttn};
use quipu_gguf::GgufFile;
use quipu_graph::Graph;
use quipu_kv_cache::KvCells;
use quipu_model::{LoadParams, Model};
use quipu_testing::{Hook, HookedDevice};

/// What a device is to refuse next.
const NOTHING: usize = 0;
const MEMORY: usize = 1;
const PREPARING: usize = 2;
const RUNNING: usize = 3;

/// Refuses what it is told to.
#[derive(Clone, Debug)]
struct Refusal(Arc<AtomicUsize>);

impl Refusal {
    fn check(&self, what: usize) -> Result<(), BackendError> {
        if self.0.load(Ordering::Relaxed) != what {
            return Ok(());
        }
        Err(BackendError::Device { device: "REFUSING".to_owned(), message: "told to refuse".to_owned() })
    }
}

impl Hook for Refusal {
    fn buffer_type(&self, inner: Arc<dyn BufferType>) -> Arc<dyn BufferType> {
        Arc::new(RefusingMemory { inner, refusal: self.clone() })
    }

    fn prepare(
        &self,
        inner: &mut dyn Backend,
        graph: &Graph,
        nodes: Range<usize>,
        buffers: &BufferTable,
    ) -> Result<Prepared, BackendError> {
        self.check(PREPARING)?;
        inner.prepare(graph, nodes, buffers)
    }

    fn run(
        &self,
        inner: &mut dyn Backend,
        prepared: &mut Prepared,
        buffers: &mut BufferTable,
        abort: Option<Abort<'_>>,
    ) -> Result<(), BackendError> {
        self.check(RUNNING)?;
        inner.run(prepared, buffers, abort)
    }
}

#[derive(Debug)]
struct RefusingMemory {
    inner: Arc<dyn BufferType>,
    refusal: Refusal,
}

impl BufferType for RefusingMemory {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn alignment(&self) -> usize {
        self.inner.alignment()
    }

    fn accepts_weight(&self, weight: &WeightSpec) -> bool {
        self.inner.accepts_weight(weight)
    }

    fn is_host(&self) -> bool {
        self.inner.is_host()
    }

    fn allocate(&self, size: usize) -> Result<Box<dyn Buffer>, BackendError> {
        self.refusal.check(MEMORY)?;
        self.inner.allocate(size)
    }
}

fn cells(context: &Context) -> KvCells {
    context.cache().expect("a decoder has a cache").cells().clone()
}

#[test]
fn whatever_phase_fails_nothing_has_changed() {
    let file = GgufFile::from_vec(common::bytes(2, false)).expect("a valid file");
    for flash_attn in [FlashAttn::On, FlashAttn::Off] {
        for n_past in [0, 11] {
            let refuses = Arc::new(AtomicUsize::new(NOTHING));
            let device = HookedDevice { inner: CpuDevice::default(), hook: Refusal(Arc::clone(&refuses)) };
            let model = Model::load(&file, &device, &mut LoadParams::default()).expect("a valid model");
            let model = Arc::new(model);
            let params = ContextParams { n_ubatch: 6, flash_attn, ..params() };
            let all = tokens(40, 2);
            let next = sequence(&all[n_past..n_past + 15], 0, n_past as i32);
            let expected = {
                let mut fresh = Context::new(Arc::clone(&model), &device, &params).unwrap();
                fresh.decode(&sequence(&all[..n_past + 15], 0, 0)).unwrap();
                fresh.logits(-1).unwrap().to_vec()
            };
            let mut context = Context::new(model, &device, &params).unwrap();
            if n_past > 0 {
                context.decode(&sequence(&all[..n_past], 0, 0)).unwrap();
            }
            let before = cells(&context);
            for what in [MEMORY, PREPARING, RUNNING] {
                // Another shape than the last one's, so that there is something to allocate.
                context.set_loras(&[]);
                refuses.store(what, Ordering::Relaxed);
                let error = context.decode(&next).err();
                refuses.store(NOTHING, Ordering::Relaxed);
                // Memory may be there already: then nothing was asked for, and the call went through.
                match error {
                    Some(error) => assert!(error.to_string().contains("told to refuse"), "{error}"),
                    None if what == MEMORY && n_past > 0 => {
                        context.memory_mut().seq_rm(0, n_past as i32, -1).unwrap();
                        continue;
                    }
                    None => panic!("phase {what} did not fail"),
                }
                assert_eq!(cells(&context), before, "phase {what}");
            }
            // An aborted call.
            context.set_abort_callback(Some(Box::new(|| true)));
            assert!(matches!(context.decode(&next), Err(Error::Aborted)));
            context.set_abort_callback(None);
            assert_eq!(cells(&context), before);
            // No cells: the last ubatches find none.
            if n_past > 0 {
                assert!(matches!(context.decode(&sequence(&tokens(250, 3), 1, 0)), Err(Error::NoSlot(_))));
                assert_eq!(cells(&context), before);
            }
            context.decode(&next).unwrap();
            common::assert_close(context.logits(-1).unwrap(), &expected, 1e-6);
        }
    }
}
