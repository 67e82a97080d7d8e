//! What a stranger sees of a crate first: its package, its front page, its state.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Workspace packages that are meant for others: all that do not say `publish = false`.
fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    packages.iter().filter(|package| package["publish"].is_null()).cloned().collect()
}

#[test]
fn every_package_says_what_it_is_and_how_far_it_got() {
    for package in packages() {
        let name = package["name"].as_str().expect("a name");
        assert!(package["description"].is_string() && package["license"].is_string(), "{name}");
        assert!(package["keywords"].as_array().is_some_and(|words| (1..=5).contains(&words.len())), "{name}");
        let dir = Path::new(package["manifest_path"].as_str().expect("a path")).parent().expect("a folder");
        let readme = dir.join(package["readme"].as_str().expect("a README"));
        let readme = fs::read_to_string(readme).expect("readable");
        assert!(readme.contains("| what | state |"), "{name}: its README has no table of what works");
        // In each package, as the licences ask: links to those of the whole.
        for file in ["LICENSE-MIT", "LICENSE-APACHE", "NOTICE"] {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
            let own = fs::read(dir.join(file)).unwrap_or_else(|error| panic!("{name}: {file}: {error}"));
            assert!(own == fs::read(root).expect("readable"), "{name}: its {file} is another");
        }
    }
}

#[test]
fn every_library_has_an_example_that_runs_on_its_front_page() {
    let mut n_libraries = 0;
    for package in packages() {
        let name = package["name"].as_str().expect("a name");
        let targets = package["targets"].as_array().expect("targets").iter();
        let mut libraries = targets.filter(|target| target["kind"][0] == "lib");
        let Some(library) = libraries.next() else { continue };
        n_libraries += 1;
        let source = fs::read_to_string(library["src_path"].as_str().expect("a path")).expect("readable");
        let front = source.lines().map_while(|line| line.strip_prefix("//!"));
        let runs = front.filter(|line| line.trim() == "```").count();
        assert!(runs >= 2, "{name}: no example that runs on the front page of its documentation");
    }
    assert!(n_libraries >= 18, "{n_libraries} libraries: not all were looked at");
}
