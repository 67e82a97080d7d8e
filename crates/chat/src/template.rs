//! A parsed chat template and what it is rendered with.

use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use crate::Limits;
use crate::capabilities::Capabilities;
use crate::error::{Error, from_fail};
use crate::jinja::{self, Host};

/// Longest source: real ones are below 64 KiB.
const SOURCE_MAX: usize = 256 << 10;
/// Stack for the interpreter, whose nesting is bounded. Only the pages that are touched become memory.
const STACK: usize = 64 << 20;

/// Steps of a render, and more for each byte of the input. Real templates use some hundreds per message.
const STEPS_BASE: u64 = 5_000_000;
const STEPS_PER_BYTE: u64 = 200;
/// Bytes of values, and more for each byte of the input, which is copied once.
const MEMORY_BASE: usize = 128 << 20;
const MEMORY_PER_BYTE: usize = 16;
/// Bytes of output.
const OUTPUT_BASE: usize = 64 << 20;
const OUTPUT_PER_BYTE: usize = 4;

/// ChatML, for models without a template of their own.
const CHATML: &str = "{% for message in messages %}\
    {{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}\
    {% endfor %}\
    {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who speaks: `system`, `user`, `assistant`, or what the template knows.
    pub role: String,
    /// The text.
    pub content: String,
}

impl Message {
    /// A turn by `role`.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }

    /// The turn as templates see it.
    pub fn to_json(&self) -> Value {
        json!({ "role": self.role, "content": self.content })
    }
}

/// What a template sees, exactly: nothing is added and nothing is changed.
#[derive(Debug, Clone)]
pub struct Variables {
    /// The variables by name. `messages` and `add_generation_prompt` are among them.
    pub values: Map<String, Value>,
    /// What `strftime_now` takes for the present.
    pub now: SystemTime,
    /// The bounds; None for those that fit the input's size.
    pub limits: Option<Limits>,
}

impl Variables {
    /// The variables that transformers gives a template; `tools` only where there are some, `kwargs` over all.
    pub fn new(
        messages: Value,
        tools: Option<Value>,
        add_generation_prompt: bool,
        kwargs: Map<String, Value>,
    ) -> Self {
        let mut values = Map::new();
        values.insert("messages".to_owned(), messages);
        if let Some(tools) = tools {
            values.insert("tools".to_owned(), tools);
        }
        values.insert("add_generation_prompt".to_owned(), Value::Bool(add_generation_prompt));
        values.extend(kwargs);
        Self { values, now: SystemTime::now(), limits: None }
    }
}

/// A parsed chat template, ready to render any number of conversations.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    template: Arc<jinja::ast::Template>,
    source: Arc<str>,
    bos: Value,
    eos: Value,
    pub(crate) capabilities: OnceLock<Capabilities>,
}

impl ChatTemplate {
    /// Parses `source` (Jinja); `bos` and `eos` are the texts of the model's special tokens, which the template sees as
    /// `bos_token` and `eos_token`.
    ///
    /// # Errors
    /// [`Error::Syntax`] with the line, [`Error::SourceTooLong`].
    pub fn new(source: &str, bos: &str, eos: &str) -> Result<Self, Error> {
        if source.len() > SOURCE_MAX {
            return Err(Error::SourceTooLong { len: source.len(), max: SOURCE_MAX });
        }
        let template = on_deep_stack(|| {
            jinja::parse(source)
                .map_err(|error| Error::Syntax { line: error.line as usize, detail: error.detail })
        })?;
        Ok(Self {
            template: Arc::new(template),
            source: source.into(),
            bos: bos.into(),
            eos: eos.into(),
            capabilities: OnceLock::new(),
        })
    }

    /// ChatML, which the reference falls back on when a model has no template.
    ///
    /// # Panics
    /// Never: the source is a constant that the tests parse.
    pub fn default_chatml() -> Self {
        let template = jinja::parse(CHATML).expect("the built-in template parses");
        Self {
            template: Arc::new(template),
            source: CHATML.into(),
            bos: "".into(),
            eos: "".into(),
            capabilities: OnceLock::new(),
        }
    }

    /// The template's text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The text of the beginning-of-sequence token.
    pub fn bos(&self) -> &str {
        self.bos.as_str().unwrap_or_default()
    }

    /// The text of the end-of-sequence token.
    pub fn eos(&self) -> &str {
        self.eos.as_str().unwrap_or_default()
    }

    /// Renders texts; `add_generation_prompt` appends the opening of the assistant's turn.
    ///
    /// The template sees `messages` (each with `role` and `content`), `bos_token`, `eos_token` and
    /// `add_generation_prompt`; `tools` and other variables are undefined. Dates are UTC.
    ///
    /// # Errors
    /// Those of [`ChatTemplate::render_with`].
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, Error> {
        let messages = messages.iter().map(Message::to_json).collect();
        self.render_with(&Variables::new(messages, None, add_generation_prompt, Map::new()))
    }

    /// Renders with these variables, and `bos_token` and `eos_token` where they are not among them: what
    /// transformers' `apply_chat_template` gives.
    ///
    /// # Errors
    /// [`Error::Raised`] when the template refuses the messages, [`Error::Render`] when it fails,
    /// [`Error::Exceeded`] when it meets one of its bounds.
    pub fn render_with(&self, variables: &Variables) -> Result<String, Error> {
        let mut values: Vec<(&str, &Value)> = vec![("bos_token", &self.bos), ("eos_token", &self.eos)];
        values.extend(variables.values.iter().map(|(name, value)| (name.as_str(), value)));
        let limits = variables.limits.unwrap_or_else(|| {
            let bytes: usize = variables.values.values().map(size).sum::<usize>() + self.source.len();
            Limits {
                steps: STEPS_BASE.saturating_add(STEPS_PER_BYTE.saturating_mul(bytes as u64)),
                memory: MEMORY_BASE.saturating_add(MEMORY_PER_BYTE.saturating_mul(bytes)),
                output: OUTPUT_BASE.saturating_add(OUTPUT_PER_BYTE.saturating_mul(bytes)),
            }
        });
        let host = Host { variables: &values, now: variables.now };
        on_deep_stack(|| {
            jinja::render(&self.template, &host, limits).map_err(|(line, fail)| from_fail(line, fail))
        })
    }
}

/// Bytes of a JSON value, roughly as it is held.
fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 16,
        Value::Array(items) => items.iter().map(size).sum::<usize>() + 16,
        Value::Object(map) => map.iter().map(|(key, value)| key.len() + 16 + size(value)).sum::<usize>() + 16,
        _ => 16,
    }
}

/// Runs `work` on a thread of its own with a stack of [`STACK`] bytes.
fn on_deep_stack<T: Send>(work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().name("chat-template".to_string()).stack_size(STACK);
        let thread = builder
            .spawn_scoped(scope, work)
            .map_err(|e| Error::NoThread { stack: STACK, detail: e.to_string() })?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
