//! TRANSPOSE: the first two dimensions swapped.

use super::Op;
use super::rule::{Broken, Form, OpRule, ensure, looks_at};
use crate::graph::Graph;
use crate::tensor::{Tensor, TensorId};

pub(super) static RULE: OpRule = OpRule {
    name: "TRANSPOSE",
    ggml_id: 39,
    n_src: 1..=1,
    can_inplace: false,
    overwrites: &[],
    form: Form::Look(check),
};

fn check(look: &Tensor, a: &Tensor) -> Result<(), Broken> {
    let at = looks_at(look, a)?;
    let (mut ne, mut nb) = (a.ne, a.nb);
    ne.swap(0, 1);
    nb.swap(0, 1);
    ensure(at == 0 && look.ne == ne && look.nb == nb, Broken::one(0, "its first two dimensions swapped"))
}

impl Graph {
    /// First two dimensions swapped (`ggml_transpose`).
    pub fn transpose(&mut self, a: TensorId) -> TensorId {
        let (mut ne, mut nb) = (self[a].ne, self[a].nb);
        ne.swap(0, 1);
        nb.swap(0, 1);
        self.view_tensor(a, 0, ne, nb, Op::Transpose, &[a])
    }
}
