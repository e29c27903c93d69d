//! Clocks that jump: the wall clock is set, the host is asleep. Both happen to the whole system, so that it must be one that was made for
//! the tests; the same with clocks of their own is a test of the sensor's library (`sensor/tests/live.rs`).

use super::scene::{SHELL, Shell, closed, shell_after};
use super::{Case, Tag, tagged};
use crate::actor::step::{How, Outcome, Step, connect_by, exec, report};
use crate::expect::field;
use crate::lab::Lab;
use crate::sensor::Sensor;
use crate::skip::skip;
use crate::tail::Tail;
use crate::wait::until;
use anyhow::{Context, Result, bail, ensure};
use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

pub(super) const CASES: &[Case] = &[
    tagged("clock: set back and forward between a connection and its shell", &[Tag::Own, Tag::Alone, Tag::Once], set),
    tagged("clock: the host is asleep between a connection and its shell", &[Tag::Own, Tag::Alone, Tag::Once], asleep),
];

/// Milliseconds.
const DAY: i64 = 86_400_000;
/// How far what a document says may be from what the test has read from the same clock, in milliseconds: an emulated processor that
/// others use too takes its time.
const NEAR: i64 = 60_000;

fn knock(lab: &Lab) -> Step {
    connect_by(closed(lab), How::Plain, Outcome::Refused)
}

/// The wall clock, in milliseconds.
fn wall() -> i64 {
    let now = clock_gettime(ClockId::Realtime);
    now.tv_sec * 1000 + now.tv_nsec / 1_000_000
}

/// Has the wall clock set, and what it would have been when this is dropped.
struct WallClock {
    /// Milliseconds that it is ahead.
    ahead: i64,
}

impl WallClock {
    /// Sets it so many milliseconds ahead of what it is, or back.
    fn set(&mut self, millis: i64) -> Result<()> {
        let now = clock_gettime(ClockId::Realtime);
        let (seconds, rest) = (millis.div_euclid(1000), millis.rem_euclid(1000));
        let nanos = now.tv_nsec + rest * 1_000_000;
        let time = Timespec { tv_sec: now.tv_sec + seconds + nanos / 1_000_000_000, tv_nsec: nanos % 1_000_000_000 };
        clock_settime(ClockId::Realtime, time).context("the wall clock")?;
        self.ahead += millis;
        Ok(())
    }
}

impl Drop for WallClock {
    fn drop(&mut self) {
        // Nobody is left to tell if this fails.
        let _ = self.set(-self.ahead);
    }
}

/// A sensor whose span is so long that an emulated processor does all of it meanwhile, and its stream.
fn start(lab: &Lab) -> Result<(Sensor, PathBuf)> {
    let stream = lab.directory().join("stream.ndjson");
    let config = format!("[rule]\nspan = \"5m\"\n[output]\nfile = \"{}\"\n", stream.display());
    Ok((lab.start_sensor_with("sensor", &config)?, stream))
}

/// A bash that connects, waits while `jump` happens, and becomes a shell; its number. What is expected of its alert is for [`alert_of`]
/// to say: it may come later than others do.
fn around(lab: &Lab, jump: impl FnOnce() -> Result<()>) -> Result<u32> {
    let bash = lab.program("bash")?;
    let steps = vec![knock(lab), report("connected"), Step::Wait, exec(&bash, SHELL)];
    let mut player = lab.play(&bash, &["bash"], steps)?;
    player.reached("connected")?;
    jump()?;
    player.go()?;
    let pid = player.reached("end")?.pid;
    lab.ignore(pid);
    Ok(pid)
}

/// What the stream tells of this kind, once there is so much of it.
fn told(stream: &Path, action: &str, count: usize) -> Result<Vec<Value>> {
    let mut tail = Tail::new(stream)?;
    until(&format!("{count} times {action}"), || {
        tail.read()?;
        let of = |one: &&Value| field(one, "event.action") == Some(&json!(action));
        let found: Vec<Value> = tail.documents()?.iter().filter(of).cloned().collect();
        Ok((found.len() >= count).then_some(found))
    })
}

fn number(document: &Value, path: &str) -> Result<i64> {
    field(document, path).and_then(Value::as_i64).with_context(|| format!("no {path} in {document}"))
}

/// A time of a document, in nanoseconds.
fn time(document: &Value, path: &str) -> Result<i128> {
    let text = field(document, path).and_then(Value::as_str).with_context(|| format!("no {path} in {document}"))?;
    Ok(text.parse::<jiff::Timestamp>()?.as_nanosecond())
}

/// From the boot clock to the wall clock in an event's document: whole milliseconds.
fn offset(event: &Value) -> Result<i64> {
    let nanos = time(event, "@timestamp")? - i128::from(number(event, "sensor.boot_ns")?);
    ensure!(nanos % 1_000_000 == 0, "{nanos} ns are no whole milliseconds: {event}");
    Ok(i64::try_from(nanos / 1_000_000)?)
}

/// The one alert about a process, to be called when all have come. Both documents in it have the same offset, and the time between them is what has passed.
fn alert_of(sensor: &Sensor, pid: u32) -> Result<Value> {
    let alerts = sensor.alerts(|alert| field(alert, "process.pid") == Some(&json!(pid)))?;
    let [alert] = &alerts[..] else { bail!("{} alerts about {pid}", alerts.len()) };
    ensure!(field(alert, "process.args") == Some(&json!(SHELL)), "{alert}");
    let [connection, exec] = [0, 1].map(|place| field(alert, &format!("sensor.sequence.{place}")));
    let (connection, exec) = (connection.context("no connection")?, exec.context("no execution")?);
    let offsets = (offset(connection)?, offset(exec)?);
    ensure!(offsets.0 == offsets.1, "the offset has changed in between: {offsets:?} in {alert}");
    ensure!(time(alert, "@timestamp")? == time(exec, "@timestamp")?, "{alert}");
    let [begin, end] = [time(connection, "@timestamp")?, time(exec, "@timestamp")?].map(|at| at.div_euclid(1_000_000));
    ensure!(end - begin == i128::from(number(alert, "sensor.elapsed_ms")?), "{begin} to {end} in {alert}");
    Ok(alert.clone())
}

/// A shell whose connection too is of now is dated by the clock of now.
fn dated_right(lab: &Lab, sensor: &Sensor) -> Result<Shell> {
    let before = wall();
    let shell = shell_after(lab, vec![knock(lab)])?;
    let about = |alert: &Value| field(alert, "process.pid") == Some(&json!(shell.pid()));
    until("the alert", || Ok((sensor.count_alerts(about)? > 0).then_some(())))?;
    let after = wall();
    let at = i64::try_from(time(&alert_of(sensor, shell.pid())?, "@timestamp")?.div_euclid(1_000_000))?;
    // The offset is cut off to the millisecond.
    ensure!((before - 2..=after + 2).contains(&at), "dated {at}, and it was from {before} to {after}");
    Ok(shell)
}

/// The time between the two is that of the clock which is never set, in documents too, and the stream tells of each step.
fn set(lab: &Lab) -> Result<()> {
    if !lab.is_disposable() {
        return skip("it sets the clock of the whole system: run in virtual machines");
    }
    let (sensor, stream) = start(lab)?;
    let mut clock = WallClock { ahead: 0 };
    let steps = [-DAY, 2 * DAY + 500, 700, -DAY - 1200];
    let (mut expected, mut pids) = (Vec::new(), Vec::new());
    for (count, step) in steps.into_iter().enumerate() {
        pids.push(around(lab, || clock.set(step))?);
        let last = told(&stream, "sensor-clock-set", count + 1)?.pop().context("none")?;
        let said = number(&last, "sensor.clock.step_ms")?;
        ensure!((said - step).abs() < 100, "set by {step} ms, and it says {last}");
        let to = i64::try_from(time(&last, "sensor.clock.to")? / 1_000_000)?;
        ensure!((wall() - to).abs() < NEAR, "it is {}, and it says {last}", wall());
        expected.push(dated_right(lab, &sensor)?.alert());
    }
    drop(clock);
    lab.expect_of(&sensor, &expected)?;
    for pid in pids {
        let elapsed = number(&alert_of(&sensor, pid)?, "sensor.elapsed_ms")?;
        ensure!(elapsed < NEAR, "{elapsed} ms between the two");
    }
    ensure!(told(&stream, "sensor-clock-set", 1)?.len() == steps.len(), "something else was told as a step");
    sensor.stop_cleanly().map(drop)
}

/// What is written here is what the system then does (Documentation/admin-guide/pm/sleep-states.rst of the kernel).
const STATE: &str = "/sys/power/state";
/// What `mem` means. An emulated machine has nothing that wakes it from a lighter sleep than this.
const KIND: &str = "/sys/power/mem_sleep";
const DEEP: &str = "deep";
const ALARM: &str = "/sys/class/rtc/rtc0/wakealarm";
/// Seconds.
const SLEEP: i64 = 4;

/// Time goes on for the rule, which is about what has really passed, and the stream tells of it.
fn asleep(lab: &Lab) -> Result<()> {
    if !lab.is_disposable() {
        return skip("it puts the whole system to sleep: run in virtual machines");
    }
    let kinds = fs::read_to_string(KIND).unwrap_or_default();
    if !kinds.contains(DEEP) || !fs::exists(ALARM)? {
        return skip(format!("this system cannot sleep and be woken by its clock, only: {:?}", kinds.trim()));
    }
    fs::write(KIND, DEEP).context(KIND)?;
    let sleep = || -> Result<()> {
        fs::write(ALARM, "0").context(ALARM)?;
        fs::write(ALARM, format!("+{SLEEP}")).context(ALARM)?;
        fs::write(STATE, "mem").context(STATE)
    };
    let (sensor, stream) = start(lab)?;
    let before = wall();
    let pid = around(lab, sleep)?;
    let fast = wall() - before;
    let told = told(&stream, "sensor-suspended", 1)?.pop().context("none")?;
    let (from, to) = (time(&told, "event.start")?, time(&told, "event.end")?);
    ensure!(from < to && to - from >= 1_000_000_000, "from {from} to {to}: {told}");
    let shell = dated_right(lab, &sensor)?;
    lab.expect_of(&sensor, &[shell.alert()])?;
    let elapsed = number(&alert_of(&sensor, pid)?, "sensor.elapsed_ms")?;
    ensure!((1000..=fast).contains(&elapsed), "{elapsed} ms between the two, {fast} ms in all");
    sensor.stop_cleanly().map(drop)
}
