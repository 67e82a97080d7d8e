//! Loops, and Python's iterators.

use std::collections::VecDeque;
use std::rc::Rc;

use super::ast::For;
use super::interpreter::{Flow, Interpreter, Object};
use super::meter::{FailKind, MACRO_DEPTH_MAX, Res, fail, too_deep, type_error};
use super::scope::ScopeId;
use super::value::{Items, ObjectId, Str, Value, View};

/// A loop that runs.
pub(crate) struct Loop<'t> {
    iter: Iter,
    /// The iterable's length, if it has one and no test thins it out.
    length: Option<usize>,
    definition: &'t For,
    /// Around the loop.
    scope: ScopeId,
    pub index0: i64,
    pub depth0: i64,
    pub before: Option<Value>,
    pub current: Option<Value>,
    /// Items that were looked at ahead of their turn, in order.
    ahead: VecDeque<Value>,
    pub changed: Option<Value>,
}

/// Python's iterator over a value.
pub(crate) struct Iter {
    source: Source,
    at: usize,
}

enum Source {
    Empty,
    Seq(Value),
    Dict(View, Value),
    Range(Value),
    Text(Rc<Str>),
    Bytes(Rc<[u8]>),
    Iterator(ObjectId),
}

impl<'t> Interpreter<'t> {
    pub(super) fn for_statement(&mut self, definition: &'t For) -> Res<Flow> {
        let iterable = self.eval(&definition.iter)?;
        if definition.recursive {
            let text = self.recursive_loop(definition, &iterable, self.scope, 0)?;
            self.write_value(&text)?;
            return Ok(Flow::Next);
        }
        self.run_loop(definition, &iterable, self.scope, 0)?;
        Ok(Flow::Next)
    }

    /// One level of a recursive loop: its text.
    pub(super) fn recursive_loop(
        &mut self,
        definition: &'t For,
        iterable: &Value,
        scope: ScopeId,
        depth0: i64,
    ) -> Res<Value> {
        self.macros += 1;
        if self.macros > MACRO_DEPTH_MAX {
            return too_deep(MACRO_DEPTH_MAX);
        }
        let text = self.capture(|this| this.run_loop(definition, iterable, scope, depth0));
        self.macros -= 1;
        text
    }

    /// Calls `loop(iterable)`.
    pub fn call_loop(&mut self, id: ObjectId, iterable: &Value) -> Res<Value> {
        let Object::Loop(state) = self.object(id) else {
            return type_error("'LoopContext' object is not callable");
        };
        if !state.definition.recursive {
            return type_error("The loop must have the 'recursive' marker to be called recursively.");
        }
        let (definition, scope, depth0) = (state.definition, state.scope, state.depth0 + 1);
        self.recursive_loop(definition, iterable, scope, depth0)
    }

    pub(super) fn run_loop(
        &mut self,
        definition: &'t For,
        iterable: &Value,
        scope: ScopeId,
        depth0: i64,
    ) -> Res<()> {
        let length = if definition.test.is_none() { self.len_if_sized(iterable)? } else { None };
        let iter = self.iter(iterable)?;
        let mut state = Loop {
            iter,
            length,
            definition,
            scope,
            index0: -1,
            depth0,
            before: None,
            current: None,
            ahead: VecDeque::new(),
            changed: None,
        };
        if !definition.uses_loop {
            // jinja2 notes that a loop ran at the end of its body, which `continue` and `break` pass over.
            let mut empty = true;
            while let Some(item) = self.advance(&mut state)? {
                let flow = self.in_scope(scope, |this| {
                    this.assign(&definition.target, item)?;
                    this.statements(&definition.body)
                })?;
                empty &= flow != Flow::Next;
                if flow == Flow::Break {
                    break;
                }
            }
            if empty {
                self.scoped(scope, &definition.otherwise)?;
            }
            return Ok(());
        }
        let object = self.add_object(Object::Loop(Box::new(state)))?;
        let Value::Object(id) = object else { return Ok(()) };
        let Some(loop_symbol) = self.special.loop_name else { return Ok(()) };
        let mut empty = true;
        while let Some(item) = self.with_loop(id, Self::advance)? {
            let object = object.clone();
            let flow = self.in_scope(scope, |this| {
                this.scopes.set(this.scope, loop_symbol, object)?;
                this.assign(&definition.target, item)?;
                this.statements(&definition.body)
            })?;
            empty &= flow != Flow::Next;
            if flow == Flow::Break {
                break;
            }
        }
        if empty {
            self.scoped(scope, &definition.otherwise)?;
        }
        Ok(())
    }

    /// Works on a loop of the table.
    pub fn with_loop<T>(
        &mut self,
        id: ObjectId,
        work: impl FnOnce(&mut Self, &mut Loop<'t>) -> Res<T>,
    ) -> Res<T> {
        let mut taken = std::mem::replace(self.object_mut(id), Object::Busy);
        let result = match &mut taken {
            Object::Loop(state) => work(self, state),
            _ => fail(FailKind::Template, "a loop is used while it looks ahead"),
        };
        *self.object_mut(id) = taken;
        result
    }

    /// The loop's next item; None at its end.
    pub(super) fn advance(&mut self, state: &mut Loop<'t>) -> Res<Option<Value>> {
        let next = match state.ahead.pop_front() {
            Some(item) => Some(item),
            None => self.next_passing(state)?,
        };
        if let Some(item) = &next {
            state.index0 += 1;
            state.before = state.current.replace(item.clone());
        }
        Ok(next)
    }

    /// The next item that passes the loop's test.
    pub(super) fn next_passing(&mut self, state: &mut Loop<'t>) -> Res<Option<Value>> {
        loop {
            let Some(item) = self.next_item(&mut state.iter)? else { return Ok(None) };
            let Some(test) = &state.definition.test else { return Ok(Some(item)) };
            let passes = self.in_scope(state.scope, |this| {
                this.assign(&state.definition.target, item.clone())?;
                this.truth_of(test)
            })?;
            if passes {
                return Ok(Some(item));
            }
        }
    }

    /// The item after the current one.
    pub fn peek(&mut self, state: &mut Loop<'t>) -> Res<Option<Value>> {
        if state.ahead.is_empty()
            && let Some(item) = self.next_passing(state)?
        {
            state.ahead.push_back(item);
        }
        Ok(state.ahead.front().cloned())
    }

    /// How many items the loop has; reads them all where their number is not known.
    pub fn loop_length(&mut self, state: &mut Loop<'t>) -> Res<usize> {
        if let Some(length) = state.length {
            return Ok(length);
        }
        while let Some(item) = self.next_passing(state)? {
            self.heap.meter.take(super::value::ITEM_BYTES)?;
            state.ahead.push_back(item);
        }
        let length = state.ahead.len() + (state.index0 + 1) as usize;
        state.length = Some(length);
        Ok(length)
    }

    // Iteration

    /// `iter(value)`.
    pub fn iter(&mut self, value: &Value) -> Res<Iter> {
        let source = match value {
            Value::Undefined(_) => Source::Empty,
            Value::List(_) | Value::Tuple(_) | Value::Group(_) => Source::Seq(value.clone()),
            Value::Dict(_) => Source::Dict(View::Keys, value.clone()),
            Value::View(view, dict) => Source::Dict(*view, Value::Dict(Rc::clone(dict))),
            Value::Range(_) => Source::Range(value.clone()),
            Value::Str(text) => Source::Text(Rc::clone(text)),
            Value::Bytes(bytes) => Source::Bytes(Rc::clone(bytes)),
            Value::Object(id) if matches!(self.object(*id), Object::Iterator { .. }) => Source::Iterator(*id),
            other => return type_error(format!("'{}' object is not iterable", self.type_of(other))),
        };
        Ok(Iter { source, at: 0 })
    }

    /// `next(iterator)`.
    pub fn next_item(&mut self, iter: &mut Iter) -> Res<Option<Value>> {
        self.step(1)?;
        let at = iter.at;
        iter.at += 1;
        Ok(match &iter.source {
            Source::Empty => None,
            Source::Seq(value) => value.as_seq().and_then(|items| items.get(at)).cloned(),
            Source::Dict(view, Value::Dict(dict)) => match dict.entries().get_index(at) {
                None => None,
                Some((key, value)) => Some(match view {
                    View::Keys => key.value.clone(),
                    View::Values => value.clone(),
                    View::Items => self.heap.pair(key.value.clone(), value.clone())?,
                }),
            },
            Source::Range(Value::Range(range)) => (at < range.len).then(|| range.get(at)),
            Source::Text(text) => match text.as_str().get(at..).and_then(|rest| rest.chars().next()) {
                None => None,
                Some(c) => {
                    iter.at = at + c.len_utf8();
                    Some(self.heap.str(c.encode_utf8(&mut [0; 4]))?)
                }
            },
            Source::Bytes(bytes) => bytes.get(at).map(|b| Value::Int(i64::from(*b))),
            Source::Iterator(id) => match self.object_mut(*id) {
                Object::Iterator { items, at, error } => {
                    let next = items.as_slice().get(*at).cloned();
                    *at += 1;
                    if next.is_none() {
                        items.clear();
                    }
                    match (next, error.take()) {
                        (None, Some(error)) => return Err(error),
                        (next, kept) => {
                            *error = kept;
                            next
                        }
                    }
                }
                _ => None,
            },
            _ => None,
        })
    }

    /// Everything that an iterable gives.
    pub fn collect(&mut self, value: &Value) -> Res<Items> {
        let mut items = self.heap.items();
        if let Some(known) = value.as_seq() {
            items.extend(known)?;
            return Ok(items);
        }
        let mut iter = self.iter(value)?;
        while let Some(item) = self.next_item(&mut iter)? {
            items.push(item)?;
        }
        Ok(items)
    }

    /// `len(value)`, where it has one.
    pub fn len_if_sized(&mut self, value: &Value) -> Res<Option<usize>> {
        Ok(match value {
            Value::Undefined(_) => Some(0),
            Value::Str(text) => {
                self.heap.meter.text_step(text.as_str().len())?;
                Some(text.as_str().chars().count())
            }
            Value::Bytes(bytes) => Some(bytes.len()),
            Value::List(seq) | Value::Tuple(seq) | Value::Group(seq) => Some(seq.items().len()),
            Value::Dict(dict) | Value::View(_, dict) => Some(dict.entries().len()),
            Value::Range(range) => Some(range.len),
            Value::Object(id) if matches!(self.object(*id), Object::Loop(_)) => {
                Some(self.with_loop(*id, Self::loop_length)?)
            }
            _ => None,
        })
    }
}
