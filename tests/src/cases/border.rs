//! Many sequences near the edge of a short span: the live answer and that of a replay are one.

use super::scene::{SHELL, closed};
use super::{Case, Tag, tagged};
use crate::actor::step::{How, Outcome, Step, connect_by, exec_then, fork, report};
use crate::expect::field;
use crate::lab::Lab;
use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value};
use std::process::Command;
use std::time::Duration;

pub(super) const CASES: &[Case] =
    &[tagged("border: 200 sequences near the edge of the span, live and replayed", &[Tag::Own], near)];

/// Each alert of its own, as in a replay.
const CONFIG: &str = "[rule]\nspan = \"200ms\"\n[noise]\ncollapse = \"off\"\nper_minute = 0\n";
const PLAYERS: usize = 8;
const SEQUENCES: usize = 25;

/// Some well within the span, most within a few milliseconds of its end.
fn pause(number: usize) -> Step {
    let millis = [100, 196, 197, 198, 199, 199, 200, 200, 201, 203];
    Step::Sleep(millis.get(number % millis.len()).copied().unwrap_or(200))
}

/// Alerts are compared field by field, but for when they were made, what was lost before them, and a local port that became known
/// after the connection's document had been written.
fn near(lab: &Lab) -> Result<()> {
    let sensor = lab.start_sensor_with("sensor", CONFIG)?;
    let bash = lab.program("bash")?;
    let sequence = |number| {
        let knock = connect_by(closed(lab), How::Plain, Outcome::Refused);
        fork(vec![knock, pause(number), exec_then(&bash, SHELL, vec![])])
    };
    let steps = |player: usize| {
        let sequences = (0..SEQUENCES).map(|number| sequence(player + number));
        sequences.chain([report("done"), Step::Hold]).collect::<Vec<_>>()
    };
    let mut players =
        (0..PLAYERS).map(|player| lab.play(&bash, &["bash"], steps(player))).collect::<Result<Vec<_>>>()?;
    for player in &mut players {
        player.reached_within("done", Duration::from_secs(120))?;
    }
    sensor.stop_cleanly()?;
    let mut live = sensor.alerts(|_| true)?;
    let mut replayed = replay(lab, &lab.directory().join("sensor/sensor.toml"), &sensor.events())?;
    // A replay goes by the time of events, a running sensor by when the kernel hands them over: of two CPUs, one may be held up.
    for alerts in [&mut live, &mut replayed] {
        alerts.sort_by_key(|alert| field(alert, "event.id").map(Value::to_string));
    }
    ensure!(live.len() == replayed.len(), "{} alerts live, {} replayed", live.len(), replayed.len());
    for (live, replayed) in live.iter().zip(&replayed) {
        let port = field(replayed, "source.port").is_some();
        let [live, replayed] = [live, replayed].map(|alert| comparable(alert, port));
        let wrong = difference("alert", &live, &replayed);
        ensure!(wrong.is_empty(), "{}: {}", field(&live, "message").unwrap_or_default(), wrong.join("; "));
    }
    let directory = lab.directory().to_string_lossy().into_owned();
    let ours = |alert: &&Value| {
        field(alert, "process.executable").and_then(Value::as_str).is_some_and(|path| path.starts_with(&directory))
    };
    let alerts = live.iter().filter(ours).count();
    let all = PLAYERS * SEQUENCES;
    ensure!(alerts > 0 && alerts < all, "{alerts} of {all} sequences gave an alert: they were not near the edge");
    Ok(())
}

fn replay(lab: &Lab, config: &std::path::Path, events: &std::path::Path) -> Result<Vec<Value>> {
    let mut command = Command::new(lab.binary());
    let output = command.args(["replay", "--format", "json", "--config"]).args([config, events]).output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && errors.is_empty(), "replay ended with {}: {errors}", output.status);
    let alerts = String::from_utf8(output.stdout)?;
    alerts.lines().map(|line| serde_json::from_str(line).context("an alert")).collect()
}

/// The alert without what a replay cannot know.
fn comparable(alert: &Value, port: bool) -> Value {
    let mut alert = alert.clone();
    if let Some(sensor) = alert.get_mut("sensor").and_then(Value::as_object_mut) {
        if let Some(Value::Array(redacted)) = sensor.get_mut("redacted") {
            redacted.retain(|place| place != "sensor.ancestors.args");
        }
        sensor.retain(|name, value| name != "redacted" || value.as_array().is_none_or(|all| !all.is_empty()));
    }
    let mut remove = |pointer: &str, name: &str| {
        alert.pointer_mut(pointer).and_then(Value::as_object_mut).and_then(|object| object.shift_remove(name))
    };
    remove("/event", "created");
    remove("/sensor", "lost");
    // The sensor looks for their arguments when it makes an alert.
    remove("/sensor", "ancestors");
    if !port {
        remove("/source", "port");
        remove("/sensor/sequence/0/source", "port");
        remove("/sensor/sequence/0/sensor", "absent");
    }
    alert
}

/// Where two documents differ, and what the first and the second say there.
fn difference(path: &str, live: &Value, replayed: &Value) -> Vec<String> {
    match (live, replayed) {
        (Value::Object(one), Value::Object(other)) => {
            let names = one.keys().chain(other.keys().filter(|name| !one.contains_key(*name)));
            let value = |object: &Map<String, Value>, name| object.get(name).cloned().unwrap_or_default();
            names
                .flat_map(|name| difference(&format!("{path}.{name}"), &value(one, name), &value(other, name)))
                .collect()
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            let pairs = one.iter().zip(other).enumerate();
            pairs.flat_map(|(place, (one, other))| difference(&format!("{path}.{place}"), one, other)).collect()
        }
        (one, other) if one == other => Vec::new(),
        (one, other) => vec![format!("{path} is {one} live and {other} replayed")],
    }
}
