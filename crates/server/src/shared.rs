//! What handlers and the worker both see: names, counts, and what each slot does. Nothing of it waits for a computation.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quipu::{Engine, GenerateOptions};

use crate::times::Times;

/// Counts since the server began (`server_metrics`).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub n_prompt: u64,
    pub prompt: Duration,
    pub n_generated: u64,
    pub generated: Duration,
    pub n_decode: u64,
    /// Slots at work, added up over the decode calls.
    pub n_busy: u64,
    /// Most cells of the cache in use after a call.
    pub n_tokens_max: u64,
}

/// What a slot works at.
#[derive(Clone, Debug)]
pub(crate) struct SlotView {
    /// Counts the texts that slots have had.
    pub id_task: u64,
    pub n_prompt: usize,
    pub n_generated: usize,
    pub options: GenerateOptions,
    pub is_processing: bool,
}

impl SlotView {
    pub fn new(n_prompt: usize, options: &GenerateOptions) -> SlotView {
        SlotView { id_task: 0, n_prompt, n_generated: 0, options: options.clone(), is_processing: true }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Shared {
    totals: Mutex<Totals>,
    slots: Mutex<Slots>,
    /// How strongly each adapter works where a request does not say.
    loras: Mutex<Vec<f32>>,
}

#[derive(Debug)]
struct Slots {
    n_tasks: u64,
    all: Vec<Option<SlotView>>,
}

impl Shared {
    pub fn new(n_slots: usize, loras: Vec<f32>) -> Shared {
        let slots = Slots { n_tasks: 0, all: vec![None; n_slots] };
        Shared { totals: Mutex::default(), slots: Mutex::new(slots), loras: Mutex::new(loras) }
    }

    /// How strongly each adapter works.
    pub fn loras(&self) -> Vec<f32> {
        lock(&self.loras).clone()
    }

    /// From now on they work so.
    pub fn set_loras(&self, loras: Vec<f32>) {
        *lock(&self.loras) = loras;
    }

    /// The counts so far.
    pub fn totals(&self) -> Totals {
        *lock(&self.totals)
    }

    /// Every slot; `None`: it never had a text.
    pub fn slots(&self) -> Vec<Option<SlotView>> {
        lock(&self.slots).all.clone()
    }

    /// Slots at work.
    pub fn n_busy(&self) -> usize {
        lock(&self.slots).all.iter().flatten().filter(|slot| slot.is_processing).count()
    }

    /// A slot has a text now.
    pub fn take(&self, slot: usize, mut view: SlotView) {
        let mut slots = lock(&self.slots);
        view.id_task = slots.n_tasks;
        slots.n_tasks += 1;
        if let Some(place) = slots.all.get_mut(slot) {
            *place = Some(view);
        }
    }

    /// A slot's text has ended.
    pub fn free(&self, slot: usize) {
        if let Some(Some(view)) = lock(&self.slots).all.get_mut(slot) {
            view.is_processing = false;
        }
    }

    /// A slot has generated so many tokens.
    pub fn progress(&self, slot: usize, n_generated: usize) {
        if let Some(Some(view)) = lock(&self.slots).all.get_mut(slot) {
            view.n_generated = n_generated;
        }
    }

    /// A step was computed.
    pub fn decoded(&self, engine: &Engine, n_slots: usize, n_tokens: usize) {
        if n_tokens > 0 {
            let used = engine.metrics().kv_used;
            let mut totals = lock(&self.totals);
            totals.n_decode += 1;
            totals.n_busy += n_slots as u64;
            totals.n_tokens_max = totals.n_tokens_max.max(used);
        }
    }

    /// A text has ended.
    pub fn finished(&self, times: &Times) {
        let mut totals = lock(&self.totals);
        totals.n_prompt += times.n_prompt as u64;
        totals.prompt += times.prompt;
        totals.n_generated += times.n_generated as u64;
        totals.generated += times.generated;
    }
}

/// What is behind these locks is whole after every statement, also after one that panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
