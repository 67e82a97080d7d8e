//! A conversation made ready for what a template can do, as the reference's `common_chat_templates_apply` does.

use std::time::SystemTime;

use serde_json::{Map, Value, json};

use crate::error::Error;
use crate::jinja::strftime;
use crate::probe::preserve_reasoning;
use crate::template::{ChatTemplate, Variables};

/// What is to be said, and how.
#[derive(Debug, Clone)]
pub struct Conversation {
    /// Messages as the OpenAI API has them: `role`, `content` (a text, a list of parts, or none), `tool_calls`,
    /// `reasoning_content`, ...
    pub messages: Vec<Value>,
    /// Descriptions of tools, if there are any.
    pub tools: Option<Value>,
    /// Whether the assistant's turn is opened.
    pub add_generation_prompt: bool,
    /// Whether the model may think before it answers.
    pub enable_thinking: bool,
    /// Variables for the template; they win over those that are set here.
    pub kwargs: Map<String, Value>,
    /// The present.
    pub now: SystemTime,
}

impl Conversation {
    /// A conversation without tools that asks for an answer.
    pub fn new(messages: Vec<Value>) -> Self {
        Self {
            messages,
            tools: None,
            add_generation_prompt: true,
            enable_thinking: true,
            kwargs: Map::new(),
            now: SystemTime::now(),
        }
    }
}

impl ChatTemplate {
    /// The prompt of a conversation, without the BOS and EOS texts that the template puts at its ends where the
    /// tokenizer adds them (`add_bos`, `add_eos`): so each is there once.
    ///
    /// The messages are prepared by the template's [`Capabilities`](crate::Capabilities): texts become parts or parts
    /// texts, a system text that the template would drop goes in front of the next message, arguments of calls are
    /// objects where they are wanted as such, absent content is empty. Besides `messages` and `tools` the template sees
    /// `enable_thinking`, `date_string`, `datetime` and, beside `tools`, `functions`.
    ///
    /// # Errors
    /// [`Error::Messages`] where the messages are none, and those of [`ChatTemplate::render_with`].
    pub fn apply(&self, conversation: &Conversation, add_bos: bool, add_eos: bool) -> Result<String, Error> {
        let variables = self.variables(conversation)?;
        let mut text = self.render_with(&variables)?;
        if add_bos && !self.bos().is_empty() && text.starts_with(self.bos()) {
            text.drain(..self.bos().len());
        }
        if add_eos && !self.eos().is_empty() && text.ends_with(self.eos()) {
            text.truncate(text.len() - self.eos().len());
        }
        Ok(text)
    }

    fn variables(&self, conversation: &Conversation) -> Result<Variables, Error> {
        let can = self.capabilities();
        let mut messages = Vec::with_capacity(conversation.messages.len());
        for (at, message) in conversation.messages.iter().enumerate() {
            messages.push(checked(at, message)?.clone());
        }
        // The one template that knows the role `developer`.
        if !self.source().contains("<|channel|>") {
            for message in &mut messages {
                if message.get("role") == Some(&json!("developer")) {
                    message.insert("role".to_owned(), json!("system"));
                }
            }
        }
        for message in &mut messages {
            set_content(message, can.string_content, can.typed_content);
            if can.object_arguments {
                parse_arguments(message);
            }
        }
        if !can.system_role {
            merge_system(&mut messages);
        }
        let mut values = Map::new();
        values.insert("enable_thinking".to_owned(), Value::Bool(conversation.enable_thinking));
        values.insert("date_string".to_owned(), strftime::format("%d %b %Y", conversation.now).into());
        values.insert("datetime".to_owned(), strftime::format("%b %d %Y", conversation.now).into());
        if let Some(tools) = &conversation.tools {
            values.insert("functions".to_owned(), tools.clone());
        }
        values.extend(conversation.kwargs.clone());
        if let Some(Value::Bool(on)) = values.get("preserve_reasoning") {
            for (name, value) in preserve_reasoning(*on) {
                values.entry(name).or_insert(value);
            }
        }
        let messages = messages.into_iter().map(Value::Object).collect();
        let tools = conversation.tools.clone();
        let mut variables = Variables::new(messages, tools, conversation.add_generation_prompt, values);
        variables.now = conversation.now;
        Ok(variables)
    }
}

/// A message, if it is one.
fn checked(at: usize, message: &Value) -> Result<&Map<String, Value>, Error> {
    let wrong = |detail: String| Err(Error::Messages { detail: format!("message {at}: {detail}") });
    let Value::Object(map) = message else { return wrong("expected an object".to_owned()) };
    if !matches!(map.get("role"), Some(Value::String(_))) {
        return wrong("'role' is missing or not a string".to_owned());
    }
    match map.get("content") {
        None | Some(Value::Null) if map.contains_key("content") || map.contains_key("tool_calls") => {}
        None => return wrong("expected 'content' or 'tool_calls'".to_owned()),
        Some(Value::Null | Value::String(_)) => {}
        Some(Value::Array(parts)) => {
            for part in parts {
                let known = part.get("type").and_then(Value::as_str);
                if known == Some("text") && !matches!(part.get("text"), Some(Value::String(_))) {
                    return wrong("a content part of the type 'text' has no 'text'".to_owned());
                }
                if known.is_none() {
                    return wrong("a content part has no 'type'".to_owned());
                }
            }
        }
        Some(_) => return wrong("'content' is neither a string nor a list of parts".to_owned()),
    }
    if let Some(calls) = map.get("tool_calls")
        && !matches!(calls, Value::Array(_) | Value::Null)
    {
        return wrong("'tool_calls' is not a list".to_owned());
    }
    Ok(map)
}

/// The texts of a content, joined by line breaks.
fn text_of(content: &Value) -> Option<String> {
    match content {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => {
            let texts: Option<Vec<&str>> = parts
                .iter()
                .map(|part| if part["type"] == "text" { part["text"].as_str() } else { None })
                .collect();
            texts.map(|texts| texts.join("\n"))
        }
        Value::Null => Some(String::new()),
        _ => None,
    }
}

/// Gives a message's content the form that the template reads.
fn set_content(message: &mut Map<String, Value>, string: bool, typed: bool) {
    let content = message.get("content").cloned().unwrap_or(Value::Null);
    let made = match (&content, string, typed) {
        (Value::String(text), false, true) => Some(json!([{ "type": "text", "text": text }])),
        // Where a call is made without a text.
        (Value::Null, _, _) => Some(json!("")),
        (Value::Array(_), true, false) => text_of(&content).map(Value::String),
        _ => None,
    };
    if let Some(made) = made {
        message.insert("content".to_owned(), made);
    }
}

/// Makes objects of arguments that are JSON texts.
fn parse_arguments(message: &mut Map<String, Value>) {
    let Some(Value::Array(calls)) = message.get_mut("tool_calls") else { return };
    for call in calls {
        let Some(arguments) = call.get_mut("function").and_then(|function| function.get_mut("arguments"))
        else {
            continue;
        };
        let parsed = arguments.as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
        if let Some(parsed @ Value::Object(_)) = parsed {
            *arguments = parsed;
        }
    }
}

/// Puts system texts in front of the message behind them, or makes user messages of them.
fn merge_system(messages: &mut Vec<Map<String, Value>>) {
    let mut at = 0;
    while at < messages.len() {
        if messages[at].get("role") != Some(&json!("system")) {
            at += 1;
            continue;
        }
        let text = messages[at].get("content").and_then(text_of);
        let next = messages.get(at + 1).is_some_and(|next| next.get("role") == Some(&json!("user")));
        let (Some(text), true) = (text, next) else {
            messages[at].insert("role".to_owned(), json!("user"));
            at += 1;
            continue;
        };
        messages.remove(at);
        let merged = match messages[at].get("content") {
            Some(Value::String(content)) => json!(format!("{text}\n{content}")),
            Some(Value::Array(parts)) => {
                let mut all = vec![json!({ "type": "text", "text": text })];
                all.extend(parts.iter().cloned());
                Value::Array(all)
            }
            _ => json!(text),
        };
        messages[at].insert("content".to_owned(), merged);
    }
}
