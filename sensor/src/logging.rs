//! The operational log, on standard error: standard output belongs to alerts.

use clap::ValueEnum;
use std::io::{self, IsTerminal as _};
use tracing::level_filters::LevelFilter;

/// Form of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Least severe message that is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// Failures.
    Error,
    /// What does not work as it should.
    Warn,
    /// Start, end, reloads.
    #[default]
    Info,
    /// How decisions were made.
    Debug,
    /// Every event.
    Trace,
}

/// Starts logging; a second call changes nothing.
pub fn start(format: LogFormat, level: LogLevel) {
    let level = match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // A log that cannot be written must not end the sensor: reporting that on standard error would panic.
    let builder = tracing_subscriber::fmt()
        .log_internal_errors(false)
        .with_max_level(level)
        .with_target(false)
        .with_writer(io::stderr);
    // Only the first call can succeed, and the first one is the one that counts.
    let _ = match format {
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
}
