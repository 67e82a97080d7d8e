//! What a completion request says beside its prompt, over the server's defaults (`eval_llama_cmpl_schema`).

use std::time::Duration;

use quipu::sampler::{GrammarParams, SamplerKind};
use quipu::{ContextFull, GenerateOptions, SamplerParams, Tokenizer};
use serde_json::{Map, Value};

use crate::api_error::ApiError;
use crate::json::{Fields, field, schema_of_object, token, wrong_type};
use crate::options::ServerOptions;

/// Most probabilities a request may ask for at each token.
const MAX_PROBS: i64 = 4096;
/// Most stop strings, and most biases.
const MAX_STOPS: usize = 256;
const MAX_BIASES: usize = 1 << 16;

/// What is wanted of each prompt.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "independent switches of a request")]
pub(crate) struct Completion {
    /// How to generate.
    pub options: GenerateOptions,
    /// As many texts of each prompt.
    pub n: usize,
    /// Tell as it goes.
    pub stream: bool,
    /// A last chunk with the counts.
    pub include_usage: bool,
    /// The slot it is to have.
    pub slot: Option<usize>,
    /// How strongly each adapter works; `None`: as the server has it.
    pub loras: Option<Vec<f32>>,
    /// All ids at the end.
    pub return_tokens: bool,
    /// Progress of the prompt.
    pub return_progress: bool,
    /// Times in every chunk.
    pub timings_per_token: bool,
    /// The native answer inside of OpenAI's.
    pub verbose: bool,
    /// Of the native final answer only these paths.
    pub response_fields: Vec<String>,
    /// Silence after which a stream is told that the server lives.
    pub ping: Option<Duration>,
}

/// Reads them.
///
/// # Errors
/// A field of another type or out of its range; a grammar and a schema at once.
pub(crate) fn completion(
    body: &Map<String, Value>,
    server: &ServerOptions,
    tokenizer: &Tokenizer,
) -> Result<Completion, ApiError> {
    let fields = Fields::new(body);
    let flag = |name| Ok::<_, ApiError>(fields.flag(name)?.unwrap_or(false));
    let mut options = server.defaults.clone();
    let most = i64::from(i32::MAX);
    if let Some(n) = fields.integer(&["n_predict", "max_completion_tokens", "max_tokens"], -1, most)? {
        options.max_tokens = usize::try_from(n).ok();
    }
    if let Some(keep) = fields.integer(&["n_keep"], -1, most)?
        && let ContextFull::Shift { n_keep } = &mut options.context_full
    {
        *n_keep = keep as i32;
    }
    fields.integer(&["n_discard"], 0, most)?;
    fields.integer(&["n_indent"], 0, most)?;
    fields.integer(&["n_cache_reuse"], 0, most)?;
    if let Some(on) = fields.flag("cache_prompt")? {
        options.cache_prompt = on;
    }
    fields.flag("backend_sampling")?;
    if let Some(ms) = fields.integer(&["t_max_predict_ms"], -1, i64::MAX)? {
        options.time_limit = u64::try_from(ms).ok().map(Duration::from_millis);
    }
    if let Some(n) = fields.integer(&["n_probs", "logprobs"], 0, MAX_PROBS)? {
        options.n_probs = n as usize;
    }
    options.post_sampling_probs = flag("post_sampling_probs")?;
    sampling(fields, &mut options.sampling, &server.defaults.sampling, tokenizer)?;
    if let Some(stops) = stops(fields)? {
        options.stop = stops;
    }
    let stream_options = fields.object("stream_options")?;
    let ping = fields.integer(&["sse_ping_interval"], -1, most)?;
    Ok(Completion {
        options,
        n: fields.integer(&["n_cmpl", "n"], 1, server.engine.n_seq_max as i64)?.unwrap_or(1) as usize,
        stream: flag("stream")?,
        include_usage: stream_options
            .map(|o| o.flag("include_usage"))
            .transpose()?
            .flatten()
            .unwrap_or(false),
        slot: slot(fields, server.engine.n_seq_max),
        loras: fields.get("lora").map(|value| strengths(value, server.loras.len())).transpose()?,
        return_tokens: flag("return_tokens")?,
        return_progress: flag("return_progress")?,
        timings_per_token: flag("timings_per_token")?,
        verbose: flag("verbose")?,
        response_fields: fields.texts("response_fields")?.unwrap_or_default(),
        ping: match ping {
            None => server.sse_ping_interval,
            Some(n) if n <= 0 => None,
            Some(n) => Some(Duration::from_secs(n as u64)),
        },
    })
}

/// The slot that is asked for, of those there are; what is no number asks for none.
fn slot(fields: Fields<'_>, n_slots: usize) -> Option<usize> {
    let id = fields.get("id_slot")?.as_i64()?;
    usize::try_from(id).ok().map(|id| id % n_slots.max(1))
}

/// Strengths of adapters, `[{"id", "scale"}, ...]`; who is not named does not work (`parse_lora_request`).
pub(crate) fn strengths(value: &Value, n_adapters: usize) -> Result<Vec<f32>, ApiError> {
    let Value::Array(all) = value else { return Err(wrong_type("lora", "array", value)) };
    let mut scales = vec![0.0; n_adapters];
    for one in all {
        let id = one.get("id").and_then(Value::as_u64).and_then(|id| usize::try_from(id).ok());
        let scale = one.get("scale").and_then(Value::as_f64).map(|scale| scale as f32);
        let place = id.and_then(|id| scales.get_mut(id));
        let (Some(place), Some(scale)) = (place, scale.filter(|scale| scale.is_finite())) else {
            let what = format!("{one}, expected an id below {n_adapters} and a finite scale");
            return Err(field("lora", &what));
        };
        *place = scale;
    }
    Ok(scales)
}

/// Everything of sampling.
fn sampling(
    fields: Fields<'_>,
    params: &mut SamplerParams,
    defaults: &SamplerParams,
    tokenizer: &Tokenizer,
) -> Result<(), ApiError> {
    const ANY: f32 = f32::MAX;
    let floats: [(&'static str, &mut f32, f32, f32); 15] = [
        ("temperature", &mut params.temp, 0.0, ANY),
        ("dynatemp_range", &mut params.dynatemp_range, -ANY, ANY),
        ("dynatemp_exponent", &mut params.dynatemp_exponent, -ANY, ANY),
        ("top_p", &mut params.top_p, 0.0, 1.0),
        ("min_p", &mut params.min_p, 0.0, 1.0),
        ("top_n_sigma", &mut params.top_n_sigma, -ANY, ANY),
        ("xtc_probability", &mut params.xtc_probability, 0.0, 1.0),
        ("xtc_threshold", &mut params.xtc_threshold, 0.0, 1.0),
        ("typical_p", &mut params.typ_p, -ANY, ANY),
        ("repeat_penalty", &mut params.penalty_repeat, -ANY, ANY),
        ("frequency_penalty", &mut params.penalty_freq, -ANY, ANY),
        ("presence_penalty", &mut params.penalty_present, -ANY, ANY),
        ("mirostat_tau", &mut params.mirostat_tau, -ANY, ANY),
        ("mirostat_eta", &mut params.mirostat_eta, -ANY, ANY),
        ("adaptive_target", &mut params.adaptive_target, -ANY, 1.0),
    ];
    for (name, place, least, most) in floats {
        if let Some(x) = fields.number(name, least, most)? {
            *place = x;
        }
    }
    if let Some(x) = fields.number("dry_multiplier", -ANY, ANY)? {
        params.dry_multiplier = x;
    }
    if let Some(x) = fields.number("dry_base", -ANY, ANY)? {
        params.dry_base = if x < 1.0 { defaults.dry_base } else { x };
    }
    if let Some(x) = fields.number("adaptive_decay", -ANY, ANY)? {
        if !(0.0..=0.99).contains(&x) {
            let what = format!("Value must be between 0.000000 <= value <= 0.990000, but got {x:.6}");
            return Err(field("adaptive_decay", &what));
        }
        params.adaptive_decay = x;
    }
    let most = i64::from(i32::MAX);
    if let Some(k) = fields.integer_within("top_k", 0, most)? {
        params.top_k = k as i32;
    }
    if let Some(version) = fields.integer_within("mirostat", 0, 2)? {
        params.mirostat = version as i32;
    }
    let integers: [(&'static str, &mut i32); 3] = [
        ("repeat_last_n", &mut params.penalty_last_n),
        ("dry_allowed_length", &mut params.dry_allowed_length),
        ("dry_penalty_last_n", &mut params.dry_penalty_last_n),
    ];
    for (name, place) in integers {
        if let Some(n) = fields.integer(&[name], 0, most)? {
            *place = n as i32;
        }
    }
    if let Some(n) = fields.integer(&["min_keep"], 0, most)? {
        params.min_keep = n as usize;
    }
    if let Some(seed) = fields.integer(&["seed"], i64::from(i32::MIN), i64::from(u32::MAX))? {
        // -1 is random, as 2^32 - 1 is.
        params.seed = seed as u32;
    }
    if let Some(on) = fields.flag("ignore_eos")? {
        params.ignore_eos = on;
    }
    if let Some(value) = fields.get("samplers") {
        params.samplers = samplers(value)?;
    }
    if let Some(breakers) = fields.texts("dry_sequence_breakers")? {
        if breakers.is_empty() {
            let what = "Error: dry_sequence_breakers must be a non-empty array of strings";
            return Err(field("dry_sequence_breakers", what));
        }
        params.dry_sequence_breakers = breakers;
    }
    if let Some(value) = fields.get("logit_bias") {
        params.logit_bias = biases(value, tokenizer)?;
    }
    if params.ignore_eos {
        // Seen in the answer's settings, as there.
        let ends = (0..tokenizer.n_tokens() as quipu::TokenId).filter(|id| tokenizer.is_eog(*id));
        params.logit_bias.extend(ends.map(|id| (id, f32::NEG_INFINITY)));
    }
    if let Some(grammar) = grammar(fields)? {
        params.grammar = Some(grammar).filter(|grammar| !grammar.is_empty());
    }
    Ok(())
}

/// A grammar, or a schema where there is none.
fn grammar(fields: Fields<'_>) -> Result<Option<GrammarParams>, ApiError> {
    if let Some(text) = fields.text("grammar")? {
        return Ok(Some(GrammarParams::gbnf(text)));
    }
    let Some(schema) = fields.get("json_schema") else { return Ok(None) };
    let grammar = GrammarParams::json_schema(schema_of_object(schema).to_string());
    grammar.to_gbnf().map_err(|error| field("json_schema", &format!("\"json_schema\": {error}")))?;
    Ok(Some(grammar))
}

/// Samplers by their names, or by their letters.
fn samplers(value: &Value) -> Result<Vec<SamplerKind>, ApiError> {
    let refused = |error: quipu::sampler::Error| field("samplers", &error.to_string());
    match value {
        Value::String(letters) => {
            letters.chars().map(|c| SamplerKind::from_letter(c).map_err(refused)).collect()
        }
        Value::Array(names) => names
            .iter()
            .map(|name| {
                let name = name.as_str().ok_or_else(|| wrong_type("samplers", "string", name))?;
                SamplerKind::from_name(name).map_err(refused)
            })
            .collect(),
        other => Err(wrong_type("samplers", "array", other)),
    }
}

/// Biases of tokens by id or by text: `[[token, bias], ...]` or `{token: bias, ...}`, where `false` is minus infinity. What is neither is
/// passed over, as it is there.
fn biases(value: &Value, tokenizer: &Tokenizer) -> Result<Vec<(quipu::TokenId, f32)>, ApiError> {
    let pairs: Vec<(Value, &Value)> = match value {
        Value::Array(all) => all
            .iter()
            .filter_map(Value::as_array)
            .filter_map(|pair| match pair.as_slice() {
                [token, bias] => Some((token.clone(), bias)),
                _ => None,
            })
            .collect(),
        // Keys of objects are texts; a number in one is an id.
        Value::Object(map) => map
            .iter()
            .map(|(name, bias)| (name.parse::<u32>().map_or_else(|_| name.clone().into(), Value::from), bias))
            .collect(),
        other => return Err(wrong_type("logit_bias", "array", other)),
    };
    if pairs.len() > MAX_BIASES {
        return Err(field("logit_bias", &format!("{} entries, expected at most {MAX_BIASES}", pairs.len())));
    }
    let mut biases = Vec::new();
    for (name, bias) in pairs {
        let bias = match bias {
            Value::Number(n) => n.as_f64().unwrap_or(0.0) as f32,
            Value::Bool(false) => f32::NEG_INFINITY,
            _ => continue,
        };
        if let Value::String(text) = &name {
            let ids = tokenizer
                .encode(text, false, true)
                .map_err(|error| field("logit_bias", &error.to_string()))?;
            biases.extend(ids.into_iter().map(|id| (id, bias)));
        } else if let Some(id) = token(&name).filter(|id| (*id as usize) < tokenizer.n_tokens()) {
            biases.push((id, bias));
        }
    }
    Ok(biases)
}

/// The stop strings, if there are any.
fn stops(fields: Fields<'_>) -> Result<Option<Vec<String>>, ApiError> {
    let stops = match fields.get("stop") {
        None => return Ok(None),
        Some(Value::String(one)) => vec![one.clone()],
        Some(_) => fields.texts("stop")?.unwrap_or_default(),
    };
    let stops: Vec<String> = stops.into_iter().filter(|stop| !stop.is_empty()).collect();
    if stops.len() > MAX_STOPS {
        return Err(field("stop", &format!("{} strings, expected at most {MAX_STOPS}", stops.len())));
    }
    Ok(Some(stops).filter(|stops| !stops.is_empty()))
}
