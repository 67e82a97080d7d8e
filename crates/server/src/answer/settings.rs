//! The parameters of a text as answers repeat them (`task_params::to_json`).

use quipu::sampler::GrammarText;
use quipu::{ContextFull, GenerateOptions};
use serde_json::{Map, Value, json};

/// All of them; without what may be long or secret where many slots are listed (`brief`).
pub(crate) fn settings(
    options: &GenerateOptions,
    stream: bool,
    timings_per_token: bool,
    brief: bool,
) -> Value {
    let s = &options.sampling;
    let n_predict = options.max_tokens.map_or(-1, |n| n as i64);
    let n_keep = match options.context_full {
        ContextFull::Shift { n_keep } => n_keep,
        _ => 0,
    };
    let mut all = Map::new();
    let mut add = |name: &str, value: Value| {
        all.insert(name.to_owned(), value);
    };
    add("seed", s.seed.into());
    add("temperature", s.temp.into());
    add("dynatemp_range", s.dynatemp_range.into());
    add("dynatemp_exponent", s.dynatemp_exponent.into());
    add("top_k", s.top_k.into());
    add("top_p", s.top_p.into());
    add("min_p", s.min_p.into());
    add("top_n_sigma", s.top_n_sigma.into());
    add("xtc_probability", s.xtc_probability.into());
    add("xtc_threshold", s.xtc_threshold.into());
    add("typical_p", s.typ_p.into());
    add("repeat_last_n", s.penalty_last_n.into());
    add("repeat_penalty", s.penalty_repeat.into());
    add("presence_penalty", s.penalty_present.into());
    add("frequency_penalty", s.penalty_freq.into());
    add("dry_multiplier", s.dry_multiplier.into());
    add("dry_base", s.dry_base.into());
    add("dry_allowed_length", s.dry_allowed_length.into());
    add("dry_penalty_last_n", s.dry_penalty_last_n.into());
    if !brief {
        add("dry_sequence_breakers", s.dry_sequence_breakers.clone().into());
    }
    add("mirostat", s.mirostat.into());
    add("mirostat_tau", s.mirostat_tau.into());
    add("mirostat_eta", s.mirostat_eta.into());
    add("adaptive_target", s.adaptive_target.into());
    add("adaptive_decay", s.adaptive_decay.into());
    if !brief {
        add("stop", options.stop.clone().into());
    }
    add("max_tokens", n_predict.into());
    add("n_predict", n_predict.into());
    add("n_keep", n_keep.into());
    add("n_discard", 0.into());
    add("ignore_eos", s.ignore_eos.into());
    add("stream", stream.into());
    if !brief {
        let biases = s.logit_bias.iter().map(|(token, bias)| json!({ "bias": bias, "token": token }));
        add("logit_bias", biases.collect());
    }
    add("n_probs", options.n_probs.into());
    add("min_keep", s.min_keep.into());
    if !brief {
        let grammar = s.grammar.as_ref().and_then(|grammar| match &grammar.text {
            GrammarText::Gbnf(text) => Some(text.clone()),
            _ => grammar.to_gbnf().ok().map(std::borrow::Cow::into_owned),
        });
        add("grammar", grammar.unwrap_or_default().into());
        add("grammar_lazy", false.into());
        add("grammar_triggers", json!([]));
        add("preserved_tokens", json!([]));
    }
    add("chat_format", "Content-only".into());
    add("reasoning_format", "none".into());
    add("reasoning_in_content", false.into());
    add("generation_prompt", s.generation_prompt.clone().into());
    add("samplers", s.samplers.iter().map(|kind| kind.name()).collect());
    add("speculative.types", "none".into());
    add("timings_per_token", timings_per_token.into());
    add("post_sampling_probs", options.post_sampling_probs.into());
    add("backend_sampling", false.into());
    let loras = options.loras.iter().enumerate().map(|(id, scale)| json!({ "id": id, "scale": scale }));
    add("lora", loras.collect());
    Value::Object(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_reference() {
        let all = settings(&GenerateOptions::default(), false, false, false);
        // A float is widened, as there.
        assert_eq!(all["temperature"].to_string(), "0.800000011920929");
        assert_eq!(
            (&all["n_predict"], &all["top_k"], &all["seed"]),
            (&json!(-1), &json!(40), &json!(u32::MAX))
        );
        let brief = settings(&GenerateOptions::default(), false, false, true);
        assert!(brief.get("stop").is_none() && brief.get("samplers").is_some());
    }
}
