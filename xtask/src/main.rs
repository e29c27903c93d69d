//! Builds, tests and measures the sensor: `cargo xtask COMMAND`, each command in the file of its name.
//!
//! Exit status 0 if all went well, 1 if something failed, 2 for a wrong command line.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command for people: what it prints is its output")]

mod apt;
mod backports;
mod bench;
mod bootstrap;
mod containers;
mod cross;
mod ebpf;
mod fuzz;
mod host;
mod install;
mod leftover;
mod line_info;
mod lint;
mod live;
mod look;
mod mirror;
mod object_file;
mod package;
mod pictures;
mod promtool;
mod reproduce;
mod run;
mod setup;
mod shell;
mod soak;
mod systemd;
mod tally;
mod test;
mod toolchain;
mod vm;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Builds, tests and measures the sensor.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what building needs and is missing
    Setup,
    /// Build and check the eBPF object, unless it is newer than its sources
    Ebpf {
        /// Build it in any case
        #[arg(long)]
        force: bool,
        /// Processor of the machine it is for
        #[arg(long, default_value = std::env::consts::ARCH, value_parser = ["aarch64", "x86_64"])]
        arch: String,
    },
    /// Build the sensor with its eBPF object, optimized
    Build,
    /// Build the sensor, installing what is missing, and start it on this host
    Run {
        /// Arguments of `sensor run`
        #[arg(last = true)]
        arguments: Vec<OsString>,
    },
    /// Build the sensor and install it as a service of systemd
    Install(install::Options),
    /// Check format, lints, unit tests, the eBPF object and the sensor on this host
    Test(test::Options),
    /// Give whatever reads untrusted bytes all sorts of them
    Fuzz(fuzz::Options),
    /// Run the end-to-end tests in virtual machines with other kernels
    Vm(vm::Options),
    /// Build packages that hosts install, and the image of a container
    Package(package::Options),
    /// Draw the pictures of the documents anew
    Pictures,
    /// Keep the sensor under a mixed load on this host: it must take no more and more, and miss nothing
    Soak(soak::Options),
    /// Measure what things cost
    Bench(bench::Options),
    /// Run the end-to-end tests alone and look for what they leave behind; needs root and built programs
    #[command(hide = true)]
    Live(live::Options),
    /// Run the tests of the service alone; needs root, a mount namespace of its own, and built programs
    #[command(hide = true)]
    Systemd {
        /// Debian in a directory
        tree: PathBuf,
        /// Only tests whose names contain this
        filter: Option<String>,
    },
}

fn main() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    match perform(command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(command: Command) -> Result<ExitCode> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in no workspace")?;
    match command {
        Command::Setup => setup::for_building()?,
        Command::Ebpf { force, arch } => println!("{}", described(&ebpf::build(root, &arch, force)?)?),
        Command::Build => println!("{}", described(&host::build(root)?)?),
        Command::Run { arguments } => run::run(root, arguments)?,
        Command::Test(options) => return test::test(root, &options),
        Command::Fuzz(options) => return fuzz::fuzz(root, &options),
        Command::Vm(options) => return vm::vm(root, &options),
        Command::Package(options) => package::package(root, &options)?,
        Command::Pictures => pictures::draw(root)?,
        Command::Soak(options) => return soak::soak(root, &options),
        Command::Bench(options) => return bench::bench(root, &options),
        Command::Install(options) => install::install(root, &options)?,
        Command::Live(options) => return live::supervise(&options),
        Command::Systemd { tree, filter } => return systemd::supervise(root, &tree, filter.as_deref()),
    }
    Ok(ExitCode::SUCCESS)
}

/// A file that was built, and its size.
fn described(path: &Path) -> Result<String> {
    let size = path.metadata().with_context(|| path.display().to_string())?.len();
    Ok(format!("{} ({size} bytes)", path.display()))
}
