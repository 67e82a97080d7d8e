//! What all handlers share.

use std::sync::Arc;
use std::time::Instant;

use quipu::{ChatTemplate, Model, Tokenizer};
use tokio::sync::{mpsc, watch};

use crate::api_error::ApiError;
use crate::embedder::EmbedJob;
use crate::options::ServerOptions;
use crate::shared::Shared;
use crate::worker::Work;

/// Everything that handlers share.
#[derive(Debug)]
pub(crate) struct App {
    pub model: Model,
    pub tokenizer: Tokenizer,
    /// The chat template, or why there is none.
    pub template: Result<ChatTemplate, ApiError>,
    pub name: Arc<str>,
    pub options: ServerOptions,
    pub n_ctx_slot: usize,
    /// Whether the model has logits.
    pub generates: bool,
    pub shared: Arc<Shared>,
    pub jobs: Option<mpsc::Sender<Work>>,
    pub embedder: Option<mpsc::Sender<EmbedJob>>,
    /// Becomes true when texts under way are given up.
    pub ending: watch::Sender<bool>,
    pub started: Instant,
}

impl App {
    /// Ends when texts under way are given up.
    pub async fn gives_up(&self) {
        if self.ending.subscribe().wait_for(|ending| *ending).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
