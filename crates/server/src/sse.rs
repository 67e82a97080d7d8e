//! Streams of events: framing, pings, and the end of a text whose reader is gone.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::answer::{Chunks, Style};
use crate::api_error::ApiError;
use crate::app::App;
use crate::reply::Reply;
use crate::worker::{Told, What};

/// Chunks between a text and the socket: what a slow reader may be behind.
const BUFFERED: usize = 16;

/// One event.
pub(crate) fn event(value: &Value) -> Bytes {
    Bytes::from(format!("data: {value}\n\n"))
}

/// The answer that tells texts as they come, from the first thing that was told on.
pub(crate) fn respond(
    app: &Arc<App>,
    mut reply: Reply,
    first: Told,
    mut chunks: Chunks,
    style: Style,
    ping: Option<Duration>,
) -> Response {
    let app = Arc::clone(app);
    let (bytes, body) = mpsc::channel::<Result<Bytes, Infallible>>(BUFFERED);
    tokio::spawn(async move {
        let mut told = first;
        let mut values = Vec::new();
        loop {
            let failed = match &told.what {
                What::Failed(error) => Some(json!({ "error": error.to_json() })),
                _ => None,
            };
            if let Some(error) = failed {
                let _ = bytes.send(Ok(event(&error))).await;
                return;
            }
            chunks.take(told, &app.tokenizer, &mut values);
            for value in values.drain(..) {
                if bytes.send(Ok(event(&value))).await.is_err() {
                    return;
                }
            }
            if chunks.is_over() {
                break;
            }
            told = loop {
                // A reader who is gone is noticed in silence too.
                let next = tokio::select! {
                    next = reply.next() => next,
                    () = bytes.closed() => return,
                    () = app.gives_up() => None,
                    () = silence(ping) => {
                        if bytes.send(Ok(Bytes::from_static(b":\n\n"))).await.is_err() {
                            return;
                        }
                        continue;
                    }
                };
                let Some(told) = next else {
                    // It was given up. Who takes nothing is not told.
                    let _ = bytes.try_send(Ok(event(&json!({ "error": ApiError::given_up().to_json() }))));
                    return;
                };
                break told;
            };
        }
        if style != Style::Native {
            let _ = bytes.send(Ok(Bytes::from_static(b"data: [DONE]\n\n"))).await;
        }
    });
    let mut response = Response::new(Body::from_stream(ReceiverStream::new(body)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// Ends after so long; never without a time.
async fn silence(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}
