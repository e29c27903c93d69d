//! Tests of the sensor as a service of systemd, on a system that was booted for them: in a container or in a virtual machine. The
//! service is installed there, and was started when the system was.
//!
//! Prints what the end-to-end tests print, in both forms.

#![expect(clippy::print_stdout, reason = "the results are this program's output")]

#[path = "../field.rs"]
mod field;
mod gap;
mod life;
mod names;
mod package;
#[path = "../programs.rs"]
#[expect(dead_code, reason = "the end-to-end tests use all of it")]
mod programs;
mod remote;
mod sandbox;
mod unit;

use anyhow::{Result, ensure};
use clap::Parser;
use serde_json::json;
use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;
use unit::Unit;

/// Tests of the sensor as a service.
#[derive(Parser)]
struct Options {
    /// Confirm that this system was made for the tests: they change it
    #[arg(long, required = true)]
    disposable: bool,
    /// Print each line as a JSON object
    #[arg(long)]
    json: bool,
    /// The package that it was installed from: it is then upgraded, removed and installed again, too
    #[arg(long)]
    package: Option<PathBuf>,
    /// Part of a name; a test must fit all
    filter: Vec<String>,
}

/// A test: its name, and what it does with a service that runs as it was installed. It gives back what is worth knowing.
type Check = (&'static str, fn(&mut Unit) -> Result<String>);

/// The reason why a test cannot be run here.
#[derive(Debug)]
struct Skip(&'static str);

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Skip {}

/// Ends a test as skipped.
fn skip<T>(reason: &'static str) -> Result<T> {
    Err(Skip(reason).into())
}

fn main() -> Result<ExitCode> {
    let Options { disposable: _, json, package, filter } = Options::parse();
    ensure!(rustix::process::geteuid().is_root(), "the tests of the service need root");
    let of_package = if package.is_some() { package::TABLE } else { &[] };
    let mut unit = Unit::as_booted(package)?;
    let hooks = unit.hooks()?;
    if json {
        println!("{}", json!({"hooks": {"connect": hooks.0, "accept": hooks.1}}));
    } else {
        println!("hooks   connect={}, accept={}", hooks.0, hooks.1);
    }
    let mut sums = [0_u32; 3];
    let chosen = life::TABLE.iter().chain(sandbox::TABLE).chain(remote::TABLE).chain(of_package);
    for (name, check) in chosen.filter(|(name, _)| filter.iter().all(|part| name.contains(part.as_str()))) {
        let start = Instant::now();
        let result = unit.as_installed().and_then(|()| check(&mut unit));
        let seconds = start.elapsed().as_secs_f64();
        let (place, word, details) = match result {
            Ok(note) => (0, "passed", note),
            Err(error) => match error.downcast_ref::<Skip>() {
                Some(Skip(reason)) => (2, "skipped", (*reason).to_owned()),
                None => (1, "failed", format!("{error:#}\n{}", unit.journal())),
            },
        };
        if let Some(sum) = sums.get_mut(place) {
            *sum += 1;
        }
        let name = format!("service: {name}");
        if json {
            println!("{}", json!({"test": {"name": name, "outcome": word, "seconds": seconds, "details": details}}));
        } else {
            tell(&name, word, seconds, &details);
        }
    }
    let [passed, failed, skipped] = sums;
    if json {
        println!("{}", json!({"sums": {"passed": passed, "failed": failed, "skipped": skipped}}));
    } else {
        println!("{passed} passed, {failed} failed, {skipped} skipped");
    }
    Ok(if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints a result for people.
fn tell(name: &str, word: &str, seconds: f64, details: &str) {
    match word {
        "passed" if details.is_empty() => println!("ok      {name} ({seconds:.2} s)"),
        "passed" => println!("ok      {name}: {details} ({seconds:.2} s)"),
        "skipped" => println!("skipped {name}: {details}"),
        _ => {
            println!("FAILED  {name} ({seconds:.2} s)");
            for line in details.lines() {
                println!("        {line}");
            }
        }
    }
}
