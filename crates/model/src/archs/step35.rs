//! `step35`: windows and heads by layer, half of each head rotated where there is no window, a gate for each head, bounds inside the
//! networks, experts where a layer has a router. Answers to `src/models/step35.cpp` without its draft layers.

use quipu_graph::{RopeMode, UnaryOp};

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Activation, Attention, AttentionSpec, Bias, Decoder, Embeddings, Factors, FfnSpec, GateSpec, GateWidth,
    MoeSpec, Network, Output, OutputSpec, Projections, QkNorm, RopeFactors, Shared, Tied, Transformer,
};
use crate::error::Error;
use crate::hparams::{Gating, Hparams, Keys, LayerRope, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "step35", hparams, load, size_class };

/// Bounds below this are none.
const LEAST_CLAMP: f32 = 1e-6;

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let mut hparams = Hparams::read_with_experts(keys, NormKind::Rms, Some(RopeMode::Neox))?;
    let window = hparams.standard_window(keys.u32("attention.sliding_window")?)?;
    hparams.set_windows_by_key(keys, window)?;
    let freq_base = keys.f32("rope.freq_base_swa")?.unwrap_or(10000.0);
    hparams.rotate_windows(LayerRope::Own { freq_base, freq_scale: 1.0 });
    hparams.turn_in_windows(keys)?;
    let n_layer = hparams.n_layer();
    for name in ["swiglu_clamp_exp", "swiglu_clamp_shexp"] {
        let key = keys.key(name);
        let bounds = if keys.metadata.contains(&key) {
            keys.floats_of_layers(&key, n_layer)?
        } else {
            vec![0.0; n_layer]
        };
        hparams.clamps.push(bounds);
    }
    for layer in &mut hparams.layers {
        if layer.window.is_none() {
            layer.n_rot /= 2;
        }
        if layer.n_rot % 2 != 0 {
            return Err(keys.error("rope.dimension_count", &layer.n_rot, "a multiple of 4"));
        }
    }
    let experts = &mut hparams.experts;
    experts.n_ff = keys.required_width("expert_feed_forward_length")?;
    experts.n_ff_shared = keys.width("expert_shared_feed_forward_length")?.unwrap_or(0);
    experts.scale = keys.f32("expert_weights_scale")?.unwrap_or(0.0);
    experts.normalised = keys.bool("expert_weights_norm")?.unwrap_or(false);
    experts.gating = Gating::read(keys, Some(Gating::Sigmoid))?;
    // The reference forbids it.
    hparams.can_shift = false;
    hparams.without_draft_layers(keys)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    loader.skip_layers_from(hparams.n_layer());
    let experts = hparams.experts;
    let gate = GateSpec { function: UnaryOp::Sigmoid, width: GateWidth::Heads, is_optional: true };
    let attention = AttentionSpec {
        projections: Projections::Separate,
        qkv_bias: Bias::Unused,
        qkv_scales: false,
        qk_norm: QkNorm::OptionalHead,
        gate: Some(gate),
        ..AttentionSpec::default()
    };
    let output = OutputSpec { tied: Tied::Never, ..OutputSpec::default() };
    let decoder = Decoder { factors: Factors::ByScaling, attention, output, ..Decoder::default() };
    let embeddings = Embeddings::load(loader, hparams)?;
    let output = Output::load(loader, hparams, &decoder.output)?;
    let factors = decoder.factors(loader, hparams)?;
    Transformer::load(loader, hparams, embeddings, output, |loader, il| {
        let activation = |bounds: &[f32]| match bounds.get(il) {
            Some(bound) if *bound > LEAST_CLAMP => Activation::SiluClamped(*bound),
            _ => Activation::Silu,
        };
        let [of_experts, of_others] = [0, 1].map(|i| activation(&hparams.clamps[i]));
        let ffn = FfnSpec { activation: of_others, ..FfnSpec::default() };
        let mut shared = Shared::of_width(experts.n_ff_shared);
        shared.ffn.activation = of_others;
        let moe = MoeSpec {
            n_ff: Some(experts.n_ff),
            gating: experts.gating,
            choice_bias: Some(("exp_probs_b.bias", false)),
            normalised: experts.normalised,
            scale: experts.scale,
            activation: of_experts,
            shared: Some(shared),
            ..MoeSpec::default()
        };
        let none = RopeFactors::none();
        let factors = if hparams.layers[il].window.is_some() { &none } else { &factors };
        let attention = Attention::load(loader, hparams, il, factors, &decoder.attention)?;
        let decoder = Decoder { ffn, ..decoder.clone() };
        let ffn = decoder.load_ffn_by_router(loader, hparams, il, &moe)?;
        decoder.layer(loader, hparams, il, attention, ffn)
    })
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        45 => "196B.A11B",
        _ => UNKNOWN_SIZE,
    }
}
