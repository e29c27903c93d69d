//! What things cost, as figures that a README may quote: one table, and a file with the same and the machine it was measured on.
//!
//! `sensor-bench` (`tests/src/bench`) measures; each part is a run of it, so that what one of them does to its process ends with it.

mod figure;
mod machine;
mod peers;
mod replay;
mod table;
pub(crate) mod user;

use crate::{host, setup, shell};
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use figure::Line;
use machine::Machine;
use serde::Serialize;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

/// What is measured.
#[derive(Args)]
pub(crate) struct Options {
    /// Only these parts
    #[arg(value_enum, value_name = "PART")]
    parts: Vec<Part>,
    /// A tenth of the repetitions, to see whether it works
    #[arg(long)]
    quick: bool,
    /// Commit what is measured of the user side: write it where tests find it
    #[arg(long)]
    record: bool,
    /// Size of the file that is replayed
    #[arg(long, default_value_t = 1024, value_name = "MB")]
    megabytes: u64,
}

/// A part, in the order in which they are measured: what wants a quiet machine comes before what makes it busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Instructions of each program of the kernel side that this kernel takes
    Sizes,
    /// Time that each of them takes, over an empty program beside it
    Programs,
    /// What system calls pay that the sensor has nothing to do with
    Syscalls,
    /// Instructions of the user side for an event, by Valgrind
    User,
    /// Start to attached, memory, size, wake-ups of a sensor that has nothing to do
    Start,
    /// Time from a shell to its alert, and how many a second
    Alerts,
    /// How the price of an execution grows, with connections remembered, arguments and processes
    Scaling,
    /// What storms of executions and connections take with nothing, with the sensor and with other tools
    Storm,
    /// Events per second and memory of `sensor replay` on a large file
    Replay,
}

impl Part {
    /// As it is called on the command line, here and by the program that measures.
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// What was measured in a part.
#[derive(Serialize)]
struct Measured {
    part: String,
    seconds: f64,
    lines: Vec<Line>,
    /// Why it broke off, if it did.
    error: Option<String>,
}

/// The file.
#[derive(Serialize)]
struct Report {
    machine: Machine,
    quick: bool,
    parts: Vec<Measured>,
}

/// Measures, prints each part's table when it is done, and writes the file. Fails if a part broke off.
pub(crate) fn bench(root: &Path, options: &Options) -> Result<ExitCode> {
    setup::for_building()?;
    host::build(root)?;
    host::release(root, "sensor-tests", "sensor-bench")?;
    let machine = Machine::this(root)?;
    println!("{machine}");
    let parts = if options.parts.is_empty() { Part::value_variants() } else { &options.parts };
    let mut report = Report { machine, quick: options.quick, parts: Vec::new() };
    for part in parts {
        let start = Instant::now();
        let mut lines = Vec::new();
        let done = measure(*part, root, options, &mut lines);
        let error = done.err().map(|error| format!("{error:#}"));
        let measured = Measured { part: part.name(), seconds: start.elapsed().as_secs_f64(), lines, error };
        println!("\n{}", table::of(&measured));
        report.parts.push(measured);
    }
    let path = root.join("target/bench").join(format!("{}.json", report.machine.date));
    std::fs::create_dir_all(root.join("target/bench"))?;
    std::fs::write(&path, serde_json::to_string_pretty(&report)? + "\n").with_context(|| path.display().to_string())?;
    println!("\n{}", path.display());
    let failed = report.parts.iter().any(|part| part.error.is_some());
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn measure(part: Part, root: &Path, options: &Options, lines: &mut Vec<Line>) -> Result<()> {
    match part {
        Part::Replay => {
            let megabytes = if options.quick { options.megabytes.div_ceil(10) } else { options.megabytes };
            lines.extend(replay::measure(root, megabytes)?);
            return Ok(());
        }
        Part::User => {
            lines.extend(user::measure(root, options.record)?);
            return Ok(());
        }
        _ => {}
    }
    let mut command = Command::new(host::profile_directory("release")?.join("sensor-bench"));
    command.arg("--sensor").arg(host::profile_directory("release")?.join("sensor")).env_remove("LD_LIBRARY_PATH");
    if options.quick {
        command.arg("--quick");
    }
    command.arg(part.name());
    if part == Part::Storm {
        match peers::obtain(root) {
            Ok(tree) => {
                command.arg("--peers").arg(tree);
            }
            Err(error) => lines.push(Line::NotMeasured {
                subject: "tools that are not installed".to_owned(),
                reason: format!("{error:#}"),
            }),
        }
    }
    let mut command = shell::as_root(command)?;
    let mut wrong = Ok(());
    let status = shell::lines(&mut command, |line| match serde_json::from_str(line).context("not a figure") {
        Ok(line) => lines.push(line),
        Err(error) => wrong = Err(error.context(line.to_owned())),
    })?;
    wrong?;
    anyhow::ensure!(status.success(), "`{}`: {status}", shell::describe(&command));
    Ok(())
}
