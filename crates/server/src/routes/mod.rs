//! The routes, by what they are about.

mod embeddings;
mod infill;
mod info;
mod rerank;
mod slots;
mod text;
mod tokens;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{get, post};

use crate::api_error::{ApiError, Kind};
use crate::app::App;
use crate::layers;

/// What a handler gives.
pub(crate) type Answer = Result<Response, ApiError>;

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
        .route("/slots/{id}", post(slots::act))
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
        .route("/rerank", post(rerank::rerank))
        .route("/reranking", post(rerank::rerank))
        .route("/v1/rerank", post(rerank::rerank))
        .route("/v1/reranking", post(rerank::rerank))
        .route("/lora-adapters", get(info::lora_adapters).post(info::set_lora_adapters));
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

/// Work on a body that may take long, away from the threads that answer.
pub(crate) async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(ApiError::new(Kind::Server, "the request could not be worked on")))
}
