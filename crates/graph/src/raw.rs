//! Graphs that come from outside: descriptors in, a checked graph out.
//!
//! The builder cannot make a wrong graph; whoever hands over descriptors (another library through a C interface, a file) can.
//! [`Graph::from_raw`] asks of them all that the builder promises: numbers that exist, sizes that fit, views inside roots that
//! are no views, operands before the nodes that read them, and each op's own rule.

use quipu_quant::DType;
use smallvec::SmallVec;

use crate::error::Error;
use crate::graph::Graph;
use crate::ops::{Broken, Form, MAX_SRC, Op, Outcome};
use crate::tensor::{Flags, MAX_DIMS, Storage, Tensor, TensorId, View};

/// A tensor as its owner describes it. Answers to `struct ggml_tensor`; tensors are named by their places in
/// [`RawGraph::tensors`].
#[derive(Clone, Debug, PartialEq)]
pub struct RawTensor {
    /// Its name, for messages.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Elements per dimension, innermost first.
    pub ne: [usize; MAX_DIMS],
    /// Bytes between neighbours per dimension.
    pub nb: [usize; MAX_DIMS],
    /// What computes it.
    pub op: Op,
    /// Operands, in ggml's order.
    pub src: Vec<u32>,
    /// The tensor whose bytes these are, and the offset in them.
    pub view: Option<(u32, usize)>,
    /// Input and output marks.
    pub flags: Flags,
    /// Where the bytes live; of views, the root's place counts.
    pub storage: Storage,
}

/// A graph as its owner describes it. Answers to `struct ggml_cgraph`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RawGraph {
    /// All tensors.
    pub tensors: Vec<RawTensor>,
    /// Places of the computed ones, in evaluation order.
    pub nodes: Vec<u32>,
    /// Places of those without an op that nodes depend on.
    pub leafs: Vec<u32>,
}

impl Graph {
    /// A graph of these descriptors, if they make one.
    ///
    /// # Errors
    /// [`Error::RawTensor`] and [`Error::RawOrder`] name the tensor or the entry of a list, and what was expected of it.
    pub fn from_raw(raw: &RawGraph) -> Result<Graph, Error> {
        if u32::try_from(raw.tensors.len()).is_err() {
            let found = format!("one of {} tensors", raw.tensors.len());
            return Err(raw_error(raw, 0, found, "at most 2^32 - 1 tensors"));
        }
        let tensors: Vec<Tensor> =
            (0..raw.tensors.len()).map(|i| tensor(raw, i)).collect::<Result<_, _>>()?;
        check_views(raw, &tensors)?;
        let (nodes, leafs) = check_order(raw, &tensors)?;
        let mut graph = Graph::from_parts(tensors, nodes, leafs);
        for index in 0..graph.tensors().len() {
            check_rule(raw, &graph, index)?;
        }
        graph.resolve_views();
        Ok(graph)
    }

    /// The descriptors of this graph: what [`Graph::from_raw`] makes it of.
    pub fn to_raw(&self) -> RawGraph {
        let number = |id: &TensorId| id.0;
        let tensors = self.tensors().iter().map(|t| RawTensor {
            name: t.name.clone(),
            dtype: t.dtype,
            ne: t.ne,
            nb: t.nb,
            op: t.op,
            src: t.src.iter().map(number).collect(),
            view: t.view.map(|view| (view.root.0, view.offset)),
            flags: t.flags,
            storage: t.storage,
        });
        RawGraph {
            tensors: tensors.collect(),
            nodes: self.nodes().iter().map(number).collect(),
            leafs: self.leafs().iter().map(number).collect(),
        }
    }
}

fn raw_error(raw: &RawGraph, index: usize, found: String, expected: &'static str) -> Error {
    let name = raw.tensors.get(index).map_or("", |t| if t.name.is_empty() { t.op.name() } else { &t.name });
    Error::RawTensor { index, name: name.to_owned(), found, expected }
}

/// The descriptor at `index`, looked at alone.
fn tensor(raw: &RawGraph, index: usize) -> Result<Tensor, Error> {
    let t = &raw.tensors[index];
    let fail = |found: String, expected| Err(raw_error(raw, index, found, expected));
    if t.src.len() > MAX_SRC {
        return fail(format!("{} operands", t.src.len()), "at most 10 operands");
    }
    if let Some(far) = t.src.iter().find(|src| **src as usize >= raw.tensors.len()) {
        return fail(format!("operand {far} of {} tensors", raw.tensors.len()), "operands that exist");
    }
    if let Some((root, _)) = t.view
        && root as usize >= raw.tensors.len()
    {
        return fail(format!("a view of {root} of {} tensors", raw.tensors.len()), "a root that exists");
    }
    let tensor = Tensor {
        name: t.name.clone(),
        dtype: t.dtype,
        ne: t.ne,
        nb: t.nb,
        op: t.op,
        src: t.src.iter().map(|src| TensorId(*src)).collect::<SmallVec<_>>(),
        view: t.view.map(|(root, offset)| View { root: TensorId(root), offset }),
        flags: t.flags,
        storage: t.storage,
    };
    let shape = || format!("shape {:?} with strides {:?} ({})", t.ne, t.nb, t.dtype);
    if !t.ne[0].is_multiple_of(t.dtype.block_len()) {
        return fail(shape(), "rows of whole blocks");
    }
    if t.dtype.block_len() > 1 && t.nb[0] != t.dtype.block_bytes() {
        return fail(shape(), "blocks side by side");
    }
    // Half of the range is left to planners that round up.
    let Some(len) = tensor.extent().filter(|len| *len < usize::MAX / 2) else {
        return fail(shape(), "a size in bytes that fits in 64 bits");
    };
    if let Some((_, offset)) = t.storage.location()
        && offset.checked_add(len).is_none_or(|end| end >= usize::MAX / 2)
    {
        return fail(format!("{len} bytes at offset {offset}"), "a place that fits in 64 bits");
    }
    Ok(tensor)
}

/// Views lie inside their roots, which are no views.
fn check_views(raw: &RawGraph, tensors: &[Tensor]) -> Result<(), Error> {
    for (index, t) in tensors.iter().enumerate() {
        let Some(View { root, offset }) = t.view else { continue };
        let owner = &tensors[root.index()];
        if owner.view.is_some() {
            let found = format!("a view of {}, itself a view", root.index());
            return Err(raw_error(raw, index, found, "a root that owns its bytes"));
        }
        let len = t.extent().unwrap_or(usize::MAX);
        if offset.checked_add(len).is_none_or(|end| end > owner.n_bytes()) {
            let found = format!("{len} bytes at {offset} of {} ({} bytes)", root.index(), owner.n_bytes());
            return Err(raw_error(raw, index, found, "a view inside its root"));
        }
    }
    Ok(())
}

/// What a tensor reads: its operands, and the root whose bytes it shares.
fn reads(t: &Tensor) -> impl Iterator<Item = TensorId> {
    t.src.iter().copied().chain(t.view.map(|view| view.root))
}

/// Nodes and leafs are listed once, each where it belongs, and all that a node reads comes before it.
fn check_order(raw: &RawGraph, tensors: &[Tensor]) -> Result<(Vec<TensorId>, Vec<TensorId>), Error> {
    let mut ready = vec![false; tensors.len()];
    let mut ids = |list: &'static str, numbers: &[u32], leafs: bool| {
        let mut ids = Vec::new();
        for (position, &tensor) in numbers.iter().enumerate() {
            let entry =
                |expected| Error::RawOrder { list, position, tensor, n_tensors: tensors.len(), expected };
            let index = tensor as usize;
            let t = tensors.get(index).ok_or_else(|| entry("a tensor that exists"))?;
            if (t.op == Op::None) != leafs {
                return Err(entry(if leafs { "a tensor without an op" } else { "a tensor with an op" }));
            }
            if ready[index] {
                return Err(entry("each tensor once"));
            }
            if let Some(missing) = reads(t).find(|id| !ready[id.index()]) {
                let found = format!("{list}[{position}] that reads tensor {}", missing.index());
                let expected = "what it reads among the leafs or the nodes before it";
                return Err(raw_error(raw, index, found, expected));
            }
            ready[index] = true;
            ids.push(TensorId(tensor));
        }
        Ok(ids)
    };
    let leafs = ids("leafs", &raw.leafs, true)?;
    let nodes = ids("nodes", &raw.nodes, false)?;
    check_circles(raw, tensors, ready)?;
    Ok((nodes, leafs))
}

/// Tensors that are in no list may be put into one later: they too depend on nothing that depends on them. `done` marks those
/// that are known not to.
fn check_circles(raw: &RawGraph, tensors: &[Tensor], mut done: Vec<bool>) -> Result<(), Error> {
    let mut entered = done.clone();
    // An explicit stack, as in `build_forward_expand`.
    let mut stack: Vec<(usize, usize)> = Vec::new();
    for start in 0..tensors.len() {
        if !std::mem::replace(&mut entered[start], true) {
            stack.push((start, 0));
        }
        while let Some((top, next)) = stack.pop() {
            let Some(id) = reads(&tensors[top]).nth(next) else {
                done[top] = true;
                continue;
            };
            stack.push((top, next + 1));
            if !std::mem::replace(&mut entered[id.index()], true) {
                stack.push((id.index(), 0));
            } else if !done[id.index()] {
                let found = format!("tensor {} among what it reads, which depends on it", id.index());
                return Err(raw_error(raw, top, found, "a graph without circles"));
            }
        }
    }
    Ok(())
}

/// The tensor is what its op's rule makes of its operands, at the place that the op gives it.
fn check_rule(raw: &RawGraph, graph: &Graph, index: usize) -> Result<(), Error> {
    let id = TensorId(index as u32);
    let dst = &graph[id];
    let rule = dst.op.rule();
    let checked = graph.with_operands(&dst.src, |src| {
        rule.check(dst, src)?;
        // Of a look the rule compares offsets, of a result over an operand not even these.
        let place = |t: &Tensor, id: TensorId| t.view.unwrap_or(View { root: id, offset: 0 });
        let over = match rule.form {
            Form::Look(_) => Some((0, None)),
            Form::Computed(outcome) => match outcome(dst.op, src)? {
                Outcome::Over(i) => Some((i, dst.view.map(|view| view.offset))),
                Outcome::Fresh { .. } => None,
            },
            Form::Leaf => None,
        };
        let Some((i, offset)) = over else { return Ok(()) };
        let of = place(src[i], dst.src[i]);
        let same =
            dst.view.is_some_and(|view| view.root == of.root) && offset.is_none_or(|at| at == of.offset);
        if same { Ok(()) } else { Err(Broken::one(i, "a view of it")) }
    });
    checked.map_err(|broken| {
        let operand = |i: Option<usize>| i.and_then(|i| dst.src.get(i)).map(|id| &graph[*id]);
        let shape = |t: &Tensor| format!("{} {:?} ({})", t.label(), t.ne, t.dtype);
        let of = match (operand(broken.operand), operand(broken.other)) {
            (Some(a), Some(b)) => format!(" of {} and {}", shape(a), shape(b)),
            (Some(a), None) => format!(" of {}", shape(a)),
            (None, _) => format!(" of {} operands, result {:?} ({})", dst.src.len(), dst.ne, dst.dtype),
        };
        raw_error(raw, index, format!("{}{of}", rule.name), broken.expected)
    })
}
