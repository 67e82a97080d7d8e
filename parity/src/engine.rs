//! Quipu's side of a comparison.

use std::sync::Arc;

use quipu_backend::Device;
use quipu_cpu_backend::{CpuDevice, CpuOptions};
use quipu_decoder::{Batch, Context, ContextParams};
use quipu_gguf::GgufFile;
use quipu_model::{LoadParams, Model};

use crate::error::Error;
use crate::tap::{Tap, TapOptions, Tapped};

/// Teacher-forced logits and what was looked at on the way.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// `n_tokens x n_vocab`, row by row.
    pub logits: Vec<f32>,
    /// Intermediate tensors, in evaluation order.
    pub tapped: Vec<Tapped>,
}

/// Loads a model on a device.
///
/// # Errors
/// What loading refuses.
pub fn load(case: &str, file: &GgufFile, device: &dyn Device) -> Result<Arc<Model>, Error> {
    Model::load(file, device, &mut LoadParams::default()).map(Arc::new).map_err(Error::engine(case))
}

/// A context for `n_ctx` tokens with ubatches of `n_ubatch`.
///
/// # Errors
/// What the context refuses.
pub fn context(
    case: &str,
    model: &Arc<Model>,
    device: &dyn Device,
    n_ctx: usize,
    n_ubatch: usize,
) -> Result<Context, Error> {
    let params =
        ContextParams { n_ctx, n_ubatch, n_threads: 2, n_threads_batch: 2, ..ContextParams::default() };
    Context::new(Arc::clone(model), device, &params).map_err(Error::engine(case))
}

/// Logits of every position of `tokens`.
///
/// # Errors
/// What the engine refuses.
pub fn logits(
    case: &str,
    file: &GgufFile,
    tokens: &[u32],
    n_ubatch: usize,
    options: TapOptions,
) -> Result<Run, Error> {
    let device = Tap::on(CpuDevice::new(CpuOptions::default()), options);
    let logits = logits_on(&device, case, file, tokens, n_ubatch)?;
    Ok(Run { logits, tapped: device.hook.0.take() })
}

/// The same on a device of the caller's.
///
/// # Errors
/// What the engine refuses.
pub fn logits_on(
    device: &dyn Device,
    case: &str,
    file: &GgufFile,
    tokens: &[u32],
    n_ubatch: usize,
) -> Result<Vec<f32>, Error> {
    let model = load(case, file, device)?;
    let mut context = context(case, &model, device, tokens.len(), n_ubatch)?;
    let mut batch = Batch::new();
    for (i, token) in tokens.iter().enumerate() {
        batch.add(*token, i as i32, &[0], true);
    }
    context.decode(&batch).map_err(Error::engine(case))?;
    let mut logits = Vec::new();
    for i in 0..tokens.len() {
        logits.extend_from_slice(context.logits(i as i32).map_err(Error::engine(case))?);
    }
    Ok(logits)
}
