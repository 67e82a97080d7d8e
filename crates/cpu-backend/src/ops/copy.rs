//! CPY and CONT: copies between layouts, between f32 and f16, and of rows between f32 and the types they are stored in.

use half::f16;
use quipu_backend::check::ensure;
use quipu_graph::DType;

#[cfg(test)]
use super::battery::{Battery, Case, Layout, SHAPES, unravel};
use super::rows::{read_row, write_row};
use super::{BadRow, Context, OpKernel, Operand, Part, Step};
use crate::isa::Isa;
use crate::pool::Team;
use crate::quantize;

pub(super) static KERNEL: OpKernel = OpKernel {
    takes: |dst, src| {
        let by_row = dst.ne == src[0].ne && dst.has_contiguous_rows() && src[0].has_contiguous_rows();
        let copied = copyable(src[0].dtype, dst.dtype) || by_row && converted(src[0].dtype, dst.dtype);
        ensure(
            copied,
            "a copy among f32 and f16, of i32, or of rows between f32 and a type they are stored in",
        )
    },
    ..OpKernel::of(run)
};

fn copyable(from: DType, to: DType) -> bool {
    matches!((from, to), (DType::F32 | DType::F16, DType::F32 | DType::F16) | (DType::I32, DType::I32))
}

/// Whether rows of one type become rows of the other as a whole.
fn converted(from: DType, to: DType) -> bool {
    let stored = |dtype: DType| dtype.is_computed() && dtype.is_storable();
    from == DType::F32 && stored(to) || stored(from) && to == DType::F32
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
        if !copyable(a.dtype, dst.dtype) {
            if dst.dtype == DType::F32 {
                read_row(isa, a.dtype, src, std::slice::from_raw_parts_mut(out.cast::<f32>(), n));
            } else {
                write_row(isa, dst.dtype, std::slice::from_raw_parts(src.cast::<f32>(), n), out);
            }
        } else if row_is_dense(a) && row_is_dense(dst) {
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

#[cfg(test)]
pub(super) fn cases(battery: &mut Battery) {
    for ne in SHAPES {
        for layout in Layout::ALL {
            let mut case = Case::new(21);
            let (a, values) = case.values(ne, layout, 1.0, true);
            let out = case.graph.cont(a).unwrap();
            battery.equal(&format!("cont {ne:?}"), &mut case, out, &values);

            let mut case = Case::new(22);
            let (a, values) = case.values(ne, layout, 1.0, true);
            let turned = case.graph.transpose(a);
            let out = case.graph.cont(turned).unwrap();
            let to = case.graph[out].ne;
            let expected: Vec<f32> = (0..values.len())
                .map(|i| unravel(i, to))
                .map(|[i0, i1, i2, i3]| values[((i3 * ne[2] + i2) * ne[1] + i0) * ne[0] + i1])
                .collect();
            battery.equal(&format!("cont of a transposed {ne:?}"), &mut case, out, &expected);

            // Into a strided target, of the same and of another shape.
            for reshaped in [false, true] {
                let mut case = Case::new(23);
                let (a, values) = case.values(ne, layout, 1.0, true);
                let to = if reshaped { [ne[1], ne[0], ne[3], ne[2]] } else { ne };
                let (target, _) = case.values(to, Layout::Gaps, 1.0, false);
                let out = case.graph.cpy(a, target).unwrap();
                battery.equal(&format!("cpy {ne:?} to {to:?}"), &mut case, out, &values);
            }

            let mut case = Case::new(24);
            let (a, values) = case.values(ne, layout, 1.0, false);
            let target = case.leaf(DType::F16, ne, &vec![f16::ZERO; values.len()]);
            let out = case.graph.cpy(a, target).unwrap();
            let halves: Vec<f16> = values.iter().map(|x| f16::from_f32(*x)).collect();
            battery.bytes(&format!("cpy {ne:?} to f16"), &mut case, out, &halves);

            let mut case = Case::new(25);
            let a = case.leaf(DType::F16, ne, &halves);
            let target = case.f32(ne, layout, &vec![0.0; values.len()]);
            let out = case.graph.cpy(a, target).unwrap();
            let expected: Vec<f32> = halves.iter().map(|x| x.to_f32()).collect();
            battery.equal(&format!("cpy of f16 {ne:?}"), &mut case, out, &expected);
        }
    }
}
