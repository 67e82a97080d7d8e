//! The way a user goes: open a model on a device, make a session, generate.

#[path = "device/emulated.rs"]
mod emulated_device;

use std::sync::Arc;

use emulated_device::{emulated, skipped};
use quipu::{Device, Flow, GenerateOptions, LoadOptions, Model, SamplerParams, SessionOptions};

/// What the demo model tells, always taking the likeliest token.
fn story(model: &Model) -> (String, Vec<(String, u64)>) {
    let options = SessionOptions { n_ctx: 256, n_threads: 1, ..SessionOptions::default() };
    let mut session = model.session(&options).unwrap();
    let sampling = SamplerParams { temp: 0.0, ..SamplerParams::default() };
    let options = GenerateOptions { max_tokens: Some(12), sampling, ..GenerateOptions::default() };
    let mut text = String::new();
    session
        .generate("Once upon a time", &options, |piece| {
            text.push_str(piece);
            Flow::Continue
        })
        .unwrap();
    let stats = &session.context().scheduler_stats().backends;
    (text, stats.iter().map(|backend| (backend.name.clone(), backend.n_nodes)).collect())
}

#[test]
fn the_demo_model_tells_the_same_story_on_the_device() {
    if skipped() {
        return;
    }
    let (expected, _) = story(&Model::embedded().unwrap());
    let (gpu, driver) = emulated(1 << 28);
    let gpu: Arc<dyn Device> = Arc::new(gpu);
    for n_gpu_layers in [-1, 2] {
        let options = LoadOptions { n_gpu_layers, ..LoadOptions::default() };
        let model = Model::embedded_on(&mut options.into(), std::slice::from_ref(&gpu)).unwrap();
        let names: Vec<&str> = model.other_devices().iter().map(|device| device.name()).collect();
        assert_eq!(names, ["CUDA0"]);
        let (text, nodes) = story(&model);
        assert_eq!(text, expected);
        println!("-ngl {n_gpu_layers}: {nodes:?}: {text}");
        assert!(nodes[0].0 == "CUDA0" && nodes[0].1 > 0);
        drop(model);
        assert_eq!(driver.device_bytes(), 0);
    }
}
