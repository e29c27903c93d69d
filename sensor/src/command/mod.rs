//! The commands of the command line, one file each.

pub mod alive;
pub mod check;
pub mod doctor;
pub mod exit;
pub mod explain;
pub mod line;
pub mod replay;
pub mod run;
pub mod selftest;
pub mod show;

use crate::config::Config;
use exit::Exit;
use std::path::Path;

/// Reads the configuration.
///
/// # Errors
///
/// [`Exit::Config`] if it is not valid, which is logged.
pub fn configuration(path: Option<&Path>) -> Result<Config, Exit> {
    Config::load(path).map_err(|error| {
        tracing::error!("{error}");
        Exit::Config
    })
}
