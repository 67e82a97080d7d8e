//! What the server says of itself.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use quipu::TokenId;
use serde_json::{Value, json};

use crate::answer::{FINGERPRINT, seconds, settings};
use crate::api_error::{ApiError, Kind, json_response};
use crate::app::App;
use crate::request::strengths;
use crate::routes::Answer;

/// `GET /health`.
pub(crate) async fn health() -> Response {
    json_response(&json!({ "status": "ok" }))
}

/// `GET /v1/models`.
pub(crate) async fn models(State(app): State<Arc<App>>) -> Response {
    let (hparams, weights) = (app.model.hparams(), app.model.weights());
    let name = &*app.name;
    let kind = app.tokenizer.vocab_type() as u8;
    json_response(&json!({
        "models": [{
            "name": name, "model": name, "modified_at": "", "size": "", "digest": "", "type": "model", "description": "",
            "tags": [""], "capabilities": ["completion"], "parameters": "",
            "details": {
                "parent_model": "", "format": "gguf", "family": "", "families": [""], "parameter_size": "",
                "quantization_level": "",
            },
        }],
        "object": "list",
        "data": [{
            "id": name, "aliases": app.options.aliases, "tags": app.options.tags, "object": "model", "created": seconds(), "owned_by": "llamacpp",
            "meta": {
                "vocab_type": kind,
                "n_vocab": app.tokenizer.n_tokens(),
                "n_ctx": app.n_ctx_slot,
                "n_ctx_train": hparams.n_ctx_train,
                "n_embd": hparams.n_embd,
                "n_params": weights.n_params(),
                "size": weights.n_bytes(),
                "ftype": app.model.description(),
            },
        }],
    }))
}

/// `GET /props`.
pub(crate) async fn props(State(app): State<Arc<App>>) -> Response {
    let special = app.tokenizer.special_tokens();
    let text = |id: Option<TokenId>| {
        let text = id.and_then(|id| app.tokenizer.text(id).ok()).unwrap_or_default();
        String::from_utf8_lossy(text).into_owned()
    };
    let template = app.template.as_ref().ok();
    let caps = template.map_or(Value::Null, |template| {
        let can = template.capabilities();
        json!({
            "supports_string_content": can.string_content,
            "supports_typed_content": can.typed_content,
            "supports_system_role": can.system_role,
            "supports_tools": can.tools,
            "supports_tool_calls": can.tool_calls,
            "supports_parallel_tool_calls": can.parallel_tool_calls,
            "supports_object_arguments": can.object_arguments,
            "supports_preserve_reasoning": can.preserve_reasoning,
        })
    });
    json_response(&json!({
        "default_generation_settings": {
            "params": settings(&app.options.defaults, false, false, true),
            "n_ctx": app.n_ctx_slot,
        },
        "total_slots": app.options.engine.n_seq_max,
        "model_alias": *app.name,
        "model_ftype": app.model.description(),
        "model_path": app.model.name(),
        "modalities": { "vision": false, "video": false, "audio": false },
        "media_marker": "<__media__>",
        "endpoint_slots": app.options.slots,
        "endpoint_props": app.options.props,
        "endpoint_metrics": app.options.metrics,
        "ui": false,
        "ui_settings": {},
        "chat_template": template.map_or("", |template| template.source()),
        "chat_template_caps": caps,
        "bos_token": text(special.bos),
        "eos_token": text(special.eos),
        "build_info": FINGERPRINT,
        "is_sleeping": false,
        "cors_proxy_enabled": false,
    }))
}

/// `POST /props`: there is nothing that can be set.
pub(crate) async fn set_props(State(app): State<Arc<App>>) -> Answer {
    if !app.options.props {
        return Err(unsupported(
            "This server does not support changing global properties. Start it with `--props`",
        ));
    }
    Ok(json_response(&json!({ "success": true })))
}

/// `GET /slots`.
pub(crate) async fn slots(State(app): State<Arc<App>>) -> Answer {
    if !app.options.slots {
        return Err(unsupported("This server does not support slots endpoint. Start it with `--slots`"));
    }
    let all = app.shared.slots();
    let slots = all.iter().enumerate().map(|(id, view)| {
        let is_processing = view.as_ref().is_some_and(|view| view.is_processing);
        let mut slot = json!({
            "id": id, "n_ctx": app.n_ctx_slot, "speculative": false, "is_processing": is_processing,
        });
        if let Some(view) = view {
            let limit = view.options.max_tokens;
            slot["id_task"] = view.id_task.into();
            slot["n_prompt_tokens"] = view.n_prompt.into();
            slot["params"] = settings(&view.options, false, false, true);
            slot["next_token"] = json!([{
                "has_next_token": view.is_processing,
                "n_remain": limit.map_or(-1, |n| n.saturating_sub(view.n_generated) as i64),
                "n_decoded": view.n_generated,
            }]);
        }
        slot
    });
    Ok(json_response(&slots.collect()))
}

/// `GET /lora-adapters`.
pub(crate) async fn lora_adapters(State(app): State<Arc<App>>) -> Response {
    let scales = app.shared.loras();
    let all = app.options.loras.iter().zip(scales).enumerate().map(|(id, (lora, scale))| {
        json!({ "id": id, "path": lora.path, "scale": scale, "task_name": "", "prompt_prefix": "" })
    });
    json_response(&all.collect())
}

/// `POST /lora-adapters`: who is not named does not work any more. Texts under way are not changed.
pub(crate) async fn set_lora_adapters(State(app): State<Arc<App>>, body: Bytes) -> Answer {
    let value = serde_json::from_slice(&body)
        .map_err(|error| ApiError::invalid(format!("the body is not JSON: {error}")))?;
    if !matches!(value, Value::Array(_)) {
        return Err(ApiError::invalid("Request body must be an array"));
    }
    // llama-server passes over adapters that it has not.
    app.shared.set_loras(strengths(&known(&value, app.options.loras.len()), app.options.loras.len())?);
    Ok(json_response(&json!({ "success": true })))
}

/// The entries whose ids are those of adapters.
fn known(value: &Value, n_adapters: usize) -> Value {
    let is_known =
        |one: &&Value| one.get("id").and_then(Value::as_u64).is_none_or(|id| id < n_adapters as u64);
    value.as_array().into_iter().flatten().filter(is_known).cloned().collect()
}

/// `GET /v1/loads`: what a gateway asks before it chooses.
pub(crate) async fn loads(State(app): State<Arc<App>>) -> Response {
    let (running, waiting) = (app.shared.n_busy(), n_waiting(&app));
    json_response(
        &json!({ "num_running_reqs": running, "num_waiting_reqs": waiting, "num_reqs": running + waiting }),
    )
}

fn n_waiting(app: &App) -> usize {
    app.jobs.as_ref().map_or(0, |jobs| jobs.max_capacity() - jobs.capacity())
}

/// `GET /metrics`: Prometheus text.
pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Answer {
    if !app.options.metrics {
        return Err(unsupported("This server does not support metrics endpoint. Start it with `--metrics`"));
    }
    let t = app.shared.totals();
    let per_second =
        |n: u64, time: Duration| if time.is_zero() { 0.0 } else { n as f64 / time.as_secs_f64() };
    let busy = if t.n_decode == 0 { 0.0 } else { t.n_busy as f64 / t.n_decode as f64 };
    let rows: [(&str, &str, &str, f64); 11] = [
        ("prompt_tokens_total", "counter", "Number of prompt tokens processed.", t.n_prompt as f64),
        ("prompt_seconds_total", "counter", "Prompt process time", t.prompt.as_secs_f64()),
        ("tokens_predicted_total", "counter", "Number of generation tokens processed.", t.n_generated as f64),
        ("tokens_predicted_seconds_total", "counter", "Predict process time", t.generated.as_secs_f64()),
        ("n_decode_total", "counter", "Total number of calls that computed", t.n_decode as f64),
        (
            "n_tokens_max",
            "counter",
            "Largest observed number of tokens in the context",
            t.n_tokens_max as f64,
        ),
        ("n_busy_slots_per_decode", "gauge", "Average number of busy slots per call", busy),
        (
            "prompt_tokens_seconds",
            "gauge",
            "Average prompt throughput in tokens/s.",
            per_second(t.n_prompt, t.prompt),
        ),
        (
            "predicted_tokens_seconds",
            "gauge",
            "Average generation throughput in tokens/s.",
            per_second(t.n_generated, t.generated),
        ),
        ("requests_processing", "gauge", "Number of requests processing.", app.shared.n_busy() as f64),
        ("requests_deferred", "gauge", "Number of requests deferred.", n_waiting(&app) as f64),
    ];
    let mut text = String::new();
    for (name, kind, help, value) in rows {
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "# HELP llamacpp:{name} {help}\n# TYPE llamacpp:{name} {kind}\nllamacpp:{name} {value}"
        );
    }
    let started = seconds().saturating_sub(app.started.elapsed().as_secs()).to_string();
    let headers = [
        (header::CONTENT_TYPE, "text/plain; version=0.0.4".to_owned()),
        (header::HeaderName::from_static("process-start-time-unix"), started),
    ];
    Ok((headers, text).into_response())
}

fn unsupported(message: &str) -> ApiError {
    ApiError::new(Kind::NotSupported, message)
}
