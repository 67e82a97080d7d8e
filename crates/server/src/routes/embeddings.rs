//! Embeddings.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quipu::{Pooling, TokenId};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;

use crate::api_error::{ApiError, Kind, json_response};
use crate::app::App;
use crate::embedder::EmbedJob;
use crate::json::{Fields, parse};
use crate::request::prompts;
use crate::routes::{Answer, apart};

/// What one text came to.
struct Embedded {
    /// One row, or one for each token where nothing is pooled.
    rows: Vec<Vec<f32>>,
    n_tokens: usize,
}

/// `POST /embeddings`: llama-server's own words, also where OpenAI's were used to ask.
pub(crate) async fn native(State(app): State<Arc<App>>, body: Bytes) -> Answer {
    let (_, _, texts) = embed(&app, body).await?;
    let all = texts.into_iter().enumerate();
    let all = all.map(|(index, text)| json!({ "index": index, "embedding": text.rows }));
    Ok(json_response(&all.collect()))
}

/// `POST /v1/embeddings`.
pub(crate) async fn openai(State(app): State<Arc<App>>, body: Bytes) -> Answer {
    let (body, is_pooled, texts) = embed(&app, body).await?;
    if !is_pooled {
        let message = "Pooling type 'none' is not OAI compatible. Please use a different pooling type";
        return Err(ApiError::invalid(message));
    }
    openai_answer(&app, &body, &texts)
}

fn openai_answer(app: &App, body: &Map<String, Value>, texts: &[Embedded]) -> Answer {
    let fields = Fields::new(body);
    let as_base64 = match fields.text("encoding_format")?.unwrap_or("float") {
        "float" => false,
        "base64" => true,
        _ => {
            return Err(ApiError::invalid(
                "The format to return the embeddings in. Can be either float or base64",
            ));
        }
    };
    let n_tokens: usize = texts.iter().map(|text| text.n_tokens).sum();
    let data = texts.iter().enumerate().map(|(index, text)| {
        let row = text.rows.first().map_or(&[][..], Vec::as_slice);
        if as_base64 {
            let bytes: Vec<u8> = row.iter().flat_map(|x| x.to_le_bytes()).collect();
            let text = STANDARD.encode(bytes);
            json!({ "embedding": text, "index": index, "object": "embedding", "encoding_format": "base64" })
        } else {
            json!({ "embedding": row, "index": index, "object": "embedding" })
        }
    });
    let model = fields.text("model")?.unwrap_or(&app.name);
    Ok(json_response(&json!({
        "model": model,
        "object": "list",
        "usage": { "prompt_tokens": n_tokens, "total_tokens": n_tokens },
        "data": data.collect::<Vec<_>>(),
    })))
}

/// The rows of a request's texts, normalized; and whether they are pooled.
async fn embed(app: &Arc<App>, body: Bytes) -> Result<(Map<String, Value>, bool, Vec<Embedded>), ApiError> {
    if app.embedder.is_none() || app.options.reranking {
        let message = "This server does not support embeddings. Start it with `--embeddings`";
        return Err(ApiError::new(Kind::NotSupported, message));
    }
    let reading = Arc::clone(app);
    let (body, texts, norm) = apart(move || {
        let body = parse(&body)?;
        let fields = Fields::new(&body);
        let (_, input) = fields
            .first(&["input", "content"])
            .ok_or_else(|| ApiError::invalid("\"input\" or \"content\" must be provided"))?;
        let texts = prompts(&reading.tokenizer, Some(input), usize::MAX)?;
        if texts.iter().any(Vec::is_empty) {
            return Err(ApiError::invalid("Input content cannot be empty"));
        }
        let norm = fields.integer(&["embd_normalize"], -1, i64::from(i32::MAX))?;
        let norm = norm.map_or(reading.options.embd_normalize, |norm| norm as i32);
        Ok((body, texts, norm))
    })
    .await?;
    let counts: Vec<usize> = texts.iter().map(Vec::len).collect();
    let rows = rows(app, texts).await?;
    let n_embd = app.model.hparams().n_embd;
    let file = app.model.hparams().pooling().ok();
    let is_pooled =
        app.options.engine.context.pooling.or(file).is_some_and(|pooling| pooling != Pooling::None);
    let texts = rows.into_iter().zip(counts).map(|(flat, n_tokens)| {
        // Rows of single tokens stay as they are.
        let norm = if is_pooled { norm } else { -1 };
        let rows = flat.chunks(n_embd.max(1)).map(|row| {
            let mut row = row.to_vec();
            quipu::normalize_row(&mut row, norm);
            row
        });
        Embedded { rows: rows.collect(), n_tokens }
    });
    Ok((body, is_pooled, texts.collect()))
}

/// The rows of texts, as the session pools them.
pub(crate) async fn rows(app: &App, texts: Vec<Vec<TokenId>>) -> Result<Vec<Vec<f32>>, ApiError> {
    let Some(jobs) = &app.embedder else {
        let message = "This server does not support embeddings. Start it with `--embeddings`";
        return Err(ApiError::new(Kind::NotSupported, message));
    };
    let (reader, rows) = oneshot::channel();
    jobs.try_send(EmbedJob { texts, reader }).map_err(|error| match error {
        TrySendError::Full(_) => {
            ApiError::new(Kind::Unavailable, "too many requests are waiting; try again later")
        }
        TrySendError::Closed(_) => ApiError::new(Kind::Unavailable, "the server is going down"),
    })?;
    rows.await.map_err(|_| ApiError::new(Kind::Unavailable, "the server is going down"))?
}
