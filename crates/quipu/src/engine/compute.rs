//! One batch, from what the sequences want to the tokens that they choose: gathered, decoded all or nothing, made smaller
//! where there is no room, and its logits fed.

use std::time::Instant;

use quipu_decoder::SeqId;
use tracing::Span;

use crate::engine::lane::Live;
use crate::engine::{Engine, gather};
use crate::error::Error;
use crate::sequence::{Held, Step};

/// A sequence's part of the batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub seq_id: SeqId,
    pub n_tokens: usize,
    /// Index of its last token in the batch.
    pub last: usize,
}

/// The part of a batch that belongs to prompts.
#[derive(Clone, Copy, Debug)]
struct PromptPart {
    n_tokens: usize,
    /// Position of the first of them.
    n_past: usize,
}

impl Engine {
    /// Computes one batch of what sequences want.
    pub(super) fn compute(&mut self) -> Result<usize, Error> {
        self.clock += 1;
        self.admit();
        self.adopt_lanes();
        self.let_wait();
        let mut limit = self.context.params().n_batch;
        loop {
            let prompt = self.gather(limit);
            let n_tokens = self.batch.n_tokens();
            if n_tokens == 0 {
                return Ok(0);
            }
            match self.decode_in_spans(prompt) {
                Ok(()) => {
                    self.tell_computed();
                    return Ok(n_tokens);
                }
                Err(Error::Decoder(quipu_decoder::Error::NoSlot(error))) => {
                    limit = self.make_room(n_tokens, limit, error)?;
                }
                Err(Error::Decoder(quipu_decoder::Error::Aborted)) if self.end_interrupted() => return Ok(0),
                Err(error) => return Err(error),
            }
        }
    }

    /// Sequences that waited for room go on, the oldest first, as far as there is room for them; one that is to end need not wait for that.
    fn admit(&mut self) {
        let runs = |live: &&Live| !live.is_parked && !live.sequence.is_done();
        let mut n_running = self.live.iter().filter(runs).count();
        let held: usize = self.live.iter().filter(runs).map(|live| live.sequence.held().len()).sum();
        let mut room = self.context.params().n_ctx.saturating_sub(held);
        let mut is_full = false;
        for live in self.live.iter_mut().filter(|live| live.is_parked) {
            let needed = live.sequence.held().len() + 1;
            is_full = is_full || (n_running > 0 && needed > room);
            if !is_full {
                room = room.saturating_sub(needed);
                n_running += 1;
            }
            live.is_parked = is_full && live.sequence.interrupt().reason().is_none();
        }
    }

    /// New sequences take over what their lanes hold, or make the memory forget it.
    fn adopt_lanes(&mut self) {
        for live in self.live.iter_mut().filter(|live| live.sequence.is_new() && !live.is_parked) {
            let (lane, memory) =
                (&mut self.lanes[live.sequence.seq_id() as usize], self.context.memory_mut());
            let forgotten =
                if live.takes_over { Ok(()) } else { lane.cached.drop_all(live.sequence.seq_id(), memory) };
            if let Err(error) = forgotten.and_then(|()| live.sequence.adopt(&mut lane.cached, memory)) {
                live.sequence.fail(error);
            }
        }
    }

    /// Decides who waits in this step: sequences whose events were not taken. What they say within the step, as that
    /// they were shifted, does not count when a batch is gathered once more.
    fn let_wait(&mut self) {
        for live in &mut self.live {
            live.waits = live.is_parked || !live.sequence.has_no_events();
            if live.waits && !live.sequence.is_new() {
                live.sequence.end_if_interrupted();
            }
        }
    }

    /// Fills the batch with at most `limit` tokens; which of them are a prompt's.
    fn gather(&mut self, limit: usize) -> Option<PromptPart> {
        self.wanted.clear();
        for i in 0..self.live.len() {
            let n = self.ask(i);
            self.wanted.push(n);
        }
        if self.deterministic {
            self.share_out_to_one();
        } else {
            gather::share_out(&self.wanted, limit, self.clock as usize, &mut self.shares);
        }
        self.batch.clear();
        self.parts.clear();
        let mut prompt: Option<PromptPart> = None;
        for ((live, wanted), share) in self.live.iter().zip(&self.wanted).zip(&self.shares) {
            if *share == 0 {
                continue;
            }
            let (seq_id, held) = (live.sequence.seq_id(), live.sequence.held());
            let n_past = held.n_past();
            for (i, token) in held.pending()[..*share].iter().enumerate() {
                self.batch.add(*token, (n_past + i) as i32, &[seq_id], i + 1 == *wanted);
            }
            self.parts.push(Part { seq_id, n_tokens: *share, last: self.batch.n_tokens() - 1 });
            if live.sequence.prompt_time().is_none() {
                prompt.get_or_insert(PromptPart { n_tokens: 0, n_past }).n_tokens += share;
            }
        }
        prompt
    }

    /// One sequence gets the batch, in turn: of its prompt the next whole ubatch, and what was generated token by token. So a token is always
    /// computed with the same others.
    fn share_out_to_one(&mut self) {
        self.shares.clear();
        self.shares.resize(self.wanted.len(), 0);
        let (n, n_ubatch) = (self.wanted.len(), self.context.params().n_ubatch);
        let turns = (0..n).map(|turn| (self.clock as usize + turn) % n);
        let Some(i) = turns.into_iter().find(|i| self.wanted[*i] > 0) else { return };
        let sequence = &self.live[i].sequence;
        let n_past = sequence.held().n_past();
        let of_prompt = sequence.n_prompt().saturating_sub(n_past);
        let share = of_prompt.min(n_ubatch - n_past % n_ubatch).max(1);
        self.shares[i] = share.min(self.wanted[i]);
    }

    /// How many tokens a sequence wants to be computed; none if it waits. One whose context is full is shifted first.
    fn ask(&mut self, index: usize) -> usize {
        let Live { sequence, waits, .. } = &mut self.live[index];
        if *waits {
            return 0;
        }
        loop {
            match sequence.step() {
                Step::Compute { tokens, .. } => return tokens.len(),
                Step::Shift { n_keep, n_discard } => {
                    match sequence.shift(n_keep, n_discard, self.context.memory_mut()) {
                        Ok(true) => self.counts.n_shifts += 1,
                        Ok(false) => {
                            sequence.fail(Error::CannotShift { name: self.model.name().to_owned() });
                        }
                        Err(error) => sequence.fail(error),
                    }
                }
                Step::Logits | Step::Done => return 0,
            }
        }
    }

    /// Decodes the batch, inside of the spans it belongs to.
    fn decode_in_spans(&mut self, prompt: Option<PromptPart>) -> Result<(), Error> {
        let of_one = match self.parts.as_slice() {
            [part] => self.live.iter().find(|live| live.sequence.seq_id() == part.seq_id),
            _ => None,
        };
        let _in_generation = of_one.map_or_else(Span::none, |live| live.sequence.span().clone()).entered();
        let Some(PromptPart { n_tokens, n_past }) = prompt else { return self.decode(false) };
        let span = tracing::debug_span!("prefill", n_tokens, n_past);
        span.in_scope(|| self.decode(self.batch.n_tokens() > 1))
    }

    /// Decodes the batch, all or nothing.
    pub(super) fn decode(&mut self, is_prompt: bool) -> Result<(), Error> {
        let start = Instant::now();
        self.guarded(|engine| Ok(engine.context.decode(&engine.batch)?))?;
        let (n_tokens, spent) = (self.batch.n_tokens(), start.elapsed());
        self.counts.n_decode += 1;
        let timings = &mut self.timings;
        let (n, time) = if is_prompt {
            (&mut timings.n_prompt, &mut timings.prompt)
        } else {
            (&mut timings.n_eval, &mut timings.eval)
        };
        *n += n_tokens;
        *time += spent;
        Ok(())
    }

    /// After a decode: sequences learn that their parts were computed.
    fn tell_computed(&mut self) {
        for part in &self.parts {
            let live = self.live.iter_mut().find(|live| live.sequence.seq_id() == part.seq_id);
            let Some(Live { sequence, .. }) = live else { continue };
            let was_done = sequence.prompt_time().is_some();
            sequence.computed(part.n_tokens);
            if let (false, Some(time)) = (was_done, sequence.prompt_time()) {
                let outcome = sequence.outcome();
                self.counts.add_prompt((outcome.n_prompt - outcome.n_cached) as u64, time);
            }
        }
        self.count_held();
    }

    /// Notes how full the context is.
    pub(super) fn count_held(&mut self) {
        let live = self.live.iter().map(|live| live.sequence.held());
        let held = live.chain(self.lanes.iter().map(|lane| &lane.cached)).map(Held::n_past);
        self.counts.n_tokens_max = self.counts.n_tokens_max.max(held.sum::<usize>() as u64);
    }

    /// Sequences whose last token was computed choose the next one.
    pub(super) fn sample(&mut self) {
        for part in &self.parts {
            let live = self.live.iter_mut().find(|live| live.sequence.seq_id() == part.seq_id);
            let Some(Live { sequence, .. }) = live.filter(|live| live.sequence.wants_logits()) else {
                continue;
            };
            match self.context.logits(part.last as i32) {
                Ok(logits) => sequence.feed(logits),
                Err(error) => sequence.fail(error.into()),
            }
        }
    }

    /// There was no room for a batch of `n_tokens` within `limit`: the limit to try next. What ended and left sequences hold goes
    /// first, the one that left longest ago. Then the batch gets smaller, and if not even one token fits, the newest sequence waits until others
    /// end; one that is alone ends.
    fn make_room(
        &mut self,
        n_tokens: usize,
        limit: usize,
        error: quipu_kv_cache::Error,
    ) -> Result<usize, Error> {
        let ended = |live: &&mut Live| live.sequence.is_done() && live.sequence.held().n_past() > 0;
        if let Some(Live { sequence, .. }) = self.live.iter_mut().find(ended) {
            let seq_id = sequence.seq_id();
            sequence.held_mut().drop_all(seq_id, self.context.memory_mut())?;
            return Ok(limit);
        }
        let cached = self.lanes.iter_mut().enumerate();
        let cached = cached.filter(|(_, lane)| !lane.is_taken && lane.cached.n_past() > 0);
        if let Some((i, lane)) = cached.min_by_key(|(_, lane)| lane.last_used) {
            lane.cached.drop_all(i as SeqId, self.context.memory_mut())?;
            return Ok(limit);
        }
        if n_tokens > 1 {
            return Ok(n_tokens / 2);
        }
        let runs = |live: &&mut Live| !live.is_parked && !live.sequence.is_done();
        let n_running = self.live.iter_mut().filter(runs).count();
        // They are in the order in which they came.
        let Some(live) = self.live.iter_mut().rfind(runs) else {
            return Err(quipu_decoder::Error::NoSlot(error).into());
        };
        let (n_held, seq_id) = (live.sequence.held().n_past(), live.sequence.seq_id());
        let memory = self.context.memory_mut();
        if n_running > 1 {
            live.sequence.held_mut().evict(seq_id, memory)?;
            (live.is_parked, live.waits) = (true, true);
        } else {
            if !live.sequence.end_full() {
                live.sequence.fail(Error::NoRoom { n_held, n_ctx: self.context.params().n_ctx });
            }
            live.sequence.held_mut().drop_all(seq_id, self.context.memory_mut())?;
        }
        Ok(self.context.params().n_batch)
    }

    /// After an abort: ends who wanted that; whether there was anybody.
    fn end_interrupted(&mut self) -> bool {
        let mut any = false;
        for live in &mut self.live {
            any |= live.sequence.end_if_interrupted();
        }
        any
    }
}
