//! Whether two stores hold the same, within what a type may differ.
//!
//! Answers to gemma.cpp's `io/blob_compare`. Names must be the same in the same order, and sizes; then floats may differ
//! a little and everything else may not. Types are what a blob's name begins with in files of before 2025; the names of
//! newer ones (`c_embedding`) begin otherwise, so there every byte counts, as in the reference.
//! The reference divides by the first value with its sign, so that for negative ones no difference is too large in
//! proportion; here it is the magnitude.

use crate::blob::{Blob, BlobStore};
use crate::codec::bf16;
use crate::error::{Error, Result};
use crate::key::Key;

/// Bytes that are compared at a time.
const CHUNK: usize = 1 << 20;

/// What two stores have in common.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// Blobs without a difference that counts.
    pub n_equal: usize,
    /// The others.
    pub different: Vec<BlobDifference>,
    /// Bytes that were compared, of one store.
    pub n_bytes: u64,
}

/// A blob that is not the same.
#[derive(Clone, Debug)]
pub struct BlobDifference {
    /// Its name.
    pub key: Key,
    /// Elements that differ: floats, or bytes.
    pub n_mismatches: u64,
    /// Where the first is, in bytes from the blob's begin.
    pub first: u64,
    /// Its bytes.
    pub bytes: u64,
}

/// Compares two stores, in pieces: they may be larger than memory.
///
/// # Errors
/// [`Error::Convert`] if names or sizes differ; [`Error::Gguf`] if they cannot be read.
pub fn compare(a: &BlobStore, b: &BlobStore) -> Result<Comparison> {
    let (first, second) = (a.blobs(), b.blobs());
    if first.len() != second.len() {
        return Err(Error::Convert {
            what: format!("{} blobs and {} cannot be compared", first.len(), second.len()),
        });
    }
    let mut comparison = Comparison::default();
    for (index, (x, y)) in first.iter().zip(second).enumerate() {
        if x.key != y.key || x.bytes != y.bytes {
            let what = format!(
                "blob {index} is '{}' of {} bytes in one file and '{}' of {} in the other: they cannot be compared",
                x.key, x.bytes, y.key, y.bytes
            );
            return Err(Error::Convert { what });
        }
    }
    for (x, y) in first.iter().zip(second) {
        comparison.n_bytes += x.bytes;
        match differences(a, b, x, y)? {
            Some(difference) => comparison.different.push(difference),
            None => comparison.n_equal += 1,
        }
    }
    Ok(comparison)
}

fn differences(a: &BlobStore, b: &BlobStore, x: &Blob, y: &Blob) -> Result<Option<BlobDifference>> {
    let differs = match x.key.as_bytes().first() {
        Some(b'F') if x.bytes % 4 == 0 => floats,
        Some(b'B') if x.bytes % 2 == 0 => halves,
        _ => bytes,
    };
    let mut found: Option<BlobDifference> = None;
    let mut buffers = [vec![0; CHUNK], vec![0; CHUNK]];
    for from in (0..x.bytes).step_by(CHUNK) {
        let n = (x.bytes - from).min(CHUNK as u64) as usize;
        let [p, q] = &mut buffers;
        a.read_part(x, from, &mut p[..n])?;
        b.read_part(y, from, &mut q[..n])?;
        differs(&p[..n], &q[..n], &mut |at| {
            let key = x.key;
            let first = from + at as u64;
            found
                .get_or_insert(BlobDifference { key, n_mismatches: 0, first, bytes: x.bytes })
                .n_mismatches += 1;
        });
    }
    Ok(found)
}

fn bytes(a: &[u8], b: &[u8], mismatch: &mut dyn FnMut(usize)) {
    if a != b {
        (0..a.len()).filter(|&i| a[i] != b[i]).for_each(mismatch);
    }
}

fn floats(a: &[u8], b: &[u8], mismatch: &mut dyn FnMut(usize)) {
    for (i, (x, y)) in a.as_chunks::<4>().0.iter().zip(b.as_chunks::<4>().0).enumerate() {
        if apart(f32::from_le_bytes(*x), f32::from_le_bytes(*y), 1e-3, 1e-2) {
            mismatch(4 * i);
        }
    }
}

fn halves(a: &[u8], b: &[u8], mismatch: &mut dyn FnMut(usize)) {
    for (i, (x, y)) in a.as_chunks::<2>().0.iter().zip(b.as_chunks::<2>().0).enumerate() {
        let value = |bytes: &[u8; 2]| bf16::to_f32(u16::from_le_bytes(*bytes));
        if apart(value(x), value(y), 1e-2, 1e-1) {
            mismatch(2 * i);
        }
    }
}

/// A NaN on one side is a difference, which comparisons with it do not say.
fn apart(x: f32, y: f32, absolute: f32, relative: f32) -> bool {
    if x.is_nan() || y.is_nan() {
        return x.is_nan() != y.is_nan();
    }
    let l1 = (x - y).abs();
    let rel = if x == 0.0 { 0.0 } else { l1 / x.abs() };
    l1 > absolute || rel > relative
}
