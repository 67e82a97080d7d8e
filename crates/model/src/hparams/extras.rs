//! Numbers of parts that few architectures have.

/// What a layer's xIELU is made of, as files have it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Xielu {
    /// Decides the share of what is not positive.
    pub alpha_n: f32,
    /// Decides the share of squares.
    pub alpha_p: f32,
    /// Share of everything.
    pub beta: f32,
    /// Upper bound inside the exponential.
    pub eps: f32,
}

/// Queries of position `p` are multiplied by `1 + scale * ln(1 + floor((p + offset) / floor))`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Temperature {
    pub scale: f32,
    pub floor: usize,
    pub offset: f32,
}
