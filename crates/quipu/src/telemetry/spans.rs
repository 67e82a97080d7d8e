//! Spans that are open: who they are, what they carry, how long they were entered.

use std::time::{Duration, Instant};

use tracing::Metadata;
use tracing::field::{Field, Visit};

use super::json::Value;

/// Fields of a span or an event, in the order they were recorded.
#[derive(Debug, Default)]
pub(crate) struct Fields(pub Vec<(&'static str, Value)>);

impl Fields {
    /// The value of a field; 0 where there is none.
    pub fn count(&self, name: &str) -> u64 {
        self.get(name).map_or(0, Value::count)
    }

    /// The value of a field that is a time in seconds.
    pub fn time(&self, name: &str) -> Duration {
        let seconds = self.get(name).map_or(0.0, Value::seconds);
        Duration::try_from_secs_f64(seconds).unwrap_or_default()
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    fn set(&mut self, field: &Field, value: Value) {
        match self.0.iter_mut().find(|(key, _)| *key == field.name()) {
            Some((_, old)) => *old = value,
            None => self.0.push((field.name(), value)),
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, Value::F64(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, Value::I64(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, Value::U64(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, Value::Bool(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, Value::Text(value.to_owned()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.set(field, Value::Text(format!("{value:?}")));
    }
}

/// An open span.
#[derive(Debug)]
pub(crate) struct OpenSpan {
    pub metadata: &'static Metadata<'static>,
    pub fields: Fields,
    /// Handles to it.
    refs: usize,
    /// How often it is entered at the moment (a span may be entered again inside of itself).
    depth: usize,
    entered: Option<Instant>,
    /// Time inside of it so far.
    pub busy: Duration,
}

/// Open spans by number. Numbers of closed ones are used again, and so is their memory.
#[derive(Debug, Default)]
pub(crate) struct OpenSpans {
    slots: Vec<Option<OpenSpan>>,
    free: Vec<usize>,
    spare: Vec<Fields>,
}

impl OpenSpans {
    /// An empty list of fields.
    pub fn fields(&mut self) -> Fields {
        self.spare.pop().unwrap_or_default()
    }

    /// Gives a list of fields back.
    pub fn recycle(&mut self, mut fields: Fields) {
        fields.0.clear();
        self.spare.push(fields);
    }

    /// Opens a span and returns its number, counting from 1.
    pub fn open(&mut self, metadata: &'static Metadata<'static>, fields: Fields) -> u64 {
        let span = OpenSpan { metadata, fields, refs: 1, depth: 0, entered: None, busy: Duration::ZERO };
        if let Some(i) = self.free.pop() {
            self.slots[i] = Some(span);
            return i as u64 + 1;
        }
        self.slots.push(Some(span));
        self.slots.len() as u64
    }

    pub fn get(&mut self, id: u64) -> Option<&mut OpenSpan> {
        self.slots.get_mut(usize::try_from(id).ok()?.checked_sub(1)?)?.as_mut()
    }

    pub fn add_ref(&mut self, id: u64) {
        if let Some(span) = self.get(id) {
            span.refs += 1;
        }
    }

    /// Drops a handle; the span if it was the last one.
    pub fn drop_ref(&mut self, id: u64) -> Option<OpenSpan> {
        let span = self.get(id)?;
        span.refs -= 1;
        if span.refs > 0 {
            return None;
        }
        let i = usize::try_from(id).ok()?.checked_sub(1)?;
        self.free.push(i);
        self.slots[i].take()
    }

    pub fn enter(&mut self, id: u64, now: Instant) {
        if let Some(span) = self.get(id) {
            span.depth += 1;
            if span.depth == 1 {
                span.entered = Some(now);
            }
        }
    }

    pub fn exit(&mut self, id: u64, now: Instant) {
        if let Some(span) = self.get(id) {
            span.depth = span.depth.saturating_sub(1);
            if span.depth == 0
                && let Some(entered) = span.entered.take()
            {
                span.busy += now.saturating_duration_since(entered);
            }
        }
    }
}
