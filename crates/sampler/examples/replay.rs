//! Samples again what the reference's common_sampler sampled, from the same logits, and compares the tokens.
//!
//!     cargo run --release -p quipu-sampler --example replay -- MODEL.gguf RECORD...
//!
//! RECORDs are what the probe `common_sampler` (parity/probes) wrote with MODEL.gguf. Prints `same N` or where the
//! first difference is, one line for each.

#[path = "../tests/common/record.rs"]
mod record;

use std::path::Path;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, records @ ..] = args.as_slice() else { panic!("usage: replay MODEL.gguf RECORD...") };
    let pieces = record::pieces(Path::new(model));
    for path in records {
        let bytes = std::fs::read(path).expect("a record");
        match record::replay(&record::parse(&bytes), &pieces) {
            Ok((n, _)) => println!("{path}: same {n}"),
            Err(difference) => println!("{path}: {difference}"),
        }
    }
}
