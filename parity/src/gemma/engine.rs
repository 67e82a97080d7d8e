//! Quipu's side: teacher-forced logits as gemma.cpp's queries have them.

use std::sync::Arc;

use quipu_cpu_backend::CpuDevice;
use quipu_decoder::{Batch, Context, ContextParams};
use quipu_gguf::GgufFile;
use quipu_model::Model;
use quipu_quant::DType;

use crate::engine::load;
use crate::error::Error;

/// A model and how it is run.
pub(super) struct Ours<'a> {
    case: &'a str,
    model: Arc<Model>,
}

/// Tokens of a sequence and where it is.
struct Turn<'a> {
    tokens: &'a [u32],
    from: usize,
    seq_id: i32,
}

impl Ours<'_> {
    pub(super) fn load<'a>(case: &'a str, file: &GgufFile) -> Result<Ours<'a>, Error> {
        Ok(Ours { case, model: load(case, file, &CpuDevice::default())? })
    }

    /// Keys and values are kept in f32, as there.
    fn context(&self, n_ctx: usize, n_seq_max: usize, causal: bool) -> Result<Context, Error> {
        let params = ContextParams {
            causal_attn: Some(causal),
            n_ctx,
            n_batch: n_ctx,
            n_ubatch: 512,
            n_seq_max,
            n_threads: 2,
            n_threads_batch: 2,
            type_k: DType::F32,
            type_v: DType::F32,
            ..ContextParams::default()
        };
        Context::new(Arc::clone(&self.model), &CpuDevice::default(), &params)
            .map_err(Error::engine(self.case))
    }

    fn decode(&self, context: &mut Context, turns: &[Turn<'_>], logits: &mut Vec<f32>) -> Result<(), Error> {
        let mut batch = Batch::new();
        for Turn { tokens, from, seq_id } in turns {
            for (i, token) in tokens.iter().enumerate() {
                batch.add(*token, (from + i) as i32, &[*seq_id], true);
            }
        }
        context.decode(&batch).map_err(Error::engine(self.case))?;
        let n: usize = turns.iter().map(|turn| turn.tokens.len()).sum();
        for i in 0..n {
            logits.extend_from_slice(context.logits(i as i32).map_err(Error::engine(self.case))?);
        }
        Ok(())
    }

    /// Of every position; the first `prefix` tokens see each other.
    pub(super) fn logits(&self, tokens: &[u32], prefix: usize) -> Result<Vec<f32>, Error> {
        let fail = Error::engine(self.case);
        let mut logits = Vec::new();
        let mut context = self.context(tokens.len(), 1, true)?;
        if prefix > 0 {
            let mut whole = self.context(tokens.len(), 1, false)?;
            let prefix_tokens = &tokens[..prefix];
            self.decode(&mut whole, &[Turn { tokens: prefix_tokens, from: 0, seq_id: 0 }], &mut logits)?;
            // What it remembers goes on as part of a text that is read forwards.
            let dir = tempfile::tempdir().map_err(Error::io("temporary folder"))?;
            let file = dir.path().join("prefix");
            whole.state_seq_save_file(&file, 0, prefix_tokens).map_err(&fail)?;
            context.state_seq_load_file(&file, 0, prefix).map_err(&fail)?;
        }
        // In pieces, for the logits of a large vocabulary are many.
        for (nth, tokens) in tokens[prefix..].chunks(128).enumerate() {
            let turn = Turn { tokens, from: prefix + nth * 128, seq_id: 0 };
            self.decode(&mut context, &[turn], &mut logits)?;
        }
        Ok(logits)
    }

    /// Of every position of several sequences in one batch, one sequence behind the other.
    pub(super) fn queries(&self, queries: &[Vec<u32>]) -> Result<Vec<f32>, Error> {
        let n_ctx = queries.iter().map(Vec::len).sum();
        let mut context = self.context(n_ctx, queries.len(), true)?;
        let turns: Vec<Turn<'_>> =
            (0i32..).zip(queries).map(|(seq_id, tokens)| Turn { tokens, from: 0, seq_id }).collect();
        let mut logits = Vec::new();
        self.decode(&mut context, &turns, &mut logits)?;
        Ok(logits)
    }
}
