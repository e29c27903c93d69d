//! Draws the pictures in `docs/pictures`. The tests have what is drawn (`tests/src/pictures`), and compare.

use crate::{ebpf, host, setup, shell};
use anyhow::Result;
use std::path::Path;
use std::process::Command;

pub(crate) fn draw(root: &Path) -> Result<()> {
    setup::for_building()?;
    ebpf::build(root, std::env::consts::ARCH, false)?;
    let tests = host::release(root, "sensor-tests", "sensor-tests")?;
    shell::run(Command::new(tests).arg("--pictures").arg(root.join("docs/pictures")))
}
