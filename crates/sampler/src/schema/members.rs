//! Keywords about the items of arrays and the members of objects.

use serde_json::{Map, Value};

use super::convert::Converter;
use super::document::{Draft, SchemaId, escape};
use super::keywords::{Fallible, is_known};
use super::language::{Lang, NOTHING};
use super::logic::{ANY, Atom, Formula, Kind, Literal, NONE};

impl<'a> Converter<'a> {
    /// The subschemas of the first items, and of all others.
    fn items(
        &mut self,
        id: SchemaId,
        map: &'a Map<String, Value>,
    ) -> Fallible<(Vec<SchemaId>, Option<SchemaId>)> {
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
            items => {
                (map.get("prefixItems").filter(|_| draft >= Draft::D2020), "prefixItems", items, "items")
            }
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
        let rest = rest.map(|rest| self.document.child(id, rest, &format!("/{rest_key}")));
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

    pub(super) fn array(
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
                    return atom(Atom::Items(first, rest.map_or(ANY, |rest| (rest, true))));
                }
                let mut parts: Vec<Formula> =
                    (0..).zip(first).map(|(i, item)| Formula::Atom(Atom::ItemAt(i, item))).collect();
                parts.extend(rest.map(|rest| {
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
                let fewer =
                    min.checked_sub(1).map(|most| Atom::Contains { from: 0, what, min: 0, max: Some(most) });
                let more =
                    max.map(|max| Atom::Contains { from: 0, what, min: max.saturating_add(1), max: None });
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
            (NOTHING, _) => Formula::Const(wanted),
            (_, true) => Formula::Atom(Atom::Members(lang, what)),
            (_, false) => Formula::Atom(Atom::SomeMember(lang, (what.0, !what.1), keyword)),
        }
    }

    fn requires(name: &str, wanted: bool) -> Formula {
        Formula::Atom(if wanted {
            Atom::Has(name.to_owned(), ANY)
        } else {
            Atom::Member(name.to_owned(), NONE)
        })
    }

    pub(super) fn object(
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
                parts
                    .extend(self.names(id, key, value)?.into_iter().map(|name| Self::requires(name, wanted)));
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
                    Some(named) => {
                        self.members(id, "properties", named)?.keys().map(String::as_str).collect()
                    }
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
                let lang = self.texts_of(&formula);
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
