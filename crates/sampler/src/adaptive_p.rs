//! Adaptive-p: prefers candidates near a target probability and steers by what was chosen before.

use crate::{Candidates, Error, Mt19937, Sampler, TokenId, draw::draw, resolve_seed};

/// Logit of a candidate exactly at the target.
const PEAK_LOGIT: f32 = 5.0;
const SHARPNESS: f32 = 10.0;
const INV_WIDTH: f32 = 1.0 / 0.3;

/// Replaces logits by their closeness to a target probability, then draws (`llama_sampler_init_adaptive_p`).
///
/// The target moves so that the moving average of the chosen tokens' original probabilities stays near `target`.
/// A negative `target` only draws. Selects a token; the order of candidates is kept, `p` holds the softmax after
/// the transformation, and the `sorted` flag is left as it was, as in the reference. A clone copies the generator's
/// state too; the reference's starts it anew from the seed.
#[derive(Debug, Clone)]
pub struct AdaptiveP {
    target: f32,
    decay: f32,
    requested: u32,
    rng: Mt19937,
    /// Sum of `p_i * decay^i` over the chosen tokens, latest first.
    weighted_sum: f32,
    /// Sum of `decay^i`.
    total_weight: f32,
    /// The selected token and its probability before the transformation.
    pending: Option<(TokenId, f32)>,
    original: Vec<f32>,
    sums: Vec<f64>,
}

impl AdaptiveP {
    /// `target` in 0 to 1 (clamped when used; negative: no steering), `decay` in 0 to 0.99 (clamped). `seed` as
    /// for [`crate::Dist::new`].
    pub fn new(target: f32, decay: f32, seed: u32) -> Self {
        let decay = decay.clamp(0.0, 0.99);
        Self {
            target,
            decay,
            requested: seed,
            rng: Mt19937::new(resolve_seed(seed)),
            weighted_sum: target / (1.0 - decay),
            total_weight: 1.0 / (1.0 - decay),
            pending: None,
            original: Vec::new(),
            sums: Vec::new(),
        }
    }

    /// The target of this step.
    fn adapted_target(&self) -> f32 {
        let target = self.target.clamp(0.0, 1.0);
        let adapted = if self.total_weight == 0.0 {
            target
        } else {
            2.0 * target - (self.weighted_sum / self.total_weight)
        };
        adapted.clamp(0.0, 1.0)
    }
}

impl Sampler for AdaptiveP {
    fn name(&self) -> &'static str {
        "adaptive-p"
    }

    /// # Errors
    /// [`Error::EmptyCandidates`].
    fn apply(&mut self, candidates: &mut Candidates) -> Result<(), Error> {
        if candidates.data.is_empty() {
            return Err(Error::EmptyCandidates { sampler: "adaptive-p" });
        }
        candidates.softmax();
        if self.target < 0.0 {
            candidates.selected = Some(draw(candidates, &mut self.rng, &mut self.sums));
            return Ok(());
        }
        self.original.clear();
        self.original.extend(candidates.data.iter().map(|c| c.p));
        let target = self.adapted_target();
        for c in candidates.data.iter_mut().filter(|c| c.logit != f32::NEG_INFINITY) {
            let distance = ((c.p - target) * INV_WIDTH).abs();
            c.logit = PEAK_LOGIT - SHARPNESS * distance * distance / (1.0 + distance);
        }
        candidates.softmax();
        let selected = draw(candidates, &mut self.rng, &mut self.sums);
        candidates.selected = Some(selected);
        self.pending = Some((candidates.data[selected].id, self.original[selected]));
        Ok(())
    }

    fn accept(&mut self, token: TokenId) {
        if let Some((selected, p)) = self.pending.take()
            && selected == token
        {
            self.weighted_sum = p + self.decay * self.weighted_sum;
            self.total_weight = 1.0 + self.decay * self.total_weight;
        }
    }

    fn reset(&mut self) {
        *self = Self::new(self.target, self.decay, self.requested);
    }

    fn clone_box(&self) -> Box<dyn Sampler> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean_probability(target: f32) -> f32 {
        let mut s = AdaptiveP::new(target, 0.9, 1);
        let row: Vec<f32> = (0..40).map(|i| -0.3 * i as f32).collect();
        let mut total = 0.0;
        for _ in 0..500 {
            let mut c = Candidates::from_logits(&row);
            s.apply(&mut c).unwrap();
            total += s.original[c.selected.unwrap()];
            s.accept(c.selected_token().unwrap());
        }
        total / 500.0
    }

    #[test]
    fn the_chosen_probability_follows_the_target() {
        let (low, high) = (mean_probability(0.02), mean_probability(0.25));
        assert!(low + 0.05 < high, "{low} {high}");
    }

    #[test]
    fn a_negative_target_leaves_the_logits() {
        let mut c = Candidates::from_logits(&[1.0, 2.0]);
        AdaptiveP::new(-1.0, 0.5, 1).apply(&mut c).unwrap();
        assert_eq!(c.data.iter().map(|c| c.logit).collect::<Vec<_>>(), [1.0, 2.0]);
        assert!(c.selected.is_some());
        assert!(AdaptiveP::new(0.5, 0.5, 1).apply(&mut Candidates::new()).is_err());
    }

    #[test]
    fn another_token_than_the_selected_one_does_not_count() {
        let mut s = AdaptiveP::new(0.5, 0.5, 1);
        let before = s.weighted_sum;
        let mut c = Candidates::from_logits(&[1.0, 2.0]);
        s.apply(&mut c).unwrap();
        s.accept(17);
        assert_eq!(s.weighted_sum, before);
        s.accept(c.selected_token().unwrap());
        assert_eq!(s.weighted_sum, before);
    }
}
