//! A schema's document: its subschemas by number, and what references name.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::Error;

/// Number of a subschema.
pub(super) type SchemaId = usize;

/// The schema that every value satisfies.
pub(super) const TRUE: SchemaId = 0;

/// Most subschemas and members of the document looked at for names.
const MAX_NODES: usize = 2_000_000;

/// Which edition of JSON Schema the document says it is written in, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Draft {
    D4,
    D6,
    D7,
    D2019,
    D2020,
}

/// A subschema, or a value as a schema that only it satisfies.
#[derive(Debug, Clone)]
pub(super) struct Schema<'a> {
    pub(super) value: &'a Value,
    pub(super) is_constant: bool,
    /// The URI that references in it are relative to.
    base: String,
    /// Where it stands: a pointer as a URI's fragment.
    pub(super) place: String,
}

#[derive(Debug)]
pub(super) struct Document<'a> {
    pub(super) draft: Draft,
    schemas: Vec<Schema<'a>>,
    ids: HashMap<(*const Value, bool), SchemaId>,
    /// Named places: URI, with the fragment for anchors; schema, base and place.
    names: HashMap<String, (&'a Value, String, String)>,
}

static ANYTHING: Value = Value::Bool(true);

pub(super) fn fail<T>(place: &str, message: impl std::fmt::Display) -> Result<T, Error> {
    let place = if place.is_empty() { "#" } else { place };
    Err(Error::Schema { message: format!("{place}: {message}") })
}

impl<'a> Document<'a> {
    pub(super) fn new(root: &'a Value) -> Result<Self, Error> {
        let draft = match root.get("$schema") {
            None => Draft::D2020,
            Some(named) => {
                let named = named.as_str().unwrap_or_default().trim_end_matches('#');
                let drafts = [
                    ("http://json-schema.org/draft-04/schema", Draft::D4),
                    ("http://json-schema.org/draft-06/schema", Draft::D6),
                    ("http://json-schema.org/draft-07/schema", Draft::D7),
                    ("https://json-schema.org/draft/2019-09/schema", Draft::D2019),
                    ("https://json-schema.org/draft/2020-12/schema", Draft::D2020),
                    ("http://json-schema.org/schema", Draft::D2020),
                ];
                let same = |uri: &str| uri.split_once(':').map(|(_, rest)| rest.to_owned());
                match drafts.iter().find(|(uri, _)| same(uri) == same(named)) {
                    Some((_, draft)) => *draft,
                    None => {
                        return fail(
                            "",
                            format_args!("'$schema' names '{named}', expected drafts 4 to 2020-12"),
                        );
                    }
                }
            }
        };
        let mut document = Self { draft, schemas: Vec::new(), ids: HashMap::new(), names: HashMap::new() };
        document.add(&ANYTHING, false, String::new(), String::new());
        document.name_all(root)?;
        Ok(document)
    }

    fn id_keyword(&self) -> &'static str {
        if self.draft == Draft::D4 { "id" } else { "$id" }
    }

    fn add(&mut self, value: &'a Value, is_constant: bool, base: String, place: String) -> SchemaId {
        let says_nothing = matches!(value, Value::Bool(true)) || value.as_object().is_some_and(Map::is_empty);
        if says_nothing && !is_constant && !self.schemas.is_empty() {
            return TRUE;
        }
        if let Some(&known) = self.ids.get(&(std::ptr::from_ref(value), is_constant)) {
            return known;
        }
        let id = self.schemas.len();
        self.ids.insert((std::ptr::from_ref(value), is_constant), id);
        self.schemas.push(Schema { value, is_constant, base, place });
        id
    }

    pub(super) fn get(&self, id: SchemaId) -> &Schema<'a> {
        &self.schemas[id]
    }

    /// The whole document as a schema.
    pub(super) fn root(&mut self, root: &'a Value) -> SchemaId {
        let base = self.base_of(root, "");
        self.add(root, false, base, String::new())
    }

    /// A subschema of `parent` that stands at `step`, which may be several.
    pub(super) fn child(&mut self, parent: SchemaId, value: &'a Value, step: &str) -> SchemaId {
        let parent = &self.schemas[parent];
        let base = self.base_of(value, &parent.base);
        let place = format!("{}{step}", if parent.place.is_empty() { "#" } else { &parent.place });
        self.add(value, false, base, place)
    }

    /// The schema of this value alone, listed in `parent`.
    pub(super) fn constant(&mut self, parent: SchemaId, value: &'a Value) -> SchemaId {
        let place = self.schemas[parent].place.clone();
        self.add(value, true, String::new(), place)
    }

    /// The base of what is within `value`, with `base` around it.
    fn base_of(&self, value: &Value, base: &str) -> String {
        let legacy_reference = self.draft <= Draft::D7 && value.get("$ref").is_some();
        match value.get(self.id_keyword()).and_then(Value::as_str) {
            Some(id) if !legacy_reference && !id.starts_with('#') => resolve(base, id).0,
            _ => base.to_owned(),
        }
    }

    /// Finds all identifiers and anchors.
    fn name_all(&mut self, root: &'a Value) -> Result<(), Error> {
        self.names.insert(String::new(), (root, self.base_of(root, ""), String::new()));
        let mut todo = vec![(root, String::new(), String::new())];
        let mut n = 0;
        while let Some((value, outer, place)) = todo.pop() {
            n += 1;
            if n > MAX_NODES {
                return fail("", format_args!("more than {MAX_NODES} values"));
            }
            match value {
                Value::Array(items) => {
                    todo.extend(items.iter().map(|item| (item, outer.clone(), place.clone())));
                }
                Value::Object(map) => {
                    let base = self.base_of(value, &outer);
                    if base != outer {
                        self.names.entry(base.clone()).or_insert((value, base.clone(), place.clone()));
                    }
                    self.name_anchors(map, value, &base, &place);
                    for (key, inner) in map {
                        // Data, in which nothing is a schema.
                        if !matches!(key.as_str(), "enum" | "const" | "default" | "examples") {
                            let named = matches!(inner, Value::Object(_) | Value::Array(_));
                            if named {
                                todo.push((inner, base.clone(), format!("{place}/{}", escape(key))));
                            }
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn name_anchors(&mut self, map: &'a Map<String, Value>, value: &'a Value, base: &str, place: &str) {
        let by_id = map.get(self.id_keyword()).and_then(Value::as_str).filter(|id| id.starts_with('#'));
        let by_id = by_id.filter(|_| self.draft <= Draft::D7).map(|id| &id[1..]);
        let anchors = ["$anchor", "$dynamicAnchor"].map(|key| map.get(key).and_then(Value::as_str));
        for anchor in anchors.into_iter().flatten().chain(by_id) {
            let known = (value, base.to_owned(), place.to_owned());
            self.names.entry(format!("{base}#{anchor}")).or_insert(known);
        }
    }

    /// What `reference`, found in `from`, names.
    pub(super) fn follow(&mut self, from: SchemaId, reference: &str) -> Result<SchemaId, Error> {
        let schema = &self.schemas[from];
        let (uri, fragment) = resolve(&schema.base, reference);
        let Some(fragment) = percent_decoded(&fragment) else {
            return fail(&schema.place, format_args!("'$ref' to '{reference}': its escapes are no UTF-8"));
        };
        let place = schema.place.clone();
        let named = if fragment.is_empty() || fragment.starts_with('/') {
            self.names.get(&uri)
        } else {
            self.names.get(&format!("{uri}#{fragment}"))
        };
        let Some((mut value, mut base, mut path)) = named.cloned() else {
            return fail(
                &place,
                format_args!(
                    "'$ref' to '{reference}': nothing of that name is in the schema, and nothing is fetched"
                ),
            );
        };
        if fragment.starts_with('/') {
            for step in fragment.split('/').skip(1) {
                let step = step.replace("~1", "/").replace("~0", "~");
                let next = match value {
                    Value::Object(map) => map.get(&step),
                    Value::Array(items) => {
                        let index = step.parse::<usize>().ok().filter(|i| i.to_string() == step);
                        index.and_then(|i| items.get(i))
                    }
                    _ => None,
                };
                let Some(next) = next else {
                    return fail(&place, format_args!("'$ref' to '{reference}': nothing at '{step}'"));
                };
                value = next;
                base = self.base_of(value, &base);
                path = format!("{path}/{}", escape(&step));
            }
        }
        if !matches!(value, Value::Object(_) | Value::Bool(_)) {
            return fail(&place, format_args!("'$ref' to '{reference}': that is no schema"));
        }
        Ok(self.add(value, false, base, format!("#{path}")))
    }
}

/// A key as a step of a pointer.
pub(super) fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// A reference against a base: the URI without fragment, and the fragment.
fn resolve(base: &str, reference: &str) -> (String, String) {
    let (path, fragment) = reference.split_once('#').unwrap_or((reference, ""));
    let scheme = path.split_once(':').filter(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    });
    let uri = if path.is_empty() {
        base.to_owned()
    } else if scheme.is_some() {
        path.to_owned()
    } else {
        let authority_end = base.find("://").map(|i| i + 3);
        let authority_end = authority_end.map_or(0, |i| base[i..].find('/').map_or(base.len(), |j| i + j));
        let (authority, base_path) = base.split_at(authority_end);
        if path.starts_with('/') {
            format!("{authority}{path}")
        } else {
            let folder = base_path.rfind('/').map_or("/", |i| &base_path[..=i]);
            let folder = if authority.is_empty() && !base_path.contains('/') { "" } else { folder };
            format!("{authority}{folder}{path}")
        }
    };
    (uri, fragment.to_owned())
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        let digits = tail.get(..2).filter(|_| *first == b'%').and_then(|d| std::str::from_utf8(d).ok());
        match digits.and_then(|d| u8::from_str_radix(d, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = &tail[2..];
            }
            None => out.push(*first),
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn references_are_resolved() {
        for (base, reference, uri, fragment) in [
            ("", "#/a", "", "/a"),
            ("", "x.json#a", "x.json", "a"),
            ("http://h/a/b.json", "c.json", "http://h/a/c.json", ""),
            ("http://h/a/b.json", "/c", "http://h/c", ""),
            ("http://h", "c", "http://h/c", ""),
            ("http://h/a", "urn:x:y#z", "urn:x:y", "z"),
        ] {
            assert_eq!(resolve(base, reference), (uri.to_owned(), fragment.to_owned()), "{reference}");
        }
        assert_eq!(percent_decoded("a%20%C3%A9%zz"), Some("a é%zz".to_owned()));
        assert_eq!(percent_decoded("%FF"), None);
    }

    #[test]
    fn names_of_all_kinds_are_found() {
        let root = json!({
            "$id": "http://h/root.json",
            "$defs": {
                "a/b~c d": {"type": "string"},
                "inner": {"$id": "inner.json", "$defs": {"x": {"$anchor": "here"}}, "items": {"$ref": "#/$defs/x"}},
            },
        });
        let mut document = Document::new(&root).unwrap();
        let id = document.root(&root);
        for (reference, place) in [
            ("#", "#"),
            ("#/$defs/a~1b~0c%20d", "#/$defs/a~1b~0c d"),
            ("inner.json#here", "#/$defs/inner/$defs/x"),
            ("http://h/inner.json", "#/$defs/inner"),
            ("root.json#/$defs/inner/items", "#/$defs/inner/items"),
        ] {
            let found = document.follow(id, reference).unwrap();
            let found = &document.get(found).place;
            assert_eq!(if found.is_empty() { "#" } else { found }, place, "{reference}");
        }
        let inner = document.follow(id, "inner.json#/items").unwrap();
        let x = document.follow(inner, "#/$defs/x").unwrap();
        assert_eq!(document.get(x).place, "#/$defs/inner/$defs/x");
        for missing in ["#/nothing", "#nothing", "other.json", "#/$defs/inner/$id"] {
            let error = document.follow(id, missing).unwrap_err();
            assert!(error.to_string().contains(missing), "{error}");
        }
    }
}
