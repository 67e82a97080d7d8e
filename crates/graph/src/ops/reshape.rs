//! RESHAPE: the same bytes in another shape.

use super::Op;
use super::rule::{Broken, Form, OpRule, ensure, looks_at};
use crate::error::Error;
use crate::graph::Graph;
use crate::tensor::{MAX_DIMS, Tensor, TensorId, contiguous_strides};

pub(super) static RULE: OpRule = OpRule {
    name: "RESHAPE",
    ggml_id: 36,
    n_src: 1..=1,
    can_inplace: false,
    overwrites: &[],
    form: Form::Look(check),
};

fn check(look: &Tensor, a: &Tensor) -> Result<(), Broken> {
    let at = looks_at(look, a)?;
    let n = look.ne.iter().try_fold(1usize, |n, e| n.checked_mul(*e));
    let same = n == Some(a.n_elements()) && a.is_contiguous() && at == 0;
    let blocks = look.ne[0].is_multiple_of(look.dtype.block_len());
    ensure(same && blocks, Broken::one(0, "a contiguous tensor of as many elements"))?;
    let dense = contiguous_strides(look.dtype, look.ne) == Some(look.nb);
    ensure(dense, Broken::one(0, "a size that fits in 64 bits"))
}

impl Graph {
    /// The same bytes in another shape; `a` must be contiguous (`ggml_reshape`).
    ///
    /// # Errors
    /// [`Error::Operand`] if it is not, or has another number of elements.
    pub fn reshape(&mut self, a: TensorId, ne: [usize; MAX_DIMS]) -> Result<TensorId, Error> {
        // Strides that do not exist are those of a look that the rule refuses.
        let nb = contiguous_strides(self[a].dtype, ne).unwrap_or_default();
        self.look(Op::Reshape, a, 0, ne, nb)
    }
}
