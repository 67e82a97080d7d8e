//! The form of an op's rule, and the conditions that several ops share.

use std::ops::RangeInclusive;

use quipu_quant::DType;

use super::Op;
use crate::tensor::{MAX_DIMS, Tensor};

/// Operands of a node, at most (`GGML_MAX_SRC`).
pub const MAX_SRC: usize = 10;

/// What an op is, for all who deal with it: graphs are built by it, raw graphs and every backend's nodes are checked by it.
///
/// How it is computed is each backend's business.
#[derive(Debug)]
pub struct OpRule {
    /// The reference's name (`ggml_op_name`).
    pub name: &'static str,
    /// The reference's number (`enum ggml_op`).
    pub ggml_id: u32,
    /// How many operands it takes.
    pub n_src: RangeInclusive<usize>,
    /// The result may take over the memory of an operand of the same layout (`ggml_op_can_inplace`).
    pub can_inplace: bool,
    /// Operands that the result may lie over where the two have the same bytes and layout, whoever placed them there.
    pub overwrites: &'static [usize],
    /// What operands and result must be.
    pub form: Form,
}

/// How a result follows from operands.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    /// It does not: a leaf.
    Leaf,
    /// It is computed; the function says what of.
    Computed(fn(Op, &[&Tensor]) -> Result<Outcome, Broken>),
    /// It is another look at the bytes of its one operand; the function compares look (first) and operand.
    Look(fn(&Tensor, &Tensor) -> Result<(), Broken>),
}

/// The result that operands come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A contiguous tensor of its own.
    Fresh {
        /// Its type.
        dtype: DType,
        /// Its shape.
        ne: [usize; MAX_DIMS],
    },
    /// A view of that operand, which is written.
    Over(usize),
}

/// What is wrong with a node: with which operands, and what was expected of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The operand, unless it is the result.
    pub operand: Option<usize>,
    /// The operand that it does not go with.
    pub other: Option<usize>,
    /// The rule that was broken.
    pub expected: &'static str,
}

impl Broken {
    /// About one operand.
    pub const fn one(operand: usize, expected: &'static str) -> Broken {
        Broken { operand: Some(operand), other: None, expected }
    }

    /// About two operands that do not go together.
    pub const fn two(operand: usize, other: usize, expected: &'static str) -> Broken {
        Broken { operand: Some(operand), other: Some(other), expected }
    }

    /// About the node as a whole.
    pub const fn node(expected: &'static str) -> Broken {
        Broken { operand: None, other: None, expected }
    }
}

/// `broken`, unless it holds.
pub(super) fn ensure(holds: bool, broken: Broken) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(broken) }
}

impl OpRule {
    /// Nothing to compute: the tensor is a leaf, or another look at bytes that exist.
    pub const fn is_metadata(&self) -> bool {
        !matches!(self.form, Form::Computed(_))
    }

    /// Checks a node of this op against its operands. All of them must have an [`extent`](Tensor::extent).
    ///
    /// # Errors
    /// The first condition that does not hold.
    pub fn check(&self, dst: &Tensor, src: &[&Tensor]) -> Result<(), Broken> {
        self.check_count(src.len())?;
        let rule = match self.form {
            Form::Leaf => return Ok(()),
            Form::Look(check) => return check(dst, src[0]),
            Form::Computed(rule) => rule,
        };
        match rule(dst.op, src)? {
            Outcome::Fresh { dtype, ne } => {
                let matches = dst.dtype == dtype && dst.ne == ne;
                ensure(matches, Broken::node("a result of the type and shape its operands come to"))?;
                ensure(dst.is_contiguous(), Broken::node("a contiguous result"))
            }
            Outcome::Over(i) => {
                ensure(dst.same_layout(src[i]), Broken::node("a result laid out as the operand it writes"))
            }
        }
    }

    /// What operands of these come to.
    pub(crate) fn outcome(&self, op: Op, src: &[&Tensor]) -> Result<Outcome, Broken> {
        self.check_count(src.len())?;
        match self.form {
            Form::Computed(rule) => rule(op, src),
            Form::Leaf | Form::Look(_) => Err(Broken::node("an op that computes")),
        }
    }

    fn check_count(&self, n: usize) -> Result<(), Broken> {
        ensure(self.n_src.contains(&n), Broken::node("as many operands as the op has"))
    }
}

/// The result is a contiguous tensor of that type and shape: how rules end.
#[allow(clippy::unnecessary_wraps)]
pub(super) const fn fresh(dtype: DType, ne: [usize; MAX_DIMS]) -> Result<Outcome, Broken> {
    Ok(Outcome::Fresh { dtype, ne })
}

/// Operand `i` is f32, rows without gaps.
pub(super) fn f32_rows(src: &[&Tensor], i: usize) -> Result<(), Broken> {
    let holds = src[i].dtype == DType::F32 && src[i].has_contiguous_rows();
    ensure(holds, Broken::one(i, "f32 rows without gaps"))
}

/// The rule of element-wise functions: f32, and a result of the operand's shape.
pub(super) fn same_shape(_op: Op, src: &[&Tensor]) -> Result<Outcome, Broken> {
    f32_rows(src, 0)?;
    fresh(DType::F32, src[0].ne)
}

/// The rule of element-wise functions of two operands: the second is repeated to the first one's shape.
pub(super) fn repeated(_op: Op, src: &[&Tensor]) -> Result<Outcome, Broken> {
    f32_rows(src, 0)?;
    f32_rows(src, 1)?;
    ensure(repeats(src[1].ne, src[0].ne), Broken::two(0, 1, "b repeatable to a's shape"))?;
    fresh(DType::F32, src[0].ne)
}

/// `small` can be repeated to `large` (`ggml_can_repeat`).
pub(super) fn repeats(small: [usize; MAX_DIMS], large: [usize; MAX_DIMS]) -> bool {
    small.iter().zip(large).all(|(s, l)| *s != 0 && l.is_multiple_of(*s))
}

/// A vector of that type, elements side by side.
pub(super) fn is_vector(t: &Tensor, dtype: DType) -> bool {
    t.dtype == dtype && t.ne[1..] == [1; 3] && t.has_contiguous_rows()
}

/// Where a look starts in its operand, both being views of one root.
pub(super) fn offset_in(look: &Tensor, operand: &Tensor) -> Option<usize> {
    look.view?.offset.checked_sub(operand.view.map_or(0, |view| view.offset))
}

/// The conditions of every look: the operand's type, and its blocks.
pub(super) fn looks_at(look: &Tensor, operand: &Tensor) -> Result<usize, Broken> {
    ensure(look.dtype == operand.dtype, Broken::one(0, "the type of what is looked at"))?;
    offset_in(look, operand).ok_or(Broken::one(0, "a view that starts inside it"))
}
