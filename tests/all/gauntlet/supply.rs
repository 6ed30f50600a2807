//! Everything that is installed is named with its version and its hash before it is fetched.

use std::path::Path;

use serde_json::Value;

use crate::support::tree;

fn ends_with(name: &str, end: &str) -> bool {
    Path::new(name).file_name().is_some_and(|file| file == end)
}

/// What a Python lock asks for, a line each, with what hangs on it.
fn requirements(lock: &str) -> Vec<String> {
    let text = tree::source(lock).replace("\\\n", " ");
    let lines = text.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_python_tool_is_locked_with_its_hash() {
    let named: Vec<_> = tree::files("infra/local")
        .into_iter()
        .filter(|name| name.ends_with("requirements.in"))
        .collect();
    assert!(named.len() >= 3, "{named:?}");
    for list in named {
        let lock = list.replace(".in", ".txt");
        let locked = requirements(&lock);
        for line in &locked {
            assert!(
                line.contains("==") && line.contains(" --hash=sha256:"),
                "{lock}: {line}"
            );
        }
        let wanted = requirements(&list);
        let tools = wanted.iter().filter(|line| !line.starts_with("-c "));
        for tool in tools {
            assert!(tool.contains("=="), "{list}: {tool} has no version");
            let is_locked = locked
                .iter()
                .any(|line| line.split([' ', ';']).next() == tool.split([' ', ';']).next());
            assert!(is_locked, "{tool} is not in {lock}: make lock");
        }
    }
}

#[test]
fn every_npm_tool_is_locked_with_its_hash() {
    for manifest in tree::files("")
        .iter()
        .filter(|name| ends_with(name, "package.json"))
    {
        let name = manifest.replace("package.json", "package-lock.json");
        let lock: Value = serde_json::from_str(&tree::source(&name)).expect("a lock is JSON");
        assert_eq!(lock["lockfileVersion"], 3, "{name}");
        let packages = lock["packages"].as_object().expect("a lock has packages");
        for (path, package) in packages.iter().filter(|(path, _)| !path.is_empty()) {
            let hash = package["integrity"].as_str().unwrap_or_default();
            assert!(hash.starts_with("sha512-"), "{name}: {path} has no hash");
        }
    }
}

#[test]
fn every_crate_comes_from_the_registry_with_its_hash() {
    let locks = tree::files("");
    let locks: Vec<_> = locks
        .iter()
        .filter(|name| ends_with(name, "Cargo.lock"))
        .collect();
    assert!(!locks.is_empty(), "there is a lock");
    for lock in locks {
        let text = tree::source(lock);
        for package in text.split("[[package]]").skip(1) {
            let Some((_, source)) = package.split_once("source = \"") else {
                continue;
            };
            let registry = "registry+https://github.com/rust-lang/crates.io-index\"";
            assert!(source.starts_with(registry), "{lock}:{package}");
            assert!(package.contains("checksum = \""), "{lock}:{package}");
        }
    }
}

#[test]
fn nothing_is_installed_past_the_locks() {
    // Put together here, so that this file does not find itself.
    let past = [
        ["npm ", "install"],
        ["npm ", "i "],
        ["curl ", "-sSf"],
        ["wg", "et "],
    ];
    let past = past.map(|halves| halves.concat());
    let is_run = |name: &&String| {
        let end = [".py", ".sh", ".rs", ".toml"]
            .iter()
            .any(|end| name.ends_with(end));
        end || ends_with(name, "Makefile") || name.starts_with(".ci/")
    };
    let mut found = Vec::new();
    for name in tree::files("").iter().filter(is_run) {
        let text = tree::text(name).unwrap_or_default();
        for (at, line) in text.lines().enumerate() {
            let unlocked = line.contains("cargo install") && !line.contains("--locked");
            let unhashed = line.contains("pip install") && !line.contains("--require-hashes");
            let is_prose = line.trim_start().starts_with(['#', '/', '"']);
            if !is_prose && (unlocked || unhashed || past.iter().any(|word| line.contains(word))) {
                found.push(format!("{name}:{}: {}", at + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}
