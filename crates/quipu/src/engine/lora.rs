//! Adapters that sequences ask for, each with a strength of its own.

use std::sync::Arc;

use quipu_decoder::{LoraUse, SeqId};
use quipu_model::LoraAdapter;

use crate::engine::Engine;
use crate::error::Error;

impl Engine {
    /// The adapters that sequences may ask for with [`crate::GenerateOptions::loras`], in place of those that were; they were loaded for the engine's
    /// model. What the context holds is forgotten.
    pub fn set_adapters(&mut self, adapters: Vec<Arc<LoraAdapter>>) {
        self.reset();
        self.adapters = adapters;
        for lane in &mut self.lanes {
            lane.loras.clear();
            lane.loras.resize(self.adapters.len(), 0.0);
        }
        self.context.set_loras(&[]);
    }

    /// What was asked for, one strength for each adapter.
    pub(super) fn strengths(&self, asked: &[f32]) -> Vec<f32> {
        let mut all = asked.to_vec();
        all.resize(self.adapters.len(), 0.0);
        all
    }

    /// The sequences with this number have the adapters so from now on. What was computed otherwise is forgotten.
    pub(super) fn use_adapters(&mut self, seq_id: SeqId, loras: Vec<f32>) -> Result<(), Error> {
        let lane = &mut self.lanes[seq_id as usize];
        if lane.loras == loras {
            return Ok(());
        }
        lane.cached.drop_all(seq_id, self.context.memory_mut())?;
        lane.loras = loras;
        let mut uses: Vec<LoraUse> = Vec::new();
        for (i, adapter) in self.adapters.iter().enumerate() {
            let first = uses.len();
            for (seq_id, lane) in self.lanes.iter().enumerate() {
                let scale = lane.loras.get(i).copied().unwrap_or(0.0);
                if scale == 0.0 {
                    continue;
                }
                let same = uses[first..].iter_mut().find(|lora| lora.scale.to_bits() == scale.to_bits());
                match same.and_then(|lora| lora.sequences.as_mut()) {
                    Some(sequences) => sequences.push(seq_id as SeqId),
                    None => uses.push(LoraUse {
                        adapter: Arc::clone(adapter),
                        scale,
                        sequences: Some(vec![seq_id as SeqId]),
                    }),
                }
            }
        }
        self.context.set_loras(&uses);
        Ok(())
    }
}
