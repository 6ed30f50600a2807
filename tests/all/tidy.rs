//! Rules of the house that a reviewer should not have to look for.

use std::collections::BTreeSet;

use crate::support::{template, tree};

/// Folders of `shared/src` that every context may stand on. Stock is among them, for catalogue and
/// orders change it in their own transactions; so are events, which everything appends.
const GROUND: [&str; 5] = ["platform", "frame", "address", "events", "stock"];

/// What a function's main may have, in lines of code.
const MAIN_LINES: usize = 15;

fn sources(folder: &str) -> Vec<(String, String)> {
    tree::files_of(folder, "rs")
        .into_iter()
        .map(|name| (name.clone(), tree::source(&name)))
        .collect()
}

#[track_caller]
fn none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

#[test]
fn models_and_rules_know_no_aws() {
    let is_pure = |name: &str| name.ends_with("/model.rs") || name.ends_with("/rules.rs");
    let sources: Vec<_> = sources("shared/src")
        .into_iter()
        .filter(|(name, _)| is_pure(name))
        .collect();
    assert!(sources.len() >= 2, "the contexts have models and rules");
    let found: Vec<_> = sources
        .into_iter()
        .filter(|(_, text)| text.contains("aws_"))
        .map(|(name, _)| name)
        .collect();
    none("files that name a crate of AWS", &found);
}

#[test]
fn mains_only_wire() {
    let mains = sources("functions/src/bin");
    assert!(!mains.is_empty(), "there are functions");
    let is_code = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with("//");
    let lines = |text: &str| text.lines().filter(is_code).count();
    let long: Vec<_> = mains
        .into_iter()
        .filter(|(_, text)| lines(text) > MAIN_LINES)
        .map(|(name, text)| format!("{name}: {} lines", lines(&text)))
        .collect();
    none("mains that do more than wire", &long);
}

#[test]
fn every_function_is_a_binary_and_every_binary_a_function() {
    let bins: BTreeSet<String> = tree::files("functions/src/bin")
        .iter()
        .filter_map(|name| Some(name.rsplit('/').next()?.strip_suffix(".rs")?.to_owned()))
        .collect();
    let functions: BTreeSet<String> = template::of_type("AWS::Serverless::Function")
        .values()
        .filter_map(|function| {
            Some(
                function["Properties"]["CodeUri"]
                    .as_str()?
                    .strip_prefix("target/lambda/")?
                    .to_owned(),
            )
        })
        .collect();
    assert_eq!(bins, functions);
}

#[test]
fn the_readme_shows_every_event() {
    let readme = tree::source("README.md");
    let unseen: Vec<_> = tree::files("events")
        .into_iter()
        .filter(|event| !readme.contains(event))
        .collect();
    none("events that the README does not show how to send", &unseen);
}

/// The modules at the root of the crate that `text` names, also inside `use crate::{…}`.
fn crate_modules(text: &str) -> BTreeSet<String> {
    let mut modules = BTreeSet::new();
    for (at, prefix) in text.match_indices("crate::") {
        let rest = text[at + prefix.len()..].trim_start();
        let word = |text: &str| -> String {
            text.trim_start()
                .chars()
                .take_while(|&char| char.is_alphanumeric() || char == '_')
                .collect()
        };
        let Some(group) = rest.strip_prefix('{') else {
            modules.insert(word(rest));
            continue;
        };
        modules.insert(word(group));
        let mut depth = 1_u32;
        for (at, char) in group.char_indices() {
            match char {
                '{' => depth += 1,
                '}' if depth == 1 => break,
                '}' => depth -= 1,
                ',' if depth == 1 => {
                    modules.insert(word(&group[at + 1..]));
                }
                _ => {}
            }
        }
    }
    modules
}

#[test]
fn the_modules_of_a_grouped_import_are_found() {
    let found =
        crate_modules("use crate::{sales::{a, b},\n    frame};\nfn x() { crate::orders::y() }");
    let expected = ["frame", "orders", "sales"].map(str::to_owned);
    assert!(
        expected.iter().all(|module| found.contains(module)),
        "{found:?}"
    );
    assert!(!found.contains("b"), "{found:?}");
}

#[test]
fn contexts_do_not_import_each_other_and_the_ground_imports_none() {
    let rooms: BTreeSet<String> = tree::files("shared/src")
        .iter()
        .filter_map(|name| {
            Some(
                name.strip_prefix("shared/src/")?
                    .split_once('/')?
                    .0
                    .to_owned(),
            )
        })
        .collect();
    let contexts: BTreeSet<&String> = rooms
        .iter()
        .filter(|room| !GROUND.contains(&room.as_str()))
        .collect();
    assert!(
        contexts.iter().any(|context| *context == "sales"),
        "{contexts:?}"
    );
    let mut found = Vec::new();
    for room in &rooms {
        for (name, text) in sources(&format!("shared/src/{room}")) {
            let others = crate_modules(&text)
                .into_iter()
                .filter(|module| module != room && contexts.contains(module));
            found.extend(others.map(|other| format!("{name} imports {other}")));
        }
    }
    none("imports across contexts", &found);
}

#[test]
fn only_stores_name_table_expressions() {
    let words = [
        "key_condition",
        "condition",
        "update",
        "filter",
        "projection",
    ]
    .map(|kind| format!("{kind}_expression"));
    // What every store stands on, and the embedded database, know a table that is no context's.
    let ground = ["shared/src/platform/table.rs", "shared/src/testing.rs"];
    // A test may spoil an item in ways that no store offers.
    let is_free = |name: &str| name.ends_with("/store.rs") || name.ends_with("/tests.rs");
    let is_store = |name: &str| is_free(name) || ground.contains(&name);
    let found: Vec<_> = sources("shared/src")
        .into_iter()
        .chain(sources("functions/src"))
        .filter(|(name, text)| !is_store(name) && words.iter().any(|word| text.contains(word)))
        .map(|(name, _)| name)
        .collect();
    none(
        "files outside the stores that name table expressions",
        &found,
    );
}

/// The targets of the links in a Markdown text, code left out.
fn links(text: &str) -> Vec<&str> {
    let mut in_code = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if !in_code {
            found.extend(line.match_indices("](").filter_map(|(at, _)| {
                let rest = &line[at + 2..];
                rest.find([')', ' ']).map(|end| &rest[..end])
            }));
        }
    }
    found
}

/// The anchors of a Markdown text's headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title
                .chars()
                .filter(|&char| char.is_alphanumeric() || matches!(char, ' ' | '-' | '_'));
            kept.map(|char| if char == ' ' { '-' } else { char })
                .collect()
        })
        .collect()
}

#[test]
fn links_in_documents_lead_somewhere() {
    let mut dead = Vec::new();
    for name in tree::files_of("", "md") {
        let text = tree::source(&name);
        let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
        for link in links(&text)
            .into_iter()
            .filter(|link| !link.contains("://") && !link.starts_with("mailto:"))
        {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() {
                tree::root().join(&name)
            } else {
                tree::root().join(folder).join(path)
            };
            let is_alive = target.exists()
                && (anchor.is_empty()
                    || std::fs::read_to_string(&target)
                        .is_ok_and(|text| anchors(&text).contains(anchor)));
            if !is_alive {
                dead.push(format!("{name}: {link}"));
            }
        }
    }
    none("dead links", &dead);
}

#[test]
fn nothing_is_left_for_later() {
    // Put together here, so that this file does not find itself.
    let words = [
        ["TO", "DO"],
        ["FIX", "ME"],
        ["XX", "X:"],
        ["dbg", "!("],
        ["to", "do!("],
        ["unimpl", "emented!("],
    ];
    let words = words.map(|halves| halves.concat());
    let mut found = Vec::new();
    for name in tree::files("") {
        let Some(text) = tree::text(&name) else {
            continue;
        };
        let lines = text
            .lines()
            .enumerate()
            .filter(|(_, line)| words.iter().any(|word| line.contains(word)));
        found.extend(lines.map(|(at, _)| format!("{name}:{}", at + 1)));
    }
    none("left for later", &found);
}

#[test]
fn no_file_names_a_machine_of_its_authors() {
    let homes = ["home", "root", "Users", "work"].map(|folder| format!("/{folder}/"));
    let private = [".internal", ".corp", ".lan", ".intranet"];
    let mut found = Vec::new();
    for name in tree::files("") {
        let Some(text) = tree::text(&name) else {
            continue;
        };
        for (at, line) in text.lines().enumerate() {
            let begins_path = |at: usize| {
                line[..at]
                    .chars()
                    .next_back()
                    .is_none_or(|char| " \t\"'`(=:".contains(char))
            };
            let names_home = homes.iter().any(|home| {
                line.match_indices(home.as_str())
                    .any(|(at, _)| begins_path(at))
            });
            let names_host = line.match_indices("://").any(|(at, mark)| {
                let host = line[at + mark.len()..]
                    .split(['/', ':', ' ', '"', '\'', '`', ')', '>', '?'])
                    .next();
                host.is_some_and(|host| {
                    private.iter().any(|end| host.ends_with(end)) || is_private_address(host)
                })
            });
            if names_home || names_host {
                found.push(format!("{name}:{}", at + 1));
            }
        }
    }
    none("private paths and hosts", &found);
}

fn is_private_address(host: &str) -> bool {
    host.parse::<std::net::Ipv4Addr>()
        .is_ok_and(|address| address.is_private())
}
