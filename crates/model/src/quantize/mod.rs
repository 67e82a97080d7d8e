//! Quantising model files: which tensor becomes what, and the writing of the new file.
//!
//! Answers to `llama-quant.cpp`; the file written is byte for byte llama-quantize's. The arithmetic on rows
//! lives in `quipu-quant`, the container in `quipu-gguf`; here are the choice of types ([`FileType`] and the
//! mixtures behind it), importance matrices, and the parallel run over a file. Any architecture can be
//! quantised: nothing but metadata and tensor names is looked at.

mod error;
mod facts;
mod file_type;
mod imatrix;
mod layers;
mod plan;
mod policy;
mod rows;
mod write;

use std::collections::{BTreeMap, BTreeSet};

use quipu_gguf::{MetadataOverride, OverrideValue};
use quipu_quant::DType;

pub use error::Error;
pub use file_type::{FileType, GUESSED};
pub use imatrix::{Imatrix, ImatrixEntry};
pub use plan::{QuantizePlan, TensorPlan, plan};
pub use write::quantize;

/// How to quantise (`llama_model_quantize_params`).
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(clippy::struct_excessive_bools)] // switches of a command line
pub struct QuantizeParams {
    /// The mixture to make.
    pub file_type: FileType,
    /// Threads; 0 = one for each core.
    pub n_threads: usize,
    /// Type of `output.weight`, whatever the mixture says.
    pub output_tensor_type: Option<DType>,
    /// Type of the token embeddings, whatever the mixture says.
    pub token_embedding_type: Option<DType>,
    /// Types of the tensors whose names match a pattern (a regular expression, found anywhere); the first match
    /// counts.
    pub tensor_types: Vec<(String, DType)>,
    /// Allow tensors that are quantised already, at a loss.
    pub allow_requantize: bool,
    /// Leave `output.weight` as it is.
    pub leave_output_tensor: bool,
    /// Change no tensor, only metadata.
    pub only_copy: bool,
    /// One type for all tensors instead of a mixture.
    pub pure: bool,
    /// Write as many files as there are in the set read.
    pub keep_split: bool,
    /// Layers to leave out.
    pub prune_layers: BTreeSet<u32>,
    /// Weights of the columns, by tensor name ([`Imatrix::column_weights`]).
    pub imatrix: Option<BTreeMap<String, Vec<f32>>>,
    /// Metadata to set.
    pub overrides: Vec<MetadataOverride>,
}

impl QuantizeParams {
    /// Takes the weights of `imatrix`, read from the file `path`, and notes them in the new file's metadata.
    /// Only tensors whose names contain one of `include` (all if it is empty) and none of `exclude` get them.
    /// Answers to `prepare_imatrix` of llama-quantize.
    pub fn set_imatrix(&mut self, imatrix: &Imatrix, path: &str, include: &[String], exclude: &[String]) {
        let mut weights = imatrix.column_weights();
        let named = |parts: &[String], name: &str| parts.iter().any(|part| name.contains(part.as_str()));
        weights.retain(|name, _| !named(exclude, name) && (include.is_empty() || named(include, name)));
        if weights.is_empty() {
            return;
        }
        let mut note = |key: &str, value: OverrideValue| {
            self.overrides.push(MetadataOverride { key: format!("quantize.imatrix.{key}"), value });
        };
        note("file", cut(path));
        if let Some(dataset) = imatrix.datasets.first() {
            note("dataset", cut(dataset));
        }
        note("entries_count", OverrideValue::Int(weights.len() as i64));
        if imatrix.chunk_count > 0 {
            note("chunks_count", OverrideValue::Int(i64::from(imatrix.chunk_count)));
        }
        self.imatrix = Some(weights);
    }
}

/// Text as the reference's overrides keep it: at most 127 bytes.
fn cut(text: &str) -> OverrideValue {
    const MAX: usize = 127;
    OverrideValue::Str(text[..text.floor_char_boundary(MAX)].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chosen_tensors_get_weights_and_the_file_is_noted() {
        let entry = || ImatrixEntry { sums: vec![2.0], counts: vec![2] };
        let entries = ["a.q", "a.k", "b.q"].map(|name| (name.to_owned(), entry()));
        let imatrix = Imatrix { entries: entries.into(), chunk_count: 3, ..Imatrix::default() };
        let mut params = QuantizeParams::default();
        params.set_imatrix(&imatrix, &"x".repeat(200), &["q".to_owned()], &["b".to_owned()]);
        assert_eq!(params.imatrix, Some(BTreeMap::from([("a.q".to_owned(), vec![1.0])])));
        let noted: Vec<&str> = params.overrides.iter().map(|o| o.key.as_str()).collect();
        let keys =
            ["quantize.imatrix.file", "quantize.imatrix.entries_count", "quantize.imatrix.chunks_count"];
        assert_eq!(noted, keys);
        assert_eq!(params.overrides[0].value, OverrideValue::Str("x".repeat(127)));
        let mut none = QuantizeParams::default();
        none.set_imatrix(&imatrix, "i", &["z".to_owned()], &[]);
        assert_eq!(none, QuantizeParams::default());
    }
}
