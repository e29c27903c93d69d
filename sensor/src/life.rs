//! The sensor's own life in the stream of alerts, so that silence can be told from health.
//!
//! Each document is one of ECS with a kind of its own: `event.kind` is `event` for what happened and `state` for the heartbeat, which
//! comes at regular intervals, never `alert`; `event.dataset` is `sensor.life`. ECS knows no category for the one who observes; what
//! happens to the sensor happens on a `host` and is filed there, a changed configuration under `configuration`. Each document holds the
//! numbers since the start, and `event.sequence` counts the documents of a run, so that one that is missing is noticed.

use crate::event::ecs::{ECS_VERSION, Origin};
use crate::event::{BootTime, WallTime};
use crate::health::losses::Losses;
use crate::kernel::counters::Sums;
use crate::output::queue;
use crate::stats::Stats;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::net::SocketAddr;

/// What can happen to a sensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It watches from now on.
    Started,
    /// It does not watch any more; what it was that ended it, if nobody asked for the end.
    Stopped(Option<String>),
    /// Another configuration is in force; what of it needs a restart.
    Reloaded(Vec<String>),
    /// Another configuration was not taken, for this reason.
    ReloadRefused(String),
    /// It sees less than it should, for this reason.
    Degraded(String),
    /// It sees again what it did not.
    Restored(String),
    /// Something was lost in this time.
    Lost(Losses, Interval),
    /// So many alerts of a rule about a destination were held back in this time, being more than the limit.
    Held {
        /// The rule's id.
        rule: &'static str,
        /// The destination; none if the connections were assumed.
        destination: Option<SocketAddr>,
        /// How many.
        count: u64,
        /// From the first to the last.
        interval: Interval,
    },
    /// It was not running in this time: what happened then is late.
    Stalled(Interval),
    /// No sensor was attached in this time: what happened then is not known.
    Unwatched(Interval),
    /// The host was asleep in this time, and nothing happened.
    Suspended(Interval),
    /// Somebody has set the wall clock from the first of these times to the second, or it has jumped there.
    ClockSet(Interval),
    /// All is as it was.
    Heartbeat,
}

/// A time from one point of the wall clock to another, which is earlier only where the clock was set back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// When it begins.
    pub from: WallTime,
    /// When it ends.
    pub to: WallTime,
}

/// The numbers since the start.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// The user side's.
    pub stats: Stats,
    /// The kernel side's, by hook.
    pub hooks: Vec<Sums>,
    /// What was lost.
    pub lost: Losses,
    /// The outputs', by name.
    pub outputs: Vec<(&'static str, queue::Stats)>,
}

/// Tells of the life of one run.
#[derive(Debug)]
pub struct Life {
    run: String,
    started: WallTime,
    told: u64,
}

/// The parts of a document that depend on what happened.
struct Kind {
    action: &'static str,
    category: &'static str,
    kind: &'static str,
    level: &'static str,
    outcome: Option<&'static str>,
    reason: Option<String>,
    message: String,
}

impl Life {
    /// The life of a sensor that has started now.
    #[must_use]
    pub fn new(boot_id: &str, (boot, wall): (BootTime, WallTime)) -> Self {
        Self { run: format!("{boot_id}-{}", boot.0), started: wall, told: 0 }
    }

    /// The document that tells of an event of now.
    pub fn document(&mut self, event: &Event, origin: &Origin, totals: &Totals, now: (BootTime, WallTime)) -> Value {
        self.told += 1;
        let Self { run, started, told } = self;
        let (boot, wall) = now;
        let Kind { action, category, kind, level, outcome, reason, message } = kind(event, origin, totals, *started);
        let interval = match event {
            Event::Lost(_, interval)
            | Event::Held { interval, .. }
            | Event::Stalled(interval)
            | Event::Unwatched(interval)
            | Event::Suspended(interval) => Some(interval),
            _ => None,
        };
        let (rule, destination, held) = match event {
            Event::Held { rule, destination, count, .. } => (Some(json!({"id": rule})), *destination, Some(count)),
            _ => (None, None, None),
        };
        let clock = if let Event::ClockSet(step) = event {
            Some(json!({"from": step.from.to_string(), "to": step.to.to_string(), "step_ms": step.millis()}))
        } else {
            None
        };
        let lost = if let Event::Lost(losses, _) = event { Some(losses.to_json()) } else { None };
        let restart = if let Event::Reloaded(keys) = event { Some(keys).filter(|keys| !keys.is_empty()) } else { None };
        let head = json!({
            "kind": if *event == Event::Heartbeat { "state" } else { "event" },
            "category": [category],
            "type": [kind],
            "action": action,
            "outcome": outcome,
            "reason": reason,
            "start": interval.map(|interval| interval.from.to_string()),
            "end": interval.map(|interval| interval.to.to_string()),
            "id": format!("{run}-life-{told}"),
            "sequence": told,
            "module": "sensor",
            "dataset": "sensor.life",
        });
        let own = json!({
            "boot_id": origin.boot_id,
            "boot_ns": boot.0,
            "run": {"id": run, "start": started.to_string()},
            "hooks": origin.hooks,
            "degraded": Some(&origin.degraded).filter(|reasons| !reasons.is_empty()),
            "lost": lost,
            "held": held,
            "clock": clock,
            "restart_needed": restart,
            "totals": totals.to_json(),
        });
        known(json!({
            "@timestamp": wall.to_string(),
            "ecs": {"version": ECS_VERSION},
            "log": {"level": level},
            "message": message,
            "event": known(head),
            "host": origin.host,
            "observer": {"type": "sensor", "version": env!("CARGO_PKG_VERSION")},
            "rule": rule,
            "destination": destination.map(|end| json!({"ip": end.ip(), "port": end.port()})),
            "sensor": known(own),
        }))
    }
}

/// What is known: what is absent is not written.
fn known(mut object: Value) -> Value {
    if let Some(members) = object.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    object
}

fn kind(event: &Event, origin: &Origin, totals: &Totals, started: WallTime) -> Kind {
    let of_host = |action, kind, level, message| Kind {
        action,
        category: "host",
        kind,
        level,
        outcome: None,
        reason: None,
        message,
    };
    let because = |kind: Kind, reason: &str| Kind { reason: Some(reason.to_owned()), ..kind };
    let Totals { stats: Stats { connections, executions, alerts, .. }, lost, .. } = totals;
    let numbers = format!("{connections} connections, {executions} executions, {alerts} alerts, {} lost", lost.total());
    match event {
        Event::Started => {
            let mut message = format!("the sensor has started: {}", origin.hooks);
            if !origin.degraded.is_empty() {
                let _ = write!(message, "; degraded: {}", origin.degraded.join("; "));
            }
            of_host("sensor-started", "start", "info", message)
        }
        Event::Stopped(None) => {
            let message = format!("the sensor has stopped: {numbers}");
            Kind { outcome: Some("success"), ..of_host("sensor-stopped", "end", "info", message) }
        }
        Event::Stopped(Some(reason)) => {
            let message = format!("the sensor has stopped, since {reason}: {numbers}");
            let kind = of_host("sensor-stopped", "end", "error", message);
            because(Kind { outcome: Some("failure"), ..kind }, reason)
        }
        Event::Reloaded(restart) => {
            let mut message = "another configuration is in force".to_owned();
            if !restart.is_empty() {
                let _ = write!(message, "; only after a restart: {}", restart.join(", "));
            }
            let level = if restart.is_empty() { "info" } else { "warning" };
            let kind = of_host("sensor-reloaded", "change", level, message);
            Kind { category: "configuration", outcome: Some("success"), ..kind }
        }
        Event::ReloadRefused(reason) => {
            let message = format!("the configuration stays as it was: {reason}");
            let kind = of_host("sensor-reloaded", "change", "error", message);
            because(Kind { category: "configuration", outcome: Some("failure"), ..kind }, reason)
        }
        Event::Degraded(reason) => {
            because(of_host("sensor-degraded", "info", "warning", format!("the sensor is degraded: {reason}")), reason)
        }
        Event::Restored(what) => {
            because(of_host("sensor-restored", "info", "info", format!("the sensor is well again: {what}")), what)
        }
        Event::Lost(losses, _) => {
            of_host("sensor-lost-events", "info", "error", format!("the sensor has lost something: {losses}"))
        }
        Event::Held { rule, destination, count, .. } => {
            let to = destination.map_or_else(|| "an unknown destination".to_owned(), |one| one.to_string());
            let message = format!("{count} alerts of {rule} about {to} were held back: more than the limit");
            of_host("sensor-held-alerts", "info", "warning", message)
        }
        Event::Stalled(interval) => {
            let seconds = interval.millis() / 1000;
            let millis = interval.millis() % 1000;
            let message =
                format!("the sensor did not run for {seconds}.{millis:03} s: what happened meanwhile is told late");
            of_host("sensor-stalled", "info", "warning", message)
        }
        Event::Unwatched(interval) => of_host("sensor-unwatched", "info", "warning", interval.unwatched()),
        Event::Suspended(interval) => {
            let message = format!("the host was asleep for {} s", interval.millis() / 1000);
            of_host("sensor-suspended", "info", "info", message)
        }
        Event::ClockSet(step) => {
            let Interval { from, to } = step;
            let (millis, way) = (step.millis(), if to < from { "back" } else { "forward" });
            let message = format!("the wall clock was set {way} by {} ms, from {from} to {to}", millis.unsigned_abs());
            of_host("sensor-clock-set", "change", "warning", message)
        }
        Event::Heartbeat => {
            of_host("sensor-heartbeat", "info", "info", format!("the sensor is watching since {started}: {numbers}"))
        }
    }
}

impl Interval {
    /// Words for a time in which no sensor was attached.
    #[must_use]
    pub fn unwatched(self) -> String {
        let Self { from, to } = self;
        let millis = self.millis();
        format!("nobody has watched from {from} to {to}, {millis} ms at most: shells of that time are not reported")
    }

    /// Words for a time in which the kernel side has gone on without a sensor.
    #[must_use]
    pub fn unread(self) -> String {
        let Self { from, to } = self;
        let millis = self.millis();
        format!("what has happened from {from} to {to}, {millis} ms at most, was recorded, and is told now")
    }

    /// Less than none where the clock was set back.
    fn millis(self) -> i64 {
        self.to.0.saturating_sub(self.from.0) / 1_000_000
    }
}

impl Totals {
    fn to_json(&self) -> Value {
        let Self { stats, hooks, lost, outputs } = self;
        let Stats { connections, duplicates, executions, undecodable, matched, unmatched, .. } = stats;
        let Stats { alerts, collapsed, repeats, held, excepted, .. } = stats;
        let hook = |sums: &Sums| {
            let Sums { hook, seen, settled, lost } = sums;
            json!({"name": hook, "seen": seen, "settled": settled, "lost": lost})
        };
        let output = |(name, stats): &(&str, queue::Stats)| {
            let queue::Stats { queued, delivered, spooled, dropped } = stats;
            json!({"name": name, "queued": queued, "delivered": delivered, "spooled": spooled, "dropped": dropped})
        };
        json!({
            "connections": connections,
            "duplicates": duplicates,
            "executions": executions,
            "undecodable": undecodable,
            "matched": matched,
            "unmatched": unmatched,
            "alerts": alerts,
            "collapsed": collapsed,
            "repeats": repeats,
            "held": held,
            "excepted": excepted,
            "lost": lost.total(),
            "hooks": hooks.iter().map(hook).collect::<Vec<_>>(),
            "outputs": outputs.iter().map(output).collect::<Vec<_>>(),
        })
    }
}
