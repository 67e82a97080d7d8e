//! Calls that fail, by an error or by a panic, leave the memory as it was, and the next call gives what a new context gives.

mod common;
#[path = "common/faulty.rs"]
mod faulty;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{context, model, params, sequence, tokens};
use faulty::{FaultyDevice, Trigger};
use proptest::prelude::*;
use quipu_backend::{BufferTable, Error as BackendError, Observer};
use quipu_decoder::{Batch, Context, ContextParams, Error};
use quipu_graph::{Graph, TensorId};
use quipu_kv_cache::KvCells;
use quipu_model::Model;

/// What an observer does at the node it is interested in.
#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    Error,
    Panic,
    /// Panics when it is asked, not when it is shown.
    Asked,
}

/// Spoils the node after `left` others.
#[derive(Debug)]
struct Spoiler {
    left: Arc<AtomicUsize>,
    how: At,
}

impl Spoiler {
    /// Spoils once, after `n` nodes.
    fn after(n: usize, how: At) -> (Box<dyn Observer>, Arc<AtomicUsize>) {
        let left = Arc::new(AtomicUsize::new(n));
        (Box::new(Spoiler { left: Arc::clone(&left), how }), left)
    }

    fn strikes(&self) -> bool {
        self.left.fetch_sub(1, Ordering::Relaxed) == 0
    }
}

impl Observer for Spoiler {
    fn wants(&self, _: &Graph, _: TensorId) -> bool {
        assert!(self.how != At::Asked || !self.strikes(), "spoiled when asked");
        true
    }

    fn computed(&mut self, _: &Graph, _: TensorId, _: &BufferTable) -> Result<(), BackendError> {
        if self.how == At::Asked || !self.strikes() {
            return Ok(());
        }
        assert!(self.how != At::Panic, "spoiled");
        Err(BackendError::Device { device: "OBSERVER".to_owned(), message: "spoiled".to_owned() })
    }
}

fn cells(context: &Context) -> KvCells {
    context.cache().expect("a decoder has a cache").cells().clone()
}

/// Decodes a batch that must fail; whether it panicked.
fn fails(context: &mut Context, batch: &Batch) -> bool {
    match catch_unwind(AssertUnwindSafe(|| context.decode(batch))) {
        Ok(Ok(())) => panic!("a spoiled call went through"),
        Ok(Err(_)) => false,
        Err(payload) => {
            let message = payload.downcast_ref::<&str>().map_or("", |message| message);
            let message = payload.downcast_ref::<String>().map_or(message, |message| message);
            assert!(message.starts_with("spoiled"), "{message}");
            true
        }
    }
}

#[test]
fn an_observer_that_fails_or_panics_leaves_the_context_as_it_was() {
    let model = model(2);
    let all = tokens(16, 1);
    for how in [At::Error, At::Panic, At::Asked] {
        for n in [0, 5, 60, 100] {
            let mut context = context(&model, &ContextParams { n_ubatch: 4, ..params() });
            context.decode(&Batch::single(&all[..4])).unwrap();
            let before = cells(&context);
            let (spoiler, left) = Spoiler::after(n, how);
            context.set_observer(Some(spoiler));
            let panicked = fails(&mut context, &sequence(&all[4..], 0, 4));
            assert_eq!(panicked, how != At::Error, "{how:?} after {n}");
            assert_eq!(cells(&context), before, "{how:?} after {n}");
            // The observer is still there, and the next call works.
            left.store(10_000, Ordering::Relaxed);
            context.decode(&sequence(&all[4..], 0, 4)).unwrap();
            assert!(left.load(Ordering::Relaxed) < 10_000);
            let mut fresh = self::context(&model, &ContextParams { n_ubatch: 4, ..params() });
            fresh.decode(&sequence(&all, 0, 0)).unwrap();
            (0..12).for_each(|i| assert_eq!(context.logits(i).unwrap(), fresh.logits(i + 4).unwrap()));
        }
    }
}

#[test]
fn an_abort_callback_that_panics_leaves_the_context_as_it_was() {
    let model = model(2);
    let all = tokens(12, 2);
    let mut context = context(&model, &ContextParams { n_ubatch: 4, ..params() });
    context.set_abort_callback(Some(Box::new(|| panic!("spoiled"))));
    assert!(fails(&mut context, &sequence(&all, 0, 0)));
    assert_eq!(context.memory().n_used(), 0);
    context.set_abort_callback(None);
    context.decode(&sequence(&all, 0, 0)).unwrap();
    let expected = common::logits_alone(&model, &sequence(&all, 0, 0));
    (0..12).for_each(|i| common::assert_close(context.logits(i).unwrap(), &expected[i as usize], 1e-6));
}

/// A context of ten tokens, of which the first four are forgotten and the rest moved up, and what its next token gives.
fn shifted(context: &mut Context, all: &[u32]) {
    context.decode(&Batch::single(&all[..10])).unwrap();
    context.memory_mut().seq_rm(0, 0, 4).unwrap();
    context.memory_mut().seq_add(0, 4, -1, -4).unwrap();
}

#[test]
fn an_observer_cannot_leave_keys_half_shifted() {
    let model = model(2);
    let all = tokens(11, 3);
    let mut fresh = context(&model, &params());
    shifted(&mut fresh, &all);
    fresh.decode(&Batch::single(&all[10..])).unwrap();
    let expected = fresh.logits(-1).unwrap().to_vec();
    for how in [At::Error, At::Panic, At::Asked] {
        for n in 0..8 {
            let mut context = context(&model, &params());
            shifted(&mut context, &all);
            let (spoiler, left) = Spoiler::after(n, how);
            context.set_observer(Some(spoiler));
            assert_eq!(fails(&mut context, &Batch::single(&all[10..])), how != At::Error);
            left.store(usize::MAX, Ordering::Relaxed);
            assert_eq!((context.memory().n_used(), context.memory().seq_pos_max(0)), (6, 5));
            context.decode(&Batch::single(&all[10..])).unwrap();
            assert_eq!(context.logits(-1).unwrap(), expected, "{how:?} at node {n}");
            assert_eq!(context.perf().n_shifts, 1);
        }
    }
}

fn faulty_context(model: &Arc<Model>, params: &ContextParams) -> (Context, Trigger) {
    let trigger = Trigger::new();
    let device = FaultyDevice { inner: quipu_cpu_backend::CpuDevice::default(), hook: trigger.clone() };
    (Context::new(Arc::clone(model), &device, params).unwrap(), trigger)
}

#[test]
fn keys_that_a_device_left_half_shifted_are_given_up() {
    let model = model(2);
    let all = tokens(11, 4);
    let (mut context, trigger) = faulty_context(&model, &params());
    shifted(&mut context, &all);
    trigger.after(0);
    let error = context.decode(&Batch::single(&all[10..])).unwrap_err();
    assert!(matches!(error, Error::ShiftFailed(_)));
    assert_eq!(
        error.to_string(),
        "applying position shifts to cached keys failed, and the memory was cleared: FAULTY: told to fail"
    );
    assert_eq!((context.memory().n_used(), context.memory().has_update()), (0, false));
    context.decode(&sequence(&all, 0, 0)).unwrap();
    let expected = common::logits_alone(&model, &sequence(&all, 0, 0));
    (0..11).for_each(|i| assert_eq!(context.logits(i).unwrap(), expected[i as usize]));
}

/// A call that fails.
#[derive(Clone, Debug)]
enum Failing {
    /// A batch that breaks a rule.
    BadToken,
    Gap,
    TooMany,
    NoRoom,
    /// Stopped in the middle.
    Abort(usize),
    AbortPanic(usize),
    Observer(usize, bool),
    Device(usize),
}

fn failing() -> impl Strategy<Value = Failing> {
    prop_oneof![
        Just(Failing::BadToken),
        Just(Failing::Gap),
        Just(Failing::TooMany),
        Just(Failing::NoRoom),
        (0usize..60).prop_map(Failing::Abort),
        (0usize..60).prop_map(Failing::AbortPanic),
        (0usize..90, any::<bool>()).prop_map(|(n, panics)| Failing::Observer(n, panics)),
        (0usize..3).prop_map(Failing::Device),
    ]
}

/// Makes a call fail on a context that holds `n_past` tokens of sequence 0.
fn fail(context: &mut Context, trigger: &Trigger, how: &Failing, n_past: i32) {
    let all = tokens(200, 5);
    let long = sequence(&all[..12], 0, n_past);
    match *how {
        Failing::BadToken => {
            fails(context, &sequence(&[1, 48], 0, n_past));
        }
        Failing::Gap => {
            fails(context, &sequence(&[1], 0, n_past + 1));
        }
        Failing::TooMany => {
            fails(context, &sequence(&all[..65], 0, n_past));
        }
        Failing::NoRoom => {
            // Sequence 1 takes all but three cells.
            let n_free = context.memory().n_cells() - context.memory().n_used();
            let mut first = 0;
            while n_free - first as usize > 3 {
                let n = (n_free - first as usize - 3).min(60);
                context.decode(&sequence(&all[..n], 1, first)).unwrap();
                first += n as i32;
            }
            fails(context, &long);
            context.memory_mut().seq_rm(1, -1, -1).unwrap();
        }
        Failing::Abort(n) | Failing::AbortPanic(n) => {
            let (asked, panics) = (AtomicUsize::new(0), matches!(how, Failing::AbortPanic(_)));
            context.set_abort_callback(Some(Box::new(move || {
                let stops = asked.fetch_add(1, Ordering::Relaxed) == n;
                assert!(!stops || !panics, "spoiled");
                stops
            })));
            fails_or_fits(context, &long, n_past);
            context.set_abort_callback(None);
        }
        Failing::Observer(n, panics) => {
            let (spoiler, _) = Spoiler::after(n, if panics { At::Panic } else { At::Error });
            context.set_observer(Some(spoiler));
            fails_or_fits(context, &long, n_past);
            context.set_observer(None);
        }
        Failing::Device(n) => {
            trigger.after(n);
            fails(context, &long);
        }
    }
}

/// A fault that may come too late: then the batch is taken back.
fn fails_or_fits(context: &mut Context, batch: &Batch, n_past: i32) {
    if let Ok(Ok(())) = catch_unwind(AssertUnwindSafe(|| context.decode(batch))) {
        context.memory_mut().seq_rm(0, n_past, -1).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn after_any_failures_a_good_call_gives_what_a_fresh_context_gives(
        n_past in 1usize..9,
        failures in prop::collection::vec(failing(), 1..6),
    ) {
        let model = MODEL.with(Arc::clone);
        let params = ContextParams { n_ubatch: 4, n_batch: 64, ..params() };
        let all = tokens(20, 6);
        let (mut context, trigger) = faulty_context(&model, &params);
        context.decode(&sequence(&all[..n_past], 0, 0)).unwrap();
        let before = cells(&context);
        for how in &failures {
            fail(&mut context, &trigger, how, n_past as i32);
            prop_assert_eq!(&cells(&context), &before, "after {:?}", how);
        }
        let next = sequence(&all[n_past..], 0, n_past as i32);
        context.decode(&next).unwrap();
        let mut fresh = common::context(&model, &params);
        fresh.decode(&sequence(&all[..n_past], 0, 0)).unwrap();
        fresh.decode(&next).unwrap();
        for i in 0..next.n_tokens() as i32 {
            common::assert_close(context.logits(i).unwrap(), fresh.logits(i).unwrap(), 1e-6);
        }
    }
}

thread_local! {
    static MODEL: Arc<Model> = model(2);
}
