//! All or nothing: whatever calls fail, and however, the next good call gives what a fresh session gives.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{generate, greedy, model, session_of};
use proptest::prelude::*;
use quipu::sampler::{Candidates, Sampler};
use quipu::{
    CancelToken, Chain, ContextFull, EngineOptions, Error, Event, EventRef, Flow, GenerateOptions, Imatrix,
    ImatrixOptions, Model, Pooling, Session, SessionOptions, StopReason, TokenId,
};
use quipu_backend::{BufferTable, Observer};
use quipu_graph::{Graph, Op, TensorId};

const PROMPT: &str = "Once upon a time there was a little fox";

fn tokens(start: u32, n: u32) -> Vec<TokenId> {
    (0..n).map(|i| 10 + (start + i) * 13 % 900).collect()
}

/// Fails or panics at the `n`-th node it is shown.
#[derive(Debug)]
struct Failing {
    n: AtomicUsize,
    panics: bool,
    /// Only graphs without a matrix product count: those that shift keys.
    only_shifts: bool,
}

impl Failing {
    fn new(n: usize, panics: bool) -> Failing {
        Failing { n: AtomicUsize::new(n), panics, only_shifts: false }
    }
}

impl Observer for Failing {
    fn wants(&self, graph: &Graph, _: TensorId) -> bool {
        let is_shift = !graph.nodes().iter().any(|id| matches!(graph[*id].op, Op::MulMat));
        is_shift || !self.only_shifts
    }

    fn computed(&mut self, _: &Graph, _: TensorId, _: &BufferTable) -> Result<(), quipu_backend::Error> {
        let n = self.n.load(Ordering::SeqCst);
        self.n.store(n.saturating_sub(1), Ordering::SeqCst);
        if n != 1 {
            return Ok(());
        }
        assert!(!self.panics, "an observer that panics");
        Err(quipu_backend::Error::Tensor { name: "x".to_owned(), found: "this".to_owned(), expected: "that" })
    }
}

fn logits(session: &mut Session, tokens: &[TokenId]) -> Vec<u32> {
    let mut bits = Vec::new();
    session.logits(tokens, |row| bits.extend(row.iter().map(|x| x.to_bits()))).expect("logits");
    bits
}

/// The memory holds what the session says, and nothing else.
fn assert_consistent(session: &mut Session) {
    let n_held = session.held_tokens().len() as i32;
    let context = session.context();
    assert_eq!(context.memory().seq_pos_max(0), n_held - 1);
    assert_eq!(context.memory().n_used() as i32, n_held);
}

#[test]
fn embedding_without_embeddings_leaves_nothing_behind() {
    let model = model();
    let mut session = session_of(&model, 256);
    let expected = generate(&mut session_of(&model, 256), PROMPT, &greedy(10));
    let held = generate(&mut session, PROMPT, &greedy(10));
    let error = session.embed("a dog", true).expect_err("no embeddings");
    assert!(error.to_string().contains("embeddings = true"), "{error}");
    assert_consistent(&mut session);
    // Not even what was held is lost.
    let again = generate(&mut session, PROMPT, &greedy(10));
    assert_eq!((again.tokens, again.n_cached), (expected.tokens, held.n_prompt - 1));
}

fn embedding_session(model: &Model, pooling: Pooling, n_ubatch: usize) -> Session {
    let options = SessionOptions {
        n_ctx: 1024,
        n_batch: 256,
        n_ubatch,
        n_threads: 2,
        embeddings: true,
        pooling: Some(pooling),
        ..SessionOptions::default()
    };
    model.session(&options).expect("a context")
}

#[test]
fn embedding_that_fails_in_the_middle_leaves_nothing_behind() {
    let model = model();
    let text = "The dog and the cat and the bird. ".repeat(20);
    for panics in [false, true] {
        let mut session = embedding_session(&model, Pooling::None, 16);
        let fresh = session.embed("a dog", true).expect("an embedding");
        // Past the first ubatch, within the first decode call.
        session.context().set_observer(Some(Box::new(Failing::new(200, panics))));
        let failed = catch_unwind(AssertUnwindSafe(|| session.embed(&text, true).map(drop)));
        assert_eq!(failed.is_err(), panics);
        session.context().set_observer(None);
        assert_consistent(&mut session);
        assert_eq!(session.embed("a dog", true).expect("an embedding"), fresh);
        // Without pooling the logits are there too.
        assert_eq!(generate(&mut session, PROMPT, &greedy(5)).n_generated, 5);
    }
}

/// A text longer than a ubatch is pooled over all of its rows, not over those of its last ubatch.
#[test]
fn long_texts_are_pooled_whole() {
    let model = model();
    let text = "The dog and the cat and the bird. ".repeat(60);
    let n_tokens = model.tokenizer().unwrap().encode(&text, true, true).unwrap().len();
    assert!((550..1024).contains(&n_tokens), "{n_tokens}");
    let n_embd = model.hparams().n_embd;
    let rows = embedding_session(&model, Pooling::None, 512).embed(&text, false).expect("rows");
    assert_eq!(rows.len(), n_tokens * n_embd);
    let mean: Vec<f32> = (0..n_embd)
        .map(|i| rows.chunks(n_embd).map(|row| f64::from(row[i])).sum::<f64>() as f32 / n_tokens as f32)
        .collect();
    let first = &rows[..n_embd];
    let last = &rows[rows.len() - n_embd..];
    for n_ubatch in [16, 512] {
        for (pooling, expected) in
            [(Pooling::Mean, mean.as_slice()), (Pooling::Cls, first), (Pooling::Last, last)]
        {
            let pooled = embedding_session(&model, pooling, n_ubatch).embed(&text, false).expect("a row");
            let error: f32 = pooled.iter().zip(expected).map(|(a, b)| (a - b) * (a - b)).sum();
            let norm: f32 = expected.iter().map(|x| x * x).sum();
            assert!(error < 1e-5 * norm, "{pooling:?}, ubatch of {n_ubatch}: {error} of {norm}");
        }
    }
    // One that does not fit is refused, with the limits.
    let long = text.repeat(3);
    let n_tokens = model.tokenizer().unwrap().encode(&long, true, true).unwrap().len();
    let mut session = embedding_session(&model, Pooling::Mean, 512);
    let error = session.embed(&long, false).expect_err("too long");
    assert!(matches!(error, Error::TooManyTokens { n_ctx: 1024, .. }), "{error}");
    assert!(error.to_string().contains(&format!("{n_tokens} tokens, expected at most 1024")), "{error}");
}

/// An error while keys are shifted fails the step, which can be tried again: nothing is shifted twice or half.
#[test]
fn a_shift_that_fails_is_not_done_twice() {
    let model = model();
    let run = |observer: Option<Failing>| {
        let context = SessionOptions { n_ctx: 256, n_threads: 2, ..SessionOptions::default() };
        let options = EngineOptions { n_seq_max: 2, n_ctx_seq: 64, context, ..EngineOptions::default() };
        let mut engine = model.engine(&options).expect("an engine");
        let context_full = ContextFull::Shift { n_keep: 0 };
        let shifting = GenerateOptions { context_full, ignore_eog: true, ..greedy(100) };
        let first = engine.add_text(PROMPT, &shifting).expect("a sequence");
        engine
            .add_text("The old man", &GenerateOptions { ignore_eog: true, ..greedy(55) })
            .expect("a sequence");
        if let Some(observer) = observer {
            engine.context().set_observer(Some(Box::new(observer)));
        }
        let (mut n_failed, mut n_shifts, mut tokens) = (0, 0, [Vec::new(), Vec::new()]);
        while engine.n_live() > 0 {
            let step = catch_unwind(AssertUnwindSafe(|| engine.step()));
            if !matches!(step, Ok(Ok(_))) {
                engine.context().set_observer(None);
                n_failed += 1;
            }
            while let Some((key, event)) = engine.next_event() {
                match event.expect("an event") {
                    EventRef::Token { id, .. } => tokens[usize::from(key != first)].push(id),
                    EventRef::Shifted { .. } => n_shifts += 1,
                    _ => {}
                }
            }
        }
        (n_failed, n_shifts, tokens)
    };
    let expected = run(None);
    assert_eq!((expected.0, expected.1 > 0), (0, true));
    for panics in [false, true] {
        let observer = Failing { n: AtomicUsize::new(2), panics, only_shifts: true };
        assert_eq!(run(Some(observer)), (1, expected.1, expected.2.clone()), "panics: {panics}");
    }
}

/// Panics when it is told of a token.
#[derive(Clone, Debug)]
struct Deaf;

impl Sampler for Deaf {
    fn name(&self) -> &'static str {
        "deaf"
    }

    fn apply(&mut self, _: &mut Candidates) -> Result<(), quipu::sampler::Error> {
        Ok(())
    }

    fn accept(&mut self, _: TokenId) {
        panic!("a sampler that panics");
    }

    fn clone_box(&self) -> Box<dyn Sampler> {
        Box::new(self.clone())
    }
}

/// What an earlier generation left is known after a sampler panicked at the prompt, and used.
#[test]
fn a_sampler_that_panics_at_the_prompt_leaves_nothing_unknown() {
    let model = model();
    let mut session = session_of(&model, 256);
    let expected = generate(&mut session, PROMPT, &greedy(10));
    let mut chain = Chain::new();
    chain.add(Deaf);
    let options = GenerateOptions { chain: Some(chain), ..greedy(10) };
    let panicked = catch_unwind(AssertUnwindSafe(|| session.generate(PROMPT, &options, |_| Flow::Continue)));
    assert!(panicked.is_err());
    assert_consistent(&mut session);
    let again = generate(&mut session, PROMPT, &greedy(10));
    assert_eq!((again.tokens, again.n_cached), (expected.tokens, expected.n_prompt - 1));
}

#[test]
fn a_forgotten_generation_does_not_keep_the_session() {
    let model = model();
    let mut session = session_of(&model, 256);
    let expected = generate(&mut session_of(&model, 256), PROMPT, &greedy(10));
    let rows = logits(&mut session_of(&model, 256), &tokens(11, 40));
    let forget = |session: &mut Session| {
        let mut generation = session.stream(PROMPT, &greedy(10)).expect("a generation");
        assert!(generation.next().is_some());
        std::mem::forget(generation);
    };
    forget(&mut session);
    assert_eq!(generate(&mut session, PROMPT, &greedy(10)).tokens, expected.tokens);
    forget(&mut session);
    assert_eq!(logits(&mut session, &tokens(11, 40)), rows);
    assert_consistent(&mut session);
    assert_eq!(generate(&mut session, PROMPT, &greedy(10)).tokens, expected.tokens);
}

#[test]
fn a_progress_that_panics_does_not_lose_the_importance_matrix() {
    let model = model();
    let text = "The dog and the cat and the bird. ".repeat(30);
    let mut session = session_of(&model, 256);
    let options = ImatrixOptions { n_ctx: 64, ..ImatrixOptions::default() };
    let mut imatrix = Imatrix::default();
    session.collect_imatrix(&text, &options, &mut imatrix, |_| Flow::Stop).expect("a chunk");
    let one_chunk = imatrix.clone();
    assert!(!one_chunk.entries.is_empty());
    let mut n_chunks = 0;
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        session.collect_imatrix(&text, &options, &mut imatrix, |_| {
            n_chunks += 1;
            assert!(n_chunks < 2, "a callback that panics");
            Flow::Continue
        })
    }));
    assert!(panicked.is_err());
    // What was there and the chunks that were complete are there; nothing more is collected.
    let counts = |imatrix: &Imatrix| imatrix.entries.values().map(|entry| entry.counts[0]).sum::<i64>();
    assert_eq!(counts(&imatrix), 3 * counts(&one_chunk));
    let collected = imatrix.clone();
    let expected = generate(&mut session_of(&model, 256), PROMPT, &greedy(10));
    assert_eq!(generate(&mut session, PROMPT, &greedy(10)).tokens, expected.tokens);
    assert_eq!(counts(&imatrix), counts(&collected));
}

#[test]
fn chunks_in_which_nothing_is_scored_are_refused() {
    let model = model();
    let text = "The dog and the cat and the bird. ".repeat(3);
    let mut session = session_of(&model, 256);
    for n_ctx in [0, 1, 2] {
        let error =
            session.perplexity(&text, n_ctx, |_, _| panic!("progress")).expect_err("nothing to score");
        assert!(matches!(error, Error::ChunkTooShort { n_least: 3, .. }), "{error}");
        let options = ImatrixOptions { n_ctx, ..ImatrixOptions::default() };
        let error = session.collect_imatrix(&text, &options, &mut Imatrix::default(), |_| Flow::Continue);
        assert!(matches!(error, Err(Error::ChunkTooShort { .. })));
    }
    let perplexity = session.perplexity(&text, 3, |_, _| {}).expect("a perplexity");
    assert!(perplexity.value.is_finite() && perplexity.n_scored == perplexity.n_chunks);
}

/// One call that fails, or is left, or panics.
#[derive(Clone, Debug)]
enum Call {
    Embed,
    BadToken,
    TooLong,
    Observed { n: usize, panics: bool, shifting: bool },
    ObservedLogits { n: usize, panics: bool },
    PanickingSink { n: usize },
    PanickingLogits { n: usize },
    Cancelled { n: usize },
    Left { n: usize, shifting: bool },
    Perplexity,
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        Just(Call::Embed),
        Just(Call::BadToken),
        Just(Call::TooLong),
        Just(Call::Perplexity),
        (1usize..2000, any::<bool>(), any::<bool>()).prop_map(|(n, panics, shifting)| Call::Observed {
            n,
            panics,
            shifting
        }),
        (1usize..600, any::<bool>()).prop_map(|(n, panics)| Call::ObservedLogits { n, panics }),
        (1usize..20).prop_map(|n| Call::PanickingSink { n }),
        (1usize..50).prop_map(|n| Call::PanickingLogits { n }),
        (0usize..20).prop_map(|n| Call::Cancelled { n }),
        (0usize..60, any::<bool>()).prop_map(|(n, shifting)| Call::Left { n, shifting }),
    ]
}

/// Makes a call; a panic ends here.
fn make(session: &mut Session, call: &Call) {
    let prompt = tokens(3, 60);
    let options = |shifting: bool| {
        let context_full = if shifting { ContextFull::Shift { n_keep: 2 } } else { ContextFull::Stop };
        GenerateOptions { context_full, ignore_eog: true, ..greedy(400) }
    };
    let done = catch_unwind(AssertUnwindSafe(|| match call.clone() {
        Call::Embed => assert!(session.embed("a dog", true).is_err()),
        Call::BadToken => {
            assert!(session.generate_from(&[5, 60_000], &greedy(5), |_| Flow::Continue).is_err());
            assert!(session.logits(&[5, 60_000], |_| {}).is_err());
        }
        Call::TooLong => {
            assert!(session.generate_from(&tokens(0, 256), &greedy(5), |_| Flow::Continue).is_err());
            assert!(session.logits(&tokens(0, 257), |_| {}).is_err());
        }
        Call::Perplexity => assert!(session.perplexity("a dog", 64, |_, _| {}).is_err()),
        Call::Observed { n, panics, shifting } => {
            // Close to the end of the context, so that some of them fall into a shift.
            let long = tokens(3, if shifting { 250 } else { 60 });
            session.context().set_observer(Some(Box::new(Failing::new(n, panics))));
            drop(session.generate_from(&long, &options(shifting), |_| Flow::Continue));
        }
        Call::ObservedLogits { n, panics } => {
            session.context().set_observer(Some(Box::new(Failing::new(n, panics))));
            drop(session.logits(&tokens(7, 100), |_| {}));
        }
        Call::PanickingSink { n } => {
            let mut left = n;
            let run = session.generate_from(&prompt, &options(false), |_| {
                left -= 1;
                assert!(left > 0, "a sink that panics");
                Flow::Continue
            });
            drop(run);
        }
        Call::PanickingLogits { n } => {
            let mut left = n;
            let run = session.logits(&prompt, |_| {
                left -= 1;
                assert!(left > 0, "a sink that panics");
            });
            drop(run);
        }
        Call::Cancelled { n } => {
            let cancel = CancelToken::new();
            let options = GenerateOptions { cancel: Some(cancel.clone()), ..options(false) };
            let mut left = n;
            let outcome = session.generate_events(&prompt, &options, |event| {
                if left == 0 {
                    cancel.cancel();
                }
                left = left.saturating_sub(usize::from(matches!(event, Event::Token { .. })));
                Flow::Continue
            });
            assert_eq!(outcome.expect("a generation").stop, StopReason::Cancelled);
        }
        Call::Left { n, shifting } => {
            let long = tokens(3, if shifting { 240 } else { 60 });
            let mut generation = session.stream_from(&long, &options(shifting)).expect("a generation");
            (0..n).for_each(|_| drop(generation.next()));
        }
    }));
    session.context().set_observer(None);
    let may_panic = matches!(
        call,
        Call::Observed { panics: true, .. }
            | Call::ObservedLogits { panics: true, .. }
            | Call::PanickingSink { .. }
            | Call::PanickingLogits { .. }
    );
    assert!(done.is_ok() || may_panic, "{call:?}");
}

/// Panics of the calls above are expected and say nothing.
fn without_panic_messages(work: impl FnOnce()) {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let text = info.payload_as_str().unwrap_or_default();
        if !text.contains("that panics") {
            hook(info);
        }
    }));
    work();
    drop(std::panic::take_hook());
}

#[test]
fn after_any_calls_that_fail_the_session_is_as_good_as_new() {
    let model = model();
    let expected_logits = logits(&mut session_of(&model, 256), &tokens(11, 40));
    let expected = generate(&mut session_of(&model, 256), PROMPT, &greedy(12));
    without_panic_messages(|| {
        let config = ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() };
        proptest!(config, |(calls in prop::collection::vec(call(), 1..5), n_ubatch in prop_oneof![Just(16), Just(512)])| {
            let options = SessionOptions {
                n_ctx: 256, n_batch: 128, n_ubatch, n_threads: 2, ..SessionOptions::default()
            };
            let mut session = model.session(&options).expect("a context");
            for call in &calls {
                make(&mut session, call);
                assert_consistent(&mut session);
                let after = generate(&mut session, PROMPT, &greedy(12));
                prop_assert_eq!(&after.tokens, &expected.tokens, "after {:?}", call);
            }
            prop_assert_eq!(logits(&mut session, &tokens(11, 40)).len(), expected_logits.len());
            if n_ubatch == 512 {
                prop_assert_eq!(&logits(&mut session, &tokens(11, 40)), &expected_logits);
            }
        });
    });
}
