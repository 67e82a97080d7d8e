//! What a render may use, and what it has used: steps, bytes of memory, bytes of output, nesting.
//!
//! Every loop of the interpreter, of its filters and operators counts steps; every string, list and dictionary counts
//! its bytes while it lives. So the bounds hold whatever a template does.

use std::cell::Cell;
use std::rc::Rc;

/// Bounds of one render.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Steps: a node of the template, an element, or 64 bytes of text cost one each.
    pub steps: u64,
    /// Bytes of values alive at one time, the output included.
    pub memory: usize,
    /// Bytes of the rendered text.
    pub output: usize,
}

/// Nesting of values: lists in lists.
pub(crate) const VALUE_DEPTH_MAX: u16 = 500;
/// Nesting of the interpreter's own calls.
pub(crate) const CALL_DEPTH_MAX: u32 = 4_000;
/// Nesting of macros: Python's own limit is near 180.
pub(crate) const MACRO_DEPTH_MAX: u32 = 250;
/// Bits of an integer.
pub(crate) const INTEGER_BITS_MAX: u64 = 1 << 16;

/// Which bound a render met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Bound {
    /// Too many steps.
    Steps(u64),
    /// Too many bytes of values.
    Memory(usize),
    /// Too many bytes of output.
    Output(usize),
    /// Values, calls or macros nested too deep; the number is the level allowed.
    Depth(u32),
    /// An integer with too many bits.
    Integer(u64),
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Bound::Steps(max) => write!(f, "stopped after {max} steps"),
            Bound::Memory(max) => write!(f, "needs more than {max} bytes of memory"),
            Bound::Output(max) => write!(f, "writes more than {max} bytes"),
            Bound::Depth(max) => write!(f, "nested more than {max} levels deep"),
            Bound::Integer(bits) => write!(f, "an integer has more than {bits} bits"),
        }
    }
}

/// Why evaluation stopped.
#[derive(Debug)]
pub(crate) struct Fail {
    pub kind: FailKind,
    pub message: String,
}

/// The kinds of Python exception that the interpreter tells apart, and its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailKind {
    Bound(Bound),
    /// `raise_exception`.
    Raised,
    Type,
    Value,
    Lookup,
    Overflow,
    ZeroDivision,
    Undefined,
    Security,
    /// Jinja's own run-time errors.
    Template,
}

pub(crate) type Res<T> = Result<T, Box<Fail>>;

/// An error of `kind`.
pub(crate) fn fail<T>(kind: FailKind, message: impl Into<String>) -> Res<T> {
    Err(Box::new(Fail { kind, message: message.into() }))
}

pub(crate) fn type_error<T>(message: impl Into<String>) -> Res<T> {
    fail(FailKind::Type, message)
}

pub(crate) fn value_error<T>(message: impl Into<String>) -> Res<T> {
    fail(FailKind::Value, message)
}

fn exceeded<T>(bound: Bound) -> Res<T> {
    fail(FailKind::Bound(bound), String::new())
}

/// Nested too deep.
pub(crate) fn too_deep<T>(max: u32) -> Res<T> {
    exceeded(Bound::Depth(max))
}

/// An integer that is too large.
pub(crate) fn too_large_integer<T>() -> Res<T> {
    exceeded(Bound::Integer(INTEGER_BITS_MAX))
}

/// Counts one render's steps and bytes. Shared by all its values, which give their bytes back when they go.
#[derive(Debug)]
pub(crate) struct Meter {
    limits: Limits,
    steps: Cell<u64>,
    live: Cell<usize>,
    depth: Cell<u32>,
}

impl Meter {
    pub fn new(limits: Limits) -> Rc<Self> {
        Rc::new(Self { limits, steps: Cell::new(0), live: Cell::new(0), depth: Cell::new(0) })
    }

    /// Counts `n` steps.
    pub fn step(&self, n: usize) -> Res<()> {
        let steps = self.steps.get().saturating_add(n as u64);
        self.steps.set(steps);
        if steps > self.limits.steps { exceeded(Bound::Steps(self.limits.steps)) } else { Ok(()) }
    }

    /// Steps so far.
    pub fn steps(&self) -> u64 {
        self.steps.get()
    }

    /// Counts the steps of looking at `bytes` of text.
    pub fn text_step(&self, bytes: usize) -> Res<()> {
        self.step(1 + bytes / 64)
    }

    /// Counts `bytes` that are about to be held.
    pub fn take(&self, bytes: usize) -> Res<()> {
        let live = self.live.get().saturating_add(bytes);
        if live > self.limits.memory {
            return exceeded(Bound::Memory(self.limits.memory));
        }
        self.live.set(live);
        Ok(())
    }

    /// Counts `bytes` that are no longer held.
    pub fn give(&self, bytes: usize) {
        self.live.set(self.live.get().saturating_sub(bytes));
    }

    /// Fails where `bytes` of output are too many.
    pub fn check_output(&self, bytes: usize) -> Res<()> {
        if bytes > self.limits.output { exceeded(Bound::Output(self.limits.output)) } else { Ok(()) }
    }

    /// One level deeper, until the guard goes.
    pub fn deeper(self: &Rc<Self>) -> Res<DepthGuard> {
        let depth = self.depth.get() + 1;
        if depth > CALL_DEPTH_MAX {
            return too_deep(CALL_DEPTH_MAX);
        }
        self.depth.set(depth);
        Ok(DepthGuard(Rc::clone(self)))
    }
}

/// A level of nesting.
pub(crate) struct DepthGuard(Rc<Meter>);

impl Drop for DepthGuard {
    fn drop(&mut self) {
        self.0.depth.set(self.0.depth.get().saturating_sub(1));
    }
}
