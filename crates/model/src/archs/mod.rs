//! One file per architecture: which metadata, which tensors, which graph.

mod dense;
mod gpt2;
mod llama;
mod qwen2;
mod qwen3;

use quipu_gguf::Metadata;

use crate::build::Builder;
use crate::error::Error;
use crate::hparams::Hparams;
use crate::loader::Loader;
use crate::model::BuiltGraph;
use crate::weights::Weights;

/// What a file in this directory provides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Architecture {
    /// `general.architecture`.
    pub name: &'static str,
    /// Reads and checks the metadata.
    pub hparams: fn(&Metadata) -> Result<Hparams, Error>,
    /// Asks the loader for every tensor.
    pub weights: fn(&mut Loader<'_>, &Hparams) -> Result<Weights, Error>,
    /// Builds the graph of a ubatch.
    pub graph: fn(Builder<'_>) -> Result<BuiltGraph, Error>,
}

const TABLE: [Architecture; 4] = [gpt2::ARCH, llama::ARCH, qwen2::ARCH, qwen3::ARCH];

/// Names of the architectures this crate runs, as they stand in `general.architecture`.
pub const ARCHITECTURES: [&str; 4] = [TABLE[0].name, TABLE[1].name, TABLE[2].name, TABLE[3].name];

/// The architecture of that name.
pub(crate) fn find(name: &str) -> Result<Architecture, Error> {
    TABLE.into_iter().find(|arch| arch.name == name).ok_or_else(|| Error::UnknownArchitecture {
        found: name.to_owned(),
        expected: ARCHITECTURES.join(", "),
    })
}
