//! The command line.

use clap::{Parser, Subcommand};
use sensor::command::exit::Exit;
use sensor::command::{alive, check, configuration, doctor, explain, replay, run, selftest};
use sensor::detect::rule::Parameters;
use sensor::logging::{self, LogFormat, LogLevel};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Reports reverse shells on this host: a shell executed by a process that has just made a TCP connection.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 120)]
struct Cli {
    /// Configuration; without it /etc/sensor/sensor.toml if that exists, else the built-in defaults.
    #[arg(long, global = true, value_name = "PATH")]
    config: Option<PathBuf>,
    /// Form of the log on standard error.
    #[arg(long, global = true, value_enum, default_value_t)]
    log_format: LogFormat,
    /// Least severe message that is logged.
    #[arg(long, global = true, value_enum, default_value_t)]
    log_level: LogLevel,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch this host and report alerts on standard output.
    Run(run::Options),
    /// Apply the rules to recorded events.
    Replay(replay::Options),
    /// Say what was missing where recorded events came near a match.
    Explain(explain::Options),
    /// Check the configuration and print what is in effect.
    Check,
    /// Say whether the running sensor is at work, for probes.
    Alive(alive::Options),
    /// Try everything that the sensor needs of this host, and say what is missing.
    Doctor(doctor::Options),
    /// Make a harmless reverse shell and show the alert about it.
    Selftest(selftest::Options),
    /// Print the version.
    Version,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let _log = logging::start(cli.log_format, cli.log_level);
    let config = cli.config.as_deref();
    match &cli.command {
        Command::Run(options) => run::run(options, config),
        Command::Replay(options) => with_rule(config, |parameters| replay::run(options, parameters)),
        Command::Explain(options) => with_rule(config, |parameters| explain::run(options, parameters)),
        Command::Check => check::run(config, &mut io::stdout().lock(), &mut io::stderr().lock()),
        Command::Alive(options) => alive::run(options),
        Command::Doctor(options) => doctor::run(options, config, &mut io::stdout().lock()),
        Command::Selftest(options) => selftest::run(options, config, &mut io::stdout().lock()),
        Command::Version => version(),
    }
    .into()
}

/// Runs a command that needs nothing but the rule's parameters.
fn with_rule(config: Option<&Path>, command: impl FnOnce(&Parameters) -> Exit) -> Exit {
    match configuration(config) {
        Ok(config) => command(&run::parameters(&config)),
        Err(exit) => exit,
    }
}

#[expect(clippy::print_stdout, reason = "it is what was asked for")]
fn version() -> Exit {
    println!("sensor {}", env!("CARGO_PKG_VERSION"));
    Exit::Ok
}
