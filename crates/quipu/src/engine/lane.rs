//! Places for sequences: their numbers in the context, and what earlier sequences left there.

use quipu_decoder::SeqId;

use crate::TokenId;
use crate::engine::SequenceKey;
use crate::sequence::{Held, Sequence};

/// A prompt goes where more than this part of it is held already (`--slot-prompt-similarity`).
const MIN_SIMILARITY: f32 = 0.1;

/// A sequence number of the context.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    /// What the memory holds of the last sequence, until the next one takes it over.
    pub cached: Held,
    /// Whether a sequence has this number.
    pub is_taken: bool,
    /// When it was left last; 0 = never used.
    pub last_used: u64,
    /// How strongly each adapter works for its sequences.
    pub loras: Vec<f32>,
}

/// A sequence under way.
#[derive(Debug)]
pub(crate) struct Live {
    pub key: SequenceKey,
    pub sequence: Sequence,
    /// Whether it takes no part in the step under way.
    pub waits: bool,
    /// Whether the context has no room for it until another one ends. What it held was forgotten, and is computed again then.
    pub is_parked: bool,
    /// Whether it takes over what its lane holds.
    pub takes_over: bool,
}

impl Live {
    /// Whether it has ended and handed out everything.
    pub fn is_over(&self) -> bool {
        self.sequence.is_done() && self.sequence.has_no_events()
    }
}

/// The free lane for `prompt`: the one that holds most of it already, computed with the same adapters, or else the one that was not used for
/// longest.
pub(crate) fn choose(lanes: &[Lane], prompt: &[TokenId], loras: &[f32]) -> Option<SeqId> {
    let free = || lanes.iter().enumerate().filter(|(_, lane)| !lane.is_taken);
    let similar =
        free().filter(|(_, lane)| lane.loras == loras).map(|(i, lane)| (i, lane.cached.common(prompt)));
    let most = similar.max_by_key(|(i, common)| (*common, std::cmp::Reverse(*i)));
    let most = most.filter(|(_, common)| *common as f32 > MIN_SIMILARITY * prompt.len() as f32);
    let longest_unused = || free().min_by_key(|(_, lane)| lane.last_used).map(|(i, _)| i);
    most.map(|(i, _)| i).or_else(longest_unused).map(|i| i as SeqId)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(tokens: &[TokenId], last_used: u64) -> Lane {
        let mut cached = Held::new(tokens.to_vec());
        cached.advance(tokens.len());
        Lane { cached, last_used, ..Lane::default() }
    }

    #[test]
    fn the_lane_that_holds_most_of_the_prompt() {
        let mut lanes = [lane(&[1, 2, 3], 1), lane(&[1, 2, 3, 4], 2), lane(&[1, 2, 3, 4], 3)];
        assert_eq!(choose(&lanes, &[1, 2, 3, 4, 5], &[]), Some(1));
        lanes[1].is_taken = true;
        assert_eq!(choose(&lanes, &[1, 2, 3, 4, 5], &[]), Some(2));
        lanes[2].is_taken = true;
        assert_eq!(choose(&lanes, &[1, 2, 3, 4, 5], &[]), Some(0));
        lanes[0].is_taken = true;
        assert_eq!(choose(&lanes, &[1, 2, 3, 4, 5], &[]), None);
    }

    #[test]
    fn a_first_token_in_common_is_no_reason() {
        let lanes = [lane(&[1, 2, 3], 5), lane(&[], 0), lane(&[9], 3)];
        let prompt: Vec<TokenId> = (1..=1).chain(20..40).collect();
        assert_eq!(choose(&lanes, &prompt, &[]), Some(1));
        assert_eq!(choose(&lanes[..1], &prompt, &[]), Some(0));
    }
}
