//! Debian's backports: newer packages, built for the release in use. Where one of them is installed, packages of the release itself may have
//! no place beside it.

use crate::apt;
use crate::mirror::Mirrors;
use anyhow::{Context, Result};
use std::io::Write;

/// What a system of the older form lists its sources in (sources.list(5)), which apt reads beside those of the newer form.
const SOURCES: &str = "/etc/apt/sources.list";

/// Installs a package and what it needs from there, removing none. The system's own sources stay as they are.
pub(crate) fn install(package: &str) -> Result<()> {
    let release = apt::release().context("/etc/os-release does not name the release")?;
    let suite = format!("{release}-backports");
    let mut sources = tempfile::NamedTempFile::new()?;
    let own = std::fs::read_to_string(SOURCES).unwrap_or_default();
    writeln!(sources, "{own}\n{}", Mirrors::of_system()?.main(&suite))?;
    apt::install_from(sources.path(), &suite, &[package])
}
