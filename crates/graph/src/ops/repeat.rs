//! REPEAT: a tensor again and again, in every dimension.

use super::Op;
use super::rule::{Broken, Form, OpRule, Outcome, ensure, fresh, repeats};
use crate::error::Error;
use crate::graph::Graph;
use crate::tensor::{MAX_DIMS, Tensor, TensorId};

pub(super) static RULE: OpRule = OpRule {
    name: "REPEAT",
    ggml_id: 20,
    n_src: 1..=1,
    can_inplace: false,
    overwrites: &[],
    form: Form::Computed(rule),
};

fn rule(op: Op, src: &[&Tensor]) -> Result<Outcome, Broken> {
    let Op::Repeat { ne } = op else { return Err(Broken::node("an op of this rule")) };
    ensure(repeats(src[0].ne, ne), Broken::one(0, "a shape that repeats to the result's"))?;
    ensure(src[0].has_contiguous_rows(), Broken::one(0, "rows without gaps"))?;
    fresh(src[0].dtype, ne)
}

impl Graph {
    /// `a` repeated to the shape `ne` (`ggml_repeat_4d`; `ggml_repeat` takes the shape of a tensor).
    ///
    /// # Errors
    /// [`Error::Operand`] if `ne` is no multiple of `a`'s shape.
    pub fn repeat(&mut self, a: TensorId, ne: [usize; MAX_DIMS]) -> Result<TensorId, Error> {
        self.node(Op::Repeat { ne }, &[a])
    }
}
