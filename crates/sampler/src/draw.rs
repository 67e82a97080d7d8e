//! Drawing one candidate by its probability, as libstdc++'s `std::discrete_distribution` does.

use crate::{Candidates, Mt19937};

/// Index drawn by the probabilities `p` of the candidates (the reference's `llama_sample_dist`).
///
/// The probabilities are normalised and summed in `f64`, one double is drawn, and the first partial sum that is
/// not below it wins; the last partial sum counts as 1. Fewer than two candidates give index 0 without a draw.
/// `sums` is scratch memory.
pub(crate) fn draw(candidates: &Candidates, rng: &mut Mt19937, sums: &mut Vec<f64>) -> usize {
    let data = &candidates.data;
    if data.len() < 2 {
        return 0;
    }
    let total: f64 = data.iter().map(|c| f64::from(c.p)).fold(0.0, |sum, p| sum + p);
    let mut running = 0.0;
    sums.clear();
    sums.extend(data.iter().enumerate().map(|(i, c)| {
        let p = f64::from(c.p) / total;
        running = if i == 0 { p } else { running + p };
        running
    }));
    if let Some(last) = sums.last_mut() {
        *last = 1.0;
    }
    lower_bound(sums, rng.next_f64()).min(data.len() - 1)
}

/// `std::lower_bound`: its exact probes matter when a sum is NaN.
fn lower_bound(sums: &[f64], value: f64) -> usize {
    let (mut first, mut len) = (0, sums.len());
    while len > 0 {
        let half = len / 2;
        if sums[first + half] < value {
            first += half + 1;
            len -= half + 1;
        } else {
            len = half;
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_candidate_draws_nothing() {
        let mut rng = Mt19937::new(1);
        let mut sums = Vec::new();
        assert_eq!(draw(&Candidates::from_logits(&[1.0]), &mut rng, &mut sums), 0);
        assert_eq!(rng.next_u32(), Mt19937::new(1).next_u32());
    }

    #[test]
    fn draws_follow_p_and_survive_nan() {
        let mut c = Candidates::from_logits(&[0.0; 2]);
        (c.data[0].p, c.data[1].p) = (1.0, 3.0);
        let mut rng = Mt19937::new(5);
        let mut sums = Vec::new();
        let hits = (0..10_000).filter(|_| draw(&c, &mut rng, &mut sums) == 1).count();
        assert!((7300..7700).contains(&hits), "{hits}");
        c.data[0].p = f32::NAN;
        assert!(draw(&c, &mut rng, &mut sums) < 2);
    }
}
