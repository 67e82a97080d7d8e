//! Asking the worker for texts, and hearing of them.

use quipu::{CancelToken, SamplerParams, TokenId};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::api_error::{ApiError, Kind};
use crate::app::App;
use crate::worker::{Job, Told, Work};

/// Room for what a text's reader did not take yet; then the text waits.
const BUFFERED: usize = 64;

/// The texts of a request, told one by one. Dropping it ends those that are under way.
#[derive(Debug)]
pub(crate) struct Reply {
    told: mpsc::Receiver<Told>,
    cancel: CancelToken,
}

impl Reply {
    /// The next thing that is told; `None` if nothing more will be.
    pub async fn next(&mut self) -> Option<Told> {
        self.told.recv().await
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// Asks the worker for `n` texts of each prompt.
pub(crate) fn submit(
    app: &App,
    prompts: Vec<Vec<TokenId>>,
    options: &quipu::GenerateOptions,
    n: usize,
    slot: Option<usize>,
) -> Result<Reply, ApiError> {
    if !app.generates {
        return Err(ApiError::new(
            Kind::NotSupported,
            "This model does not support completions: it gives embeddings",
        ));
    }
    let Some(jobs) = &app.jobs else {
        let message = "This server does not support completions. Start it without `--embeddings`";
        return Err(ApiError::new(Kind::NotSupported, message));
    };
    let n_texts = prompts.len() * n;
    if n_texts > app.options.max_texts {
        let most = app.options.max_texts;
        return Err(ApiError::invalid(format!("{n_texts} texts in one request, expected at most {most}")));
    }
    let cancel = CancelToken::new();
    // Room for the first word of each.
    let (reader, told) = mpsc::channel(BUFFERED.max(2 * n_texts));
    let reply = Reply { told, cancel: cancel.clone() };
    for (i, prompt) in prompts.into_iter().enumerate() {
        if prompt.len() >= app.n_ctx_slot {
            return Err(ApiError::too_long(prompt.len(), app.n_ctx_slot));
        }
        for k in 0..n {
            let mut options = options.clone();
            options.sampling.seed =
                if k == 0 { options.sampling.seed } else { child_seed(&options.sampling, k) };
            options.cancel = Some(cancel.clone());
            let job = Job {
                index: i * n + k,
                slot: slot.filter(|_| n_texts == 1),
                prompt: prompt.clone(),
                options,
                cancel: cancel.clone(),
                reader: reader.clone(),
            };
            jobs.try_send(Work::Text(Box::new(job))).map_err(|error| match error {
                TrySendError::Full(_) => {
                    ApiError::new(Kind::Unavailable, "too many requests are waiting; try again later")
                }
                TrySendError::Closed(_) => ApiError::new(Kind::Unavailable, "the server is going down"),
            })?;
        }
    }
    Ok(reply)
}

/// The seed of a request's `k`th text beside the first.
fn child_seed(params: &SamplerParams, k: usize) -> u32 {
    if params.seed == u32::MAX { u32::MAX } else { params.seed.wrapping_add(k as u32) }
}
