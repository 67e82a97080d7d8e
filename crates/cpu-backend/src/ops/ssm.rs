//! SSM_CONV and SSM_SCAN: the two halves of a state space model's layer.

#[cfg(test)]
use super::battery::{Battery, Case, Layout};
use super::{BadRow, Context, OpKernel, Part, Step};
use crate::pool::Team;
use crate::vec::lanes::{Lanes, N, fma};
use crate::vec::{Kernel, with_isa};

pub(super) static CONV: OpKernel = OpKernel::of(conv);
pub(super) static SCAN: OpKernel = OpKernel::of(scan);

/// Each channel's kernel along its columns (`ggml_compute_forward_ssm_conv`).
unsafe fn conv(step: &Step, _context: Context, part: Part, _team: &Team<'_>) -> Result<(), BadRow> {
    let (dst, x, kernel) = (&step.dst, &step.src[0], &step.src[1]);
    let [n_channel, n_tokens, n_seqs, _] = dst.ne;
    let channels = part.share(n_channel);
    for s in 0..n_seqs {
        for channel in channels.clone() {
            // SAFETY: indices are inside the shapes: a channel has `n_tokens + d_conv - 1` columns.
            unsafe {
                let x = x.row([channel, s, 0]).cast_const().cast::<f32>();
                let kernel = std::slice::from_raw_parts(
                    kernel.row([channel, 0, 0]).cast_const().cast::<f32>(),
                    kernel.ne[0],
                );
                for t in 0..n_tokens {
                    let mut sum = 0.0;
                    for (i, k) in kernel.iter().enumerate() {
                        sum += *x.add(t + i) * k;
                    }
                    *dst.row([t, s, 0]).cast::<f32>().add(channel) = sum;
                }
            }
        }
    }
    Ok(())
}

/// States of heads through the tokens of each sequence (`ggml_compute_forward_ssm_scan`).
unsafe fn scan(step: &Step, context: Context, part: Part, _team: &Team<'_>) -> Result<(), BadRow> {
    let [s, x, dt, a, b, c, ids, ..] = &step.src;
    let [d_state, dim, n_head, n_rows] = s.ne;
    let [_, _, n_seq_tokens, n_seqs] = x.ne;
    // SAFETY: `ids` has a number for each sequence.
    let ids = unsafe { std::slice::from_raw_parts(ids.ptr.cast_const().cast::<i32>(), n_seqs) };
    for id in ids {
        if usize::try_from(*id).map_or(true, |id| id >= n_rows) {
            return Err(BadRow { row: i64::from(*id), n_rows });
        }
    }
    let heads_per_group = n_head / b.ne[1].max(1);
    let y = step.dst.ptr.cast::<f32>();
    for (seq, id) in ids.iter().enumerate() {
        for t in 0..n_seq_tokens {
            for head in part.share(n_head) {
                // SAFETY: indices are inside the shapes. The states of a sequence lie behind the results of all, and each thread has
                // heads of its own.
                unsafe {
                    let states = y.add(x.n_elements() + (seq * n_head + head) * dim * d_state);
                    let before = match t {
                        0 => s.row([0, head, *id as usize]).cast_const().cast::<f32>(),
                        _ => states.cast_const(),
                    };
                    let group = head / heads_per_group;
                    let token = ScanHead {
                        before,
                        after: states,
                        x: x.row([head, t, seq]).cast_const().cast(),
                        dt: *dt.row([t, seq, 0]).cast_const().cast::<f32>().add(head),
                        a: a.row([head, 0, 0]).cast_const().cast(),
                        one_decay: a.ne[0] == 1,
                        b: b.row([group, t, seq]).cast_const().cast(),
                        c: c.row([group, t, seq]).cast_const().cast(),
                        y: y.add(((seq * n_seq_tokens + t) * n_head + head) * dim),
                        d_state,
                        dim,
                    };
                    with_isa(context.isa, token);
                }
            }
        }
    }
    Ok(())
}

/// One token of one head. The pointers are to `dim * d_state` floats of states, `dim` of `x` and `y`, `d_state` of `b` and `c`, and one or
/// `d_state` of `a`; `after` may be `before`.
struct ScanHead {
    before: *const f32,
    after: *mut f32,
    x: *const f32,
    dt: f32,
    a: *const f32,
    /// All elements of a state decay alike (Mamba 2).
    one_decay: bool,
    b: *const f32,
    c: *const f32,
    y: *mut f32,
    d_state: usize,
    dim: usize,
}

impl Kernel for ScanHead {
    type Out = ();

    #[inline(always)]
    unsafe fn run<const FMA: bool>(self) {
        let ScanHead { before, after, x, a, b, c, y, d_state: n, dim, .. } = self;
        let dt = if self.dt > 20.0 { self.dt } else { (1.0 + self.dt.exp()).ln() };
        let whole = if self.one_decay { n / N * N } else { 0 };
        let mut i1 = 0;
        while i1 < dim {
            // SAFETY: the constructor's promises.
            unsafe {
                let (before, after) = (before.add(i1 * n), after.add(i1 * n));
                let x_dt = *x.add(i1) * dt;
                let mut i = 0;
                let mut sum = 0.0;
                if self.one_decay {
                    let decay = (dt * *a).exp();
                    let mut sums = Lanes::ZERO;
                    while i < whole {
                        let kept = Lanes::load(before.add(i)).mul(Lanes::splat(decay));
                        let state = kept.add(Lanes::load(b.add(i)).mul(Lanes::splat(x_dt)));
                        sums = state.fma::<FMA>(Lanes::load(c.add(i)), sums);
                        state.store(after.add(i));
                        i += N;
                    }
                    sum = sums.sum();
                    while i < n {
                        let state = *before.add(i) * decay + *b.add(i) * x_dt;
                        sum = fma::<FMA>(state, *c.add(i), sum);
                        *after.add(i) = state;
                        i += 1;
                    }
                } else {
                    while i < n {
                        let state = *before.add(i) * (dt * *a.add(i)).exp() + *b.add(i) * x_dt;
                        sum += state * *c.add(i);
                        *after.add(i) = state;
                        i += 1;
                    }
                }
                *y.add(i1) = sum;
            }
            i1 += 1;
        }
    }
}

#[cfg(test)]
pub(super) fn cases(battery: &mut Battery) {
    for (n_channel, n_tokens, n_seqs, d_conv) in [(1, 1, 1, 1), (7, 5, 2, 4), (70, 1, 3, 3), (33, 300, 1, 4)]
    {
        for layout in [Layout::Dense, Layout::Gaps] {
            let mut case = Case::new(21);
            let n = n_tokens + d_conv - 1;
            let (x, vx) = case.values([n, n_channel, n_seqs, 1], layout, 1.0, false);
            let (kernel, vk) = case.values([d_conv, n_channel, 1, 1], layout, 1.0, false);
            let out = case.graph.ssm_conv(x, kernel).unwrap();
            let mut expected = Vec::new();
            for s in 0..n_seqs {
                for t in 0..n_tokens {
                    for c in 0..n_channel {
                        let at = |i: usize| {
                            f64::from(vx[(s * n_channel + c) * n + t + i]) * f64::from(vk[c * d_conv + i])
                        };
                        expected.push((0..d_conv).map(at).sum());
                    }
                }
            }
            battery.close(
                &format!("ssm_conv {n_channel} {n_tokens} {n_seqs}"),
                &mut case,
                out,
                &expected,
                1e-12,
            );
        }
    }
    for (d_state, dim, n_head, n_group, n_seq_tokens, n_seqs, one_decay) in [
        (1, 1, 1, 1, 1, 1, true),
        (16, 1, 40, 1, 5, 2, false),
        (5, 3, 4, 2, 7, 3, false),
        (16, 4, 6, 3, 9, 2, true),
        (37, 8, 4, 1, 33, 1, true),
    ] {
        let mut case = Case::new(22);
        let n_rows = n_seqs + 2;
        let (s, vs) = case.values([d_state, dim, n_head, n_rows], Layout::Dense, 1.0, false);
        let (x, vx) = case.values([dim, n_head, n_seq_tokens, n_seqs], Layout::Dense, 1.0, false);
        let (dt, vdt) = case.values([n_head, n_seq_tokens, n_seqs, 1], Layout::Dense, 25.0, false);
        let n_decays = if one_decay { 1 } else { d_state };
        let decays: Vec<f32> = (0..n_decays * n_head).map(|_| -0.5 - 0.4 * case.noise()).collect();
        let a = case.f32([n_decays, n_head, 1, 1], Layout::Dense, &decays);
        let (b, vb) = case.values([d_state, n_group, n_seq_tokens, n_seqs], Layout::Dense, 1.0, false);
        let (c, vc) = case.values([d_state, n_group, n_seq_tokens, n_seqs], Layout::Dense, 1.0, false);
        let rows: Vec<i32> = (0..n_seqs).map(|s| (n_rows - 1 - s) as i32).collect();
        let ids = case.leaf(quipu_graph::DType::I32, [n_seqs, 1, 1, 1], &rows);
        let out = case.graph.ssm_scan(&quipu_graph::SsmScan { s, x, dt, a, b, c, ids }).unwrap();
        let mut ys = Vec::new();
        let mut states: Vec<Vec<f64>> = Vec::new();
        let per_seq = d_state * dim * n_head;
        for (seq, row) in rows.iter().enumerate() {
            let first = *row as usize * per_seq;
            let mut state: Vec<f64> = vs[first..first + per_seq].iter().map(|x| f64::from(*x)).collect();
            for t in 0..n_seq_tokens {
                for h in 0..n_head {
                    // The reference's softplus, which loses small steps.
                    let dt = vdt[(seq * n_seq_tokens + t) * n_head + h];
                    let step = f64::from(if dt > 20.0 { dt } else { (1.0 + dt.exp()).ln() });
                    let group = ((seq * n_seq_tokens + t) * n_group + h / (n_head / n_group)) * d_state;
                    for d in 0..dim {
                        let x = f64::from(vx[((seq * n_seq_tokens + t) * n_head + h) * dim + d]);
                        let mut y = 0.0;
                        for i in 0..d_state {
                            let decay = f64::from(decays[h * n_decays + i % n_decays]);
                            let at = (h * dim + d) * d_state + i;
                            state[at] =
                                state[at] * (step * decay).exp() + f64::from(vb[group + i]) * x * step;
                            y += state[at] * f64::from(vc[group + i]);
                        }
                        ys.push(y);
                    }
                }
            }
            states.push(state);
        }
        ys.extend(states.into_iter().flatten());
        battery.close(&format!("ssm_scan {d_state} {dim} {n_head}"), &mut case, out, &ys, 1e-11);
    }
}
