//! Any bytes are an importance matrix or an error; one that is read can be used, added to itself and written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quipu_model::quantize::Imatrix;

fuzz_target!(|data: &[u8]| {
    let Ok(imatrix) = Imatrix::parse(data.to_vec()) else { return };
    let weights = imatrix.column_weights();
    for (name, entry) in &imatrix.entries {
        assert_eq!(weights[name].len(), entry.sums.len());
    }
    let mut sum = imatrix.clone();
    let _ = sum.add(&imatrix, "again", imatrix.chunk_size);
    for chunk_size in [0, 1, u32::MAX] {
        let _ = Imatrix::default().add(&imatrix, "first", chunk_size);
    }
    let mut bytes = Vec::new();
    if sum.write_gguf(&mut bytes).is_ok() && !sum.entries.is_empty() {
        let _ = Imatrix::parse(bytes);
    }
    sum.write_legacy(&mut Vec::new()).expect("memory takes all");
});
