//! Constraints by llguidance through the public API.
#![cfg(feature = "llguidance")]

mod common;

use std::sync::Arc;

use common::{Texts, logit};
use quipu_sampler::{
    Candidates, Error, GenerationSampler, GrammarParams, LlGuidance, LlTokens, Sampler, SamplerParams,
    TokenId, Vocabulary,
};
use quipu_testing::SplitMix;

/// All ASCII characters, all other bytes, a few longer pieces, and the end.
fn vocabulary() -> Arc<dyn Vocabulary> {
    let mut texts: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
    texts.extend(
        ["true", "false", "\":", ", \"", "name", "ab", "12", "é", "</s>"].map(|t| t.as_bytes().to_vec()),
    );
    Arc::new(Texts(texts))
}

fn end(vocabulary: &dyn Vocabulary) -> TokenId {
    vocabulary.end_of_turn().unwrap()
}

/// Draws a text under the constraint; the end is likely from the 40th token on.
fn draw(constraint: &mut LlGuidance, vocabulary: &dyn Vocabulary, random: &mut SplitMix) -> String {
    constraint.reset();
    let mut text = Vec::new();
    for i in 0..400 {
        let logits: Vec<f32> = (0..vocabulary.n_tokens()).map(|_| logit(random)).collect();
        let mut candidates = Candidates::from_logits(&logits);
        if i >= 40 {
            candidates.data[end(vocabulary) as usize].logit = 100.0;
            // Texts of characters go on for ever otherwise.
            for byte in b"\"]}" {
                candidates.data[*byte as usize].logit = 50.0;
            }
        }
        constraint.apply(&mut candidates).unwrap();
        let best = candidates.data.iter().max_by(|a, b| a.logit.total_cmp(&b.logit)).unwrap();
        assert!(best.logit.is_finite(), "nothing allowed after {:?}", String::from_utf8_lossy(&text));
        constraint.accept_token(best.id).unwrap();
        if vocabulary.is_eog(best.id) {
            return String::from_utf8(text).unwrap();
        }
        text.extend_from_slice(vocabulary.piece(best.id));
    }
    panic!("no end: {}", String::from_utf8_lossy(&text));
}

#[test]
fn texts_under_a_schema_are_its_instances() {
    let vocabulary = vocabulary();
    let tokens = LlTokens::new(&vocabulary).unwrap();
    let schema = r##"{"type": "object", "properties": {
        "name": {"type": "string", "maxLength": 6}, "n": {"$ref": "#/$defs/n"}, "on": {"type": "boolean"}},
        "required": ["name", "n", "on"], "additionalProperties": false,
        "$defs": {"n": {"type": "integer", "minimum": 3, "maximum": 250}}}"##;
    let mut constraint = LlGuidance::json_schema(&tokens, schema).unwrap();
    let mut random = SplitMix::new(1);
    for _ in 0..60 {
        let text = draw(&mut constraint, vocabulary.as_ref(), &mut random);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
        let object = value.as_object().unwrap();
        assert_eq!(object.len(), 3, "{text}");
        assert!(object["name"].as_str().unwrap().chars().count() <= 6, "{text}");
        assert!((3..=250).contains(&object["n"].as_i64().unwrap()), "{text}");
        assert!(object["on"].is_boolean(), "{text}");
    }
}

#[test]
fn texts_under_a_pattern_match_it() {
    let vocabulary = vocabulary();
    let tokens = LlTokens::new(&vocabulary).unwrap();
    let pattern = "[a-c]{2,4}-(true|12+)é?";
    let mut constraint = LlGuidance::regex(&tokens, pattern).unwrap();
    let whole = regex::Regex::new(&format!("^(?:{pattern})$")).unwrap();
    let mut random = SplitMix::new(2);
    for _ in 0..60 {
        let text = draw(&mut constraint, vocabulary.as_ref(), &mut random);
        assert!(whole.is_match(&text), "{text}");
    }
}

#[test]
fn a_lark_grammar_token_by_token() {
    let vocabulary = vocabulary();
    let tokens = LlTokens::new(&vocabulary).unwrap();
    let mut lark = LlGuidance::lark(&tokens, "start: \"a\" b+\nb: \"b\" | \"12\"").unwrap();
    let ab = 256 + 5;
    let twelve = 256 + 6;
    assert!(lark.allows(b'a'.into()).unwrap() && lark.allows(ab).unwrap());
    assert!(!lark.allows(b'b'.into()).unwrap() && !lark.may_end().unwrap());
    assert!(!lark.allows(TokenId::MAX).unwrap() && !lark.allows(100_000).unwrap());
    lark.accept_token(ab).unwrap();
    assert!(lark.may_end().unwrap() && lark.allows(end(vocabulary.as_ref())).unwrap());
    let mut copy = lark.clone();
    copy.accept_token(twelve).unwrap();
    lark.accept_token(b'1'.into()).unwrap();
    assert!(lark.allows(b'2'.into()).unwrap() && !lark.allows(b'b'.into()).unwrap());
    assert!(copy.allows(b'b'.into()).unwrap());

    // Where nothing can follow, the end is taken, once and again.
    let mut fixed = LlGuidance::regex(&tokens, "a").unwrap();
    fixed.accept_token(b'a'.into()).unwrap();
    assert!(fixed.may_end().unwrap() && !fixed.allows(b'a'.into()).unwrap());
    fixed.accept_token(end(vocabulary.as_ref())).unwrap();
    assert!(fixed.clone().accept_token(b'a'.into()).is_err());
    fixed.accept_token(end(vocabulary.as_ref())).unwrap();

    let error = copy.accept_token(b'z'.into()).unwrap_err();
    assert!(matches!(error, Error::Llguidance { .. }), "{error}");
    assert!(!error.to_string().contains('\n'));
    assert_eq!(copy.apply(&mut Candidates::from_logits(&[0.0; 4])), Err(error));
    copy.reset();
    assert!(copy.allows(b'a'.into()).unwrap());
}

#[test]
fn the_generator_takes_it_by_its_first_word() {
    let vocabulary = vocabulary();
    let grammar = GrammarParams::gbnf("%llguidance {}\nstart: \"true\" | \"false\"");
    let params = SamplerParams { seed: 3, grammar: Some(grammar), ..SamplerParams::default() };
    let mut random = SplitMix::new(5);
    for _ in 0..20 {
        let mut sampler = GenerationSampler::new(&params, &vocabulary).unwrap();
        let mut text = Vec::new();
        loop {
            let logits: Vec<f32> = (0..vocabulary.n_tokens()).map(|_| logit(&mut random)).collect();
            let token = sampler.sample(&logits).unwrap();
            sampler.accept(token, true).unwrap();
            if vocabulary.is_eog(token) {
                break;
            }
            text.extend_from_slice(vocabulary.piece(token));
        }
        assert!(text == b"true" || text == b"false", "{}", String::from_utf8_lossy(&text));
    }
}

#[test]
fn what_makes_no_sense_is_an_error() {
    let tokens = LlTokens::new(&vocabulary()).unwrap();
    for error in [
        LlGuidance::lark(&tokens, "start: nothing").unwrap_err(),
        LlGuidance::lark(&tokens, "\u{0}").unwrap_err(),
        LlGuidance::json_schema(&tokens, "{").unwrap_err(),
        LlGuidance::json_schema(&tokens, "{\"type\": 7}").unwrap_err(),
        LlGuidance::regex(&tokens, "(a").unwrap_err(),
    ] {
        assert!(matches!(error, Error::Llguidance { .. }), "{error}");
    }
    // No end, pieces of all lengths, no tokens at all.
    for texts in [vec![], vec![b"a".to_vec()], vec![vec![b'a'; 5000], b"b".to_vec(), Vec::new()]] {
        let odd: Arc<dyn Vocabulary> = Arc::new(Texts(texts));
        if let Ok(tokens) = LlTokens::new(&odd) {
            let mut constraint = LlGuidance::regex(&tokens, "b").unwrap();
            let n = odd.n_tokens();
            let mut candidates = Candidates::from_logits(&vec![0.0; n]);
            let done = constraint.apply(&mut candidates);
            let allowed = candidates.data.iter().filter(|c| c.logit == 0.0).count();
            assert!(if n == 3 { allowed == 1 } else { done.is_err() }, "{n} tokens: {done:?}");
        }
    }
}
