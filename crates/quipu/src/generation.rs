//! From a prompt to text: prefill, the decode loop, and all the ways it can end.
//!
//! A [`Generation`] is one [`Sequence`] in a session's engine, computed as far as events are asked for. It serves
//! both forms: an iterator of [`Event`]s that the caller pulls ([`Session::stream`]), and callbacks
//! ([`Session::generate`], [`Session::generate_events`]) that are loops over it.

use crate::TokenId;
use crate::engine::SequenceKey;
use crate::error::Error;
use crate::generate::{Event, EventRef, Flow, GenerateOptions, Outcome};
use crate::sequence::Sequence;
use crate::session::Session;

/// A generation under way: an iterator of events, made by [`Session::stream`].
///
/// After [`Event::Done`] or an error it yields nothing more. It may be dropped at any time; the session keeps what
/// was computed and is free for the next generation.
#[derive(Debug)]
pub struct Generation<'s> {
    session: &'s mut Session,
    key: SequenceKey,
}

impl<'s> Generation<'s> {
    fn new(
        session: &'s mut Session,
        prompt: Vec<TokenId>,
        options: &GenerateOptions,
    ) -> Result<Generation<'s>, Error> {
        // One that was forgotten instead of dropped would keep the session's only place.
        session.engine.remove_all();
        let key = session.engine.add(prompt, options)?;
        Ok(Generation { session, key })
    }

    /// The next event; `None` after the end. An error ends the generation, not the session.
    pub fn next_event(&mut self) -> Option<Result<Event, Error>> {
        loop {
            if let Some(event) = self.sequence_mut().next_event() {
                return Some(event.map(EventRef::to_event));
            }
            if self.sequence().is_done() {
                return None;
            }
            if let Err(error) = self.session.engine.advance() {
                self.sequence_mut().fail(error);
            }
        }
    }

    /// What happened so far.
    pub fn outcome(&self) -> &Outcome {
        self.sequence().outcome()
    }

    /// Hands every event to `on_event` until the end, or until it asks to stop.
    fn run(mut self, mut on_event: impl FnMut(&Event) -> Flow) -> Result<Outcome, Error> {
        while let Some(event) = self.next_event() {
            let event = event?;
            let flow = on_event(&event);
            if let Event::Done(outcome) = event {
                return Ok(outcome);
            }
            if flow == Flow::Stop {
                self.sequence_mut().stop();
            }
        }
        Ok(self.outcome().clone())
    }

    fn sequence(&self) -> &Sequence {
        self.session.engine.at(self.key)
    }

    fn sequence_mut(&mut self) -> &mut Sequence {
        self.session.engine.at_mut(self.key)
    }
}

impl Iterator for Generation<'_> {
    type Item = Result<Event, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_event()
    }
}

impl std::iter::FusedIterator for Generation<'_> {}

impl Drop for Generation<'_> {
    fn drop(&mut self) {
        self.session.engine.remove(self.key);
    }
}

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
