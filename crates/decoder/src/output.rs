//! Results of the last batch: rows of logits and embeddings, found by batch index.

use quipu_backend::BufferTable;
use quipu_batch::{SeqId, Ubatch};
use quipu_graph::TensorId;
use quipu_model::{BuiltGraph, Pooling};

use crate::error::Error;

/// Output memory of a context; grows to the largest batch seen.
#[derive(Debug)]
pub(crate) struct Outputs {
    n_vocab: usize,
    n_embd: usize,
    /// Elements of a pooled row, or scores.
    n_pooled: usize,
    /// Keep logits.
    with_logits: bool,
    /// The last batch's graphs computed logits: encoders have none.
    has_logits: bool,
    /// Keep embeddings, pooled this way.
    with_embd: Option<Pooling>,
    logits: Vec<f32>,
    embd: Vec<f32>,
    /// Row of each token of the batch, -1 without output. Empty while a batch is in progress.
    rows: Vec<i32>,
    n_rows: usize,
    n_tokens: usize,
    /// Sequences with a pooled embedding; of one that comes twice the last counts.
    pooled_seqs: Vec<SeqId>,
    /// Their embeddings, in that order.
    pooled: Vec<f32>,
}

impl Outputs {
    /// Memory for outputs of a model; `with_embd`: embeddings are kept, pooled this way.
    pub fn new(n_vocab: usize, n_embd: usize, n_pooled: usize, with_embd: Option<Pooling>) -> Outputs {
        Outputs {
            n_vocab,
            n_embd,
            n_pooled,
            // Pooling makes every token an output: logits of all of them would only take memory.
            with_logits: matches!(with_embd, None | Some(Pooling::None)),
            has_logits: false,
            with_embd,
            logits: Vec::new(),
            embd: Vec::new(),
            rows: Vec::new(),
            n_rows: 0,
            n_tokens: 0,
            pooled_seqs: Vec::new(),
            pooled: Vec::new(),
        }
    }

    /// Makes room for a batch and forgets the last one (`output_reserve`).
    pub fn start(&mut self, n_outputs: usize) -> Result<(), Error> {
        self.rows.clear();
        (self.n_rows, self.n_tokens, self.has_logits) = (0, 0, false);
        self.pooled_seqs.clear();
        self.pooled.clear();
        if self.with_logits {
            grow(&mut self.logits, n_outputs, self.n_vocab)?;
        }
        if self.with_embd.is_some() {
            grow(&mut self.embd, n_outputs, self.n_embd)?;
        }
        Ok(())
    }

    /// Copies the rows of a ubatch that ran, the first of them to row `first`, and returns their number.
    pub fn collect(
        &mut self,
        first: usize,
        ubatch: &Ubatch,
        built: &BuiltGraph,
        buffers: &BufferTable,
    ) -> Result<usize, Error> {
        let n_outputs = ubatch.n_outputs();
        if n_outputs == 0 {
            return Ok(0);
        }
        let read = |id: TensorId, rows: &mut [f32]| {
            buffers.read_tensor(&built.graph[id], 0, bytemuck::cast_slice_mut(rows))
        };
        if let Some(logits) = built.outputs.logits.filter(|_| self.with_logits) {
            read(logits, &mut self.logits[first * self.n_vocab..][..n_outputs * self.n_vocab])?;
            self.has_logits = true;
        }
        if self.with_embd.is_some() {
            read(built.outputs.embd, &mut self.embd[first * self.n_embd..][..n_outputs * self.n_embd])?;
        }
        if let Some(pooled) = built.outputs.pooled {
            let start = self.pooled.len();
            self.pooled_seqs.extend_from_slice(&ubatch.seq_id_unq);
            self.pooled.resize(start + ubatch.seq_id_unq.len() * self.n_pooled, 0.0);
            read(pooled, &mut self.pooled[start..])?;
        }
        Ok(n_outputs)
    }

    /// Opens the rows to readers, once all ubatches ran; `out_ids[row]` is the row's token.
    pub fn finish(&mut self, n_tokens: usize, out_ids: &[u32]) {
        self.rows.resize(n_tokens, -1);
        for (row, token) in out_ids.iter().enumerate() {
            self.rows[*token as usize] = row as i32;
        }
        (self.n_rows, self.n_tokens) = (out_ids.len(), n_tokens);
    }

    /// Logits of a token of the batch; negative indices count outputs from the end.
    pub fn logits(&self, index: i32) -> Result<&[f32], Error> {
        if !self.with_logits {
            return Err(Error::NotKept { kind: "logits", expected: "no pooling" });
        }
        let row = self.row(index)?;
        if !self.has_logits {
            return Err(Error::NotKept {
                kind: "logits",
                expected: "a model that computes some, not an encoder",
            });
        }
        Ok(&self.logits[row * self.n_vocab..][..self.n_vocab])
    }

    /// Final row of a token of the batch; negative indices count outputs from the end.
    pub fn embeddings(&self, index: i32) -> Result<&[f32], Error> {
        if self.with_embd.is_none() {
            return Err(Error::NotKept { kind: "embeddings", expected: "embeddings = true" });
        }
        let row = self.row(index)?;
        Ok(&self.embd[row * self.n_embd..][..self.n_embd])
    }

    /// Pooled embedding of a sequence, or its scores.
    pub fn embeddings_seq(&self, seq_id: SeqId) -> Result<&[f32], Error> {
        if matches!(self.with_embd, None | Some(Pooling::None)) {
            return Err(Error::NotKept {
                kind: "pooled embeddings",
                expected: "embeddings = true and a pooling",
            });
        }
        let found = self.pooled_seqs.iter().rposition(|other| *other == seq_id);
        let row = found.and_then(|row| self.pooled.get(row * self.n_pooled..)?.get(..self.n_pooled));
        row.ok_or(Error::NoSequenceOutput(seq_id))
    }

    /// Number of outputs of the last batch.
    pub fn n_outputs(&self) -> usize {
        self.n_rows
    }

    fn row(&self, index: i32) -> Result<usize, Error> {
        let found = if index < 0 {
            let from_end = index.unsigned_abs() as usize;
            let count = self.n_rows.checked_sub(from_end);
            // Rows are in the order of ubatches, outputs are counted in the order of the batch.
            count.and_then(|n| self.rows.iter().filter(|row| **row >= 0).nth(n))
        } else {
            self.rows.get(index as usize)
        };
        found.and_then(|row| usize::try_from(*row).ok()).ok_or(Error::NoOutput {
            index,
            n_outputs: self.n_rows,
            n_tokens: self.n_tokens,
        })
    }
}

fn grow(values: &mut Vec<f32>, n_rows: usize, row: usize) -> Result<(), Error> {
    let len = n_rows.saturating_mul(row);
    if let Some(more) = len.checked_sub(values.len()) {
        let n_bytes = len.saturating_mul(size_of::<f32>());
        values.try_reserve_exact(more).map_err(|_| Error::OutputMemory { n_rows, n_bytes })?;
        values.resize(len, 0.0);
    }
    Ok(())
}
