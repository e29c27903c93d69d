//! The numbers over HTTP: what they say, that they agree with each other and with the counters at the end, and that the dashboard
//! and the alert rules in `deploy/` ask for nothing else.

use super::scene::{closed, shell_after};
use super::{Case, Tag, tagged};
use crate::actor::step::{How, Outcome, connect_by};
use crate::lab::Lab;
use crate::scrape::{get, scrape};
use crate::sensor::Sensor;
use crate::wait::until;
use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

pub(super) const CASES: &[Case] = &[
    tagged("metrics: agree with each other and with the end", &[Tag::Own, Tag::Once], agree),
    tagged("metrics: what is shipped asks for what exists", &[Tag::Own, Tag::Once], shipped),
    tagged("metrics: the socket of a killed sensor is in nobody's way", &[Tag::Own, Tag::Once], left_behind),
];

/// Text of the files that ask for metrics.
const ASKING: [&str; 2] = [
    include_str!("../../../deploy/prometheus/sensor-rules.yml"),
    include_str!("../../../deploy/prometheus/grafana-dashboard.json"),
];

fn start(lab: &Lab) -> Result<(Sensor, PathBuf)> {
    let socket = lab.directory().join("metrics");
    let sensor = lab.start_sensor_with("sensor", &format!("[metrics]\nlisten = \"{}\"\n", socket.display()))?;
    Ok((sensor, socket))
}

fn sum(samples: &BTreeMap<String, f64>, name: &str, label: &str) -> f64 {
    let of = |(sample, _): &(&String, &f64)| sample.split('{').next() == Some(name) && sample.contains(label);
    samples.iter().filter(of).map(|(_, value)| value).sum()
}

fn agree(lab: &Lab) -> Result<()> {
    let (sensor, socket) = start(lab)?;
    let shells = (0..3).map(|_| shell_after(lab, vec![connect_by(closed(lab), How::Plain, Outcome::Refused)]));
    let shells = shells.collect::<Result<Vec<_>>>()?;
    lab.expect_of(&sensor, &shells.iter().map(super::scene::Shell::alert).collect::<Vec<_>>())?;
    let ours = f64::from(u32::try_from(shells.len())?);
    // Other tests make alerts too; what happens between two readings of the counters agrees a moment later.
    let samples = until("the numbers to agree", || {
        let samples = scrape(&socket)?;
        let alerts = sum(&samples, "sensor_alerts_total", "");
        let hooks = ["connect", "accept", "graft", "exec"].map(|hook| format!("hook=\"{hook}\""));
        let agree = alerts >= ours
            && alerts == sum(&samples, "sensor_output_documents_total", "output=\"stdout\",result=\"delivered\"")
            && alerts == sum(&samples, "sensor_alert_latency_seconds_count", "")
            && alerts == sum(&samples, "sensor_alert_latency_seconds_bucket", "le=\"+Inf\"")
            && hooks.iter().all(|hook| {
                sum(&samples, "sensor_kernel_events_seen_total", hook)
                    == sum(&samples, "sensor_kernel_events_total", hook)
            });
        Ok(agree.then_some(samples))
    })?;
    let hooks = sensor.hooks();
    for (fact, kind) in [("connect", &hooks.connect), ("accept", &hooks.accept)] {
        let name = format!("sensor_hook_info{{fact=\"{fact}\",hook=\"{kind}\"}}");
        ensure!(samples.get(&name) == Some(&1.0), "no {name}: {samples:?}");
    }
    let sent = sum(&samples, "sensor_kernel_events_total", "hook=\"exec\",fate=\"sent\",cause=\"armed\"");
    let (status, body) = get(&socket, "/health")?;
    ensure!((status.as_str(), body.as_str()) == ("HTTP/1.1 200 OK", "well\n"), "{status} {body}");
    let (status, _) = get(&socket, "/other")?;
    ensure!(status.contains("404"), "{status}");
    let counters = sensor.stop_cleanly()?;
    let at_end = counters.get("exec", "sent_armed")?;
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let at_end = at_end as f64;
    ensure!(at_end >= sent && sent >= ours, "{sent} executions were sent, {at_end} at the end");
    ensure!(!socket.exists(), "the socket is left behind");
    Ok(())
}

/// Every name in the rules and in the dashboard is that of a metric.
fn shipped(lab: &Lab) -> Result<()> {
    let (sensor, socket) = start(lab)?;
    let (_, body) = get(&socket, "/metrics")?;
    sensor.stop_cleanly()?;
    // A family without samples is there by its type alone.
    let families = body.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let mut exist = BTreeSet::new();
    for (name, kind) in families {
        let suffixes: &[&str] = match kind {
            "counter" => &["_total"],
            "histogram" => &["_bucket", "_count", "_sum"],
            _ => &[""],
        };
        exist.extend(suffixes.iter().map(|suffix| format!("{name}{suffix}")));
    }
    for text in ASKING {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let asked: BTreeSet<&str> = words.filter(|word| word.starts_with("sensor_")).collect();
        ensure!(asked.len() > 5, "the search finds only {asked:?}");
        let unknown: Vec<_> = asked.iter().filter(|name| !exist.contains(**name)).collect();
        ensure!(unknown.is_empty(), "no metrics are {unknown:?}, there are {exist:?}");
    }
    serde_json::from_str::<serde_json::Value>(ASKING[1]).context("the dashboard")?;
    Ok(())
}

/// A socket without a listener is replaced; one that is in use is not.
fn left_behind(lab: &Lab) -> Result<()> {
    let (killed, socket) = start(lab)?;
    killed.stop(Signal::KILL)?;
    ensure!(socket.exists(), "a killed sensor has tidied up");
    let (sensor, socket) = start(lab)?;
    ensure!(!scrape(&socket)?.is_empty(), "no numbers");
    let config = format!("[metrics]\nlisten = \"{}\"\n", socket.display());
    ensure!(lab.start_sensor_with("second", &config).is_err(), "two sensors on one socket");
    ensure!(!scrape(&socket)?.is_empty(), "the second sensor has taken the socket away");
    sensor.stop_cleanly().map(drop)
}
