//! Chat requests: a conversation becomes a prompt, the rest is a completion's (`oaicompat_chat_params_parse`).

use quipu::{ChatTemplate, Conversation, Tokenizer};
use serde_json::{Map, Value};

use crate::api_error::{ApiError, Kind};
use crate::json::{Fields, field};
use crate::options::ServerOptions;

/// A chat made into a completion.
#[derive(Debug)]
pub(crate) struct ChatRequest {
    /// The text of the prompt, special tokens spelled out.
    pub prompt: String,
    /// The beginning of the answer that the request gave.
    pub begun: String,
    /// The body as a completion's fields.
    pub body: Map<String, Value>,
}

/// Renders the conversation and translates what only chats say.
///
/// # Errors
/// Messages that are none, content this server cannot take, a template that fails, tools.
pub(crate) fn chat(
    mut body: Map<String, Value>,
    template: &ChatTemplate,
    tokenizer: &Tokenizer,
    server: &ServerOptions,
) -> Result<ChatRequest, ApiError> {
    let fields = Fields::new(&body);
    let has_tools = fields.get("tools").and_then(Value::as_array).is_some_and(|tools| !tools.is_empty());
    if has_tools {
        return Err(ApiError::new(Kind::NotSupported, "This server does not support tools."));
    }
    let schema = schema(fields)?;
    let mut messages = messages(fields)?;
    let add_prompt = fields.flag("add_generation_prompt")?;
    let continues = continues(fields)?;
    let is_assistant = |message: &Value| message.get("role").is_some_and(|role| role == "assistant");
    // An answer that has begun already is gone on with.
    let is_begun = continues.unwrap_or(server.prefill_assistant) && messages.last().is_some_and(is_assistant);
    let begun = is_begun.then(|| messages.pop()).flatten().map(|last| content_text(&last));
    if begun.is_some() && continues.is_none() && messages.last().is_some_and(is_assistant) {
        let message = "Cannot have 2 or more assistant messages at the end of the list.";
        return Err(ApiError::invalid(message));
    }
    if continues == Some(true) && add_prompt.unwrap_or(true) {
        let message = "Cannot set both add_generation_prompt and continue_final_message to true.";
        return Err(ApiError::invalid(message));
    }
    let mut conversation = Conversation::new(messages);
    conversation.add_generation_prompt = add_prompt.unwrap_or(true) || begun.is_some();
    conversation.kwargs.clone_from(&server.chat_template_kwargs);
    if let Some(Value::Object(kwargs)) = fields.get("chat_template_kwargs") {
        conversation.kwargs.extend(kwargs.clone());
    }
    match conversation.kwargs.get("enable_thinking") {
        Some(Value::Bool(on)) => conversation.enable_thinking = *on,
        Some(Value::String(_)) => {
            let message = "invalid type for \"enable_thinking\" (expected boolean, got string)";
            return Err(ApiError::invalid(message));
        }
        _ => {}
    }
    if fields.get("reasoning_effort").is_some_and(|effort| effort == "none") {
        conversation.enable_thinking = false;
    }
    let rendered = template.apply(&conversation, tokenizer.add_bos(), tokenizer.add_eos());
    let mut prompt = rendered.map_err(|error| ApiError::invalid(error.to_string()))?;
    let begun = begun.unwrap_or_default();
    prompt.push_str(&begun);
    logprobs(&mut body)?;
    if let Some(schema) = schema {
        body.insert("json_schema".to_owned(), schema);
    }
    Ok(ChatRequest { prompt, begun, body })
}

/// Whether the last message is to be gone on with, if the request says so.
fn continues(fields: Fields<'_>) -> Result<Option<bool>, ApiError> {
    match fields.get("continue_final_message") {
        None | Some(Value::Bool(false)) => Ok(None),
        Some(Value::Bool(true)) => Ok(Some(true)),
        Some(Value::String(part)) if part == "content" => Ok(Some(true)),
        Some(other) => {
            Err(field("continue_final_message", &format!("{other}, expected true, false or \"content\"")))
        }
    }
}

/// The messages, each of them one that this server can take.
fn messages(fields: Fields<'_>) -> Result<Vec<Value>, ApiError> {
    let messages = match fields.get("messages") {
        None => return Err(ApiError::invalid("'messages' is required")),
        Some(Value::Array(messages)) => messages,
        Some(_) => return Err(ApiError::invalid("Expected 'messages' to be an array")),
    };
    for message in messages {
        let is_assistant = message.get("role").is_some_and(|role| role == "assistant");
        let content = message.get("content");
        match content {
            None if !is_assistant => {
                return Err(ApiError::invalid("All non-assistant messages must contain 'content'"));
            }
            None if message.get("tool_calls").is_none() => {
                let what = "Assistant message must contain either 'content' or 'tool_calls'!";
                return Err(ApiError::invalid(what));
            }
            None | Some(Value::String(_) | Value::Null) => {}
            Some(Value::Array(parts)) => parts.iter().try_for_each(check_part)?,
            Some(_) => return Err(ApiError::invalid("Expected 'content' to be a string or an array")),
        }
    }
    Ok(messages.clone())
}

fn check_part(part: &Value) -> Result<(), ApiError> {
    let media = match part.get("type").and_then(Value::as_str) {
        Some("text") => return Ok(()),
        Some("image_url") => "image",
        Some("input_audio") => "audio",
        Some("input_video") => "video",
        _ => return Err(ApiError::invalid("unsupported content[].type")),
    };
    let message = format!(
        "{media} input is not supported - hint: if this is unexpected, you may need to provide the mmproj"
    );
    Err(ApiError::new(Kind::Server, message))
}

/// The text of a message, its parts one after the other.
fn content_text(message: &Value) -> String {
    match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str)).collect()
        }
        _ => String::new(),
    }
}

/// What `response_format` or `json_schema` say the answer must be.
fn schema(fields: Fields<'_>) -> Result<Option<Value>, ApiError> {
    let given = fields.get("json_schema").cloned();
    let grammar = fields.text("grammar")?.unwrap_or("");
    if given.is_some() && !grammar.is_empty() {
        return Err(ApiError::new(Kind::Server, "Cannot use both json_schema and grammar"));
    }
    let Some(format) = fields.object("response_format")? else { return Ok(given) };
    // A completion's schema that says nothing is one of objects.
    let nothing_said = || Value::Object(Map::new());
    match format.text("type")?.unwrap_or("") {
        "json_object" => Ok(format.get("schema").cloned().or(given).or_else(|| Some(nothing_said()))),
        "json_schema" => {
            let wrapped = format.object("json_schema")?.and_then(|wrapper| wrapper.get("schema"));
            Ok(Some(wrapped.cloned().unwrap_or_else(nothing_said)))
        }
        "" | "text" => Ok(given),
        other => Err(ApiError::invalid(format!(
            "response_format type must be one of \"text\" or \"json_object\", but got: {other}"
        ))),
    }
}

/// OpenAI's two fields become the one of completions.
fn logprobs(body: &mut Map<String, Value>) -> Result<(), ApiError> {
    let fields = Fields::new(body);
    let wanted = match fields.get("logprobs") {
        Some(Value::Bool(on)) => *on,
        None => false,
        Some(other) => return Err(crate::json::wrong_type("logprobs", "boolean", other)),
    };
    let top = fields.integer(&["top_logprobs"], 0, i64::from(i32::MAX))?;
    if !wanted && top.is_some() {
        return Err(ApiError::invalid("top_logprobs requires logprobs to be set to true"));
    }
    body.remove("logprobs");
    if wanted {
        if body.contains_key("n_probs") {
            return Err(field("n_probs", "expected logprobs and top_logprobs alone"));
        }
        body.insert("n_probs".to_owned(), top.unwrap_or(20).into());
    }
    Ok(())
}
