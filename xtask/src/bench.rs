//! What things cost, as figures that a README may quote.

mod replay;

use anyhow::Result;
use clap::{Args, Subcommand};
use std::path::Path;
use std::process::ExitCode;

/// What is measured.
#[derive(Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Events per second and memory of `sensor replay` on a large file
    Replay(replay::Options),
}

/// Measures, and prints the figures.
pub(crate) fn bench(root: &Path, options: &Options) -> Result<ExitCode> {
    match &options.what {
        What::Replay(options) => replay::measure(root, options),
    }
}
