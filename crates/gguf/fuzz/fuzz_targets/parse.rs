//! Any bytes: the reader returns; a file it accepts has its data inside and reads back equal when rewritten.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quipu_gguf::{Gguf, GgufFile, GgufWriter};

fuzz_target!(|bytes: &[u8]| {
    let _ = Gguf::parse_header(bytes);
    let Ok(file) = GgufFile::from_vec(bytes.to_vec()) else { return };
    for i in 0..file.tensors().len() {
        file.tensor_bytes_at(i).expect("checked when opened");
    }
    // A huge alignment is legal, and its padding would only slow the fuzzer down.
    if file.gguf().alignment > 4096 {
        return;
    }
    let mut again = Vec::new();
    GgufWriter::from_gguf(file.gguf())
        .write_to(&mut again, |i, sink| sink.write_all(file.tensor_bytes_at(i).expect("in range")))
        .expect("what was read can be written");
    let gguf = Gguf::parse(&again).expect("what was written can be read");
    assert_eq!(gguf.metadata.len(), file.metadata().len());
    assert_eq!(gguf.tensors.len(), file.tensors().len());
});
