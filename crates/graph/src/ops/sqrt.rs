//! SQRT: square roots, element by element.

use super::Op;
use super::rule::{Form, OpRule, same_shape};
use crate::error::Error;
use crate::graph::Graph;
use crate::tensor::TensorId;

pub(super) static RULE: OpRule = OpRule {
    name: "SQRT",
    ggml_id: 10,
    n_src: 1..=1,
    can_inplace: true,
    overwrites: &[0],
    form: Form::Computed(same_shape),
};

impl Graph {
    /// Square roots of all elements (`ggml_sqrt`).
    ///
    /// # Errors
    /// [`Error::Operand`] if `a` is not f32 rows.
    pub fn sqrt(&mut self, a: TensorId) -> Result<TensorId, Error> {
        self.node(Op::Sqrt, &[a])
    }
}
