//! Debian's package manager: what can be had, and having it.

use crate::shell;
use anyhow::Result;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

/// Whether this is Debian or a system made from it, by `/etc/os-release` (os-release(5)).
pub(crate) fn is_debian() -> bool {
    os_release().is_some_and(|text| is_like(&text, "debian")) && shell::find("apt-get").is_some()
}

/// The release's name, as the archive has it.
pub(crate) fn release() -> Option<String> {
    os_release().and_then(|text| values(&text, &["VERSION_CODENAME"]).next().map(str::to_owned))
}

fn os_release() -> Option<String> {
    ["/etc/os-release", "/usr/lib/os-release"].iter().find_map(|path| std::fs::read_to_string(path).ok())
}

/// Whether `ID` or `ID_LIKE` names a system.
fn is_like(os_release: &str, system: &str) -> bool {
    values(os_release, &["ID", "ID_LIKE"]).flat_map(str::split_ascii_whitespace).any(|id| id == system)
}

/// The values of these names.
fn values<'t>(os_release: &'t str, names: &[&str]) -> impl Iterator<Item = &'t str> {
    os_release.lines().filter_map(move |line| {
        let (name, value) = line.trim().split_once('=')?;
        names.contains(&name).then(|| value.trim_matches(['"', '\'']))
    })
}

/// Whether these packages could be installed together, and without removing another. Needs no rights.
pub(crate) fn can_install(packages: &[&str]) -> bool {
    shell::output(install_command(packages).arg("--simulate")).is_ok()
}

/// The version that would be installed, with Debian's additions; none if the package is unknown here.
pub(crate) fn candidate(package: &str) -> Option<String> {
    let mut command = Command::new("apt-cache");
    let text = shell::output(command.args(["policy", package]).env("LC_ALL", "C")).ok()?;
    candidate_in(&text)
}

fn candidate_in(policy: &str) -> Option<String> {
    let version = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate:"))?.trim();
    (version != "(none)").then(|| version.into())
}

/// Reads the lists of packages anew. A source that cannot be reached is only named: what counts is whether the packages
/// wanted can be had.
pub(crate) fn update() -> Result<()> {
    let mut plain = apt_get();
    plain.arg("update");
    let mut command = shell::as_root(plain)?;
    say(&command);
    if let Err(error) = shell::run(&mut command) {
        eprintln!("{error}; going on with what could be read");
    }
    Ok(())
}

/// Installs packages, removing none; if that fails, once more after reading the lists anew, which may be old.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let mut command = shell::as_root(install_command(packages))?;
    say(&command);
    if shell::run(&mut command).is_ok() {
        return Ok(());
    }
    update()?;
    shell::run(&mut command)
}

/// Installs packages and what they need from a suite, removing none, by a file with sources in the place of the system's own.
pub(crate) fn install_from(sources: &Path, suite: &str, packages: &[&str]) -> Result<()> {
    let sources = format!("Dir::Etc::SourceList={}", sources.display());
    let (mut update, mut install) = (apt_get(), install_command(packages));
    update.args(["-o", &sources, "update"]);
    install.args(["-o", &sources, "--target-release", suite]);
    for command in [update, install] {
        let mut command = shell::as_root(command)?;
        say(&command);
        shell::run(&mut command)?;
    }
    Ok(())
}

/// Fetches packages and those that they need and that are not installed, into a directory; nothing is installed. Needs no rights.
pub(crate) fn fetch(packages: &[&str], into: &Path) -> Result<()> {
    let mut command = install_command(packages);
    command.args(["--download-only", "--quiet=2", "-o", "Debug::NoLocking=true", "-o"]);
    let mut place = OsString::from("Dir::Cache::archives=");
    place.push(into);
    command.arg(place);
    say(&command);
    if shell::run(&mut command).is_ok() {
        return Ok(());
    }
    update()?;
    shell::run(&mut command)
}

fn install_command(packages: &[&str]) -> Command {
    let mut command = apt_get();
    command.args(["install", "--yes", "--no-remove", "--no-install-recommends"]).args(packages);
    command
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    // A package that asks a question would wait for the answer for ever; another installation may be going on.
    command.env("DEBIAN_FRONTEND", "noninteractive").args(["-o", "DPkg::Lock::Timeout=120"]);
    command
}

/// Tells what is about to be run.
pub(crate) fn say(command: &Command) {
    eprintln!("+ {}", shell::describe(command));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systems_are_known_by_id_or_likeness() {
        assert!(is_like("PRETTY_NAME=\"Debian GNU/Linux 12\"\nID=debian\n", "debian"));
        assert!(is_like("ID=ubuntu\nID_LIKE=debian\n", "debian"));
        assert!(is_like("ID=\"linuxmint\"\nID_LIKE=\"ubuntu debian\"\n", "debian"));
        assert!(is_like("ID='debian'", "debian"));
        assert!(!is_like("ID=fedora\nID_LIKE=\"rhel centos\"\nNAME=\"not debian\"\n", "debian"));
        assert!(!is_like("VERSION_ID=debian\nID=debianish\n", "debian"));
        assert!(!is_like("", "debian"));
    }

    #[test]
    fn a_name_has_its_value_without_quotes() {
        let text = "VERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n";
        assert_eq!(values(text, &["VERSION_CODENAME"]).collect::<Vec<_>>(), ["bookworm"]);
        assert_eq!(values(text, &["VERSION_ID", "ID"]).collect::<Vec<_>>(), ["12"]);
        assert_eq!(values(text, &["VERSION"]).count(), 0);
    }

    #[test]
    fn candidates_are_read() {
        let policy = "rustc-web:\n  Installed: (none)\n  Candidate: 1.96.0+dfsg1-1~deb12u2\n  Version table:\n";
        assert_eq!(candidate_in(policy).unwrap(), "1.96.0+dfsg1-1~deb12u2");
        assert_eq!(candidate_in("x:\n  Installed: (none)\n  Candidate: (none)\n"), None);
        assert_eq!(candidate_in(""), None);
    }
}
