//! A graph as text, one line per tensor, for people and for diffs between two builds of a graph.

use std::fmt;

use crate::graph::Graph;
use crate::tensor::TensorId;

impl fmt::Display for Graph {
    /// Leaves first, then nodes in evaluation order: number, op, name, type, shape, operands
    /// (`ggml_graph_print`).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for id in self.leafs().iter().chain(self.nodes()) {
            line(f, self, *id)?;
        }
        Ok(())
    }
}

fn line(f: &mut fmt::Formatter<'_>, graph: &Graph, id: TensorId) -> fmt::Result {
    let tensor = &graph[id];
    write!(f, "{:>5} {:<14} {:<5} {:?}", id.index(), tensor.op.name(), tensor.dtype.name(), tensor.ne)?;
    if !tensor.name.is_empty() {
        write!(f, " {}", tensor.name)?;
    }
    for (i, src) in tensor.src.iter().enumerate() {
        write!(f, "{}{}", if i == 0 { " <- " } else { ", " }, src.index())?;
    }
    writeln!(f)
}
