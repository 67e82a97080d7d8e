//! Writes the seeded texts of a vocabulary file, NUL-separated, for the reference to tokenize.
//!
//!     cargo run -p quipu-tokenizer --example golden_texts -- VOCAB.gguf SEED COUNT > texts

use std::io::Write;

use quipu_gguf::GgufFile;
use quipu_tokenizer::Tokenizer;

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../tests/common/corpus.rs"]
mod corpus;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    let [_, vocab, seed, count] = args.as_slice() else {
        return Err("expected VOCAB.gguf SEED COUNT".into());
    };
    let tokenizer = Tokenizer::from_gguf(GgufFile::open(vocab)?.metadata())?;
    let special = common::special_texts(&tokenizer);
    let special: Vec<&[u8]> = special.iter().map(Vec::as_slice).collect();
    let mut random = quipu_testing::SplitMix::new(seed.parse()?);
    let mut out = std::io::stdout().lock();
    for _ in 0..count.parse::<usize>()? {
        out.write_all(&corpus::text(&mut random, &special))?;
        out.write_all(b"\0")?;
    }
    Ok(())
}
