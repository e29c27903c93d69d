//! Connections accepted by calls that began long before: they sleep in the kernel while programs are attached to it and
//! detached. A hook at the exit of the function in which they sleep misses them, one behind the sleep must not.

use super::{Case, Tag, tagged};
use crate::actor::step::{Accept, Step, exec, report, stdio};
use crate::expect::{Expect, RULE, field};
use crate::lab::Lab;
use crate::player::Player;
use crate::programs::{held_by, runs};
use crate::sensor::Sensor;
use crate::wait::until;
use anyhow::{Result, ensure};
use serde_json::Value;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;

pub(super) const CASES: &[Case] = &[
    tagged("asleep: in accept since before the sensor", &[Tag::Own], |lab| since_before(lab, 1)),
    tagged("asleep: forty in accept since before the sensor", &[Tag::Own], |lab| since_before(lab, 40)),
    tagged("asleep: in accept while another program comes and goes", &[Tag::Own], others),
];

/// Processes called socat that sleep in accept and become shells with their connections.
struct Sleepers {
    player: Player,
    at: SocketAddr,
    sh: PathBuf,
    count: u32,
}

impl Sleepers {
    /// Puts so many to sleep, all with one listener.
    fn new(lab: &Lab, port: u16, count: u32) -> Result<Self> {
        let (socat, sh) = (lab.program("socat")?, lab.program("sh")?);
        let at = SocketAddr::new(lab.local(), port);
        let child = vec![report("accepts"), Step::Accept(Accept::Four), stdio(), exec(&sh, &["sh", "-i"])];
        let fork = Step::Fork { child, reap: false, pids: Vec::new() };
        let steps = vec![Step::Listen(at), Step::Repeat(count, vec![fork]), Step::Hold];
        let mut player = lab.play(&socat, &["socat", "TCP-LISTEN:4444,fork", "EXEC:sh -i,nofork"], steps)?;
        for _ in 0..count {
            let pid = player.reached("accepts")?.pid;
            until("a process to sleep in accept", || Ok(is_asleep(pid)?.then_some(())))?;
        }
        Ok(Self { player, at, sh, count })
    }

    /// Connects to all of them.
    fn wake(&self, lab: &Lab) -> Result<Vec<TcpStream>> {
        (0..self.count).map(|_| lab.connect(lab.remote(), self.at)).collect()
    }

    /// The alerts about all of them. Which of them accepts which connection is up to the kernel.
    fn alerts(&mut self, lab: &Lab) -> Result<Vec<Expect>> {
        let mut alerts = Vec::new();
        for _ in 0..self.count {
            let pid = self.player.reached("end")?.pid;
            let alert = Expect::alert(pid, &self.sh, &["sh", "-i"]).parent(self.player.pid(), "socat");
            let alert = alert.field("network.direction", "ingress").field("source.ip", lab.remote().to_string());
            let alert = alert.field("destination.ip", self.at.ip().to_string());
            alerts.push(alert.field("destination.port", self.at.port()));
        }
        Ok(alerts)
    }
}

fn is_asleep(pid: u32) -> Result<bool> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    Ok(stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('S')))
}

/// The calls began before anything was attached.
fn since_before(lab: &Lab, count: u32) -> Result<()> {
    let mut sleepers = Sleepers::new(lab, 4444, count)?;
    let sensor = lab.start_sensor()?;
    let before = skipped(&sensor)?;
    let _connections = sleepers.wake(lab)?;
    let alerts = sleepers.alerts(lab)?;
    expect(lab, &sensor, &alerts, before)?;
    sensor.stop_cleanly().map(drop)
}

/// Another sensor, with the hooks that the kernel has best, attaches to the same functions and leaves them again.
fn others(lab: &Lab) -> Result<()> {
    let mut before = Sleepers::new(lab, 4444, 1)?;
    let sensor = lab.start_sensor()?;
    let mut after = Sleepers::new(lab, 4445, 1)?;
    let other = Sensor::start(lab.binary(), &lab.directory().join("other"), "")?;
    let mut between = Sleepers::new(lab, 4446, 1)?;
    other.stop_cleanly()?;
    let (mut connections, mut alerts, skipped) = (Vec::new(), Vec::new(), skipped(&sensor)?);
    for sleepers in [&mut before, &mut after, &mut between] {
        connections.extend(sleepers.wake(lab)?);
        alerts.extend(sleepers.alerts(lab)?);
    }
    expect(lab, &sensor, &alerts, skipped)?;
    sensor.stop_cleanly().map(drop)
}

/// Runs that were skipped of the programs that see accepts and executions.
fn skipped(sensor: &Sensor) -> Result<u64> {
    let runs = runs(&held_by(sensor.pid())?)?;
    Ok(runs
        .iter()
        .filter(|(name, _)| ["accept", "exec"].iter().any(|hook| name.starts_with(hook)))
        .map(|(_, runs)| runs.missed)
        .sum())
}

/// Nothing else than these alerts; `before` the accepts so many runs had been skipped. The kernel skips a program of a classic tracepoint
/// on a processor whose last task was interrupted while it used a map by bpf(2), which any program of the host can do at any time; it
/// counts that, and so many alerts may be missing.
fn expect(lab: &Lab, sensor: &Sensor, alerts: &[Expect], before: u64) -> Result<()> {
    let hooks = sensor.hooks();
    if hooks.accept == "off" {
        return lab.expect_of(sensor, &[]);
    }
    if hooks.accept != "tracepoint" {
        return lab.expect_of(sensor, alerts);
    }
    // Whatever is to come has come then.
    lab.canary(sensor)?;
    // By this rule: that a shell stands on a connection is told by another one, seen accept or not.
    let told = lab.alerts(sensor, RULE)?;
    let told: Vec<&Value> = told.iter().filter_map(|alert| field(alert, "process.pid")).collect();
    let is_told = |alert: &&Expect| alert.wants("process.pid").is_some_and(|pid| told.contains(&pid));
    let (found, missing): (Vec<&Expect>, Vec<&Expect>) = alerts.iter().partition(is_told);
    let skipped = skipped(sensor)? - before;
    ensure!(
        u64::try_from(missing.len())? <= skipped,
        "{} of {} alerts are missing, and the kernel has skipped {skipped} runs: {:?}",
        missing.len(),
        alerts.len(),
        runs(&held_by(sensor.pid())?)?
    );
    lab.expect_of(sensor, &found.into_iter().cloned().collect::<Vec<_>>())
}
