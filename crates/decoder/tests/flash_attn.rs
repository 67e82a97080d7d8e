//! Attention through a tensor of scores gives what flash attention gives, over transposed values and all that is done with them.

mod common;

use common::{N_VOCAB, assert_close, context, model, params, sequence, tokens};
use quipu_decoder::{Batch, Context, ContextParams, Error, FlashAttn, StateBytes};
use quipu_graph::DType;
use quipu_model::GraphKind;

fn off() -> ContextParams {
    ContextParams { flash_attn: FlashAttn::Off, ..params() }
}

/// Logits of all tokens of a batch.
fn logits(context: &mut Context, batch: &Batch) -> Vec<f32> {
    context.decode(batch).expect("a batch that fits");
    (0..batch.n_tokens() as i32).flat_map(|i| context.logits(i).expect("an output").to_vec()).collect()
}

#[test]
fn both_ways_give_the_same() {
    let model = model(2);
    let all = tokens(60, 5);
    for (dtype, bound) in [(DType::F32, 1e-9), (DType::F16, 1e-5), (DType::BF16, 1e-3)] {
        for kv_unified in [true, false] {
            let with = |flash_attn| ContextParams {
                type_k: dtype,
                type_v: dtype,
                n_ctx: 1024,
                n_ubatch: 16,
                kv_unified,
                flash_attn,
                ..params()
            };
            let mut contexts =
                [FlashAttn::On, FlashAttn::Off].map(|flash_attn| context(&model, &with(flash_attn)));
            // Two sequences, side by side and one after the other, then single tokens.
            let mut both = sequence(&all[..20], 1, 0);
            (0..).zip(&all[20..40]).for_each(|(pos, token)| both.add(*token, pos, &[2], true));
            for batch in [both, sequence(&all[40..43], 2, 20), sequence(&all[43..44], 1, 20)] {
                let [on, off] = &mut contexts;
                assert_close(&logits(off, &batch), &logits(on, &batch), bound);
            }
        }
    }
}

#[test]
fn encoders_have_scores_too() {
    let model = model(2);
    let batch = sequence(&tokens(12, 3), 0, 0);
    let [on, off] = [FlashAttn::On, FlashAttn::Off].map(|flash_attn| {
        let params = ContextParams { kind: GraphKind::Encoder, flash_attn, ..params() };
        let mut context = context(&model, &params);
        context.encode(&batch).unwrap();
        (0..12).flat_map(|i| context.logits(i).unwrap().to_vec()).collect::<Vec<f32>>()
    });
    assert_eq!(on.len(), 12 * N_VOCAB);
    // Flash attention rounds keys and values to f16.
    assert_close(&off, &on, 1e-5);
}

#[test]
fn transposed_values_are_written_down_moved_and_copied() {
    let model = model(2);
    let all = tokens(24, 9);
    let mut first = context(&model, &off());
    // Cells of two sequences by turns, so that neither lies in one piece.
    for i in 0..8 {
        for seq_id in [0, 1] {
            first.decode(&sequence(&all[i..=i], seq_id, i as i32)).unwrap();
        }
    }
    let mut bytes = Vec::new();
    first.state_seq_write(1, &mut bytes).unwrap();
    let mut second = context(&model, &off());
    // Somewhere else, and in pieces again.
    for i in 0..6 {
        second.decode(&sequence(&all[i..=i], 2, i as i32)).unwrap();
        second.decode(&sequence(&all[i..=i], 0, i as i32)).unwrap();
    }
    second.memory_mut().seq_rm(2, -1, -1).unwrap();
    second.state_seq_read(3, &mut StateBytes::new(&bytes)).unwrap();
    let next = |seq_id| sequence(&all[8..16], seq_id, 8);
    let (expected, found) = (logits(&mut first, &next(1)), logits(&mut second, &next(3)));
    assert_close(&found, &expected, 1e-9);
    // Shifted: the first half forgotten, the rest moved to its place.
    let mut pair = [FlashAttn::On, FlashAttn::Off].map(|flash_attn| {
        let params = ContextParams { type_k: DType::F32, type_v: DType::F32, flash_attn, ..params() };
        context(&model, &params)
    });
    for context in &mut pair {
        context.decode(&sequence(&all[..16], 0, 0)).unwrap();
        context.memory_mut().seq_rm(0, 0, 8).unwrap();
        context.memory_mut().seq_add(0, 8, -1, -8).unwrap();
        context.memory_mut().seq_cp(0, 3, -1, -1).unwrap();
    }
    let [on, off] = &mut pair;
    assert_close(&logits(off, &next(3)), &logits(on, &next(3)), 1e-9);
}

#[test]
fn a_state_says_how_its_values_lie() {
    let model = model(1);
    let all = tokens(6, 4);
    let mut off = context(&model, &off());
    off.decode(&Batch::single(&all)).unwrap();
    let mut bytes = Vec::new();
    off.state_write(&mut bytes).unwrap();
    let mut on = context(&model, &params());
    let error = on.state_read(&mut StateBytes::new(&bytes)).unwrap_err().to_string();
    assert!(error.contains("transposition of values is 1, expected 0"), "{error}");
    assert_eq!(on.memory().seq_pos_max(0), -1);
    for cut in 0..bytes.len() {
        assert!(off.state_read(&mut StateBytes::new(&bytes[..cut])).is_err(), "{cut}");
    }
    off.state_read(&mut StateBytes::new(&bytes)).unwrap();
    let mut again = Vec::new();
    off.state_write(&mut again).unwrap();
    assert_eq!(again, bytes);
}

#[test]
fn quantised_values_need_flash_attention() {
    let model = model(1);
    let params = |flash_attn| ContextParams {
        type_v: DType::Q8_0,
        // Heads of 8 in rows of 16: no whole block either way, so only the first reason counts.
        flash_attn,
        ..params()
    };
    let cpu = quipu_cpu_backend::CpuDevice::default();
    let error = Context::new(model, &cpu, &params(FlashAttn::Off)).unwrap_err();
    assert!(matches!(error, Error::QuantizedValues(DType::Q8_0)), "{error}");
}
