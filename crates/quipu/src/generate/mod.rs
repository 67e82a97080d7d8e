//! From a prompt to text: prefill, the decode loop, and all the ways it can end.
//!
//! A [`Generation`] is one [`crate::Sequence`] in a session's engine, computed as far as events are asked for. It serves
//! both forms: an iterator of [`Event`]s that the caller pulls ([`Session::stream`]), and callbacks
//! ([`Session::generate`], [`Session::generate_events`]) that are loops over it. Here is also what a sequence is made
//! of besides its tokens: options, sampling, log-probabilities, interrupts, the rule of the context shift.

mod cancel;
mod events;
mod generation;
mod logprobs;
mod options;
mod sampling;
mod shift;

pub(crate) use cancel::Interrupt;
pub use cancel::{CancelToken, Flow};
pub use events::{Event, EventRef, Outcome, StopReason};
pub use generation::Generation;
pub(crate) use logprobs::Logprobs;
pub use logprobs::{TokenLogprobs, TopToken};
pub use options::{ContextFull, GenerateOptions};
pub(crate) use sampling::{TokenSampler, generation_sampler, ignores_eog};
pub(crate) use shift::Shift;

use crate::TokenId;
use crate::error::Error;
use crate::session::Session;

impl Session {
    /// Continues `prompt`. What the session decoded before is reused as far as the prompt begins with it.
    /// Pieces of text, always whole characters, go to `sink` as soon as they are certain.
    ///
    /// # Errors
    /// An empty or too long prompt, bad sampling parameters, a context to be shifted that cannot be, a failed
    /// computation. The session stays usable.
    pub fn generate(
        &mut self,
        prompt: &str,
        options: &GenerateOptions,
        sink: impl FnMut(&str) -> Flow,
    ) -> Result<Outcome, Error> {
        self.stream(prompt, options)?.run(only_text(sink))
    }

    /// As [`Session::generate`], from tokens.
    ///
    /// # Errors
    /// As [`Session::generate`]; also token ids outside the vocabulary.
    pub fn generate_from(
        &mut self,
        prompt: &[TokenId],
        options: &GenerateOptions,
        sink: impl FnMut(&str) -> Flow,
    ) -> Result<Outcome, Error> {
        self.stream_from(prompt, options)?.run(only_text(sink))
    }

    /// As [`Session::generate_from`], with every event handed to `on_event`, the final [`Event::Done`] included.
    ///
    /// # Errors
    /// As [`Session::generate_from`].
    pub fn generate_events(
        &mut self,
        prompt: &[TokenId],
        options: &GenerateOptions,
        on_event: impl FnMut(&Event) -> Flow,
    ) -> Result<Outcome, Error> {
        self.stream_from(prompt, options)?.run(on_event)
    }

    /// Continues `prompt` step by step, as an iterator of events. Nothing is computed before the first one is
    /// asked for, and dropping the iterator leaves the session with what was computed.
    ///
    /// ```
    /// # #[cfg(feature = "embedded-model")]
    /// # fn main() -> Result<(), quipu::Error> {
    /// let model = quipu::Model::embedded()?;
    /// let mut session = model.session(&quipu::SessionOptions::default())?;
    /// let options = quipu::GenerateOptions { max_tokens: Some(8), n_probs: 2, ..Default::default() };
    /// for event in session.stream("Once upon a time", &options)? {
    ///     match event? {
    ///         quipu::Event::Text(text) => print!("{text}"),
    ///         quipu::Event::Done(outcome) => println!("\n{:?}", outcome.stop),
    ///         _ => {}
    ///     }
    /// }
    /// # Ok(()) }
    /// # #[cfg(not(feature = "embedded-model"))]
    /// # fn main() {}
    /// ```
    ///
    /// # Errors
    /// What can be said before computing: an empty or too long prompt, bad sampling parameters, a context to be
    /// shifted that cannot be, a model without vocabulary.
    pub fn stream(&mut self, prompt: &str, options: &GenerateOptions) -> Result<Generation<'_>, Error> {
        let tokens = self.model().tokenizer()?.encode(prompt, true, options.parse_special)?;
        Generation::new(self, tokens, options)
    }

    /// As [`Session::stream`], from tokens.
    ///
    /// # Errors
    /// As [`Session::stream`]; also token ids outside the vocabulary.
    pub fn stream_from(
        &mut self,
        prompt: &[TokenId],
        options: &GenerateOptions,
    ) -> Result<Generation<'_>, Error> {
        Generation::new(self, prompt.to_vec(), options)
    }
}

fn only_text(mut sink: impl FnMut(&str) -> Flow) -> impl FnMut(&Event) -> Flow {
    move |event| match event {
        Event::Text(text) => sink(text),
        _ => Flow::Continue,
    }
}
