//! The ops, one file per family: what a step of a plan computes, on pointers, for one thread of a team.
//!
//! Checking that a step makes sense, and that its pointers may be used, is [`crate::check`]'s and
//! [`crate::plan`]'s business; ops rely on it.

// The plan checks that addresses and strides keep every element aligned.
#![allow(clippy::cast_ptr_alignment)]

mod activation;
mod attention_tile;
mod copy;
mod elementwise;
mod flash_attn;
mod mul_mat;
mod norm;
mod rope;
mod rows;
mod soft_max;

use quipu_backend::MAX_SRC;
use quipu_graph::{DType, Op, UnaryOp};

use crate::isa::Isa;
use crate::pool::Team;

/// A tensor as kernels see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operand {
    /// First byte.
    pub ptr: *mut u8,
    pub dtype: DType,
    pub ne: [usize; 4],
    pub nb: [usize; 4],
}

impl Operand {
    /// No tensor.
    pub const NONE: Operand =
        Operand { ptr: std::ptr::null_mut(), dtype: DType::F32, ne: [0; 4], nb: [0; 4] };

    pub fn n_rows(&self) -> usize {
        self.ne[1] * self.ne[2] * self.ne[3]
    }

    pub fn n_elements(&self) -> usize {
        self.ne[0] * self.n_rows()
    }

    /// Outer indices of row `row`, counted with the second dimension fastest.
    pub fn row_index(&self, row: usize) -> [usize; 3] {
        [row % self.ne[1], row / self.ne[1] % self.ne[2], row / self.ne[1] / self.ne[2]]
    }

    /// Start of the row with these outer indices.
    ///
    /// # Safety
    /// The indices are inside the shape.
    pub unsafe fn row(&self, [i1, i2, i3]: [usize; 3]) -> *mut u8 {
        // SAFETY: the plan checked that the whole extent of the shape lies in one buffer.
        unsafe { self.ptr.add(i1 * self.nb[1] + i2 * self.nb[2] + i3 * self.nb[3]) }
    }
}

/// One op to compute, all pointers resolved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub op: Op,
    pub dst: Operand,
    /// Operands in the op's order; [`Operand::NONE`] behind the last.
    pub src: [Operand; MAX_SRC],
    /// `RMS_NORM` followed by `MUL` with `src[1]`, in one step.
    pub fused_mul: bool,
    /// So small that thread 0 does it alone: a barrier costs more than the help.
    pub solo: bool,
    /// The team meets behind it: what comes next is not done by the same thread alone.
    pub meet: bool,
}

// SAFETY: the pointers are followed during runs only, which borrow the buffers that they lie in; which thread touches
// which bytes is the ops' business.
unsafe impl Send for Step {}
// SAFETY: as above.
unsafe impl Sync for Step {}

/// Which part of a step a thread does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub ith: usize,
    pub nth: usize,
}

impl Part {
    /// This part's contiguous share of `0..n`.
    pub fn share(self, n: usize) -> std::ops::Range<usize> {
        let per = n.div_ceil(self.nth);
        (per * self.ith).min(n)..(per * (self.ith + 1)).min(n)
    }
}

/// What a step needs besides its operands.
#[derive(Clone, Copy)]
pub(crate) struct Context {
    pub isa: Isa,
    /// Scratch shared by the team; each op lays it out for itself.
    pub scratch: *mut u8,
}

// SAFETY: the scratch belongs to the run; which thread touches which bytes is the ops' business.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

/// An index outside its table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BadRow {
    pub row: i64,
    pub n_rows: usize,
}

/// Bytes of scratch a step needs with `n_threads`; `None` on overflow.
pub(crate) fn scratch_bytes(step: &Step, n_threads: usize) -> Option<usize> {
    match step.op {
        Op::MulMat => mul_mat::scratch_bytes(step),
        Op::Rope(params) => rope::scratch_bytes(params.n_dims, n_threads),
        Op::FlashAttn { .. } => flash_attn::scratch_bytes(step, n_threads),
        _ => Some(0),
    }
}

/// Does one thread's part of a step. Every thread returns the same error, or none does.
///
/// # Safety
/// `step` was planned: shapes, types and alignments are as [`crate::check`] demands, every operand lies
/// inside a live buffer, `dst` is writable, overlaps no operand it may not overlap, and nobody outside
/// the team touches it. `context.scratch` has [`scratch_bytes`] bytes for this team, aligned to 64.
pub(crate) unsafe fn run(step: &Step, context: Context, part: Part, team: &Team<'_>) -> Result<(), BadRow> {
    // SAFETY: the caller's promises are those of the ops.
    unsafe {
        match step.op {
            Op::Add | Op::Mul => elementwise::binary(step, context.isa, part),
            Op::Scale { scale, bias } => elementwise::scale(step, context.isa, part, scale, bias),
            Op::MulMat => mul_mat::run(step, context, team),
            Op::Norm { eps } => norm::norm(step, context.isa, part, eps),
            Op::RmsNorm { eps } => norm::rms_norm(step, context.isa, part, eps),
            Op::Rope(params) => rope::run(step, context, part, params),
            Op::SoftMax { scale, max_bias } => soft_max::run(step, context.isa, part, scale, max_bias),
            Op::FlashAttn { scale, max_bias, logit_softcap } => {
                flash_attn::run(step, context, team, flash_attn::Params { scale, max_bias, logit_softcap });
            }
            Op::GetRows => return rows::get_rows(step, context.isa, part),
            Op::SetRows => return rows::set_rows(step, context.isa, part),
            Op::Cpy | Op::Cont => copy::run(step, context.isa, part),
            Op::Unary(op) => activation::unary(step, context.isa, part, op),
            Op::Glu(op) => activation::glu(step, context.isa, part, op),
            Op::None | Op::Reshape | Op::View | Op::Permute | Op::Transpose => {}
        }
    }
    Ok(())
}

/// Builds what is computed once per process, so that no run has to.
pub(crate) fn warm_up(op: Op) {
    if matches!(op, Op::Unary(UnaryOp::Gelu) | Op::Glu(quipu_graph::GluOp::Geglu)) {
        activation::gelu_table();
    }
}
