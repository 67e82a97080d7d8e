//! What an engine with one sequence holds, in a file and out of it.

use std::path::Path;

use super::Engine;
use crate::error::Error;
use crate::sequence::Held;

impl Engine {
    /// Takes every sequence out, then writes what lane 0 holds to a sequence file.
    pub(crate) fn save_state(&mut self, path: &Path) -> Result<(), Error> {
        self.remove_all();
        self.lanes[0].cached.settle(0, self.context.memory_mut())?;
        Ok(self.context.state_seq_save_file(path, 0, self.lanes[0].cached.computed())?)
    }

    /// Forgets everything, then reads a sequence file into lane 0; the number of its tokens.
    pub(crate) fn load_state(&mut self, path: &Path) -> Result<usize, Error> {
        self.remove_all();
        self.reset();
        let n_ctx = self.n_ctx();
        match self.context.state_seq_load_file(path, 0, n_ctx) {
            Ok(tokens) => {
                let n = tokens.len();
                self.lanes[0].cached = Held::new(tokens);
                self.lanes[0].cached.advance(n);
                // The tokens say positions only if the state has as many.
                if !self.lanes[0].cached.restore(0, self.context.memory_mut()) {
                    self.reset();
                    return Ok(0);
                }
                Ok(n)
            }
            Err(error) => {
                self.reset();
                Err(error.into())
            }
        }
    }
}
