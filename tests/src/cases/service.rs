//! The sensor as a service: what it tells systemd, and when it stops telling.

use super::scene::{closed, shell_after};
use super::{Case, Tag, tagged};
use crate::actor::step::{How, Outcome, connect_by};
use crate::freeze::Frozen;
use crate::lab::Lab;
use crate::manager::Manager;
use crate::programs::held_by;
use crate::sensor::{Sensor, command};
use crate::wait::until;
use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use std::process::Stdio;
use std::time::{Duration, Instant};

pub(super) const CASES: &[Case] = &[
    tagged("service: ready, reloads, counts and the end are told", &[Tag::Own, Tag::Once], life),
    tagged("service: why it does not start is told", &[Tag::Own, Tag::Once], refused),
    tagged("service: the watchdog is fed on a quiet host", &[Tag::Own, Tag::Alone, Tag::Once], quiet),
    tagged("service: a reader that stands still feeds no watchdog", &[Tag::Own, Tag::Alone, Tag::Once], stuck),
];

/// Longer than any of these tests.
const NEVER: Duration = Duration::from_secs(3600);

fn start(lab: &Lab, manager: &Manager) -> Result<Sensor> {
    Sensor::start_as_service(lab.binary(), &lab.directory().join("sensor"), lab.hooks(), manager)
}

fn life(lab: &Lab) -> Result<()> {
    let manager = Manager::new(lab.directory(), NEVER)?;
    let sensor = start(lab, &manager)?;
    let status = manager.told("STATUS=")?;
    manager.told("READY=1\n")?;
    ensure!(!held_by(sensor.pid())?.is_empty(), "it is ready and holds no program");
    let [connect, accept] = [&sensor.hooks().connect, &sensor.hooks().accept];
    for part in [&format!("connect={connect}"), &format!("accept={accept}"), " 0 alerts, 0 lost"] {
        ensure!(status.contains(part), "no {part:?} in {status}");
    }
    let shell = shell_after(lab, vec![connect_by(closed(lab), How::Plain, Outcome::Refused)])?;
    lab.expect_of(&sensor, &[shell.alert()])?;
    let status = manager.told("STATUS=")?;
    // The test's shell and the canary; other tests may have made more.
    ensure!(!status.contains(" 0 alerts") && !status.contains(" 1 alerts"), "the alerts are missing in {status}");

    sensor.reload(lab.hooks(), "configuration read again")?;
    let message = manager.told("RELOADING=1\n")?;
    ensure!(message.contains("\nMONOTONIC_USEC="), "{message}");
    manager.told("READY=1\n")?;
    sensor.reload("[rule]\nspam = 1\n", "the configuration stays as it was")?;
    manager.told("RELOADING=1\n")?;
    let status = manager.told("STATUS=")?;
    manager.told("READY=1\n")?;
    ensure!(status.contains("not reloaded") && status.contains("spam"), "no reason in {status}");

    sensor.stop_cleanly()?;
    manager.told("STOPPING=1\n").map(drop)
}

/// A wrong configuration is not one of those that a restart helps.
fn refused(lab: &Lab) -> Result<()> {
    let manager = Manager::new(lab.directory(), NEVER)?;
    let mut command = command(lab.binary(), lab.directory(), "[rule]\nspam = 1\n")?;
    crate::parent::ends_with_parent(&mut command);
    command.envs(manager.environment()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = command.status()?;
    ensure!(status.code() == Some(3), "it ended with {status}");
    let message = manager.next()?.context("nothing was told")?;
    ensure!(message.starts_with("STATUS=") && message.contains("spam"), "{message}");
    Ok(())
}

/// Nobody executes or connects anything that the sensor is about, and it reads nothing.
fn quiet(lab: &Lab) -> Result<()> {
    const TIMES: u32 = 5;
    let manager = Manager::new(lab.directory(), Duration::from_secs(4))?;
    let sensor = start(lab, &manager)?;
    manager.told("READY=1\n")?;
    let start = Instant::now();
    for _ in 0..TIMES {
        manager.told("WATCHDOG=1\n")?;
    }
    // systemd asks for one within each half of its time.
    ensure!(start.elapsed() < TIMES * manager.watchdog() / 2, "{TIMES} times in {:?}", start.elapsed());
    sensor.stop_cleanly().map(drop)
}

/// The thread that reads stands still and all others go on; afterwards it goes on, too.
fn stuck(lab: &Lab) -> Result<()> {
    let manager = Manager::new(lab.directory(), Duration::from_secs(2))?;
    let sensor = start(lab, &manager)?;
    manager.told("WATCHDOG=1\n")?;
    let frozen = Frozen::new(sensor.pid())?;
    ensure!(states(sensor.pid())?.contains(&'S'), "no other thread lives");
    // What was told before it stood.
    while manager.next()?.is_some() {}
    std::thread::sleep(2 * manager.watchdog());
    if let Some(message) = manager.next()? {
        bail!("the reader stands still, and still: {message}");
    }
    drop(frozen);
    manager.told("WATCHDOG=1\n")?;
    sensor.signal(Signal::STOP)?;
    until("all threads to stop", || Ok(states(sensor.pid())?.iter().all(|state| *state == 'T').then_some(())))?;
    while manager.next()?.is_some() {}
    std::thread::sleep(2 * manager.watchdog());
    let told = manager.next()?;
    sensor.signal(Signal::CONT)?;
    ensure!(told.is_none(), "the process stands still, and still: {told:?}");
    manager.told("WATCHDOG=1\n")?;
    sensor.stop_cleanly().map(drop)
}

/// The states of a process's threads, as proc_pid_stat(5) gives them.
fn states(pid: u32) -> Result<Vec<char>> {
    let mut states = Vec::new();
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let stat = std::fs::read_to_string(thread?.path().join("stat"))?;
        let (_, rest) = stat.rsplit_once(") ").context("a stat without a name")?;
        states.extend(rest.chars().next());
    }
    Ok(states)
}
