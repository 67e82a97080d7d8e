//! SSM_CONV: a short convolution along the tokens of each channel.

use quipu_quant::DType;

use super::Op;
use super::rule::{Broken, Form, OpRule, Outcome, ensure, f32_rows, fresh};
use crate::error::Error;
use crate::graph::Graph;
use crate::tensor::{Tensor, TensorId};

pub(super) static RULE: OpRule = OpRule {
    name: "SSM_CONV",
    ggml_id: 76,
    n_src: 2..=2,
    can_inplace: false,
    overwrites: &[],
    form: Form::Computed(rule),
};

fn rule(_op: Op, src: &[&Tensor]) -> Result<Outcome, Broken> {
    f32_rows(src, 0)?;
    f32_rows(src, 1)?;
    let (x, kernel) = (src[0], src[1]);
    ensure(x.ne[3] == 1, Broken::one(0, "three dimensions"))?;
    ensure(
        kernel.ne[2..] == [1, 1] && kernel.ne[0] > 0,
        Broken::one(1, "a matrix, one row for each channel"),
    )?;
    let fits = x.ne[1] == kernel.ne[1] && x.ne[0] + 1 >= kernel.ne[0];
    ensure(fits, Broken::two(0, 1, "equally many channels, and columns for at least the kernel less one"))?;
    fresh(DType::F32, [x.ne[1], x.ne[0] + 1 - kernel.ne[0], x.ne[2], 1])
}

impl Graph {
    /// For each channel, the products of the f32 kernel `[d_conv, n_channel]` with each `d_conv` neighbouring columns of the f32 `x`
    /// `[d_conv - 1 + n_tokens, n_channel, n_seqs]`: f32 `[n_channel, n_tokens, n_seqs]` (`ggml_ssm_conv`).
    ///
    /// # Errors
    /// [`Error::Operand`] or [`Error::Shapes`] for operands that are not that.
    pub fn ssm_conv(&mut self, x: TensorId, kernel: TensorId) -> Result<TensorId, Error> {
        self.node(Op::SsmConv, &[x, kernel])
    }
}
