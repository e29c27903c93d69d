//! Builds the eBPF object, checks it, and puts it where `sensor` embeds it.
//!
//! The same sources and the same tools give the same bytes, in whichever directory: paths are mapped to fixed names,
//! settings of the caller's Cargo are left out, and debug information goes, once BTF has been made from it.

use crate::line_info;
use crate::lint;
use crate::object_file::{self, State};
use crate::reproduce::{self, Copy};
use crate::shell;
use crate::toolchain::{self, Library, TARGET, Toolchain};
use anyhow::{Context, Result, bail};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// The package of the eBPF programs; it does not compile for a host.
pub(crate) const PACKAGE: &str = "sensor-ebpf";
/// What `setup` does, said wherever a tool is missing.
const ADVICE: &str = "run `cargo xtask setup`";

/// Builds the object for a processor unless it is newer than its sources, and returns its path.
pub(crate) fn build(root: &Path, arch: &str, force: bool) -> Result<PathBuf> {
    let path = object_file::path(root, arch);
    if !force && object_file::state(root, arch)? == State::Fresh {
        return Ok(path);
    }
    // A source changed while the compiler runs must count as newer, one with a time in the future must not for ever.
    let time = object_file::newest_source(root)?.0.max(SystemTime::now());
    let target_dir = root.join("target/ebpf");
    let object = compile(root, &target_dir, arch)?;
    let bytes = std::fs::read(&object).with_context(|| object.display().to_string())?;
    lint::check(&bytes, &private_paths(root)).with_context(|| format!("the object {}", object.display()))?;
    std::fs::File::open(&object)?.set_modified(time)?;
    let directory = path.parent().context("the object has no directory")?;
    std::fs::create_dir_all(directory)?;
    std::fs::rename(&object, &path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// Checks the object that is there.
pub(crate) fn check(root: &Path, arch: &str) -> Result<()> {
    let path = object_file::path(root, arch);
    let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
    lint::check(&bytes, &private_paths(root)).with_context(|| format!("the object {}", path.display()))?;
    println!("{}: no faults", path.display());
    Ok(())
}

/// Compiles `sensor-ebpf` of the workspace at `root`, strips the result and returns its path in `target_dir`.
pub(crate) fn compile(root: &Path, target_dir: &Path, arch: &str) -> Result<PathBuf> {
    let toolchain = toolchain()?;
    let (linker, linker_version) = toolchain::linker()
        .with_context(|| format!("no bpf-linker {} or newer found: {ADVICE}", toolchain::LINKER_VERSION))?;
    let mut strip = toolchain::stripper().with_context(|| format!("no llvm-strip found: {ADVICE}"))?;
    let core = match toolchain.library {
        Library::Prebuilt => "compiled core library",
        Library::Source => "core library from source",
    };
    eprintln!("{}, Rust {}, {core}; bpf-linker {linker_version}", toolchain.rustc.display(), toolchain.version);
    let mut build = isolated(&toolchain.cargo, &toolchain, root);
    build.arg("build");
    select(&mut build, &toolchain, root, target_dir, arch)?;
    // As a setting of Cargo, not a flag, so that the place of the linker is no part of the names of symbols.
    build.env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", linker);
    shell::run(&mut build)?;
    let built = target_dir.join(TARGET).join("release").join(PACKAGE);
    let object = target_dir.join(format!("{PACKAGE}-{arch}.stripped.o"));
    std::fs::copy(&built, &object).with_context(|| built.display().to_string())?;
    // Debug information alone: .BTF.ext tells the verifier which functions it may look at once instead of at each call, which halves
    // what it looks at.
    shell::run(strip.arg(&object))?;
    line_info::remove(&object)?;
    Ok(object)
}

/// Lints the eBPF programs with the Clippy of the compiler that they are built with, a warning being an error.
pub(crate) fn clippy(root: &Path, arch: &str) -> Result<()> {
    let toolchain = toolchain()?;
    // Asked for through Cargo, it would be the first in PATH, which may be another compiler's.
    let mut command = isolated(&toolchain.clippy(), &toolchain, root);
    command.arg("clippy").env("CARGO", &toolchain.cargo);
    select(&mut command, &toolchain, root, &root.join("target/ebpf"), arch)?;
    shell::run(command.args(["--", "-D", "warnings"]))
}

fn toolchain() -> Result<Toolchain> {
    toolchain::find().with_context(|| format!("no Rust compiler for {TARGET} found: {ADVICE}"))
}

/// Gives a command of Cargo what to work on, and with which flags.
fn select(command: &mut Command, toolchain: &Toolchain, root: &Path, target_dir: &Path, arch: &str) -> Result<()> {
    // The crates must be there before their directories can be named.
    let mut fetch = isolated(&toolchain.cargo, toolchain, root);
    shell::run(fetch.args(["fetch", "--locked", "--quiet", "--target", TARGET]))?;
    command.args(["--locked", "--release", "--package", PACKAGE, "--target", TARGET, "--target-dir"]).arg(target_dir);
    if toolchain.library == Library::Source {
        command.arg("-Zbuild-std=core");
    }
    command.env("CARGO_ENCODED_RUSTFLAGS", flags(root, toolchain, arch)?);
    Ok(())
}

/// A program of the toolchain that lets aya-ebpf use unstable features.
fn isolated(program: &Path, toolchain: &Toolchain, root: &Path) -> Command {
    let mut command = toolchain.command(program, root);
    let bootstrap = match toolchain.library {
        // It alone, since a build script that sees `1` asks for -Zbuild-std.
        Library::Prebuilt => "aya_ebpf",
        Library::Source => "1",
    };
    command.env("RUSTC_BOOTSTRAP", bootstrap);
    command
}

/// The compiler's flags, separated as Cargo wants them.
fn flags(root: &Path, toolchain: &Toolchain, arch: &str) -> Result<OsString> {
    let mut flags: Vec<OsString> = vec![
        // BTF is made from debug information, that of dependencies too.
        "-Cdebuginfo=2".into(),
        "-Clink-arg=--btf".into(),
        format!("--cfg=bpf_target_arch=\"{arch}\"").into(),
    ];
    flags.extend(reproduce::remaps(root, Some(toolchain))?);
    Ok(flags.join(OsStr::new("\u{1f}")))
}

/// Paths of this machine that must not be found in the object.
fn private_paths(root: &Path) -> Vec<PathBuf> {
    vec![root.to_path_buf(), toolchain::cargo_home()]
}

/// Builds the object once more from a copy of the workspace in another directory and compares the bytes.
pub(crate) fn reproduce(root: &Path, arch: &str) -> Result<()> {
    let first = build(root, arch, true)?;
    let copy = Copy::of(root)?;
    let second = compile(copy.root(), &copy.root().join("target/second"), arch)?;
    let [first_bytes, second_bytes] = [std::fs::read(&first)?, std::fs::read(&second)?];
    if let Some(place) = reproduce::difference(&first_bytes, &second_bytes) {
        let kept = root.join("target/ebpf/second.o");
        std::fs::write(&kept, second_bytes)?;
        bail!("{} and {}, built in two directories, differ from byte {place} on", first.display(), kept.display());
    }
    println!("built in two directories, the object has the same {} bytes", first_bytes.len());
    Ok(())
}
