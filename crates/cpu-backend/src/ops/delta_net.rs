//! GATED_DELTA_NET: linear attention whose state learns what it answers wrongly.

use quipu_graph::Op;

#[cfg(test)]
use super::battery::{Battery, Case, Layout};
use super::{BadRow, Context, OpKernel, Part, Step};
use crate::pool::Team;
use crate::vec::linear::{add_scaled, dot, multiply, scale};
use crate::vec::{Kernel, with_isa};

/// Floats between two threads' scratch, so that they share no line.
const APART: usize = 16;

pub(super) static KERNEL: OpKernel = OpKernel { scratch_bytes, ..OpKernel::of(run) };

/// A row for each thread, and a state where several are to be given.
fn scratch_bytes(step: &Step, n_threads: usize) -> Option<usize> {
    per_thread(step)?.checked_mul(n_threads)?.checked_mul(size_of::<f32>())
}

fn per_thread(step: &Step) -> Option<usize> {
    let size = step.src[2].ne[0];
    size.checked_mul(size)?.checked_add(size)?.checked_next_multiple_of(APART)?.checked_add(APART)
}

/// Heads through the tokens of each sequence (`ggml_compute_forward_gated_delta_net`). States are kept transposed.
unsafe fn run(step: &Step, context: Context, part: Part, _team: &Team<'_>) -> Result<(), BadRow> {
    let Op::GatedDeltaNet { n_states } = step.op else { return Ok(()) };
    let [q, k, v, g, beta, state, ..] = &step.src;
    let [size, n_head, n_tokens, n_seqs] = v.ne;
    let (square, y) = (size * size, step.dst.ptr.cast::<f32>());
    let all_rows = size * n_head * n_tokens * n_seqs;
    for head_of_seq in part.share(n_head * n_seqs) {
        let (head, seq) = (head_of_seq % n_head, head_of_seq / n_head);
        // SAFETY: indices are inside the shapes, and each thread has heads, and scratch, of its own. The states lie behind the rows.
        unsafe {
            let scratch = context.scratch.cast::<f32>().add(part.ith * per_thread(step).unwrap_or(0));
            let slot = |i: usize| y.add(all_rows + ((i * n_seqs + seq) * n_head + head) * square);
            // With one state to give it is worked on in its place.
            let s = if n_states == 1 { slot(0) } else { scratch.add(size) };
            let first = state.ptr.cast_const().cast::<f32>().add(head_of_seq * square);
            std::ptr::copy_nonoverlapping(first, s, square);
            for t in 0..n_tokens {
                let like = |x: &super::Operand| {
                    let at = [head % x.ne[1], t, seq / (n_seqs / x.ne[3])];
                    x.row(at).cast_const().cast::<f32>()
                };
                let token = Token {
                    s,
                    q: like(q),
                    k: like(k),
                    v: v.row([head, t, seq]).cast_const().cast(),
                    g: g.row([head, t, seq]).cast_const().cast(),
                    one_decay: g.ne[0] == 1,
                    beta: *beta.row([head, t, seq]).cast_const().cast::<f32>(),
                    row: scratch,
                    y: y.add(((seq * n_tokens + t) * n_head + head) * size),
                    n: size,
                };
                with_isa(context.isa, token);
                let back = n_tokens - 1 - t;
                if n_states > 1 && back < n_states {
                    std::ptr::copy_nonoverlapping(s.cast_const(), slot(back), square);
                }
            }
            // There were no states before the first token's.
            for back in n_tokens..if n_states > 1 { n_states } else { 0 } {
                std::ptr::write_bytes(slot(back), 0, square);
            }
        }
    }
    Ok(())
}

/// One token of one head: `n * n` floats of state, `n` of each row, one or `n` of `g`.
struct Token {
    s: *mut f32,
    q: *const f32,
    k: *const f32,
    v: *const f32,
    g: *const f32,
    one_decay: bool,
    beta: f32,
    /// Scratch of `n` floats.
    row: *mut f32,
    y: *mut f32,
    n: usize,
}

impl Kernel for Token {
    type Out = ();

    #[inline(always)]
    unsafe fn run<const FMA: bool>(self) {
        let Token { s, q, k, v, g, one_decay, beta, row, y, n } = self;
        let by_size = 1.0 / (n as f32).sqrt();
        // SAFETY: all indices are below `n`, or `n * n` in the state.
        unsafe {
            if one_decay {
                scale(s, (*g).exp(), s, n * n);
            } else {
                let mut i = 0;
                while i < n {
                    *row.add(i) = (*g.add(i)).exp();
                    i += 1;
                }
                let mut j = 0;
                while j < n {
                    multiply(s.add(j * n), row, s.add(j * n), n);
                    j += 1;
                }
            }
            let mut j = 0;
            while j < n {
                let s = s.add(j * n);
                let wrong = (*v.add(j) - dot::<FMA>(s, k, n)) * beta;
                add_scaled::<FMA>(k, wrong, s, n);
                *y.add(j) = dot::<FMA>(s, q, n) * by_size;
                j += 1;
            }
        }
    }
}

#[cfg(test)]
pub(super) fn cases(battery: &mut Battery) {
    for (size, n_head, n_key_heads, n_tokens, n_seqs, n_states) in
        [(1, 1, 1, 1, 1, 1), (5, 4, 2, 3, 2, 1), (32, 3, 3, 5, 1, 3), (48, 2, 1, 9, 2, 1), (8, 2, 2, 2, 1, 4)]
    {
        for one_decay in [true, false] {
            let mut case = Case::new(24);
            let square = size * size;
            let keys = [size, n_key_heads, n_tokens, n_seqs];
            let (q, vq) = case.values(keys, Layout::Gaps, 0.7, false);
            let (k, vk) = case.values(keys, Layout::Permuted, 0.4, false);
            let (v, vv) = case.values([size, n_head, n_tokens, n_seqs], Layout::Gaps, 1.0, false);
            let n_decays = if one_decay { 1 } else { size };
            let (g, vg) = case.values([n_decays, n_head, n_tokens, n_seqs], Layout::Dense, 0.5, false);
            let (beta, vb) = case.values([1, n_head, n_tokens, n_seqs], Layout::Dense, 1.0, false);
            let (state, vs) = case.values([size, size, n_head, n_seqs], Layout::Dense, 1.0, false);
            let out = case.graph.gated_delta_net([q, k, v, g, beta], state, n_states).unwrap();
            let mut expected = vec![0f64; size * n_head * (n_tokens * n_seqs + n_states * size * n_seqs)];
            let all_rows = size * n_head * n_tokens * n_seqs;
            for seq in 0..n_seqs {
                for head in 0..n_head {
                    let first = (seq * n_head + head) * square;
                    let mut s: Vec<f64> = vs[first..first + square].iter().map(|x| f64::from(*x)).collect();
                    for t in 0..n_tokens {
                        let key = ((seq * n_tokens + t) * n_key_heads + head % n_key_heads) * size;
                        let at = (seq * n_tokens + t) * n_head + head;
                        for (j, row) in s.chunks_mut(size).enumerate() {
                            for (i, x) in row.iter_mut().enumerate() {
                                *x *= f64::from(vg[at * n_decays + i % n_decays]).exp();
                            }
                            let answer: f64 = (0..size).map(|i| row[i] * f64::from(vk[key + i])).sum();
                            let wrong = (f64::from(vv[at * size + j]) - answer) * f64::from(vb[at]);
                            for (i, x) in row.iter_mut().enumerate() {
                                *x += wrong * f64::from(vk[key + i]);
                            }
                            let read: f64 = (0..size).map(|i| row[i] * f64::from(vq[key + i])).sum();
                            expected[at * size + j] = read / (size as f64).sqrt();
                        }
                        let back = n_tokens - 1 - t;
                        if back < n_states {
                            let slot = all_rows + ((back * n_seqs + seq) * n_head + head) * square;
                            expected[slot..slot + square].copy_from_slice(&s);
                        }
                    }
                }
            }
            battery.close(&format!("delta net {size} {n_head} {n_tokens}"), &mut case, out, &expected, 1e-10);
        }
    }
}
