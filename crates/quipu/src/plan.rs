//! The memory plan of a model's graph, made without running it.

use quipu_alloc::{BufferAssignment, BufferSpec, Greedy, Offline, Plan, Planner, Strategy, Timeline};
use quipu_backend::{BufferTable, Device, GraphView};
use quipu_decoder::{ContextParams, RopeOverrides};
use quipu_graph::{Graph, TensorId};
use quipu_kv_cache::{KvCache, KvParams};
use quipu_model::{GraphParams, RopeConfig};

use crate::error::Error;
use crate::model::Model;
use crate::options::DEFAULT_N_CTX;

/// Which graph to plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanOptions {
    /// Cells of the cache, all of which attention looks at; 0 = what the model was trained for, at most 4096.
    pub n_ctx: usize,
    /// Tokens computed at once: 1 for generation, the ubatch size for a prompt. Taken to be in `1..=n_ctx`.
    pub n_tokens: usize,
    /// Plan with the strategy that needs less memory than llama.cpp's ([`quipu_alloc::Offline`]).
    pub offline: bool,
}

impl Default for PlanOptions {
    fn default() -> Self {
        PlanOptions { n_ctx: 0, n_tokens: 1, offline: false }
    }
}

/// Compute memory of one graph: the plan asked for, and what others would need.
#[derive(Clone, Debug)]
pub struct MemoryPlan {
    /// Who lies where, and when.
    pub timeline: Timeline,
    /// Context length planned for.
    pub n_ctx: usize,
    /// Tokens planned for.
    pub n_tokens: usize,
    /// Bytes of llama.cpp's plan, the one sessions use.
    pub greedy_bytes: u64,
    /// Bytes of the offline plan.
    pub offline_bytes: u64,
    /// Bytes that are live at once at some node: no plan needs less.
    pub lower_bound: u64,
}

impl Model {
    /// Builds the graph of a ubatch with one output row and plans its memory (`ggml_gallocr_reserve_n_size`). Takes the
    /// memory of a cache of `n_ctx` cells while it works.
    ///
    /// # Errors
    /// A context that does not fit in memory, or a graph that cannot be built or planned.
    pub fn plan_memory(&self, options: &PlanOptions) -> Result<MemoryPlan, Error> {
        let weights = self.weights();
        let hparams = weights.hparams();
        let n_ctx = match options.n_ctx {
            0 => hparams.n_ctx_train.min(DEFAULT_N_CTX),
            n_ctx => n_ctx,
        };
        let n_tokens = options.n_tokens.clamp(1, n_ctx.max(1));
        // The model's graphs name its buffers by number: they come first.
        let mut buffers = BufferTable::new();
        for buffer in weights.buffers() {
            buffers.add_shared(buffer.clone());
        }
        let buffer_type = self.device().buffer_type();
        let defaults = ContextParams::default();
        let kv_params = KvParams {
            n_cells: n_ctx,
            n_seq_max: defaults.n_seq_max,
            type_k: defaults.type_k,
            type_v: defaults.type_v,
            layers: weights.kv_layers(),
            ..KvParams::default()
        };
        let cache = KvCache::new(&kv_params, buffer_type.as_ref(), &mut buffers)
            .map_err(quipu_decoder::Error::from)?;
        let rope = RopeConfig::new(hparams, &RopeOverrides::default(), n_ctx);
        let params = GraphParams::decoder(n_tokens, 1, n_ctx, rope);
        let graph = weights.build_graph(&params, &cache).map_err(quipu_decoder::Error::from)?.graph;

        let spec = BufferSpec {
            id: 0,
            alignment: buffer_type.alignment() as u64,
            max_size: buffer_type.max_size() as u64,
        };
        let buffer_types = [buffer_type];
        let view = GraphView { graph: &graph, buffer_types: &buffer_types };
        let greedy = plan(&view, spec, Greedy::default())?;
        let offline = plan(&view, spec, Offline::default())?;
        let chosen = if options.offline { &offline } else { &greedy };
        let timeline = Timeline::new(&view, chosen, &[spec], |tensor| name_of(&graph, tensor));
        let lower_bound = quipu_alloc::peak_live_bytes(&view, 0, spec.alignment);
        Ok(MemoryPlan {
            timeline: timeline.map_err(refused)?,
            n_ctx,
            n_tokens,
            greedy_bytes: greedy.total_size(0),
            offline_bytes: offline.total_size(0),
            lower_bound: lower_bound.map_err(refused)?,
        })
    }
}

fn plan(view: &GraphView<'_>, spec: BufferSpec, strategy: impl Strategy) -> Result<Plan, Error> {
    let mut planner = Planner::with_strategy(&[spec], strategy).map_err(refused)?;
    planner.plan(view, BufferAssignment::default()).map_err(refused)
}

/// A planner's refusal, as a session would report it.
fn refused(error: quipu_alloc::AllocError) -> Error {
    quipu_decoder::Error::from(quipu_backend::Error::from(error)).into()
}

fn name_of(graph: &Graph, tensor: u32) -> String {
    let found = graph.id(tensor as usize).map(|id: TensorId| &graph[id]);
    found
        .map_or_else(String::new, |t| if t.name.is_empty() { t.op.name().to_owned() } else { t.name.clone() })
}

#[cfg(all(test, feature = "embedded-model"))]
mod tests {
    use super::*;

    #[test]
    fn the_plan_of_the_demo_model_is_what_a_session_takes() {
        let model = Model::embedded().unwrap();
        let options = crate::SessionOptions { n_ctx: 256, ..crate::SessionOptions::default() };
        let mut session = model.session(&options).unwrap();
        session.logits(&[1, 2, 3], |_| ()).unwrap();
        for n_tokens in [1, 64] {
            let options = PlanOptions { n_ctx: 256, n_tokens, offline: false };
            let plan = model.plan_memory(&options).unwrap();
            assert_eq!(plan.timeline.total_size(), plan.greedy_bytes);
            assert!(plan.lower_bound <= plan.offline_bytes && plan.offline_bytes <= plan.greedy_bytes);
            assert!(plan.offline_bytes as f64 <= 1.05 * plan.lower_bound as f64, "{plan:?}");
            let offline = model.plan_memory(&PlanOptions { offline: true, ..options }).unwrap();
            assert_eq!(offline.timeline.total_size(), plan.offline_bytes);
            assert!(plan.timeline.to_string().contains("most bytes live"));
        }
    }
}
