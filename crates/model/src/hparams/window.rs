//! Which layers see only a window of the past.

use super::{Hparams, LayerRope};

pub use quipu_kv_cache::{Window, WindowKind};

impl Hparams {
    /// The window of the layers that have one; it is the same for all of them.
    pub fn window(&self) -> Option<Window> {
        self.layers.iter().find_map(|layer| layer.window)
    }

    /// Rotates queries and keys of layers with windows in another way than those of the others.
    pub(crate) fn rotate_windows(&mut self, rope: LayerRope) {
        for layer in self.layers.iter_mut().filter(|layer| layer.window.is_some()) {
            layer.rope = rope;
        }
    }

    /// Gives `window` to every layer but the first of each `period` (`set_swa_pattern` with `dense_first`); a period of 0 gives it to all.
    pub(crate) fn set_windows_behind_first(&mut self, window: Window, period: usize) {
        for (il, layer) in self.layers.iter_mut().enumerate() {
            let sees_all = il.checked_rem(period).is_some_and(|place| place == 0);
            layer.window = (!sees_all).then_some(window);
        }
    }

    /// Gives `window` to every layer but the last of each `period` (`set_swa_pattern`); a period of 0 gives it to all.
    pub(crate) fn set_windows(&mut self, window: Window, period: usize) {
        for (il, layer) in self.layers.iter_mut().enumerate() {
            let sees_all = il.checked_rem(period).is_some_and(|place| place + 1 == period);
            layer.window = (!sees_all).then_some(window);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hparams::{Keys, NormKind};
    use quipu_gguf::{Metadata, Value};

    #[test]
    fn the_last_layer_of_each_period_sees_everything() {
        let mut metadata = Metadata::default();
        metadata.set("general.architecture", "x".into());
        for (name, value) in
            [("block_count", 6), ("embedding_length", 64), ("context_length", 64), ("vocab_size", 9)]
        {
            metadata.set(&format!("x.{name}"), Value::U32(value));
        }
        metadata.set("x.attention.layer_norm_rms_epsilon", Value::F32(1e-5));
        let keys = Keys::new(&metadata).unwrap();
        let mut hparams = Hparams::read(&keys, NormKind::Rms, None).unwrap();
        let window = Window { n_swa: 8, kind: WindowKind::Standard };
        let mut windowed = |period| {
            hparams.set_windows(window, period);
            hparams.layers.iter().map(|layer| layer.window.is_some()).collect::<Vec<bool>>()
        };
        assert_eq!(windowed(4), [true, true, true, false, true, true]);
        assert_eq!(windowed(1), [false; 6]);
        assert_eq!(windowed(0), [true; 6]);
        let mut windowed = |period| {
            hparams.set_windows_behind_first(window, period);
            hparams.layers.iter().map(|layer| layer.window.is_some()).collect::<Vec<bool>>()
        };
        assert_eq!(windowed(3), [false, true, true, false, true, true]);
        assert_eq!(windowed(1), [false; 6]);
        assert_eq!(windowed(0), [true; 6]);
    }
}
