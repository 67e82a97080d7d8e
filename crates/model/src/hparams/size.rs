//! What tells the models of an architecture apart by size.

use super::Hparams;

/// The numbers that decide a model's size class. Models that are loaded have them, and so does the metadata of files that are only
/// quantised. Heads are those of the first layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_field_names)] // the reference's names
pub(crate) struct SizeFacts {
    pub n_layer: usize,
    pub n_embd: usize,
    pub n_vocab: usize,
    pub n_head: usize,
    pub n_head_kv: usize,
    pub n_expert: usize,
    pub n_ff: usize,
    /// Width of each expert (`expert_feed_forward_length`); 0 if the file does not say.
    pub n_ff_exp: usize,
}

impl From<&Hparams> for SizeFacts {
    fn from(hparams: &Hparams) -> SizeFacts {
        let first = hparams.layers.first();
        SizeFacts {
            n_layer: hparams.layers.len(),
            n_embd: hparams.n_embd,
            n_vocab: hparams.n_vocab,
            n_head: first.map_or(0, |layer| layer.n_head),
            n_head_kv: first.map_or(0, |layer| layer.n_head_kv),
            n_expert: hparams.experts.n,
            n_ff: first.map_or(0, |layer| layer.n_ff),
            n_ff_exp: hparams.experts.n_ff,
        }
    }
}
