//! What the files of an architecture hold, as far as toys vary it.

use super::Arch;

/// Kinds of norms, and where they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Norms {
    /// Root mean square, before each block.
    Rms,
    /// Mean and variance with a bias, before each block.
    Layer,
    /// Root mean square, behind each block.
    Behind,
    /// Root mean square, before and behind each block.
    Both,
}

/// Norms on queries and keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QkNorm {
    None,
    /// One weight for all heads.
    Head,
    /// A weight for each head.
    PerHead,
    /// Over all heads together.
    Whole,
}

/// The feed-forward network's matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ffn {
    /// Gate, up, down.
    Gated,
    /// Up, down.
    Plain,
    /// Gate and up in one, down.
    Halves,
}

/// The tensors of an architecture's layers, and its numbers.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools)] // independent facts about files
pub(super) struct Recipe {
    /// `general.architecture`.
    pub name: &'static str,
    pub norms: Norms,
    /// Queries, keys and values in one matrix.
    pub fused: bool,
    pub qkv_bias: bool,
    pub qk_norm: QkNorm,
    pub out_bias: bool,
    pub ffn: Ffn,
    pub ffn_bias: bool,
    /// Positions are learned.
    pub learned: bool,
    /// The graph multiplies embeddings by the root of their width.
    pub scales_embeddings: bool,
    /// Sharper than the first toys, whose bytes are recorded: scores, logits, norms and biases that matter.
    pub sharp: bool,
}

const BASE: Recipe = Recipe {
    name: "",
    norms: Norms::Rms,
    fused: false,
    qkv_bias: false,
    qk_norm: QkNorm::None,
    out_bias: false,
    ffn: Ffn::Gated,
    ffn_bias: false,
    learned: false,
    scales_embeddings: false,
    sharp: true,
};

impl Arch {
    /// Its files.
    pub(super) fn recipe(self) -> Recipe {
        match self {
            Arch::Llama => Recipe { name: "llama", sharp: false, ..BASE },
            Arch::Qwen2 => Recipe { name: "qwen2", qkv_bias: true, sharp: false, ..BASE },
            Arch::Qwen3 => Recipe { name: "qwen3", qk_norm: QkNorm::Head, sharp: false, ..BASE },
            Arch::Gpt2 => Recipe {
                name: "gpt2",
                norms: Norms::Layer,
                fused: true,
                qkv_bias: true,
                out_bias: true,
                ffn: Ffn::Plain,
                ffn_bias: true,
                learned: true,
                sharp: false,
                ..BASE
            },
            Arch::Phi3 => Recipe { name: "phi3", fused: true, qkv_bias: true, ffn: Ffn::Halves, ..BASE },
            Arch::Phi3Separate => Recipe { name: "phi3", ffn: Ffn::Halves, ..BASE },
            Arch::Gemma => Recipe { name: "gemma", scales_embeddings: true, ..BASE },
            Arch::Gemma2 => Recipe { name: "gemma2", norms: Norms::Both, scales_embeddings: true, ..BASE },
            Arch::Gemma3 => Recipe {
                name: "gemma3",
                norms: Norms::Both,
                qk_norm: QkNorm::Head,
                scales_embeddings: true,
                ..BASE
            },
            Arch::Stablelm => Recipe { name: "stablelm", norms: Norms::Layer, qkv_bias: true, ..BASE },
            Arch::StablelmParallel => {
                Recipe { name: "stablelm", norms: Norms::Layer, qk_norm: QkNorm::PerHead, ..BASE }
            }
            Arch::Olmo2 => Recipe { name: "olmo2", norms: Norms::Behind, qk_norm: QkNorm::Whole, ..BASE },
            Arch::Starcoder2 => Recipe {
                name: "starcoder2",
                norms: Norms::Layer,
                qkv_bias: true,
                out_bias: true,
                ffn: Ffn::Plain,
                ffn_bias: true,
                ..BASE
            },
        }
    }

    /// Both blocks of a layer read the same rows: there is one norm.
    pub(super) fn is_parallel(self) -> bool {
        self == Arch::StablelmParallel
    }
}
