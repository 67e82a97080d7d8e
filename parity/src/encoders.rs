//! What encoders make of tokens, on both sides: rows, pooled rows, scores, and the logits of a decoder behind an encoder.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use quipu_cpu_backend::CpuDevice;
use quipu_decoder::{Batch, Context, ContextParams, Pooling};
use quipu_gguf::GgufFile;

use crate::checkout::{Checkout, floats, run};
use crate::engine;
use crate::error::Error;

/// What of a model is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Logits of each token.
    Logits,
    /// The same of a model whose tokens see all others, so that one ubatch holds all of them.
    LogitsAtOnce,
    /// The final row of each token.
    Rows,
    /// A row or scores for each of three sequences, to which the tokens go in turn.
    Pooled(Pooling),
    /// Logits of a decoder behind the encoding of the same tokens.
    Decoder,
}

/// Sequences of pooled rows.
pub const N_SEQ: usize = 3;

impl Seen {
    /// The probe's word for it; `None` where it is not the one that is asked.
    fn word(self) -> Option<&'static str> {
        match self {
            Seen::Logits | Seen::LogitsAtOnce => None,
            Seen::Rows => Some("rows"),
            Seen::Decoder => Some("decoder"),
            Seen::Pooled(Pooling::Cls) => Some("cls"),
            Seen::Pooled(Pooling::Last) => Some("last"),
            Seen::Pooled(Pooling::Rank) => Some("rank"),
            Seen::Pooled(_) => Some("mean"),
        }
    }
}

/// What the reference makes of `tokens`.
///
/// # Errors
/// The probe failed.
pub fn reference(
    checkout: &Checkout,
    model: &Path,
    tokens: &[u32],
    seen: Seen,
    flash_attn: bool,
) -> Result<Vec<f32>, Error> {
    let dir = tempfile::tempdir().map_err(Error::io("temporary folder"))?;
    let (ids, out) = (dir.path().join("ids"), dir.path().join("out"));
    let words: Vec<String> = tokens.iter().map(u32::to_string).collect();
    std::fs::write(&ids, words.join(" ")).map_err(Error::io(&ids))?;
    let mut probe = Command::new(checkout.probe("encode")?);
    probe.arg(model).arg(&ids).arg(&out).arg(seen.word().unwrap_or_default());
    if !flash_attn {
        probe.arg("--no-flash-attn");
    }
    run(&mut probe)?;
    Ok(floats(&std::fs::read(&out).map_err(Error::io(&out))?))
}

/// What this workspace makes of them.
///
/// # Errors
/// What the engine refuses.
pub fn ours(case: &str, gguf: &GgufFile, tokens: &[u32], seen: Seen) -> Result<Vec<f32>, Error> {
    let device = CpuDevice::default();
    let model = engine::load(case, gguf, &device)?;
    let n_seq = if matches!(seen, Seen::Pooled(_)) { N_SEQ } else { 1 };
    let params = ContextParams {
        n_ctx: tokens.len(),
        n_seq_max: n_seq,
        n_threads: 2,
        n_threads_batch: 2,
        embeddings: seen != Seen::Decoder,
        pooling: if let Seen::Pooled(pooling) = seen { pooling } else { Pooling::None },
        ..ContextParams::default()
    };
    let fail = Error::engine::<quipu_decoder::Error>(case);
    let mut context = Context::new(Arc::clone(&model), &device, &params).map_err(&fail)?;
    let mut batch = Batch::new();
    for (i, token) in tokens.iter().enumerate() {
        batch.add(*token, (i / n_seq) as i32, &[(i % n_seq) as i32], true);
    }
    if seen == Seen::Decoder {
        context.encode(&batch).map_err(&fail)?;
    }
    context.decode(&batch).map_err(&fail)?;
    let mut out = Vec::new();
    let n_rows = if let Seen::Pooled(_) = seen { n_seq } else { tokens.len() };
    for i in 0..n_rows as i32 {
        let row = match seen {
            Seen::Pooled(_) => context.embeddings_seq(i),
            Seen::Rows => context.embeddings(i),
            _ => context.logits(i),
        };
        out.extend_from_slice(row.map_err(&fail)?);
    }
    Ok(out)
}
