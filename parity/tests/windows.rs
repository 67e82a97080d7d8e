//! Models with windows: what is forgotten behind a window is not missed.

use std::sync::Arc;

use quipu_cpu_backend::CpuDevice;
use quipu_decoder::{Batch, Context, ContextParams, StateBytes};
use quipu_gguf::GgufFile;
use quipu_model::{LoadParams, Model};
use quipu_parity::logits::WEIGHT_SEED;
use quipu_parity::toy::{TOYS, tokens};
use quipu_quant::DType;
use quipu_testing::nmse;

fn model(name: &str) -> Arc<Model> {
    let toy = TOYS.iter().find(|toy| toy.name == name).expect("a toy");
    let file = GgufFile::from_vec(toy.gguf(DType::F32, WEIGHT_SEED).expect("a file")).expect("a valid file");
    Arc::new(Model::load(&file, &CpuDevice::default(), &mut LoadParams::default()).expect("a valid model"))
}

fn context(model: &Arc<Model>, params: &ContextParams) -> Context {
    let params = ContextParams {
        n_ctx: 512,
        n_ubatch: 16,
        n_seq_max: 2,
        type_k: DType::F32,
        type_v: DType::F32,
        n_threads: 2,
        n_threads_batch: 2,
        ..params.clone()
    };
    Context::new(Arc::clone(model), &CpuDevice::default(), &params).expect("a context")
}

/// The tokens of a sequence from position `first` on; the logits of all of them.
fn decode(context: &mut Context, seq_id: i32, first: i32, tokens: &[u32]) -> Vec<f32> {
    let mut batch = Batch::new();
    (first..).zip(tokens).for_each(|(pos, token)| batch.add(*token, pos, &[seq_id], true));
    context.decode(&batch).expect("a batch that fits");
    (0..tokens.len() as i32).flat_map(|i| context.logits(i).expect("an output").to_vec()).collect()
}

#[test]
fn forgetting_behind_the_window_changes_no_logits() {
    for name in ["gemma2-windows", "gemma3-windows", "olmo2-windows"] {
        let (model, all) = (model(name), tokens(5, 420));
        let mut whole = context(&model, &ContextParams { swa_full: true, ..ContextParams::default() });
        let mut small = context(&model, &ContextParams::default());
        let mut streams = context(&model, &ContextParams { kv_unified: false, ..ContextParams::default() });
        assert_eq!(streams.params().n_ctx_seq(), 256);
        for (k, part) in all.chunks(60).enumerate() {
            let first = k as i32 * 60;
            let expected = decode(&mut whole, 0, first, part);
            let found = decode(&mut small, 0, first, part);
            assert!(nmse(&expected, &found) < 1e-7, "{name} from {first}: {:.1e}", nmse(&expected, &found));
            if first + 60 <= 256 {
                let found = decode(&mut streams, 1, first, part);
                assert!(nmse(&expected, &found) < 1e-7, "{name} from {first}, in its own stream");
            }
        }
        // Only what windows see is left, and what layers without a window need.
        assert!(small.memory().seq_pos_min(0) > 100 && whole.memory().seq_pos_min(0) == 0, "{name}");
        assert_eq!((small.memory().seq_pos_max(0), small.memory().n_used()), (419, 420), "{name}");
        assert!(!small.can_shift() && whole.can_shift(), "{name}");
    }
}

#[test]
fn a_sequence_behind_its_window_is_saved_and_goes_on() {
    let (model, all) = (model("gemma3-windows"), tokens(6, 400));
    let mut first = context(&model, &ContextParams::default());
    decode(&mut first, 0, 0, &all[..380]);
    let mut bytes = Vec::new();
    first.state_seq_write(0, &mut bytes).expect("a state");
    let mut second = context(&model, &ContextParams::default());
    decode(&mut second, 0, 0, &all[100..130]);
    second.state_seq_read(1, &mut StateBytes::new(&bytes)).expect("room");
    let expected = decode(&mut first, 0, 380, &all[380..]);
    let found = decode(&mut second, 1, 380, &all[380..]);
    assert!(nmse(&expected, &found) < 1e-7, "{:.1e}", nmse(&expected, &found));
}
