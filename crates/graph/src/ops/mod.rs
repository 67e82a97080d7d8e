//! The op table: every op is one file here, which says what it takes and gives, and builds its node.
//!
//! [`Op`] is an op with its parameters, as data; [`Op::rule`] leads to all else that is known of it. A new op is one file, its
//! variant of [`Op`] and its line in the table below; a backend registers a kernel for it.

mod add;
mod add_id;
mod argsort;
mod clamp;
mod concat;
mod cont;
mod cpy;
mod div;
mod flash_attn;
mod gated_delta_net;
mod gated_linear_attn;
mod get_rows;
mod glu;
mod l2_norm;
mod leaky_relu;
mod mul;
mod mul_mat;
mod mul_mat_id;
mod none;
mod norm;
mod permute;
mod repeat;
mod reshape;
mod rms_norm;
mod rope;
mod rule;
mod rwkv_wkv6;
mod rwkv_wkv7;
mod scale;
mod set_rows;
mod soft_max;
mod sqr;
mod sqrt;
mod ssm_conv;
mod ssm_scan;
mod sub;
mod sum_rows;
mod transpose;
mod unary;
mod view;

pub use argsort::SortOrder;
pub use glu::GluOp;
pub use rope::{RopeAngles, RopeMode, RopeParams};
pub use rule::{Broken, Form, MAX_SRC, OpRule, Outcome};
pub use ssm_scan::SsmScan;
pub use unary::UnaryOp;

use crate::tensor::MAX_DIMS;

/// What computes a tensor. Answers to `enum ggml_op` with its `op_params`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Op {
    /// A leaf: input, weight or cache.
    None,
    /// `a + b`, `b` repeated to `a`'s shape.
    Add,
    /// `a` and the rows of `b` that `c` names, column by column.
    AddId,
    /// `a - b`, `b` repeated to `a`'s shape.
    Sub,
    /// `a * b`, `b` repeated to `a`'s shape.
    Mul,
    /// `a / b`, `b` repeated to `a`'s shape.
    Div,
    /// `a * a`, element by element.
    Sqr,
    /// Square roots.
    Sqrt,
    /// `a * scale + bias`.
    Scale {
        /// Factor.
        scale: f32,
        /// Summand.
        bias: f32,
    },
    /// Every row of `b` times every row of `a`.
    MulMat,
    /// For each column, the matrices that it names times the column.
    MulMatId,
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
    /// Gated linear unit of two tensors, or of the halves of one.
    Glu {
        /// The function on the gate.
        op: GluOp,
        /// Of one tensor's halves, the second is the gate.
        swapped: bool,
    },
    /// The sum of each row.
    SumRows,
    /// Elements brought between two bounds.
    Clamp {
        /// Lower bound.
        min: f32,
        /// Upper bound.
        max: f32,
    },
    /// `b` behind `a` along a dimension.
    Concat {
        /// The dimension, 0 to 3.
        dim: usize,
    },
    /// `a` repeated to a shape.
    Repeat {
        /// The shape.
        ne: [usize; MAX_DIMS],
    },
    /// Where the elements of each row stand in its order.
    Argsort(SortOrder),
    /// `x` where it is positive, else a share of it.
    LeakyRelu {
        /// The share.
        slope: f32,
    },
    /// Length 1 per row.
    L2Norm {
        /// Rows are taken to be at least this long.
        eps: f32,
    },
    /// A short convolution along tokens.
    SsmConv,
    /// The selective scan of state space models.
    SsmScan,
    /// The recurrence of RWKV 6.
    RwkvWkv6,
    /// The recurrence of RWKV 7.
    RwkvWkv7,
    /// Linear attention with a gate on its state.
    GatedLinearAttn {
        /// Factor on the queries.
        scale: f32,
    },
    /// The delta rule with a decay.
    GatedDeltaNet {
        /// How many of the last states the result holds.
        n_states: usize,
    },
}

/// Names each op's rule once, for [`Op::rule`] and for [`RULES`]: so that neither can miss one.
macro_rules! table {
    ($($op:pat => $rule:path),* $(,)?) => {
        /// The rules of all ops.
        pub static RULES: &[&OpRule] = &[$(&$rule),*];

        impl Op {
            /// All that is known of this op, apart from its parameters.
            pub const fn rule(self) -> &'static OpRule {
                match self {
                    $($op => &$rule),*
                }
            }
        }
    };
}

table! {
    Op::None => none::RULE,
    Op::Add => add::RULE,
    Op::AddId => add_id::RULE,
    Op::Sub => sub::RULE,
    Op::Mul => mul::RULE,
    Op::Div => div::RULE,
    Op::Sqr => sqr::RULE,
    Op::Sqrt => sqrt::RULE,
    Op::Scale { .. } => scale::RULE,
    Op::MulMat => mul_mat::RULE,
    Op::MulMatId => mul_mat_id::RULE,
    Op::Norm { .. } => norm::RULE,
    Op::RmsNorm { .. } => rms_norm::RULE,
    Op::Rope(_) => rope::RULE,
    Op::SoftMax { .. } => soft_max::RULE,
    Op::FlashAttn { .. } => flash_attn::RULE,
    Op::GetRows => get_rows::RULE,
    Op::SetRows => set_rows::RULE,
    Op::Cpy => cpy::RULE,
    Op::Cont => cont::RULE,
    Op::Reshape => reshape::RULE,
    Op::View => view::RULE,
    Op::Permute => permute::RULE,
    Op::Transpose => transpose::RULE,
    Op::Unary(_) => unary::RULE,
    Op::Glu { .. } => glu::RULE,
    Op::SumRows => sum_rows::RULE,
    Op::Clamp { .. } => clamp::RULE,
    Op::Concat { .. } => concat::RULE,
    Op::Repeat { .. } => repeat::RULE,
    Op::Argsort(_) => argsort::RULE,
    Op::LeakyRelu { .. } => leaky_relu::RULE,
    Op::L2Norm { .. } => l2_norm::RULE,
    Op::SsmConv => ssm_conv::RULE,
    Op::SsmScan => ssm_scan::RULE,
    Op::RwkvWkv6 => rwkv_wkv6::RULE,
    Op::RwkvWkv7 => rwkv_wkv7::RULE,
    Op::GatedLinearAttn { .. } => gated_linear_attn::RULE,
    Op::GatedDeltaNet { .. } => gated_delta_net::RULE,
}

impl Op {
    /// The reference's name (`ggml_op_name`).
    pub const fn name(self) -> &'static str {
        self.rule().name
    }

    /// The result may take over the memory of an operand of the same layout (`ggml_op_can_inplace`).
    pub const fn can_inplace(self) -> bool {
        self.rule().can_inplace
    }

    /// The result may lie over operand `i` where the two have the same bytes and layout, whoever placed them there.
    pub fn may_overwrite(self, i: usize) -> bool {
        self.rule().overwrites.contains(&i)
    }

    /// Nothing to compute: the tensor is a leaf, or another look at bytes that exist.
    pub const fn is_metadata(self) -> bool {
        self.rule().is_metadata()
    }
}
