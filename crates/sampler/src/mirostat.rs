//! Mirostat: keeps the surprise of the text near a target by a moving top-k.

use std::hint::black_box;

use crate::{Candidates, Error, Mt19937, Sampler, draw::draw, resolve_seed};

/// Mirostat 1.0 (`llama_sampler_init_mirostat`): estimates the exponent of the distribution's Zipf law from the
/// `m` most probable candidates, cuts to the k that gives the target surprise, draws, and corrects its aim.
///
/// Selects a token and leaves the survivors sorted with normalised `p`. A clone copies the state; the reference's
/// writes into the sampler that is cloned instead.
#[derive(Debug, Clone)]
pub struct Mirostat {
    n_vocab: i32,
    m: i32,
    aim: Aim,
}

impl Mirostat {
    /// `tau` is the target surprise in bits, `eta` the learning rate; `m` is usually 100. `seed` as for
    /// [`crate::Dist::new`].
    pub fn new(n_vocab: usize, seed: u32, tau: f32, eta: f32, m: i32) -> Self {
        let n_vocab = i32::try_from(n_vocab).unwrap_or(i32::MAX);
        Self { n_vocab, m, aim: Aim::new(seed, tau, eta) }
    }

    /// The k whose cut has the target surprise.
    fn cut(&self, candidates: &Candidates) -> i32 {
        let data = &candidates.data;
        let n_pairs = usize::try_from(self.m.wrapping_sub(1)).unwrap_or(usize::MAX).min(data.len() - 1);
        let (mut sum_tb, mut sum_tt) = (0.0_f32, 0.0_f32);
        for i in 0..n_pairs {
            let t = ((i + 2) as f32 / (i + 1) as f32).ln();
            let b = (data[i].p / data[i + 1].p).ln();
            sum_tb += t * b;
            sum_tt += t * t;
        }
        let s_hat = sum_tb / sum_tt;
        let epsilon = s_hat - 1.0;
        // The box keeps the compiler from calling exp2f, which may differ from powf in the last bit.
        let target = black_box(2.0_f32).powf(self.aim.mu);
        let k = ((epsilon * target) / (1.0 - (self.n_vocab as f32).powf(-epsilon))).powf(1.0 / s_hat);
        // Out of range the reference's conversion gives the least integer on x86-64.
        if (-2_147_483_648.0..2_147_483_648.0).contains(&k) { (k as i32).max(1) } else { 1 }
    }
}

impl Sampler for Mirostat {
    fn name(&self) -> &'static str {
        "mirostat"
    }

    /// # Errors
    /// [`Error::EmptyCandidates`].
    fn apply(&mut self, candidates: &mut Candidates) -> Result<(), Error> {
        candidates.sorted_softmax("mirostat")?;
        let k = self.cut(candidates);
        candidates.data.truncate(k as usize);
        self.aim.draw(candidates);
        Ok(())
    }

    fn reset(&mut self) {
        self.aim.reset();
    }

    fn clone_box(&self) -> Box<dyn Sampler> {
        Box::new(self.clone())
    }

    fn seed(&self) -> Option<u32> {
        Some(self.aim.seed)
    }
}

/// Mirostat 2.0 (`llama_sampler_init_mirostat_v2`): drops candidates more surprising than the present aim, draws,
/// and corrects the aim.
///
/// Selects a token and leaves the survivors (at least one) sorted with normalised `p`.
#[derive(Debug, Clone)]
pub struct MirostatV2 {
    aim: Aim,
}

impl MirostatV2 {
    /// As [`Mirostat::new`].
    pub fn new(seed: u32, tau: f32, eta: f32) -> Self {
        Self { aim: Aim::new(seed, tau, eta) }
    }
}

impl Sampler for MirostatV2 {
    fn name(&self) -> &'static str {
        "mirostat-v2"
    }

    /// # Errors
    /// [`Error::EmptyCandidates`].
    fn apply(&mut self, candidates: &mut Candidates) -> Result<(), Error> {
        candidates.sorted_softmax("mirostat-v2")?;
        let cut = candidates.data.iter().position(|c| -c.p.log2() > self.aim.mu);
        candidates.data.truncate(cut.unwrap_or(candidates.data.len()).max(1));
        self.aim.draw(candidates);
        Ok(())
    }

    fn reset(&mut self) {
        self.aim.reset();
    }

    fn clone_box(&self) -> Box<dyn Sampler> {
        Box::new(self.clone())
    }

    fn seed(&self) -> Option<u32> {
        Some(self.aim.seed)
    }
}

/// What both keep: the target, the present aim, and the generator they draw with.
#[derive(Debug, Clone)]
struct Aim {
    requested: u32,
    seed: u32,
    tau: f32,
    eta: f32,
    mu: f32,
    rng: Mt19937,
    sums: Vec<f64>,
}

impl Aim {
    fn new(requested: u32, tau: f32, eta: f32) -> Self {
        let seed = resolve_seed(requested);
        Self { requested, seed, tau, eta, mu: 2.0 * tau, rng: Mt19937::new(seed), sums: Vec::new() }
    }

    /// Selects one of the survivors and corrects the aim by how surprising it was.
    fn draw(&mut self, candidates: &mut Candidates) {
        candidates.softmax();
        let selected = draw(candidates, &mut self.rng, &mut self.sums);
        candidates.selected = Some(selected);
        let surprise = -candidates.data[selected].p.log2();
        self.mu -= self.eta * (surprise - self.tau);
    }

    fn reset(&mut self) {
        self.mu = 2.0 * self.tau;
        self.seed = resolve_seed(self.requested);
        self.rng = Mt19937::new(self.seed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surprise_after(s: &mut dyn Sampler) -> f32 {
        let row: Vec<f32> = (0..2000).map(|i| -((i + 1) as f32).ln()).collect();
        let mut total = 0.0;
        for step in 0..400 {
            let mut c = Candidates::from_logits(&row);
            c.softmax();
            let before: Vec<f32> = c.data.iter().map(|c| c.p).collect();
            s.apply(&mut c).unwrap();
            if step >= 200 {
                total -= before[c.selected_token().unwrap() as usize].log2();
            }
        }
        total / 200.0
    }

    #[test]
    fn the_surprise_follows_the_target() {
        let low = surprise_after(&mut Mirostat::new(2000, 1, 2.0, 0.1, 100));
        let high = surprise_after(&mut Mirostat::new(2000, 1, 6.0, 0.1, 100));
        assert!(low + 1.0 < high, "{low} {high}");
        let low = surprise_after(&mut MirostatV2::new(1, 2.0, 0.1));
        let high = surprise_after(&mut MirostatV2::new(1, 6.0, 0.1));
        assert!(low + 1.0 < high, "{low} {high}");
    }

    #[test]
    fn clones_continue_and_reset_starts_over() {
        let draw = |s: &mut dyn Sampler| {
            let mut c = Candidates::from_logits(&[0.0, 0.5, 1.0, 0.2, 0.7]);
            s.apply(&mut c).unwrap();
            c.selected_token().unwrap()
        };
        let samplers: [Box<dyn Sampler>; 2] =
            [Box::new(Mirostat::new(5, 3, 5.0, 0.1, 100)), Box::new(MirostatV2::new(3, 5.0, 0.1))];
        for mut s in samplers {
            let first: Vec<_> = (0..20).map(|_| draw(s.as_mut())).collect();
            let mut copy = s.clone_box();
            for _ in 0..20 {
                assert_eq!(draw(s.as_mut()), draw(copy.as_mut()));
            }
            s.reset();
            assert_eq!((0..20).map(|_| draw(s.as_mut())).collect::<Vec<_>>(), first);
            assert_eq!(s.seed(), Some(3));
            assert!(s.apply(&mut Candidates::new()).is_err());
        }
    }

    #[test]
    fn one_candidate_is_selected() {
        for m in [i32::MIN, 0, 1, 100] {
            let mut c = Candidates::from_logits(&[f32::NEG_INFINITY]);
            Mirostat::new(1, 1, 5.0, 0.1, m).apply(&mut c).unwrap();
            assert_eq!(c.selected, Some(0));
        }
        let mut c = Candidates::from_logits(&[f32::NEG_INFINITY; 3]);
        MirostatV2::new(1, 5.0, 0.1).apply(&mut c).unwrap();
        assert!(c.selected_token().is_some());
    }
}
