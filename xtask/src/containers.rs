//! The sensor in a container: podman loads the image as it is packaged and starts it by the scripts of `deploy/container`, which are
//! those that the README names (`tests/src/cases/container.rs`).

use crate::tally::Tally;
use crate::{live, package, setup};
use anyhow::Result;
use std::path::Path;

/// What the tests run beside the shells that all tests need.
const PROGRAMS: [(&str, &str); 3] = [("podman", "podman"), ("runc", "runc"), ("ldd", "libc-bin")];

/// Builds the image and the tests, and runs them as root.
pub(crate) fn run(root: &Path, filter: Option<&str>) -> Result<Tally> {
    for (program, package) in PROGRAMS {
        setup::for_program(program, package)?;
    }
    let image = package::image(root)?;
    live::containers(root, &image, filter)
}
