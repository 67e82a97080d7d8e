//! Grammars and reasoning budgets in generations: what the parameters ask for is what the text is.

mod common;

use common::{generate, greedy, model, seeded, session};
use quipu::sampler::{GrammarParams, ReasoningParams};
use quipu::{Error, Flow, GenerateOptions, StopReason};

fn with_grammar(text: &str, mut options: GenerateOptions) -> GenerateOptions {
    options.sampling.grammar = Some(GrammarParams::gbnf(text));
    options
}

#[test]
fn the_text_obeys_the_grammar_and_ends_with_it() {
    let model = model();
    let mut session = session(&model);
    for seed in 0..20 {
        let options = with_grammar(r#"root ::= "The " ("cat" | "dog") " is " [0-9]+ "." "#, seeded(seed, 60));
        let outcome = generate(&mut session, "Once upon a time", &options);
        let rest = outcome.text.strip_prefix("The cat is ").or(outcome.text.strip_prefix("The dog is "));
        let digits = rest.unwrap_or_else(|| panic!("{}", outcome.text));
        match outcome.stop {
            StopReason::EndOfGeneration => {
                let digits = digits.strip_suffix('.').expect("a full stop at the end");
                assert!(!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()), "{digits}");
            }
            StopReason::MaxTokens => assert!(digits.bytes().all(|b| b.is_ascii_digit())),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn schemas_give_json() {
    let model = model();
    let mut session = session(&model);
    let schema = r#"{"type":"object","properties":{"a":{"enum":["fox","dog"]},"b":{"type":"boolean"}},
        "required":["a","b"],"additionalProperties":false}"#;
    let mut finished = 0;
    for seed in 0..12 {
        let mut options = seeded(seed, 200);
        options.sampling.grammar = Some(GrammarParams::json_schema(schema));
        let outcome = generate(&mut session, "The answer: ", &options);
        if outcome.stop == StopReason::EndOfGeneration {
            let json: serde_json::Value = serde_json::from_str(&outcome.text).expect("JSON");
            assert!(json["a"].is_string() && json["b"].is_boolean(), "{json}");
            finished += 1;
        }
    }
    assert!(finished >= 6, "{finished} of 12");
}

#[test]
fn a_bad_grammar_is_an_error_before_anything_is_computed() {
    let model = model();
    let mut session = session(&model);
    let bad = with_grammar("root ::= root \"a\"", greedy(5));
    let error = session.generate("Once", &bad, |_| Flow::Continue).expect_err("left recursion");
    assert!(matches!(error, Error::Sampler(_)), "{error}");
    assert!(session.held_tokens().is_empty());
    assert_eq!(generate(&mut session, "Once", &greedy(5)).n_generated, 5);
}

/// The thoughts end after so many tokens with the words that end them, as if the model had said so.
#[test]
fn a_reasoning_budget_ends_the_thoughts() {
    let model = model();
    let vocabulary = model.vocabulary().expect("a vocabulary");
    let mut session = session(&model);
    for budget in [0, 1, 7] {
        // The prompt opens the thoughts, so they begin with the first token.
        let mut options = greedy(40);
        options.sampling.generation_prompt = "Let me think:".to_owned();
        options.sampling.reasoning = ReasoningParams::from_tags(
            budget,
            "Let me think:",
            &["So it was."],
            "Enough. ",
            vocabulary.as_ref(),
        );
        let forced = options.sampling.reasoning.forced.clone();
        assert!(forced.len() > 2);
        let outcome = generate(&mut session, "Once upon a time. Let me think:", &options);
        let said = outcome.tokens.clone();
        let at = budget as usize;
        assert_eq!(said[at..at + forced.len()], forced, "{}", outcome.text);
        assert!(outcome.text.contains("Enough. So it was."), "{}", outcome.text);
        // Without the budget the model says something else there.
        options.sampling.reasoning.n_tokens = -1;
        let free = generate(&mut session, "Once upon a time. Let me think:", &options);
        assert_eq!(free.tokens[..at], outcome.tokens[..at]);
        assert!(!free.text.contains("Enough."));
    }
}

/// The grammar's text, empty, is no grammar.
#[test]
fn no_grammar_changes_nothing() {
    let model = model();
    let mut session = session(&model);
    let mut options = seeded(3, 30);
    options.sampling.grammar = Some(GrammarParams::gbnf(""));
    let expected = generate(&mut common::session(&model), "Once", &seeded(3, 30));
    assert_eq!(generate(&mut session, "Once", &options).tokens, expected.tokens);
}
