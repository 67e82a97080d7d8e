//! CPU backend: thread pool, kernels per ISA behind runtime dispatch, every op of a graph.
//!
//! Counterpart of `ggml-cpu`. [`CpuDevice`] describes the processor and gives out memory and
//! [`CpuBackend`]s, which check a graph and resolve its tensors to pointers once
//! ([`Backend::prepare`](quipu_backend::Backend::prepare)), and run it on the device's [`pool`]. Matrix products ([`matmul`]) know nothing of graphs:
//! they take pointers, shapes and strides.
//!
//! A matrix product, its memory planned and its node run by the scheduler:
//!
//! ```
//! use quipu_backend::{BufferTable, Device, Scheduler};
//! use quipu_cpu_backend::CpuDevice;
//! use quipu_graph::{DType, Graph};
//!
//! let mut graph = Graph::new();
//! let weights = graph.input("weights", DType::F32, [2, 3, 1, 1])?; // three rows of two
//! let x = graph.input("x", DType::F32, [2, 1, 1, 1])?;
//! let product = graph.mul_mat(weights, x)?;
//! graph.set_output(product);
//! graph.build_forward_expand(product);
//!
//! let mut scheduler = Scheduler::new(vec![CpuDevice::default().backend(2)?])?; // two threads
//! let mut buffers = BufferTable::new();
//! scheduler.alloc_graph(&mut graph, &mut buffers)?;
//! let bytes = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
//! buffers.write_tensor(&graph[weights], &bytes(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))?;
//! buffers.write_tensor(&graph[x], &bytes(&[10.0, 1.0]))?;
//! scheduler.compute(&graph, &mut buffers, None)?;
//!
//! let mut found = vec![0; graph[product].n_bytes()];
//! buffers.read_tensor(&graph[product], 0, &mut found)?;
//! assert_eq!(found, bytes(&[12.0, 34.0, 56.0]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod backend;
mod buffer;
mod check;
mod device;
pub mod isa;
pub mod matmul;
mod ops;
mod pace;
mod plan;
pub mod pool;
pub mod quantize;
mod sync;
mod vec;

pub use backend::CpuBackend;
pub use buffer::{ALIGNMENT, CpuBuffer, CpuBufferType, HostBuffer};
pub use device::{CpuDevice, CpuOptions};
