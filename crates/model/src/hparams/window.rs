//! Which layers see only a window of the past.

use super::{Hparams, Keys, LayerRope};
use crate::error::Error;

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

    /// Refuses windows that hold nothing, where the reference would mask all there is.
    pub(crate) fn standard_window(&self, n_swa: usize) -> Result<Window, Error> {
        if n_swa == 0 {
            let expected = "a window of at least one position";
            return Err(self.error("attention.sliding_window", &n_swa, expected));
        }
        Ok(Window { n_swa, kind: WindowKind::Standard })
    }

    /// Rotates windows by the base `rope.freq_base_swa`, or the model's own, whatever the context says.
    pub(crate) fn rotate_windows_by_key(&mut self, keys: &Keys<'_>) -> Result<(), Error> {
        let freq_base = keys.f32("rope.freq_base_swa")?.unwrap_or(self.rope_freq_base);
        self.rotate_windows(LayerRope::Own { freq_base, freq_scale: self.rope_freq_scale });
        Ok(())
    }

    /// Gives the heads of layers with windows the sizes that files may have for them (`attention.key_length_swa`,
    /// `attention.value_length_swa`).
    pub(crate) fn size_heads_of_windows(&mut self, keys: &Keys<'_>) -> Result<(), Error> {
        let head_k = keys.width("attention.key_length_swa")?;
        let head_v = keys.width("attention.value_length_swa")?;
        for layer in self.layers.iter_mut().filter(|layer| layer.window.is_some()) {
            layer.n_embd_head_k = head_k.unwrap_or(layer.n_embd_head_k);
            layer.n_embd_head_v = head_v.unwrap_or(layer.n_embd_head_v);
        }
        Ok(())
    }

    /// How much of each head is rotated in layers with windows, if files say so (`rope.dimension_count_swa`).
    pub(crate) fn turn_in_windows(&mut self, keys: &Keys<'_>) -> Result<(), Error> {
        const NAME: &str = "rope.dimension_count_swa";
        let n_rot = keys.optional_dim(NAME)?;
        for layer in self.layers.iter_mut().filter(|layer| layer.window.is_some()) {
            layer.n_rot = n_rot.unwrap_or(layer.n_rot);
            if layer.n_rot % 2 != 0 || layer.n_rot > layer.n_embd_head_k {
                let expected = format!("an even number up to the head size {}", layer.n_embd_head_k);
                return Err(keys.error(NAME, &layer.n_rot, expected));
            }
        }
        Ok(())
    }

    /// Lets layers from `first` on read the keys and values of the last layers before it that see as far as they do.
    pub(crate) fn share_memory_from(&mut self, first: usize) -> Result<(), Error> {
        self.n_layer_kv = first;
        for il in first..self.n_layer() {
            let source = self.memory_source(il).and_then(|source| self.layers.get(source));
            let layer = &self.layers[il];
            let same = source.is_some_and(|source| {
                (source.window, source.n_embd_head_k, source.n_head_kv)
                    == (layer.window, layer.n_embd_head_k, layer.n_head_kv)
            });
            if !same {
                let found = format!("{} in a model of {first} layers that remember", self.n_layer() - first);
                let expected = "layers before them with the same heads and the same windows";
                return Err(self.error("attention.shared_kv_layers", &found, expected));
            }
        }
        Ok(())
    }

    /// The layer whose keys and values layer `il` reads, if it has none of its own.
    pub(crate) fn memory_source(&self, il: usize) -> Option<usize> {
        let back = if self.layers[il].window.is_some() { 2 } else { 1 };
        if il < self.n_layer_kv { None } else { self.n_layer_kv.checked_sub(back) }
    }

    /// Rotates nothing but layers with windows.
    pub(crate) fn rotate_only_windows(&mut self) {
        for layer in self.layers.iter_mut().filter(|layer| layer.window.is_none()) {
            layer.rope = LayerRope::Off;
        }
    }

    /// Gives `window` to every layer but the first of each `period`; a period of 0 gives it to all.
    pub(crate) fn set_windows_behind_first(&mut self, window: Window, period: usize) {
        for (il, layer) in self.layers.iter_mut().enumerate() {
            layer.window = (il.checked_rem(period) != Some(0)).then_some(window);
        }
    }

    /// Gives `window` to the layers that `attention.sliding_window_pattern` names: one number for each layer, or for all.
    pub(crate) fn set_windows_by_key(&mut self, keys: &Keys<'_>, window: Window) -> Result<(), Error> {
        const NAME: &str = "attention.sliding_window_pattern";
        let n_layer = self.n_layer();
        let missing = || keys.error(NAME, &"missing", "which layers have windows");
        let windowed = keys.per_layer(NAME, n_layer)?.ok_or_else(missing)?;
        for (layer, is_windowed) in self.layers.iter_mut().zip(windowed) {
            layer.window = (is_windowed != 0).then_some(window);
        }
        Ok(())
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
