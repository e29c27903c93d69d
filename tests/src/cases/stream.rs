//! What the stream of alerts says of the sensor itself.

use super::scene::{SHELL, closed, shell_after};
use super::{Case, Tag, tagged};
use crate::actor::step::{How, Outcome, Step, connect_by, exec_then, report};
use crate::expect::{Expect, RULE, field};
use crate::lab::Lab;
use crate::player::Player;
use crate::sensor::Sensor;
use crate::tail::Tail;
use crate::wait::until;
use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

pub(super) const CASES: &[Case] = &[
    tagged("stream: the sensor's life from its start to its end", &[Tag::Own, Tag::Once], life),
    tagged("stream: a sensor that stood still says so", &[Tag::Own, Tag::Once], stood_still),
    tagged("stream: what a process repeats is told once, with its number", &[Tag::Own, Tag::Once], repeated),
    tagged("stream: alerts beyond the limit are counted and told", &[Tag::Own, Tag::Once], held),
    tagged("stream: standard output has alerts alone", &[Tag::Own, Tag::Once], alerts_alone),
];

/// A file that a sensor writes its alerts to.
fn file(lab: &Lab) -> PathBuf {
    lab.directory().join("stream.ndjson")
}

/// A sensor with that file.
fn start(lab: &Lab, more: &str) -> Result<Sensor> {
    lab.start_sensor_with("sensor", &config(lab, more))
}

fn config(lab: &Lab, more: &str) -> String {
    format!("[output]\nfile = \"{}\"\n{more}", file(lab).display())
}

/// What is told of the sensor itself so far, by action.
fn told(lab: &Lab) -> Result<Vec<(String, Value)>> {
    let mut tail = Tail::new(&file(lab))?;
    tail.read()?;
    let life = tail.documents()?.iter().filter(|one| field(one, "event.kind") != Some(&json!("alert")));
    life.map(|one| {
        let action = field(one, "event.action").and_then(Value::as_str).context("no event.action")?;
        Ok((action.to_owned(), one.clone()))
    })
    .collect()
}

/// Waits until something is told; all documents about it.
fn until_told(lab: &Lab, action: &str, count: usize) -> Result<Vec<Value>> {
    until(&format!("{count} times {action}"), || {
        let found: Vec<_> = told(lab)?.into_iter().filter(|(one, _)| one == action).map(|(_, one)| one).collect();
        Ok((found.len() >= count).then_some(found))
    })
}

fn life(lab: &Lab) -> Result<()> {
    let sensor = start(lab, "[life]\nheartbeat = \"10s\"\n")?;
    let shell = shell_after(lab, vec![connect_by(closed(lab), How::Plain, Outcome::Refused)])?;
    lab.expect_of(&sensor, &[shell.alert()])?;
    let heartbeats = until_told(lab, "sensor-heartbeat", 1)?;
    let alerts = field(heartbeats.first().context("none")?, "sensor.totals.alerts").and_then(Value::as_u64);
    // The test's shell and the canary.
    ensure!(alerts >= Some(2), "{heartbeats:?}");
    let hooks = lab.hooks();
    sensor.reload(&format!("{hooks}{}", config(lab, "[rule]\nspan = \"4s\"\n")), "configuration read again")?;
    sensor.reload("[rule]\nspam = 1\n", "spam")?;
    sensor.reload(&format!("{hooks}{}", config(lab, "[host]\nid = \"another\"\n")), "host.id")?;
    until_told(lab, "sensor-reloaded", 3)?;
    sensor.stop_cleanly()?;
    let told: Vec<_> = told(lab)?.into_iter().filter(|(action, _)| action != "sensor-heartbeat").collect();
    let actions: Vec<&str> = told.iter().map(|(action, _)| action.as_str()).collect();
    let expected = ["sensor-started", "sensor-reloaded", "sensor-reloaded", "sensor-reloaded", "sensor-stopped"];
    ensure!(actions == expected, "{actions:?}");
    let of =
        |place: usize, path: &str| told.get(place).and_then(|(_, one)| field(one, path)).cloned().unwrap_or_default();
    let outcomes: Vec<Value> = (1..=4).map(|place| of(place, "event.outcome")).collect();
    ensure!(outcomes == ["success", "failure", "success", "success"], "{outcomes:?}");
    ensure!(of(2, "event.reason").to_string().contains("spam"), "{}", of(2, "event.reason"));
    ensure!(of(3, "sensor.restart_needed") == json!(["host.id"]), "{}", of(3, "sensor.restart_needed"));
    ensure!(of(0, "sensor.run.id") == of(4, "sensor.run.id"), "two runs: {told:?}");
    ensure!(of(4, "sensor.totals.lost") == json!(0), "{}", of(4, "sensor.totals"));
    // The end's numbers are those of the log.
    ensure!(of(4, "sensor.totals.alerts").as_u64() >= alerts, "{}", of(4, "sensor.totals"));
    Ok(())
}

/// As by a debugger, or by a host that has no time for it.
fn stood_still(lab: &Lab) -> Result<()> {
    let sensor = start(lab, "")?;
    until_told(lab, "sensor-started", 1)?;
    sensor.signal(Signal::STOP)?;
    // Longer than what counts as late: this is about time.
    sleep(Duration::from_millis(16_000));
    sensor.signal(Signal::CONT)?;
    let stalled = until_told(lab, "sensor-stalled", 1)?;
    let [stalled] = &stalled[..] else { anyhow::bail!("{stalled:?}") };
    let [from, to] = ["event.start", "event.end"].map(|path| field(stalled, path).map(Value::to_string));
    ensure!(from.is_some() && from < to, "from {from:?} to {to:?}");
    sensor.stop_cleanly().map(drop)
}

/// Executes a shell again and again in one process, each time after another connection to the same place.
fn again(lab: &Lab, times: u32) -> Result<(Player, PathBuf, u32)> {
    let bash = lab.program("bash")?;
    let mut steps = vec![report("end"), Step::Hold];
    for _ in 0..times {
        steps = vec![connect_by(closed(lab), How::Plain, Outcome::Refused), exec_then(&bash, SHELL, steps)];
    }
    let mut player = lab.play(&bash, &["bash"], steps)?;
    let pid = player.reached("end")?.pid;
    Ok((player, bash, pid))
}

/// The first at once, the others as one; another process at once too.
fn repeated(lab: &Lab) -> Result<()> {
    let sensor = start(lab, "[noise]\ncollapse = \"1h\"\n")?;
    let (_player, bash, pid) = again(lab, 5)?;
    let first = Expect::alert(pid, &bash, SHELL).field("sensor.repeats", Value::Null);
    lab.expect_of(&sensor, std::slice::from_ref(&first))?;
    let (_other, _, other) = again(lab, 1)?;
    let other = Expect::alert(other, &bash, SHELL);
    lab.expect_of(&sensor, &[first, other])?;
    // At the end nothing is left untold.
    sensor.stop_cleanly()?;
    let of_it = |alert: &Value| field(alert, "process.pid") == Some(&json!(pid));
    let repeats = sensor.alerts(|alert| of_it(alert) && field(alert, "sensor.repeats").is_some())?;
    let counts: Vec<_> = repeats.iter().filter_map(|alert| field(alert, "sensor.repeats.count")).collect();
    ensure!(counts == [&json!(4)], "{counts:?}");
    // Nor does it take the end.
    let sensor = lab.start_sensor_with("short", "[noise]\ncollapse = \"1s\"\n")?;
    let (_player, bash, pid) = again(lab, 3)?;
    let first = Expect::alert(pid, &bash, SHELL);
    let repeats = first.clone().field("sensor.repeats.count", 2);
    lab.expect_of(&sensor, &[first.field("sensor.repeats", Value::Null), repeats])?;
    sensor.stop_cleanly().map(drop)
}

fn held(lab: &Lab) -> Result<()> {
    let sensor = start(lab, "[noise]\ncollapse = \"off\"\nper_minute = 3\n")?;
    let (_player, _, pid) = again(lab, 5)?;
    let shells = |alert: &Value| field(alert, "process.pid") == Some(&json!(pid));
    until("the alerts within the limit", || Ok((sensor.alerts(shells)?.len() >= 3).then_some(())))?;
    sensor.stop_cleanly()?;
    let alerts = sensor.alerts(shells)?;
    ensure!(alerts.len() == 3, "{} alerts", alerts.len());
    // Other tests may be held back too.
    let (ip, port) = (json!(closed(lab).ip().to_string()), json!(closed(lab).port()));
    let mut held = until_told(lab, "sensor-held-alerts", 1)?;
    held.retain(|one| field(one, "destination.ip") == Some(&ip) && field(one, "destination.port") == Some(&port));
    let facts: Vec<_> = held.iter().map(|one| [field(one, "sensor.held"), field(one, "rule.id")]).collect();
    ensure!(facts == [[Some(&json!(2)), Some(&json!(RULE))]], "{facts:?}");
    let total = held.first().and_then(|one| field(one, "sensor.totals.held")?.as_u64());
    ensure!(total >= Some(2), "{total:?}");
    Ok(())
}

/// Whatever else is told, and where.
fn alerts_alone(lab: &Lab) -> Result<()> {
    let sensor = start(lab, "")?;
    let shell = shell_after(lab, vec![connect_by(closed(lab), How::Plain, Outcome::Refused)])?;
    lab.expect_of(&sensor, &[shell.alert()])?;
    sensor.stop_cleanly()?;
    let others = sensor.alerts(|document| field(document, "event.kind") != Some(&json!("alert")))?;
    ensure!(others.is_empty(), "{others:?}");
    until_told(lab, "sensor-stopped", 1)?;
    let both = lab.start_sensor_with("both", "[life]\noutputs = [\"stdout\"]\n")?;
    both.stop_cleanly()?;
    let others = both.alerts(|document| field(document, "event.kind") != Some(&json!("alert")))?;
    let actions: Vec<_> = others.iter().filter_map(|one| field(one, "event.action")?.as_str()).collect();
    ensure!(actions == ["sensor-started", "sensor-stopped"], "{actions:?}");
    Ok(())
}
