//! Measures what the sensor costs on this host, one part at a time, and tells the figures: `cargo xtask bench` runs it.
//!
//! Whatever takes part in a measurement has a network of its own, and, where it matters where programs lie, mounts of its own; all of
//! it is gone with this process and those that it starts. Needs root, as the sensor does.

mod alerts;
#[path = "../cost/mod.rs"]
mod cost;
mod events;
#[path = "../field.rs"]
mod field;
#[path = "../../../xtask/src/bench/figure.rs"]
mod figure;
#[path = "../net.rs"]
mod net;
#[path = "../parent.rs"]
mod parent;
mod place;
mod process;
mod programs;
mod scaling;
mod sensor;
mod sizes;
mod start;
mod statistics;
mod storm;
mod syscalls;
mod tell;
#[path = "../tiny.rs"]
mod tiny;
#[path = "../wait.rs"]
mod wait;
mod worker;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Measures what the sensor costs.
#[derive(Parser)]
struct Options {
    /// The sensor
    #[arg(long, value_name = "PATH")]
    sensor: Option<PathBuf>,
    /// A tenth of the repetitions, to see whether it works
    #[arg(long)]
    quick: bool,
    /// What to measure
    #[command(subcommand)]
    part: Part,
}

#[derive(Clone, Subcommand)]
enum Part {
    /// Time that each program of the kernel side takes
    Programs,
    /// What other system calls pay
    Syscalls,
    /// Instructions of each program
    Sizes,
    /// A sensor that has nothing to do
    Start,
    /// Time from a shell to its alert
    Alerts,
    /// How the price of an execution grows
    Scaling,
    /// Storms, with nothing, with the sensor and with other tools
    Storm {
        /// Where further tools are unpacked
        #[arg(long, value_name = "DIRECTORY")]
        peers: Option<PathBuf>,
    },
    /// No more than the user side's work for so many events; needs neither root nor the sensor
    Events {
        /// What is done for each
        stage: events::Stage,
        /// How often
        times: u64,
    },
}

/// What all parts are told.
struct Setting {
    /// The sensor's file.
    sensor: PathBuf,
    quick: bool,
}

impl Setting {
    /// How often something is to be repeated that is usually repeated so often.
    fn times(&self, usual: usize) -> usize {
        if self.quick { usual.div_ceil(10) } else { usual }
    }
}

fn main() -> ExitCode {
    let part = |variable| std::env::var(variable).ok();
    let done = if let Some(next) = part(cost::actor::VARIABLE) {
        cost::actor::main(&next)
    } else if let Some(work) = part(worker::VARIABLE) {
        worker::main(&work).and_then(|taken| tell::answer(&taken))
    } else if let Some(undo) = part(storm::audit::VARIABLE) {
        storm::audit::main(&undo)
    } else {
        measure(Options::parse())
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell::log(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn measure(Options { sensor, quick, part }: Options) -> Result<()> {
    if let Part::Events { stage, times } = part {
        return events::perform(stage, times);
    }
    ensure!(rustix::process::geteuid().is_root(), "measuring needs root, as the sensor does");
    let sensor = sensor.context("no --sensor")?;
    let sensor = sensor.canonicalize().with_context(|| format!("the sensor {}", sensor.display()))?;
    let setting = Setting { sensor, quick };
    match part {
        Part::Programs => programs::measure(&setting),
        Part::Syscalls => syscalls::measure(&setting),
        Part::Sizes => sizes::measure(),
        Part::Start => start::measure(&setting),
        Part::Alerts => alerts::measure(&setting),
        Part::Scaling => scaling::measure(&setting),
        Part::Storm { peers } => storm::measure(&setting, peers.as_deref()),
        Part::Events { .. } => Ok(()),
    }
}
