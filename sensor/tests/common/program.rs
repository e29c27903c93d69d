//! `sensor replay` as a user runs it.

use super::documents;
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A connection and a shell of a process, `at` a time in milliseconds.
pub(crate) fn pair(process: &str, at: i64) -> [Value; 2] {
    let event = |id: &str, at: i64, category: &str, action: &str| {
        json!({
            "@timestamp": at,
            "event": {"id": format!("{process}-{id}"), "category": [category], "type": ["start"], "action": action},
            "host": {"id": "h"},
            "process": {"entity_id": process, "name": "bash", "args": ["bash", "-i"]},
            "destination": {"ip": "198.51.100.1", "port": 4444},
        })
    };
    [event("c", at, "network", "connection_attempted"), event("e", at + 10, "process", "exec")]
}

/// The sensor with a bound on its address space: more than it ever needs here, less than what a careless reader takes.
pub(crate) fn sensor(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -v 200000; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_sensor"), "replay"]);
    command.args(arguments).current_dir(folder).env("TMPDIR", folder).stdin(Stdio::null());
    command
}

/// Its exit status, its alerts, and what it says.
pub(crate) fn run(folder: &Path, arguments: &[&str]) -> (i32, Vec<Value>, String) {
    let Output { status, stdout, stderr } = sensor(folder, arguments).output().unwrap();
    (status.code().unwrap(), documents(&String::from_utf8(stdout).unwrap()), String::from_utf8(stderr).unwrap())
}

/// The ids of the executions of alerts.
pub(crate) fn execs(alerts: &[Value]) -> Vec<&str> {
    alerts.iter().map(|alert| alert["sensor"]["sequence"][1]["event"]["id"].as_str().unwrap()).collect()
}
