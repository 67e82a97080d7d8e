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

impl Temperature {
    /// The factor of queries at a position.
    pub(crate) fn at(self, pos: i32) -> f32 {
        (((pos as f32 + self.offset) / self.floor as f32).floor() + 1.0).ln() * self.scale + 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_grow_by_steps() {
        let temperature = Temperature { scale: 0.1, floor: 8192, offset: 1.0 };
        let grown = 1.0 + 0.1 * 2f32.ln();
        assert_eq!([0, 8190, 8191, 16382].map(|pos| temperature.at(pos)), [1.0, 1.0, grown, grown]);
    }
}
