//! In steady decoding nothing is allocated on the heap, and nothing is prepared anew.

mod common;

use std::sync::Arc;

use common::{context, model, params, tokens};
use quipu_decoder::{Batch, Context, ContextParams};
use quipu_model::Model;
use quipu_testing::alloc::{Counting, allocations};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn nothing_is_allocated_for_a_token() {
    let model = model(2);
    for n_threads in [1, 2] {
        let mut context =
            context(&model, &ContextParams { n_threads, n_threads_batch: n_threads, ..params() });
        context.decode(&Batch::single(&tokens(20, 1))).unwrap();
        let mut batch = Batch::new();
        let mut decode = |context: &mut Context, pos: i32, token: u32| {
            batch.clear();
            batch.add(token, pos, &[0], true);
            context.decode(&batch).unwrap();
            assert!(context.logits(0).unwrap()[0].is_finite());
        };
        // The first two tokens build the graph of one token and size the working memory.
        decode(&mut context, 20, 1);
        decode(&mut context, 21, 2);
        let next = tokens(128, 2);
        let prepared = context.scheduler_stats().n_plans;
        let before = allocations();
        for (pos, token) in (22..).zip(&next) {
            decode(&mut context, pos, *token);
        }
        let n = allocations() - before;
        assert_eq!(n, 0, "allocations over 128 tokens with {n_threads} threads");
        assert_eq!(context.perf().n_graph_builds, 2);
        assert_eq!(context.scheduler_stats().n_plans, prepared, "nothing is prepared after the second token");
        assert_eq!((prepared, context.scheduler_stats().n_memory_plans), (2, 2), "one for each graph");
    }
    for kv_unified in [true, false] {
        prompts(&model, kv_unified);
    }
}

/// Completing, splitting and placing prompts of four sequences, in turns, costs no memory either.
fn prompts(model: &Arc<Model>, kv_unified: bool) {
    let params = ContextParams { kv_unified, n_ctx: 1024, n_ubatch: 16, ..params() };
    let mut context = context(model, &params);
    let ids = tokens(64, 3);
    let mut batch = Batch::new();
    let mut decode = |context: &mut Context| {
        batch.clear();
        for (i, token) in ids.iter().enumerate() {
            batch.add(*token, i as i32 / 4, &[i as i32 % 4], i % 16 >= 12);
        }
        context.memory_mut().clear();
        context.decode(&batch).unwrap();
    };
    (0..3).for_each(|_| decode(&mut context));
    let before = allocations();
    let n_builds = context.perf().n_graph_builds;
    (0..5).for_each(|_| decode(&mut context));
    let n = allocations() - before;
    assert_eq!((n, context.perf().n_graph_builds), (0, n_builds), "5 prompts, unified: {kv_unified}");
}
