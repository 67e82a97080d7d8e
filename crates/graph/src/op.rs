//! The ops that Quipu's graphs are made of, with their parameters as data.

/// How a rotary embedding pairs the elements of a head (`GGML_ROPE_TYPE_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopeMode {
    /// Neighbours: elements `2 i` and `2 i + 1`.
    Norm,
    /// Halves: elements `i` and `i + n_dims / 2`.
    Neox,
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

/// Element-wise functions of one operand (`ggml_unary_op`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnaryOp {
    /// `x * sigmoid(x)`.
    Silu,
    /// Tanh approximation, through ggml's f16 table.
    Gelu,
    /// `max(x, 0)`.
    Relu,
    /// Hyperbolic tangent.
    Tanh,
}

/// Gated linear units of two operands (`ggml_glu_op`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GluOp {
    /// `silu(gate) * up`.
    Swiglu,
    /// `gelu(gate) * up`.
    Geglu,
}

/// What computes a tensor. Answers to `enum ggml_op` with its `op_params`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Op {
    /// A leaf: input, weight or cache.
    None,
    /// `a + b`, `b` repeated to `a`'s shape.
    Add,
    /// `a * b`, `b` repeated to `a`'s shape.
    Mul,
    /// `a * scale + bias`.
    Scale {
        /// Factor.
        scale: f32,
        /// Summand.
        bias: f32,
    },
    /// Every row of `b` times every row of `a`.
    MulMat,
    /// Mean 0, variance 1 per row.
    Norm {
        /// Added to the variance.
        eps: f32,
    },
    /// Root mean square 1 per row.
    RmsNorm {
        /// Added to the mean square.
        eps: f32,
    },
    /// Rotary position embedding.
    Rope(RopeParams),
    /// `softmax(a * scale + slope * mask)` per row.
    SoftMax {
        /// Factor on the scores.
        scale: f32,
        /// ALiBi's maximal bias; 0 = none.
        max_bias: f32,
    },
    /// Fused attention over a key and a value cache.
    FlashAttn {
        /// Factor on the scores.
        scale: f32,
        /// ALiBi's maximal bias; 0 = none.
        max_bias: f32,
        /// Scores are bent by `cap * tanh(s / cap)`; 0 = none.
        logit_softcap: f32,
    },
    /// Rows of `a` picked by the i32 indices `b`, converted to f32.
    GetRows,
    /// Rows of `b` written into `a` at the i64 indices `c`, converted to `a`'s type; the result is a view of `a`.
    SetRows,
    /// `a` converted and copied into `b`; the result is a view of `b`.
    Cpy,
    /// A contiguous copy.
    Cont,
    /// Same bytes, other shape.
    Reshape,
    /// A window on the bytes of another tensor.
    View,
    /// Dimensions reordered.
    Permute,
    /// First two dimensions swapped.
    Transpose,
    /// Element-wise function.
    Unary(UnaryOp),
    /// Gated linear unit.
    Glu(GluOp),
}

impl Op {
    /// The reference's name (`ggml_op_name`).
    pub const fn name(self) -> &'static str {
        match self {
            Op::None => "NONE",
            Op::Add => "ADD",
            Op::Mul => "MUL",
            Op::Scale { .. } => "SCALE",
            Op::MulMat => "MUL_MAT",
            Op::Norm { .. } => "NORM",
            Op::RmsNorm { .. } => "RMS_NORM",
            Op::Rope(_) => "ROPE",
            Op::SoftMax { .. } => "SOFT_MAX",
            Op::FlashAttn { .. } => "FLASH_ATTN_EXT",
            Op::GetRows => "GET_ROWS",
            Op::SetRows => "SET_ROWS",
            Op::Cpy => "CPY",
            Op::Cont => "CONT",
            Op::Reshape => "RESHAPE",
            Op::View => "VIEW",
            Op::Permute => "PERMUTE",
            Op::Transpose => "TRANSPOSE",
            Op::Unary(_) => "UNARY",
            Op::Glu(_) => "GLU",
        }
    }

    /// The result may take over the memory of an operand of the same layout (`ggml_op_can_inplace`).
    pub const fn can_inplace(self) -> bool {
        matches!(
            self,
            Op::Add
                | Op::Mul
                | Op::Scale { .. }
                | Op::RmsNorm { .. }
                | Op::Rope(_)
                | Op::SoftMax { .. }
                | Op::Unary(_)
        )
    }

    /// The result may lie over operand `i` where the two have the same bytes and layout, whoever placed them there.
    pub const fn may_overwrite(self, i: usize) -> bool {
        match self {
            Op::SetRows => i == 2,
            Op::Cpy | Op::Add | Op::Mul | Op::Glu(_) => i <= 1,
            _ => i == 0 && self.can_inplace(),
        }
    }

    /// Nothing to compute: the tensor is another look at bytes that exist.
    pub const fn is_metadata(self) -> bool {
        matches!(self, Op::None | Op::Reshape | Op::View | Op::Permute | Op::Transpose)
    }
}
