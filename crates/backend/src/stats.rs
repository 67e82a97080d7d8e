//! What a scheduler ran where.

/// What one backend did since the scheduler was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackendStats {
    /// The backend's name.
    pub name: String,
    /// Nodes it computed.
    pub n_nodes: u64,
    /// Calls in which it did.
    pub n_splits: u64,
    /// Tensors that were copied into its memory first.
    pub n_copies: u64,
    /// Bytes of those.
    pub copied_bytes: u64,
}

/// What the backends of a scheduler did, the preferred one first: what the host did for a device is counted, never hidden.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SchedulerStats {
    /// One entry per backend.
    pub backends: Vec<BackendStats>,
    /// Parts of graphs that were prepared for a backend: none in steady decoding.
    pub n_plans: u64,
    /// Plans of compute memory: one for all graphs of a structure.
    pub n_memory_plans: u64,
}

impl SchedulerStats {
    /// Nodes that fell to the last backend, which is there for what the ones before it do not compute; 0 if it is the only one.
    pub fn n_fallback_nodes(&self) -> u64 {
        match self.backends.as_slice() {
            [_, .., last] => last.n_nodes,
            _ => 0,
        }
    }
}
