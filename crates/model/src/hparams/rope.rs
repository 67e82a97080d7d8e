//! What files say of rotary positions.

use super::Keys;
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
}

impl Default for Yarn {
    fn default() -> Self {
        Yarn { beta_fast: 32.0, beta_slow: 1.0, log_mul: 0.0 }
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
