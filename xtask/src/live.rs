//! The end-to-end tests on this host: a real sensor, real shells, real connections between namespaces, and containers.

use crate::leftover::{self, Snapshot};
use crate::tally::{self, Tally};
use crate::{host, shell};
use anyhow::{Context, Result, ensure};
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

/// What to run.
#[derive(Args)]
pub(crate) struct Options {
    /// Only tests whose names contain this
    filter: Option<String>,
    /// A mixed load for so many seconds instead
    #[arg(long, conflicts_with = "filter")]
    soak: Option<u64>,
    /// The tests of the sensor in a container instead, by the archive of its image
    #[arg(long, value_name = "IMAGE", conflicts_with = "soak")]
    containers: Option<PathBuf>,
}

/// Builds the sensor and the tests and runs them, through sudo if this is not root.
pub(crate) fn run(root: &Path, filter: Option<&str>) -> Result<Tally> {
    host::build(root)?;
    supervised(root, &Options { filter: filter.map(str::to_owned), soak: None, containers: None })
}

/// The same with a mixed load for so long instead of the tests.
pub(crate) fn soak(root: &Path, duration: Duration) -> Result<Tally> {
    host::build(root)?;
    supervised(root, &Options { filter: None, soak: Some(duration.as_secs()), containers: None })
}

/// The same with the tests of the sensor in a container, of an image that is there.
pub(crate) fn containers(root: &Path, image: &Path, filter: Option<&str>) -> Result<Tally> {
    let containers = Some(image.to_owned());
    supervised(root, &Options { filter: filter.map(str::to_owned), soak: None, containers })
}

fn supervised(root: &Path, options: &Options) -> Result<Tally> {
    host::release(root, "sensor-tests", "sensor-tests")?;
    let Options { filter, soak, containers } = options;
    let mut supervisor = Command::new(std::env::current_exe()?);
    supervisor.arg("live").args(filter).env_remove("LD_LIBRARY_PATH");
    if let Some(seconds) = soak {
        supervisor.arg("--soak").arg(seconds.to_string());
    }
    if let Some(image) = containers {
        supervisor.arg("--containers").arg(image);
    }
    suite(&mut shell::as_root(supervisor)?, filter.as_deref())
}

/// Runs the tests as root, then looks for what they left behind, which counts as one test more. The last line printed
/// has the sums.
pub(crate) fn supervise(options: &Options) -> Result<ExitCode> {
    ensure!(rustix::process::geteuid().is_root(), "the end-to-end tests need root");
    let Options { filter, soak, containers } = options;
    leftover::adopt_orphans()?;
    let before = Snapshot::take()?;
    let mut tests = Command::new(host::profile_directory("release")?.join("sensor-tests"));
    tests.arg("--sensor");
    match containers {
        Some(image) => tests.arg(image).arg("--containers"),
        None => tests.arg(host::profile_directory("release")?.join("sensor")),
    };
    tests.args(filter);
    if let Some(seconds) = soak {
        tests.arg("--soak").arg(seconds.to_string());
    }
    let mut sum = suite(&mut tests, filter.as_deref())?;
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
