//! `B n_seq_max n_pos output_all split n_ubatch n_keep_tail n_held (sequence first last)* batch`
//!
//! A batch is `n is_embd has_pos has_seq has_out`, then for each token its id, its positions, the number of its sequences and these, its
//! mark. The answer is `refused` and why, or `ok`, what was completed, the number of ubatches and of tokens in them, all there is to know of
//! the ubatches, and the tokens of the outputs.

use std::collections::HashMap;
use std::fmt::Write as _;

use quipu_batch::{
    Batch, BatchLimits, CheckedBatch, Error as BatchError, Pos, SeqId, SeqPositions, SeqSet, Ubatch,
};

use super::{Words, shown};
use crate::error::Error;
use crate::toy::N_VOCAB;

/// Width of a row in these cases.
pub(super) const N_EMBD: usize = 2;

/// A memory that only knows which positions it has.
#[derive(Debug, Default)]
struct Ranges(HashMap<SeqId, (Pos, Pos)>);

impl SeqPositions for Ranges {
    fn seq_pos_min(&self, seq_id: SeqId) -> Pos {
        self.0.get(&seq_id).map_or(-1, |range| range.0)
    }

    fn seq_pos_max(&self, seq_id: SeqId) -> Pos {
        self.0.get(&seq_id).map_or(-1, |range| range.1)
    }
}

pub(super) fn answer(words: &mut Words<'_>, out: &mut String) -> Result<(), Error> {
    let n_seq_max = words.count()?;
    let n_pos = words.count()?;
    let output_all = words.number()? != 0;
    let [split, n_ubatch, n_keep_tail, n_held] = words.numbers()?;
    let mut memory = Ranges::default();
    for _ in 0..n_held.max(0) {
        let [seq_id, first, last] = words.numbers()?;
        memory.0.insert(seq_id, (first, last));
    }
    let batch = read(words, n_pos)?;
    let limits = BatchLimits { n_vocab: N_VOCAB, n_embd: N_EMBD, n_seq_max, n_pos, output_all };
    let held: Option<&dyn SeqPositions> = if n_held < 0 { None } else { Some(&memory) };
    let mut checked = CheckedBatch::new();
    if let Err(error) = checked.init(&batch, &limits, held) {
        _ = write!(out, "refused {}", complaint(&error));
        return Ok(());
    }
    let mut all = checked.n_outputs().to_string();
    for i in 0..checked.n_tokens() {
        let (pos, mark) = (checked.pos()[i], i32::from(checked.outputs()[i]));
        _ = write!(all, " {pos}:{}:{mark}", set(checked.seq_id()[i], checked.seq_set(i)));
    }
    for s in 0..n_seq_max as SeqId {
        if checked.seq_pos_min(s) >= 0 {
            _ = write!(all, " s{s}:{}:{}", checked.seq_pos_min(s), checked.seq_pos_max(s));
        }
    }
    all.push('\n');
    _ = write!(out, "ok {}", shown(&all));
    all.clear();
    let (mut ubatch, mut n) = (Ubatch::new(), 0);
    let (n_ubatch, n_keep_tail) = (n_ubatch as usize, n_keep_tail as usize);
    let next = |checked: &mut CheckedBatch, ubatch: &mut Ubatch| match split {
        0 => checked.split_simple(n_ubatch, ubatch),
        3 => checked.split_seq(n_ubatch, ubatch),
        _ => checked.split_equal(n_ubatch, split == 2, n_keep_tail, ubatch),
    };
    while next(&mut checked, &mut ubatch) {
        put_ubatch(&mut all, &batch, &ubatch);
        n += 1;
    }
    _ = write!(out, " {n} {} {}", checked.n_used(), shown(&all));
    checked.out_ids().iter().for_each(|id| _ = write!(out, " {id}"));
    Ok(())
}

/// What is wrong, in the word that the probe uses.
pub(super) fn complaint(error: &BatchError) -> &'static str {
    match error {
        BatchError::InvalidToken { .. } => "token",
        BatchError::InvalidSeqId { .. } => "seq_id",
        BatchError::NotForward { .. } => "forward",
        BatchError::NotConsecutive { .. } => "consecutive",
        BatchError::NotContinuous { .. } => "continuous",
        BatchError::Diverged { .. } => "diverged",
        BatchError::DecreasingPositions { .. } => "decreasing",
        BatchError::TooManySequences(_) => "n_seq_max",
        _ => "unknown",
    }
}

pub(super) fn read(words: &mut Words<'_>, n_pos: usize) -> Result<Batch, Error> {
    let n = words.count()?;
    let [is_embd, has_pos, has_seq, has_out] = words.numbers()?.map(|flag: i32| flag != 0);
    let n_planes = if is_embd { n_pos } else { 1 };
    let mut batch = Batch::new();
    let mut planes = vec![Vec::new(); n_planes];
    for _ in 0..n {
        let token = words.number()?;
        if is_embd {
            batch.embd.extend([0.0; N_EMBD]);
            batch.n_embd = N_EMBD;
        } else {
            // Negative ids are beyond any vocabulary here.
            batch.tokens.push(token as u32);
        }
        for plane in planes.iter_mut().filter(|_| has_pos) {
            plane.push(words.number()?);
        }
        if has_seq {
            let ids = (0..words.count()?).map(|_| words.number()).collect::<Result<Vec<_>, _>>()?;
            batch.seq_ids.push(&ids);
        }
        if has_out {
            batch.outputs.push(words.number()? != 0);
        }
    }
    batch.pos = planes.concat();
    Ok(batch)
}

fn set(first: SeqId, set: SeqSet) -> String {
    set.iter().fold(first.to_string(), |mut out, s| {
        _ = write!(out, ",{s}");
        out
    })
}

pub(super) fn put_ubatch(out: &mut String, batch: &Batch, u: &Ubatch) {
    _ = write!(
        out,
        "u {} {} {} {} {} unq",
        i32::from(u.equal_seqs),
        u.n_tokens,
        u.n_seq_tokens,
        u.n_seqs,
        u.n_pos
    );
    u.seq_id_unq.iter().for_each(|s| _ = write!(out, " {s}"));
    out.push_str(" idx");
    for (s, index) in u.seq_idx.iter().enumerate().filter(|(_, index)| **index >= 0) {
        _ = write!(out, " {s}:{index}");
    }
    out.push_str(" tok");
    for i in 0..u.n_tokens {
        match batch.tokens.get(u.idxs[i] as usize) {
            Some(token) => _ = write!(out, " {token}"),
            None => out.push_str(" e"),
        }
        for plane in 0..u.n_pos {
            _ = write!(out, ":{}", u.pos[plane * u.n_tokens + i]);
        }
        _ = write!(out, ":{}:{}", set(u.seq_id[i], u.seq_set[i]), i32::from(u.outputs[i]));
    }
    out.push('\n');
}
