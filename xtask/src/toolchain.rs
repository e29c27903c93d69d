//! Finds what turns `sensor-ebpf` into an object: a Rust compiler with a core library for the BPF target, `bpf-linker`,
//! and a program that strips debug information. Finds compilers for other processors in the same way ([`crate::cross`]).
//!
//! A compiler counts by the files it has, not by its name: either a compiled library for the target (for
//! `bpfel-unknown-none` Debian's `libstd-rust-*-dev-bpf`), or the sources of one (rustup's component `rust-src`), which is
//! then built along. A nightly compiler without either is of no use.

use crate::shell;
use anyhow::{Context, Result};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the object is compiled for: BPF with little-endian words, as on every processor supported.
pub(crate) const TARGET: &str = "bpfel-unknown-none";
/// Oldest `bpf-linker` used, and the one that `setup` installs.
pub(crate) const LINKER_VERSION: &str = "0.13.0";

/// Where a target's library comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Library {
    /// It is there, compiled.
    Prebuilt,
    /// Its sources are there.
    Source,
}

/// A compiler with its Cargo.
#[derive(Clone, Debug)]
pub(crate) struct Toolchain {
    pub(crate) rustc: PathBuf,
    pub(crate) cargo: PathBuf,
    pub(crate) sysroot: PathBuf,
    pub(crate) library: Library,
    pub(crate) version: Version,
}

impl Toolchain {
    /// Where its Clippy is, if it has one.
    pub(crate) fn clippy(&self) -> PathBuf {
        self.cargo.with_file_name("cargo-clippy")
    }

    /// A program of the toolchain without what the caller's environment says of compilers, flags and profiles.
    pub(crate) fn command(&self, program: &Path, root: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(root);
        for (name, _) in std::env::vars_os() {
            if changes_the_build(&name) {
                command.env_remove(name);
            }
        }
        // An empty value also overrules a wrapper from a configuration file.
        command.env("RUSTC", &self.rustc).env("RUSTC_WRAPPER", "").env("RUSTC_WORKSPACE_WRAPPER", "");
        command
    }
}

/// Whether a variable of the environment changes what Cargo builds. Its home and its network settings do not.
fn changes_the_build(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix.as_bytes()));
    let kept = ["CARGO_HOME", "CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTR", "CARGO_SOURCE_", "CARGO_TERM_"];
    (starts(&["CARGO"]) && !starts(&kept))
        || starts(&["RUSTC", "RUSTFLAGS", "RUSTUP_TOOLCHAIN", "AYA_", "LD_LIBRARY_PATH", "SENSOR_BPF_OBJECT"])
}

/// Major, minor and patch level; what may follow is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub(crate) u32, pub(crate) u32, pub(crate) u32);

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(major, minor, patch) = self;
        write!(f, "{major}.{minor}.{patch}")
    }
}

/// The first version number in a text, such as `1.96.0` in `rustc 1.96.0 (ac68faa20 2026-05-25)`; a missing patch level
/// is 0.
pub(crate) fn version(text: &str) -> Option<Version> {
    text.split_whitespace().find_map(|word| {
        let end = word.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(word.len());
        let mut numbers = word.get(..end)?.split('.').map(str::parse);
        let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else { return None };
        Some(Version(major, minor, numbers.next().and_then(Result::ok).unwrap_or(0)))
    })
}

/// Oldest compiler that the workspace allows: `rust-version` in its `Cargo.toml`.
pub(crate) fn oldest_rust() -> Version {
    version(env!("CARGO_PKG_RUST_VERSION")).unwrap_or(Version(0, 0, 0))
}

/// A compiler for BPF.
pub(crate) fn find() -> Option<Toolchain> {
    find_for(TARGET, "core")
}

/// A compiler for a target that has this library, `core` or `std`, for it; one with a compiled library is preferred.
pub(crate) fn find_for(target: &str, library: &str) -> Option<Toolchain> {
    let mut found: Option<Toolchain> = None;
    let path = std::env::var_os("PATH").unwrap_or_default();
    for directory in compiler_directories(&path, &rustup_home()) {
        // A compiler that cannot be run is passed over like one that is not there.
        match probe(&directory, target, library) {
            Ok(Some(toolchain)) if toolchain.library == Library::Prebuilt => return Some(toolchain),
            Ok(Some(toolchain)) if found.is_none() => found = Some(toolchain),
            _ => {}
        }
    }
    found
}

/// Directories with a compiler and a Cargo: those of `PATH` and `/usr/bin`, then every toolchain of rustup. Directories of
/// rustup itself hold proxies only, which answer for one of the latter.
fn compiler_directories(path: &OsStr, rustup_home: &Path) -> Vec<PathBuf> {
    let mut directories: Vec<PathBuf> = std::env::split_paths(path).collect();
    directories.push("/usr/bin".into());
    directories.retain(|directory| !directory.join("rustup").exists());
    let mut toolchains: Vec<PathBuf> = std::fs::read_dir(rustup_home.join("toolchains"))
        .map(|entries| entries.flatten().map(|entry| entry.path().join("bin")).collect())
        .unwrap_or_default();
    toolchains.sort();
    directories.extend(toolchains);
    let mut seen = std::collections::HashSet::new();
    directories.retain(|directory| {
        let tools = ["rustc", "cargo"].map(|tool| shell::is_program(&directory.join(tool)));
        tools == [true, true] && seen.insert(directory.clone())
    });
    directories
}

fn probe(directory: &Path, target: &str, library: &str) -> Result<Option<Toolchain>> {
    let rustc = directory.join("rustc");
    let text = shell::output(Command::new(&rustc).args(["--version"]).env_remove("LD_LIBRARY_PATH"))?;
    let version = version(&text).with_context(|| format!("{} --version: {text}", rustc.display()))?;
    if version < oldest_rust() {
        return Ok(None);
    }
    let mut query = Command::new(&rustc);
    query.args(["--print", "sysroot", "--print", "target-libdir", "--target", target]).env_remove("LD_LIBRARY_PATH");
    let text = shell::output(&mut query)?;
    let mut lines = text.lines();
    let (Some(sysroot), Some(libdir)) = (lines.next(), lines.next()) else { return Ok(None) };
    let library = library_of(Path::new(sysroot), Path::new(libdir), library);
    let cargo = directory.join("cargo");
    Ok(library.map(|library| Toolchain { rustc, cargo, sysroot: sysroot.into(), library, version }))
}

fn library_of(sysroot: &Path, libdir: &Path, library: &str) -> Option<Library> {
    let compiled = std::fs::read_dir(libdir).is_ok_and(|entries| {
        entries.flatten().any(|entry| {
            let name = entry.file_name();
            name.as_encoded_bytes().starts_with(format!("lib{library}-").as_bytes())
                && name.as_encoded_bytes().ends_with(b".rlib")
        })
    });
    let source = sysroot.join("lib/rustlib/src/rust/library").join(library).join("Cargo.toml");
    if compiled { Some(Library::Prebuilt) } else { source.is_file().then_some(Library::Source) }
}

/// A `bpf-linker` that is not too old, with its version.
pub(crate) fn linker() -> Option<(PathBuf, Version)> {
    let installed = cargo_home().join("bin/bpf-linker");
    let candidates = [shell::find("bpf-linker"), shell::is_program(&installed).then_some(installed)];
    candidates.into_iter().flatten().find_map(|path| {
        let found = version(&shell::output(Command::new(&path).arg("--version")).ok()?)?;
        (found >= version(LINKER_VERSION)?).then_some((path, found))
    })
}

/// A command that removes the debug information of the object named after it, keeping BTF: LLVM's, or the copy that comes
/// with compilers from rustup. That of GNU does not know BPF.
pub(crate) fn stripper() -> Option<Command> {
    let llvm = ["llvm-strip-22", "llvm-strip", "llvm-strip-23", "llvm-strip-21"];
    if let Some(path) = llvm.into_iter().find_map(shell::find) {
        let mut command = Command::new(path);
        command.arg("-g");
        return Some(command);
    }
    let sysroot = shell::output(Command::new("rustc").args(["--print", "sysroot"])).ok()?;
    let libraries = Path::new(sysroot.trim_end()).join("lib");
    let targets = std::fs::read_dir(libraries.join("rustlib")).ok()?;
    let mut copies = targets.flatten().map(|target| target.path().join("bin/rust-objcopy"));
    let mut command = Command::new(copies.find(|path| shell::is_program(path))?);
    // It does not find the LLVM beside it on its own.
    command.arg("--strip-debug").env("LD_LIBRARY_PATH", libraries);
    Some(command)
}

/// Where Cargo keeps downloaded crates and installed programs.
pub(crate) fn cargo_home() -> PathBuf {
    home("CARGO_HOME", ".cargo")
}

fn rustup_home() -> PathBuf {
    home("RUSTUP_HOME", ".rustup")
}

fn home(variable: &str, directory: &str) -> PathBuf {
    let default = || std::env::home_dir().unwrap_or_default().join(directory);
    std::env::var_os(variable).filter(|path| !path.is_empty()).map_or_else(default, PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{create_dir_all, write};
    use std::os::unix::fs::PermissionsExt;

    fn program(path: &Path) {
        create_dir_all(path.parent().unwrap()).unwrap();
        write(path, "").unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn versions_are_read_from_what_programs_print() {
        assert_eq!(version("rustc 1.96.0 (ac68faa20 2026-05-25)"), Some(Version(1, 96, 0)));
        assert_eq!(version("rustc 1.97.0-nightly (f8704be04 2026-04-14)"), Some(Version(1, 97, 0)));
        assert_eq!(version("bpf-linker 0.13.0"), Some(Version(0, 13, 0)));
        assert_eq!(version("1.95"), Some(Version(1, 95, 0)));
        assert_eq!(version("1.96.0+dfsg1-1~deb12u2"), Some(Version(1, 96, 0)));
        assert_eq!(version("no version 7"), None);
        assert!(version("1.100").unwrap() > version("1.95.1").unwrap());
        assert!(oldest_rust() >= Version(1, 95, 0));
    }

    #[test]
    fn the_callers_build_settings_are_left_out() {
        for name in ["CARGO_TARGET_DIR", "CARGO_PROFILE_RELEASE_LTO", "RUSTFLAGS", "RUSTUP_TOOLCHAIN", "CARGO", "RUSTC"]
        {
            assert!(changes_the_build(OsStr::new(name)), "{name}");
        }
        for name in ["CARGO_HOME", "CARGO_NET_OFFLINE", "CARGO_HTTP_PROXY", "HOME", "PATH", "RUSTUP_HOME", "http_proxy"]
        {
            assert!(!changes_the_build(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn a_compiled_library_is_preferred_to_its_sources() {
        let root = tempfile::tempdir().unwrap();
        let libdir = root.path().join("lib/rustlib").join(TARGET).join("lib");
        assert_eq!(library_of(root.path(), &libdir, "core"), None);
        create_dir_all(&libdir).unwrap();
        write(libdir.join("libcore-8056e5e5b270ef4d.rmeta"), "").unwrap();
        assert_eq!(library_of(root.path(), &libdir, "core"), None);
        let source = root.path().join("lib/rustlib/src/rust/library/core");
        create_dir_all(&source).unwrap();
        write(source.join("Cargo.toml"), "").unwrap();
        assert_eq!(library_of(root.path(), &libdir, "core"), Some(Library::Source));
        write(libdir.join("libcore-8056e5e5b270ef4d.rlib"), "").unwrap();
        assert_eq!(library_of(root.path(), &libdir, "core"), Some(Library::Prebuilt));
        assert_eq!(library_of(root.path(), &libdir, "std"), None);
    }

    #[test]
    fn proxies_of_rustup_are_no_compilers() {
        let root = tempfile::tempdir().unwrap();
        let (proxies, distribution) = (root.path().join("cargo/bin"), root.path().join("usr/bin"));
        for tool in ["rustup", "rustc", "cargo"] {
            program(&proxies.join(tool));
        }
        program(&distribution.join("rustc"));
        program(&distribution.join("cargo"));
        let home = root.path().join("rustup");
        for toolchain in ["stable", "nightly"] {
            program(&home.join("toolchains").join(toolchain).join("bin/rustc"));
            program(&home.join("toolchains").join(toolchain).join("bin/cargo"));
        }
        program(&home.join("toolchains/broken/bin/rustc"));
        let path = std::env::join_paths([&proxies, &distribution, &distribution]).unwrap();
        let mut found = compiler_directories(&path, &home);
        found.retain(|directory| directory.starts_with(root.path()));
        let toolchains = ["nightly", "stable"].map(|name| home.join("toolchains").join(name).join("bin"));
        assert_eq!(found, [&[distribution][..], &toolchains].concat());
    }

    #[test]
    fn without_rustup_there_are_no_toolchains_of_it() {
        let root = tempfile::tempdir().unwrap();
        let found = compiler_directories(OsStr::new(""), root.path());
        assert!(found.iter().all(|directory| directory == Path::new("/usr/bin")));
    }
}
