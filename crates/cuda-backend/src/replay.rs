//! Runs that repeat: recorded once, queued with one call.
//!
//! Decoding launches the same kernels with the same arguments for every token until the cache's window grows. The second
//! run in a row that is like the one before it is recorded, on a stream of its own, and the runs after it are replayed.
//! Answers to `ggml_cuda_graph`.

use std::sync::Arc;

use quipu_backend::Error;

use crate::driver::{DriverError, Launch, Recording, Stream, Value};
use crate::plan::Plan;
use crate::shared::Shared;

/// What a run was: its launches, and the counters that are cleared first.
#[derive(Debug, Default, PartialEq)]
struct Shape {
    launches: Vec<(&'static str, [u32; 3])>,
    values: Vec<Value>,
    cleared: (u64, usize),
}

/// The last run, and its recording if there is one.
#[derive(Debug)]
pub(crate) struct Replay {
    shared: Arc<Shared>,
    /// Made at first use.
    stream: Option<Stream>,
    last: Shape,
    recording: Option<Recording>,
    /// The driver refused once; it is not asked again.
    refused: bool,
}

/// How to run this time.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Launch by launch.
    Plain,
    /// It is queued already.
    Done,
}

impl Replay {
    pub fn new(shared: Arc<Shared>) -> Replay {
        Replay { shared, stream: None, last: Shape::default(), recording: None, refused: false }
    }

    /// Looks at a run whose arguments are final: replays it, records it first, or leaves it to be launched.
    ///
    /// # Safety
    /// As launching every step of the plan on the shared stream, after clearing `cleared` (address and bytes).
    pub unsafe fn turn(&mut self, plan: &Plan, cleared: (u64, usize)) -> Result<Turn, Error> {
        if self.refused {
            return Ok(Turn::Plain);
        }
        let steps = || plan.steps.iter().map(|step| (step.kernel.name, step.grid));
        let same = self.last.cleared == cleared
            && self.last.values == plan.values()
            && self.last.launches.iter().copied().eq(steps());
        if !same {
            self.forget();
            self.last.launches.clear();
            self.last.launches.extend(steps());
            self.last.values.clear();
            self.last.values.extend_from_slice(plan.values());
            self.last.cleared = cleared;
            return Ok(Turn::Plain);
        }
        let recording = if let Some(recording) = self.recording {
            recording
        } else {
            // SAFETY: the caller's promises, which hold when it is replayed below.
            let Ok(recording) = (unsafe { self.record(plan, cleared) }) else {
                // Launches work without it.
                self.refused = true;
                return Ok(Turn::Plain);
            };
            *self.recording.insert(recording)
        };
        // SAFETY: launches and arguments are those of this run's plan, for which the caller promises.
        let done = unsafe { self.shared.driver.replay(self.shared.stream, recording) };
        done.map_err(|error| self.shared.error(&error))?;
        Ok(Turn::Done)
    }

    /// Records clearing and all launches.
    ///
    /// # Safety
    /// As [`Replay::turn`], whenever the recording is replayed.
    unsafe fn record(&mut self, plan: &Plan, cleared: (u64, usize)) -> Result<Recording, DriverError> {
        let driver = self.shared.driver.as_ref();
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
                let launch: Launch<'_> = plan.launch(step);
                // SAFETY: the caller's promise.
                unsafe { driver.launch(stream, step.function, &launch) }?;
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

    fn forget(&mut self) {
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
        if let Some(stream) = self.stream.take() {
            // SAFETY: from this driver, destroyed once; recording is all that it was used for.
            let _ = unsafe { self.shared.driver.destroy_stream(stream) };
        }
    }
}
