//! Generations pulled as iterators: the same events as callbacks get, and a session that survives being left.

mod common;

use common::{generate, greedy, model, seeded, session};
use quipu::{Error, Event, EventRef, Flow, GenerateOptions, Outcome, Sequence, Step, StopReason};

const PROMPT: &str = "Once upon a time";

/// Times differ from run to run; everything else is the same.
fn without_times(event: &Event) -> Event {
    match event.clone() {
        Event::PromptProgress { n_prompt, n_cached, n_processed, .. } => {
            Event::PromptProgress { n_prompt, n_cached, n_processed, elapsed: std::time::Duration::ZERO }
        }
        other => other,
    }
}

#[test]
fn iterators_and_callbacks_see_the_same_events() {
    let model = model();
    let tokens = model.tokenizer().unwrap().encode(PROMPT, true, true).unwrap();
    for options in [
        GenerateOptions { n_probs: 2, ..seeded(4, 60) },
        GenerateOptions { stop: vec!["was".to_owned()], ..greedy(60) },
        greedy(400),
    ] {
        let pulled: Vec<Event> = session(&model)
            .stream(PROMPT, &options)
            .expect("a generation")
            .map(|event| without_times(&event.expect("an event")))
            .collect();
        let mut pushed = Vec::new();
        let outcome = session(&model)
            .generate_events(&tokens, &options, |event| {
                pushed.push(without_times(event));
                Flow::Continue
            })
            .expect("a generation");
        assert_eq!(pulled, pushed);
        let mut text = String::new();
        let only_text = session(&model).generate(PROMPT, &options, |piece| {
            text.push_str(piece);
            Flow::Continue
        });
        assert_eq!(only_text.expect("a generation"), outcome);

        // What the events say is what the outcome says.
        assert_eq!(pulled.last(), Some(&Event::Done(outcome.clone())));
        assert!(matches!(pulled[0], Event::PromptProgress { n_cached: 0, .. }));
        let mut texts = String::new();
        let (mut ids, mut bytes) = (Vec::new(), Vec::new());
        for event in &pulled {
            match event {
                Event::Text(piece) => texts.push_str(piece),
                Event::Token { id, piece, .. } => {
                    ids.push(*id);
                    bytes.extend_from_slice(piece);
                }
                _ => {}
            }
        }
        assert_eq!((&texts, &text), (&outcome.text, &outcome.text));
        assert_eq!(ids, outcome.tokens);
        assert!(bytes.starts_with(outcome.text.as_bytes()));
    }
}

#[test]
fn nothing_comes_after_the_end() {
    let model = model();
    let mut session = session(&model);
    let mut generation = session.stream(PROMPT, &greedy(3)).expect("a generation");
    assert!(generation.by_ref().all(|event| event.is_ok()));
    assert!(generation.next().is_none() && generation.next().is_none());
    assert_eq!(generation.outcome().stop, StopReason::MaxTokens);
}

/// Dropped after any number of events, the session gives the next generation what a fresh one gives.
#[test]
fn a_dropped_iterator_leaves_the_session_usable() {
    let model = model();
    let expected = generate(&mut session(&model), PROMPT, &seeded(9, 30));
    let mut used = session(&model);
    for n in 0..12 {
        let mut generation = used.stream("The dog and the fox", &greedy(30)).expect("a generation");
        for _ in 0..n {
            generation.next().expect("an event").expect("no error");
        }
        drop(generation);
        let after: Outcome = generate(&mut used, PROMPT, &seeded(9, 30));
        assert_eq!(
            (after.tokens, after.text),
            (expected.tokens.clone(), expected.text.clone()),
            "{n} events"
        );
    }
}

/// Nothing is computed before it is asked for, so a generation can wait between two tokens.
#[test]
fn events_are_computed_when_asked_for() {
    let model = model();
    let mut session = session(&model);
    drop(session.stream(PROMPT, &greedy(30)).expect("a generation"));
    assert!(session.held_tokens().is_empty());
    let mut generation = session.stream(PROMPT, &greedy(30)).expect("a generation");
    let first = generation.find(|event| matches!(event, Ok(Event::Token { .. })));
    assert!(first.is_some());
    drop(generation);
    // The prompt, and not the token after it.
    let n_prompt = model.tokenizer().unwrap().encode(PROMPT, true, true).unwrap().len();
    assert_eq!(session.held_tokens().len(), n_prompt);
}

/// A generation can be moved to another thread between two events.
#[test]
fn generations_can_be_sent() {
    let model = model();
    let mut session = session(&model);
    let expected = generate(&mut common::session(&model), PROMPT, &greedy(10));
    let mut generation = session.stream(PROMPT, &greedy(10)).expect("a generation");
    generation.next().expect("an event").expect("no error");
    let last = std::thread::scope(|scope| {
        scope.spawn(move || generation.last().expect("an event").expect("no error")).join().expect("no panic")
    });
    assert_eq!(last, Event::Done(expected));
}

/// A sequence ends once: later ends change nothing after the first was handed out, and take its place before.
#[test]
fn a_sequence_ends_once() {
    let model = model();
    let mut session = session(&model);
    let text = generate(&mut session, "Once upon a time", &greedy(1)).text;
    let options = GenerateOptions { stop: vec![text.clone()], ..greedy(5) };
    let prompt = model.tokenizer().unwrap().encode("Once upon a time", true, true).unwrap();
    for stopped_early in [false, true] {
        session.reset();
        let mut sequence = Sequence::new(&model, prompt.clone(), &options, 512).expect("a sequence");
        let Step::Compute { tokens, .. } = sequence.step() else { panic!("a prompt") };
        let n = tokens.len();
        session.context().decode(&quipu_decoder::Batch::single(tokens)).expect("a decode");
        sequence.computed(n);
        sequence.feed(session.context().logits(-1).expect("logits"));
        if stopped_early {
            sequence.stop();
        }
        let mut n_done = 0;
        while let Some(event) = sequence.next_event() {
            n_done += usize::from(matches!(event.expect("an event"), EventRef::Done(_)));
        }
        sequence.stop();
        sequence.fail(Error::EmptyPrompt);
        assert!(sequence.next_event().is_none());
        let expected =
            if stopped_early { (StopReason::Sink, None) } else { (StopReason::StopString, Some(&text)) };
        let outcome = sequence.outcome();
        assert_eq!((n_done, (outcome.stop, outcome.stop_string.as_ref())), (1, expected));
    }
}
