//! `a.b`, `a[b]`, `a[b:c]` and calls.

use std::rc::Rc;

use super::integer::to_index;
use super::interpreter::{Args, Interpreter, Object};
use super::meter::{FailKind, Res, fail, type_error, value_error};
use super::strftime;
use super::text::push_str_repr;
use super::value::{Function, Key, Method, ObjectId, Range, Undefined, Value};

const STR_METHODS: [&str; 47] = [
    "capitalize",
    "casefold",
    "center",
    "count",
    "encode",
    "endswith",
    "expandtabs",
    "find",
    "format",
    "format_map",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "isidentifier",
    "islower",
    "isnumeric",
    "isprintable",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "maketrans",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "translate",
    "upper",
    "zfill",
];
const MARKUP_METHODS: [&str; 3] = ["striptags", "unescape", "escape"];
const LIST_METHODS: [&str; 3] = ["copy", "count", "index"];
const LIST_MUTATORS: [&str; 8] = ["append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"];
const DICT_METHODS: [&str; 6] = ["copy", "fromkeys", "get", "items", "keys", "values"];
const DICT_MUTATORS: [&str; 5] = ["clear", "pop", "popitem", "setdefault", "update"];
const SEQ_METHODS: [&str; 2] = ["count", "index"];
const INT_METHODS: [&str; 4] = ["bit_length", "bit_count", "conjugate", "as_integer_ratio"];
const FLOAT_METHODS: [&str; 3] = ["is_integer", "conjugate", "as_integer_ratio"];
const BYTES_METHODS: [&str; 1] = ["decode"];
/// Attributes that every Python object has; the sandbox hides them.
const OBJECT_ATTRIBUTES: [&str; 26] = [
    "__class__",
    "__delattr__",
    "__dir__",
    "__doc__",
    "__eq__",
    "__format__",
    "__ge__",
    "__getattribute__",
    "__getstate__",
    "__gt__",
    "__hash__",
    "__init__",
    "__init_subclass__",
    "__le__",
    "__lt__",
    "__ne__",
    "__new__",
    "__reduce__",
    "__reduce_ex__",
    "__repr__",
    "__setattr__",
    "__sizeof__",
    "__str__",
    "__subclasshook__",
    "__len__",
    "__contains__",
];

/// Longest range that the sandbox allows.
const RANGE_MAX: u64 = 100_000;

impl Interpreter<'_> {
    /// `object.name`: the attribute before the item.
    pub fn attribute(&mut self, object: &Value, name: &str) -> Res<Value> {
        if let Some(value) = self.own_attribute(object, name)? {
            return Ok(value);
        }
        if let Some(value) = self.subscript_name(object, name) {
            return Ok(value);
        }
        self.missing_attribute(object, name)
    }

    /// `object[index]`: the item before the attribute.
    pub fn item(&mut self, object: &Value, index: &Value) -> Res<Value> {
        Self::refuse_undefined(object)?;
        if let Some(value) = self.subscript(object, index)? {
            return Ok(value);
        }
        if let Value::Str(name) = index {
            let name = Rc::clone(name);
            if let Some(value) = self.own_attribute(object, name.as_str())? {
                return Ok(value);
            }
            return self.missing_attribute(object, name.as_str());
        }
        let mut text = self.heap.buffer();
        self.push_repr(index, &mut text)?;
        Ok(self.heap.undefined(format!("{} object has no element {}", self.type_of(object), text.as_str())))
    }

    fn missing_attribute(&mut self, object: &Value, name: &str) -> Res<Value> {
        let mut quoted = self.heap.buffer();
        push_str_repr(name, &mut quoted)?;
        Ok(self.heap.undefined(format!(
            "'{} object' has no attribute {}",
            self.type_of(object),
            quoted.as_str()
        )))
    }

    fn subscript_name(&self, object: &Value, name: &str) -> Option<Value> {
        match object {
            Value::Dict(dict) => dict.get_str(name).cloned(),
            _ => None,
        }
    }

    /// Python's attribute; None where it raises an `AttributeError`.
    fn own_attribute(&mut self, object: &Value, name: &str) -> Res<Option<Value>> {
        Self::refuse_undefined(object)?;
        if OBJECT_ATTRIBUTES.contains(&name) {
            return Ok(Some(unsafe_attribute(self.type_of(object), name)));
        }
        let (methods, mutators): (&[&str], &[&str]) = match object {
            Value::Str(text) if text.safe && MARKUP_METHODS.contains(&name) => (&MARKUP_METHODS, &[]),
            Value::Str(_) => (&STR_METHODS, &[]),
            Value::List(_) => (&LIST_METHODS, &LIST_MUTATORS),
            Value::Dict(_) => (&DICT_METHODS, &DICT_MUTATORS),
            Value::Tuple(_) => (&SEQ_METHODS, &[]),
            Value::Group(seq) => {
                let at = ["grouper", "list"].iter().position(|known| *known == name);
                if let Some(at) = at {
                    return Ok(seq.items().get(at).cloned());
                }
                (&SEQ_METHODS, &[])
            }
            Value::Bytes(_) => (&BYTES_METHODS, &[]),
            Value::Range(range) => match name {
                "start" => return Ok(Some(Value::Int(range.start))),
                "stop" => return Ok(Some(Value::Int(range.stop))),
                "step" => return Ok(Some(Value::Int(range.step))),
                _ => (&SEQ_METHODS, &[]),
            },
            Value::Bool(_) | Value::Int(_) | Value::Big(_) => match name {
                "real" | "numerator" => return self.positive(object).map(Some),
                "imag" => return Ok(Some(Value::Int(0))),
                "denominator" => return Ok(Some(Value::Int(1))),
                _ => (&INT_METHODS, &[]),
            },
            Value::Float(_) => match name {
                "real" => return Ok(Some(object.clone())),
                "imag" => return Ok(Some(Value::Float(0.0))),
                _ => (&FLOAT_METHODS, &[]),
            },
            Value::Object(id) => return self.object_attribute(*id, name),
            _ => return Ok(None),
        };
        if mutators.contains(&name) {
            return Ok(Some(unsafe_attribute(self.type_of(object), name)));
        }
        if !methods.contains(&name) {
            return Ok(None);
        }
        Ok(Some(Value::Method(Rc::new(Method { object: object.clone(), name: name.into() }))))
    }

    fn object_attribute(&mut self, id: ObjectId, name: &str) -> Res<Option<Value>> {
        let method = |name: &str| {
            Ok(Some(Value::Method(Rc::new(Method { object: Value::Object(id), name: name.into() }))))
        };
        match self.object(id) {
            Object::Namespace(entries) => Ok(entries.get_str(name).cloned()),
            Object::Cycler { items, at } => match name {
                "next" | "reset" => method(name),
                "current" => Ok(items.as_seq().and_then(|items| items.get(*at)).cloned()),
                "items" => Ok(Some(items.clone())),
                "pos" => Ok(Some(Value::Int(*at as i64))),
                _ => Ok(None),
            },
            Object::Joiner { separator, used } => match name {
                "sep" => Ok(Some(separator.clone())),
                "used" => Ok(Some(Value::Bool(*used))),
                _ => Ok(None),
            },
            Object::Macro { definition, .. } => {
                let definition = *definition;
                Ok(Some(match name {
                    "name" => match definition.name {
                        Some(symbol) => self.heap.str(self.name(symbol))?,
                        None => Value::None,
                    },
                    "arguments" => {
                        let mut items = self.heap.items();
                        for (parameter, _) in &definition.parameters {
                            items.push(self.heap.str(self.name(*parameter))?)?;
                        }
                        self.heap.tuple(items)?
                    }
                    "catch_kwargs" => Value::Bool(definition.uses_kwargs),
                    "catch_varargs" => Value::Bool(definition.uses_varargs),
                    "caller" => Value::Bool(definition.uses_caller),
                    _ => return Ok(None),
                }))
            }
            Object::Loop(state) => {
                let index0 = state.index0;
                Ok(Some(match name {
                    "index" => Value::Int(index0 + 1),
                    "index0" => Value::Int(index0),
                    "first" => Value::Bool(index0 == 0),
                    "depth" => Value::Int(state.depth0 + 1),
                    "depth0" => Value::Int(state.depth0),
                    "previtem" if index0 == 0 => self.heap.undefined("there is no previous item"),
                    "previtem" => state.before.clone().unwrap_or(Value::None),
                    "last" => Value::Bool(self.with_loop(id, Self::peek)?.is_none()),
                    "nextitem" => match self.with_loop(id, Self::peek)? {
                        Some(item) => item,
                        None => self.heap.undefined("there is no next item"),
                    },
                    "length" => Value::Int(self.with_loop(id, Self::loop_length)? as i64),
                    "revindex" => Value::Int(self.with_loop(id, Self::loop_length)? as i64 - index0),
                    "revindex0" => Value::Int(self.with_loop(id, Self::loop_length)? as i64 - index0 - 1),
                    "cycle" | "changed" => return method(name),
                    _ => return Ok(None),
                }))
            }
            Object::Iterator { .. } | Object::Busy => Ok(None),
        }
    }

    /// Python's `object[index]`; None where it raises a `TypeError` or a `LookupError`.
    fn subscript(&mut self, object: &Value, index: &Value) -> Res<Option<Value>> {
        match object {
            Value::Dict(dict) => match Key::new(index.clone(), self.meter()) {
                Ok(key) => Ok(dict.entries().get(&key).cloned()),
                Err(error) if error.kind == FailKind::Type => Ok(None),
                Err(error) => Err(error),
            },
            Value::List(_)
            | Value::Tuple(_)
            | Value::Group(_)
            | Value::Str(_)
            | Value::Range(_)
            | Value::Bytes(_) => {
                let Some(index) = to_index(index) else { return Ok(None) };
                self.element(object, index)
            }
            _ => Ok(None),
        }
    }

    /// The element at an index that may count from the end.
    fn element(&mut self, object: &Value, index: i64) -> Res<Option<Value>> {
        let len = self.len_if_sized(object)?.unwrap_or(0) as i64;
        let index = if index < 0 { index.saturating_add(len) } else { index };
        if !(0..len).contains(&index) {
            return Ok(None);
        }
        let index = index as usize;
        Ok(match object {
            Value::Str(text) => match text.as_str().chars().nth(index) {
                Some(c) => Some(self.heap.text(c.encode_utf8(&mut [0; 4]), text.safe)?),
                None => None,
            },
            Value::Range(range) => Some(range.get(index)),
            Value::Bytes(bytes) => bytes.get(index).map(|b| Value::Int(i64::from(*b))),
            other => other.as_seq().and_then(|items| items.get(index)).cloned(),
        })
    }

    /// `object[start:stop:step]`.
    pub fn slice(&mut self, object: &Value, bounds: &[Value; 3]) -> Res<Value> {
        Self::refuse_undefined(object)?;
        let mut parts = [None; 3];
        for (part, bound) in parts.iter_mut().zip(bounds) {
            *part = match bound {
                Value::None => None,
                other => match to_index(other) {
                    Some(n) => Some(n),
                    None => {
                        return type_error(
                            "slice indices must be integers or None or have an __index__ method",
                        );
                    }
                },
            };
        }
        let sliceable = matches!(
            object,
            Value::Str(_)
                | Value::List(_)
                | Value::Tuple(_)
                | Value::Group(_)
                | Value::Range(_)
                | Value::Bytes(_)
        );
        if !sliceable {
            let name = self.type_of(object);
            return type_error(format!("'{name}' object is not subscriptable"));
        }
        let len = self.len_if_sized(object)?.unwrap_or(0);
        let Some(Places { start, stop, step, count }) = slice_indices(len, parts) else {
            return value_error("slice step cannot be zero");
        };
        self.step(count)?;
        let places = (0..count).map(|n| start.wrapping_add(step.wrapping_mul(n as i64)) as usize);
        match object {
            Value::Str(text) => {
                let mut out = self.heap.buffer();
                let content = text.as_str();
                if step == 1 {
                    let mut places = content.char_indices().map(|(at, _)| at).chain([content.len()]);
                    let from = places.by_ref().nth(start as usize).unwrap_or(content.len());
                    let to = if count == 0 { from } else { places.nth(count - 1).unwrap_or(content.len()) };
                    out.push_str(&content[from..to])?;
                } else {
                    self.meter().take(content.len().saturating_mul(4))?;
                    let chars: Vec<char> = content.chars().collect();
                    for place in places {
                        out.push(chars[place])?;
                    }
                    self.meter().give(content.len().saturating_mul(4));
                }
                out.finish(text.safe)
            }
            Value::Range(range) => {
                let at = |place: i64| range.start.wrapping_add(range.step.wrapping_mul(place));
                let step = range.step.wrapping_mul(step);
                Ok(Value::Range(Rc::new(Range { start: at(start), stop: at(stop), step, len: count })))
            }
            Value::Bytes(bytes) => Ok(Value::Bytes(places.map(|place| bytes[place]).collect())),
            other => {
                let known = other.as_seq().unwrap_or_default();
                let mut items = self.heap.items();
                for place in places {
                    items.push(known[place].clone())?;
                }
                if matches!(other, Value::List(_)) { self.heap.list(items) } else { self.heap.tuple(items) }
            }
        }
    }

    /// `callee(*args)`.
    pub fn call(&mut self, callee: &Value, args: Args) -> Res<Value> {
        self.step(1)?;
        match callee {
            Value::Undefined(_) => {
                Self::refuse_undefined(callee)?;
                Ok(Value::None)
            }
            Value::Function(function) => self.call_function(*function, args),
            Value::Method(method) => {
                let method = Rc::clone(method);
                self.call_method(&method.object, &method.name, args)
            }
            Value::Object(id) => match self.object_mut(*id) {
                Object::Macro { definition, scope } => {
                    let (definition, scope) = (*definition, *scope);
                    self.call_macro(definition, scope, args)
                }
                Object::Joiner { separator, used } => {
                    if std::mem::replace(used, true) {
                        return Ok(separator.clone());
                    }
                    self.heap.str("")
                }
                Object::Loop(_) => {
                    let [iterable] = args.bind("loop", ["iterable"], 1)?;
                    self.call_loop(*id, &iterable.unwrap_or(Value::None))
                }
                _ => {
                    let name = self.type_of(callee);
                    type_error(format!("'{name}' object is not callable"))
                }
            },
            other => type_error(format!("'{}' object is not callable", other.type_name())),
        }
    }

    fn call_function(&mut self, function: Function, args: Args) -> Res<Value> {
        match function {
            Function::Range => self.range(&args),
            Function::Dict => self.dict(args),
            Function::Namespace => {
                let mut entries = self.heap.entries();
                let Value::Dict(dict) = self.dict(args)? else {
                    return type_error("namespace takes a mapping");
                };
                for (key, value) in dict.entries() {
                    entries.insert_key(key.clone(), value.clone())?;
                }
                self.add_object(Object::Namespace(entries))
            }
            Function::Cycler => {
                if args.positional.len() == 0 {
                    return fail(FailKind::Template, "at least one item has to be provided");
                }
                let items = self.heap.tuple(args.positional)?;
                self.add_object(Object::Cycler { items, at: 0 })
            }
            Function::Joiner => {
                let [separator] = args.bind("joiner", ["sep"], 0)?;
                let separator = match separator {
                    Some(separator) => separator,
                    None => self.heap.str(", ")?,
                };
                self.add_object(Object::Joiner { separator, used: false })
            }
            Function::RaiseException => {
                let [message] = args.bind("raise_exception", ["message"], 1)?;
                let mut text = self.heap.buffer();
                self.push_text(&message.unwrap_or(Value::None), &mut text)?;
                fail(FailKind::Raised, text.into_string())
            }
            Function::StrftimeNow => {
                let [format] = args.bind("strftime_now", ["format"], 1)?;
                match format.as_ref().and_then(Value::as_str) {
                    Some(format) => {
                        self.meter().text_step(format.len() * 16)?;
                        let text = strftime::format(format, self.now);
                        self.heap.str(&text)
                    }
                    None => type_error("strftime_now: the format is not a string"),
                }
            }
        }
    }

    fn range(&mut self, args: &Args) -> Res<Value> {
        if let Some((name, _)) = args.named.first() {
            return type_error(format!("range() takes no keyword argument '{name}'"));
        }
        let mut numbers = Vec::with_capacity(3);
        for value in args.positional.as_slice().iter().take(4) {
            Self::refuse_undefined(value)?;
            match to_index(value) {
                Some(n) => numbers.push(n),
                None => {
                    let name = self.type_of(value);
                    return type_error(format!("'{name}' object cannot be interpreted as an integer"));
                }
            }
        }
        let (start, stop, step) = match numbers[..] {
            [stop] => (0, stop, 1),
            [start, stop] => (start, stop, 1),
            [start, stop, step] => (start, stop, step),
            _ => {
                return type_error(format!("range expected 1 to 3 arguments, got {}", args.positional.len()));
            }
        };
        if step == 0 {
            return value_error("range() arg 3 must not be zero");
        }
        let span = if step > 0 {
            i128::from(stop) - i128::from(start)
        } else {
            i128::from(start) - i128::from(stop)
        };
        let len = if span <= 0 { 0 } else { (span as u128 - 1) / u128::from(step.unsigned_abs()) + 1 };
        if len > u128::from(RANGE_MAX) {
            return fail(
                FailKind::Overflow,
                format!("Range too big. The sandbox blocks ranges larger than MAX_RANGE ({RANGE_MAX})."),
            );
        }
        Ok(Value::Range(Rc::new(Range { start, stop, step, len: len as usize })))
    }

    /// `dict(mapping or pairs, **names)`.
    fn dict(&mut self, args: Args) -> Res<Value> {
        let mut entries = self.heap.entries();
        match args.positional.as_slice() {
            [] => {}
            [Value::Dict(dict)] => {
                for (key, value) in dict.entries() {
                    entries.insert_key(key.clone(), value.clone())?;
                }
            }
            [pairs] => {
                let pairs = pairs.clone();
                let mut iter = self.iter(&pairs)?;
                while let Some(pair) = self.next_item(&mut iter)? {
                    let pair = self.collect(&pair)?;
                    let [key, value] = pair.as_slice() else {
                        return value_error(format!(
                            "dictionary update sequence element has length {}; 2 is required",
                            pair.len()
                        ));
                    };
                    entries.insert(key.clone(), value.clone())?;
                }
            }
            more => return type_error(format!("dict expected at most 1 argument, got {}", more.len())),
        }
        for (name, value) in args.named {
            entries.insert(self.heap.str(&name)?, value)?;
        }
        self.heap.dict(entries)
    }
}

fn unsafe_attribute(type_name: &str, name: &str) -> Value {
    Value::Undefined(Rc::new(Undefined {
        message: format!("access to attribute '{name}' of '{type_name}' object is unsafe."),
        unsafe_attribute: true,
    }))
}

/// The places of a slice.
struct Places {
    start: i64,
    stop: i64,
    step: i64,
    count: usize,
}

/// The places of a slice of something `len` long; None for a step of zero.
fn slice_indices(len: usize, [start, stop, step]: [Option<i64>; 3]) -> Option<Places> {
    let len = len as i64;
    let step = step.unwrap_or(1).max(-i64::MAX);
    let clamp = |value: i64, low: i64, high: i64| {
        let value = if value < 0 { value.saturating_add(len) } else { value };
        value.clamp(low, high)
    };
    let (start, stop) = match step {
        0 => return None,
        1.. => (start.map_or(0, |n| clamp(n, 0, len)), stop.map_or(len, |n| clamp(n, 0, len))),
        _ => (start.map_or(len - 1, |n| clamp(n, -1, len - 1)), stop.map_or(-1, |n| clamp(n, -1, len - 1))),
    };
    let span = if step > 0 { stop - start } else { start - stop };
    let count = if span <= 0 { 0 } else { (span as u64 - 1) / step.unsigned_abs() + 1 };
    Some(Places { start, stop, step, count: count as usize })
}

impl Args {
    /// The arguments of a Python function with these parameters, the first `required` of them needed.
    pub fn bind<const N: usize>(
        self,
        function: &str,
        names: [&str; N],
        required: usize,
    ) -> Res<[Option<Value>; N]> {
        let given = self.positional.len();
        if given > N {
            return type_error(format!("{function}() takes at most {N} arguments, got {given}"));
        }
        let mut bound = [const { None }; N];
        for (place, value) in bound.iter_mut().zip(self.positional.as_slice()) {
            *place = Some(value.clone());
        }
        for (name, value) in self.named {
            match names.iter().position(|known| *known == &*name) {
                None => {
                    return type_error(format!("{function}() got an unexpected keyword argument '{name}'"));
                }
                Some(at) if bound[at].is_some() => {
                    return type_error(format!("{function}() got multiple values for argument '{name}'"));
                }
                Some(at) => bound[at] = Some(value),
            }
        }
        match bound.iter().zip(names).take(required).find(|(value, _)| value.is_none()) {
            Some((_, name)) => type_error(format!("{function}() missing required argument: '{name}'")),
            None => Ok(bound),
        }
    }

    /// The arguments of a function that takes no keywords.
    pub fn positional_only<const N: usize>(self, function: &str, required: usize) -> Res<[Option<Value>; N]> {
        if !self.named.is_empty() {
            return type_error(format!("{function}() takes no keyword arguments"));
        }
        self.bind(function, [""; N], required).map_err(|mut error| {
            if error.message.contains("missing required") {
                error.message = format!("{function}() expected at least {required} arguments");
            }
            error
        })
    }
}
