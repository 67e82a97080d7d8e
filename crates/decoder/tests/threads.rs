//! Contexts of one model in several threads give what each gives alone.

mod common;

use std::sync::{Arc, Barrier};

use common::{context, model, params, sequence, tokens};
use quipu_decoder::{ContextParams, FlashAttn};
use quipu_model::Model;

/// Bits of the logits of a prompt and 24 greedy tokens.
fn generate(model: &Arc<Model>, seed: u64, start: &Barrier) -> Vec<u32> {
    let flash_attn = if seed.is_multiple_of(2) { FlashAttn::On } else { FlashAttn::Off };
    let params = ContextParams { flash_attn, n_ubatch: 8 + seed as usize, ..params() };
    let mut context = context(model, &params);
    let prompt = tokens(20 + seed as usize, seed);
    start.wait();
    context.decode(&sequence(&prompt, 0, 0)).expect("room");
    let mut bits = Vec::new();
    for pos in prompt.len() as i32..prompt.len() as i32 + 24 {
        let logits = context.logits(-1).expect("an output");
        bits.extend(logits.iter().map(|x| x.to_bits()));
        let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).expect("a vocabulary").0;
        context.decode(&sequence(&[best as u32], 0, pos)).expect("room");
    }
    bits
}

#[test]
fn eight_threads_on_one_model_give_the_bits_of_one() {
    let model = model(2);
    let alone: Vec<Vec<u32>> = (0..8).map(|seed| generate(&model, seed, &Barrier::new(1))).collect();
    for _ in 0..3 {
        let start = Barrier::new(8);
        let together: Vec<Vec<u32>> = std::thread::scope(|scope| {
            let (model, start) = (&model, &start);
            let threads: Vec<_> =
                (0..8).map(|seed| scope.spawn(move || generate(model, seed, start))).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        assert!(together == alone);
    }
}
