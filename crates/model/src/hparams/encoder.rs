//! What files of encoders and encoder-decoders say that others do not.

use super::Keys;
use crate::error::Error;

/// Numbers that only encoders, rerankers and encoder-decoders have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EncoderHparams {
    /// Kinds of tokens, the first of which all tokens are (`tokenizer.ggml.token_type_count`).
    pub n_token_types: usize,
    /// Scores of a reranker or classifier for each text, one for each label (`n_cls_out`).
    pub n_labels: usize,
    /// The feed-forward networks' activation by name, where the file says it.
    pub activation: Option<String>,
    /// Each such number of layers ends with one that has experts; 0: none has (`moe_every_n_layers`).
    pub moe_period: usize,
    /// Widths of the two matrices behind the pooled rows, in and out; 0: there is none (`dense_2_feat_in` and its kin).
    pub dense: [[usize; 2]; 2],
    /// Classes of distances between tokens that have a bias each (`n_rel_attn_bkts`).
    pub n_buckets: usize,
    /// Layers of the encoder, where there is a decoder too; [`super::Hparams::layers`] has the longer ones.
    pub n_layer_encoder: usize,
    /// Layers of the decoder behind an encoder; 0: there is none (`dec_n_layer`).
    pub n_layer_decoder: usize,
    /// The token that a decoder begins with, if the file names it.
    pub decoder_start: Option<u32>,
}

impl EncoderHparams {
    /// Reads what all architectures have a meaning for.
    pub(super) fn read(keys: &Keys<'_>) -> Result<EncoderHparams, Error> {
        const LABELS: &str = "classifier.output_labels";
        let key = keys.key(LABELS);
        let n_labels = match keys.metadata.get(&key) {
            None => 0,
            Some(_) => keys.metadata.strings(&key)?.len(),
        };
        let n_token_types: Option<u32> = keys.metadata.optional("tokenizer.ggml.token_type_count")?;
        Ok(EncoderHparams {
            n_token_types: n_token_types.unwrap_or(0) as usize,
            n_labels: n_labels.max(1),
            ..EncoderHparams::default()
        })
    }
}
