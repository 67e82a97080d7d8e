//! CONT: a contiguous copy.

use super::Op;
use super::rule::{Broken, Form, OpRule, Outcome, fresh};
use crate::error::Error;
use crate::graph::Graph;
use crate::tensor::{Tensor, TensorId};

pub(super) static RULE: OpRule = OpRule {
    name: "CONT",
    ggml_id: 35,
    n_src: 1..=1,
    can_inplace: false,
    overwrites: &[],
    form: Form::Computed(rule),
};

fn rule(_op: Op, src: &[&Tensor]) -> Result<Outcome, Broken> {
    fresh(src[0].dtype, src[0].ne)
}

impl Graph {
    /// A contiguous copy (`ggml_cont`).
    ///
    /// # Errors
    /// [`Error::PartialBlock`] if rows of `a` are not whole blocks.
    pub fn cont(&mut self, a: TensorId) -> Result<TensorId, Error> {
        self.node(Op::Cont, &[a])
    }
}
