//! No import circles: within a crate, what one file or folder stands on does not stand on it.
//!
//! A file of `src`, or a folder with all that is in it, is one responsibility; inside of a folder parent and children may use
//! each other. The root (`lib.rs`, `main.rs`) names modules and re-exports; a name that it re-exports counts as the module's it
//! is from. Tests inside of files are not looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Responsibilities that are in two files all the same, and why: crate, the files, reason. Kept as short as can be.
const ALLOWED: [(&str, &[&str], &str); 1] = [(
    "graph",
    &["graph", "ops", "tensor"],
    "a graph's data: a tensor names its op, an op's rule speaks of tensors, and its builder, in the one file that an op is, adds to the graph",
)];

type Graph = BTreeMap<String, BTreeSet<String>>;

fn crates() -> Vec<(String, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace");
    let entries = fs::read_dir(root.join("crates"))
        .expect("a folder of crates")
        .map(|entry| entry.expect("readable").path());
    let folders = entries.chain(["parity", "benches", "xtask"].map(|name| root.join(name)));
    let mut crates: Vec<(String, PathBuf)> = folders
        .map(|path| (path.file_name().expect("a name").to_string_lossy().into_owned(), path.join("src")))
        .filter(|(_, source)| source.is_dir())
        .collect();
    crates.sort();
    crates
}

/// A source file without comments and tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("readable");
    let mut out = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let is_test = line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(all(test");
        if is_test && lines.peek().is_some_and(|next| next.starts_with("mod ") && next.ends_with('{')) {
            // Tests are what a file ends with.
            break;
        }
        if is_test && lines.peek().is_some_and(|next| next.starts_with("use ")) {
            lines.next();
            continue;
        }
        out.push_str(line.split("//").next().unwrap_or_default());
        out.push('\n');
    }
    out
}

/// The modules below a file that are there for tests only.
fn test_modules(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).expect("readable");
    let names = text.split("#[cfg(test)]\nmod ").skip(1).filter_map(|rest| rest.split_once(';'));
    names.map(|(name, _)| name.to_owned()).filter(|name| !name.contains(' ')).collect()
}

/// The Rust files below a folder, each with the path of its module.
fn modules(folder: &Path, prefix: &[String], found: &mut Vec<(Vec<String>, PathBuf)>) {
    let roots = ["mod.rs", "lib.rs", "main.rs"].map(|name| folder.join(name));
    let tests: Vec<String> =
        roots.iter().filter(|path| path.exists()).flat_map(|path| test_modules(path)).collect();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("readable").path();
        let stem = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let mut module = prefix.to_vec();
        if tests.contains(&stem) {
            continue;
        }
        if path.is_dir() {
            module.push(stem);
            modules(&path, &module, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            if !matches!(stem.as_str(), "mod" | "lib" | "main") {
                module.push(stem);
            }
            found.push((module, path));
        }
    }
}

/// The paths that begin with `keyword::` in a source, groups of braces taken apart; each as its segments.
fn paths(code: &str, keyword: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let start = format!("{keyword}::");
    for (at, _) in code.match_indices(&start) {
        let before = code[..at].chars().next_back();
        if before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':' && c != '$') {
            expand(&code[at + start.len()..], &mut Vec::new(), &mut found);
        }
    }
    found
}

/// Reads one path, or a group of them, from the start of `text`; what is behind it.
fn expand<'a>(text: &'a str, prefix: &mut Vec<String>, found: &mut Vec<Vec<String>>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = rest.trim_start();
            if let Some(behind) = rest.strip_prefix('}') {
                return behind;
            }
            let before = rest.len();
            rest = expand(rest, prefix, found).trim_start();
            rest = rest.strip_prefix(',').unwrap_or(rest);
            if rest.is_empty() || rest.len() == before {
                return rest;
            }
        }
    }
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    prefix.push(name.to_owned());
    let rest = if let Some(rest) = rest.strip_prefix("::") {
        expand(rest, prefix, found)
    } else {
        if prefix.iter().any(|segment| !segment.is_empty()) {
            found.push(prefix.clone());
        }
        // `A as B`
        rest.strip_prefix(" as ")
            .map_or(rest, |rest| rest.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_'))
    };
    prefix.pop();
    rest
}

/// Which responsibility uses which others of a crate.
fn graph(source: &Path) -> Graph {
    let mut files = Vec::new();
    modules(source, &[], &mut files);
    let tops: BTreeSet<String> = files.iter().filter_map(|(module, _)| module.first().cloned()).collect();
    // What the root gives out under a name of its own: the module it is from.
    let mut exported: BTreeMap<String, String> = BTreeMap::new();
    for (_, path) in files.iter().filter(|(module, _)| module.is_empty()) {
        let code = code(path);
        for (at, _) in code.match_indices("use ") {
            let mut found = Vec::new();
            expand(
                code[at + 4..].trim_start_matches("crate::").trim_start_matches("self::"),
                &mut Vec::new(),
                &mut found,
            );
            for path in found.iter().filter(|path| path.len() > 1 && tops.contains(&path[0])) {
                exported.insert(path[path.len() - 1].clone(), path[0].clone());
            }
        }
    }
    let mut graph: Graph = tops.iter().map(|top| (top.clone(), BTreeSet::new())).collect();
    for (module, path) in files.iter().filter(|(module, _)| !module.is_empty()) {
        let code = code(path);
        let mut used = paths(&code, "crate");
        for path in paths(&code, "super") {
            let n_up = 1 + path.iter().take_while(|segment| *segment == "super").count();
            // From the crate's root: otherwise it stays in the folder.
            if n_up == module.len() {
                used.push(path[n_up - 1..].to_vec());
            }
        }
        for path in used {
            let Some(first) = path.first() else { continue };
            let top = if tops.contains(first) { Some(first) } else { exported.get(first) };
            if let Some(top) = top.filter(|top| **top != module[0]) {
                graph.get_mut(&module[0]).expect("a top").insert(top.clone());
            }
        }
    }
    graph
}

/// All that is reached from `from`.
fn reached(graph: &Graph, from: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![from.to_owned()];
    while let Some(next) = open.pop() {
        for used in graph.get(&next).into_iter().flatten() {
            if found.insert(used.clone()) {
                open.push(used.clone());
            }
        }
    }
    found
}

/// The sets of responsibilities that all stand on each other.
fn circles(graph: &Graph) -> BTreeSet<BTreeSet<String>> {
    let reach: BTreeMap<&String, BTreeSet<String>> =
        graph.keys().map(|name| (name, reached(graph, name))).collect();
    let partners = |name: &String| {
        let both = |other: &&String| reach[name].contains(*other) && reach[*other].contains(name);
        graph.keys().filter(both).cloned().collect::<BTreeSet<String>>()
    };
    graph.keys().map(partners).filter(|circle| circle.len() > 1).collect()
}

/// The uses inside of a circle, for whoever has to cut one.
fn drawn(graph: &Graph, circle: &BTreeSet<String>) -> String {
    let uses = |name: &String| {
        let used: Vec<&str> = graph[name].intersection(circle).map(String::as_str).collect();
        format!("{name} uses {}", used.join(", "))
    };
    circle.iter().map(uses).collect::<Vec<_>>().join("; ")
}

#[test]
fn responsibilities_do_not_stand_on_each_other() {
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    let mut n_modules = 0;
    for (name, source) in crates() {
        let graph = graph(&source);
        n_modules += graph.len();
        for circle in circles(&graph) {
            let is_it = |allowed: &[&str]| circle.iter().map(String::as_str).eq(allowed.iter().copied());
            match ALLOWED.iter().position(|(of, allowed, _)| *of == name && is_it(allowed)) {
                Some(at) => {
                    seen.insert(at);
                }
                None => wrong.push(format!("{name}: {}", drawn(&graph, &circle))),
            }
        }
    }
    assert!(n_modules > 200, "only {n_modules} modules were found");
    assert!(wrong.is_empty(), "{} import circles:\n{}", wrong.len(), wrong.join("\n"));
    for (at, (name, files, _)) in ALLOWED.iter().enumerate() {
        assert!(
            seen.contains(&at),
            "{name}: {files:?} are no circle any more, expected to be taken off the list"
        );
    }
}

#[test]
fn paths_are_found_in_all_forms() {
    let code =
        "use crate::a::B;\nuse crate::{c, d::{E, f::G as H}};\nfn x() { crate::i::j() }\nmycrate::k::l";
    let found: Vec<String> = paths(code, "crate").iter().map(|path| path.join("::")).collect();
    assert_eq!(found, ["a::B", "c", "d::E", "d::f::G", "i::j"]);
    let found: Vec<String> =
        paths("use super::super::{a, b::C};", "super").iter().map(|p| p.join("::")).collect();
    assert_eq!(found, ["super::a", "super::b::C"]);
}

#[test]
fn circles_are_found_and_chains_are_not() {
    let graph = |uses: &[(&str, &str)]| {
        let mut graph = Graph::new();
        for (from, to) in uses {
            graph.entry((*to).to_owned()).or_default();
            graph.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        graph
    };
    assert!(circles(&graph(&[("a", "b"), ("b", "c"), ("a", "c")])).is_empty());
    let found = circles(&graph(&[("a", "b"), ("b", "c"), ("c", "a"), ("c", "d"), ("d", "e"), ("e", "d")]));
    let found: Vec<String> =
        found.iter().map(|circle| circle.iter().cloned().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(found, ["a b c", "d e"]);
}
