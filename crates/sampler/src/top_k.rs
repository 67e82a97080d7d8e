//! Top-k: the k largest logits, in descending order.

use crate::{Candidates, Error, Sampler};

/// Keeps the `k` candidates with the largest logits, sorted (`llama_sampler_init_top_k`).
///
/// `k <= 0` disables it; `k` above the number of candidates keeps all and still sorts.
#[derive(Debug, Clone, Copy)]
pub struct TopK {
    k: i32,
}

impl TopK {
    /// Keep `k` candidates.
    pub fn new(k: i32) -> Self {
        Self { k }
    }
}

impl Sampler for TopK {
    fn name(&self) -> &'static str {
        if self.k <= 0 { "?top-k" } else { "top-k" }
    }

    fn apply(&mut self, candidates: &mut Candidates) -> Result<(), Error> {
        let Ok(k @ 1..) = usize::try_from(self.k) else {
            return Ok(());
        };
        let k = k.min(candidates.data.len());
        if candidates.sorted {
            candidates.data.truncate(k);
        } else {
            candidates.keep_largest(k);
        }
        Ok(())
    }

    fn apply_to_row(&mut self, logits: &[f32], candidates: &mut Candidates) -> Result<(), Error> {
        match usize::try_from(self.k) {
            Ok(k @ 1..) => candidates.load_largest(logits, k),
            _ => candidates.load(logits),
        }
        Ok(())
    }

    fn clone_box(&self) -> Box<dyn Sampler> {
        Box::new(*self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(k: i32, logits: &[f32]) -> Vec<crate::TokenId> {
        let mut c = Candidates::from_logits(logits);
        TopK::new(k).apply(&mut c).unwrap();
        c.data.iter().map(|c| c.id).collect()
    }

    #[test]
    fn keeps_the_largest() {
        assert_eq!(ids(2, &[0.1, 0.4, 0.2, 0.3]), [1, 3]);
        assert_eq!(ids(9, &[0.1, 0.4, 0.2]), [1, 2, 0]);
        assert_eq!(ids(1, &[7.0]), [0]);
    }

    #[test]
    fn disabled_and_empty() {
        assert_eq!(ids(0, &[0.1, 0.4]), [0, 1]);
        assert_eq!(ids(-3, &[0.1, 0.4]), [0, 1]);
        assert!(ids(5, &[]).is_empty());
        assert_eq!(TopK::new(0).name(), "?top-k");
    }
}
