//! Random generations one after the other in one session: whatever they ask for and however they end, events and
//! outcome agree, and the session holds what it says.

mod common;

use std::time::Duration;

use common::{generate, greedy, model, session};
use quipu::{
    CancelToken, ContextFull, Event, GenerateOptions, Outcome, SamplerParams, Session, SessionOptions,
    StopReason, TokenId,
};
use quipu_testing::SplitMix;

fn random_options(random: &mut SplitMix) -> GenerateOptions {
    let stops = ["the", ". ", "ö", "\n", "zzz"];
    GenerateOptions {
        max_tokens: if random.one_in(4) { None } else { Some(random.index(120)) },
        time_limit: random.one_in(6).then(|| Duration::from_micros(random.index(20_000) as u64)),
        sampling: SamplerParams {
            seed: random.index(1000) as u32,
            temp: random.index(3) as f32 * 0.6,
            penalty_repeat: 1.0 + random.index(3) as f32 * 0.1,
            mirostat: if random.one_in(5) { 2 } else { 0 },
            ..SamplerParams::default()
        },
        stop: (0..random.index(3)).map(|_| stops[random.index(stops.len())].to_owned()).collect(),
        special: random.one_in(2),
        ignore_eog: random.one_in(3),
        n_probs: if random.one_in(3) { random.index(2000) } else { 0 },
        post_sampling_probs: random.one_in(2),
        cancel: random.one_in(2).then(CancelToken::new),
        ..GenerateOptions::default()
    }
}

/// Pulls events until the end or until `leave` of them came, and checks them against each other.
fn run(
    session: &mut Session,
    prompt: &[TokenId],
    options: &GenerateOptions,
    leave: usize,
    random: &mut SplitMix,
) -> Option<Outcome> {
    let (mut text, mut tokens, mut processed, mut n_shifts) = (String::new(), Vec::new(), 0, 0);
    let mut generation = session.stream_from(prompt, options).expect("a generation");
    for _ in 0..leave {
        if random.one_in(60)
            && let Some(cancel) = &options.cancel
        {
            cancel.cancel();
        }
        match generation.next_event().expect("an end before the end").expect("no error") {
            Event::PromptProgress { n_prompt, n_cached, n_processed, .. } => {
                assert!(tokens.is_empty() && n_prompt == prompt.len());
                assert!(n_processed > processed.max(n_cached) && n_processed <= n_prompt);
                processed = n_processed;
            }
            Event::Token { id, logprobs, .. } => {
                assert_eq!(processed, prompt.len());
                assert_eq!(logprobs.is_some(), options.n_probs > 0);
                assert!(logprobs.is_none_or(|l| l.top.len() <= options.n_probs && l.logprob <= 0.0));
                tokens.push(id);
            }
            Event::Text(piece) => {
                assert!(!piece.is_empty());
                text.push_str(&piece);
            }
            Event::Shifted { n_keep, n_discard, n_past } => {
                assert!(n_discard > 0 && n_past >= n_keep);
                n_shifts += 1;
            }
            Event::Done(outcome) => {
                assert!(generation.next_event().is_none());
                assert_eq!((&outcome.text, &outcome.tokens), (&text, &tokens));
                assert_eq!((outcome.n_generated, outcome.n_shifts), (tokens.len(), n_shifts));
                assert!(options.max_tokens.is_none_or(|max| tokens.len() <= max));
                assert!(!options.stop.iter().any(|stop| text.contains(stop)), "{text:?} {:?}", options.stop);
                assert_eq!(outcome.stop == StopReason::StopString, outcome.stop_string.is_some());
                return Some(outcome);
            }
            other => panic!("{other:?}"),
        }
    }
    None
}

#[test]
fn whatever_was_asked_the_session_is_as_good_as_new() {
    let model = model();
    let expected = generate(&mut session(&model), "The old man", &greedy(12));
    let mut stops = std::collections::HashMap::new();
    for n_batch in [7, 64, 2048] {
        let options = SessionOptions { n_ctx: 256, n_batch, n_threads: 2, ..SessionOptions::default() };
        let mut session = model.session(&options).expect("a context");
        for round in 0..70 {
            // Time limits end a round sooner or later; the next one is the same whenever that was.
            let mut random = SplitMix::new((n_batch * 1000 + round) as u64);
            random.index(2);
            let mut options = random_options(&mut random);
            // Without an end of its own only a context that is not shifted ends.
            if options.max_tokens.is_some() && random.one_in(2) {
                options.context_full = ContextFull::Shift { n_keep: random.index(300) as i32 - 1 };
            }
            let most = if random.one_in(3) { 250 } else { 40 };
            let n = 1 + random.index(most);
            let start = random.index(3) as u32;
            let prompt: Vec<TokenId> = (0..n as u32).map(|i| 10 + (start + i) * 17 % 900).collect();
            let leave = if random.one_in(4) { random.index(30) } else { usize::MAX };
            let outcome = run(&mut session, &prompt, &options, leave, &mut random);
            let reason = outcome.map_or("left", |outcome| outcome.stop.name());
            *stops.entry(reason).or_insert(0) += 1;
            // What the session says it holds is what the memory holds.
            let memory = session.context().memory();
            let (first, last) = (memory.seq_pos_min(0), memory.seq_pos_max(0));
            let n_held = session.held_tokens().len() as i32;
            assert_eq!(last, n_held - 1, "round {round}");
            assert!(first == 0 || n_held == 0);
            assert_eq!(session.context().memory().n_used() as i32, n_held);
            if round % 7 == 0 {
                let again = generate(&mut session, "The old man", &greedy(12));
                assert_eq!(again.tokens, expected.tokens, "round {round}");
            }
        }
    }
    for reason in ["eog", "max_tokens", "stop_string", "time_limit", "cancelled", "left"] {
        assert!(stops.contains_key(reason), "{reason} never happened: {stops:?}");
    }
}
