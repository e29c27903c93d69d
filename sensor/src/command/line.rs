//! The command line, from which the manual and the completions of shells are made too.

use super::{alive, doctor, explain, replay, run, selftest, show};
use crate::logging::{LogFormat, LogLevel};
use clap::{Parser, Subcommand};
use std::path::PathBuf;

/// Reports reverse shells on this host: a shell executed by a process that has just made a TCP connection.
#[derive(Debug, Parser)]
#[command(name = "sensor", version, about, max_term_width = 120)]
pub struct Cli {
    /// Configuration; without it /etc/sensor/sensor.toml if that exists, else the built-in defaults.
    #[arg(long, global = true, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// Form of the log on standard error.
    #[arg(long, global = true, value_enum, default_value_t)]
    pub log_format: LogFormat,
    /// Least severe message that is logged.
    #[arg(long, global = true, value_enum, default_value_t)]
    pub log_level: LogLevel,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch this host and report alerts on standard output.
    Run(run::Options),
    /// Apply the rules to recorded events.
    Replay(replay::Options),
    /// Say what was missing where recorded events came near a match.
    Explain(explain::Options),
    /// Show stored alerts and events to a person, as text or as a page.
    Show(show::Options),
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
