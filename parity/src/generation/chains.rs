//! Sampler chains as lines of text that both engines read: `SAMPLER ARG... ; SAMPLER ARG...`.
//!
//! Floats are decimal, the shortest text of their value, so both sides read the same bits.

use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use quipu_sampler::{
    AdaptiveP, Chain, Dist, Dry, Greedy, LogitBias, MinP, Mirostat, MirostatV2, Penalties, Temp, TempExt,
    TopK, TopNSigma, TopP, Typical, Vocabulary, Xtc,
};

use crate::error::Error;

/// The texts that end a repetition for `dry`, the command line's default.
const BREAKERS: [&str; 4] = ["\n", ":", "\"", "*"];

/// The command line's default chain, with its switched-off members (`common/sampling.cpp`).
pub fn default_chain(seed: u32) -> String {
    format!(
        "penalties 64 1 0 0 ; dry 0 1.75 2 64 ; top_n_sigma -1 ; top_k 40 ; typical 1 0 ; top_p 0.95 0 ; \
         min_p 0.05 0 ; xtc 0 0.1 0 {seed} ; temp_ext 0.8 0 1 ; dist {seed}"
    )
}

/// Every other kind of chain, with this seed.
pub fn other_chains(seed: u32, has_texts: bool) -> [String; 12] {
    let dry = if has_texts { "dry 0.8 1.75 2 64" } else { "dry_ids 0.8 1.75 2 64 7 11" };
    [
        "greedy".to_owned(),
        format!("temp 0.8 ; mirostat {seed} 5 0.1 100"),
        format!("temp 0.8 ; mirostat_v2 {seed} 3 0.1"),
        format!("typical 0.7 1 ; temp 0.8 ; dist {seed}"),
        format!("top_k 40 ; xtc 0.5 0.05 1 {seed} ; temp 0.8 ; dist {seed}"),
        format!("min_p 0.1 1 ; temp 1.2 ; dist {seed}"),
        format!("penalties 64 1.1 0.1 0.2 ; top_k 40 ; top_p 0.95 1 ; temp 0.8 ; dist {seed}"),
        format!("{dry} ; top_k 40 ; temp 0.8 ; dist {seed}"),
        format!("top_n_sigma 1 ; temp 1 ; dist {seed}"),
        format!("top_p 0.9 1 ; temp_ext 0.8 0.5 1 ; dist {seed}"),
        format!("min_p 0.05 1 ; adaptive_p 0.3 0.9 {seed}"),
        format!("dist {seed}"),
    ]
}

/// `chain` behind a bias that keeps these tokens out.
pub fn without(ids: &[u32], chain: &str) -> String {
    let biases: Vec<String> = ids.iter().map(|id| format!("{id} -inf")).collect();
    format!("logit_bias {} ; {chain}", biases.join(" "))
}

/// What is special about a chain, for notes.
pub fn kind(chain: &str) -> &str {
    let chain = chain
        .strip_prefix("logit_bias")
        .and_then(|rest| rest.split_once(" ; "))
        .map_or(chain, |(_, rest)| rest);
    let first = chain.split_whitespace().next().unwrap_or_default();
    match first {
        "penalties" if chain.contains("temp_ext") => "default",
        "temp" | "top_k" | "min_p" => {
            chain.split(" ; ").nth(1).and_then(|s| s.split(' ').next()).unwrap_or(first)
        }
        _ => first,
    }
}

/// The seed of the sampler that draws; `None` for a chain that does not.
pub fn seed(chain: &str) -> Option<u32> {
    let last: Vec<&str> = chain.rsplit(';').next()?.split_whitespace().collect();
    let place = match *last.first()? {
        "dist" | "mirostat" | "mirostat_v2" => 1,
        "adaptive_p" => 3,
        _ => return None,
    };
    last.get(place)?.parse().ok()
}

/// Quipu's chain of a line.
///
/// # Errors
/// A line that does not say what it should.
pub fn parse(line: &str, n_vocab: usize, texts: Option<&Arc<dyn Vocabulary>>) -> Result<Chain, Error> {
    let mut chain = Chain::new();
    for part in line.split(';') {
        let words: Vec<&str> = part.split_whitespace().collect();
        add(&mut chain, &words, n_vocab, texts).ok_or_else(|| Error::Golden {
            name: line.to_owned(),
            message: format!("'{part}' is no sampler with its arguments"),
        })?;
    }
    Ok(chain)
}

fn arg<T: FromStr>(words: &[&str], i: usize) -> Option<T>
where
    T::Err: Display,
{
    words.get(i)?.parse().ok()
}

fn add(chain: &mut Chain, words: &[&str], n_vocab: usize, texts: Option<&Arc<dyn Vocabulary>>) -> Option<()> {
    let float = |i| arg::<f32>(words, i);
    let int = |i| arg::<i32>(words, i);
    let seed = |i| arg::<u32>(words, i);
    let keep = |i| arg::<usize>(words, i);
    match *words.first()? {
        "greedy" => chain.add(Greedy),
        "dist" => chain.add(Dist::new(seed(1)?)),
        "logit_bias" => {
            let pair = |pair: &[&str]| Some((arg::<i32>(pair, 0)? as u32, arg::<f32>(pair, 1)?));
            let biases: Vec<(u32, f32)> = words[1..].chunks(2).map(pair).collect::<Option<_>>()?;
            chain.add(LogitBias::new(&biases))
        }
        "top_k" => chain.add(TopK::new(int(1)?)),
        "temp" => chain.add(Temp::new(float(1)?)),
        "top_n_sigma" => chain.add(TopNSigma::new(float(1)?)),
        "top_p" => chain.add(TopP::new(float(1)?, keep(2)?)),
        "min_p" => chain.add(MinP::new(float(1)?, keep(2)?)),
        "typical" => chain.add(Typical::new(float(1)?, keep(2)?)),
        "temp_ext" => chain.add(TempExt::new(float(1)?, float(2)?, float(3)?)),
        "xtc" => chain.add(Xtc::new(float(1)?, float(2)?, keep(3)?, seed(4)?)),
        "penalties" => chain.add(Penalties::new(n_vocab, int(1)?, float(2)?, float(3)?, float(4)?)),
        "mirostat" => chain.add(Mirostat::new(n_vocab, seed(1)?, float(2)?, float(3)?, int(4)?)),
        "mirostat_v2" => chain.add(MirostatV2::new(seed(1)?, float(2)?, float(3)?)),
        "adaptive_p" => chain.add(AdaptiveP::new(float(1)?, float(2)?, seed(3)?)),
        "dry" => match texts {
            Some(texts) => {
                let texts = texts.as_ref();
                chain.add(Dry::new(texts, float(1)?, float(2)?, int(3)?, int(4)?, &BREAKERS))
            }
            // Switched off, it asks no texts.
            None if float(1)? == 0.0 => {
                chain.add(Dry::with_token_breakers(0.0, float(2)?, int(3)?, int(4)?, &[]))
            }
            None => return None,
        },
        "dry_ids" => {
            let breakers: Vec<Vec<u32>> = words[5..]
                .iter()
                .map(|id| id.parse().map(|id: i32| vec![id as u32]))
                .collect::<Result<_, _>>()
                .ok()?;
            chain.add(Dry::with_token_breakers(float(1)?, float(2)?, int(3)?, int(4)?, &breakers))
        }
        _ => return None,
    };
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_read_and_others_are_not() {
        assert_eq!(parse(&default_chain(7), 10, None).map(|chain| chain.len()).unwrap(), 10);
        assert_eq!(seed(&default_chain(7)), Some(7));
        assert_eq!(kind(&default_chain(7)), "default");
        let without = without(&[1, 5], &default_chain(7));
        assert!(without.starts_with("logit_bias 1 -inf 5 -inf ; penalties"));
        assert_eq!((kind(&without), seed(&without)), ("default", Some(7)));
        assert!(parse(&without, 10, None).is_ok() && parse("logit_bias 1", 10, None).is_err());
        let chains = other_chains(9, false);
        for line in &chains {
            assert!(parse(line, 10, None).is_ok(), "{line}");
            assert_eq!(seed(line).is_none(), line == "greedy", "{line}");
        }
        let kinds = chains.each_ref().map(|line| kind(line));
        let expected = ["greedy", "mirostat", "mirostat_v2", "typical", "xtc", "temp", "penalties"];
        assert_eq!(kinds[..7], expected);
        for line in ["", "top_k", "top_k x", "nothing", "greedy ; top_p 0.5"] {
            assert!(parse(line, 10, None).is_err(), "{line}");
        }
    }
}
