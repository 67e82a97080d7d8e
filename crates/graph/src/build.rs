//! From operands to nodes: the one place where an op's rule becomes a tensor or an error.

use crate::error::Error;
use crate::graph::Graph;
use crate::ops::{Broken, Form, MAX_SRC, Op, Outcome};
use crate::tensor::{MAX_DIMS, Tensor, TensorId};

impl Graph {
    /// Adds a node that is computed from `src`, with the type and shape that the op's rule gives it.
    ///
    /// # Errors
    /// What the rule refuses; [`Error::TooLarge`] for a result that does not fit in the address space.
    pub(crate) fn node(&mut self, op: Op, src: &[TensorId]) -> Result<TensorId, Error> {
        let outcome = self.with_operands(src, |operands| op.rule().outcome(op, operands));
        match outcome.map_err(|broken| self.refused(op, src, broken))? {
            Outcome::Fresh { dtype, ne } => self.contiguous("", dtype, ne, op, src),
            Outcome::Over(i) => {
                let (ne, nb) = (self[src[i]].ne, self[src[i]].nb);
                Ok(self.view_tensor(src[i], 0, ne, nb, op, src))
            }
        }
    }

    /// Adds another look at the bytes of `of`, if the op's rule allows it.
    ///
    /// # Errors
    /// What the rule refuses.
    pub(crate) fn look(
        &mut self,
        op: Op,
        of: TensorId,
        offset: usize,
        ne: [usize; MAX_DIMS],
        nb: [usize; MAX_DIMS],
    ) -> Result<TensorId, Error> {
        let look = self.new_view(of, offset, ne, nb, op, &[of]);
        if let Form::Look(check) = op.rule().form {
            check(&look, &self[of]).map_err(|broken| self.refused(op, &[of], broken))?;
        }
        Ok(self.push(look))
    }

    /// Calls `with` on the tensors of that numbers, without allocating.
    pub(crate) fn with_operands<T>(&self, src: &[TensorId], with: impl FnOnce(&[&Tensor]) -> T) -> T {
        let Some(first) = src.first() else { return with(&[]) };
        let mut operands = [&self[*first]; MAX_SRC];
        let n = src.len().min(MAX_SRC);
        for (slot, id) in operands.iter_mut().zip(src) {
            *slot = &self[*id];
        }
        with(&operands[..n])
    }

    /// The error for operands that break an op's rule.
    pub(crate) fn refused(&self, op: Op, src: &[TensorId], broken: Broken) -> Error {
        let Broken { operand, other, expected } = broken;
        let named = |i: Option<usize>| i.and_then(|i| src.get(i)).map(|id| &self[*id]);
        match (named(operand), named(other)) {
            (Some(a), Some(b)) => Error::Shapes {
                op: op.name(),
                a: a.name.clone(),
                a_ne: a.ne,
                b: b.name.clone(),
                b_ne: b.ne,
                expected,
            },
            (Some(a), None) => {
                Error::Operand { op: op.name(), name: a.name.clone(), ne: a.ne, dtype: a.dtype, expected }
            }
            (None, _) => Error::Node { op: op.name(), n_src: src.len(), expected },
        }
    }
}
