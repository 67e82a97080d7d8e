//! Which memory a model needs, and how large it is.

use quipu_backend::{BufferTable, BufferType, Devices};
use quipu_kv_cache::{
    HybridKvParams, HybridMemory, KvCache, KvLayerShape, KvParams, Memory, NoMemory, RecurrentMemory,
    RecurrentParams, WindowedKvCache, WindowedKvParams,
};
use quipu_model::{GraphKind, LayerHparams, LayerMemory, Model};

use crate::error::Error;
use crate::params::ContextParams;

/// Bytes of what a session remembers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryBytes {
    /// Keys and values, of all cells.
    pub kv_cache: u64,
    /// States of recurrent layers, of all sequences.
    pub states: u64,
}

impl MemoryBytes {
    /// What the memory of a session would take that [`crate::Context::new`] makes of these; nothing is allocated, and the model may be
    /// one without data ([`quipu_model::LoadOptions::no_alloc`]).
    ///
    /// # Errors
    /// A parameter that cannot be, or sizes that no memory has.
    pub fn of<'a>(
        model: &Model,
        devices: impl Into<Devices<'a>>,
        params: &ContextParams,
    ) -> Result<MemoryBytes, Error> {
        let hparams = model.hparams();
        let params = params.resolved(hparams.n_ctx_train, hparams.scores_are_tensors)?;
        let kinds = match params.kind {
            GraphKind::Decoder if !model.remembers_nothing() => MemoryParams::new(model, &params),
            _ => MemoryParams::default(),
        };
        let types = BufferTypes::new(model, &devices.into());
        let memory = |il: usize| types.of(il);
        let parts = match &kinds.attention {
            None => Vec::new(),
            Some(HybridKvParams::One(full)) => vec![full.clone()],
            Some(HybridKvParams::Pair(pair)) => pair.parts().to_vec(),
        };
        let mut bytes = MemoryBytes::default();
        for part in parts {
            bytes.kv_cache = bytes.kv_cache.saturating_add(part.n_bytes(&memory)? as u64);
        }
        if let Some(states) = &kinds.states {
            bytes.states = states.n_bytes(&memory)? as u64;
        }
        Ok(bytes)
    }
}

/// The memory of a session on `model`. Answers to `llama_model::create_memory`.
pub(super) fn memory_for(
    model: &Model,
    devices: &Devices<'_>,
    params: &ContextParams,
    buffers: &mut BufferTable,
) -> Result<Box<dyn Memory>, Error> {
    let types = BufferTypes::new(model, devices);
    let memory = |il: usize| types.of(il);
    let MemoryParams { attention, states } = MemoryParams::new(model, params);
    Ok(match (states, attention) {
        (Some(states), None) => Box::new(RecurrentMemory::new_in(&states, &memory, buffers)?),
        (Some(states), Some(attention)) => {
            Box::new(HybridMemory::new_in(&attention, &states, &memory, buffers)?)
        }
        (None, Some(HybridKvParams::One(params))) => Box::new(KvCache::new_in(&params, &memory, buffers)?),
        (None, Some(HybridKvParams::Pair(params))) => {
            Box::new(WindowedKvCache::new_in(&params, &memory, buffers)?)
        }
        (None, None) => Box::new(NoMemory),
    })
}

/// The memory type of each layer.
struct BufferTypes(Vec<std::sync::Arc<dyn BufferType>>);

impl BufferTypes {
    fn new(model: &Model, devices: &Devices<'_>) -> BufferTypes {
        let device = |il: usize| devices.get(model.layer_map().layer(il));
        BufferTypes((0..model.hparams().layers.len()).map(|il| device(il).buffer_type()).collect())
    }

    fn of(&self, il: usize) -> &dyn BufferType {
        self.0[il].as_ref()
    }
}

/// The kinds of memory that a model's layers need.
#[derive(Default)]
struct MemoryParams {
    attention: Option<HybridKvParams>,
    states: Option<RecurrentParams>,
}

impl MemoryParams {
    fn new(model: &Model, params: &ContextParams) -> MemoryParams {
        let layers = &model.hparams().layers;
        let full = KvParams {
            n_cells: params.n_ctx_seq(),
            n_seq_max: params.n_seq_max,
            unified: params.kv_unified,
            window: None,
            n_pos: model.hparams().n_pos(),
            type_k: params.type_k,
            type_v: params.type_v,
            v_trans: !params.flash_attn.is_on(),
            n_embd_head_k: same(layers, |layer| layer.n_embd_head_k),
            n_embd_head_v: same(layers, |layer| layer.n_embd_head_v),
            layers: model.kv_layers(),
            reuse: model.kv_reuse(),
        };
        let states: Vec<_> = model.memory().into_iter().map(LayerMemory::state).collect();
        let is_recurrent = states.iter().any(Option::is_some);
        let states = RecurrentParams { n_seq_max: params.n_seq_max, n_snapshots: 0, layers: states };
        let attends = full.layers.iter().any(|shape| *shape != KvLayerShape::NONE);
        let attention = model.hparams().window().map_or(HybridKvParams::One(full.clone()), |window| {
            let windowed = layers.iter().map(|layer| layer.window.is_some()).collect();
            let (n_ubatch, all_cells) = (params.n_ubatch, params.swa_full);
            HybridKvParams::Pair(WindowedKvParams { full, window, windowed, n_ubatch, all_cells })
        });
        // A model whose layers remember nothing may run as a decoder: with a cache of no layers.
        MemoryParams {
            attention: (attends || !is_recurrent).then_some(attention),
            states: is_recurrent.then_some(states),
        }
    }
}

/// The number that all layers have, 0 if they differ.
fn same(layers: &[LayerHparams], number: impl Fn(&LayerHparams) -> usize) -> usize {
    let first = layers.first().map_or(0, &number);
    if layers.iter().all(|layer| number(layer) == first) { first } else { 0 }
}
