//! The forms a prompt may have (`tokenize_input_prompts`).

use quipu::{TokenId, Tokenizer};
use serde_json::Value;

use crate::api_error::ApiError;
use crate::json::token;

/// One prompt.
pub(crate) type Prompt = Vec<TokenId>;

/// The prompts of a request: a text, ids, texts and ids mixed, or a list of such prompts. A list that holds a number is one prompt.
///
/// # Errors
/// Another form, an id outside the vocabulary, more than `most` prompts.
pub(crate) fn prompts(
    tokenizer: &Tokenizer,
    value: Option<&Value>,
    most: usize,
) -> Result<Vec<Prompt>, ApiError> {
    let Some(value) = value else { return Err(ApiError::invalid("\"prompt\" is required")) };
    let all = match value {
        Value::Array(all) if all.is_empty() => return Err(ApiError::invalid("\"prompt\" must not be empty")),
        Value::Array(all) if !all.iter().any(Value::is_number) => all.as_slice(),
        one => std::slice::from_ref(one),
    };
    if all.len() > most {
        return Err(ApiError::invalid(format!("{} prompts, expected at most {most}", all.len())));
    }
    all.iter().map(|one| prompt(tokenizer, one)).collect()
}

fn prompt(tokenizer: &Tokenizer, value: &Value) -> Result<Prompt, ApiError> {
    let found = match value {
        Value::Object(map) => {
            if map.contains_key("multimodal_data") {
                let message = "Multimodal data provided, but model does not support multimodal requests.";
                return Err(ApiError::invalid(message));
            }
            map.get("prompt_string").filter(|text| text.is_string())
        }
        other => Some(other),
    };
    found.and_then(|value| tokens_of(tokenizer, value, true, true).transpose()).unwrap_or_else(|| {
        Err(ApiError::invalid(
            "\"prompt\" elements must be a string, a list of tokens, a JSON object containing a prompt string, or a list of mixed \
             strings & tokens.",
        ))
    })
}

/// The text of ids, special tokens shown: their pieces as they are (`tokens_to_str`).
pub(crate) fn text_of(tokenizer: &Tokenizer, ids: &[TokenId]) -> String {
    let pieces = ids.iter().filter_map(|id| tokenizer.piece(*id, true).ok());
    String::from_utf8_lossy(&pieces.flatten().copied().collect::<Vec<u8>>()).into_owned()
}

/// The ids of a text, or of a list of texts and ids, of which only a text at the beginning gets what begins every text
/// (`tokenize_mixed`); `None` if it is neither.
///
/// # Errors
/// An id outside the vocabulary, a text that cannot be tokenized.
pub(crate) fn tokens_of(
    tokenizer: &Tokenizer,
    value: &Value,
    add_special: bool,
    parse_special: bool,
) -> Result<Option<Prompt>, ApiError> {
    let encode = |text: &str, add: bool| {
        tokenizer.encode(text, add, parse_special).map_err(|error| ApiError::invalid(error.to_string()))
    };
    let all = match value {
        Value::String(text) => return encode(text, add_special).map(Some),
        Value::Array(all) => all,
        _ => return Ok(None),
    };
    let mut tokens = Vec::new();
    for (i, one) in all.iter().enumerate() {
        match one {
            Value::String(text) => tokens.extend(encode(text, add_special && i == 0)?),
            Value::Number(number) => {
                let id = token(one).filter(|id| (*id as usize) < tokenizer.n_tokens()).ok_or_else(|| {
                    let n = tokenizer.n_tokens();
                    ApiError::invalid(format!(
                        "Prompt contains invalid tokens: {number}, expected ids below {n}"
                    ))
                })?;
                tokens.push(id);
            }
            _ => return Ok(None),
        }
    }
    Ok(Some(tokens))
}
