//! What files say of RWKV's layers.

use super::{Hparams, Keys, MAX_DIM};
use crate::error::Error;

/// Shape of RWKV's layers; all 0 where there are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rwkv {
    /// Elements of a head (`wkv_head_size`).
    pub head_size: usize,
    /// Inputs of the last token that are kept: of the first block, or of both (`token_shift_count`).
    pub n_shifts: usize,
    /// Ranks: of the mix, of the decay (version 6); of the decay, of the rate, of what is left of the first layer's values, of the gate
    /// (version 7).
    pub ranks: [usize; 4],
    /// The residual stream is halved behind every so many layers; 0: never.
    pub rescale_every: usize,
}

impl Hparams {
    /// Reads the shape, with as many shifts as the graph has, and these ranks.
    pub(crate) fn read_rwkv(
        mut self,
        keys: &Keys<'_>,
        n_shifts: usize,
        ranks: &[&str],
    ) -> Result<Hparams, Error> {
        const SIZE: &str = "wkv.head_size";
        const SHIFTS: &str = "token_shift_count";
        self.rwkv.head_size = keys.dim(SIZE, MAX_DIM)?;
        if !self.n_embd.is_multiple_of(self.rwkv.head_size) {
            let expected = format!("a divisor of the width {}", self.n_embd);
            return Err(keys.error(SIZE, &self.rwkv.head_size, expected));
        }
        self.rwkv.n_shifts = keys.optional_u32(SHIFTS)?.unwrap_or(2);
        if self.rwkv.n_shifts != n_shifts {
            return Err(keys.error(SHIFTS, &self.rwkv.n_shifts, n_shifts.to_string()));
        }
        for (rank, name) in self.rwkv.ranks.iter_mut().zip(ranks) {
            *rank = keys.dim(name, MAX_DIM)?;
        }
        self.rwkv.rescale_every = keys.optional_u32("rescale_every_n_layers")?.unwrap_or(0);
        Ok(self)
    }
}
