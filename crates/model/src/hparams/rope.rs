//! What files say of rotary positions.

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
    /// With a base and linear scale of its own; the rest is the context's (`rope_freq_base_train_swa`).
    Own {
        /// Base of the frequencies.
        freq_base: f32,
        /// Linear scale of positions.
        freq_scale: f32,
    },
}
