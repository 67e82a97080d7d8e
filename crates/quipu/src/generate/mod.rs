//! What a sequence is made of besides its tokens: options, sampling, log-probabilities, events, interrupts, the rule of the
//! context shift. What drives sequences is `engine`'s and `generation`'s business.

mod cancel;
mod events;
mod logprobs;
mod options;
mod sampling;
mod shift;

pub(crate) use cancel::Interrupt;
pub use cancel::{CancelToken, Flow};
pub use events::{Event, EventRef, Outcome, StopReason};
pub(crate) use logprobs::Logprobs;
pub use logprobs::{TokenLogprobs, TopToken};
pub use options::{ContextFull, GenerateOptions};
pub(crate) use sampling::{TokenSampler, generation_sampler, ignores_eog};
pub(crate) use shift::Shift;
