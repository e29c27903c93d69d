//! Debian's archive, asked for kernels without touching the system's own package manager: an apt with its own sources,
//! state and cache below `target/`. It needs no rights.

use super::series::{OLDEST, PackageName, package_name};
use crate::apt;
use crate::mirror::Mirrors;
use crate::shell;
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Suites that together have every series: those on the security mirror, and those on the main one.
const SECURITY_SUITES: [&str; 2] = ["bullseye-security", "bookworm-security"];
const SUITES: [&str; 3] = ["trixie", "trixie-backports", "sid"];

/// A package with a kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Package {
    /// Its name.
    pub(crate) name: String,
    /// Its version, such as `6.1.192-2`.
    pub(crate) version: String,
}

/// The private apt.
pub(crate) struct Archive {
    configuration: PathBuf,
    debian_arch: &'static str,
}

impl Archive {
    /// Sets it up in a directory of its own, for one processor, as Debian calls it.
    pub(crate) fn open(directory: &Path, debian_arch: &'static str) -> Result<Self> {
        let directory = directory.join(debian_arch);
        for part in ["state/lists/partial", "cache/archives/partial"] {
            std::fs::create_dir_all(directory.join(part)).with_context(|| directory.display().to_string())?;
        }
        // No package is installed as far as this apt is concerned.
        std::fs::write(directory.join("state/status"), "")?;
        std::fs::write(directory.join("sources.list"), sources(&Mirrors::of_system()?))?;
        let configuration = directory.join("apt.conf");
        std::fs::write(&configuration, settings(&directory, debian_arch)?)?;
        Ok(Self { configuration, debian_arch })
    }

    /// Reads the lists of packages anew. A suite that cannot be read is only named: others may have what is wanted.
    pub(crate) fn update(&self) -> Result<()> {
        let mut command = self.apt("apt-get");
        command.args(["update", "--quiet=2"]);
        apt::say(&command);
        if let Err(error) = shell::run(&mut command) {
            println!("{error}; going on with what could be read");
        }
        Ok(())
    }

    /// The kernels from the oldest supported series on, by series, the newest first.
    pub(crate) fn kernels(&self) -> Result<BTreeMap<String, Vec<Package>>> {
        let mut names = String::new();
        for prefix in ["linux-image-", "linux-binary-"] {
            names += &shell::output(self.apt("apt-cache").args(["pkgnames", prefix]))?;
        }
        let names = kernel_names(names.lines(), self.debian_arch);
        let mut kernels = BTreeMap::new();
        if names.is_empty() {
            return Ok(kernels);
        }
        let records = shell::output(self.apt("apt-cache").arg("show").args(names.keys()))?;
        for package in packages(&records) {
            let Some(name) = names.get(&package.name) else { continue };
            let of_series: &mut Vec<Package> = kernels.entry(name.series.to_string()).or_default();
            let mut place = 0;
            while let Some(other) = of_series.get(place) {
                if is_newer(&package.version, &other.version)? {
                    break;
                }
                place += 1;
            }
            of_series.insert(place, package);
        }
        Ok(kernels)
    }

    /// Downloads packages into a directory. Those that can be had are there also if others are gone from the mirror, which
    /// is an error.
    pub(crate) fn download(&self, packages: &[&Package], directory: &Path) -> Result<()> {
        let mut command = self.apt("apt-get");
        command.args(["download", "--quiet=2"]).current_dir(directory);
        command.args(packages.iter().map(|package| format!("{}={}", package.name, package.version)));
        apt::say(&command);
        shell::run(&mut command)
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("--config-file").arg(&self.configuration).env("LC_ALL", "C");
        command
    }
}

/// Name of the file that `apt-get download` makes; the colon of an epoch is written as `%3a`.
pub(crate) fn file_name(package: &Package, debian_arch: &str) -> String {
    format!("{}_{}_{debian_arch}.deb", package.name, package.version.replace(':', "%3a"))
}

fn sources(mirrors: &Mirrors) -> String {
    let security = SECURITY_SUITES.map(|suite| mirrors.security(suite));
    security.into_iter().chain(SUITES.map(|suite| mirrors.main(suite))).map(|source| source + "\n").collect()
}

/// The configuration, read after the system's own, from which proxies and the like are taken.
fn settings(directory: &Path, debian_arch: &str) -> Result<String> {
    let directory = directory.to_str().context("the directory's name is no text")?;
    ensure!(!directory.contains('"'), "apt cannot be told of a directory with a quotation mark: {directory}");
    Ok(format!(
        r#"Dir::State "{directory}/state";
Dir::State::status "{directory}/state/status";
Dir::Cache "{directory}/cache";
Dir::Etc::sourcelist "{directory}/sources.list";
Dir::Etc::sourceparts "/dev/null";
#clear Dir::Etc::preferencesparts;
Dir::Etc::preferences "/dev/null";
APT::Architecture "{debian_arch}";
#clear APT::Architectures;
APT::Architectures "{debian_arch}";
APT::Sandbox::User "root";
Acquire::Languages "none";
#clear Acquire::IndexTargets::deb::DEP-11;
#clear Acquire::IndexTargets::deb::DEP-11-icons;
#clear Acquire::IndexTargets::deb::Contents-deb;
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"#
    ))
}

/// The packages that hold a supported kernel themselves.
fn kernel_names<'a>(names: impl Iterator<Item = &'a str>, debian_arch: &str) -> BTreeMap<String, PackageName> {
    let mut by_release: BTreeMap<String, (String, PackageName)> = BTreeMap::new();
    for name in names {
        let Some(parsed) = package_name(name, debian_arch).filter(|parsed| parsed.series >= OLDEST) else { continue };
        if parsed.binary || !by_release.contains_key(&parsed.release) {
            by_release.insert(parsed.release.clone(), (name.to_owned(), parsed));
        }
    }
    by_release.into_values().collect()
}

/// The packages that `apt-cache show` describes.
fn packages(records: &str) -> Vec<Package> {
    let packages = records.split("\n\n").filter_map(|record| {
        let field = |name: &str| {
            record.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(": ")?.trim().to_owned()))
        };
        Some(Package { name: field("Package")?, version: field("Version")? })
    });
    packages.collect()
}

/// Whether a version comes behind another in Debian's order.
fn is_newer(version: &str, other: &str) -> Result<bool> {
    let mut command = Command::new("dpkg");
    command.args(["--compare-versions", version, "gt", other]);
    let text = shell::describe(&command);
    let status = command.status().with_context(|| format!("cannot run `{text}`"))?;
    match status.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        _ => bail!("`{text}` failed: {status}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_suite_is_a_source() {
        let uris = "'http://m.example/debian/dists/trixie/InRelease' x 0";
        let text = sources(&Mirrors::of(uris, None).unwrap());
        assert!(text.contains("deb http://m.example/debian-security bookworm-security main\n"));
        assert!(text.contains("deb http://m.example/debian sid main\n"));
        assert_eq!(text.lines().count(), SECURITY_SUITES.len() + SUITES.len());
    }

    #[test]
    fn the_package_that_holds_the_kernel_is_taken() {
        let names = [
            "linux-image-7.3.4+deb13-cloud-amd64",
            "linux-binary-7.3.4+deb13-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64",
            "linux-image-4.19.0-20-cloud-amd64",
        ];
        let kernels = kernel_names(names.into_iter(), "amd64");
        let taken: Vec<&String> = kernels.keys().collect();
        assert_eq!(taken, ["linux-binary-7.3.4+deb13-cloud-amd64", "linux-image-6.1.0-56-cloud-amd64"]);
        assert_eq!(kernel_names(names.into_iter().rev(), "amd64"), kernels);
    }

    #[test]
    fn records_are_read() {
        let records = "Package: a\nDescription: x\n Version: 9\nVersion: 1-1\n\nPackage: a\nVersion: 1:2-1\n\n";
        let package = |version: &str| Package { name: "a".to_owned(), version: version.to_owned() };
        assert_eq!(packages(records), [package("1-1"), package("1:2-1")]);
        assert_eq!(file_name(&package("1:2-1"), "amd64"), "a_1%3a2-1_amd64.deb");
    }
}
