//! Builds the sensor for this host, optimized, with its eBPF object.

use crate::{ebpf, shell};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Builds the eBPF object and the sensor, and returns the sensor's path.
pub(crate) fn build(root: &Path) -> Result<PathBuf> {
    ebpf::build(root, std::env::consts::ARCH, false)?;
    release(root, "sensor", "sensor")
}

/// Builds a program of a package with optimization and returns its path.
pub(crate) fn release(root: &Path, package: &str, program: &str) -> Result<PathBuf> {
    shell::run(shell::cargo(root).args(["build", "--release", "--package", package, "--bin", program]))?;
    Ok(profile_directory("release")?.join(program))
}

/// Where Cargo puts the programs of a profile. This program lies in that of `dev`, its neighbours in the same target
/// directory, whatever `CARGO_TARGET_DIR` or a configuration file says that is.
pub(crate) fn profile_directory(profile: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let directory = own.parent().and_then(Path::parent).context("xtask lies in no target directory")?;
    Ok(directory.join(profile))
}
