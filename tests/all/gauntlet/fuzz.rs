//! The saved corpora of the fuzz targets, each input tried again without a fuzzer.

use std::{collections::BTreeSet, panic};

use crate::support::{gauntlet, tree};

#[path = "../../../fuzz/src/lib.rs"]
mod targets;

/// Most inputs and bytes that a saved corpus may have.
const MOST_INPUTS: usize = 64;
const MOST_BYTES: usize = 100 * 1024;

fn inputs(target: &str) -> Vec<(String, Vec<u8>)> {
    let names = tree::files(&format!("fuzz/corpus/{target}"));
    let read = |name: String| {
        let bytes = std::fs::read(tree::root().join(&name));
        (name, bytes.expect("the file was just found"))
    };
    names.into_iter().map(read).collect()
}

#[test]
fn every_saved_input_still_passes_its_target() {
    let mut tried = 0;
    for (target, check) in targets::TARGETS {
        let inputs = inputs(target);
        let bytes: usize = inputs.iter().map(|(_, bytes)| bytes.len()).sum();
        assert!(
            (1..=MOST_INPUTS).contains(&inputs.len()),
            "{target}: {} inputs",
            inputs.len()
        );
        assert!(bytes <= MOST_BYTES, "{target}: {bytes} bytes");
        for (name, bytes) in inputs {
            let outcome = panic::catch_unwind(|| check(&bytes));
            assert!(outcome.is_ok(), "{name} no longer passes");
            tried += 1;
        }
    }
    gauntlet::figure("fuzzing", "saved inputs that pass", tried);
}

#[test]
fn every_target_is_run_and_has_a_corpus() {
    let folders = |folder: &str| -> BTreeSet<String> {
        let names = tree::files(folder).into_iter();
        let rest = names.filter_map(|name| Some(name.strip_prefix(folder)?.get(1..)?.to_owned()));
        rest.filter_map(|rest| Some(rest.split(['/', '.']).next()?.to_owned()))
            .collect()
    };
    let known = targets::TARGETS.iter().map(|(name, _)| (*name).to_owned());
    let known: BTreeSet<String> = known.collect();
    assert_eq!(folders("fuzz/fuzz_targets"), known);
    assert_eq!(folders("fuzz/corpus"), known);
}
