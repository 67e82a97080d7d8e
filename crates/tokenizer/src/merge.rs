//! Joining neighbours, best first: the loop that BPE and SPM share.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use crate::hash::NO_VALUE;

/// A symbol that stands for its text only and joins with nothing.
pub(crate) const OPAQUE: u32 = u32::MAX - 1;
/// No neighbour, and no symbol.
const END: u32 = u32::MAX;
/// Up to this many symbols the best pair is searched for; beyond, a heap finds it.
const SHORT: usize = 48;

/// What joining two symbols gives: the lower the rank the sooner; [`NO_VALUE`] if they do not join.
pub(crate) fn joined(rank: u32, symbol: u32) -> u64 {
    u64::from(rank.min(u32::MAX - 1)) << 32 | u64::from(symbol)
}

/// The symbols of a word and the buffers to join them in.
#[derive(Default)]
pub(crate) struct Merger {
    symbols: Vec<u32>,
    /// Where each symbol's text begins; one more entry than symbols while merging.
    starts: Vec<u32>,
    /// What each symbol and its right neighbour would give.
    values: Vec<u64>,
    prev: Vec<u32>,
    next: Vec<u32>,
    queue: BinaryHeap<Reverse<u64>>,
}

impl Merger {
    pub(crate) fn clear(&mut self) {
        self.symbols.clear();
        self.starts.clear();
    }

    /// Adds a symbol at the end; its text begins at `start`.
    pub(crate) fn push(&mut self, symbol: u32, start: usize) {
        self.symbols.push(symbol);
        self.starts.push(start as u32);
    }

    /// Joins neighbours for as long as any do, lowest rank first, then leftmost.
    ///
    /// `end` is where the last symbol's text ends; `join` is given two neighbours and the range of their text.
    /// Costs n log n in the number of symbols.
    pub(crate) fn run(&mut self, end: usize, join: impl Fn(u32, u32, Range<usize>) -> u64) {
        self.starts.push(end as u32);
        let n = self.symbols.len();
        let value = |i: usize| {
            join(self.symbols[i], self.symbols[i + 1], self.starts[i] as usize..self.starts[i + 2] as usize)
        };
        self.values.clear();
        self.values.extend((0..n.saturating_sub(1)).map(value));
        if n <= SHORT {
            self.run_short(join);
        } else {
            self.run_long(join);
        }
    }

    /// The symbols that are left, with the ranges of their texts.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (u32, Range<usize>)> {
        let range = |i: usize| self.starts[i] as usize..self.starts[i + 1] as usize;
        self.symbols.iter().enumerate().map(move |(i, &symbol)| (symbol, range(i)))
    }

    /// Gives back buffers that an extraordinary word has made large.
    pub(crate) fn shrink(&mut self) {
        if self.symbols.capacity() > 1 << 16 {
            *self = Self::default();
        }
    }

    fn run_short(&mut self, join: impl Fn(u32, u32, Range<usize>) -> u64) {
        let Self { symbols, starts, values, .. } = self;
        loop {
            let (mut rank, mut at) = (NO_VALUE >> 32, 0);
            for (i, value) in values.iter().enumerate() {
                if value >> 32 < rank {
                    (rank, at) = (value >> 32, i);
                }
            }
            if rank == NO_VALUE >> 32 {
                return;
            }
            symbols[at] = values[at] as u32;
            symbols.remove(at + 1);
            starts.remove(at + 1);
            values.remove(at);
            let value =
                |i: usize| join(symbols[i], symbols[i + 1], starts[i] as usize..starts[i + 2] as usize);
            if at < values.len() {
                values[at] = value(at);
            }
            if at > 0 {
                values[at - 1] = value(at - 1);
            }
        }
    }

    fn run_long(&mut self, join: impl Fn(u32, u32, Range<usize>) -> u64) {
        let Self { symbols, starts, values, prev, next, queue } = self;
        let n = symbols.len() as u32;
        prev.clear();
        prev.extend((0..n).map(|i| i.wrapping_sub(1)));
        next.clear();
        next.extend((1..n).chain([END]));
        values.push(NO_VALUE);
        let entry = |value: u64, left: u32| Reverse(value >> 32 << 32 | u64::from(left));
        let mut entries = std::mem::take(queue).into_vec();
        entries.clear();
        entries.extend(
            values.iter().zip(0..n).filter(|(v, _)| **v != NO_VALUE).map(|(&value, left)| entry(value, left)),
        );
        *queue = BinaryHeap::from(entries);

        let end = starts[n as usize];
        while let Some(Reverse(best)) = queue.pop() {
            let left = best as u32;
            let l = left as usize;
            // An entry is stale if the pair is not there any more; another of the same rank is as good.
            if symbols[l] == END || values[l] == NO_VALUE || values[l] >> 32 != best >> 32 {
                continue;
            }
            let right = next[l];
            let after = next[right as usize];
            symbols[l] = values[l] as u32;
            symbols[right as usize] = END;
            next[l] = after;
            let text_end = |node: u32| if node == END { end } else { starts[node as usize] } as usize;
            values[l] = NO_VALUE;
            if after != END {
                prev[after as usize] = left;
                let range = starts[l] as usize..text_end(next[after as usize]);
                let value = join(symbols[l], symbols[after as usize], range);
                values[l] = value;
                if value != NO_VALUE {
                    queue.push(entry(value, left));
                }
            }
            let before = prev[l];
            if before != END {
                let b = before as usize;
                let value = join(symbols[b], symbols[l], starts[b] as usize..text_end(after));
                values[b] = value;
                if value != NO_VALUE {
                    queue.push(entry(value, before));
                }
            }
        }
        // Close the gaps.
        let mut kept = 0;
        for i in 0..n as usize {
            if symbols[i] != END {
                (symbols[kept], starts[kept]) = (symbols[i], starts[i]);
                kept += 1;
            }
        }
        symbols.truncate(kept);
        starts.truncate(kept);
        starts.push(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ways of finding the best pair, on words of digits where `ab` joins to `a + b` below 40.
    #[test]
    fn short_and_long_agree() {
        let join = |l: u32, r: u32, range: Range<usize>| {
            let sum = l + r;
            if sum < 40 && range.len() < 9 { joined(sum * 7 % 11, sum) } else { NO_VALUE }
        };
        let mut random = quipu_testing::SplitMix::new(5);
        for n in 0..SHORT {
            let word: Vec<u32> = (0..n).map(|_| random.below(8) as u32).collect();
            let run = |long: bool| {
                let mut merger = Merger::default();
                for (i, &symbol) in word.iter().enumerate() {
                    merger.push(symbol, i);
                }
                if long {
                    // Symbols that join with nothing make the word long.
                    for i in n..=n + SHORT {
                        merger.push(1000, i);
                    }
                }
                merger.run(if long { n + SHORT + 1 } else { n }, join);
                merger.parts().filter(|part| part.0 < 1000).collect::<Vec<_>>()
            };
            assert_eq!(run(false), run(true));
        }
    }
}
