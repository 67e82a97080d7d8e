//! Compares the ways to constrain a text to a JSON schema: how many verdicts on texts are wrong, and what a mask over a
//! vocabulary costs.
//!
//!     cargo run --release -p quipu-sampler --features llguidance --example schema_masks -- VOCAB.gguf [CASES.jsonl]
//!
//! Each line of CASES is an object with `id`, `schema`, `texts` and `valid`.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quipu_sampler::{
    Candidates, Gbnf, Grammar, LlGuidance, LlTokens, Pieces, Sampler, TokenId, Vocabulary, WhiteSpace,
    json_schema_to_grammar, schema_to_grammar,
};
use quipu_testing::SplitMix;
use quipu_tokenizer::Tokenizer;
use serde_json::Value;

const SCHEMAS: [(&str, &str); 6] = [
    ("any JSON", "{}"),
    ("a string", r#"{"type": "string"}"#),
    ("a string of at most 2000", r#"{"type": "string", "maxLength": 2000}"#),
    (
        "a record",
        r#"{"type": "object", "properties": {"name": {"type": "string", "maxLength": 40}, "age": {"type": "integer",
        "minimum": 0, "maximum": 150}, "tags": {"type": "array", "items": {"enum": ["red", "green", "blue"]}},
        "mail": {"type": "string", "format": "email"}, "day": {"type": "string", "format": "date"}},
        "required": ["name", "age", "tags", "mail", "day"], "additionalProperties": false}"#,
    ),
    (
        "an open record",
        r#"{"type": "object", "properties": {"id": {"type": "integer"}, "text": {"type": "string"}}, "required": ["id"]}"#,
    ),
    ("a pattern", r#"{"type": "string", "pattern": "^[A-Z][a-z]+( [A-Z][a-z]+)*$", "maxLength": 100}"#),
];

/// Draws tokens from masks, and tells the time of each mask.
fn walk(
    vocabulary: &dyn Vocabulary,
    n: usize,
    apply: &mut dyn FnMut(&mut Candidates),
    accept: &mut dyn FnMut(TokenId),
) -> Vec<Duration> {
    let mut random = SplitMix::new(7);
    let mut times = Vec::new();
    let row = vec![0.0; vocabulary.n_tokens()];
    for _ in 0..n {
        let mut candidates = Candidates::from_logits(&row);
        let started = Instant::now();
        apply(&mut candidates);
        times.push(started.elapsed());
        let allowed: Vec<TokenId> = candidates
            .data
            .iter()
            .filter(|c| c.logit == 0.0 && !vocabulary.is_eog(c.id))
            .map(|c| c.id)
            .collect();
        if allowed.is_empty() {
            break;
        }
        accept(allowed[random.index(allowed.len())]);
    }
    times
}

fn told(name: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |part: usize| times[(times.len() - 1) * part / 100].as_secs_f64() * 1e3;
    let mean = times.iter().sum::<Duration>().as_secs_f64() * 1e3 / times.len() as f64;
    println!(
        "    {name:12} mean {mean:8.3} ms  p50 {:8.3}  p99 {:8.3}  max {:8.3}  of {}",
        at(50),
        at(99),
        at(100),
        times.len()
    );
}

fn masks(path: &str) -> Result<(), Box<dyn Error>> {
    let file = quipu_gguf::GgufFile::open(std::path::Path::new(path))?;
    let vocabulary: Arc<dyn Vocabulary> = Arc::new(Tokenizer::from_gguf(file.metadata())?);
    println!("{} tokens", vocabulary.n_tokens());
    let started = Instant::now();
    let pieces = Arc::new(Pieces::new(Arc::clone(&vocabulary)));
    println!("pieces in {:?}", started.elapsed());
    let started = Instant::now();
    let tokens = LlTokens::new(&vocabulary)?;
    println!("llguidance's trie in {:?}", started.elapsed());
    for (name, schema) in SCHEMAS {
        let started = Instant::now();
        let value: Value = serde_json::from_str(schema)?;
        let text = schema_to_grammar(&value, WhiteSpace::Short)?;
        let converted = started.elapsed();
        let exact = Grammar::of(&pieces, Gbnf::parse(&text, "root", None)?.strict())?;
        let made = started.elapsed();
        let started = Instant::now();
        let other = LlGuidance::json_schema(&tokens, schema)?;
        println!(
            "{name}: exact in {made:?} ({converted:?} converting, {} bytes), llguidance in {:?}",
            text.len(),
            started.elapsed()
        );
        let llama = Grammar::new(&pieces, &json_schema_to_grammar(&value)?, "root")?;
        for (name, grammar) in [("exact", exact), ("llama", llama)] {
            let grammar = std::cell::RefCell::new(grammar);
            let mut times = walk(
                vocabulary.as_ref(),
                200,
                &mut |c| grammar.borrow_mut().apply(c).unwrap_or_else(|e| println!("    {e}")),
                &mut |t| grammar.borrow_mut().accept(t),
            );
            told(name, &mut times);
        }
        let other = std::cell::RefCell::new(other);
        let mut times = walk(
            vocabulary.as_ref(),
            200,
            &mut |c| other.borrow_mut().apply(c).unwrap_or_else(|e| println!("    {e}")),
            &mut |t| other.borrow_mut().accept(t),
        );
        told("llguidance", &mut times);
    }
    Ok(())
}

/// All bytes, and the end.
struct Bytes(Vec<Vec<u8>>);

impl Vocabulary for Bytes {
    fn n_tokens(&self) -> usize {
        self.0.len()
    }

    fn piece(&self, token: TokenId) -> &[u8] {
        self.0.get(token as usize).map_or(&[], Vec::as_slice)
    }

    fn plain_piece(&self, token: TokenId) -> &[u8] {
        if token < 256 { self.piece(token) } else { &[] }
    }

    fn is_eog(&self, token: TokenId) -> bool {
        token == 256
    }

    fn end_of_turn(&self) -> Option<TokenId> {
        Some(256)
    }

    fn tokenize(&self, text: &[u8], _parse_special: bool) -> Vec<TokenId> {
        text.iter().map(|byte| TokenId::from(*byte)).collect()
    }

    fn detokenize(&self, token: TokenId) -> Vec<u8> {
        self.piece(token).to_vec()
    }
}

fn verdicts(path: &str) -> Result<(), Box<dyn Error>> {
    let texts = (0..=255).map(|byte| vec![byte]).chain([b"</s>".to_vec()]).collect();
    let vocabulary: Arc<dyn Vocabulary> = Arc::new(Bytes(texts));
    let tokens = LlTokens::new(&vocabulary)?;
    let (mut wrong, mut refused, mut n) = (0, 0, 0);
    for line in std::fs::read_to_string(path)?.lines() {
        let case: Value = serde_json::from_str(line)?;
        let start = match LlGuidance::json_schema(&tokens, &case["schema"].to_string()) {
            Ok(start) => start,
            Err(error) => {
                refused += 1;
                println!("{}: {error}", case["id"]);
                continue;
            }
        };
        let texts = case["texts"].as_array().into_iter().flatten();
        for (text, valid) in texts.zip(case["valid"].as_array().into_iter().flatten()) {
            let text = text.as_str().unwrap_or_default();
            let mut now = start.clone();
            let taken = text.bytes().all(|byte| now.accept_token(byte.into()).is_ok());
            let accepted = taken && now.may_end().unwrap_or(false);
            n += 1;
            if Some(accepted) != valid.as_bool() {
                wrong += 1;
                println!("{}: {text} {}", case["id"], if accepted { "accepted" } else { "not accepted" });
            }
        }
    }
    println!("llguidance: {wrong} of {n} verdicts wrong, {refused} schemas refused");
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    masks(args.first().ok_or("expected VOCAB.gguf [CASES.jsonl]")?)?;
    args.get(1).map_or(Ok(()), |path| verdicts(path))
}
