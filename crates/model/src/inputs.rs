//! The inputs every graph has: tokens or embeddings, positions, rows to keep.

use quipu_backend::BufferTable;
use quipu_graph::{DType, Graph, TensorId};
use quipu_kv_cache::{Error, GraphInput, GraphShape, InputSource, write_input, write_input_rows};

use crate::hparams::Temperature;

/// What goes into the first layer. Answers to `llm_graph_input_embd`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum EmbdInput {
    /// Token ids, i32 `[n_tokens]`.
    Tokens(TensorId),
    /// Embeddings instead of tokens, f32 `[n_embd, n_tokens]`.
    Embd(TensorId),
}

impl EmbdInput {
    /// Adds the input to a graph.
    pub(crate) fn new(
        graph: &mut Graph,
        shape: &GraphShape,
        n_embd: usize,
    ) -> Result<EmbdInput, quipu_graph::Error> {
        let n_tokens = shape.n_tokens;
        Ok(if shape.from_embeddings {
            EmbdInput::Embd(graph.input("inp_embd", DType::F32, [n_embd, n_tokens, 1, 1])?)
        } else {
            EmbdInput::Tokens(graph.input("inp_tokens", DType::I32, [n_tokens, 1, 1, 1])?)
        })
    }
}

/// [`EmbdInput`] for a number of tokens.
#[derive(Debug)]
pub(crate) struct InputEmbd {
    pub input: EmbdInput,
    pub n_tokens: usize,
}

impl GraphInput for InputEmbd {
    fn set(
        &mut self,
        graph: &Graph,
        source: &InputSource<'_>,
        buffers: &mut BufferTable,
    ) -> Result<(), Error> {
        match self.input {
            EmbdInput::Tokens(id) => {
                write_input_rows(graph, id, &source.batch.tokens, 1, source.ubatch, buffers)
            }
            EmbdInput::Embd(id) => {
                write_input_rows(graph, id, &source.batch.embd, source.batch.n_embd, source.ubatch, buffers)
            }
        }
    }

    fn can_reuse(&self, shape: &GraphShape) -> bool {
        let from_embeddings = matches!(self.input, EmbdInput::Embd(_));
        (shape.n_tokens, shape.from_embeddings) == (self.n_tokens, from_embeddings)
    }
}

/// Positions, i32 `[n_tokens]`, or as many for each kind of position. Answers to `llm_graph_input_pos`.
#[derive(Debug)]
pub(crate) struct InputPos {
    pub pos: TensorId,
    pub n_tokens: usize,
    pub values: Vec<i32>,
}

impl GraphInput for InputPos {
    fn set(
        &mut self,
        graph: &Graph,
        source: &InputSource<'_>,
        buffers: &mut BufferTable,
    ) -> Result<(), Error> {
        let ubatch = source.ubatch;
        if ubatch.n_pos == 1 || ubatch.from_embeddings {
            return write_input(graph, self.pos, &ubatch.pos, buffers);
        }
        // Text is nowhere along the last kind of position.
        self.values.clear();
        self.values.extend_from_slice(&ubatch.pos);
        let from = self.values.len().saturating_sub(self.n_tokens);
        self.values[from..].fill(0);
        write_input(graph, self.pos, &self.values, buffers)
    }

    fn can_reuse(&self, shape: &GraphShape) -> bool {
        shape.n_tokens == self.n_tokens
    }
}

/// Factors of queries by position, f32 `[1, 1, n_tokens]`. Answers to `llm_graph_input_attn_temp`.
#[derive(Debug)]
pub(crate) struct InputTemperature {
    pub factors: TensorId,
    pub n_tokens: usize,
    pub temperature: Temperature,
    pub values: Vec<f32>,
}

impl GraphInput for InputTemperature {
    fn set(
        &mut self,
        graph: &Graph,
        source: &InputSource<'_>,
        buffers: &mut BufferTable,
    ) -> Result<(), Error> {
        self.values.clear();
        self.values.extend(source.ubatch.pos.iter().take(self.n_tokens).map(|pos| self.temperature.at(*pos)));
        write_input(graph, self.factors, &self.values, buffers)
    }

    fn can_reuse(&self, shape: &GraphShape) -> bool {
        shape.n_tokens == self.n_tokens
    }
}

/// Numbers that are the same for every ubatch.
#[derive(Debug)]
pub(crate) struct InputConstant {
    pub input: TensorId,
    pub values: Vec<i32>,
}

impl GraphInput for InputConstant {
    fn set(&mut self, graph: &Graph, _: &InputSource<'_>, buffers: &mut BufferTable) -> Result<(), Error> {
        write_input(graph, self.input, &self.values, buffers)
    }

    fn can_reuse(&self, _: &GraphShape) -> bool {
        true
    }
}

/// Rows to keep, i32 `[n_outputs]`, where not all are kept. Answers to `llm_graph_input_out_ids`.
#[derive(Debug)]
pub(crate) struct InputOutIds {
    pub out_ids: TensorId,
    pub n_outputs: usize,
    pub values: Vec<i32>,
}

impl GraphInput for InputOutIds {
    fn set(
        &mut self,
        graph: &Graph,
        source: &InputSource<'_>,
        buffers: &mut BufferTable,
    ) -> Result<(), Error> {
        let ubatch = source.ubatch;
        self.values.clear();
        let rows = ubatch.outputs.iter().enumerate().filter(|(_, output)| **output);
        self.values.extend(rows.map(|(row, _)| row as i32));
        if self.values.is_empty() {
            // The graph keeps one row even if nobody wants any.
            self.values.push(ubatch.n_tokens as i32 - 1);
        }
        write_input(graph, self.out_ids, &self.values, buffers)
    }

    fn can_reuse(&self, shape: &GraphShape) -> bool {
        shape.n_outputs == self.n_outputs && shape.n_outputs < shape.n_tokens
    }
}
