//! What files say of rotary positions.

use quipu_graph::RopeMode;

use super::{Hparams, Keys};
use crate::error::Error;

/// Kinds of context extension (`llama_rope_scaling_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RopeScaling {
    /// Positions as they are.
    None,
    /// Positions divided by a factor.
    Linear,
    /// Per-dimension mix of both with a magnitude correction.
    Yarn,
    /// Divisors per dimension, one set for short contexts and one for long ones.
    LongRope,
}

impl RopeScaling {
    /// From the name in metadata.
    pub fn from_name(name: &str) -> Option<RopeScaling> {
        match name {
            "none" => Some(RopeScaling::None),
            "linear" => Some(RopeScaling::Linear),
            "yarn" => Some(RopeScaling::Yarn),
            "longrope" => Some(RopeScaling::LongRope),
            _ => None,
        }
    }
}

/// Details of YaRN, of which most architectures have no keys.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Yarn {
    /// Fast end of the ramp.
    pub beta_fast: f32,
    /// Slow end of the ramp.
    pub beta_slow: f32,
    /// What the magnitude's growth is multiplied by (`yarn_log_multiplier`); 0: nothing.
    pub log_mul: f32,
    /// A multiplied growth is taken out again, but for the op's own correction.
    pub cancels: bool,
    /// Extrapolation mix, if it does not follow from the kind of scaling.
    pub ext_factor: Option<f32>,
    /// Magnitude factor.
    pub attn_factor: f32,
}

impl Default for Yarn {
    fn default() -> Self {
        Yarn {
            beta_fast: 32.0,
            beta_slow: 1.0,
            log_mul: 0.0,
            cancels: false,
            ext_factor: None,
            attn_factor: 1.0,
        }
    }
}

impl Yarn {
    /// Reads both ends of the ramp, where there are keys for them.
    pub(crate) fn read_ramp(&mut self, keys: &Keys<'_>) -> Result<(), Error> {
        self.beta_fast = keys.f32("rope.scaling.yarn_beta_fast")?.unwrap_or(self.beta_fast);
        self.beta_slow = keys.f32("rope.scaling.yarn_beta_slow")?.unwrap_or(self.beta_slow);
        Ok(())
    }
}

const SECTIONS: &str = "rope.dimension_sections";

impl Hparams {
    /// Rotates by four positions for each token, as `rope.dimension_sections` says.
    pub(crate) fn turn_by_sections(&mut self, keys: &Keys<'_>, interleaved: bool) -> Result<(), Error> {
        let expected = "four numbers, of pairs that turn by each position";
        let sections = keys.sections(SECTIONS)?.ok_or_else(|| keys.error(SECTIONS, &"missing", expected))?;
        let head = self.layers.first().map_or(0, |layer| layer.n_embd_head_k);
        let sum = sections.iter().try_fold(0i64, |sum, n| (*n >= 0).then(|| sum.checked_add(*n)).flatten());
        if sum.is_none_or(|sum| sum < 1 || usize::try_from(sum).map_or(true, |sum| sum > head)) {
            let found = format!("{sections:?}");
            let expected = format!("numbers of pairs, at least one and at most {head} together");
            return Err(keys.error(SECTIONS, &found, expected));
        }
        self.rope_mode = Some(RopeMode::Sections { sections: sections.map(|n| n as u32), interleaved });
        Ok(())
    }

    /// The same where the file has two sections at least (`use_mrope`).
    pub(crate) fn turn_by_sections_if_any(mut self, keys: &Keys<'_>) -> Result<Hparams, Error> {
        if keys.sections(SECTIONS)?.is_some_and(|sections| sections[0] > 0 && sections[1] > 0) {
            self.turn_by_sections(keys, false)?;
        }
        Ok(self)
    }
}

/// How a layer's queries and keys are rotated.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum LayerRope {
    /// Not at all.
    Off,
    /// With the context's base and scaling.
    Context,
    /// With the context's base and without any scaling.
    Unscaled,
    /// With a base of its own and without any scaling.
    OwnUnscaled {
        /// Base of the frequencies.
        freq_base: f32,
    },
    /// With a base and linear scale of its own; the rest is the context's (`rope_freq_base_train_swa`).
    Own {
        /// Base of the frequencies.
        freq_base: f32,
        /// Linear scale of positions.
        freq_scale: f32,
    },
}
