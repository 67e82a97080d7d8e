//! `llama4`: three layers of four see chunks and are normed behind their rotation; the fourth knows no positions and has queries that grow
//! with them; experts in some layers, whose weights multiply what goes in. Answers to `src/models/llama4.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Attention, AttentionSpec, Choice, Decoder, Embeddings, Factors, MoeLayers, MoeSpec, Network, Output,
    QkNorm, Shared, Transformer,
};
use crate::error::Error;
use crate::hparams::{
    Gating, Hparams, Keys, LayerRope, NormKind, SizeFacts, Temperature, Window, WindowKind,
};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "llama4", hparams, load, size_class };

/// What layers with windows see, whatever the file says.
const CHUNK: Window = Window { n_swa: 8192, kind: WindowKind::Chunked };
/// Every layer at the end of so many knows no positions.
const STILL_PERIOD: usize = 4;
const TEMPERATURE: Temperature = Temperature { scale: 0.1, floor: 8192, offset: 1.0 };
/// The model with so many experts has no norms on heads.
const N_EXPERT_WITHOUT_NORMS: usize = 128;

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read_with_experts(keys, NormKind::Rms, Some(RopeMode::Norm))?.has_experts()?;
    let mut hparams = hparams.rotates_whole_heads()?.has_one_head_size()?;
    if keys.optional_u32("attention.sliding_window")? == Some(0) {
        // The reference reads such files, and stops when it builds their graph.
        let expected = "a window, or no such key";
        return Err(keys.error("attention.sliding_window", &0, expected));
    }
    hparams.set_windows(CHUNK, keys.scalar_u32("attention.sliding_window_pattern")?.unwrap_or(4));
    hparams.rotate_windows_by_key(keys)?;
    for (il, layer) in hparams.layers.iter_mut().enumerate() {
        if (il + 1).is_multiple_of(STILL_PERIOD) {
            layer.rope = LayerRope::Off;
        }
    }
    hparams.experts.n_ff = keys.required_width("expert_feed_forward_length")?;
    hparams.experts.period = keys.u32("interleave_moe_layer_step")?;
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let n_ff = hparams.experts.n_ff;
    let moe = MoeSpec {
        n_ff: Some(n_ff),
        gating: Gating::Sigmoid,
        choice: Choice::Scores,
        weighs_input: true,
        normalised: false,
        shared: Some(Shared::of_width(n_ff)),
        ..MoeSpec::default()
    };
    let moe = Some((moe, MoeLayers { first: 0, period: hparams.experts.period }));
    let decoder = Decoder { factors: Factors::One, moe, ..Decoder::default() };
    let is_normed = hparams.experts.n != N_EXPERT_WITHOUT_NORMS;
    let embeddings = Embeddings::load(loader, hparams)?;
    let output = Output::load(loader, hparams, &decoder.output)?;
    let factors = decoder.factors(loader, hparams)?;
    Transformer::load(loader, hparams, embeddings, output, |loader, il| {
        let mut spec = AttentionSpec { norm_rotated: true, ..AttentionSpec::default() };
        if hparams.layers[il].rope == LayerRope::Off {
            spec.temperature = Some(TEMPERATURE);
        } else if is_normed {
            spec.qk_norm = QkNorm::Bare;
        }
        let attention = Attention::load(loader, hparams, il, &factors, &spec)?;
        let ffn = decoder.load_ffn(loader, hparams, il)?;
        decoder.layer(loader, hparams, il, attention, ffn)
    })
}

fn size_class(size: &SizeFacts) -> &'static str {
    match (size.n_expert, size.n_embd) {
        (0, 2048) => "140M",
        (0, 4096) => "360M",
        (0, 6144) => "950M",
        (16, _) => "17Bx16E (Scout)",
        (128, _) => "17Bx128E (Maverick)",
        _ => UNKNOWN_SIZE,
    }
}
