//! The vocabulary of GPT-2 in other crates: `tokenizers` (with its pure Rust regular expressions, as this project
//! uses it) and `tiktoken-rs`.

use std::time::Instant;

use quipu_parity::tokenizer::vocabulary_folder;
use quipu_tokenizer::{TokenAttr, TokenId, Tokenizer};
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use crate::{Failure, median};

/// Prints a table; says so where the vocabulary is not at hand.
pub fn compare(documents: &[String], repetitions: usize) -> Result<(), Failure> {
    let Some(folder) = vocabulary_folder() else {
        println!("\nOther crates: skipped, the vocabulary of GPT-2 is not beside the checkout.");
        return Ok(());
    };
    let file = quipu_gguf::GgufFile::open(folder.join("ggml-vocab-gpt-2.gguf"))?;
    let ours = Tokenizer::from_gguf(file.metadata())?;
    let theirs = with_tokenizers(&file, &ours)?;
    let tiktoken = tiktoken_rs::r50k_base().map_err(|error| error.to_string())?;
    let encode_theirs = |text: &str| -> Result<Vec<u32>, Failure> {
        Ok(theirs.encode_fast(text, false).map_err(|error| error.to_string())?.get_ids().to_vec())
    };
    for document in documents.iter().take(100) {
        let ids = ours.encode(document, false, false)?;
        if encode_theirs(document)? != ids {
            return Err("the tokenizers crate gives other ids".into());
        }
        if tiktoken.encode_ordinary(document).into_iter().map(|id| id as TokenId).ne(ids) {
            return Err("tiktoken-rs gives other ids".into());
        }
    }
    let mut seconds = [const { Vec::new() }; 3];
    for _ in 0..repetitions {
        let start = Instant::now();
        for document in documents {
            std::hint::black_box(ours.encode(document, false, false)?);
        }
        seconds[0].push(start.elapsed().as_secs_f64());
        let start = Instant::now();
        for document in documents {
            std::hint::black_box(encode_theirs(document)?);
        }
        seconds[1].push(start.elapsed().as_secs_f64());
        let start = Instant::now();
        for document in documents {
            std::hint::black_box(tiktoken.encode_ordinary(document));
        }
        seconds[2].push(start.elapsed().as_secs_f64());
    }
    let n_bytes: usize = documents.iter().map(String::len).sum();
    let [a, b, c] = seconds.map(|mut seconds| n_bytes as f64 / 1e6 / median(&mut seconds));
    println!(
        "\n| GPT-2 | MB/s |\n|---|---:|\n| Quipu | {a:.1} |\n| tokenizers | {b:.2} |\n| tiktoken-rs | {c:.2} |"
    );
    Ok(())
}

fn with_tokenizers(file: &quipu_gguf::GgufFile, ours: &Tokenizer) -> Result<tokenizers::Tokenizer, Failure> {
    let mut vocab = tokenizers::models::bpe::Vocab::default();
    for id in 0..ours.n_tokens() as TokenId {
        if !ours.attr(id)?.intersects(TokenAttr::CONTROL) {
            vocab.insert(String::from_utf8(ours.text(id)?.to_vec())?, id);
        }
    }
    let merges = file.metadata().strings("tokenizer.ggml.merges")?;
    let merges = merges.iter().filter_map(|merge| std::str::from_utf8(merge).ok()?.split_once(' '));
    let merges = merges.map(|(left, right)| (left.to_owned(), right.to_owned())).collect();
    let model = BPE::builder().vocab_and_merges(vocab, merges).build().map_err(|error| error.to_string())?;
    let mut tokenizer = tokenizers::Tokenizer::new(model);
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
    Ok(tokenizer)
}
