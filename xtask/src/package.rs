//! Packages: what a host installs, built so that the same sources give the same bytes.
//!
//! The program is linked statically, so a package needs no library of the host's. Everything that goes into a package stands in one
//! list ([`tree`]), from which each form is made: [`deb`], [`rpm`], [`tarball`] and the container's [`image`].

pub(crate) mod check;
mod deb;
mod image;
mod notices;
mod rpm;
mod tarball;
mod tree;

use crate::reproduce::{self, Copy};
use crate::toolchain::Library;
use crate::vm::{PROCESSORS, Processor};
use crate::{cross, ebpf, setup, shell};
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use sha2::{Digest as _, Sha256};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use tree::Tree;

/// What to build.
#[derive(Args)]
pub(crate) struct Options {
    /// Processors
    #[arg(long, value_delimiter = ',', default_value = std::env::consts::ARCH, value_parser = ["aarch64", "x86_64"])]
    arch: Vec<String>,
    /// Also build everything in another directory and compare the bytes
    #[arg(long)]
    reproducible: bool,
    /// Forms; all if none is named
    #[arg(value_enum)]
    forms: Vec<Form>,
}

/// A package that was built.
struct Built {
    form: Form,
    path: PathBuf,
    /// SHA-256 of its bytes, in hexadecimal digits.
    digest: String,
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
    setup::for_building()?;
    let time = time(root)?;
    let built = build(root, options, time)?;
    for Built { path, digest, .. } in &built {
        println!("{digest}  {}", path.display());
    }
    if options.reproducible { reproduce(root, options, time, &built) } else { Ok(()) }
}

/// The container's image for this host.
pub(crate) fn image(root: &Path) -> Result<PathBuf> {
    setup::for_building()?;
    let options =
        Options { arch: vec![std::env::consts::ARCH.to_owned()], reproducible: false, forms: vec![Form::Image] };
    let image = build(root, &options, time(root)?)?.pop().context("no image was built")?;
    Ok(image.path)
}

fn build(root: &Path, options: &Options, time: u64) -> Result<Vec<Built>> {
    let mut built = Vec::new();
    for processor in PROCESSORS.iter().filter(|it| options.arch.iter().any(|arch| arch == it.arch)) {
        let tree = tree(root, options, processor)?;
        built.extend(pack(root, options, &package_of(&tree, processor, time), &root.join("target/package"))?);
    }
    Ok(built)
}

/// Compiles what packages hold.
fn tree(root: &Path, options: &Options, processor: &Processor) -> Result<Tree> {
    setup::for_processor(processor.arch, processor.debian_arch)?;
    let program = program(root, processor.arch)?;
    // An image has no room for a manual.
    let manual = if options.takes_other_than(Form::Image) { Some(manual(root)?) } else { None };
    let notices = notices::file_for(root, &cross::target(processor.arch))?;
    Tree::new(root, &program, notices, manual.as_deref())
}

fn package_of<'a>(tree: &'a Tree, processor: &Processor, time: u64) -> Package<'a> {
    let Processor { arch, debian_arch, .. } = *processor;
    Package { tree, arch, debian_arch, version: env!("CARGO_PKG_VERSION"), time }
}

/// Puts packages together, in a directory.
fn pack(root: &Path, options: &Options, package: &Package<'_>, directory: &Path) -> Result<Vec<Built>> {
    std::fs::create_dir_all(directory)?;
    let wanted = Form::value_variants().iter().filter(|form| options.takes(**form));
    let one = |form: &Form| {
        let path = match form {
            Form::Deb => deb::build(package, root, directory)?,
            Form::Rpm => rpm::build(package, root, directory)?,
            Form::Tarball => tarball::build(package, directory)?,
            Form::Image => image::build(package, directory)?,
        };
        let content = std::fs::read(&path).with_context(|| path.display().to_string())?;
        Ok(Built { form: *form, path, digest: hex(&Sha256::digest(content)) })
    };
    wanted.map(one).collect()
}

/// Builds them once more, from a copy of the workspace in another directory, and compares the bytes.
fn reproduce(root: &Path, options: &Options, time: u64, built: &[Built]) -> Result<()> {
    let copy = Copy::of(root)?;
    let again = build(copy.root(), options, time)?;
    ensure!(again.len() == built.len(), "{} packages, then {}", built.len(), again.len());
    let kept = root.join("target/package/second");
    let mut different = Vec::new();
    for (one, other) in built.iter().zip(&again).filter(|(one, other)| one.digest != other.digest) {
        std::fs::create_dir_all(&kept)?;
        let name = other.path.file_name().context("no name")?;
        std::fs::copy(&other.path, kept.join(name))?;
        different.push(one.path.display().to_string());
    }
    if !different.is_empty() {
        bail!("built in another directory ({}), these differ: {}", kept.display(), different.join(", "));
    }
    println!("built in another directory, all have the same bytes");
    Ok(())
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
    let toolchain = cross::compiler(arch).filter(|toolchain| toolchain.library == Library::Source);
    let mut flags = vec![OsString::from("-Ctarget-feature=+crt-static")];
    flags.extend(reproduce::remaps(root, toolchain.as_ref())?);
    command.env("CARGO_ENCODED_RUSTFLAGS", flags.join(OsStr::new("\u{1f}")));
    shell::run(&mut command)?;
    let program = directory.join(&target).join("release/sensor");
    ensure!(program.is_file(), "no program {} was built", program.display());
    Ok(program)
}

/// The directory with the manual and the completions of shells, made anew.
fn manual(root: &Path) -> Result<PathBuf> {
    let directory = root.join("target/package/manual");
    if directory.exists() {
        std::fs::remove_dir_all(&directory)?;
    }
    ebpf::build(root, std::env::consts::ARCH, false)?;
    let mut command = shell::cargo(root);
    // Below the sources in any case: a copy of them has its own.
    command.args(["run", "--quiet", "--package", "sensor", "--example", "manual"]).arg(&directory);
    shell::run(command.env_remove("CARGO_TARGET_DIR"))?;
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

/// A text in lines of at most 79 characters, each with this before it.
fn wrapped(text: &str, before: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_ascii_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + word.len() < 79 => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(format!("{before}{word}")),
        }
    }
    lines.join("\n")
}

/// Hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
