//! Options about the context that a model computes in.

use quipu::{DType, FlashAttn, Model, RopeOverrides, RopeScaling, Session, SessionOptions};

use crate::fail::Failure;
use crate::output::note;

/// How to compute.
#[derive(Debug, clap::Args)]
pub(crate) struct ContextArgs {
    /// Context length in tokens, rounded up to a multiple of 256; 0 = the model's, at most 4096.
    #[arg(short = 'c', long = "ctx-size", default_value_t = 0)]
    pub n_ctx: usize,
    /// Most tokens of one decode call (-b).
    #[arg(short = 'b', long = "batch-size", default_value_t = 2048)]
    pub n_batch: usize,
    /// Most tokens computed at once (-ub); 0 = as many as -b.
    #[arg(long = "ubatch", visible_alias = "ubatch-size", default_value_t = 512)]
    pub n_ubatch: usize,
    /// Flash attention (-fa): on, off or auto.
    #[arg(long, value_name = "MODE", default_value = "auto", value_parser = flash_attn)]
    flash_attn: FlashAttn,
    #[command(flatten)]
    pub threads: ThreadArgs,
    #[command(flatten)]
    pub cache: CacheArgs,
    #[command(flatten)]
    rope: RopeArgs,
}

impl ContextArgs {
    pub fn options(&self) -> SessionOptions {
        let mut options = SessionOptions {
            n_ctx: self.n_ctx,
            n_batch: self.n_batch,
            n_ubatch: self.n_ubatch,
            flash_attn: self.flash_attn,
            rope: self.rope.overrides(),
            ..SessionOptions::default()
        };
        self.threads.apply(&mut options);
        self.cache.apply(&mut options);
        options
    }

    /// What of it changes what is computed, for comparing.
    pub fn described(&self) -> String {
        format!("{:?}, {:?}, {:?}", self.flash_attn, self.cache, self.rope)
    }

    /// Makes a session, and says so if its context is not what was asked for.
    pub fn session(&self, model: &Model, options: &SessionOptions) -> Result<Session, Failure> {
        let session = model.session(options)?;
        let (asked, n_ctx) = (self.n_ctx, session.n_ctx());
        if asked > 0 && n_ctx != asked {
            note(format_args!("a context of {asked} tokens is rounded up to {n_ctx}, a multiple of 256"));
        }
        Ok(session)
    }
}

/// The reference's words.
fn flash_attn(text: &str) -> Result<FlashAttn, String> {
    match text {
        "on" | "enabled" | "true" | "1" => Ok(FlashAttn::On),
        "off" | "disabled" | "false" | "0" => Ok(FlashAttn::Off),
        "auto" | "-1" => Ok(FlashAttn::Auto),
        _ => Err("expected on, off or auto".to_owned()),
    }
}

/// Threads.
#[derive(Debug, clap::Args)]
pub(crate) struct ThreadArgs {
    /// Threads; 0 or less = one for each core.
    #[arg(short = 't', long = "threads", value_parser = threads, default_value = "0", allow_negative_numbers = true)]
    n_threads: usize,
    /// Threads where several tokens are computed at once (-tb); as --threads if nothing is said.
    #[arg(long = "threads-batch", value_name = "N", value_parser = threads, allow_negative_numbers = true)]
    n_threads_batch: Option<usize>,
}

impl ThreadArgs {
    pub fn apply(&self, options: &mut SessionOptions) {
        options.n_threads = self.n_threads;
        options.n_threads_batch = self.n_threads_batch.unwrap_or(0);
    }
}

/// A number of threads; the reference takes what is 0 or less as one for each core.
fn threads(text: &str) -> Result<usize, String> {
    let n: i64 = text.trim().parse().map_err(|_| "expected a number of threads".to_owned())?;
    Ok(usize::try_from(n).unwrap_or(0))
}

/// How keys and values are kept.
#[derive(Debug, clap::Args)]
pub(crate) struct CacheArgs {
    /// Type of cached keys (-ctk): f32, f16, bf16, q8_0, q5_1, q5_0, q4_1, q4_0 or iq4_nl.
    #[arg(long, value_name = "TYPE", value_parser = cache_type, default_value = "f16")]
    cache_type_k: DType,
    /// Type of cached values (-ctv).
    #[arg(long, value_name = "TYPE", value_parser = cache_type, default_value = "f16")]
    cache_type_v: DType,
    /// Layers with windows keep the whole context too.
    #[arg(long)]
    swa_full: bool,
}

impl CacheArgs {
    pub fn apply(&self, options: &mut SessionOptions) {
        options.type_k = self.cache_type_k;
        options.type_v = self.cache_type_v;
        options.swa_full = self.swa_full;
    }
}

fn cache_type(name: &str) -> Result<DType, String> {
    let found = quipu::CACHE_TYPES.into_iter().find(|dtype| dtype.name() == name);
    found.ok_or_else(|| {
        let known = quipu::CACHE_TYPES.map(DType::name).join(", ");
        format!("expected one of: {known}")
    })
}

/// Rotary parameters instead of the model's.
#[derive(Debug, clap::Args)]
struct RopeArgs {
    /// Rotary positions: none, linear or yarn [default: as the model has it].
    #[arg(long, value_name = "KIND", value_parser = rope_scaling)]
    rope_scaling: Option<RopeScaling>,
    /// Factor by which the context is longer.
    #[arg(long, value_name = "N")]
    rope_scale: Option<f32>,
    /// Base of the rotary frequencies.
    #[arg(long, value_name = "N")]
    rope_freq_base: Option<f32>,
    /// Factor of rotary positions, the inverse of --rope-scale.
    #[arg(long, value_name = "N")]
    rope_freq_scale: Option<f32>,
    /// YaRN: context length the model was trained with.
    #[arg(long, value_name = "N")]
    yarn_orig_ctx: Option<usize>,
    /// YaRN: share of extrapolation.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    yarn_ext_factor: Option<f32>,
    /// YaRN: factor of attention.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    yarn_attn_factor: Option<f32>,
    /// YaRN: where the slow dimensions end.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    yarn_beta_slow: Option<f32>,
    /// YaRN: where the fast dimensions end.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    yarn_beta_fast: Option<f32>,
}

impl RopeArgs {
    /// 0, and a negative share or border, is as if nothing had been said, as in the reference.
    fn overrides(&self) -> RopeOverrides {
        let given = |value: Option<f32>| value.filter(|value| *value != 0.0);
        let not_negative = |value: Option<f32>| value.filter(|value| *value >= 0.0);
        RopeOverrides {
            scaling: self.rope_scaling,
            freq_base: given(self.rope_freq_base),
            freq_scale: given(self.rope_freq_scale.or(given(self.rope_scale).map(f32::recip))),
            yarn_ext_factor: not_negative(self.yarn_ext_factor),
            yarn_attn_factor: not_negative(self.yarn_attn_factor),
            yarn_beta_fast: not_negative(self.yarn_beta_fast),
            yarn_beta_slow: not_negative(self.yarn_beta_slow),
            yarn_orig_ctx: self.yarn_orig_ctx.filter(|n| *n > 0),
        }
    }
}

fn rope_scaling(name: &str) -> Result<RopeScaling, String> {
    match name {
        "none" => Ok(RopeScaling::None),
        "linear" => Ok(RopeScaling::Linear),
        "yarn" => Ok(RopeScaling::Yarn),
        _ => Err("expected none, linear or yarn".to_owned()),
    }
}
