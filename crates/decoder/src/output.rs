//! Results of the last batch: rows of logits and embeddings, found by batch index.

use quipu_backend::BufferTable;
use quipu_batch::{SeqId, Ubatch};
use quipu_model::BuiltGraph;

use crate::error::Error;
use crate::params::Pooling;

/// Output memory of a context; grows to the largest batch seen.
#[derive(Debug)]
pub(crate) struct Outputs {
    n_vocab: usize,
    n_embd: usize,
    /// Keep logits.
    with_logits: bool,
    /// Keep embeddings, pooled this way.
    with_embd: Option<Pooling>,
    logits: Vec<f32>,
    embd: Vec<f32>,
    /// Row of each token of the batch, -1 without output. Empty while a batch is in progress.
    rows: Vec<i32>,
    n_rows: usize,
    n_tokens: usize,
    /// Embeddings by sequence.
    pooled: Vec<(SeqId, Vec<f32>)>,
}

impl Outputs {
    /// Memory for outputs of a model.
    pub fn new(n_vocab: usize, n_embd: usize, embeddings: bool, pooling: Pooling) -> Outputs {
        Outputs {
            n_vocab,
            n_embd,
            // Pooling makes every token an output: logits of all of them would only take memory.
            with_logits: !embeddings || pooling == Pooling::None,
            with_embd: embeddings.then_some(pooling),
            logits: Vec::new(),
            embd: Vec::new(),
            rows: Vec::new(),
            n_rows: 0,
            n_tokens: 0,
            pooled: Vec::new(),
        }
    }

    /// Makes room for a batch and forgets the last one (`output_reserve`).
    pub fn start(&mut self, n_outputs: usize) {
        self.rows.clear();
        (self.n_rows, self.n_tokens) = (0, 0);
        self.pooled.clear();
        if self.with_logits {
            grow(&mut self.logits, n_outputs * self.n_vocab);
        }
        if self.with_embd.is_some() {
            grow(&mut self.embd, n_outputs * self.n_embd);
        }
    }

    /// Copies the rows of a ubatch that ran; `first` is its first row.
    pub fn collect(
        &mut self,
        first: usize,
        ubatch: &Ubatch,
        built: &BuiltGraph,
        buffers: &BufferTable,
    ) -> Result<(), Error> {
        let n_outputs = ubatch.n_outputs();
        if n_outputs == 0 {
            return Ok(());
        }
        if self.with_logits {
            let rows = &mut self.logits[first * self.n_vocab..][..n_outputs * self.n_vocab];
            buffers.read_tensor(&built.graph[built.logits], 0, bytemuck::cast_slice_mut(rows))?;
        }
        let Some(pooling) = self.with_embd else { return Ok(()) };
        let rows = &mut self.embd[first * self.n_embd..][..n_outputs * self.n_embd];
        buffers.read_tensor(&built.graph[built.embd], 0, bytemuck::cast_slice_mut(rows))?;
        if pooling != Pooling::None {
            // With embeddings every token is an output, so rows are tokens.
            for seq_id in &ubatch.seq_id_unq {
                let vector = pool(pooling, *seq_id, ubatch, rows, self.n_embd);
                self.pooled.retain(|(other, _)| other != seq_id);
                self.pooled.push((*seq_id, vector));
            }
        }
        Ok(())
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

    /// Pooled embedding of a sequence.
    pub fn embeddings_seq(&self, seq_id: SeqId) -> Result<&[f32], Error> {
        if matches!(self.with_embd, None | Some(Pooling::None)) {
            return Err(Error::NotKept {
                kind: "pooled embeddings",
                expected: "embeddings = true and a pooling",
            });
        }
        let found = self.pooled.iter().find(|(other, _)| *other == seq_id);
        found.map(|(_, vector)| vector.as_slice()).ok_or(Error::NoSequenceOutput(seq_id))
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

fn grow(values: &mut Vec<f32>, len: usize) {
    if values.len() < len {
        values.resize(len, 0.0);
    }
}

/// One vector for the rows of a sequence (`build_pooling`).
fn pool(pooling: Pooling, seq_id: SeqId, ubatch: &Ubatch, rows: &[f32], n_embd: usize) -> Vec<f32> {
    let tokens = || (0..ubatch.n_tokens).filter(|i| ubatch.seq_set[*i].contains(seq_id));
    let row = |i: usize| &rows[i * n_embd..][..n_embd];
    let picked = match pooling {
        Pooling::Cls => tokens().min_by_key(|i| ubatch.pos[*i]),
        Pooling::Last => tokens().max_by_key(|i| ubatch.pos[*i]),
        Pooling::None | Pooling::Mean => None,
    };
    if let Some(i) = picked {
        return row(i).to_vec();
    }
    let share = 1.0 / tokens().count() as f32;
    let mut mean = vec![0.0f32; n_embd];
    for i in tokens() {
        for (sum, x) in mean.iter_mut().zip(row(i)) {
            *sum += x * share;
        }
    }
    mean
}
