//! PERMUTE: dimensions reordered.

use super::Op;
use super::rule::{Broken, Form, OpRule, ensure, looks_at};
use crate::error::Error;
use crate::graph::Graph;
use crate::tensor::{MAX_DIMS, Tensor, TensorId};

pub(super) static RULE: OpRule = OpRule {
    name: "PERMUTE",
    ggml_id: 38,
    n_src: 1..=1,
    can_inplace: false,
    overwrites: &[],
    form: Form::Look(check),
};

fn check(look: &Tensor, a: &Tensor) -> Result<(), Broken> {
    let at = looks_at(look, a)?;
    let dimensions = |t: &Tensor| {
        let mut pairs: [_; MAX_DIMS] = std::array::from_fn(|i| (t.ne[i], t.nb[i]));
        pairs.sort_unstable();
        pairs
    };
    let reordered = at == 0 && dimensions(look) == dimensions(a);
    ensure(reordered, Broken::one(0, "its dimensions in another order"))
}

impl Graph {
    /// Dimensions reordered: dimension `i` of `a` becomes dimension `axes[i]` (`ggml_permute`).
    ///
    /// # Errors
    /// [`Error::Operand`] if `axes` does not name each of 0 to 3 once.
    pub fn permute(&mut self, a: TensorId, axes: [usize; MAX_DIMS]) -> Result<TensorId, Error> {
        let mut seen = [false; MAX_DIMS];
        for axis in axes {
            if axis >= MAX_DIMS || std::mem::replace(&mut seen[axis], true) {
                return Err(self.refused(Op::Permute, &[a], Broken::one(0, "each of the axes 0 to 3 once")));
            }
        }
        let (mut ne, mut nb) = ([0; MAX_DIMS], [0; MAX_DIMS]);
        for (i, axis) in axes.into_iter().enumerate() {
            ne[axis] = self[a].ne[i];
            nb[axis] = self[a].nb[i];
        }
        self.look(Op::Permute, a, 0, ne, nb)
    }
}
