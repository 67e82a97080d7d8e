//! The candidate array: what the reference calls `llama_token_data_array`, plus the memory its sorts need.

use crate::{Error, TokenData, TokenId, sort};

/// Up to this many are selected by a heap, more by buckets.
const HEAP_SELECT_MAX: usize = 128;
const N_BUCKETS: usize = 128;
/// Logits looked at together while selecting the largest from a row.
const SCAN_BLOCK: usize = 32;
/// Buckets of equal width over the logits -10 to 10; what lies outside falls into the first or last.
const BUCKET_SCALE: f32 = N_BUCKETS as f32 / 20.0;
const BUCKET_OFFSET: f32 = 10.0 * BUCKET_SCALE;

/// The candidates that are still in the game.
///
/// Reloading with [`Candidates::load`] reuses all memory: from the second token on a vocabulary of the same size
/// allocates nothing.
#[derive(Debug, Clone, Default)]
pub struct Candidates {
    /// The candidates; samplers shorten and reorder them.
    pub data: Vec<TokenData>,
    /// Whether `data` is in descending order of logits. A sampler that breaks the order clears it.
    pub sorted: bool,
    /// Index into `data` of the chosen candidate.
    pub selected: Option<usize>,
    /// Result of [`Candidates::sort_copy`].
    copy: Vec<TokenData>,
    /// Bucket of each candidate, while sorting.
    bucket_of: Vec<u8>,
}

impl Candidates {
    /// No candidates.
    pub fn new() -> Self {
        Self::default()
    }

    /// One candidate per logit, ids counting from 0.
    pub fn from_logits(logits: &[f32]) -> Self {
        let mut c = Self::new();
        c.load(logits);
        c
    }

    /// Replaces the content by one candidate per logit, ids counting from 0, unsorted, nothing selected. Logits
    /// that the reference's ids (`i32`) cannot name are left out.
    pub fn load(&mut self, logits: &[f32]) {
        self.data.clear();
        self.data.extend((0..=i32::MAX as TokenId).zip(logits).map(|(id, &logit)| TokenData {
            id,
            logit,
            p: 0.0,
        }));
        self.sorted = false;
        self.selected = None;
    }

    /// Id of the selected candidate; `None` when nothing is selected or it was cut off later.
    pub fn selected_token(&self) -> Option<TokenId> {
        self.selected.and_then(|i| self.data.get(i)).map(|c| c.id)
    }

    /// Largest logit: the first when sorted. `-inf` when empty.
    pub(crate) fn max_logit(&self) -> f32 {
        let Some((first, rest)) = self.data.split_first() else {
            return f32::NEG_INFINITY;
        };
        let mut max = first.logit;
        if !self.sorted {
            for c in rest {
                if max < c.logit {
                    max = c.logit;
                }
            }
        }
        max
    }

    /// Fills `p` with the softmax of the logits, summed in `f32` in the present order; does not sort
    /// (`llama_sampler_softmax_impl`).
    pub(crate) fn softmax(&mut self) {
        let max_logit = self.max_logit();
        let mut sum = 0.0_f32;
        for c in &mut self.data {
            c.p = (c.logit - max_logit).exp();
            sum += c.p;
        }
        for c in &mut self.data {
            c.p /= sum;
        }
    }

    /// Sorts unless sorted, then [`Candidates::softmax`]; an empty array is the error of `sampler`.
    pub(crate) fn sorted_softmax(&mut self, sampler: &'static str) -> Result<(), Error> {
        if self.data.is_empty() {
            return Err(Error::EmptyCandidates { sampler });
        }
        if !self.sorted {
            self.keep_largest(self.data.len());
        }
        self.softmax();
        Ok(())
    }

    /// What [`Candidates::load`] and then `keep_largest(n)` would leave, without the candidates that do not
    /// survive ever being built. `n` above [`HEAP_SELECT_MAX`] takes the ordinary way.
    pub(crate) fn load_largest(&mut self, logits: &[f32], n: usize) {
        if n == 0 || n > HEAP_SELECT_MAX || n >= logits.len() || i32::try_from(logits.len()).is_err() {
            self.load(logits);
            self.keep_largest(n);
            return;
        }
        let (head, tail) = logits.split_at(n);
        self.load(head);
        let heap = self.data.as_mut_slice();
        sort::start_selection(heap);
        let mut root = heap[0].logit;
        for (block, chunk) in tail.chunks(SCAN_BLOCK).enumerate() {
            // Branch-free, so that it compiles to vector compares: nearly every block has nothing to offer.
            if chunk.iter().fold(0, |any, &logit| any | u32::from(logit > root)) == 0 {
                continue;
            }
            for (i, &logit) in chunk.iter().enumerate() {
                if logit > root {
                    let id = (n + block * SCAN_BLOCK + i) as TokenId;
                    sort::replace_root(heap, TokenData { id, logit, p: 0.0 });
                    root = heap[0].logit;
                }
            }
        }
        sort::finish_selection(heap);
        self.sorted = true;
    }

    /// Keeps the `n` largest logits (at most all), sorted (`llama_token_data_array_partial_sort_inplace`).
    pub(crate) fn keep_largest(&mut self, n: usize) {
        let n = n.min(self.data.len());
        if n <= HEAP_SELECT_MAX {
            sort::partial_sort(&mut self.data, n);
            self.data.truncate(n);
            self.sorted = true;
        } else {
            self.sort_copy(n);
            self.take_sorted_copy(n);
        }
    }

    /// Sorts the `n` largest logits into [`Candidates::sorted_copy`], through a histogram
    /// (`llama_token_data_array_partial_sort`). `data` stays as it is.
    ///
    /// Equal logits come out in the reference's order: stable distribution into buckets, then the unstable sort of
    /// each bucket, and a heap selection in the last one needed.
    pub(crate) fn sort_copy(&mut self, n: usize) {
        let n = n.min(self.data.len());
        let mut histogram = [0_usize; N_BUCKETS];
        self.bucket_of.clear();
        self.bucket_of.extend(self.data.iter().map(|c| {
            let b = bucket(c.logit);
            histogram[b as usize] += 1;
            b
        }));

        // The buckets from the top that together hold n candidates.
        let mut lowest = N_BUCKETS;
        let mut have = 0;
        while have < n && lowest > 0 {
            lowest -= 1;
            have += histogram[lowest];
        }
        let mut next = [0_usize; N_BUCKETS];
        let mut start = 0;
        for b in (lowest..N_BUCKETS).rev() {
            next[b] = start;
            start += histogram[b];
        }
        self.copy.clear();
        self.copy.resize(have, TokenData { id: 0, logit: 0.0, p: 0.0 });
        for (c, &b) in self.data.iter().zip(&self.bucket_of) {
            let b = b as usize;
            if b >= lowest {
                self.copy[next[b]] = *c;
                next[b] += 1;
            }
        }

        let mut rest = self.copy.as_mut_slice();
        let mut done = 0;
        for b in (lowest..N_BUCKETS).rev() {
            let (now, later) = rest.split_at_mut(histogram[b]);
            if b > lowest {
                sort::sort(now);
            } else {
                sort::partial_sort(now, n - done);
            }
            done += now.len();
            rest = later;
        }
    }

    /// What [`Candidates::sort_copy`] left: the first `n` are sorted.
    pub(crate) fn sorted_copy(&self) -> &[TokenData] {
        &self.copy
    }

    /// Replaces `data` by the first `n` of the sorted copy (at most as many as it has).
    pub(crate) fn take_sorted_copy(&mut self, n: usize) {
        let n = n.min(self.copy.len());
        self.data.clear();
        self.data.extend_from_slice(&self.copy[..n]);
        self.sorted = true;
    }
}

/// Bucket of a logit.
///
/// The reference converts a float outside of `i32` to an integer, which on x86-64 gives the smallest integer: such
/// logits, `+inf` among them, fall into bucket 0 instead of the last. Token ids must be equal, so that is kept.
fn bucket(logit: f32) -> u8 {
    let position = BUCKET_SCALE * logit + BUCKET_OFFSET;
    if position < 2_147_483_648.0 { (position as i32).clamp(0, N_BUCKETS as i32 - 1) as u8 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_cover_the_line() {
        assert_eq!([f32::NEG_INFINITY, -1e30, -10.0, -9.99].map(bucket), [0; 4]);
        assert_eq!([0.0, 9.99, 10.0, 1e6].map(bucket), [64, 127, 127, 127]);
        assert_eq!([f32::INFINITY, f32::NAN, 3.4e38].map(bucket), [0; 3]);
    }

    #[test]
    fn loading_again_reuses_the_memory() {
        let logits: Vec<f32> = (0..5000).map(|i| ((i * 37) % 101) as f32 / 5.0 - 10.0).collect();
        let mut c = Candidates::new();
        c.load(&logits);
        c.keep_largest(1000);
        let before = (c.data.as_ptr(), c.copy.as_ptr(), c.bucket_of.as_ptr());
        c.load(&logits);
        c.keep_largest(1000);
        assert_eq!(before, (c.data.as_ptr(), c.copy.as_ptr(), c.bucket_of.as_ptr()));
    }

    #[test]
    fn the_bucket_path_keeps_the_largest() {
        let logits: Vec<f32> = (0..3000).map(|i| ((i * 7919) % 3001) as f32 / 100.0 - 15.0).collect();
        let mut want = logits.clone();
        want.sort_by(|a, b| b.total_cmp(a));
        for n in [129, 1000, 3000, 9999] {
            let mut c = Candidates::from_logits(&logits);
            c.keep_largest(n);
            let got: Vec<f32> = c.data.iter().map(|c| c.logit).collect();
            assert_eq!(got, want[..n.min(3000)]);
        }
    }

    #[test]
    fn selecting_from_the_row_is_selecting_from_the_candidates() {
        for n_logits in [1, 2, 40, 41, 200, 1000] {
            for n in [0, 1, 2, 40, 128, 129, 5000] {
                for modulus in [1, 3, 11, 4099] {
                    let row: Vec<f32> = (0..n_logits).map(|i| ((i * 7919) % modulus) as f32 - 5.0).collect();
                    let mut want = Candidates::from_logits(&row);
                    want.keep_largest(n);
                    let mut got = Candidates::new();
                    got.load_largest(&row, n);
                    assert_eq!((&got.data, got.sorted, got.selected), (&want.data, want.sorted, None));
                }
            }
        }
    }

    #[test]
    fn softmax_sums_to_one() {
        let mut c = Candidates::from_logits(&[1.0, 2.0, 3.0, -40.0]);
        c.softmax();
        let sum: f32 = c.data.iter().map(|c| c.p).sum();
        assert!((sum - 1.0).abs() < 1e-6);
        assert!(Candidates::new().max_logit() == f32::NEG_INFINITY);
    }
}
