//! LoRA adapters give what a model with changed matrices gives, one by one, together, and each for its sequences; control vectors add their rows.

mod common;

use std::sync::Arc;

use common::{N_EMBD, N_VOCAB, assert_close, context, params, sequence, tokens};
use quipu_cpu_backend::CpuDevice;
use quipu_decoder::{Context, LoraUse};
use quipu_gguf::{Array, GgufFile, GgufWriter, Value};
use quipu_graph::DType;
use quipu_model::{ControlVector, LoadParams, LoraAdapter, Model};
use quipu_testing::SplitMix;

const RANK: usize = 3;
/// The matrices that the adapters are for, with the lengths of their rows and columns.
const MATRICES: [(&str, [usize; 2]); 5] = [
    ("blk.0.attn_q.weight", [N_EMBD, N_EMBD]),
    ("blk.0.ffn_down.weight", [64, N_EMBD]),
    ("blk.1.attn_v.weight", [N_EMBD, N_EMBD / 2]),
    ("blk.1.ffn_up.weight", [N_EMBD, 64]),
    ("output.weight", [N_EMBD, N_VOCAB]),
];
const ALPHA: f32 = 2.0;

/// The matrices `A` and `B` of one of them, row by row.
fn pair(k: usize, seed: u64) -> [Vec<f32>; 2] {
    let mut random = SplitMix::new(seed * 100 + k as u64);
    let [n_in, n_out] = MATRICES[k].1;
    [n_in, n_out].map(|n| (0..n * RANK).map(|_| 0.3 * random.signed()).collect())
}

fn file(metadata: &[(&str, Value)], tensors: &[(String, [usize; 2], Vec<f32>)]) -> GgufFile {
    let mut writer = GgufWriter::new();
    for (key, value) in metadata {
        writer.metadata.set(key, value.clone());
    }
    for (name, ne, _) in tensors {
        let dims: Vec<u64> = ne.iter().map(|n| *n as u64).filter(|n| *n > 0).collect();
        writer.add_tensor(name, DType::F32, &dims).expect("a valid tensor");
    }
    let mut bytes = Vec::new();
    let written = writer.write_to(&mut bytes, |i, sink| {
        let bytes: Vec<u8> = tensors[i].2.iter().flat_map(|x| x.to_le_bytes()).collect();
        sink.write_all(&bytes)
    });
    written.expect("writing to memory");
    GgufFile::from_vec(bytes).expect("a valid file")
}

fn metadata() -> Vec<(&'static str, Value)> {
    vec![
        ("general.type", Value::from("adapter")),
        ("general.architecture", Value::from("llama")),
        ("adapter.type", Value::from("lora")),
        ("adapter.lora.alpha", Value::F32(ALPHA)),
    ]
}

fn adapter_file(seed: u64) -> GgufFile {
    let mut tensors = Vec::new();
    for (k, (name, [n_in, n_out])) in MATRICES.iter().enumerate() {
        let [a, b] = pair(k, seed);
        tensors.push((format!("{name}.lora_a"), [*n_in, RANK], a));
        tensors.push((format!("{name}.lora_b"), [RANK, *n_out], b));
    }
    file(&metadata(), &tensors)
}

fn adapter(model: &Arc<Model>, seed: u64) -> Arc<LoraAdapter> {
    let adapter = model.load_lora(&adapter_file(seed), &CpuDevice::default());
    Arc::new(adapter.expect("an adapter that fits"))
}

/// The model with the sums of adapters in its matrices.
fn merged(adapters: &[(u64, f32)]) -> Arc<Model> {
    let plain = GgufFile::from_vec(common::bytes(2, false)).expect("a valid file");
    let writer = GgufWriter::from_gguf(plain.gguf());
    let mut bytes = Vec::new();
    let written = writer.write_to(&mut bytes, |i, sink| {
        let name = &plain.tensors()[i].name;
        let data = plain.tensor_bytes(name).expect("its data");
        let Some(k) = MATRICES.iter().position(|(changed, _)| changed == name) else {
            return sink.write_all(data);
        };
        let [n_in, n_out] = MATRICES[k].1;
        let value = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
        let mut w: Vec<f32> = data.chunks_exact(4).map(value).collect();
        for (seed, scale) in adapters {
            let [a, b] = pair(k, *seed);
            let factor = scale * ALPHA / RANK as f32;
            for (o, i) in (0..n_out).flat_map(|o| (0..n_in).map(move |i| (o, i))) {
                let sum: f32 = (0..RANK).map(|r| b[o * RANK + r] * a[r * n_in + i]).sum();
                w[o * n_in + i] += factor * sum;
            }
        }
        let bytes: Vec<u8> = w.iter().flat_map(|x| x.to_le_bytes()).collect();
        sink.write_all(&bytes)
    });
    written.expect("writing to memory");
    let file = GgufFile::from_vec(bytes).expect("a valid file");
    Arc::new(Model::load(&file, &CpuDevice::default(), &mut LoadParams::default()).expect("a valid model"))
}

fn logits(context: &mut Context, seq_id: i32) -> Vec<f32> {
    let batch = sequence(&tokens(9, 7), seq_id, 0);
    context.memory_mut().seq_rm(seq_id, -1, -1).unwrap();
    context.decode(&batch).unwrap();
    (0..9).flat_map(|i| context.logits(i).unwrap().to_vec()).collect()
}

#[test]
fn an_adapter_is_as_good_as_changed_matrices() {
    let model = common::model(2);
    let mut subject = context(&model, &params());
    let plain = logits(&mut subject, 0);
    let [one, two] = [1, 2].map(|seed| adapter(&model, seed));
    assert_eq!((one.n_pairs(), one.invocation_tokens()), (5, &[][..]));
    let with = |adapter: &Arc<LoraAdapter>, scale| LoraUse { scale, ..LoraUse::new(Arc::clone(adapter)) };
    for uses in [vec![(1, 1.0)], vec![(2, -0.5)], vec![(1, 0.7), (2, 1.5)]] {
        let loras: Vec<LoraUse> =
            uses.iter().map(|(seed, scale)| with(if *seed == 1 { &one } else { &two }, *scale)).collect();
        subject.set_loras(&loras);
        let found = logits(&mut subject, 0);
        let expected = logits(&mut context(&merged(&uses), &params()), 0);
        assert_close(&found, &expected, 1e-9);
        assert!(quipu_testing::nmse(&plain, &found) > 1e-3, "it does something");
    }
    subject.set_loras(&[with(&one, 0.0)]);
    assert_eq!(logits(&mut subject, 0), plain);
    subject.set_loras(&[]);
    assert_eq!(logits(&mut subject, 0), plain);
}

#[test]
fn sequences_of_one_batch_have_each_their_adapters() {
    let model = common::model(2);
    let [one, two] = [1, 2].map(|seed| adapter(&model, seed));
    let for_seqs = |adapter: &Arc<LoraAdapter>, scale, seqs: &[i32]| LoraUse {
        adapter: Arc::clone(adapter),
        scale,
        sequences: Some(seqs.to_vec()),
    };
    let mut subject = context(&model, &params());
    subject.set_loras(&[for_seqs(&one, 1.0, &[1, 3]), for_seqs(&two, -0.5, &[2, 3])]);
    let all = tokens(9, 7);
    let mut batch = quipu_decoder::Batch::new();
    // Only some tokens are outputs, so that rows are picked before the last layer's second half.
    for seq_id in 0..4 {
        (0..).zip(&all).for_each(|(pos, token)| batch.add(*token, pos, &[seq_id], pos % 2 == 0));
    }
    subject.decode(&batch).unwrap();
    let uses: [&[(u64, f32)]; 4] = [&[], &[(1, 1.0)], &[(2, -0.5)], &[(1, 1.0), (2, -0.5)]];
    for (seq_id, uses) in uses.iter().enumerate() {
        let expected = logits(&mut context(&merged(uses), &params()), 0);
        for pos in (0..9).step_by(2) {
            let found = subject.logits((seq_id * 9 + pos) as i32).unwrap();
            assert_close(found, &expected[pos * N_VOCAB..][..N_VOCAB], 1e-9);
        }
    }
}

#[test]
fn embeddings_have_adapters_that_lie_the_other_way() {
    let model = common::model(1);
    let mut random = SplitMix::new(3);
    let [a, b] = [N_VOCAB, N_EMBD].map(|n| (0..n * RANK).map(|_| random.signed()).collect::<Vec<f32>>());
    let tensors = [
        ("token_embd.weight.lora_a".to_owned(), [RANK, N_VOCAB], a.clone()),
        ("token_embd.weight.lora_b".to_owned(), [RANK, N_EMBD], b.clone()),
    ];
    let adapter = model.load_lora(&file(&metadata(), &tensors), &CpuDevice::default()).unwrap();
    let mut subject = context(&model, &params());
    subject.set_loras(&[LoraUse::new(Arc::new(adapter))]);
    let found = logits(&mut subject, 0);
    // The same rows as embeddings.
    let (table, all) = (common::token_embeddings(), tokens(9, 7));
    let mut batch = sequence(&all, 0, 0);
    batch.tokens.clear();
    batch.n_embd = N_EMBD;
    for token in all.iter().map(|token| *token as usize) {
        let row = |e: usize| {
            let delta: f32 = (0..RANK).map(|r| b[e * RANK + r] * a[token * RANK + r]).sum();
            table[token * N_EMBD + e] + ALPHA / RANK as f32 * delta
        };
        batch.embd.extend((0..N_EMBD).map(row));
    }
    let mut plain = context(&model, &params());
    plain.decode(&batch).unwrap();
    let expected: Vec<f32> = (0..9).flat_map(|i| plain.logits(i).unwrap().to_vec()).collect();
    assert_close(&found, &expected, 1e-9);
}

#[test]
fn what_is_no_adapter_of_the_model_is_refused() {
    let model = common::model(1);
    let refusal = |metadata: &[(&str, Value)], tensors: &[(&str, [usize; 2])]| {
        let tensors: Vec<_> =
            tensors.iter().map(|(name, ne)| ((*name).to_owned(), *ne, vec![0.0; ne[0] * ne[1]])).collect();
        let loaded = model.load_lora(&file(metadata, &tensors), &CpuDevice::default());
        loaded.expect_err("no adapter").to_string()
    };
    let good = [("blk.0.attn_q.weight.lora_a", [32, 2]), ("blk.0.attn_q.weight.lora_b", [2, 32])];
    for (k, (key, expected)) in
        [("general.type", "adapter"), ("general.architecture", "llama"), ("adapter.type", "lora")]
            .into_iter()
            .enumerate()
    {
        let mut other = metadata();
        other[k].1 = Value::from("other");
        assert_eq!(refusal(&other, &good), format!("metadata {key} is other, expected {expected}"));
    }
    let ours = metadata();
    let found = refusal(&ours, &[good[0]]);
    assert_eq!(
        found,
        "adapter tensor blk.0.attn_q.weight.lora_a: expected blk.0.attn_q.weight.lora_b beside it"
    );
    let found =
        refusal(&ours, &[("blk.9.attn_q.weight.lora_a", [32, 2]), ("blk.9.attn_q.weight.lora_b", [2, 32])]);
    assert!(found.contains("expected a tensor of the model"), "{found}");
    let found = refusal(&ours, &[("blk.0.attn_q.weight", [32, 2])]);
    assert!(found.contains("expected a name that ends with .lora_a or .lora_b"), "{found}");
    let found = refusal(&ours, &[good[0], ("blk.0.attn_q.weight.lora_b", [3, 32])]);
    assert!(found.contains("blk.0.attn_q.weight.lora_a has shape [32, 2, 1, 1]"), "{found}");
    let found = refusal(&ours, &[("blk.0.attn_q.weight.lora_a", [16, 2]), good[1]]);
    assert!(found.contains("has shape [16, 2, 1, 1], expected [32, 2, 1, 1]"), "{found}");
    // Norms are passed over, and invocation tokens read.
    let mut activated = metadata();
    activated.push(("adapter.alora.invocation_tokens", Value::Array(Array::U32(vec![5, 6]))));
    let norm = ("blk.0.attn_norm.weight".to_owned(), [32, 0], vec![0.0; 32]);
    let adapter = model.load_lora(&file(&activated, &[norm]), &CpuDevice::default()).unwrap();
    assert_eq!((adapter.n_pairs(), adapter.invocation_tokens()), (0, &[5, 6][..]));
}

#[test]
fn directions_are_added_to_what_layers_give() {
    let model = common::model(3);
    let direction = |scale: f32| -> Vec<f32> { (0..N_EMBD).map(|i| scale * (i as f32 - 9.0)).collect() };
    let tensors = [
        ("direction.1".to_owned(), [N_EMBD, 0], direction(0.05)),
        ("direction.2".to_owned(), [N_EMBD, 0], direction(-0.1)),
    ];
    let directions = file(&[("general.architecture", Value::from("controlvector"))], &tensors);
    let mut vector = ControlVector::new();
    vector.add(&directions, 0.5).unwrap();
    vector.add(&directions, 0.5).unwrap();
    assert_eq!(vector.row(1), Some(&direction(0.05)[..]));
    assert_eq!((vector.row(0), vector.row(3), vector.n_embd()), (None, None, N_EMBD));
    let mut subject = context(&model, &params());
    let plain = logits(&mut subject, 0);
    let mut steer = |layers: [usize; 2]| {
        let steering = model.steering(&vector, &CpuDevice::default(), layers).unwrap();
        subject.set_steering(Some(&Arc::new(steering)));
        logits(&mut subject, 0)
    };
    let (both, first, none) = (steer([1, 2]), steer([0, 1]), steer([3, 9]));
    assert_eq!(none, plain);
    assert!(quipu_testing::nmse(&plain, &first) > 1e-3 && quipu_testing::nmse(&first, &both) > 1e-3);
    subject.set_steering(None);
    assert_eq!(logits(&mut subject, 0), plain);
    // Rows of another length, names and numbers that are none.
    let short = file(&[], &[("direction.1".to_owned(), [4, 0], vec![0.0; 4])]);
    let error = vector.clone().add(&short, 1.0).unwrap_err().to_string();
    assert!(error.contains("direction.1 has shape [4, 1, 1, 1], expected [32, 1, 1, 1]"), "{error}");
    for name in ["direction.0", "direction.x", "direction.1000000000", "other.1"] {
        let wrong = file(&[], &[(name.to_owned(), [4, 0], vec![0.0; 4])]);
        let error = ControlVector::new().add(&wrong, 1.0).unwrap_err().to_string();
        assert!(error.contains("expected direction.N with N from 1 to 512"), "{error}");
    }
    let mut other = ControlVector::new();
    other.add(&short, 1.0).unwrap();
    assert!(model.steering(&other, &CpuDevice::default(), [1, 2]).is_err());
}
