//! Numbers that are given once: for tables, for their generations, and for allocations.

use std::sync::atomic::{AtomicU64, Ordering};

static LAST: AtomicU64 = AtomicU64::new(0);

/// A number that nobody else gets; never 0.
pub(crate) fn number() -> u64 {
    // Only that numbers differ counts, not what else happened before.
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

/// Names an allocation for good. An address does not: it may be another allocation's once the first was freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AllocationId(u64);

impl AllocationId {
    /// For whoever allocated: a name that no other allocation has.
    pub fn unique() -> AllocationId {
        AllocationId(number())
    }
}
