//! Looks at the packages of this version: what is in them, that packed again the bytes are the same, and, with the tools that hosts
//! have for it ([`tools`]), what they ask of a host and do there.

mod tools;

use super::tree::{File, Tree};
use super::{Built, Form, Options, Package, hex, pack, package_of, time, tree};
use crate::tally::{self, Tally};
use crate::vm::PROCESSORS;
use anyhow::{Context, Result, ensure};
use clap::ValueEnum as _;
use flate2::read::GzDecoder;
use object::elf::{EM_AARCH64, EM_X86_64, PT_INTERP};
use object::read::elf::{ElfFile64, FileHeader as _, ProgramHeader as _};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// What is looked at.
struct Subject<'a> {
    root: &'a Path,
    options: &'a Options,
    package: &'a Package<'a>,
    built: &'a [Built],
    /// For files that tools want.
    directory: &'a Path,
}

/// Passes, or says why it is skipped.
type Check = fn(&Subject<'_>) -> Result<Option<String>>;

const CHECKS: [(&str, Check); 9] = [
    ("packed again in another directory, the bytes are the same", packed_again),
    ("the program is one for the processor, and needs no library", program),
    ("everything that belongs to it is there", complete),
    ("the .deb holds that, keeps the configuration, and asks for systemd", tools::deb),
    ("lintian finds no fault with the .deb", tools::lintian),
    ("the .rpm holds that, keeps the configuration, and asks for systemd", tools::rpm),
    ("the archive holds that", tarball),
    ("pages of the manual have no faults", tools::manual),
    ("shells take the completions", tools::completions),
];

/// Commands of the sensor, each of which has a page of the manual.
const COMMANDS: [&str; 9] = ["run", "replay", "explain", "show", "check", "doctor", "selftest", "alive", "version"];
const CONFIG: &str = "etc/sensor/sensor.toml";

/// Builds the packages for this host's processor, or for all, and looks at them.
pub(crate) fn run(root: &Path, all: bool) -> Result<Tally> {
    let time = time(root)?;
    let mut sum = Tally::default();
    for processor in PROCESSORS.iter().filter(|it| all || it.arch == std::env::consts::ARCH) {
        let options = Options { arch: vec![processor.arch.to_owned()], reproducible: false, forms: Vec::new() };
        let tree = tree(root, &options, processor)?;
        let package = package_of(&tree, processor, time);
        let built = pack(root, &options, &package, &root.join("target/package"))?;
        let directory = tempfile::Builder::new().prefix("sensor-packages-").tempdir()?;
        let subject =
            Subject { root, options: &options, package: &package, built: &built, directory: directory.path() };
        for (name, check) in CHECKS {
            sum += told(&format!("packages: {}: {name}", processor.arch), check(&subject));
        }
    }
    Ok(sum)
}

fn told(name: &str, result: Result<Option<String>>) -> Tally {
    match result.transpose() {
        Some(Ok(reason)) => tally::skipped(name, &reason),
        Some(Err(error)) => tally::told(name, Err(error)),
        None => tally::told(name, Ok(())),
    }
}

impl Subject<'_> {
    fn path(&self, form: Form) -> Result<&Path> {
        let built = self.built.iter().find(|built| built.form == form);
        Ok(&built.with_context(|| format!("no {form:?} was built"))?.path)
    }

    fn file(&self, path: &str) -> Result<&File> {
        self.package.tree.0.iter().find(|file| file.path == path).with_context(|| format!("no {path}"))
    }

    /// Writes a file of the package down.
    fn written(&self, path: &str, content: &[u8]) -> Result<PathBuf> {
        let place = self.directory.join(path.replace('/', "-"));
        std::fs::write(&place, content)?;
        Ok(place)
    }
}

fn packed_again(subject: &Subject<'_>) -> Result<Option<String>> {
    let directory = subject.directory.join("once more/here");
    let again = pack(subject.root, subject.options, subject.package, &directory)?;
    ensure!(again.len() == Form::value_variants().len(), "{} forms", again.len());
    for (one, other) in subject.built.iter().zip(&again) {
        ensure!(one.digest == other.digest, "{} is different each time", one.path.display());
    }
    Ok(None)
}

fn program(subject: &Subject<'_>) -> Result<Option<String>> {
    let content = subject.file(crate::install::PROGRAM)?.content.as_slice();
    let elf = ElfFile64::<object::Endianness>::parse(content)?;
    let expected = if subject.package.arch == "aarch64" { EM_AARCH64 } else { EM_X86_64 };
    let machine = elf.elf_header().e_machine(elf.endian());
    ensure!(machine == expected, "it is for the machine {machine}");
    let wants = elf.elf_program_headers().iter().any(|header| header.p_type(elf.endian()) == PT_INTERP);
    ensure!(!wants, "it asks for the system's loader of libraries");
    let home = std::env::home_dir().unwrap_or_default();
    for place in [subject.root, &home].into_iter().filter(|place| place.components().count() > 1) {
        let name = place.as_os_str().as_encoded_bytes();
        let held = content.windows(name.len() + 1).any(|window| window.starts_with(name) && window.ends_with(b"/"));
        ensure!(!held, "it contains the path {} of this machine", place.display());
    }
    Ok(None)
}

fn complete(subject: &Subject<'_>) -> Result<Option<String>> {
    let pages = COMMANDS.map(|command| format!("usr/share/man/man1/sensor-{command}.1.gz"));
    let others = [
        CONFIG,
        "usr/lib/systemd/system/sensor.service",
        "usr/lib/sysusers.d/sensor.conf",
        "usr/share/man/man1/sensor.1.gz",
        "usr/share/licenses/sensor/LICENSE-APACHE",
        "usr/share/licenses/sensor/LICENSE-GPL2",
        "usr/share/licenses/sensor/LICENSE-MIT",
        "usr/share/licenses/sensor/THIRD-PARTY",
    ];
    for path in pages.iter().map(String::as_str).chain(others) {
        ensure!(!subject.file(path)?.content.is_empty(), "{path} is empty");
    }
    ensure!(subject.file(crate::install::PROGRAM)?.mode == 0o755, "the program cannot be executed");
    let kept: Vec<_> = subject.package.tree.0.iter().filter(|file| file.config).map(|file| &*file.path).collect();
    ensure!(kept == [CONFIG], "the administrator's are {kept:?}");
    Ok(None)
}

/// Path, mode and digest of each file of a list.
fn listed(tree: &Tree) -> BTreeSet<(String, u32, String)> {
    tree.0.iter().map(|file| (file.path.clone(), file.mode, hex(&Sha256::digest(&file.content)))).collect()
}

/// The same of an archive, whose entries belong to root and are as old as the sources.
fn archived(content: impl std::io::Read, time: u64) -> Result<BTreeSet<(String, u32, String)>> {
    let mut files = BTreeSet::new();
    for entry in tar::Archive::new(content).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.display().to_string().trim_start_matches("./").to_owned();
        let header = entry.header();
        let (uid, gid, at, mode) = (header.uid()?, header.gid()?, header.mtime()?, header.mode()? & 0o7777);
        ensure!((uid, gid, at) == (0, 0, time), "{path} belongs to {uid}:{gid} and is of {at}");
        if header.entry_type().is_dir() {
            ensure!(mode == 0o755, "the directory {path} has the mode {mode:o}");
            continue;
        }
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        files.insert((path, mode, hex(&Sha256::digest(&content))));
    }
    Ok(files)
}

fn same(found: &BTreeSet<(String, u32, String)>, expected: &BTreeSet<(String, u32, String)>) -> Result<()> {
    let differences: Vec<_> =
        found.symmetric_difference(expected).map(|(path, mode, _)| format!("{path} {mode:o}")).collect();
    ensure!(differences.is_empty(), "{}", differences.join("\n"));
    Ok(())
}

fn tarball(subject: &Subject<'_>) -> Result<Option<String>> {
    let file = std::fs::File::open(subject.path(Form::Tarball)?)?;
    same(&archived(GzDecoder::new(file), subject.package.time)?, &listed(subject.package.tree))?;
    Ok(None)
}
