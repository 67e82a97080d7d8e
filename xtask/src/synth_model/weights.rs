//! Seeded weights: no library function whose last bit differs between platforms takes part.

use std::collections::HashMap;
use std::io::{self, Write};

use quipu_quant::{DType, quantize_row};
use quipu_testing::SplitMix;

use super::{Content, Planned};

/// Weights of a chunk: one super-block, or eight blocks of 32.
const CHUNK: usize = 256;
/// Weights of a chunk in rows that are not a multiple of [`CHUNK`].
const SMALL_CHUNK: usize = 32;
/// Chunks of a pool.
const POOL: usize = 4096;

/// Quantised chunks by type, row length and chunk length.
pub(super) struct Pools {
    seed: u64,
    pools: HashMap<(DType, u64), Vec<u8>>,
}

impl Pools {
    pub fn new(seed: u64) -> Pools {
        Pools { seed, pools: HashMap::new() }
    }

    /// Writes the bytes of a tensor.
    pub fn write(&mut self, tensor: &Planned, index: u64, sink: &mut dyn Write) -> io::Result<()> {
        let mut random = SplitMix::new(self.seed ^ (index + 1).wrapping_mul(0xD6E8_FEB8_6659_FD93));
        let n: u64 = tensor.ne.iter().product();
        let mut floats = |value: &mut dyn FnMut(&mut SplitMix) -> f32| {
            (0..n).try_for_each(|_| sink.write_all(&value(&mut random).to_le_bytes()))
        };
        match &tensor.content {
            Content::Norm => floats(&mut |random| 1.0 + 0.1 * random.normal()),
            Content::Bias => floats(&mut |random| 0.1 * random.normal()),
            Content::Values(values) => values.iter().try_for_each(|v| sink.write_all(&v.to_le_bytes())),
            Content::Matrix => self.matrix(tensor, &mut random, sink),
        }
    }

    fn matrix(&mut self, tensor: &Planned, random: &mut SplitMix, sink: &mut dyn Write) -> io::Result<()> {
        let n_in = tensor.ne[0];
        let chunk = if n_in % CHUNK as u64 == 0 { CHUNK } else { SMALL_CHUNK };
        let seed = self.seed;
        let pool =
            self.pools.entry((tensor.dtype, n_in)).or_insert_with(|| make_pool(tensor.dtype, n_in, seed));
        let chunk_bytes = pool.len() / POOL * chunk / CHUNK;
        let n_chunks = pool.len() / chunk_bytes;
        let rows: u64 = tensor.ne[1..].iter().product();
        for _ in 0..rows * (n_in / chunk as u64) {
            let at = (random.next_u64() % n_chunks as u64) as usize * chunk_bytes;
            sink.write_all(&pool[at..at + chunk_bytes])?;
        }
        Ok(())
    }
}

/// [`POOL`] chunks of weights for rows of `n_in`, quantised as the reference quantises them.
fn make_pool(dtype: DType, n_in: u64, seed: u64) -> Vec<u8> {
    let mut random = SplitMix::new(seed ^ n_in.wrapping_mul(0xA076_1D64_78BD_642F) ^ u64::from(dtype.id()));
    let scale = 1.0 / (n_in as f32).sqrt();
    let bytes = dtype.row_bytes(CHUNK).unwrap_or(0);
    let mut pool = vec![0; POOL * bytes];
    let mut row = [0.0; CHUNK];
    for out in pool.chunks_exact_mut(bytes.max(1)) {
        row.fill_with(|| scale * random.normal());
        // Chunks are whole blocks of every computed type, which is all that can go wrong.
        quantize_row(dtype, &row, out).expect("a whole number of blocks of a computed type");
    }
    pool
}
