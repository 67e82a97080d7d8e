//! sampler: chains over one row of logits, and grammar masks over a vocabulary.

use std::path::Path;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use quipu_sampler::{Candidates, Chain, Grammar, Pieces, Sampler, SamplerParams};
use quipu_tokenizer::Tokenizer;

fn chain(c: &mut Criterion) {
    let mut group = c.benchmark_group("sampler");
    for n_vocab in [32_000, 150_000] {
        let logits: Vec<f32> = quipu_benches::normal(2, n_vocab).into_iter().map(|x| 3.0 * x).collect();
        group.throughput(Throughput::Elements(n_vocab as u64));
        for (name, temp, penalty_repeat) in
            [("default", 0.8, 1.0), ("greedy", 0.0, 1.0), ("penalised", 0.8, 1.1)]
        {
            let params = SamplerParams { seed: 1, temp, penalty_repeat, ..SamplerParams::default() };
            let mut chain = Chain::from_params(&params, n_vocab).expect("valid parameters");
            group.bench_function(format!("{name} chain, {n_vocab} tokens"), |b| {
                b.iter(|| chain.sample(&logits).expect("a token"));
            });
        }
    }
    group.finish();
}

/// Needs one of the vocabularies beside the checkout.
fn grammar(c: &mut Criterion) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vocab/ggml-vocab-deepseek-llm.gguf");
    let Ok(file) = quipu_gguf::GgufFile::open(&path) else {
        println!("grammar masks skipped: no vocabularies beside the checkout");
        return;
    };
    let tokenizer = Tokenizer::from_gguf(file.metadata()).expect("a vocabulary");
    let n = tokenizer.n_tokens();
    let pieces = Arc::new(Pieces::new(Arc::new(tokenizer)));
    let text = "root ::= \"{\" pair (\",\" pair)* \"}\"\npair ::= string \":\" string\nstring ::= \"\\\"\" [^\"\\\\]* \"\\\"\"";
    let mut grammar = Grammar::new(&pieces, text, "root").expect("a grammar");
    for token in pieces.vocabulary().tokenize(b"{\"a", false) {
        grammar.accept_token(token).expect("the text fits");
    }
    let mut candidates = Candidates::from_logits(&vec![0.0; n]);
    let mut group = c.benchmark_group("sampler");
    group.throughput(Throughput::Elements(n as u64));
    group.bench_function(format!("grammar mask, new state, {n} tokens"), |b| {
        b.iter_batched_ref(
            || grammar.clone(),
            |grammar| grammar.apply(&mut candidates).expect("within the bounds"),
            BatchSize::SmallInput,
        );
    });
    group.bench_function(format!("grammar mask, known state, {n} tokens"), |b| {
        b.iter(|| grammar.apply(&mut candidates).expect("within the bounds"));
    });
    group.finish();
}

criterion_group!(benches, chain, grammar);
criterion_main!(benches);
