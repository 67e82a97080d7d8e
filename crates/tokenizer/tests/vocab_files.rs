//! The reference's own test cases: texts and the ids it expects, per vocabulary file.

mod common;

const SEPARATOR: &str = "\n__ggml_vocab_test__\n";

fn check(vocab: &str) {
    let Some(tokenizer) = common::shared_tokenizer(vocab) else { return };
    let read = |suffix: &str| {
        let path = common::shared(&format!("ggml-vocab-{vocab}.gguf.{suffix}"))?;
        Some(std::fs::read_to_string(path).expect("text"))
    };
    let (Some(texts), Some(ids)) = (read("inp"), read("out")) else { return };
    let mut n = 0;
    for (text, line) in texts.split(SEPARATOR).zip(ids.lines()) {
        let expected: Vec<u32> = line.split_whitespace().map(|id| id.parse().expect("an id")).collect();
        assert_eq!(tokenizer.encode(text, false, false).expect("encodes"), expected, "{vocab}: {text:?}");
        n += 1;
    }
    assert_eq!(n, 46, "{vocab}");
}

#[test]
fn spm() {
    check("llama-spm");
    check("phi-3");
}

#[test]
fn wpm() {
    check("bert-bge");
}

#[test]
fn gpt_2() {
    check("gpt-2");
    check("mpt");
}

#[test]
fn starcoder_and_refact() {
    check("starcoder");
    check("refact");
}

#[test]
fn falcon() {
    check("falcon");
}

#[test]
fn deepseek() {
    check("deepseek-llm");
    check("deepseek-coder");
}
