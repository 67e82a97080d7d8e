//! Who holds how many bytes of a device.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// What memory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Purpose {
    /// Weights.
    Weights,
    /// Caches, and whatever else a device's plain memory is asked for.
    Cache,
    /// Results inside of graphs.
    Compute,
    /// Prepared activations and partial results inside of an op.
    Scratch,
    /// Pinned host memory that copies go through.
    Staging,
}

impl Purpose {
    /// All purposes, in the order of the ledger.
    pub const ALL: [Purpose; 5] =
        [Purpose::Weights, Purpose::Cache, Purpose::Compute, Purpose::Scratch, Purpose::Staging];

    /// A word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Purpose::Weights => "weights",
            Purpose::Cache => "cache",
            Purpose::Compute => "compute",
            Purpose::Scratch => "scratch",
            Purpose::Staging => "staging",
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Bytes in use by purpose.
#[derive(Debug, Default)]
pub struct Ledger {
    bytes: [AtomicU64; Purpose::ALL.len()],
}

impl Ledger {
    /// Bytes in use for a purpose now.
    pub fn bytes(&self, purpose: Purpose) -> u64 {
        self.bytes[purpose as usize].load(Ordering::Relaxed)
    }

    /// Bytes of device memory in use now; pinned host memory does not count.
    pub fn device_bytes(&self) -> u64 {
        Purpose::ALL.into_iter().filter(|p| *p != Purpose::Staging).map(|p| self.bytes(p)).sum()
    }

    pub(crate) fn add(&self, purpose: Purpose, bytes: usize) {
        self.bytes[purpose as usize].fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn remove(&self, purpose: Purpose, bytes: usize) {
        self.bytes[purpose as usize].fetch_sub(bytes as u64, Ordering::Relaxed);
    }
}
