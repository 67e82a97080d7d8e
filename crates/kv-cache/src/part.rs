//! Which of a memory's caches.

/// A cache of a memory, by the layers it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvPart {
    /// Layers that see everything; all layers where there is only one cache.
    Full,
    /// Layers with a window.
    Window,
}
