//! Graph building through the public API: shapes, views, order, storage, refusals.

use quipu_graph::{
    BufferId, DType, Error, GluOp, Graph, Op, RopeMode, RopeParams, SortOrder, Storage, TensorId,
};

fn f32_input(graph: &mut Graph, ne: [usize; 4]) -> TensorId {
    graph.input("x", DType::F32, ne).expect("a small tensor")
}

fn rope(n_dims: usize) -> RopeParams {
    RopeParams {
        n_dims,
        mode: RopeMode::Norm,
        n_ctx_orig: 512,
        freq_base: 10000.0,
        freq_scale: 1.0,
        ext_factor: 0.0,
        attn_factor: 1.0,
        beta_fast: 32.0,
        beta_slow: 1.0,
    }
}

#[test]
fn strides_of_a_quantised_matrix_count_blocks() {
    let mut graph = Graph::new();
    let w = graph.leaf("w", DType::Q4_K, [512, 3, 2, 1]).expect("whole blocks");
    assert_eq!(graph[w].nb, [144, 288, 864, 1728]);
    assert_eq!(graph[w].n_bytes(), 1728);
    assert!(graph[w].is_contiguous());
    let error = graph.leaf("w", DType::Q4_K, [500, 3, 1, 1]).expect_err("a partial block");
    assert_eq!(error.to_string(), "tensor w (q4_K) has rows of 500 elements: expected a multiple of 256");
}

#[test]
fn sizes_beyond_the_address_space_are_refused() {
    let mut graph = Graph::new();
    let huge = [1 << 30, 1 << 30, 1 << 30, 1];
    assert!(matches!(graph.leaf("w", DType::F32, huge), Err(Error::TooLarge { .. })));
}

#[test]
fn mul_mat_checks_and_shapes() {
    let mut graph = Graph::new();
    let w = graph.leaf("w", DType::Q8_0, [64, 10, 2, 1]).expect("whole blocks");
    let x = f32_input(&mut graph, [64, 5, 4, 1]);
    let y = graph.mul_mat(w, x).expect("2 divides 4");
    assert_eq!(graph[y].ne, [10, 5, 4, 1]);
    let narrow = f32_input(&mut graph, [32, 5, 1, 1]);
    assert!(matches!(graph.mul_mat(w, narrow), Err(Error::Shapes { op: "MUL_MAT", .. })));
    let odd = f32_input(&mut graph, [64, 5, 3, 1]);
    assert!(graph.mul_mat(w, odd).is_err());
}

#[test]
fn evaluation_order_is_operands_first_and_stable() {
    let mut graph = Graph::new();
    let a = f32_input(&mut graph, [4, 1, 1, 1]);
    let b = f32_input(&mut graph, [4, 1, 1, 1]);
    let product = graph.mul(a, b).expect("equal shapes");
    let sum = graph.add(product, a).expect("equal shapes");
    let bent = graph.glu(GluOp::Swiglu, sum, product).expect("equal shapes");
    graph.build_forward_expand(product);
    graph.build_forward_expand(bent);
    graph.build_forward_expand(bent);
    assert_eq!(graph.nodes(), [product, sum, bent]);
    assert_eq!(graph.leafs(), [a, b]);
}

/// Deeper than any stack holds; Miri would take minutes for that.
const DEPTH: usize = if cfg!(miri) { 2000 } else { 200_000 };

#[test]
fn deep_graphs_do_not_recurse() {
    let mut graph = Graph::new();
    let mut x = f32_input(&mut graph, [1, 1, 1, 1]);
    for _ in 0..DEPTH {
        x = graph.scale(x, 0.5, 0.0).expect("f32");
    }
    graph.build_forward_expand(x);
    assert_eq!(graph.nodes().len(), DEPTH);
}

#[test]
fn views_of_views_name_the_root() {
    let mut graph = Graph::new();
    let cache = Storage::External { buffer: BufferId(3), offset: 1000 };
    let root = graph.external("cache", DType::F32, [8, 16, 1, 1], cache).expect("a small tensor");
    let rows = graph.view(root, [8, 4, 1, 1], [32, 128, 128], 64).expect("inside");
    let heads = graph.reshape(rows, [4, 2, 4, 1]).expect("contiguous");
    let turned = graph.permute(heads, [0, 2, 1, 3]).expect("a permutation");
    assert_eq!(graph[turned].ne, [4, 4, 2, 1]);
    assert_eq!(graph[turned].nb, [4, 32, 16, 128]);
    graph.resolve_views();
    assert_eq!(graph[turned].storage, Storage::External { buffer: BufferId(3), offset: 1064 });
    assert!(graph.view(root, [8, 4, 1, 1], [32, 128, 128], 32 * 13).is_err());
    assert!(graph.permute(root, [0, 0, 1, 2]).is_err());
    assert!(graph.reshape(turned, [32, 1, 1, 1]).is_err());
}

#[test]
fn stores_are_views_of_what_they_write() {
    let mut graph = Graph::new();
    let cache = graph.leaf("cache", DType::F16, [8, 16, 1, 1]).expect("a small tensor");
    let rows = f32_input(&mut graph, [8, 2, 1, 1]);
    let ids = graph.input("ids", DType::I64, [2, 1, 1, 1]).expect("a small tensor");
    let stored = graph.set_rows(cache, rows, ids).expect("matching rows");
    assert_eq!(graph[stored].view.map(|v| v.root), Some(cache));
    assert_eq!(graph[stored].dtype, DType::F16);
    let short = graph.input("ids", DType::I64, [1, 1, 1, 1]).expect("a small tensor");
    assert!(graph.set_rows(cache, rows, short).is_err());
}

#[test]
fn rope_wants_one_position_for_each_token() {
    let mut graph = Graph::new();
    let heads = f32_input(&mut graph, [8, 2, 5, 1]);
    let pos = graph.input("pos", DType::I32, [5, 1, 1, 1]).expect("a small tensor");
    let turned = graph.rope(heads, pos, None, rope(8)).expect("matching");
    assert!(matches!(graph[turned].op, Op::Rope(_)));
    let few = graph.input("pos", DType::I32, [4, 1, 1, 1]).expect("a small tensor");
    assert!(graph.rope(heads, few, None, rope(8)).is_err());
    assert!(graph.rope(heads, pos, None, rope(7)).is_err());
    assert!(graph.rope(heads, pos, None, rope(10)).is_err());
}

#[test]
fn attention_groups_query_heads() {
    let mut graph = Graph::new();
    let q = f32_input(&mut graph, [64, 3, 8, 1]);
    let k = graph.leaf("k", DType::F16, [64, 256, 2, 1]).expect("a small tensor");
    let v = graph.leaf("v", DType::F16, [32, 256, 2, 1]).expect("a small tensor");
    let mask = graph.input("mask", DType::F16, [256, 3, 1, 1]).expect("a small tensor");
    let out = graph.flash_attn(q, k, v, Some(mask), 0.125, 0.0, 0.0).expect("matching");
    assert_eq!(graph[out].ne, [32, 8, 3, 1]);
    let narrow = graph.input("mask", DType::F16, [255, 3, 1, 1]).expect("a small tensor");
    assert!(graph.flash_attn(q, k, v, Some(narrow), 0.125, 0.0, 0.0).is_err());
}

#[test]
fn every_change_gives_a_generation_that_no_other_graph_has() {
    let mut graph = Graph::new();
    assert_eq!(graph.generation(), Graph::new().generation(), "empty graphs are equal");
    let mut seen = vec![graph.generation()];
    let mut changed = |graph: &Graph| {
        assert!(!seen.contains(&graph.generation()), "a generation that was there before");
        seen.push(graph.generation());
    };
    let x = graph.input("x", DType::F32, [8, 1, 1, 1]).unwrap();
    changed(&graph);
    let view = graph.reshape(x, [4, 2, 1, 1]).unwrap();
    changed(&graph);
    let out = graph.scale(view, 2.0, 0.0).unwrap();
    changed(&graph);
    graph.set_output(out);
    changed(&graph);
    graph.set_name(out, "out");
    changed(&graph);
    graph.build_forward_expand(out);
    changed(&graph);
    graph[x].storage = Storage::Planned { buffer: BufferId(0), offset: 0 };
    changed(&graph);
    graph.resolve_views();
    changed(&graph);
    // A clone is the same graph until one of the two changes.
    let mut clone = graph.clone();
    assert_eq!(clone.generation(), graph.generation());
    clone[out].op = Op::Scale { scale: 3.0, bias: 0.0 };
    changed(&clone);
    graph[out].op = Op::Scale { scale: 3.0, bias: 0.0 };
    changed(&graph);
    // Looking changes nothing.
    let before = graph.generation();
    let _ = (graph.find("out"), graph.id(0), graph[x].n_bytes(), graph.nodes().len(), format!("{graph:?}"));
    assert_eq!(graph.generation(), before);
}

#[test]
fn results_have_the_shapes_that_operands_come_to() {
    let mut graph = Graph::new();
    let a = f32_input(&mut graph, [6, 5, 4, 3]);
    let sums = graph.sum_rows(a).expect("f32");
    assert_eq!(graph[sums].ne, [1, 5, 4, 3]);
    let shares = graph.div(a, sums).expect("one value for each row");
    assert_eq!(graph[shares].ne, [6, 5, 4, 3]);
    let order = graph.argsort(a, SortOrder::Descending).expect("f32");
    assert_eq!((graph[order].dtype, graph[order].ne), (DType::I32, [6, 5, 4, 3]));
    let gated = graph.glu_halves(GluOp::Reglu, a, true).expect("two halves");
    assert_eq!(graph[gated].ne, [3, 5, 4, 3]);
    let both = graph.concat(a, gated, 0).expect("equal but for the first dimension");
    assert_eq!(graph[both].ne, [9, 5, 4, 3]);
    let again = graph.repeat(sums, [6, 10, 4, 9]).expect("multiples");
    assert_eq!(graph[again].ne, [6, 10, 4, 9]);
}

#[test]
fn operands_that_do_not_fit_are_refused_by_name() {
    let mut graph = Graph::new();
    let a = graph.input("a", DType::F32, [5, 4, 1, 1]).expect("a small tensor");
    let b = graph.input("b", DType::F32, [5, 3, 1, 1]).expect("a small tensor");
    let text = |error: Result<TensorId, Error>| error.expect_err("operands that do not fit").to_string();
    assert_eq!(
        text(graph.glu_halves(GluOp::Swiglu, a, false)),
        "GLU of a [5, 4, 1, 1] (f32): expected rows of two halves"
    );
    assert_eq!(
        text(graph.concat(a, b, 0)),
        "CONCAT of a [5, 4, 1, 1] and b [5, 3, 1, 1]: expected equal types, and equal shapes in all other dimensions"
    );
    assert_eq!(text(graph.concat(a, b, 4)), "CONCAT of 2 operands: expected one of the dimensions 0 to 3");
    assert_eq!(
        text(graph.repeat(a, [5, 6, 1, 1])),
        "REPEAT of a [5, 4, 1, 1] (f32): expected a shape that repeats to the result's"
    );
    let halves = graph.leaf("h", DType::F16, [5, 4, 1, 1]).expect("a small tensor");
    assert_eq!(
        text(graph.mul_mat(a, halves)),
        "MUL_MAT of h [5, 4, 1, 1] (f16): expected f32 rows without gaps"
    );
}
