//! Ids of texts, texts of ids, prompts of chats.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use quipu::TokenId;
use serde_json::{Value, json};

use crate::api_error::{ApiError, json_response};
use crate::app::App;
use crate::json::{Fields, parse, token};
use crate::request::{chat, text_of, tokens_of};
use crate::routes::{Answer, apart};

/// `POST /tokenize`.
pub(crate) async fn tokenize(State(app): State<Arc<App>>, body: Bytes) -> Answer {
    apart(move || {
        let body = parse(&body)?;
        let fields = Fields::new(&body);
        let add_special = fields.flag("add_special")?.unwrap_or(false);
        let parse_special = fields.flag("parse_special")?.unwrap_or(true);
        let ids = match fields.get("content") {
            None => Vec::new(),
            Some(content) => {
                tokens_of(&app.tokenizer, content, add_special, parse_special)?.ok_or_else(|| {
                    ApiError::invalid("'content' must be a string, or a list of strings and tokens")
                })?
            }
        };
        if !fields.flag("with_pieces")?.unwrap_or(false) {
            return Ok(json_response(&json!({ "tokens": ids })));
        }
        let pieces = ids.iter().map(|id| {
            let piece = app.tokenizer.piece(*id, true).unwrap_or_default();
            let piece = std::str::from_utf8(piece).map_or_else(|_| json!(piece), Value::from);
            json!({ "id": id, "piece": piece })
        });
        Ok(json_response(&json!({ "tokens": pieces.collect::<Vec<_>>() })))
    })
    .await
}

/// `POST /detokenize`.
pub(crate) async fn detokenize(State(app): State<Arc<App>>, body: Bytes) -> Answer {
    apart(move || {
        let body = parse(&body)?;
        let ids = match Fields::new(&body).get("tokens") {
            None => Vec::new(),
            Some(Value::Array(all)) => all.iter().map(|one| id(&app, one)).collect::<Result<_, _>>()?,
            Some(_) => return Err(ApiError::invalid("'tokens' must be a list of ids")),
        };
        Ok(json_response(&json!({ "content": text_of(&app.tokenizer, &ids) })))
    })
    .await
}

fn id(app: &App, value: &Value) -> Result<TokenId, ApiError> {
    let n = app.tokenizer.n_tokens();
    token(value)
        .filter(|id| (*id as usize) < n)
        .ok_or_else(|| ApiError::invalid(format!("'tokens' holds {value}, expected ids below {n}")))
}

/// `POST /apply-template`.
pub(crate) async fn apply_template(State(app): State<Arc<App>>, body: Bytes) -> Answer {
    apart(move || Ok(json_response(&json!({ "prompt": rendered(&app, &body)? })))).await
}

/// `POST /v1/chat/completions/input_tokens`.
pub(crate) async fn count_chat(State(app): State<Arc<App>>, body: Bytes) -> Answer {
    apart(move || {
        let prompt = rendered(&app, &body)?;
        let ids = app.tokenizer.encode(&prompt, true, true);
        let n = ids.map_err(|error| ApiError::invalid(error.to_string()))?.len();
        Ok(json_response(&json!({ "input_tokens": n, "object": "response.input_tokens" })))
    })
    .await
}

fn rendered(app: &App, body: &Bytes) -> Result<String, ApiError> {
    let template = app.template.as_ref().map_err(Clone::clone)?;
    Ok(chat(parse(body)?, template, &app.tokenizer, &app.options)?.prompt)
}
