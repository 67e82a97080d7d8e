//! ROPE: rotary position embedding.

use quipu_quant::DType;

use super::Op;
use super::rule::{Broken, Form, OpRule, Outcome, ensure, f32_rows, fresh, is_vector};
use crate::error::Error;
use crate::graph::Graph;
use crate::tensor::{Tensor, TensorId};

pub(super) static RULE: OpRule = OpRule {
    name: "ROPE",
    ggml_id: 48,
    n_src: 2..=3,
    can_inplace: true,
    // Not the factors: all rows are rotated with them, by several threads.
    overwrites: &[0],
    form: Form::Computed(rule),
};

fn rule(op: Op, src: &[&Tensor]) -> Result<Outcome, Broken> {
    let Op::Rope(RopeParams { n_dims, mode, .. }) = op else {
        return Err(Broken::node("an op of this rule"));
    };
    let (a, pos) = (src[0], src[1]);
    if let RopeMode::Sections { sections, .. } = mode {
        let n: usize = sections.iter().fold(0, |n, section| n.saturating_add(*section as usize));
        ensure(n > 0 && n <= a.ne[0], Broken::one(0, "sections that ne[0] has room for"))?;
    }
    let n_pos = mode.n_pos();
    let positions = is_vector(pos, DType::I32) && a.ne[2].checked_mul(n_pos) == Some(pos.ne[0]);
    ensure(
        positions,
        Broken::two(0, 1, "as many i32 positions for each token (a's ne[2]) as the mode takes"),
    )?;
    let rotated = n_dims.is_multiple_of(2) && n_dims <= a.ne[0];
    ensure(rotated, Broken::one(0, "an even number of rotated elements, at most ne[0]"))?;
    if let Some(factors) = src.get(2) {
        let fits = is_vector(factors, DType::F32) && factors.ne[0] >= n_dims / 2;
        ensure(fits, Broken::two(0, 2, "one f32 factor for each pair of rotated elements"))?;
    }
    f32_rows(src, 0)?;
    fresh(DType::F32, a.ne)
}

/// How a rotary embedding pairs the elements of a head (`GGML_ROPE_TYPE_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopeMode {
    /// Neighbours: elements `2 i` and `2 i + 1`.
    Norm,
    /// Halves: elements `i` and `i + n_dims / 2`.
    Neox,
    /// Halves, by four positions for each token: time, height, width and one more. Pair `i` turns by the one its section says, the
    /// sections being repeated as often as there is room.
    Sections {
        /// How many pairs turn by each position.
        sections: [u32; 4],
        /// The sections take turns pair by pair, instead of following each other.
        interleaved: bool,
    },
}

impl RopeMode {
    /// Positions of a token.
    pub const fn n_pos(self) -> usize {
        match self {
            RopeMode::Norm | RopeMode::Neox => 1,
            RopeMode::Sections { .. } => 4,
        }
    }

    /// Which of a token's positions pair `i` turns by (`ggml_mrope_cache_init`).
    pub fn position_of(self, i: usize) -> usize {
        let RopeMode::Sections { sections, interleaved } = self else { return 0 };
        let [t, h, w, e] = sections.map(|section| section as usize);
        let sector = i % (t + h + w + e).max(1);
        if interleaved {
            return match sector % 3 {
                1 if sector < 3 * h => 1,
                2 if sector < 3 * w => 2,
                0 if sector < 3 * t => 0,
                _ => 3,
            };
        }
        if sector < t {
            0
        } else if sector < t + h {
            1
        } else if sector < t + h + w {
            2
        } else {
            3
        }
    }
}

/// Parameters of [`Op::Rope`] (`ggml_rope_ext`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RopeParams {
    /// Elements per head that are rotated; the rest is copied.
    pub n_dims: usize,
    /// Pairing.
    pub mode: RopeMode,
    /// Context length the model was trained with before scaling (YaRN).
    pub n_ctx_orig: usize,
    /// Base of the geometric series of frequencies.
    pub freq_base: f32,
    /// Linear position scale (1 / scaling factor).
    pub freq_scale: f32,
    /// YaRN extrapolation mix: 0 = pure interpolation.
    pub ext_factor: f32,
    /// Magnitude factor.
    pub attn_factor: f32,
    /// YaRN ramp: rotations beyond which a dimension is extrapolated.
    pub beta_fast: f32,
    /// YaRN ramp: rotations below which a dimension is interpolated.
    pub beta_slow: f32,
}

/// What the angles of a rotation follow from, the same for all tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RopeAngles {
    /// From one pair's angle to the next one's.
    pub theta_scale: f32,
    /// What cosines and sines are multiplied by.
    pub magnitude: f32,
    /// First and last pair of the ramp between extrapolated and interpolated frequencies.
    pub ramp: (f32, f32),
}

impl RopeParams {
    /// The recipe of the angles, in the reference's f32 arithmetic (`ggml_rope_yarn_corr_dims`, `rope_yarn`).
    pub fn angles(&self) -> RopeAngles {
        let RopeParams { n_dims, freq_base, freq_scale, ext_factor, attn_factor, .. } = *self;
        // The pair whose wavelength fits `n_rot` times into the original context (`ggml_rope_yarn_corr_dim`).
        let pair_of = |n_rot: f32| {
            let turns = self.n_ctx_orig as f32 / (n_rot * 2.0 * std::f32::consts::PI);
            n_dims as f32 * turns.ln() / (2.0 * freq_base.ln())
        };
        let ramp = (
            pair_of(self.beta_fast).floor().max(0.0),
            pair_of(self.beta_slow).ceil().min(n_dims as f32 - 1.0),
        );
        let magnitude =
            if ext_factor == 0.0 { attn_factor } else { attn_factor * (1.0 + 0.1 * (1.0 / freq_scale).ln()) };
        RopeAngles { theta_scale: freq_base.powf(-2.0 / n_dims as f32), magnitude, ramp }
    }
}

impl Graph {
    /// Rotary embedding of `a` (`[n_embd_head, n_head, n_tokens]`) at the i32 positions `pos`
    /// (`[n_tokens]`, or `[4 n_tokens]` with sections, one kind of position behind the other), with optional per-frequency divisors `factors` (`[n_dims / 2]`, f32) (`ggml_rope_ext`, `ggml_rope_multi`).
    ///
    /// # Errors
    /// [`Error::Operand`] or [`Error::Shapes`] for operands that are not that.
    pub fn rope(
        &mut self,
        a: TensorId,
        pos: TensorId,
        factors: Option<TensorId>,
        params: RopeParams,
    ) -> Result<TensorId, Error> {
        match factors {
            Some(factors) => self.node(Op::Rope(params), &[a, pos, factors]),
            None => self.node(Op::Rope(params), &[a, pos]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_turn_by_the_position_of_their_section() {
        let kinds = |sections, interleaved| {
            let mode = RopeMode::Sections { sections, interleaved };
            (0..7).map(|i| mode.position_of(i)).collect::<Vec<usize>>()
        };
        assert_eq!(kinds([2, 1, 1, 1], false), [0, 0, 1, 2, 3, 0, 0]);
        assert_eq!(kinds([2, 2, 1, 0], true), [0, 1, 2, 0, 1, 0, 1]);
        assert_eq!(kinds([1, 2, 1, 0], true), [0, 1, 2, 3, 0, 1, 2]);
        assert_eq!(RopeMode::Neox.position_of(5), 0);
    }
}
