//! Logits with keys and values kept in each type that a cache may have.

use quipu_cpu_backend::CpuDevice;
use quipu_decoder::{Batch, Context, ContextParams};
use quipu_gguf::GgufFile;
use quipu_kv_cache::CACHE_TYPES;
use quipu_quant::DType;

use crate::checkout::{Checkout, LogitsRequest};
use crate::engine;
use crate::error::Error;
use crate::logits::{N_TOKENS, TOKEN_SEED, WEIGHT_SEED, bound};
use crate::report::Row;
use crate::toy::{TOYS, tokens};
use quipu_testing::nmse;

/// Toys with heads of 64, 128, 80 and 32 elements: rotated as a whole, in two pieces, not at all; windows; and one that is not rotated by position.
const NAMES: [&str; 6] =
    ["llama-plain", "qwen3-plain", "llama-3", "gpt2-plain", "olmo2-windows", "gemma3-windows"];

/// Our logits of every position, with keys and values of a type. With `shifted`, the prompt lies that much too late at first, and is
/// moved to where it belongs before its second half is computed.
///
/// # Errors
/// What the engine refuses.
pub fn logits(
    case: &str,
    file: &GgufFile,
    tokens: &[u32],
    cache_type: DType,
    shifted: i32,
) -> Result<Vec<f32>, Error> {
    let device = CpuDevice::default();
    let model = engine::load(case, file, &device)?;
    let params = ContextParams {
        n_ctx: tokens.len(),
        n_ubatch: 512,
        type_k: cache_type,
        type_v: cache_type,
        swa_full: true,
        n_threads: 2,
        n_threads_batch: 2,
        ..ContextParams::default()
    };
    let mut context = Context::new(model, &device, &params).map_err(Error::engine(case))?;
    let half = if shifted == 0 { tokens.len() } else { tokens.len() / 2 };
    let mut logits = Vec::new();
    for (part, first) in [(&tokens[..half], shifted), (&tokens[half..], half as i32)] {
        if part.is_empty() {
            continue;
        }
        let mut batch = Batch::new();
        (first..).zip(part).for_each(|(pos, token)| batch.add(*token, pos, &[0], true));
        context.decode(&batch).map_err(Error::engine(case))?;
        for i in 0..part.len() {
            logits.extend_from_slice(context.logits(i as i32).map_err(Error::engine(case))?);
        }
        if shifted != 0 && first == shifted {
            context.memory_mut().seq_add(0, 0, -1, -shifted).map_err(Error::engine(case))?;
        }
    }
    Ok(logits)
}

/// Every type against the reference's cache of that type, on some toys.
///
/// # Errors
/// A probe failed, or an engine that refuses.
pub fn audit(checkout: &Checkout) -> Result<Vec<Row>, Error> {
    let tokens = tokens(TOKEN_SEED, N_TOKENS);
    let mut rows = Vec::new();
    for toy in TOYS.iter().filter(|toy| NAMES.contains(&toy.name)) {
        let bytes = toy.gguf(DType::F32, WEIGHT_SEED)?;
        let file = tempfile::NamedTempFile::new().map_err(Error::io("temporary file"))?;
        std::fs::write(file.path(), &bytes).map_err(Error::io(file.path()))?;
        let gguf = GgufFile::from_vec(bytes).map_err(Error::engine(toy.name))?;
        for cache_type in CACHE_TYPES {
            if !toy.head_size.is_multiple_of(cache_type.block_len()) {
                continue;
            }
            let case = format!("{} F32, cache {cache_type}", toy.name);
            let reference = |n_ubatch| {
                let (model, tokens, prefixes) = (file.path(), tokens.as_slice(), &[][..]);
                let request = LogitsRequest { model, tokens, n_ubatch, prefixes, flash_attn: true };
                checkout.logits_with(&request, cache_type).map(|(logits, _)| logits)
            };
            let (whole, single) = (reference(512)?, reference(1)?);
            let ours = logits(&case, &gguf, &tokens, cache_type, 0)?;
            let (error, spread) = (nmse(&whole, &ours), nmse(&whole, &single));
            let note = format!("NMSE {error:.1e} <= {:.1e}, spread {spread:.1e}", bound(spread));
            rows.push(Row::judged("logits, cache types", case, error <= bound(spread), note));
        }
    }
    Ok(rows)
}
