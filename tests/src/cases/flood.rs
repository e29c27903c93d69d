//! Floods by somebody who wants a shell to go unseen among them.

use super::scene::{SHELL, Shell, closed, shell_after};
use super::{Case, Tag, tagged};
use crate::actor::step::{How, Outcome, Step, connect_by, exec, exec_then, fork, report};
use crate::counters::Counters;
use crate::expect::field;
use crate::lab::Lab;
use crate::memory::Memory;
use crate::player::Player;
use crate::sensor::Sensor;
use crate::tiny;
use crate::wait::until;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::thread::sleep;
use std::time::Duration;

pub(super) const CASES: &[Case] = &[
    tagged(
        "flood: 50 shells among 200 000 connections and 50 000 executions of shells",
        &[Tag::Own, Tag::Alone, Tag::Storm, Tag::Once],
        connections_and_executions,
    ),
    tagged(
        "flood: 50 shells among 50 000 executions with long arguments by another user's connected processes",
        &[Tag::Own, Tag::Alone, Tag::Storm, Tag::Once],
        long_arguments,
    ),
    tagged(
        "flood: 50 shells before more processes connect than can be remembered",
        &[Tag::Own, Tag::Alone, Tag::Storm, Tag::Once],
        more_than_remembered,
    ),
];

/// How long a flood may take on a slow machine.
const STORM: Duration = Duration::from_secs(1200);
const SHELLS: u32 = 50;
/// Who may read and execute what the lab holds, and nothing else.
const NOBODY: u32 = 65_534;
/// Memory in KiB that a sensor may take more than at rest, whatever comes: its buffers of 512 KiB and 4 MiB, which are mapped twice,
/// the queue of an output, the alerts that are kept back, and something for its allocator.
const QUEUES: u64 = 2 * (512 + 4096) + 8192 + 4096 + 4096;
/// A full table of connections: those of 32 768 processes and a quarter more, of 2 KiB each.
const TABLE: u64 = 2 * (32_768 + 8192);

fn knock(lab: &Lab) -> Step {
    connect_by(closed(lab), How::Plain, Outcome::Refused)
}

/// A process of this name that does something many times.
fn flooder(lab: &Lab, name: &str, before: Vec<Step>, times: u32, steps: Vec<Step>) -> Result<Player> {
    let flood = [report("ready"), Step::Wait, Step::Repeat(times, steps), report("done"), Step::Hold];
    let mut player = lab.play(&lab.program(name)?, &[name], before.into_iter().chain(flood).collect())?;
    player.reached("ready")?;
    Ok(player)
}

/// Lets them all begin, makes the shells while they are at it, and waits for their end.
fn among(lab: &Lab, flood: &mut [Player]) -> Result<Vec<Shell>> {
    for player in &mut *flood {
        player.go()?;
    }
    let mut shells = Vec::new();
    for _ in 0..SHELLS {
        shells.push(shell_after(lab, vec![knock(lab)])?);
        sleep(Duration::from_millis(100));
    }
    for player in flood {
        player.reached_within("done", STORM)?;
    }
    Ok(shells)
}

/// Two floods of the same size, of which the second makes the sensor take no more memory than the first, and that no more than `room`;
/// each `flood` gives the shells that it has hidden. Those have an alert each, unless the machine was so busy with the flood that nobody
/// read the buffer of executions while it filled: few were lost then, and they are counted. The sensor's numbers add up at its end.
fn twice(lab: &Lab, sensor: &Sensor, room: u64, mut flood: impl FnMut() -> Result<Vec<Shell>>) -> Result<Counters> {
    lab.canary(sensor)?;
    let mut memory = Memory::before(sensor.pid())?;
    let (mut shells, mut missing) = (Vec::new(), 0);
    for _ in 0..2 {
        let hidden = flood()?;
        // Whatever is to come has come then.
        lab.canary(sensor)?;
        for shell in hidden {
            if sensor.count_alerts(of(shell.pid()))? == 0 {
                missing += 1;
            } else {
                shells.push(shell);
            }
        }
        lab.expect_of(sensor, &shells.iter().map(Shell::alert).collect::<Vec<_>>())?;
        memory.loaded()?;
    }
    let counters = sensor.stop_with_losses()?;
    memory.flat(room).with_context(|| format!("{counters:?}"))?;
    let (lost, seen) = (counters.sum("exec", "lost_"), counters.get("exec", "seen")?);
    ensure!(lost * 50 <= seen, "the flood has cost more than one execution in fifty: {counters:?}");
    ensure!(missing <= lost, "{missing} shells are missing that were not lost: {counters:?}");
    ensure!(missing <= u64::from(SHELLS) / 5, "{missing} shells of {} went unseen: {counters:?}", 2 * SHELLS);
    Ok(counters)
}

fn connections_and_executions(lab: &Lab) -> Result<()> {
    const CONNECTIONS: u32 = 200_000;
    const EXECUTIONS: u32 = 50_000;
    // So long that the executions are looked at also when the connections are over first.
    let sensor = lab.start_sensor_without_events("[rule]\nspan = \"20m\"\n")?;
    let tiny = lab.directory().join("bin").join("dash");
    tiny::write(&tiny)?;
    let shell = Step::Spawn(tiny, ["dash", "-c", ":"].map(Into::into).to_vec());
    let counters = twice(lab, &sensor, QUEUES, || {
        let mut flood = Vec::new();
        for _ in 0..2 {
            flood.push(flooder(lab, "bash", vec![], CONNECTIONS / 2, vec![knock(lab), Step::Close])?);
            flood.push(flooder(lab, "make", vec![], EXECUTIONS / 2, vec![shell.clone()])?);
        }
        among(lab, &mut flood)
    })?;
    let (connections, executions) = (counters.get("connect", "seen")?, counters.get("exec", "seen")?);
    // Before the first connection nothing is looked at.
    let flooded = connections >= 2 * u64::from(CONNECTIONS) && executions >= 2 * u64::from(EXECUTIONS) * 9 / 10;
    ensure!(flooded, "there was no flood: {counters:?}");
    Ok(())
}

/// Each of them has made a connection, so that the kernel side sends it, whole.
fn long_arguments(lab: &Lab) -> Result<()> {
    const EXECUTIONS: u32 = 50_000;
    let sensor = lab.start_sensor_without_events("")?;
    let tiny = lab.directory().join("bin").join("dash");
    tiny::write(&tiny)?;
    let long = "x".repeat(3900);
    let child = vec![knock(lab), exec_then(&tiny, &["dash", "-c", &long, &long], vec![])];
    let counters = twice(lab, &sensor, QUEUES + TABLE, || {
        let mut flood = Vec::new();
        for _ in 0..2 {
            flood.push(flooder(lab, "bash", vec![Step::User(NOBODY)], EXECUTIONS / 2, vec![fork(child.clone())])?);
        }
        among(lab, &mut flood)
    })?;
    let sent = counters.sum("exec", "sent_") + counters.sum("exec", "lost_");
    ensure!(sent >= 2 * u64::from(EXECUTIONS), "there was no flood: {counters:?}");
    Ok(())
}

/// Lets the kernel give more numbers to processes than the table of connections has places; back to what it was when dropped.
struct ProcessNumbers(String);

const PID_MAX: &str = "/proc/sys/kernel/pid_max";

impl ProcessNumbers {
    fn many() -> Result<Self> {
        let before = std::fs::read_to_string(PID_MAX)?;
        // The most that there may be on 64 bits (`PID_MAX_LIMIT`).
        std::fs::write(PID_MAX, "4194304")?;
        Ok(Self(before))
    }
}

impl Drop for ProcessNumbers {
    fn drop(&mut self) {
        // Nobody is left to tell if this fails.
        let _ = std::fs::write(PID_MAX, &self.0);
    }
}

/// Processes that connect, so many more that those are forgotten, and then become shells; each has an alert when this returns.
fn forgotten(lab: &Lab, sensor: &Sensor, flooding: u32) -> Result<Vec<Player>> {
    let bash = lab.program("bash")?;
    let mut shells = Vec::new();
    for _ in 0..SHELLS {
        let steps = vec![knock(lab), report("connected"), Step::Wait, exec(&bash, SHELL)];
        let mut shell = lab.play(&bash, &["bash"], steps)?;
        shell.reached("connected")?;
        shells.push(shell);
    }
    let mut flood = Vec::new();
    for _ in 0..2 {
        flood.push(flooder(lab, "zsh", vec![], flooding / 2, vec![fork(vec![knock(lab), Step::Close, knock(lab)])])?);
    }
    for player in &mut flood {
        player.go()?;
    }
    for player in &mut flood {
        player.reached_within("done", STORM)?;
    }
    let mut missing = Vec::new();
    for shell in &mut shells {
        shell.go()?;
        missing.push(shell.reached("end")?.pid);
    }
    until("an alert for each shell", || {
        missing.retain(|pid| sensor.count_alerts(of(*pid)).is_ok_and(|count| count == 0));
        Ok(missing.is_empty().then_some(()))
    })?;
    Ok(shells)
}

fn of(pid: u32) -> impl Fn(&Value) -> bool {
    move |alert| field(alert, "process.pid") == Some(&json!(pid))
}

/// The shells' connections are the oldest of all when the flood is over: the kernel side has forgotten them, and knows that it may have.
fn more_than_remembered(lab: &Lab) -> Result<()> {
    // What the kernel side remembers, and half as much again.
    const PROCESSES: u32 = 32_768 + 16_384;
    let _numbers = ProcessNumbers::many()?;
    // So long that a machine that is busy with other things makes that many in it.
    let config = "[rule]\nspan = \"20m\"\n[life]\noutputs = [\"stdout\"]\n";
    let sensor = lab.start_sensor_without_events(config)?;
    lab.canary(&sensor)?;
    let mut memory = Memory::before(sensor.pid())?;
    let mut shells = Vec::new();
    for _ in 0..2 {
        shells.extend(forgotten(lab, &sensor, PROCESSES)?);
        memory.loaded()?;
    }
    lab.canary(&sensor)?;
    for shell in &shells {
        let count = sensor.count_alerts(of(shell.pid()))?;
        ensure!(count == 1, "{count} alerts for one shell");
    }
    let assumed = sensor.count_alerts(|alert| field(alert, "sensor.assumed") == Some(&json!(["connection"])))?;
    let counters = sensor.stop_with_losses()?;
    memory.flat(QUEUES + TABLE).with_context(|| format!("{counters:?}"))?;
    let pressure = counters.get("exec", "sent_pressure")?;
    ensure!(pressure >= 2 * u64::from(SHELLS), "no pressure: {counters:?}, {assumed} connections were assumed");
    let degraded = |document: &Value| field(document, "event.action") == Some(&json!("sensor-degraded"));
    ensure!(sensor.count_alerts(degraded)? >= 1, "it does not say that it was under pressure");
    Ok(())
}
