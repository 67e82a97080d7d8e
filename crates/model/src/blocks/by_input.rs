//! A block for tokens beside one for rows that come as embeddings.

use quipu_graph::TensorId;

use super::{Block, KeyRotation};
use crate::build::Builder;
use crate::error::Error;
use crate::memory::LayerMemory;

/// One block for tokens and another for rows that come as embeddings, of images.
#[derive(Debug)]
pub(crate) struct ByInput {
    pub tokens: Box<dyn Block>,
    pub rows: Box<dyn Block>,
}

impl Block for ByInput {
    fn forward(&self, b: &mut Builder<'_>, x: TensorId) -> Result<TensorId, Error> {
        if b.is_from_embeddings() { self.rows.forward(b, x) } else { self.tokens.forward(b, x) }
    }

    fn memory(&self) -> LayerMemory {
        self.tokens.memory()
    }

    fn key_rotation(&self) -> Option<KeyRotation<'_>> {
        self.tokens.key_rotation()
    }
}
