//! While the sensor runs: a new configuration, rotated files, readers that are stuck or gone, queues that overflow.

use super::scene::{SHELL, Shell, closed, shell_after};
use super::{Case, Tag, tagged};
use crate::actor::step::{How, Outcome, Step, connect_by, exec, exec_then, report};
use crate::expect::field;
use crate::lab::Lab;
use crate::parent::ends_with_parent;
use crate::player::Guard;
use crate::sensor::{Ended, Sensor, command};
use crate::tail::Tail;
use crate::wait::until;
use anyhow::{Context, Result, ensure};
use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::time::Duration;

pub(super) const CASES: &[Case] = &[
    tagged("running: the configured networks and span", &[Tag::Own, Tag::Once], configured),
    tagged("running: a new configuration is in force without a gap", &[Tag::Own, Tag::Once], reloaded),
    tagged("running: a wrong new configuration changes nothing", &[Tag::Own, Tag::Once], reloaded_in_vain),
    tagged("running: the file of events is opened anew", &[Tag::Own, Tag::Once], rotated),
    tagged("running: a reader that is stuck does not keep it from ending", &[Tag::Own, Tag::Once], stuck_reader),
    tagged("running: a log that nobody reads holds up no alert", &[Tag::Own, Tag::Once], stuck_log),
    tagged("running: a reader that is gone is no end", &[Tag::Own, Tag::Once], gone_reader),
    tagged(
        "running: what finds no room while it stands still is counted",
        &[Tag::Own, Tag::Alone, Tag::Storm],
        overflow,
    ),
];

fn knock_at(ip: IpAddr) -> Step {
    connect_by(SocketAddr::new(ip, 9), How::Plain, Outcome::Refused)
}

fn knock(lab: &Lab) -> Step {
    connect_by(closed(lab), How::Plain, Outcome::Refused)
}

/// The configured networks replace the built-in ones, and the span is the configured one.
fn configured(lab: &Lab) -> Result<()> {
    let config = format!("[rule]\nspan = \"1s\"\nexcluded = [\"{}/32\"]\n", lab.local());
    let sensor = lab.start_sensor_with("sensor", &config)?;
    let _excluded = shell_after(lab, vec![knock_at(lab.local())])?;
    let _late = shell_after(lab, vec![knock(lab), Step::Sleep(1500)])?;
    let seen = shell_after(lab, vec![knock(lab)])?;
    let loopback = shell_after(lab, vec![knock_at(Ipv4Addr::LOCALHOST.into())])?;
    lab.expect_of(&sensor, &[seen.alert(), loopback.alert()])?;
    sensor.stop_cleanly().map(drop)
}

/// What is pending at the reload still counts, by the new configuration.
fn reloaded(lab: &Lab) -> Result<()> {
    let sensor = lab.start_sensor()?;
    let bash = lab.program("bash")?;
    let steps = vec![knock(lab), report("connected"), Step::Wait, exec(&bash, SHELL)];
    let mut pending = lab.play(&bash, &["bash"], steps)?;
    pending.reached("connected")?;
    let before = shell_after(lab, vec![knock_at(lab.local())])?;
    lab.expect_of(&sensor, &[before.alert()])?;
    sensor
        .reload(&format!("{}[rule]\nexcluded = [\"{}/32\"]\n", lab.hooks(), lab.local()), "configuration read again")?;
    pending.go()?;
    let pid = pending.reached("end")?.pid;
    let pending = Shell::new(pending, bash, pid);
    let _excluded = shell_after(lab, vec![knock_at(lab.local())])?;
    let loopback = shell_after(lab, vec![knock_at(Ipv4Addr::LOCALHOST.into())])?;
    lab.expect_of(&sensor, &[before.alert(), pending.alert(), loopback.alert()])?;
    sensor.stop_cleanly().map(drop)
}

/// It says what is wrong, and goes on as it was.
fn reloaded_in_vain(lab: &Lab) -> Result<()> {
    let sensor = lab.start_sensor()?;
    sensor.reload("[rule]\nspam = 1\n", "spam")?;
    let shell = shell_after(lab, vec![knock(lab)])?;
    lab.expect_of(&sensor, &[shell.alert()])?;
    sensor.stop_cleanly().map(drop)
}

/// As logrotate does it: the file is moved away, and the sensor told to open it again.
fn rotated(lab: &Lab) -> Result<()> {
    let sensor = lab.start_sensor()?;
    let first = shell_after(lab, vec![knock(lab)])?;
    lab.expect_of(&sensor, &[first.alert()])?;
    let old = lab.directory().join("old.ndjson");
    std::fs::rename(sensor.events(), &old)?;
    sensor.signal(Signal::USR1)?;
    until("the file of events", || Ok(sensor.events().exists().then_some(())))?;
    let second = shell_after(lab, vec![knock(lab)])?;
    lab.expect_of(&sensor, &[first.alert(), second.alert()])?;
    sensor.stop_cleanly()?;
    let [old, new] = [std::fs::read_to_string(old)?, std::fs::read_to_string(sensor.events())?];
    let about = |text: &str, shell: &Shell| -> Result<usize> {
        let events = text.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
        Ok(events.iter().filter(|event| field(event, "process.pid") == Some(&json!(shell.pid()))).count())
    };
    let counts = [about(&old, &first)?, about(&old, &second)?, about(&new, &first)?, about(&new, &second)?];
    ensure!(counts == [2, 0, 0, 2], "events of two shells in the old and in the new file: {counts:?}");
    Ok(())
}

/// Makes more alerts than a pipe holds.
fn fill(lab: &Lab) -> Result<Vec<Shell>> {
    (0..40).map(|_| shell_after(lab, vec![knock(lab)])).collect()
}

/// The pipe is full, and nobody reads it. The alerts cannot be delivered, which the end says.
fn stuck_reader(lab: &Lab) -> Result<()> {
    let (reader, writer) = std::io::pipe()?;
    let directory = lab.directory().join("sensor");
    let sensor = Sensor::start_with_output(lab.binary(), &directory, lab.hooks(), Stdio::from(writer))?;
    let _shells = fill(lab)?;
    let Ended { code, counters } = sensor.stop(Signal::TERM)?;
    counters.with_context(|| format!("it did not report its counters: {}", sensor.log_tail()))?.balance()?;
    ensure!(code == Some(1), "it ended with {code:?} although alerts were lost: {}", sensor.log_tail());
    drop(reader);
    Ok(())
}

/// Standard error is a full pipe. What is to be logged then waits or is dropped, alerts come all the same, and so does the end.
fn stuck_log(lab: &Lab) -> Result<()> {
    let directory = lab.directory().join("sensor");
    std::fs::create_dir_all(&directory)?;
    let mut command = command(lab.binary(), &directory, lab.hooks())?;
    let alerts = directory.join("out.ndjson");
    let (log, mut full) = std::io::pipe()?;
    command.stdin(Stdio::null()).stdout(File::create(&alerts)?).stderr(full.try_clone()?);
    ends_with_parent(&mut command);
    let mut sensor = Guard::spawn(&mut command)?;
    let mut log = BufReader::new(log);
    let mut line = String::new();
    while !line.contains("sensor ready") {
        line.clear();
        ensure!(log.read_line(&mut line)? > 0, "the sensor ended before it was ready");
    }
    rustix::fs::fcntl_setfl(&full, OFlags::NONBLOCK)?;
    while full.write(b"x").is_ok() {}
    // The flag is the sensor's too: it must wait where it writes.
    rustix::fs::fcntl_setfl(&full, OFlags::empty())?;
    // Both are told in the log.
    let pid = Pid::from_raw(i32::try_from(sensor.pid())?).context("process number")?;
    for _ in 0..3 {
        kill_process(pid, Signal::HUP)?;
        kill_process(pid, Signal::USR1)?;
    }
    let shell = shell_after(lab, vec![knock(lab)])?;
    let mut tail = Tail::new(&alerts)?;
    until("the alert", || {
        tail.read()?;
        let of_shell = |alert: &Value| field(alert, "process.pid") == Some(&json!(shell.pid()));
        Ok(tail.documents()?.iter().any(of_shell).then_some(()))
    })?;
    kill_process(pid, Signal::TERM)?;
    let status = sensor.wait()?;
    ensure!(status.code() == Some(0), "it ended with {status}");
    Ok(())
}

/// It goes on, since alerts may have other ways out, and says at the end what it could not deliver.
fn gone_reader(lab: &Lab) -> Result<()> {
    let (reader, writer) = std::io::pipe()?;
    let directory = lab.directory().join("sensor");
    let sensor = Sensor::start_with_output(lab.binary(), &directory, lab.hooks(), Stdio::from(writer))?;
    drop(reader);
    let _shells = fill(lab)?;
    let Ended { code, counters } = sensor.stop(Signal::TERM)?;
    let counters = counters.with_context(|| format!("it did not report its counters: {}", sensor.log_tail()))?;
    counters.balance()?;
    ensure!(counters.get("exec", "sent_armed")? >= 40, "it did not see the shells: {counters:?}");
    ensure!(code == Some(1), "it ended with {code:?} although alerts were lost: {}", sensor.log_tail());
    Ok(())
}

/// More shells than the queue of executions holds: each of them, and the last one, is an alert or is counted as lost.
fn overflow(lab: &Lab) -> Result<()> {
    const SHELLS: u32 = 1000;
    let sensor = lab.start_sensor()?;
    let bash = lab.program("bash")?;
    let long = "v".repeat(8000);
    let shell = Step::Fork {
        child: vec![knock(lab), exec_then(&bash, &["bash", "-i", &long], vec![])],
        reap: true,
        pids: Vec::new(),
    };
    sensor.signal(Signal::STOP)?;
    let steps = vec![Step::Repeat(SHELLS, vec![shell]), report("done"), Step::Hold];
    let mut player = lab.play(&bash, &["bash"], steps)?;
    let done = player.reached_within("done", Duration::from_secs(600));
    sensor.signal(Signal::CONT)?;
    done?;
    let directory = lab.directory().to_string_lossy().into_owned();
    let ours = |alert: &Value| {
        field(alert, "process.executable").and_then(Value::as_str).is_some_and(|path| path.starts_with(&directory))
    };
    let late = shell_after(lab, vec![knock(lab)])?;
    until("the alert of the last shell", || {
        let alerts = sensor.alerts(|alert| field(alert, "process.pid") == Some(&json!(late.pid())))?;
        Ok((!alerts.is_empty()).then_some(()))
    })?;
    let alerts = u64::try_from(sensor.alerts(ours)?.len())?;
    let counters = sensor.stop_with_losses()?;
    let lost = counters.sum("exec", "lost_");
    // Some alert says so, and all together say how many.
    let marked = sensor.alerts(|alert| field(alert, "sensor.lost").is_some())?;
    let causes = marked.iter().filter_map(|alert| field(alert, "sensor.lost.causes")?.as_array()).flatten();
    let of_ring = causes.filter(|cause| field(cause, "place") == Some(&json!("exec")));
    let said: u64 = of_ring.filter_map(|cause| field(cause, "count")?.as_u64()).sum();
    ensure!(said == lost, "alerts say that {said} executions were lost, the counters {lost}");
    ensure!(lost > 0, "nothing was lost, so the queue is longer than this test thinks: {counters:?}");
    ensure!(alerts > 1 && alerts + lost > u64::from(SHELLS), "{alerts} alerts for {SHELLS} shells: {counters:?}");
    Ok(())
}
