//! The page on the OWASP API Security Top 10 names tests that are there.

use std::collections::BTreeMap;
use std::path::Path;

use crate::support::{gauntlet::figure, tree};

const PAGE: &str = "docs/owasp-api-top-10.md";

/// What a section is headed by, before its number.
const HEADING: &str = "## API";

/// The text between backticks, by line.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// What is wrong with a name on the page; `None` where it is no file's, or all is well.
fn fault(name: &str, source: impl Fn(&str) -> Option<String>) -> Option<String> {
    let (file, test) = match name.split_once("::") {
        Some((file, test)) => (file, Some(test)),
        None => (name, None),
    };
    let kind = Path::new(file).extension();
    let is_file = file.contains('/') && kind.is_some_and(|kind| kind == "rs" || kind == "py");
    if !is_file {
        return None;
    }
    let Some(source) = source(file) else {
        return Some(format!("{name}: there is no such file"));
    };
    let is_there = test.is_none_or(|test| tests(&source).any(|found| found == test));
    (!is_there).then(|| format!("{name}: there is no such test"))
}

/// The functions of a source that are marked as tests.
fn tests(source: &str) -> impl Iterator<Item = &str> {
    let mut is_marked = false;
    source.lines().filter_map(move |line| {
        let line = line.trim();
        if line.starts_with("#[") {
            is_marked |= line == "#[test]" || line.starts_with("#[tokio::test");
            return None;
        }
        let name = line
            .trim_start_matches("async ")
            .strip_prefix("fn ")
            .and_then(|rest| rest.split('(').next());
        name.filter(|_| std::mem::take(&mut is_marked))
    })
}

fn source(file: &str) -> Option<String> {
    let path = tree::root().join(file);
    path.exists().then(|| tree::source(file))
}

#[test]
fn every_test_that_the_page_names_is_there() {
    let page = tree::source(PAGE);
    let faults: Vec<_> = quoted(&page)
        .filter_map(|name| fault(name, source))
        .collect();
    assert!(faults.is_empty(), "{PAGE}:\n{}", faults.join("\n"));
    let mut named: BTreeMap<&str, usize> = BTreeMap::new();
    for section in page.split(HEADING).skip(1) {
        let risk = section.split(':').next().unwrap_or_default();
        let tests = quoted(section).filter(|name| name.contains("::")).count();
        named.insert(risk, tests);
    }
    let risks = (1..=10).map(|risk| risk.to_string());
    for risk in risks {
        let tests = named.get(risk.as_str()).copied().unwrap_or_default();
        assert!(tests >= 3, "{PAGE}: API{risk} names {tests} tests");
    }
    figure(
        "OWASP API Top 10",
        "tests named",
        named.values().sum::<usize>(),
    );
}

#[test]
fn a_test_that_is_not_there_is_noticed() {
    let source = |file: &str| {
        let text = "#[test]\nfn one() {}\nfn helper() {}\n  #[tokio::test]\n  #[expect(lint)]\n  async fn two() {";
        (file == "a/b.rs").then(|| text.to_owned())
    };
    for name in ["a/b.rs", "a/b.rs::one", "a/b.rs::two", "GET /a", "b.rs"] {
        assert_eq!(fault(name, source), None, "{name}");
    }
    for name in [
        "a/c.rs",
        "a/c.rs::one",
        "a/b.rs::three",
        "a/b.rs::helper",
        "a/b.rs::on",
    ] {
        assert!(fault(name, source).is_some(), "{name}");
    }
}
