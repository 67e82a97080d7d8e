//! Splitting a checked batch into ubatches.

use crate::{CheckedBatch, SeqSet, Ubatch};

impl CheckedBatch {
    /// The next up to `n_ubatch` tokens in batch order; false if none is left (`split_simple`).
    pub fn split_simple(&mut self, n_ubatch: usize, out: &mut Ubatch) -> bool {
        let first = self.first_unused();
        let end = self.n_tokens().min(first.saturating_add(n_ubatch.max(1)));
        out.clear();
        for i in first..end {
            self.take(i, out);
        }
        self.finish(end - first, false, out)
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
        out.clear();
        if sequential && self.has_coupled {
            return false;
        }
        let mut sets = std::mem::take(&mut self.sets);
        self.disjoint_sets(n_ubatch, sequential, &mut sets);
        let (n_seqs, n_take) = self.equal_share(&sets, n_ubatch, n_keep_tail);
        for group in &sets[..n_seqs] {
            for _ in 0..n_take {
                self.take(self.groups.next(*group), out);
            }
        }
        self.sets = sets;
        self.finish(n_seqs, true, out)
    }

    /// Up to `n_ubatch` tokens whose sequence sets are nested in the first one's; false if none is left
    /// (`split_seq`).
    pub fn split_seq(&mut self, n_ubatch: usize, out: &mut Ubatch) -> bool {
        out.clear();
        let first = self.first_unused();
        if first < self.n_tokens() {
            let mut current = self.groups.set(first);
            for i in first..self.n_tokens() {
                let set = self.groups.set(i);
                if self.used[i] || current.intersection(&set) != set {
                    continue;
                }
                self.take(i, out);
                if out.n_tokens >= n_ubatch {
                    break;
                }
                current = set;
            }
        }
        self.finish(1, true, out)
    }

    /// First token that is in no ubatch yet, or the number of tokens.
    fn first_unused(&mut self) -> usize {
        while self.used.get(self.n_before).is_some_and(|used| *used) {
            self.n_before += 1;
        }
        self.n_before
    }

    /// Sequence sets of unused tokens that do not overlap, at most one more than `n_ubatch`.
    fn disjoint_sets(&mut self, n_ubatch: usize, sequential: bool, sets: &mut Vec<u32>) {
        sets.clear();
        let mut union = SeqSet::EMPTY;
        let mut last = -1;
        for i in self.first_unused()..self.n_tokens() {
            let (group, seq_id) = (self.groups.of_token(i), self.seq_id[i]);
            if self.used[i] || sequential && !sets.is_empty() && seq_id != last + 1 {
                continue;
            }
            let set = self.groups.set(i);
            if !union.intersection(&set).is_empty() {
                continue;
            }
            union = union.union(&set);
            sets.push(group);
            last = seq_id;
            if sets.len() > n_ubatch {
                break;
            }
        }
    }

    /// How many of the sets take part, and how many tokens each gives.
    fn equal_share(&self, sets: &[u32], n_ubatch: usize, n_keep_tail: usize) -> (usize, usize) {
        let Some(shortest) = sets.iter().map(|group| self.groups.left(*group)).min() else { return (0, 0) };
        let n_take = shortest.min((n_ubatch / sets.len()).max(1));
        if n_keep_tail == 0 {
            return (sets.len(), n_take);
        }
        debug_assert!(n_ubatch > n_keep_tail, "a tail of {n_keep_tail} in ubatches of {n_ubatch}");
        let keeps = |group: &&u32| {
            let remaining = self.groups.left(**group) - n_take;
            remaining == 0 || remaining >= n_keep_tail
        };
        let n_seqs = sets.iter().take_while(keeps).count();
        if n_seqs > 0 {
            return (n_seqs, n_take);
        }
        // Every set breaks the rule: the first goes alone, whole or cut before its tail.
        let left = self.groups.left(sets[0]);
        (1, if left <= n_ubatch { left } else { left.saturating_sub(n_keep_tail).max(1) })
    }

    /// Moves a token into `out`.
    fn take(&mut self, i: usize, out: &mut Ubatch) {
        self.used[i] = true;
        self.n_used += 1;
        self.groups.take(i);
        out.n_tokens += 1;
        out.idxs.push(i as u32);
        out.seq_id.push(self.seq_id[i]);
        out.seq_set.push(self.groups.set(i));
        out.outputs.push(self.outputs[i]);
        if self.outputs[i] {
            self.out_ids.push(i as u32);
        }
    }

    /// Works out what holds for all tokens of `out`; false if there are none (`ubatch_add`).
    fn finish(&self, n_seqs: usize, equal_seqs: bool, out: &mut Ubatch) -> bool {
        if out.n_tokens == 0 {
            return false;
        }
        (out.equal_seqs, out.n_seqs, out.n_seq_tokens) = (equal_seqs, n_seqs, out.n_tokens / n_seqs);
        (out.n_pos, out.from_embeddings) = (self.n_pos, self.from_embeddings);
        let n_tokens = self.n_tokens();
        for plane in 0..self.n_pos {
            // A token of text has the same position in every plane.
            let first = if self.pos.len() > n_tokens { plane * n_tokens } else { 0 };
            out.pos.extend(out.idxs.iter().map(|i| self.pos[first + *i as usize]));
        }
        let all = out.seq_set.iter().fold(SeqSet::EMPTY, |all, set| all.union(set));
        for seq_id in all.iter() {
            out.seq_idx[seq_id as usize] = out.seq_id_unq.len() as i32;
            out.seq_id_unq.push(seq_id);
        }
        true
    }
}
