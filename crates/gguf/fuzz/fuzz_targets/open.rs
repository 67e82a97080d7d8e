//! Any bytes: the reader returns, from a prefix as from the whole; a file it accepts has its data inside and reads
//! back equal when rewritten.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quipu_gguf::{Error, Gguf, GgufFile, GgufWriter};

fuzz_target!(|bytes: &[u8]| {
    let header = Gguf::parse_header(bytes);
    let whole = Gguf::parse(bytes);
    // The data is the only thing a header may lack.
    match (&header, &whole) {
        (Ok(header), Ok(whole)) => assert_eq!(header.tensors, whole.tensors),
        (Ok(_), Err(error)) => assert!(matches!(error, Error::DataTruncated { .. })),
        (Err(a), Err(b)) => assert_eq!(a.to_string(), b.to_string()),
        (Err(error), Ok(_)) => panic!("only the header is refused: {error}"),
    }
    // Half of the file is enough, or too short, or wrong in the same way.
    let half = &bytes[..bytes.len() / 2];
    match Gguf::parse_prefix(half, bytes.len() as u64) {
        Ok(_) => assert!(whole.is_ok()),
        Err(Error::PrefixTooShort { have, needed }) => {
            assert!(have == half.len() as u64 && needed > have && needed <= bytes.len() as u64);
        }
        Err(error) => assert_eq!(error.to_string(), whole.expect_err("as its half").to_string()),
    }

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
    gguf.check_padded_data(again.len() as u64).expect("written with padding");
    assert_eq!(gguf.metadata.len(), file.metadata().len());
    assert_eq!(gguf.tensors.len(), file.tensors().len());
});
