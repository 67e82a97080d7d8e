//! The ops, one file per family: what a step of a plan computes, on pointers, for one thread of a team.
//!
//! Checking that a step makes sense, and that its pointers may be used, is [`crate::check`]'s and
//! [`crate::plan`]'s business; ops rely on it.

// The plan checks that addresses and strides keep every element aligned.
#![allow(clippy::cast_ptr_alignment)]
// All kernels of the table have one form, though few can fail.
#![allow(clippy::unnecessary_wraps)]

mod add_id;
mod argsort;
mod attention_tile;
#[cfg(test)]
mod battery;
mod binary;
mod concat;
mod copy;
mod delta_net;
mod flash_attn;
mod glu;
mod linear_attn;
mod mul_mat;
mod mul_mat_id;
mod norm;
mod rope;
mod rows;
mod scale;
mod soft_max;
mod ssm;
mod sum_rows;
mod unary;

use quipu_backend::check::Reason;
use quipu_graph::{DType, MAX_SRC, Op, Tensor};

use crate::isa::Isa;
use crate::pool::Team;

/// How this backend computes an op.
#[derive(Debug)]
pub(crate) struct OpKernel {
    /// Whether it takes a result (first) and operands of these types. That they are what the op's rule says, is known.
    pub takes: fn(&Tensor, &[&Tensor]) -> Result<(), Reason>,
    /// Bytes of scratch that a step needs with so many threads; `None` on overflow.
    pub scratch_bytes: fn(&Step, usize) -> Option<usize>,
    /// Builds what is computed once per process, so that no run has to.
    pub warm_up: fn(Op),
    /// Does one thread's part of a step. Every thread returns the same error, or none does.
    ///
    /// # Safety
    /// See [`run`].
    pub run: Run,
}

type Run = unsafe fn(&Step, Context, Part, &Team<'_>) -> Result<(), BadRow>;

impl OpKernel {
    /// A kernel that takes all that the rule allows, and needs nothing besides its operands.
    const fn of(run: Run) -> OpKernel {
        OpKernel { takes: |_, _| Ok(()), scratch_bytes: |_, _| Some(0), warm_up: |_| {}, run }
    }
}

/// The kernel for an op.
pub(crate) fn kernel(op: Op) -> Option<&'static OpKernel> {
    Some(match op {
        Op::Add | Op::Sub | Op::Mul | Op::Div => &binary::KERNEL,
        Op::AddId => &add_id::KERNEL,
        Op::Scale { .. } => &scale::KERNEL,
        Op::MulMat => &mul_mat::KERNEL,
        Op::MulMatId => &mul_mat_id::KERNEL,
        Op::Norm { .. } => &norm::NORM,
        Op::RmsNorm { .. } => &norm::RMS_NORM,
        Op::Rope(_) => &rope::KERNEL,
        Op::SoftMax { .. } => &soft_max::KERNEL,
        Op::FlashAttn { .. } => &flash_attn::KERNEL,
        Op::GetRows => &rows::GET_ROWS,
        Op::SetRows => &rows::SET_ROWS,
        Op::Cpy | Op::Cont => &copy::KERNEL,
        Op::Unary(_) | Op::Sqr | Op::Sqrt | Op::Clamp { .. } | Op::LeakyRelu { .. } => &unary::KERNEL,
        Op::Glu { .. } => &glu::KERNEL,
        Op::SumRows => &sum_rows::KERNEL,
        Op::Concat { .. } => &concat::CONCAT,
        Op::Repeat { .. } => &concat::REPEAT,
        Op::Argsort(_) => &argsort::KERNEL,
        Op::L2Norm { .. } => &norm::L2_NORM,
        Op::SsmConv => &ssm::CONV,
        Op::SsmScan => &ssm::SCAN,
        Op::RwkvWkv6 | Op::RwkvWkv7 | Op::GatedLinearAttn { .. } => &linear_attn::KERNEL,
        Op::GatedDeltaNet { .. } => &delta_net::KERNEL,
        Op::None | Op::Reshape | Op::View | Op::Permute | Op::Transpose => return None,
    })
}

/// What the kernels are tried with: see [`battery`].
#[cfg(test)]
const CASES: &[fn(&mut battery::Battery)] = &[
    add_id::cases,
    argsort::cases,
    binary::cases,
    concat::cases,
    copy::cases,
    delta_net::cases,
    flash_attn::cases,
    glu::cases,
    linear_attn::cases,
    mul_mat::cases,
    mul_mat_id::cases,
    norm::cases,
    rope::cases,
    rows::cases,
    scale::cases,
    soft_max::cases,
    ssm::cases,
    sum_rows::cases,
    unary::cases,
];

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

impl Step {
    /// Operand `i` of an op that can do without it.
    pub fn optional(&self, i: usize) -> Option<&Operand> {
        self.src.get(i).filter(|operand| !operand.ptr.is_null())
    }
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
    kernel(step.op).map_or(Some(0), |kernel| (kernel.scratch_bytes)(step, n_threads))
}

/// Does one thread's part of a step. Every thread returns the same error, or none does.
///
/// # Safety
/// `step` was planned: shapes, types and alignments are as [`crate::check`] demands, every operand lies
/// inside a live buffer, `dst` is writable, overlaps no operand it may not overlap, and nobody outside
/// the team touches it. `context.scratch` has [`scratch_bytes`] bytes for this team, aligned to 64.
pub(crate) unsafe fn run(step: &Step, context: Context, part: Part, team: &Team<'_>) -> Result<(), BadRow> {
    match kernel(step.op) {
        // SAFETY: the caller's promises are those of the kernels.
        Some(kernel) => unsafe { (kernel.run)(step, context, part, team) },
        None => Ok(()),
    }
}

/// Builds what is computed once per process, so that no run has to.
pub(crate) fn warm_up(op: Op) {
    if let Some(kernel) = kernel(op) {
        (kernel.warm_up)(op);
    }
}
