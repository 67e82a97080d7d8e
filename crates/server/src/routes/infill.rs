//! Filling in the middle.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use quipu::{TokenId, Tokenizer};
use serde_json::Value;

use crate::answer::Style;
use crate::api_error::{ApiError, Kind};
use crate::app::App;
use crate::json::{Fields, parse};
use crate::request::completion;
use crate::routes::text::generate;
use crate::routes::{Answer, apart};

/// What goes between files where the vocabulary has no token for it.
const SNIP: &str = "\n\n--- snip ---\n\n";

/// What stands around the gap, and beside it.
struct Around<'a> {
    prefix: &'a str,
    suffix: &'a str,
    prompt: &'a str,
    /// Other files: names and texts.
    extra: Vec<(&'a str, &'a str)>,
}

/// The sizes that bound the parts.
#[allow(clippy::struct_field_names)] // the field's names
struct Room {
    n_batch: usize,
    n_ctx: usize,
    n_predict: usize,
}

/// `POST /infill`.
pub(crate) async fn infill(State(app): State<Arc<App>>, body: Bytes) -> Answer {
    let reading = Arc::clone(&app);
    let (wanted, tokens) = apart(move || {
        let body = parse(&body)?;
        let wanted = completion(&body, &reading.options, &reading.tokenizer)?;
        let around = around(Fields::new(&body))?;
        let n_batch = reading.options.engine.context.n_batch;
        let room =
            Room { n_batch, n_ctx: reading.n_ctx_slot, n_predict: wanted.options.max_tokens.unwrap_or(0) };
        let layout = layout(&reading.tokenizer, &around, &room, reading.options.spm_infill)?;
        Ok((wanted, layout))
    })
    .await?;
    generate(&app, wanted, vec![tokens], Style::Native, String::new()).await
}

fn around(fields: Fields<'_>) -> Result<Around<'_>, ApiError> {
    let needed = |name: &'static str| {
        let message = || ApiError::invalid(format!("\"{name}\" is required"));
        fields.text(name)?.ok_or_else(message)
    };
    let extra = match fields.get("input_extra") {
        None => Vec::new(),
        Some(Value::Array(all)) => all
            .iter()
            .map(|one| {
                let text = |name| one.get(name).and_then(Value::as_str);
                let wrong = || {
                    ApiError::invalid("extra_context chunk must contain a \"text\" field with a string value")
                };
                Ok((text("filename").unwrap_or("tmp"), text("text").ok_or_else(wrong)?))
            })
            .collect::<Result<_, ApiError>>()?,
        Some(_) => {
            return Err(ApiError::invalid(
                "\"input_extra\" must be an array of {\"filename\": string, \"text\": string}",
            ));
        }
    };
    Ok(Around {
        prefix: needed("input_prefix")?,
        suffix: needed("input_suffix")?,
        prompt: fields.text("prompt")?.unwrap_or(""),
        extra,
    })
}

/// The prompt of a gap (`format_prompt_infill`).
fn layout(
    tokenizer: &Tokenizer,
    around: &Around<'_>,
    room: &Room,
    suffix_first: bool,
) -> Result<Vec<TokenId>, ApiError> {
    let special = tokenizer.special_tokens();
    let (Some(pre), Some(suf), Some(mid)) = (special.fim_pre, special.fim_suf, special.fim_mid) else {
        return Err(ApiError::new(Kind::NotSupported, "Infill is not supported by this model"));
    };
    let encode = |text: &str| {
        tokenizer.encode(text, false, false).map_err(|error| ApiError::invalid(error.to_string()))
    };
    let mut extra = Vec::new();
    if let Some(rep) = special.fim_rep {
        extra.push(rep);
        extra.extend(encode("myproject\n")?);
    }
    for (name, text) in &around.extra {
        match special.fim_sep {
            Some(sep) => {
                extra.push(sep);
                extra.extend(encode(&format!("{name}\n"))?);
            }
            None => extra.extend(encode(SNIP)?),
        }
        extra.extend(encode(text)?);
    }
    if let Some(sep) = special.fim_sep {
        extra.push(sep);
        extra.extend(encode("filename\n")?);
    }
    let prompt = encode(around.prompt)?;
    let (prefix, suffix) = (encode(around.prefix)?, encode(around.suffix)?);
    let quarter = room.n_batch / 4;
    let prefix = last(&prefix, 3 * quarter);
    let n_suffix = suffix.len().min(quarter.saturating_sub(2 + prompt.len()));
    let extra = last(&extra, room.n_ctx.saturating_sub(room.n_batch + 2 * room.n_predict));
    let mut tokens = extra.to_vec();
    if tokenizer.add_bos() {
        tokens.extend(special.bos);
    }
    let before: Vec<TokenId> = [pre].into_iter().chain(prefix.iter().copied()).chain(prompt).collect();
    let after: Vec<TokenId> = [suf].into_iter().chain(suffix[..n_suffix].iter().copied()).collect();
    let (first, second) = if suffix_first { (after, before) } else { (before, after) };
    tokens.extend(first);
    tokens.extend(second);
    tokens.push(mid);
    Ok(tokens)
}

fn last(tokens: &[TokenId], n: usize) -> &[TokenId] {
    &tokens[tokens.len() - n.min(tokens.len())..]
}
