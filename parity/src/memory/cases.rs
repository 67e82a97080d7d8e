//! Seeded cases. What one engine may refuse the other must refuse too; what the reference does not survive is left out: copies onto a
//! sequence that has the cells already, parts of streams, positions in images that are moved.

use std::fmt::Write as _;

use quipu_testing::SplitMix;

/// How the sequences of a batch's tokens are chosen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mix {
    /// All tokens of one sequence after those of another.
    Blocks,
    /// In turns.
    Turns,
    /// As it comes, also several for a token.
    Any,
}

fn below(random: &mut SplitMix, n: u64) -> i32 {
    random.below(n) as i32
}

fn one_in(random: &mut SplitMix, n: u64) -> bool {
    random.below(n) == 0
}

fn pick<T: Copy>(random: &mut SplitMix, from: &[T]) -> T {
    from[random.below(from.len() as u64) as usize]
}

pub(super) fn batch(random: &mut SplitMix) -> String {
    let n_pos = if one_in(random, 5) { 4 } else { 1 };
    let n_seq_max = pick(random, &[1, 2, 3, 4, 6, 70, 256]);
    let split = below(random, 4);
    let n_ubatch = pick(random, &[1, 2, 3, 4, 5, 8, 16, 64]);
    let tail = if split == 1 || split == 2 { below(random, 4).min(n_ubatch - 1) } else { 0 };
    let output_all = i32::from(one_in(random, 6));
    let mut out = format!("B {n_seq_max} {n_pos} {output_all} {split} {n_ubatch} {tail}");
    let n_used = n_seq_max.min(5);
    let mut next = [0; 5];
    let n_held = if one_in(random, 3) { -1 } else { below(random, n_used as u64 + 1) };
    _ = write!(out, " {n_held}");
    let together = one_in(random, 2).then(|| (below(random, 4), below(random, 12)));
    for s in 0..n_held.max(0) {
        let (first, len) = together.unwrap_or_else(|| (below(random, 4), below(random, 12)));
        _ = write!(out, " {s} {first} {}", first + len);
        next[s as usize] = first + len + 1;
    }
    put_batch(&mut out, random, n_pos, n_used, &mut next, 24, false);
    out
}

/// A batch of up to `n_most` tokens of the first `n_used` sequences, which go on at `next`, more or less.
///
/// With `once` no token names a sequence twice: the reference's cells count it twice then and forget it once.
fn put_batch(
    out: &mut String,
    random: &mut SplitMix,
    n_pos: i32,
    n_used: i32,
    next: &mut [i32],
    n_most: u64,
    once: bool,
) {
    let n = 1 + below(random, n_most);
    let is_embd = if n_pos > 1 { !one_in(random, 3) } else { one_in(random, 8) };
    // Where a token has several positions the reference does not fill them in.
    let has_pos = is_embd && n_pos > 1 || !one_in(random, 4);
    let has_seq = !one_in(random, 6);
    let has_out = one_in(random, 2);
    let flags = [is_embd, has_pos, has_seq, has_out].map(i32::from);
    _ = write!(out, " {n} {} {} {} {}", flags[0], flags[1], flags[2], flags[3]);
    let mix = pick(random, &[Mix::Blocks, Mix::Blocks, Mix::Turns, Mix::Any]);
    // A batch in so many is wrong somewhere.
    let wrong = one_in(random, 4);
    let shared = one_in(random, 4);
    for i in 0..n {
        let token =
            if wrong && one_in(random, 40) { pick(random, &[-1, 256, 1000]) } else { below(random, 256) };
        let mut first = match mix {
            Mix::Blocks => (i * n_used / n).min(n_used - 1),
            Mix::Turns => i % n_used,
            Mix::Any => below(random, n_used as u64),
        };
        if !has_seq {
            first = 0;
        }
        let mut ids = vec![first];
        if has_seq && shared {
            while ids.len() < 5 && one_in(random, 3) {
                let s = below(random, n_used as u64);
                if !once || !ids.contains(&s) {
                    ids.push(s);
                }
            }
        }
        if wrong && one_in(random, 60) {
            ids.push(pick(random, &[-1, 300]));
        }
        let pos = next.get(first as usize).copied().unwrap_or(0);
        let jump = if wrong && one_in(random, 20) { pick(random, &[-2, -1, 1, 2]) } else { 0 };
        let stay = n_pos > 1 && one_in(random, 2) || one_in(random, 30);
        let pos = (pos + jump).max(0);
        for s in &ids {
            if let Some(next) = usize::try_from(*s).ok().and_then(|s| next.get_mut(s)) {
                *next = pos + i32::from(!stay);
            }
        }
        _ = write!(out, " {token}");
        if has_pos {
            _ = write!(out, " {pos}");
            for _ in 1..if is_embd { n_pos } else { 1 } {
                _ = write!(out, " {}", pos + below(random, 3));
            }
        }
        if has_seq {
            _ = write!(out, " {}", ids.len());
            for s in &ids {
                _ = write!(out, " {s}");
            }
        }
        if has_out {
            _ = write!(out, " {}", below(random, 2));
        }
    }
}

pub(super) fn unified(random: &mut SplitMix) -> String {
    let n_pos = if one_in(random, 5) { 4 } else { 1 };
    let n_cells = 6 + below(random, 50);
    operations(random, &Shape { kind: 0, n_cells, unified: true, n_seq_max: 4, n_swa: 0, swa_type: 0, n_pos })
}

pub(super) fn streams(random: &mut SplitMix) -> String {
    let n_pos = if one_in(random, 8) { 4 } else { 1 };
    let (n_cells, n_seq_max) = (4 + below(random, 24), 1 + below(random, 4));
    operations(random, &Shape { kind: 0, n_cells, unified: false, n_seq_max, n_swa: 0, swa_type: 0, n_pos })
}

pub(super) fn windows(random: &mut SplitMix) -> String {
    let n_pos = if one_in(random, 8) { 4 } else { 1 };
    let (n_cells, n_swa) = (6 + below(random, 40), 1 + below(random, 12));
    let (unified, swa_type) = (!one_in(random, 3), 1 + below(random, 3));
    operations(random, &Shape { kind: 0, n_cells, unified, n_seq_max: 3, n_swa, swa_type, n_pos })
}

pub(super) fn pairs(random: &mut SplitMix) -> String {
    let (n_cells, n_swa) = (6 + below(random, 40), 1 + below(random, 12));
    let (unified, swa_type) = (!one_in(random, 3), 1 + below(random, 3));
    // Pairs of unequal size have at least 256 cells in the smaller cache.
    let (kind, n_cells) = if one_in(random, 6) { (1, 256 * (1 + below(random, 3))) } else { (2, n_cells) };
    operations(random, &Shape { kind, n_cells, unified, n_seq_max: 3, n_swa, swa_type, n_pos: 1 })
}

pub(super) fn states(random: &mut SplitMix) -> String {
    // The window's place holds the number of snapshots.
    let (n_seq_max, n_swa) = (1 + below(random, 5), if one_in(random, 3) { 1 + below(random, 2) } else { 0 });
    operations(random, &Shape { kind: 3, n_cells: 1, unified: true, n_seq_max, n_swa, swa_type: 0, n_pos: 1 })
}

pub(super) fn hybrids(random: &mut SplitMix) -> String {
    let (n_cells, n_seq_max, unified) = (6 + below(random, 50), 1 + below(random, 4), !one_in(random, 3));
    operations(random, &Shape { kind: 4, n_cells, unified, n_seq_max, n_swa: 0, swa_type: 0, n_pos: 1 })
}

pub(super) fn hybrid_pairs(random: &mut SplitMix) -> String {
    let (n_cells, n_swa, n_seq_max) = (6 + below(random, 40), 1 + below(random, 12), 1 + below(random, 3));
    let unified = !one_in(random, 3);
    operations(random, &Shape { kind: 5, n_cells, unified, n_seq_max, n_swa, swa_type: 1, n_pos: 1 })
}

struct Shape {
    kind: i32,
    n_cells: i32,
    unified: bool,
    n_seq_max: i32,
    n_swa: i32,
    swa_type: i32,
    n_pos: i32,
}

fn operations(random: &mut SplitMix, shape: &Shape) -> String {
    let Shape { kind, n_cells, unified, n_seq_max, n_swa, swa_type, n_pos } = *shape;
    let n_ubatch = 1 + below(random, 12);
    let one = i32::from(unified);
    let mut out = format!("M {kind} {n_cells} {one} {n_seq_max} {n_swa} {swa_type} {n_pos} {n_ubatch}");
    let n_most = if kind == 1 { 120 } else { 14 };
    let mut next = vec![0; n_seq_max as usize];
    let mut has_state = None;
    let seqs = n_seq_max as u64;
    let range = |random: &mut SplitMix| (below(random, 24) - 3, below(random, 30) - 5);
    for _ in 0..4 + random.below(22) {
        let s = below(random, seqs);
        match random.below(20) {
            0..=8 => {
                // Snapshots are those of one ubatch, which must be longer.
                let least = if kind == 3 && n_swa > 0 { n_swa + 2 } else { 1 };
                let n_ubatch = least + below(random, 12);
                _ = write!(out, " u b {n_ubatch}");
                put_batch(&mut out, random, n_pos, n_seq_max, &mut next, n_most, true);
            }
            9 | 10 => {
                let (p0, p1) = range(random);
                _ = write!(out, " r {s} {p0} {p1}");
            }
            11 => {
                _ = write!(out, " r {s} -1 -1");
                next[s as usize] = 0;
            }
            12 if one_in(random, 3) => {
                let (p0, p1) = range(random);
                // Of states, the reference then takes a sequence to be where it was, and stops.
                if kind < 3 || p0 > 0 || p1 >= 0 {
                    _ = write!(out, " r -1 {p0} {p1}");
                }
            }
            13 | 14 if seqs > 1 => {
                let dst = (s + 1 + below(random, seqs - 1)) % n_seq_max;
                // Between streams only everything is copied.
                let (p0, p1) = if unified { range(random) } else { (-1, -1) };
                _ = write!(out, " r {dst} -1 -1 c {s} {dst} {p0} {p1}");
                next[dst as usize] = next[s as usize];
            }
            15 if one_in(random, 2) => _ = write!(out, " k {s}"),
            16 if n_pos == 1 => {
                let ((p0, p1), delta) = (range(random), below(random, 21) - 12);
                _ = write!(out, " a {s} {p0} {p1} {delta}");
                next[s as usize] = (next[s as usize] + delta).max(0);
            }
            17 if n_pos == 1 => {
                let ((p0, p1), divisor) = (range(random), 1 + below(random, 4));
                _ = write!(out, " d {s} {p0} {p1} {divisor}");
            }
            18 => {
                // Of streams, the reference reads back no more than the last one; shared states that went back differently it cannot write.
                let s = if unified && !(kind == 3 && n_swa > 0) && one_in(random, 2) { -1 } else { s };
                _ = write!(out, " u s {s}");
                has_state = Some(s);
            }
            19 => {
                let Some(from) = has_state else { continue };
                let to = if from < 0 { -1 } else { s };
                _ = write!(out, " u l {to}");
            }
            12 if one_in(random, 4) => out.push_str(" x"),
            _ => {}
        }
    }
    out
}
