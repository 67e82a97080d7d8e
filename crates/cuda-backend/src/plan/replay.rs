//! Plans that repeat: recorded once, queued with one call.
//!
//! Decoding runs the same plan for every token until the cache's window grows. The second run of a plan is recorded, on a
//! stream of its own, and it and the runs after it are replayed. Answers to `ggml_cuda_graph`.

use std::sync::Arc;

use crate::driver::{Driver, DriverError, Recording, Stream};
use crate::plan::Plan;
use crate::shared::Shared;

/// How far a plan is from being replayed.
#[derive(Debug)]
pub(crate) struct Replay {
    shared: Arc<Shared>,
    n_runs: u32,
    recording: Option<Recording>,
}

impl Replay {
    pub fn new(shared: Arc<Shared>) -> Replay {
        Replay { shared, n_runs: 0, recording: None }
    }

    /// What the coming run is to be: `None` if it is launched.
    pub fn recording(&self) -> Option<Recording> {
        self.recording
    }

    /// Whether the coming run is worth recording: one like it was before.
    pub fn is_repeated(&self) -> bool {
        self.n_runs > 0
    }

    /// Counts a run that was launched.
    pub fn count(&mut self) {
        self.n_runs = self.n_runs.saturating_add(1);
    }

    pub fn keep(&mut self, recording: Recording) {
        self.forget();
        self.recording = Some(recording);
    }

    /// Starts over, because arguments changed.
    pub fn forget(&mut self) {
        self.n_runs = 0;
        if let Some(recording) = self.recording.take() {
            // Every run ends with a wait, so that none is queued; a refusal has nothing to say any more.
            // SAFETY: from this driver, destroyed once.
            let _ = unsafe { self.shared.driver.destroy_recording(recording) };
        }
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        self.forget();
    }
}

/// Where a backend records.
#[derive(Debug)]
pub(crate) struct Recorder {
    shared: Arc<Shared>,
    /// Made at first use.
    stream: Option<Stream>,
    /// The driver refused once; it is not asked again.
    refused: bool,
}

impl Recorder {
    pub fn new(shared: Arc<Shared>) -> Recorder {
        Recorder { shared, stream: None, refused: false }
    }

    /// Records clearing `cleared` (address and bytes) and all launches of a plan; `None` if the driver does not: launches
    /// work without it.
    ///
    /// # Safety
    /// Whenever the recording is replayed, everything holds that launching every step of the plan on the shared stream asks
    /// for.
    pub unsafe fn record(&mut self, plan: &Plan, cleared: (u64, usize)) -> Option<Recording> {
        if self.refused {
            return None;
        }
        // SAFETY: the caller's promise.
        let recording = unsafe { self.try_record(plan, cleared) };
        self.refused = recording.is_err();
        recording.ok()
    }

    /// # Safety
    /// As [`Recorder::record`].
    unsafe fn try_record(&mut self, plan: &Plan, cleared: (u64, usize)) -> Result<Recording, DriverError> {
        let driver: &dyn Driver = self.shared.driver.as_ref();
        let stream = match self.stream {
            Some(stream) => stream,
            None => *self.stream.insert(driver.create_stream()?),
        };
        // SAFETY: nobody else knows the stream, and what follows are a fill and launches.
        unsafe { driver.begin_recording(stream) }?;
        let queue = || -> Result<(), DriverError> {
            let (address, len) = cleared;
            if len > 0 {
                // SAFETY: the caller's promise.
                unsafe { driver.fill(stream, address, 0, len) }?;
            }
            for step in &plan.steps {
                // SAFETY: the caller's promise.
                unsafe { driver.launch(stream, step.function, &plan.launch(step)) }?;
            }
            Ok(())
        };
        let queued = queue();
        // Recording ends in any case: a stream that records is of no use.
        let ended = driver.end_recording(stream);
        match (queued, ended) {
            (Ok(()), ended) => ended,
            (Err(error), ended) => {
                if let Ok(recording) = ended {
                    // SAFETY: made above, replayed by nobody.
                    let _ = unsafe { driver.destroy_recording(recording) };
                }
                Err(error)
            }
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if let Some(stream) = self.stream.take() {
            // SAFETY: from this driver, destroyed once; recording is all that it was used for.
            let _ = unsafe { self.shared.driver.destroy_stream(stream) };
        }
    }
}
