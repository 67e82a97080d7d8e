//! The scheduler on devices made of plain vectors: assignment, splits, memory, refusals.

use std::any::Any;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use quipu_backend::{
    Abort, Backend, Buffer, BufferTable, BufferType, Error, Observer, Prepared, Scheduler, WeightSpec,
};
use quipu_graph::{DType, Graph, Op, Storage, TensorId};
use quipu_testing::SplitMix;

/// Bytes, and the name of the memory they are in.
#[derive(Debug)]
struct VecBuffer(Vec<u8>, &'static str);

impl Buffer for VecBuffer {
    fn size(&self) -> usize {
        self.0.len()
    }

    fn type_name(&self) -> &'static str {
        self.1
    }

    fn read(&self, offset: usize, out: &mut [u8]) -> Result<(), Error> {
        let bytes = self.0.get(offset..offset + out.len());
        out.copy_from_slice(bytes.ok_or(Error::OutOfBounds {
            offset,
            len: out.len(),
            size: self.0.len(),
        })?);
        Ok(())
    }

    fn write(&mut self, offset: usize, data: &[u8]) -> Result<(), Error> {
        let size = self.0.len();
        let bytes = self.0.get_mut(offset..offset + data.len());
        bytes.ok_or(Error::OutOfBounds { offset, len: data.len(), size })?.copy_from_slice(data);
        Ok(())
    }

    fn write_weight(&mut self, offset: usize, _: DType, _: [usize; 4], data: &[u8]) -> Result<(), Error> {
        self.write(offset, data)
    }

    fn clear(&mut self) {
        self.0.fill(0);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

#[derive(Debug)]
struct VecType {
    limit: usize,
    memory: &'static str,
}

impl BufferType for VecType {
    fn name(&self) -> &'static str {
        self.memory
    }

    fn alignment(&self) -> usize {
        32
    }

    fn accepts_weight(&self, _: &WeightSpec) -> bool {
        true
    }

    fn is_host(&self) -> bool {
        true
    }

    fn allocate(&self, size: usize) -> Result<Box<dyn Buffer>, Error> {
        if size > self.limit {
            return Err(Error::OutOfMemory { buffer_type: "VEC".to_owned(), size });
        }
        Ok(Box::new(VecBuffer(vec![0; size], self.memory)))
    }
}

type Log = Arc<Mutex<Vec<(&'static str, Range<usize>)>>>;

/// Computes `Scale` and perhaps `Add` on vectors, and notes what it was asked to do.
#[derive(Debug)]
struct VecBackend {
    name: &'static str,
    adds: bool,
    limit: usize,
    memory: &'static str,
    log: Log,
}

fn floats(buffers: &BufferTable, graph: &Graph, id: TensorId) -> Result<Vec<f32>, Error> {
    let mut bytes = vec![0; graph[id].n_bytes()];
    buffers.read_tensor(&graph[id], 0, &mut bytes)?;
    Ok(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
}

impl Backend for VecBackend {
    fn name(&self) -> &str {
        self.name
    }

    fn buffer_type(&self) -> Arc<dyn BufferType> {
        Arc::new(VecType { limit: self.limit, memory: self.memory })
    }

    fn supports_op(&self, graph: &Graph, node: TensorId) -> bool {
        match graph[node].op {
            Op::Scale { .. } => true,
            Op::Add | Op::Cpy => self.adds,
            _ => false,
        }
    }

    fn supports_buffer(&self, buffer: &dyn Buffer) -> bool {
        buffer.type_name() == self.memory
    }

    fn set_n_threads(&mut self, _: usize) -> Result<(), Error> {
        Ok(())
    }

    fn prepare(&mut self, graph: &Graph, nodes: Range<usize>, _: &BufferTable) -> Result<Prepared, Error> {
        Ok(Prepared::new((graph.clone(), nodes)))
    }

    fn run(
        &mut self,
        prepared: &mut Prepared,
        buffers: &mut BufferTable,
        _: Option<Abort<'_>>,
    ) -> Result<(), Error> {
        let (graph, nodes) = prepared.get_mut::<(Graph, Range<usize>)>().expect("its own");
        self.log.lock().expect("one thread").push((self.name, nodes.clone()));
        for id in &graph.nodes()[nodes.clone()] {
            let tensor = &graph[*id];
            if tensor.op.is_metadata() {
                continue;
            }
            for used in tensor.src.iter().chain([id]) {
                let (buffer, _) = graph[*used].storage.location().expect("bound");
                assert_eq!(buffers.get(buffer)?.type_name(), self.memory, "a tensor that cannot be reached");
            }
            let mut values = floats(buffers, graph, tensor.src[0])?;
            if let Op::Scale { scale, bias } = tensor.op {
                for v in &mut values {
                    *v = *v * scale + bias;
                }
            } else if tensor.op == Op::Add {
                let other = floats(buffers, graph, tensor.src[1])?;
                values.iter_mut().zip(other).for_each(|(v, o)| *v += o);
            }
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            buffers.write_tensor(tensor, &bytes)?;
        }
        Ok(())
    }
}

fn backend(name: &'static str, adds: bool, log: &Log) -> Box<dyn Backend> {
    Box::new(VecBackend { name, adds, limit: 1 << 20, memory: "VEC", log: Arc::clone(log) })
}

/// As [`backend`], with memory that no other backend reads.
fn apart(name: &'static str, adds: bool, log: &Log) -> Box<dyn Backend> {
    Box::new(VecBackend { name, adds, limit: 1 << 20, memory: name, log: Arc::clone(log) })
}

/// `(2 x + 1) + (3 x)`, then halved.
fn run(scheduler: &mut Scheduler, buffers: &mut BufferTable, n: usize) -> Result<Vec<f32>, Error> {
    let mut graph = Graph::new();
    let x = graph.input("x", DType::F32, [n, 1, 1, 1]).expect("a small tensor");
    let a = graph.scale(x, 2.0, 1.0).expect("f32");
    let b = graph.scale(x, 3.0, 0.0).expect("f32");
    let sum = graph.add(a, b).expect("equal shapes");
    let out = graph.scale(sum, 0.5, 0.0).expect("f32");
    graph.set_output(out);
    graph.build_forward_expand(out);
    scheduler.alloc_graph(&mut graph, buffers)?;
    let input: Vec<u8> = (0..n).flat_map(|i| (i as f32).to_le_bytes()).collect();
    buffers.write_tensor(&graph[x], &input)?;
    scheduler.compute(&graph, buffers, None)?;
    floats(buffers, &graph, out)
}

fn expected(n: usize) -> Vec<f32> {
    (0..n).map(|i| f32::midpoint(5.0 * i as f32, 1.0)).collect()
}

#[test]
fn nodes_go_to_the_first_backend_that_computes_them() {
    let log = Log::default();
    let backends = vec![backend("first", false, &log), backend("second", true, &log)];
    let mut scheduler = Scheduler::new(backends).expect("valid memory");
    let values = run(&mut scheduler, &mut BufferTable::new(), 10).expect("computes");
    assert_eq!(values, expected(10));
    let calls = log.lock().expect("one thread").clone();
    assert_eq!(calls, [("first", 0..2), ("second", 2..3), ("first", 3..4)]);
}

#[test]
fn one_plan_serves_all_graphs_of_a_structure_and_memory_only_grows() {
    let mut scheduler = Scheduler::new(vec![backend("only", true, &Log::default())]).expect("valid memory");
    let mut buffers = BufferTable::new();
    for _ in 0..3 {
        assert_eq!(run(&mut scheduler, &mut buffers, 100).expect("computes"), expected(100));
    }
    assert_eq!(scheduler.stats().n_memory_plans, 1);
    let small = scheduler.compute_bytes();
    assert_eq!(run(&mut scheduler, &mut buffers, 1000).expect("computes"), expected(1000));
    let large = scheduler.compute_bytes();
    assert!(large > small);
    assert_eq!(run(&mut scheduler, &mut buffers, 10).expect("computes"), expected(10));
    assert_eq!(scheduler.compute_bytes(), large);
    assert_eq!(buffers.len(), 1);
}

#[test]
fn what_nobody_computes_is_named() {
    let mut scheduler = Scheduler::new(vec![backend("only", false, &Log::default())]).expect("valid memory");
    let error = run(&mut scheduler, &mut BufferTable::new(), 10).expect_err("nobody adds");
    assert_eq!(error.to_string(), "no backend computes ADD on f32 (tensor )");
}

#[test]
fn memory_that_is_not_to_be_had_is_an_error_and_the_next_graph_runs() {
    let tight = VecBackend { name: "tight", adds: true, limit: 2000, memory: "VEC", log: Log::default() };
    let mut scheduler = Scheduler::new(vec![Box::new(tight)]).expect("valid memory");
    let mut buffers = BufferTable::new();
    let error = run(&mut scheduler, &mut buffers, 5000).expect_err("too large");
    assert!(matches!(error, Error::OutOfMemory { .. }), "{error}");
    assert_eq!(run(&mut scheduler, &mut buffers, 100).expect("computes"), expected(100));
}

fn bytes(values: impl IntoIterator<Item = f32>) -> Vec<u8> {
    values.into_iter().flat_map(f32::to_le_bytes).collect()
}

#[test]
fn operands_in_memory_of_another_backend_are_copied_and_counted() {
    let log = Log::default();
    let backends = vec![apart("first", false, &log), apart("second", true, &log)];
    let mut scheduler = Scheduler::new(backends).expect("valid memory");
    let mut buffers = BufferTable::new();
    for round in 1..4u64 {
        assert_eq!(run(&mut scheduler, &mut buffers, 10).expect("computes"), expected(10));
        let [first, second] = scheduler.stats().backends.as_slice() else { panic!("two backends") };
        assert_eq!((first.n_nodes, first.n_splits), (3 * round, 2 * round));
        assert_eq!((second.n_nodes, second.n_splits), (round, round));
        // Both summands one way, the sum the other way.
        assert_eq!((second.n_copies, second.copied_bytes), (2 * round, 80 * round));
        assert_eq!((first.n_copies, first.copied_bytes), (round, 40 * round));
        assert_eq!(scheduler.stats().n_fallback_nodes(), round);
    }
    // Compute memory of both, and both's memory for copies.
    assert_eq!(buffers.len(), 4);
    assert!(scheduler.compute_bytes() > 0);
    assert_eq!(run(&mut scheduler, &mut buffers, 500).expect("computes"), expected(500));
    assert_eq!(buffers.len(), 4);
}

/// `(2 x) + w`, plus `w`; `w` lies in the memory called `home`.
fn with_weight(backends: Vec<Box<dyn Backend>>, home: &'static str) -> (Vec<f32>, Scheduler) {
    let mut buffers = BufferTable::new();
    let weight = VecBuffer(bytes((0..6).map(|i| 100.0 * i as f32)), home);
    let buffer = buffers.add_shared(Arc::new(weight));
    let mut scheduler = Scheduler::new(backends).expect("valid memory");
    let mut graph = Graph::new();
    let ne = [6, 1, 1, 1];
    let x = graph.input("x", DType::F32, ne).expect("small");
    let w = graph.external("w", DType::F32, ne, Storage::External { buffer, offset: 0 }).expect("small");
    let a = graph.scale(x, 2.0, 0.0).expect("f32");
    let sum = graph.add(a, w).expect("equal shapes");
    let sum = graph.scale(sum, 1.0, 0.0).expect("f32");
    let out = graph.add(sum, w).expect("equal shapes");
    graph.set_output(out);
    graph.build_forward_expand(out);
    scheduler.alloc_graph(&mut graph, &mut buffers).expect("memory");
    buffers.write_tensor(&graph[x], &bytes((0..6).map(|i| i as f32))).expect("bound");
    scheduler.compute(&graph, &mut buffers, None).expect("computes");
    (floats(&buffers, &graph, out).expect("bound"), scheduler)
}

#[test]
fn nodes_run_where_their_weights_are_and_their_neighbours_follow() {
    let expected: Vec<f32> = (0..6).map(|i| 202.0 * i as f32).collect();
    for home in ["first", "second"] {
        let log = Log::default();
        let (values, scheduler) =
            with_weight(vec![apart("first", true, &log), apart("second", true, &log)], home);
        assert_eq!(values, expected);
        // One backend did everything, and nothing was copied.
        assert_eq!(log.lock().expect("one thread").clone(), [(home, 0..4)]);
        assert!(scheduler.stats().backends.iter().all(|backend| backend.copied_bytes == 0));
    }
}

#[test]
fn a_weight_whose_backend_lacks_the_op_is_copied_to_one_that_has_it() {
    let log = Log::default();
    let (values, scheduler) =
        with_weight(vec![apart("first", false, &log), apart("second", true, &log)], "first");
    assert_eq!(values, (0..6).map(|i| 202.0 * i as f32).collect::<Vec<_>>());
    assert!(scheduler.stats().backends[1].copied_bytes >= 24);
    assert_eq!(scheduler.stats().backends[0].n_nodes + scheduler.stats().backends[1].n_nodes, 4);
}

#[test]
fn a_graph_bound_before_the_last_one_still_runs() {
    let backends = vec![apart("first", false, &Log::default()), apart("second", true, &Log::default())];
    let mut scheduler = Scheduler::new(backends).expect("valid memory");
    let mut buffers = BufferTable::new();
    let build = |scheduler: &mut Scheduler, buffers: &mut BufferTable, n: usize| {
        let mut graph = Graph::new();
        let x = graph.input("x", DType::F32, [n, 1, 1, 1]).expect("small");
        let a = graph.scale(x, 3.0, 0.0).expect("f32");
        let out = graph.add(a, x).expect("equal shapes");
        graph.set_output(out);
        graph.build_forward_expand(out);
        scheduler.alloc_graph(&mut graph, buffers).expect("memory");
        (graph, x, out)
    };
    let (small, x, out) = build(&mut scheduler, &mut buffers, 4);
    let (large, ..) = build(&mut scheduler, &mut buffers, 400);
    for graph in [&small, &large, &small] {
        let n = graph[x].n_elements();
        buffers.write_tensor(&graph[x], &bytes((0..n).map(|i| i as f32))).expect("bound");
        scheduler.compute(graph, &mut buffers, None).expect("computes");
        let values = floats(&buffers, graph, out).expect("bound");
        assert_eq!(values, (0..n).map(|i| 4.0 * i as f32).collect::<Vec<_>>());
    }
}

/// Notes every result.
#[derive(Debug)]
struct Everything(Arc<Mutex<Vec<f32>>>);

impl Observer for Everything {
    fn wants(&self, _: &Graph, _: TensorId) -> bool {
        true
    }

    fn computed(&mut self, graph: &Graph, node: TensorId, buffers: &BufferTable) -> Result<(), Error> {
        self.0.lock().expect("one thread").push(floats(buffers, graph, node)?[1]);
        Ok(())
    }
}

#[test]
fn observers_see_every_node_of_every_split() {
    let backends = vec![apart("first", false, &Log::default()), apart("second", true, &Log::default())];
    let mut scheduler = Scheduler::new(backends).expect("valid memory");
    let seen = Arc::default();
    scheduler.set_observer(Some(Box::new(Everything(Arc::clone(&seen)))));
    assert_eq!(run(&mut scheduler, &mut BufferTable::new(), 10).expect("computes"), expected(10));
    assert_eq!(*seen.lock().expect("one thread"), [3.0, 3.0, 6.0, 3.0]);
}

#[test]
fn memory_for_copies_that_is_not_to_be_had_is_an_error() {
    let tight = VecBackend { name: "tight", adds: false, limit: 600, memory: "tight", log: Log::default() };
    let backends: Vec<Box<dyn Backend>> = vec![Box::new(tight), apart("second", true, &Log::default())];
    let mut scheduler = Scheduler::new(backends).expect("valid memory");
    let error = run(&mut scheduler, &mut BufferTable::new(), 200).expect_err("no room");
    assert!(matches!(error, Error::OutOfMemory { .. }), "{error}");
}

/// Elements of every tensor of a random graph.
const N: usize = 12;

/// A graph of random nodes over an input, two weights and a cache, and what its output is with everything on one
/// backend or spread over several.
fn random_graph(seed: u64, backends: Vec<Box<dyn Backend>>, homes: [&'static str; 3]) -> Vec<Vec<f32>> {
    let mut seeded = SplitMix::new(seed);
    let mut random = move |n: usize| seeded.index(n);
    let (flat, square) = ([N, 1, 1, 1], [N / 2, 2, 1, 1]);
    let mut buffers = BufferTable::new();
    let weights: Vec<f32> = (0..N).map(|i| i as f32 - 5.0).collect();
    let [first, second, cache] = homes.map(|home| VecBuffer(bytes(weights.clone()), home));
    let shared = [first, second].map(|buffer| buffers.add_shared(Arc::new(buffer)));
    let cache = buffers.add_owned(Box::new(cache));
    let mut graph = Graph::new();
    let x = graph.input("x", DType::F32, flat).expect("small");
    let at = |buffer| Storage::External { buffer, offset: 0 };
    let w = shared.map(|buffer| graph.external("w", DType::F32, flat, at(buffer)).expect("small"));
    let cache = graph.external("cache", DType::F32, flat, at(cache)).expect("small");
    let mut tensors = vec![x, w[0], w[1]];
    for _ in 0..3 + random(12) {
        let a = tensors[random(tensors.len())];
        let b = tensors[random(tensors.len())];
        let made = match random(7) {
            0 | 1 => graph.scale(a, 0.5, 0.25).expect("f32"),
            2 => {
                let other = if graph[a].ne == flat { square } else { flat };
                graph.reshape(a, other).expect("as many elements")
            }
            3 => {
                let flat_a = graph.reshape(a, flat).expect("as many elements");
                let stored = graph.cpy(flat_a, cache).expect("as many elements");
                graph.build_forward_expand(stored);
                // What comes from now on reads what was stored just now.
                let back = graph.scale(cache, 1.0, 0.0).expect("f32");
                graph.build_forward_expand(back);
                back
            }
            _ => {
                let ne = graph[a].ne;
                let b = graph.reshape(b, ne).expect("as many elements");
                graph.add(a, b).expect("equal shapes")
            }
        };
        tensors.push(made);
    }
    let last = *tensors.last().expect("at least three");
    let out = graph.scale(last, 1.0, 0.0).expect("f32");
    graph.set_output(out);
    graph.build_forward_expand(out);
    let mut scheduler = Scheduler::new(backends).expect("valid memory");
    scheduler.alloc_graph(&mut graph, &mut buffers).expect("memory");
    let mut results = Vec::new();
    for run in 0..2 {
        let input = bytes((0..N).map(|i| (i + run) as f32));
        if graph[x].storage.location().is_some() {
            buffers.write_tensor(&graph[x], &input).expect("bound");
        }
        scheduler.compute(&graph, &mut buffers, None).expect("computes");
        results.push(floats(&buffers, &graph, out).expect("bound"));
    }
    results
}

#[test]
fn random_graphs_give_the_same_on_one_backend_and_on_three() {
    let log = Log::default();
    let all = || apart("all", true, &log);
    let mut copies_needed = 0;
    for seed in 0..600 {
        let alone = random_graph(seed, vec![all()], ["all"; 3]);
        for homes in [["a", "b", "all"], ["all", "a", "a"], ["b", "b", "b"], ["a", "all", "b"]] {
            // What lacks Add and Cpy cannot hold the cache.
            let able = seed % 2 == 0 || homes[2] == "a";
            let backends = vec![
                apart("a", able, &log),
                apart("b", !able || homes[2] == "b", &log),
                apart("all", true, &log),
            ];
            log.lock().expect("one thread").clear();
            let spread = random_graph(seed, backends, homes);
            assert_eq!(spread, alone, "seed {seed}, {homes:?}");
            copies_needed += usize::from(log.lock().expect("one thread").len() > 2);
        }
    }
    assert!(copies_needed > 500, "only {copies_needed} of 2400 runs had more than one split");
}

/// `3 x + x`, bound.
fn bound_graph(
    scheduler: &mut Scheduler,
    buffers: &mut BufferTable,
    n: usize,
) -> (Graph, TensorId, TensorId) {
    let mut graph = Graph::new();
    let x = graph.input("x", DType::F32, [n, 1, 1, 1]).expect("a small tensor");
    let a = graph.scale(x, 3.0, 0.0).expect("f32");
    let out = graph.add(a, x).expect("equal shapes");
    graph.set_output(out);
    graph.build_forward_expand(out);
    scheduler.alloc_graph(&mut graph, buffers).expect("memory");
    (graph, x, out)
}

#[test]
fn a_graph_is_prepared_once_until_it_or_the_table_changes() {
    let one = || vec![backend("only", true, &Log::default())];
    let two = || vec![apart("first", false, &Log::default()), apart("second", true, &Log::default())];
    for (first, second, n_parts) in [(one(), one(), 1), (two(), two(), 2)] {
        let mut scheduler = Scheduler::new(first).expect("valid memory");
        let mut buffers = BufferTable::new();
        let (mut graph, x, out) = bound_graph(&mut scheduler, &mut buffers, 4);
        let input = bytes([1.0, 2.0, 3.0, 4.0]);
        let run = |scheduler: &mut Scheduler, graph: &Graph, buffers: &mut BufferTable, factor: f32| {
            let before = scheduler.stats().n_plans;
            buffers.write_tensor(&graph[x], &input).expect("bound");
            scheduler.compute(graph, buffers, None).expect("computes");
            let expected: Vec<f32> = (1..5).map(|i| factor * i as f32).collect();
            assert_eq!(floats(buffers, graph, out).expect("bound"), expected);
            scheduler.stats().n_plans - before
        };
        assert_eq!(run(&mut scheduler, &graph, &mut buffers, 4.0), n_parts);
        for _ in 0..3 {
            assert_eq!(run(&mut scheduler, &graph, &mut buffers, 4.0), 0);
        }
        // A clone is the same graph.
        assert_eq!(run(&mut scheduler, &graph.clone(), &mut buffers, 4.0), 0);
        // Edited: what was prepared of it before is of no use.
        let scaled = graph[out].src[0];
        graph[scaled].op = Op::Scale { scale: 5.0, bias: 0.0 };
        assert_eq!(run(&mut scheduler, &graph, &mut buffers, 6.0), n_parts);
        assert_eq!(run(&mut scheduler, &graph, &mut buffers, 6.0), 0);
        // The table's buffers changed: one more.
        buffers.add_shared(Arc::new(VecBuffer(vec![0; 4], "elsewhere")));
        assert_eq!(run(&mut scheduler, &graph, &mut buffers, 6.0), n_parts);
        assert_eq!(run(&mut scheduler, &graph, &mut buffers, 6.0), 0);
        // Compute memory moved because a larger graph needed more.
        let (large, ..) = bound_graph(&mut scheduler, &mut buffers, 4000);
        assert_eq!(run(&mut scheduler, &graph, &mut buffers, 6.0), n_parts);
        drop(large);
        // Another table of the same make.
        let mut other = Scheduler::new(second).expect("valid memory");
        let mut elsewhere = BufferTable::new();
        let (again, ..) = bound_graph(&mut other, &mut elsewhere, 4);
        assert_eq!(run(&mut other, &again, &mut elsewhere, 4.0), n_parts);
        std::mem::swap(&mut buffers, &mut elsewhere);
        assert_eq!(run(&mut other, &again, &mut buffers, 4.0), 0, "it moved, with all its buffers");
    }
}

#[test]
fn observed_runs_are_prepared_once_too() {
    let backends = vec![apart("first", false, &Log::default()), apart("second", true, &Log::default())];
    let mut scheduler = Scheduler::new(backends).expect("valid memory");
    let mut buffers = BufferTable::new();
    let (graph, x, _) = bound_graph(&mut scheduler, &mut buffers, 4);
    buffers.write_tensor(&graph[x], &bytes([1.0; 4])).expect("bound");
    let mut plans = |scheduler: &mut Scheduler| {
        let before = scheduler.stats().n_plans;
        scheduler.compute(&graph, &mut buffers, None).expect("computes");
        scheduler.stats().n_plans - before
    };
    assert_eq!((plans(&mut scheduler), plans(&mut scheduler)), (2, 0));
    scheduler.set_observer(Some(Box::new(Everything(Arc::default()))));
    // The pieces are those of the splits here, so that they serve.
    assert_eq!((plans(&mut scheduler), plans(&mut scheduler)), (0, 0));
}

/// Numbers of buffers mean something in one table: in another one they are somebody else's.
#[test]
fn memory_of_one_table_is_never_used_with_another() {
    let one = || vec![backend("only", true, &Log::default())];
    let two = || vec![apart("VEC", false, &Log::default()), apart("second", true, &Log::default())];
    for backends in [one(), two()] {
        let mut scheduler = Scheduler::new(backends).expect("valid memory");
        let (mut own, mut other) = (BufferTable::new(), BufferTable::new());
        assert_ne!(own.id(), other.id());
        assert_eq!(run(&mut scheduler, &mut own, 10).expect("computes"), expected(10));
        // Buffers of somebody else's with the numbers that the scheduler's have in its own table.
        let foreign: Vec<_> = (0..own.len()).map(|_| VecBuffer(vec![7; 64], "VEC")).collect();
        let foreign: Vec<_> = foreign.into_iter().map(|buffer| other.add_owned(Box::new(buffer))).collect();
        for n in [10, 1000] {
            let error = run(&mut scheduler, &mut other, n).expect_err("not its table");
            assert!(matches!(error, Error::OtherTable), "{error}");
        }
        let (graph, ..) = bound_graph(&mut scheduler, &mut own, 4);
        let error = scheduler.compute(&graph, &mut other, None).expect_err("not its table");
        assert!(matches!(error, Error::OtherTable), "{error}");
        for id in foreign {
            let mut found = [0; 64];
            other.get(id).and_then(|buffer| buffer.read(0, &mut found)).expect("untouched");
            assert_eq!(found, [7; 64]);
        }
        assert_eq!(run(&mut scheduler, &mut own, 10).expect("computes"), expected(10));
        // A table that moved is still the same.
        std::mem::swap(&mut own, &mut other);
        assert_eq!(run(&mut scheduler, &mut other, 10).expect("computes"), expected(10));
    }
}
