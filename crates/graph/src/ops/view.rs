//! VIEW: a window on the bytes of a tensor.

use super::Op;
use super::rule::{Broken, Form, OpRule, ensure, looks_at};
use crate::error::Error;
use crate::graph::Graph;
use crate::tensor::{MAX_DIMS, Tensor, TensorId};

pub(super) static RULE: OpRule = OpRule {
    name: "VIEW",
    ggml_id: 37,
    n_src: 1..=1,
    can_inplace: false,
    overwrites: &[],
    form: Form::Look(check),
};

fn check(look: &Tensor, a: &Tensor) -> Result<(), Broken> {
    let at = looks_at(look, a)?;
    let whole = look.ne[0].is_multiple_of(look.dtype.block_len()) && look.nb[0] == look.dtype.block_bytes();
    ensure(whole, Broken::one(0, "whole blocks, side by side"))?;
    let end = look.extent().and_then(|len| at.checked_add(len));
    ensure(end.is_some_and(|end| end <= a.n_bytes()), Broken::one(0, "a window inside its bytes"))
}

impl Graph {
    /// A window on `a`: shape `ne`, outer strides `nb` in bytes, starting `offset` bytes in
    /// (`ggml_view_4d`).
    ///
    /// # Errors
    /// [`Error::PartialBlock`] for rows that are not whole blocks, [`Error::Operand`] for a window that ends outside `a`.
    pub fn view(
        &mut self,
        a: TensorId,
        ne: [usize; MAX_DIMS],
        nb: [usize; MAX_DIMS - 1],
        offset: usize,
    ) -> Result<TensorId, Error> {
        let dtype = self[a].dtype;
        if !ne[0].is_multiple_of(dtype.block_len()) {
            return Err(Error::PartialBlock { name: self[a].name.clone(), dtype, ne0: ne[0] });
        }
        self.look(Op::View, a, offset, ne, [dtype.block_bytes(), nb[0], nb[1], nb[2]])
    }
}
