//! Rotary positions of a layer's heads.

use std::sync::Arc;

use quipu_backend::DeviceId;
use quipu_backend::WeightUse::Elementwise;
use quipu_graph::{RopeMode, RopeParams, TensorId};

use crate::build::Builder;
use crate::error::Error;
use crate::hparams::{Hparams, LayerRope, RopeScaling};
use crate::loader::Loader;
use crate::rope::RopeConfig;
use crate::weight::Weight;

/// Divisors of the rotary frequencies that a file may carry. All layers share them, but each device that has layers has its own
/// copy: where its only weight lies, a rotation is computed.
#[derive(Debug, Default)]
pub(crate) struct RopeFactors {
    /// The device of each layer.
    devices: Vec<DeviceId>,
    freqs: Copies,
    long: Copies,
    short: Copies,
}

/// One of each device that has layers; none if the file has none.
type Copies = Vec<(DeviceId, Weight)>;

impl RopeFactors {
    /// None: the frequencies are as the base gives them.
    pub fn none() -> Arc<RopeFactors> {
        Arc::default()
    }

    /// One set for all context lengths, or two if the file's scaling is longrope.
    pub fn by_scaling(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Arc<RopeFactors>, Error> {
        if hparams.rope_scaling == RopeScaling::LongRope {
            return RopeFactors::by_length(loader, hparams);
        }
        RopeFactors::one(loader, hparams)
    }

    /// A set for contexts up to the original length and one for longer ones.
    pub fn by_length(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Arc<RopeFactors>, Error> {
        let long = factors(loader, hparams, "rope_factors_long.weight")?;
        let short = factors(loader, hparams, "rope_factors_short.weight")?;
        Ok(Arc::new(RopeFactors { devices: devices(loader), freqs: Copies::new(), long, short }))
    }

    /// As [`RopeFactors::by_scaling`], for graphs that leave out what their files may carry.
    pub fn unused(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Arc<RopeFactors>, Error> {
        RopeFactors::by_scaling(loader, hparams)?;
        Ok(RopeFactors::none())
    }

    /// One set for all context lengths.
    pub fn one(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Arc<RopeFactors>, Error> {
        let freqs = factors(loader, hparams, "rope_freqs.weight")?;
        Ok(Arc::new(RopeFactors { devices: devices(loader), freqs, ..RopeFactors::default() }))
    }

    /// The set that holds for a layer in a context (`get_rope_factors`).
    fn choose(&self, config: &RopeConfig, il: usize) -> Option<&Weight> {
        let home = self.devices.get(il)?;
        let by_length = if config.is_long { &self.long } else { &self.short };
        // A file with both has one set for all lengths.
        let mut copies = self.freqs.iter().chain(by_length);
        copies.find(|(device, _)| device == home).map(|(_, factors)| factors)
    }
}

fn devices(loader: &Loader<'_>) -> Vec<DeviceId> {
    let layers = loader.layers();
    (0..layers.n_layer()).map(|il| layers.layer(il)).collect()
}

fn factors(loader: &mut Loader<'_>, hparams: &Hparams, name: &str) -> Result<Copies, Error> {
    let mut copies = Copies::new();
    let n_rot = hparams.layers.iter().map(|layer| layer.n_rot).max().unwrap_or(0);
    if n_rot == 0 {
        // Nothing is rotated; if that should not be, the layers' attention says so.
        return Ok(copies);
    }
    for device in loader.layers().of_layers() {
        let factors = loader.optional_on(device, name, &[n_rot / 2], Elementwise)?;
        copies.extend(factors.map(|factors| (device, factors)));
    }
    Ok(copies)
}

/// The rotation of a layer's queries and keys.
#[derive(Debug)]
pub(crate) struct Rope {
    il: usize,
    mode: RopeMode,
    n_rot: usize,
    layer: LayerRope,
    factors: Arc<RopeFactors>,
}

impl Rope {
    /// That of layer `il`; `None` if it has none.
    pub fn new(hparams: &Hparams, il: usize, factors: &Arc<RopeFactors>) -> Option<Rope> {
        let layer = &hparams.layers[il];
        let mode = hparams.rope_mode.filter(|_| layer.rope != LayerRope::Off)?;
        Some(Rope { il, mode, n_rot: layer.n_rot, layer: layer.rope, factors: Arc::clone(factors) })
    }

    /// Rotates heads `[head size, heads, n_tokens]` by the positions of their tokens.
    pub fn forward(&self, b: &mut Builder<'_>, heads: TensorId) -> Result<TensorId, Error> {
        let params = self.params(b.rope_config());
        let factors =
            self.factors.choose(b.rope_config(), self.il).map(|weight| b.weight(weight)).transpose()?;
        Ok(b.graph.rope(heads, b.positions(), factors, params)?)
    }

    /// The op's parameters in a context.
    fn params(&self, config: &RopeConfig) -> RopeParams {
        let params = config.params(self.n_rot, self.mode);
        match self.layer {
            LayerRope::Off | LayerRope::Context => params,
            LayerRope::Unscaled => {
                RopeParams { freq_scale: 1.0, ext_factor: 0.0, attn_factor: 1.0, ..params }
            }
            LayerRope::OwnUnscaled { freq_base } => {
                RopeParams { freq_base, freq_scale: 1.0, ext_factor: 0.0, attn_factor: 1.0, ..params }
            }
            LayerRope::Own { freq_base, freq_scale } => RopeParams { freq_base, freq_scale, ..params },
        }
    }
}

/// How a layer's remembered keys follow their tokens to other positions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyRotation<'a> {
    rope: &'a Rope,
    /// Elements of a key head.
    pub n_embd_head: usize,
    /// Key heads.
    pub n_head_kv: usize,
}

impl<'a> KeyRotation<'a> {
    pub fn new(rope: &'a Rope, n_embd_head: usize, n_head_kv: usize) -> KeyRotation<'a> {
        KeyRotation { rope, n_embd_head, n_head_kv }
    }

    /// Elements of a head that are rotated.
    pub fn n_rot(&self) -> usize {
        self.rope.n_rot
    }

    /// The op's parameters. A shift is a rotation by the difference of two positions: the magnitude was applied when the key was stored
    /// and must not be applied again.
    pub fn params(&self, config: &RopeConfig) -> RopeParams {
        let params = self.rope.params(config);
        let attn_factor =
            if params.ext_factor == 0.0 { 1.0 } else { 1.0 / (1.0 + 0.1 * (1.0 / params.freq_scale).ln()) };
        RopeParams { attn_factor, ..params }
    }

    /// Divisors of the frequencies.
    pub fn factors(&self, config: &RopeConfig) -> Option<&'a Weight> {
        self.rope.factors.choose(config, self.rope.il)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_may_turn_otherwise_than_the_context_says() {
        let config = RopeConfig {
            freq_base: 1e4,
            freq_scale: 0.25,
            ext_factor: 1.0,
            attn_factor: 0.9,
            beta_fast: 32.0,
            beta_slow: 1.0,
            n_ctx_orig: 64,
            is_long: false,
        };
        let params = |layer| {
            let rope = Rope { il: 0, mode: RopeMode::Neox, n_rot: 16, layer, factors: RopeFactors::none() };
            let params = rope.params(&config);
            (params.freq_base, params.freq_scale, params.ext_factor, params.attn_factor)
        };
        assert_eq!(params(LayerRope::Context), (1e4, 0.25, 1.0, 0.9));
        assert_eq!(params(LayerRope::Unscaled), (1e4, 1.0, 0.0, 1.0));
        assert_eq!(params(LayerRope::Own { freq_base: 5.0, freq_scale: 0.5 }), (5.0, 0.5, 1.0, 0.9));
    }
}
