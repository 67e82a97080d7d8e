//! What the files of small models hold: words for tensors, and keys.
//!
//! A word is a tensor's name without `blk.N.` and `.weight`; `+` behind it adds a bias, `:` and letters give a shape where the name
//! alone does not (`E` width, `Q` all query heads, `K` all key heads, `D` a head, `H` and `J` their numbers, `F` feed-forward width,
//! `X` experts, `M` and `S` widths of an expert and of what is beside them), `!` in front says that the name is the whole name, `enc/`
//! or `dec/` that the layer is an encoder's or a decoder's.

use crate::encoders::Seen;

/// A value of a key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value {
    U(u32),
    F(f32),
    B(bool),
    /// One number for each layer.
    A(&'static [u32]),
    /// The same, with fractions.
    N(&'static [f32]),
    T(&'static str),
    /// Some texts.
    S(&'static [&'static str]),
}

/// A key (after the architecture, unless `!` is in front) beside those that all models have, and a value that takes its effect away, if it is to be tried without.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub name: &'static str,
    pub value: Value,
    pub neutral: Option<Value>,
}

/// A key that stays.
pub(super) const fn key(name: &'static str, value: Value) -> Key {
    Key { name, value, neutral: None }
}

/// A key whose effect must show.
pub(super) const fn live(name: &'static str, value: Value, neutral: Value) -> Key {
    Key { name, value, neutral: Some(neutral) }
}

/// A small model of an architecture.
#[derive(Clone, Copy, Debug)]
pub struct Small {
    /// Its name: the architecture's, and what is special about it.
    pub name: &'static str,
    /// `general.architecture`.
    pub arch: &'static str,
    pub(super) n_layer: usize,
    pub(super) n_head_kv: usize,
    pub(super) head_size: usize,
    pub(super) n_rot: usize,
    pub(super) n_ff_exp: usize,
    /// Rotary positions can be taken away.
    pub(super) rotates: bool,
    /// Standard deviation of the embeddings.
    pub(super) embd: f32,
    pub(super) keys: &'static [Key],
    /// Tensors outside of layers, besides the embeddings.
    pub(super) top: &'static str,
    /// Tensors of each layer.
    pub(super) layer: &'static [&'static str],
    /// Tensors of the first layers instead, and how many these are.
    pub(super) lead: (usize, &'static [&'static str]),
    /// Layers, by number, that hold other tensors than the rest.
    pub(super) special: &'static [(usize, &'static [&'static str])],
    /// What of it is compared.
    pub seen: Seen,
}

/// A model with these tensors in each layer: grouped queries, whole heads rotated, an output matrix of its own.
pub(super) const fn small(arch: &'static str, layer: &'static [&'static str]) -> Small {
    Small {
        name: arch,
        arch,
        n_layer: 2,
        n_head_kv: 2,
        head_size: 32,
        n_rot: 32,
        n_ff_exp: 96,
        rotates: true,
        embd: 1.0,
        keys: &[],
        top: "output_norm output",
        layer,
        lead: (0, &[]),
        special: &[],
        seen: Seen::Logits,
    }
}

impl Small {
    pub(super) const fn named(self, name: &'static str) -> Small {
        Small { name, ..self }
    }

    pub(super) const fn keys(self, keys: &'static [Key]) -> Small {
        Small { keys, ..self }
    }

    pub(super) const fn top(self, top: &'static str) -> Small {
        Small { top, ..self }
    }

    /// As many key heads as query heads.
    pub(super) const fn ungrouped(self) -> Small {
        Small { n_head_kv: 4, ..self }
    }

    /// Heads rotated in part.
    pub(super) const fn rotating(self, n_rot: usize) -> Small {
        Small { n_rot, ..self }
    }

    /// Without rotary positions.
    pub(super) const fn still(self) -> Small {
        Small { rotates: false, ..self }
    }

    pub(super) const fn layers(self, n_layer: usize) -> Small {
        Small { n_layer, ..self }
    }

    /// As many layers as tell such models apart; narrow ones.
    pub(super) const fn deep(self, n_layer: usize) -> Small {
        Small { n_layer, head_size: 16, n_rot: 16, ..self }
    }

    /// Experts as wide as the layer.
    pub(super) const fn wide_experts(self) -> Small {
        Small { n_ff_exp: 192, ..self }
    }

    pub(super) const fn lead(self, n: usize, words: &'static [&'static str]) -> Small {
        Small { lead: (n, words), ..self }
    }

    pub(super) const fn special(self, special: &'static [(usize, &'static [&'static str])]) -> Small {
        Small { special, ..self }
    }

    /// Something else than logits is compared.
    pub(super) const fn seen(self, seen: Seen) -> Small {
        Small { seen, ..self }
    }

    /// Embeddings of that size, where the graph multiplies them.
    pub(super) const fn embeddings(self, embd: f32) -> Small {
        Small { embd, ..self }
    }
}
