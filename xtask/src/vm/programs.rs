//! The programs that a guest runs, linked statically, since its initramfs has no libraries.

use crate::{cross, ebpf, shell};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Where the programs lie.
pub(crate) struct Programs {
    /// The guest's first process.
    pub(crate) guest: PathBuf,
    /// The end-to-end tests.
    pub(crate) suite: PathBuf,
    /// The tests of the service.
    pub(crate) service: PathBuf,
    /// The sensor.
    pub(crate) sensor: PathBuf,
    /// What measures on hosts; here for its instructions, which are the same as in every other build with this profile.
    pub(crate) bench: PathBuf,
}

/// Builds them for a processor, named as Cargo does, with a profile and a target directory of their own.
pub(crate) fn build(root: &Path, arch: &str) -> Result<Programs> {
    ebpf::build(root, arch, false)?;
    let target = cross::target(arch);
    let directory = root.join("target/vm/build");
    let mut command = cross::cargo(root, arch)?;
    command.args(["build", "--profile", "guest", "--target", &target, "--package", "sensor"]);
    command.args(["--package", "sensor-tests", "--target-dir"]).arg(&directory);
    // With --target these flags are not those of build scripts, which stay as they are.
    command.env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static");
    shell::run(&mut command)?;
    let built = |name: &str| {
        let path = directory.join(&target).join("guest").join(name);
        path.is_file().then_some(path).with_context(|| format!("no program {name} was built"))
    };
    Ok(Programs {
        guest: built("sensor-guest")?,
        suite: built("sensor-tests")?,
        service: built("sensor-service")?,
        sensor: built("sensor")?,
        bench: built("sensor-bench")?,
    })
}
