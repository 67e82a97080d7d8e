//! Python's values, as far as templates meet them.
//!
//! What holds bytes is counted by the render's [`Meter`] while it lives. What can change (namespaces, loops, iterators)
//! lives in the interpreter's own table and is named here by its place in it, so no value can hold itself.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::rc::Rc;

use indexmap::IndexMap;
use num_bigint::BigInt;

use super::compare::keys_equal;
use super::meter::{Meter, Res, VALUE_DEPTH_MAX, too_deep, type_error};

/// A value.
#[derive(Clone)]
pub(crate) enum Value {
    Undefined(Rc<Undefined>),
    None,
    Bool(bool),
    Int(i64),
    /// Outside of `i64`.
    Big(Rc<BigInt>),
    Float(f64),
    Str(Rc<Str>),
    Bytes(Rc<[u8]>),
    List(Rc<Seq>),
    Tuple(Rc<Seq>),
    /// The pair of a group and its members that `groupby` makes.
    Group(Rc<Seq>),
    Dict(Rc<Dict>),
    View(View, Rc<Dict>),
    Range(Rc<Range>),
    /// Something that changes: its place in the interpreter's table.
    Object(ObjectId),
    Function(Function),
    Method(Rc<Method>),
}

/// Place of an object in the interpreter's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ObjectId(pub u32);

/// Why there is no value, said when it is used.
#[derive(Debug)]
pub(crate) struct Undefined {
    pub message: String,
    /// An attribute that the sandbox hides.
    pub unsafe_attribute: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    Keys,
    Values,
    Items,
}

/// The functions of the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    Range,
    Namespace,
    Dict,
    Cycler,
    Joiner,
    RaiseException,
    StrftimeNow,
}

/// A method bound to its object.
pub(crate) struct Method {
    pub object: Value,
    pub name: Rc<str>,
}

#[derive(Debug)]
pub(crate) struct Range {
    pub start: i64,
    /// As it was given: it need not be a whole number of steps away.
    pub stop: i64,
    pub step: i64,
    pub len: usize,
}

impl Range {
    pub fn get(&self, index: usize) -> Value {
        Value::Int(self.start.wrapping_add(self.step.wrapping_mul(index as i64)))
    }
}

/// A text; `safe` is what markupsafe calls `Markup`.
pub(crate) struct Str {
    text: Box<str>,
    pub safe: bool,
    meter: Rc<Meter>,
}

impl Str {
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl Drop for Str {
    fn drop(&mut self) {
        self.meter.give(self.text.len() + STR_OVERHEAD);
    }
}

/// The items of a list or tuple.
pub(crate) struct Seq {
    items: Vec<Value>,
    /// Levels of containers, this one included.
    depth: u16,
    meter: Rc<Meter>,
}

impl Seq {
    pub fn items(&self) -> &[Value] {
        &self.items
    }
}

impl Drop for Seq {
    fn drop(&mut self) {
        self.meter.give(self.items.len() * ITEM_BYTES + SEQ_OVERHEAD);
    }
}

/// A dictionary in the order of insertion.
pub(crate) struct Dict {
    entries: IndexMap<Key, Value>,
    depth: u16,
    meter: Rc<Meter>,
}

impl Dict {
    pub fn entries(&self) -> &IndexMap<Key, Value> {
        &self.entries
    }

    pub fn get_str(&self, name: &str) -> Option<&Value> {
        self.entries.get(&StrKey(name))
    }
}

impl Drop for Dict {
    fn drop(&mut self) {
        self.meter.give(self.entries.len() * ENTRY_BYTES + SEQ_OVERHEAD);
    }
}

const STR_OVERHEAD: usize = 48;
const SEQ_OVERHEAD: usize = 64;
pub(crate) const ITEM_BYTES: usize = std::mem::size_of::<Value>();
pub(crate) const ENTRY_BYTES: usize = 64;

/// A value that can be a key, with its hash: equal numbers of different types hash alike, as in Python.
#[derive(Clone)]
pub(crate) struct Key {
    pub value: Value,
    hash: u64,
    /// Steps that comparing it may take.
    pub cost: usize,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && keys_equal(&self.value, &other.value)
    }
}

impl Eq for Key {}

/// A text looked up without making a key of it.
struct StrKey<'a>(&'a str);

impl Hash for StrKey<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(hash_of(&self.0));
    }
}

impl indexmap::Equivalent<Key> for StrKey<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        key.value.as_str() == Some(self.0)
    }
}

fn hash_of(value: &impl Hash) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

impl Key {
    /// `value` as a key; counts a step for each part of a tuple.
    pub fn new(value: Value, meter: &Meter) -> Res<Self> {
        let before = meter.steps();
        let hash = hash_value(&value, meter)?;
        Ok(Self { value, hash, cost: (meter.steps() - before) as usize })
    }
}

fn hash_value(value: &Value, meter: &Meter) -> Res<u64> {
    meter.step(1)?;
    Ok(match value {
        Value::Str(text) => {
            meter.text_step(text.as_str().len())?;
            hash_of(&text.as_str())
        }
        Value::Bool(b) => hash_of(&i64::from(*b)),
        Value::Int(n) => hash_of(n),
        Value::Float(x) => {
            if x.fract() == 0.0 && x.abs() < 9.0e18 {
                hash_of(&(*x as i64))
            } else {
                hash_of(&x.to_bits())
            }
        }
        // A large integer equals a float of its value, and must hash like it.
        Value::Big(n) => hash_of(&num_traits::ToPrimitive::to_f64(&**n).unwrap_or(f64::INFINITY).to_bits()),
        Value::None => hash_of(&"\u{0}None"),
        Value::Undefined(_) => hash_of(&"\u{0}Undefined"),
        Value::Bytes(bytes) => hash_of(bytes),
        Value::Tuple(seq) | Value::Group(seq) => {
            let mut hash = 7u64;
            for item in seq.items() {
                hash = hash.wrapping_mul(31).wrapping_add(hash_value(item, meter)?);
            }
            hash
        }
        Value::Object(id) => hash_of(&id.0),
        Value::Function(function) => hash_of(&(*function as u8)),
        Value::Range(range) => hash_of(&(range.start, range.step, range.len)),
        Value::List(_) | Value::Dict(_) | Value::View(..) | Value::Method(_) => {
            return type_error(format!("unhashable type: '{}'", value.type_name()));
        }
    })
}

impl Value {
    /// The name of its Python type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Undefined(_) => "Undefined",
            Value::None => "NoneType",
            Value::Bool(_) => "bool",
            Value::Int(_) | Value::Big(_) => "int",
            Value::Float(_) => "float",
            Value::Str(text) if text.safe => "Markup",
            Value::Str(_) => "str",
            Value::Bytes(_) => "bytes",
            Value::List(_) => "list",
            Value::Tuple(_) => "tuple",
            Value::Group(_) => "_GroupTuple",
            Value::Dict(_) => "dict",
            Value::View(View::Keys, _) => "dict_keys",
            Value::View(View::Values, _) => "dict_values",
            Value::View(View::Items, _) => "dict_items",
            Value::Range(_) => "range",
            Value::Object(_) => "object",
            Value::Function(_) => "function",
            Value::Method(_) => "builtin_function_or_method",
        }
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Str(text) => Some(text.as_str()),
            _ => None,
        }
    }

    pub fn is_safe(&self) -> bool {
        matches!(self, Value::Str(text) if text.safe)
    }

    pub fn is_undefined(&self) -> bool {
        matches!(self, Value::Undefined(_))
    }

    /// The items of a list or tuple.
    pub fn as_seq(&self) -> Option<&[Value]> {
        match self {
            Value::List(seq) | Value::Tuple(seq) | Value::Group(seq) => Some(seq.items()),
            _ => None,
        }
    }

    fn depth(&self) -> u16 {
        match self {
            Value::List(seq) | Value::Tuple(seq) | Value::Group(seq) => seq.depth,
            Value::Dict(dict) | Value::View(_, dict) => dict.depth,
            Value::Method(method) => method.object.depth(),
            _ => 0,
        }
    }

    /// Python's `a is b`, as far as it can be told.
    pub fn is(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Undefined(a), Value::Undefined(b)) => Rc::ptr_eq(a, b),
            (Value::None, Value::None) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            // Python keeps one object for each small integer.
            (Value::Int(a), Value::Int(b)) => a == b && (-5..=256).contains(a),
            (Value::Str(a), Value::Str(b)) => {
                Rc::ptr_eq(a, b) || (!a.safe && !b.safe && a.as_str().len() <= 1 && a.as_str() == b.as_str())
            }
            (Value::List(a), Value::List(b))
            | (Value::Tuple(a), Value::Tuple(b))
            | (Value::Group(a), Value::Group(b)) => Rc::ptr_eq(a, b),
            (Value::Dict(a), Value::Dict(b)) => Rc::ptr_eq(a, b),
            (Value::Range(a), Value::Range(b)) => Rc::ptr_eq(a, b),
            (Value::Method(a), Value::Method(b)) => Rc::ptr_eq(a, b),
            (Value::Object(a), Value::Object(b)) => a == b,
            (Value::Function(a), Value::Function(b)) => a == b,
            _ => false,
        }
    }

    /// Python's truth.
    pub fn is_true(&self) -> bool {
        match self {
            Value::Undefined(_) | Value::None => false,
            Value::Bool(b) => *b,
            Value::Int(n) => *n != 0,
            Value::Float(x) => *x != 0.0,
            Value::Str(text) => !text.as_str().is_empty(),
            Value::Bytes(bytes) => !bytes.is_empty(),
            Value::List(seq) | Value::Tuple(seq) | Value::Group(seq) => !seq.items().is_empty(),
            Value::Dict(dict) | Value::View(_, dict) => !dict.entries().is_empty(),
            Value::Range(range) => range.len > 0,
            Value::Big(_) | Value::Object(_) | Value::Function(_) | Value::Method(_) => true,
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.type_name())
    }
}

/// Makes values, and counts them.
#[derive(Clone)]
pub(crate) struct Heap {
    pub meter: Rc<Meter>,
}

impl Heap {
    pub fn new(meter: Rc<Meter>) -> Self {
        Self { meter }
    }

    pub fn str(&self, text: &str) -> Res<Value> {
        self.text(text, false)
    }

    /// A text, copied.
    pub fn text(&self, text: &str, safe: bool) -> Res<Value> {
        self.meter.text_step(text.len())?;
        self.meter.take(text.len() + STR_OVERHEAD)?;
        Ok(Value::Str(Rc::new(Str { text: text.into(), safe, meter: Rc::clone(&self.meter) })))
    }

    /// A buffer to write a text into.
    pub fn buffer(&self) -> Buffer {
        Buffer { text: String::new(), meter: Rc::clone(&self.meter) }
    }

    /// A place to gather items.
    pub fn items(&self) -> Items {
        Items { items: Vec::new(), meter: Rc::clone(&self.meter) }
    }

    fn seq(&self, mut items: Items) -> Res<Rc<Seq>> {
        let depth = 1 + items.items.iter().map(Value::depth).max().unwrap_or(0);
        if depth > VALUE_DEPTH_MAX {
            return too_deep(u32::from(VALUE_DEPTH_MAX));
        }
        self.meter.take(SEQ_OVERHEAD)?;
        // The sequence takes over what the items counted.
        let items = std::mem::take(&mut items.items);
        Ok(Rc::new(Seq { items, depth, meter: Rc::clone(&self.meter) }))
    }

    pub fn list(&self, items: Items) -> Res<Value> {
        Ok(Value::List(self.seq(items)?))
    }

    pub fn tuple(&self, items: Items) -> Res<Value> {
        Ok(Value::Tuple(self.seq(items)?))
    }

    pub fn group(&self, key: Value, members: Value) -> Res<Value> {
        let mut items = self.items();
        items.push(key)?;
        items.push(members)?;
        Ok(Value::Group(self.seq(items)?))
    }

    pub fn pair(&self, first: Value, second: Value) -> Res<Value> {
        let mut items = self.items();
        items.push(first)?;
        items.push(second)?;
        self.tuple(items)
    }

    pub fn entries(&self) -> Entries {
        Entries { entries: IndexMap::new(), meter: Rc::clone(&self.meter) }
    }

    pub fn dict(&self, mut entries: Entries) -> Res<Value> {
        let depth =
            1 + entries.entries.iter().map(|(k, v)| v.depth().max(k.value.depth())).max().unwrap_or(0);
        if depth > VALUE_DEPTH_MAX {
            return too_deep(u32::from(VALUE_DEPTH_MAX));
        }
        self.meter.take(SEQ_OVERHEAD)?;
        let entries = std::mem::take(&mut entries.entries);
        Ok(Value::Dict(Rc::new(Dict { entries, depth, meter: Rc::clone(&self.meter) })))
    }

    pub fn big(&self, value: BigInt) -> Res<Value> {
        super::integer::from_big(value)
    }

    pub fn undefined(&self, message: impl Into<String>) -> Value {
        Value::Undefined(Rc::new(Undefined { message: message.into(), unsafe_attribute: false }))
    }

    /// A JSON value.
    pub fn json(&self, value: &serde_json::Value) -> Res<Value> {
        let _level = self.meter.deeper()?;
        self.meter.step(1)?;
        Ok(match value {
            serde_json::Value::Null => Value::None,
            serde_json::Value::Bool(b) => Value::Bool(*b),
            serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(n), _) => Value::Int(n),
                (None, Some(n)) => self.big(BigInt::from(n))?,
                (None, None) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            serde_json::Value::String(text) => self.str(text)?,
            serde_json::Value::Array(values) => {
                let mut items = self.items();
                for value in values {
                    items.push(self.json(value)?)?;
                }
                self.list(items)?
            }
            serde_json::Value::Object(map) => {
                let mut entries = self.entries();
                for (key, value) in map {
                    entries.insert(self.str(key)?, self.json(value)?)?;
                }
                self.dict(entries)?
            }
        })
    }
}

/// A text that grows.
pub(crate) struct Buffer {
    text: String,
    meter: Rc<Meter>,
}

impl Buffer {
    pub fn push_str(&mut self, text: &str) -> Res<()> {
        self.meter.text_step(text.len())?;
        self.meter.take(text.len())?;
        self.text.push_str(text);
        Ok(())
    }

    pub fn push(&mut self, c: char) -> Res<()> {
        self.meter.take(c.len_utf8())?;
        self.meter.step(1)?;
        self.text.push(c);
        Ok(())
    }

    /// `text`, `times` times.
    pub fn repeat(&mut self, text: &str, times: usize) -> Res<()> {
        let bytes = text.len().saturating_mul(times);
        self.meter.text_step(bytes)?;
        self.meter.take(bytes)?;
        self.text.reserve(bytes);
        if text.len() == 1 {
            self.text.extend(std::iter::repeat_n(char::from(text.as_bytes()[0]), times));
        } else if !text.is_empty() {
            for _ in 0..times {
                self.text.push_str(text);
            }
        }
        Ok(())
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// The text as a value.
    pub fn finish(mut self, safe: bool) -> Res<Value> {
        self.meter.take(STR_OVERHEAD)?;
        let text = std::mem::take(&mut self.text).into_boxed_str();
        let meter = Rc::clone(&self.meter);
        Ok(Value::Str(Rc::new(Str { text, safe, meter })))
    }

    /// The text itself.
    pub fn into_string(mut self) -> String {
        let text = std::mem::take(&mut self.text);
        self.meter.give(text.len());
        text
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.meter.give(self.text.len());
    }
}

/// Values that become a sequence.
pub(crate) struct Items {
    items: Vec<Value>,
    meter: Rc<Meter>,
}

impl Items {
    pub fn push(&mut self, value: Value) -> Res<()> {
        self.meter.step(1)?;
        self.meter.take(ITEM_BYTES)?;
        self.items.push(value);
        Ok(())
    }

    pub fn extend(&mut self, values: &[Value]) -> Res<()> {
        self.meter.step(values.len())?;
        self.meter.take(values.len().saturating_mul(ITEM_BYTES))?;
        self.items.extend_from_slice(values);
        Ok(())
    }

    pub fn as_slice(&self) -> &[Value] {
        &self.items
    }

    /// Gives everything back.
    pub fn clear(&mut self) {
        self.meter.give(self.items.len() * ITEM_BYTES);
        self.items = Vec::new();
    }

    pub fn as_mut_slice(&mut self) -> &mut [Value] {
        &mut self.items
    }

    pub fn len(&self) -> usize {
        self.items.len()
    }
}

impl Drop for Items {
    fn drop(&mut self) {
        self.meter.give(self.items.len() * ITEM_BYTES);
    }
}

/// Pairs that become a dictionary.
pub(crate) struct Entries {
    entries: IndexMap<Key, Value>,
    meter: Rc<Meter>,
}

impl Entries {
    pub fn insert(&mut self, key: Value, value: Value) -> Res<()> {
        let key = Key::new(key, &self.meter)?;
        self.insert_key(key, value)
    }

    pub fn insert_key(&mut self, key: Key, value: Value) -> Res<()> {
        self.meter.step(1)?;
        // A key that is there stays as it is, as in Python.
        if let Some(old) = self.entries.get_mut(&key) {
            *old = value;
            return Ok(());
        }
        self.meter.take(ENTRY_BYTES)?;
        self.entries.insert(key, value);
        Ok(())
    }

    pub fn get(&self, key: &Key) -> Option<&Value> {
        self.entries.get(key)
    }

    pub fn get_str(&self, name: &str) -> Option<&Value> {
        self.entries.get(&StrKey(name))
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Value)> {
        self.entries.iter()
    }
}

impl Drop for Entries {
    fn drop(&mut self) {
        self.meter.give(self.entries.len() * ENTRY_BYTES);
    }
}
