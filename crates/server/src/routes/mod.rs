//! The routes, by what they are about.

mod embeddings;
mod infill;
mod info;
mod text;
mod tokens;

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{get, post};
use quipu::{CancelToken, TokenId};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::api_error::{ApiError, Kind};
use crate::layers;
use crate::server::App;
use crate::worker::{Job, Told, child_seed};

/// What a handler gives.
pub(crate) type Answer = Result<Response, ApiError>;

/// Room for what a text's reader did not take yet; then the text waits.
const BUFFERED: usize = 64;

/// All routes.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let routes = Router::new()
        .route("/health", get(info::health))
        .route("/v1/health", get(info::health))
        .route("/models", get(info::models))
        .route("/v1/models", get(info::models))
        .route("/props", get(info::props).post(info::set_props))
        .route("/metrics", get(info::metrics))
        .route("/slots", get(info::slots))
        .route("/slots/{id}", post(info::slot_action))
        .route("/v1/loads", get(info::loads))
        .route("/completion", post(text::native))
        .route("/completions", post(text::native))
        .route("/v1/completions", post(text::openai))
        .route("/chat/completions", post(text::chat))
        .route("/v1/chat/completions", post(text::chat))
        .route("/chat/completions/input_tokens", post(tokens::count_chat))
        .route("/v1/chat/completions/input_tokens", post(tokens::count_chat))
        .route("/infill", post(infill::infill))
        .route("/tokenize", post(tokens::tokenize))
        .route("/detokenize", post(tokens::detokenize))
        .route("/apply-template", post(tokens::apply_template))
        .route("/embedding", post(embeddings::native))
        .route("/embeddings", post(embeddings::native))
        .route("/v1/embeddings", post(embeddings::openai))
        .route("/lora-adapters", get(info::lora_adapters));
    let routes = match app.options.api_prefix.as_str() {
        "" => routes,
        prefix => Router::new().nest(prefix, routes),
    };
    routes
        .method_not_allowed_fallback(layers::not_found)
        .fallback(layers::not_found)
        .layer(DefaultBodyLimit::max(app.options.max_body))
        .layer(from_fn_with_state(Arc::clone(app), layers::admit))
        .with_state(Arc::clone(app))
}

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
) -> Result<Reply, ApiError> {
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
                prompt: prompt.clone(),
                options,
                cancel: cancel.clone(),
                reader: reader.clone(),
            };
            jobs.try_send(job).map_err(|error| match error {
                TrySendError::Full(_) => {
                    ApiError::new(Kind::Unavailable, "too many requests are waiting; try again later")
                }
                TrySendError::Closed(_) => ApiError::new(Kind::Unavailable, "the server is going down"),
            })?;
        }
    }
    Ok(reply)
}

/// Work on a body that may take long, away from the threads that answer.
pub(crate) async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(ApiError::new(Kind::Server, "the request could not be worked on")))
}

/// A request's body, if it is an object.
pub(crate) fn object(body: &Bytes) -> Result<serde_json::Map<String, serde_json::Value>, ApiError> {
    crate::json::parse(body)
}
