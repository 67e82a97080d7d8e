//! State files: those of the reference continued here, and ours there, with the same likeliest tokens.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use quipu_cpu_backend::CpuDevice;
use quipu_decoder::{Batch, Context, ContextParams, FlashAttn};
use quipu_gguf::GgufFile;
use quipu_model::Model;
use quipu_quant::DType;

use crate::checkout::{Checkout, run};
use crate::engine;
use crate::error::Error;
use crate::logits::{TOKEN_SEED, WEIGHT_SEED};
use crate::report::Row;
use crate::small::SMALL;
use crate::toy::{TOYS, tokens};

/// Tokens whose memory is saved, and one more.
const N_TOKENS: usize = 70;
/// Tokens that follow.
const N_NEXT: usize = 20;
/// Toys with a cache, and with a pair of caches.
const NAMES: [&str; 4] = ["llama-plain", "gpt2-plain", "gemma3-windows", "olmo2-windows"];
/// Small models with states, and with states beside a cache and a pair of them.
const WITH_STATES: [&str; 7] = ["mamba", "mamba2", "jamba", "falcon-h1", "lfm2", "lfm2-windows", "rwkv7"];

/// Files in both directions, of sessions and of sequences.
///
/// # Errors
/// A probe failed, or an engine that refuses.
pub fn audit(checkout: &Checkout) -> Result<Vec<Row>, Error> {
    let tokens = tokens(TOKEN_SEED, N_TOKENS + 1);
    let mut rows = Vec::new();
    let toys = TOYS.iter().filter(|toy| NAMES.contains(&toy.name));
    let mut models = Vec::new();
    for toy in toys {
        models.push((toy.name, toy.gguf(DType::F32, WEIGHT_SEED)?));
    }
    for small in SMALL.iter().filter(|small| WITH_STATES.contains(&small.name)) {
        models.push((small.name, small.gguf(DType::F32, WEIGHT_SEED)?));
    }
    for (name, bytes) in models {
        let dir = tempfile::tempdir().map_err(Error::io("temporary folder"))?;
        let (model, ids) = (dir.path().join("toy.gguf"), dir.path().join("ids"));
        std::fs::write(&model, &bytes).map_err(Error::io(&model))?;
        let words: Vec<String> = tokens.iter().map(u32::to_string).collect();
        std::fs::write(&ids, words.join(" ")).map_err(Error::io(&ids))?;
        let gguf = GgufFile::from_vec(bytes).map_err(Error::engine(name))?;
        let ours = engine::load(name, &gguf, &CpuDevice::default())?;
        let probe = checkout.probe("state")?;
        let reference =
            |mode: &str, kind: &str, file: &Path, flash_attn: FlashAttn| -> Result<String, Error> {
                let mut probe = Command::new(&probe);
                probe.arg(&model).args([mode, kind]).arg(file).arg(&ids).arg(flash_attn.name());
                let said = run(&mut probe)?;
                Ok(said.trim().to_owned())
            };
        let all = [FlashAttn::On, FlashAttn::Off];
        for (flash_attn, kind) in all.into_iter().flat_map(|flash| [(flash, "session"), (flash, "sequence")])
        {
            let file = dir.path().join(kind);
            let expected = reference("save", kind, &file, flash_attn)?;
            let found = load(&ours, kind, &file, &tokens, flash_attn)?;
            let name = format!("{name}, flash attention {}", flash_attn.name());
            let case = format!("{name}, {kind} of the reference");
            rows.push(Row::judged("state files", case, found == expected, format!("{found} / {expected}")));
            let file = dir.path().join(format!("{kind}-ours"));
            save(&ours, kind, &file, &tokens, flash_attn)?;
            let found = reference("load", kind, &file, flash_attn)?;
            let case = format!("{name}, {kind} of ours");
            rows.push(Row::judged("state files", case, found == expected, format!("{found} / {expected}")));
        }
    }
    Ok(rows)
}

fn context(model: &Arc<Model>, flash_attn: FlashAttn) -> Result<Context, Error> {
    let params = ContextParams {
        n_ctx: 512,
        n_batch: 512,
        n_ubatch: 64,
        n_threads: 2,
        n_threads_batch: 2,
        flash_attn,
        ..ContextParams::default()
    };
    Context::new(Arc::clone(model), &CpuDevice::default(), &params).map_err(Error::engine("a context"))
}

fn save(
    model: &Arc<Model>,
    kind: &str,
    file: &Path,
    tokens: &[u32],
    flash_attn: FlashAttn,
) -> Result<(), Error> {
    let mut context = context(model, flash_attn)?;
    let fail = Error::engine("saving");
    context.decode(&Batch::single(&tokens[..N_TOKENS])).map_err(&fail)?;
    match kind {
        "session" => context.state_save_file(file, tokens),
        _ => context.state_seq_save_file(file, 0, tokens),
    }
    .map_err(&fail)
}

fn load(
    model: &Arc<Model>,
    kind: &str,
    file: &Path,
    tokens: &[u32],
    flash_attn: FlashAttn,
) -> Result<String, Error> {
    let mut context = context(model, flash_attn)?;
    let fail = Error::engine("loading");
    let loaded = match kind {
        "session" => context.state_load_file(file, 4096),
        _ => context.state_seq_load_file(file, 0, 4096),
    };
    if loaded.map_err(&fail)? != tokens {
        return Ok("other tokens".to_owned());
    }
    let (mut next, mut said) = (tokens[N_TOKENS], Vec::new());
    for _ in 0..N_NEXT {
        context.decode(&Batch::single(&[next])).map_err(&fail)?;
        let logits = context.logits(-1).map_err(&fail)?;
        // The first of the largest, as the probe has it.
        next = (1..logits.len()).fold(0, |best, i| if logits[i] > logits[best] { i } else { best }) as u32;
        said.push(next.to_string());
    }
    Ok(said.join(" "))
}
