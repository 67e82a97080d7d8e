//! Filters of lists, dictionaries and what else can be iterated over.

use crate::jinja::ast::{BinaryOp, CompareOp};
use crate::jinja::compare;
use crate::jinja::integer::to_index;
use crate::jinja::interpreter::{Args, Interpreter};
use crate::jinja::meter::{Fail, FailKind, Res, fail, type_error};
use crate::jinja::value::{ITEM_BYTES, Items, Key, Value};

/// A way to an attribute: names and indices.
struct Path {
    parts: Vec<Value>,
    default: Option<Value>,
    ignore_case: bool,
}

impl Interpreter<'_> {
    pub(super) fn sequence_filter(&mut self, name: &str, value: &Value, args: Args) -> Res<Value> {
        match name {
            "list" => {
                let [] = args.bind(name, [], 0)?;
                let items = self.collect(value)?;
                self.heap.list(items)
            }
            "length" | "count" => {
                let [] = args.positional_only(name, 0)?;
                match self.len_if_sized(value)? {
                    Some(len) => Ok(Value::Int(len as i64)),
                    None => type_error(format!("object of type '{}' has no len()", self.type_of(value))),
                }
            }
            "first" => {
                let [] = args.bind(name, [], 0)?;
                let mut iter = self.iter(value)?;
                match self.next_item(&mut iter)? {
                    Some(item) => Ok(item),
                    None => Ok(self.heap.undefined("No first item, sequence was empty.")),
                }
            }
            "last" => {
                let [] = args.bind(name, [], 0)?;
                let items = self.reversible(value)?;
                match items.as_slice().last() {
                    Some(item) => Ok(item.clone()),
                    None => Ok(self.heap.undefined("No last item, sequence was empty.")),
                }
            }
            "random" => {
                let [] = args.bind(name, [], 0)?;
                let items = self.reversible(value)?;
                if items.len() == 0 {
                    return Ok(self.heap.undefined("No random item, sequence was empty."));
                }
                let nanos = self.now.duration_since(std::time::UNIX_EPOCH).map_or(0, |t| t.subsec_nanos());
                Ok(items.as_slice()[nanos as usize % items.len()].clone())
            }
            "reverse" => {
                let [] = args.bind(name, [], 0)?;
                self.reverse(value)
            }
            "join" => {
                let [separator, attribute] = args.bind(name, ["d", "attribute"], 0)?;
                self.join(value, separator, attribute)
            }
            "items" => {
                let [] = args.bind(name, [], 0)?;
                let items = self.heap.items();
                match value {
                    Value::Undefined(_) => self.iterator(items, None),
                    Value::Dict(dict) => {
                        let mut items = items;
                        for (key, value) in dict.entries() {
                            items.push(self.heap.pair(key.value.clone(), value.clone())?)?;
                        }
                        self.iterator(items, None)
                    }
                    _ => {
                        let error = Fail {
                            kind: FailKind::Type,
                            message: "Can only get item pairs from a mapping.".to_owned(),
                        };
                        self.iterator(items, Some(Box::new(error)))
                    }
                }
            }
            "dictsort" => self.dictsort(value, args),
            "sort" => self.sort(value, args),
            "unique" => {
                let [case_sensitive, attribute] = args.bind(name, ["case_sensitive", "attribute"], 0)?;
                let path = self.path(attribute, None, !is_true(case_sensitive))?;
                self.lazily(|this, out| this.unique(value, &path, out))
            }
            "min" | "max" => {
                let [case_sensitive, attribute] = args.bind(name, ["case_sensitive", "attribute"], 0)?;
                let path = self.path(attribute, None, !is_true(case_sensitive))?;
                self.extreme(value, &path, name == "max")
            }
            "sum" => {
                let [attribute, start] = args.bind(name, ["attribute", "start"], 0)?;
                let path = self.path(attribute, None, false)?;
                let mut total = start.unwrap_or(Value::Int(0));
                if let Value::Str(_) = total {
                    return type_error("sum() can't sum strings [use ''.join(seq) instead]");
                }
                let items = self.collect(value)?;
                for item in items.as_slice() {
                    let item = self.follow(item, &path)?;
                    total = self.binary(BinaryOp::Add, &total, &item)?;
                }
                Ok(total)
            }
            "batch" => {
                let [count, fill] = args.bind(name, ["linecount", "fill_with"], 1)?;
                self.lazily(|this, out| this.batch(value, &count, fill, out))
            }
            "slice" => {
                let [slices, fill] = args.bind(name, ["slices", "fill_with"], 1)?;
                self.lazily(|this, out| this.slices(value, &slices, fill, out))
            }
            "groupby" => {
                let [attribute, default, case_sensitive] =
                    args.bind(name, ["attribute", "default", "case_sensitive"], 1)?;
                self.groupby(value, attribute, default, is_true(case_sensitive))
            }
            "attr" => {
                let [name] = args.bind(name, ["name"], 1)?;
                self.attr_filter(value, &name.unwrap_or(Value::None))
            }
            "map" => self.lazily(|this, out| this.map(value, args, out)),
            _ => {
                let by_attribute = name.ends_with("attr");
                let keep = name.starts_with("select");
                self.lazily(|this, out| this.select(value, args, by_attribute, keep, out))
            }
        }
    }

    /// What a generator of Python gives: the items, and the error that ended it. A bound is never put off.
    fn lazily(&mut self, work: impl FnOnce(&mut Self, &mut Items) -> Res<()>) -> Res<Value> {
        let mut items = self.heap.items();
        match work(self, &mut items) {
            Ok(()) => self.iterator(items, None),
            Err(error) if matches!(error.kind, FailKind::Bound(_)) => Err(error),
            Err(error) => self.iterator(items, Some(error)),
        }
    }

    fn path(&mut self, attribute: Option<Value>, default: Option<Value>, ignore_case: bool) -> Res<Path> {
        let parts = match attribute {
            None | Some(Value::None) => Vec::new(),
            Some(Value::Str(text)) => self.path_parts(text.as_str())?,
            Some(other) => vec![other],
        };
        Ok(Path { parts, default: default.filter(|value| !matches!(value, Value::None)), ignore_case })
    }

    fn path_parts(&mut self, text: &str) -> Res<Vec<Value>> {
        let mut parts = Vec::new();
        for part in text.split('.') {
            self.step(1)?;
            let is_index = !part.is_empty() && part.bytes().all(|c| c.is_ascii_digit());
            parts.push(match part.parse::<i64>() {
                Ok(index) if is_index => Value::Int(index),
                _ => self.heap.str(part)?,
            });
        }
        Ok(parts)
    }

    fn follow(&mut self, item: &Value, path: &Path) -> Res<Value> {
        let mut value = item.clone();
        for part in &path.parts {
            value = self.item(&value, part)?;
            if let (true, Some(default)) = (value.is_undefined(), &path.default) {
                value = default.clone();
            }
        }
        if path.ignore_case && value.as_str().is_some() {
            let lower = self.map_case(value.as_str().unwrap_or_default(), "lower")?;
            value = self.heap.str(&lower)?;
        }
        Ok(value)
    }

    /// The items of what Python can go through backwards.
    fn reversible(&mut self, value: &Value) -> Res<Items> {
        if let Value::Object(_) | Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) = value {
            return type_error(format!("'{}' object is not reversible", self.type_of(value)));
        }
        self.collect(value)
    }

    fn reverse(&mut self, value: &Value) -> Res<Value> {
        if let Value::Str(text) = value {
            let mut out = self.heap.buffer();
            for c in text.as_str().chars().rev() {
                out.push(c)?;
            }
            return out.finish(text.safe);
        }
        let mut items = match self.collect(value) {
            Err(error) if error.kind == FailKind::Type => {
                return fail(FailKind::Template, "argument must be iterable");
            }
            other => other?,
        };
        items.as_mut_slice().reverse();
        // An iterator cannot be reversed, so it becomes a list; all else gives an iterator.
        if let Value::Object(_) = value { self.heap.list(items) } else { self.iterator(items, None) }
    }

    fn join(&mut self, value: &Value, separator: Option<Value>, attribute: Option<Value>) -> Res<Value> {
        let separator = match separator {
            Some(separator) => self.to_str(&separator)?,
            None => self.heap.str("")?,
        };
        let path = self.path(attribute, None, false)?;
        let items = self.collect(value)?;
        let mut values = self.heap.items();
        for item in items.as_slice() {
            values.push(self.follow(item, &path)?)?;
        }
        let safe = self.autoescape && (separator.is_safe() || values.as_slice().iter().any(Value::is_safe));
        let separator = if safe { self.escape(&separator)? } else { separator };
        let mut out = self.heap.buffer();
        for (at, item) in values.as_slice().iter().enumerate() {
            if at > 0 {
                out.push_str(separator.as_str().unwrap_or_default())?;
            }
            if safe {
                let escaped = self.escape(item)?;
                out.push_str(escaped.as_str().unwrap_or_default())?;
            } else {
                self.push_text(item, &mut out)?;
            }
        }
        out.finish(safe)
    }

    fn dictsort(&mut self, value: &Value, args: Args) -> Res<Value> {
        let [case_sensitive, by, reverse] = args.bind("dictsort", ["case_sensitive", "by", "reverse"], 0)?;
        let place = match by.as_ref().map(Value::as_str) {
            None | Some(Some("key")) => 0,
            Some(Some("value")) => 1,
            _ => return fail(FailKind::Template, "You can only sort by either \"key\" or \"value\""),
        };
        Self::refuse_undefined(value)?;
        let Value::Dict(dict) = value else {
            return type_error(format!("'{}' object has no attribute 'items'", self.type_of(value)));
        };
        let path = Path { parts: Vec::new(), default: None, ignore_case: !is_true(case_sensitive) };
        let mut keyed = Vec::new();
        for (key, value) in dict.entries() {
            let by = if place == 0 { &key.value } else { value };
            let by = self.follow(by, &path)?;
            self.meter().take(ITEM_BYTES * 4)?;
            keyed.push((by, self.heap.pair(key.value.clone(), value.clone())?));
        }
        self.sorted(keyed, is_true(reverse))
    }

    fn sort(&mut self, value: &Value, args: Args) -> Res<Value> {
        let [reverse, case_sensitive, attribute] =
            args.bind("sort", ["reverse", "case_sensitive", "attribute"], 0)?;
        let ignore_case = !is_true(case_sensitive);
        let mut paths = Vec::new();
        match attribute {
            Some(Value::Str(text)) => {
                for one in text.as_str().split(',') {
                    let parts = self.path_parts(one)?;
                    paths.push(Path { parts, default: None, ignore_case });
                }
            }
            other => paths.push(self.path(other, None, ignore_case)?),
        }
        let items = self.collect(value)?;
        let mut keyed = Vec::new();
        for item in items.as_slice() {
            let mut keys = self.heap.items();
            for path in &paths {
                keys.push(self.follow(item, path)?)?;
            }
            self.meter().take(ITEM_BYTES * 4)?;
            keyed.push((self.heap.list(keys)?, item.clone()));
        }
        self.sorted(keyed, is_true(reverse))
    }

    /// A list sorted by its keys; what the pairs took is given back.
    fn sorted(&mut self, keyed: Vec<(Value, Value)>, reverse: bool) -> Res<Value> {
        let bytes = keyed.len() * ITEM_BYTES * 4;
        let sorted = compare::sort(keyed, reverse, self.meter(), |(key, _)| key)?;
        let mut items = self.heap.items();
        for (_, item) in sorted {
            items.push(item)?;
        }
        self.meter().give(bytes);
        self.heap.list(items)
    }

    fn unique(&mut self, value: &Value, path: &Path, out: &mut Items) -> Res<()> {
        let items = self.collect(value)?;
        let mut seen = self.heap.entries();
        for item in items.as_slice() {
            let key = self.follow(item, path)?;
            let key = Key::new(key, self.meter())?;
            if seen.get(&key).is_none() {
                seen.insert_key(key, Value::None)?;
                out.push(item.clone())?;
            }
        }
        Ok(())
    }

    fn extreme(&mut self, value: &Value, path: &Path, largest: bool) -> Res<Value> {
        let items = self.collect(value)?;
        let mut best: Option<(Value, Value)> = None;
        for item in items.as_slice() {
            let key = self.follow(item, path)?;
            let better = match &best {
                None => true,
                Some((known, _)) if largest => compare::ordered(CompareOp::Gt, &key, known, self.meter())?,
                Some((known, _)) => compare::ordered(CompareOp::Lt, &key, known, self.meter())?,
            };
            if better {
                best = Some((key, item.clone()));
            }
        }
        match best {
            Some((_, item)) => Ok(item),
            None => Ok(self.heap.undefined("No aggregated item, sequence was empty.")),
        }
    }

    fn count_of(&self, value: &Option<Value>) -> Res<i64> {
        match value.as_ref().map(to_index) {
            Some(Some(n)) => Ok(n),
            _ => type_error("an integer is required"),
        }
    }

    /// Fails where `n` items do not fit, before any is made.
    fn room_for(&self, n: usize) -> Res<()> {
        let bytes = n.saturating_mul(ITEM_BYTES);
        self.meter().take(bytes)?;
        self.meter().give(bytes);
        Ok(())
    }

    fn batch(
        &mut self,
        value: &Value,
        count: &Option<Value>,
        fill: Option<Value>,
        out: &mut Items,
    ) -> Res<()> {
        let count = self.count_of(count)?;
        let items = self.collect(value)?;
        let mut row = self.heap.items();
        for item in items.as_slice() {
            if row.len() as i64 == count {
                let full = std::mem::replace(&mut row, self.heap.items());
                out.push(self.heap.list(full)?)?;
            }
            row.push(item.clone())?;
        }
        if row.len() > 0 {
            if let Some(fill) = fill.filter(|fill| !matches!(fill, Value::None)) {
                let missing = usize::try_from(count.saturating_sub(row.len() as i64)).unwrap_or(0);
                self.room_for(missing)?;
                for _ in 0..missing {
                    row.push(fill.clone())?;
                }
            }
            out.push(self.heap.list(row)?)?;
        }
        Ok(())
    }

    fn slices(
        &mut self,
        value: &Value,
        slices: &Option<Value>,
        fill: Option<Value>,
        out: &mut Items,
    ) -> Res<()> {
        let items = self.collect(value)?;
        let slices = self.count_of(slices)?;
        if slices == 0 {
            return fail(FailKind::ZeroDivision, "integer division or modulo by zero");
        }
        let Ok(slices) = usize::try_from(slices) else { return Ok(()) };
        self.room_for(slices)?;
        let each = items.len() / slices;
        let longer = items.len() % slices;
        let fill = fill.filter(|fill| !matches!(fill, Value::None));
        let mut from = 0;
        for n in 0..slices {
            let to = from + each + usize::from(n < longer);
            let mut row = self.heap.items();
            row.extend(&items.as_slice()[from..to])?;
            if let Some(fill) = &fill
                && n >= longer
            {
                row.push(fill.clone())?;
            }
            out.push(self.heap.list(row)?)?;
            from = to;
        }
        Ok(())
    }

    fn groupby(
        &mut self,
        value: &Value,
        attribute: Option<Value>,
        default: Option<Value>,
        case_sensitive: bool,
    ) -> Res<Value> {
        let path = self.path(attribute.clone(), default.clone(), !case_sensitive)?;
        let plain = self.path(attribute, default, false)?;
        let items = self.collect(value)?;
        let mut keyed = Vec::new();
        for item in items.as_slice() {
            self.meter().take(ITEM_BYTES * 4)?;
            keyed.push((self.follow(item, &path)?, item.clone()));
        }
        let bytes = keyed.len() * ITEM_BYTES * 4;
        let sorted = compare::sort(keyed, false, self.meter(), |(key, _)| key)?;
        let mut groups: Vec<(Value, Items)> = Vec::new();
        for (key, item) in sorted {
            if let Some((known, members)) = groups.last_mut()
                && compare::same_or_equal(known, &key, self.meter())?
            {
                members.push(item)?;
                continue;
            }
            let mut members = self.heap.items();
            members.push(item)?;
            groups.push((key, members));
        }
        let mut out = self.heap.items();
        for (_, members) in groups {
            let key = match members.as_slice().first() {
                Some(first) => self.follow(&first.clone(), &plain)?,
                None => Value::None,
            };
            let members = self.heap.list(members)?;
            out.push(self.heap.group(key, members)?)?;
        }
        self.meter().give(bytes);
        self.heap.list(out)
    }

    fn attr_filter(&mut self, value: &Value, name: &Value) -> Res<Value> {
        let Some(name) = name.as_str() else { return type_error("attribute name must be string") };
        // An item of a mapping is no attribute.
        if let Value::Dict(_) = value {
            let empty = self.heap.entries();
            let empty = self.heap.dict(empty)?;
            return self.attribute(&empty, name);
        }
        self.attribute(value, name)
    }

    fn map(&mut self, value: &Value, args: Args, out: &mut Items) -> Res<()> {
        if !self.truth(value)? {
            return Ok(());
        }
        let Args { positional, mut named } = args;
        let attribute = named.iter().position(|(name, _)| &**name == "attribute");
        if let (0, Some(at)) = (positional.len(), attribute) {
            let (_, attribute) = named.remove(at);
            let default =
                named.iter().position(|(name, _)| &**name == "default").map(|at| named.remove(at).1);
            if let Some((name, _)) = named.first() {
                return fail(FailKind::Template, format!("Unexpected keyword argument '{name}'"));
            }
            let path = self.path(Some(attribute), default, false)?;
            let mut iter = self.iter(value)?;
            while let Some(item) = self.next_item(&mut iter)? {
                out.push(self.follow(&item, &path)?)?;
            }
            return Ok(());
        }
        let Some((filter, rest)) = positional.as_slice().split_first() else {
            return fail(FailKind::Template, "map requires a filter argument");
        };
        let Some(filter) = filter.as_str() else {
            return fail(FailKind::Template, "No filter of that name.");
        };
        let mut iter = self.iter(value)?;
        while let Some(item) = self.next_item(&mut iter)? {
            let mut positional = self.heap.items();
            positional.extend(rest)?;
            let args = Args { positional, named: named.clone() };
            out.push(self.filter(filter, &item, args)?)?;
        }
        Ok(())
    }

    fn select(
        &mut self,
        value: &Value,
        args: Args,
        by_attribute: bool,
        keep: bool,
        out: &mut Items,
    ) -> Res<()> {
        if !self.truth(value)? {
            return Ok(());
        }
        let Args { positional, named } = args;
        let mut rest = positional.as_slice();
        let mut path = Path { parts: Vec::new(), default: None, ignore_case: false };
        if by_attribute {
            let Some((attribute, others)) = rest.split_first() else {
                return fail(FailKind::Template, "Missing parameter for attribute name");
            };
            path = self.path(Some(attribute.clone()), None, false)?;
            rest = others;
        }
        let mut iter = self.iter(value)?;
        while let Some(item) = self.next_item(&mut iter)? {
            let tested = self.follow(&item, &path)?;
            let passes = match rest.split_first() {
                None => self.truth(&tested)?,
                Some((test, others)) => {
                    let Some(test) = test.as_str() else {
                        return fail(FailKind::Template, "No test of that name.");
                    };
                    let mut positional = self.heap.items();
                    positional.extend(others)?;
                    self.test(test, &tested, Args { positional, named: named.clone() })?
                }
            };
            if passes == keep {
                out.push(item)?;
            }
        }
        Ok(())
    }
}

fn is_true(value: Option<Value>) -> bool {
    value.is_some_and(|value| value.is_true())
}
