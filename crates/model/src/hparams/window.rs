//! Which layers see only a window of the past.

use super::Hparams;

/// A layer's window (`n_swa`, `swa_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Positions it sees.
    pub n_swa: usize,
    /// How they are counted.
    pub kind: WindowKind,
}

/// How windows are counted (`llama_swa_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WindowKind {
    /// The last `n_swa` positions, the token's own among them.
    Standard,
}

impl Hparams {
    /// Gives `window` to every layer but the last of each `period` (`set_swa_pattern`); a period of 0 gives it to all.
    pub(crate) fn set_windows(&mut self, window: Window, period: usize) {
        for (il, layer) in self.layers.iter_mut().enumerate() {
            let sees_all = il.checked_rem(period).is_some_and(|place| place + 1 == period);
            layer.window = (!sees_all).then_some(window);
        }
    }
}
