//! The tools that the sensor is compared with, from Debian's packages: fetched with what they need and unpacked below `target/`, not installed,
//! since some of them would start to watch the host.

use crate::{apt, shell};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

const PACKAGES: [&str; 5] = ["bpftrace", "libbpf-tools", "auditd", "forkstat", "linux-perf"];

/// Where they are unpacked; fetched once. What cannot be had is left out, and is named when it is missed.
pub(super) fn obtain(root: &Path) -> Result<PathBuf> {
    let directory = root.join("target/bench/peers");
    let tree = directory.join("tree");
    if tree.is_dir() {
        return Ok(tree);
    }
    ensure!(apt::is_debian(), "only Debian's packages are known");
    let fetched = directory.join("archives");
    std::fs::create_dir_all(fetched.join("partial")).with_context(|| fetched.display().to_string())?;
    let packages: Vec<_> = PACKAGES.into_iter().filter(|package| apt::can_install(&[package])).collect();
    apt::fetch(&packages, &fetched)?;
    // Unpacked under another name first, so that what is there is whole.
    let unpacked = directory.join("unpacked");
    std::fs::create_dir_all(&unpacked)?;
    for entry in std::fs::read_dir(&fetched)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "deb") {
            shell::run(Command::new("dpkg-deb").arg("--extract").args([&path, &unpacked]))?;
        }
    }
    std::fs::rename(&unpacked, &tree)?;
    Ok(tree)
}
