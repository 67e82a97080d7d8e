//! Transcripts: whether a model would have said what a log says it said.
//!
//! The logged ids are fed to the model, so that each step is judged by itself, and at each step the sampler of the logged parameters
//! chooses from this engine's logits. Where it chooses something else, the smallest change of logits is looked for that makes it choose the
//! logged id. If the engine's own rounding moves logits that far, two right engines may part there: a near tie.

use quipu_sampler::{GenerationSampler, SamplerParams};

use crate::TokenId;
use crate::error::Error;
use crate::generate::generation_sampler;
use crate::session::Session;

/// How much further than this engine from itself another one may be (the rule of the parity audit).
const SPREADS: f32 = 3.0;
/// Logits of trained models spread over tens; sums in f32 leave that much uncertain at least.
const LEAST_TOLERANCE: f32 = 1e-3;
/// Beyond this change of logits nothing is looked for.
const MAX_MARGIN: f32 = 64.0;
/// Smallest change that is tried.
const MIN_MARGIN: f32 = 1e-7;

/// A generation as a log has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Transcript {
    /// Ids of the prompt.
    pub prompt: Vec<TokenId>,
    /// Ids generated, the end of generation included if it was sampled.
    pub tokens: Vec<TokenId>,
    /// How they were chosen.
    pub sampling: SamplerParams,
}

/// How strict an audit is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AuditOptions {
    /// Change of logits up to which a parting is a near tie; `None`: three times what this engine's logits at that step differ
    /// between one batch and token by token, and at least a thousandth.
    pub tolerance: Option<f32>,
}

/// A step at which the log and this engine part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parting {
    /// Which of the generated tokens, from 0.
    pub step: usize,
    /// What the log has there.
    pub logged: TokenId,
    /// What this engine chooses there; `None` if it can choose nothing.
    pub chosen: Option<TokenId>,
    /// The smallest change of logits found with which this engine chooses as the log says: for the likeliest token the distance
    /// of two logits. `None` if no change up to 64 does.
    pub margin: Option<f32>,
    /// Up to which change it is a near tie.
    pub tolerance: f32,
}

impl Parting {
    fn is_near_tie(&self) -> bool {
        self.margin.is_some_and(|margin| margin <= self.tolerance)
    }
}

/// What an audit found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Agreement {
    /// Every id is the one this engine chooses.
    Exact,
    /// All but some, which hang on last bits.
    NearTie {
        /// The first of them.
        first: Parting,
        /// How many there are.
        count: usize,
    },
    /// An id that this engine would not have chosen; what follows was not looked at.
    Wrong(Parting),
}

impl Session {
    /// Replays a transcript. Forgets what was decoded.
    ///
    /// # Errors
    /// No prompt or nothing generated, ids outside the vocabulary, more tokens than the context holds, bad sampling parameters, a
    /// model without vocabulary, a failed computation.
    pub fn audit(&mut self, transcript: &Transcript, options: &AuditOptions) -> Result<Agreement, Error> {
        let Transcript { prompt, tokens, sampling } = transcript;
        if prompt.is_empty() || tokens.is_empty() {
            return Err(Error::EmptyPrompt);
        }
        let all: Vec<TokenId> = prompt.iter().chain(tokens).copied().collect();
        // The last token is chosen and never computed.
        let n_tokens = all.len() - 1;
        if n_tokens > self.n_ctx() {
            return Err(Error::TooManyTokens { n_tokens, n_ctx: self.n_ctx() });
        }
        self.check_ids(&all)?;
        let mut sampler = generation_sampler(sampling, self.model())?;
        prompt.iter().try_for_each(|token| sampler.accept(*token, false))?;
        self.reset();
        let n_batch = self.context().params().n_batch;
        prompt.chunks(n_batch).try_for_each(|chunk| self.engine.extend(chunk, false))?;
        let mut near: Option<(Parting, usize)> = None;
        for (step, logged) in tokens.iter().copied().enumerate() {
            if step > 0 {
                self.engine.extend(&tokens[step - 1..step], false)?;
            }
            let before = sampler.clone();
            let row = self.context().logits(-1)?;
            let chosen = sampler.sample(row);
            if chosen.as_ref().is_ok_and(|id| *id == logged) {
                sampler.accept(logged, true)?;
                continue;
            }
            let row = row.to_vec();
            let nudge = Nudge::smallest(&before, &row, chosen.as_ref().ok().map(|_| &sampler), logged);
            let tolerance = match options.tolerance {
                Some(tolerance) => tolerance,
                None => self.spread(&all[..prompt.len() + step], &row)?,
            };
            let margin = nudge.as_ref().map(|nudge| nudge.margin);
            let parting = Parting { step, logged, chosen: chosen.ok(), margin, tolerance };
            let Some(nudge) = nudge.filter(|_| parting.is_near_tie()) else {
                return Ok(Agreement::Wrong(parting));
            };
            // From here on as an engine that chose so: its draws and what its samplers remember.
            sampler = nudge.sampler;
            sampler.accept(logged, true)?;
            near = Some(near.map_or((parting, 1), |(first, count)| (first, count + 1)));
        }
        Ok(near.map_or(Agreement::Exact, |(first, count)| Agreement::NearTie { first, count }))
    }

    fn check_ids(&self, ids: &[TokenId]) -> Result<(), Error> {
        let n_vocab = self.model().hparams().n_vocab;
        match ids.iter().position(|id| *id as usize >= n_vocab) {
            None => Ok(()),
            Some(index) => {
                let error = quipu_decoder::BatchError::InvalidToken { index, token: ids[index], n_vocab };
                Err(quipu_decoder::Error::from(error).into())
            }
        }
    }

    /// The tolerance behind these tokens: computes them together, and compares their last row with `row`.
    fn spread(&mut self, tokens: &[TokenId], row: &[f32]) -> Result<f32, Error> {
        self.reset();
        let n_batch = self.context().params().n_batch;
        tokens.chunks(n_batch).try_for_each(|chunk| self.engine.extend(chunk, false))?;
        let together = self.context().logits(-1)?;
        let differences = || row.iter().zip(together).map(|(a, b)| a - b).filter(|d| d.is_finite());
        let range = differences().fold(0.0, f32::max) - differences().fold(0.0, f32::min);
        Ok((SPREADS * range).max(LEAST_TOLERANCE))
    }
}

/// A change of logits with which a sampler chooses what it should.
struct Nudge {
    margin: f32,
    /// The sampler after that choice, which it has not accepted yet.
    sampler: GenerationSampler,
}

/// Which logits are changed.
#[derive(Clone, Copy)]
enum Direction<'a> {
    /// The wanted token's alone grows.
    Raise,
    /// Those of these tokens shrink.
    Lower(&'a [TokenId]),
}

impl Nudge {
    /// The smallest that was found: the wanted token is raised, or the border of the draw is moved by lowering all candidates between
    /// its beginning and the wanted one, or all behind that. `chose` is the sampler that chose something else.
    fn smallest(
        before: &GenerationSampler,
        row: &[f32],
        chose: Option<&GenerationSampler>,
        wanted: TokenId,
    ) -> Option<Nudge> {
        let mut best = Nudge::along(before, row, wanted, Direction::Raise);
        let Some(candidates) = chose.map(GenerationSampler::candidates) else { return best };
        let ids: Vec<TokenId> = candidates.data.iter().map(|candidate| candidate.id).collect();
        let place = ids.iter().position(|id| *id == wanted);
        if let (Some(place), Some(selected)) = (place, candidates.selected) {
            let others = if selected < place { &ids[..place] } else { &ids[place + 1..] };
            let moved = Nudge::along(before, row, wanted, Direction::Lower(others));
            best = match (best, moved) {
                (Some(a), Some(b)) => Some(if b.margin < a.margin { b } else { a }),
                (a, b) => a.or(b),
            };
        }
        best
    }

    /// The smallest in one direction: doubled until it helps, then halved in.
    fn along(
        before: &GenerationSampler,
        row: &[f32],
        wanted: TokenId,
        direction: Direction<'_>,
    ) -> Option<Nudge> {
        let attempt = |margin: f32| {
            let mut row = row.to_vec();
            match direction {
                Direction::Raise => row[wanted as usize] += margin,
                Direction::Lower(ids) => ids.iter().for_each(|id| row[*id as usize] -= margin),
            }
            let mut sampler = before.clone();
            sampler.sample(&row).is_ok_and(|id| id == wanted).then_some(Nudge { margin, sampler })
        };
        let (mut low, mut high) = (0.0, MIN_MARGIN);
        let mut found = loop {
            match attempt(high) {
                Some(nudge) => break nudge,
                None if high >= MAX_MARGIN => return None,
                None => (low, high) = (high, (2.0 * high).min(MAX_MARGIN)),
            }
        };
        while high - low > 1e-3 * high {
            let middle = f32::midpoint(low, high);
            match attempt(middle) {
                Some(nudge) => (high, found) = (middle, nudge),
                None => low = middle,
            }
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use quipu_sampler::{Chain, Dist, Greedy, Sampler};

    use super::*;

    fn sampler(only: impl Sampler + 'static) -> GenerationSampler {
        let mut chain = Chain::new();
        chain.add(only);
        GenerationSampler::from_chain(chain)
    }

    #[test]
    fn the_margin_of_the_likeliest_is_a_distance() {
        let greedy = sampler(Greedy);
        let nudge = Nudge::smallest(&greedy, &[1.0, 0.75, 0.0], None, 1).expect("a margin");
        assert!((nudge.margin - 0.25).abs() < 1e-3, "{}", nudge.margin);
        assert!(Nudge::smallest(&greedy, &[0.0, -100.0], None, 1).is_none());
    }

    /// A draw next to a border costs little, one in the middle of another token's share more.
    #[test]
    fn the_margin_of_a_draw_is_the_way_to_its_border() {
        let row = [0.0, 0.0, 0.0, 0.0];
        let mut margins = Vec::new();
        for seed in 0..200 {
            let before = sampler(Dist::new(seed));
            let mut chose = before.clone();
            let id = chose.sample(&row).expect("a token");
            if id == 1 {
                let nudge = Nudge::smallest(&before, &row, Some(&chose), 2).expect("a margin");
                margins.push(nudge.margin);
            }
        }
        let smallest = margins.iter().copied().fold(f32::INFINITY, f32::min);
        let largest = margins.iter().copied().fold(0.0, f32::max);
        // From 1/4 to 1/2 of the sum: odds of 1/3 to 1, at most ln 3 away.
        assert!(smallest < 0.1 && largest > 0.5 && largest < 3f32.ln() + 0.01, "{smallest} {largest}");
    }
}
