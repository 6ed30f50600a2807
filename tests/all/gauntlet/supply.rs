//! Everything that is installed is named with its version and its hash before it is fetched.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::tree;

fn ends_with(name: &str, end: &str) -> bool {
    Path::new(name).file_name().is_some_and(|file| file == end)
}

/// What a list or lock of Python's asks for, a line each, with what hangs on it.
fn requirements(text: &str) -> Vec<String> {
    let text = text.replace("\\\n", " ");
    let lines = text.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

/// What is wrong with a list of Python tools or with the lock made of it.
fn unlocked_python(list: &str, lock: &str) -> Vec<String> {
    let (wanted, locked) = (requirements(list), requirements(lock));
    let is_locked = |line: &String| line.contains("==") && line.contains(" --hash=sha256:");
    let tools = wanted.iter().filter(|line| !line.starts_with("-c "));
    let name = |line: &str| line.split([' ', ';']).next().map(str::to_owned);
    let is_wanting = |tool: &&String| {
        !tool.contains("==") || !locked.iter().any(|line| name(line) == name(tool))
    };
    let unhashed = locked.iter().filter(|line| !is_locked(line));
    unhashed.chain(tools.filter(is_wanting)).cloned().collect()
}

/// The packages of a lock of npm's that have no hash.
fn unlocked_npm(lock: &Value) -> Vec<String> {
    let packages = lock["packages"].as_object().expect("a lock has packages");
    let is_hashed = |package: &Value| {
        let hash = package["integrity"].as_str();
        hash.is_some_and(|hash| hash.starts_with("sha512-"))
    };
    let unhashed = packages
        .iter()
        .filter(|(path, package)| !path.is_empty() && !is_hashed(package));
    unhashed.map(|(path, _)| path.clone()).collect()
}

/// The crates of a lock of Cargo's that come from elsewhere than the registry, or without a hash.
fn unlocked_cargo(lock: &str) -> Vec<&str> {
    let registry = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
    let packages = lock.split("[[package]]").skip(1);
    packages
        .filter(|package| package.contains("source = \""))
        .filter(|package| !package.contains(registry) || !package.contains("checksum = \""))
        .collect()
}

/// Whether a line of a script installs something that no lock names.
fn is_past_locks(line: &str) -> bool {
    // Put together here, so that this file does not find itself.
    let past = [
        ["npm ", "install"],
        ["npm ", "i "],
        ["curl ", "-sSf"],
        ["wg", "et "],
    ];
    let past = past.map(|halves| halves.concat());
    let unlocked = line.contains("cargo install") && !line.contains("--locked");
    let unhashed = line.contains("pip install") && !line.contains("--require-hashes");
    let is_prose = line.trim_start().starts_with(['#', '/', '"']);
    !is_prose && (unlocked || unhashed || past.iter().any(|word| line.contains(word)))
}

#[test]
fn every_python_tool_is_locked_with_its_hash() {
    let named: Vec<_> = tree::files("infra/local")
        .into_iter()
        .filter(|name| name.ends_with("requirements.in"))
        .collect();
    assert!(named.len() >= 3, "{named:?}");
    for list in named {
        let lock = tree::source(&list.replace(".in", ".txt"));
        let unlocked = unlocked_python(&tree::source(&list), &lock);
        assert!(unlocked.is_empty(), "{list}: {unlocked:#?}: make lock");
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
        assert_eq!(unlocked_npm(&lock), [""; 0], "{name}");
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
        assert_eq!(unlocked_cargo(&tree::source(lock)), [""; 0], "{lock}");
    }
}

#[test]
fn nothing_is_installed_past_the_locks() {
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
            if is_past_locks(line) {
                found.push(format!("{name}:{}: {}", at + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn what_is_not_locked_is_noticed() {
    let hash = "--hash=sha256:00";
    for (list, lock) in [
        ("ruff", format!("ruff==1.0 \\\n    {hash}")),
        ("ruff==1.0", "ruff==1.0".to_owned()),
        ("ruff==1.0", format!("ruff==1.1 {hash}")),
        ("ruff==1.0", format!("ruff==1.0 {hash}\nother>=2 {hash}")),
    ] {
        assert_ne!(unlocked_python(list, &lock), [""; 0], "{list}, {lock}");
    }
    let fine = format!("ruff==1.0 \\\n    {hash}\n# by hand");
    assert_eq!(unlocked_python("ruff==1.0", &fine), [""; 0]);

    let lock = json!({"packages": {"": {}, "bare": {}, "good": {"integrity": "sha512-x"},
        "weak": {"integrity": "sha1-x"}}});
    assert_eq!(unlocked_npm(&lock), ["bare", "weak"]);

    let registry = "registry+https://github.com/rust-lang/crates.io-index";
    for (source, sum, is_fine) in [
        (registry, "checksum = \"00\"", true),
        (registry, "", false),
        (
            "git+https://github.com/somebody/fork",
            "checksum = \"00\"",
            false,
        ),
        (
            "registry+https://crates.example.com",
            "checksum = \"00\"",
            false,
        ),
    ] {
        let lock = format!("[[package]]\nname = \"a\"\nsource = \"{source}\"\n{sum}\n");
        assert_eq!(unlocked_cargo(&lock).is_empty(), is_fine, "{lock}");
    }

    for line in [
        "cargo install x",
        "\tpip install x",
        "uv pip install -r x.txt",
    ] {
        assert!(is_past_locks(line), "{line}");
    }
    for line in [
        "cargo install x --locked",
        "# pip install x",
        "pip install --require-hashes x",
    ] {
        assert!(!is_past_locks(line), "{line}");
    }
}
