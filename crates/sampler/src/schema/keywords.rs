//! From a subschema's keywords to a formula about values of one kind.
//!
//! A formula is made of a schema, or of its opposite: so `not`, `oneOf` and `if` are nothing special. Keywords that
//! are not known here assert nothing, as the specification has it; those that assert what no grammar can say are
//! errors that name them.

use serde_json::{Map, Value};

use super::convert::Converter;
use super::document::{Draft, SchemaId, escape, fail};
use super::formats::{self, Format};
use super::language::{EVERYTHING, Lang};
use super::logic::{ANY, Atom, Formula, Kind, Literal, NONE};
use super::number::{self, Decimal};
use super::pattern;
use crate::Error;

/// Most subschemas looked at.
const MAX_VISITS: usize = 300_000;
/// Deepest nesting of subschemas that are about one value.
const MAX_DEPTH: usize = 200;
/// Most overlapping alternatives of `oneOf`.
const MAX_OVERLAPPING: usize = 16;

type Fallible<T> = Result<T, Error>;

/// The keyword of one edition or the other.
fn is_known(key: &str, draft: Draft) -> bool {
    match key {
        "const" | "contains" | "propertyNames" => draft >= Draft::D6,
        "if" => draft >= Draft::D7,
        "dependentRequired" | "dependentSchemas" | "minContains" | "maxContains" | "unevaluatedItems"
        | "unevaluatedProperties" | "$recursiveRef" | "$dynamicRef" => draft >= Draft::D2019,
        "prefixItems" => draft >= Draft::D2020,
        "additionalItems" => draft < Draft::D2020,
        _ => true,
    }
}

impl<'a> Converter<'a> {
    /// What the literal asks of values of this kind.
    pub(super) fn formula(&mut self, (id, wanted): Literal, kind: Kind) -> Fallible<Formula> {
        self.n_visits += 1;
        let (value, is_constant) = {
            let schema = self.document.get(id);
            (schema.value, schema.is_constant)
        };
        if self.n_visits > MAX_VISITS {
            return self.refuse(id, format_args!("unfolds to more than {MAX_VISITS} subschemas"));
        }
        if is_constant {
            return self.constant(id, value, wanted, kind);
        }
        match value {
            Value::Bool(all) => Ok(Formula::Const(*all == wanted)),
            Value::Object(map) => {
                if self.open.contains(&(id, wanted, kind)) {
                    return self.refuse(id, "'$ref' leads back to itself");
                }
                if self.open.len() > MAX_DEPTH {
                    return self.refuse(id, format_args!("subschemas nested deeper than {MAX_DEPTH}"));
                }
                self.open.push((id, wanted, kind));
                let done = self.keywords(id, map, wanted, kind);
                self.open.pop();
                done
            }
            _ => self.refuse(id, "no schema, expected an object, true or false"),
        }
    }

    pub(super) fn refuse<T>(&self, id: SchemaId, message: impl std::fmt::Display) -> Fallible<T> {
        fail(&self.document.get(id).place, message)
    }

    /// All of them, or for the opposite any of them.
    fn join(wanted: bool, parts: Vec<Formula>) -> Formula {
        if wanted { Formula::and(parts) } else { Formula::or(parts) }
    }

    fn keywords(
        &mut self,
        id: SchemaId,
        map: &'a Map<String, Value>,
        wanted: bool,
        kind: Kind,
    ) -> Fallible<Formula> {
        let draft = self.document.draft;
        if let Some(reference) = map.get("$ref").filter(|_| draft <= Draft::D7) {
            return self.reference(id, "$ref", reference, wanted, kind);
        }
        let mut parts = Vec::new();
        // These decide most, and spare the look at the others.
        for key in ["type", "const", "enum"] {
            let Some(value) = map.get(key).filter(|_| is_known(key, draft)) else { continue };
            let part = match key {
                "type" => self.type_of(id, value, wanted, kind)?,
                "const" => self.constant(id, value, wanted, kind)?,
                _ => self.listed(id, value, wanted, kind)?,
            };
            if part.is(!wanted) {
                return Ok(part);
            }
            parts.push(part);
        }
        for (key, value) in map {
            if is_known(key, draft) {
                let part = self.applied(id, map, (key, value), wanted, kind)?;
                let part = match part {
                    Some(part) => part,
                    None => match kind {
                        Kind::Number => self.number(id, map, (key, value), wanted)?,
                        Kind::String => self.string(id, (key, value), wanted)?,
                        Kind::Array => self.array(id, map, (key, value), wanted)?,
                        Kind::Object => self.object(id, map, (key, value), wanted)?,
                        _ => continue,
                    },
                };
                if part.is(!wanted) {
                    return Ok(part);
                }
                parts.push(part);
            }
        }
        Ok(Self::join(wanted, parts))
    }

    /// Keywords that apply subschemas to the value itself.
    fn applied(
        &mut self,
        id: SchemaId,
        map: &'a Map<String, Value>,
        (key, value): (&str, &'a Value),
        wanted: bool,
        kind: Kind,
    ) -> Fallible<Option<Formula>> {
        Ok(Some(match key {
            "$ref" => self.reference(id, key, value, wanted, kind)?,
            "$dynamicRef" | "$recursiveRef" => {
                return self.refuse(id, format_args!("'{key}' cannot be expressed"));
            }
            "allOf" | "anyOf" => {
                let parts = self.schemas(id, key, value)?;
                let parts: Vec<Formula> =
                    parts.into_iter().map(|part| self.formula((part, wanted), kind)).collect::<Result<_, _>>()?;
                Self::join(wanted == (key == "allOf"), parts)
            }
            "oneOf" => {
                let parts = self.schemas(id, key, value)?;
                self.one_of(id, &parts, wanted, kind)?
            }
            "not" => {
                let inner = self.document.child(id, value, "/not");
                self.formula((inner, !wanted), kind)?
            }
            "if" => {
                let condition = self.document.child(id, value, "/if");
                let mut ways = Vec::new();
                for (key, met) in [("then", true), ("else", false)] {
                    let holds = self.formula((condition, met), kind)?;
                    let follows = match map.get(key) {
                        Some(value) => {
                            let inner = self.document.child(id, value, &format!("/{key}"));
                            self.formula((inner, wanted), kind)?
                        }
                        None => Formula::Const(wanted),
                    };
                    ways.push(Formula::and(vec![holds, follows]));
                }
                Formula::or(ways)
            }
            _ => return Ok(None),
        }))
    }

    fn reference(
        &mut self,
        id: SchemaId,
        key: &str,
        value: &Value,
        wanted: bool,
        kind: Kind,
    ) -> Fallible<Formula> {
        let Some(reference) = value.as_str() else {
            return self.refuse(id, format_args!("'{key}' is {value}, expected a text"));
        };
        let target = self.document.follow(id, reference)?;
        self.formula((target, wanted), kind)
    }

    fn schemas(&mut self, id: SchemaId, key: &str, value: &'a Value) -> Fallible<Vec<SchemaId>> {
        match value.as_array() {
            Some(parts) if !parts.is_empty() => Ok((0..)
                .zip(parts)
                .map(|(i, part): (usize, _)| self.document.child(id, part, &format!("/{key}/{i}")))
                .collect()),
            _ => self.refuse(id, format_args!("'{key}' is no list of schemas")),
        }
    }

    fn one_of(&mut self, id: SchemaId, parts: &[SchemaId], wanted: bool, kind: Kind) -> Fallible<Formula> {
        let mut possible = Vec::new();
        for &part in parts {
            let formula = self.formula((part, true), kind)?;
            if !formula.is(false) {
                possible.push((part, formula));
            }
        }
        let mut overlap = false;
        for (i, (_, a)) in possible.iter().enumerate() {
            for (_, b) in &possible[..i] {
                overlap =
                    overlap || !self.is_empty(id, kind, &Formula::and(vec![a.clone(), b.clone()]))?;
            }
        }
        if wanted && !overlap {
            return Ok(Formula::or(possible.into_iter().map(|(_, formula)| formula).collect()));
        }
        if possible.len() > MAX_OVERLAPPING {
            let n = possible.len();
            return self.refuse(id, format_args!("'oneOf' has {n} alternatives of one kind that overlap"));
        }
        let mut opposites = Vec::new();
        for &(part, _) in &possible {
            opposites.push(self.formula((part, false), kind)?);
        }
        let one = |chosen: usize| {
            let others = opposites.iter().enumerate().filter(|(i, _)| *i != chosen).map(|(_, f)| f.clone());
            Formula::and(std::iter::once(possible[chosen].1.clone()).chain(others).collect())
        };
        if wanted {
            return Ok(Formula::or((0..possible.len()).map(one).collect()));
        }
        // None of them, or two.
        let mut ways = vec![Formula::and(opposites)];
        if overlap {
            for (i, (_, a)) in possible.iter().enumerate() {
                ways.extend(possible[..i].iter().map(|(_, b)| Formula::and(vec![a.clone(), b.clone()])));
            }
        }
        Ok(Formula::or(ways))
    }

    fn type_of(&mut self, id: SchemaId, value: &Value, wanted: bool, kind: Kind) -> Fallible<Formula> {
        let names: Vec<&Value> = match value {
            Value::Array(names) if !names.is_empty() => names.iter().collect(),
            Value::String(_) => vec![value],
            _ => return self.refuse(id, format_args!("'type' is {value}, expected names of types")),
        };
        let mut parts = Vec::new();
        for name in names {
            let is = match name.as_str().unwrap_or_default() {
                "null" => kind == Kind::Null,
                "boolean" => matches!(kind, Kind::True | Kind::False),
                "number" => kind == Kind::Number,
                "string" => kind == Kind::String,
                "array" => kind == Kind::Array,
                "object" => kind == Kind::Object,
                "integer" if kind == Kind::Number => {
                    self.plain_numbers = true;
                    let l = &mut self.languages;
                    let lang = if wanted { number::integers(l) } else { number::broken(l) };
                    parts.push(Formula::Atom(Atom::Lang(lang)));
                    continue;
                }
                "integer" => false,
                _ => return self.refuse(id, format_args!("'type' is {name}, which is no type")),
            };
            parts.push(Formula::Const(is == wanted));
        }
        Ok(Self::join(!wanted, parts))
    }

    fn listed(&mut self, id: SchemaId, value: &'a Value, wanted: bool, kind: Kind) -> Fallible<Formula> {
        let Some(values) = value.as_array() else {
            return self.refuse(id, "'enum' is no list");
        };
        if kind == Kind::String {
            let words = self.languages.words(values.iter().filter_map(Value::as_str));
            return Ok(self.lang(words, wanted));
        }
        let mut parts = Vec::new();
        for value in values {
            let part = self.constant(id, value, wanted, kind)?;
            if part.is(wanted) {
                return Ok(part);
            }
            parts.push(part);
        }
        Ok(Self::join(!wanted, parts))
    }

    fn lang(&mut self, lang: Lang, wanted: bool) -> Formula {
        let lang = if wanted { lang } else { self.languages.not(lang) };
        match lang {
            super::language::NOTHING => Formula::Const(false),
            EVERYTHING => Formula::Const(true),
            lang => Formula::Atom(Atom::Lang(lang)),
        }
    }

    /// This value, written anyhow.
    fn constant(&mut self, id: SchemaId, value: &'a Value, wanted: bool, kind: Kind) -> Fallible<Formula> {
        let parts = match (value, kind) {
            (Value::Null, Kind::Null)
            | (Value::Bool(true), Kind::True)
            | (Value::Bool(false), Kind::False) => return Ok(Formula::Const(wanted)),
            (Value::Number(number), Kind::Number) => {
                self.plain_numbers = true;
                let lang = number::equal(&mut self.languages, &Decimal::new(number));
                return Ok(self.lang(lang, wanted));
            }
            (Value::String(text), Kind::String) => {
                let lang = self.languages.words([text.as_str()]);
                return Ok(self.lang(lang, wanted));
            }
            (Value::Array(items), Kind::Array) => {
                let n = items.len() as u64;
                let items: Vec<Literal> =
                    items.iter().map(|item| (self.document.constant(id, item), wanted)).collect();
                if wanted {
                    vec![Formula::Atom(Atom::Items(items, NONE)), Formula::Atom(Atom::MinItems(n))]
                } else {
                    let mut parts: Vec<Formula> =
                        (0..).zip(items).map(|(i, item)| Formula::Atom(Atom::ItemAt(i, item))).collect();
                    parts.extend(n.checked_sub(1).map(|most| Formula::Atom(Atom::MaxItems(most))));
                    parts.push(Formula::Atom(Atom::MinItems(n + 1)));
                    parts
                }
            }
            (Value::Object(members), Kind::Object) => {
                let names = self.languages.words(members.keys().map(String::as_str));
                let others = self.languages.not(names);
                let mut parts = Vec::new();
                for (name, value) in members {
                    let value = self.document.constant(id, value);
                    parts.push(Formula::Atom(Atom::Has(name.clone(), (value, wanted))));
                    if !wanted {
                        parts.push(Formula::Atom(Atom::Member(name.clone(), NONE)));
                    }
                }
                parts.push(Formula::Atom(if wanted {
                    Atom::Members(others, NONE)
                } else {
                    Atom::SomeMember(others, ANY, "const")
                }));
                parts
            }
            _ => return Ok(Formula::Const(!wanted)),
        };
        Ok(Self::join(wanted, parts))
    }

    /// A keyword's count.
    fn count(&self, id: SchemaId, key: &str, value: &Value) -> Fallible<u64> {
        if let Some(n) = value.as_u64() {
            return Ok(n);
        }
        match value.as_f64().filter(|n| *n >= 0.0 && n.fract() == 0.0) {
            // Larger ones stay the largest.
            Some(n) => Ok(n as u64),
            None => self.refuse(id, format_args!("'{key}' is {value}, expected a whole number from 0 on")),
        }
    }

    fn number(
        &mut self,
        id: SchemaId,
        map: &Map<String, Value>,
        (key, value): (&str, &Value),
        wanted: bool,
    ) -> Fallible<Formula> {
        let (strict, up) = match key {
            "minimum" => (false, true),
            "maximum" => (false, false),
            "exclusiveMinimum" => (true, true),
            "exclusiveMaximum" => (true, false),
            "multipleOf" => {
                self.plain_numbers = true;
                let step = value.as_number().map(Decimal::new);
                return match step.and_then(|step| number::multiples(&mut self.languages, &step)) {
                    Some(lang) => Ok(self.lang(lang, wanted)),
                    None => self.refuse(
                        id,
                        format_args!(
                            "'multipleOf' {value} cannot be expressed, expected a number above 0 that is exact in \
                             binary and no more than 10000 of its last digit"
                        ),
                    ),
                };
            }
            _ => return Ok(Formula::Const(wanted)),
        };
        let draft4 = self.document.draft == Draft::D4;
        let strict = if draft4 && strict {
            // A mark of the other bound.
            return Ok(Formula::Const(wanted));
        } else if draft4 {
            let mark = if up { "exclusiveMinimum" } else { "exclusiveMaximum" };
            map.get(mark).and_then(Value::as_bool).unwrap_or(false)
        } else {
            strict
        };
        let Some(bound) = value.as_number().map(Decimal::new) else {
            return self.refuse(id, format_args!("'{key}' is {value}, expected a number"));
        };
        self.plain_numbers |= !bound.is_zero();
        let lang = number::bounded(&mut self.languages, &bound, strict, up);
        Ok(self.lang(lang, wanted))
    }

    /// Strings in which the pattern is found.
    fn pattern(&mut self, id: SchemaId, key: &str, pattern: &str) -> Fallible<Lang> {
        if let Some(&known) = self.patterns.get(pattern) {
            return Ok(known);
        }
        match pattern::search(&mut self.languages, pattern) {
            Ok(lang) => {
                self.patterns.insert(pattern.to_owned(), lang);
                Ok(lang)
            }
            Err(message) => self.refuse(id, format_args!("'{key}' '{pattern}': {message}")),
        }
    }

    fn string(&mut self, id: SchemaId, (key, value): (&str, &Value), wanted: bool) -> Fallible<Formula> {
        let text = || value.as_str().filter(|_| matches!(key, "pattern" | "format"));
        let lang = match (key, text()) {
            ("minLength", _) => {
                let n = self.count(id, key, value)?;
                self.languages.length(n, None)
            }
            ("maxLength", _) => {
                let n = self.count(id, key, value)?;
                self.languages.length(0, Some(n))
            }
            ("pattern", Some(pattern)) => self.pattern(id, key, pattern)?,
            ("format", Some(name)) => match formats::format(name) {
                Format::Pattern(pattern) => self.pattern(id, key, &pattern)?,
                Format::Unknown => EVERYTHING,
                Format::Refused => {
                    return self.refuse(id, format_args!("'format' '{name}' cannot be expressed"));
                }
            },
            ("pattern" | "format", None) => {
                return self.refuse(id, format_args!("'{key}' is {value}, expected a text"));
            }
            _ => return Ok(Formula::Const(wanted)),
        };
        Ok(self.lang(lang, wanted))
    }

    /// The subschemas of the first items, and of all others, with the keywords they stand under.
    fn items(
        &mut self,
        id: SchemaId,
        map: &'a Map<String, Value>,
    ) -> Fallible<(Vec<SchemaId>, Option<(SchemaId, &'static str)>)> {
        let draft = self.document.draft;
        let (listed, key, rest, rest_key) = match map.get("items") {
            Some(items @ Value::Array(_)) if draft < Draft::D2020 => {
                (Some(items), "items", map.get("additionalItems"), "additionalItems")
            }
            Some(Value::Array(_)) => {
                return self.refuse(
                    id,
                    "'items' is a list, which is of draft 2019-09 and before: expected 'prefixItems', or '$schema' to say so",
                );
            }
            items => (map.get("prefixItems").filter(|_| draft >= Draft::D2020), "prefixItems", items, "items"),
        };
        let (rest, rest_key) = match rest {
            None if map.contains_key("unevaluatedItems") && is_known("unevaluatedItems", draft) => {
                (map.get("unevaluatedItems"), "unevaluatedItems")
            }
            rest => (rest, rest_key),
        };
        let first = match listed {
            Some(Value::Array(first)) if first.is_empty() => Vec::new(),
            Some(first) => self.schemas(id, key, first)?,
            None => Vec::new(),
        };
        let rest = rest.map(|rest| (self.document.child(id, rest, &format!("/{rest_key}")), rest_key));
        Ok((first, rest))
    }

    /// Keywords by which other subschemas have looked at items or members.
    fn check_unevaluated(&self, id: SchemaId, map: &Map<String, Value>, key: &str) -> Fallible<()> {
        let others = [
            "$ref",
            "$dynamicRef",
            "allOf",
            "anyOf",
            "oneOf",
            "if",
            "not",
            "dependentSchemas",
            if key == "unevaluatedItems" { "contains" } else { "$ref" },
        ];
        let plain = matches!(map.get(key), Some(Value::Bool(true)));
        match others.into_iter().find(|other| map.contains_key(*other)) {
            Some(other) if !plain => {
                self.refuse(id, format_args!("'{key}' beside '{other}' cannot be expressed"))
            }
            _ => Ok(()),
        }
    }

    fn array(
        &mut self,
        id: SchemaId,
        map: &'a Map<String, Value>,
        (key, value): (&str, &'a Value),
        wanted: bool,
    ) -> Fallible<Formula> {
        let atom = |atom| Ok(Formula::Atom(atom));
        match key {
            "items" | "prefixItems" | "unevaluatedItems" => {
                if key == "unevaluatedItems" {
                    self.check_unevaluated(id, map, key)?;
                }
                // They are one demand: the first of the keywords makes it.
                let owner = ["items", "prefixItems", "unevaluatedItems"]
                    .into_iter()
                    .find(|key| map.contains_key(*key) && is_known(key, self.document.draft));
                if owner != Some(key) {
                    return Ok(Formula::Const(wanted));
                }
                let (first, rest) = self.items(id, map)?;
                let n = first.len() as u64;
                let first: Vec<Literal> = first.into_iter().map(|item| (item, wanted)).collect();
                if wanted {
                    return atom(Atom::Items(first, rest.map_or(ANY, |(rest, _)| (rest, true))));
                }
                let mut parts: Vec<Formula> =
                    (0..).zip(first).map(|(i, item)| Formula::Atom(Atom::ItemAt(i, item))).collect();
                parts.extend(rest.map(|(rest, _)| {
                    Formula::Atom(Atom::Contains { from: n, what: (rest, false), min: 1, max: None })
                }));
                Ok(Formula::or(parts))
            }
            "minItems" | "maxItems" => {
                let n = self.count(id, key, value)?;
                Ok(Self::bound(n, wanted == (key == "minItems"), wanted, Atom::MinItems, Atom::MaxItems))
            }
            "contains" => {
                let what = (self.document.child(id, value, "/contains"), true);
                let bound = |key: &str| match map.get(key).filter(|_| is_known(key, self.document.draft)) {
                    Some(value) => self.count(id, key, value).map(Some),
                    None => Ok(None),
                };
                let (min, max) = (bound("minContains")?.unwrap_or(1), bound("maxContains")?);
                if wanted {
                    return atom(Atom::Contains { from: 0, what, min, max });
                }
                let fewer = min.checked_sub(1).map(|most| Atom::Contains {
                    from: 0,
                    what,
                    min: 0,
                    max: Some(most),
                });
                let more = max.map(|max| Atom::Contains {
                    from: 0,
                    what,
                    min: max.saturating_add(1),
                    max: None,
                });
                Ok(Formula::or(fewer.into_iter().chain(more).map(Formula::Atom).collect()))
            }
            "uniqueItems" => match value {
                Value::Bool(true) => atom(Atom::Unique(wanted)),
                Value::Bool(false) => Ok(Formula::Const(wanted)),
                _ => self.refuse(id, format_args!("'uniqueItems' is {value}, expected true or false")),
            },
            _ => Ok(Formula::Const(wanted)),
        }
    }

    /// A lower or upper bound, or its opposite.
    fn bound(n: u64, lower: bool, wanted: bool, min: fn(u64) -> Atom, max: fn(u64) -> Atom) -> Formula {
        match (lower, wanted) {
            (true, true) => Formula::Atom(min(n)),
            (false, true) => Formula::Atom(max(n)),
            // Not at most n is at least n + 1.
            (true, false) => Formula::Atom(min(n.saturating_add(1))),
            (false, false) => n.checked_sub(1).map_or(Formula::Const(false), |most| Formula::Atom(max(most))),
        }
    }

    fn names(&self, id: SchemaId, key: &str, value: &'a Value) -> Fallible<Vec<&'a str>> {
        let names = value.as_array().map(|names| names.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
        match names.flatten() {
            Some(names) => Ok(names),
            None => self.refuse(id, format_args!("'{key}' is {value}, expected a list of names")),
        }
    }

    fn members(&self, id: SchemaId, key: &str, value: &'a Value) -> Fallible<&'a Map<String, Value>> {
        match value.as_object() {
            Some(map) => Ok(map),
            None => self.refuse(id, format_args!("'{key}' is no object")),
        }
    }

    /// Some member has such a name, or none: in the opposite.
    fn members_in(lang: Lang, what: Literal, wanted: bool, keyword: &'static str) -> Formula {
        match (lang, wanted) {
            (super::language::NOTHING, _) => Formula::Const(wanted),
            (_, true) => Formula::Atom(Atom::Members(lang, what)),
            (_, false) => Formula::Atom(Atom::SomeMember(lang, (what.0, !what.1), keyword)),
        }
    }

    fn requires(name: &str, wanted: bool) -> Formula {
        Formula::Atom(if wanted { Atom::Has(name.to_owned(), ANY) } else { Atom::Member(name.to_owned(), NONE) })
    }

    fn object(
        &mut self,
        id: SchemaId,
        map: &'a Map<String, Value>,
        (key, value): (&str, &'a Value),
        wanted: bool,
    ) -> Fallible<Formula> {
        let mut parts = Vec::new();
        match key {
            "properties" => {
                for (name, value) in self.members(id, key, value)? {
                    let step = format!("/properties/{}", escape(name));
                    let what = (self.document.child(id, value, &step), wanted);
                    let member = if wanted { Atom::Member } else { Atom::Has };
                    parts.push(Formula::Atom(member(name.clone(), what)));
                }
            }
            "required" => {
                // In the fourth draft and before it may stand beside a property.
                if let (Value::Bool(_), true) = (value, self.document.draft == Draft::D4) {
                    return Ok(Formula::Const(wanted));
                }
                parts.extend(self.names(id, key, value)?.into_iter().map(|name| Self::requires(name, wanted)));
            }
            "patternProperties" => {
                for (pattern, value) in self.members(id, key, value)? {
                    let step = format!("/patternProperties/{}", escape(pattern));
                    let what = (self.document.child(id, value, &step), true);
                    let lang = self.pattern(id, key, pattern)?;
                    parts.push(Self::members_in(lang, what, wanted, "patternProperties"));
                }
            }
            "additionalProperties" | "unevaluatedProperties" => {
                if key == "unevaluatedProperties" {
                    if map.contains_key("additionalProperties") {
                        return Ok(Formula::Const(wanted));
                    }
                    self.check_unevaluated(id, map, key)?;
                }
                let named = match map.get("properties") {
                    Some(named) => self.members(id, "properties", named)?.keys().map(String::as_str).collect(),
                    None => Vec::new(),
                };
                let mut known = vec![self.languages.words(named)];
                if let Some(patterns) = map.get("patternProperties") {
                    for pattern in self.members(id, "patternProperties", patterns)?.keys() {
                        known.push(self.pattern(id, "patternProperties", pattern)?);
                    }
                }
                let known = self.languages.or(&known);
                let others = self.languages.not(known);
                let what = (self.document.child(id, value, &format!("/{key}")), true);
                parts.push(Self::members_in(others, what, wanted, "additionalProperties"));
            }
            "propertyNames" => {
                let names = self.document.child(id, value, "/propertyNames");
                let formula = self.formula((names, true), Kind::String)?;
                let lang = self.to_lang(&formula);
                let others = self.languages.not(lang);
                parts.push(Self::members_in(others, NONE, wanted, "propertyNames"));
            }
            "minProperties" | "maxProperties" => {
                let n = self.count(id, key, value)?;
                let lower = wanted == (key == "minProperties");
                parts.push(Self::bound(n, lower, wanted, Atom::MinMembers, Atom::MaxMembers));
            }
            "dependentRequired" | "dependentSchemas" | "dependencies" => {
                if key == "dependencies" && self.document.draft > Draft::D7 {
                    return self.refuse(
                        id,
                        "'dependencies' is of draft 7 and before: expected 'dependentRequired' or 'dependentSchemas', or '$schema' to say so",
                    );
                }
                for (name, value) in self.members(id, key, value)? {
                    let follows = if matches!(value, Value::Array(_)) && key != "dependentSchemas" {
                        let names = self.names(id, key, value)?;
                        Self::join(
                            wanted,
                            names.into_iter().map(|name| Self::requires(name, wanted)).collect(),
                        )
                    } else if key == "dependentRequired" {
                        return self.refuse(id, format_args!("'{key}' has {value}, expected lists of names"));
                    } else {
                        let inner = self.document.child(id, value, &format!("/{key}/{}", escape(name)));
                        self.formula((inner, wanted), Kind::Object)?
                    };
                    parts.push(if wanted {
                        let with = Formula::and(vec![Self::requires(name, true), follows]);
                        Formula::or(vec![Self::requires(name, false), with])
                    } else {
                        Formula::and(vec![Self::requires(name, true), follows])
                    });
                }
            }
            _ => return Ok(Formula::Const(wanted)),
        }
        Ok(Self::join(wanted, parts))
    }
}
