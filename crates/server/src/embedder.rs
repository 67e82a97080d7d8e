//! The thread that owns a session for embeddings: one text after the other.

use std::panic::AssertUnwindSafe;

use quipu::{Session, TokenId};
use tokio::sync::{mpsc, oneshot};

use crate::api_error::{ApiError, Kind};

/// Texts of one request whose rows are wanted.
#[derive(Debug)]
pub(crate) struct EmbedJob {
    pub texts: Vec<Vec<TokenId>>,
    pub reader: oneshot::Sender<Result<Vec<Vec<f32>>, ApiError>>,
}

/// Works until every sender of jobs is gone.
pub(crate) fn work(mut session: Session, mut jobs: mpsc::Receiver<EmbedJob>) {
    while let Some(EmbedJob { texts, reader }) = jobs.blocking_recv() {
        let mut rows = Vec::with_capacity(texts.len());
        let mut failed = None;
        for text in &texts {
            // Nobody waits for the rest.
            if reader.is_closed() {
                break;
            }
            match std::panic::catch_unwind(AssertUnwindSafe(|| session.embed_tokens(text))) {
                Ok(Ok(row)) => rows.push(row),
                Ok(Err(error)) => {
                    failed = Some(refused(&error));
                    break;
                }
                Err(_) => {
                    failed = Some(ApiError::new(Kind::Server, "computing failed"));
                    break;
                }
            }
        }
        // Nobody waits for it.
        let _ = reader.send(failed.map_or(Ok(rows), Err));
    }
}

fn refused(error: &quipu::Error) -> ApiError {
    match error {
        quipu::Error::TextTooLong { n_tokens, n_ubatch, .. } => {
            let message = format!(
                "input ({n_tokens} tokens) is too large to process, expected at most {n_ubatch} (-c and -ub raise that)"
            );
            ApiError::new(Kind::Server, message)
        }
        quipu::Error::TooManyTokens { n_tokens, n_ctx } => ApiError::too_long(*n_tokens, *n_ctx),
        quipu::Error::EmptyPrompt => ApiError::invalid("Input content cannot be empty"),
        error => ApiError::while_computing(error),
    }
}
