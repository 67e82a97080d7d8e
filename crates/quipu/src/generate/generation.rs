//! A generation of a session: one sequence of its engine, computed as far as events are asked for.

use crate::TokenId;
use crate::engine::SequenceKey;
use crate::error::Error;
use crate::generate::cancel::Flow;
use crate::generate::events::{Event, EventRef, Outcome};
use crate::generate::options::GenerateOptions;
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
    pub(crate) fn new(
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
    pub(crate) fn run(mut self, mut on_event: impl FnMut(&Event) -> Flow) -> Result<Outcome, Error> {
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
