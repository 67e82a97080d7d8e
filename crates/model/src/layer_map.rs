//! Which device each layer of a model lives on.
//!
//! Answers to `dev_input`, `dev_layer` and `dev_output` of `llama_model` and to the arithmetic in `load_tensors` that fills
//! them. A layer's weights and its cache live together. What memory of the device a weight gets, and what overrides say, is
//! the loader's business.

use quipu_backend::{DeviceId, DeviceMemory, Devices, WeightUse};

use crate::error::Error;

/// The device of every layer. The embeddings stay with the model's own device, whose lookups cost nothing; the output counts
/// as one layer more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerMap {
    n_others: usize,
    layers: Vec<DeviceId>,
    output: DeviceId,
}

impl LayerMap {
    /// All `n_layer` layers on the model's own device.
    pub fn own(n_layer: usize) -> LayerMap {
        LayerMap { n_others: 0, layers: vec![DeviceId::Own; n_layer], output: DeviceId::Own }
    }

    /// The last `n_gpu_layers` of `n_layer` layers and the output go to other devices (all of them if the number is negative),
    /// in order, and as many to each as its part of `shares` says: what a device is to get, in any unit, one value for each.
    ///
    /// The arithmetic is the reference's, in its f32. Shares without a sum are taken as equal.
    pub fn split(n_layer: usize, n_gpu_layers: i32, shares: &[f32]) -> LayerMap {
        let n_all = n_layer + 1;
        let n_moved = usize::try_from(n_gpu_layers).map_or(n_all, |n| n.min(n_all));
        let first = n_all - n_moved;
        let ends = ends(shares);
        let device = |il: usize| {
            if il < first || ends.is_empty() {
                return DeviceId::Own;
            }
            let at = (il - first) as f32 / n_moved as f32;
            // The first that ends behind it (`upper_bound`).
            DeviceId::Other(ends.partition_point(|end| *end <= at).min(ends.len() - 1))
        };
        LayerMap {
            n_others: shares.len(),
            layers: (0..n_layer).map(device).collect(),
            output: device(n_layer),
        }
    }

    /// As [`LayerMap::split`] over `devices`, by `tensor_split`, which may be shorter or longer than there are devices; by the
    /// devices' free memory if it gives none of them anything.
    ///
    /// # Errors
    /// [`Error::TensorSplit`] if a share is negative or no number.
    pub fn new(
        n_layer: usize,
        n_gpu_layers: i32,
        tensor_split: &[f32],
        devices: &Devices<'_>,
    ) -> Result<LayerMap, Error> {
        if let Some(found) = tensor_split.iter().find(|share| !share.is_finite() || **share < 0.0) {
            return Err(Error::TensorSplit { found: *found });
        }
        let memory: Vec<DeviceMemory> = devices.others().iter().map(|device| device.memory()).collect();
        let shares = shares(tensor_split, &memory, || devices.own().memory());
        Ok(LayerMap::split(n_layer, n_gpu_layers, &shares))
    }

    /// Layers, the output not among them.
    pub fn n_layer(&self) -> usize {
        self.layers.len()
    }

    /// Devices beside the model's own that the layers were split over; some may have got none.
    pub fn n_others(&self) -> usize {
        self.n_others
    }

    /// The device of the embeddings.
    pub fn input(&self) -> DeviceId {
        DeviceId::Own
    }

    /// The device of layer `il` and of what it remembers.
    pub fn layer(&self, il: usize) -> DeviceId {
        self.layers.get(il).copied().unwrap_or(self.output)
    }

    /// The device of the final norm and the output matrix.
    pub fn output(&self) -> DeviceId {
        self.output
    }

    /// The device of a weight that is no layer's own, or of layer `blk.N`. The token embeddings are input, but their second use as
    /// the output matrix is not.
    pub(crate) fn of_tensor(&self, name: &str, usage: WeightUse) -> DeviceId {
        // Layers of an encoder and of the decoder behind it live with those of the same number.
        let of_layer = ["enc.", "dec."].iter().find_map(|half| name.strip_prefix(half)).unwrap_or(name);
        let layer = of_layer.strip_prefix("blk.").and_then(|rest| rest.split('.').next()?.parse().ok());
        match layer {
            Some(il) => self.layer(il),
            None if name.starts_with("output") => self.output,
            None if name.starts_with("token_embd.") && usage == WeightUse::MulMat => self.output,
            None => self.input(),
        }
    }

    /// The devices that layers live on, each once, in the order of the layers.
    pub(crate) fn of_layers(&self) -> Vec<DeviceId> {
        let mut found = Vec::new();
        for device in &self.layers {
            if !found.contains(device) {
                found.push(*device);
            }
        }
        found
    }
}

/// Where each share ends, all of them together being 1.
fn ends(shares: &[f32]) -> Vec<f32> {
    let mut sum = 0.0f32;
    let mut ends: Vec<f32> = shares
        .iter()
        .map(|share| {
            sum += share;
            sum
        })
        .collect();
    if !(sum > 0.0 && sum.is_finite()) {
        return (1..=shares.len()).map(|n| n as f32 / shares.len() as f32).collect();
    }
    for end in &mut ends {
        *end /= sum;
    }
    ends
}

/// What each device is to get: as was said, or by the memory that is free on it, which is the own device's where it tells nothing.
fn shares(said: &[f32], memory: &[DeviceMemory], own: impl Fn() -> DeviceMemory) -> Vec<f32> {
    let mut shares: Vec<f32> = said.iter().copied().take(memory.len()).collect();
    shares.resize(memory.len(), 0.0);
    if shares.iter().any(|share| *share != 0.0) {
        return shares;
    }
    let free =
        |memory: &DeviceMemory| if *memory == DeviceMemory::default() { own().free } else { memory.free };
    memory.iter().map(|memory| free(memory) as f32).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Number of the device of each layer and of the output; `.` for the model's own.
    fn drawn(n_layer: usize, n_gpu_layers: i32, shares: &[f32]) -> String {
        let map = LayerMap::split(n_layer, n_gpu_layers, shares);
        assert_eq!((map.n_layer(), map.n_others(), map.input()), (n_layer, shares.len(), DeviceId::Own));
        (0..=n_layer)
            .map(|il| match map.layer(il) {
                DeviceId::Own => '.',
                DeviceId::Other(n) => char::from_digit(n as u32, 10).expect("below ten"),
            })
            .collect()
    }

    #[test]
    fn the_last_layers_go_first_and_the_output_before_them() {
        assert_eq!(drawn(4, 0, &[1.0]), ".....");
        assert_eq!(drawn(4, 1, &[1.0]), "....0");
        assert_eq!(drawn(4, 2, &[1.0]), "...00");
        for all in [-1, -2, 5, 100, i32::MAX] {
            assert_eq!(drawn(4, all, &[1.0]), "00000");
        }
        assert_eq!(drawn(4, -1, &[]), ".....");
        assert_eq!(drawn(0, -1, &[1.0]), "0");
        assert_eq!(LayerMap::split(4, 0, &[]), LayerMap::own(4));
    }

    /// Values of `upper_bound` over the cumulated shares, as `load_tensors` computes them.
    #[test]
    fn layers_are_split_as_by_the_reference() {
        assert_eq!(drawn(4, -1, &[1.0, 1.0]), "00011");
        assert_eq!(drawn(7, -1, &[1.0, 1.0]), "00001111");
        assert_eq!(drawn(7, -1, &[3.0, 1.0]), "00000011");
        assert_eq!(drawn(7, -1, &[1.0, 3.0]), "00111111");
        assert_eq!(drawn(7, 4, &[3.0, 1.0]), "....0001");
        assert_eq!(drawn(7, 4, &[1.0, 1.0, 1.0]), "....0012");
        assert_eq!(drawn(8, -1, &[1.0, 1.0, 1.0]), "000111222");
        // One whose share is nothing gets nothing, wherever it stands.
        assert_eq!(drawn(7, -1, &[0.0, 1.0]), "11111111");
        assert_eq!(drawn(7, -1, &[1.0, 0.0]), "00000000");
        assert_eq!(drawn(7, -1, &[1.0, 0.0, 1.0]), "00002222");
        // Shares are no fractions: bytes of memory are as good.
        assert_eq!(drawn(7, -1, &[24e9, 8e9]), "00000011");
        // Shares without a sum.
        assert_eq!(drawn(7, -1, &[0.0, 0.0]), "00001111");
        assert_eq!(drawn(7, -1, &[f32::MAX, f32::MAX]), "00001111");
    }

    #[test]
    fn shares_are_as_was_said_or_by_free_memory() {
        let memory = |free, total| DeviceMemory { free, total };
        let found =
            |said: &[f32]| shares(said, &[memory(8, 9), memory(0, 0), memory(0, 9)], || memory(32, 64));
        assert_eq!(found(&[]), [8.0, 32.0, 0.0]);
        assert_eq!(found(&[0.0, 0.0, 0.0, 7.0]), [8.0, 32.0, 0.0]);
        assert_eq!(found(&[3.0]), [3.0, 0.0, 0.0]);
        assert_eq!(found(&[0.0, 1.0, 2.0, 3.0]), [0.0, 1.0, 2.0]);
        assert_eq!(shares(&[1.0], &[], || memory(1, 1)), [0.0; 0]);
    }

    #[test]
    fn weights_lie_with_their_layers() {
        let map = LayerMap::split(4, 4, &[1.0, 1.0]);
        assert_eq!(drawn(4, 4, &[1.0, 1.0]), ".0011");
        let of = |name: &str| map.of_tensor(name, WeightUse::MulMat);
        assert_eq!(of("blk.0.attn_q.weight"), DeviceId::Own);
        assert_eq!(of("blk.2.ffn_up.weight"), DeviceId::Other(0));
        assert_eq!(of("blk.3.attn_q.weight"), DeviceId::Other(1));
        assert_eq!((of("output.weight"), of("output_norm.weight")), (DeviceId::Other(1), DeviceId::Other(1)));
        assert_eq!(of("token_embd.weight"), DeviceId::Other(1), "as output matrix");
        assert_eq!(map.of_tensor("token_embd.weight", WeightUse::GetRows), DeviceId::Own);
        assert_eq!(of("position_embd.weight"), DeviceId::Own);
        assert_eq!(map.of_layers(), [DeviceId::Own, DeviceId::Other(0), DeviceId::Other(1)]);
    }

    proptest! {
        /// Layers go to one device each, in the order of the devices; the model's own has the first ones.
        #[test]
        fn devices_have_neighbouring_layers_in_order(
            n_layer in 0usize..200,
            n_gpu_layers in -3i32..210,
            shares in proptest::collection::vec(prop_oneof![Just(0.0f32), 0.0f32..1e12], 0..8),
        ) {
            let map = LayerMap::split(n_layer, n_gpu_layers, &shares);
            let places: Vec<DeviceId> = (0..=n_layer).map(|il| map.layer(il)).collect();
            prop_assert!(places.is_sorted());
            prop_assert_eq!(map.output(), places[n_layer]);
            let n_own = places.iter().filter(|place| **place == DeviceId::Own).count();
            let n_moved = usize::try_from(n_gpu_layers).unwrap_or(usize::MAX).min(n_layer + 1);
            prop_assert_eq!(n_own, if shares.is_empty() { n_layer + 1 } else { n_layer + 1 - n_moved });
            let some = shares.iter().any(|share| *share > 0.0);
            for place in places {
                if let DeviceId::Other(n) = place {
                    prop_assert!(n < shares.len() && (shares[n] > 0.0 || !some));
                }
            }
        }
    }
}
