//! End-to-end tests of the sensor: real processes on a real kernel, and the alerts that must come of them.
//!
//! One program, which needs no other for its core: it plays shells and socat itself, under their names (see `actor`).
//! Tests tagged `userland` use the installed ones. The same binary runs on a host and as the guest of a virtual machine.
//! Needs root in the initial namespace of processes, as the sensor does.

mod actor;
mod cases;
mod cgroup;
mod consistency;
mod counters;
mod expect;
mod field;
mod finished;
mod freeze;
mod lab;
mod manager;
mod memory;
mod misses;
mod mounts;
mod namespace;
mod net;
mod parent;
mod pictures;
mod player;
mod podman;
mod programs;
mod refusals;
mod report;
mod scrape;
mod sensor;
mod skip;
mod soak;
mod suite;
mod supervise;
mod tail;
mod techniques;
mod tiny;
mod usage;
mod wait;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// End-to-end tests of the sensor.
#[derive(Parser)]
struct Options {
    /// The sensor to test; with --containers the archive of its image
    #[arg(long, value_name = "PATH", required_unless_present_any = ["list", "techniques", "pictures"])]
    sensor: Option<PathBuf>,
    /// Print the names and tags of the tests, run none
    #[arg(long)]
    list: bool,
    /// Print the table of techniques that the documents have, run none
    #[arg(long)]
    techniques: bool,
    /// Write the pictures that the documents have to a folder, run none
    #[arg(long, value_name = "FOLDER")]
    pictures: Option<PathBuf>,
    /// Count a skipped test as a failure
    #[arg(long)]
    no_skip: bool,
    /// Force hooks, as in connect=kprobe,accept=tracepoint; again for another run with others
    #[arg(long, value_name = "HOOK=KIND,…")]
    hooks: Vec<String>,
    /// Tests at a time; the last one given counts
    #[arg(long, default_value_t = 8, value_name = "N", overrides_with = "jobs")]
    jobs: usize,
    /// Print each line as a JSON object
    #[arg(long)]
    json: bool,
    /// This system was made for the tests: also set its clock and put it to sleep
    #[arg(long)]
    disposable: bool,
    /// This processor is emulated: skip storms, which would take very long
    #[arg(long)]
    no_storms: bool,
    /// Instead of the tests: a mixed load for so many seconds
    #[arg(long, value_name = "SECONDS", conflicts_with_all = ["filter", "list"])]
    soak: Option<u64>,
    /// Instead of the tests: those of a sensor that runs in a container
    #[arg(long, conflicts_with_all = ["soak", "hooks"])]
    containers: bool,
    /// Part of a name, tag:NAME or not:NAME; a test must fit all
    filter: Vec<String>,
}

fn main() -> ExitCode {
    run().unwrap_or_else(|error| report::fatal(&format!("{error:#}")))
}

fn run() -> Result<ExitCode> {
    if let Ok(part) = std::env::var(actor::VARIABLE) {
        return Ok(actor::main(&part));
    }
    let options = Options::parse();
    supervise::heed_interrupts();
    let filter = suite::Filter(options.filter);
    if options.list {
        for (_, case) in suite::chosen(options.containers, &filter) {
            report::list(case.name, &case.tags.iter().map(|tag| format!(" tag:{}", tag.name())).collect::<String>());
        }
        return Ok(ExitCode::SUCCESS);
    }
    if options.techniques {
        report::text(&techniques::document());
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(folder) = options.pictures {
        pictures::write(&folder)?;
        return Ok(ExitCode::SUCCESS);
    }
    let Some(directory) = supervise::directory() else { return supervise::run() };
    ensure!(rustix::process::geteuid().is_root(), "the tests need root, as the sensor does");
    let namespace = std::fs::read_link("/proc/self/ns/pid").context("/proc")?;
    // The number of the initial namespace is fixed in the kernel (PROC_PID_INIT_INO).
    ensure!(
        namespace.as_os_str() == "pid:[4026531836]",
        "run the tests outside of containers: the sensor sees the host"
    );
    let sensor = options.sensor.context("no --sensor")?;
    let binary = sensor.canonicalize().with_context(|| format!("the sensor {}", sensor.display()))?;
    let mut hooks = options.hooks.iter().map(|hooks| section(hooks)).collect::<Result<Vec<_>>>()?;
    if hooks.is_empty() {
        hooks.push(String::new());
    }
    let plan = suite::Plan {
        binary,
        hooks,
        jobs: options.jobs.max(1),
        no_skip: options.no_skip,
        filter,
        json: options.json,
        disposable: options.disposable,
        no_storms: options.no_storms,
        soak: options.soak.map(Duration::from_secs),
        containers: options.containers,
    };
    let success = suite::run(&plan, &directory)?;
    Ok(if success { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The configuration that forces hooks.
fn section(hooks: &str) -> Result<String> {
    let mut section = "[hooks]\n".to_owned();
    for part in hooks.split(',') {
        let Some((hook @ ("connect" | "accept"), kind)) = part.split_once('=') else {
            bail!("--hooks {hooks}: {part}?")
        };
        section += &format!("{hook} = \"{kind}\"\n");
    }
    Ok(section)
}
