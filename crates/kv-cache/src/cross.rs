//! What an encoder leaves for the decoder behind it.

use quipu_batch::SeqSet;

/// The rows of the batch that was encoded last, which a decoder attends over beside its own memory. Answers to `llama_cross`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CrossState {
    /// The rows, one after the other, as wide as the model's.
    pub rows: Vec<f32>,
    /// The sequences of each row: a token sees the rows that share one with it.
    pub seqs: Vec<SeqSet>,
}

impl CrossState {
    /// Rows; 0 before anything was encoded.
    pub fn n_rows(&self) -> usize {
        self.seqs.len()
    }

    /// Whether a token of these sequences sees row `i`.
    pub fn sees(&self, i: usize, seqs: SeqSet) -> bool {
        self.seqs.get(i).is_some_and(|of_row| !of_row.intersection(&seqs).is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeqId;

    #[test]
    fn rows_are_seen_by_their_sequences() {
        let set = |ids: &[SeqId]| ids.iter().copied().collect::<SeqSet>();
        let cross = CrossState { rows: vec![0.0; 4], seqs: vec![set(&[0]), set(&[1, 2])] };
        assert_eq!(cross.n_rows(), 2);
        assert!(cross.sees(0, set(&[0, 5])) && cross.sees(1, set(&[2])));
        assert!(!cross.sees(0, set(&[1])) && !cross.sees(2, set(&[0])));
    }
}
