//! A chain of samplers, itself a sampler.

use std::time::{Duration, Instant};

use crate::{Candidates, DEFAULT_SEED, Error, Sampler, TokenId};

/// Logits checked for NaN together.
const NAN_BLOCK: usize = 64;

/// What a chain has done so far (`llama_perf_sampler_data`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SamplerPerf {
    /// Time spent in samplers, zero unless [`Chain::measure`] was asked for.
    pub time: Duration,
    /// Tokens accepted.
    pub n_sample: u64,
}

/// Runs its samplers in order (`llama_sampler_chain_init` and its family).
#[derive(Default)]
pub struct Chain {
    samplers: Vec<Box<dyn Sampler>>,
    candidates: Candidates,
    measure: bool,
    perf: SamplerPerf,
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.samplers.iter().map(Sampler::name)).finish()
    }
}

impl Clone for Chain {
    /// The samplers with their states; the counters start at 0, as in the reference.
    fn clone(&self) -> Self {
        let samplers = self.samplers.iter().map(Sampler::clone_box).collect();
        Self { samplers, measure: self.measure, ..Self::default() }
    }
}

impl Chain {
    /// An empty chain.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a sampler (`llama_sampler_chain_add`).
    pub fn add(&mut self, sampler: impl Sampler + 'static) -> &mut Self {
        self.samplers.push(Box::new(sampler));
        self
    }

    /// The sampler at `i` (`llama_sampler_chain_get`).
    pub fn get(&self, i: usize) -> Option<&dyn Sampler> {
        self.samplers.get(i).map(AsRef::as_ref)
    }

    /// Takes the sampler at `i` out; later ones move up (`llama_sampler_chain_remove`).
    pub fn remove(&mut self, i: usize) -> Option<Box<dyn Sampler>> {
        (i < self.samplers.len()).then(|| self.samplers.remove(i))
    }

    /// Number of samplers (`llama_sampler_chain_n`).
    pub fn len(&self) -> usize {
        self.samplers.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.samplers.is_empty()
    }

    /// Whether to take times (the reference's `no_perf`, the other way round). Off at first.
    pub fn measure(&mut self, on: bool) -> &mut Self {
        self.measure = on;
        self
    }

    /// The counters (`llama_perf_sampler`).
    pub fn perf(&self) -> SamplerPerf {
        self.perf
    }

    /// Sets the counters to 0 (`llama_perf_sampler_reset`).
    pub fn reset_perf(&mut self) {
        self.perf = SamplerPerf::default();
    }

    /// Chooses a token for one row of logits (one per token of the vocabulary) and accepts it
    /// (`llama_sampler_sample`). Allocates nothing once it has seen a row of that length.
    ///
    /// # Errors
    /// [`Error::EmptyCandidates`] for no logits, [`Error::TooManyLogits`], [`Error::NanLogit`],
    /// [`Error::NothingSelected`] when the chain ends without a choice, and what its samplers return. Nothing is
    /// accepted then.
    pub fn sample(&mut self, logits: &[f32]) -> Result<TokenId, Error> {
        let token = self.choose(logits)?;
        self.accept(token);
        Ok(token)
    }

    /// As [`Chain::sample`], but accepts nothing.
    ///
    /// # Errors
    /// As [`Chain::sample`].
    pub fn choose(&mut self, logits: &[f32]) -> Result<TokenId, Error> {
        let started = self.start();
        let chosen = self.choose_in_row(logits);
        self.stop(started);
        chosen
    }

    fn choose_in_row(&mut self, logits: &[f32]) -> Result<TokenId, Error> {
        check_row(logits)?;
        let mut active = self.samplers.iter_mut().skip_while(|s| s.is_disabled());
        match active.next() {
            Some(first) => first.apply_to_row(logits, &mut self.candidates)?,
            None => self.candidates.load(logits),
        }
        active.try_for_each(|s| s.apply(&mut self.candidates))?;
        self.chosen()
    }

    /// As [`Chain::choose`], with `before` applied to the candidates before the first sampler.
    pub(crate) fn choose_among(
        &mut self,
        logits: &[f32],
        before: &mut dyn FnMut(&mut Candidates) -> Result<(), Error>,
    ) -> Result<TokenId, Error> {
        check_row(logits)?;
        self.candidates.load(logits);
        before(&mut self.candidates)?;
        let started = self.start();
        let done = self.samplers.iter_mut().try_for_each(|s| s.apply(&mut self.candidates));
        self.stop(started);
        done?;
        self.chosen()
    }

    fn chosen(&self) -> Result<TokenId, Error> {
        self.candidates.selected_token().ok_or(Error::NothingSelected {
            n_samplers: self.samplers.len(),
            n_candidates: self.candidates.data.len(),
        })
    }

    /// The candidates as the last [`Chain::sample`] left them: the survivors with logits and probabilities.
    pub fn candidates(&self) -> &Candidates {
        &self.candidates
    }

    pub(crate) fn candidates_mut(&mut self) -> &mut Candidates {
        &mut self.candidates
    }

    fn start(&self) -> Option<Instant> {
        self.measure.then(Instant::now)
    }

    fn stop(&mut self, started: Option<Instant>) {
        if let Some(started) = started {
            self.perf.time += started.elapsed();
        }
    }
}

/// Refuses rows that no chain can work on.
fn check_row(logits: &[f32]) -> Result<(), Error> {
    if logits.is_empty() {
        return Err(Error::EmptyCandidates { sampler: "chain" });
    }
    if i32::try_from(logits.len()).is_err() {
        return Err(Error::TooManyLogits { n_logits: logits.len() });
    }
    first_nan(logits).map_or(Ok(()), |token| Err(Error::NanLogit { token }))
}

/// The first NaN, looked for a block at a time without branches.
fn first_nan(logits: &[f32]) -> Option<usize> {
    let any = |block: &[f32]| block.iter().fold(false, |any, l| any | l.is_nan());
    if !logits.chunks(NAN_BLOCK).any(any) {
        return None;
    }
    logits.iter().position(|l| l.is_nan())
}

impl Sampler for Chain {
    fn name(&self) -> &'static str {
        "chain"
    }

    fn apply(&mut self, candidates: &mut Candidates) -> Result<(), Error> {
        let started = self.start();
        let done = self.samplers.iter_mut().try_for_each(|s| s.apply(candidates));
        self.stop(started);
        done
    }

    fn accept(&mut self, token: TokenId) {
        let started = self.start();
        for s in &mut self.samplers {
            s.accept(token);
        }
        self.stop(started);
        self.perf.n_sample += 1;
    }

    fn reset(&mut self) {
        for s in &mut self.samplers {
            s.reset();
        }
    }

    fn clone_box(&self) -> Box<dyn Sampler> {
        Box::new(self.clone())
    }

    /// The seed of the last sampler that has one other than [`DEFAULT_SEED`].
    fn seed(&self) -> Option<u32> {
        self.samplers.iter().rev().filter_map(Sampler::seed).find(|&seed| seed != DEFAULT_SEED)
    }
}
