//! Tells the compiler where the eBPF object lies that the sensor embeds, and refuses one that is older than its sources.
//!
//! The object needs a compiler of its own, so it is built beforehand, by `cargo xtask ebpf`, never from here. A build that
//! has it from elsewhere names it in the environment variable `SENSOR_BPF_OBJECT`; it is then embedded as it is.

#[path = "../xtask/src/object_file.rs"]
mod object_file;

use object_file::{SOURCES, State};
use std::env::{var, var_os};
use std::path::{Path, PathBuf};

const OBJECT: &str = "SENSOR_BPF_OBJECT";
const ADVICE: &str = "run `cargo xtask ebpf`";

fn main() {
    match object() {
        Ok(path) => println!("cargo::rustc-env={OBJECT}={}", path.display()),
        Err(reason) => println!("cargo::error={reason}"),
    }
}

fn object() -> Result<PathBuf, String> {
    println!("cargo::rerun-if-env-changed={OBJECT}");
    if let Some(given) = var_os(OBJECT) {
        let path = std::path::absolute(&given).map_err(|error| format!("{OBJECT}: {error}"))?;
        println!("cargo::rerun-if-changed={}", path.display());
        return if path.is_file() { Ok(path) } else { Err(format!("{OBJECT}: no file {}", path.display())) };
    }
    let here = var("CARGO_MANIFEST_DIR").map_err(|error| format!("CARGO_MANIFEST_DIR: {error}"))?;
    let arch = var("CARGO_CFG_TARGET_ARCH").map_err(|error| format!("CARGO_CFG_TARGET_ARCH: {error}"))?;
    let root = Path::new(&here).parent().ok_or("sensor lies in no workspace")?;
    let path = object_file::path(root, &arch);
    println!("cargo::rerun-if-changed={}", path.display());
    for source in SOURCES {
        println!("cargo::rerun-if-changed={}", root.join(source).display());
    }
    match object_file::state(root, &arch) {
        Ok(State::Fresh) => Ok(path),
        Ok(State::Missing) => Err(format!("the eBPF object {} has not been built: {ADVICE}", path.display())),
        Ok(State::Stale(source)) => Err(format!("the eBPF object is older than {}: {ADVICE}", source.display())),
        Err(error) => Err(format!("cannot compare the eBPF object with its sources: {error}")),
    }
}
