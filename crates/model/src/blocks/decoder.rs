//! Decoders as most families have them: one kind of attention and one kind of feed-forward network in every layer.

use super::{
    Attention, AttentionSpec, Bias, Block, Embeddings, Ffn, FfnSpec, Layer, Moe, MoeSpec, Network, Norm,
    Output, OutputSpec, Residual, RopeFactors, Transformer,
};
use crate::error::Error;
use crate::hparams::Hparams;
use crate::loader::{Loader, block};

/// Divisors of rotary frequencies that an architecture's files may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Factors {
    None,
    /// One set.
    One,
    /// One set, or two by context length where the file's scaling says so.
    ByScaling,
    /// Two sets by context length.
    ByLength,
    /// Taken from the file and left out of the graph.
    Unused,
}

/// Where the norms of the residual stream stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Norms {
    /// Before each block, with these names; `None`: the feed-forward block has none.
    Before(&'static str, Option<&'static str>),
    /// Before each block, without weights.
    Weightless,
    /// Behind each block (`post_attention_norm`, `post_ffw_norm`).
    Behind,
    /// Before and behind each block.
    Around,
}

/// What a decoder is made of. The default is llama's: norms of root mean squares before both blocks, SwiGLU.
#[derive(Clone, Debug)]
pub(crate) struct Decoder {
    pub norms: Norms,
    pub norm_bias: Bias,
    pub factors: Factors,
    pub attention: AttentionSpec,
    pub residual: Residual,
    pub residual_scale: Option<f32>,
    pub ffn: FfnSpec,
    /// Experts, and in which layers: those from this number on that stand at the last place of each period.
    pub moe: Option<(MoeSpec, MoeLayers)>,
    pub output: OutputSpec,
}

/// Which layers have experts: from `first` on the last one of every `period`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MoeLayers {
    pub first: usize,
    pub period: usize,
}

impl MoeLayers {
    /// Every layer.
    pub const ALL: MoeLayers = MoeLayers::from(0);

    /// Every layer from this one on.
    pub const fn from(first: usize) -> MoeLayers {
        MoeLayers { first, period: 1 }
    }

    /// Whether layer `il` has experts.
    pub fn contain(self, il: usize) -> bool {
        il >= self.first && (il + 1).is_multiple_of(self.period)
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Decoder {
            norms: Norms::Before("attn_norm", Some("ffn_norm")),
            norm_bias: Bias::Never,
            factors: Factors::None,
            attention: AttentionSpec::default(),
            residual: Residual::Sequential,
            residual_scale: None,
            ffn: FfnSpec::default(),
            moe: None,
            output: OutputSpec::default(),
        }
    }
}

impl Decoder {
    /// The decoder over plain embeddings.
    pub fn load(&self, loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
        let embeddings = Embeddings::load(loader, hparams)?;
        self.load_behind(loader, hparams, embeddings)
    }

    /// The decoder over these embeddings.
    pub fn load_behind(
        &self,
        loader: &mut Loader<'_>,
        hparams: &Hparams,
        embeddings: Embeddings,
    ) -> Result<Box<dyn Network>, Error> {
        let output = Output::load(loader, hparams, &self.output)?;
        let factors = self.factors(loader, hparams)?;
        Transformer::load(loader, hparams, embeddings, output, |loader, il| {
            let attention = Attention::load(loader, hparams, il, &factors, &self.attention)?;
            let ffn = self.load_ffn(loader, hparams, il)?;
            self.layer(loader, hparams, il, attention, ffn)
        })
    }

    /// The rotary factors.
    pub fn factors(
        &self,
        loader: &mut Loader<'_>,
        hparams: &Hparams,
    ) -> Result<std::sync::Arc<RopeFactors>, Error> {
        match self.factors {
            Factors::None => Ok(RopeFactors::none()),
            Factors::One => RopeFactors::one(loader, hparams),
            Factors::ByScaling => RopeFactors::by_scaling(loader, hparams),
            Factors::ByLength => RopeFactors::by_length(loader, hparams),
            Factors::Unused => RopeFactors::unused(loader, hparams),
        }
    }

    /// The feed-forward block of layer `il`: experts where there are some.
    pub fn load_ffn(
        &self,
        loader: &mut Loader<'_>,
        hparams: &Hparams,
        il: usize,
    ) -> Result<Box<dyn Block>, Error> {
        match &self.moe {
            Some((moe, layers)) if layers.contain(il) => Ok(Box::new(Moe::load(loader, hparams, il, moe)?)),
            _ => Ok(Box::new(Ffn::load(loader, hparams, il, &self.ffn)?)),
        }
    }

    /// The feed-forward block of layer `il`: experts where it has a router.
    pub fn load_ffn_by_router(
        &self,
        loader: &mut Loader<'_>,
        hparams: &Hparams,
        il: usize,
        moe: &MoeSpec,
    ) -> Result<Box<dyn Block>, Error> {
        if !loader.has(&block(il, "ffn_gate_inp.weight")) {
            return Ok(Box::new(Ffn::load(loader, hparams, il, &self.ffn)?));
        }
        for part in ["ffn_gate", "ffn_up", "ffn_down"] {
            for rest in ["weight", "scale", "input_scale"] {
                loader.ignore(&block(il, &format!("{part}.{rest}")));
            }
        }
        Ok(Box::new(Moe::load(loader, hparams, il, moe)?))
    }

    /// Layer `il` around two blocks.
    pub fn layer(
        &self,
        loader: &mut Loader<'_>,
        hparams: &Hparams,
        il: usize,
        mixer: impl Block + 'static,
        ffn: Box<dyn Block>,
    ) -> Result<Layer, Error> {
        let mut norm =
            |name| Norm::load(loader, hparams, &block(il, name), &[hparams.n_embd], self.norm_bias).map(Some);
        let mut layer = Layer::of(il, Some(Box::new(mixer)), ffn);
        layer.residual = self.residual;
        layer.residual_scale = self.residual_scale;
        match self.norms {
            Norms::Before(attn, ffn) => {
                layer.attn_norm = norm(attn)?;
                layer.ffn_norm = ffn.map_or(Ok(None), norm)?;
            }
            Norms::Weightless => {
                layer.attn_norm = Some(Norm::weightless(hparams));
                layer.ffn_norm = Some(Norm::weightless(hparams));
            }
            Norms::Behind => {
                layer.attn_post_norm = norm("post_attention_norm")?;
                layer.ffn_post_norm = norm("post_ffw_norm")?;
            }
            Norms::Around => {
                layer.attn_norm = norm("attn_norm")?;
                layer.attn_post_norm = norm("post_attention_norm")?;
                layer.ffn_norm = norm("ffn_norm")?;
                layer.ffn_post_norm = norm("post_ffw_norm")?;
            }
        }
        Ok(layer)
    }
}
