//! `kimi-linear`: layers of Kimi's delta attention, among them layers with latent attention that nothing rotates; a dense network first,
//! then experts and a network beside them. Answers to `src/models/kimi-linear.cpp`. Older files, with one matrix `attn_kv_b` in place of two,
//! are refused: the reference's graph joins the parts of their keys in another order than those of their queries.

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Decoder, Embeddings, Kda, Mla, MlaSpec, MoeLayers, MoeSpec, Network, Output, OutputSpec, RopeFactors,
    Shared, Tied, Transformer,
};
use crate::error::Error;
use crate::hparams::{Gating, Hparams, Keys, NormKind, SizeFacts, Ssm};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "kimi-linear", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let mut hparams = Hparams::read_with_experts(keys, NormKind::Rms, None)?.has_experts()?;
    hparams.n_lora = [0, keys.required_width("attention.kv_lora_rank")?];
    hparams.n_embd_head_mla = [
        keys.required_width("attention.key_length_mla")?,
        keys.required_width("attention.value_length_mla")?,
    ];
    hparams.ssm = Ssm::read_kda(keys, hparams.layers[0].n_head)?;
    let experts = &mut hparams.experts;
    experts.n_ff = keys.required_width("expert_feed_forward_length")?;
    let n_shared = keys.u32("expert_shared_count")?.max(1);
    experts.n_ff_shared = experts.n_ff.saturating_mul(n_shared);
    experts.n_dense_lead = keys.optional_u32("leading_dense_block_count")?.unwrap_or(0);
    experts.scale = keys.f32("expert_weights_scale")?.unwrap_or(0.0);
    experts.gating = Gating::read(keys, None)?;
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let (experts, [_, n_lora_kv]) = (hparams.experts, hparams.n_lora);
    let spec = MlaSpec {
        n_lora_q: None,
        n_lora_kv,
        n_embd_head: hparams.n_embd_head_mla,
        is_absorbed: true,
        log_mul: None,
        temperature: None,
    };
    let moe = MoeSpec {
        n_ff: Some(experts.n_ff),
        gating: experts.gating,
        choice_bias: Some(("exp_probs_b.bias", true)),
        scale: experts.scale,
        shared: Some(Shared::of_width(experts.n_ff_shared)),
        ..MoeSpec::default()
    };
    let decoder = Decoder {
        moe: Some((moe, MoeLayers::from(experts.n_dense_lead))),
        output: OutputSpec { tied: Tied::Never, ..OutputSpec::default() },
        ..Decoder::default()
    };
    let embeddings = Embeddings::load(loader, hparams)?;
    let output = Output::load(loader, hparams, &decoder.output)?;
    let factors = RopeFactors::none();
    Transformer::load(loader, hparams, embeddings, output, |loader, il| {
        let ffn = decoder.load_ffn(loader, hparams, il)?;
        if hparams.layers[il].n_head_kv == 0 {
            let kda = Kda::load(loader, hparams, il)?;
            return decoder.layer(loader, hparams, il, kda, ffn);
        }
        let attention = Mla::load(loader, hparams, il, &factors, &spec)?;
        decoder.layer(loader, hparams, il, attention, ffn)
    })
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        27 => "48B.A3B",
        _ => UNKNOWN_SIZE,
    }
}
