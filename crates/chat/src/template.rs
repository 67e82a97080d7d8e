//! A parsed chat template and its environment.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, ErrorKind, Output, State, context};
use minijinja_contrib::pycompat::unknown_method_callback;

use crate::error::{Error, RaisedByTemplate, from_parse, from_render};
use crate::{json, strftime, tags};

const NAME: &str = "chat_template";

/// Longest source: real ones are below 64 KiB.
const SOURCE_MAX: usize = 256 << 10;
/// Stack for the engine, which recurses along chains such as `not not x` or `elif` without a limit of its own. A
/// level costs some hundred bytes and at least one byte of source, so this suffices for the longest source. Only the
/// pages that are touched become memory.
const STACK: usize = 512 << 20;
/// Longest rendered text.
const OUTPUT_MAX: usize = 64 << 20;
/// Instructions of the engine allowed for a template, and for each message on top. Real templates use some hundreds
/// per message. The base is also what bounds how deep a template can nest the values that it builds.
const FUEL_BASE: u64 = 100_000;
const FUEL_PER_MESSAGE: u64 = 5_000;

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
}

/// A parsed chat template, ready to render any number of conversations.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos: String,
    eos: String,
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
        let environment = on_deep_stack(|| parse(source))?;
        Ok(Self { environment, bos: bos.to_string(), eos: eos.to_string() })
    }

    /// ChatML, which the reference falls back on when a model has no template.
    ///
    /// # Panics
    /// Never: the source is a constant that the tests parse.
    pub fn default_chatml() -> Self {
        let environment = parse(CHATML).expect("the built-in template parses");
        Self { environment, bos: String::new(), eos: String::new() }
    }

    /// Renders a conversation; `add_generation_prompt` appends the opening of the assistant's turn.
    ///
    /// The template sees `messages` (each with `role` and `content`), `bos_token`, `eos_token` and
    /// `add_generation_prompt`; `tools` and other variables are undefined. Dates are UTC.
    ///
    /// Not limited: strings that a template doubles in a variable without writing them.
    ///
    /// # Errors
    /// [`Error::Raised`] when the template refuses the messages, [`Error::Render`] when it fails,
    /// [`Error::TooMuchWork`] and [`Error::OutputTooLong`] when it exceeds its limits.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, Error> {
        on_deep_stack(|| self.render_here(messages, add_generation_prompt))
    }

    fn render_here(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, Error> {
        let fuel = FUEL_BASE + FUEL_PER_MESSAGE * messages.len() as u64;
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(fuel));
        let template = environment.get_template(NAME).map_err(|e| from_parse(&e))?;
        let messages: Vec<Value> = messages
            .iter()
            .map(|m| context! { role => m.role.as_str(), content => m.content.as_str() })
            .collect();
        let values = context! {
            messages => messages,
            bos_token => self.bos.as_str(),
            eos_token => self.eos.as_str(),
            add_generation_prompt => add_generation_prompt,
        };
        let mut text = LimitedText { bytes: Vec::new(), exceeded: false };
        let result = template.render_captured_to(values, &mut text).map(|_| ());
        if text.exceeded {
            return Err(Error::OutputTooLong { max: OUTPUT_MAX });
        }
        result.map_err(|e| from_render(&e, fuel))?;
        String::from_utf8(text.bytes).map_err(|e| Error::Render { line: 1, detail: e.to_string() })
    }
}

/// The environment of chat templates with `source` in it.
fn parse(source: &str) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.map_err(|e| from_parse(&e))?);
    environment.set_unknown_method_callback(unknown_method_callback);
    environment.set_formatter(write_python_like);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", strftime_now);
    environment.add_filter("tojson", json::tojson);
    let source = tags::neutralise_generation(source).into_owned();
    environment.add_template_owned(NAME, source).map_err(|e| from_parse(&e))?;
    Ok(environment)
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

/// Output of the engine, up to [`OUTPUT_MAX`] bytes.
struct LimitedText {
    bytes: Vec<u8>,
    exceeded: bool,
}

impl io::Write for LimitedText {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        if piece.len() > OUTPUT_MAX - self.bytes.len() {
            self.exceeded = true;
            return Err(io::Error::other("rendered text is too long"));
        }
        self.bytes.extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Python writes `True`, `False` and `None`; templates are written for it.
fn write_python_like(
    out: &mut Output<'_>,
    state: &mut State<'_, '_>,
    value: &Value,
) -> Result<(), minijinja::Error> {
    let word = match value.kind() {
        ValueKind::None => "None",
        ValueKind::Bool if value.is_true() => "True",
        ValueKind::Bool => "False",
        _ => return minijinja::escape_formatter(out, state, value),
    };
    out.write_str(word).map_err(minijinja::Error::from)
}

/// The function with which a template refuses a conversation.
fn raise_exception(message: String) -> Result<Value, minijinja::Error> {
    let error = minijinja::Error::new(ErrorKind::InvalidOperation, message.clone());
    Err(error.with_source(RaisedByTemplate(message)))
}

/// The function with which a template asks for the date.
fn strftime_now(pattern: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    strftime::format(pattern, now)
}
