//! RWKV_WKV6, RWKV_WKV7 and GATED_LINEAR_ATTN: attention whose memory is one square state for each head.

use quipu_graph::Op;

#[cfg(test)]
use super::battery::{Battery, Case, Layout};
use super::{BadRow, Context, OpKernel, Part, Step};
use crate::pool::Team;
use crate::vec::lanes::fma;
use crate::vec::linear::dot;
use crate::vec::{Kernel, with_isa};

pub(super) static KERNEL: OpKernel = OpKernel::of(run);

/// Heads through the tokens of each sequence (`ggml_compute_forward_rwkv_wkv6`, `_rwkv_wkv7`, `_gla`).
unsafe fn run(step: &Step, context: Context, part: Part, _team: &Team<'_>) -> Result<(), BadRow> {
    let [size, n_head, n_tokens, _] = step.src[0].ne;
    let n_like = match step.op {
        Op::RwkvWkv6 => 5,
        Op::RwkvWkv7 => 6,
        _ => 4,
    };
    let state = &step.src[n_like];
    let (n_seqs, width, square) = (state.ne[1], size * n_head, size * size);
    let n_seq_tokens = n_tokens / n_seqs.max(1);
    let y = step.dst.ptr.cast::<f32>();
    for seq in 0..n_seqs {
        for head in part.share(n_head) {
            // SAFETY: all operands are contiguous, with a state of `size * size` for each head of each sequence; the new states lie
            // behind the rows of all tokens. Each thread has heads of its own.
            unsafe {
                let at = (seq * n_head + head) * square;
                let first = state.ptr.cast_const().cast::<f32>().add(at);
                let after = y.add(n_tokens * width + at);
                for t in 0..n_seq_tokens {
                    let row = (seq * n_seq_tokens + t) * width + head * size;
                    let of = |i: usize| step.src[i].ptr.cast_const().cast::<f32>().add(row);
                    let before = if t == 0 { first } else { after.cast_const() };
                    let token = Token { before, after, y: y.add(row), n: size };
                    match step.op {
                        Op::RwkvWkv6 => {
                            let bonus = step.src[3].ptr.cast_const().cast::<f32>().add(head * size);
                            let kernel = Wkv6 { token, k: of(0), v: of(1), r: of(2), bonus, decay: of(4) };
                            with_isa(context.isa, kernel);
                        }
                        Op::RwkvWkv7 => {
                            let (r, w, k, v, a, b) = (of(0), of(1), of(2), of(3), of(4), of(5));
                            with_isa(context.isa, Wkv7 { token, r, w, k, v, a, b });
                        }
                        Op::GatedLinearAttn { scale } => {
                            let kernel = Gated { token, k: of(0), v: of(1), q: of(2), gate: of(3), scale };
                            with_isa(context.isa, kernel);
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    Ok(())
}

/// One token of one head: `n * n` floats of state, `n` of each row. `after` may be `before`.
#[derive(Clone, Copy)]
struct Token {
    before: *const f32,
    after: *mut f32,
    y: *mut f32,
    n: usize,
}

struct Wkv6 {
    token: Token,
    k: *const f32,
    v: *const f32,
    r: *const f32,
    bonus: *const f32,
    decay: *const f32,
}

impl Kernel for Wkv6 {
    type Out = ();

    #[inline(always)]
    unsafe fn run<const FMA: bool>(self) {
        let Wkv6 { token: Token { before, after, y, n }, k, v, r, bonus, decay } = self;
        let mut i = 0;
        // SAFETY: all indices are below `n`, or `n * n` in states.
        unsafe {
            std::ptr::write_bytes(y, 0, n);
            while i < n {
                let (k, r, bonus, decay) = (*k.add(i), *r.add(i), *bonus.add(i), *decay.add(i));
                let (before, after) = (before.add(i * n), after.add(i * n));
                let mut j = 0;
                while j < n {
                    let (kv, old) = (*v.add(j) * k, *before.add(j));
                    *y.add(j) = fma::<FMA>(fma::<FMA>(kv, bonus, old), r, *y.add(j));
                    *after.add(j) = fma::<FMA>(old, decay, kv);
                    j += 1;
                }
                i += 1;
            }
        }
    }
}

struct Gated {
    token: Token,
    k: *const f32,
    v: *const f32,
    q: *const f32,
    gate: *const f32,
    scale: f32,
}

impl Kernel for Gated {
    type Out = ();

    #[inline(always)]
    unsafe fn run<const FMA: bool>(self) {
        let Gated { token: Token { before, after, y, n }, k, v, q, gate, scale } = self;
        let mut i = 0;
        // SAFETY: all indices are below `n`, or `n * n` in states.
        unsafe {
            std::ptr::write_bytes(y, 0, n);
            while i < n {
                let (k, q, gate) = (*k.add(i), *q.add(i) * scale, *gate.add(i));
                let (before, after) = (before.add(i * n), after.add(i * n));
                let mut j = 0;
                while j < n {
                    let new = fma::<FMA>(*before.add(j), gate, *v.add(j) * k);
                    *y.add(j) = fma::<FMA>(new, q, *y.add(j));
                    *after.add(j) = new;
                    j += 1;
                }
                i += 1;
            }
        }
    }
}

struct Wkv7 {
    token: Token,
    r: *const f32,
    w: *const f32,
    k: *const f32,
    v: *const f32,
    a: *const f32,
    b: *const f32,
}

impl Kernel for Wkv7 {
    type Out = ();

    #[inline(always)]
    #[allow(clippy::many_single_char_names)] // the reference's names
    unsafe fn run<const FMA: bool>(self) {
        let Wkv7 { token: Token { before, after, y, n }, r, w, k, v, a, b } = self;
        let mut i = 0;
        // SAFETY: all indices are below `n`, or `n * n` in states.
        unsafe {
            while i < n {
                let (before, after) = (before.add(i * n), after.add(i * n));
                let value = *v.add(i);
                let correction = dot::<FMA>(a, before, n);
                let mut j = 0;
                while j < n {
                    let kept = fma::<FMA>(*before.add(j), *w.add(j), value * *k.add(j));
                    *after.add(j) = fma::<FMA>(correction, *b.add(j), kept);
                    j += 1;
                }
                *y.add(i) = dot::<FMA>(after, r, n);
                i += 1;
            }
        }
    }
}

#[cfg(test)]
pub(super) fn cases(battery: &mut Battery) {
    for (size, n_head, n_seq_tokens, n_seqs) in [(1, 1, 1, 1), (5, 3, 4, 2), (32, 2, 1, 3), (64, 3, 17, 1)] {
        for kind in ["wkv6", "wkv7", "gla"] {
            let n_like = match kind {
                "wkv6" => 5,
                "wkv7" => 6,
                _ => 4,
            };
            let mut case = Case::new(23);
            let (n_tokens, square) = (n_seq_tokens * n_seqs, size * size);
            let mut ids = Vec::new();
            let mut values = Vec::new();
            for i in 0..n_like {
                let bonus = kind == "wkv6" && i == 3;
                let ne = if bonus { [size, n_head, 1, 1] } else { [size, n_head, n_tokens, 1] };
                let (id, v) = case.values(ne, Layout::Dense, 0.9, false);
                ids.push(id);
                values.push(v);
            }
            let (state, mut states) = case.values([square * n_head, n_seqs, 1, 1], Layout::Dense, 1.0, false);
            let out = match kind {
                "wkv6" => case.graph.rwkv_wkv6([ids[0], ids[1], ids[2], ids[3], ids[4]], state),
                "wkv7" => case.graph.rwkv_wkv7([ids[0], ids[1], ids[2], ids[3], ids[4], ids[5]], state),
                _ => case.graph.gated_linear_attn([ids[0], ids[1], ids[2], ids[3]], state, 0.3),
            };
            let out = out.unwrap();
            let mut y = vec![0f64; size * n_head * n_tokens];
            let mut s: Vec<f64> = states.drain(..).map(f64::from).collect();
            for t in 0..n_tokens {
                for h in 0..n_head {
                    let row = (t * n_head + h) * size;
                    let of = |i: usize, j: usize| f64::from(values[i][row + j]);
                    let state = &mut s[(t / n_seq_tokens * n_head + h) * square..][..square];
                    for i in 0..size {
                        let correction: f64 = match kind {
                            "wkv7" => (0..size).map(|j| of(4, j) * state[i * size + j]).sum(),
                            _ => 0.0,
                        };
                        for j in 0..size {
                            let old = state[i * size + j];
                            match kind {
                                "wkv6" => {
                                    let kv = of(0, i) * of(1, j);
                                    let bonus = f64::from(values[3][h * size + i]);
                                    y[row + j] += (kv * bonus + old) * of(2, i);
                                    state[i * size + j] = old * of(4, i) + kv;
                                }
                                "wkv7" => {
                                    let kept = old * of(1, j) + of(3, i) * of(2, j);
                                    state[i * size + j] = kept + correction * of(5, j);
                                    y[row + i] += state[i * size + j] * of(0, j);
                                }
                                _ => {
                                    state[i * size + j] = old * of(3, i) + of(0, i) * of(1, j);
                                    y[row + j] += state[i * size + j] * of(2, i) * f64::from(0.3f32);
                                }
                            }
                        }
                    }
                }
            }
            y.extend(s);
            battery.close(&format!("{kind} {size} {n_head} {n_tokens}"), &mut case, out, &y, 1e-10);
        }
    }
}
