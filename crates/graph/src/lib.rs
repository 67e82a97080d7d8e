//! Tensor descriptors, ops and compute graphs: what is computed, never how or where.
//!
//! Counterpart of the descriptor half of `ggml.c`: four dimensions, byte strides, views, and a graph of
//! nodes in evaluation order. A tensor carries a [`Storage`]: a plain (buffer number, offset) pair that
//! the memory planner or the owner of a weight fills in. Buffers themselves, kernels and planning live in
//! `quipu-backend`, `quipu-cpu-backend` and `quipu-alloc`.
//!
//! Shapes are ggml's: `ne[0]` is the innermost dimension, and `mul_mat(a, b)` multiplies every row of `b`
//! with every row of `a` (`C^T = A B^T`).
//!
//! ```
//! use quipu_graph::{DType, Graph};
//!
//! let mut graph = Graph::new();
//! let weights = graph.leaf("w", DType::F32, [8, 3, 1, 1])?;
//! let tokens = graph.input("x", DType::F32, [8, 2, 1, 1])?;
//! let product = graph.mul_mat(weights, tokens)?;
//! graph.set_output(product);
//! graph.build_forward_expand(product);
//! assert_eq!(graph[product].ne, [3, 2, 1, 1]);
//! # Ok::<(), quipu_graph::Error>(())
//! ```
#![forbid(unsafe_code)]

mod build;
mod dump;
mod error;
mod graph;
mod ops;
mod raw;
mod tensor;

pub use error::Error;
pub use graph::Graph;
pub use ops::{
    Broken, Form, GluOp, MAX_SRC, Op, OpRule, Outcome, RULES, RopeAngles, RopeMode, RopeParams, SortOrder,
    SsmScan, UnaryOp,
};
pub use quipu_quant::DType;
pub use raw::{RawGraph, RawTensor};
pub use tensor::{BufferId, Flags, MAX_DIMS, Storage, Tensor, TensorId, View};
