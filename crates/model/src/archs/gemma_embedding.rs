//! `gemma-embedding`: gemma3's layers as an encoder, with windows to both sides, and matrices behind the pooled rows where the file has
//! them. Answers to `src/models/gemma-embedding.cpp`; an output matrix is not used.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Activation, Attention, AttentionSpec, Bias, Embeddings, Encoder, Ffn, FfnSpec, HeadSpec, Layer, Network,
    Norm, QkNorm, RopeFactors, Scale,
};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, LayerRope, NormKind, SizeFacts, Window, WindowKind};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "gemma-embedding", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let mut hparams = Hparams::read(keys, NormKind::Rms, Some(RopeMode::Neox))?.has_one_head_size()?;
    let n_swa = keys.u32("attention.sliding_window")?;
    let period = keys.scalar_u32("attention.sliding_window_pattern")?.unwrap_or(6);
    hparams.set_windows(Window { n_swa, kind: WindowKind::Symmetric }, period);
    let freq_base = keys.f32("rope.freq_base_swa")?.unwrap_or(10000.0);
    hparams.rotate_windows(LayerRope::Own { freq_base, freq_scale: 1.0 });
    hparams.causal_attn = false;
    for (i, name) in ["dense_2", "dense_3"].into_iter().enumerate() {
        for (j, side) in ["feat_in", "feat_out"].into_iter().enumerate() {
            hparams.encoder.dense[i][j] = keys.optional_dim(&format!("{name}_{side}"))?.unwrap_or(0);
        }
    }
    check_chain(keys, &hparams)?;
    Ok(hparams)
}

/// The matrices begin and end with the rows' width, and fit each other.
fn check_chain(keys: &Keys<'_>, hparams: &Hparams) -> Result<(), Error> {
    let ([[n_in, n_mid], [n_mid_in, n_out]], n_embd) = (hparams.encoder.dense, hparams.n_embd);
    let rules = [
        ("dense_2_feat_in", n_in, n_embd),
        ("dense_3_feat_out", n_out, n_embd),
        ("dense_3_feat_in", n_mid_in, if n_mid == 0 { n_embd } else { n_mid }),
        ("dense_2_feat_out", n_mid, if n_mid_in == 0 { n_embd } else { n_mid_in }),
    ];
    for (name, found, expected) in rules {
        if found != 0 && found != expected {
            return Err(keys.error(name, &found, format!("{expected}, so that the matrices fit the rows")));
        }
    }
    Ok(())
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let embeddings = Embeddings::load(loader, hparams)?.tokens_scaled((hparams.n_embd as f32).sqrt());
    let final_norm = Norm::load(loader, hparams, "output_norm", &[hparams.n_embd], Bias::Never)?;
    loader.ignore("output.weight");
    let attention =
        AttentionSpec { qk_norm: QkNorm::Head, scale: Scale::Queries, ..AttentionSpec::of_encoder() };
    let ffn = FfnSpec { activation: Activation::Gelu, ..FfnSpec::default() };
    let head = HeadSpec { n_dense: Some(0), has_output: false, ..HeadSpec::default() };
    Encoder::load(loader, hparams, embeddings, Some(final_norm), &head, |loader, il| {
        let mut norm = |name| Norm::of_layer(loader, hparams, il, name, Bias::Never).map(Some);
        let attn_norm = norm("attn_norm")?;
        let attn_post_norm = norm("post_attention_norm")?;
        let ffn_norm = norm("ffn_norm")?;
        let ffn_post_norm = norm("post_ffw_norm")?;
        let attention = Attention::load(loader, hparams, il, &RopeFactors::none(), &attention)?;
        let ffn = Ffn::load(loader, hparams, il, &ffn)?;
        let layer = Layer::new(il, attention, ffn);
        Ok(Layer { attn_norm, attn_post_norm, ffn_norm, ffn_post_norm, ..layer })
    })
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        24 => "0.3B",
        _ => UNKNOWN_SIZE,
    }
}
