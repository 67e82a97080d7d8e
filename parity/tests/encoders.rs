//! Encoders and what stands behind them, on the small models: what is refused, and that sequences and batches do not change results.

use std::sync::Arc;

use quipu_cpu_backend::CpuDevice;
use quipu_decoder::{Batch, Context, ContextParams, Pooling};
use quipu_gguf::GgufFile;
use quipu_model::{LoadParams, Model};
use quipu_parity::small::SMALL;
use quipu_quant::DType;
use quipu_testing::{SplitMix, nmse};

/// Sums in another order.
const ROUNDING: f64 = 1e-6;

fn model(name: &str) -> Arc<Model> {
    let small = SMALL.iter().find(|small| small.name == name).expect("it is in the table");
    let file = GgufFile::from_vec(small.gguf(DType::F32, 3).expect("a model")).expect("a valid file");
    let model = Model::load(&file, &CpuDevice::default(), &mut LoadParams::default());
    Arc::new(model.expect("a valid model"))
}

fn params() -> ContextParams {
    ContextParams { n_ctx: 256, n_seq_max: 4, n_threads: 2, n_threads_batch: 2, ..ContextParams::default() }
}

fn context(model: &Arc<Model>, params: &ContextParams) -> Context {
    Context::new(Arc::clone(model), &CpuDevice::default(), params).expect("a context")
}

fn tokens(n: usize, seed: u64) -> Vec<u32> {
    let mut random = SplitMix::new(seed);
    (0..n).map(|_| random.below(256) as u32).collect()
}

/// `tokens` as a sequence from position `first` on, behind what the batch holds.
fn add(batch: &mut Batch, tokens: &[u32], seq_id: i32, first: i32) {
    for (pos, token) in (first..).zip(tokens) {
        batch.add(*token, pos, &[seq_id], true);
    }
}

fn sequence(tokens: &[u32], seq_id: i32, first: i32) -> Batch {
    let mut batch = Batch::new();
    add(&mut batch, tokens, seq_id, first);
    batch
}

#[test]
fn models_that_remember_nothing_encode() {
    for name in ["bert", "modern-bert", "gemma-embedding", "llama-embed", "dream", "llada", "t5encoder"] {
        let model = model(name);
        assert!(model.remembers_nothing(), "{name}");
        let context = context(&model, &params());
        assert_eq!(context.memory().n_cells(), 0, "{name}");
        assert!(!context.can_shift(), "{name}");
    }
    assert!(!model("t5").remembers_nothing());
}

#[test]
fn an_encoder_has_rows_and_no_logits() {
    let model = model("bert");
    let mut context = context(&model, &ContextParams { embeddings: true, n_ubatch: 8, ..params() });
    context.decode(&sequence(&tokens(8, 1), 0, 0)).expect("as many as are computed at once");
    assert_eq!(context.embeddings(7).expect("a row").len(), 128);
    let error = context.logits(0).expect_err("it has no output matrix").to_string();
    assert!(error.contains("logits") && error.contains("encoder"), "{error}");
    let error = context.decode(&sequence(&tokens(9, 1), 0, 0)).expect_err("too many").to_string();
    assert_eq!(error, "the batch has 9 tokens that see each other, expected at most n_ubatch = 8");
}

#[test]
fn scores_are_refused_where_nothing_makes_any() {
    let ranked = ContextParams { embeddings: true, pooling: Pooling::Rank, ..params() };
    for name in ["bert", "dream", "nomic-bert"] {
        let error = Context::new(model(name), &CpuDevice::default(), &ranked).expect_err(name).to_string();
        assert!(error.contains("no classification head"), "{error}");
    }
    let model = model("bert-rank");
    assert_eq!(model.n_pooled(Pooling::Rank).expect("it has labels"), 3);
    let mut context = context(&model, &ranked);
    context.decode(&sequence(&tokens(9, 2), 2, 0)).expect("a text");
    assert_eq!(context.embeddings_seq(2).expect("its scores").len(), 3);
}

#[test]
fn a_decoder_behind_an_encoder_needs_one() {
    let mut context = context(&model("t5"), &params());
    let error = context.decode(&sequence(&tokens(3, 4), 0, 0)).expect_err("nothing was encoded").to_string();
    assert!(error.contains("nothing was encoded"), "{error}");
    context.encode(&sequence(&tokens(12, 3), 0, 0)).expect("a text");
    let error = context.logits(0).expect_err("an encoder has none").to_string();
    assert!(error.contains("logits"), "{error}");
    context.decode(&sequence(&tokens(3, 4), 0, 0)).expect("there is something to attend to");
    assert_eq!(context.memory().seq_pos_max(0), 2);
}

#[test]
fn tokens_one_by_one_are_tokens_at_once() {
    for name in ["t5", "t5-relu"] {
        let model = model(name);
        let (text, answer) = (tokens(40, 5), tokens(30, 6));
        let mut at_once = context(&model, &params());
        at_once.encode(&sequence(&text, 0, 0)).expect("a text");
        at_once.decode(&sequence(&answer, 0, 0)).expect("its answer");
        let mut one_by_one = context(&model, &params());
        one_by_one.encode(&sequence(&text, 0, 0)).expect("a text");
        for (pos, token) in answer.iter().enumerate() {
            one_by_one.decode(&sequence(&[*token], 0, pos as i32)).expect("a token");
            let (expected, found) = (at_once.logits(pos as i32).unwrap(), one_by_one.logits(0).unwrap());
            assert!(nmse(expected, found) < ROUNDING, "{name} at {pos}");
        }
        assert!(one_by_one.perf().n_reused > 20, "the graph of one token serves the next");
    }
}

#[test]
fn sequences_see_what_was_encoded_for_them() {
    let model = model("t5");
    let (a, b, answer) = (tokens(20, 7), tokens(11, 8), tokens(6, 9));
    let mut alone = |text: &[u32]| {
        let mut context = context(&model, &params());
        context.encode(&sequence(text, 0, 0)).expect("a text");
        context.decode(&sequence(&answer, 0, 0)).expect("its answer");
        context.logits(5).expect("the last token").to_vec()
    };
    let (of_a, of_b) = (alone(&a), alone(&b));
    assert!(nmse(&of_a, &of_b) > 1e-3);
    let mut both = context(&model, &params());
    let mut batch = sequence(&a, 0, 0);
    add(&mut batch, &b, 1, 0);
    both.encode(&batch).expect("two texts");
    let mut batch = sequence(&answer, 0, 0);
    add(&mut batch, &answer, 1, 0);
    both.decode(&batch).expect("two answers");
    assert!(nmse(&of_a, both.logits(5).unwrap()) < ROUNDING);
    assert!(nmse(&of_b, both.logits(11).unwrap()) < ROUNDING);
}

#[test]
fn a_text_that_was_encoded_stays_until_the_next() {
    let model = model("t5");
    let answer = tokens(4, 11);
    let mut context = context(&model, &params());
    context.encode(&sequence(&tokens(15, 10), 0, 0)).expect("a text");
    context.decode(&sequence(&answer, 0, 0)).expect("its answer");
    let first = context.logits(3).expect("the last token").to_vec();
    context.memory_mut().clear();
    context.decode(&sequence(&answer, 0, 0)).expect("the same answer");
    assert_eq!(context.logits(3).expect("the last token"), first);
    context.encode(&sequence(&tokens(15, 12), 0, 0)).expect("another text");
    context.memory_mut().clear();
    context.decode(&sequence(&answer, 0, 0)).expect("its answer");
    assert!(nmse(&first, context.logits(3).expect("the last token")) > 1e-3);
}
