//! Ids that llama.cpp gave for seeded texts, recorded in parity/goldens/tokenizer.
//!
//! Each line holds fingerprints of the ids of one text: plain, with `add_special`, with `parse_special`, with
//! both. The texts come from `common::corpus`; they contain special tokens of the vocabulary, so its file is
//! needed.

mod common;
#[path = "common/corpus.rs"]
mod corpus;

const SEED: u64 = 20_261_120;

fn replay(vocab: &str) {
    let path = format!("{}/../../parity/goldens/tokenizer/{vocab}.txt", env!("CARGO_MANIFEST_DIR"));
    let golden = std::fs::read_to_string(path).expect("part of the repository");
    let Some(tokenizer) = common::shared_tokenizer(vocab) else { return };
    let special = common::special_texts(&tokenizer);
    let special: Vec<&[u8]> = special.iter().map(Vec::as_slice).collect();
    let mut random = quipu_testing::SplitMix::new(SEED);
    let mut n = 0;
    for line in golden.lines().filter(|line| !line.starts_with('#')) {
        let text = corpus::text(&mut random, &special);
        let shown = String::from_utf8_lossy(&text);
        for (expected, (add, parse)) in
            line.split(' ').zip([(false, false), (true, false), (false, true), (true, true)])
        {
            let ids = tokenizer.encode_bytes(&text, add, parse).expect("encodes");
            let expected = u32::from_str_radix(expected, 16).expect("hex");
            assert_eq!(
                common::fingerprint(&ids),
                expected,
                "{vocab}, text {n}, {add} {parse}: {shown:?} -> {ids:?}"
            );
        }
        n += 1;
    }
    assert!(n >= 400, "{vocab}: {n} texts");
}

#[test]
fn spm_vocabularies() {
    ["baichuan", "llama-spm", "phi-3"].into_iter().for_each(replay);
}

#[test]
fn wpm_vocabulary() {
    replay("bert-bge");
}

#[test]
fn bpe_vocabularies() {
    ["falcon", "gpt-2", "gpt-neox", "mpt", "refact", "starcoder"].into_iter().for_each(replay);
}

#[test]
fn deepseek_vocabularies() {
    ["deepseek-coder", "deepseek-llm"].into_iter().for_each(replay);
}
