//! What every kind of memory of a context offers, whatever it keeps per token.

use crate::{Error, Pos, SeqId, SeqPositions};

/// Sequence operations on a context's memory. Answers to `llama_memory_i`.
///
/// Ranges are `[p0, p1)`; a negative `p0` means 0, a negative `p1` means no end.
pub trait Memory: SeqPositions + std::fmt::Debug {
    /// Forgets every token (`clear(false)`); bytes of empty cells are masked, so they need no clearing.
    fn clear(&mut self);

    /// Removes the positions of a sequence, or of all sequences if `seq_id` is -1 (`seq_rm`).
    ///
    /// `Ok(false)` if the memory cannot remove that range (a recurrent state cannot be cut in half).
    fn seq_rm(&mut self, seq_id: SeqId, p0: Pos, p1: Pos) -> Result<bool, Error>;

    /// Makes the positions of `src` belong to `dst` too (`seq_cp`).
    fn seq_cp(&mut self, src: SeqId, dst: SeqId, p0: Pos, p1: Pos) -> Result<(), Error>;

    /// Removes all sequences but one (`seq_keep`).
    fn seq_keep(&mut self, seq_id: SeqId) -> Result<(), Error>;

    /// Adds `delta` to the positions; those that fall below 0 are removed (`seq_add`).
    fn seq_add(&mut self, seq_id: SeqId, p0: Pos, p1: Pos, delta: Pos) -> Result<(), Error>;

    /// Divides the positions by `divisor` (`seq_div`).
    fn seq_div(&mut self, seq_id: SeqId, p0: Pos, p1: Pos, divisor: i32) -> Result<(), Error>;

    /// Whether positions can be shifted (`get_can_shift`).
    fn can_shift(&self) -> bool;
}
