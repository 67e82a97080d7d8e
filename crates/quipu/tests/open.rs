//! Opening a model in other ways than by default.

use std::path::Path;

use quipu::{Error, GenerateOptions, LoadMode, LoadOptions, LoadPhase, Model, SessionOptions};

fn demo() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/stories-1m.gguf"))
}

#[test]
fn a_vocabulary_tokenizes_and_makes_no_session() {
    let options = LoadOptions { vocab_only: true, ..LoadOptions::default() };
    let model = Model::open_with(demo(), &mut options.into()).unwrap();
    let ids = model.tokenizer().unwrap().encode("Once upon a time", true, false).unwrap();
    assert!(!ids.is_empty());
    let error = model.session(&SessionOptions::default()).map(drop).expect_err("no weights");
    assert!(matches!(error, Error::Load { source: quipu_model::Error::NoWeights, .. }), "{error}");
}

#[test]
fn measured_weights_make_sessions_that_compute_nothing() {
    let options = LoadOptions { no_alloc: true, ..LoadOptions::default() };
    let model = Model::open_with(demo(), &mut options.into()).unwrap();
    let size: usize = model.weights().buffers().iter().map(|buffer| buffer.size()).sum();
    assert!(size as u64 >= model.weights().n_bytes());
    let options = GenerateOptions { max_tokens: Some(2), ..GenerateOptions::default() };
    let generated = model
        .session(&SessionOptions::default())
        .and_then(|mut session| session.generate("Once", &options, |_| quipu::Flow::Continue).map(drop));
    assert!(generated.is_err());
}

#[test]
fn opening_reports_and_can_be_cancelled() {
    let mut calls = 0;
    let mut progress = |_: f32| {
        calls += 1;
        calls < 3
    };
    let mut params =
        quipu::LoadParams::from(LoadOptions { load_mode: LoadMode::None, ..LoadOptions::default() });
    params.progress = Some(&mut progress);
    let Err(Error::Load { source, .. }) = Model::open_with(demo(), &mut params) else { panic!("it went on") };
    assert_eq!(source.phase(), LoadPhase::Data);
    let model = Model::open(demo()).unwrap();
    assert!(model.load_stats().used_mmap);
    assert_eq!(model.load_stats().bytes_mapped, model.weights().n_bytes());
}
