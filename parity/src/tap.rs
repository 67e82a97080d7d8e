//! A device that runs graphs node by node on another one, to look at results in between, or to spoil them.

use std::sync::{Arc, Mutex};

use quipu_backend::{BufferTable, Error};
use quipu_graph::{DType, Graph, Op, TensorId};
use quipu_testing::{AfterNode, EachNode, HookedDevice};

/// A copied tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Tapped {
    /// Its name in the graph.
    pub name: String,
    /// Its values.
    pub values: Vec<f32>,
}

/// What to do between nodes.
#[derive(Clone, Debug, Default)]
pub struct TapOptions {
    /// Copy f32 results whose name starts with one of these.
    pub prefixes: Vec<String>,
    /// Spoil matrix products whose weights have this type: every eighth row comes out half as large again.
    pub sabotage: Option<DType>,
}

/// Runs node by node, and looks at results in between.
#[derive(Clone, Debug)]
pub struct Tap {
    options: TapOptions,
    tapped: Arc<Mutex<Vec<Tapped>>>,
}

impl Tap {
    /// `device`, watched.
    pub fn on<D>(device: D, options: TapOptions) -> HookedDevice<D, EachNode<Tap>> {
        HookedDevice { inner: device, hook: EachNode(Tap { options, tapped: Arc::default() }) }
    }

    /// What was copied since the last call.
    pub fn take(&self) -> Vec<Tapped> {
        self.tapped.lock().map(|mut tapped| std::mem::take(&mut *tapped)).unwrap_or_default()
    }
}

impl AfterNode for Tap {
    fn after(&self, graph: &Graph, id: TensorId, buffers: &mut BufferTable) -> Result<(), Error> {
        let tensor = &graph[id];
        let spoiled = tensor.op == Op::MulMat && self.options.sabotage == Some(graph[tensor.src[0]].dtype);
        let wanted = self.options.prefixes.iter().any(|prefix| tensor.name.starts_with(prefix));
        if tensor.dtype != DType::F32 || !tensor.is_contiguous() || !(spoiled || wanted) {
            return Ok(());
        }
        let mut bytes = vec![0; tensor.n_bytes()];
        buffers.read_tensor(tensor, 0, &mut bytes)?;
        let mut values: Vec<f32> =
            bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        if spoiled {
            values.iter_mut().step_by(8).for_each(|value| *value *= 1.5);
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            buffers.write_tensor(tensor, &bytes)?;
        }
        if wanted && let Ok(mut tapped) = self.tapped.lock() {
            tapped.push(Tapped { name: tensor.name.clone(), values });
        }
        Ok(())
    }
}
