//! Adapters at work in a context.

use std::sync::Arc;

use quipu_batch::SeqId;
use quipu_model::{ActiveLora, ActiveSteering, LoraAdapter, Steering};

use crate::context::Context;

/// An adapter to be put to work.
#[derive(Clone, Debug)]
pub struct LoraUse {
    /// The adapter, which was loaded for the context's model.
    pub adapter: Arc<LoraAdapter>,
    /// How strongly; 0: not at all.
    pub scale: f32,
    /// For tokens whose first sequence is one of these; `None`: for all.
    pub sequences: Option<Vec<SeqId>>,
}

impl LoraUse {
    /// The adapter for all sequences, as strongly as it was trained.
    pub fn new(adapter: Arc<LoraAdapter>) -> LoraUse {
        LoraUse { adapter, scale: 1.0, sequences: None }
    }
}

impl Context {
    /// Puts these adapters to work, in place of those that were (`llama_set_adapters_lora`). What the memory holds stays as it was computed.
    ///
    /// Some may be for some sequences only, so that one batch serves several of them.
    pub fn set_loras(&mut self, loras: &[LoraUse]) {
        let active = |lora: &LoraUse| {
            let first_buffer = self.register_lora(&lora.adapter);
            ActiveLora {
                adapter: Arc::clone(&lora.adapter),
                scale: lora.scale,
                sequences: lora.sequences.clone(),
                first_buffer,
            }
        };
        let loras: Vec<ActiveLora> = loras.iter().filter(|lora| lora.scale != 0.0).map(active).collect();
        self.change_adapters(|adapters| adapters.loras = loras);
    }

    /// Puts a control vector to work, in place of the one that was, or none (`llama_set_adapter_cvec`).
    pub fn set_steering(&mut self, steering: Option<&Arc<Steering>>) {
        let steering = steering.map(|steering| {
            let first_buffer = self.register_buffers(steering.buffers());
            ActiveSteering { steering: Arc::clone(steering), first_buffer }
        });
        self.change_adapters(|adapters| adapters.steering = steering);
    }
}
