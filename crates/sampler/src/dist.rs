//! Dist: draws from the softmax of the candidates.

use crate::{Candidates, Error, Mt19937, Sampler, resolve_seed};

/// Draws one candidate with the probability its logit gives it (`llama_sampler_init_dist`).
///
/// Leaves the normalised probabilities in `p`. One apply uses one double of the generator, or none when a single
/// candidate is left. When no probability is a number (all logits `-inf`, or one `+inf`), the last candidate is
/// selected, as in the reference's release build. An empty array selects nothing.
#[derive(Debug, Clone)]
pub struct Dist {
    /// The seed asked for, perhaps the default one.
    requested: u32,
    /// The seed in use.
    seed: u32,
    rng: Mt19937,
}

impl Dist {
    /// `seed` is used as it is, [`crate::DEFAULT_SEED`] picks a random one.
    pub fn new(seed: u32) -> Self {
        let requested = seed;
        let seed = resolve_seed(requested);
        Self { requested, seed, rng: Mt19937::new(seed) }
    }

    /// The seed in use, also when it was chosen at random.
    pub fn seed(&self) -> u32 {
        self.seed
    }
}

impl Sampler for Dist {
    fn name(&self) -> &'static str {
        "dist"
    }

    fn apply(&mut self, candidates: &mut Candidates) -> Result<(), Error> {
        match candidates.data.as_mut_slice() {
            [] => {
                candidates.selected = None;
                return Ok(());
            }
            [only] => {
                only.p = 1.0;
                candidates.selected = Some(0);
                return Ok(());
            }
            _ => {}
        }

        let max_logit = candidates.max_logit();
        let mut sum = 0.0_f64;
        for c in &mut candidates.data {
            c.p = (c.logit - max_logit).exp();
            sum += f64::from(c.p);
        }

        let target = sum * self.rng.next_f64();
        let mut running = 0.0_f64;
        let mut selected = None;
        for (i, c) in candidates.data.iter_mut().enumerate() {
            if selected.is_none() {
                running += f64::from(c.p);
                if running >= target {
                    selected = Some(i);
                }
            }
            c.p = (f64::from(c.p) / sum) as f32;
        }
        candidates.selected = Some(selected.unwrap_or(candidates.data.len() - 1));
        Ok(())
    }

    fn seed(&self) -> Option<u32> {
        Some(self.seed)
    }

    fn reset(&mut self) {
        self.seed = resolve_seed(self.requested);
        self.rng = Mt19937::new(self.seed);
    }

    fn clone_box(&self) -> Box<dyn Sampler> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_the_softmax() {
        let mut c = Candidates::from_logits(&[0.0, 2.0_f32.ln(), 0.0]);
        Dist::new(1).apply(&mut c).unwrap();
        for (c, want) in c.data.iter().zip([0.25, 0.5, 0.25]) {
            assert!((c.p - want).abs() < 1e-6);
        }
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let mut dist = Dist::new(99);
        let mut hits = [0_u32; 2];
        for _ in 0..10_000 {
            let mut c = Candidates::from_logits(&[0.0, 3.0_f32.ln()]);
            dist.apply(&mut c).unwrap();
            hits[c.selected.unwrap()] += 1;
        }
        assert!((7300..7700).contains(&hits[1]), "{hits:?}");
    }

    #[test]
    fn a_single_candidate_does_not_advance_the_generator() {
        let mut a = Dist::new(3);
        let mut b = Dist::new(3);
        a.apply(&mut Candidates::from_logits(&[f32::NEG_INFINITY])).unwrap();
        let mut ca = Candidates::from_logits(&[0.0; 100]);
        let mut cb = Candidates::from_logits(&[0.0; 100]);
        a.apply(&mut ca).unwrap();
        b.apply(&mut cb).unwrap();
        assert_eq!(ca.selected, cb.selected);
    }

    #[test]
    fn reset_and_clone_keep_the_stream() {
        let draw = |d: &mut dyn Sampler| {
            let mut c = Candidates::from_logits(&[0.0; 1000]);
            d.apply(&mut c).unwrap();
            c.selected_token().unwrap()
        };
        let mut d = Dist::new(11);
        let first: Vec<_> = (0..5).map(|_| draw(&mut d)).collect();
        let mut copy = d.clone_box();
        assert_eq!(draw(&mut d), draw(copy.as_mut()));
        d.reset();
        assert_eq!((0..5).map(|_| draw(&mut d)).collect::<Vec<_>>(), first);
        assert_eq!(d.seed(), 11);
    }

    #[test]
    fn without_a_usable_probability_the_last_is_selected() {
        let mut c = Candidates::from_logits(&[f32::NEG_INFINITY; 4]);
        Dist::new(1).apply(&mut c).unwrap();
        assert_eq!(c.selected, Some(3));
        let mut empty = Candidates::new();
        Dist::new(1).apply(&mut empty).unwrap();
        assert_eq!(empty.selected, None);
    }
}
