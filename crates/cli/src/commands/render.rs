//! `quipu render`: the prompt that a template makes of a conversation.

use std::io::Write;
use std::path::{Path, PathBuf};

use quipu::{ChatTemplate, Model, Variables};
use serde_json::Value;

use crate::chat_template::{TemplateArgs, parse_kwargs};
use crate::fail::{Failure, writing};
use crate::input::read_text;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// GGUF file, of which only the metadata are read; without it the embedded demo model is used.
    #[arg(short = 'm', long = "model", value_name = "MODEL")]
    model: Option<PathBuf>,
    #[command(flatten)]
    template: TemplateArgs,
    /// JSON file with a list of messages.
    #[arg(long, value_name = "FILE")]
    messages: PathBuf,
    /// JSON file with a list of tools.
    #[arg(long, value_name = "FILE")]
    tools: Option<PathBuf>,
    /// Variables for the template, as a JSON object; they win over all others.
    #[arg(long, value_name = "JSON")]
    kwargs: Option<String>,
    /// Don't open the assistant's turn.
    #[arg(long)]
    no_generation_prompt: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let messages = read_json(&args.messages)?;
    if !messages.is_array() {
        return Err(Failure::Input(format!("{}: expected a JSON list of messages", args.messages.display())));
    }
    let tools = args.tools.as_deref().map(read_json).transpose()?;
    let mut kwargs = args.template.kwargs()?;
    if let Some(text) = &args.kwargs {
        kwargs.extend(parse_kwargs("--kwargs", text)?);
    }
    let template = template(args, tools.is_some())?;
    let variables = Variables::new(messages, tools, !args.no_generation_prompt, kwargs);
    let text = template.render_with(&variables)?;
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(writing)
}

fn template(args: &Args, with_tools: bool) -> Result<ChatTemplate, Failure> {
    let own = args.template.source()?;
    match (&args.model, own) {
        (None, Some(source)) => Ok(Model::embedded()?.chat_template_from(&source)?),
        (Some(path), Some(source)) => {
            let tokenizer = quipu::open_tokenizer(path)?;
            Ok(quipu::chat_template_for(&source, &tokenizer)?)
        }
        (Some(path), None) => Ok(quipu::open_chat_template(path, with_tools)?),
        (None, None) => Ok(Model::embedded()?.chat_template()?),
    }
}

fn read_json(path: &Path) -> Result<Value, Failure> {
    let text = read_text(path)?;
    serde_json::from_str(&text).map_err(|error| Failure::Input(format!("{}: {error}", path.display())))
}
