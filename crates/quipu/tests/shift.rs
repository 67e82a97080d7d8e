//! A full context that shifts: what is kept, what is forgotten, and the text that follows.

mod common;

use common::{generate, greedy, model, seeded, session, session_of};
use quipu::{ContextFull, Error, Event, Flow, GenerateOptions, Model, Session, StopReason, TokenId};
use quipu_testing::SplitMix;

const PROMPT: &str = "Once upon a time there was a little fox";

fn shifting(n_keep: i32, options: GenerateOptions) -> GenerateOptions {
    GenerateOptions { context_full: ContextFull::Shift { n_keep }, ignore_eog: true, ..options }
}

/// Text and shifts as llama-completion had them (`goldens/shift/PROVENANCE.md`).
#[test]
fn shifts_as_llama_completion_does() {
    let model = model();
    let cases = [
        // Here the reference says two things: after 1945 characters two tokens lie so close that it chooses the
        // other one with -fa off.
        (
            0,
            (1, 127),
            vec![include_str!("goldens/shift/keep_0.txt"), include_str!("goldens/shift/keep_0_fa_off.txt")],
        ),
        (4, (5, 125), vec![include_str!("goldens/shift/keep_4.txt")]),
        (-1, (10, 122), vec![include_str!("goldens/shift/keep_all.txt")]),
        // Beyond the prompt is the whole prompt too.
        (200, (10, 122), vec![include_str!("goldens/shift/keep_all.txt")]),
    ];
    for (n_keep, (kept, discarded), expected) in cases {
        let mut session = session_of(&model, 128);
        let prompt = model.tokenizer().unwrap().encode(PROMPT, true, true).unwrap();
        let mut shifts = Vec::new();
        let outcome = session
            .generate_events(&prompt, &shifting(n_keep, greedy(900)), |event| {
                if let Event::Shifted { n_keep, n_discard, n_past } = event {
                    shifts.push((*n_keep, *n_discard, *n_past));
                }
                Flow::Continue
            })
            .expect("a generation");
        assert_eq!(shifts, [(kept, discarded, 255 - discarded); 6], "--keep {n_keep}");
        assert_eq!((outcome.n_shifts, outcome.n_generated), (6, 900));
        assert_eq!(outcome.stop, StopReason::MaxTokens);
        assert!(expected.contains(&outcome.text.as_str()), "--keep {n_keep}: {}", outcome.text);
        assert_eq!(session.metrics().n_shifts, 6);
    }
}

/// The tokens that remain after one shift, computed by hand: the first `kept`, then those after the discarded.
#[test]
fn the_rest_moves_up() {
    let model = model();
    let mut session = session_of(&model, 128);
    let options = shifting(4, greedy(300));
    let prompt = model.tokenizer().unwrap().encode(PROMPT, true, true).unwrap();
    let outcome = session.generate_from(&prompt, &options, |_| Flow::Continue).expect("a generation");
    let all: Vec<TokenId> = prompt.iter().chain(&outcome.tokens).copied().collect();
    assert_eq!((all.len(), outcome.n_shifts), (310, 1));
    let (kept, discarded) = (5, 125);
    // The last token was chosen and not computed.
    let held: Vec<TokenId> = all[..kept].iter().chain(&all[kept + discarded..309]).copied().collect();
    assert_eq!(session.held_tokens(), held);
    let memory = session.context().memory();
    assert_eq!((memory.seq_pos_min(0), memory.seq_pos_max(0)), (0, held.len() as i32 - 1));
}

/// Keys and values after the kept tokens still know of the forgotten ones, so a prompt that begins with those
/// tokens computes them again.
#[test]
fn shifted_tokens_are_not_taken_for_a_prompt() {
    let model = model();
    let mut used = session_of(&model, 128);
    generate(&mut used, PROMPT, &shifting(4, greedy(300)));
    let held = used.held_tokens().to_vec();
    let options = greedy(30);
    let again = used.generate_from(&held[..100], &options, |_| Flow::Continue).expect("a generation");
    let fresh = session_of(&model, 128).generate_from(&held[..100], &options, |_| Flow::Continue);
    assert_eq!(again.n_cached, 5);
    assert_eq!(again.tokens, fresh.expect("a generation").tokens);
}

/// What is kept in a file is what a prompt may begin with: not what stands behind a shift.
#[test]
fn states_go_on_without_what_was_shifted() {
    let model = model();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let prompt = model.tokenizer().unwrap().encode(PROMPT, true, true).unwrap();
    let text = |session: &mut Session, prompt: &[TokenId], options: &GenerateOptions| {
        session.generate_from(prompt, options, |_| Flow::Continue).unwrap()
    };
    let mut session = session_of(&model, 128);
    text(&mut session, &prompt, &greedy(20));
    session.save_state(&path).unwrap();
    let held = session.held_tokens().to_vec();
    let mut next = session_of(&model, 128);
    assert_eq!(next.load_state(&path).unwrap(), held.len());
    let longer = [&held[..], &prompt[1..4]].concat();
    let (expected, found) = (text(&mut session, &longer, &greedy(20)), text(&mut next, &longer, &greedy(20)));
    assert_eq!(found, expected);
    assert_eq!(found.n_cached, held.len());
    // Cut off: refused, everything is forgotten, and the session works.
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(dir.path().join("cut"), &bytes[..bytes.len() - 1000]).unwrap();
    assert!(next.load_state(dir.path().join("cut")).is_err());
    assert!(next.held_tokens().is_empty());
    let fresh = text(&mut session_of(&model, 128), &prompt, &greedy(20));
    assert_eq!(text(&mut next, &prompt, &greedy(20)).text, fresh.text);
    // Of a shifted one the tokens before the gap.
    assert!(text(&mut session, &prompt, &shifting(4, greedy(300))).n_shifts > 0);
    session.save_state(&path).unwrap();
    assert_eq!(session.held_tokens(), &prompt[..5]);
    assert_eq!(next.load_state(&path).unwrap(), 5);
    assert_eq!(text(&mut next, &prompt, &greedy(20)).text, fresh.text);
}

#[test]
fn nothing_to_forget_ends_the_generation() {
    let model = model();
    let mut session = session_of(&model, 256);
    let prompt: Vec<TokenId> = (0..250).map(|i| 10 + i % 500).collect();
    let outcome = session
        .generate_from(&prompt, &shifting(-1, seeded(1, 1000)), |_| Flow::Continue)
        .expect("a generation");
    // Room shrinks by halves until two tokens are left, of which one can always go.
    assert_eq!((outcome.stop, outcome.n_generated), (StopReason::MaxTokens, 1000));
    assert!(outcome.n_shifts > 300, "{}", outcome.n_shifts);

    let prompt: Vec<TokenId> = (0..255).map(|i| 10 + i % 500).collect();
    let outcome = session
        .generate_from(&prompt, &shifting(-1, seeded(1, 1000)), |_| Flow::Continue)
        .expect("a generation");
    assert_eq!((outcome.stop, outcome.n_shifts), (StopReason::ContextFull, 0));
    assert_eq!(outcome.n_generated, 2);
}

#[test]
fn without_a_shift_the_last_place_stays_free() {
    let model = model();
    let mut session = session(&model);
    let options = GenerateOptions { max_tokens: None, ignore_eog: true, ..greedy(0) };
    let outcome = generate(&mut session, PROMPT, &options);
    assert_eq!(outcome.stop, StopReason::ContextFull);
    // As llama-completion without --context-shift: the token that fills the context is shown, not computed.
    assert_eq!(outcome.n_prompt + outcome.n_generated, 512);
    assert_eq!(session.held_tokens().len(), 511);
}

/// A GPT-2 of one layer with the demo model's vocabulary: its positions are learned, not rotated.
fn learned_positions() -> tempfile::NamedTempFile {
    use quipu::gguf::{GgufFile, GgufWriter, Value};
    let demo =
        GgufFile::from_static(include_bytes!("../../../models/stories-1m.gguf")).expect("the demo model");
    let mut writer = GgufWriter::new();
    for (key, value) in demo.metadata().iter().filter(|(key, _)| key.starts_with("tokenizer.")) {
        writer.metadata.set(key, value.clone());
    }
    writer.metadata.set("general.architecture", Value::from("gpt2"));
    for (key, value) in [
        ("block_count", 1),
        ("embedding_length", 32),
        ("attention.head_count", 4),
        ("feed_forward_length", 64),
        ("context_length", 512),
    ] {
        writer.metadata.set(&format!("gpt2.{key}"), Value::U32(value));
    }
    writer.metadata.set("gpt2.attention.layer_norm_epsilon", Value::F32(1e-5));
    let tensors: [(&str, &[u64]); 16] = [
        ("token_embd.weight", &[32, 1024]),
        ("position_embd.weight", &[32, 512]),
        ("output_norm.weight", &[32]),
        ("output_norm.bias", &[32]),
        ("blk.0.attn_norm.weight", &[32]),
        ("blk.0.attn_norm.bias", &[32]),
        ("blk.0.attn_qkv.weight", &[32, 96]),
        ("blk.0.attn_qkv.bias", &[96]),
        ("blk.0.attn_output.weight", &[32, 32]),
        ("blk.0.attn_output.bias", &[32]),
        ("blk.0.ffn_norm.weight", &[32]),
        ("blk.0.ffn_norm.bias", &[32]),
        ("blk.0.ffn_up.weight", &[32, 64]),
        ("blk.0.ffn_up.bias", &[64]),
        ("blk.0.ffn_down.weight", &[64, 32]),
        ("blk.0.ffn_down.bias", &[32]),
    ];
    for (name, dims) in tensors {
        writer.add_tensor(name, quipu::DType::F32, dims).expect("a tensor");
    }
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    let mut random = SplitMix::new(1);
    let written = writer.write_to(&mut file, |i, sink| {
        for _ in 0..tensors[i].1.iter().product::<u64>() {
            sink.write_all(&(random.signed() * 0.3).to_le_bytes())?;
        }
        Ok(())
    });
    written.expect("a file");
    file
}

#[test]
fn positions_that_are_not_rotated_cannot_be_shifted() {
    let file = learned_positions();
    let model = Model::open(file.path()).expect("a model");
    let mut session = session_of(&model, 256);
    let refused = session.generate(PROMPT, &shifting(0, greedy(10)), |_| Flow::Continue);
    let error = refused.expect_err("positions that cannot be shifted");
    assert!(matches!(error, Error::CannotShift { .. }), "{error}");
    assert!(error.to_string().contains("cannot be shifted"), "{error}");
    // Everything else works, to the end of the context.
    let endless = GenerateOptions { max_tokens: None, ignore_eog: true, ..greedy(0) };
    let outcome = generate(&mut session, PROMPT, &endless);
    assert_eq!((outcome.stop, outcome.n_prompt + outcome.n_generated), (StopReason::ContextFull, 256));
}
