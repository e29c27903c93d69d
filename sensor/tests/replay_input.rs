//! `sensor replay` on bad lines, bad files, too much of everything, and without a reader.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a panic is how a test fails")]

mod common;

use common::program::{execs, pair, run, sensor};
use common::{documents, lines};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::Stdio;
use tempfile::TempDir;

#[test]
fn a_bad_line_is_named_and_the_rest_is_processed() {
    let folder = TempDir::new().unwrap();
    let [connection, exec] = pair("p", 0).map(|event| event.to_string().into_bytes());
    let deep = [b"{\"a\":".as_slice(), &b"[".repeat(100_000), &b"]".repeat(100_000), b"}"].concat();
    let bad: [(&[u8], &str); 12] = [
        (b"no json", "expected ident"),
        (b"{\"@timestamp\": 1", "EOF while parsing an object (column 16)"),
        (b"{\"@timestamp\": 1, \"a\": \"\xff\"}", "invalid unicode"),
        (b"{\"@timestamp\": 1, \"a\": \"\0\"}", "control character"),
        (b"\0\0\0\0", "expected value"),
        (b"{\"@timestamp\": 1, \"a\": 1e999}", "number out of range"),
        (b"{\"@timestamp\": 1} {\"@timestamp\": 2}", "trailing characters"),
        (b"[1]", "not a JSON object"),
        (b"{\"event\": {}}", "no @timestamp"),
        (b"{\"@timestamp\": \"soon\"}", "@timestamp \"soon\" is not a time"),
        (b"{\"@timestamp\": 99999999999999999999999999}", "is not a time"),
        (&deep, "recursion limit"),
    ];
    let mut text = connection;
    for (line, _) in bad {
        text.extend_from_slice(b"\n");
        text.extend_from_slice(line);
    }
    text.extend_from_slice(b"\n\n");
    text.extend(exec);
    fs::write(folder.path().join("events"), text).unwrap();
    let (exit, alerts, said) = run(folder.path(), &["events"]);
    assert_eq!((exit, alerts.len()), (1, 1), "{said}");
    let said: Vec<&str> = said.lines().collect();
    assert_eq!(said.len(), bad.len(), "{said:#?}");
    for (number, (said, (_, reason))) in said.iter().zip(bad).enumerate() {
        assert!(said.starts_with(&format!("events:{}: ", number + 2)) && said.contains(reason), "{said}");
        assert!(said.len() < 200, "{said}");
    }
}

#[test]
fn a_cut_off_file_says_so_at_its_last_line() {
    let folder = TempDir::new().unwrap();
    let text = lines(&pair("p", 0));
    fs::write(folder.path().join("events"), &text[..text.len() - 20]).unwrap();
    let (exit, alerts, said) = run(folder.path(), &["events"]);
    assert_eq!((exit, alerts.len()), (1, 0));
    assert!(said.starts_with("events:2: EOF while parsing"), "{said}");
}

#[test]
fn numbers_beyond_64_bits_are_numbers() {
    let folder = TempDir::new().unwrap();
    let [connection, exec] = pair("p", 0).map(|event| event.to_string());
    let huge = exec.replacen('{', &format!("{{\"huge\": {}, \"small\": -1e-999, ", "9".repeat(200)), 1);
    fs::write(folder.path().join("events"), format!("{connection}\n{huge}\n")).unwrap();
    let (exit, alerts, said) = run(folder.path(), &["events"]);
    assert_eq!((exit, alerts.len(), said.as_str()), (0, 1, ""));
}

#[test]
fn an_endless_line_is_named_and_not_held() {
    let folder = TempDir::new().unwrap();
    let [connection, exec] = pair("p", 0).map(|event| event.to_string());
    let mut child = sensor(folder.path(), &["-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    writeln!(input, "{connection}").unwrap();
    for _ in 0..300 {
        input.write_all(&[b'x'; 1 << 20]).unwrap();
    }
    write!(input, "\n{exec}").unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "-:2: the line is longer than 16 MiB\n");
    assert_eq!(documents(&String::from_utf8(output.stdout).unwrap()).len(), 1);
}

#[test]
fn a_document_of_very_many_values_is_named_and_not_held() {
    let folder = TempDir::new().unwrap();
    let [connection, mut exec] = pair("p", 0);
    exec["process"]["args"] = vec!["-i"; 200_000].into();
    let mut many = exec.clone();
    many["process"]["args"] = vec![""; 5_000_000].into();
    fs::write(folder.path().join("events"), lines(&[connection, many, exec])).unwrap();
    let (exit, alerts, said) = run(folder.path(), &["events"]);
    assert_eq!((exit, execs(&alerts)), (1, vec!["p-e"]));
    assert!(said.starts_with("events:2: more than 250000 values (column "), "{said}");
}

#[test]
fn events_that_do_not_fit_into_memory_are_put_aside_and_nothing_is_left_behind() {
    let folder = TempDir::new().unwrap();
    let mut file = std::io::BufWriter::new(File::create(folder.path().join("events")).unwrap());
    let padding = "x".repeat(30_000);
    for number in 0..10_000 {
        let [mut connection, _] = pair(&format!("p{number}"), 0);
        connection["padding"] = json!(padding);
        writeln!(file, "{connection}").unwrap();
    }
    for number in (0..10_000).step_by(2_500) {
        let [_, exec] = pair(&format!("p{number}"), i64::from(number) / 5);
        writeln!(file, "{exec}").unwrap();
    }
    file.into_inner().unwrap();
    let (exit, alerts, said) = run(folder.path(), &["--hold", "1000", "events"]);
    assert_eq!((exit, said.as_str()), (0, ""));
    assert_eq!(execs(&alerts), ["p0-e", "p2500-e", "p5000-e", "p7500-e"]);
    assert_eq!(alerts[3]["sensor"]["sequence"][0]["padding"], json!(padding));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_place_to_put_events_aside_that_is_not_there_is_named() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("events"), lines(&pair("p", 0))).unwrap();
    let mut command = sensor(folder.path(), &["--hold", "1", "events"]);
    let output = command.env("TMPDIR", "/nonexistent").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("sensor replay: cannot put events aside in /nonexistent: "), "{said}");
}

#[test]
fn what_cannot_be_read_is_named_and_the_other_files_are_processed() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("events"), lines(&pair("p", 0))).unwrap();
    let (exit, alerts, said) = run(folder.path(), &["missing", ".", "events"]);
    assert_eq!((exit, alerts.len()), (1, 1));
    let said: Vec<&str> = said.lines().collect();
    assert!(said[0].starts_with("missing: No such file or directory"), "{said:?}");
    assert!(said[1].starts_with(".: Is a directory"), "{said:?}");
    assert_eq!(said.len(), 2);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let folder = TempDir::new().unwrap();
    let events: Vec<Value> = (0..500).flat_map(|number| pair(&number.to_string(), number)).collect();
    fs::write(folder.path().join("events"), lines(&events)).unwrap();
    let mut child = sensor(folder.path(), &["events"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    out.read_line(&mut first).unwrap();
    drop(out);
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((child.wait().unwrap().code(), said.as_str()), (Some(0), ""));
    assert_eq!(documents(&first).len(), 1);
}

#[test]
fn an_output_that_takes_nothing_is_an_error() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("events"), lines(&pair("p", 0))).unwrap();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = sensor(folder.path(), &["events"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("sensor replay: cannot write: No space left on device"), "{said}");
}
