//! The service under a real systemd: a small Debian boots in a container of systemd-nspawn, the sensor's package is built and installed
//! there by the lines of the README, and the service is started, killed, reloaded, misconfigured, upgraded and removed
//! (`tests/src/service`).
//!
//! The container has a network and processes of its own; its kernel is this host's, and so is what the sensor sees. What /proc
//! tells is the container's: that part of alerts is tested on the host itself and in virtual machines.

mod machine;
mod readme;
mod tree;

use crate::leftover::{self, Snapshot};
use crate::mirror::NoArchive;
use crate::tally::Tally;
use crate::{host, live, setup, shell};
use anyhow::{Context, Result, ensure};
use machine::Machine;
use readme::Lines;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

/// The program with the tests.
const TESTS: &str = "sensor-service";
/// Where the container has the package, as the workspace has it.
const HOME: &str = "/root";

/// Builds everything and runs the tests as root. Where a container cannot be had this is one test skipped.
pub(crate) fn run(root: &Path, filter: Option<&str>) -> Result<Tally> {
    setup::for_program("systemd-nspawn", "systemd-container")?;
    // A namespace of mounts, in which the file systems that the container needs go away by themselves.
    let alone = || {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation=private", "--"]);
        command
    };
    let mut probe = alone();
    probe.args(["mount", "-t", "cgroup2", "none", "/sys/fs/cgroup"]);
    if let Err(error) = shell::output(&mut shell::as_root(probe)?) {
        println!("skipped the service: no container can be made here: {error:#}");
        return Ok(Tally::SKIPPED);
    }
    let tree = match tree::obtain(root) {
        Err(error) if error.is::<NoArchive>() => {
            println!("skipped the service: {error:#}");
            return Ok(Tally::SKIPPED);
        }
        tree => tree?,
    };
    let lines = Lines::read(root, tree::debian_arch()?)?;
    shell::run(Command::new("sh").args(["-c", &lines.build]).current_dir(root))?;
    host::release(root, "sensor-tests", TESTS)?;
    let mut supervisor = alone();
    supervisor.arg(std::env::current_exe()?).arg("systemd").arg(tree).args(filter).env_remove("LD_LIBRARY_PATH");
    live::suite(&mut shell::as_root(supervisor)?, filter)
}

/// Boots the container, installs the sensor, and runs the tests. The last line printed has the sums.
pub(crate) fn supervise(root: &Path, tree: &Path, filter: Option<&str>) -> Result<ExitCode> {
    ensure!(rustix::process::geteuid().is_root(), "the tests of the service need root");
    leftover::adopt_orphans()?;
    let place = machine::prepare(tree)?;
    let before = Snapshot::take()?;
    let mut sum = in_container(root, &place, filter)?;
    let left = leftover::since(&before)?;
    println!("{}  the service leaves nothing behind", if left.is_empty() { "ok    " } else { "FAILED" });
    for thing in &left {
        println!("        {thing}");
    }
    // Nothing can be left behind by no test.
    if sum.ran() + sum.skipped > 0 {
        sum += if left.is_empty() { Tally::PASSED } else { Tally::FAILED };
    }
    place.remove()?;
    println!("{sum}");
    Ok(if sum.failed == 0 && left.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn in_container(root: &Path, place: &machine::Place, filter: Option<&str>) -> Result<Tally> {
    let start = Instant::now();
    let mut machine = Machine::boot(place)?;
    println!("{} has booted in {:.1} s", machine.version()?, start.elapsed().as_secs_f64());
    let lines = Lines::read(root, tree::debian_arch()?)?;
    let package = lines.package().context("no package")?;
    let copies = [
        (root.join(package), Path::new(HOME).join(package)),
        (host::profile_directory("release")?.join(TESTS), Path::new("/opt").join(TESTS)),
    ];
    for (from, to) in &copies {
        let to = place.root().join(to.strip_prefix("/")?);
        std::fs::create_dir_all(to.parent().context("no directory")?)?;
        std::fs::copy(from, to).with_context(|| from.display().to_string())?;
    }
    machine.run(&["sh", "-c", &format!("cd {HOME} && {}", lines.install)])?;
    // It is then started as it is on every later day.
    machine.reboot()?;
    let [package, tests] = copies.map(|(_, to)| to.display().to_string());
    let words: Vec<&str> = [&*tests, "--disposable", "--package", &*package].into_iter().chain(filter).collect();
    let sum = live::suite(&mut machine.inside(&words), filter)?;
    machine.power_off()?;
    Ok(sum)
}
