//! Checks everything: format, lints, unit tests, the eBPF object, and the sensor on this host and on other kernels.
//!
//! Each step is timed and reported; the last line has the sums of all tests, a step without tests of its own counting
//! as one.

use crate::bench::user;
use crate::tally::{self, Tally};
use crate::{containers, ebpf, fuzz, live, look, package, promtool, setup, shell, systemd, vm};
use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Seconds for each fuzz target: the committed inputs, and what is near them.
const FUZZ_SECONDS: u32 = 5;

/// How long the mixed load lasts.
const SOAK: Duration = Duration::from_secs(120);

/// What to check.
#[derive(Args)]
pub(crate) struct Options {
    /// Only these steps; may be given more than once
    #[arg(long, value_enum, value_name = "STEP")]
    only: Vec<Step>,
    /// Also build the eBPF object in two directories and compare the bytes
    #[arg(long)]
    reproducible: bool,
    /// In virtual machines, every kernel and processor that can be had, a distribution on each of the usual kernels, and guests
    /// that go wrong; takes hours
    #[arg(long)]
    full: bool,
    /// Only unit and end-to-end tests whose names contain this; without virtual machines, unless they are a step asked for
    filter: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Step {
    /// cargo fmt --check
    Fmt,
    /// The eBPF object builds, is sound, and with --reproducible comes out the same twice
    Ebpf,
    /// cargo clippy for this host and for the eBPF programs, every warning an error
    Clippy,
    /// cargo test
    Unit,
    /// A few seconds of `cargo xtask fuzz`
    Fuzz,
    /// Instructions of the user side for an event, compared with those that are committed
    User,
    /// Alerts on a real terminal, and their page in a real browser
    Look,
    /// The end-to-end tests, as root
    Live,
    /// Two minutes of `cargo xtask soak`, as root
    Soak,
    /// What `deploy/` has for Prometheus and Grafana, by promtool
    Monitoring,
    /// Packages for this host, and with --full for other processors, by the tools that hosts have for them
    Packages,
    /// The service under a systemd in a container
    Systemd,
    /// The sensor in a container, started by podman with the scripts of `deploy/container`, as root
    Containers,
    /// The end-to-end tests in virtual machines, with each kind of hook
    Vm,
}

impl Options {
    fn takes(&self, step: Step) -> bool {
        // What takes minutes, or has no tests with names, nobody wants who asks for a single one.
        let usual = match step {
            Step::Vm => self.full || self.filter.is_none(),
            Step::User | Step::Look | Step::Soak | Step::Monitoring | Step::Packages => self.filter.is_none(),
            _ => true,
        };
        if self.only.is_empty() { usual } else { self.only.contains(&step) }
    }
}

/// Runs the steps, in an order in which each finds what it needs built.
pub(crate) fn test(root: &Path, options: &Options) -> Result<ExitCode> {
    let mut results = Vec::new();
    let mut sum = Tally::default();
    let mut tested = 0;
    for step in Step::value_variants() {
        if !options.takes(*step) {
            continue;
        }
        let name = step.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        println!("\n== {name}");
        let start = Instant::now();
        let tally = perform(*step, root, options).unwrap_or_else(|error| {
            println!("error: {error:#}");
            Tally::FAILED
        });
        if matches!(step, Step::Unit | Step::Live | Step::Systemd | Step::Containers | Step::Vm) {
            tested += tally.ran() + tally.skipped;
        }
        results.push(format!("{name:<10} {:>7.1} s  {tally}", start.elapsed().as_secs_f64()));
        sum += tally;
    }
    println!("\n== results\n{}", results.join("\n"));
    if let Some(filter) = options.filter.as_deref().filter(|_| tested == 0) {
        println!("no test matches `{filter}`");
        sum += Tally::FAILED;
    }
    println!("{sum}");
    Ok(if sum.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn perform(step: Step, root: &Path, options: &Options) -> Result<Tally> {
    // The sensor embeds the object, so nothing of it compiles without.
    if step != Step::Fmt {
        setup::for_building()?;
        ebpf::build(root, std::env::consts::ARCH, false)?;
    }
    match step {
        Step::Fmt => Ok(counted(shell::run(shell::cargo(root).args(["fmt", "--all", "--check"])))),
        Step::Ebpf => Ok(ebpf(root, options.reproducible)),
        Step::Clippy => Ok(clippy(root)),
        Step::Unit => unit(root, options.filter.as_deref()),
        Step::Fuzz => fuzz::run(root, FUZZ_SECONDS, &[]),
        Step::User => user::check(root),
        Step::Look => look::run(root),
        Step::Live => {
            setup::for_testing()?;
            live::run(root, options.filter.as_deref())
        }
        Step::Soak => live::soak(root, SOAK),
        Step::Monitoring => promtool::check(root),
        Step::Packages => package::check::run(root, options.full),
        Step::Systemd => systemd::run(root, options.filter.as_deref()),
        Step::Containers => containers::run(root, options.filter.as_deref()),
        Step::Vm => {
            setup::for_testing()?;
            let extent = if options.full { vm::Extent::Full } else { vm::Extent::Usual };
            vm::suites(root, extent, options.filter.as_deref())
        }
    }
}

fn ebpf(root: &Path, reproducible: bool) -> Tally {
    let mut sum = counted(ebpf::check(root, std::env::consts::ARCH));
    if reproducible {
        sum += counted(ebpf::reproduce(root, std::env::consts::ARCH));
    }
    sum
}

fn clippy(root: &Path) -> Tally {
    let mut host = shell::cargo(root);
    host.args(["clippy", "--workspace", "--exclude", ebpf::PACKAGE, "--all-targets", "--", "-D", "warnings"]);
    let mut sum = counted(shell::run(&mut host));
    sum += counted(setup::for_linting().and_then(|()| ebpf::clippy(root, std::env::consts::ARCH)));
    sum
}

/// One check, its failure told.
fn counted(result: Result<()>) -> Tally {
    match result {
        Ok(()) => Tally::PASSED,
        Err(error) => {
            println!("error: {error:#}");
            Tally::FAILED
        }
    }
}

/// Unit tests. Of a test program that passes only the closing line is printed.
fn unit(root: &Path, filter: Option<&str>) -> Result<Tally> {
    let mut command = shell::cargo(root);
    command.args(["test", "--workspace", "--exclude", ebpf::PACKAGE, "--no-fail-fast"]).args(filter);
    let mut sum = Tally::default();
    let mut held = Vec::new();
    let mut programs = 0;
    let status = shell::lines(&mut command, |line| {
        held.push(line.to_owned());
        let Some(tally) = tally::of_cargo(line) else { return };
        println!("{}", if tally.failed == 0 { line.to_owned() } else { held.join("\n") });
        held.clear();
        programs += 1;
        sum += tally;
    })?;
    if programs == 0 {
        bail!("`{}` ran no test program ({status})", shell::describe(&command));
    }
    // A program that broke off has no closing line.
    if !held.iter().all(String::is_empty) {
        println!("{}", held.join("\n"));
    }
    Ok(sum.with_status(status.success()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(only: &[Step], full: bool, filter: Option<&str>) -> Vec<Step> {
        let filter = filter.map(str::to_owned);
        let options = Options { only: only.to_vec(), reproducible: false, full, filter };
        Step::value_variants().iter().copied().filter(|step| options.takes(*step)).collect()
    }

    #[test]
    fn a_single_test_starts_no_machines_unless_they_are_asked_for() {
        let all = Step::value_variants();
        assert_eq!(steps(&[], false, None), all);
        let left_out = |full| -> Vec<Step> {
            let taken = steps(&[], full, Some("connect"));
            all.iter().copied().filter(|step| !taken.contains(step)).collect()
        };
        assert_eq!(left_out(true), [Step::User, Step::Look, Step::Soak, Step::Monitoring, Step::Packages]);
        assert_eq!(left_out(false), [Step::User, Step::Look, Step::Soak, Step::Monitoring, Step::Packages, Step::Vm]);
        assert_eq!(steps(&[Step::Vm, Step::Unit], false, Some("connect")), [Step::Unit, Step::Vm]);
    }
}
