//! `plamo2`: attention among state space models whose gates and channels alternate by head; norms around every block. Answers to
//! `src/models/plamo2.cpp`.

use quipu_backend::WeightUse::Elementwise;
use quipu_graph::{GluOp, RopeMode, SsmScan, TensorId};
use quipu_kv_cache::RecurrentShape;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Attention, AttentionSpec, Bias, Block, Conv, Embeddings, Ffn, FfnSpec, Gate, Layer, Linear, Network,
    Norm, Output, OutputSpec, Projections, QkNorm, RopeFactors, Scale, Transformer, columns, parts, scan,
};
use crate::build::Builder;
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts, Ssm};
use crate::loader::{Loader, block};
use crate::memory::LayerMemory;
use crate::weight::Weight;

pub(super) const ARCH: Architecture = Architecture { name: "plamo2", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    const GROUPS: &str = "ssm.group_count";
    let mut hparams = Hparams::read(keys, NormKind::Rms, Some(RopeMode::Neox))?;
    hparams.ssm = Ssm::read(keys)?;
    let n_group = keys.u32(GROUPS)?;
    if n_group != 0 {
        return Err(keys.error(GROUPS, &n_group, "0"));
    }
    let Ssm { d_inner, dt_rank, .. } = hparams.ssm;
    if !d_inner.is_multiple_of(dt_rank) {
        return Err(keys.error(
            "ssm.time_step_rank",
            &dt_rank,
            format!("a divisor of the {d_inner} channels"),
        ));
    }
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let ffn = FfnSpec { gate: Gate::Halves, ..FfnSpec::default() };
    let embeddings = Embeddings::load(loader, hparams)?;
    let output = Output::load(loader, hparams, &OutputSpec::default())?;
    let factors = RopeFactors::none();
    Transformer::load(loader, hparams, embeddings, output, |loader, il| {
        let shape = &hparams.layers[il];
        let mixer: Box<dyn Block> = if shape.n_head_kv == 0 {
            Box::new(Scan::load(loader, hparams, il)?)
        } else {
            let spec = AttentionSpec {
                projections: Projections::Fused,
                qkv_bias: Bias::Never,
                qkv_scales: false,
                qk_norm: QkNorm::PerHead(Bias::Never),
                scale: Scale::Factor(1.0 / (shape.n_embd_head_v as f32).sqrt()),
                ..AttentionSpec::default()
            };
            Box::new(Attention::load(loader, hparams, il, &factors, &spec)?)
        };
        let ffn = Box::new(Ffn::load(loader, hparams, il, &ffn)?);
        let ne = [hparams.n_embd];
        let attn_norm = Some(Norm::of_layer(loader, hparams, il, "attn_norm", Bias::Never)?);
        let ffn_norm = Some(Norm::of_layer(loader, hparams, il, "ffn_norm", Bias::Never)?);
        let attn_post_norm = Some(Norm::bare(loader, hparams, &block(il, "post_attention_norm"), &ne)?);
        let ffn_post_norm = Some(Norm::bare(loader, hparams, &block(il, "post_ffw_norm"), &ne)?);
        let layer = Layer::of(il, Some(mixer), ffn);
        Ok(Layer { attn_norm, attn_post_norm, ffn_norm, ffn_post_norm, ..layer })
    })
}

/// The state space model of a layer.
#[derive(Debug)]
struct Scan {
    il: usize,
    ssm: Ssm,
    /// For each head its gates, then its channels.
    input: Linear,
    conv: Conv,
    /// To what states take in, how they are read, and steps of low rank.
    x: Linear,
    /// Of these, in the same order.
    norms: [Norm; 3],
    dt: Linear,
    a: Weight,
    d: Weight,
    output: Linear,
}

impl Scan {
    fn load(loader: &mut Loader<'_>, hparams: &Hparams, il: usize) -> Result<Scan, Error> {
        let (ssm, n_embd) = (hparams.ssm, hparams.n_embd);
        let Ssm { d_conv, d_inner, d_state, dt_rank: n_head, .. } = ssm;
        let n_low = (n_embd / 16).max(64);
        let name = |name: &str| block(il, name);
        let mut norm = |part: &str, n| Norm::bare(loader, hparams, &name(part), &[n]);
        let norms = [norm("ssm_b_norm", d_state)?, norm("ssm_c_norm", d_state)?, norm("ssm_dt_norm", n_low)?];
        let mut linear =
            |part: &str, ne, bias| Linear::load(loader, &name(part), ne, bias).map(Linear::unscaled);
        let input = linear("ssm_in", [n_embd, 2 * d_inner], Bias::Never)?;
        let x = linear("ssm_x", [d_inner, n_low + 2 * d_state], Bias::Never)?;
        let dt = linear("ssm_dt", [n_low, n_head], Bias::Required)?;
        let output = linear("ssm_out", [d_inner, n_embd], Bias::Never)?;
        let conv = Conv::load(loader, il, [d_conv, d_inner], Bias::Never)?;
        let a = loader.require(&name("ssm_a"), &[n_head], Elementwise)?;
        let d = loader.require(&name("ssm_d"), &[n_head], Elementwise)?;
        Ok(Scan { il, ssm, input, conv, x, norms, dt, a, d, output })
    }
}

impl Block for Scan {
    fn forward(&self, b: &mut Builder<'_>, x: TensorId) -> Result<TensorId, Error> {
        let Ssm { d_inner, d_state, dt_rank: n_head, .. } = self.ssm;
        let head_size = self.ssm.head_size();
        let x = b.by_sequence(x)?;
        let zx = self.input.forward(b, x)?;
        let [_, n_seq_tokens, n_seqs, _] = b.graph[zx].ne;
        // The reference turns rows of several sequences around here; one sequence is the same either way.
        let zx = b.graph.reshape(zx, [2 * head_size, n_head, n_seq_tokens, n_seqs])?;
        let (nb, half) = (b.graph[zx].nb, [head_size, n_head, n_seq_tokens, n_seqs]);
        let x = b.graph.view(zx, half, [nb[1], nb[2], nb[3]], head_size * size_of::<f32>())?;
        let x = b.graph.cont(x)?;
        let x = b.graph.reshape(x, [d_inner, n_seq_tokens, n_seqs, 1])?;
        let z = b.graph.view(zx, half, [nb[1], nb[2], nb[3]], 0)?;
        let convolved = self.conv.forward(b, x)?;
        let low = self.x.forward(b, convolved)?;
        let n_low = b.graph[low].ne[0] - 2 * d_state;
        let taken = parts(b, low, 0, [d_state, 1])?;
        let read = parts(b, low, d_state, [d_state, 1])?;
        let dt = columns(b, low, 2 * d_state, n_low)?;
        let [of_taken, of_read, of_dt] = &self.norms;
        let taken = of_taken.forward(b, taken)?;
        let read = of_read.forward(b, read)?;
        let dt = of_dt.forward(b, dt)?;
        let dt = self.dt.forward(b, dt)?;
        let a = b.weight(&self.a)?;
        let a = b.graph.reshape(a, [1, n_head, 1, 1])?;
        let x = parts(b, convolved, 0, [head_size, n_head])?;
        let y = scan(b, self.il, &self.ssm, SsmScan { s: x, x, dt, a, b: taken, c: read, ids: x })?;
        let d = b.weight(&self.d)?;
        let d = b.graph.reshape(d, [1, n_head, 1, 1])?;
        let past = b.graph.mul(x, d)?;
        let y = b.graph.add(y, past)?;
        let z = b.graph.cont(z)?;
        let y = b.graph.glu(GluOp::Swiglu, z, y)?;
        let y = b.graph.reshape(y, [d_inner, n_seq_tokens, n_seqs, 1])?;
        let out = self.output.forward(b, y)?;
        b.in_a_row(out)
    }

    fn memory(&self) -> LayerMemory {
        let n_embd_s = self.ssm.d_state * self.ssm.d_inner;
        LayerMemory::Recurrent(RecurrentShape { n_embd_r: self.conv.n_kept(), n_embd_s })
    }
}

fn size_class(size: &SizeFacts) -> &'static str {
    match (size.n_layer, size.n_embd) {
        (16, _) => "1B",
        (32, 2048) => "2B",
        (32, 4096) => "8B",
        _ => UNKNOWN_SIZE,
    }
}
