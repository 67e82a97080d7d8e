//! The public API as a program meets it, on the demo model.

use std::io::Write as _;
use std::time::Duration;

use quipu::{
    CancelToken, Error, Flow, GenerateOptions, Message, Model, Pooling, SamplerParams, Session,
    SessionOptions, StopReason,
};
use quipu_testing::SplitMix;

fn model() -> Model {
    Model::embedded().expect("the demo model")
}

fn session(model: &Model) -> Session {
    model.session(&SessionOptions { n_threads: 2, ..SessionOptions::default() }).expect("a context")
}

fn options(seed: u32, max_tokens: usize) -> GenerateOptions {
    GenerateOptions {
        max_tokens: Some(max_tokens),
        sampling: SamplerParams { seed, ..SamplerParams::default() },
        ..GenerateOptions::default()
    }
}

fn text_of(session: &mut Session, prompt: &str, options: &GenerateOptions) -> String {
    session.generate(prompt, options, |_| Flow::Continue).expect("a generation").text
}

#[test]
fn the_same_seed_gives_the_same_text_and_pieces_add_up() {
    let model = model();
    let mut pieces = String::new();
    let sink = |text: &str| {
        pieces.push_str(text);
        Flow::Continue
    };
    let outcome = session(&model).generate("Once upon a time", &options(5, 60), sink).expect("a generation");
    assert_eq!(pieces, outcome.text);
    assert_eq!(outcome.n_generated, outcome.tokens.len());
    assert!(outcome.text.len() > 100, "{}", outcome.text);
    assert_eq!(text_of(&mut session(&model), "Once upon a time", &options(5, 60)), outcome.text);
    assert_ne!(text_of(&mut session(&model), "Once upon a time", &options(6, 60)), outcome.text);
}

#[test]
fn threads_do_not_change_a_bit() {
    let model = model();
    let tokens: Vec<u32> = (0..100).map(|i| 7 + i * 7 % 1000).collect();
    let logits = |n_threads: usize, n_ubatch: usize| {
        let options = SessionOptions { n_threads, n_ubatch, ..SessionOptions::default() };
        let mut session = model.session(&options).expect("a context");
        let mut bits = Vec::new();
        session.logits(&tokens, |row| bits.extend(row.iter().map(|x| x.to_bits()))).expect("logits");
        bits
    };
    for n_ubatch in [1, 512] {
        let one = logits(1, n_ubatch);
        assert_eq!(one.len(), 100 * 1024);
        assert_eq!(logits(2, n_ubatch), one);
        assert_eq!(logits(4, n_ubatch), one);
    }
}

#[test]
fn every_way_to_stop() {
    let model = model();
    let mut session = session(&model);
    let prompt = "Once upon a time";
    let outcome = session.generate(prompt, &options(1, 7), |_| Flow::Continue).expect("a generation");
    assert_eq!((outcome.stop, outcome.n_generated), (StopReason::MaxTokens, 7));

    let sampling = SamplerParams { temp: 0.0, ..SamplerParams::default() };
    let greedy = GenerateOptions { sampling, ..GenerateOptions::default() };
    let whole = session.generate(prompt, &greedy, |_| Flow::Continue).expect("a generation");
    assert_eq!(whole.stop, StopReason::EndOfGeneration);

    let middle: String = whole.text.chars().skip(40).take(9).collect();
    let stop = GenerateOptions { stop: vec![middle.clone()], ..greedy.clone() };
    let outcome = session.generate(prompt, &stop, |_| Flow::Continue).expect("a generation");
    assert_eq!(outcome.stop, StopReason::StopString);
    assert_eq!(outcome.text, whole.text[..whole.text.find(&middle).expect("a part of it")]);

    let outcome = session.generate(prompt, &greedy, |_| Flow::Stop).expect("a generation");
    assert_eq!(outcome.stop, StopReason::Sink);

    let small = SessionOptions { n_ctx: 256, ..SessionOptions::default() };
    let endless = GenerateOptions { ignore_eog: true, ..greedy };
    let mut short = model.session(&small).expect("a context");
    let outcome = short.generate(prompt, &endless, |_| Flow::Continue).expect("a generation");
    assert_eq!(outcome.stop, StopReason::ContextFull);
    assert_eq!(outcome.n_prompt + outcome.n_generated, 256);
}

#[test]
fn cancelled_from_another_thread() {
    let model = model();
    let cancel = CancelToken::new();
    let endless = GenerateOptions { ignore_eog: true, cancel: Some(cancel.clone()), ..options(1, 1_000_000) };
    let (send, receive) = std::sync::mpsc::channel();
    let raised = cancel.clone();
    let worker = std::thread::spawn(move || {
        let mut session = session(&model);
        let outcome = session.generate("Once upon a time", &endless, |_| {
            // Wait to be cancelled, so that the context cannot fill up first.
            let _ = send.send(());
            while !raised.is_raised() {
                std::thread::yield_now();
            }
            Flow::Continue
        });
        (outcome.map(|o| o.stop), text_of(&mut session, "The fox", &options(1, 5)))
    });
    receive.recv_timeout(Duration::from_mins(1)).expect("a piece of text");
    cancel.cancel();
    let (stop, after) = worker.join().expect("no panic");
    assert_eq!(stop.expect("a generation"), StopReason::Cancelled);
    assert!(!after.is_empty());
}

#[test]
fn a_prompt_that_begins_alike_is_reused_and_changes_nothing() {
    let model = model();
    // Greedy: prompt and single-token kernels differ in last bits, which a draw near a border could see.
    let mut greedy = options(3, 20);
    greedy.sampling.temp = 0.0;
    let mut used = session(&model);
    text_of(&mut used, "Once upon a time there was a fox", &greedy);
    let before = used.timings().n_prompt;
    let again = text_of(&mut used, "Once upon a time there was a bear", &greedy);
    assert!(used.timings().n_prompt - before <= 4, "{:?}", used.timings());
    let fresh = text_of(&mut session(&model), "Once upon a time there was a bear", &greedy);
    assert_eq!(again, fresh);
}

#[test]
fn errors_leave_the_session_usable() {
    let model = model();
    let mut session = session(&model);
    let good = text_of(&mut session, "The dog", &options(2, 10));
    let long = "dog ".repeat(3000);
    let error = session.generate(&long, &options(2, 10), |_| Flow::Continue);
    assert!(matches!(error, Err(Error::PromptTooLong { n_ctx: 512, .. })), "{error:?}");
    let error = session.generate_from(&[5, 60_000], &options(2, 10), |_| Flow::Continue);
    assert_eq!(error.expect_err("a bad id").to_string(), "token[1] is 60000, expected an id below 1024");
    assert!(session.generate_from(&[u32::MAX, 1 << 31], &options(2, 10), |_| Flow::Continue).is_err());
    let error = session.generate_from(&[], &options(2, 10), |_| Flow::Continue);
    assert!(matches!(error, Err(Error::EmptyPrompt)));
    let mut bad = options(2, 10);
    bad.sampling.top_p = f32::NAN;
    assert!(matches!(session.generate("The dog", &bad, |_| Flow::Continue), Err(Error::Sampler(_))));
    assert_eq!(text_of(&mut session, "The dog", &options(2, 10)), good);
}

#[test]
fn chat_template_and_embeddings() {
    let model = model();
    let template = model.chat_template().expect("a template");
    let text = template.render(&[Message::new("user", "Hello!")], true).expect("rendered");
    assert!(text.contains("<|user|>") && text.ends_with("<|assistant|>\n"), "{text}");

    let options =
        SessionOptions { embeddings: true, pooling: Some(Pooling::Mean), ..SessionOptions::default() };
    let mut session = model.session(&options).expect("a context");
    let dog = session.embed("a dog", true).expect("an embedding");
    assert_eq!(dog.len(), 128);
    assert_eq!(session.embed("a dog", true).expect("an embedding"), dog);
    assert_ne!(session.embed("the sea", true).expect("an embedding"), dog);
}

/// Bytes of a model file changed or cut: an error or some text, never a panic.
#[test]
fn corrupted_models_are_errors_or_text() {
    let bytes = include_bytes!("../../../models/stories-1m.gguf");
    let mut seeded = SplitMix::new(99);
    let mut random = |n: usize| seeded.index(n);
    let (mut refused, mut ran) = (0, 0);
    for round in 0..60 {
        let mut changed = bytes.to_vec();
        // Half of the changes hit the header, where they hurt.
        let range = if round % 2 == 0 { 60_000 } else { changed.len() };
        for _ in 0..=random(8) {
            changed[random(range)] = random(256) as u8;
        }
        if round % 5 == 0 {
            changed.truncate(random(bytes.len()));
        }
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(&changed).expect("writable");
        let done = Model::open(file.path()).and_then(|model| {
            let mut session = model.session(&SessionOptions { n_ctx: 256, ..SessionOptions::default() })?;
            session.generate("Once", &options(1, 3), |_| Flow::Continue)
        });
        match done {
            Ok(_) => ran += 1,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                refused += 1;
            }
        }
    }
    assert!(refused > 5 && ran > 5, "{refused} refused, {ran} ran");
}
