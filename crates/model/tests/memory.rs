//! Estimates of a cache's size are arithmetic, whatever the metadata says.

use quipu_backend::BufferTable;
use quipu_cpu_backend::CpuBufferType;
use quipu_gguf::{Metadata, Value};
use quipu_kv_cache::{KvCache, KvParams};
use quipu_model::{CACHE_TYPE, kv_estimate};

/// A llama of two layers with `heads` heads of `head_size`, trained for `n_ctx` tokens.
fn metadata(heads: u32, head_size: u32, n_ctx: u32) -> Metadata {
    let mut metadata = Metadata::default();
    metadata.set("general.architecture", Value::from("llama"));
    let values = [
        ("block_count", 2),
        ("embedding_length", 64),
        ("attention.head_count", heads),
        ("attention.key_length", head_size),
        ("attention.value_length", head_size),
        ("context_length", n_ctx),
    ];
    for (key, value) in values {
        metadata.set(&format!("llama.{key}"), Value::U32(value));
    }
    metadata
}

#[test]
fn an_estimate_is_what_a_cache_takes() {
    let estimate = kv_estimate(&metadata(4, 16, 500)).unwrap();
    let params = KvParams {
        n_cells: 512,
        n_seq_max: 4,
        type_k: CACHE_TYPE,
        type_v: CACHE_TYPE,
        layers: estimate.layers.clone(),
        ..KvParams::default()
    };
    let cache = KvCache::new(&params, &CpuBufferType, &mut BufferTable::new()).unwrap();
    assert_eq!(estimate.n_bytes(estimate.n_ctx_train, CACHE_TYPE, &CpuBufferType).unwrap(), cache.n_bytes());
}

#[test]
fn an_estimate_of_a_billion_tokens_takes_no_memory() {
    let estimate = kv_estimate(&metadata(4, 16, 1 << 30)).unwrap();
    // Two layers, keys and values, 64 f16 each.
    assert_eq!(estimate.n_bytes(1 << 30, CACHE_TYPE, &CpuBufferType).unwrap(), (2 * 2 * 128) << 30);
}

#[test]
fn rows_beyond_the_address_space_are_no_estimate() {
    let estimate = kv_estimate(&metadata(1 << 30, 1 << 30, 1 << 30)).unwrap();
    assert!(estimate.n_bytes(1 << 30, CACHE_TYPE, &CpuBufferType).is_err());
}
