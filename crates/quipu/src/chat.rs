//! The chat templates of a model file.

use std::path::Path;

use quipu_chat::ChatTemplate;
use quipu_gguf::{GgufFile, Metadata, Value};
use quipu_tokenizer::Tokenizer;

use crate::error::Error;
use crate::vocabulary;

/// Where a file keeps its template; named ones follow after a dot.
const KEY: &str = "tokenizer.chat_template";

/// The templates of a file as they are found: whether they are usable matters only to those who use them.
#[derive(Debug, Clone, Default)]
pub(crate) struct ChatTemplates {
    /// The default one's text, or the type of what is in its place.
    default: Option<Result<String, String>>,
    named: Vec<(String, Result<String, String>)>,
}

impl ChatTemplates {
    pub fn find(metadata: &Metadata) -> Self {
        let text = |value: &Value| match value {
            Value::String(text) => {
                std::str::from_utf8(text).map(str::to_owned).map_err(|_| "not UTF-8".to_owned())
            }
            other => Err(format!("of the type {}", other.type_name())),
        };
        let mut found = Self::default();
        for (key, value) in metadata.iter() {
            match key.strip_prefix(KEY) {
                Some("") => found.default = Some(text(value)),
                Some(name) if name.starts_with('.') => found.named.push((name[1..].to_owned(), text(value))),
                _ => {}
            }
        }
        found
    }

    /// The default template, the one for tools where there is no other, or ChatML.
    pub fn default_template(&self, tokenizer: &Tokenizer) -> Result<ChatTemplate, Error> {
        let tool_use = || self.named.iter().find(|(name, _)| name == "tool_use").map(|(_, text)| text);
        match self.default.as_ref().or_else(tool_use) {
            Some(text) => parse(KEY, text, tokenizer),
            None => Ok(ChatTemplate::default_chatml()),
        }
    }

    /// The template of this name, if there is one.
    pub fn named_template(&self, name: &str, tokenizer: &Tokenizer) -> Result<Option<ChatTemplate>, Error> {
        let found = self.named.iter().find(|(known, _)| known == name);
        found.map(|(_, text)| parse(&format!("{KEY}.{name}"), text, tokenizer)).transpose()
    }
}

fn parse(key: &str, text: &Result<String, String>, tokenizer: &Tokenizer) -> Result<ChatTemplate, Error> {
    match text {
        Ok(source) => template_for(source, tokenizer),
        Err(found) => Err(Error::ChatTemplateType { key: key.to_owned(), found: found.clone() }),
    }
}

/// A template of the user's for the vocabulary of a model.
///
/// # Errors
/// The source is not a template.
pub fn template_for(source: &str, tokenizer: &Tokenizer) -> Result<ChatTemplate, Error> {
    let text = |id: Option<u32>| {
        let bytes = id.and_then(|id| tokenizer.text(id).ok()).unwrap_or(b"");
        String::from_utf8_lossy(bytes).into_owned()
    };
    let special = tokenizer.special_tokens();
    Ok(ChatTemplate::new(source, &text(special.bos), &text(special.eos))?)
}

/// Reads the chat template of a GGUF file, which may hold no weights: the one for tools where tools are used and the
/// file has one, else the default one, else ChatML.
///
/// # Errors
/// The file is missing or not GGUF, it has no vocabulary, or its template is not one.
pub fn open_chat_template(path: impl AsRef<Path>, with_tools: bool) -> Result<ChatTemplate, Error> {
    let path = path.as_ref();
    let file = GgufFile::open(path).map_err(|source| Error::Open { path: path.to_owned(), source })?;
    let tokenizer = vocabulary::find(file.metadata(), Some(path))?
        .ok_or(Error::NoVocabulary { name: path.display().to_string() })?;
    let templates = ChatTemplates::find(file.metadata());
    if with_tools && let Some(template) = templates.named_template("tool_use", &tokenizer)? {
        return Ok(template);
    }
    templates.default_template(&tokenizer)
}
