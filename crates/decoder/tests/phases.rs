//! A call that fails in one of its phases (no cells, no memory for the graph, a graph that cannot be prepared or run, an abort) leaves the memory
//! as it was, and the next call gives what a new context gives.

mod common;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{params, sequence, tokens};
use quipu_backend::{
    Abort, Backend, Buffer, BufferTable, BufferType, Device, DeviceKind, DeviceMemory, Error as BackendError,
    HostBytes, Prepared, WeightSpec,
};
use quipu_cpu_backend::CpuDevice;
use quipu_decoder::{Context, ContextParams, Error, FlashAttn};
use quipu_gguf::GgufFile;
use quipu_graph::{Graph, TensorId};
use quipu_kv_cache::KvCells;
use quipu_model::{LoadParams, Model};

/// What a device is to refuse next.
const NOTHING: usize = 0;
const MEMORY: usize = 1;
const PREPARING: usize = 2;
const RUNNING: usize = 3;

/// The processor, which refuses what it is told to.
#[derive(Clone, Debug)]
struct Refusing {
    cpu: Arc<CpuDevice>,
    refuses: Arc<AtomicUsize>,
}

impl Refusing {
    fn check(&self, what: usize) -> Result<(), BackendError> {
        if self.refuses.load(Ordering::Relaxed) != what {
            return Ok(());
        }
        Err(BackendError::Device { device: "REFUSING".to_owned(), message: "told to refuse".to_owned() })
    }
}

impl Device for Refusing {
    fn name(&self) -> &str {
        self.cpu.name()
    }

    fn description(&self) -> String {
        self.cpu.description()
    }

    fn kind(&self) -> DeviceKind {
        self.cpu.kind()
    }

    fn memory(&self) -> DeviceMemory {
        self.cpu.memory()
    }

    fn buffer_type(&self) -> Arc<dyn BufferType> {
        Arc::new(RefusingMemory { inner: self.cpu.buffer_type(), device: self.clone() })
    }

    fn weight_buffer_types(&self) -> Vec<Arc<dyn BufferType>> {
        self.cpu.weight_buffer_types()
    }

    fn buffer_from_host(&self, bytes: HostBytes) -> Option<Arc<dyn Buffer>> {
        self.cpu.buffer_from_host(bytes)
    }

    fn backend(&self, n_threads: usize) -> Result<Box<dyn Backend>, BackendError> {
        Ok(Box::new(RefusingBackend { inner: self.cpu.backend(n_threads)?, device: self.clone() }))
    }
}

#[derive(Debug)]
struct RefusingMemory {
    inner: Arc<dyn BufferType>,
    device: Refusing,
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
        self.device.check(MEMORY)?;
        self.inner.allocate(size)
    }
}

#[derive(Debug)]
struct RefusingBackend {
    inner: Box<dyn Backend>,
    device: Refusing,
}

impl Backend for RefusingBackend {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn buffer_type(&self) -> Arc<dyn BufferType> {
        self.device.buffer_type()
    }

    fn supports_op(&self, graph: &Graph, node: TensorId) -> bool {
        self.inner.supports_op(graph, node)
    }

    fn supports_buffer(&self, buffer: &dyn Buffer) -> bool {
        self.inner.supports_buffer(buffer)
    }

    fn set_n_threads(&mut self, n_threads: usize) -> Result<(), BackendError> {
        self.inner.set_n_threads(n_threads)
    }

    fn prepare(
        &mut self,
        graph: &Graph,
        nodes: Range<usize>,
        buffers: &BufferTable,
    ) -> Result<Prepared, BackendError> {
        self.device.check(PREPARING)?;
        self.inner.prepare(graph, nodes, buffers)
    }

    fn run(
        &mut self,
        prepared: &mut Prepared,
        buffers: &mut BufferTable,
        abort: Option<Abort<'_>>,
    ) -> Result<(), BackendError> {
        self.device.check(RUNNING)?;
        self.inner.run(prepared, buffers, abort)
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
            let device = Refusing {
                cpu: Arc::new(CpuDevice::default()),
                refuses: Arc::new(AtomicUsize::new(NOTHING)),
            };
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
                device.refuses.store(what, Ordering::Relaxed);
                let error = context.decode(&next).err();
                device.refuses.store(NOTHING, Ordering::Relaxed);
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
