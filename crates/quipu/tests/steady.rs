//! In steady generation nothing is allocated on the heap and no graph is built, for one sequence and for eight.

mod common;

use common::{model, seeded};
use quipu::{Engine, EngineOptions, EventRef, GenerateOptions, SessionOptions};
use quipu_testing::alloc::{Counting, allocations};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs `n` steps and takes what comes of them: tokens, and bytes of text.
fn run(engine: &mut Engine, n: usize) -> (usize, usize) {
    let (mut n_tokens, mut n_bytes) = (0, 0);
    for _ in 0..n {
        engine.step().expect("a step");
        while let Some((_, event)) = engine.next_event() {
            match event.expect("no error") {
                EventRef::Token { .. } => n_tokens += 1,
                EventRef::Text(text) => n_bytes += text.len(),
                EventRef::Done(outcome) => panic!("{outcome:?}"),
                _ => {}
            }
        }
    }
    (n_tokens, n_bytes)
}

#[test]
fn nothing_is_allocated_for_a_token() {
    let model = model();
    // The window of cells that attention looks at grows by 256, which builds a graph: all steps that are counted lie
    // within one such window. After 64 tokens the samplers' histories have their length.
    for (n_seqs, n_warm, n_counted) in [(1usize, 70, 150), (8, 66, 25)] {
        let context = SessionOptions { n_ctx: 1024, n_threads: 2, ..SessionOptions::default() };
        let mut engine = model
            .engine(&EngineOptions { n_seq_max: n_seqs, context, ..EngineOptions::default() })
            .expect("an engine");
        for seed in 0..n_seqs {
            let options = GenerateOptions {
                ignore_eog: true,
                stop: vec!["never".to_owned(), "in a story".to_owned()],
                ..seeded(seed as u32, 400)
            };
            engine.add([10 + seed as u32, 300, 20], &options).expect("a sequence");
        }
        run(&mut engine, n_warm);
        let before = (allocations(), engine.metrics());
        let (n_tokens, n_bytes) = run(&mut engine, n_counted);
        let n_allocations = allocations() - before.0;
        let metrics = engine.metrics();
        assert_eq!(n_tokens, n_seqs * n_counted);
        assert!(n_bytes > n_tokens, "{n_bytes} bytes of text");
        assert_eq!(n_allocations, 0, "allocations over {n_tokens} tokens of {n_seqs} sequences");
        assert_eq!(metrics.n_graph_builds, before.1.n_graph_builds, "graphs built for {n_seqs} sequences");
        assert_eq!(metrics.n_decode - before.1.n_decode, n_counted as u64);
    }
}
