//! Pooling: one row for each sequence of a ubatch, as a part of its graph.

use quipu_backend::BufferTable;
use quipu_batch::Ubatch;
use quipu_graph::{DType, Graph, TensorId};
use quipu_kv_cache::{GraphInput, GraphShape, InputSource, write_input};

use crate::blocks::Head;
use crate::error::Error;
use crate::graph::BuiltGraph;
use crate::pooling::Pooling;

/// Adds the pooling of a graph's final rows (`[n_embd, n_tokens]`) to it: one row or one set of scores for each sequence, in the order of
/// `Ubatch::seq_id_unq` (`build_pooling`, `build_dense_out`).
pub(crate) fn add(built: &mut BuiltGraph, pooling: Pooling, head: Option<&Head>) -> Result<(), Error> {
    let (graph, inputs, shape) = (&mut built.graph, &mut built.inputs, &built.params.shape);
    let rows = built.outputs.embd;
    let by = match (pooling, head) {
        (Pooling::Rank, Some(head)) => head.rank_by(),
        (Pooling::Rank, None) => return Err(Error::NoHead),
        (pooling, _) => pooling,
    };
    let mut pooled = build(graph, rows, by, shape, inputs)?;
    if let Some(head) = head {
        if let (Pooling::Rank, Some(rows)) = (pooling, pooled) {
            pooled = Some(head.scores(graph, rows)?);
        }
        let projected = head.project(graph, pooled.unwrap_or(rows))?;
        match (projected, pooling) {
            (Some(projected), Pooling::None) => {
                graph.set_output(projected);
                graph.build_forward_expand(projected);
                built.outputs.embd = projected;
            }
            (Some(_), _) => pooled = projected,
            (None, _) => {}
        }
    }
    if let Some(pooled) = pooled {
        graph.set_name(pooled, "result_embd_pooled");
        graph.set_output(pooled);
        graph.build_forward_expand(pooled);
    }
    built.outputs.pooled = pooled;
    Ok(())
}

/// One row of `rows` for each sequence; `None` if rows stay as they are.
fn build(
    graph: &mut Graph,
    rows: TensorId,
    pooling: Pooling,
    shape: &GraphShape,
    inputs: &mut Vec<Box<dyn GraphInput>>,
) -> Result<Option<TensorId>, Error> {
    let (n_tokens, n_seqs) = (shape.n_tokens, shape.n_seqs_unq);
    let pooled = match pooling {
        Pooling::None | Pooling::Rank => return Ok(None),
        Pooling::Mean => {
            let mean = graph.input("inp_mean", DType::F32, [n_tokens, n_seqs, 1, 1])?;
            inputs.push(Box::new(InputMean {
                mean,
                n_tokens,
                n_seqs,
                counts: Vec::new(),
                values: Vec::new(),
            }));
            let columns = graph.transpose(rows);
            let columns = graph.cont(columns)?;
            graph.mul_mat(columns, mean)?
        }
        Pooling::Cls | Pooling::Last => {
            let cls = graph.input("inp_cls", DType::I32, [n_seqs, 1, 1, 1])?;
            let last = pooling == Pooling::Last;
            inputs.push(Box::new(InputCls { cls, n_tokens, n_seqs, last, values: Vec::new() }));
            graph.get_rows(rows, cls)?
        }
    };
    Ok(Some(pooled))
}

/// The share of each token in its sequences' means, f32 `[n_tokens, n_seqs_unq]`. Answers to `llm_graph_input_mean`.
#[derive(Debug)]
struct InputMean {
    mean: TensorId,
    n_tokens: usize,
    n_seqs: usize,
    /// Tokens of each sequence.
    counts: Vec<u32>,
    values: Vec<f32>,
}

impl GraphInput for InputMean {
    fn set(
        &mut self,
        graph: &Graph,
        source: &InputSource<'_>,
        buffers: &mut BufferTable,
    ) -> Result<(), quipu_kv_cache::Error> {
        let n_tokens = self.n_tokens;
        self.counts.clear();
        self.counts.resize(self.n_seqs, 0);
        for (_, s) in places(source.ubatch) {
            self.counts[s] += 1;
        }
        self.values.clear();
        self.values.resize(n_tokens * self.n_seqs, 0.0);
        for (i, s) in places(source.ubatch) {
            self.values[s * n_tokens + i] = 1.0 / self.counts[s] as f32;
        }
        write_input(graph, self.mean, &self.values, buffers)
    }

    fn can_reuse(&self, shape: &GraphShape) -> bool {
        (shape.n_tokens, shape.n_seqs_unq) == (self.n_tokens, self.n_seqs)
    }
}

/// The row of each sequence's first or last position, i32 `[n_seqs_unq]`. Answers to `llm_graph_input_cls`.
#[derive(Debug)]
struct InputCls {
    cls: TensorId,
    n_tokens: usize,
    n_seqs: usize,
    last: bool,
    values: Vec<i32>,
}

impl GraphInput for InputCls {
    fn set(
        &mut self,
        graph: &Graph,
        source: &InputSource<'_>,
        buffers: &mut BufferTable,
    ) -> Result<(), quipu_kv_cache::Error> {
        let pos = &source.ubatch.pos;
        self.values.clear();
        self.values.resize(self.n_seqs, -1);
        for (i, s) in places(source.ubatch) {
            let row = &mut self.values[s];
            // Among equal positions the first token is the first and the last token the last.
            let best = usize::try_from(*row).ok();
            if best.is_none_or(|best| if self.last { pos[i] >= pos[best] } else { pos[i] < pos[best] }) {
                *row = i as i32;
            }
        }
        write_input(graph, self.cls, &self.values, buffers)
    }

    fn can_reuse(&self, shape: &GraphShape) -> bool {
        (shape.n_tokens, shape.n_seqs_unq) == (self.n_tokens, self.n_seqs)
    }
}

/// Every token with the place of each of its sequences in `seq_id_unq`.
fn places(ubatch: &Ubatch) -> impl Iterator<Item = (usize, usize)> + '_ {
    let of_token = move |(i, seqs): (usize, &quipu_batch::SeqSet)| {
        seqs.iter().map(move |s| (i, ubatch.seq_idx[s as usize] as usize))
    };
    ubatch.seq_set.iter().enumerate().flat_map(of_token)
}
