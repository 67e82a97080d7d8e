//! From a subschema's keywords to a formula about values of one kind.
//!
//! A formula is made of a schema, or of its opposite: so `not`, `oneOf` and `if` are nothing special. Keywords that
//! are not known here assert nothing, as the specification has it; those that assert what no grammar can say are
//! errors that name them.

use serde_json::{Map, Value};

use super::convert::Converter;
use super::document::{Draft, SchemaId, fail};
use super::formats::{self, Format};
use super::language::{EVERYTHING, Lang};
use super::logic::{ANY, Atom, Formula, Kind, Literal, NONE};
use super::number::{self, Decimal};
use super::pattern;
use crate::Error;

/// Most subschemas looked at.
const MAX_VISITS: usize = 1_000_000;
/// Deepest nesting of subschemas that are about one value.
const MAX_DEPTH: usize = 200;
/// Most overlapping alternatives of `oneOf`.
const MAX_OVERLAPPING: usize = 16;

pub(super) type Fallible<T> = Result<T, Error>;

/// The keyword of one edition or the other.
pub(super) fn is_known(key: &str, draft: Draft) -> bool {
    match key {
        "const" | "contains" | "propertyNames" => draft >= Draft::D6,
        "if" => draft >= Draft::D7,
        "dependentRequired"
        | "dependentSchemas"
        | "minContains"
        | "maxContains"
        | "unevaluatedItems"
        | "unevaluatedProperties"
        | "$recursiveRef"
        | "$dynamicRef" => draft >= Draft::D2019,
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
            return Ok(self.constant(id, value, wanted, kind));
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
    pub(super) fn join(wanted: bool, parts: Vec<Formula>) -> Formula {
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
                "const" => self.constant(id, value, wanted, kind),
                _ => self.listed(id, value, wanted, kind)?,
            };
            if part.is(!wanted) {
                return Ok(part);
            }
            parts.push(part);
        }
        // Members come in the order of `properties`, whatever stands before it.
        let named = map.get_key_value("properties");
        for (key, value) in named.into_iter().chain(map.iter().filter(|(key, _)| *key != "properties")) {
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
                let parts: Vec<Formula> = parts
                    .into_iter()
                    .map(|part| self.formula((part, wanted), kind))
                    .collect::<Result<_, _>>()?;
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

    pub(super) fn schemas(&mut self, id: SchemaId, key: &str, value: &'a Value) -> Fallible<Vec<SchemaId>> {
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
                overlap = overlap || !self.is_empty(id, kind, &Formula::and(vec![a.clone(), b.clone()]))?;
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
            let part = self.constant(id, value, wanted, kind);
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

    /// As `lang`, of numbers without exponents.
    fn decimals(&mut self, lang: Lang, wanted: bool) -> Formula {
        let lang = if wanted { lang } else { self.languages.not(lang) };
        let all = number::decimals(&mut self.languages);
        let lang = self.languages.and(&[all, lang]);
        self.lang(lang, true)
    }

    /// This value, written anyhow.
    fn constant(&mut self, id: SchemaId, value: &'a Value, wanted: bool, kind: Kind) -> Formula {
        let parts = match (value, kind) {
            (Value::Null, Kind::Null)
            | (Value::Bool(true), Kind::True)
            | (Value::Bool(false), Kind::False) => return Formula::Const(wanted),
            (Value::Number(number), Kind::Number) => {
                let (l, number) = (&mut self.languages, Decimal::new(number));
                let lang = if wanted { number::equal(l, &number) } else { number::unequal(l, &number) };
                return self.lang(lang, true);
            }
            (Value::String(text), Kind::String) => {
                let lang = self.languages.words([text.as_str()]);
                return self.lang(lang, wanted);
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
            _ => return Formula::Const(!wanted),
        };
        Self::join(wanted, parts)
    }

    /// A keyword's count.
    pub(super) fn count(&self, id: SchemaId, key: &str, value: &Value) -> Fallible<u64> {
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
                let step = value.as_number().map(Decimal::new);
                return match step.and_then(|step| number::multiples(&mut self.languages, &step)) {
                    Some(lang) => {
                        // Longer ones are rounded by who reads them.
                        let short = number::short_decimals(&mut self.languages);
                        let lang = if wanted { lang } else { self.languages.not(lang) };
                        let lang = self.languages.and(&[short, lang]);
                        Ok(self.lang(lang, true))
                    }
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
        let lang = number::bounded(&mut self.languages, &bound, strict, up);
        // Only the sign shows through an exponent.
        Ok(if bound.is_zero() { self.lang(lang, wanted) } else { self.decimals(lang, wanted) })
    }

    /// Strings in which the pattern is found.
    pub(super) fn pattern(&mut self, id: SchemaId, key: &str, pattern: &str) -> Fallible<Lang> {
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
}
