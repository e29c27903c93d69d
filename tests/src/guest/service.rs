//! The system on the disk, started with the sensor as one of its services; and what runs the tests there, as another one.

use crate::protocol::{INSTALLED, PLAN, Plan};
use crate::suite::listen;
use crate::system::{SENSOR, keep_awake, set_up_disk};
use crate::tell::{Told, log};
use crate::{facts, plan};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// Argument of this program as a service.
pub(crate) const ARGUMENT: &str = "service";
/// The first process of the system on the disk.
const SYSTEMD: &str = "/usr/lib/systemd/systemd";
/// The tests.
const TESTS: &str = "/bin/sensor-service";
/// This program.
const GUEST: &str = "/bin/init-of-the-tests";
const UNITS: &str = "/etc/systemd/system";

/// This program as a service. It begins early, since it also keeps the processors awake while the sensor attaches.
const UNIT: &str = "[Unit]
Description=Tests of the sensor
DefaultDependencies=no
[Service]
ExecStart=/bin/init-of-the-tests service
StandardOutput=file:/dev/console
StandardError=file:/dev/console
";

/// What would write to the console, or has nothing to do in a machine that lives for minutes.
const MASKED: [&str; 6] = [
    "getty.target",
    "serial-getty@ttyS0.service",
    "serial-getty@ttyAMA0.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
];

/// Installs the sensor and the tests on the disk, and becomes the first process of the system there. Returns only if that fails.
pub(crate) fn start(plan: &Plan) -> Result<()> {
    let disk = plan.disk.as_deref().context("a plan for a service without a disk")?;
    // What lies in memory is out of reach once the disk is the root.
    let mut files = Vec::new();
    read(Path::new(INSTALLED), &mut files)?;
    let (text, own) = (fs::read(PLAN)?, fs::read("/init")?);
    set_up_disk(disk, &[SENSOR, TESTS])?;
    for (name, content) in files {
        let path = Path::new("/").join(name);
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        fs::write(&path, content).with_context(|| path.display().to_string())?;
    }
    fs::write(PLAN, text)?;
    fs::copy(SENSOR, GUEST)?;
    // The copy has given it the mode of a program.
    fs::write(GUEST, own)?;
    fs::write(Path::new(UNITS).join("tests.service"), UNIT)?;
    for masked in MASKED {
        symlink("/dev/null", Path::new(UNITS).join(masked)).context(masked)?;
    }
    let wanted = Path::new(UNITS).join("sysinit.target.wants");
    fs::create_dir_all(&wanted)?;
    for unit in ["/etc/systemd/system/tests.service", "/usr/lib/systemd/system/sensor.service"] {
        symlink(unit, wanted.join(Path::new(unit).file_name().context("no name")?))?;
    }
    Err(Command::new(SYSTEMD).env_clear().exec()).context(SYSTEMD)
}

/// Everything below a directory, by its name there.
fn read(directory: &Path, files: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            read(&path, files)?;
        } else {
            let name = path.strip_prefix(INSTALLED)?.to_str().context("no name")?;
            files.push((name.to_owned(), fs::read(&path)?));
        }
    }
    Ok(())
}

/// Waits until the system has started, and runs the tests.
pub(crate) fn test(told: &mut Told) -> Result<()> {
    keep_awake().context("processors")?;
    facts::tell(told)?;
    let state = Command::new("systemctl").args(["is-system-running", "--wait"]).output().context("systemctl")?;
    let state = String::from_utf8_lossy(&state.stdout).trim().to_owned();
    log(&format!("the system is {state}"));
    if state != "running" {
        let failed = Command::new("systemctl").args(["--failed", "--plain", "--no-legend"]).output()?;
        log(&String::from_utf8_lossy(&failed.stdout));
    }
    let plan = plan()?;
    ensure!(plan.runs.len() == 1, "a plan with {} runs", plan.runs.len());
    for run in &plan.runs {
        listen(Command::new(TESTS).arg("--disposable"), run, told)?;
    }
    told.end()
}
