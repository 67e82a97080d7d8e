//! ROPE: rotary position embedding, with YaRN scaling and per-frequency factors.

use quipu_graph::{Op, RopeAngles, RopeMode, RopeParams};

#[cfg(test)]
use super::battery::{Battery, Case, Layout};
use super::{BadRow, Context, OpKernel, Operand, Part, Step};
use crate::isa::Isa;
use crate::pool::Team;
use crate::vec::{Kernel, lanes, with_isa};

pub(super) static KERNEL: OpKernel = OpKernel { scratch_bytes, ..OpKernel::of(run) };

/// Each thread keeps the cosines, then the sines, of one token's angles.
fn scratch_bytes(step: &Step, n_threads: usize) -> Option<usize> {
    let Op::Rope(params) = step.op else { return Some(0) };
    thread_floats(params.n_dims)?.checked_mul(4)?.checked_mul(n_threads)
}

fn thread_floats(n_dims: usize) -> Option<usize> {
    n_dims.checked_next_multiple_of(32)
}

/// Rotates each head of each token by its position (`ggml_compute_forward_rope_flt`).
unsafe fn run(step: &Step, context: Context, part: Part, _team: &Team<'_>) -> Result<(), BadRow> {
    let Op::Rope(params) = step.op else { return Ok(()) };
    let (dst, a, pos) = (&step.dst, &step.src[0], &step.src[1]);
    let half = params.n_dims / 2;
    let floats = thread_floats(params.n_dims).expect("checked when the plan sized the scratch");
    // SAFETY: the scratch holds `floats` floats for each thread.
    let (cos, sin) = unsafe {
        let base = context.scratch.cast::<f32>().add(floats * part.ith);
        (std::slice::from_raw_parts_mut(base, half), std::slice::from_raw_parts_mut(base.add(half), half))
    };
    // SAFETY: `factors` holds at least `half` aligned floats if it is there at all.
    let factors = step
        .optional(2)
        .map(|factors| unsafe { std::slice::from_raw_parts(factors.ptr.cast_const().cast::<f32>(), half) });
    let angles = params.angles();
    let mut token = None;
    for row in part.share(dst.n_rows()) {
        let at = dst.row_index(row);
        if token != Some(at[1]) {
            token = Some(at[1]);
            let position = |kind: usize| {
                // SAFETY: `pos` holds an i32 of each kind for each token.
                unsafe { *pos.ptr.cast::<i32>().add(kind * a.ne[2] + at[1]) }
            };
            let mut positions = [0; 4];
            for (kind, slot) in positions.iter_mut().enumerate().take(params.mode.n_pos()) {
                *slot = position(kind);
            }
            fill(&params, &angles, positions, factors, cos, sin);
        }
        // SAFETY: indices are inside the shapes, `n_dims <= ne[0]`.
        unsafe { rotate_row(context.isa, params.mode, a, dst, at, cos, sin) };
    }
    Ok(())
}

unsafe fn rotate_row(
    isa: Isa,
    mode: RopeMode,
    a: &Operand,
    dst: &Operand,
    at: [usize; 3],
    cos: &[f32],
    sin: &[f32],
) {
    let n_dims = 2 * cos.len();
    // SAFETY: the caller's promises; source and destination rows are the same or apart.
    unsafe {
        let (x, y) = (a.row(at).cast::<f32>(), dst.row(at).cast::<f32>());
        match mode {
            RopeMode::Norm => with_isa(isa, RotateNeighbours { x, y, cos, sin }),
            RopeMode::Neox | RopeMode::Sections { .. } => with_isa(isa, RotateHalves { x, y, cos, sin }),
        }
        if x != y {
            std::ptr::copy_nonoverlapping(x.add(n_dims), y.add(n_dims), dst.ne[0] - n_dims);
        }
    }
}

/// Rotates elements `2 i` and `2 i + 1`.
struct RotateNeighbours<'a> {
    x: *const f32,
    y: *mut f32,
    cos: &'a [f32],
    sin: &'a [f32],
}

impl Kernel for RotateNeighbours<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<const FMA: bool>(self) {
        for (i, (&cos, &sin)) in self.cos.iter().zip(self.sin).enumerate() {
            // SAFETY: the rows hold twice as many floats as there are angles.
            unsafe {
                let (x0, x1) = (*self.x.add(2 * i), *self.x.add(2 * i + 1));
                *self.y.add(2 * i) = lanes::fma::<FMA>(x0, cos, -(x1 * sin));
                *self.y.add(2 * i + 1) = lanes::fma::<FMA>(x0, sin, x1 * cos);
            }
        }
    }
}

/// Rotates elements `i` and `i + n_dims / 2`.
struct RotateHalves<'a> {
    x: *const f32,
    y: *mut f32,
    cos: &'a [f32],
    sin: &'a [f32],
}

impl Kernel for RotateHalves<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<const FMA: bool>(self) {
        let half = self.cos.len();
        for (i, (&cos, &sin)) in self.cos.iter().zip(self.sin).enumerate() {
            // SAFETY: the rows hold twice as many floats as there are angles.
            unsafe {
                let (x0, x1) = (*self.x.add(i), *self.x.add(i + half));
                *self.y.add(i) = lanes::fma::<FMA>(x0, cos, -(x1 * sin));
                *self.y.add(i + half) = lanes::fma::<FMA>(x0, sin, x1 * cos);
            }
        }
    }
}

/// Cosines and sines of one token. The angle is multiplied on from pair to pair in f32, as in the
/// reference: computing each from a power would differ in the last bits (`ggml_rope_cache_init`).
fn fill(
    params: &RopeParams,
    angles: &RopeAngles,
    positions: [i32; 4],
    factors: Option<&[f32]>,
    cos: &mut [f32],
    sin: &mut [f32],
) {
    let mut thetas = positions.map(|position| position as f32);
    for (i, (cos, sin)) in cos.iter_mut().zip(sin).enumerate() {
        let extrapolated = thetas[params.mode.position_of(i)] / factors.map_or(1.0, |f| f[i]);
        let interpolated = params.freq_scale * extrapolated;
        let angle = if params.ext_factor == 0.0 {
            interpolated
        } else {
            let along = (i as f32 - angles.ramp.0) / (angles.ramp.1 - angles.ramp.0).max(0.001);
            let mix = (1.0 - along.clamp(0.0, 1.0)) * params.ext_factor;
            interpolated * (1.0 - mix) + extrapolated * mix
        };
        let (s, c) = angle.sin_cos();
        *cos = c * angles.magnitude;
        *sin = s * angles.magnitude;
        for theta in &mut thetas {
            *theta *= angles.theta_scale;
        }
    }
}

#[cfg(test)]
pub(super) fn cases(battery: &mut Battery) {
    use quipu_graph::DType;
    let base = RopeParams {
        n_dims: 0,
        mode: RopeMode::Norm,
        n_ctx_orig: 4096,
        freq_base: 10000.0,
        freq_scale: 0.5,
        ext_factor: 0.0,
        attn_factor: 1.25,
        beta_fast: 32.0,
        beta_slow: 1.0,
    };
    for (ne, n_dims) in [([6, 3, 5, 1], 4), ([64, 3, 2, 2], 64), ([80, 12, 11, 1], 32), ([2, 1, 1, 1], 2)] {
        let half = n_dims as u32 / 2;
        let sections = [half / 2, half / 4, half.div_ceil(4), 0].map(|n| n.min(half));
        let sections = if half < 2 { [1, 0, 0, 0] } else { sections };
        let multi = |interleaved| RopeMode::Sections { sections, interleaved };
        for mode in [RopeMode::Norm, RopeMode::Neox, multi(false), multi(true)] {
            for layout in Layout::ALL {
                let with_factors = layout == Layout::Permuted;
                let params = RopeParams { n_dims, mode, ..base };
                let mut case = Case::new(16);
                let (a, values) = case.values(ne, layout, 1.0, layout != Layout::Dense);
                let n_pos = ne[2] * mode.n_pos();
                let positions: Vec<i32> = (0..n_pos as i32).map(|i| i * i % 97 * 3).collect();
                let pos = case.leaf(DType::I32, [n_pos, 1, 1, 1], &positions);
                let factors: Vec<f32> = (0..n_dims / 2).map(|i| 1.0 + i as f32 * 0.125).collect();
                let factors_id =
                    with_factors.then(|| case.f32([n_dims / 2, 1, 1, 1], Layout::Dense, &factors));
                let out = case.graph.rope(a, pos, factors_id, params).unwrap();
                let mut expected: Vec<f64> = values.iter().map(|x| f64::from(*x)).collect();
                for (row, y) in expected.chunks_mut(ne[0]).enumerate() {
                    for (i, factor) in factors.iter().enumerate() {
                        let kind = mode.position_of(i);
                        let position = f64::from(positions[kind * ne[2] + row / ne[1] % ne[2]]);
                        let theta =
                            position * f64::from(base.freq_base).powf(-2.0 * i as f64 / n_dims as f64);
                        let theta = if with_factors { theta / f64::from(*factor) } else { theta };
                        let (sin, cos) = (theta * 0.5).sin_cos();
                        let (p, q) = match mode {
                            RopeMode::Norm => (2 * i, 2 * i + 1),
                            RopeMode::Neox | RopeMode::Sections { .. } => (i, i + n_dims / 2),
                        };
                        let (x0, x1) = (y[p] * 1.25, y[q] * 1.25);
                        (y[p], y[q]) = (x0 * cos - x1 * sin, x0 * sin + x1 * cos);
                    }
                }
                battery.close(&format!("rope {ne:?} {mode:?}"), &mut case, out, &expected, 1e-9);
            }
        }
    }
}
