//! Completions and chats.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use quipu::TokenId;

use crate::answer::{Chunks, Head, Style, Text, TokenEntry, completion_id, whole};
use crate::api_error::{ApiError, json_response};
use crate::app::App;
use crate::json::{Fields, parse};
use crate::reply::{Reply, submit};
use crate::request::{Completion, chat as chat_request, completion, prompts, text_of};
use crate::routes::{Answer, apart};
use crate::sse;
use crate::worker::{Told, What};

/// `POST /completion`.
pub(crate) async fn native(State(app): State<Arc<App>>, body: Bytes) -> Answer {
    of_prompt(app, body, Style::Native).await
}

/// `POST /v1/completions`.
pub(crate) async fn openai(State(app): State<Arc<App>>, body: Bytes) -> Answer {
    of_prompt(app, body, Style::Text).await
}

async fn of_prompt(app: Arc<App>, body: Bytes, style: Style) -> Answer {
    let reading = Arc::clone(&app);
    let (wanted, prompts) = apart(move || {
        let body = parse(&body)?;
        let wanted = completion(&body, &reading.options, &reading.tokenizer)?;
        let prompt = Fields::new(&body).get("prompt");
        Ok((wanted, prompts(&reading.tokenizer, prompt, reading.options.max_texts)?))
    })
    .await?;
    generate(&app, wanted, prompts, style, String::new()).await
}

/// `POST /v1/chat/completions`.
pub(crate) async fn chat(State(app): State<Arc<App>>, body: Bytes) -> Answer {
    let reading = Arc::clone(&app);
    let (wanted, prompt, begun) = apart(move || {
        let body = parse(&body)?;
        let template = reading.template.as_ref().map_err(Clone::clone)?;
        let request = chat_request(body, template, &reading.tokenizer, &reading.options)?;
        let wanted = completion(&request.body, &reading.options, &reading.tokenizer)?;
        let tokens = reading.tokenizer.encode(&request.prompt, true, true);
        Ok((wanted, tokens.map_err(|error| ApiError::invalid(error.to_string()))?, request.begun))
    })
    .await?;
    generate(&app, wanted, vec![prompt], Style::Chat, begun).await
}

/// Has them generated and answers, at once or as a stream; `begun` is what the answer begins with.
pub(crate) async fn generate(
    app: &Arc<App>,
    mut wanted: Completion,
    prompts: Vec<Vec<TokenId>>,
    style: Style,
    begun: String,
) -> Answer {
    wanted.options.loras = wanted.loras.take().unwrap_or_else(|| app.shared.loras());
    let n_texts = prompts.len() * wanted.n;
    // Only llama-server's own answers repeat the prompt.
    let needs_texts = style == Style::Native || wanted.verbose;
    let texts = if needs_texts { shown(app, &prompts, wanted.n) } else { Vec::new() };
    let mut reply = submit(app, prompts, &wanted.options, wanted.n, wanted.slot)?;
    let (stream, ping) = (wanted.stream, wanted.ping);
    let head = Head {
        style,
        id: completion_id(),
        model: Arc::clone(&app.name),
        wanted: Arc::new(wanted),
        prompts: Arc::new(texts),
        begun: begun.into(),
    };
    if stream {
        // An error before anything was told is an ordinary answer.
        let first = next(app, &mut reply).await?;
        if let What::Failed(error) = first.what {
            return Err(error);
        }
        let chunks = Chunks::new(head, n_texts);
        return Ok(sse::respond(app, reply, first, chunks, style, ping));
    }
    let texts = collect(app, reply, n_texts).await?;
    Ok(json_response(&whole(&head, &texts, &app.tokenizer)))
}

/// All texts at their ends, by index.
async fn collect(app: &App, mut reply: Reply, n_texts: usize) -> Result<Vec<Text>, ApiError> {
    let mut entries: Vec<Vec<TokenEntry>> = (0..n_texts).map(|_| Vec::new()).collect();
    let mut texts = Vec::with_capacity(n_texts);
    while texts.len() < n_texts {
        let Told { index, what } = next(app, &mut reply).await?;
        match what {
            What::Token { id, piece, logprobs } => {
                if let Some(entries) = entries.get_mut(index) {
                    entries.push(TokenEntry { id, piece, logprobs });
                }
            }
            What::Done(finished) => {
                let entries = entries.get_mut(index).map(std::mem::take).unwrap_or_default();
                texts.push(Text { index, entries, finished: *finished });
            }
            What::Failed(error) => return Err(error),
            What::Started | What::Progress { .. } | What::Text(..) => {}
        }
    }
    texts.sort_by_key(|text| text.index);
    Ok(texts)
}

/// The next thing that is told of a request, unless the server goes down.
async fn next(app: &App, reply: &mut Reply) -> Result<Told, ApiError> {
    tokio::select! {
        told = reply.next() => told.ok_or_else(ApiError::given_up),
        () = app.gives_up() => Err(ApiError::given_up()),
    }
}

/// The prompts as texts, special tokens shown, one for each text.
fn shown(app: &App, prompts: &[Vec<TokenId>], n: usize) -> Vec<String> {
    let text = |ids: &Vec<TokenId>| text_of(&app.tokenizer, ids);
    prompts.iter().map(text).flat_map(|text| std::iter::repeat_n(text, n)).collect()
}
