//! CPY and CONT: copies between layouts, and between f32 and f16.

use half::f16;
use quipu_backend::check::ensure;
use quipu_graph::DType;

use super::{BadRow, Context, OpKernel, Operand, Part, Step};
use crate::isa::Isa;
use crate::pool::Team;
use crate::quantize;

pub(super) static KERNEL: OpKernel = OpKernel {
    takes: |dst, src| ensure(copyable(src[0].dtype, dst.dtype), "a copy among f32 and f16, or of i32"),
    ..OpKernel::of(run)
};

fn copyable(from: DType, to: DType) -> bool {
    matches!((from, to), (DType::F32 | DType::F16, DType::F32 | DType::F16) | (DType::I32, DType::I32))
}

/// Copies `src[0]` into `dst`, element by element in the order of each one's indices
/// (`ggml_compute_forward_dup`).
unsafe fn run(step: &Step, context: Context, part: Part, _team: &Team<'_>) -> Result<(), BadRow> {
    let (dst, a) = (&step.dst, &step.src[0]);
    // SAFETY: the caller's promises.
    unsafe {
        if dst.ne == a.ne {
            for row in part.share(dst.n_rows()) {
                let at = dst.row_index(row);
                copy_row(context.isa, a, a.row(at), dst, dst.row(at));
            }
        } else {
            copy_reshaped(a, dst, part);
        }
    }
    Ok(())
}

fn row_is_dense(t: &Operand) -> bool {
    t.ne[0] == 1 || t.nb[0] == t.dtype.block_bytes()
}

unsafe fn copy_row(isa: Isa, a: &Operand, src: *const u8, dst: &Operand, out: *mut u8) {
    let n = dst.ne[0];
    if src == out.cast_const() && a.dtype == dst.dtype && a.nb[0] == dst.nb[0] {
        return;
    }
    // SAFETY: both rows hold `n` elements at their strides, and are apart.
    unsafe {
        if row_is_dense(a) && row_is_dense(dst) {
            match (a.dtype, dst.dtype) {
                (DType::F32, DType::F16) => quantize::f32_to_f16_row(
                    isa,
                    std::slice::from_raw_parts(src.cast::<f32>(), n),
                    std::slice::from_raw_parts_mut(out.cast::<f16>(), n),
                ),
                (DType::F16, DType::F32) => quantize::f16_to_f32_row(
                    isa,
                    std::slice::from_raw_parts(src.cast::<f16>(), n),
                    std::slice::from_raw_parts_mut(out.cast::<f32>(), n),
                ),
                _ => std::ptr::copy_nonoverlapping(src, out, n * dst.dtype.block_bytes()),
            }
        } else {
            for i in 0..n {
                copy_element(a.dtype, src.add(i * a.nb[0]), dst.dtype, out.add(i * dst.nb[0]));
            }
        }
    }
}

/// Copies between shapes with equal numbers of elements: the `i`-th element becomes the `i`-th element.
unsafe fn copy_reshaped(a: &Operand, dst: &Operand, part: Part) {
    let share = part.share(dst.n_elements());
    let (mut from, mut to) = (Walk::new(a, share.start), Walk::new(dst, share.start));
    for _ in share {
        // SAFETY: both walks stay inside their shapes for as many elements as the share has.
        unsafe { copy_element(a.dtype, a.ptr.add(from.offset()), dst.dtype, dst.ptr.add(to.offset())) };
        from.advance();
        to.advance();
    }
}

unsafe fn copy_element(from: DType, src: *const u8, to: DType, out: *mut u8) {
    // SAFETY: the caller promises an aligned element on either side.
    unsafe {
        match (from, to) {
            (DType::F32, DType::F16) => *out.cast::<f16>() = f16::from_f32(*src.cast::<f32>()),
            (DType::F16, DType::F32) => *out.cast::<f32>() = (*src.cast::<f16>()).to_f32(),
            (DType::F16, _) => *out.cast::<u16>() = *src.cast::<u16>(),
            _ => *out.cast::<u32>() = *src.cast::<u32>(),
        }
    }
}

/// The indices of one element after the other.
struct Walk<'a> {
    tensor: &'a Operand,
    at: [usize; 4],
}

impl<'a> Walk<'a> {
    fn new(tensor: &'a Operand, mut element: usize) -> Walk<'a> {
        let mut at = [0; 4];
        for (at, ne) in at.iter_mut().zip(tensor.ne) {
            *at = element % ne.max(1);
            element /= ne.max(1);
        }
        Walk { tensor, at }
    }

    fn offset(&self) -> usize {
        self.at.iter().zip(self.tensor.nb).map(|(at, nb)| at * nb).sum()
    }

    fn advance(&mut self) {
        for (at, ne) in self.at.iter_mut().zip(self.tensor.ne) {
            *at += 1;
            if *at < ne {
                return;
            }
            *at = 0;
        }
    }
}
