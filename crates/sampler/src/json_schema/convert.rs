//! The walk over a schema.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;

use crate::{
    Error,
    json_schema::{builtin, dump, fail, integer, object, pattern},
};

/// Deepest nesting of schemas, references included.
const MAX_DEPTH: usize = 200;
/// Most schemas visited: references can multiply them.
const MAX_VISITS: usize = 1_000_000;
/// Most bytes of all rules.
const MAX_OUTPUT: usize = 16 << 20;

static NULL: Value = Value::Null;

pub(super) struct Converter<'a> {
    rules: BTreeMap<String, String>,
    n_bytes: usize,
    /// References and the schemas they name.
    refs: HashMap<String, &'a Value>,
    open_refs: HashSet<String>,
    /// What is wrong with the schema, as far as that does not end the walk.
    problems: Vec<String>,
    depth: usize,
    n_visits: usize,
}

impl<'a> Converter<'a> {
    pub(super) fn new() -> Self {
        Self {
            rules: BTreeMap::from([("space".to_owned(), builtin::SPACE.to_owned())]),
            n_bytes: 0,
            refs: HashMap::new(),
            open_refs: HashSet::new(),
            problems: Vec::new(),
            depth: 0,
            n_visits: 0,
        }
    }

    /// The grammar, rules in order of their names.
    pub(super) fn finish(self) -> Result<String, Error> {
        if !self.problems.is_empty() {
            return fail(self.problems.join("; "));
        }
        let mut out = String::with_capacity(self.n_bytes + 8 * self.rules.len());
        for (name, rule) in &self.rules {
            out.extend([name.as_str(), " ::= ", rule.as_str(), "\n"]);
        }
        Ok(out)
    }

    /// Adds a rule and returns its name: `name` made valid, with a number if another rule has it.
    pub(super) fn add_rule(&mut self, name: &str, rule: &str) -> Result<String, Error> {
        let valid = valid_name(name);
        let is_free =
            |rules: &BTreeMap<String, String>, name: &str| rules.get(name).is_none_or(|known| known == rule);
        let mut key = valid.clone();
        let mut n = 0;
        while !is_free(&self.rules, &key) {
            key = format!("{valid}{n}");
            n += 1;
        }
        if !self.rules.contains_key(&key) {
            self.n_bytes += key.len() + rule.len();
            if self.n_bytes > MAX_OUTPUT {
                return fail(format!("the grammar passes {MAX_OUTPUT} bytes"));
            }
            self.rules.insert(key.clone(), rule.to_owned());
        }
        Ok(key)
    }

    /// Adds the built-in rule `builtin` as `name`, and what it uses.
    pub(super) fn add_builtin(&mut self, name: &str, builtin: &str) -> Result<String, Error> {
        let Some(rule) = builtin::primitive(builtin).or_else(|| builtin::format(builtin)) else {
            return fail(format!("rule {builtin} is not known"));
        };
        let added = self.add_rule(name, rule.content)?;
        for used in rule.uses {
            if !self.rules.contains_key(*used) {
                self.add_builtin(used, used)?;
            }
        }
        Ok(added)
    }

    /// Finds what every `$ref` of the schema names.
    pub(super) fn resolve_refs(&mut self, schema: &'a Value) -> Result<(), Error> {
        let mut todo = vec![schema];
        while let Some(node) = todo.pop() {
            match node {
                Value::Array(items) => todo.extend(items.iter().rev()),
                Value::Object(map) => match map.get("$ref") {
                    Some(reference) => self.resolve(schema, text(reference, "$ref")?),
                    None => todo.extend(map.values().rev()),
                },
                _ => {}
            }
        }
        Ok(())
    }

    fn resolve(&mut self, schema: &'a Value, reference: &str) {
        if self.refs.contains_key(reference) {
            return;
        }
        let (base, pointer) = reference.split_once('#').unwrap_or((reference, ""));
        let mut target = &NULL;
        if reference.starts_with("https://") {
            // Nothing is fetched: what lies there counts as null.
            self.refs.entry(base.to_owned()).or_insert(&NULL);
            if pointer.is_empty() {
                return;
            }
        } else if reference.starts_with("#/") {
            target = schema;
        } else {
            self.problems.push(format!("unsupported reference '{reference}'"));
            return;
        }
        for step in pointer.split('/').skip(1) {
            let next = match target {
                Value::Object(map) => map.get(step),
                Value::Array(items) => leading_index(step).and_then(|i| items.get(i)),
                _ => None,
            };
            let Some(next) = next else {
                self.problems.push(format!("reference '{reference}': nothing at '{step}'"));
                return;
            };
            target = next;
        }
        self.refs.insert(reference.to_owned(), target);
    }

    fn follow(&mut self, reference: &str) -> Result<String, Error> {
        let fragment = reference.split_once('#').map_or(reference, |(_, fragment)| fragment);
        let name = format!("ref{}", valid_name(fragment));
        if self.rules.contains_key(&name) || !self.open_refs.insert(reference.to_owned()) {
            return Ok(name);
        }
        let target = self.refs.get(reference).copied().unwrap_or(&NULL);
        let name = self.visit(target, &name)?;
        self.open_refs.remove(reference);
        Ok(name)
    }

    /// Adds the rules of a schema and returns the name of its rule; the empty name is the root.
    pub(super) fn visit(&mut self, schema: &'a Value, name: &str) -> Result<String, Error> {
        let type_of = schema.get("type").filter(|_| schema.is_object());
        self.visit_as(schema, type_of.unwrap_or(&NULL), name)
    }

    fn visit_as(&mut self, schema: &'a Value, type_of: &'a Value, name: &str) -> Result<String, Error> {
        self.n_visits += 1;
        self.depth += 1;
        if self.depth > MAX_DEPTH || self.n_visits > MAX_VISITS {
            return fail(format!(
                "nested deeper than {MAX_DEPTH}, or more than {MAX_VISITS} schemas visited"
            ));
        }
        let done = self.dispatch(schema, type_of, name);
        self.depth -= 1;
        done
    }

    fn dispatch(&mut self, schema: &'a Value, type_of: &'a Value, name: &str) -> Result<String, Error> {
        let map = schema.as_object();
        let get = |key: &str| map.and_then(|map| map.get(key));
        let format = get("format").map_or(Ok(""), |f| text(f, "format"))?;
        let rule_name = match name {
            "" => "root".to_owned(),
            name if builtin::is_reserved(name) => format!("{name}-"),
            name => name.to_owned(),
        };
        let untyped_or = |expected: &str| type_of.is_null() || type_of == expected;

        if let Some(reference) = get("$ref") {
            let target = self.follow(text(reference, "$ref")?)?;
            return self.add_rule(&rule_name, &target);
        }
        if let Some(union) = get("oneOf").or_else(|| get("anyOf")) {
            let Some(schemas) = union.as_array() else {
                return fail("'oneOf' and 'anyOf' must be arrays");
            };
            let all = schemas.iter().map(|schema| (schema, None)).collect::<Vec<_>>();
            return self.union(&all, &rule_name, name);
        }
        if let Some(types) = type_of.as_array() {
            let all = types.iter().map(|t| (schema, Some(t))).collect::<Vec<_>>();
            return self.union(&all, &rule_name, name);
        }
        if let Some(value) = get("const") {
            return self.add_rule(&rule_name, &constant(value));
        }
        if let Some(values) = get("enum") {
            let all: Vec<String> = items(values).into_iter().map(constant).collect();
            return self.add_rule(&rule_name, &format!("({})", all.join(" | ")));
        }
        let additional = get("additionalProperties");
        if untyped_or("object")
            && (get("properties").is_some() || additional.is_some_and(|a| *a != Value::Bool(true)))
        {
            let required = get("required").and_then(Value::as_array);
            let required = required.into_iter().flatten().filter_map(Value::as_str).collect();
            let rule = self.object(get("properties"), &required, name, additional)?;
            return self.add_rule(&rule_name, &rule);
        }
        if (untyped_or("object") || type_of == "string")
            && let Some(parts) = get("allOf")
        {
            return self.all_of(parts, &rule_name, name);
        }
        if untyped_or("array")
            && let Some(content) = get("items").or_else(|| get("prefixItems"))
        {
            return self.array(schema, content, &rule_name, name);
        }
        if untyped_or("string")
            && let Some(pattern) = get("pattern")
        {
            return pattern::add(self, text(pattern, "pattern")?, &rule_name);
        }
        if untyped_or("string") {
            if is_uuid(format) {
                return self.add_builtin(if rule_name == "root" { "root" } else { format }, "uuid");
            }
            let builtin = format!("{format}-string");
            if builtin::format(&builtin).is_some() {
                let added = self.add_builtin(&builtin, &builtin)?;
                return self.add_rule(&rule_name, &added);
            }
        }
        if type_of == "string" && (get("minLength").is_some() || get("maxLength").is_some()) {
            let char_rule = self.add_builtin("char", "char")?;
            let least = get("minLength").map_or(Ok(0), |n| int(n, "minLength"))?;
            let most = get("maxLength").map_or(Ok(i32::MAX), |n| int(n, "maxLength"))?;
            let chars = pattern::repetition(&char_rule, least, most, "");
            return self.add_rule(&rule_name, &format!("\"\\\"\" {chars} \"\\\"\""));
        }
        let bounds = ["minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"];
        if type_of == "integer" && bounds.iter().any(|key| get(key).is_some()) {
            let bound = |at: &str, beyond: &str, step: i64, none| match (get(at), get(beyond)) {
                (Some(n), _) => long(n, at),
                (None, Some(n)) => Ok(long(n, beyond)?.wrapping_add(step)),
                (None, None) => Ok(none),
            };
            let min = bound("minimum", "exclusiveMinimum", 1, i64::MIN)?;
            let max = bound("maximum", "exclusiveMaximum", -1, i64::MAX)?;
            return self.add_rule(&rule_name, &format!("({})", integer::between(min, max)?));
        }
        let is_empty = match schema {
            Value::Null => true,
            Value::Object(map) => map.is_empty(),
            Value::Array(items) => items.is_empty(),
            _ => false,
        };
        if is_empty || type_of == "object" {
            let added = self.add_builtin("object", "object")?;
            return self.add_rule(&rule_name, &added);
        }
        if type_of.is_null() && schema.is_object() {
            let added = self.add_builtin("value", "value")?;
            return self.add_rule(&rule_name, &added);
        }
        if let Some(t) = type_of.as_str().filter(|t| builtin::primitive(t).is_some()) {
            return self.add_builtin(if rule_name == "root" { "root" } else { t }, t);
        }
        self.problems.push(format!("unrecognized schema {}", dump::dump(schema)));
        Ok(String::new())
    }

    /// One of several schemas, each with the type to take it for if not its own.
    fn union(
        &mut self,
        all: &[(&'a Value, Option<&'a Value>)],
        rule_name: &str,
        name: &str,
    ) -> Result<String, Error> {
        let mut rules = Vec::with_capacity(all.len());
        for (i, &(schema, type_of)) in all.iter().enumerate() {
            let prefix = if name.is_empty() { "alternative".to_owned() } else { name.to_owned() };
            let name = format!("{prefix}-{i}");
            rules.push(match type_of {
                Some(type_of) => self.visit_as(schema, type_of, &name)?,
                None => self.visit(schema, &name)?,
            });
        }
        self.add_rule(rule_name, &rules.join(" | "))
    }

    fn object(
        &mut self,
        properties: Option<&'a Value>,
        required: &HashSet<&str>,
        name: &str,
        additional: Option<&'a Value>,
    ) -> Result<String, Error> {
        match properties {
            Some(Value::Object(map)) => {
                let listed: Vec<(&str, &Value)> = map.iter().map(|(key, v)| (key.as_str(), v)).collect();
                object::rule(self, &listed, required, name, additional)
            }
            None | Some(Value::Null) => object::rule(self, &[], required, name, additional),
            Some(_) => fail("'properties' must be an object"),
        }
    }

    fn all_of(&mut self, parts: &'a Value, rule_name: &str, name: &str) -> Result<String, Error> {
        let mut found = AllOf::default();
        let n_parts = items(parts).len();
        for part in items(parts) {
            match part.as_object().and_then(|map| map.get("anyOf")) {
                Some(any) => {
                    for part in items(any) {
                        self.add_component(part, false, &mut found, 0)?;
                    }
                }
                None => self.add_component(part, true, &mut found, 0)?,
            }
        }
        let common: Vec<&str> =
            found.enums.iter().filter(|(_, n)| **n == n_parts).map(|(rule, _)| rule.as_str()).collect();
        if !common.is_empty() {
            return self.add_rule(rule_name, &format!("({})", common.join(" | ")));
        }
        let rule = object::rule(self, &found.properties, &found.required, name, None)?;
        self.add_rule(rule_name, &rule)
    }

    fn add_component(
        &self,
        part: &'a Value,
        is_required: bool,
        found: &mut AllOf<'a>,
        depth: usize,
    ) -> Result<(), Error> {
        let Some(map) = part.as_object() else {
            return Ok(());
        };
        if let Some(reference) = map.get("$ref") {
            if depth > MAX_DEPTH {
                return fail("circular reference in 'allOf'");
            }
            let target = self.refs.get(text(reference, "$ref")?).copied().unwrap_or(&NULL);
            return self.add_component(target, is_required, found, depth + 1);
        }
        if let Some(properties) = map.get("properties") {
            let Some(properties) = properties.as_object() else {
                return fail("'properties' must be an object");
            };
            for (key, schema) in properties {
                found.properties.push((key, schema));
                if is_required {
                    found.required.insert(key);
                }
            }
        } else if let Some(values) = map.get("enum") {
            for value in items(values) {
                *found.enums.entry(constant(value)).or_default() += 1;
            }
        }
        Ok(())
    }

    fn array(
        &mut self,
        schema: &'a Value,
        content: &'a Value,
        rule_name: &str,
        name: &str,
    ) -> Result<String, Error> {
        let prefix = if name.is_empty() { String::new() } else { format!("{name}-") };
        let inner = if let Value::Array(schemas) = content {
            let mut rules = Vec::with_capacity(schemas.len());
            for (i, schema) in schemas.iter().enumerate() {
                rules.push(self.visit(schema, &format!("{prefix}tuple-{i}"))?);
            }
            rules.join(" \",\" space ")
        } else {
            let item = self.visit(content, &format!("{prefix}item"))?;
            let least = schema.get("minItems").map_or(Ok(0), |n| int(n, "minItems"))?;
            let most = schema.get("maxItems").filter(|n| n.is_i64() || n.is_u64());
            let most = most.map_or(Ok(i32::MAX), |n| int(n, "maxItems"))?;
            pattern::repetition(&item, least, most, "\",\" space")
        };
        self.add_rule(rule_name, &format!("\"[\" space {inner} space \"]\""))
    }
}

/// What the parts of an `allOf` add up to.
#[derive(Default)]
struct AllOf<'a> {
    properties: Vec<(&'a str, &'a Value)>,
    required: HashSet<&'a str>,
    /// Constants and in how many parts they are.
    enums: BTreeMap<String, usize>,
}

fn constant(value: &Value) -> String {
    dump::literal(&dump::dump(value))
}

/// What a loop over a value runs through: a single value is a list of itself.
fn items(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(map) => map.values().collect(),
        Value::Null => Vec::new(),
        other => vec![other],
    }
}

fn text<'v>(value: &'v Value, key: &str) -> Result<&'v str, Error> {
    value.as_str().map_or_else(|| fail(format!("'{key}' must be a string")), Ok)
}

/// A number cut to 64 bits.
fn long(value: &Value, key: &str) -> Result<i64, Error> {
    let cut = value.as_i64().or_else(|| value.as_u64().map(|n| n as i64));
    let cut = cut.or_else(|| value.as_f64().map(|n| n as i64));
    cut.map_or_else(|| fail(format!("'{key}' must be a number")), Ok)
}

/// A number cut to 32 bits; true counts as 1.
fn int(value: &Value, key: &str) -> Result<i32, Error> {
    match value {
        Value::Bool(b) => Ok(i32::from(*b)),
        Value::Number(n) if n.is_f64() => Ok(n.as_f64().unwrap_or(0.0) as i32),
        other => Ok(long(other, key)? as i32),
    }
}

/// The index a step of a pointer begins with.
fn leading_index(step: &str) -> Option<usize> {
    let n_digits = step.bytes().take_while(u8::is_ascii_digit).count();
    step[..n_digits].parse().ok()
}

fn is_uuid(format: &str) -> bool {
    format.strip_prefix("uuid").is_some_and(|v| v.is_empty() || matches!(v, "1" | "2" | "3" | "4" | "5"))
}

/// Every run of characters that no rule's name has becomes one `-`.
fn valid_name(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut in_run = false;
    for c in name.chars() {
        let valid = c.is_ascii_alphanumeric() || c == '-';
        if valid {
            out.push(c);
        } else if !in_run {
            out.push('-');
        }
        in_run = !valid;
    }
    out
}
