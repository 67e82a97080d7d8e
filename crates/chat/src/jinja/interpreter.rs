//! Runs a template: statements and expressions. Loops and macros are beside it.

use std::rc::Rc;
use std::time::SystemTime;

use super::ast::{Arguments, CompareOp, Expr, ExprKind, Macro, Stmt, StmtKind, Symbol, Target, Template};
use super::compare;
use super::loops::Loop;
use super::meter::{Fail, FailKind, Limits, Meter, Res, fail, type_error, value_error};
use super::scope::{ScopeId, Scopes, TOP};
use super::value::{Buffer, Entries, Function, Heap, Items, ObjectId, Value};

/// What a template is given.
pub(crate) struct Host<'a> {
    /// The variables; a later one of the same name wins.
    pub variables: &'a [(&'a str, &'a serde_json::Value)],
    /// What `strftime_now` takes for the present.
    pub now: SystemTime,
}

/// Renders `template`; an error comes with its line.
pub(crate) fn render(template: &Template, host: &Host<'_>, limits: Limits) -> Result<String, (u32, Fail)> {
    let meter = Meter::new(limits);
    let heap = Heap::new(Rc::clone(&meter));
    let mut interpreter = Interpreter {
        template,
        scopes: Scopes::new(meter),
        scope: TOP,
        globals: Vec::new(),
        objects: Vec::new(),
        special: Special::of(template),
        out: vec![heap.buffer()],
        captured: Vec::new(),
        heap,
        line: 1,
        macros: 0,
        autoescape: false,
        now: host.now,
        printing: Vec::new(),
    };
    match interpreter.run(host) {
        Ok(()) => Ok(interpreter.out.pop().map(Buffer::into_string).unwrap_or_default()),
        Err(error) => Err((interpreter.line, *error)),
    }
}

/// What a statement does to the statements after it.
#[derive(PartialEq, Eq)]
pub(super) enum Flow {
    Next,
    Break,
    Continue,
}

/// What can change while a template runs.
pub(crate) enum Object<'t> {
    Namespace(Entries),
    Loop(Box<Loop<'t>>),
    /// What a lazy filter gives: it is used up by being read. Computed at once; an error waits at its place.
    Iterator {
        items: Items,
        at: usize,
        error: Option<Box<Fail>>,
    },
    Cycler {
        items: Value,
        at: usize,
    },
    Joiner {
        separator: Value,
        used: bool,
    },
    Macro {
        definition: &'t Macro,
        scope: ScopeId,
    },
    /// An object that is being worked on.
    Busy,
}

/// Arguments of a call.
pub(crate) struct Args {
    pub positional: Items,
    pub named: Vec<(Rc<str>, Value)>,
}

pub(crate) struct Interpreter<'t> {
    pub(super) template: &'t Template,
    pub heap: Heap,
    pub(super) scopes: Scopes,
    pub(super) scope: ScopeId,
    /// By symbol: what the host gave, else what the environment has.
    pub(super) globals: Vec<Option<Value>>,
    pub(super) objects: Vec<Object<'t>>,
    pub(super) special: Special,
    /// Where text goes; the first is the result.
    pub(super) out: Vec<Buffer>,
    /// The texts of the filter and set blocks around.
    pub(super) captured: Vec<Value>,
    pub line: u32,
    pub(super) macros: u32,
    pub autoescape: bool,
    pub now: SystemTime,
    /// Namespaces whose text is being written.
    pub printing: Vec<ObjectId>,
}

const OBJECT_BYTES: usize = 256;

/// The names that the interpreter itself gives values.
pub(super) struct Special {
    pub(super) loop_name: Option<Symbol>,
    pub(super) caller: Option<Symbol>,
    pub(super) kwargs: Option<Symbol>,
    pub(super) varargs: Option<Symbol>,
}

impl Special {
    fn of(template: &Template) -> Self {
        let find =
            |name: &str| template.names.iter().position(|known| &**known == name).map(|at| at as Symbol);
        Self {
            loop_name: find("loop"),
            caller: find("caller"),
            kwargs: find("kwargs"),
            varargs: find("varargs"),
        }
    }
}

impl<'t> Interpreter<'t> {
    pub(super) fn run(&mut self, host: &Host<'_>) -> Res<()> {
        for name in &self.template.names {
            let given = host.variables.iter().rev().find(|(known, _)| *known == &**name);
            let value = match given {
                Some((_, value)) => Some(self.heap.json(value)?),
                None => match &**name {
                    "range" => Some(Value::Function(Function::Range)),
                    "namespace" => Some(Value::Function(Function::Namespace)),
                    "dict" => Some(Value::Function(Function::Dict)),
                    "cycler" => Some(Value::Function(Function::Cycler)),
                    "joiner" => Some(Value::Function(Function::Joiner)),
                    "raise_exception" => Some(Value::Function(Function::RaiseException)),
                    "strftime_now" => Some(Value::Function(Function::StrftimeNow)),
                    _ => None,
                },
            };
            self.globals.push(value);
        }
        self.statements(&self.template.body)?;
        Ok(())
    }

    pub fn meter(&self) -> &Rc<Meter> {
        &self.heap.meter
    }

    pub fn step(&self, n: usize) -> Res<()> {
        self.heap.meter.step(n)
    }

    pub fn name(&self, symbol: Symbol) -> &'t str {
        &self.template.names[symbol as usize]
    }

    pub fn object(&self, id: ObjectId) -> &Object<'t> {
        &self.objects[id.0 as usize]
    }

    pub fn object_mut(&mut self, id: ObjectId) -> &mut Object<'t> {
        &mut self.objects[id.0 as usize]
    }

    /// Puts an object into the table, where it stays until the render ends.
    pub fn add_object(&mut self, object: Object<'t>) -> Res<Value> {
        self.heap.meter.take(OBJECT_BYTES)?;
        self.objects.push(object);
        Ok(Value::Object(ObjectId(self.objects.len() as u32 - 1)))
    }

    /// An iterator over items, with an error behind them perhaps.
    pub fn iterator(&mut self, items: Items, error: Option<Box<Fail>>) -> Res<Value> {
        self.add_object(Object::Iterator { items, at: 0, error })
    }

    /// Fails as Python does where something is done with an undefined value.
    pub fn refuse_undefined(value: &Value) -> Res<()> {
        match value {
            Value::Undefined(undefined) => {
                let kind = if undefined.unsafe_attribute { FailKind::Security } else { FailKind::Undefined };
                fail(kind, undefined.message.clone())
            }
            _ => Ok(()),
        }
    }

    // Text

    pub(super) fn write(&mut self, text: &str) -> Res<()> {
        let Some(out) = self.out.last_mut() else { return Ok(()) };
        out.push_str(text)?;
        let len = out.len();
        self.heap.meter.check_output(len)
    }

    pub(super) fn write_value(&mut self, value: &Value) -> Res<()> {
        if self.autoescape && !value.is_safe() {
            let escaped = self.escape(value)?;
            return self.write(escaped.as_str().unwrap_or_default());
        }
        if let Value::Str(text) = value {
            let text = Rc::clone(text);
            return self.write(text.as_str());
        }
        let mut buffer = self.heap.buffer();
        self.push_text(value, &mut buffer)?;
        self.write(buffer.as_str())
    }

    /// Writes what a filter or call block gives, which must be a text.
    pub(super) fn write_block(&mut self, value: &Value) -> Res<()> {
        match value {
            Value::Str(_) => self.write_value(value),
            other => type_error(format!("expected str instance, {} found", self.type_of(other))),
        }
    }

    /// The text that `work` writes.
    pub(super) fn capture(&mut self, work: impl FnOnce(&mut Self) -> Res<()>) -> Res<Value> {
        self.out.push(self.heap.buffer());
        let result = work(self);
        let buffer = self.out.pop();
        result?;
        match buffer {
            Some(buffer) => buffer.finish(self.autoescape),
            None => Ok(Value::None),
        }
    }

    // Statements

    pub(super) fn statements(&mut self, body: &'t [Stmt]) -> Res<Flow> {
        for stmt in body {
            let flow = self.statement(stmt)?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    /// Statements with names of their own.
    pub(super) fn scoped(&mut self, parent: ScopeId, body: &'t [Stmt]) -> Res<Flow> {
        self.in_scope(parent, |this| this.statements(body))
    }

    pub(super) fn in_scope<T>(&mut self, parent: ScopeId, work: impl FnOnce(&mut Self) -> Res<T>) -> Res<T> {
        let scope = self.scopes.enter(parent)?;
        let outer = std::mem::replace(&mut self.scope, scope);
        let result = work(self);
        self.scope = outer;
        self.scopes.leave(scope);
        result
    }

    pub(super) fn statement(&mut self, stmt: &'t Stmt) -> Res<Flow> {
        self.step(1)?;
        self.line = stmt.line;
        let _level = self.heap.meter.deeper()?;
        match &stmt.kind {
            StmtKind::Text(text) => self.write(text)?,
            StmtKind::Output(expr) => {
                let value = self.eval(expr)?;
                self.write_value(&value)?;
            }
            StmtKind::Set { target, value } => {
                let value = self.eval(value)?;
                self.line = stmt.line;
                self.assign(target, value)?;
            }
            StmtKind::SetBlock { target, filter, body } => {
                let text = self.in_scope(self.scope, |this| {
                    let text = this.capture(|this| this.statements(body).map(|_| ()))?;
                    match filter {
                        Some(filter) => this.filter_captured(filter, text),
                        None => Ok(text),
                    }
                })?;
                self.assign(target, text)?;
            }
            StmtKind::If { branches, otherwise } => {
                for (test, body) in branches {
                    if self.truth_of(test)? {
                        return self.statements(body);
                    }
                }
                return self.statements(otherwise);
            }
            StmtKind::For(definition) => return self.for_statement(definition),
            StmtKind::With { bindings, body } => {
                let mut values = Vec::with_capacity(bindings.len());
                for (_, expr) in bindings {
                    values.push(self.eval(expr)?);
                }
                return self.in_scope(self.scope, |this| {
                    for ((target, _), value) in bindings.iter().zip(values) {
                        this.assign(target, value)?;
                    }
                    this.statements(body)
                });
            }
            StmtKind::Macro(definition) => {
                let value = self.make_macro(definition)?;
                if let Some(name) = definition.name {
                    self.scopes.set(self.scope, name, value)?;
                }
            }
            StmtKind::Call { caller, call } => {
                let caller = self.make_macro(caller)?;
                let value = self.eval_call(call, Some(caller))?;
                self.write_block(&value)?;
            }
            StmtKind::Filter { filter, body } => {
                let value = self.in_scope(self.scope, |this| {
                    let text = this.capture(|this| this.statements(body).map(|_| ()))?;
                    this.filter_captured(filter, text)
                })?;
                self.write_block(&value)?;
            }
            StmtKind::Scope { body, top_level } => {
                let parent = if *top_level { TOP } else { self.scope };
                self.scoped(parent, body)?;
            }
            StmtKind::AutoEscape { on, body } => {
                let on = self.truth_of(on)?;
                let before = std::mem::replace(&mut self.autoescape, on);
                let flow = self.scoped(self.scope, body);
                self.autoescape = before;
                return flow;
            }
            StmtKind::Break => return Ok(Flow::Break),
            StmtKind::Continue => return Ok(Flow::Continue),
            StmtKind::Fail(message) => return fail(FailKind::Template, *message),
        }
        Ok(Flow::Next)
    }

    pub(super) fn filter_captured(&mut self, filter: &'t Expr, text: Value) -> Res<Value> {
        self.captured.push(text);
        let value = self.eval(filter);
        self.captured.pop();
        value
    }

    pub(super) fn assign(&mut self, target: &'t Target, value: Value) -> Res<()> {
        match target {
            Target::Name(name) => self.scopes.set(self.scope, *name, value),
            Target::Attribute(name, attribute) => {
                let object = self.lookup(*name)?;
                let key = self.heap.str(attribute)?;
                if let Value::Object(id) = object
                    && let Object::Namespace(entries) = self.object_mut(id)
                {
                    return entries.insert(key, value);
                }
                fail(FailKind::Template, "cannot assign attribute on non-namespace object")
            }
            Target::Tuple(targets) => {
                let items = self.unpack(&value, targets.len())?;
                for (target, item) in targets.iter().zip(items) {
                    self.assign(target, item)?;
                }
                Ok(())
            }
        }
    }

    /// `wanted` items of an iterable, no more and no less.
    pub(super) fn unpack(&mut self, value: &Value, wanted: usize) -> Res<Vec<Value>> {
        let mut iter = match self.iter(value) {
            Err(error) if error.kind == FailKind::Type => {
                return type_error(format!("cannot unpack non-iterable {} object", value.type_name()));
            }
            other => other?,
        };
        let mut items = Vec::with_capacity(wanted);
        while let Some(item) = self.next_item(&mut iter)? {
            if items.len() == wanted {
                return value_error(format!("too many values to unpack (expected {wanted})"));
            }
            items.push(item);
        }
        if items.len() < wanted {
            return value_error(format!(
                "not enough values to unpack (expected {wanted}, got {})",
                items.len()
            ));
        }
        Ok(items)
    }

    // Expressions

    /// Python's truth, which asks a loop for its length.
    pub fn truth(&mut self, value: &Value) -> Res<bool> {
        match value {
            Value::Object(_) => Ok(self.len_if_sized(value)?.is_none_or(|len| len > 0)),
            other => Ok(other.is_true()),
        }
    }

    pub(super) fn truth_of(&mut self, expr: &'t Expr) -> Res<bool> {
        let value = self.eval(expr)?;
        self.truth(&value)
    }

    pub(super) fn lookup(&self, name: Symbol) -> Res<Value> {
        if let Some(value) = self.scopes.get(self.scope, name)? {
            return Ok(value.clone());
        }
        Ok(match self.globals.get(name as usize) {
            Some(Some(value)) => value.clone(),
            _ => self.heap.undefined(format!("'{}' is undefined", self.name(name))),
        })
    }

    pub fn eval(&mut self, expr: &'t Expr) -> Res<Value> {
        self.step(1)?;
        let _level = self.heap.meter.deeper()?;
        match &expr.kind {
            ExprKind::None => Ok(Value::None),
            ExprKind::Bool(b) => Ok(Value::Bool(*b)),
            ExprKind::Integer(n) => self.heap.big(n.clone()),
            ExprKind::Float(x) => Ok(Value::Float(*x)),
            ExprKind::Text(text) => self.heap.str(text),
            ExprKind::Name(name) => self.lookup(*name),
            ExprKind::Tuple(exprs) => {
                let items = self.eval_all(exprs)?;
                self.heap.tuple(items)
            }
            ExprKind::List(exprs) => {
                let items = self.eval_all(exprs)?;
                self.heap.list(items)
            }
            ExprKind::Dict(pairs) => self.eval_dict(pairs),
            ExprKind::Not(inner) => Ok(Value::Bool(!self.truth_of(inner)?)),
            ExprKind::Negative(inner) => {
                let value = self.eval(inner)?;
                self.line = expr.line;
                self.negative(&value)
            }
            ExprKind::Positive(inner) => {
                let value = self.eval(inner)?;
                self.line = expr.line;
                self.positive(&value)
            }
            ExprKind::Binary(op, pair) => {
                let left = self.eval(&pair.0)?;
                let right = self.eval(&pair.1)?;
                self.line = expr.line;
                self.binary(*op, &left, &right)
            }
            ExprKind::And(pair) => {
                let left = self.eval(&pair.0)?;
                if self.truth(&left)? { self.eval(&pair.1) } else { Ok(left) }
            }
            ExprKind::Or(pair) => {
                let left = self.eval(&pair.0)?;
                if self.truth(&left)? { Ok(left) } else { self.eval(&pair.1) }
            }
            ExprKind::Compare(first, rest) => self.eval_compare(first, rest),
            ExprKind::Concat(exprs) => self.eval_concat(exprs),
            ExprKind::Conditional(pair, otherwise) => {
                if self.truth_of(&pair.0)? {
                    return self.eval(&pair.1);
                }
                match otherwise {
                    Some(otherwise) => self.eval(otherwise),
                    None => Ok(self.heap.undefined(
                        "the inline if-expression evaluated to false and no else section was defined.",
                    )),
                }
            }
            ExprKind::Attribute(object, name) => {
                let object = self.eval(object)?;
                self.line = expr.line;
                self.attribute(&object, name)
            }
            ExprKind::Item(pair) => {
                let object = self.eval(&pair.0)?;
                let index = self.eval(&pair.1)?;
                self.line = expr.line;
                self.item(&object, &index)
            }
            ExprKind::Slice(object, parts) => self.eval_slice(object, parts),
            ExprKind::Call(..) => self.eval_call(expr, None),
            ExprKind::Filter(input, name, arguments) => {
                let input = self.eval(input)?;
                let args = self.eval_arguments(arguments)?;
                self.line = expr.line;
                self.filter(name, &input, args)
            }
            ExprKind::Test(input, name, arguments) => {
                let input = self.eval(input)?;
                let args = self.eval_arguments(arguments)?;
                self.line = expr.line;
                Ok(Value::Bool(self.test(name, &input, args)?))
            }
            ExprKind::Captured => Ok(self.captured.last().cloned().unwrap_or(Value::None)),
        }
    }

    pub(super) fn eval_all(&mut self, exprs: &'t [Expr]) -> Res<Items> {
        let mut items = self.heap.items();
        for expr in exprs {
            items.push(self.eval(expr)?)?;
        }
        Ok(items)
    }

    pub(super) fn eval_dict(&mut self, pairs: &'t [(Expr, Expr)]) -> Res<Value> {
        let mut entries = self.heap.entries();
        for (key, value) in pairs {
            let key = self.eval(key)?;
            let value = self.eval(value)?;
            entries.insert(key, value)?;
        }
        self.heap.dict(entries)
    }

    pub(super) fn eval_compare(&mut self, first: &'t Expr, rest: &'t [(CompareOp, Expr)]) -> Res<Value> {
        let mut left = self.eval(first)?;
        for (op, expr) in rest {
            let right = self.eval(expr)?;
            self.line = expr.line;
            if !self.compare(*op, &left, &right)? {
                return Ok(Value::Bool(false));
            }
            left = right;
        }
        Ok(Value::Bool(true))
    }

    pub fn compare(&mut self, op: CompareOp, left: &Value, right: &Value) -> Res<bool> {
        match op {
            CompareOp::Eq => compare::equal(left, right, &self.heap.meter),
            CompareOp::Ne => Ok(!compare::equal(left, right, &self.heap.meter)?),
            CompareOp::In => self.contains(right, left),
            CompareOp::NotIn => Ok(!self.contains(right, left)?),
            _ => compare::ordered(op, left, right, &self.heap.meter),
        }
    }

    pub(super) fn eval_concat(&mut self, exprs: &'t [Expr]) -> Res<Value> {
        let items = self.eval_all(exprs)?;
        let safe = self.autoescape && items.as_slice().iter().any(Value::is_safe);
        let mut out = self.heap.buffer();
        for item in items.as_slice() {
            if safe && !item.is_safe() {
                let escaped = self.escape(item)?;
                out.push_str(escaped.as_str().unwrap_or_default())?;
            } else {
                self.push_text(item, &mut out)?;
            }
        }
        out.finish(safe)
    }

    pub(super) fn eval_slice(&mut self, object: &'t Expr, parts: &'t [Option<Expr>; 3]) -> Res<Value> {
        let line = object.line;
        let object = self.eval(object)?;
        let mut bounds = [Value::None, Value::None, Value::None];
        for (bound, part) in bounds.iter_mut().zip(parts) {
            if let Some(part) = part {
                *bound = self.eval(part)?;
            }
        }
        self.line = line;
        self.slice(&object, &bounds)
    }

    // Calls

    pub(super) fn eval_arguments(&mut self, arguments: &'t Arguments) -> Res<Args> {
        let mut positional = self.eval_all(&arguments.positional)?;
        let mut named = Vec::with_capacity(arguments.named.len());
        for (name, expr) in &arguments.named {
            named.push((Rc::from(&**name), self.eval(expr)?));
        }
        if let Some(rest) = &arguments.rest {
            let rest = self.eval(rest)?;
            let rest = self.collect(&rest)?;
            positional.extend(rest.as_slice())?;
        }
        if let Some(rest) = &arguments.named_rest {
            let rest = self.eval(rest)?;
            let Value::Dict(dict) = &rest else {
                return type_error(format!("argument after ** must be a mapping, not {}", rest.type_name()));
            };
            for (key, value) in dict.entries() {
                self.step(1 + named.len())?;
                let Some(name) = key.value.as_str() else { return type_error("keywords must be strings") };
                if named.iter().any(|(known, _): &(Rc<str>, Value)| &**known == name) {
                    return type_error(format!("got multiple values for keyword argument '{name}'"));
                }
                named.push((Rc::from(name), value.clone()));
            }
        }
        Ok(Args { positional, named })
    }

    pub(super) fn eval_call(&mut self, expr: &'t Expr, caller: Option<Value>) -> Res<Value> {
        let ExprKind::Call(callee, arguments) = &expr.kind else { return self.eval(expr) };
        let callee = self.eval(callee)?;
        let mut args = self.eval_arguments(arguments)?;
        if let Some(caller) = caller {
            args.named.push(("caller".into(), caller));
        }
        self.line = expr.line;
        self.call(&callee, args)
    }
}
