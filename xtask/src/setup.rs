//! Installs what building and testing need and is missing, saying what it does before it does it.
//!
//! What is there is found by its files, so that nothing is asked of a package manager when nothing is missing. On Debian
//! and its relatives packages are installed; where they have no Rust compiler for BPF, rustup adds the sources of the
//! core library to the compiler in use. Elsewhere the command to run is printed.

use crate::apt::{self, say};
use crate::backports;
use crate::cross;
use crate::look::browser;
use crate::shell;
use crate::toolchain::{self, LINKER_VERSION, Version};
use anyhow::{Context, Result, anyhow, bail, ensure};
use std::path::Path;
use std::process::Command;

/// Packages with a Rust compiler for BPF: Debian 12 and 13 have a current one beside their own, later ones need not.
const COMPILERS: [&[&str]; 2] =
    [&["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"], &["rustc", "cargo", "libstd-rust-dev-bpf"]];

/// Packages with the Clippy of those compilers.
const CLIPPIES: [&str; 2] = ["rust-web-clippy", "rust-clippy"];

/// Packages with the sources of their libraries.
const LIBRARIES: [&str; 2] = ["rust-web-src", "rust-src"];

/// LLVM with what `bpf-linker` is linked against. Debian's compilers and rustup's 1.95 write bitcode of this version.
const LLVM: [&str; 6] = ["llvm-22", "llvm-22-dev", "libpolly-22-dev", "zlib1g-dev", "libzstd-dev", "g++"];
const LLVM_PREFIX: &str = "/usr/lib/llvm-22";

/// Programs (and files) that the end-to-end tests use, here and in virtual machines, and the packages they come from.
pub(crate) const USERLAND: [(&str, &str); 25] = [
    ("bash", "bash"),
    ("dash", "dash"),
    ("zsh", "zsh"),
    ("tcsh", "tcsh"),
    ("ksh", "ksh"),
    ("fish", "fish"),
    ("busybox", "busybox-static"),
    ("socat", "socat"),
    ("ncat", "ncat"),
    ("rsyslogd", "rsyslog"),
    ("nc.openbsd", "netcat-openbsd"),
    ("nc.traditional", "netcat-traditional"),
    ("python3", "python3"),
    ("perl", "perl"),
    ("php", "php-cli"),
    ("ruby", "ruby"),
    ("lua5.4", "lua5.4"),
    ("/usr/share/lua/5.4/socket.lua", "lua-socket"),
    ("gawk", "gawk"),
    ("telnet", "inetutils-telnet"),
    ("openssl", "openssl"),
    ("dropbear", "dropbear-bin"),
    ("git", "git"),
    ("script", "bsdutils"),
    ("ip", "iproute2"),
];

/// What to run where no package manager is known. The linker comes compiled, which needs no LLVM.
const BY_HAND: &str =
    "rustup component add rust-src && cargo install cargo-binstall && cargo binstall --no-confirm bpf-linker@0.13.0";

/// Installs what building needs.
pub(crate) fn for_building() -> Result<()> {
    let [compiler, linker, stripper] =
        [toolchain::find().is_some(), toolchain::linker().is_some(), toolchain::stripper().is_some()];
    if compiler && linker && stripper {
        return Ok(());
    }
    if !apt::is_debian() {
        bail!(
            "missing: {}. Run:\n    {BY_HAND}",
            missing(&[(compiler, "a Rust compiler for BPF"), (linker, "bpf-linker"), (stripper, "llvm-strip")])
        );
    }
    if !compiler {
        install_compiler()?;
        let oldest = toolchain::oldest_rust();
        ensure!(toolchain::find().is_some(), "what was installed has no Rust {oldest} or newer for BPF");
    }
    if !linker {
        install_linker()?;
        ensure!(toolchain::linker().is_some(), "what was installed has no bpf-linker {LINKER_VERSION} or newer");
    }
    if toolchain::stripper().is_none() {
        apt::install(&["llvm-22"])?;
    }
    Ok(())
}

/// Installs the Clippy of the compiler that builds the eBPF programs.
pub(crate) fn for_linting() -> Result<()> {
    let toolchain = toolchain::find().context("no Rust compiler for BPF")?;
    if shell::is_program(&toolchain.clippy()) {
        return Ok(());
    }
    let package = of_version(CLIPPIES, toolchain.version);
    let package = package.with_context(|| format!("{} is missing: install it", toolchain.clippy().display()))?;
    apt::install(&[package])
}

/// The first package that can be had in a compiler's version.
fn of_version(packages: [&'static str; 2], version: Version) -> Option<&'static str> {
    let same = |package: &&str| apt::candidate(package).and_then(|it| toolchain::version(&it)) == Some(version);
    packages.into_iter().find(same).filter(|_| apt::is_debian())
}

/// Installs what the end-to-end tests run, as far as it can be had; a test whose program is missing says so itself.
pub(crate) fn for_testing() -> Result<()> {
    let mut packages: Vec<&str> =
        USERLAND.iter().filter(|(name, _)| !is_there(name)).map(|(_, package)| *package).collect();
    if packages.is_empty() {
        return Ok(());
    }
    ensure!(apt::is_debian(), "the tests need programs that are missing here: install {}", packages.join(" "));
    if !apt::can_install(&packages) {
        apt::update()?;
        packages.retain(|package| {
            let known = apt::can_install(&[package]);
            if !known {
                eprintln!("{package} cannot be had here");
            }
            known
        });
    }
    if packages.is_empty() { Ok(()) } else { apt::install(&packages) }
}

fn is_there(name: &str) -> bool {
    let path = Path::new(name);
    if path.is_absolute() { path.is_file() } else { shell::find(name).is_some() }
}

/// Installs a program that machines, containers or packages are made with: from the release's backports where its own package has no place
/// beside one that is there from them, as QEMU's programs have beside a newer qemu-utils.
pub(crate) fn for_program(program: &str, package: &str) -> Result<()> {
    if shell::find(program).is_some() {
        return Ok(());
    }
    ensure!(apt::is_debian(), "{program} is missing here: install it");
    let Err(refused) = apt::install(&[package]) else { return Ok(()) };
    backports::install(package).map_err(|error| anyhow!("{refused:#}; nor from backports: {error:#}"))
}

/// Installs what opens the sensor's page, and a font to draw it with.
pub(crate) fn for_browsing() -> Result<()> {
    let font = Path::new("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf").is_file();
    if browser::program().is_some() && (font || !apt::is_debian()) {
        return Ok(());
    }
    ensure!(apt::is_debian(), "Chromium is missing here: install it");
    apt::install(&["chromium-headless-shell", "fonts-dejavu-core"])
}

/// Installs what builds programs for another processor, as Rust and as Debian call it.
pub(crate) fn for_processor(arch: &str, debian_arch: &str) -> Result<()> {
    if arch == std::env::consts::ARCH {
        return Ok(());
    }
    if cross::linker(arch).is_none() {
        ensure!(apt::is_debian(), "install {arch}-linux-gnu-gcc with a C library for it that can be linked statically");
        let compiler = format!("gcc-{}-linux-gnu", arch.replace('_', "-"));
        apt::install(&[&compiler, &format!("libc6-dev-{debian_arch}-cross")])?;
        ensure!(cross::linker(arch).is_some(), "what was installed has no {arch}-linux-gnu-gcc with its C library");
    }
    if cross::compiler(arch).is_some() {
        return Ok(());
    }
    let sources = toolchain::find().and_then(|toolchain| of_version(LIBRARIES, toolchain.version));
    let target = cross::target(arch);
    if let Some(sources) = sources {
        apt::install(&[sources])?;
        ensure!(
            cross::compiler(arch).is_some(),
            "{sources} was installed, and still no Rust compiler for {target} is there"
        );
        return Ok(());
    }
    let mut rustup = Command::new("rustup");
    rustup.args(["target", "add", &target]);
    let advice = shell::describe(&rustup);
    ensure!(
        shell::find("rustup").is_some(),
        "no Rust compiler for {target} here. Install rustup, then run:\n    {advice}"
    );
    say(&rustup);
    shell::run(&mut rustup)
}

/// Installs what compiles libFuzzer.
pub(crate) fn for_fuzzing() -> Result<()> {
    if std::env::var_os("CXX").is_some() || shell::find("c++").is_some() {
        return Ok(());
    }
    ensure!(apt::is_debian(), "fuzzing needs a C++ compiler: install g++ or clang");
    apt::install(&["g++"])
}

fn missing(tools: &[(bool, &str)]) -> String {
    tools.iter().filter(|(there, _)| !there).map(|(_, tool)| *tool).collect::<Vec<_>>().join(", ")
}

fn install_compiler() -> Result<()> {
    if let Some(packages) = compiler_packages() {
        return apt::install(packages);
    }
    apt::update()?;
    if let Some(packages) = compiler_packages() {
        return apt::install(packages);
    }
    let mut rustup = Command::new("rustup");
    rustup.args(["component", "add", "rust-src"]);
    let oldest = toolchain::oldest_rust();
    ensure!(
        shell::find("rustup").is_some(),
        "no package has a Rust {oldest} or newer for BPF here. Install rustup, then run:\n    {}",
        shell::describe(&rustup)
    );
    say(&rustup);
    shell::run(&mut rustup)
}

/// Packages that can be installed and whose compiler is new enough.
fn compiler_packages() -> Option<&'static [&'static str]> {
    COMPILERS.into_iter().find(|packages| {
        let version = packages.first().and_then(|compiler| toolchain::version(&apt::candidate(compiler)?));
        version.is_some_and(|version| version >= toolchain::oldest_rust()) && apt::can_install(packages)
    })
}

fn install_linker() -> Result<()> {
    if !apt::can_install(&LLVM) {
        apt::update()?;
        ensure!(apt::can_install(&LLVM), "LLVM 22, to build bpf-linker with, cannot be had here. Run:\n    {BY_HAND}");
    }
    apt::install(&LLVM)?;
    let mut install = shell::cargo(Path::new("/"));
    install.args(["install", "bpf-linker", "--version", LINKER_VERSION, "--locked"]);
    install.args(["--no-default-features", "--features", "llvm-22"]);
    // The linker's build script reads the first, that of its LLVM bindings the second.
    install.env_remove("CARGO_TARGET_DIR").env("LLVM_PREFIX", LLVM_PREFIX).env("LLVM_SYS_221_PREFIX", LLVM_PREFIX);
    say(&install);
    shell::run(&mut install).context("bpf-linker")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_listed() {
        assert_eq!(missing(&[(true, "a"), (false, "b"), (false, "c")]), "b, c");
    }

    #[test]
    fn the_compilers_package_comes_first() {
        for packages in COMPILERS {
            assert!(packages.first().unwrap().starts_with("rustc"));
        }
    }
}
