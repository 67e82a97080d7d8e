//! Sampling parameters as data, with the defaults of the reference's command line, and the chain they describe.

use crate::{Chain, DEFAULT_SEED, Dist, Error, MinP, Penalties, Temp, TopK, TopP};

/// What the reference's `common_params_sampling` holds for the samplers of this crate.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplerParams {
    /// Seed of the final draw; [`DEFAULT_SEED`] means random.
    pub seed: u32,
    /// Candidates kept by top-k; 0 or less keeps all.
    pub top_k: i32,
    /// Total probability kept by top-p; 1 disables.
    pub top_p: f32,
    /// Least probability relative to the best; 0 disables.
    pub min_p: f32,
    /// Temperature; 0 or less is greedy, 1 is neutral.
    pub temp: f32,
    /// Tokens that the penalties look back on; 0 disables, -1 stands for the context size and must be replaced by
    /// it by the caller (here it disables).
    pub penalty_last_n: i32,
    /// Repeat penalty; 1 is neutral.
    pub penalty_repeat: f32,
    /// Frequency penalty; 0 is neutral.
    pub penalty_freq: f32,
    /// Presence penalty; 0 is neutral.
    pub penalty_present: f32,
    /// Candidates that top-p and min-p always keep.
    pub min_keep: usize,
}

impl Default for SamplerParams {
    fn default() -> Self {
        Self {
            seed: DEFAULT_SEED,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            temp: 0.8,
            penalty_last_n: 64,
            penalty_repeat: 1.0,
            penalty_freq: 0.0,
            penalty_present: 0.0,
            min_keep: 0,
        }
    }
}

impl SamplerParams {
    /// Checks what the reference's `common_sampler_init` checks, and that no float is NaN.
    ///
    /// # Errors
    /// [`Error::Param`] names the first parameter out of its domain.
    pub fn validate(&self) -> Result<(), Error> {
        let check = |ok: bool, name, value, expected| {
            if ok { Ok(()) } else { Err(Error::Param { name, value, expected }) }
        };
        let repeat = self.penalty_repeat;
        let repeat_ok = repeat.is_finite() && repeat > 0.0 && (1.0 / repeat).is_finite();
        check(repeat_ok, "penalty_repeat", repeat, "a finite number above 0 with a finite inverse")?;
        check(self.penalty_freq.is_finite(), "penalty_freq", self.penalty_freq, "a finite number")?;
        check(self.penalty_present.is_finite(), "penalty_present", self.penalty_present, "a finite number")?;
        check(!self.top_p.is_nan(), "top_p", self.top_p, "a number")?;
        check(!self.min_p.is_nan(), "min_p", self.min_p, "a number")?;
        check(!self.temp.is_nan(), "temp", self.temp, "a number")
    }
}

impl Chain {
    /// The reference's default chain for a vocabulary of `n_vocab` tokens: penalties, top-k, top-p, min-p,
    /// temperature, dist. With `temp <= 0` the draw sees one candidate above `-inf`, so it is greedy.
    ///
    /// # Errors
    /// As [`SamplerParams::validate`].
    pub fn from_params(params: &SamplerParams, n_vocab: usize) -> Result<Self, Error> {
        params.validate()?;
        let mut chain = Self::new();
        chain
            .add(Penalties::new(
                n_vocab,
                params.penalty_last_n,
                params.penalty_repeat,
                params.penalty_freq,
                params.penalty_present,
            ))
            .add(TopK::new(params.top_k))
            .add(TopP::new(params.top_p, params.min_keep))
            .add(MinP::new(params.min_p, params.min_keep))
            .add(Temp::new(params.temp))
            .add(Dist::new(params.seed));
        Ok(chain)
    }
}
