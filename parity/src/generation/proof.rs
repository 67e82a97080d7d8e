//! Why two runs part: both engines' logits of every step, teacher-forced on the ids they have in common, through
//! Quipu's chain.
//!
//! Shown is a near tie if all of this holds:
//! - over the reference's logits Quipu's chain gives the reference's ids up to the parting one, so the samplers
//!   are equal and only the logits differ;
//! - the logits differ by no more than the rule of the logits' audit allows;
//! - the choice hangs on that difference. Where the candidates are the same, the number drawn lies between the two
//!   engines' borders of the candidates chosen, and no further from ours than their difference moves it. Where a
//!   candidate more or less survived, or two changed places, logits that are off by noise no larger than that
//!   difference make our chain choose as the reference did.

use std::sync::Arc;

use quipu_sampler::{Candidates, Chain, Mt19937, TokenId, Vocabulary};
use quipu_testing::{SplitMix, nmse};

use super::chains;
use crate::error::Error;
use crate::logits::bound;

/// Tries with noise on one row.
const N_TRIES: usize = 1000;
/// Tries with noise on all rows up to the parting, for chains whose state depends on earlier logits.
const N_LONG_TRIES: usize = 200;

/// What is known of a run that parts.
pub struct Evidence<'a> {
    /// The chain's line.
    pub chain: &'a str,
    /// Texts of the vocabulary.
    pub texts: Option<&'a Arc<dyn Vocabulary>>,
    /// Tokens of the vocabulary.
    pub n_vocab: usize,
    /// The reference's ids up to the first that differs.
    pub ids: &'a [u32],
    /// Quipu's logits of these steps, row by row.
    pub ours: &'a [f32],
    /// The reference's.
    pub theirs: &'a [f32],
    /// What the reference's differ from its own on these steps when it computes in another order.
    pub spread: f64,
}

/// On what the choice hangs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cause {
    /// The two largest logits change places: their distance in ours and in the reference's.
    Greedy { ours: f32, theirs: f32 },
    /// The number drawn lies between the two borders.
    Draw { drawn: f64, ours: f64, theirs: f64, moved: f64, allowed: f64 },
    /// Other candidates or another order: how many of how many tries with noise gave the reference's id.
    /// With them the number drawn and both borders, where both engines kept both candidates.
    Filter { hits: usize, tries: usize, borders: Option<[f64; 3]> },
    /// Over the reference's logits Quipu's chain chose another id: not the logits' doing.
    Sampler { expected: u32, chosen: TokenId },
    /// Nothing differs.
    None,
}

/// The outcome.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// First step at which the chains' choices, or their use of random numbers, differ.
    pub step: usize,
    /// On what it hangs.
    pub cause: Cause,
    /// NMSE of the logits up to there, and what is allowed.
    pub error: [f64; 2],
    /// Largest difference of two logits' distance in that row.
    pub difference: f32,
}

impl Finding {
    /// Whether it is a near tie by all the rules.
    pub fn is_shown(&self) -> bool {
        let by_cause = match self.cause {
            Cause::Greedy { ours, theirs } => ours + theirs <= self.difference,
            Cause::Draw { drawn, ours, theirs, moved, allowed } => {
                drawn >= ours.min(theirs) && drawn <= ours.max(theirs) && moved <= allowed
            }
            Cause::Filter { hits, .. } => hits > 0,
            Cause::Sampler { .. } | Cause::None => false,
        };
        by_cause && self.error[0] <= self.error[1]
    }

    /// In words.
    pub fn note(&self) -> String {
        let cause = match self.cause {
            Cause::Greedy { ours, theirs } => {
                format!(
                    "the best two are {ours:.1e} apart, in the reference's logits {theirs:.1e} the other way"
                )
            }
            Cause::Draw { drawn, ours, theirs, .. } => format!(
                "drawn {drawn:.9} between the borders {ours:.9} and {theirs:.9}, {:.1e} apart",
                (ours - theirs).abs()
            ),
            Cause::Filter { hits, tries, borders } => {
                let borders = borders.map_or_else(String::new, |[drawn, ours, theirs]| {
                    format!(", drawn {drawn:.9} with borders {ours:.9} and {theirs:.9}")
                });
                format!(
                    "other candidates or order, {hits} of {tries} tries with noise choose the same{borders}"
                )
            }
            Cause::Sampler { expected, chosen } => {
                format!("over the reference's logits the chain chose {chosen}, the reference {expected}")
            }
            Cause::None => "nothing differs over the same logits".to_owned(),
        };
        let [error, allowed] = self.error;
        format!(
            "step {}: {cause}; logits differ by up to {:.1e}, NMSE {error:.1e} <= {allowed:.1e}",
            self.step, self.difference
        )
    }
}

/// Finds out why.
///
/// # Errors
/// A line of no chain, or logits that no chain takes.
pub fn examine(evidence: &Evidence<'_>) -> Result<Finding, Error> {
    let e = evidence;
    let fail = Error::engine::<quipu_sampler::Error>(e.chain);
    let fresh = || chains::parse(e.chain, e.n_vocab, e.texts);
    let (mut ours, mut theirs) = (fresh()?, fresh()?);
    let mut random = chains::seed(e.chain).map(Mt19937::new);
    let error = [nmse(e.theirs, e.ours), bound(e.spread)];
    let mut found: Option<Finding> = None;
    let rows = e.ours.chunks(e.n_vocab).zip(e.theirs.chunks(e.n_vocab));
    for (step, ((row, their_row), expected)) in rows.zip(e.ids).enumerate() {
        let chosen = theirs.sample(their_row).map_err(&fail)?;
        let difference = difference(row, their_row);
        if chosen != *expected {
            let cause = Cause::Sampler { expected: *expected, chosen };
            return Ok(Finding { step, cause, error, difference });
        }
        if found.is_some() {
            continue;
        }
        let before = ours.clone();
        let id = ours.sample(row).map_err(&fail)?;
        let draws = |chain: &Chain| chain.candidates().data.len() > 1;
        let drawn = random.as_mut().filter(|_| draws(&ours)).map(Mt19937::next_f64);
        if id == chosen && draws(&ours) == draws(&theirs) {
            continue;
        }
        let is_dist = e.chain.rsplit(';').next().is_some_and(|last| last.trim().starts_with("dist"));
        let cause = if random.is_none() {
            let gap = |row: &[f32]| (row[id as usize] - row[chosen as usize]).abs();
            Cause::Greedy { ours: gap(row), theirs: gap(their_row) }
        } else {
            let (a, b) = (ours.candidates(), theirs.candidates());
            if let Some(cause) = drawn.and_then(|drawn| draw(a, b, drawn, is_dist)) {
                cause
            } else {
                let borders = drawn.and_then(|drawn| borders(a, b, drawn, is_dist));
                filter(e, &before, step, chosen, draws(&theirs), borders)?
            }
        };
        found = Some(Finding { step, cause, error, difference });
    }
    Ok(found.unwrap_or(Finding { step: e.ids.len(), cause: Cause::None, error, difference: 0.0 }))
}

/// The largest change of the distance between two logits of a row.
fn difference(row: &[f32], other: &[f32]) -> f32 {
    let differences = || row.iter().zip(other).map(|(a, b)| a - b);
    differences().fold(f32::MIN, f32::max) - differences().fold(f32::MAX, f32::min)
}

/// The border that the draw has to cross on its way from the candidate we chose to the other, in shares of the sum.
fn border(weights: &[f64], ours: usize, other: usize) -> f64 {
    let below = if ours < other { other } else { other + 1 };
    weights[..below].iter().sum::<f64>() / weights.iter().sum::<f64>()
}

/// The number drawn and both borders, where both engines kept both candidates.
fn borders(ours: &Candidates, theirs: &Candidates, drawn: f64, is_dist: bool) -> Option<[f64; 3]> {
    let [a, b] = [ours, theirs].map(|candidates| candidates.selected.map(|i| candidates.data[i].id));
    let place = |candidates: &Candidates, id| candidates.data.iter().position(|c| Some(c.id) == id);
    let border = |candidates: &Candidates, from, to| {
        Some(border(&weights(candidates, is_dist), place(candidates, from)?, place(candidates, to)?))
    };
    Some([drawn, border(ours, a, b)?, border(theirs, a, b)?])
}

/// The borders, if the same candidates survived in the same order, and how far the draw may be from ours.
fn draw(ours: &Candidates, theirs: &Candidates, drawn: f64, is_dist: bool) -> Option<Cause> {
    let (weights, their_weights) = (weights(ours, is_dist), weights(theirs, is_dist));
    let pairs = || weights.iter().zip(&their_weights);
    // A filter that takes candidates the probability instead of removing them leaves zeros.
    let same = ours.data.len() == theirs.data.len()
        && ours.data.iter().zip(&theirs.data).all(|(a, b)| a.id == b.id)
        && pairs().all(|(a, b)| (*a > 0.0) == (*b > 0.0));
    if !same || ours.selected == theirs.selected {
        return None;
    }
    // What both engines make of every candidate, as a change of its log-odds.
    let changes = || pairs().filter(|(a, _)| **a > 0.0).map(|(a, b)| (a / b).ln());
    let allowed = changes().fold(f64::MIN, f64::max) - changes().fold(f64::MAX, f64::min);
    let [drawn, ours, theirs] = borders(ours, theirs, drawn, is_dist)?;
    let log_odds = |p: f64| (p / (1.0 - p)).ln();
    let moved = (log_odds(drawn) - log_odds(ours)).abs();
    Some(Cause::Draw { drawn, ours, theirs, moved, allowed })
}

/// What a candidate weighs in the draw, in the arithmetic of the sampler that draws.
fn weights(candidates: &Candidates, is_dist: bool) -> Vec<f64> {
    let largest = candidates.data.iter().fold(f32::NEG_INFINITY, |max, c| max.max(c.logit));
    let weight = |c: &quipu_sampler::TokenData| if is_dist { (c.logit - largest).exp() } else { c.p };
    candidates.data.iter().map(|c| f64::from(weight(c))).collect()
}

/// Tries noise no larger than the engines' difference: on this row, and if that never helps on all rows.
fn filter(
    e: &Evidence<'_>,
    before: &Chain,
    step: usize,
    chosen: TokenId,
    draws: bool,
    borders: Option<[f64; 3]>,
) -> Result<Cause, Error> {
    let mut random = SplitMix::new(1);
    let row = |step: usize| &e.ours[step * e.n_vocab..][..e.n_vocab];
    let mut noisy = |step: usize| -> Vec<f32> {
        let width = difference(row(step), &e.theirs[step * e.n_vocab..][..e.n_vocab]);
        let mut noise = || (random.next_u64() >> 40) as f32 / (1 << 24) as f32 - 0.5;
        row(step).iter().map(|logit| logit + width * noise()).collect()
    };
    let agrees = |chain: &mut Chain, row: &[f32]| {
        chain.sample(row).is_ok_and(|id| id == chosen) && (chain.candidates().data.len() > 1) == draws
    };
    let hits = (0..N_TRIES).filter(|_| agrees(&mut before.clone(), &noisy(step))).count();
    if hits > 0 {
        return Ok(Cause::Filter { hits, tries: N_TRIES, borders });
    }
    let fresh = chains::parse(e.chain, e.n_vocab, e.texts)?;
    let hits = (0..N_LONG_TRIES).filter(|_| {
        let mut chain = fresh.clone();
        let follows = (0..step).all(|i| chain.sample(&noisy(i)).is_ok_and(|id| id == e.ids[i]));
        follows && agrees(&mut chain, &noisy(step))
    });
    Ok(Cause::Filter { hits: hits.count(), tries: N_LONG_TRIES, borders })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two engines' rows of four logits, three steps; the last differs.
    fn evidence<'a>(chain: &'a str, ids: &'a [u32], ours: &'a [f32], theirs: &'a [f32]) -> Evidence<'a> {
        Evidence { chain, texts: None, n_vocab: 4, ids, ours, theirs, spread: 1e-3 }
    }

    #[test]
    fn greedy_choices_between_close_logits() {
        let (ours, theirs) = ([1.0, 0.999_99, 0.0, -1.0], [0.999_99, 1.0, 0.0, -1.0]);
        let finding = examine(&evidence("greedy", &[1], &ours, &theirs)).unwrap();
        assert!(finding.is_shown() && matches!(finding.cause, Cause::Greedy { .. }), "{finding:?}");
        // Far apart in both: the logits break their own rule.
        let finding = examine(&evidence("greedy", &[1], &[1.0, 0.5, 0.0, -1.0], &theirs)).unwrap();
        assert!(!finding.is_shown(), "{finding:?}");
        // The chain cannot have drawn 2 from these logits.
        let finding = examine(&evidence("greedy", &[2], &ours, &theirs)).unwrap();
        assert!(!finding.is_shown() && matches!(finding.cause, Cause::Sampler { .. }), "{finding:?}");
    }

    /// Moves one logit, without changing places, until the seeded draw falls on the other side.
    #[test]
    fn draws_near_a_border() {
        let chain = |seed: u32| format!("top_k 4 ; temp 1 ; dist {seed}");
        let row = |x: f32| [1.0, x, 0.3, 0.2];
        let id = |seed: u32, x: f32| chains::parse(&chain(seed), 4, None).unwrap().sample(&row(x)).unwrap();
        let (mut low, mut high) = (0.4, 0.9);
        let seed = (0..100).find(|seed| id(*seed, low) != id(*seed, high)).unwrap();
        while high - low > 1e-4 {
            let middle = f32::midpoint(low, high);
            if id(seed, middle) == id(seed, low) {
                low = middle;
            } else {
                high = middle;
            }
        }
        let (ours, theirs) = (row(low), row(high));
        let finding = examine(&evidence(&chain(seed), &[id(seed, high)], &ours, &theirs)).unwrap();
        assert!(finding.is_shown(), "{finding:?}");
        let Cause::Draw { ours, theirs, .. } = finding.cause else { panic!("{finding:?}") };
        assert!((ours - theirs).abs() < 1e-4, "{finding:?}");
    }

    #[test]
    fn borders_of_filters() {
        // The second candidate is just kept by one engine and just cut by the other.
        let (ours, theirs) = ([0.0, -0.510_8, -9.0, -9.0], [0.0, -0.510_9, -9.0, -9.0]);
        let chain = |seed| format!("min_p 0.6 1 ; dist {seed}");
        let other = |seed: u32| {
            let chosen = |row: &[f32]| chains::parse(&chain(seed), 4, None).unwrap().sample(row).unwrap();
            chosen(&ours) != chosen(&theirs)
        };
        let seed = (0..100).find(|seed| other(*seed)).unwrap();
        let finding = examine(&evidence(&chain(seed), &[0], &ours, &theirs)).unwrap();
        assert!(finding.is_shown() && matches!(finding.cause, Cause::Filter { .. }), "{finding:?}");
    }

    #[test]
    fn nothing_differs() {
        let row = [0.0, 1.0, 2.0, 3.0];
        let finding = examine(&evidence("greedy", &[3], &row, &row)).unwrap();
        assert!(!finding.is_shown() && finding.cause == Cause::None);
    }
}
