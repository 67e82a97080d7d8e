//! CONCAT: two tensors, one behind the other along a dimension.

use super::Op;
use super::rule::{Broken, Form, OpRule, Outcome, ensure, fresh};
use crate::error::Error;
use crate::graph::Graph;
use crate::tensor::{MAX_DIMS, Tensor, TensorId};

pub(super) static RULE: OpRule = OpRule {
    name: "CONCAT",
    ggml_id: 22,
    n_src: 2..=2,
    can_inplace: false,
    overwrites: &[],
    form: Form::Computed(rule),
};

fn rule(op: Op, src: &[&Tensor]) -> Result<Outcome, Broken> {
    let Op::Concat { dim } = op else { return Err(Broken::node("an op of this rule")) };
    ensure(dim < MAX_DIMS, Broken::node("one of the dimensions 0 to 3"))?;
    let (a, b) = (src[0], src[1]);
    let fits = (0..MAX_DIMS).all(|i| i == dim || a.ne[i] == b.ne[i]);
    let same = Broken::two(0, 1, "equal types, and equal shapes in all other dimensions");
    ensure(a.dtype == b.dtype && fits, same)?;
    let mut ne = a.ne;
    ne[dim] = ne[dim].checked_add(b.ne[dim]).ok_or(same)?;
    fresh(a.dtype, ne)
}

impl Graph {
    /// `b` behind `a` along dimension `dim` (`ggml_concat`).
    ///
    /// # Errors
    /// [`Error::Shapes`] if types or other dimensions differ, [`Error::Node`] for a dimension that is none.
    pub fn concat(&mut self, a: TensorId, b: TensorId, dim: usize) -> Result<TensorId, Error> {
        self.node(Op::Concat { dim }, &[a, b])
    }
}
