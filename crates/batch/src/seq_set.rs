//! A set of sequence numbers, as a bitset.

use crate::{MAX_SEQ, SeqId};

const WORDS: usize = MAX_SEQ / 64;

/// Sequences, each below [`MAX_SEQ`]. Answers to `std::bitset<LLAMA_MAX_SEQ>`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SeqSet([u64; WORDS]);

impl SeqSet {
    /// The empty set.
    pub const EMPTY: SeqSet = SeqSet([0; WORDS]);

    /// All sequences.
    pub const ALL: SeqSet = SeqSet([u64::MAX; WORDS]);

    /// Adds a sequence; numbers outside `0..MAX_SEQ` are ignored.
    pub fn insert(&mut self, seq_id: SeqId) {
        if let Some((word, bit)) = place(seq_id) {
            self.0[word] |= bit;
        }
    }

    /// Removes a sequence.
    pub fn remove(&mut self, seq_id: SeqId) {
        if let Some((word, bit)) = place(seq_id) {
            self.0[word] &= !bit;
        }
    }

    /// Whether the sequence is in the set.
    pub fn contains(&self, seq_id: SeqId) -> bool {
        place(seq_id).is_some_and(|(word, bit)| self.0[word] & bit != 0)
    }

    /// Number of sequences.
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether no sequence is in the set.
    pub fn is_empty(&self) -> bool {
        self.0 == [0; WORDS]
    }

    /// Sequences in both sets.
    #[must_use]
    pub fn intersection(&self, other: &SeqSet) -> SeqSet {
        SeqSet(std::array::from_fn(|i| self.0[i] & other.0[i]))
    }

    /// Sequences in either set.
    #[must_use]
    pub fn union(&self, other: &SeqSet) -> SeqSet {
        SeqSet(std::array::from_fn(|i| self.0[i] | other.0[i]))
    }

    /// The one sequence of a set that has no other.
    pub fn only(&self) -> Option<SeqId> {
        let mut seq_ids = self.iter();
        let first = seq_ids.next()?;
        seq_ids.next().is_none().then_some(first)
    }

    /// The sequences in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = SeqId> + use<> {
        let words = self.0;
        (0..WORDS).flat_map(move |index| {
            let mut word = words[index];
            std::iter::from_fn(move || {
                if word == 0 {
                    return None;
                }
                let bit = word.trailing_zeros();
                word &= word - 1;
                Some((index * 64) as SeqId + bit as SeqId)
            })
        })
    }
}

impl FromIterator<SeqId> for SeqSet {
    fn from_iter<I: IntoIterator<Item = SeqId>>(seq_ids: I) -> SeqSet {
        let mut set = SeqSet::EMPTY;
        seq_ids.into_iter().for_each(|seq_id| set.insert(seq_id));
        set
    }
}

fn place(seq_id: SeqId) -> Option<(usize, u64)> {
    let index = usize::try_from(seq_id).ok().filter(|index| *index < MAX_SEQ)?;
    Some((index / 64, 1 << (index % 64)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_come_back_in_order() {
        let set: SeqSet = [255, 0, 64, 63, 0].into_iter().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 63, 64, 255]);
        assert_eq!(set.len(), 4);
        assert!(set.contains(63) && !set.contains(62) && !set.contains(-1) && !set.contains(256));
    }
}
