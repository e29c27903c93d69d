//! Every committed input, without libFuzzer: the corpus and what once was a finding.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

use sensor_fuzz::{TARGETS, seeds};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The names in a directory, without endings. One that is not there has none.
fn names(directory: &Path) -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir(directory) else { return BTreeSet::new() };
    let name = |entry: fs::DirEntry| entry.path().file_stem().unwrap().to_str().unwrap().to_owned();
    entries.map(|entry| name(entry.unwrap())).collect()
}

fn inputs(directory: &Path) -> Vec<PathBuf> {
    let mut inputs: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    inputs.sort();
    inputs
}

#[test]
fn every_target_has_a_program_and_a_corpus() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&here("fuzzers")), targets);
    assert_eq!(names(&here("corpus")), targets);
    assert!(names(&here("regressions")).is_subset(&targets));
}

#[test]
fn the_corpus_has_inputs_that_are_taken_and_inputs_that_are_not() {
    for (name, target) in TARGETS {
        let (mut taken, mut refused) = (0, 0);
        for input in inputs(&here("corpus").join(name)) {
            // Its name stands before the panic that it may cause.
            println!("{}", input.display());
            *(if target(&fs::read(input).unwrap()) { &mut taken } else { &mut refused }) += 1;
        }
        assert!(taken > 0 && refused > 0, "{name}: {taken} taken, {refused} refused");
    }
}

#[test]
fn what_was_found_is_not_found_again() {
    for (name, target) in TARGETS {
        if !names(&here("regressions")).contains(name) {
            continue;
        }
        for input in inputs(&here("regressions").join(name)) {
            println!("{}", input.display());
            target(&fs::read(input).unwrap());
        }
    }
}

#[test]
fn seeds_are_what_the_formats_are_today() {
    for seed in seeds::all() {
        let path = seed.path();
        let committed = fs::read(&path).unwrap_or_default();
        assert!(committed == seed.bytes, "{} is old: run `cargo run -p sensor-fuzz --example seeds`", path.display());
    }
}
