//! A sensor under a mixed load on this host for as long as is asked for (`tests/src/soak`).

use crate::{live, setup};
use anyhow::Result;
use clap::Args;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// How long.
#[derive(Args)]
pub(crate) struct Options {
    /// How long the load lasts; what was seen is printed at the end
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=10_080))]
    minutes: u64,
}

/// Builds everything and runs it. The last line printed has the sums.
pub(crate) fn soak(root: &Path, options: &Options) -> Result<ExitCode> {
    setup::for_building()?;
    let sum = live::soak(root, Duration::from_secs(60 * options.minutes))?;
    Ok(if sum.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
