//! `sensor replay` on good files: what it finds in them, in which order, and how it says so.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a panic is how a test fails")]

mod common;

use common::program::{execs, pair, run, sensor};
use common::{documents, lines};
use serde_json::{Value, json};
use std::fs;
use std::io::Write as _;
use std::process::Stdio;
use tempfile::TempDir;

#[test]
fn alerts_come_with_both_events_as_they_were() {
    let folder = TempDir::new().unwrap();
    let mut events = pair("p", 1000);
    events[0]["labels"] = json!({"kept": "as it was"});
    fs::write(folder.path().join("events"), lines(&events)).unwrap();
    let (exit, alerts, said) = run(folder.path(), &["events"]);
    assert_eq!((exit, alerts.len(), said.as_str()), (0, 1, ""));
    assert_eq!(alerts[0]["sensor"]["sequence"], json!(events));
    assert_eq!(alerts[0]["rule"]["id"], json!("reverse-shell-via-child"));
    assert_eq!(alerts[0]["sensor"]["elapsed_ms"], json!(10));
}

#[test]
fn alerts_come_in_the_order_of_their_execs_whatever_the_order_of_the_lines() {
    let folder = TempDir::new().unwrap();
    let mut events: Vec<Value> =
        [("late", 9000), ("first", 1000), ("middle", 5000)].into_iter().flat_map(|(p, at)| pair(p, at)).collect();
    events.reverse();
    fs::write(folder.path().join("events"), lines(&events)).unwrap();
    let (exit, alerts, _) = run(folder.path(), &["events"]);
    assert_eq!(exit, 0);
    assert_eq!(execs(&alerts), ["first-e", "middle-e", "late-e"]);
}

/// An event of the pair under another id and with another time.
fn named(mut event: Value, id: &str, at: impl Into<Value>) -> Value {
    event["event"]["id"] = id.into();
    event["@timestamp"] = at.into();
    event
}

/// The ids of both events of each alert, as `connection+execution`.
fn found(events: &[Value]) -> Vec<String> {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("events"), lines(events)).unwrap();
    let (exit, alerts, said) = run(folder.path(), &["events"]);
    assert_eq!((exit, said.as_str()), (0, ""));
    let id =
        |alert: &Value, place: usize| alert["sensor"]["sequence"][place]["event"]["id"].as_str().unwrap().to_owned();
    alerts.iter().map(|alert| format!("{}+{}", id(alert, 0), id(alert, 1))).collect()
}

#[test]
fn events_are_ordered_by_millisecond_then_network_first_then_line() {
    let [connection, exec] = pair("p", 0);
    let connection = |id, at: &str| named(connection.clone(), id, at);
    let exec = |id, at: &str| named(exec.clone(), id, at);
    let [first, second] = ["2026-05-28T20:26:41.700Z", "2026-05-28T20:26:41.701Z"];
    assert_eq!(found(&[exec("e", second), connection("c", first)]), ["c+e"], "the time decides");
    assert_eq!(found(&[exec("e", first), connection("c", first)]), ["c+e"], "network before process");
    let within = "2026-05-28T20:26:41.700999Z";
    assert_eq!(found(&[exec("e", first), connection("c", within)]), ["c+e"], "what is finer does not count");
    assert_eq!(found(&[exec("e", first), connection("c", second)]), [""; 0], "too late");
    let one = [connection("c1", first), connection("c2", first), exec("e", first)];
    assert_eq!(found(&one), ["c2+e"], "the later line");
    let other = [connection("c2", first), connection("c1", within), exec("e", first)];
    assert_eq!(found(&other), ["c1+e"], "the later line, whatever is finer");
    let execs = [exec("e1", first), exec("e2", first), connection("c", first)];
    assert_eq!(found(&execs), ["c+e1"], "the earlier line");
}

#[test]
fn events_of_one_boot_are_ordered_by_their_sequence_and_measured_by_the_boot_clock() {
    let [connection, exec] = pair("p", 0);
    let booted = |event: &Value, id: &str, wall: i64, sequence: u64, ms: u64, ns: u64| {
        let mut event = named(event.clone(), id, wall);
        event["event"]["sequence"] = sequence.into();
        event["sensor"] = json!({"boot_id": "b", "boot_ns": ms * 1_000_000 + ns});
        event
    };
    // The wall clock was set back by an hour in between, and the other way it seems to be no time at all.
    let back = [booted(&exec, "e", -3_600_000, 2, 5010, 999_999), booted(&connection, "c", 0, 1, 10, 0)];
    assert_eq!(found(&back), ["c+e"]);
    let late = [booted(&connection, "c", 0, 1, 10, 999_999), booted(&exec, "e", 0, 2, 5011, 0)];
    assert_eq!(found(&late), [""; 0]);
    // In one millisecond of the wall clock, but the execution came first.
    let before = [booted(&connection, "c", 0, 2, 10, 6), booted(&exec, "e", 0, 1, 10, 5)];
    assert_eq!(found(&before), [""; 0]);
    // The live run learned of the connection after the execution, and gave no alert.
    let learned = [booted(&connection, "c", 0, 2, 10, 5), booted(&exec, "e", 0, 1, 10, 6)];
    assert_eq!(found(&learned), [""; 0]);
    // Events of other boots have the wall clock only.
    let mut other = booted(&exec, "e", 4000, 1, 1, 0);
    other["sensor"]["boot_id"] = "another".into();
    assert_eq!(found(&[booted(&connection, "c", 0, 2, 100_000, 0), other]), ["c+e"]);
}

#[test]
fn the_standard_input_is_a_file_too() {
    let folder = TempDir::new().unwrap();
    let mut child = sensor(folder.path(), &["-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines(&pair("p", 0)).as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(documents(&String::from_utf8(output.stdout).unwrap()).len(), 1);
}

#[test]
fn files_are_streams_of_their_own_unless_they_are_merged() {
    let folder = TempDir::new().unwrap();
    let [connection, exec] = pair("p", 0);
    fs::write(folder.path().join("first"), lines(&[exec])).unwrap();
    fs::write(folder.path().join("second"), lines(&[connection])).unwrap();
    assert_eq!(run(folder.path(), &["first", "second"]).1.len(), 0);
    assert_eq!(run(folder.path(), &["--merge", "first", "second"]).1.len(), 1);
}

#[test]
fn wrong_arguments_are_usage_errors() {
    let folder = TempDir::new().unwrap();
    for (arguments, reason) in [
        (
            &["--rule", "nonsense", "events"][..],
            "no rule \"nonsense\"; the rules are reverse-shell-via-child, reverse-shell, shell-on-socket, relayed-shell",
        ),
        (&["--hold", "0", "events"], "0 is not in"),
        (&["--format", "xml", "events"], "invalid value 'xml'"),
        (&[], "<FILE>"),
        (&["--nonsense"], "--nonsense"),
    ] {
        let (exit, alerts, said) = run(folder.path(), arguments);
        assert_eq!((exit, alerts.len()), (2, 0), "{arguments:?}");
        assert!(said.contains(reason), "{said}");
    }
}

#[test]
fn the_text_form_is_a_block_for_each_alert() {
    let folder = TempDir::new().unwrap();
    let events: Vec<Value> = [pair("p", 0), pair("q", 100)].concat();
    fs::write(folder.path().join("events"), lines(&events)).unwrap();
    let output = sensor(folder.path(), &["--format", "text", "events"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        text.matches("ALERT medium 47: Potential Reverse Shell via Child (reverse-shell-via-child)\n").count(),
        2
    );
}

#[test]
fn an_alert_that_is_replayed_is_no_event_of_interest() {
    let folder = TempDir::new().unwrap();
    let (first, again) = (folder.path().join("events"), folder.path().join("alerts"));
    fs::write(first, lines(&pair("p", 0))).unwrap();
    let (_, alerts, _) = run(folder.path(), &["events"]);
    fs::write(again, lines(&alerts)).unwrap();
    let (exit, alerts, said) = run(folder.path(), &["alerts"]);
    assert_eq!((exit, alerts.len(), said.as_str()), (0, 0, ""));
}
