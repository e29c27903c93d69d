//! `sensor alive`: whether the sensor that writes a heartbeat file reads what the kernel tells it, for probes.

use super::exit::Exit;
use crate::enrich::clock;
use crate::enrich::host::boot_id;
use crate::heartbeat;
use clap::Args;
use std::path::{Path, PathBuf};

/// Options of `sensor alive`.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// The file that `sensor run --heartbeat` writes.
    #[arg(value_name = "PATH")]
    pub heartbeat: PathBuf,
}

/// Gives [`Exit::Ok`] if it does, else says why not and gives [`Exit::Failed`].
#[must_use]
pub fn run(options: &Options) -> Exit {
    let boot_id = match boot_id(Path::new("/")) {
        Ok(boot_id) => boot_id,
        Err(error) => {
            tracing::error!("{error}");
            return Exit::Failed;
        }
    };
    match heartbeat::age(&options.heartbeat, clock::now().0, &boot_id) {
        Ok(age) => {
            tracing::debug!("last sign of life {} ms ago", age.as_millis());
            Exit::Ok
        }
        Err(error) => {
            tracing::error!("{}: {error}", options.heartbeat.display());
            Exit::Failed
        }
    }
}
