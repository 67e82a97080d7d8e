//! SQR: squares, element by element.

use super::Op;
use super::rule::{Form, OpRule, same_shape};
use crate::error::Error;
use crate::graph::Graph;
use crate::tensor::TensorId;

pub(super) static RULE: OpRule = OpRule {
    name: "SQR",
    ggml_id: 9,
    n_src: 1..=1,
    can_inplace: true,
    overwrites: &[0],
    form: Form::Computed(same_shape),
};

impl Graph {
    /// Squares of all elements (`ggml_sqr`).
    ///
    /// # Errors
    /// [`Error::Operand`] if `a` is not f32 rows.
    pub fn sqr(&mut self, a: TensorId) -> Result<TensorId, Error> {
        self.node(Op::Sqr, &[a])
    }
}
