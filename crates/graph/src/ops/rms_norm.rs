//! RMS_NORM: rows of root mean square 1.

use super::Op;
use super::rule::{Form, OpRule, same_shape};
use crate::error::Error;
use crate::graph::Graph;
use crate::tensor::TensorId;

pub(super) static RULE: OpRule = OpRule {
    name: "RMS_NORM",
    ggml_id: 25,
    n_src: 1..=1,
    can_inplace: true,
    overwrites: &[0],
    form: Form::Computed(same_shape),
};

impl Graph {
    /// Root mean square 1 per row (`ggml_rms_norm`).
    ///
    /// # Errors
    /// [`Error::Operand`] if `a` is not f32 rows.
    pub fn rms_norm(&mut self, a: TensorId, eps: f32) -> Result<TensorId, Error> {
        self.node(Op::RmsNorm { eps }, &[a])
    }
}
