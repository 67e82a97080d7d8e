//! All or nothing: after a failure, panics included, the memory holds what the sequences say it holds.

use quipu_decoder::SeqId;

use crate::engine::Engine;
use crate::error::Error;

/// Restores the engine when it is dropped, unless the work was done.
struct Guard<'e> {
    engine: &'e mut Engine,
    is_done: bool,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            self.engine.restore();
        }
    }
}

impl Engine {
    /// Does `work`. If it fails or panics, the memory forgets what it took in meanwhile.
    pub(super) fn guarded<T>(
        &mut self,
        work: impl FnOnce(&mut Engine) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut guard = Guard { engine: self, is_done: false };
        let result = work(guard.engine);
        guard.is_done = result.is_ok();
        result
    }

    /// Makes the memory forget what no sequence knows of. If it cannot, or if it lost what sequences know of (keys that were
    /// half shifted), it is emptied: then sequences compute their tokens again.
    fn restore(&mut self) {
        let mut is_restored = true;
        for i in 0..self.lanes.len() {
            let seq_id = i as SeqId;
            is_restored = is_restored && {
                let live = self.live.iter().find(|live| live.sequence.seq_id() == seq_id);
                let held = live.filter(|live| !live.sequence.is_new()).map(|live| live.sequence.held());
                held.unwrap_or(&self.lanes[i].cached).restore(seq_id, self.context.memory_mut())
            };
        }
        if !is_restored {
            self.context.memory_mut().clear();
            self.lanes.iter_mut().for_each(|lane| lane.cached.clear());
            self.live.iter_mut().for_each(|live| live.sequence.held_mut().lost());
        }
    }
}
