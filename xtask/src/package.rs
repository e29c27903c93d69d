//! Packages: what a host installs, built so that the same sources give the same bytes.
//!
//! The program is linked statically, so a package needs no library of the host's. Everything that goes into a package stands in one
//! list ([`tree`]), from which each form is made: [`deb`], [`rpm`], [`tarball`] and the container's [`image`].

mod deb;
mod image;
mod rpm;
mod tarball;
mod tree;

use crate::vm::PROCESSORS;
use crate::{cross, ebpf, setup, shell};
use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};
use std::process::Command;
use tree::Tree;

/// What to build.
#[derive(Args)]
pub(crate) struct Options {
    /// Processors
    #[arg(long, value_delimiter = ',', default_value = std::env::consts::ARCH, value_parser = ["aarch64", "x86_64"])]
    arch: Vec<String>,
    /// Forms; all if none is named
    #[arg(value_enum)]
    forms: Vec<Form>,
}

impl Options {
    fn takes(&self, form: Form) -> bool {
        self.forms.is_empty() || self.forms.contains(&form)
    }

    fn takes_other_than(&self, form: Form) -> bool {
        Form::value_variants().iter().any(|other| *other != form && self.takes(*other))
    }
}

/// Forms of a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// For Debian, Ubuntu and their relatives
    Deb,
    /// For Fedora, Red Hat, SUSE and their relatives
    Rpm,
    /// To unpack below /
    Tarball,
    /// For containers: an archive that `podman load` and `docker load` take
    Image,
}

/// What all forms have in common.
struct Package<'a> {
    tree: &'a Tree,
    /// The processor as Rust calls it, and as Debian does.
    arch: &'a str,
    debian_arch: &'a str,
    version: &'a str,
    /// Seconds since 1970, which every file and every header has as its time.
    time: u64,
}

const NAME: &str = "sensor";
const SUMMARY: &str = "Host sensor for reverse shells";
const DESCRIPTION: &str = "\
Watches connections and executions in the kernel with eBPF, and reports shells that are executed by a process which has just made \
or accepted a TCP connection. Alerts are documents of the Elastic Common Schema.";

/// Builds packages and prints what they are.
pub(crate) fn package(root: &Path, options: &Options) -> Result<()> {
    for (path, digest) in build(root, options)? {
        println!("{digest}  {}", path.display());
    }
    Ok(())
}

/// The container's image for this host.
pub(crate) fn image(root: &Path) -> Result<PathBuf> {
    let options = Options { arch: vec![std::env::consts::ARCH.to_owned()], forms: vec![Form::Image] };
    let (path, _) = build(root, &options)?.pop().context("no image was built")?;
    Ok(path)
}

/// Builds packages; their paths and SHA-256 sums.
fn build(root: &Path, options: &Options) -> Result<Vec<(PathBuf, String)>> {
    setup::for_building()?;
    let time = time(root)?;
    let mut built = Vec::new();
    for processor in PROCESSORS.iter().filter(|it| options.arch.iter().any(|arch| arch == it.arch)) {
        let (arch, debian_arch) = (processor.arch, processor.debian_arch);
        setup::for_processor(arch, debian_arch)?;
        let program = program(root, arch)?;
        let directory = root.join("target/package");
        std::fs::create_dir_all(&directory)?;
        // An image has no room for a manual.
        let manual = if options.takes_other_than(Form::Image) { Some(manual(root)?) } else { None };
        let tree = Tree::new(root, &program, manual.as_deref())?;
        let version = env!("CARGO_PKG_VERSION");
        let package = Package { tree: &tree, arch, debian_arch, version, time };
        for form in Form::value_variants() {
            if options.takes(*form) {
                let path = match form {
                    Form::Deb => deb::build(&package, root, &directory)?,
                    Form::Rpm => rpm::build(&package, root, &directory)?,
                    Form::Tarball => tarball::build(&package, &directory)?,
                    Form::Image => image::build(&package, &directory)?,
                };
                let content = std::fs::read(&path).with_context(|| path.display().to_string())?;
                built.push((path, hex(&Sha256::digest(content))));
            }
        }
    }
    Ok(built)
}

/// The sensor for a processor, linked statically.
fn program(root: &Path, arch: &str) -> Result<PathBuf> {
    ebpf::build(root, arch, false)?;
    let target = cross::target(arch);
    let directory = root.join("target/package/build");
    let mut command = cross::cargo(root, arch)?;
    command.args(["build", "--release", "--target", &target, "--package", "sensor", "--bin", "sensor", "--target-dir"]);
    command.arg(&directory);
    // Names of files are in the program's messages: those of this host's directories make no difference there.
    let registry = std::env::var_os("CARGO_HOME").map_or_else(home, |home| Ok(home.into()))?;
    let flags = [
        "-Ctarget-feature=+crt-static".to_owned(),
        format!("--remap-path-prefix={}=/sensor", root.display()),
        format!("--remap-path-prefix={}=/cargo", registry.display()),
    ];
    command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    shell::run(&mut command)?;
    let program = directory.join(&target).join("release/sensor");
    ensure!(program.is_file(), "no program {} was built", program.display());
    Ok(program)
}

/// Cargo's directory, where it is not told another one.
fn home() -> Result<PathBuf> {
    Ok(PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(".cargo"))
}

/// The directory with the manual and the completions of shells, made anew.
fn manual(root: &Path) -> Result<PathBuf> {
    let directory = root.join("target/package/manual");
    if directory.exists() {
        std::fs::remove_dir_all(&directory)?;
    }
    ebpf::build(root, std::env::consts::ARCH, false)?;
    let mut command = shell::cargo(root);
    command.args(["run", "--quiet", "--package", "sensor", "--example", "manual"]).arg(&directory);
    shell::run(&mut command)?;
    Ok(directory)
}

/// When the sources were changed last, by SOURCE_DATE_EPOCH (reproducible-builds.org) or by their history.
fn time(root: &Path) -> Result<u64> {
    let text = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text,
        Err(_) => shell::output(Command::new("git").arg("-C").arg(root).args(["log", "-1", "--format=%ct"])).context(
            "sources without a history: set SOURCE_DATE_EPOCH to the time in seconds that the files are to have",
        )?,
    };
    text.trim().parse().with_context(|| format!("`{}` is no time in seconds", text.trim()))
}

/// Hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
