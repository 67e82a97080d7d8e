//! Sampling parameters as JSON, in the names of llama-server's requests and responses (`task_params::to_json`).

use serde_json::{Map, Value, json};

use crate::{
    Error, GrammarParams, GrammarText, GrammarTrigger, SamplerKind, SamplerParams, SchemaMode, TokenId,
};

/// A place for a number, and its name.
type Place<'a, T> = (&'static str, &'a mut T);

impl SamplerParams {
    /// All of them but the reasoning budget, for which the server has no words. An infinite bias is `null`, as no number of
    /// JSON is.
    pub fn to_json(&self) -> Value {
        let mut all = Map::new();
        all.insert("seed".to_owned(), self.seed.into());
        let mut copy = self.clone();
        for (name, place) in copy.floats() {
            all.insert(name.to_owned(), json!(*place));
        }
        for (name, place) in copy.integers() {
            all.insert(name.to_owned(), (*place).into());
        }
        let samplers: Vec<&str> = self.samplers.iter().map(|kind| kind.name()).collect();
        all.insert("samplers".to_owned(), samplers.into());
        all.insert("dry_sequence_breakers".to_owned(), self.dry_sequence_breakers.clone().into());
        let biases = self.logit_bias.iter().map(|(token, bias)| json!({ "token": token, "bias": bias }));
        all.insert("logit_bias".to_owned(), biases.collect());
        all.insert("ignore_eos".to_owned(), self.ignore_eos.into());
        all.insert("min_keep".to_owned(), self.min_keep.into());
        all.insert("generation_prompt".to_owned(), self.generation_prompt.clone().into());
        if let Some(grammar) = &self.grammar {
            grammar_to_json(grammar, &mut all);
        }
        Value::Object(all)
    }

    /// Takes what an object says in those names; what it does not name stays, and names that are none of a sampling parameter
    /// are passed over.
    ///
    /// # Errors
    /// [`Error::ParamJson`] names the first value of another kind; [`Error::UnknownSampler`].
    pub fn take_json(&mut self, object: &Map<String, Value>) -> Result<(), Error> {
        let get = |name: &str| object.get(name);
        let wrong = |name: &str, expected| {
            let found = get(name).map(Value::to_string).unwrap_or_default();
            Error::ParamJson { name: name.to_owned(), found, expected }
        };
        if let Some(seed) = get("seed") {
            // -1 is random, as in requests.
            let number = seed.as_i64().filter(|n| *n == -1 || u32::try_from(*n).is_ok());
            self.seed = number.ok_or_else(|| wrong("seed", "-1 or a number below 2^32"))? as u32;
        }
        for (name, place) in self.floats() {
            if let Some(value) = get(name) {
                *place = value.as_f64().ok_or_else(|| wrong(name, "a number"))? as f32;
            }
        }
        for (name, place) in self.integers() {
            if let Some(value) = get(name) {
                let number = value.as_i64().and_then(|n| i32::try_from(n).ok());
                *place = number.ok_or_else(|| wrong(name, "a whole number of 32 bits"))?;
            }
        }
        let texts = |name: &str| -> Result<Option<Vec<String>>, Error> {
            let Some(value) = get(name) else { return Ok(None) };
            let all =
                value.as_array().and_then(|all| all.iter().map(|v| v.as_str().map(str::to_owned)).collect());
            all.map(Some).ok_or_else(|| wrong(name, "an array of strings"))
        };
        if let Some(names) = texts("samplers")? {
            self.samplers =
                names.iter().map(|name| SamplerKind::from_name(name)).collect::<Result<_, _>>()?;
        }
        if let Some(breakers) = texts("dry_sequence_breakers")? {
            self.dry_sequence_breakers = breakers;
        }
        if let Some(biases) = get("logit_bias") {
            let all = biases.as_array().and_then(|all| all.iter().map(bias).collect());
            self.logit_bias = all.ok_or_else(|| wrong("logit_bias", "an array of tokens and biases"))?;
        }
        if let Some(flag) = get("ignore_eos") {
            self.ignore_eos = flag.as_bool().ok_or_else(|| wrong("ignore_eos", "true or false"))?;
        }
        if let Some(n) = get("min_keep") {
            let n = n.as_u64().and_then(|n| usize::try_from(n).ok());
            self.min_keep = n.ok_or_else(|| wrong("min_keep", "a whole number"))?;
        }
        if let Some(text) = get("generation_prompt") {
            text.as_str()
                .ok_or_else(|| wrong("generation_prompt", "a string"))?
                .clone_into(&mut self.generation_prompt);
        }
        self.grammar = grammar_of(object)?.or(self.grammar.take());
        Ok(())
    }

    fn floats(&mut self) -> [Place<'_, f32>; 18] {
        [
            ("temperature", &mut self.temp),
            ("dynatemp_range", &mut self.dynatemp_range),
            ("dynatemp_exponent", &mut self.dynatemp_exponent),
            ("top_p", &mut self.top_p),
            ("min_p", &mut self.min_p),
            ("top_n_sigma", &mut self.top_n_sigma),
            ("xtc_probability", &mut self.xtc_probability),
            ("xtc_threshold", &mut self.xtc_threshold),
            ("typical_p", &mut self.typ_p),
            ("repeat_penalty", &mut self.penalty_repeat),
            ("presence_penalty", &mut self.penalty_present),
            ("frequency_penalty", &mut self.penalty_freq),
            ("dry_multiplier", &mut self.dry_multiplier),
            ("dry_base", &mut self.dry_base),
            ("mirostat_tau", &mut self.mirostat_tau),
            ("mirostat_eta", &mut self.mirostat_eta),
            ("adaptive_target", &mut self.adaptive_target),
            ("adaptive_decay", &mut self.adaptive_decay),
        ]
    }

    fn integers(&mut self) -> [Place<'_, i32>; 5] {
        [
            ("top_k", &mut self.top_k),
            ("repeat_last_n", &mut self.penalty_last_n),
            ("dry_allowed_length", &mut self.dry_allowed_length),
            ("dry_penalty_last_n", &mut self.dry_penalty_last_n),
            ("mirostat", &mut self.mirostat),
        ]
    }
}

/// A token and its bias: `{"token": 1, "bias": -1.5}` or `[1, -1.5]`; `null` and `false` forbid the token.
fn bias(value: &Value) -> Option<(TokenId, f32)> {
    let (token, bias) = match value {
        Value::Object(entry) => (entry.get("token")?, entry.get("bias").unwrap_or(&Value::Null)),
        Value::Array(pair) => match &pair[..] {
            [token, bias] => (token, bias),
            _ => return None,
        },
        _ => return None,
    };
    let token = TokenId::try_from(token.as_u64()?).ok()?;
    let bias = match bias {
        Value::Null | Value::Bool(false) => f32::NEG_INFINITY,
        number => number.as_f64()? as f32,
    };
    Some((token, bias))
}

/// Numbers of `common_grammar_trigger_type`.
const TRIGGERS: [&str; 4] = ["token", "word", "pattern", "pattern_full"];

fn grammar_to_json(grammar: &GrammarParams, all: &mut Map<String, Value>) {
    match &grammar.text {
        GrammarText::Gbnf(text) => all.insert("grammar".to_owned(), text.clone().into()),
        GrammarText::JsonSchema(text, mode) => {
            let mode = if *mode == SchemaMode::Llama { "llama" } else { "exact" };
            all.insert("json_schema_mode".to_owned(), mode.into());
            all.insert("json_schema_text".to_owned(), text.clone().into())
        }
    };
    all.insert("grammar_root".to_owned(), grammar.root.clone().into());
    all.insert("grammar_lazy".to_owned(), grammar.lazy.into());
    all.insert("grammar_prefill".to_owned(), grammar.prefill.into());
    let triggers = grammar.triggers.iter().map(|trigger| {
        let (kind, text, token) = match trigger {
            GrammarTrigger::Token(token) => (0, String::new(), Some(*token)),
            GrammarTrigger::Word(text) => (1, text.clone(), None),
            GrammarTrigger::Pattern(text) => (2, text.clone(), None),
            GrammarTrigger::PatternFull(text) => (3, text.clone(), None),
        };
        json!({ "type": kind, "value": text, "token": token.map_or(-1, i64::from) })
    });
    all.insert("grammar_triggers".to_owned(), triggers.collect());
}

fn grammar_of(object: &Map<String, Value>) -> Result<Option<GrammarParams>, Error> {
    let wrong = |name: &str, value: &Value, expected| {
        Err(Error::ParamJson { name: name.to_owned(), found: value.to_string(), expected })
    };
    let text = |name: &str| match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
        Some(other) => wrong(name, other, "a string").map(|()| None),
    };
    let flag = |name: &str| match object.get(name) {
        None => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(other) => wrong(name, other, "true or false").map(|()| None),
    };
    let mut grammar = match (text("grammar")?, text("json_schema_text")?) {
        (Some(grammar), _) => GrammarParams::gbnf(grammar),
        (None, Some(schema)) => {
            let mode = text("json_schema_mode")?;
            let mode = if mode.as_deref() == Some("llama") { SchemaMode::Llama } else { SchemaMode::Exact };
            GrammarParams::json_schema_as(schema, mode)
        }
        (None, None) => return Ok(None),
    };
    grammar.root = text("grammar_root")?.unwrap_or(grammar.root);
    grammar.lazy = flag("grammar_lazy")?.unwrap_or(false);
    grammar.prefill = flag("grammar_prefill")?.unwrap_or(grammar.prefill);
    if let Some(triggers) = object.get("grammar_triggers") {
        let all = triggers.as_array().and_then(|all| all.iter().map(trigger).collect());
        match all {
            Some(all) => grammar.triggers = all,
            None => wrong("grammar_triggers", triggers, "an array of triggers")?,
        }
    }
    Ok(Some(grammar))
}

fn trigger(value: &Value) -> Option<GrammarTrigger> {
    let text = || Some(value.get("value")?.as_str()?.to_owned());
    let kind = value.get("type")?;
    let kind = kind.as_u64().or_else(|| TRIGGERS.iter().position(|name| kind == name).map(|at| at as u64))?;
    Some(match kind {
        0 => GrammarTrigger::Token(TokenId::try_from(value.get("token")?.as_u64()?).ok()?),
        1 => GrammarTrigger::Word(text()?),
        2 => GrammarTrigger::Pattern(text()?),
        3 => GrammarTrigger::PatternFull(text()?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(value: &Value) -> Result<SamplerParams, Error> {
        let mut params = SamplerParams::default();
        params.take_json(value.as_object().expect("an object")).map(|()| params)
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut grammar = GrammarParams::gbnf("start ::= \"a\"");
        grammar.root = "start".to_owned();
        grammar.lazy = true;
        grammar.triggers = vec![
            GrammarTrigger::Token(7),
            GrammarTrigger::Word("w".to_owned()),
            GrammarTrigger::Pattern("p+".to_owned()),
            GrammarTrigger::PatternFull("f".to_owned()),
        ];
        let params = SamplerParams {
            seed: u32::MAX,
            samplers: vec![SamplerKind::Xtc, SamplerKind::AdaptiveP],
            temp: 0.7,
            top_p: 0.1 + 0.2,
            penalty_last_n: -1,
            dry_sequence_breakers: vec!["\u{e9}".to_owned()],
            logit_bias: vec![(3, f32::NEG_INFINITY), (4, 0.1)],
            ignore_eos: true,
            min_keep: 2,
            grammar: Some(grammar),
            generation_prompt: "<think>".to_owned(),
            ..SamplerParams::default()
        };
        let text = params.to_json().to_string();
        assert_eq!(taken(&serde_json::from_str(&text).expect("JSON")), Ok(params));
        let schema = SamplerParams {
            grammar: Some(GrammarParams::json_schema_as("{}", SchemaMode::Llama)),
            ..SamplerParams::default()
        };
        assert_eq!(taken(&schema.to_json()), Ok(schema));
    }

    #[test]
    fn what_the_server_writes_is_read() {
        let written = json!({
            "seed": 4_294_967_295u32, "temperature": 0.800_000_011_920_929, "top_k": 40, "typical_p": 1.0, "max_tokens": -1,
            "stop": [], "logit_bias": [{ "bias": null, "token": 5 }], "grammar": "", "grammar_lazy": false,
            "grammar_triggers": [], "samplers": ["penalties", "top_k", "temperature"], "chat_format": "Content-only",
        });
        let params = taken(&written).expect("parameters");
        assert_eq!((params.temp, params.logit_bias), (0.8, vec![(5, f32::NEG_INFINITY)]));
        assert_eq!(params.samplers, [SamplerKind::Penalties, SamplerKind::TopK, SamplerKind::Temperature]);
        assert!(params.grammar.is_none());
    }

    #[test]
    fn values_of_another_kind_are_named() {
        for (object, message) in [
            (json!({ "seed": 1.5 }), "seed is 1.5, expected -1 or a number below 2^32"),
            (json!({ "top_k": "40" }), "top_k is \"40\", expected a whole number of 32 bits"),
            (json!({ "top_p": null }), "top_p is null, expected a number"),
            (json!({ "samplers": [1] }), "samplers is [1], expected an array of strings"),
            (json!({ "logit_bias": [[1]] }), "expected an array of tokens and biases"),
            (json!({ "grammar": 1 }), "grammar is 1, expected a string"),
            (json!({ "grammar": "a", "grammar_triggers": [{}] }), "expected an array of triggers"),
        ] {
            let error = taken(&object).expect_err("refused").to_string();
            assert!(error.contains(message), "{error}");
        }
        assert!(matches!(taken(&json!({ "samplers": ["x"] })), Err(Error::UnknownSampler { .. })));
    }
}
