//! tokenizer: the demo model's vocabulary, and the real ones where they lie beside the checkout.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use quipu_parity::tokenizer::vocabulary_folder;
use quipu_tokenizer::Tokenizer;

fn encode(c: &mut Criterion) {
    let heldout = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/heldout.txt");
    let text = std::fs::read_to_string(heldout).expect("part of the repository");
    let demo = quipu::Model::embedded().expect("the demo model");
    let mut tokenizers: Vec<(String, Tokenizer)> =
        vec![("stories".to_owned(), demo.tokenizer().expect("a vocabulary").clone())];
    if let Some(folder) = vocabulary_folder() {
        for name in ["llama-spm", "gpt-2", "falcon", "bert-bge"] {
            let path = folder.join(format!("ggml-vocab-{name}.gguf"));
            tokenizers.push((name.to_owned(), quipu::open_tokenizer(path).expect("a vocabulary")));
        }
    }
    let mut group = c.benchmark_group("tokenizer");
    group.throughput(Throughput::Bytes(text.len() as u64));
    for (name, tokenizer) in tokenizers {
        group.bench_function(format!("encode {name}"), |b| {
            b.iter(|| tokenizer.encode(&text, true, false).expect("encodable"));
        });
    }
    group.finish();
}

criterion_group!(benches, encode);
criterion_main!(benches);
