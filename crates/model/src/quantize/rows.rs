//! Converting the rows of one tensor, in parallel over chunks of rows.

use std::sync::Mutex;

use quipu_quant::{DType, dequantize_row, quantize_rows, validate_rows};

use super::error::Error;
use super::plan::TensorPlan;

/// Elements converted at a time, at least.
const CHUNK: usize = 32 * 512;

/// Checks the data of a tensor that is not converted.
pub(super) fn check(tensor: &TensorPlan, data: &[u8]) -> Result<(), Error> {
    validate_rows(tensor.from, data).map_err(|source| in_tensor(tensor, source))
}

/// Converts `data`, all rows of `tensor`, into `out`. `imatrix` has a weight for each column, matrix after
/// matrix. The result does not depend on `n_threads`. Answers to `llama_tensor_quantize_impl`.
pub(super) fn convert(
    tensor: &TensorPlan,
    data: &[u8],
    imatrix: Option<&[f32]>,
    n_threads: usize,
    out: &mut [u8],
) -> Result<(), Error> {
    let ne0 = tensor.ne[0] as usize;
    let rows_of_matrix = tensor.ne[1] as usize;
    let row_bytes = |dtype: DType| {
        dtype.row_bytes(ne0).filter(|n| *n > 0).ok_or_else(|| Error::NoFallback {
            name: tensor.name.clone(),
            ne0: tensor.ne[0],
            dtype,
        })
    };
    if data.is_empty() {
        return Ok(());
    }
    let (from_bytes, to_bytes) = (row_bytes(tensor.from)?, row_bytes(tensor.to)?);
    let rows_at_once = CHUNK.div_ceil(ne0).min(rows_of_matrix).max(1);
    let n_matrices = tensor.ne[2].max(1) as usize;
    // Matrix by matrix, so that no chunk lies in two: each expert has column weights of its own.
    let chunks = data
        .chunks(from_bytes * rows_of_matrix)
        .zip(out.chunks_mut(to_bytes * rows_of_matrix))
        .enumerate()
        .flat_map(|(i, (data, out))| {
            let weights = imatrix.map(|all| &all[i % n_matrices * ne0..][..ne0]);
            data.chunks(from_bytes * rows_at_once)
                .zip(out.chunks_mut(to_bytes * rows_at_once))
                .map(move |(data, out)| Chunk { data, out, weights })
        });
    let queue = Mutex::new(chunks);
    let next = || queue.lock().ok()?.next();
    let failure = Mutex::new(None);
    let work = || {
        let mut floats = Vec::new();
        while let Some(chunk) = next() {
            if let Err(error) = chunk.convert(tensor, ne0, &mut floats) {
                if let Ok(mut failure) = failure.lock() {
                    failure.get_or_insert(error);
                }
                return;
            }
        }
    };
    let n_chunks = (data.len() / from_bytes).div_ceil(rows_at_once);
    std::thread::scope(|scope| {
        for _ in 1..n_threads.min(n_chunks) {
            // Where no further thread is to be had, those that are there do the work.
            if std::thread::Builder::new().spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
    match failure.into_inner() {
        Ok(Some(source)) => Err(in_tensor(tensor, source)),
        _ => Ok(()),
    }
}

struct Chunk<'a> {
    data: &'a [u8],
    out: &'a mut [u8],
    weights: Option<&'a [f32]>,
}

impl Chunk<'_> {
    fn convert(
        self,
        tensor: &TensorPlan,
        ne0: usize,
        floats: &mut Vec<f32>,
    ) -> Result<(), quipu_quant::Error> {
        validate_rows(tensor.from, self.data)?;
        floats.resize(self.data.len() / tensor.from.block_bytes() * tensor.from.block_len(), 0.0);
        dequantize_row(tensor.from, self.data, floats)?;
        quantize_rows(tensor.to, floats, ne0, self.weights, self.out)?;
        validate_rows(tensor.to, self.out)
    }
}

fn in_tensor(tensor: &TensorPlan, source: quipu_quant::Error) -> Error {
    Error::Quant { name: tensor.name.clone(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(to: DType) -> TensorPlan {
        let n_bytes = |dtype: DType| dtype.row_bytes(256).unwrap_or_default() as u64;
        TensorPlan {
            name: "blk.0.ffn_up.weight".to_owned(),
            source_name: "blk.0.ffn_up.weight".to_owned(),
            index: 0,
            output: 0,
            ne: [256, 1, 1, 1],
            from: DType::F32,
            to,
            n_bytes: n_bytes(DType::F32),
            n_bytes_new: n_bytes(to),
            fell_back: false,
            requires_imatrix: false,
        }
    }

    /// What a type cannot hold is refused by the tensor's name and place; what is written is a number again.
    #[test]
    fn values_beyond_a_type_are_refused() {
        let mut refused = Vec::new();
        for to in
            DType::ALL.into_iter().filter(|to| to.is_quantized() || *to == DType::F16 || *to == DType::BF16)
        {
            for value in [3.4e38f32, 1e38, -3e38, 66_000.0, f32::MIN_POSITIVE] {
                let mut values = [1.0f32; 256];
                values[200] = value;
                let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                let (tensor, weights) = (tensor(to), [1.0f32; 256]);
                let mut out = vec![0; tensor.n_bytes_new as usize];
                match convert(&tensor, &data, Some(&weights), 1, &mut out) {
                    Ok(()) => {
                        let mut back = [0.0f32; 256];
                        // Types of intermediate results are never read back.
                        if dequantize_row(to, &out, &mut back).is_err() {
                            continue;
                        }
                        assert!(back.iter().all(|value| value.is_finite()), "{to} of {value}: {back:?}");
                    }
                    Err(error) => {
                        let message = error.to_string();
                        assert!(message.contains("blk.0.ffn_up.weight"), "{message}");
                        refused.push((to, value));
                    }
                }
            }
        }
        for case in
            [(DType::BF16, 3.4e38), (DType::F16, 66_000.0), (DType::Q4_0, 3.4e38), (DType::Q8_0, 3.4e38)]
        {
            assert!(refused.contains(&case), "{case:?}: {refused:?}");
        }
    }
}
