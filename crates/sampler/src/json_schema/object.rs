//! Objects: required members in order, optional ones after them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;

use serde_json::Value;

use crate::{
    Error,
    json_schema::{convert::Converter, dump, fail},
};

/// Longest property name, in characters, that other names can be told from.
const MAX_NAME: usize = 4096;

/// The rule of an object with these properties, in order.
pub(super) fn rule<'a>(
    converter: &mut Converter<'a>,
    properties: &[(&'a str, &'a Value)],
    required: &HashSet<&str>,
    name: &str,
    additional: Option<&'a Value>,
) -> Result<String, Error> {
    let prefix = if name.is_empty() { String::new() } else { format!("{name}-") };
    let mut rule_of: HashMap<&str, String> = HashMap::new();
    let (mut fixed, mut optional) = (Vec::new(), Vec::new());
    for &(key, schema) in properties {
        let value = converter.visit(schema, &format!("{prefix}{key}"))?;
        let text = dump::literal(&dump::dump(&Value::String(key.to_owned())));
        let pair =
            converter.add_rule(&format!("{prefix}{key}-kv"), &format!("{text} space \":\" space {value}"))?;
        rule_of.insert(key, pair);
        if required.contains(key) { fixed.push(key) } else { optional.push(key) }
    }
    if let Some(additional) = additional.filter(|a| a.is_object() || **a == Value::Bool(true)) {
        let value = if additional.is_object() {
            converter.visit(additional, &format!("{prefix}additional-value"))?
        } else {
            converter.add_builtin("value", "value")?
        };
        let key = if properties.is_empty() {
            converter.add_builtin("string", "string")?
        } else {
            let others = none_of(converter, properties.iter().map(|p| p.0))?;
            converter.add_rule(&format!("{prefix}additional-k"), &others)?
        };
        let pair =
            converter.add_rule(&format!("{prefix}additional-kv"), &format!("{key} \":\" space {value}"))?;
        rule_of.insert("*", pair);
        optional.push("*");
    }

    let pairs: Vec<&str> = fixed.iter().map(|key| rule_of[key].as_str()).collect();
    let mut rule = format!("\"{{\" space {}", pairs.join(" \",\" space "));
    if !optional.is_empty() {
        rule.push_str(" (");
        if !fixed.is_empty() {
            rule.push_str(" \",\" space ( ");
        }
        rule.push_str(&choices(converter, &optional, &rule_of, &prefix)?);
        if !fixed.is_empty() {
            rule.push_str(" )");
        }
        rule.push_str(" )?");
    }
    rule.push_str(" space \"}\"");
    Ok(rule)
}

/// Any of the optional members first, then any of those after it.
fn choices(
    converter: &mut Converter<'_>,
    keys: &[&str],
    rule_of: &HashMap<&str, String>,
    prefix: &str,
) -> Result<String, Error> {
    // rests[i]: what may follow once the i-th is done with, as text to append.
    let mut rests = vec![String::new(); keys.len()];
    let mut tail = String::new();
    for (i, key) in keys.iter().enumerate().rev() {
        if i + 1 < keys.len() {
            let rest = converter.add_rule(&format!("{prefix}{key}-rest"), &tail)?;
            rests[i] = format!(" {rest}");
        }
        let sign = if *key == "*" { "*" } else { "?" };
        tail = format!("( \",\" space {} ){sign}{}", rule_of[key], rests[i]);
    }
    let firsts: Vec<String> = keys
        .iter()
        .zip(&rests)
        .map(|(key, rest)| {
            let pair = &rule_of[key];
            let more = if *key == "*" { format!(" ( \",\" space {pair} )*") } else { String::new() };
            format!("{pair}{more}{rest}")
        })
        .collect();
    Ok(firsts.join(" | "))
}

#[derive(Default)]
struct Trie {
    children: BTreeMap<char, Trie>,
    ends: bool,
}

/// JSON strings other than these.
fn none_of<'a>(converter: &mut Converter<'_>, texts: impl Iterator<Item = &'a str>) -> Result<String, Error> {
    let mut trie = Trie::default();
    for text in texts {
        if text.chars().count() > MAX_NAME {
            return fail(format!("a property name of more than {MAX_NAME} characters"));
        }
        let mut node = &mut trie;
        for c in text.chars() {
            node = node.children.entry(c).or_default();
        }
        node.ends = true;
    }
    let char_rule = converter.add_builtin("char", "char")?;
    let mut out = String::from("[\"] ( ");
    write_others(&trie, &char_rule, &mut out);
    out.push_str(" )");
    if !trie.ends {
        out.push('?');
    }
    out.push_str(" [\"]");
    Ok(out)
}

/// Texts that leave the trie at or below this node. Walks with a stack of its own: names can be long.
fn write_others(trie: &Trie, char_rule: &str, out: &mut String) {
    enum Step<'a> {
        Node(&'a Trie),
        Child(char, &'a Trie, bool),
        Text(String),
    }
    let mut todo = vec![Step::Node(trie)];
    while let Some(step) = todo.pop() {
        match step {
            Step::Text(text) => out.push_str(&text),
            Step::Node(node) => {
                if !node.children.is_empty() {
                    let known: String = node.children.keys().collect();
                    todo.push(Step::Text(format!(" | [^\"{known}] {char_rule}*")));
                }
                for (i, (&c, child)) in node.children.iter().enumerate().rev() {
                    todo.push(Step::Child(c, child, i == 0));
                }
            }
            Step::Child(c, child, is_first) => {
                if !is_first {
                    out.push_str(" | ");
                }
                out.push('[');
                out.push(c);
                out.push(']');
                if !child.children.is_empty() {
                    out.push_str(" (");
                    todo.push(Step::Text(")".to_owned()));
                    todo.push(Step::Node(child));
                } else if child.ends {
                    let _ = write!(out, " {char_rule}+");
                }
            }
        }
    }
}
