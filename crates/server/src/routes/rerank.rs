//! Scores of documents for a question.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use quipu::{TokenId, Tokenizer};
use serde_json::{Value, json};

use crate::api_error::{ApiError, Kind, json_response};
use crate::app::App;
use crate::json::{Fields, parse};
use crate::routes::{Answer, apart, embeddings};

/// `POST /rerank`, in Jina's words, or in TEI's where the documents are called `texts`.
pub(crate) async fn rerank(State(app): State<Arc<App>>, body: Bytes) -> Answer {
    if !app.options.reranking {
        let message = "This server does not support reranking. Start it with `--reranking`";
        return Err(ApiError::new(Kind::NotSupported, message));
    }
    let reading = Arc::clone(&app);
    let (body, documents, prompts) = apart(move || {
        let body = parse(&body)?;
        let fields = Fields::new(&body);
        let query = match fields.get("query") {
            Some(Value::String(query)) => query,
            Some(_) => return Err(ApiError::invalid("\"query\" must be a string")),
            None => return Err(ApiError::invalid("\"query\" must be provided")),
        };
        let documents = match fields.texts("documents")? {
            Some(documents) => documents,
            None => fields.texts("texts")?.unwrap_or_default(),
        };
        if documents.is_empty() {
            return Err(ApiError::invalid("\"documents\" must be a non-empty string array"));
        }
        let pair = |document: &String| pair(&reading.tokenizer, query, document);
        let prompts = documents.iter().map(pair).collect::<Result<Vec<_>, _>>()?;
        Ok((body, documents, prompts))
    })
    .await?;
    let fields = Fields::new(&body);
    let n_tokens: usize = prompts.iter().map(Vec::len).sum();
    let top_n = fields.integer(&["top_n"], 0, i64::from(i32::MAX))?;
    let rows = embeddings::rows(&app, prompts).await?;
    let mut scores: Vec<(usize, f32)> =
        rows.iter().map(|row| row.first().copied().unwrap_or(f32::MIN)).enumerate().collect();
    scores.sort_by(|a, b| b.1.total_cmp(&a.1));
    scores.truncate(top_n.map_or(usize::MAX, |n| n as usize));
    if fields.get("texts").is_some() {
        let with_text = fields.flag("return_text")?.unwrap_or(false);
        let all = scores.into_iter().map(|(index, score)| {
            let mut one = json!({ "index": index, "score": score });
            if with_text {
                one["text"] = documents[index].as_str().into();
            }
            one
        });
        return Ok(json_response(&all.collect()));
    }
    let results: Vec<Value> = scores
        .into_iter()
        .map(|(index, score)| json!({ "index": index, "relevance_score": score }))
        .collect();
    Ok(json_response(&json!({
        "model": fields.text("model")?.unwrap_or(&app.name),
        "object": "list",
        "usage": { "prompt_tokens": n_tokens, "total_tokens": n_tokens },
        "results": results,
    })))
}

/// A question and a document as one text: `[BOS]question[EOS][SEP]document[EOS]`, as far as the vocabulary adds them (`format_prompt_rerank`).
fn pair(tokenizer: &Tokenizer, query: &str, document: &str) -> Result<Vec<TokenId>, ApiError> {
    let encode = |text: &str| {
        tokenizer.encode(text, false, false).map_err(|error| ApiError::invalid(error.to_string()))
    };
    let special = tokenizer.special_tokens();
    let eos = special.eos.or(special.sep);
    let mut tokens = Vec::new();
    tokens.extend(special.bos.filter(|_| tokenizer.add_bos()));
    tokens.extend(encode(query)?);
    tokens.extend(eos.filter(|_| tokenizer.add_eos()));
    tokens.extend(special.sep.filter(|_| tokenizer.add_sep()));
    tokens.extend(encode(document)?);
    tokens.extend(eos.filter(|_| tokenizer.add_eos()));
    Ok(tokens)
}
