//! How the tokens of one batch are shared out.

/// How many of the tokens that each sequence wants go into a batch of at most `n_batch`, into `share`.
///
/// Every sequence gets one first, in turn from the `first` on: what is generated never waits for a prompt. What is left
/// is shared evenly among the prompts, and what one of them does not need goes to the others.
pub(crate) fn share_out(wanted: &[usize], n_batch: usize, first: usize, share: &mut Vec<usize>) {
    share.clear();
    share.resize(wanted.len(), 0);
    let mut left = n_batch;
    loop {
        let n_open = wanted.iter().zip(&*share).filter(|(wanted, share)| wanted > share).count();
        if left == 0 || n_open == 0 {
            return;
        }
        // One each in the first round and at the end, when there are fewer left than sequences.
        let is_first_round = left == n_batch;
        let each = if is_first_round { 1 } else { (left / n_open).max(1) };
        for turn in 0..wanted.len() {
            let i = (first + turn) % wanted.len();
            let n = each.min(wanted[i] - share[i]).min(left);
            share[i] += n;
            left -= n;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(wanted: &[usize], n_batch: usize, first: usize) -> Vec<usize> {
        let mut share = Vec::new();
        share_out(wanted, n_batch, first, &mut share);
        share
    }

    #[test]
    fn one_prompt_gets_the_batch() {
        assert_eq!(shares(&[500], 64, 3), [64]);
        assert_eq!(shares(&[50], 64, 0), [50]);
        assert_eq!(shares(&[0, 500, 0], 64, 1), [0, 64, 0]);
    }

    #[test]
    fn single_tokens_come_before_prompts() {
        assert_eq!(shares(&[1, 500, 1, 1], 16, 0), [1, 13, 1, 1]);
        assert_eq!(shares(&[1, 500, 1, 1], 4, 0), [1, 1, 1, 1]);
    }

    #[test]
    fn prompts_share_evenly_and_leave_nothing() {
        assert_eq!(shares(&[500, 500], 64, 0), [32, 32]);
        assert_eq!(shares(&[10, 500, 500], 64, 0), [10, 27, 27]);
        assert_eq!(shares(&[10, 20, 5], 64, 0), [10, 20, 5]);
        // The odd one goes to whose turn it is.
        assert_eq!(shares(&[500, 500, 500], 64, 1), [21, 22, 21]);
    }

    #[test]
    fn more_sequences_than_a_batch_holds_take_turns() {
        assert_eq!(shares(&[1, 1, 9, 1], 2, 0), [1, 1, 0, 0]);
        assert_eq!(shares(&[1, 1, 9, 1], 2, 2), [0, 0, 1, 1]);
        assert_eq!(shares(&[1, 1, 9, 1], 2, 3), [1, 0, 0, 1]);
        assert_eq!(shares(&[], 2, 3), [0; 0]);
        assert_eq!(shares(&[5], 0, 0), [0]);
    }
}
