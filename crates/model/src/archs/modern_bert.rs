//! `modern-bert`: norms before the blocks, of which the first layer may lack one; two layers of three see a window to both sides, and
//! rotate by a base of their own; the file names the networks' activation. Answers to `src/models/modern-bert.cpp`.

use quipu_graph::{RopeMode, UnaryOp};

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Activation, Attention, AttentionSpec, Bias, Embeddings, Encoder, Ffn, FfnSpec, Gate, HeadSpec, Layer,
    Network, Norm, Projections, RopeFactors,
};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, LayerRope, NormKind, SizeFacts, Window, WindowKind};
use crate::loader::{Loader, block};
use crate::pooling::Pooling;

pub(super) const ARCH: Architecture = Architecture { name: "modern-bert", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read(keys, NormKind::Layer, Some(RopeMode::Neox))?;
    let mut hparams = hparams.heads_fill_rows()?.has_ungrouped_heads()?;
    let n_swa = keys.optional_u32("attention.sliding_window")?.unwrap_or(0);
    if n_swa > 0 {
        let period = keys.scalar_u32("attention.sliding_window_pattern")?.unwrap_or(3);
        hparams.set_windows_behind_first(Window { n_swa, kind: WindowKind::Symmetric }, period);
        let freq_base = keys.f32("rope.freq_base_swa")?.unwrap_or(10000.0);
        hparams.rotate_windows(LayerRope::Own { freq_base, freq_scale: 1.0 });
    }
    hparams.encoder.activation =
        keys.metadata.optional::<&str>(&keys.key("hidden_activation"))?.map(str::to_owned);
    hparams.causal_attn = false;
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let norm = Norm::load(loader, hparams, "token_embd_norm", &[hparams.n_embd], Bias::Never)?;
    let embeddings = Embeddings::load(loader, hparams)?.normed(norm);
    let final_norm = Norm::load(loader, hparams, "output_norm", &[hparams.n_embd], Bias::Never)?;
    let attention = AttentionSpec {
        projections: Projections::Fused,
        qkv_bias: Bias::Never,
        ..AttentionSpec::of_encoder()
    };
    let ffn = FfnSpec { activation: activation(hparams)?, gate: Gate::Halves, ..FfnSpec::default() };
    let head = HeadSpec {
        rank_by: Pooling::Mean,
        dense_bias: false,
        activation: UnaryOp::Gelu,
        may_norm: true,
        ..HeadSpec::default()
    };
    Encoder::load(loader, hparams, embeddings, Some(final_norm), &head, |loader, il| {
        let attn_norm = if il == 0 {
            Norm::optional(loader, hparams, &block(il, "attn_norm"), &[hparams.n_embd], Bias::Never)?
        } else {
            Some(Norm::of_layer(loader, hparams, il, "attn_norm", Bias::Never)?)
        };
        let ffn_norm = Some(Norm::of_layer(loader, hparams, il, "ffn_norm", Bias::Never)?);
        let attention = Attention::load(loader, hparams, il, &RopeFactors::none(), &attention)?;
        let ffn = Ffn::load(loader, hparams, il, &ffn)?;
        Ok(Layer { attn_norm, ffn_norm, ..Layer::new(il, attention, ffn) })
    })
}

/// By the names that the reference knows; `GeGLU` for all others.
fn activation(hparams: &Hparams) -> Result<Activation, Error> {
    match hparams.encoder.activation.as_deref() {
        Some("silu" | "swish" | "swiglu") => Ok(Activation::Silu),
        Some("reglu") => Ok(Activation::Relu),
        // Without a gate the two matrices do not fit each other: the reference stops there.
        Some("relu") => {
            Err(hparams.error("hidden_activation", &"relu", "one with a gate: gelu, silu or reglu"))
        }
        _ => Ok(Activation::Gelu),
    }
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        12 => "47M",
        22 => "149M",
        28 => "395M",
        _ => UNKNOWN_SIZE,
    }
}
