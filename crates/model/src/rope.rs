//! Rotary scaling: from hyper-parameters and a caller's overrides to the numbers the op needs.

use quipu_graph::{RopeMode, RopeParams};

use crate::hparams::{Hparams, RopeScaling};

/// What a caller may set instead of the model's own values (`llama_context_params`); `None` = the model's, and so is a
/// base, scale or length of 0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RopeOverrides {
    /// Kind of scaling.
    pub scaling: Option<RopeScaling>,
    /// Frequency base.
    pub freq_base: Option<f32>,
    /// Linear scale of positions (1 / factor).
    pub freq_scale: Option<f32>,
    /// YaRN extrapolation mix.
    pub yarn_ext_factor: Option<f32>,
    /// YaRN magnitude factor.
    pub yarn_attn_factor: Option<f32>,
    /// YaRN fast ramp end.
    pub yarn_beta_fast: Option<f32>,
    /// YaRN slow ramp end.
    pub yarn_beta_slow: Option<f32>,
    /// Context length before YaRN scaling.
    pub yarn_orig_ctx: Option<usize>,
}

/// Rotary parameters of a context. Answers to the rope fields of `llama_cparams`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RopeConfig {
    /// Frequency base.
    pub freq_base: f32,
    /// Linear scale of positions.
    pub freq_scale: f32,
    /// YaRN extrapolation mix.
    pub ext_factor: f32,
    /// Magnitude factor, with YaRN's own correction cancelled as the reference does.
    pub attn_factor: f32,
    /// YaRN fast ramp end.
    pub beta_fast: f32,
    /// YaRN slow ramp end.
    pub beta_slow: f32,
    /// Context length before YaRN scaling.
    pub n_ctx_orig: usize,
    /// Sequences may grow beyond the model's original context length: long rotary factors hold instead of short ones.
    pub is_long: bool,
}

impl RopeConfig {
    /// Combines the model's values with the caller's, as the reference's context constructor does, for a context whose sequences may have
    /// `n_ctx_seq` tokens.
    pub fn new(hparams: &Hparams, overrides: &RopeOverrides, n_ctx_seq: usize) -> RopeConfig {
        let scaling = overrides.scaling.unwrap_or(hparams.rope_scaling);
        let freq_scale = match scaling {
            RopeScaling::None => 1.0,
            _ => overrides.freq_scale.filter(|scale| *scale != 0.0).unwrap_or(hparams.rope_freq_scale),
        };
        let by_kind = if scaling == RopeScaling::Yarn { 1.0 } else { 0.0 };
        let ext_factor = overrides.yarn_ext_factor.or(hparams.yarn.ext_factor).unwrap_or(by_kind);
        let mut attn_factor = overrides.yarn_attn_factor.unwrap_or(hparams.yarn.attn_factor);
        if ext_factor != 0.0 {
            // The op multiplies by 1 + 0.1 ln(factor) itself whenever it extrapolates.
            let factor = 1.0 / freq_scale;
            let mscale = |by: f32| if factor <= 1.0 { 1.0 } else { 0.1 * by * factor.ln() + 1.0 };
            let log_mul = hparams.yarn.log_mul;
            let magnitude = match log_mul {
                0.0 => mscale(1.0),
                _ if hparams.yarn.cancels => 1.0,
                log_mul => mscale(1.0) / mscale(log_mul),
            };
            attn_factor = magnitude * (1.0 / (1.0 + 0.1 * factor.ln()));
        }
        attn_factor *= hparams.rope_attn_factor;
        let lengths = [overrides.yarn_orig_ctx.unwrap_or(0), hparams.n_ctx_orig_yarn];
        let n_ctx_orig = lengths.into_iter().find(|n_ctx| *n_ctx != 0);
        RopeConfig {
            freq_base: overrides.freq_base.filter(|base| *base != 0.0).unwrap_or(hparams.rope_freq_base),
            freq_scale,
            ext_factor,
            attn_factor,
            beta_fast: overrides.yarn_beta_fast.unwrap_or(hparams.yarn.beta_fast),
            beta_slow: overrides.yarn_beta_slow.unwrap_or(hparams.yarn.beta_slow),
            n_ctx_orig: n_ctx_orig.unwrap_or(hparams.n_ctx_train),
            // By the model's own length as the file has it, 0 included, whatever the caller says of YaRN.
            is_long: n_ctx_seq > hparams.n_ctx_orig_yarn,
        }
    }

    /// The op's parameters for heads of which `n_rot` elements are rotated.
    pub(crate) fn params(&self, n_rot: usize, mode: RopeMode) -> RopeParams {
        RopeParams {
            n_dims: n_rot,
            mode,
            n_ctx_orig: self.n_ctx_orig,
            freq_base: self.freq_base,
            freq_scale: self.freq_scale,
            ext_factor: self.ext_factor,
            attn_factor: self.attn_factor,
            beta_fast: self.beta_fast,
            beta_slow: self.beta_slow,
        }
    }
}
