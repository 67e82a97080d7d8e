//! The examples run on the demo model.
#![cfg(feature = "embedded-model")]
#![allow(dead_code)] // their `main`

use std::error::Error;

use quipu::Model;

#[path = "../examples/cancel.rs"]
mod cancel;
#[path = "../examples/logprobs.rs"]
mod logprobs;
#[path = "../examples/own_sampler.rs"]
mod own_sampler;
#[path = "../examples/schema.rs"]
mod schema;
#[path = "../examples/search.rs"]
mod search;
#[path = "../examples/sequences.rs"]
mod sequences;
#[path = "../examples/threads.rs"]
mod threads;

type Example = fn(&Model) -> Result<(), Box<dyn Error>>;

const ALL: [(&str, Example); 7] = [
    ("cancel", cancel::run),
    ("logprobs", logprobs::run),
    ("own_sampler", own_sampler::run),
    ("schema", schema::run),
    ("search", search::run),
    ("sequences", sequences::run),
    ("threads", threads::run),
];

#[test]
fn every_example_runs() {
    let model = Model::embedded().expect("the demo model");
    for (name, run) in ALL {
        run(&model).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples")).expect("readable");
    assert_eq!(files.count(), ALL.len(), "an example that is not run");
}
