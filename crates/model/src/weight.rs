//! A weight as blocks see it: name, shape and place.

use quipu_graph::{DType, Storage};

/// A weight in memory.
#[derive(Clone, Debug)]
pub(crate) struct Weight {
    pub name: String,
    pub dtype: DType,
    pub ne: [usize; 4],
    pub storage: Storage,
}
