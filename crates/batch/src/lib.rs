//! Batches: tokens with positions, sequences and output marks, checked, completed and split.
//!
//! Counterpart of `llama-batch.cpp`. A [`Batch`] is what a caller hands in; [`CheckedBatch`] completes it from what the memory holds
//! ([`SeqPositions`]), refuses what the reference refuses and gives it out as [`Ubatch`]es, split in one of three ways. Token ids and embedding
//! rows stay where the caller put them; a ubatch says which of them it means. Which way to split, and where
//! the tokens of a ubatch go, is the memory's business (`quipu-kv-cache`); running them is the decoder's.
//!
//! The numbers that everything above speaks are defined here and nowhere else: [`TokenId`], [`Pos`], [`SeqId`].
//!
//! ```
//! use quipu_batch::{Batch, BatchLimits, CheckedBatch, Ubatch};
//!
//! let mut batch = Batch::new();
//! for (pos, token) in [5, 7, 9].into_iter().enumerate() {
//!     batch.add(token, pos as i32, &[0], token == 9);
//! }
//! let limits = BatchLimits { n_vocab: 10, n_embd: 4, n_seq_max: 1, n_pos: 1, output_all: false };
//! let mut checked = CheckedBatch::new();
//! checked.init(&batch, &limits, None)?;
//! let mut ubatch = Ubatch::new();
//! assert!(checked.split_simple(2, &mut ubatch));
//! assert_eq!((ubatch.idxs.as_slice(), ubatch.n_outputs()), (&[0, 1][..], 0));
//! assert!(checked.split_simple(2, &mut ubatch));
//! assert_eq!((ubatch.idxs.as_slice(), ubatch.n_outputs()), (&[2][..], 1));
//! # Ok::<(), quipu_batch::Error>(())
//! ```
#![forbid(unsafe_code)]

mod batch;
mod check;
mod error;
mod groups;
mod seq_lists;
mod seq_set;
mod split;
mod ubatch;

pub use batch::Batch;
pub use check::{BatchLimits, CheckedBatch, SeqPositions};
pub use error::Error;
pub use seq_lists::SeqLists;
pub use seq_set::SeqSet;
pub use ubatch::Ubatch;

/// A token's number in the vocabulary (`llama_token`, which is never negative here).
pub type TokenId = u32;

/// Position of a token in its sequence (`llama_pos`); -1 = none, or an open end of a range.
pub type Pos = i32;

/// Number of a sequence (`llama_seq_id`); -1 = any, where an operation allows it.
pub type SeqId = i32;

/// Sequences a cell can tell apart (`LLAMA_MAX_SEQ`).
pub const MAX_SEQ: usize = 256;
