//! Starts the sensor on this host, after installing what is missing and building it.

use crate::{host, setup, shell};
use anyhow::{Context, Result};
use std::convert::Infallible;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// Becomes the sensor, so that signals, the exit code and standard output are its own. Returns only if that fails.
pub(crate) fn run(root: &Path, arguments: Vec<OsString>) -> Result<()> {
    let never = become_sensor(root, arguments)?;
    match never {}
}

fn become_sensor(root: &Path, arguments: Vec<OsString>) -> Result<Infallible> {
    setup::for_building()?;
    let mut sensor = Command::new(host::build(root)?);
    // Cargo sets it for the programs it runs.
    sensor.arg("run").args(arguments).env_remove("LD_LIBRARY_PATH");
    let mut command = shell::as_root(sensor)?;
    eprintln!("+ {}", shell::describe(&command));
    let error = command.exec();
    Err(error).with_context(|| format!("cannot run `{}`", shell::describe(&command)))
}
