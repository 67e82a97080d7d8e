//! Models with states after random operations on their sequences: what comes next is what a fresh run gives.

use std::collections::BTreeMap;
use std::sync::Arc;

use quipu_cpu_backend::CpuDevice;
use quipu_decoder::{Batch, Context, ContextParams};
use quipu_gguf::GgufFile;
use quipu_kv_cache::StateBytes;
use quipu_model::{LoadParams, Model};
use quipu_parity::small::{N_VOCAB, SMALL};
use quipu_quant::DType;
use quipu_testing::{SplitMix, nmse};

const N_SEQ: i32 = 3;
/// One for each kind of state, alone and beside caches and pairs of them.
const NAMES: [&str; 7] = ["mamba", "mamba2", "jamba", "falcon-h1", "lfm2-windows", "rwkv7", "qwen3next"];

fn model(name: &str) -> Arc<Model> {
    let small = SMALL.iter().find(|small| small.name == name).expect("a model of the table");
    let file = GgufFile::from_vec(small.gguf(DType::F32, 1).expect("a model")).expect("a valid file");
    Arc::new(Model::load(&file, &CpuDevice::default(), &mut LoadParams::default()).expect("loads"))
}

fn context(model: &Arc<Model>, n_ubatch: usize, unified: bool) -> Context {
    let params = ContextParams {
        n_ctx: 768,
        n_batch: 256,
        n_ubatch,
        n_seq_max: N_SEQ as usize,
        kv_unified: unified,
        swa_full: true,
        n_threads: 1,
        n_threads_batch: 1,
        type_k: DType::F32,
        type_v: DType::F32,
        ..ContextParams::default()
    };
    Context::new(Arc::clone(model), &CpuDevice::default(), &params).expect("a context")
}

fn fresh(model: &Arc<Model>, tokens: &[u32]) -> Vec<f32> {
    let mut context = context(model, 256, true);
    context.decode(&Batch::single(tokens)).expect("decodes");
    context.logits(-1).expect("the last row").to_vec()
}

fn random_run(name: &str, seed: u64) {
    let model = model(name);
    let mut random = SplitMix::new(seed);
    let unified = seed % 2 == 0;
    let mut context = context(&model, 1 + random.below(9) as usize, unified);
    let mut known: BTreeMap<i32, Vec<u32>> = BTreeMap::new();
    for _ in 0..12 {
        let (a, b) = (random.below(N_SEQ as u64) as i32, random.below(N_SEQ as u64) as i32);
        match random.below(10) {
            0..=4 => {
                let mut batch = Batch::new();
                let lengths: Vec<usize> = (0..N_SEQ).map(|_| random.below(6) as usize).collect();
                for t in 0..5 {
                    for (s, _) in lengths.iter().enumerate().filter(|(_, length)| t < **length) {
                        let tokens = known.entry(s as i32).or_default();
                        let token = random.below(N_VOCAB as u64) as u32;
                        batch.add(token, tokens.len() as i32, &[s as i32], false);
                        tokens.push(token);
                    }
                }
                if batch.n_tokens() > 0 {
                    context.decode(&batch).expect("decodes");
                }
            }
            5 => {
                assert!(context.memory_mut().seq_rm(a, -1, -1).expect("a sequence"));
                known.remove(&a);
            }
            6 | 7 if a != b => {
                context.memory_mut().seq_rm(b, -1, -1).expect("a sequence");
                context.memory_mut().seq_cp(a, b, -1, -1).expect("sequences");
                known.remove(&b);
                if let Some(tokens) = known.get(&a).cloned() {
                    known.insert(b, tokens);
                }
            }
            8 if unified => {
                context.memory_mut().seq_keep(a).expect("a sequence");
                known.retain(|s, _| *s == a);
            }
            9 => {
                let mut bytes = Vec::new();
                context.state_seq_write(a, &mut bytes).expect("writes");
                context.state_seq_read(b, &mut StateBytes::new(&bytes)).expect("reads");
                match known.get(&a).cloned() {
                    Some(tokens) => _ = known.insert(b, tokens),
                    None => _ = known.remove(&b),
                }
            }
            _ => {}
        }
    }
    for (s, tokens) in known.iter_mut().filter(|(_, tokens)| !tokens.is_empty()) {
        let mut batch = Batch::new();
        batch.add(7, tokens.len() as i32, &[*s], true);
        tokens.push(7);
        context.decode(&batch).expect("decodes");
        let error = nmse(&fresh(&model, tokens), context.logits(-1).expect("the last row"));
        assert!(error <= 1e-6, "{name}, seed {seed}, sequence {s} of {}: NMSE {error:e}", tokens.len());
    }
}

#[test]
fn logits_after_operations_are_those_of_a_fresh_run() {
    for name in NAMES {
        for seed in 0..12 {
            random_run(name, seed);
        }
    }
}
