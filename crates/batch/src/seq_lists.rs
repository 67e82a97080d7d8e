//! The sequences of each token of a batch.

use crate::SeqId;

/// A list of sequences for each token, one behind the other. The first of a token's list decides what it attends to.
///
/// Answers to `n_seq_id` and `seq_id` of `llama_batch`, without a piece of memory for each token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeqLists {
    ids: Vec<SeqId>,
    ends: Vec<usize>,
}

impl SeqLists {
    /// No lists.
    pub fn new() -> SeqLists {
        SeqLists::default()
    }

    /// Adds the list of the next token.
    pub fn push(&mut self, seq_ids: &[SeqId]) {
        self.ids.extend_from_slice(seq_ids);
        self.ends.push(self.ids.len());
    }

    /// The list of token `index`; empty if there is no such token.
    pub fn get(&self, index: usize) -> &[SeqId] {
        let Some(&end) = self.ends.get(index) else { return &[] };
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.ids[start..end]
    }

    /// Number of lists.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no list.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The lists in the order of tokens.
    pub fn iter(&self) -> impl Iterator<Item = &[SeqId]> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// Forgets all lists and keeps the memory.
    pub fn clear(&mut self) {
        self.ids.clear();
        self.ends.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_come_back_as_they_were_put_in() {
        let lists: [&[SeqId]; 4] = [&[3, 1], &[], &[0], &[7, 7, 7]];
        let mut all = SeqLists::new();
        for list in lists {
            all.push(list);
        }
        assert!(all.iter().eq(lists) && all.len() == 4 && all.get(4).is_empty());
        all.clear();
        assert!(all.is_empty() && all.get(0).is_empty());
    }
}
