//! `sensor show` as a user runs it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a panic is how a test fails")]

mod common;

use common::lines;
use common::program::{pair, run as replay};
use serde_json::{Value, json};
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

fn sensor(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sensor"));
    command.arg("show").args(arguments).current_dir(folder).stdin(Stdio::null());
    command
}

/// Exit status, what is shown, what is told on standard error.
fn run(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = sensor(folder, arguments).output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    (output.status.code().unwrap(), out, err)
}

fn events() -> Vec<Value> {
    let mut events = pair("p", 0).to_vec();
    for event in &mut events {
        event["process"]["pid"] = json!(42);
        event["source"] = json!({"ip": "10.0.0.9", "port": 40000});
        event["process"]["parent"] = json!({"name": "sshd"});
    }
    events
}

#[test]
fn alerts_are_shown_as_when_they_came() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("events"), lines(&events())).unwrap();
    let (_, alerts, _) = replay(folder.path(), &["events"]);
    fs::write(folder.path().join("alerts"), lines(&alerts)).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_sensor"))
        .args(["replay", "--format", "text", "events"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let shown = run(folder.path(), &["alerts"]);
    assert_eq!(shown, (0, String::from_utf8(output.stdout).unwrap(), String::new()));
    assert!(shown.1.contains("10.0.0.9:40000 \u{2500}\u{2500}\u{25b6} 198.51.100.1:4444 outbound"), "{}", shown.1);
}

#[test]
fn events_are_shown_process_by_process_in_the_order_of_time() {
    let folder = TempDir::new().unwrap();
    let mut events = [events(), pair("q", 5).to_vec()].concat();
    events.push(json!({"@timestamp": 7, "event": {"category": "file", "action": "creation"}, "host": {"id": "h"}, "process": {"entity_id": "q"}}));
    events.swap(0, 1);
    fs::write(folder.path().join("events"), lines(&events)).unwrap();
    let (exit, shown, said) = run(folder.path(), &["events"]);
    assert_eq!((exit, said.as_str()), (0, ""));
    let expected = "bash pid 42, on h, child of sshd
  \u{251c}\u{2500} 1970-01-01T00:00:00.000000000Z 10.0.0.9:40000 \u{2500}\u{2500}\u{25b6} 198.51.100.1:4444 outbound
  \u{2514}\u{2500} +10 ms bash -i

bash on h
  \u{251c}\u{2500} 1970-01-01T00:00:00.005000000Z ? \u{2500}\u{2500}\u{25b6} 198.51.100.1:4444 outbound
  \u{251c}\u{2500} +2 ms file creation
  \u{2514}\u{2500} +10 ms bash -i

";
    assert_eq!(shown, expected);
    let (exit, shown, _) = run(folder.path(), &["--most", "2", "events"]);
    assert_eq!(exit, 0);
    assert!(shown.ends_with("\n\n3 more events are not shown (--most)\n"), "{shown}");
}

#[test]
fn what_the_sensor_tells_of_itself_is_a_line() {
    let folder = TempDir::new().unwrap();
    let life = json!({"@timestamp": "2026-05-28T20:26:41Z", "event": {"kind": "event", "dataset": "sensor.life"}, "log": {"level": "info"}, "message": "it\u{1b} lives"});
    fs::write(folder.path().join("life"), lines(&[life])).unwrap();
    let expected = "2026-05-28T20:26:41Z info: it\\u{1b} lives\n";
    assert_eq!(run(folder.path(), &["life"]), (0, expected.to_owned(), String::new()));
    let life = json!({"@timestamp": "\u{1b}[2J", "event": {"dataset": "sensor.life"}, "log": {"level": "\r"}, "message": "long ".repeat(30)});
    fs::write(folder.path().join("life"), lines(&[life])).unwrap();
    let (_, shown, _) = run(folder.path(), &["life"]);
    assert!(shown.starts_with("\\u{1b}[2J \\u{d}: long ") && shown.lines().count() == 2, "{shown}");
    assert!(shown.lines().all(|line| line.len() <= 100), "{shown}");
}

#[test]
fn bad_lines_are_named_and_counted_and_the_others_shown() {
    let folder = TempDir::new().unwrap();
    let good = lines(&events());
    fs::write(folder.path().join("mixed"), format!("{{\n{good}\n\"text\"\n{{\"\\u001b[2J\":1}}\n")).unwrap();
    let (exit, shown, said) = run(folder.path(), &["mixed", "absent"]);
    assert_eq!(exit, 1);
    assert!(shown.starts_with("bash pid 42"), "{shown}");
    for part in [
        "mixed:1: no JSON: ",
        "\nmixed:5: ",
        "\nmixed:6: ",
        "\nabsent: No such file",
        "\nsensor show: 4 could not be shown\n",
    ] {
        assert!(said.contains(part), "{part}{said}");
    }
    assert_eq!(said.lines().count(), 5);
    assert!(!said.contains('\u{1b}'));
}

#[test]
fn the_standard_input_is_a_file_too_and_a_reader_may_leave() {
    let folder = TempDir::new().unwrap();
    let mut child = sensor(folder.path(), &["-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines(&events()).as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stdout.starts_with(b"bash pid 42"));
    let many: String = (0..5000).map(|process| lines(&pair(&format!("p{process}"), 0))).collect();
    fs::write(folder.path().join("many"), many).unwrap();
    let mut child = sensor(folder.path(), &["many"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn without_a_file_it_is_a_usage_error() {
    assert_eq!(run(Path::new("/"), &[]).0, 2);
}
