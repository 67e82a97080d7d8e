//! Options about chat templates.

use std::path::PathBuf;

use quipu::{ChatTemplate, Model};
use serde_json::{Map, Value};

use crate::fail::Failure;
use crate::input::read_text;

#[derive(Debug, clap::Args)]
pub(crate) struct TemplateArgs {
    /// Jinja template to use instead of the model's, or `chatml`.
    #[arg(long, value_name = "TEMPLATE", overrides_with = "chat_template_file")]
    chat_template: Option<String>,
    /// File with a Jinja template to use instead of the model's.
    #[arg(long, value_name = "FILE", overrides_with = "chat_template")]
    chat_template_file: Option<PathBuf>,
    /// Variables for the template, as a JSON object.
    #[arg(long, value_name = "JSON")]
    chat_template_kwargs: Option<String>,
    /// Templates are Jinja; accepted for llama.cpp's sake.
    #[arg(long, overrides_with = "jinja")]
    jinja: bool,
}

impl TemplateArgs {
    /// The text of the user's template, if there is one.
    pub fn source(&self) -> Result<Option<String>, Failure> {
        match (&self.chat_template, &self.chat_template_file) {
            (Some(name), _) if name == "chatml" => {
                Ok(Some(ChatTemplate::default_chatml().source().to_owned()))
            }
            (Some(source), _) => Ok(Some(source.clone())),
            (None, Some(path)) => read_text(path).map(Some),
            (None, None) => Ok(None),
        }
    }

    /// The user's template, or the model's.
    pub fn template(&self, model: &Model) -> Result<ChatTemplate, Failure> {
        match self.source()? {
            Some(source) => Ok(model.chat_template_from(&source)?),
            None => Ok(model.chat_template()?),
        }
    }

    /// The user's variables.
    pub fn kwargs(&self) -> Result<Map<String, Value>, Failure> {
        match &self.chat_template_kwargs {
            Some(text) => parse_kwargs("--chat-template-kwargs", text),
            None => Ok(Map::new()),
        }
    }
}

/// A JSON object given to an option.
pub(crate) fn parse_kwargs(option: &str, text: &str) -> Result<Map<String, Value>, Failure> {
    match serde_json::from_str(text) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(Failure::Input(format!("{option}: expected a JSON object"))),
        Err(error) => Err(Failure::Input(format!("{option}: {error}, expected a JSON object"))),
    }
}
