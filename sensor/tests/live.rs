//! A live run and the replay of the events that it wrote give the same alerts, whatever the clocks and the rings do.
//!
//! Records as the kernel side writes them go through the sensor's pipeline at boot times that no test could wait for; the
//! wall clock is set in between. Two things may differ between the alerts: `event.created`, which is when the alert was
//! made, and a local port that was not known when the connection was seen: it comes with the execution's record, and the
//! document of the connection has been written by then.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a panic is how a test fails")]

mod common;

use bytemuck::{Zeroable, bytes_of};
use common::{Pair, documents, first, matches};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use sensor::detect::rule::Parameters;
use sensor::enrich::user::Users;
use sensor::event::ecs::Origin;
use sensor::event::{BootTime, WallOffset, WallTime};
use sensor::output::Outputs;
use sensor::output::queue::Queue;
use sensor::output::stream::{Stream, Target, json_line};
use sensor::pipeline::Pipeline;
use sensor_common::address::mapped;
use sensor_common::record::{
    Arm, ConnectionRecord, ExecRecord, REASON_PRESSURE, STREAM_TCP, STREAMS, Stream as StreamRecord, WITNESS_CONNECT,
};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// Nanoseconds in a millisecond.
const MS: u64 = 1_000_000;
/// The kernel side forgets a connection that is older than this.
const ARMED: u64 = 5001 * MS;
/// Beyond the largest number that Linux gives a process (2^22), so that /proc never knows it.
const FIRST_PID: u32 = 1 << 23;

/// What a process does, and when, in nanoseconds after what it did before.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// It connects; the record is handled so many milliseconds later.
    Connect { after: u64, late: u64, port_known: bool },
    /// It executes a shell, or another program.
    Exec { after: u64, shell: bool },
}

/// A process: milliseconds since the one before it began, and what it does.
type Sequence = (u64, Vec<Act>);

/// Milliseconds on, just before and just behind the edges of the rule.
fn border() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => select(&[4998_u64, 4999, 5000, 5000, 5001, 5001, 5002][..]),
        2 => select(&[0_u64, 0, 1][..]),
        1 => 0..7000_u64,
    ]
}

fn nanos() -> impl Strategy<Value = u64> {
    prop_oneof![select(&[0_u64, 1, 999_999][..]), 0..MS]
}

fn act() -> impl Strategy<Value = Act> {
    let after = (border(), nanos()).prop_map(|(ms, ns)| ms * MS + ns);
    let late = prop_oneof![4 => Just(0_u64), 1 => 0..6000_u64];
    (after, late, any::<bool>(), 0..8_u8).prop_map(|(after, late, port_known, what)| match what {
        0..3 => Act::Connect { after, late, port_known },
        3 => Act::Exec { after, shell: false },
        _ => Act::Exec { after, shell: true },
    })
}

fn sequence() -> impl Strategy<Value = Sequence> {
    let connect = (nanos(), any::<bool>()).prop_map(|(after, port_known)| Act::Connect { after, late: 0, port_known });
    (0..6000_u64, connect, vec(act(), 1..4))
        .prop_map(|(begins, connect, acts)| (begins, std::iter::once(connect).chain(acts).collect()))
}

/// What the sensor is given, in the order in which it handles it.
enum Record {
    Connection(Vec<u8>),
    Exec(Vec<u8>),
}

/// The records of these processes, each with the boot time at which it is handled.
fn records(sequences: &[Sequence]) -> Vec<(u64, Record)> {
    let mut records = Vec::new();
    let mut begin = 100_000 * MS;
    let mut arms = 0;
    for (number, (begins, acts)) in sequences.iter().enumerate() {
        let tgid = FIRST_PID + u32::try_from(number).unwrap();
        begin += begins * MS + if number.is_multiple_of(5) { 40_000 * MS } else { 0 };
        let mut now = begin;
        let mut armed: Option<Arm> = None;
        for act in acts {
            match *act {
                Act::Connect { after, late, port_known } => {
                    now += after;
                    arms += 1;
                    let arm = arm(tgid, begin, now, arms);
                    armed = Some(arm);
                    let record = connection(Arm { local_port: if port_known { arm.local_port } else { 0 }, ..arm });
                    records.push((now + late * MS, Record::Connection(record)));
                }
                Act::Exec { after, shell } => {
                    now += after;
                    let carried = armed.filter(|arm| now - arm.boot_ns <= ARMED);
                    records.push((now, Record::Exec(exec(tgid, begin, now, shell, carried))));
                }
            }
        }
    }
    records.sort_by_key(|(handled, _)| *handled);
    records
}

fn arm(tgid: u32, start_ns: u64, boot_ns: u64, sequence: u64) -> Arm {
    let mut arm = Arm {
        sequence,
        boot_ns,
        start_ns,
        tgid,
        tid: tgid,
        local: mapped([10, 0, 0, 9]),
        remote: mapped([198, 51, 100, 1]),
        local_port: 40_000,
        remote_port: 4444,
        witness: WITNESS_CONNECT,
        ..Arm::zeroed()
    };
    for name in [&mut arm.comm[..], &mut arm.leader_comm, &mut arm.exe] {
        name[..4].copy_from_slice(b"bash");
    }
    arm
}

fn connection(arm: Arm) -> Vec<u8> {
    let path = b"bash\0bin\0usr\0";
    let mut header = ConnectionRecord { arm, ..ConnectionRecord::zeroed() };
    header.path.len = u32::try_from(path.len()).unwrap();
    [bytes_of(&header), path].concat()
}

fn exec(tgid: u32, start_ns: u64, boot_ns: u64, shell: bool, carried: Option<Arm>) -> Vec<u8> {
    let path = b"bash\0bin\0usr\0";
    let argv: &[u8] = if shell { b"bash\0-i\0" } else { b"bash\0-c\0id\0" };
    let mut header = ExecRecord { boot_ns, start_ns, tgid, old_tid: tgid, loginuid: u32::MAX, ..ExecRecord::zeroed() };
    header.comm[..4].copy_from_slice(b"bash");
    header.path.len = u32::try_from(path.len()).unwrap();
    header.argv_len = u32::try_from(argv.len()).unwrap();
    header.argv_total = argv.len() as u64;
    header.argc = 2;
    match carried {
        Some(arm) => {
            header.arm = arm;
            // Half of the processes are on their connection.
            if tgid % 2 == 1 {
                let Arm { local, remote, remote_port, .. } = arm;
                let tcp = StreamRecord {
                    local,
                    remote,
                    local_port: 40_000,
                    remote_port,
                    state: 1,
                    kind: STREAM_TCP,
                    ..StreamRecord::zeroed()
                };
                header.streams = [tcp; STREAMS];
            }
        }
        None => header.reason = REASON_PRESSURE,
    }
    [bytes_of(&header), path, argv].concat()
}

/// The wall clock: whole and broken milliseconds that are added to it at points of boot time.
struct Clock {
    steps: Vec<(u64, i64)>,
}

impl Clock {
    fn wall(&self, boot: u64) -> WallTime {
        let steps: i64 = self.steps.iter().filter(|(at, _)| *at <= boot).map(|(_, step)| *step).sum();
        WallTime(1_780_000_000_000_000_000 + i64::try_from(boot).unwrap() + steps)
    }
}

/// Runs the sensor over the records, with outputs in the folder.
fn run(folder: &Path, records: &[(u64, Record)], clock: &Clock) {
    let open = |name: &'static str| {
        Queue::start(name, Stream::open(Target::File(folder.join(name)), json_line).unwrap()).unwrap()
    };
    let outputs = Outputs::new(vec![open("alerts")], Some(open("events")));
    let start = records.first().map_or(0, |(handled, _)| *handled);
    let origin = Origin {
        host_id: "h".to_owned(),
        boot_id: "b".to_owned(),
        host: json!({"id": "h", "name": "host"}),
        offset: WallOffset::between(BootTime(start), clock.wall(start)),
        hooks: "exec=tracepoint connect=fentry accept=fentry".to_owned(),
        degraded: Vec::new(),
    };
    let users = Users::new("/nonexistent".into());
    let mut pipeline = Pipeline::new(Parameters::default(), origin, users, outputs);
    for (handled, record) in records {
        pipeline.follow_clock(BootTime(*handled), clock.wall(*handled));
        match record {
            Record::Connection(record) => pipeline.connection_record(record),
            Record::Exec(record) => pipeline.exec_record(record),
        }
    }
    let broken = records.iter().filter(|(_, Record::Connection(bytes) | Record::Exec(bytes))| bytes.len() < 8).count();
    assert_eq!(pipeline.stats().undecodable, broken as u64);
    assert!(pipeline.into_outputs().close().iter().all(|(_, stats)| stats.dropped == 0));
}

fn read(folder: &Path, name: &str) -> Vec<Value> {
    documents(&fs::read_to_string(folder.join(name)).unwrap())
}

/// The alerts that the sensor wrote. Those for an execution that came without a connection, because the kernel side was overrun, are
/// left out: nobody but the sensor at work can know of that.
fn written(folder: &Path) -> Vec<Value> {
    let is_assumed = |alert: &Value| alert["sensor"]["assumed"] == json!(["connection"]);
    read(folder, "alerts").into_iter().filter(|alert| !is_assumed(alert)).collect()
}

/// The alerts of the real program.
fn replayed(folder: &Path, name: &str) -> Vec<Value> {
    let output =
        Command::new(env!("CARGO_BIN_EXE_sensor")).args(["replay", name]).current_dir(folder).output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()), (Some(0), ""));
    documents(&String::from_utf8(output.stdout).unwrap())
}

/// An alert without what a replay cannot know. `completed` takes the local port away where the connection's own document
/// does not have it.
fn comparable(alert: &Value, completed: bool) -> Value {
    let mut alert = alert.clone();
    alert["event"].as_object_mut().unwrap().shift_remove("created").unwrap();
    if completed {
        for pointer in ["/source", "/sensor/sequence/0/source"] {
            alert.pointer_mut(pointer).unwrap().as_object_mut().unwrap().shift_remove("port");
        }
        alert.pointer_mut("/sensor/sequence/0/sensor").unwrap().as_object_mut().unwrap().shift_remove("absent");
    }
    alert
}

/// Those of the rule that requires a connection.
fn of_pairs(alerts: &[Value]) -> Vec<&Value> {
    alerts.iter().filter(|alert| alert["rule"]["id"] == "reverse-shell-via-child").collect()
}

fn pairs(alerts: &[Value]) -> Vec<Pair> {
    let id = |alert: &Value, place: usize| first(&alert["sensor"]["sequence"][place], "event.id").unwrap();
    let mut pairs: Vec<Pair> = of_pairs(alerts).into_iter().map(|alert| (id(alert, 0), id(alert, 1))).collect();
    pairs.sort();
    pairs
}

/// Compares the two lists of alerts field by field, in order.
fn assert_same(live: &[Value], replayed: &[Value]) {
    assert_eq!(pairs(live), pairs(replayed));
    assert_eq!(live.len(), replayed.len());
    for (live, replayed) in live.iter().zip(replayed) {
        let completed = replayed.pointer("/source/port").is_none();
        assert_eq!(live.pointer("/source/port"), Some(&json!(40_000)), "every execution's record has the port");
        assert_eq!(comparable(live, completed), comparable(replayed, completed));
    }
}

/// What the wall clock says between the two events of an alert, in milliseconds.
fn wall_elapsed(alert: &Value) -> i64 {
    let millis = |place: usize| {
        let text = alert["sensor"]["sequence"][place]["@timestamp"].as_str().unwrap();
        text.parse::<jiff::Timestamp>().unwrap().as_millisecond()
    };
    millis(1) - millis(0)
}

proptest! {
    // 40 runs of 25 sequences each.
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_thousand_sequences_near_the_edge_with_a_wall_clock_that_is_set(
        sequences in vec(sequence(), 25),
        steps in vec((0..300_000_u64, -86_400_000_000_000..86_400_000_000_000_i64), 0..8),
    ) {
        let folder = TempDir::new().unwrap();
        let clock = Clock { steps: steps.into_iter().map(|(at, step)| ((100_000 + at) * MS, step)).collect() };
        run(folder.path(), &records(&sequences), &clock);
        let (live, events) = (written(folder.path()), read(folder.path(), "events"));
        // The answer is the rule's, ...
        prop_assert_eq!(pairs(&live), matches(&events));
        // ... that of the wall clock too, which is all that others see, ...
        for alert in of_pairs(&live) {
            prop_assert_eq!(json!(wall_elapsed(alert)), alert["sensor"]["elapsed_ms"].clone());
        }
        // ... and that of the replay.
        assert_same(&live, &replayed(folder.path(), "events"));
        let mut reversed = events;
        reversed.reverse();
        fs::write(folder.path().join("reversed"), common::lines(&reversed)).unwrap();
        assert_same(&live, &replayed(folder.path(), "reversed"));
    }
}

#[test]
fn what_comes_behind_a_step_of_the_clock_is_dated_right_and_what_waits_for_it_stays_as_it_was() {
    const DAY: i64 = 86_400_000;
    let folder = TempDir::new().unwrap();
    let mut arms = 0;
    let mut pair = |tgid: u32, connect: u64, execute: u64| {
        arms += 1;
        let arm = arm(tgid, 90_000 * MS, connect * MS, arms);
        let exec = exec(tgid, 90_000 * MS, execute * MS, true, Some(arm));
        [(connect * MS, Record::Connection(connection(arm))), (execute * MS, Record::Exec(exec))]
    };
    let around = pair(FIRST_PID, 100_000, 102_000);
    let behind = pair(FIRST_PID + 1, 101_000, 101_001);
    let again = pair(FIRST_PID, 103_000, 103_001);
    let mut records: Vec<_> = around.into_iter().chain(behind).chain(again).collect();
    records.sort_by_key(|(handled, _)| *handled);
    for step in [DAY, -DAY] {
        let clock = Clock { steps: vec![(100_500 * MS, step * 1_000_000)] };
        let folder = folder.path().join(step.to_string());
        fs::create_dir(&folder).unwrap();
        run(&folder, &records, &clock);
        let dated: Vec<_> = written(&folder)
            .iter()
            .map(|alert| {
                let at = alert["@timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
                let boot_ms = alert["sensor"]["sequence"][1]["sensor"]["boot_ns"].as_i64().unwrap() / 1_000_000;
                (boot_ms, at.as_millisecond() - boot_ms - 1_780_000_000_000, wall_elapsed(alert))
            })
            .collect();
        assert_eq!(dated, [(101_001, step, 1), (102_000, 0, 2000), (103_001, step, 1)]);
    }
}

/// The newer connection is the one that counts, also for the date, be it as late as can be.
#[test]
fn an_execution_of_the_same_nanosecond_as_its_connection_is_dated_like_that() {
    let folder = TempDir::new().unwrap();
    let at = [100_000 * MS, 101_000 * MS];
    let [older, newer] = [(at[0], 1), (at[1], 2)].map(|(at, number)| arm(FIRST_PID, 90_000 * MS, at, number));
    let records = [
        (at[0], Record::Connection(connection(older))),
        (at[1], Record::Connection(connection(newer))),
        (at[1], Record::Exec(exec(FIRST_PID, 90_000 * MS, at[1], true, Some(newer)))),
    ];
    run(folder.path(), &records, &Clock { steps: vec![(100_500 * MS, 86_400_000_000_000)] });
    let alerts = written(folder.path());
    assert_eq!(alerts.iter().map(wall_elapsed).collect::<Vec<_>>(), [0]);
    assert_eq!(alerts[0]["sensor"]["elapsed_ms"], 0);
}

#[test]
fn the_sequences_do_come_near_the_edge_on_both_sides() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut on, mut behind, mut alone) = (0, 0, 0);
    for _ in 0..20 {
        let sequences = vec(sequence(), 25).new_tree(&mut runner).unwrap().current();
        let folder = TempDir::new().unwrap();
        run(folder.path(), &records(&sequences), &Clock { steps: Vec::new() });
        let elapsed = |alert: &Value| alert["sensor"]["elapsed_ms"].as_u64().unwrap();
        let all = written(folder.path());
        let alerts = of_pairs(&all);
        alone += all.len() - alerts.len();
        on += alerts.iter().filter(|alert| elapsed(alert) == 5000).count();
        let all = read(folder.path(), "events");
        behind += all.iter().filter(|event| event["event"]["action"] == "exec").count() - alerts.len();
    }
    assert!(on > 50 && behind > 100 && alone > 50, "{on} {behind} {alone}");
}

/// The same process is seen by two runs of the sensor in one boot, which append to one file.
#[test]
fn a_restarted_sensor_goes_on_in_the_same_file() {
    let folder = TempDir::new().unwrap();
    let clock = Clock { steps: Vec::new() };
    let act = |after| [Act::Connect { after, late: 0, port_known: true }, Act::Exec { after: MS, shell: true }];
    // What other processes do before makes the numbers of the first run larger than those of the second.
    let mut sequences = vec![(0, act(0).to_vec()); 3];
    sequences.push((10, [act(0), act(20_000 * MS)].concat()));
    let mut all = records(&sequences);
    let second = all.split_off(all.len() - 2);
    run(folder.path(), &all, &clock);
    run(folder.path(), &second, &clock);
    let live = read(folder.path(), "alerts");
    assert_eq!(live.len(), 5);
    assert_same(&live, &replayed(folder.path(), "events"));
}

#[test]
fn an_alert_says_what_was_lost_since_the_one_before() {
    let folder = TempDir::new().unwrap();
    let act = |after| [Act::Connect { after, late: 0, port_known: true }, Act::Exec { after: MS, shell: true }];
    let mut all = records(&vec![(10, act(0).to_vec()); 4]);
    // In front of the second alert and of the last one; these two are no records at all.
    for (place, record) in [(2, Record::Exec(vec![0; 3])), (7, Record::Connection(vec![]))] {
        let at = all[place].0;
        all.insert(place, (at, record));
    }
    run(folder.path(), &all, &Clock { steps: Vec::new() });
    let lost: Vec<Value> = read(folder.path(), "alerts").iter().map(|alert| alert["sensor"]["lost"].clone()).collect();
    let one = json!({"total": 1, "causes": [{"place": "records", "cause": "undecodable", "count": 1}]});
    assert_eq!(lost, [Value::Null, one.clone(), Value::Null, one]);
}

#[test]
fn an_execution_that_came_without_a_connection_under_pressure_is_reported_with_an_assumed_one() {
    let folder = TempDir::new().unwrap();
    let records = [
        (1, Record::Exec(exec(FIRST_PID, 1, MS, true, None))),
        (2, Record::Exec(exec(FIRST_PID, 1, 2 * MS, false, None))),
    ];
    run(folder.path(), &records, &Clock { steps: Vec::new() });
    let alerts = read(folder.path(), "alerts");
    assert_eq!(alerts.len(), 1);
    assert_eq!(alerts[0]["sensor"]["assumed"], json!(["connection"]));
    assert_eq!(alerts[0]["sensor"]["sequence"].as_array().unwrap().len(), 1);
    assert_eq!(alerts[0]["process"]["args"], json!(["bash", "-i"]));
}
