//! Which neighbouring nodes may be computed as one, so that what lies between them is never written.
//!
//! Answers to `ggml_can_fuse`. Which of these chains a backend has a kernel for is the backend's business.

use quipu_graph::{Op, TensorId};

use crate::error::Error;
use crate::resolve::Resolver;

/// A norm and what combines its result with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NormChain {
    /// The `MUL` behind the norm.
    pub mul: TensorId,
    /// The row it multiplies with.
    pub weight: TensorId,
    /// The `ADD` behind that, and the row it adds.
    pub add: Option<(TensorId, TensorId)>,
}

impl Resolver<'_> {
    /// What `after`, the nodes behind a norm, does with the norm's result: each is the only reader of the one before.
    pub fn norm_chain(&self, norm: TensorId, after: &[TensorId]) -> Option<NormChain> {
        let (&mul, rest) = after.split_first()?;
        let weight = self.row_behind(norm, mul, Op::Mul)?;
        let add = rest.first().and_then(|add| Some((*add, self.row_behind(mul, *add, Op::Add)?)));
        Some(NormChain { mul, weight, add })
    }

    /// The row that `next` combines with `id`, if it is the only reader of `id`, of that op, and of its shape.
    fn row_behind(&self, id: TensorId, next: TensorId, op: Op) -> Option<TensorId> {
        let (tensor, behind) = (&self.graph[id], &self.graph[next]);
        let row = match behind.src.as_slice() {
            [a, b] if *a == id && *b != id => *b,
            [a, b] if *b == id && *a != id => *a,
            _ => return None,
        };
        let private = self.uses[id.index()] == 1 && !tensor.flags.output;
        let fits = self.graph[row].ne == [behind.ne[0], 1, 1, 1] && behind.ne == tensor.ne;
        (behind.op == op && private && fits).then_some(row)
    }

    /// Whether the result of `last` may be written while `norm`'s operand and `rows` are still read: over that operand only
    /// if it is the same bytes in the same layout, over a row never. Each node alone was checked before.
    ///
    /// # Errors
    /// As [`Resolver::place`].
    pub fn may_fuse(&self, norm: TensorId, last: TensorId, rows: &[TensorId]) -> Result<bool, Error> {
        let last = &self.graph[last];
        let dst = self.place(last)?;
        let input = &self.graph[self.graph[norm].src[0]];
        let at = self.place(input)?;
        let same = at.address == dst.address && input.same_layout(last);
        if input.overlaps(at.address, last, dst.address) && !same {
            return Ok(false);
        }
        for row in rows {
            let row = &self.graph[*row];
            if row.overlaps(self.place(row)?.address, last, dst.address) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
