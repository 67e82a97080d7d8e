//! The matrix that rotates keys and values, as an input of a graph.

use quipu_backend::BufferTable;
use quipu_graph::{DType, Graph, TensorId};

use crate::input::write_input;
use crate::{Error, GraphInput, GraphShape, InputSource};

/// The orthonormal Walsh-Hadamard matrix of `n` rows, a power of two (`ggml_gen_hadamard`).
fn hadamard(n: usize) -> Vec<f32> {
    let scale = 1.0 / (n as f32).sqrt();
    let sign = |i: usize, j: usize| if (i & j).count_ones().is_multiple_of(2) { scale } else { -scale };
    (0..n * n).map(|k| sign(k / n, k % n)).collect()
}

/// The matrix as an input of a graph.
#[derive(Debug)]
pub struct Rotation {
    matrix: TensorId,
    n: usize,
    values: Vec<f32>,
}

impl Rotation {
    /// Adds the matrix of `n` rows to a graph: f32 `[n, n]`.
    pub fn new(graph: &mut Graph, name: &str, n: usize) -> Result<Rotation, Error> {
        Ok(Rotation { matrix: graph.input(name, DType::F32, [n, n, 1, 1])?, n, values: hadamard(n) })
    }

    /// The matrix.
    pub fn matrix(&self) -> TensorId {
        self.matrix
    }
}

impl GraphInput for Rotation {
    fn set(&mut self, graph: &Graph, _: &InputSource<'_>, buffers: &mut BufferTable) -> Result<(), Error> {
        debug_assert_eq!(self.values.len(), self.n * self.n);
        write_input(graph, self.matrix, &self.values, buffers)
    }

    fn can_reuse(&self, _: &GraphShape) -> bool {
        true
    }
}

/// Rotates each piece of `x`'s rows that is as long as `matrix` (`llama_mul_mat_hadamard`).
pub fn rotate(graph: &mut Graph, matrix: TensorId, x: TensorId) -> Result<TensorId, Error> {
    let (n, ne) = (graph[matrix].ne[0], graph[x].ne);
    let whole = if graph[x].is_contiguous() { x } else { graph.cont(x)? };
    let pieces = graph.reshape(whole, [n, ne.iter().product::<usize>() / n, 1, 1])?;
    let rotated = graph.mul_mat(matrix, pieces)?;
    Ok(graph.reshape(rotated, ne)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_matrix_is_its_own_inverse() {
        let n = 128;
        let m = hadamard(n);
        for (i, j) in [(0, 0), (3, 3), (5, 9), (127, 127), (64, 1)] {
            let product: f32 = (0..n).map(|k| m[i * n + k] * m[k * n + j]).sum();
            assert!((product - if i == j { 1.0 } else { 0.0 }).abs() < 1e-5, "{i} {j}: {product}");
        }
    }
}
