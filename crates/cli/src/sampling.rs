//! The sampling flags of `run` and `chat`: names, order and defaults are those of llama-completion.

use std::path::{Path, PathBuf};

use quipu::gguf::{GgufFile, Inputs, Value};
use quipu::sampler::{GrammarParams, SamplerKind, SchemaMode};
use quipu::{GenerateOptions, Model, SamplerParams};

use crate::fail::Failure;
use crate::input::read_text;

/// How to sample. A flag given twice counts as given last. What a model's file says about sampling
/// (`general.sampling.*`) counts unless a flag says something else.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Sampling")]
#[allow(clippy::doc_link_with_quotes)] // a default in brackets, as the parser prints its own
pub(crate) struct SamplingArgs {
    /// Samplers in their order, separated by ';'; names: penalties, dry, top_n_sigma, top_k, typ_p, top_p, min_p,
    /// xtc, temperature, infill, adaptive_p [default: penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature].
    #[arg(long, value_name = "NAMES", overrides_with_all = ["samplers", "sampler_seq"])]
    samplers: Option<String>,
    /// Seed; the same seed gives the same text, -1 a random one [default: -1].
    #[arg(short = 's', long, value_name = "SEED", value_parser = seed, allow_negative_numbers = true, overrides_with = "seed")]
    seed: Option<u32>,
    /// Samplers in their order by their letters [default: edskypmxt].
    #[arg(long, visible_alias = "sampling-seq", value_name = "LETTERS", overrides_with_all = ["samplers", "sampler_seq"])]
    sampler_seq: Option<String>,
    /// Forbid the tokens that end generation.
    #[arg(long, overrides_with = "ignore_eos")]
    ignore_eos: bool,
    /// Temperature; 0 or less = always the likeliest token [default: 0.80].
    #[arg(long, visible_alias = "temperature", value_name = "N", value_parser = number, allow_negative_numbers = true, overrides_with = "temp")]
    temp: Option<f32>,
    /// Keep the N likeliest tokens; 0 = all [default: 40].
    #[arg(long, value_name = "N", allow_negative_numbers = true, overrides_with = "top_k")]
    top_k: Option<i32>,
    /// Keep the likeliest tokens up to this probability; 1 = all [default: 0.95].
    #[arg(long, value_name = "N", value_parser = number, allow_negative_numbers = true, overrides_with = "top_p")]
    top_p: Option<f32>,
    /// Drop tokens below this share of the likeliest; 0 = none [default: 0.05].
    #[arg(long, value_name = "N", value_parser = number, allow_negative_numbers = true, overrides_with = "min_p")]
    min_p: Option<f32>,
    /// Keep tokens within N standard deviations of the best logit; 0 or less = all [default: -1.00].
    #[arg(long, visible_alias = "top-n-sigma", value_name = "N", value_parser = number, allow_negative_numbers = true, overrides_with = "top_nsigma")]
    top_nsigma: Option<f32>,
    /// How often XTC removes the likeliest tokens; 0 = never [default: 0.00].
    #[arg(long, value_name = "N", value_parser = number, allow_negative_numbers = true, overrides_with = "xtc_probability")]
    xtc_probability: Option<f32>,
    /// Least probability of what XTC removes; above 0.5 = off [default: 0.10].
    #[arg(long, value_name = "N", value_parser = number, allow_negative_numbers = true, overrides_with = "xtc_threshold")]
    xtc_threshold: Option<f32>,
    /// Locally typical sampling; 1 = off [default: 1.00].
    #[arg(long, visible_alias = "typical-p", value_name = "N", value_parser = number, allow_negative_numbers = true, overrides_with = "typical")]
    typical: Option<f32>,
    /// Tokens the penalties look back on; 0 = none [default: 64].
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true, overrides_with = "repeat_last_n")]
    repeat_last_n: Option<i32>,
    /// Repeat penalty; 1 = none [default: 1.00].
    #[arg(long, value_name = "N", value_parser = number, allow_negative_numbers = true, overrides_with = "repeat_penalty")]
    repeat_penalty: Option<f32>,
    /// Presence penalty; 0 = none [default: 0.00].
    #[arg(long, value_name = "N", value_parser = number, allow_negative_numbers = true, overrides_with = "presence_penalty")]
    presence_penalty: Option<f32>,
    /// Frequency penalty; 0 = none [default: 0.00].
    #[arg(long, value_name = "N", value_parser = number, allow_negative_numbers = true, overrides_with = "frequency_penalty")]
    frequency_penalty: Option<f32>,
    /// Multiplier of the DRY penalty; 0 = off [default: 0.00].
    #[arg(long, value_name = "N", value_parser = number, allow_negative_numbers = true, overrides_with = "dry_multiplier")]
    dry_multiplier: Option<f32>,
    /// Base of the DRY penalty; below 1 the default stays [default: 1.75].
    #[arg(long, value_name = "N", value_parser = number, allow_negative_numbers = true, overrides_with = "dry_base")]
    dry_base: Option<f32>,
    /// Repetitions up to this length are free for DRY [default: 2].
    #[arg(long, value_name = "N", allow_negative_numbers = true, overrides_with = "dry_allowed_length")]
    dry_allowed_length: Option<i32>,
    /// Tokens DRY looks back on; 0 = none [default: 64].
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true, overrides_with = "dry_penalty_last_n")]
    dry_penalty_last_n: Option<i32>,
    /// Text that ends a repetition for DRY, \n and the like understood; may be given several times, 'none' = forget
    /// those before [default: '\n', ':', '"', '*'].
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    dry_sequence_breaker: Vec<String>,
    /// Choose tokens near this probability, if adaptive_p is among the samplers; negative = off [default: -1.00].
    #[arg(long, value_name = "N", value_parser = number, allow_negative_numbers = true, overrides_with = "adaptive_target")]
    adaptive_target: Option<f32>,
    /// How slowly adaptive_p adapts, 0 to 0.99 [default: 0.90].
    #[arg(long, value_name = "N", value_parser = number, allow_negative_numbers = true, overrides_with = "adaptive_decay")]
    adaptive_decay: Option<f32>,
    /// Half the width of the dynamic temperature's range; 0 = off [default: 0.00].
    #[arg(long, value_name = "N", value_parser = number, allow_negative_numbers = true, overrides_with = "dynatemp_range")]
    dynatemp_range: Option<f32>,
    /// Exponent of the dynamic temperature [default: 1.00].
    #[arg(long, value_name = "N", value_parser = number, allow_negative_numbers = true, overrides_with = "dynatemp_exp")]
    dynatemp_exp: Option<f32>,
    /// Mirostat 1 or 2 in place of all samplers but the temperature; 0 = off [default: 0].
    #[arg(long, value_name = "N", allow_negative_numbers = true, overrides_with = "mirostat")]
    mirostat: Option<i32>,
    /// Mirostat's learning rate [default: 0.10].
    #[arg(long, value_name = "N", value_parser = number, allow_negative_numbers = true, overrides_with = "mirostat_lr")]
    mirostat_lr: Option<f32>,
    /// Mirostat's target surprise in bits [default: 5.00].
    #[arg(long, value_name = "N", value_parser = number, allow_negative_numbers = true, overrides_with = "mirostat_ent")]
    mirostat_ent: Option<f32>,
    /// Add to a token's logit, as 15043+1 or 15043-inf; may be given several times.
    #[arg(short = 'l', long, value_name = "TOKEN(+/-)BIAS", value_parser = bias, allow_hyphen_values = true)]
    logit_bias: Vec<(u32, f32)>,
    /// GBNF grammar of the text.
    #[arg(long, value_name = "GBNF", allow_hyphen_values = true, overrides_with_all = GRAMMAR_FLAGS)]
    grammar: Option<String>,
    /// File with the GBNF grammar of the text.
    #[arg(long, value_name = "FILE", overrides_with_all = GRAMMAR_FLAGS)]
    grammar_file: Option<PathBuf>,
    /// JSON schema of the text; {} = any JSON.
    #[arg(short = 'j', long, value_name = "SCHEMA", overrides_with_all = GRAMMAR_FLAGS)]
    json_schema: Option<String>,
    /// File with the JSON schema of the text; also -jf.
    #[arg(long, value_name = "FILE", overrides_with_all = GRAMMAR_FLAGS)]
    json_schema_file: Option<PathBuf>,
    /// How a JSON schema is taken: exact = exactly the JSON it accepts, or refused; llama = as llama.cpp converts it.
    #[arg(long, value_name = "MODE", value_parser = schema_mode, default_value = "exact", overrides_with = "json_schema_mode")]
    json_schema_mode: SchemaMode,
}

/// They all say what the text must be: the last one counts.
const GRAMMAR_FLAGS: [&str; 4] = ["grammar", "grammar_file", "json_schema", "json_schema_file"];

impl SamplingArgs {
    /// Adds the files that are read.
    pub fn add_inputs(&self, inputs: &mut Inputs) {
        self.grammar_file.iter().chain(&self.json_schema_file).for_each(|path| inputs.add(path));
    }

    /// Options for a generation with the model of this file (`None`: the embedded one, which says nothing about
    /// sampling).
    pub fn options(
        &self,
        model: Option<&Path>,
        n_predict: i64,
        stop: &[String],
    ) -> Result<GenerateOptions, Failure> {
        let mut sampling = SamplerParams::default();
        if let Some(path) = model {
            take_model_defaults(&mut sampling, path);
        }
        self.apply(&mut sampling)?;
        sampling.validate()?;
        Ok(GenerateOptions {
            max_tokens: usize::try_from(n_predict).ok(),
            sampling,
            stop: stop.to_vec(),
            ..GenerateOptions::default()
        })
    }

    /// Whether a flag asks for tokens to be drawn.
    pub fn is_random(&self) -> bool {
        self.temp.is_some() || self.seed.is_some() || self.mirostat.is_some()
    }

    /// What can only be told with the vocabulary: whether the biases are of its tokens, and whether the grammar makes sense.
    pub fn check(options: &GenerateOptions, model: &Model) -> Result<(), Failure> {
        let n_vocab = model.tokenizer()?.n_tokens();
        if let Some((token, _)) =
            options.sampling.logit_bias.iter().find(|(token, _)| *token as usize >= n_vocab)
        {
            let last = n_vocab.saturating_sub(1);
            return Err(Failure::Input(format!("--logit-bias: token {token}, expected 0 to {last}")));
        }
        match &options.sampling.grammar {
            Some(grammar) => Ok(grammar.check(model.tokenizer()?)?),
            None => Ok(()),
        }
    }

    /// Puts what was given in the place of what was there.
    fn apply(&self, p: &mut SamplerParams) -> Result<(), Failure> {
        if let Some(names) = &self.samplers {
            // No name is no sampler: only the draw is left.
            let names = names.split(';').filter(|name| !name.is_empty());
            p.samplers = names.map(SamplerKind::from_name).collect::<Result<_, _>>()?;
        }
        if let Some(letters) = &self.sampler_seq {
            p.samplers = letters.chars().map(SamplerKind::from_letter).collect::<Result<_, _>>()?;
        }
        set(&mut p.seed, self.seed);
        p.ignore_eos = self.ignore_eos;
        // The reference's maximum, which leaves NaN for the validation.
        set(&mut p.temp, self.temp.map(|temp| if temp < 0.0 { 0.0 } else { temp }));
        set(&mut p.top_k, self.top_k);
        set(&mut p.top_p, self.top_p);
        set(&mut p.min_p, self.min_p);
        set(&mut p.top_n_sigma, self.top_nsigma);
        set(&mut p.xtc_probability, self.xtc_probability);
        set(&mut p.xtc_threshold, self.xtc_threshold);
        set(&mut p.typ_p, self.typical);
        set(&mut p.penalty_last_n, self.repeat_last_n);
        p.n_prev = p.n_prev.max(usize::try_from(p.penalty_last_n).unwrap_or(0));
        set(&mut p.penalty_repeat, self.repeat_penalty);
        set(&mut p.penalty_present, self.presence_penalty);
        set(&mut p.penalty_freq, self.frequency_penalty);
        set(&mut p.dry_multiplier, self.dry_multiplier);
        set(&mut p.dry_base, self.dry_base.filter(|base| *base >= 1.0));
        set(&mut p.dry_allowed_length, self.dry_allowed_length);
        set(&mut p.dry_penalty_last_n, self.dry_penalty_last_n);
        if !self.dry_sequence_breaker.is_empty() {
            let given = self.dry_sequence_breaker.rsplit(|text| text == "none").next().unwrap_or_default();
            p.dry_sequence_breakers = given.iter().map(|text| unescape(text)).collect();
        }
        set(&mut p.adaptive_target, self.adaptive_target);
        set(&mut p.adaptive_decay, self.adaptive_decay);
        set(&mut p.dynatemp_range, self.dynatemp_range);
        set(&mut p.dynatemp_exponent, self.dynatemp_exp);
        set(&mut p.mirostat, self.mirostat);
        set(&mut p.mirostat_eta, self.mirostat_lr);
        set(&mut p.mirostat_tau, self.mirostat_ent);
        p.logit_bias.clone_from(&self.logit_bias);
        p.grammar = self.grammar()?;
        Ok(())
    }

    fn grammar(&self) -> Result<Option<GrammarParams>, Failure> {
        let grammar = if let Some(text) = &self.grammar {
            GrammarParams::gbnf(text)
        } else if let Some(path) = &self.grammar_file {
            GrammarParams::gbnf(read_text(path)?)
        } else if let Some(schema) = &self.json_schema {
            GrammarParams::json_schema_as(schema, self.json_schema_mode)
        } else if let Some(path) = &self.json_schema_file {
            GrammarParams::json_schema_as(read_text(path)?, self.json_schema_mode)
        } else {
            return Ok(None);
        };
        // A schema that makes no sense is told before a model is loaded.
        grammar.to_gbnf()?;
        Ok(Some(grammar))
    }
}

fn set<T>(place: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *place = given;
    }
}

/// What the model's file says about sampling; a file that cannot be read is the business of who opens the model.
fn take_model_defaults(sampling: &mut SamplerParams, path: &Path) {
    if let Ok(file) = GgufFile::open(path) {
        sampling.take_model_defaults(|key| file.metadata().get(key).and_then(shown));
    }
}

/// A value as the reference prints it.
fn shown(value: &Value) -> Option<String> {
    match value {
        Value::String(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::F32(number) => Some(format!("{number:.6}")),
        Value::F64(number) => Some(format!("{number:.6}")),
        other => other.as_integer().map(|number| number.to_string()),
    }
}

/// A number that fits; `inf` and `nan` are numbers here, and the sampler's business.
fn number(text: &str) -> Result<f32, String> {
    let number: f32 = text.trim().parse().map_err(|_| "expected a number".to_owned())?;
    let named = text.trim_start().trim_start_matches(['+', '-']).starts_with(['i', 'I']);
    if number.is_infinite() && !named {
        return Err("out of range, expected a 32-bit float".to_owned());
    }
    Ok(number)
}

/// A way to make a grammar of a JSON schema.
pub(crate) fn schema_mode(text: &str) -> Result<SchemaMode, String> {
    SchemaMode::from_name(text).ok_or_else(|| "expected exact or llama".to_owned())
}

fn count(text: &str) -> Result<i32, String> {
    text.trim().parse().ok().filter(|n| *n >= 0).ok_or_else(|| format!("expected 0 to {}", i32::MAX))
}

/// A 32-bit number, perhaps with a sign: -1 is the seed that asks for a random one. The reference cuts longer ones without a word.
fn seed(text: &str) -> Result<u32, String> {
    let text = text.trim();
    let fits = |number: &i64| (i64::from(i32::MIN)..=i64::from(u32::MAX)).contains(number);
    let number = text.parse().ok().filter(fits);
    number
        .map(|number| number as u32)
        .ok_or_else(|| format!("expected an integer, {} to {}", i32::MIN, u32::MAX))
}

/// `15043+1`: token, sign and size of the bias.
fn bias(text: &str) -> Result<(u32, f32), String> {
    let expected = || "expected TOKEN+BIAS or TOKEN-BIAS, such as 15043+1 or 15043-inf".to_owned();
    let text = text.trim();
    // The first sign may be the token's, of which there is none below 0: the reference takes it and finds none.
    let at = text.char_indices().skip(1).find(|(_, c)| matches!(c, '+' | '-')).ok_or_else(expected)?.0;
    let (token, bias) = text.split_at(at);
    let token: i32 = token.trim_end().parse().map_err(|_| expected())?;
    let token =
        u32::try_from(token).map_err(|_| format!("token {token} is in no vocabulary, expected 0 or more"))?;
    let size = number(&bias[1..]).map_err(|_| expected())?;
    Ok((token, if bias.starts_with('-') { -size } else { size }))
}

/// Text with its backslash escapes resolved (`string_process_escapes`); unknown ones stay as they are.
pub(crate) fn unescape(text: &str) -> String {
    let mut out: Vec<u8> = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        let ([escape, after @ ..], b'\\') = (tail, first) else {
            out.push(*first);
            continue;
        };
        rest = after;
        match escape {
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'\'' | b'"' | b'\\' => out.push(*escape),
            b'x' => {
                let digits = after.get(..2).filter(|d| d.iter().all(u8::is_ascii_hexdigit));
                let byte = digits.and_then(|d| std::str::from_utf8(d).ok());
                match byte.and_then(|d| u8::from_str_radix(d, 16).ok()) {
                    Some(byte) => {
                        out.push(byte);
                        rest = &after[2..];
                    }
                    None => out.extend_from_slice(b"\\x"),
                }
            }
            other => out.extend_from_slice(&[b'\\', *other]),
        }
    }
    // Bytes written one by one need not be UTF-8.
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        sampling: SamplingArgs,
    }

    fn params(flags: &[&str]) -> SamplerParams {
        try_params(flags).unwrap_or_else(|error| panic!("{flags:?}: {error}"))
    }

    fn try_params(flags: &[&str]) -> Result<SamplerParams, String> {
        let line = Line::try_parse_from([&["x"], flags].concat()).map_err(|error| error.to_string())?;
        line.sampling.options(None, -1, &[]).map(|o| o.sampling).map_err(|error| error.to_string())
    }

    #[test]
    fn no_flags_are_the_defaults() {
        assert_eq!(params(&[]), SamplerParams::default());
    }

    #[test]
    fn every_flag_reaches_its_parameter() {
        let given = params(&[
            "--samplers",
            "top_k;temperature",
            "-s",
            "7",
            "--ignore-eos",
            "--temp",
            "0.5",
            "--top-k",
            "3",
            "--top-p",
            "0.6",
            "--min-p",
            "0.7",
            "--top-nsigma",
            "2",
            "--xtc-probability",
            "0.3",
            "--xtc-threshold",
            "0.2",
            "--typical",
            "0.9",
            "--repeat-last-n",
            "99",
            "--repeat-penalty",
            "1.5",
            "--presence-penalty",
            "-0.25",
            "--frequency-penalty",
            "0.125",
            "--dry-multiplier",
            "0.8",
            "--dry-base",
            "2",
            "--dry-allowed-length",
            "4",
            "--dry-penalty-last-n",
            "12",
            "--dry-sequence-breaker",
            "\\n",
            "--dry-sequence-breaker",
            "-",
            "--adaptive-target",
            "0.4",
            "--adaptive-decay",
            "0.5",
            "--dynatemp-range",
            "0.75",
            "--dynatemp-exp",
            "1.25",
            "--mirostat",
            "2",
            "--mirostat-lr",
            "0.3",
            "--mirostat-ent",
            "4",
            "-l",
            "5+1.5",
            "--logit-bias",
            "6-inf",
            "--grammar",
            "root ::= \"a\"",
        ]);
        let want = SamplerParams {
            seed: 7,
            samplers: vec![SamplerKind::TopK, SamplerKind::Temperature],
            top_k: 3,
            top_p: 0.6,
            min_p: 0.7,
            typ_p: 0.9,
            top_n_sigma: 2.0,
            xtc_probability: 0.3,
            xtc_threshold: 0.2,
            temp: 0.5,
            dynatemp_range: 0.75,
            dynatemp_exponent: 1.25,
            penalty_last_n: 99,
            penalty_repeat: 1.5,
            penalty_freq: 0.125,
            penalty_present: -0.25,
            dry_multiplier: 0.8,
            dry_base: 2.0,
            dry_allowed_length: 4,
            dry_penalty_last_n: 12,
            dry_sequence_breakers: vec!["\n".into(), "-".into()],
            adaptive_target: 0.4,
            adaptive_decay: 0.5,
            mirostat: 2,
            mirostat_tau: 4.0,
            mirostat_eta: 0.3,
            logit_bias: vec![(5, 1.5), (6, f32::NEG_INFINITY)],
            ignore_eos: true,
            n_prev: 99,
            grammar: Some(GrammarParams::gbnf("root ::= \"a\"")),
            ..SamplerParams::default()
        };
        assert_eq!(given, want);
    }

    #[test]
    fn other_names_of_the_flags() {
        assert_eq!(params(&["--temperature", "2"]).temp, 2.0);
        assert_eq!(params(&["--top-n-sigma", "2"]).top_n_sigma, 2.0);
        assert_eq!(params(&["--typical-p", "0.5"]).typ_p, 0.5);
        assert_eq!(params(&["--seed", "4"]).seed, 4);
        let letters = |flag| params(&[flag, "tkai"]).samplers.iter().map(|k| k.letter()).collect::<String>();
        assert_eq!((letters("--sampler-seq"), letters("--sampling-seq")), ("tkai".into(), "tkai".into()));
        let schema = GrammarParams::json_schema("{}");
        let llama = GrammarParams::json_schema_as("{}", SchemaMode::Llama);
        assert_eq!(params(&["-j", "{}", "--json-schema-mode", "llama"]).grammar, Some(llama));
        assert_eq!(params(&["-j", "{}"]).grammar.as_ref(), Some(&schema));
        assert_eq!(params(&["--json-schema", "{}"]).grammar, Some(schema));
    }

    #[test]
    fn the_last_of_several_counts() {
        assert_eq!(params(&["--temp", "1", "--temp", "3"]).temp, 3.0);
        assert_eq!(params(&["--samplers", "top_k", "--sampler-seq", "tt"]).samplers.len(), 2);
        assert_eq!(params(&["--sampler-seq", "tt", "--samplers", "top_k"]).samplers, [SamplerKind::TopK]);
        let grammar = Some(GrammarParams::gbnf("root ::= \"a\""));
        assert_eq!(params(&["-j", "{}", "--grammar", "root ::= \"a\""]).grammar, grammar);
    }

    #[test]
    fn limits_and_special_values() {
        assert_eq!(params(&["--temp", "-1"]).temp, 0.0);
        assert_eq!(params(&["--dry-base", "0.5"]).dry_base, 1.75);
        assert_eq!(params(&["--top-k", "-1"]).top_k, -1);
        assert_eq!((params(&["-s", "-1"]).seed, params(&["-s", "4294967295"]).seed), (u32::MAX, u32::MAX));
        assert_eq!(params(&["--samplers", ""]).samplers, []);
        assert_eq!(params(&["--samplers", "Top-K;TEMP;nucleus"]).samplers.len(), 3);
        let none = params(&["--dry-sequence-breaker", "a", "--dry-sequence-breaker", "none"]);
        assert!(none.dry_sequence_breakers.is_empty());
        let after = params(&["--dry-sequence-breaker", "none", "--dry-sequence-breaker", "b"]);
        assert_eq!(after.dry_sequence_breakers, ["b"]);
        for (flags, message) in [
            (["--samplers", "top_k;best"], "sampler 'best' is unknown, expected one of: penalties, dry,"),
            (["--sampler-seq", "kz"], "sampler 'z' is unknown, expected one of: e, d,"),
            (["--repeat-last-n", "-1"], "expected 0 to"),
            (["--dry-penalty-last-n", "-1"], "expected 0 to"),
            (["--repeat-penalty", "0"], "penalty_repeat is 0"),
            (["--presence-penalty", "inf"], "penalty_present is inf"),
            (["--frequency-penalty", "nan"], "penalty_freq is NaN"),
            (["--top-p", "1e99"], "out of range"),
            (["--top-p", "0.5x"], "expected a number"),
            (["--mirostat", "3"], "mirostat is 3, expected 0, 1 or 2"),
            (["-s", "x"], "expected an integer"),
            (["-s", "4294967296"], "expected an integer, -2147483648 to 4294967295"),
            (["-s", "-2147483649"], "expected an integer"),
            (["-l", "15043"], "expected TOKEN+BIAS"),
            (["-l", "+1"], "expected TOKEN+BIAS"),
            (["-l", "3*1"], "expected TOKEN+BIAS"),
            (["-j", "{"], "JSON schema: not JSON"),
            (["-j", "{\"type\": \"x\"}"], "JSON schema:"),
            (["-j", "false"], "no value satisfies it"),
            (["-j", "{\"uniqueItems\": true}"], "'uniqueItems' cannot be expressed"),
            (["--json-schema-mode", "strict"], "expected exact or llama"),
            (["--grammar-file", "/nonexistent"], "/nonexistent"),
        ] {
            let error = try_params(&flags).expect_err("a mistake");
            assert!(error.contains(message), "{flags:?}: {error}");
        }
    }

    #[test]
    fn biases() {
        assert_eq!(bias("15043+1"), Ok((15043, 1.0)));
        assert_eq!(bias(" 7 -0.5"), Ok((7, -0.5)));
        assert!(bias("-3-2").is_err_and(|why| why.contains("token -3 is in no vocabulary")));
        assert_eq!(bias("1+-2"), Ok((1, -2.0)));
    }

    #[test]
    fn escapes() {
        assert_eq!(unescape(r#"a\n\r\t\'\"\\\x41\q\xZ1\x4"#), "a\n\r\t'\"\\A\\q\\xZ1\\x4");
        assert_eq!(unescape("\\"), "\\");
        assert_eq!(unescape(r"\xc3\xa9"), "é");
    }
}
