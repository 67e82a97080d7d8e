//! `t5`: an encoder, and a decoder that attends over what the encoder left; biases by distance instead of positions; GELU with a gate or
//! a plain ReLU. Answers to `src/models/t5.cpp`.

use quipu_graph::TensorId;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Activation, Bias, Block, CrossAttention, Embeddings, Ffn, FfnSpec, Gate, KeyRotation, Linear, Network,
    Norm, RelativeAttention,
};
use crate::build::Builder;
use crate::error::Error;
use crate::graph::{BuiltGraph, GraphKind};
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::{Loader, block};
use crate::memory::LayerMemory;

pub(super) const ARCH: Architecture = Architecture { name: "t5", hparams, load, size_class };

/// The most classes of distances that the reference's formula has a meaning for.
const MAX_BUCKETS: usize = 254;

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let mut hparams = encoder_hparams(keys)?;
    let n_layer = hparams.n_layer();
    let n_decoder = keys.optional_dim("decoder_block_count")?.unwrap_or(n_layer);
    if n_decoder == 0 || n_decoder > 512 {
        return Err(keys.error("decoder_block_count", &n_decoder, "a number from 1 to 512"));
    }
    hparams.encoder.n_layer_encoder = n_layer;
    hparams.encoder.n_layer_decoder = n_decoder;
    hparams.encoder.decoder_start = keys.metadata.optional(&keys.key("decoder_start_token_id"))?;
    if let Some(last) = hparams.layers.last().copied() {
        hparams.layers.resize(n_layer.max(n_decoder), last);
    }
    Ok(hparams)
}

/// What encoders with and without a decoder read.
pub(super) fn encoder_hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    const BUCKETS: &str = "attention.relative_buckets_count";
    let mut hparams = Hparams::read(keys, NormKind::Rms, None)?.has_one_head_size()?;
    for layer in &hparams.layers {
        if layer.n_head == 0 || layer.n_head != layer.n_head_kv {
            let found = format!("{} for {} heads", layer.n_head_kv, layer.n_head);
            return Err(keys.error(
                "attention.head_count_kv",
                &found,
                "as many as there are heads, at least 1",
            ));
        }
    }
    hparams.encoder.n_buckets = keys.u32(BUCKETS)?;
    if !(4..=MAX_BUCKETS).contains(&hparams.encoder.n_buckets) {
        let expected = format!("a number from 4 to {MAX_BUCKETS}");
        return Err(keys.error(BUCKETS, &hparams.encoder.n_buckets, expected));
    }
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let encoder = Half::load(loader, hparams, "enc.", hparams.encoder.n_layer_encoder)?;
    let decoder = Half::load(loader, hparams, "dec.", hparams.encoder.n_layer_decoder)?;
    let ne = [hparams.n_embd, hparams.n_vocab];
    let output = match Linear::optional(loader, "output", ne, Bias::Never)? {
        Some(output) => output,
        None => Linear::shared(loader, "token_embd.weight", "output", ne, Bias::Never)?,
    };
    Ok(Box::new(T5 {
        embeddings: Embeddings::load(loader, hparams)?,
        encoder,
        decoder: Some((decoder, output)),
    }))
}

/// An encoder alone.
pub(super) fn load_encoder(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let encoder = Half::load(loader, hparams, "enc.", hparams.n_layer())?;
    loader.ignore("output.weight");
    Ok(Box::new(T5 { embeddings: Embeddings::load(loader, hparams)?, encoder, decoder: None }))
}

/// One half or both.
#[derive(Debug)]
struct T5 {
    embeddings: Embeddings,
    encoder: Half,
    decoder: Option<(Half, Linear)>,
}

/// The layers of an encoder or of a decoder, and the norm behind them.
#[derive(Debug)]
struct Half {
    layers: Vec<HalfLayer>,
    norm: Norm,
}

#[derive(Debug)]
struct HalfLayer {
    attn_norm: Norm,
    attention: RelativeAttention,
    /// Over what the encoder left.
    cross: Option<(Norm, CrossAttention)>,
    ffn_norm: Norm,
    ffn: Ffn,
}

impl Half {
    fn load(
        loader: &mut Loader<'_>,
        hparams: &Hparams,
        half: &'static str,
        n_layer: usize,
    ) -> Result<Half, Error> {
        let ne = [hparams.n_embd];
        let norm = Norm::load(loader, hparams, &format!("{half}output_norm"), &ne, Bias::Never)?;
        let mut table = None;
        let mut layers = Vec::new();
        for il in 0..n_layer {
            let name = |name: &str| format!("{half}{}", block(il, name));
            let mut norm = |of: &str| Norm::load(loader, hparams, &name(of), &ne, Bias::Never);
            let attn_norm = norm("attn_norm")?;
            let ffn_norm = norm("ffn_norm")?;
            let attention = RelativeAttention::load(loader, hparams, il, half, &mut table)?;
            let mut cross = None;
            if half == "dec." {
                let norm = Norm::load(loader, hparams, &name("cross_attn_norm"), &ne, Bias::Never)?;
                cross = Some((norm, CrossAttention::load(loader, hparams, il)?));
            }
            let (activation, gate) = if loader.has(&name("ffn_gate.weight")) {
                (Activation::Gelu, Gate::Parallel)
            } else {
                (Activation::Relu, Gate::None)
            };
            let ffn = FfnSpec { activation, gate, prefix: half, ..FfnSpec::default() };
            let ffn = Ffn::load(loader, hparams, il, &ffn)?;
            layers.push(HalfLayer { attn_norm, attention, cross, ffn_norm, ffn });
        }
        Ok(Half { layers, norm })
    }

    /// The rows behind the last layer, normed; only those whose results are wanted.
    fn forward(&self, b: &mut Builder<'_>, mut x: TensorId) -> Result<TensorId, Error> {
        for (il, layer) in self.layers.iter().enumerate() {
            x = layer.forward(b, x, il, il + 1 == self.layers.len())?;
        }
        self.norm.forward(b, x)
    }
}

impl HalfLayer {
    fn forward(&self, b: &mut Builder<'_>, x: TensorId, il: usize, is_last: bool) -> Result<TensorId, Error> {
        let mut stream = x;
        let normed = self.attn_norm.forward(b, stream)?;
        b.name(normed, "attn_norm", il);
        let mut mixed = self.attention.forward(b, normed)?;
        if let Some((norm, cross)) = &self.cross {
            stream = b.graph.add(mixed, stream)?;
            b.name(stream, "cross_inp", il);
            let normed = norm.forward(b, stream)?;
            mixed = cross.forward(b, normed)?;
        }
        if is_last {
            [mixed, stream] = b.keep_rows([mixed, stream])?;
        }
        let ffn_inp = b.graph.add(mixed, stream)?;
        b.name(ffn_inp, "ffn_inp", il);
        let normed = self.ffn_norm.forward(b, ffn_inp)?;
        b.name(normed, "ffn_norm", il);
        let out = self.ffn.forward(b, normed)?;
        b.name(out, "ffn_out", il);
        let out = b.graph.add(out, ffn_inp)?;
        b.name(out, "l_out", il);
        Ok(out)
    }
}

impl Network for T5 {
    fn forward(&self, mut b: Builder<'_>) -> Result<BuiltGraph, Error> {
        let x = self.embeddings.forward(&mut b)?;
        match (&self.decoder, b.kind()) {
            (Some((decoder, output)), GraphKind::Decoder) => {
                let embd = decoder.forward(&mut b, x)?;
                let logits = output.forward(&mut b, embd)?;
                Ok(b.finish(embd, logits))
            }
            _ => {
                let rows = self.encoder.forward(&mut b, x)?;
                Ok(b.finish_rows(rows))
            }
        }
    }

    fn memory(&self) -> Vec<LayerMemory> {
        let mut memory = vec![LayerMemory::None; self.encoder.layers.len()];
        if let Some((decoder, _)) = &self.decoder {
            memory.resize(memory.len().max(decoder.layers.len()), LayerMemory::None);
            for (memory, layer) in memory.iter_mut().zip(&decoder.layers) {
                *memory = layer.attention.memory();
            }
        }
        memory
    }

    fn key_rotation(&self, _: usize) -> Option<KeyRotation<'_>> {
        None
    }
}

fn size_class(size: &SizeFacts) -> &'static str {
    match (size.n_layer, size.n_ff) {
        (6, _) => "60M",
        (8, _) => "80M",
        (12, 3072) => "220M",
        (12, 2048) => "250M",
        (24, 4096) => "770M",
        (24, 2816) => "780M",
        (24, 16384 | 5120) => "3B",
        (24, 65536 | 10240) => "11B",
        _ => UNKNOWN_SIZE,
    }
}
