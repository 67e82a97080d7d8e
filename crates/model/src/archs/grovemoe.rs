//! `grovemoe`: norms on heads; experts, and behind them smaller ones that each belong to a group of numbers. Answers to
//! `src/models/grovemoe.cpp`, which lets the smaller ones read what the others gave.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Attention, AttentionSpec, Decoder, Embeddings, Grove, MoeSpec, Network, Output, QkNorm, RopeFactors,
    Transformer,
};
use crate::error::Error;
use crate::hparams::{Chunks, Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "grovemoe", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    const GROUP: &str = "experts_per_group";
    let hparams = Hparams::read_with_experts(keys, NormKind::Rms, Some(RopeMode::Neox))?.has_experts()?;
    let mut hparams = hparams.rotates_whole_heads()?.has_one_head_size()?;
    let n_ff = keys.u32("expert_feed_forward_length")?;
    hparams.experts.n_ff = if n_ff > 0 { n_ff } else { hparams.n_ff_by_use() };
    let head = hparams.layers.first().map_or(0, |layer| layer.n_embd_head_k);
    let n_ff_chunk = keys.width("expert_chunk_feed_forward_length")?;
    let (n, n_used) = (hparams.experts.n, hparams.experts.n_used);
    let n_group = keys.u32(GROUP)?;
    // Fewer chunks than a token uses experts are more than the reference's graph looks at.
    if n_group == 0 || n / n_group < n_used {
        let expected = format!("a number by which {n} experts make {n_used} groups or more");
        return Err(keys.error(GROUP, &n_group, expected));
    }
    hparams.experts.chunks = Chunks {
        n_ff: n_ff_chunk.unwrap_or(head),
        n_experts: n_group,
        scale: keys.required_f32("expert_group_scale")?,
    };
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let moe = MoeSpec { n_ff: Some(hparams.experts.n_ff), ..MoeSpec::default() };
    let decoder = Decoder {
        attention: AttentionSpec { qk_norm: QkNorm::Head, ..AttentionSpec::default() },
        ..Decoder::default()
    };
    let embeddings = Embeddings::load(loader, hparams)?;
    let output = Output::load(loader, hparams, &decoder.output)?;
    Transformer::load(loader, hparams, embeddings, output, |loader, il| {
        let attention = Attention::load(loader, hparams, il, &RopeFactors::none(), &decoder.attention)?;
        let ffn = Grove::load(loader, hparams, il, &moe)?;
        decoder.layer(loader, hparams, il, attention, Box::new(ffn))
    })
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        48 => "30B.A3B",
        _ => UNKNOWN_SIZE,
    }
}
