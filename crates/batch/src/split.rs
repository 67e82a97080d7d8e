//! Splitting a checked batch into ubatches.

use crate::{CheckedBatch, SeqSet, Ubatch};

impl CheckedBatch {
    /// The next up to `n_ubatch` tokens in batch order; false if none is left (`split_simple`).
    pub fn split_simple(&mut self, n_ubatch: usize, out: &mut Ubatch) -> bool {
        let first = self.first_unused();
        let end = self.n_tokens().min(first.saturating_add(n_ubatch.max(1)));
        let mut idxs = std::mem::take(&mut self.idxs);
        idxs.clear();
        idxs.extend(first as u32..end as u32);
        self.take(&idxs);
        let any = self.emit(&idxs, idxs.len(), false, out);
        self.idxs = idxs;
        any
    }

    /// The same number of tokens from each of several sequence sets that share no sequence; false if none is
    /// left, or if `sequential` (sequence numbers must follow each other) meets coupled sequences
    /// (`split_equal`).
    ///
    /// With `n_keep_tail > 0` the last `n_keep_tail` tokens of a sequence are never spread over ubatches;
    /// `n_ubatch` must be larger.
    pub fn split_equal(
        &mut self,
        n_ubatch: usize,
        sequential: bool,
        n_keep_tail: usize,
        out: &mut Ubatch,
    ) -> bool {
        if sequential && self.has_coupled {
            out.clear();
            return false;
        }
        let sets = self.disjoint_sets(n_ubatch, sequential);
        if sets.is_empty() {
            out.clear();
            return false;
        }
        // Unused tokens of each set, and how many of them this ubatch takes.
        let pending: Vec<Vec<u32>> = sets.iter().map(|set| self.unused_of(set)).collect();
        let shortest = pending.iter().map(Vec::len).min().unwrap_or(0);
        let fitting = (n_ubatch / sets.len()).max(1);
        let mut n_take = shortest.min(fitting);
        let mut n_seqs = sets.len();
        if n_keep_tail > 0 {
            debug_assert!(n_ubatch > n_keep_tail, "a tail of {n_keep_tail} in ubatches of {n_ubatch}");
            let keeps = |tokens: &&Vec<u32>| {
                let remaining = tokens.len() - n_take;
                remaining == 0 || remaining >= n_keep_tail
            };
            n_seqs = pending.iter().take_while(keeps).count();
            if n_seqs == 0 {
                // Every set breaks the rule: the first goes alone, whole or cut before its tail.
                let n_first = pending[0].len();
                n_take =
                    if n_first <= n_ubatch { n_first } else { n_first.saturating_sub(n_keep_tail).max(1) };
                n_seqs = 1;
            }
        }
        let idxs: Vec<u32> =
            pending[..n_seqs].iter().flat_map(|tokens| tokens[..n_take].iter().copied()).collect();
        self.take(&idxs);
        self.emit(&idxs, n_seqs, true, out)
    }

    /// Up to `n_ubatch` tokens whose sequence sets are nested in the first one's; false if none is left
    /// (`split_seq`).
    pub fn split_seq(&mut self, n_ubatch: usize, out: &mut Ubatch) -> bool {
        let first = self.first_unused();
        let mut idxs = Vec::new();
        if let Some(mut current) = self.seq_set.get(first).copied() {
            for i in first..self.n_tokens() {
                let nested = current.intersection(&self.seq_set[i]) == self.seq_set[i];
                if self.used[i] || !nested {
                    continue;
                }
                idxs.push(i as u32);
                if idxs.len() >= n_ubatch {
                    break;
                }
                current = self.seq_set[i];
            }
        }
        self.take(&idxs);
        self.emit(&idxs, 1, true, out)
    }

    /// First token that is in no ubatch yet, or the number of tokens.
    fn first_unused(&self) -> usize {
        self.used.iter().position(|used| !used).unwrap_or(self.used.len())
    }

    fn unused_of(&self, set: &SeqSet) -> Vec<u32> {
        let of_set = |i: &usize| !self.used[*i] && self.seq_set[*i] == *set;
        (0..self.n_tokens()).filter(of_set).map(|i| i as u32).collect()
    }

    /// Sequence sets of unused tokens that do not overlap, at most one more than `n_ubatch`.
    fn disjoint_sets(&self, n_ubatch: usize, sequential: bool) -> Vec<SeqSet> {
        let mut sets: Vec<SeqSet> = Vec::new();
        let mut last = -1;
        for i in (0..self.n_tokens()).filter(|i| !self.used[*i]) {
            let overlaps = sets.iter().any(|set| !set.intersection(&self.seq_set[i]).is_empty());
            let seq_id = self.seq_ids[i][0];
            let follows = !sequential || sets.is_empty() || seq_id == last + 1;
            if overlaps || !follows {
                continue;
            }
            sets.push(self.seq_set[i]);
            last = seq_id;
            if sets.len() > n_ubatch {
                break;
            }
        }
        sets
    }

    fn take(&mut self, idxs: &[u32]) {
        for i in idxs {
            self.used[*i as usize] = true;
        }
        self.n_used += idxs.len();
    }

    /// Copies the tokens at `idxs` into `out`; false if there are none (`ubatch_add`).
    fn emit(&mut self, idxs: &[u32], n_seqs: usize, equal_seqs: bool, out: &mut Ubatch) -> bool {
        out.clear();
        if idxs.is_empty() {
            return false;
        }
        out.equal_seqs = equal_seqs;
        out.n_tokens = idxs.len();
        out.n_seqs = n_seqs;
        out.n_seq_tokens = idxs.len() / n_seqs;
        let mut all = SeqSet::EMPTY;
        for index in idxs {
            let i = *index as usize;
            out.tokens.extend(self.tokens.get(i));
            out.embd.extend(self.embd.iter().skip(i * self.n_embd).take(self.n_embd));
            out.pos.push(self.pos[i]);
            out.seq_ids.push(self.seq_ids[i].clone());
            out.seq_id.push(self.seq_ids[i][0]);
            out.seq_set.push(self.seq_set[i]);
            out.outputs.push(self.outputs[i]);
            self.seq_ids[i].iter().for_each(|s| all.insert(*s));
            if self.outputs[i] {
                self.out_ids.push(*index);
            }
        }
        for seq_id in all.iter() {
            out.seq_idx[seq_id as usize] = out.seq_id_unq.len() as i32;
            out.seq_id_unq.push(seq_id);
        }
        true
    }
}
