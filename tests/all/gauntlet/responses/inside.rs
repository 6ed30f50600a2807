//! Words of the inside, which no caller may read: names of types, files, crates, tables and of AWS.

use std::collections::BTreeSet;

use crate::support::stack::{stack, variable};
use crate::support::tree;

/// What gives away what the functions are made of, wherever it stands in a text.
const TELLING: [&str; 29] = [
    "::",
    ".rs:",
    "/src/",
    "arn:aws",
    "aws_",
    "aws-",
    "axum",
    "backtrace",
    "conditionalcheck",
    "deserializ",
    "dynamo",
    "enum ",
    "exception",
    "hyper",
    "lambda",
    "ministack",
    "panicked",
    "provisionedthroughput",
    "serde",
    "serializ",
    "sqlite",
    "stack trace",
    "struct ",
    "thread '",
    "tokio",
    "transactioncancel",
    "tuple",
    "unwrap",
    "utf8error",
];

/// Types that every source of Rust has.
const OF_RUST: [&str; 14] = [
    "u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128", "f32", "f64",
    "Vec",
];

/// The words of the inside.
#[derive(Debug)]
pub(super) struct Inside {
    names: Vec<String>,
    types: BTreeSet<String>,
}

impl Inside {
    /// What the tree and the deployed stack say of themselves.
    pub(super) fn read() -> Self {
        let stack = stack();
        let names = [
            &stack.bucket,
            &stack.table,
            &stack.sensors_table,
            &variable("MILLRACE_COMMERCE_TABLE"),
            &variable("MILLRACE_EVENT_BUS"),
            &stack.aggregate_function,
        ];
        Self {
            names: names.into_iter().map(|name| name.to_lowercase()).collect(),
            types: ["shared/src", "functions/src"]
                .into_iter()
                .flat_map(|folder| tree::files_of(folder, "rs"))
                .flat_map(|name| types(&tree::source(&name)))
                .chain(OF_RUST.map(str::to_owned))
                .collect(),
        }
    }

    /// A stack that has these names, and whose sources define these types.
    pub(super) fn of(names: &[&str], types: &[&str]) -> Self {
        let owned = |word: &&str| (*word).to_owned();
        Self {
            names: names.iter().map(owned).collect(),
            types: types.iter().map(owned).collect(),
        }
    }

    /// The first of these words in what a caller reads.
    pub(super) fn found_in<'s>(&'s self, text: &'s str) -> Option<&'s str> {
        let lower = text.to_lowercase();
        let names = self.names.iter().map(String::as_str);
        let mut telling = TELLING.into_iter().chain(names);
        telling.find(|word| lower.contains(word)).or_else(|| {
            let mut words = text.split(|char: char| !char.is_alphanumeric());
            words.find(|word| self.types.contains(*word))
        })
    }
}

/// The types that a source defines, but for those whose name may be any word that begins a sentence.
fn types(source: &str) -> Vec<String> {
    let defined = source.lines().filter_map(|line| {
        let mut words = line
            .split_whitespace()
            .skip_while(|word| word.starts_with("pub"));
        let is_type = ["struct", "enum", "trait", "type"].contains(&words.next()?);
        let name = words
            .next()?
            .split(|char: char| !char.is_alphanumeric())
            .next()?;
        (is_type && name.chars().skip(1).any(char::is_uppercase)).then(|| name.to_owned())
    });
    defined.collect()
}

#[test]
fn the_types_of_a_source_are_found() {
    let source = "pub struct KeyRequest {\n  pub(super) enum Way<'a> {\n/// struct OfWords\ntrait DoIt: Send {";
    assert_eq!(types(source), ["KeyRequest", "DoIt"]);
}
