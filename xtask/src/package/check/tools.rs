//! The packages as the tools of hosts see them: dpkg, lintian, rpm, groff, and the shells.

use super::{CONFIG, Subject, archived, listed, same};
use crate::package::tree::File;
use crate::package::{Form, Package, deb as deb_form, tree};
use crate::{apt, setup, shell};
use anyhow::{Result, bail, ensure};
use flate2::read::GzDecoder;
use std::io::Read as _;
use std::process::Command;

/// What lintian says, and why it stays so.
const SUPPRESSED: [&str; 3] = [
    // There is no address that could be given.
    "bogus-mail-host",
    "bogus-mail-host-in-debian-changelog",
    // To it a static program that can be at any address in memory is a library.
    "shared-library-lacks-prerequisites",
];

/// Why a tool cannot be had, if it cannot.
fn missing(program: &str, package: &str) -> Result<Option<String>> {
    if apt::is_debian() {
        setup::for_program(program, package)?;
    }
    Ok(shell::find(program).is_none().then(|| format!("{program} is not installed")))
}

pub(super) fn deb(subject: &Subject<'_>) -> Result<Option<String>> {
    let path = subject.path(Form::Deb)?;
    let ask = |option: &str, more: &[&str]| shell::output(Command::new("dpkg-deb").arg(option).arg(path).args(more));
    for (field, expected) in [
        ("Package", "sensor"),
        ("Version", subject.package.version),
        ("Architecture", subject.package.debian_arch),
        ("Depends", "systemd"),
    ] {
        let found = ask("--field", &[field])?;
        ensure!(found.trim_end() == expected, "{field} is {found}");
    }
    let control = subject.directory.join("control");
    shell::output(Command::new("dpkg-deb").arg("--control").arg(path).arg(&control))?;
    let kept = std::fs::read_to_string(control.join("conffiles"))?;
    ensure!(kept == format!("/{CONFIG}\n"), "its conffiles: {kept}");
    for script in deb_form::SCRIPTS {
        shell::output(Command::new("sh").arg("-n").arg(control.join(script)))?;
    }
    let files = Command::new("dpkg-deb").arg("--fsys-tarfile").arg(path).output()?;
    ensure!(files.status.success(), "dpkg-deb: {}", String::from_utf8_lossy(&files.stderr));
    let mut expected = listed(subject.package.tree);
    expected.extend(listed(&deb_form::documents(subject.package)?));
    same(&archived(files.stdout.as_slice(), subject.package.time)?, &expected)?;
    Ok(None)
}

pub(super) fn lintian(subject: &Subject<'_>) -> Result<Option<String>> {
    if let Some(reason) = missing("lintian", "lintian")? {
        return Ok(Some(reason));
    }
    let mut command = Command::new("lintian");
    command.args(["--fail-on", "error,warning", "--suppress-tags", &SUPPRESSED.join(",")]);
    let output = command.arg(subject.path(Form::Deb)?).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    Ok(None)
}

pub(super) fn rpm(subject: &Subject<'_>) -> Result<Option<String>> {
    if let Some(reason) = missing("rpm", "rpm")? {
        return Ok(Some(reason));
    }
    // Not the user's, which it would make.
    let database = subject.directory.join("rpmdb");
    let path = subject.path(Form::Rpm)?;
    let ask = |words: &[&str]| {
        shell::output(Command::new("rpm").arg("--dbpath").arg(&database).args(words).arg("--").arg(path))
    };
    let about = ask(&["-qp", "--queryformat", "%{NAME} %{VERSION} %{ARCH}"])?;
    let Package { version, arch, tree, .. } = subject.package;
    ensure!(about == format!("sensor {version} {arch}"), "it is {about}");
    let requires = ask(&["-qp", "--requires"])?;
    let requires: Vec<_> =
        requires.lines().filter(|line| !["rpmlib(", "config("].iter().any(|it| line.starts_with(it))).collect();
    ensure!(requires.iter().all(|line| ["/bin/sh", "systemd"].contains(line)), "it asks for {requires:?}");
    ensure!(requires.contains(&"systemd"), "it does not ask for systemd");
    // Name, mode, owner, and flags: `c` and `n` are %config(noreplace), `l` is %license.
    let files =
        ask(&["-qp", "--queryformat", "[%{FILENAMES} %{FILEMODES:octal} %{FILEUSERNAME} %{FILEFLAGS:fflags}\n]"])?;
    let expected = tree.0.iter().map(|File { path, mode, config, .. }| {
        let flags = if *config {
            "cn"
        } else if path.starts_with(tree::LICENSE_DIRECTORY) {
            "l"
        } else {
            ""
        };
        format!("/{path} 100{mode:o} root {flags}")
    });
    let expected: Vec<_> = expected.collect();
    let found: Vec<_> = files.lines().collect();
    ensure!(found == expected, "its files:\n{files}");
    for (tag, word) in [("POSTIN", "systemd-sysusers"), ("PREUN", "disable --now"), ("POSTUN", "daemon-reload")] {
        let script = ask(&["-qp", "--queryformat", &format!("%{{{tag}}}")])?;
        ensure!(script.contains(word), "{tag}: {script}");
        shell::output(Command::new("sh").arg("-n").arg(subject.written(tag, script.as_bytes())?))?;
    }
    let digests = ask(&["--checksig", "--nosignature"])?;
    ensure!(digests.trim_end().ends_with("digests OK"), "{digests}");
    Ok(None)
}

pub(super) fn manual(subject: &Subject<'_>) -> Result<Option<String>> {
    if let Some(reason) = missing("groff", "groff-base")? {
        return Ok(Some(reason));
    }
    for File { path, content, .. } in
        subject.package.tree.0.iter().filter(|file| file.path.starts_with("usr/share/man/"))
    {
        let mut page = Vec::new();
        GzDecoder::new(content.as_slice()).read_to_end(&mut page)?;
        let output =
            Command::new("groff").args(["-man", "-Tutf8", "-ww", "-z"]).arg(subject.written(path, &page)?).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success() && said.is_empty(), "{path}: {said}");
    }
    Ok(None)
}

pub(super) fn completions(subject: &Subject<'_>) -> Result<Option<String>> {
    let mut absent = Vec::new();
    for (shell, path) in tree::SHELLS.iter().zip(tree::COMPLETIONS.map(|(_, path)| path)) {
        let place = subject.written(path, &subject.file(path)?.content)?;
        match shell::find(shell) {
            Some(program) => drop(shell::output(Command::new(program).arg("-n").arg(place))?),
            None => absent.push(*shell),
        }
    }
    if absent.len() == tree::SHELLS.len() {
        bail!("no shell is installed");
    }
    Ok((!absent.is_empty()).then(|| format!("{} not installed", absent.join(", "))))
}
