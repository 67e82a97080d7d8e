//! CPY: one tensor copied into another.

use super::Op;
use super::rule::{Broken, Form, OpRule, Outcome, ensure};
use crate::error::Error;
use crate::graph::Graph;
use crate::tensor::{Tensor, TensorId};

pub(super) static RULE: OpRule = OpRule {
    name: "CPY",
    ggml_id: 34,
    n_src: 2..=2,
    can_inplace: false,
    overwrites: &[0, 1],
    form: Form::Computed(rule),
};

fn rule(_op: Op, src: &[&Tensor]) -> Result<Outcome, Broken> {
    let (a, b) = (src[0], src[1]);
    ensure(a.n_elements() == b.n_elements(), Broken::two(0, 1, "equal numbers of elements"))?;
    ensure(b.is_injective(), Broken::one(1, "a target without overlapping elements"))?;
    Ok(Outcome::Over(1))
}

impl Graph {
    /// Copies `a` into `b`, converting to `b`'s type; the result is a view of `b` (`ggml_cpy`).
    ///
    /// # Errors
    /// [`Error::Shapes`] for different numbers of elements, [`Error::Operand`] if elements of `b` overlap.
    pub fn cpy(&mut self, a: TensorId, b: TensorId) -> Result<TensorId, Error> {
        self.node(Op::Cpy, &[a, b])
    }
}
