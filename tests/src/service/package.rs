//! The package that the service was installed from: what an upgrade keeps, and what removal and purging leave.

use super::Check;
use super::gap::without_a_gap;
use super::programs::{held_by, still_loaded};
use super::unit::{CONFIG, Unit, output, run, until};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub(super) const TABLE: &[Check] = &[
    ("the README's line follows its alerts", followed),
    ("upgraded by its package, it runs anew with the new defaults, and misses nothing", defaults),
    ("upgraded by its package, it keeps a changed configuration", changed),
    ("switched off, it stays off in an upgrade", switched_off),
    ("removed, it keeps configuration and state; purged, nothing is left; installed again, it runs", removed),
];

const README: &str = include_str!("../../../README.md");
const PROGRAM: &str = "/usr/bin/sensor";
const STATE: &str = "/var/lib/sensor";
/// What a package never overwrites.
const CHANGED: &str = "# changed by the administrator\n";
/// What the service, its package and systemd's scripts for packages make.
const ALL: [&str; 8] = [
    PROGRAM,
    "/etc/sensor",
    "/etc/systemd/system/sensor.service",
    "/etc/systemd/system/sysinit.target.wants/sensor.service",
    STATE,
    "/var/lib/systemd/deb-systemd-helper-enabled/sensor.service.dsh-also",
    "/var/log/sensor",
    "/run/sensor",
];

fn package(unit: &Unit) -> Result<&Path> {
    unit.package.as_deref().context("not told which package it was installed from")
}

fn apt(arguments: &[&str]) -> Result<String> {
    run(&[&["apt-get", "--yes", "--quiet"], arguments].concat())
}

/// Installs a package from a file.
fn install(package: &Path, options: &[&str]) -> Result<()> {
    let path = package.display().to_string();
    apt(&[&["install"], options, &[&*path]].concat()).map(drop)
}

fn installed_version() -> Result<String> {
    run(&["dpkg-query", "--show", "--showformat=${Version}", "sensor"])
}

/// The same package as a later version, whose configuration has one line more; with that line.
fn newer(unit: &Unit) -> Result<(PathBuf, String)> {
    let version = format!("{}+1", installed_version()?);
    let directory = Path::new("/var/tmp/sensor-newer");
    let path = directory.with_extension("deb");
    let [from, tree, to] = [package(unit)?, directory, &path].map(|path| path.display().to_string());
    run(&["dpkg-deb", "--raw-extract", &from, &tree])?;
    let control = directory.join("DEBIAN/control");
    let text = fs::read_to_string(&control)?;
    let lines = text.lines().map(|line| match line.strip_prefix("Version: ") {
        Some(_) => format!("Version: {version}\n"),
        None => format!("{line}\n"),
    });
    fs::write(&control, lines.collect::<String>())?;
    let default = directory.join(CONFIG.trim_start_matches('/'));
    let line = format!("# of version {version}\n");
    fs::write(&default, fs::read_to_string(&default)? + &line)?;
    run(&["dpkg-deb", "--root-owner-group", "-Znone", "--build", &tree, &to])?;
    fs::remove_dir_all(directory)?;
    Ok((path, line))
}

/// Upgrades to a later version; the line that its configuration has more.
fn upgrade(unit: &Unit, options: &[&str]) -> Result<String> {
    let before = installed_version()?;
    let (package, line) = newer(unit)?;
    install(&package, options)?;
    fs::remove_file(package)?;
    let after = installed_version()?;
    ensure!(after == format!("{before}+1"), "{before} before, {after} after the upgrade");
    Ok(line)
}

fn followed(unit: &mut Unit) -> Result<String> {
    let line = README.lines().find(|line| line.starts_with("journalctl -f ")).context("the README has no such line")?;
    let mut command = Command::new("sh");
    command.args(["-c", &format!("exec {line}")]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut follower = command.spawn()?;
    let lines = BufReader::new(follower.stdout.take().context("no pipe")?).lines();
    let shown = unit.reverse_shell().and_then(|marker| {
        // The test ends with the follower where the alert does not come.
        let (found, result) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let shown = lines.map_while(Result::ok).any(|line| line.contains(&marker));
            let _ = found.send(shown);
        });
        until("the alert to be shown", || Ok(result.try_recv().ok()))
    });
    // It may have ended by itself.
    let _ = follower.kill();
    follower.wait()?;
    ensure!(shown?, "it ended without the alert");
    Ok(String::new())
}

fn defaults(unit: &mut Unit) -> Result<String> {
    let before = unit.process()?;
    let mut line = String::new();
    let none = |_: &mut Unit| Ok(());
    let shells = without_a_gap(unit, none, |unit| {
        line = upgrade(unit, &[])?;
        unit.wait_for("ActiveState", "active")
    })?;
    ensure!(unit.process()? != before, "it is the same process");
    ensure!(fs::read_to_string(CONFIG)?.ends_with(&line), "the configuration is that of the version before");
    Ok(shells)
}

fn changed(unit: &mut Unit) -> Result<String> {
    unit.configure(CHANGED)?;
    let line = upgrade(unit, &["--option=Dpkg::Options::=--force-confold"])?;
    unit.wait_for("ActiveState", "active")?;
    let kept = fs::read_to_string(CONFIG)?;
    ensure!(kept == CHANGED, "the configuration is not what the administrator wrote:\n{kept}");
    // Where dpkg puts what it would have installed.
    let offered = format!("{CONFIG}.dpkg-dist");
    ensure!(fs::read_to_string(&offered).context("dpkg-dist")?.ends_with(&line), "the new defaults are not offered");
    fs::remove_file(offered)?;
    unit.alerts()?;
    Ok(String::new())
}

fn switched_off(unit: &mut Unit) -> Result<String> {
    run(&["systemctl", "disable", "--now", "sensor"])?;
    // What the administrator has not changed is replaced without a question.
    upgrade(unit, &["--option=Dpkg::Options::=--force-confnew"])?;
    unit.expect("ActiveState", "inactive")?;
    unit.expect("UnitFileState", "disabled")?;
    run(&["systemctl", "enable", "--now", "sensor"]).map(|_| String::new())
}

fn removed(unit: &mut Unit) -> Result<String> {
    let package = package(unit)?.to_owned();
    unit.configure(CHANGED)?;
    unit.restart()?;
    let spooled = Path::new(STATE).join("spooled");
    fs::write(&spooled, "")?;
    let programs = held_by(unit.process()?)?;
    apt(&["remove", "sensor"])?;
    ensure!(!Path::new(PROGRAM).exists(), "the program is still there");
    ensure!(fs::read_to_string(CONFIG).context("the configuration")? == CHANGED, "the configuration is not kept");
    ensure!(spooled.exists(), "the state is not kept");
    let active = output(&["systemctl", "is-active", "sensor"])?;
    ensure!(String::from_utf8_lossy(&active.stdout).trim() == "inactive", "{active:?}");
    until("the programs to go", || Ok(still_loaded(&programs)?.is_empty().then_some(())))?;
    apt(&["purge", "sensor"])?;
    let left: Vec<_> = ALL.iter().filter(|path| Path::new(path).exists()).collect();
    ensure!(left.is_empty(), "left behind: {left:?}");
    install(&package, &[])?;
    unit.wait_for("ActiveState", "active")?;
    unit.expect("UnitFileState", "enabled")?;
    unit.alerts()?;
    Ok(String::new())
}
