//! The committed event streams give exactly the matches that stand beside them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a panic is how a test fails")]

mod common;

use clap::Parser;
use common::{Pair, documents, expected, matches, shuffled, vectors};
use sensor::command::exit::Exit;
use sensor::command::replay::{Options, replay};
use sensor::detect::rule::Parameters;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    options: Options,
}

/// What a replay of these files finds, sorted.
fn replayed(files: &[PathBuf], arguments: &[&str]) -> Vec<Pair> {
    let arguments = ["replay", "--format", "json"].iter().chain(arguments).map(|text| (*text).to_owned());
    let options = Cli::parse_from(arguments.chain(files.iter().map(|file| file.display().to_string()))).options;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    assert_eq!(replay(&options, (&Parameters::default(), &[]), &mut out, &mut err, false), Exit::Ok);
    assert_eq!(String::from_utf8(err).unwrap(), "");
    pairs(out)
}

/// The connection and the execution of each alert, sorted.
fn pairs(out: Vec<u8>) -> Vec<Pair> {
    let id = |event: &serde_json::Value| event["event"]["id"].as_str().unwrap().to_owned();
    let mut pairs: Vec<Pair> = documents(&String::from_utf8(out).unwrap())
        .iter()
        .map(|alert| match alert["sensor"]["sequence"].as_array().unwrap().as_slice() {
            [connection, exec] => (id(connection), id(exec)),
            _ => panic!("{alert}"),
        })
        .collect();
    pairs.sort();
    pairs
}

/// What the program finds in these files, sorted.
fn found(files: &[PathBuf]) -> Vec<Pair> {
    let output = Command::new(env!("CARGO_BIN_EXE_sensor")).arg("replay").args(files).output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()), (Some(0), ""));
    pairs(output.stdout)
}

#[test]
fn an_exception_takes_its_matches_from_a_replay() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("sensor.toml");
    let left = |destination: &str| {
        let text = format!("[[exception]]\nname = \"a\"\nreason = \"b\"\ndestination = \"{destination}\"\n");
        fs::write(&config, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_sensor"));
        let output = command.arg("--config").arg(&config).arg("replay").args(vectors()).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        documents(&String::from_utf8(output.stdout).unwrap())
    };
    let all = left("192.0.2.255");
    let others = left("0.0.0.0/0");
    let v6 = |alert: &&serde_json::Value| {
        let address = alert["destination"]["ip"].as_str().unwrap().parse::<std::net::IpAddr>().unwrap();
        address.to_canonical().is_ipv6()
    };
    assert_eq!(all.len(), 88);
    assert_eq!(others.len(), all.iter().filter(v6).count());
    assert!(others.iter().all(|alert| v6(&alert)) && others.len() < all.len());
}

#[test]
fn there_are_a_hundred_streams_with_88_matches() {
    let files = vectors();
    assert_eq!(files.len(), 100);
    assert_eq!(files.iter().map(|file| expected(file).len()).sum::<usize>(), 88);
}

#[test]
fn each_stream_by_itself() {
    for file in vectors() {
        assert_eq!(replayed(std::slice::from_ref(&file), &[]), expected(&file), "{}", file.display());
    }
}

#[test]
fn each_stream_with_hardly_anything_held_in_memory() {
    for file in vectors() {
        assert_eq!(replayed(std::slice::from_ref(&file), &["--hold", "3"]), expected(&file), "{}", file.display());
    }
}

#[test]
fn all_streams_in_one_run_are_streams_of_their_own() {
    let files = vectors();
    let mut all: Vec<Pair> = files.iter().flat_map(|file| expected(file)).collect();
    all.sort();
    assert_eq!(replayed(&files, &[]), all);
    assert_eq!(replayed(&files, &["--hold", "7", "--rule", "reverse-shell-via-child"]), all);
}

#[test]
fn all_streams_merged_are_one_stream() {
    let files = vectors();
    let text: String = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let all = matches(&documents(&text));
    assert_ne!(all.len(), 88, "the streams share processes");
    assert_eq!(replayed(&files, &["--merge"]), all);
    assert_eq!(replayed(&files, &["--merge", "--hold", "100"]), all);
}

#[test]
fn the_second_implementation_agrees() {
    for file in vectors() {
        let stream = documents(&fs::read_to_string(&file).unwrap());
        assert_eq!(matches(&stream), expected(&file), "{}", file.display());
    }
}

#[test]
fn the_program_finds_them_in_any_order_of_lines() {
    let files = vectors();
    let mut all: Vec<Pair> = files.iter().flat_map(|file| expected(file)).collect();
    all.sort();
    assert_eq!(found(&files), all);
    for seed in 0..3 {
        let folder = TempDir::new().unwrap();
        let mut changed = 0;
        let shuffled = files.iter().map(|file| {
            let text = fs::read_to_string(file).unwrap();
            let shuffled = shuffled(&text, seed);
            assert_eq!(shuffled.len(), text.len());
            changed += usize::from(shuffled != text);
            let path = folder.path().join(file.file_name().unwrap());
            fs::write(&path, shuffled).unwrap();
            path
        });
        let shuffled: Vec<PathBuf> = shuffled.collect();
        assert_eq!(changed, files.len());
        assert_eq!(found(&shuffled), all, "all in one run, order {seed}");
        for (file, original) in shuffled.iter().zip(&files) {
            assert_eq!(found(std::slice::from_ref(file)), expected(original), "{}, order {seed}", file.display());
        }
    }
}
