//! The end-to-end tests on this host: a real sensor, real shells, real connections between namespaces.

use crate::leftover::{self, Snapshot};
use crate::tally::{self, Tally};
use crate::{host, shell};
use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

/// Builds the sensor and the tests and runs them, through sudo if this is not root.
pub(crate) fn run(root: &Path, filter: Option<&str>) -> Result<Tally> {
    supervised(root, filter, None)
}

/// The same with a mixed load for so long instead of the tests.
pub(crate) fn soak(root: &Path, duration: Duration) -> Result<Tally> {
    supervised(root, None, Some(duration))
}

fn supervised(root: &Path, filter: Option<&str>, soak: Option<Duration>) -> Result<Tally> {
    host::build(root)?;
    host::release(root, "sensor-tests", "sensor-tests")?;
    let mut supervisor = Command::new(std::env::current_exe()?);
    supervisor.arg("live").args(filter).env_remove("LD_LIBRARY_PATH");
    if let Some(duration) = soak {
        supervisor.arg("--soak").arg(duration.as_secs().to_string());
    }
    suite(&mut shell::as_root(supervisor)?, filter)
}

/// Runs the tests as root, then looks for what they left behind, which counts as one test more. The last line printed
/// has the sums.
pub(crate) fn supervise(filter: Option<&str>, soak: Option<u64>) -> Result<ExitCode> {
    ensure!(rustix::process::geteuid().is_root(), "the end-to-end tests need root");
    leftover::adopt_orphans()?;
    let before = Snapshot::take()?;
    let mut tests = Command::new(host::profile_directory("release")?.join("sensor-tests"));
    tests.arg("--sensor").arg(host::profile_directory("release")?.join("sensor")).args(filter);
    if let Some(seconds) = soak {
        tests.arg("--soak").arg(seconds.to_string());
    }
    let mut sum = suite(&mut tests, filter)?;
    let left = leftover::since(&before)?;
    println!("{}  the tests leave nothing behind", if left.is_empty() { "ok    " } else { "FAILED" });
    for thing in &left {
        println!("        {thing}");
    }
    // Nothing can be left behind by no test.
    if sum.ran() + sum.skipped > 0 {
        sum += if left.is_empty() { Tally::PASSED } else { Tally::FAILED };
    }
    println!("{sum}");
    Ok(if sum.failed == 0 && left.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs a test program, passes its lines on, and returns what the last one says. That a filter matches none of its tests
/// is no failure of the program's.
pub(crate) fn suite(command: &mut Command, filter: Option<&str>) -> Result<Tally> {
    let mut last = String::new();
    let status = shell::lines(command, |line| {
        println!("{line}");
        line.clone_into(&mut last);
    })?;
    let sums = tally::of_suite(&last);
    let sums = sums.with_context(|| format!("no sums at the end of `{}` ({status})", shell::describe(command)))?;
    let unmatched = filter.is_some() && sums == Tally::default();
    Ok(sums.with_status(status.success() || unmatched))
}
