//! Strings as command lines and callers from C hand them over: any bytes without NUL are a value or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quipu_gguf::{LoadMode, MetadataOverride};
use quipu_model::BufferOverride;
use quipu_model::quantize::FileType;

fuzz_target!(|data: &[u8]| {
    for bytes in data.split(|byte| *byte == 0) {
        let text = String::from_utf8_lossy(bytes);
        if let Ok(entry) = text.parse::<MetadataOverride>() {
            assert!(entry.key.len() < 128);
        }
        let _ = text.parse::<LoadMode>();
        let _ = BufferOverride::parse_list(&text);
        if let Some(file_type) = FileType::from_name(&text) {
            assert!(!file_type.name().is_empty());
        }
    }
});
