//! Whether the weights are numbers: every value and block scale finite, on all processors.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use quipu_graph::DType;
use quipu_quant::validate_rows;

use crate::error::Error;

/// Bytes checked at a time.
const PIECE: usize = 4 << 20;

/// A tensor whose bytes are in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes<'a> {
    pub name: &'a str,
    pub dtype: DType,
    pub data: &'a [u8],
}

/// Checks all tensors and names the first bad block in their order, whatever thread found it (`check_tensors`).
pub(super) fn check_all(tensors: &[Bytes<'_>]) -> Result<(), Error> {
    let mut pieces = Vec::new();
    for tensor in tensors {
        let block = tensor.dtype.block_bytes();
        let step = PIECE / block * block;
        pieces.extend((0..tensor.data.len()).step_by(step).map(|from| (tensor, from, step)));
    }
    let next = AtomicUsize::new(0);
    let first_bad = AtomicUsize::new(usize::MAX);
    let found: Mutex<Option<(usize, Error)>> = Mutex::new(None);
    let work = || {
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            // Pieces behind a bad one cannot be the first.
            if i >= pieces.len() || i > first_bad.load(Ordering::Relaxed) {
                return;
            }
            let (tensor, from, step) = pieces[i];
            let bytes = &tensor.data[from..tensor.data.len().min(from + step)];
            if let Err(error) = check_blocks(tensor.name, tensor.dtype, bytes, from) {
                first_bad.fetch_min(i, Ordering::Relaxed);
                let mut found = found.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                if found.as_ref().is_none_or(|(at, _)| i < *at) {
                    *found = Some((i, error));
                }
            }
        }
    };
    let n_threads = std::thread::available_parallelism().map_or(1, usize::from).min(pieces.len());
    std::thread::scope(|scope| {
        for _ in 1..n_threads {
            // Where no further thread is to be had, those that are there do the work.
            if std::thread::Builder::new().spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
    let found = found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    found.map_or(Ok(()), |(_, error)| Err(error))
}

/// Checks whole blocks that start at byte `from` of their tensor; the error counts blocks from the tensor's
/// start.
pub(super) fn check_blocks(name: &str, dtype: DType, bytes: &[u8], from: usize) -> Result<(), Error> {
    validate_rows(dtype, bytes).map_err(|mut source| {
        if let quipu_quant::Error::NotFinite { block, .. } = &mut source {
            *block += from / dtype.block_bytes();
        }
        Error::BadTensor { name: name.to_owned(), source }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bad_block_is_named_from_any_thread() {
        let good = vec![0u8; 3 * PIECE];
        let mut bad = good.clone();
        // Two bad floats, in the last piece and in the one before.
        for at in [2 * PIECE + 400, PIECE + 84] {
            bad[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
        }
        let bytes = |name, data| Bytes { name, dtype: DType::F32, data };
        check_all(&[bytes("a", &good)]).unwrap();
        check_all(&[]).unwrap();
        for _ in 0..20 {
            let error = check_all(&[bytes("a", &good), bytes("b", &bad), bytes("c", &bad)]).unwrap_err();
            let Error::BadTensor { name, source: quipu_quant::Error::NotFinite { block, .. } } = &error
            else {
                panic!("{error}");
            };
            assert_eq!((name.as_str(), *block), ("b", (PIECE + 84) / 4));
        }
    }
}
