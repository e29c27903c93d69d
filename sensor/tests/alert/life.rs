//! What is told of the sensor itself: that it keeps to ECS, what it says, and that it is no alert.

use super::{faults, origin};
use sensor::event::ecs::Origin;
use sensor::event::{BootTime, WallTime};
use sensor::health::losses::Losses;
use sensor::kernel::counters::Sums;
use sensor::life::{Event, Interval, Life, Totals};
use sensor::output::queue;
use sensor::render::life::life as shown;
use sensor::render::look::Look;
use sensor::stats::Stats;
use serde_json::{Value, json};

const STARTED: (BootTime, WallTime) = (BootTime(5_000_000_000), WallTime(1_780_000_000_000_000_000));
const NOW: (BootTime, WallTime) = (BootTime(65_000_000_000), WallTime(1_780_000_060_000_000_000));

pub(super) fn losses() -> Losses {
    let mut losses = Losses::default();
    losses.add("exec", "ring_full", 2);
    losses.add("elasticsearch", "documents_dropped", 1);
    losses
}

/// Every event that there is.
pub(super) fn events() -> Vec<Event> {
    let interval = Interval { from: STARTED.1, to: NOW.1 };
    let text = || "something".to_owned();
    vec![
        Event::Started,
        Event::Stopped(None),
        Event::Stopped(Some(text())),
        Event::Reloaded(vec![]),
        Event::Reloaded(vec!["host.id".to_owned(), "output.file".to_owned()]),
        Event::ReloadRefused(text()),
        Event::Degraded(text()),
        Event::Restored(text()),
        Event::Lost(losses(), interval),
        Event::Held { rule: "r", destination: Some(([203, 0, 113, 7], 4444).into()), count: 5, interval },
        Event::Held { rule: "r", destination: None, count: 5, interval },
        Event::Stalled(interval),
        Event::Unwatched(interval),
        Event::Suspended(interval),
        Event::ClockSet(interval),
        Event::ClockSet(Interval { from: NOW.1, to: STARTED.1 }),
        Event::Heartbeat,
    ]
}

/// The documents of these events, in one run.
pub(super) fn documents(events: &[Event], origin: &Origin) -> Vec<Value> {
    let totals = Totals {
        stats: Stats {
            connections: 7,
            executions: 5,
            matched: 4,
            unmatched: 1,
            alerts: 3,
            collapsed: 1,
            ..Stats::default()
        },
        hooks: vec![Sums { hook: "exec", seen: 9, settled: 9, lost: 2 }],
        lost: losses(),
        outputs: vec![("file", queue::Stats { queued: 3, delivered: 3, ..queue::Stats::default() })],
    };
    let mut life = Life::new(&origin.boot_id, STARTED);
    events.iter().map(|event| life.document(event, origin, &totals, NOW)).collect()
}

#[test]
fn they_keep_to_ecs_and_are_no_alerts() {
    for origin in [origin(), Origin { degraded: Vec::new(), ..origin() }] {
        let documents = documents(&events(), &origin);
        for document in &documents {
            assert_eq!(faults(document), [""; 0], "{document:#}");
            assert!(["event", "state"].contains(&document["event"]["kind"].as_str().unwrap()), "{document:#}");
            assert!(sensor::output::document::is_life(document));
            let [category] = &document["event"]["category"].as_array().unwrap()[..] else { panic!("{document:#}") };
            let [kind] = &document["event"]["type"].as_array().unwrap()[..] else { panic!("{document:#}") };
            // The types that ECS 8.17 expects with each category.
            let expected: &[&str] = match category.as_str().unwrap() {
                "host" => &["access", "change", "end", "info", "start"],
                "configuration" => &["access", "change", "creation", "deletion", "info"],
                other => panic!("{other}"),
            };
            assert!(expected.contains(&kind.as_str().unwrap()), "{category} {kind}");
        }
        let ids: std::collections::BTreeSet<_> = documents.iter().map(|one| one["event"]["id"].to_string()).collect();
        assert_eq!(ids.len(), documents.len(), "ids are their own");
        let numbers = documents.iter().map(|one| one["event"]["sequence"].as_u64().unwrap());
        assert!(numbers.eq(1..=documents.len() as u64), "one that is missing is noticed");
    }
}

#[test]
fn a_heartbeat_has_the_numbers_since_the_start() {
    let origin = Origin { degraded: Vec::new(), ..origin() };
    let heartbeat = documents(&[Event::Heartbeat], &origin).remove(0);
    let run = "6b1a0e2c-3f43-4f6e-8f0a-0d6d5b3e3f10-5000000000";
    let expected = json!({
        "@timestamp": "2026-05-28T20:27:40.000000000Z",
        "ecs": {"version": "8.17.0"},
        "log": {"level": "info"},
        "message": "the sensor is watching since 2026-05-28T20:26:40.000000000Z: 7 connections, 5 executions, 3 alerts, 3 lost",
        "event": {
            "kind": "state",
            "category": ["host"],
            "type": ["info"],
            "action": "sensor-heartbeat",
            "id": format!("{run}-life-1"),
            "sequence": 1,
            "module": "sensor",
            "dataset": "sensor.life",
        },
        "host": origin.host,
        "observer": {"type": "sensor", "version": env!("CARGO_PKG_VERSION")},
        "sensor": {
            "boot_id": "6b1a0e2c-3f43-4f6e-8f0a-0d6d5b3e3f10",
            "boot_ns": 65_000_000_000_u64,
            "run": {"id": run, "start": "2026-05-28T20:26:40.000000000Z"},
            "hooks": "exec=tracepoint",
            "totals": {
                "connections": 7,
                "duplicates": 0,
                "executions": 5,
                "undecodable": 0,
                "matched": 4,
                "unmatched": 1,
                "alerts": 3,
                "collapsed": 1,
                "repeats": 0,
                "held": 0,
                "excepted": 0,
                "lost": 3,
                "hooks": [{"name": "exec", "seen": 9, "settled": 9, "lost": 2}],
                "outputs": [{"name": "file", "queued": 3, "delivered": 3, "spooled": 0, "dropped": 0}],
            },
        },
    });
    assert_eq!(heartbeat, expected);
}

#[test]
fn each_says_what_it_is_about() {
    let all = documents(&events(), &origin());
    let of = |place: usize, pointer: &str| all[place].pointer(pointer).cloned().unwrap_or_default();
    let actions: Vec<_> = (0..all.len()).map(|place| of(place, "/event/action")).collect();
    let expected = [
        "sensor-started",
        "sensor-stopped",
        "sensor-stopped",
        "sensor-reloaded",
        "sensor-reloaded",
        "sensor-reloaded",
        "sensor-degraded",
        "sensor-restored",
        "sensor-lost-events",
        "sensor-held-alerts",
        "sensor-held-alerts",
        "sensor-stalled",
        "sensor-unwatched",
        "sensor-suspended",
        "sensor-clock-set",
        "sensor-clock-set",
        "sensor-heartbeat",
    ];
    assert_eq!(actions, expected);
    assert_eq!(of(0, "/sensor/degraded"), json!(["something is not seen"]));
    let outcomes: Vec<_> = (1..6).map(|place| of(place, "/event/outcome")).collect();
    assert_eq!(outcomes, ["success", "failure", "success", "success", "failure"]);
    assert_eq!(of(4, "/sensor/restart_needed"), json!(["host.id", "output.file"]));
    assert_eq!((of(3, "/sensor/restart_needed"), of(4, "/log/level")), (Value::Null, json!("warning")));
    assert_eq!(of(6, "/event/reason"), "something");
    assert_eq!(of(8, "/sensor/lost"), losses().to_json());
    assert_eq!(
        of(8, "/message"),
        "the sensor has lost something: elasticsearch: documents_dropped: 1, exec: ring_full: 2"
    );
    assert_eq!((of(9, "/rule/id"), of(9, "/sensor/held")), (json!("r"), json!(5)));
    assert_eq!(of(9, "/destination"), json!({"ip": "203.0.113.7", "port": 4444}));
    assert_eq!(of(9, "/message"), "5 alerts of r about 203.0.113.7:4444 were held back: more than the limit");
    assert_eq!(of(10, "/destination"), Value::Null);
    for place in 8..14 {
        assert_eq!(of(place, "/event/start"), "2026-05-28T20:26:40.000000000Z");
        assert_eq!(of(place, "/event/end"), "2026-05-28T20:27:40.000000000Z");
    }
    let expected = "2026-05-28T20:27:40.000000000Z info: the host was asleep for 60 s\n";
    assert_eq!(shown(&all[13], Look::plain()), expected);
    let [from, to] = ["2026-05-28T20:26:40.000000000Z", "2026-05-28T20:27:40.000000000Z"];
    assert_eq!(of(14, "/sensor/clock"), json!({"from": from, "to": to, "step_ms": 60_000}));
    assert_eq!(of(15, "/sensor/clock"), json!({"from": to, "to": from, "step_ms": -60_000}));
    assert_eq!(of(15, "/message"), format!("the wall clock was set back by 60000 ms, from {to} to {from}"));
    assert_eq!((of(14, "/event/start"), of(14, "/event/type")), (Value::Null, json!(["change"])));
}
