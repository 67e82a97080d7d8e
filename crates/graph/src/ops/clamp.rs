//! CLAMP: elements brought between two bounds.
//!
//! The reference makes the result a view of the operand and so destroys it, whoever else reads it. Here it is a tensor of its
//! own, which the planner puts in the operand's place where nobody does: the same memory, and backends may differ.

use super::Op;
use super::rule::{Form, OpRule, same_shape};
use crate::error::Error;
use crate::graph::Graph;
use crate::tensor::TensorId;

pub(super) static RULE: OpRule = OpRule {
    name: "CLAMP",
    ggml_id: 50,
    n_src: 1..=1,
    can_inplace: true,
    overwrites: &[0],
    form: Form::Computed(same_shape),
};

impl Graph {
    /// Elements below `min` become `min`, those above `max` become `max` (`ggml_clamp`).
    ///
    /// # Errors
    /// [`Error::Operand`] if `a` is not f32 rows.
    pub fn clamp(&mut self, a: TensorId, min: f32, max: f32) -> Result<TensorId, Error> {
        self.node(Op::Clamp { min, max }, &[a])
    }
}
