//! `sensor explain`: what it says of events that came near a match, and what it leaves out.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a panic is how a test fails")]

mod common;

use common::{lines, vectors};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

fn connection(process: &str, at: i64) -> Value {
    json!({
        "@timestamp": at,
        "event": {"category": ["network"], "type": ["start"], "action": "connection_attempted"},
        "host": {"id": "h"},
        "process": {"entity_id": process, "name": "bash"},
        "source": {"ip": "10.0.0.9", "port": 40000},
        "destination": {"ip": "198.51.100.1", "port": 4444},
    })
}

fn exec(process: &str, at: i64, args: &[&str]) -> Value {
    json!({
        "@timestamp": at,
        "event": {"category": ["process"], "type": ["start"], "action": "exec"},
        "host": {"id": "h"},
        "process": {"entity_id": process, "pid": 42, "name": "bash", "args": args, "parent": {"name": "sshd", "args": ["sshd"]}},
    })
}

fn run(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_sensor")).arg("explain").args(arguments).current_dir(folder).output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    (output.status.code().unwrap(), out, err)
}

/// What is said about the events of one file, without the lines that sum up, one for each rule.
fn explained(events: &[Value]) -> Vec<String> {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("events"), lines(events)).unwrap();
    let (exit, out, err) = run(folder.path(), &["events"]);
    assert_eq!((exit, err.as_str()), (0, ""));
    let mut said: Vec<String> = out.lines().map(str::to_owned).collect();
    for rule in [
        "relayed-shell: 0 matches, ",
        "shell-on-socket: 0 matches, ",
        "reverse-shell: 0 matches, ",
        "reverse-shell-via-child: ",
    ] {
        assert!(said.pop().unwrap().starts_with(rule), "{out}");
    }
    said
}

fn with(mut document: Value, pointer: &str, value: Value) -> Value {
    *document.pointer_mut(pointer).unwrap() = value;
    document
}

#[test]
fn each_way_to_miss_is_said_in_one_line() {
    let start = "1970-01-01T00:00:01.100000000Z bash (pid 42) executed";
    let shell = |at| exec("p", at, &["bash", "-i"]);
    let to = "after it connected to 198.51.100.1:4444, but";
    for (events, expected) in [
        (
            vec![connection("p", 1000), exec("p", 1100, &["bash", "-c", "id"])],
            format!("{start} \"bash -c id\" 100 ms {to} none of its arguments [bash, -c, id] is -i or -l, and the parent sshd is not socat"),
        ),
        (
            vec![connection("p", 1000), with(shell(1100), "/process/name", json!("busybox"))],
            "1970-01-01T00:00:01.100000000Z busybox (pid 42) executed \"bash -i\" 100 ms after it connected to 198.51.100.1:4444, but the executed program busybox is none of bash, dash, sh, tcsh, csh, zsh, ksh, fish".to_owned(),
        ),
        (
            vec![connection("p", -4000), shell(1100)],
            format!("{start} \"bash -i\" 5100 ms {to} 5100 ms is more than the span of 5 s"),
        ),
        (
            vec![with(connection("p", 1000), "/destination/ip", json!("127.0.0.1")), shell(1100)],
            format!("{start} \"bash -i\" 100 ms after it connected to 127.0.0.1:4444, but the destination 127.0.0.1 is in the excluded network 127.0.0.0/8"),
        ),
        (
            vec![with(connection("p", 1000), "/destination/ip", json!("host name")), shell(1100)],
            format!("{start} \"bash -i\" 100 ms after it connected to host name, but the destination \"host name\" is no address"),
        ),
        (
            vec![with(connection("p", 1000), "/destination", json!({})), shell(1100)],
            format!("{start} \"bash -i\" 100 ms after it connected to an unknown address, but the destination is unknown"),
        ),
        (
            vec![with(connection("p", 1000), "/process/name", json!("nc")), shell(1100)],
            format!("{start} \"bash -i\" 100 ms {to} the connecting program nc is none of bash, dash, sh, tcsh, csh, zsh, ksh, fish, socat"),
        ),
        (
            vec![connection("p", 1000), with(exec("p", 1100, &["bash"]), "/process/parent", json!({"name": "socat", "args": ["socat", "-", "x".repeat(1025)]}))],
            format!("{start} \"bash\" 100 ms {to} none of its arguments [bash] is -i or -l, and none of the parent's arguments [socat, -, {}\u{2026}] is like *exec* (those of more than 1024 characters never are)", "x".repeat(200)),
        ),
        (
            vec![connection("p", 1101), shell(1100)],
            format!("{start} \"bash -i\" 1 ms before it connected to 198.51.100.1:4444, but the connection must come first"),
        ),
        (
            vec![with(connection("p", 1000), "/destination/ip", json!(["198.51.100.1", "::ffff:127.0.0.1"])), shell(1100)],
            format!("{start} \"bash -i\" 100 ms after it connected to 198.51.100.1:4444, but the destination [198.51.100.1, ::ffff:127.0.0.1] is in the excluded network 127.0.0.0/8"),
        ),
        (
            vec![connection("p", 900), shell(1000), shell(1100)],
            format!("{start} \"bash -i\" 200 ms {to} an earlier execution has taken that connection"),
        ),
    ] {
        assert_eq!(explained(&events), [expected]);
    }
}

/// A shell with these on its standard input and output.
fn on(kinds: &[Value; 2]) -> Value {
    let mut shell = exec("p", 1100, &["bash"]);
    shell["sensor"] = json!({"stdio": kinds});
    shell
}

#[test]
fn a_shell_half_on_a_connection_is_said() {
    let tcp = |fd: u8, ip: &str| json!({"fd": fd, "kind": "tcp", "remote": {"ip": ip, "port": 4444}});
    let shell = "1970-01-01T00:00:01.100000000Z bash (pid 42) executed \"bash\", but its standard";
    for (kinds, expected) in [
        ([tcp(0, "198.51.100.1"), json!({"fd": 1, "kind": "pipe"})], " output is no TCP socket, but of the kind pipe"),
        ([json!({"fd": 0, "kind": "tcp"}), tcp(1, "198.51.100.1")], " input is a TCP socket that is not connected"),
        ([tcp(1, "198.51.100.1"), tcp(2, "198.51.100.1")], " input is unknown"),
        (
            [tcp(0, "127.0.0.1"), tcp(1, "::1")],
            " input is a connection to 127.0.0.1 in the excluded network 127.0.0.0/8 and its standard output is a connection to \
             ::1 in the excluded network ::1/128",
        ),
    ] {
        assert_eq!(explained(&[on(&kinds)]), [format!("{shell}{expected}")]);
    }
    let pipes = [json!({"fd": 0, "kind": "pipe"}), json!({"fd": 1, "kind": "pipe"})];
    assert_eq!(explained(&[on(&pipes)]), [""; 0], "nothing of it is a socket");
}

#[test]
fn what_is_not_near_is_not_said() {
    assert_eq!(explained(&[connection("p", 1000), exec("q", 1100, &["bash", "-i"])]), [""; 0], "another process");
    assert_eq!(explained(&[exec("p", 1100, &["bash", "-i"])]), [""; 0], "no connection");
    assert_eq!(explained(&[connection("p", 1000), exec("p", 1100, &["bash", "-i"])]), [""; 0], "a match");
    let far = with(exec("p", 9000, &["ls"]), "/process/name", json!("ls"));
    assert_eq!(explained(&[connection("p", 1000), far]), [""; 0], "three conditions fail");
}

#[test]
fn the_nearest_miss_of_a_process_is_said() {
    let ls = with(exec("p", 1050, &["ls"]), "/process/name", json!("ls"));
    let said = explained(&[connection("p", 1000), ls, exec("p", 1100, &["bash"]), exec("p", 1200, &["bash"])]);
    assert_eq!(said.len(), 1);
    assert!(said[0].starts_with("1970-01-01T00:00:01.100000000Z bash"), "{said:?}");
}

#[test]
fn the_nearest_misses_are_shown_in_order_and_the_rest_is_counted() {
    let folder = TempDir::new().unwrap();
    let mut events = Vec::new();
    for number in 0..50 {
        let process = format!("p{number}");
        events.push(connection(&process, 10_000 - number));
        let name = if number % 10 == 0 { "bash" } else { "ls" };
        events.push(with(exec(&process, 10_100 - number, &["bash"]), "/process/name", json!(name)));
    }
    events.push(with(connection("p", 0), "/host", json!({})));
    events.extend([connection("m", 0), exec("m", 1, &["bash", "-l"])]);
    std::fs::write(folder.path().join("events"), lines(&events)).unwrap();
    let (exit, out, err) = run(folder.path(), &["--most", "5", "--hold", "7", "events"]);
    assert_eq!((exit, err.as_str()), (0, ""));
    let said: Vec<&str> = out.lines().collect();
    assert!(said[..5].is_sorted() && said[..5].iter().all(|line| line.contains(" bash (pid 42)")), "{out}");
    assert_eq!(
        said[5..],
        [
            "reverse-shell-via-child: 1 match, 50 processes came near one, of 51 processes with connections or executions",
            "reverse-shell: 0 matches, 0 processes came near one, of 51 processes with connections or executions",
            "shell-on-socket: 0 matches, 0 processes came near one, of 0 processes that executed something on a TCP socket",
            "relayed-shell: 0 matches, 0 processes came near one, of 51 processes with connections or executions",
            "45 misses not shown",
            "1 event without host.id or process.entity_id can match nothing",
        ]
    );
}

#[test]
fn what_an_attacker_writes_stays_in_its_line() {
    let evil = "x\n\u{1b}[2J\u{202e}";
    let said = explained(&[connection("p", 1000), exec("p", 1100, &["bash", evil, &"y".repeat(100_000)])]);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains(r"x\u{a}\u{1b}[2J\u{202e}") && said[0].len() < 2000, "{said:?}");
}

#[test]
fn it_counts_the_matches_that_a_replay_finds() {
    for vector in vectors().iter().take(10) {
        let (exit, out, _) = run(Path::new("/"), &[&vector.canonicalize().unwrap().display().to_string()]);
        let matches = common::expected(vector).len();
        let counted =
            format!("reverse-shell-via-child: {matches} {}, ", if matches == 1 { "match" } else { "matches" });
        assert!(exit == 0 && out.lines().any(|line| line.starts_with(&counted)), "{}: {out}", vector.display());
    }
}

#[test]
fn bad_lines_and_wrong_arguments_are_as_for_replay() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("events"), "nonsense\n").unwrap();
    let (exit, out, err) = run(folder.path(), &["events"]);
    assert_eq!((exit, out.lines().count()), (1, 4));
    assert!(err.starts_with("events:1: "), "{err}");
    let (exit, out, err) = run(folder.path(), &["--rule", "nonsense", "events"]);
    assert_eq!((exit, out.as_str()), (2, ""));
    assert!(err.starts_with("sensor explain: no rule \"nonsense\""), "{err}");
}
