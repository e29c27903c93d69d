//! The Debian that boots in the container, made once and kept below `target/`.

use crate::bootstrap;
use crate::mirror::Mirrors;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The current release.
const RELEASE: &str = "trixie";
/// What starts a system and asks it, what makes a reverse shell, and what the README installs the package with.
const PACKAGES: [&str; 5] = ["bash", "iproute2", "sudo", "systemd", "systemd-sysv"];

/// The directory; makes it if it is not there, or of other packages.
pub(super) fn obtain(root: &Path) -> Result<PathBuf> {
    let directory = root.join("target/systemd");
    let (tree, recipe) = (directory.join(RELEASE), directory.join("recipe"));
    let wanted = format!("{RELEASE}: {}\n", PACKAGES.join(" "));
    if tree.is_dir() && std::fs::read_to_string(&recipe).is_ok_and(|kept| kept == wanted) {
        return Ok(tree);
    }
    let start = Instant::now();
    std::fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    let mirrors = Mirrors::of_system()?;
    bootstrap::remove(&tree)?;
    let [packages, left_out] = [PACKAGES.as_slice(), &bootstrap::LEFT_OUT]
        .map(|all| all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>());
    bootstrap::fill(&tree, RELEASE, debian_arch()?, &packages, &left_out, &mirrors)?;
    // Written last: a tree that is half made has none.
    std::fs::write(&recipe, wanted)?;
    println!("{} made in {} s", tree.display(), start.elapsed().as_secs());
    Ok(tree)
}

/// This host's processor as Debian calls it.
pub(super) fn debian_arch() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => bail!("no Debian is known for {other}"),
    }
}
