//! Events that are known and not yet handed out.

use std::collections::VecDeque;
use std::time::Duration;

use crate::TokenId;
use crate::error::Error;
use crate::generate::TokenLogprobs;

/// An event without what the sequence knows anyway.
#[derive(Debug)]
pub(crate) enum Queued {
    PromptProgress {
        n_processed: usize,
        elapsed: Duration,
    },
    Token {
        id: TokenId,
        logprobs: Option<TokenLogprobs>,
    },
    /// That many bytes of the queue's text.
    Text(usize),
    Shifted {
        n_keep: usize,
        n_discard: usize,
        n_past: usize,
    },
    Done,
    Failed(Error),
}

/// First in, first out; its memory is used again and again.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    events: VecDeque<Queued>,
    text: String,
    /// Bytes of `text` that belong to events.
    n_queued: usize,
}

impl Queue {
    /// Has the memory for what one step brings: a few events, and pieces of text with what stop strings held back.
    pub fn reserve(&mut self) {
        self.events.reserve(8);
        self.text.reserve(256);
    }

    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub fn clear(&mut self) {
        self.events.clear();
        self.text.clear();
        self.n_queued = 0;
    }

    pub fn push(&mut self, event: Queued) {
        self.events.push_back(event);
    }

    /// Where text of the next event is appended; [`Queue::push_text`] makes an event of it.
    pub fn text_mut(&mut self) -> &mut String {
        &mut self.text
    }

    /// What was appended to the text since the last call is an event, unless it is nothing.
    pub fn push_text(&mut self) {
        let n = self.text.len() - self.n_queued;
        if n > 0 {
            self.events.push_back(Queued::Text(n));
            self.n_queued = self.text.len();
        }
    }

    pub fn pop(&mut self) -> Option<Queued> {
        self.events.pop_front()
    }

    /// Moves the first `n` bytes of text to the end of `out`.
    pub fn take_text(&mut self, n: usize, out: &mut String) {
        out.push_str(&self.text[..n]);
        self.text.drain(..n);
        self.n_queued -= n;
    }
}
