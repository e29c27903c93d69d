//! Runs the suite and passes its results on.

use crate::protocol::{Message, Outcome, Run};
use crate::system::{SENSOR, SUITE};
use crate::tell::{Told, log};
use anyhow::{Context, Result};
use rustix::process::WaitOptions;
use serde::Deserialize;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// Where installed programs lie. The kernel gives its first process no such variable.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A line of the suite with `--json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    Hooks { connect: String, accept: String },
    Test { name: String, outcome: String, seconds: f64, details: String },
    Sums { passed: u64, failed: u64, skipped: u64 },
}

/// Runs it once.
pub(crate) fn run(run: &Run, told: &mut Told) -> Result<()> {
    let mut suite = Command::new(SUITE);
    listen(suite.args(["--disposable", "--sensor", SENSOR]), run, told)
}

/// Runs a program of tests, and passes on what it prints.
pub(crate) fn listen(suite: &mut Command, run: &Run, told: &mut Told) -> Result<()> {
    suite.arg("--json").args(&run.arguments).env("PATH", PATH);
    let mut suite = suite.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("the tests")?;
    let output = suite.stdout.take().context("no output")?;
    let (mut sums, mut count) = (None, 0);
    for line in BufReader::new(output).lines() {
        let line = line?;
        match serde_json::from_str(&line) {
            Ok(Line::Hooks { connect, accept }) => {
                told.tell(&Message::Hooks { run: run.name.clone(), connect, accept })?;
            }
            Ok(Line::Test { name, outcome, seconds, details }) => {
                let note = if outcome == "passed" { details.as_str() } else { "" };
                log(&format!("{}: {outcome} {name} ({seconds:.2} s) {note}", run.name));
                count += 1;
                told.tell(&result(run, name, &outcome, details))?;
            }
            Ok(Line::Sums { passed, failed, skipped }) => sums = Some(passed + failed + skipped),
            // Something fatal, said before the suite ended.
            Err(_) => log(&line),
        }
    }
    let status = suite.wait()?;
    let ended = match sums {
        None => Err(anyhow::anyhow!("it ended early, with {status}")),
        Some(0) => Err(anyhow::anyhow!("it has no test for {:?}", run.arguments)),
        Some(sum) if sum != count => Err(anyhow::anyhow!("it has told {count} results, and counts {sum}")),
        Some(_) => Ok(()),
    };
    told.result(&format!("the suite runs to its end in run {}", run.name), ended)?;
    reap()
}

fn result(run: &Run, name: String, outcome: &str, details: String) -> Message {
    let outcome = match outcome {
        "passed" => Outcome::Passed,
        "skipped" => Outcome::Skipped,
        _ => Outcome::Failed,
    };
    Message::Result { run: run.name.clone(), test: name, outcome, details }
}

/// Processes without a parent become this one's children.
fn reap() -> Result<()> {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some(_)) => {}
            Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}
