//! Several sequences in one engine: each gives what it gives alone, whatever the others do.

mod common;

use std::collections::HashMap;

use common::{greedy, model, session};
use quipu::sampler::{Candidates, Sampler};
use quipu::{
    CancelToken, Chain, ContextFull, Engine, EngineOptions, Error, EventRef, GenerateOptions, Model, Outcome,
    SequenceKey, SessionOptions, StopReason, TokenId,
};
use quipu_testing::nmse;

const PROMPTS: [&str; 8] = [
    "Once upon a time",
    "The old man went to the market because",
    "One day",
    "There was a big dog who liked to run in the park. Every day he",
    "Tom and Sue",
    "The sun was warm and",
    "\"Hello\", said the fox",
    "In the forest there lived a little bird that could not sing. She was sad",
];

/// Everything that happened to a sequence.
#[derive(Default)]
struct Seen {
    /// Log-probabilities of the whole vocabulary at each token.
    rows: Vec<Vec<f32>>,
    tokens: Vec<TokenId>,
    text: String,
    n_processed: Vec<usize>,
    outcome: Option<Outcome>,
    error: Option<Error>,
}

fn engine_of(model: &Model, n_seq_max: usize, context: &SessionOptions) -> Engine {
    let context = SessionOptions { n_threads: 2, ..context.clone() };
    model.engine(&EngineOptions { n_seq_max, context, ..EngineOptions::default() }).expect("an engine")
}

fn context(n_ctx: usize) -> SessionOptions {
    SessionOptions { n_ctx, ..SessionOptions::default() }
}

/// Takes all events there are.
fn take(engine: &mut Engine, seen: &mut HashMap<SequenceKey, Seen>) {
    while let Some((key, event)) = engine.next_event() {
        let seen = seen.entry(key).or_default();
        match event {
            Ok(EventRef::Token { id, logprobs, .. }) => {
                seen.tokens.push(id);
                if let Some(logprobs) = logprobs {
                    let mut row = vec![0.0; logprobs.top.len()];
                    logprobs.top.iter().for_each(|top| row[top.id as usize] = top.logprob);
                    seen.rows.push(row);
                }
            }
            Ok(EventRef::Text(text)) => seen.text.push_str(text),
            Ok(EventRef::PromptProgress { n_processed, .. }) => seen.n_processed.push(n_processed),
            Ok(EventRef::Done(outcome)) => seen.outcome = Some(outcome.clone()),
            Ok(_) => {}
            Err(error) => seen.error = Some(error),
        }
    }
}

fn run(engine: &mut Engine) -> HashMap<SequenceKey, Seen> {
    let mut seen = HashMap::new();
    while engine.n_live() > 0 {
        engine.step().expect("a step");
        take(engine, &mut seen);
    }
    seen
}

/// The options with the log-probabilities of the whole vocabulary.
fn with_rows(model: &Model, options: GenerateOptions) -> GenerateOptions {
    GenerateOptions { n_probs: model.hparams().n_vocab, ..options }
}

fn alone(model: &Model, prompt: &str, options: &GenerateOptions) -> Seen {
    let mut engine = engine_of(model, 1, &context(512));
    let key = engine.add_text(prompt, options).expect("a sequence");
    run(&mut engine).remove(&key).expect("events")
}

/// The same tokens with the same log-probabilities, up to a place where two tokens are as good as equally likely: there
/// the last bits decide, which differ between a product of one column and one of eight. Returns whether it came to that.
fn assert_same(alone: &Seen, together: &Seen, name: &str) -> bool {
    for (i, (a, b)) in alone.rows.iter().zip(&together.rows).enumerate() {
        assert!(nmse(a, b) < 1e-5, "{name}: token {i}: {}", nmse(a, b));
        let (x, y) = (alone.tokens[i], together.tokens[i]);
        if x != y {
            let gap = a[x as usize] - a[y as usize];
            assert!(gap.abs() < 0.02, "{name}: token {i} is {y} instead of {x}, {gap} apart");
            return true;
        }
    }
    assert_eq!((&alone.tokens, &alone.text), (&together.tokens, &together.text), "{name}");
    false
}

#[test]
fn eight_sequences_give_what_each_gives_alone() {
    let model = model();
    let options = with_rows(&model, greedy(60));
    let mut engine = engine_of(&model, 8, &context(1024));
    let keys = PROMPTS.map(|prompt| engine.add_text(prompt, &options).expect("a sequence"));
    let mut seen = run(&mut engine);
    let mut n_ties = 0;
    for (prompt, key) in PROMPTS.iter().zip(keys) {
        let together = seen.remove(&key).expect("events");
        let alone = alone(&model, prompt, &options);
        assert_eq!(
            together.outcome.as_ref().expect("an end").n_prompt,
            alone.outcome.as_ref().unwrap().n_prompt
        );
        n_ties += usize::from(assert_same(&alone, &together, prompt));
    }
    assert!(n_ties <= 2, "{n_ties} of 8 parted");
    // All eight in each step: no more calls than the longest needs.
    let metrics = engine.metrics();
    assert!(metrics.n_decode <= 60, "{} calls", metrics.n_decode);
    assert_eq!((metrics.n_generations, metrics.n_active), (8, 0));
}

#[test]
fn sequences_come_and_go_at_any_time() {
    let model = model();
    let options = with_rows(&model, greedy(30));
    let mut engine = engine_of(&model, 3, &SessionOptions { n_batch: 8, ..context(512) });
    let mut seen = HashMap::new();
    let mut names = HashMap::new();
    let (mut n_refused, mut n_added) = (0, 0);
    for step in 0.. {
        if step % 4 == 0 && n_added < 12 {
            let prompt = PROMPTS[n_added % 8];
            match engine.add_text(prompt, &options) {
                Ok(key) => {
                    n_added += 1;
                    // Every fourth is sent away in the middle.
                    names.insert(key, (prompt, n_added % 4 == 0, step));
                }
                Err(error) => {
                    assert!(matches!(error, Error::NoFreeSequence { n_seq_max: 3 }), "{error}");
                    n_refused += 1;
                }
            }
        }
        engine.step().expect("a step");
        take(&mut engine, &mut seen);
        for (key, (_, is_sent_away, added)) in &names {
            if *is_sent_away && step == added + 9 {
                let outcome = engine.remove(*key).expect("under way");
                assert!(outcome.n_generated > 0 && engine.sequence(*key).is_none());
                assert!(engine.remove(*key).is_none());
            }
        }
        if n_added == 12 && engine.n_live() == 0 {
            break;
        }
    }
    assert!(n_refused > 0);
    let mut n_ties = 0;
    for (key, (prompt, is_sent_away, _)) in names {
        let mut expected = alone(&model, prompt, &options);
        let seen = &seen[&key];
        if is_sent_away {
            assert!(seen.outcome.is_none() && seen.tokens.len() < 30);
            expected.tokens.truncate(seen.tokens.len());
            expected.text.truncate(seen.text.len());
        } else {
            assert_eq!(seen.outcome.as_ref().expect("an end").n_generated, seen.tokens.len());
        }
        n_ties += usize::from(assert_same(&expected, seen, prompt));
    }
    assert!(n_ties <= 2, "{n_ties} of 12 parted");
    // What the sequences held is what the memory holds, and nothing else.
    engine.reset();
    assert_eq!(engine.context().memory().n_used(), 0);
}

/// Neither waits for the other: one token in every step, while a long prompt goes on beside it.
#[test]
fn a_long_prompt_does_not_hold_up_the_others() {
    let model = model();
    let mut engine = engine_of(&model, 3, &SessionOptions { n_batch: 32, ..context(1024) });
    let endless = GenerateOptions { ignore_eog: true, ..greedy(200) };
    let writer = engine.add_text(PROMPTS[0], &endless).expect("a sequence");
    engine.step().expect("a step");
    let mut seen = HashMap::new();
    take(&mut engine, &mut seen);
    let prompt = |start: u32, n: u32| (0..n).map(|i| 10 + (start + i) * 13 % 900).collect::<Vec<TokenId>>();
    let long = engine.add(prompt(0, 500), &endless).expect("a sequence");
    let short = engine.add(prompt(5, 40), &endless).expect("a sequence");
    for step in 1..=16 {
        assert_eq!(engine.step().expect("a step"), 32, "step {step}");
        take(&mut engine, &mut seen);
        assert_eq!(seen[&writer].tokens.len(), 1 + step);
    }
    // The odd token of 31 goes to each in turn, so 15 or 16 of them at a time.
    assert!(seen[&short].n_processed.len() == 3 && seen[&short].n_processed[0].abs_diff(15) <= 1);
    assert_eq!(seen[&short].n_processed.last(), Some(&40));
    assert!(seen[&short].tokens.len() >= 13);
    assert_eq!((seen[&long].n_processed.len(), seen[&long].tokens.len()), (16, 0));
    assert!(seen[&long].n_processed.last() > Some(&420));
}

/// Fails at its third token, or panics.
#[derive(Clone, Debug)]
struct Failing {
    n: usize,
    panics: bool,
}

impl Sampler for Failing {
    fn name(&self) -> &'static str {
        "failing"
    }

    fn apply(&mut self, candidates: &mut Candidates) -> Result<(), quipu::sampler::Error> {
        self.n += 1;
        if self.n == 3 {
            assert!(!self.panics, "a sampler that panics");
            return Err(quipu::sampler::Error::EmptyCandidates { sampler: "failing" });
        }
        candidates.selected = Some(300 + self.n);
        Ok(())
    }

    fn clone_box(&self) -> Box<dyn Sampler> {
        Box::new(self.clone())
    }
}

fn failing(panics: bool) -> GenerateOptions {
    let mut chain = Chain::new();
    chain.add(Failing { n: 0, panics });
    GenerateOptions { chain: Some(chain), ..greedy(20) }
}

#[test]
fn an_error_of_one_ends_that_one() {
    let model = model();
    let options = with_rows(&model, greedy(20));
    for panics in [false, true] {
        let mut engine = engine_of(&model, 3, &context(512));
        let first = engine.add_text(PROMPTS[0], &options).expect("a sequence");
        let bad = engine.add_text(PROMPTS[1], &failing(panics)).expect("a sequence");
        let last = engine.add_text(PROMPTS[2], &options).expect("a sequence");
        let mut seen = HashMap::new();
        let mut n_panics = 0;
        while engine.n_live() > 0 {
            let step = std::panic::AssertUnwindSafe(|| engine.step().expect("a step"));
            n_panics += usize::from(std::panic::catch_unwind(step).is_err());
            take(&mut engine, &mut seen);
        }
        assert_eq!(n_panics, usize::from(panics));
        let bad = &seen[&bad];
        assert_eq!((bad.tokens.as_slice(), bad.outcome.is_none()), ([301, 302].as_slice(), true));
        assert_eq!(matches!(bad.error, Some(Error::Sampler(_))), !panics);
        for (key, prompt) in [(first, PROMPTS[0]), (last, PROMPTS[2])] {
            let parted = assert_same(&alone(&model, prompt, &options), &seen[&key], prompt);
            assert!(!parted, "{prompt}");
        }
    }
}

/// What was computed, and nothing that was only tried, is counted and timed.
#[test]
fn batches_without_room_are_not_counted() {
    let model = model();
    let mut engine = engine_of(&model, 3, &context(256));
    let endless = GenerateOptions { ignore_eog: true, ..greedy(150) };
    for start in [0, 5] {
        let prompt: Vec<TokenId> = (start..start + 100).map(|i| 10 + i * 13 % 900).collect();
        engine.add(prompt, &endless).expect("a sequence");
    }
    let (mut seen, mut n_tokens) = (HashMap::new(), 0);
    while engine.n_live() > 0 {
        n_tokens += engine.step().expect("a step");
        take(&mut engine, &mut seen);
    }
    assert!(seen.values().all(|seen| seen.tokens.len() == 150));
    let timings = engine.timings();
    assert_eq!(timings.n_prompt + timings.n_eval, n_tokens);
}

#[test]
fn cancelled_within_one_step() {
    let model = model();
    let mut engine = engine_of(&model, 3, &SessionOptions { n_batch: 16, ..context(512) });
    let cancel = CancelToken::new();
    let options = GenerateOptions { cancel: Some(cancel.clone()), ignore_eog: true, ..greedy(400) };
    let endless = GenerateOptions { ignore_eog: true, ..greedy(40) };
    let prompt: Vec<TokenId> = (0..300).map(|i| 10 + i * 13 % 900).collect();
    let writer = engine.add_text(PROMPTS[0], &options).expect("a sequence");
    let reader = engine.add(prompt, &options).expect("a sequence");
    let other = engine.add_text(PROMPTS[1], &endless).expect("a sequence");
    let mut seen = HashMap::new();
    for _ in 0..10 {
        engine.step().expect("a step");
        take(&mut engine, &mut seen);
    }
    let n_before = (seen[&writer].tokens.len(), seen[&reader].n_processed.len());
    cancel.cancel();
    engine.step().expect("a step");
    take(&mut engine, &mut seen);
    assert_eq!((seen[&writer].tokens.len(), seen[&reader].n_processed.len()), n_before);
    for key in [writer, reader] {
        assert_eq!(seen[&key].outcome.as_ref().expect("an end").stop, StopReason::Cancelled);
    }
    assert_eq!(engine.n_live(), 1);
    let rest = run(&mut engine);
    assert_eq!(seen[&other].tokens.len() + rest[&other].tokens.len(), 40);
}

/// When everybody in a batch wants to end, it is given up inside of the computation.
#[test]
fn a_batch_that_nobody_wants_is_aborted() {
    let model = model();
    let mut engine = engine_of(&model, 2, &context(2048));
    let cancel = CancelToken::new();
    let options = GenerateOptions { cancel: Some(cancel.clone()), ..greedy(4) };
    let prompt: Vec<TokenId> = (0..900).map(|i| 10 + i * 13 % 900).collect();
    for _ in 0..2 {
        engine.add(prompt.clone(), &options).expect("a sequence");
    }
    let worker = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(20));
        cancel.cancel();
    });
    let seen = run(&mut engine);
    worker.join().expect("no panic");
    for seen in seen.values() {
        let outcome = seen.outcome.as_ref().expect("an end");
        assert!(matches!(outcome.stop, StopReason::Cancelled | StopReason::MaxTokens), "{outcome:?}");
    }
    // The engine is as good as new: nothing that was raised before counts.
    let endless = GenerateOptions { ignore_eog: true, ..greedy(4) };
    let key = engine.add(prompt, &endless).expect("a sequence");
    assert_eq!(run(&mut engine)[&key].tokens.len(), 4);
}

/// A context that is shared runs full: the newest waits, and goes on when the other has ended.
#[test]
fn without_room_the_newest_waits() {
    let model = model();
    let endless = GenerateOptions { ignore_eog: true, ..with_rows(&model, greedy(150)) };
    let mut engine = engine_of(&model, 3, &context(256));
    let large: Vec<TokenId> = (0..100).map(|i| 10 + i * 13 % 900).collect();
    let first = engine.add_text(PROMPTS[0], &endless).expect("a sequence");
    let newest = engine.add(large, &endless).expect("a sequence");
    let seen = run(&mut engine);
    for key in [first, newest] {
        let outcome = seen[&key].outcome.as_ref().expect("an end");
        assert_eq!((outcome.n_generated, outcome.stop), (150, StopReason::MaxTokens));
    }
    let same = assert_same(&alone(&model, PROMPTS[0], &endless), &seen[&first], "the older");
    assert!(!same);
}

/// Four that want twice what the context holds: nobody loses a text, and who comes later does not overtake.
#[test]
fn a_full_context_costs_nobody_a_text() {
    let model = model();
    let endless = GenerateOptions { ignore_eog: true, ..with_rows(&model, greedy(120)) };
    let mut engine = engine_of(&model, 4, &context(256));
    let keys: Vec<SequenceKey> =
        PROMPTS[..4].iter().map(|prompt| engine.add_text(prompt, &endless).expect("a sequence")).collect();
    let (mut seen, mut ended) = (HashMap::new(), Vec::new());
    while engine.n_live() > 0 {
        engine.step().expect("a step");
        take(&mut engine, &mut seen);
        let done = |key: &SequenceKey| seen.get(key).is_some_and(|seen| seen.outcome.is_some());
        let new: Vec<_> = keys.iter().filter(|key| done(key) && !ended.contains(*key)).copied().collect();
        ended.extend(new);
    }
    assert_eq!(ended, keys);
    let mut n_ties = 0;
    for (prompt, key) in PROMPTS.iter().zip(&keys) {
        assert_eq!(seen[key].tokens.len(), 120, "{prompt}");
        n_ties += usize::from(assert_same(&alone(&model, prompt, &endless), &seen[key], prompt));
    }
    assert!(n_ties <= 2, "{n_ties} of 4 parted");
}

/// Who waits for room can be sent away, and what the memory holds is still what the lanes say.
#[test]
fn who_waits_for_room_can_leave() {
    let model = model();
    let endless = GenerateOptions { ignore_eog: true, ..greedy(200) };
    let mut engine = engine_of(&model, 4, &context(256));
    let cancel = CancelToken::new();
    let waiting = GenerateOptions { cancel: Some(cancel.clone()), ..endless.clone() };
    let first = engine.add_text(PROMPTS[0], &endless).expect("a sequence");
    let second = engine.add_text(PROMPTS[1], &waiting).expect("a sequence");
    let mut seen = HashMap::new();
    engine.step().expect("a step");
    take(&mut engine, &mut seen);
    while !engine.sequence(second).expect("under way").held_tokens().is_empty() {
        engine.step().expect("a step");
        take(&mut engine, &mut seen);
    }
    // Comes while there is no room, and waits behind.
    let third = engine.add_text(PROMPTS[2], &waiting).expect("a sequence");
    engine.step().expect("a step");
    assert!(engine.sequence(third).expect("under way").held_tokens().is_empty());
    cancel.cancel();
    engine.step().expect("a step");
    take(&mut engine, &mut seen);
    for key in [second, third] {
        assert_eq!(seen[&key].outcome.as_ref().expect("an end").stop, StopReason::Cancelled);
    }
    take(&mut engine, &mut seen);
    let last = engine.add_text(PROMPTS[0], &greedy(3)).expect("a sequence");
    seen.extend(run(&mut engine));
    assert_eq!(seen[&first].outcome.as_ref().expect("an end").n_generated, 200);
    assert_eq!(seen[&last].tokens.len(), 3);
}

#[test]
fn a_prompt_goes_where_it_is_held_already() {
    let model = model();
    let mut engine = engine_of(&model, 2, &context(512));
    let options = greedy(5);
    let n_cached = |engine: &mut Engine, prompt: &str| {
        let key = engine.add_text(prompt, &options).expect("a sequence");
        let outcome = run(engine).remove(&key).and_then(|seen| seen.outcome).expect("an end");
        (outcome.n_cached, outcome.n_prompt)
    };
    assert_eq!(n_cached(&mut engine, PROMPTS[3]).0, 0);
    assert!(n_cached(&mut engine, PROMPTS[7]).0 <= 1);
    for prompt in [PROMPTS[3], PROMPTS[7], PROMPTS[3]] {
        let (n_cached, n_prompt) = n_cached(&mut engine, prompt);
        assert_eq!(n_cached, n_prompt - 1, "{prompt}");
    }
}

/// Each sequence shifts within its own share of the context; the others do not notice.
#[test]
fn sequences_shift_on_their_own() {
    let model = model();
    let context_full = ContextFull::Shift { n_keep: 0 };
    let options = GenerateOptions { context_full, ignore_eog: true, ..with_rows(&model, greedy(150)) };
    let engine_of = |n_seq_max: usize| {
        let context = SessionOptions { n_threads: 2, ..context(256) };
        model
            .engine(&EngineOptions { n_seq_max, n_ctx_seq: 64, context, ..EngineOptions::default() })
            .expect("an engine")
    };
    let mut engine = engine_of(4);
    let keys: Vec<SequenceKey> =
        PROMPTS[..4].iter().map(|prompt| engine.add_text(prompt, &options).expect("a sequence")).collect();
    let seen = run(&mut engine);
    let n_shifts: usize = seen.values().map(|seen| seen.outcome.as_ref().expect("an end").n_shifts).sum();
    assert_eq!(engine.metrics().n_shifts as usize, n_shifts);
    let mut n_ties = 0;
    for (prompt, key) in PROMPTS.iter().zip(keys) {
        let mut engine = engine_of(1);
        let alone = engine.add_text(prompt, &options).expect("a sequence");
        let alone = run(&mut engine).remove(&alone).expect("events");
        assert!(alone.outcome.as_ref().expect("an end").n_shifts >= 3);
        n_ties += usize::from(assert_same(&alone, &seen[&key], prompt));
    }
    assert!(n_ties <= 1, "{n_ties} of 4 parted");
}

/// A sequence that shifts in a step whose batch finds no room at first is part of the next try.
#[test]
fn a_shift_does_not_cost_the_turn() {
    let model = model();
    let context = SessionOptions { n_threads: 2, ..context(256) };
    let mut engine = model
        .engine(&EngineOptions { n_seq_max: 3, n_ctx_seq: 128, context, ..EngineOptions::default() })
        .expect("an engine");
    let prompt = |n: u32, step: u32| -> Vec<TokenId> { (0..n).map(|i| 10 + i * step % 900).collect() };
    let endless = GenerateOptions { ignore_eog: true, ..greedy(60) };
    let shifting = GenerateOptions { context_full: ContextFull::Shift { n_keep: 0 }, ..endless.clone() };
    engine.add(prompt(120, 13), &GenerateOptions { max_tokens: Some(1), ..endless.clone() }).expect("left");
    let key = engine.add(prompt(100, 17), &shifting).expect("a sequence");
    let mut seen = HashMap::new();
    while engine.sequence(key).expect("under way").held_tokens().len() < 127 {
        engine.step().expect("a step");
        take(&mut engine, &mut seen);
    }
    // What was left and half of the other, which shifts now, leave too little room for this one.
    engine.add(prompt(100, 19), &endless).expect("a sequence");
    assert_eq!(engine.step().expect("a step"), 101);
    assert_eq!(engine.metrics().n_shifts, 1);
}

/// Tokens that are computed again had their room: the context shifts when the next new one needs it.
#[test]
fn nothing_shifts_while_tokens_are_computed_again() {
    let model = model();
    let context = SessionOptions { n_threads: 2, n_batch: 16, ..context(256) };
    let mut engine = model
        .engine(&EngineOptions { n_seq_max: 1, n_ctx_seq: 64, context, ..EngineOptions::default() })
        .expect("an engine");
    let context_full = ContextFull::Shift { n_keep: 0 };
    let options = GenerateOptions { context_full, ignore_eog: true, ..greedy(80) };
    let key = engine.add_text(PROMPTS[0], &options).expect("a sequence");
    while engine.sequence(key).expect("under way").held_tokens().len() < 63 {
        engine.step().expect("a step");
        take(&mut engine, &mut HashMap::new());
    }
    engine.reset();
    let mut n_past = Vec::new();
    while engine.n_live() > 0 && n_past.is_empty() {
        engine.step().expect("a step");
        while let Some((_, event)) = engine.next_event() {
            if let EventRef::Shifted { n_past: n, .. } = event.expect("an event") {
                n_past.push(n);
            }
        }
    }
    // 64 tokens were there: one is kept, 31 go.
    assert_eq!(n_past, [33]);
}

/// Events that nobody takes hold up their own sequence only, and do not pile up.
#[test]
fn a_sequence_whose_events_are_not_taken_waits() {
    let model = model();
    let mut engine = engine_of(&model, 1, &context(512));
    let key = engine.add_text(PROMPTS[0], &greedy(30)).expect("a sequence");
    assert!(engine.step().expect("a step") > 1);
    for _ in 0..5 {
        assert_eq!(engine.step().expect("a step"), 0);
    }
    let seen = run(&mut engine);
    assert_eq!(seen[&key].tokens, alone(&model, PROMPTS[0], &greedy(30)).tokens);
}

/// A session is an engine with one sequence: the same bits.
#[test]
fn a_session_gives_what_an_engine_gives() {
    let model = model();
    let options = GenerateOptions { ignore_eog: true, ..with_rows(&model, common::seeded(3, 40)) };
    let seen = alone(&model, PROMPTS[4], &options);
    let mut tokens = Vec::new();
    let mut session = session(&model);
    for event in session.stream(PROMPTS[4], &options).expect("a generation") {
        if let quipu::Event::Token { id, logprobs, .. } = event.expect("an event") {
            let row = &seen.rows[tokens.len()];
            let logprobs = logprobs.expect("asked for");
            assert!(logprobs.top.iter().all(|top| row[top.id as usize].to_bits() == top.logprob.to_bits()));
            tokens.push(id);
        }
    }
    assert_eq!(tokens, seen.tokens);
    assert_eq!(tokens.len(), 40);
}

/// Sequences that come at random times to an engine that must not show it: tokens and log-probabilities are bit-equal to what each gives alone,
/// with another number of threads and after other texts.
#[test]
fn a_deterministic_engine_does_not_show_its_load() {
    let model = model();
    let n_schedules = std::env::var("QUIPU_SCHEDULES").ok().and_then(|n| n.parse().ok()).unwrap_or(4);
    let engine_of = |n_threads| {
        let context = SessionOptions { n_threads, n_ubatch: 16, ..context(1024) };
        let options =
            EngineOptions { n_seq_max: 4, deterministic: true, context, ..EngineOptions::default() };
        model.engine(&options).expect("an engine")
    };
    let options = |n: usize| with_rows(&model, greedy(n));
    let prompts: Vec<Vec<TokenId>> = PROMPTS
        .iter()
        .map(|prompt| model.tokenizer().expect("a vocabulary").encode(prompt, true, true).expect("ids"))
        .chain([(0..50).map(|i| 10 + i * 13 % 900).collect()])
        .collect();
    let alone: Vec<Seen> = prompts
        .iter()
        .map(|prompt| {
            let mut engine = engine_of(1);
            let key = engine.add(prompt.clone(), &options(24)).expect("a sequence");
            run(&mut engine).remove(&key).expect("events")
        })
        .collect();
    let mut random = quipu_testing::SplitMix::new(7);
    let mut engine = engine_of(2);
    for _ in 0..n_schedules {
        let (mut seen, mut names) = (HashMap::new(), Vec::new());
        while names.len() < 8 || engine.n_live() > 0 {
            if names.len() < 8 && random.one_in(3) {
                let (i, n) = (random.index(prompts.len()), 1 + random.index(24));
                if let Ok(key) = engine.add(prompts[i].clone(), &options(n)) {
                    names.push((key, i, n));
                }
            }
            engine.step().expect("a step");
            take(&mut engine, &mut seen);
        }
        for (key, i, n) in names {
            let n = n.min(alone[i].tokens.len());
            assert_eq!(seen[&key].tokens, alone[i].tokens[..n]);
            let bits =
                |rows: &[Vec<f32>]| -> Vec<u32> { rows.concat().iter().map(|x| x.to_bits()).collect() };
            assert_eq!(bits(&seen[&key].rows), bits(&alone[i].rows[..n]), "prompt {i}");
        }
    }
}

/// A slot goes to a file and comes back into another one, where a prompt that begins alike finds it; damaged files are refused.
#[test]
fn slots_are_saved_and_restored() {
    let model = model();
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("slot.bin");
    let mut engine = engine_of(&model, 2, &context(512));
    let key = engine.add_text(PROMPTS[3], &greedy(8)).expect("a sequence");
    let slot = engine.sequence(key).expect("under way").seq_id() as usize;
    assert!(engine.is_slot_taken(slot));
    assert!(matches!(engine.save_slot(slot, &path), Err(Error::Slot { .. })));
    let first = run(&mut engine).remove(&key).expect("events");
    let n_saved = engine.save_slot(slot, &path).expect("a file");
    assert!(n_saved > 8);
    assert_eq!(engine.erase_slot(slot).expect("a slot"), n_saved);
    assert_eq!(engine.erase_slot(slot).expect("a slot"), 0);
    assert_eq!(engine.restore_slot(1 - slot, &path).expect("its file"), n_saved);
    let key = engine.add_text(PROMPTS[3], &greedy(8)).expect("a sequence");
    let again = run(&mut engine).remove(&key).expect("events");
    let outcome = again.outcome.expect("an end");
    assert_eq!((again.tokens, outcome.n_cached), (first.tokens, outcome.n_prompt - 1));
    assert!(matches!(engine.restore_slot(2, &path), Err(Error::Slot { .. })));
    let mut bytes = std::fs::read(&path).expect("a file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, &bytes).expect("writable");
    engine.restore_slot(slot, &path).expect_err("damaged");
    assert_eq!(engine.erase_slot(slot).expect("a slot"), 0);
    // What a request does not want to take over is computed again.
    let options = GenerateOptions { cache_prompt: false, ..greedy(8) };
    for _ in 0..2 {
        let key = engine.add_text(PROMPTS[3], &options).expect("a sequence");
        assert_eq!(run(&mut engine)[&key].outcome.as_ref().expect("an end").n_cached, 0);
    }
}
