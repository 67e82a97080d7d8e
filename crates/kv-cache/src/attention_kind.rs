//! What masks depend on.

use crate::Window;

/// How a graph's layers attend.
#[derive(Clone, Copy, Debug)]
pub struct AttentionKind {
    /// A token sees no later position.
    pub causal: bool,
    /// The window of the layers that have one, if there are such.
    pub window: Option<Window>,
    /// The masks hold minus the distance of two tokens instead of 0, for ALiBi.
    pub alibi: bool,
    /// Flash attention computes it: masks are f16, and keys and values too; else masks are f32, and scores a tensor.
    pub flash: bool,
}
