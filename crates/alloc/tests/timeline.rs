//! The picture of a plan, as text and SVG, against recorded ones.

mod common;

use common::{TestGraph, parse_graph};
use quipu_alloc::{BufferAssignment, BufferSpec, Offline, Planner, Timeline};

/// `UPDATE_SNAPSHOTS=1 cargo test` writes them anew.
fn assert_snapshot(file: &str, text: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(file);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "{file}");
}

/// Two layers with a residual stream.
fn layers() -> TestGraph {
    let mut g = TestGraph::default();
    let mut x = g.input(64);
    for _ in 0..2 {
        let norm = g.inplace(64, &[x]);
        let (gate, up) = (g.op(160, &[norm]), g.op(160, &[norm]));
        let glu = g.op(160, &[gate, up]);
        let down = g.op(64, &[glu]);
        x = g.inplace(64, &[down, x]);
    }
    let logits = g.op(256, &[x]);
    g.output(logits);
    g
}

fn timeline(g: &TestGraph) -> Timeline {
    let names = ["norm", "gate", "up", "glu", "down", "l_out"];
    let spec = BufferSpec { id: 0, alignment: 32, max_size: u64::MAX };
    let plan = Planner::new(&[spec]).unwrap().plan(g, BufferAssignment::default()).unwrap();
    let name = |t: u32| match t {
        0 => "<input> & \"text\"\n\u{1}".to_owned(),
        13 => "logits".to_owned(),
        t => format!("{}-{}", names[(t as usize - 1) % 6], (t - 1) / 6),
    };
    Timeline::new(g, &plan, &[spec], name).unwrap()
}

#[test]
fn text_and_svg_are_as_recorded() {
    let timeline = timeline(&layers());
    assert_snapshot("plan.txt", &timeline.to_string());
    assert_snapshot("plan.svg", &timeline.to_svg());
}

#[test]
fn names_are_escaped() {
    let timeline = timeline(&layers());
    let svg = timeline.to_svg();
    assert!(svg.contains("&lt;input&gt; &amp; &quot;text&quot;\u{fffd}\u{fffd}"));
    assert!(!svg.contains("<input>") && !svg.contains('\u{1}'));
    assert!(!timeline.to_string().contains('\u{1}'));
}

#[test]
fn residents_of_real_models_never_overlap() {
    let text = include_str!("../../../parity/goldens/alloc/models.txt");
    for case in text.lines().filter(|line| line.starts_with('G')) {
        let words: Vec<&str> = case.split_whitespace().collect();
        let (specs, graph, _) = parse_graph(&words[1..]);
        let mut planner = Planner::with_strategy(&specs, Offline::default()).unwrap();
        let plan = planner.plan(&graph, graph.assignment()).unwrap();
        let timeline = Timeline::new(&graph, &plan, &specs, |t| format!("t{t}")).unwrap();
        let residents = timeline.residents();
        assert!(residents.len() > 100);
        for (i, a) in residents.iter().enumerate() {
            for b in &residents[..i] {
                let together = a.life.first <= b.life.last && b.life.first <= a.life.last;
                let touch = a.offset < b.offset + b.size && b.offset < a.offset + a.size;
                assert!(!(together && touch && a.chunk == b.chunk), "{a:?} and {b:?}");
            }
        }
        let (_, most) = timeline.peak().unwrap();
        assert!(most <= timeline.total_size());
        let lines = timeline.to_string().lines().count();
        assert!(lines < 80, "{lines} lines for {} nodes", timeline.n_nodes());
        assert!(timeline.to_svg().len() < 1 << 20);
    }
}

#[test]
fn a_graph_without_nodes_has_an_empty_picture() {
    let g = TestGraph::default();
    let spec = BufferSpec { id: 0, alignment: 32, max_size: u64::MAX };
    let plan = Planner::new(&[spec]).unwrap().plan(&g, BufferAssignment::default()).unwrap();
    let timeline = Timeline::new(&g, &plan, &[spec], |_| String::new()).unwrap();
    assert_eq!(timeline.peak(), None);
    assert!(timeline.to_svg().ends_with("</svg>\n"));
    assert!(timeline.to_string().starts_with("0 nodes"));
}
