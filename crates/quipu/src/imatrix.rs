//! Collecting an importance matrix: sums of squared activations at every matrix product, over a text.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quipu_backend::{BufferTable, Observer};
use quipu_graph::{DType, Graph, Op, TensorId};
use quipu_model::quantize::{Imatrix, ImatrixEntry};

use crate::error::Error;
use crate::generate::Flow;
use crate::perplexity::{Score, check_tokens};
use crate::session::Session;

/// Products with fewer rows of activations are not collected, as in the reference.
const MIN_ROWS: usize = 16;

/// How to collect ([`Session::collect_imatrix`]); the defaults are llama-imatrix's.
#[derive(Clone, Debug)]
pub struct ImatrixOptions {
    /// Tokens in a chunk; the session's context must hold them.
    pub n_ctx: usize,
    /// Chunks left out at the start of the text.
    pub first_chunk: usize,
    /// Chunks evaluated at most; all if absent.
    pub n_chunks: Option<usize>,
    /// Collect for `output.weight` too.
    pub process_output: bool,
    /// Understand special tokens in the text.
    pub parse_special: bool,
}

impl Default for ImatrixOptions {
    fn default() -> Self {
        ImatrixOptions {
            n_ctx: 512,
            first_chunk: 0,
            n_chunks: None,
            process_output: false,
            parse_special: false,
        }
    }
}

/// Where a collection stands after a chunk.
#[derive(Debug)]
pub struct ImatrixProgress<'a> {
    /// Chunks evaluated.
    pub chunk: usize,
    /// Chunks there are to evaluate.
    pub n_chunks: usize,
    /// Perplexity so far.
    pub perplexity: f64,
    /// What was collected so far.
    pub imatrix: &'a Imatrix,
}

impl Session {
    /// Runs the model over `text` chunk by chunk and adds what its weights see to `imatrix` (which may hold
    /// earlier collections). `progress` is called after each chunk and may stop the run, which is no error.
    /// Answers to `compute_imatrix` of llama-imatrix with one sequence to a batch.
    ///
    /// # Errors
    /// Fewer than two chunks of tokens, a context shorter than a chunk, sizes that differ from those in
    /// `imatrix`, activations that are not finite.
    pub fn collect_imatrix(
        &mut self,
        text: &str,
        options: &ImatrixOptions,
        imatrix: &mut Imatrix,
        progress: impl FnMut(&ImatrixProgress<'_>) -> Flow,
    ) -> Result<(), Error> {
        let collection = Collection::start(self, imatrix, options.process_output);
        collection.session.run_chunks(text, options, &collection.collector, progress)
    }

    fn run_chunks(
        &mut self,
        text: &str,
        options: &ImatrixOptions,
        collector: &Mutex<Collector>,
        mut progress: impl FnMut(&ImatrixProgress<'_>) -> Flow,
    ) -> Result<(), Error> {
        let n_ctx = options.n_ctx;
        let tokenizer = self.model().tokenizer()?.clone();
        let tokens = tokenizer.encode(text, true, options.parse_special)?;
        let tokens = &tokens[options.first_chunk.saturating_mul(n_ctx).min(tokens.len())..];
        check_tokens(tokens.len(), n_ctx)?;
        let bos = tokenizer.special_tokens().bos.filter(|_| tokenizer.add_bos());
        let n_chunks = (tokens.len() / n_ctx).min(options.n_chunks.unwrap_or(usize::MAX));
        let mut score = Score::default();
        for (i, chunk) in tokens.chunks_exact(n_ctx).take(n_chunks).enumerate() {
            self.score_chunk(chunk, bos, &mut score)?;
            let mut collector = lock(collector);
            let imatrix = &mut collector.imatrix;
            imatrix.chunk_size = n_ctx as u32;
            imatrix.chunk_count = imatrix.last_chunk(imatrix.chunk_size);
            let state = ImatrixProgress { chunk: i + 1, n_chunks, perplexity: score.value(), imatrix };
            if progress(&state) == Flow::Stop {
                break;
            }
        }
        Ok(())
    }
}

/// Adds up squares as products are computed. Answers to `IMatrixCollector`.
#[derive(Debug, Default)]
struct Collector {
    process_output: bool,
    imatrix: Imatrix,
    row: Vec<u8>,
}

/// A collection under way. However it ends, panics included, the session then shows its products to nobody and the
/// matrix is its owner's again, with what was collected.
struct Collection<'a> {
    session: &'a mut Session,
    imatrix: &'a mut Imatrix,
    collector: Arc<Mutex<Collector>>,
}

impl<'a> Collection<'a> {
    fn start(session: &'a mut Session, imatrix: &'a mut Imatrix, process_output: bool) -> Collection<'a> {
        let collector = Collector { process_output, imatrix: std::mem::take(imatrix), row: Vec::new() };
        let collector = Arc::new(Mutex::new(collector));
        session.context().set_observer(Some(Box::new(SharedCollector(Arc::clone(&collector)))));
        Collection { session, imatrix, collector }
    }
}

impl Drop for Collection<'_> {
    fn drop(&mut self) {
        self.session.context().set_observer(None);
        *self.imatrix = std::mem::take(&mut lock(&self.collector).imatrix);
    }
}

/// A thread that died holding the lock loses nothing: what was added up stays added up.
fn lock(collector: &Mutex<Collector>) -> MutexGuard<'_, Collector> {
    collector.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The collector as the scheduler holds it; the collection keeps the other end.
#[derive(Debug)]
struct SharedCollector(Arc<Mutex<Collector>>);

impl Observer for SharedCollector {
    fn wants(&self, graph: &Graph, node: TensorId) -> bool {
        let tensor = &graph[node];
        if tensor.op == Op::MulMatId {
            return true;
        }
        let (Op::MulMat, [weight, x]) = (tensor.op, tensor.src.as_slice()) else { return false };
        let (name, x) = (&graph[*weight].name, &graph[*x]);
        let process_output = || lock(&self.0).process_output;
        x.ne[1] >= MIN_ROWS
            && x.dtype == DType::F32
            && x.has_contiguous_rows()
            && (name.starts_with("blk.") || (name == "output.weight" && process_output()))
    }

    fn computed(
        &mut self,
        graph: &Graph,
        node: TensorId,
        buffers: &BufferTable,
    ) -> Result<(), quipu_backend::Error> {
        let mut collector = lock(&self.0);
        if graph[node].op == Op::MulMatId {
            collector.add_chosen(graph, node, buffers)
        } else {
            collector.add(graph, node, buffers)
        }
    }
}

impl Collector {
    /// Squares of columns that each meet some of a weight's matrices, experts, with a count for each of these.
    fn add_chosen(
        &mut self,
        graph: &Graph,
        node: TensorId,
        buffers: &BufferTable,
    ) -> Result<(), quipu_backend::Error> {
        let [weight, x, ids] = [0, 1, 2].map(|i| &graph[graph[node].src[i]]);
        let (n_cols, n_mat) = (x.ne[0], weight.ne[2]);
        let wrong = |found: String, expected| quipu_backend::Error::Tensor {
            name: weight.name.clone(),
            found,
            expected,
        };
        let entry = self.imatrix.entries.entry(weight.name.clone()).or_default();
        if entry.counts.len() == 1 {
            // A matrix of before there were counts of experts.
            entry.counts = vec![entry.counts[0]; n_mat];
        }
        if entry.sums.is_empty() {
            *entry = ImatrixEntry { sums: vec![0.0; n_cols * n_mat], counts: vec![0; n_mat] };
        } else if entry.sums.len() != n_cols * n_mat || entry.counts.len() != n_mat {
            let found = format!("{} sums, {} counts collected earlier", entry.sums.len(), entry.counts.len());
            return Err(wrong(found, "one for each column, and one for each expert"));
        }
        self.row.resize(n_cols * size_of::<f32>(), 0);
        for slot in 0..ids.ne[0] {
            for token in 0..x.ne[2] {
                let mut number = [0; 4];
                buffers.read_tensor(ids, token * ids.nb[1] + slot * ids.nb[0], &mut number)?;
                let number = i32::from_le_bytes(number);
                let expert = usize::try_from(number).ok().filter(|expert| *expert < n_mat);
                let expert = expert.ok_or_else(|| wrong(format!("expert {number}"), "one of its experts"))?;
                buffers.read_tensor(x, slot % x.ne[1] * x.nb[1] + token * x.nb[2], &mut self.row)?;
                entry.counts[expert] += 1;
                let (values, _) = self.row.as_chunks::<4>();
                for (sum, bytes) in entry.sums[expert * n_cols..][..n_cols].iter_mut().zip(values) {
                    let value = f32::from_le_bytes(*bytes);
                    *sum += value * value;
                }
            }
        }
        if let Some(column) = entry.sums.iter().position(|sum| !sum.is_finite()) {
            return Err(wrong(format!("{} as sum of column {column}", entry.sums[column]), "a finite sum"));
        }
        Ok(())
    }

    /// Squares of the columns that all meet the same matrices.
    fn add(
        &mut self,
        graph: &Graph,
        node: TensorId,
        buffers: &BufferTable,
    ) -> Result<(), quipu_backend::Error> {
        let (weight, x) = (&graph[graph[node].src[0]], &graph[graph[node].src[1]]);
        let n_cols = x.ne[0];
        let n_mat = weight.ne[2] * weight.ne[3];
        let wrong = |found: String, expected| quipu_backend::Error::Tensor {
            name: weight.name.clone(),
            found,
            expected,
        };
        let entry = self.imatrix.entries.entry(weight.name.clone()).or_default();
        if entry.sums.is_empty() {
            *entry = ImatrixEntry { sums: vec![0.0; n_cols * n_mat], counts: vec![0] };
        } else if entry.sums.len() != n_cols * n_mat {
            let found = format!("{} sums collected earlier", entry.sums.len());
            return Err(wrong(found, "one for each column"));
        }
        // Collected as experts elsewhere, but a single matrix here.
        if entry.counts.iter().all(|count| *count == entry.counts[0]) {
            entry.counts.truncate(1);
        }
        self.row.resize(n_cols * size_of::<f32>(), 0);
        for i3 in 0..x.ne[3] {
            for i2 in 0..x.ne[2] {
                let matrix = (i3 % weight.ne[3]) * weight.ne[2] + i2 % weight.ne[2];
                let sums = &mut entry.sums[matrix * n_cols..][..n_cols];
                for i1 in 0..x.ne[1] {
                    let start = i1 * x.nb[1] + i2 * x.nb[2] + i3 * x.nb[3];
                    buffers.read_tensor(x, start, &mut self.row)?;
                    let (values, _) = self.row.as_chunks::<4>();
                    for (sum, bytes) in sums.iter_mut().zip(values) {
                        let value = f32::from_le_bytes(*bytes);
                        *sum += value * value;
                    }
                }
            }
        }
        if let Some(column) = entry.sums.iter().position(|sum| !sum.is_finite()) {
            return Err(wrong(format!("{} as sum of column {column}", entry.sums[column]), "a finite sum"));
        }
        let rows = (x.n_rows() / n_mat.max(1)) as i64;
        entry.counts.iter_mut().for_each(|count| *count += rows);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use quipu_backend::BufferType;
    use quipu_cpu_backend::CpuBufferType;
    use quipu_graph::{BufferId, Storage};

    use super::*;

    /// Two tokens, each with two of three experts, on columns of their own.
    #[test]
    fn every_expert_counts_the_columns_that_it_met() {
        let mut graph = Graph::new();
        let mut end = 0;
        let mut leaf = |graph: &mut Graph, name: &str, dtype: DType, ne: [usize; 4]| {
            let storage = Storage::External { buffer: BufferId(0), offset: end };
            let id = graph.external(name, dtype, ne, storage).expect("a small tensor");
            end += graph[id].n_bytes().next_multiple_of(64);
            id
        };
        let weight = leaf(&mut graph, "blk.0.ffn_up_exps.weight", DType::F32, [2, 1, 3, 1]);
        let x = leaf(&mut graph, "x", DType::F32, [2, 2, 2, 1]);
        let ids = leaf(&mut graph, "ids", DType::I32, [2, 2, 1, 1]);
        let node = graph.mul_mat_id(weight, x, ids).expect("matching shapes");
        let mut buffers = BufferTable::new();
        buffers.add_owned(CpuBufferType.allocate(end).expect("memory"));
        let floats: [f32; 8] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
        let bytes: Vec<u8> = floats.iter().flat_map(|value| value.to_le_bytes()).collect();
        buffers.write_tensor(&graph[x], &bytes).expect("in memory");
        let numbers = |numbers: [i32; 4]| numbers.map(i32::to_le_bytes).concat();
        buffers.write_tensor(&graph[ids], &numbers([0, 2, 2, 0])).expect("in memory");
        let mut collector = Collector::default();
        collector.add_chosen(&graph, node, &buffers).expect("experts that there are");
        let entry = &collector.imatrix.entries["blk.0.ffn_up_exps.weight"];
        assert_eq!(entry.counts, [2, 0, 2]);
        assert_eq!(entry.sums, [50.0, 68.0, 0.0, 0.0, 34.0, 52.0]);
        buffers.write_tensor(&graph[ids], &numbers([0, 3, 2, 0])).expect("in memory");
        let error = collector.add_chosen(&graph, node, &buffers).expect_err("no such expert");
        assert!(error.to_string().contains("expert 3"), "{error}");
    }
}
