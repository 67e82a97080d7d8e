//! Graphs from descriptors: what the builder makes comes back the same, and garbage is refused by name, never by a panic.

use proptest::prelude::*;
use quipu_graph::{
    BufferId, DType, Error, Flags, GluOp, Graph, Op, RULES, RawGraph, RawTensor, RopeMode, RopeParams,
    SortOrder, Storage, TensorId, UnaryOp,
};

const ROPE: RopeParams = RopeParams {
    n_dims: 8,
    mode: RopeMode::Neox,
    n_ctx_orig: 512,
    freq_base: 10000.0,
    freq_scale: 1.0,
    ext_factor: 0.0,
    attn_factor: 1.0,
    beta_fast: 32.0,
    beta_slow: 1.0,
};

/// A small transformer layer: weights, cache, views of views, stores.
fn layer(n_tokens: usize) -> Result<Graph, Error> {
    let mut g = Graph::new();
    let (d, heads, n_kv) = (8, 4, 32);
    let weight = |g: &mut Graph, name: &str, dtype, ne, offset| {
        g.external(name, dtype, ne, Storage::External { buffer: BufferId(0), offset })
    };
    let x = g.input("x", DType::F32, [d * heads, n_tokens, 1, 1])?;
    let pos = g.input("pos", DType::I32, [n_tokens, 1, 1, 1])?;
    let ids = g.input("ids", DType::I64, [n_tokens, 1, 1, 1])?;
    let mask = g.input("mask", DType::F16, [n_kv, n_tokens, 1, 1])?;
    let w = weight(&mut g, "w", DType::Q8_0, [d * heads, d * heads, 1, 1], 64)?;
    let norm_w = weight(&mut g, "norm", DType::F32, [d * heads, 1, 1, 1], 4096)?;
    let cache = weight(&mut g, "k", DType::F16, [d * heads, n_kv, 1, 1], 8192)?;
    let normed = g.rms_norm(x, 1e-5)?;
    let normed = g.mul(normed, norm_w)?;
    let q = g.mul_mat(w, normed)?;
    let stored = g.set_rows(cache, q, ids)?;
    let q = g.reshape(q, [d, heads, n_tokens, 1])?;
    let q = g.rope(q, pos, None, ROPE)?;
    let q = g.permute(q, [0, 2, 1, 3])?;
    let k = g.view(stored, [d, heads, n_kv, 1], [2 * d, 2 * d * heads, 2 * d * heads * n_kv], 0)?;
    let k = g.permute(k, [0, 2, 1, 3])?;
    let attended = g.flash_attn(q, k, k, Some(mask), 0.3, 0.0, 0.0)?;
    let attended = g.reshape(attended, [d * heads, n_tokens, 1, 1])?;
    let sum = g.add(attended, x)?;
    let bent = g.unary(UnaryOp::Silu, sum)?;
    let gated = g.glu(GluOp::Swiglu, bent, sum)?;
    let turned = g.transpose(gated);
    let dense = g.cont(turned)?;
    let scaled = g.scale(dense, 0.5, 1.0)?;
    let out = g.soft_max(scaled, None, 1.0, 0.0)?;
    g.set_output(out);
    g.build_forward_expand(out);
    // Built, and in no list.
    g.norm(out, 1e-5)?;
    Ok(g)
}

#[test]
fn what_the_builder_makes_comes_back_the_same() {
    for n_tokens in [1, 5] {
        let mut graph = layer(n_tokens).expect("matching shapes");
        graph.resolve_views();
        let raw = graph.to_raw();
        let back = Graph::from_raw(&raw).expect("a graph");
        assert_eq!(back.to_raw(), raw);
        assert_eq!(back.to_string(), graph.to_string());
    }
}

#[test]
fn a_graph_from_descriptors_can_be_built_on() {
    let graph = layer(2).expect("matching shapes");
    let mut back = Graph::from_raw(&graph.to_raw()).expect("a graph");
    let last = *back.nodes().last().expect("nodes");
    let more = back.scale(last, 2.0, 0.0).expect("f32");
    back.build_forward_expand(more);
    assert_eq!(back.nodes().len(), graph.nodes().len() + 1);
}

/// Edits a valid graph in one place and says what must be said about it.
fn refused(edit: impl FnOnce(&mut RawGraph)) -> String {
    let mut raw = layer(2).expect("matching shapes").to_raw();
    edit(&mut raw);
    Graph::from_raw(&raw).expect_err("an edited graph").to_string()
}

fn find(raw: &mut RawGraph, op: &str) -> usize {
    raw.tensors.iter().position(|t| t.op.name() == op).expect("an op of the layer")
}

#[test]
fn what_is_wrong_is_said_with_the_tensor() {
    let error = refused(|raw| raw.tensors[3].src = vec![999]);
    assert_eq!(error, "tensor 3 (mask): operand 999 of 26 tensors, expected operands that exist");
    let error = refused(|raw| {
        let at = find(raw, "ADD");
        raw.tensors[at].src.push(0);
    });
    assert!(
        error.contains("ADD of 3 operands") && error.contains("as many operands as the op has"),
        "{error}"
    );
    let error = refused(|raw| raw.tensors[0].ne[1] = usize::MAX / 8);
    assert!(error.starts_with("tensor 0 (x): shape") && error.contains("fits in 64 bits"), "{error}");
    let error = refused(|raw| raw.tensors[4].ne[0] = 33);
    assert!(error.contains("(w)") && error.contains("whole blocks"), "{error}");
    let error = refused(|raw| {
        let at = find(raw, "VIEW");
        raw.tensors[at].view = Some((6, 100));
    });
    assert!(error.contains("a view inside its root"), "{error}");
    let error = refused(|raw| {
        let (view, look) = (find(raw, "VIEW"), find(raw, "PERMUTE"));
        raw.tensors[view].view = Some((look as u32, 0));
    });
    assert!(error.contains("a root that owns its bytes"), "{error}");
    let error = refused(|raw| {
        let at = find(raw, "SET_ROWS");
        raw.tensors[at].view = None;
    });
    assert!(error.contains("SET_ROWS of k") && error.contains("a view of it"), "{error}");
    let error = refused(|raw| {
        let at = find(raw, "MUL_MAT");
        raw.tensors[at].ne[1] = 3;
    });
    assert!(error.contains("MUL_MAT") && error.contains("a result of the type and shape"), "{error}");
    let error = refused(|raw| {
        let at = find(raw, "ROPE");
        raw.tensors[at].op = Op::Rope(RopeParams { n_dims: 10, ..ROPE });
    });
    assert!(error.contains("an even number of rotated elements, at most ne[0]"), "{error}");
    let error = refused(|raw| raw.nodes.swap(2, 3));
    assert!(error.contains("what it reads among the leafs or the nodes before it"), "{error}");
    let error = refused(|raw| raw.nodes.push(raw.nodes[0]));
    assert!(error.contains("expected each tensor once"), "{error}");
    let error = refused(|raw| raw.leafs.push(raw.nodes[0]));
    assert!(error.starts_with("leafs[7] is tensor 7 of 26, expected a tensor without an op"), "{error}");
    let error = refused(|raw| raw.nodes[0] = 500);
    assert!(error.starts_with("nodes[0] is tensor 500 of 26, expected a tensor that exists"), "{error}");
    let error =
        refused(|raw| raw.tensors[6].storage = Storage::Planned { buffer: BufferId(0), offset: usize::MAX });
    assert!(error.contains("(k)") && error.contains("a place that fits in 64 bits"), "{error}");
}

#[test]
fn circles_are_found_inside_and_outside_the_lists() {
    let inside = refused(|raw| {
        let (first, last) = (raw.nodes[0], raw.nodes[raw.nodes.len() - 1]);
        raw.tensors[first as usize].src[0] = last;
    });
    assert!(inside.contains("the nodes before it"), "{inside}");
    let own = refused(|raw| {
        let first = raw.nodes[0];
        raw.tensors[first as usize].src[0] = first;
    });
    assert!(own.contains("the nodes before it"), "{own}");
    let outside = refused(|raw| {
        let orphan = raw.tensors.len() - 1;
        let mut other = raw.tensors[orphan].clone();
        other.src = vec![orphan as u32];
        raw.tensors[orphan].src = vec![orphan as u32 + 1];
        raw.tensors.push(other);
    });
    assert!(outside.contains("a graph without circles"), "{outside}");
}

/// Deeper than any stack holds; Miri would take minutes for that.
const DEPTH: usize = if cfg!(miri) { 2000 } else { 200_000 };

#[test]
fn deep_graphs_from_descriptors_do_not_recurse() {
    let mut graph = Graph::new();
    let mut x = graph.input("x", DType::F32, [1, 1, 1, 1]).expect("a small tensor");
    for _ in 0..DEPTH {
        x = graph.scale(x, 0.5, 0.0).expect("f32");
    }
    // Nothing is listed.
    let raw = graph.to_raw();
    assert_eq!(Graph::from_raw(&raw).expect("a graph").tensors().len(), DEPTH + 1);
}

#[test]
fn names_and_numbers_of_ops_are_each_their_own() {
    for (i, a) in RULES.iter().enumerate() {
        assert!(*a.n_src.end() <= quipu_graph::MAX_SRC, "{}", a.name);
        assert!(a.overwrites.iter().all(|i| i < a.n_src.end()), "{}", a.name);
        for b in &RULES[..i] {
            assert!(a.name != b.name && a.ggml_id != b.ggml_id, "{} and {}", a.name, b.name);
        }
    }
    // A planner that puts a result in an operand's place needs one that may be written over.
    assert!(RULES.iter().all(|rule| !rule.can_inplace || !rule.overwrites.is_empty()));
}

fn any_size() -> impl Strategy<Value = usize> {
    prop_oneof![
        6 => 0usize..70,
        2 => Just(256usize),
        1 => any::<usize>(),
        1 => Just(usize::MAX),
        1 => Just(1usize << 62),
    ]
}

fn any_op() -> impl Strategy<Value = Op> {
    // One op with its parameters for each rule, found by building them all.
    let graph = layer(3).expect("matching shapes");
    let others = [
        Op::Cpy,
        Op::GetRows,
        Op::SumRows,
        Op::Div,
        Op::Sqr,
        Op::Argsort(SortOrder::Ascending),
        Op::Clamp { min: -1.0, max: 1.0 },
        Op::Glu { op: GluOp::Geglu, swapped: true },
        Op::L2Norm { eps: 1e-6 },
        Op::SsmConv,
        Op::SsmScan,
        Op::RwkvWkv6,
        Op::RwkvWkv7,
        Op::GatedLinearAttn { scale: 1.0 },
        Op::GatedDeltaNet { n_states: 1 },
    ];
    let ops: Vec<Op> = graph.tensors().iter().map(|t| t.op).chain(others).collect();
    prop_oneof![
        4 => proptest::sample::select(ops),
        1 => any_size().prop_map(|n_dims| Op::Rope(RopeParams { n_dims, ..ROPE })),
        1 => any_size().prop_map(|dim| Op::Concat { dim: dim % 5 }),
        1 => proptest::array::uniform4(any_size()).prop_map(|ne| Op::Repeat { ne }),
    ]
}

fn any_tensor() -> impl Strategy<Value = RawTensor> {
    let flags = any::<(bool, bool)>().prop_map(|(input, output)| Flags { input, output });
    let storage = prop_oneof![
        Just(Storage::Unbound),
        any_size().prop_map(|offset| Storage::Planned { buffer: BufferId(0), offset }),
        any_size().prop_map(|offset| Storage::External { buffer: BufferId(7), offset }),
    ];
    let dtype = proptest::sample::select(DType::ALL.to_vec());
    let dtype = prop_oneof![3 => Just(DType::F32), 1 => Just(DType::I32), 2 => dtype];
    let sizes = (proptest::array::uniform4(any_size()), proptest::array::uniform4(any_size()));
    let src = proptest::collection::vec(0u32..12, 0..12);
    let view = proptest::option::weighted(0.3, (0u32..12, any_size()));
    (dtype, sizes, any_op(), src, view, flags, storage).prop_map(
        |(dtype, (ne, nb), op, src, view, flags, storage)| RawTensor {
            name: String::new(),
            dtype,
            ne,
            nb,
            op,
            src,
            view,
            flags,
            storage,
        },
    )
}

/// A place to spoil in a valid graph, and what to put there.
fn spoil(raw: &mut RawGraph, at: usize, with: &RawTensor, what: usize) {
    let n = raw.tensors.len();
    let t = &mut raw.tensors[at % n];
    match what {
        0 => t.ne = with.ne,
        1 => t.nb = with.nb,
        2 => t.op = with.op,
        3 => t.src.clone_from(&with.src),
        4 => t.view = with.view,
        5 => t.dtype = with.dtype,
        6 => t.storage = with.storage,
        7 => t.ne[with.src.len() % 4] = with.ne[0],
        8 => t.nb[with.src.len() % 4] = with.nb[0],
        9 => {
            let n = raw.nodes.len();
            raw.nodes.swap(at % n, with.src.len() % n);
        }
        _ => raw.tensors[at % n] = with.clone(),
    }
}

/// What accepted graphs promise to those who use them.
fn uses(graph: &mut Graph) {
    for t in graph.tensors() {
        assert!(t.extent().is_some());
        assert!(t.n_bytes() < usize::MAX / 2);
    }
    graph.resolve_views();
    let _ = graph.to_string();
    let ids: Vec<TensorId> = (0..graph.tensors().len()).filter_map(|i| graph.id(i)).collect();
    for id in ids {
        graph.build_forward_expand(id);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn garbage_never_panics(
        tensors in proptest::collection::vec(any_tensor(), 0..12),
        nodes in proptest::collection::vec(0u32..13, 0..12),
        leafs in proptest::collection::vec(0u32..13, 0..12),
    ) {
        if let Ok(mut graph) = Graph::from_raw(&RawGraph { tensors, nodes, leafs }) {
            uses(&mut graph);
        }
    }

    #[test]
    fn a_graph_spoiled_in_places_never_panics(
        edits in proptest::collection::vec((any::<usize>(), any_tensor(), 0usize..11), 1..3),
    ) {
        let mut raw = layer(3).expect("matching shapes").to_raw();
        for (at, with, what) in &edits {
            spoil(&mut raw, *at, with, *what);
        }
        if let Ok(mut graph) = Graph::from_raw(&raw) {
            uses(&mut graph);
        }
    }
}
