//! Generations through the public API: how they end, what they report, and that the session survives them.

mod common;

use std::time::{Duration, Instant};

use common::{generate, greedy, model, seeded, session, session_of};
use quipu::sampler::{Candidates, Greedy, Sampler};
use quipu::{
    CancelToken, Chain, ContextFull, Error, Event, Flow, GenerateOptions, SessionOptions, StopReason,
    TokenId, TokenLogprobs,
};

const PROMPT: &str = "Once upon a time";

#[test]
fn time_limit() {
    let model = model();
    let mut session = session(&model);
    // No time at all: not even the prompt.
    let now = GenerateOptions { time_limit: Some(Duration::ZERO), ..greedy(100) };
    let outcome = generate(&mut session, PROMPT, &now);
    assert_eq!((outcome.stop, outcome.n_generated), (StopReason::TimeLimit, 0));
    assert!(session.held_tokens().is_empty());

    // Passes while the callback sleeps.
    let short = GenerateOptions { time_limit: Some(Duration::from_millis(300)), ..greedy(500) };
    let outcome = session.generate(PROMPT, &GenerateOptions { ignore_eog: true, ..short }, |_| {
        std::thread::sleep(Duration::from_millis(40));
        Flow::Continue
    });
    let outcome = outcome.expect("a generation");
    assert_eq!(outcome.stop, StopReason::TimeLimit);
    assert!(outcome.n_generated < 12, "{}", outcome.n_generated);

    // Longer than any clock counts is no limit.
    let long = GenerateOptions { time_limit: Some(Duration::MAX), ..greedy(5) };
    let after = generate(&mut session, PROMPT, &long);
    assert_eq!(after.stop, StopReason::MaxTokens);
    assert_eq!(after.tokens, generate(&mut common::session(&model), PROMPT, &greedy(5)).tokens);
}

/// A long prompt in one ubatch is given up inside of the computation, not after it.
#[test]
fn time_limit_inside_of_a_computation() {
    let model = model();
    let mut session = session_of(&model, 1536);
    let prompt: Vec<TokenId> = (0..1500).map(|i| 10 + i * 13 % 900).collect();
    let start = Instant::now();
    session.generate_from(&prompt, &greedy(1), |_| Flow::Continue).expect("a generation");
    let whole = start.elapsed();
    session.reset();
    let options = GenerateOptions { time_limit: Some(whole / 20), ..greedy(1) };
    let start = Instant::now();
    let outcome = session.generate_from(&prompt, &options, |_| Flow::Continue).expect("a generation");
    assert_eq!(outcome.stop, StopReason::TimeLimit);
    assert!(start.elapsed() < whole / 2, "{:?} of {whole:?}", start.elapsed());
    // What was complete is still there and is of use.
    let held = session.held_tokens().len();
    assert!(held < prompt.len() && prompt.starts_with(session.held_tokens()));
    let again = session.generate_from(&prompt, &greedy(8), |_| Flow::Continue).expect("a generation");
    assert_eq!(again.n_cached, held);
    let fresh = session_of(&model, 1536).generate_from(&prompt, &greedy(8), |_| Flow::Continue);
    assert_eq!(again.tokens, fresh.expect("a generation").tokens);
}

#[test]
fn cancelled_between_pieces_of_a_prompt() {
    let model = model();
    let options = SessionOptions { n_ctx: 512, n_batch: 16, n_threads: 2, ..SessionOptions::default() };
    let mut session = model.session(&options).expect("a context");
    let prompt: Vec<TokenId> = (0..200).map(|i| 10 + i * 13 % 900).collect();
    let cancel = CancelToken::new();
    let options = GenerateOptions { cancel: Some(cancel.clone()), ..greedy(5) };
    let mut seen = Vec::new();
    let outcome = session
        .generate_events(&prompt, &options, |event| {
            if let Event::PromptProgress { n_prompt: 200, n_cached: 0, n_processed, .. } = event {
                seen.push(*n_processed);
                if *n_processed == 48 {
                    cancel.cancel();
                }
            }
            Flow::Continue
        })
        .expect("a generation");
    assert_eq!(seen, [16, 32, 48]);
    assert_eq!((outcome.stop, outcome.n_generated), (StopReason::Cancelled, 0));
    assert_eq!(session.held_tokens(), &prompt[..48]);

    // A callback may stop there too.
    let options = greedy(5);
    let outcome = session.generate_events(&prompt, &options, |event| match event {
        Event::PromptProgress { n_cached: 48, n_processed: 96, .. } => Flow::Stop,
        _ => Flow::Continue,
    });
    assert_eq!(outcome.expect("a generation").stop, StopReason::Sink);
    assert_eq!(session.held_tokens().len(), 96);
}

/// The same ubatches, in one decode call or in many: the same bits.
#[test]
fn pieces_of_a_prompt_give_the_logits_of_the_whole() {
    let model = model();
    let prompt: Vec<TokenId> = (0..500).map(|i| 10 + i * 13 % 900).collect();
    let logits = |n_batch: usize| {
        let options =
            SessionOptions { n_ctx: 512, n_batch, n_ubatch: 32, n_threads: 2, ..SessionOptions::default() };
        let mut session = model.session(&options).expect("a context");
        let outcome = session.generate_from(&prompt, &greedy(1), |_| Flow::Continue).expect("a generation");
        let bits: Vec<u32> =
            session.context().logits(-1).expect("logits").iter().map(|x| x.to_bits()).collect();
        (outcome.tokens, bits)
    };
    let whole = logits(512);
    assert_eq!(logits(32), whole);
    assert_eq!(logits(96), whole);
}

#[test]
fn ends_of_generation_are_never_chosen_when_ignored() {
    let model = model();
    let tokenizer = model.tokenizer().unwrap();
    let mut session = session(&model);
    let whole = generate(&mut session, PROMPT, &greedy(400));
    assert_eq!(whole.stop, StopReason::EndOfGeneration);
    assert!(tokenizer.is_eog(*whole.tokens.last().unwrap()));
    let on = generate(&mut session, PROMPT, &GenerateOptions { ignore_eog: true, ..greedy(400) });
    assert_eq!((on.stop, on.n_generated), (StopReason::MaxTokens, 400));
    assert!(!on.tokens.iter().any(|token| tokenizer.is_eog(*token)));
    let n = whole.n_generated - 1;
    assert_eq!(on.tokens[..n], whole.tokens[..n]);
}

#[test]
fn stop_strings_cut_the_text_and_are_named() {
    let model = model();
    let mut session = session(&model);
    let whole = generate(&mut session, PROMPT, &greedy(200));
    let tokenizer = model.tokenizer().unwrap();
    // From the middle of one token to the middle of the one after the next.
    for start in [20, 41, 77, 100] {
        let stop: String = whole.text.chars().skip(start).take(7).collect();
        let options = GenerateOptions { stop: vec!["never".to_owned(), stop.clone()], ..greedy(200) };
        let mut shown = String::new();
        let outcome = session
            .generate(PROMPT, &options, |text| {
                shown.push_str(text);
                Flow::Continue
            })
            .expect("a generation");
        assert_eq!(outcome.stop, StopReason::StopString);
        assert_eq!(outcome.stop_string.as_deref(), Some(stop.as_str()));
        assert_eq!(outcome.text, whole.text[..whole.text.find(&stop).unwrap()]);
        assert_eq!(shown, outcome.text);
        // The tokens say what was computed, the stop string's included.
        let all = tokenizer.detokenize(&outcome.tokens, false, false).unwrap();
        assert!(String::from_utf8_lossy(&all).contains(&stop));
    }
}

/// Log-probabilities of the whole vocabulary are a distribution; the top is in order and the chosen token is there.
#[test]
fn probabilities_add_up() {
    let model = model();
    let mut session = session(&model);
    let n_vocab = model.hparams().n_vocab;
    let run = |session: &mut quipu::Session, options: &GenerateOptions| {
        let mut all: Vec<(TokenId, TokenLogprobs)> = Vec::new();
        for event in session.stream(PROMPT, options).expect("a generation") {
            if let Event::Token { id, logprobs, .. } = event.expect("an event") {
                all.push((id, logprobs.expect("probabilities")));
            }
        }
        all
    };
    let whole = run(&mut session, &GenerateOptions { n_probs: 100_000, ..seeded(3, 20) });
    assert_eq!(whole.len(), 20);
    for (id, probs) in &whole {
        assert_eq!(probs.top.len(), n_vocab);
        let sum: f64 = probs.top.iter().map(|t| f64::from(t.logprob).exp()).sum();
        assert!((sum - 1.0).abs() < 1e-5, "{sum}");
        assert!(probs.top.is_sorted_by(|a, b| a.logprob >= b.logprob));
        let chosen = probs.top.iter().find(|t| t.id == *id).expect("the chosen token");
        assert_eq!(chosen.logprob, probs.logprob);
    }
    let few = run(&mut session, &GenerateOptions { n_probs: 5, ..seeded(3, 20) });
    for ((_, whole), (_, few)) in whole.iter().zip(&few) {
        assert_eq!(few.top, whole.top[..5]);
        assert_eq!(few.logprob, whole.logprob);
    }
    // After sampling only the survivors are left: at most 40 by top-k, and theirs is all of the probability.
    let options = GenerateOptions { n_probs: 100, post_sampling_probs: true, ..seeded(3, 20) };
    for ((raw, _), (id, probs)) in whole.iter().zip(run(&mut session, &options)) {
        assert_eq!(*raw, id);
        assert!((1..=40).contains(&probs.top.len()));
        let sum: f64 = probs.top.iter().map(|t| f64::from(t.logprob).exp()).sum();
        assert!((sum - 1.0).abs() < 1e-5, "{sum}");
        assert!(probs.top.iter().any(|t| t.id == id && t.logprob == probs.logprob));
    }
    // Greedy leaves one.
    let options = GenerateOptions { n_probs: 3, post_sampling_probs: true, ..greedy(5) };
    for (id, probs) in run(&mut session, &options) {
        assert_eq!((probs.top.len(), probs.top[0].id, probs.logprob), (1, id, 0.0));
        assert_eq!(probs.top[0].bytes, model.tokenizer().unwrap().piece(id, false).unwrap());
    }
}

#[test]
fn a_chain_of_the_callers_own() {
    let model = model();
    let mut session = session(&model);
    let mut chain = Chain::new();
    chain.add(Greedy);
    let own = GenerateOptions { chain: Some(chain), ..seeded(1, 50) };
    assert_eq!(
        generate(&mut session, PROMPT, &own).tokens,
        generate(&mut session, PROMPT, &greedy(50)).tokens
    );
}

/// Fails at its third token.
#[derive(Clone, Debug)]
struct Failing(usize);

impl Sampler for Failing {
    fn name(&self) -> &'static str {
        "failing"
    }

    fn apply(&mut self, candidates: &mut Candidates) -> Result<(), quipu::sampler::Error> {
        self.0 += 1;
        if self.0 == 3 {
            candidates.data.clear();
            return Err(quipu::sampler::Error::EmptyCandidates { sampler: "failing" });
        }
        candidates.selected = Some(300 + self.0);
        Ok(())
    }

    fn clone_box(&self) -> Box<dyn Sampler> {
        Box::new(self.clone())
    }
}

#[test]
fn errors_leave_the_session_as_good_as_new() {
    let model = model();
    let expected = generate(&mut session(&model), PROMPT, &seeded(7, 40));
    let mut used = session(&model);
    let as_good_as_new = |used: &mut quipu::Session| {
        assert_eq!(generate(used, PROMPT, &seeded(7, 40)).tokens, expected.tokens);
    };

    // A sampler that fails in the middle: the events before it are there, then the error, then nothing.
    let mut chain = Chain::new();
    chain.add(Failing(0));
    let failing = GenerateOptions { chain: Some(chain), ..greedy(10) };
    let mut generation = used.stream(PROMPT, &failing).expect("a generation");
    let mut n_tokens = 0;
    let error = loop {
        match generation.next_event().expect("an error first") {
            Ok(Event::Token { .. }) => n_tokens += 1,
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Sampler(_)), "{error}");
    assert_eq!((n_tokens, generation.outcome().n_generated), (2, 2));
    assert!(generation.next_event().is_none());
    drop(generation);
    as_good_as_new(&mut used);

    // A token out of range, before and after something was held.
    for _ in 0..2 {
        let error = used.generate_from(&[5, 60_000], &greedy(5), |_| Flow::Continue).expect_err("a bad id");
        assert_eq!(error.to_string(), "token[1] is 60000, expected an id below 1024");
    }
    as_good_as_new(&mut used);

    // A prompt that is too long, one that is empty, parameters that are not numbers.
    let long = "dog ".repeat(600);
    assert!(matches!(used.generate(&long, &greedy(5), |_| Flow::Continue), Err(Error::PromptTooLong { .. })));
    assert!(matches!(used.generate_from(&[], &greedy(5), |_| Flow::Continue), Err(Error::EmptyPrompt)));
    let mut bad = greedy(5);
    bad.sampling.min_p = f32::NAN;
    assert!(matches!(used.generate(PROMPT, &bad, |_| Flow::Continue), Err(Error::Sampler(_))));
    as_good_as_new(&mut used);

    // A context that fills up.
    let endless = GenerateOptions { max_tokens: None, ignore_eog: true, ..greedy(0) };
    assert_eq!(generate(&mut used, PROMPT, &endless).stop, StopReason::ContextFull);
    as_good_as_new(&mut used);

    // Aborted by the callback in the middle of everything.
    for stop_at in 1..8 {
        let mut n = 0;
        let outcome = used.generate_events(&[428, 429, 265], &seeded(1, 20), |_| {
            n += 1;
            if n == stop_at { Flow::Stop } else { Flow::Continue }
        });
        assert_eq!(outcome.expect("a generation").stop, StopReason::Sink);
    }
    as_good_as_new(&mut used);
}

/// A cancel token raised while a prompt is computed aborts between two nodes; what was complete stays.
#[test]
fn aborted_in_the_middle_of_a_computation() {
    let model = model();
    let mut session = session_of(&model, 1536);
    let prompt: Vec<TokenId> = (0..1500).map(|i| 10 + i * 13 % 900).collect();
    let cancel = CancelToken::new();
    let raised = cancel.clone();
    let worker = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(30));
        raised.cancel();
    });
    // Without an end of its own, however fast the machine.
    let context_full = ContextFull::Shift { n_keep: 0 };
    let options =
        GenerateOptions { cancel: Some(cancel), context_full, ignore_eog: true, ..greedy(usize::MAX) };
    let outcome = session.generate_from(&prompt, &options, |_| Flow::Continue).expect("a generation");
    worker.join().expect("no panic");
    assert_eq!(outcome.stop, StopReason::Cancelled);
    let again = session.generate_from(&prompt, &greedy(5), |_| Flow::Continue).expect("a generation");
    let fresh = session_of(&model, 1536).generate_from(&prompt, &greedy(5), |_| Flow::Continue);
    assert_eq!(again.tokens, fresh.expect("a generation").tokens);
}

#[test]
fn control_tokens_show_when_asked() {
    let model = model();
    let mut session = session(&model);
    let shown = GenerateOptions { special: true, ..greedy(400) };
    let with = generate(&mut session, PROMPT, &shown);
    let without = generate(&mut session, PROMPT, &greedy(400));
    assert_eq!(with.tokens, without.tokens);
    assert_eq!(with.stop, StopReason::EndOfGeneration);
    // The end itself is no text in either.
    assert_eq!(with.text, without.text);
}
